"""Mining: which negative is chosen, against loops."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from replearn.methods.triplet import mine, pick, similarities


def scene(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    z = F.normalize(torch.randn(12, 3, generator=random), dim=1)
    labels = torch.randint(3, (12,), generator=random)
    similarity = z @ z.T
    positive = similarity[torch.arange(12), torch.randint(12, (12,), generator=random)]
    return similarity, positive, labels, torch.rand(12, generator=random)


@pytest.mark.parametrize("seed", range(8))
def test_hard_and_semi_hard_negatives(seed: int) -> None:
    similarity, positive, labels, draws = scene(seed)
    hard = mine(similarity, positive, labels, "hard", draws)
    semi = mine(similarity, positive, labels, "semi-hard", draws)
    for i in range(len(labels)):
        negatives = [j for j in range(len(labels)) if labels[j] != labels[i]]
        by_similarity = sorted(negatives, key=lambda j: similarity[i, j].item())
        assert hard[i] == by_similarity[-1]
        below = [j for j in by_similarity if similarity[i, j] < positive[i]]
        assert semi[i] == (below[-1] if below else by_similarity[0])


@pytest.mark.parametrize("seed", range(4))
def test_random_negatives_are_negatives_and_cover_all(seed: int) -> None:
    similarity, positive, labels, _ = scene(seed)
    seen: list[set[int]] = [set() for _ in labels]
    for step in range(200):
        draws = torch.rand(12, generator=torch.Generator().manual_seed(step))
        chosen = mine(similarity, positive, labels, "random", draws)
        assert (labels[chosen] != labels).all()
        for i, j in enumerate(chosen.tolist()):
            seen[i].add(j)
    for i, found in enumerate(seen):
        assert found == {j for j in range(12) if labels[j] != labels[i]}


def test_near_embeddings_are_told_apart_under_bfloat16_too() -> None:
    angles = torch.arange(32) * 1e-3
    z = torch.stack([angles.cos(), angles.sin()], 1)
    with torch.autocast("cpu", torch.bfloat16):
        assert len((z @ z.T)[0].unique()) < 4, "as the training step would compute it"
        found = similarities(z)
    assert len(found[0].unique()) == 32
    assert torch.equal(found, z @ z.T)


def test_pick_is_uniform_over_what_is_allowed() -> None:
    allowed = torch.tensor([[False, True, False, True, True]]).expand(3000, -1)
    draws = torch.arange(3000) / 3000
    counts = torch.bincount(pick(allowed, draws), minlength=5)
    assert counts.tolist() == [0, 1000, 0, 1000, 1000]

"""Every loss against the lecture's formula as a loop, and its behaviour in the corners."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from replearn.methods.autoencoder import reconstruction_loss
from replearn.methods.byol import byol_loss
from replearn.methods.clip import clip_loss
from replearn.methods.dino import dino_loss
from replearn.methods.distillation import distillation_loss
from replearn.methods.simclr import nt_xent
from replearn.methods.supcon import sup_con
from replearn.methods.triplet import triplet_loss
from tests.methods import oracles

TOLERANCE = 1e-6
TEMPERATURES = (0.05, 0.1, 0.5, 1.0)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labels_of(n: int, classes: int = 3, seed: int = 0) -> Tensor:
    return torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [2, 5, 9])
@pytest.mark.parametrize("tau", TEMPERATURES)
class TestAgainstLoops:
    def test_nt_xent(self, n: int, tau: float) -> None:
        a, b = draw(n, 4), draw(n, 4, seed=1)
        assert nt_xent(a, b, tau).item() == pytest.approx(
            oracles.nt_xent(a.tolist(), b.tolist(), tau), abs=TOLERANCE
        )

    def test_sup_con(self, n: int, tau: float) -> None:
        z, labels = draw(n, 4), labels_of(n)
        assert sup_con(z, labels, tau).item() == pytest.approx(
            oracles.sup_con(z.tolist(), labels.tolist(), tau), abs=TOLERANCE
        )

    def test_clip(self, n: int, tau: float) -> None:
        image, text = draw(n, 4), draw(n, 4, seed=1)
        assert clip_loss(image, text, 1 / tau).item() == pytest.approx(
            oracles.clip(image.tolist(), text.tolist(), 1 / tau), abs=TOLERANCE
        )

    def test_dino(self, n: int, tau: float) -> None:
        student, teacher, center = draw(4, n, 6), draw(2, n, 6, seed=1), draw(6, seed=2)
        got = dino_loss(list(student), list(teacher), center, tau, tau / 2)
        want = oracles.dino(student.tolist(), teacher.tolist(), center.tolist(), tau, tau / 2)
        assert got.item() == pytest.approx(want, abs=TOLERANCE)

    def test_triplet(self, n: int, tau: float) -> None:
        a, p, q = draw(n, 4), draw(n, 4, seed=1), draw(n, 4, seed=2)
        assert triplet_loss(a, p, q, tau).item() == pytest.approx(
            oracles.triplet(a.tolist(), p.tolist(), q.tolist(), tau), abs=TOLERANCE
        )

    def test_byol_and_reconstruction(self, n: int, tau: float) -> None:
        q, z = draw(n, 4) / tau, draw(n, 4, seed=1)
        assert byol_loss(q, z).item() == pytest.approx(
            oracles.byol(q.tolist(), z.tolist()), abs=TOLERANCE
        )
        assert reconstruction_loss(q, z).item() == pytest.approx(
            oracles.reconstruction(q.tolist(), z.tolist()), rel=TOLERANCE
        )


class TestRelations:
    """What the lecture says about how the losses relate."""

    def test_sup_con_with_one_positive_is_nt_xent(self) -> None:
        a, b = draw(6, 4), draw(6, 4, seed=1)
        pairs = torch.arange(6).repeat(2)
        assert sup_con(torch.cat([a, b]), pairs, 0.3).item() == pytest.approx(
            nt_xent(a, b, 0.3).item(), abs=1e-9
        )

    def test_clip_is_nt_xent_without_the_terms_within_a_modality(self) -> None:
        image, text, tau = draw(5, 4), draw(5, 4, seed=1), 0.2
        z = torch.nn.functional.normalize(torch.cat([image, text]), dim=1)
        logits = z @ z.T / tau
        logits[:5, :5] = logits[5:, 5:] = -torch.inf
        across = torch.nn.functional.cross_entropy(logits, torch.arange(10).roll(5))
        assert clip_loss(image, text, 1 / tau).item() == pytest.approx(across.item(), abs=1e-9)

    def test_equal_captions_are_not_negatives(self) -> None:
        image, text = draw(4, 3), draw(4, 3, seed=1)
        text[3] = text[0]
        same = torch.eye(4, dtype=torch.bool)
        same[0, 3] = same[3, 0] = True
        logits = (
            5
            * torch.nn.functional.normalize(image, dim=1)
            @ torch.nn.functional.normalize(text, dim=1).T
        )
        rows = [[0, 1, 2], [0, 1, 2, 3], [0, 1, 2, 3], [1, 2, 3]]
        want = 0.0
        for i, allowed in enumerate(rows):
            want += torch.logsumexp(logits[i, allowed], 0) - logits[i, i]
            want += torch.logsumexp(logits[allowed, i], 0) - logits[i, i]
        assert clip_loss(image, text, 5.0, same).item() == pytest.approx(
            (want / 8).item(), abs=1e-9
        )

    def test_byol_gives_no_gradient_to_its_target(self) -> None:
        q, z = draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()
        byol_loss(q, z).backward()
        assert q.grad is not None and q.grad.abs().sum() > 0
        assert z.grad is None

    def test_dino_gives_no_gradient_to_its_teacher(self) -> None:
        student = [draw(3, 4).requires_grad_(), draw(3, 4, seed=1).requires_grad_()]
        teacher = [draw(3, 4, seed=2).requires_grad_()]
        dino_loss(student, teacher, torch.zeros(4, dtype=torch.float64), 0.1, 0.04).backward()
        assert teacher[0].grad is None and student[1].grad is not None


LOSSES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "triplet": lambda z, tau: triplet_loss(z, z.roll(1, 0), z.roll(2, 0), tau),
    "sup_con": lambda z, tau: sup_con(z, torch.arange(len(z)) // 2, tau),
    "nt_xent": lambda z, tau: nt_xent(z, z.flip(0), tau),
    "byol": lambda z, tau: byol_loss(z, z.flip(0)),
    "dino": lambda z, tau: dino_loss([z, z.flip(0)], [z], torch.zeros(z.shape[1]), tau, tau),
    "clip": lambda z, tau: clip_loss(z, z.flip(0), 1 / tau),
    "distillation": lambda z, tau: distillation_loss(
        z, z.flip(0), torch.ones(len(z)).long(), tau, 0.9
    ),
}


@pytest.mark.parametrize("name", LOSSES)
class TestCorners:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_finite_when_cold_tiny_and_half(self, name: str, dtype: torch.dtype) -> None:
        for z in (draw(2, 8), 100 * draw(6, 8), torch.ones(4, 8)):
            z = z.to(dtype).requires_grad_()
            value = LOSSES[name](z, 0.01)
            value.backward()
            assert value.ndim == 0 and value.isfinite()
            assert z.grad is not None and z.grad.isfinite().all()

    def test_an_empty_batch_is_refused(self, name: str) -> None:
        with pytest.raises(ValueError, match="empty"):
            LOSSES[name](draw(0, 4), 0.1)

    def test_scale_does_not_matter(self, name: str) -> None:
        if name in ("dino", "distillation"):
            return
        z = draw(6, 5)
        assert LOSSES[name](7 * z, 0.2).item() == pytest.approx(
            LOSSES[name](z, 0.2).item(), abs=1e-9
        )

    @given(seed=st.integers(0, 1000))
    def test_order_of_pairs_does_not_matter(self, name: str, seed: int) -> None:
        shuffle = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
        a, b = draw(5, 4, seed=seed), draw(5, 4, seed=seed + 1)
        pairs: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
            "triplet": lambda u, v: triplet_loss(u, v, u + v, 0.3),
            "sup_con": lambda u, v: sup_con(torch.cat([u, v]), torch.ones(10).long(), 0.3),
            "nt_xent": lambda u, v: nt_xent(u, v, 0.3),
            "byol": byol_loss,
            "dino": lambda u, v: dino_loss([u, v], [v], torch.zeros(4).double(), 0.3, 0.1),
            "clip": lambda u, v: clip_loss(u, v, 3.0),
            "distillation": lambda u, v: distillation_loss(u, v, torch.ones(5).long(), 0.3, 0.5),
        }
        loss = pairs[name]
        assert loss(a[shuffle], b[shuffle]).item() == pytest.approx(loss(a, b).item(), abs=1e-9)


def test_view_swap_leaves_symmetric_losses_unchanged() -> None:
    a, b = draw(5, 4), draw(5, 4, seed=1)
    assert nt_xent(a, b, 0.2).item() == pytest.approx(nt_xent(b, a, 0.2).item(), abs=1e-12)
    assert clip_loss(a, b, 4.0).item() == pytest.approx(clip_loss(b, a, 4.0).item(), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: nt_xent(draw(3, 4), draw(2, 4), 0.1),
        lambda: clip_loss(draw(3, 4), draw(3, 5), 1.0),
        lambda: byol_loss(draw(3, 4), draw(3)),
        lambda: triplet_loss(draw(3, 4), draw(3, 4), draw(2, 4), 0.1),
        lambda: sup_con(draw(3, 4), labels_of(2), 0.1),
        lambda: dino_loss([draw(3, 4), draw(3, 4)], [draw(3, 5)], torch.zeros(4), 0.1, 0.1),
        lambda: reconstruction_loss(draw(3, 4), draw(3, 5)),
        lambda: nt_xent(draw(3, 4), draw(3, 4), 0.0),
        lambda: sup_con(draw(3, 4), labels_of(3), -1.0),
        lambda: dino_loss([draw(3, 4), draw(3, 4)], [draw(3, 4)], torch.zeros(4), 0.0, 0.1),
        lambda: dino_loss([draw(3, 4)], [draw(3, 4)], torch.zeros(4), 0.1, 0.1),
        lambda: clip_loss(draw(3, 4), draw(3, 4), 0.0),
        lambda: triplet_loss(draw(3, 4), draw(3, 4), draw(3, 4), -0.1),
    ],
)
def test_wrong_arguments_are_refused(call: Callable[[], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"needs|got"):
        call()


def test_anchors_without_a_positive_are_left_out() -> None:
    z = draw(4, 3)
    assert sup_con(z, torch.tensor([0, 0, 1, 2]), 0.1).item() == pytest.approx(
        oracles.sup_con(z.tolist(), [0, 0, 1, 2], 0.1), abs=1e-9
    )
    assert sup_con(z, torch.arange(4), 0.1).item() == 0.0


def test_nt_xent_of_identical_embeddings_is_the_logarithm_of_the_alternatives() -> None:
    z = torch.ones(8, 4)
    assert nt_xent(z, z, 0.5).item() == pytest.approx(math.log(15), abs=1e-5)

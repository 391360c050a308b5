"""Parts of the training loop."""

from __future__ import annotations

import pytest
import torch

from replearn.batches import epoch_order
from replearn.clustering import ordered_clusters
from replearn.ema import cosine_momentum, frozen_copy, update_ema
from replearn.methods.references import principal_components
from replearn.optimizers import LARS, build_optimizer, learning_rate
from replearn.randomness import generator


def test_an_epoch_visits_every_sample_once() -> None:
    groups = torch.arange(100) % 7
    for neighbourhoods in (None, groups):
        order = epoch_order(100, 16, neighbourhoods, generator(0, "order", 3))
        assert order.sort().values.tolist() == list(range(100))
    assert not torch.equal(
        epoch_order(100, 16, None, generator(0, "order", 3)),
        epoch_order(100, 16, None, generator(0, "order", 4)),
    )


def test_neighbourhoods_share_batches() -> None:
    groups = torch.arange(1000) % 10
    order = epoch_order(1000, 50, groups, generator(0, "order", 0))
    kinds = [len(groups[batch].unique()) for batch in order.split(50)]
    assert max(kinds) <= 2, "a batch of 50 spans at most two of ten neighbourhoods of 100"


def test_clusters_are_found_and_numbered_along_an_axis() -> None:
    random = torch.Generator().manual_seed(0)
    places = torch.tensor([0.0, 10.0, 20.0, 30.0]).repeat_interleave(50)
    points = torch.randn(200, 3, generator=random) * 0.1
    points[:, 0] += places
    clusters = ordered_clusters(points, 4, torch.Generator().manual_seed(4))
    found = [clusters[places == place].unique().tolist() for place in (0, 10, 20, 30)]
    assert found in ([[0], [1], [2], [3]], [[3], [2], [1], [0]])


def test_learning_rate_warms_up_and_falls_to_zero() -> None:
    rates = [learning_rate(2.0, step, 100, 10) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10] == 2.0 and rates[55] == pytest.approx(1.0) and rates[100] == pytest.approx(0.0)


def test_momentum_rises_along_a_cosine() -> None:
    assert cosine_momentum(0.9, 0.0) == pytest.approx(0.9)
    assert cosine_momentum(0.9, 0.5) == pytest.approx(0.95)
    assert cosine_momentum(0.9, 1.0) == 1.0


def test_the_average_follows_weights_and_copies_batchnorm_statistics() -> None:
    online = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    average = frozen_copy(online)
    before = average[0].weight.clone()
    online[0].weight.data.add_(1.0)
    online(torch.randn(8, 3))
    update_ema(average, online, 0.75)
    assert torch.allclose(average[0].weight, before + 0.25)
    assert torch.equal(average[1].running_mean, online[1].running_mean)
    assert not any(p.requires_grad for p in average.parameters())


@pytest.mark.parametrize("fused", [True, False])
def test_lars_matches_its_formula(fused: bool) -> None:
    weight = torch.nn.Parameter(torch.tensor([[3.0, 4.0]]))
    bias = torch.nn.Parameter(torch.tensor([1.0]))
    groups = [
        {"params": [weight], "weight_decay": 0.1},
        {"params": [bias], "weight_decay": 0.0, "trust": None},
    ]
    optimizer = LARS(groups, lr=0.5, momentum=0.9, trust=0.02, fused=fused)
    velocity_w, velocity_b = torch.zeros(1, 2), 0.0
    w, b = weight.detach().clone(), 1.0
    for step in range(3):
        gradient = torch.tensor([[1.0, -2.0]]) * (step + 1)
        weight.grad, bias.grad = gradient.clone(), torch.tensor([0.5])
        optimizer.step()
        rate = min(0.02 * w.norm() / (gradient.norm() + 0.1 * w.norm()) / 0.5, 1.0)
        velocity_w = 0.9 * velocity_w + rate * (gradient + 0.1 * w)
        w = w - 0.5 * velocity_w
        velocity_b = 0.9 * velocity_b + 0.5
        b -= 0.5 * velocity_b
    assert torch.allclose(weight, w, atol=1e-6)
    assert bias.item() == pytest.approx(b, abs=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", ["sgd", "adamw", "lars"])
def test_a_first_gradient_may_come_late(name: str, fused: bool) -> None:
    """A tensor that joins at the third step goes as one that was alone until then."""
    early, late, alone = (torch.nn.Linear(3, 2, bias=False) for _ in range(3))
    alone.load_state_dict(late.state_dict())
    settings = {"lr": 0.1, "weight_decay": 0.3, "momentum": 0.9, "trust": 0.02, "fused": fused}
    both = build_optimizer(name, torch.nn.Sequential(early, late), **settings)
    single = build_optimizer(name, alone, **settings)
    for step in range(5):
        gradient = torch.full((2, 3), 1.0 + step)
        early.weight.grad = gradient.clone()
        if step >= 2:
            late.weight.grad, alone.weight.grad = gradient.clone(), gradient.clone()
            single.step()
        both.step()
    assert torch.equal(late.weight, alone.weight)


def test_biases_and_norms_are_not_decayed() -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    for name in ("sgd", "adamw", "lars"):
        decayed, plain = build_optimizer(
            name, network, lr=0.1, weight_decay=0.3, momentum=0.9, trust=0.02
        ).param_groups
        assert [p.ndim for p in decayed["params"]] == [2] and decayed["weight_decay"] == 0.3
        assert [p.ndim for p in plain["params"]] == [1, 1, 1] and plain["weight_decay"] == 0


@pytest.mark.parametrize("dimension", [20, 5000])
def test_principal_components_agree_with_scikit_learn(dimension: int) -> None:
    from sklearn.decomposition import PCA

    random = torch.Generator().manual_seed(0)
    spread = 0.7 ** torch.arange(10).float()
    basis = torch.linalg.qr(torch.randn(dimension, 10, generator=random))[0]
    points = torch.randn(300, 10, generator=random) * spread @ basis.T
    points += 1e-4 * torch.randn(300, dimension, generator=random)
    centred = points - points.mean(0)
    ours = principal_components(centred, 6)
    theirs = torch.from_numpy(PCA(6, svd_solver="full").fit(centred.numpy()).components_)
    assert ours @ ours.T == pytest.approx(torch.eye(6).numpy(), abs=1e-4)
    assert (ours * theirs).sum(1).abs().numpy() == pytest.approx(1.0, abs=1e-4)

"""The fast ways to compute a step against the plain ones, and that no step waits for the device."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from replearn.batches import Augmentation, TrainingData, epoch_batches
from replearn.batchnorm import forward_apart, with_views
from replearn.config import RunConfig
from replearn.engine import Engine
from replearn.images import ResidentImages
from replearn.methods.base import Method
from replearn.optimizers import build_optimizer
from tests.gpu.steps import data, steps
from tests.methods.test_contract import (
    TRAINED,
    batch_for,
    run_config,
    training_method,
    untrained_teacher,
)
from tests.other_device import NAME, OtherDevice


def losses(config: RunConfig, engine: Engine, method: Method) -> list[float]:
    return [loss.item() for loss in a_few(config, engine, method)]


def a_few(config: RunConfig, engine: Engine, method: Method) -> Iterator[Tensor]:
    """The losses of three steps on the CPU."""
    return islice(steps(config, engine, method, data("cpu"), torch.float32), 3)


@pytest.mark.parametrize("name", TRAINED)
def test_fast_and_plain_steps_agree(name: str) -> None:
    config = run_config(name)
    found = []
    for engine in (Engine(fast=True), Engine(fast=False)):
        method = engine.settle(training_method(config, channels=3), "cpu")
        method.views_at_once = engine.fast
        found.append(losses(config, engine, method))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


class NoAutocast(nullcontext[None]):
    """In the place of torch.autocast, which does not know the stand-in for a device."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_stays_on_its_device_and_never_waits_for_it(
    name: str, at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From uint8 images to the averages after the step, on a device whose tensors meet no others."""
    monkeypatch.setattr(torch, "autocast", NoAutocast)
    config = run_config(name)
    method = training_method(config, channels=3)
    method.views_at_once = at_once
    here = data("cpu")
    with OtherDevice() as device:
        method.to(NAME)
        method.learn_from(untrained_teacher(channels=3).to(NAME))
        assert here.labels is not None and here.tokens is not None
        there = TrainingData(
            images=ResidentImages(torch.cat(list(here.images.chunks(48))).to(NAME)),
            mean=here.mean,
            std=here.std,
            labels=here.labels.to(NAME),
            tokens=here.tokens.to(NAME),
        )
        optimizer = build_optimizer(
            "lars", method, lr=0.1, weight_decay=0.1, momentum=0.9, trust=0.1, fused=False
        )
        for batch in epoch_batches(
            there,
            torch.arange(48),
            16,
            Augmentation(config.views, 0),
            epoch=0,
            needs=method.needs,
            start=1,
        ):
            method.before_step(0.1)
            method.loss(batch).total.backward()
            optimizer.step()
            method.after_step(0.2)
        assert {p.device.type for p in method.parameters()} == {NAME}
        assert device.waits == 0
        assert bool(next(method.parameters()).isfinite().all())
        assert device.waits == 1, "the test itself has looked at a number"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["simclr", "byol", "dino"])
def test_compiled_and_plain_steps_agree(name: str) -> None:
    config = run_config(name)
    found = []
    for engine in (Engine(compile="kernels"), Engine(fast=False)):
        method = engine.settle(training_method(config, channels=3), "cpu")
        method.views_at_once = engine.fast
        found.append(losses(config, engine, method))
    assert found[0] == pytest.approx(found[1], rel=1e-3)


def network() -> nn.Module:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten())
    return nn.Sequential(*layers, nn.LazyLinear(5), nn.BatchNorm1d(5), nn.Linear(5, 2)).double()


def test_views_at_once_are_views_apart() -> None:
    """Outputs, gradients and running statistics, for views of one size and of two."""
    random = torch.Generator().manual_seed(0)
    plain = network()
    views = [torch.randn(6, 3, 8, 8, generator=random, dtype=torch.float64) for _ in range(3)]
    plain(views[0])
    grouped = with_views(copy.deepcopy(plain))
    assert plain.state_dict().keys() == grouped.state_dict().keys()
    expected = [plain(view) for view in views]
    outputs = forward_apart(grouped, views)
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted)
    weights = torch.randn(3, 6, 2, generator=random, dtype=torch.float64)
    (torch.stack(expected) * weights).sum().backward()
    (torch.stack(outputs) * weights).sum().backward()
    for one, other in zip(plain.parameters(), grouped.parameters(), strict=True):
        torch.testing.assert_close(other.grad, one.grad)
    for name, tensor in plain.state_dict().items():
        torch.testing.assert_close(grouped.state_dict()[name], tensor, msg=name)


def test_views_of_different_sizes_pass_in_their_order() -> None:
    conv = with_views(nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double())
    plain = copy.deepcopy(conv)
    sizes = (8, 8, 5, 5, 5)
    views = [torch.randn(4, 1, s, s, dtype=torch.float64) for s in sizes]
    outputs = forward_apart(conv, views)
    expected = [plain(view) for view in views]
    assert [len(o) for o in outputs] == [4] * 5
    for output, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, wanted)
    torch.testing.assert_close(conv[1].running_mean, plain[1].running_mean)


def test_evaluation_uses_the_running_statistics() -> None:
    layer = with_views(nn.Sequential(nn.BatchNorm1d(3))).eval()
    rows: Tensor = torch.randn(4, 3)
    torch.testing.assert_close(
        torch.cat(forward_apart(layer, [rows, rows])), layer(rows).repeat(2, 1)
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_a_step_is_compiled_once(name: str) -> None:
    """Also for a schedule that changes with every step, as DINO's temperature does."""
    torch.compiler.reset()
    counters.clear()
    config, engine = run_config(name), Engine(compile="kernels")
    method = engine.settle(training_method(config, channels=3), "cpu")
    method.learn_from(engine.settle(untrained_teacher(channels=3), "cpu"))
    made = a_few(config, engine, method)
    next(made)
    assert counters["stats"]["unique_graphs"] > 0, "something was compiled"
    method.eval().train()  # as between two epochs, when a run looks at itself
    with torch.compiler.set_stance("fail_on_recompile"):
        assert len(list(made)) == 2


@pytest.mark.slow
def test_the_anchor_costs_another_compilation_and_no_more() -> None:
    torch.compiler.reset()
    counters.clear()
    config, engine = run_config("gram"), Engine(compile="kernels")
    method = engine.settle(training_method(config), "cpu")
    loss_of, batch = engine.loss_of(method.train()), batch_for(config)
    graphs = []
    for progress in (0.0, 0.2, 0.5, 0.6, 0.9):
        method.before_step(progress)
        loss_of(batch).total.backward()
        method.after_step(progress + 0.05)
        graphs.append(counters["stats"]["unique_graphs"])
    assert 0 < graphs[0] == graphs[1] < graphs[2] == graphs[3] == graphs[4]

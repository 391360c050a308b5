"""What every registered method must do; a new method is tested here without being told."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from replearn.build import build_method, load_tensors, method_tensors
from replearn.config import RunConfig, parse_study
from replearn.data.prepared import Manifest
from replearn.methods import METHODS, method_class
from replearn.methods.base import Batch, Method
from replearn.optimizers import build_optimizer
from replearn.planning import plan
from replearn.recipes import load_recipe

TRAINED = [name for name, options in METHODS.items() if options.trained]
SIZE, CLASSES, BATCH = 16, 3, 12


def run_config(method: str, encoder: str = "convnet") -> RunConfig:
    raw = {
        "name": "contract",
        "datasets": {"digits": {}},
        "methods": {"supervised": {}, method: {}},
        "seeds": [0],
        "encoder": {"name": encoder, "width": 8, "patch": 8},
    }
    runs = plan(parse_study(raw, "contract")).runs
    return next(run.config for run in runs if run.config.method == method)


def manifest(channels: int = 1) -> Manifest:
    return Manifest.model_validate(
        {
            "name": "contract",
            "source": "digits",
            "digest": "0" * 64,
            "licence": "",
            "citation": "",
            "classes": [str(c) for c in range(CLASSES)],
            "channels": channels,
            "height": SIZE,
            "width": SIZE,
            "splits": {},
            "files": {},
            "mean": [0.5] * channels,
            "std": [0.25] * channels,
            "captions": "templates",
            "templates": ["a {}."],
            "conversions": [],
            "validation": 0.1,
        }
    )


def untrained_teacher(channels: int = 1) -> Method:
    """What a method that learns from another one is given before it trains."""
    teacher = build_method(run_config("supervised"), manifest(channels))
    return teacher.eval().requires_grad_(False)


def training_method(config: RunConfig, channels: int = 1) -> Method:
    """A method as a training has it at its start."""
    method = build_method(config, manifest(channels)).train()
    method.learn_from(untrained_teacher(channels))
    return method


def batch_for(config: RunConfig, channels: int = 1, seed: int = 0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    sizes = [min(view.size or SIZE, SIZE) for view in config.views]
    views = tuple(torch.randn(BATCH, channels, s, s, generator=random) for s in sizes)
    labels = torch.arange(BATCH) % CLASSES
    return Batch(
        views=views,
        index=torch.arange(BATCH),
        draws=torch.rand(BATCH, 2, generator=random),
        labels=labels,
        tokens=torch.stack([torch.arange(CLASSES) + 10, torch.full((CLASSES,), 49407)], 1).repeat(
            1, 8
        ),
        caption=labels,
    )


def forward(method: Method, batch: Batch, progress: float = 0.0) -> Tensor:
    method.before_step(progress)
    total = method.loss(batch).total
    assert total.ndim == 0 and total.isfinite()
    return total


@pytest.mark.parametrize("name", METHODS)
class TestEveryMethod:
    def test_is_documented_and_has_a_recipe(self, name: str) -> None:
        assert method_class(METHODS[name]()).__doc__
        for recipe, encoder, size in (
            ("small", "convnet", 28),
            ("cifar", "resnet18", 32),
            ("paper", "resnet50", 224),
        ):
            block = load_recipe(recipe, encoder, size).methods[name]
            assert block.source

    def test_starts_the_same_from_a_seed_and_embeds(self, name: str) -> None:
        config = run_config(name)
        first, second = build_method(config, manifest()), build_method(config, manifest())
        for (key, a), b in zip(
            method_tensors(first).items(), method_tensors(second).values(), strict=True
        ):
            assert torch.equal(a, b), key
        other = config.model_copy(update={"seed": 1})
        different = build_method(other, manifest())
        if any(True for _ in first.encoder.parameters()):
            assert any(
                not torch.equal(a, b)
                for a, b in zip(first.parameters(), different.parameters(), strict=True)
            )
        h, z = first.eval().embed(torch.randn(5, 1, SIZE, SIZE))
        assert h.ndim == 2 and len(h) == 5
        assert (z is None) == (first.projector is None)

    def test_saves_and_loads_all_of_itself(self, name: str) -> None:
        config = run_config(name)
        method = build_method(config, manifest())
        saved = {key: tensor.clone() for key, tensor in method_tensors(method).items()}
        other = build_method(config.model_copy(update={"seed": 5}), manifest())
        load_tensors(other, saved)
        image = torch.randn(4, 1, SIZE, SIZE)
        assert torch.equal(method.eval().embed(image)[0], other.eval().embed(image)[0])


@pytest.mark.parametrize("name", TRAINED)
class TestEveryTrainedMethod:
    def test_every_trainable_parameter_gets_a_gradient(self, name: str) -> None:
        config = run_config(name)
        method = training_method(config)
        forward(method, batch_for(config)).backward()
        missing = [
            key for key, p in method.named_parameters() if p.requires_grad and p.grad is None
        ]
        assert not missing

    def test_five_steps_on_one_batch_lower_the_loss(self, name: str) -> None:
        config = run_config(name)
        method = training_method(config)
        batch = batch_for(config)
        optimizer = build_optimizer(
            "adamw", method, lr=2e-3, weight_decay=0.0, momentum=0.9, trust=0.02
        )
        losses = []
        for step in range(8):
            total = forward(method, batch)
            losses.append(total.item())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            method.after_step((step + 1) / 100)
        assert min(losses[-3:]) < losses[0]

    def test_order_of_the_batch_does_not_matter(self, name: str) -> None:
        config = run_config(name)
        method = training_method(config)
        batch = batch_for(config)
        shuffle = torch.randperm(BATCH, generator=torch.Generator().manual_seed(3))
        shuffled = Batch(
            views=tuple(view[shuffle] for view in batch.views),
            index=batch.index[shuffle],
            draws=batch.draws[shuffle],
            labels=batch.labels[shuffle] if batch.labels is not None else None,
            tokens=batch.tokens,
            caption=batch.caption[shuffle] if batch.caption is not None else None,
        )
        if name == "triplet":
            method.mining = "hard"
            batch.draws.zero_(), shuffled.draws.zero_()
            assert forward(method, shuffled).isfinite()
            return
        same = copy.deepcopy(method)
        assert forward(method, batch).item() == pytest.approx(
            forward(same, shuffled).item(), rel=1e-4, abs=1e-5
        )

    def test_survives_a_batch_of_two_and_bfloat16(self, name: str) -> None:
        config = run_config(name)
        method = training_method(config)
        whole = batch_for(config)
        pair = Batch(
            views=tuple(view[:2] for view in whole.views),
            index=whole.index[:2],
            draws=whole.draws[:2],
            labels=torch.zeros(2, dtype=torch.int64),
            tokens=whole.tokens,
            caption=torch.zeros(2, dtype=torch.int64),
        )
        with torch.autocast("cpu", torch.bfloat16):
            forward(method, pair).backward()


@pytest.mark.parametrize("encoder", ["convnet", "resnet18", "resnet50", "vit_tiny", "vit_small"])
@pytest.mark.parametrize("name", ["dino", "simclr", "gram", "jigsaw", "relative_position"])
def test_every_encoder_takes_the_views(name: str, encoder: str) -> None:
    config = run_config(name, encoder)
    method = training_method(config, channels=3)
    forward(method, batch_for(config, channels=3)).backward()


def test_labels_reach_only_methods_that_ask() -> None:
    for name, options in METHODS.items():
        needs = method_class(options()).needs
        expected = {"none": frozenset(), "labels": {"labels"}, "captions": {"tokens"}}
        assert needs == expected[options.supervision], name

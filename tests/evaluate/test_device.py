"""Evaluations compute on the device that they are given, and on no other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from replearn.evaluate.knn import neighbours
from replearn.evaluate.lbfgs import Problem, minimise
from replearn.evaluate.measure import text_metrics
from replearn.evaluate.protocol import CollapseProtocol, EvaluationConfig, LinearProtocol
from replearn.evaluate.run import OUTPUTS, evaluate, select
from tests.evaluate.digits import pixels, untrained
from tests.evaluate.test_run import RUN, write_features
from tests.other_device import NAME, Elsewhere, OtherDevice

CONFIG = EvaluationConfig(
    linear=LinearProtocol(
        strength_low=1e-3, strength_high=1e-1, strength_count=2, draws=1, path_tolerance=1e-3
    ),
    collapse=CollapseProtocol(images=300),
)


def test_the_other_device_refuses_what_a_real_one_refuses() -> None:
    with OtherDevice() as device:
        there = torch.arange(6.0).reshape(2, 3).to(NAME)
        there[1] += 1
        assert isinstance(there, Elsewhere)
        assert (there * 2).tolist() == [[0, 2, 4], [8, 10, 12]]
        assert device.waits == 0
        assert float(there.sum()) == 18
        assert device.waits == 1
        with pytest.raises(RuntimeError, match="two devices"):
            there @ torch.ones(3)
        with pytest.raises(RuntimeError, match="two devices"):
            there[torch.tensor([0])]
        with pytest.raises((TypeError, RuntimeError)):
            there.numpy()


def test_metrics_files_are_the_same_from_another_device(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", pixels()[0], untrained(0, width=4))

    def everything(device: str) -> dict[str, Any]:
        output = tmp_path / device
        select(features, output, CONFIG, RUN, device=device)
        evaluate(features, output / "select.json", output, CONFIG, RUN, device=device)
        contents = {path.name: json.loads(path.read_text()) for path in output.glob("*.json")}
        for content in contents.values():
            assert content.pop("provenance")["device"] == device
        return contents | {"predictions": (output / "predictions.safetensors").read_bytes()}

    here = everything("cpu")
    with OtherDevice():
        there = everything(NAME)
    assert set(here) == {"select.json", "predictions"} | {
        name for name in OUTPUTS if name.endswith("json")
    }
    # torch asks LAPACK for vectors too where a tensor is not its own: the same but for rounding.
    expected, found = (each.pop("collapse.json") for each in (here, there))
    assert here == there
    for name, value in (expected["metrics"] | expected["details"]).items():
        other = (found["metrics"] | found["details"])[name]
        if isinstance(value, float | list):
            assert other == pytest.approx(value, rel=1e-6, abs=1e-12), name
        else:
            assert other == value, name


def test_texts_on_another_device() -> None:
    x, y = (part[:120] for part in pixels())
    tensors = {
        "image": x,
        "labels": y,
        "prompts": torch.stack([x[y == label].mean(0) for label in range(10)]),
        "text": x.roll(1, 1),
        "caption_group": torch.arange(120) // 2,
    }
    here = text_metrics(tensors)
    with OtherDevice():
        there = text_metrics({name: tensor.to(NAME) for name, tensor in tensors.items()})
    assert here == there


def test_searches_and_fits_seldom_wait_for_the_device() -> None:
    x, y = pixels()
    with OtherDevice() as device:
        bank, labels = x.to(NAME), y.to(NAME)
        neighbours(bank, bank, 20)
        assert device.waits <= 2, "for ties, once for each part of the queries"
        problem = Problem(bank.double(), labels, 10)
        start = problem.start()
        device.waits = 0
        found = minimise(problem, 1e-3, start, tolerance=1e-9, max_iterations=100)
    assert found.iterations > 10
    assert device.waits <= 5 * found.iterations

"""From feature files to metrics files, on pixels of real digits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from replearn.errors import UserError
from replearn.evaluate.calibration import calibration
from replearn.evaluate.knn import knn_predict
from replearn.evaluate.linear import fit
from replearn.evaluate.protocol import (
    CORRUPTIONS,
    OF_COLOUR,
    OPERATIONS,
    CollapseProtocol,
    EvaluationConfig,
    KnnProtocol,
    LinearProtocol,
)
from replearn.evaluate.ranking import retrieval
from replearn.evaluate.run import evaluate, select, text
from tests.evaluate.digits import pixels, untrained

RUN: dict[str, str | int] = {
    "dataset": "digits",
    "method": "raw_pixels",
    "variant": "default",
    "seed": 0,
    "key": "0123456789ab",
}
CONFIG = EvaluationConfig(
    linear=LinearProtocol(strength_low=1e-4, strength_high=10, strength_count=6, draws=2),
    collapse=CollapseProtocol(images=500),
)
PARTS = {"train": slice(0, 1000), "validation": slice(1000, 1200), "test": slice(1200, 1797)}


def write_features(
    directory: Path,
    h: Tensor,
    z: Tensor | None = None,
    *,
    labelled: bool = True,
    parts: dict[str, slice] = PARTS,
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, rows in parts.items():
        tensors = {"h": h[rows].contiguous(), "index": torch.arange(rows.start, rows.stop)}
        if z is not None:
            tensors["z"] = z[rows].contiguous()
        if labelled:
            tensors["labels"] = pixels()[1][rows].contiguous()
        save_file(tensors, directory / f"{name}.safetensors")
    views = torch.stack([h[1000:1100], h[1000:1100] * 1.1 + 0.01, h[1000:1100] + 0.02])
    save_file({"h": views}, directory / "views.safetensors")
    save_file(shifted(h[parts["test"]]), directory / "shifted.safetensors")
    return directory


def shifted(h: Tensor) -> dict[str, Tensor]:
    """Features of every other test image, darkened the more the severer, or of another image."""
    rows = torch.arange(0, len(h), 2)
    h = h[rows]
    found = {
        f"corruption_{name}_{severity}": h * (1 - severity / 10)
        for name in CORRUPTIONS
        for severity in (1, 3, 5)
    }
    found |= {f"view_{name}": h + 0.01 for name in OPERATIONS if name not in OF_COLOUR}
    return found | {"rows": rows, "ood_shuffled": h.flip(1), "ood_noise": h.flip(1)}


def everything(features: Path, output: Path, **options: Any) -> dict[str, Any]:
    select(features, output, CONFIG, RUN)
    evaluate(features, output / "select.json", output, CONFIG, RUN, **options)
    names = ("select", "knn", "linear", "collapse", "structure", "robustness")
    return {name: json.loads((output / f"{name}.json").read_text()) for name in names}


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_features(tmp_path_factory.mktemp("features"), pixels()[0], untrained(0, width=8))


@pytest.fixture(scope="module")
def found(features: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return everything(features, tmp_path_factory.mktemp("out"))


def test_numbers_are_those_of_the_functions(found: dict[str, Any]) -> None:
    x, y = pixels()
    knn, linear = found["knn"]["metrics"], found["linear"]["metrics"]
    for name, k, temperature in (
        ("accuracy", 20, 0.07),
        ("accuracy_k10", 10, 0.07),
        ("accuracy_k200", 200, 0.07),
        ("accuracy_k200_t0.1", 200, 0.1),
    ):
        predicted = knn_predict(
            x[:1200], y[:1200], x[1200:], classes=10, k=k, temperature=temperature
        )
        assert knn[name] == (predicted == y[1200:]).double().mean().item()
    details = found["select"]["details"]
    accuracies = details["validation_accuracies_h"]
    best = int(np.argmin(details["validation_losses_h"]))
    assert linear["strength"] == CONFIG.linear.strengths[best]
    assert linear["validation_accuracy"] == accuracies[best]
    probe = fit(x[:1200], y[:1200], classes=10, strength=linear["strength"])
    assert linear["accuracy"] == (probe.predict(x[1200:]) == y[1200:]).double().mean().item()
    assert linear["accuracy"] > 0.93
    assert 0.5 < linear["accuracy_z"] < linear["accuracy"]
    assert 0.3 < linear["low_shot_1"] < linear["low_shot_10"] < linear["low_shot_100"]
    assert linear["shuffled_accuracy"] < 0.2
    expected = calibration(probe.logits(x[1200:]), y[1200:])
    assert {name: linear[name] for name in expected} == expected
    structure, robustness = found["structure"]["metrics"], found["robustness"]["metrics"]
    assert {name: structure[name] for name in ("map_at_r", "recall_at_1")} == retrieval(
        x[1200:], y[1200:]
    )
    assert structure["nmi"] > 0.5
    rows = probe.predict(x[1200::2]) == y[1200::2]
    assert robustness["clean_accuracy"] == rows.double().mean().item()
    assert robustness["corruption_contrast"] < robustness["clean_accuracy"]
    assert robustness["invariance_crop"] > 0.9
    assert robustness["ood_auroc_noise"] > 0.7


def test_files_name_run_protocol_and_provenance(found: dict[str, Any]) -> None:
    for name, content in found.items():
        assert content["schema"] == 1
        assert content["run"] == RUN
        assert content["protocol"]["name"] == name
        assert content["protocol"]["version"] == {"linear": 4, "collapse": 2}.get(name, 1)
        assert content["provenance"]["wall_seconds"] >= 0
    assert found["knn"]["protocol"]["bank"].startswith("train + validation")


def test_collapse_file_holds_both_networks_and_their_spectra(found: dict[str, Any]) -> None:
    metrics, details = found["collapse"]["metrics"], found["collapse"]["details"]
    assert metrics["verdict"] == "healthy"
    assert metrics["h_n"] == 500
    assert metrics["h_alignment"] < 0.1
    assert metrics["z_alignment"] is None
    for network, width in (("h", 64), ("z", 32)):
        for name in (f"{network}_spectrum", f"{network}_marchenko_pastur"):
            assert len(details[name]) == width
            assert sum(details[name]) == pytest.approx(1)


def test_predictions_reproduce_the_accuracies(found: dict[str, Any], features: Path) -> None:
    output = features / "again"
    select(features, output, CONFIG, RUN)
    evaluate(features, output / "select.json", output, CONFIG, RUN)
    stored = load_file(output / "predictions.safetensors")
    for name in ("knn", "linear"):
        accuracy = (stored[name] == stored["labels"]).double().mean().item()
        assert accuracy == found[name]["metrics"]["accuracy"]
        assert stored[name].dtype == torch.int64
    assert stored["index"].tolist() == list(range(1200, 1797))


def test_twice_is_identical_but_for_provenance(found: dict[str, Any], features: Path) -> None:
    again = everything(features, features / "twice")
    for name in found:
        first, second = (
            json.dumps({k: v for k, v in each[name].items() if k != "provenance"})
            for each in (found, again)
        )
        assert first == second


def test_selection_never_sees_the_test_images(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", pixels()[0])

    def chosen(output: str) -> dict[str, Any]:
        select(directory, tmp_path / output, CONFIG, RUN)
        content: dict[str, Any] = json.loads((tmp_path / output / "select.json").read_text())
        content.pop("provenance")
        return content

    before = chosen("a")
    test = load_file(directory / "test.safetensors")
    test["labels"] = test["labels"].flip(0)
    save_file(test, directory / "test.safetensors")
    assert chosen("b") == before
    (directory / "test.safetensors").unlink()
    assert chosen("c") == before
    with pytest.raises(UserError, match=r"test\.safetensors: file not found"):
        evaluate(directory, tmp_path / "c" / "select.json", tmp_path / "c", CONFIG, RUN)


def test_without_labels_accuracies_are_null_and_the_reason_is_given(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", pixels()[0], labelled=False)
    found = everything(directory, tmp_path / "out")
    assert found["select"]["metrics"]["strength_h"] is None
    for name in ("knn", "linear"):
        assert found[name]["metrics"]["accuracy"] is None
        assert found[name]["details"]["reason"] == "the dataset has no labels"
    assert found["structure"]["details"]["reason"] == "the dataset has no labels"
    robustness = found["robustness"]
    assert robustness["details"]["reason_corruption"] == "the dataset has no labels"
    assert robustness["metrics"]["corruption_accuracy"] is None
    assert robustness["metrics"]["ood_auroc_noise"] > 0.7
    assert found["collapse"]["metrics"]["verdict"] == "healthy"
    assert set(load_file(tmp_path / "out" / "predictions.safetensors")) == {"index"}


def test_features_that_are_not_finite_diverged(tmp_path: Path) -> None:
    h = pixels()[0].clone()
    h[:, 5] = torch.nan
    found = everything(write_features(tmp_path / "features", h), tmp_path / "out")
    assert found["collapse"]["metrics"]["verdict"] == "diverged"
    assert found["linear"]["metrics"]["accuracy"] is None
    for family in ("knn", "structure", "robustness"):
        assert "finite" in found[family]["details"]["reason"]


def test_a_constant_encoder_is_evaluated_at_chance(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", torch.ones(1797, 12))
    found = everything(directory, tmp_path / "out")
    assert found["collapse"]["metrics"]["verdict"] == "complete"
    assert found["linear"]["metrics"]["accuracy"] < 0.15
    assert found["knn"]["metrics"]["accuracy"] < 0.15
    assert found["structure"]["metrics"]["ari"] == pytest.approx(0, abs=0.01)
    assert found["structure"]["metrics"]["map_at_r"] < 0.15
    assert found["robustness"]["metrics"]["invariance_flip"] is None


def test_supervision_reaches_the_verdict(tmp_path: Path) -> None:
    points = torch.eye(10).repeat_interleave(3, 1)[pixels()[1]] + 0.01 * pixels()[0][:, :30]
    directory = write_features(tmp_path / "features", points)
    assert everything(directory, tmp_path / "a")["collapse"]["metrics"]["verdict"] == "cluster"
    found = everything(directory, tmp_path / "b", supervision="labels")
    assert found["collapse"]["metrics"]["verdict"] == "healthy"


def test_a_tiny_dataset_has_no_hundred_shots(tmp_path: Path) -> None:
    parts = {"train": slice(0, 80), "validation": slice(1000, 1100), "test": slice(1200, 1240)}
    directory = write_features(tmp_path / "features", pixels()[0], parts=parts)
    config = CONFIG.model_copy(update={"knn": KnnProtocol(k=500)})
    select(directory, tmp_path, config, RUN)
    evaluate(directory, tmp_path / "select.json", tmp_path, config, RUN)
    found = json.loads((tmp_path / "linear.json").read_text())
    assert found["metrics"]["low_shot_100"] is None
    assert "fewer than 100" in found["details"]["reason_low_shot_100"]
    assert found["metrics"]["low_shot_1"] > 0.2
    assert json.loads((tmp_path / "knn.json").read_text())["metrics"]["accuracy"] > 0.5


def test_choices_of_another_run_are_refused(features: Path, tmp_path: Path) -> None:
    select(features, tmp_path, CONFIG, {**RUN, "key": "other"})
    with pytest.raises(UserError, match="choices are of run other"):
        evaluate(features, tmp_path / "select.json", tmp_path, CONFIG, RUN)


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    directory = write_features(tmp_path / "features", pixels()[0])
    (directory / "train.safetensors").write_bytes(b"not a tensor file")
    with pytest.raises(UserError, match=r"train\.safetensors: not a readable"):
        select(directory, tmp_path, CONFIG, RUN)
    save_file({"z": torch.ones(3, 2)}, directory / "train.safetensors")
    with pytest.raises(UserError, match="no encoder features"):
        select(directory, tmp_path, CONFIG, RUN)
    save_file(
        {"h": torch.ones(3, 2), "labels": torch.zeros(2).long()}, directory / "train.safetensors"
    )
    with pytest.raises(UserError, match="2 rows of 'labels' for 3"):
        select(directory, tmp_path, CONFIG, RUN)


def test_text_file_for_classes_and_for_captions(tmp_path: Path) -> None:
    x, y = (t[:300] for t in pixels())
    prompts = torch.stack([x[y == c].mean(0) for c in range(10)])
    save_file({"image": x, "prompts": prompts, "labels": y}, tmp_path / "text.safetensors")
    text(tmp_path, tmp_path, RUN)
    metrics = json.loads((tmp_path / "text.json").read_text())["metrics"]
    assert metrics["prompt_accuracy"] > 0.8
    assert metrics["image_to_text_r1"] is None

    noisy = x + 0.02 * untrained(0)[:300, :64]
    save_file(
        {"image": x, "text": noisy, "caption_group": torch.arange(300)},
        tmp_path / "text.safetensors",
    )
    text(tmp_path, tmp_path, RUN)
    content = json.loads((tmp_path / "text.json").read_text())
    assert content["metrics"]["prompt_accuracy"] is None
    assert content["metrics"]["image_to_text_r1"] > 0.5
    assert content["metrics"]["text_to_image_r10"] >= content["metrics"]["text_to_image_r1"]
    assert content["details"]["different_captions"] == 300

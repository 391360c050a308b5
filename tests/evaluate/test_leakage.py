"""Canaries: test labels move test numbers and nothing that is trained or chosen."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from replearn.config import RunConfig
from replearn.data import open_prepared
from replearn.embed import embed
from replearn.evaluate.run import evaluate, select
from replearn.layout import RunLayout
from replearn.planning import Plan
from replearn.pretrain import pretrain


def outcome(config: RunConfig, dataset: Path, root: Path) -> tuple[bytes, object, object]:
    """The trained encoder, what was chosen on validation, and the numbers on test images."""
    layout = RunLayout(root, "f", "e")
    prepared = open_prepared(dataset)
    torch.set_num_threads(1)
    pretrain(config, prepared, layout, "cpu")
    embed(config, prepared, layout.encoder, layout.features, "cpu")
    run, protocols, output = config.identification, config.evaluation, layout.evaluation
    select(layout.features, output, protocols, run)
    evaluate(layout.features, output / "select.json", output, protocols, run)
    chosen = json.loads((output / "select.json").read_text())
    chosen.pop("provenance")
    found = {
        name: json.loads((output / f"{name}.json").read_text())["metrics"]
        for name in ("knn", "linear", "structure")
    }
    return layout.encoder.read_bytes(), chosen, found


@pytest.mark.parametrize("method", ["supervised", "simclr"])
def test_permuted_test_labels_change_test_numbers_alone(
    method: str, tiny_study: Plan, tmp_path: Path
) -> None:
    config = next(run.config for run in tiny_study.runs if run.config.method == method)
    honest = tiny_study.datasets["digits"].directory
    permuted = tmp_path / "permuted"
    shutil.copytree(honest, permuted)
    labels = np.load(permuted / "test.labels.npy")
    np.save(permuted / "test.labels.npy", np.random.default_rng(0).permutation(labels))

    encoder, chosen, found = outcome(config, honest, tmp_path / "a")
    same_encoder, same_choice, other = outcome(config, permuted, tmp_path / "b")
    assert same_encoder == encoder
    assert same_choice == chosen
    for family, metric in (("knn", "accuracy"), ("linear", "accuracy"), ("structure", "map_at_r")):
        assert other[family][metric] < 0.2 < found[family][metric]  # type: ignore[index]


def test_the_select_command_works_where_no_test_file_can_be_opened(
    tiny_study: Plan, tmp_path: Path
) -> None:
    run = next(run for run in tiny_study.runs if run.config.method == "raw_pixels")
    config, features = run.config, tmp_path / "features"
    outcome(config, tiny_study.datasets["digits"].directory, tmp_path / "whole")
    features.mkdir()
    whole = RunLayout(tmp_path / "whole", "f", "e")
    for name in ("train", "validation"):
        shutil.copy(whole.features / f"{name}.safetensors", features)
    for name in ("test", "shifted"):
        # A link to itself: whoever opens it, root included, is refused.
        (features / f"{name}.safetensors").symlink_to(f"{name}.safetensors")
    command = [sys.executable, "-m", "replearn", "select", str(run.layout.config), "--gpus", "0"]
    command += ["--features", str(features), "--output", str(tmp_path / "out")]
    subprocess.run(command, check=True, capture_output=True)
    found, expected = (
        json.loads((folder / "select.json").read_text())
        for folder in (tmp_path / "out", whole.evaluation)
    )
    assert found["metrics"] == expected["metrics"]
    assert found["details"] == expected["details"]

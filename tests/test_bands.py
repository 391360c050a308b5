"""Published bands: they are ordered and sourced, and a study is judged by them where it may be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from replearn.bands import Band, Bands, check, published, words
from replearn.collate import collate
from replearn.config import load_study, resolve
from replearn.errors import UserError
from replearn.jsonfile import write_json
from replearn.layout import FAMILIES
from replearn.methods.options import METHODS
from tests.test_cli import ROOT, replearn

CONDITIONS = {"encoder": {"name": "resnet18"}, "training": {"epochs": 200, "batch_size": 256}}
KNN = "accuracy_k200_t0.1"


def finished(
    folder: Path, accuracies: dict[str, list[float]], *, images: int = 50_000, **change: Any
) -> Path:
    """A collated study on CIFAR-10 with these accuracies over seeds; returns its plan."""
    runs = []
    for method, values in accuracies.items():
        for seed, value in enumerate(values):
            place = f"results/runs/cifar10/{method}/default/seed-{seed}/0123456789ab"
            root, evaluation = folder / place, folder / place / "features-a" / "evaluation-b"
            write_json(root / "config.json", CONDITIONS | change)
            write_json(root / "pretrain.json", {"metrics": {"status": "ok"}})
            for family in FAMILIES:
                write_json(
                    evaluation / f"{family}.json", {"metrics": {"accuracy": value, KNN: value}}
                )
            identity = {"dataset": "cifar10", "method": method, "variant": "default", "seed": seed}
            places = {"directory": place, "features": f"{place}/features-a"}
            places["evaluation"] = f"{place}/features-a/evaluation-b"
            runs.append(identity | places | {"key": "0123456789ab"})
    plan = folder / "results" / "studies" / "cifar10" / "plan.json"
    manifest = {"splits": {"train": {"count": images}}}
    write_json(folder / "manifest.json", manifest)
    content = {"study": "cifar10", "results": "results", "runs": runs}
    write_json(plan, content | {"datasets": {"cifar10": "manifest.json"}})
    collate(plan, plan.parent)
    return plan


def states(plan: Path, family: str) -> dict[str, str]:
    found = check(plan, published())
    return {c.band.method: c.state for c in found if c.band.metric.startswith(family)}


def test_the_bands_hold_for_the_study_they_name() -> None:
    bands = published()
    study = load_study(ROOT / bands.study)
    assert list(study.datasets) == [bands.dataset]
    assert len({(band.method, band.metric) for band in bands.bands}) == len(bands.bands)
    for band in bands.bands:
        assert band.method in METHODS
        parts = resolve(study, bands.dataset, band.method, "default")
        config = {name: parts[name].model_dump() for name in ("encoder", "training")}
        assert bands.obstacle(config, bands.images) == ""


def test_an_accuracy_is_in_below_or_above_its_band(tmp_path: Path) -> None:
    plan = finished(tmp_path, {"simclr": [0.84, 0.85], "byol": [0.70, 0.72], "dino": [0.95, 0.96]})
    assert states(plan, "knn") == {"simclr": "in", "byol": "below", "dino": "above"}
    assert states(plan, "linear")["supcon"] == "not run"


def test_the_mean_and_its_interval_are_shown(tmp_path: Path) -> None:
    plan = finished(tmp_path, {"simclr": [0.84, 0.85], "byol": [0.86, 0.87]})
    line = words(check(plan, published()))[0]
    assert "81.7–87.9" in line
    assert "in " in line and "84.5 [" in line


def test_another_budget_is_not_compared(tmp_path: Path) -> None:
    other = {"training": {"epochs": 4, "batch_size": 128}}
    plan = finished(tmp_path, {"simclr": [0.5, 0.6]}, **other)
    found = check(plan, published())
    assert found[0].state == "other conditions"
    assert found[0].note == "epochs 4 for 200, batch 128 for 256"
    assert not any(item.outside for item in found)


def test_a_part_of_the_images_is_not_compared(tmp_path: Path) -> None:
    plan = finished(tmp_path, {"simclr": [0.5, 0.6]}, images=2000)
    assert check(plan, published())[0].note == "images 2000 for 50000"
    (tmp_path / "manifest.json").unlink()
    assert check(plan, published())[0].note == "images unknown for 50000"


def test_the_status_of_the_command(tmp_path: Path) -> None:
    place = ["check-bands", str(ROOT / "config/studies/cifar10.yaml")]
    never = replearn(*place, cwd=tmp_path)
    assert (never.returncode, never.stdout.count("not run")) == (2, len(published().bands))
    plan = finished(tmp_path, {"simclr": [0.7, 0.71]})
    assert replearn("check-bands", str(plan), cwd=tmp_path).returncode == 1
    assert replearn(*place, cwd=tmp_path).stdout.count("  below  ") == 2, (
        "found by the study's name"
    )
    assert replearn("check-bands", "nowhere.json", cwd=tmp_path).returncode == 2


def test_a_plan_without_results_is_a_users_mistake(tmp_path: Path) -> None:
    plan = finished(tmp_path, {"simclr": [0.7]})
    (plan.parent / "results.parquet").unlink()
    with pytest.raises(UserError, match="Collate the study first"):
        check(plan, published())


@pytest.mark.parametrize("change", [{"low": 0.9, "high": 0.9}, {"metric": "knn"}, {"high": 87.9}])
def test_a_band_that_is_none_is_refused(change: dict[str, Any]) -> None:
    good = {
        "method": "x",
        "metric": "knn/accuracy",
        "low": 0.1,
        "high": 0.2,
        "source": "",
        "why": "",
    }
    assert Band.model_validate(good)
    with pytest.raises(ValueError, match="validation error"):
        Band.model_validate(good | change)


def test_bands_say_in_what_a_run_differs() -> None:
    bands = Bands(study="", dataset="d", images=9, encoder="e", epochs=1, batch_size=2, bands=())
    config = {"encoder": {"name": "f"}, "training": {"epochs": 1, "batch_size": 2}}
    assert bands.obstacle(config, 9) == "encoder f for e"

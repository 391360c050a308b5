"""Metric files in, tidy tables out; a missing file is named or marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save_file

from replearn.collate import collate, read_plan, read_tables
from replearn.errors import UserError
from replearn.jsonfile import read_json, write_json
from replearn.standings import LINEAR, standings
from replearn.tables import write_tables


def metrics(name: str, values: dict[str, Any], seconds: float = 2.0) -> dict[str, Any]:
    provenance = {"wall_seconds": seconds, "device": "cpu", "commit": "c0ffee", "torch": "2"}
    return {"protocol": {"name": name, "version": 1}, "metrics": values, "provenance": provenance}


def add_run(root: Path, method: str, seed: int, accuracy: float | None) -> dict[str, Any]:
    place = f"results/runs/toy/{method}/default/seed-{seed}/0123456789ab"
    run = root / place
    evaluation = run / "evaluation-bbbbbbbbbbbb"
    write_json(run / "config.json", {"encoder": {"name": "convnet"}, "supervision": "none"})
    trained = {"status": "ok", "supervision": "none", "epochs": 3, "images_seen": 300}
    write_json(run / "pretrain.json", metrics("pretrain", trained, 10.0))
    write_json(evaluation / "knn.json", metrics("knn", {"accuracy": accuracy}))
    write_json(evaluation / "linear.json", metrics("linear", {"accuracy": accuracy, "strength": 1}))
    diagnosis = {"h_rank_me": 9.5, "verdict": "healthy", "rule": "no rule fired"}
    write_json(evaluation / "collapse.json", metrics("collapse", diagnosis))
    write_json(evaluation / "structure.json", metrics("structure", {"nmi": 0.5}))
    write_json(evaluation / "robustness.json", metrics("robustness", {"invariance_flip": 0.9}))
    return {
        "dataset": "toy",
        "method": method,
        "variant": "default",
        "seed": seed,
        "key": "0123456789ab",
        "directory": place,
        "features": f"{place}/features-aaaaaaaaaaaa",
        "evaluation": f"{place}/evaluation-bbbbbbbbbbbb",
    }


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    runs = [add_run(tmp_path, "simclr", seed, 0.8 + seed / 100) for seed in (0, 1)]
    runs.append(add_run(tmp_path, "raw_pixels", 0, 0.7))
    file = tmp_path / "results" / "studies" / "toy" / "plan.json"
    write_json(file, {"study": "toy", "results": "results", "runs": runs, "datasets": {}})
    return file


def run_folder(plan: Path, number: int) -> Path:
    return plan.parents[3] / read_json(plan)["runs"][number]["directory"]


class TestCollate:
    def test_one_row_per_number(self, plan: Path) -> None:
        results, _ = read_tables(collate(plan, plan.parent))
        accuracy = results[(results["family"] == "linear") & (results["metric"] == "accuracy")]
        assert accuracy["value"].tolist() == [0.80, 0.81, 0.70]
        assert set(results["metric"]) == {
            "accuracy",
            "strength",
            "h_rank_me",
            "nmi",
            "invariance_flip",
        }
        assert set(results["protocol_version"]) == {1}

    def test_one_row_per_run(self, plan: Path) -> None:
        _, runs = read_tables(collate(plan, plan.parent))
        first, pixels = runs.iloc[0], runs.iloc[2]
        assert first["status"] == "ok"
        assert first["verdict"] == "healthy"
        assert first["train_seconds"] == 10
        assert first["total_seconds"] == 20
        assert first["images_seen"] == 300
        assert not first["reference"]
        assert pixels["reference"]
        assert pixels["deterministic"]
        assert not Path(first["directory"]).is_absolute()

    def test_csv_and_parquet_agree(self, plan: Path) -> None:
        folder = collate(plan, plan.parent)
        for name in ("results", "runs"):
            parquet = pd.read_parquet(folder / f"{name}.parquet")
            text = pd.read_csv(folder / f"{name}.csv").astype(parquet.dtypes.to_dict())
            pd.testing.assert_frame_equal(parquet, text)

    def test_twice_gives_the_same_bytes(self, plan: Path) -> None:
        folder = collate(plan, plan.parent)
        names = ("results.parquet", "results.csv", "runs.parquet", "runs.csv")
        before = [(folder / name).read_bytes() for name in names]
        collate(plan, plan.parent)
        assert [(folder / name).read_bytes() for name in names] == before

    def test_it_does_not_matter_where_it_is_called(
        self, plan: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir("/")
        assert len(read_tables(collate(plan, plan.parent))[1]) == 3

    def test_a_missing_file_is_named(self, plan: Path) -> None:
        gone = run_folder(plan, 1) / "evaluation-bbbbbbbbbbbb" / "linear.json"
        gone.unlink()
        with pytest.raises(UserError, match="simclr / default / seed 1") as caught:
            collate(plan, plan.parent)
        assert caught.value.where == str(gone)

    def test_partial_marks_what_is_missing_and_keeps_the_rest(self, plan: Path) -> None:
        (run_folder(plan, 0) / "pretrain.json").unlink()
        (run_folder(plan, 1) / "evaluation-bbbbbbbbbbbb" / "knn.json").unlink()
        results, runs = read_tables(collate(plan, plan.parent, partial=True))
        assert runs["status"].tolist() == ["missing", "missing", "ok"]
        assert "knn.json" in runs["message"][1]
        kept = results[(results["seed"] == 1) & (results["method"] == "simclr")]
        assert set(kept["family"]) == {"linear", "collapse", "structure", "robustness"}

    def test_partial_works_before_anything_is_finished(self, plan: Path) -> None:
        for number in range(3):
            for file in run_folder(plan, number).rglob("*.json"):
                file.unlink()
        results, runs = read_tables(collate(plan, plan.parent, partial=True))
        assert results.empty
        assert set(runs["status"]) == {"missing"}

    def test_a_diverged_run_is_a_result(self, plan: Path) -> None:
        folder = run_folder(plan, 0)
        failed = {"status": "diverged", "message": "loss is not finite at step 7"}
        write_json(folder / "pretrain.json", metrics("pretrain", failed))
        for file in (folder / "evaluation-bbbbbbbbbbbb").iterdir():
            file.unlink()
        _, runs = read_tables(collate(plan, plan.parent))
        assert runs["status"][0] == runs["verdict"][0] == "diverged"
        assert "step 7" in runs["message"][0]

    def test_unlabelled_data_keep_empty_values(self, plan: Path) -> None:
        file = run_folder(plan, 0) / "evaluation-bbbbbbbbbbbb" / "knn.json"
        write_json(file, metrics("knn", {"accuracy": None}))
        results, _ = read_tables(collate(plan, plan.parent))
        assert results["value"].isna().sum() == 1

    @pytest.mark.parametrize("content", ["{", "[]", '{"protocol": {}}'])
    def test_damaged_metrics_are_named(self, plan: Path, content: str) -> None:
        file = run_folder(plan, 0) / "evaluation-bbbbbbbbbbbb" / "knn.json"
        file.write_text(content)
        with pytest.raises(UserError) as caught:
            collate(plan, plan.parent)
        assert caught.value.where == str(file)


class TestPlan:
    def test_not_a_plan(self, tmp_path: Path) -> None:
        write_json(tmp_path / "plan.json", {"study": "x", "runs": [{"dataset": "toy"}]})
        with pytest.raises(UserError, match="not a plan"):
            read_plan(tmp_path / "plan.json")

    def test_an_empty_plan(self, plan: Path) -> None:
        write_json(plan, {**read_json(plan), "runs": []})
        with pytest.raises(UserError, match="plans no run"):
            read_plan(plan)

    def test_tables_before_collating(self, plan: Path) -> None:
        with pytest.raises(UserError, match="not found"):
            read_tables(plan.parent)


class TestStandings:
    def test_stored_predictions_give_one_seed_an_interval(self, plan: Path) -> None:
        folder = run_folder(plan, 1)
        labels = np.arange(100) % 10
        guess = np.where(np.arange(100) < 81, labels, (labels + 1) % 10)
        evaluation = folder / "evaluation-bbbbbbbbbbbb"
        save_file({"labels": labels, "linear": guess}, evaluation / "predictions.safetensors")
        content = read_json(plan)
        write_json(plan, {**content, "runs": content["runs"][1:]})
        (board,) = standings(*read_tables(collate(plan, plan.parent)), read_plan(plan))
        summary = board.summary(board.methods[0], LINEAR)
        assert summary is not None
        assert summary.scope == "this checkpoint"
        assert summary.interval is not None
        assert summary.interval.low < 0.81 < summary.interval.high

    def test_tables_are_written_in_every_format(self, plan: Path) -> None:
        collate(plan, plan.parent)
        text = write_tables(plan, plan.parent)
        assert "SimCLR" in text
        for ending in ("html", "md", "tex", "csv"):
            assert "80.5" in (plan.parent / "tables" / f"comparison.{ending}").read_text() or (
                ending == "csv"
            )
        table = pd.read_csv(plan.parent / "tables" / "comparison.csv")
        assert table.set_index("method")["linear"]["simclr"] == pytest.approx(0.805)


class TestSimilarities:
    def test_every_pair_of_rows_with_features_once(self, plan: Path) -> None:
        content = read_json(plan)
        random = np.random.default_rng(0)
        content["runs"].append(add_run(plan.parents[3], "byol", 0, 0.6))
        content["runs"].append(add_run(plan.parents[3], "dino", 0, 0.6))
        write_json(plan, content)
        h = random.normal(size=(2500, 6)).astype(np.float32)
        of_method = {"simclr": h, "raw_pixels": 3 * h[:, ::-1] + 1, "byol": np.ones_like(h)}
        for run in content["runs"]:
            features = plan.parents[3] / run["features"]
            features.mkdir(parents=True)
            other = random.normal(size=(2500, 6)).astype(np.float32)
            first = run["method"] in of_method and run["seed"] == 0
            tensors = {"h": np.ascontiguousarray(of_method[run["method"]] if first else other)}
            save_file({} if run["method"] == "dino" else tensors, features / "test.safetensors")
        write_tables(plan, collate(plan, plan.parent))
        table = pd.read_csv(plan.parent / "tables" / "cka.csv")
        assert table[["method_a", "method_b"]].to_numpy().tolist() == [["simclr", "raw_pixels"]]
        assert table["cka"][0] == pytest.approx(1, abs=1e-6)

    def test_without_features_the_table_is_empty(self, plan: Path) -> None:
        write_tables(plan, collate(plan, plan.parent))
        assert (plan.parent / "tables" / "cka.csv").read_text() == ""


def test_the_curves_of_the_last_epoch_are_numbers_and_its_speed_is_not(plan: Path) -> None:
    """Each line counts by its steps: 20 at 0.4 and 5 at 0.9 after the first epoch's 25."""
    lines = [
        {"step": 0, "epoch": 0.0, "time": 1.0, "verdict": "healthy", "feature_std": 0.1},
        {"step": 25, "epoch": 1.0, "time": 2.0, "loss": 9.0, "images_per_second": 5.0},
        {"step": 45, "epoch": 1.8, "time": 3.0, "loss": 0.4, "images_per_second": 7.0, "lr": 0.1},
        {"step": 50, "epoch": 2.0, "time": 4.0, "loss": 0.9, "seconds": 1.0, "verdict": "healthy"},
    ]
    history = run_folder(plan, 0) / "history.jsonl"
    history.write_text("".join(json.dumps(line) + "\n" for line in lines))
    results, _ = read_tables(collate(plan, plan.parent))
    training = results[results["family"] == "training"]
    assert training["metric"].tolist() == ["loss"]
    assert training["value"].item() == pytest.approx((20 * 0.4 + 5 * 0.9) / 25)

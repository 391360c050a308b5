"""Plans: which runs there are, where they live, and what moves their keys."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from replearn.config import parse_study, read_run_config
from replearn.errors import UserError
from replearn.planning import Plan, plan, write
from tests.test_config import BASE, study_with

ROOT = Path(__file__).parents[1]


def planned(tmp_path: Path, **change: Any) -> Plan:
    return plan(parse_study(study_with(results=str(tmp_path / "results"), **change), "study"))


def keys(p: Plan) -> dict[str, str]:
    return {run.config.id: run.config.key for run in p.runs}


def test_runs_are_datasets_times_methods_times_variants_times_seeds(tmp_path: Path) -> None:
    p = planned(tmp_path, methods={"simclr": {"variants": {"cold": {"temperature": 0.1}}}})
    ids = [run.config.id for run in p.runs]
    assert ids == [
        "digits/simclr/default/seed-0",
        "digits/simclr/default/seed-1",
        "digits/simclr/cold/seed-0",
        "digits/simclr/cold/seed-1",
        "digits/raw_pixels/default/seed-0",
    ], "raw pixels do not depend on the seed and are run once"
    assert len({run.config.key for run in p.runs}) == 5
    for run in p.runs:
        assert run.layout.root.name == run.config.key


def test_keys_depend_on_what_matters_and_on_nothing_else(tmp_path: Path) -> None:
    base = keys(planned(tmp_path))
    simclr, raw = "digits/simclr/default/seed-0", "digits/raw_pixels/default/seed-0"

    def changed(**change: Any) -> set[str]:
        new = keys(planned(tmp_path, **change))
        return {name for name in base if new[name] != base[name]}

    everything = set(base)
    assert changed(name="other", title="x", device="cpu", jobs_per_gpu=4) == set()
    assert changed(training={"monitor": {"epochs": 0}}) == set()
    assert changed(evaluation={"knn": {"k": 5}}) == set(), "an evaluation retrains nothing"
    assert changed(methods={"simclr": {"temperature": 0.123}}) == everything - {raw}
    assert changed(encoder={"width": 16}) == everything
    assert changed(datasets={"digits": {"limit": 500}}) == everything
    assert simclr in changed(methods={"simclr": {"optimizer": {"lr": 0.5}}})


def test_an_evaluation_option_moves_the_evaluation_alone(tmp_path: Path) -> None:
    first = planned(tmp_path).runs[0].layout
    second = planned(tmp_path, evaluation={"knn": {"k": 5}}).runs[0].layout
    assert first.root == second.root and first.features == second.features
    assert first.evaluation != second.evaluation


def test_order_in_the_file_does_not_matter(tmp_path: Path) -> None:
    raw = {**BASE, "results": str(tmp_path)}
    turned = dict(reversed(list(raw.items())))
    turned["methods"] = dict(reversed(list(raw["methods"].items())))
    assert keys(plan(parse_study(raw, "a"))) == keys(plan(parse_study(turned, "b")))


def test_writing_twice_touches_nothing(tmp_path: Path) -> None:
    p = planned(tmp_path)
    write(p)
    files = [path for path in (tmp_path / "results").rglob("*.json") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert p.file in before and p.runs[0].layout.config in before
    write(p)
    assert before == {path: path.stat().st_mtime_ns for path in files}
    assert read_run_config(p.runs[0].layout.config) == p.runs[0].config
    assert len(json.loads(p.file.read_text())["runs"]) == len(p.runs)


def test_cells_that_cannot_be_are_skipped_with_a_reason(tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    from PIL import Image

    rows = []
    for number in range(6):
        Image.new("L", (8, 8), number * 20).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,a picture of shade {number}")
    pairs.write_text("image,caption\n" + "\n".join(rows))
    p = planned(
        tmp_path,
        datasets={"mine": {"source": "pairs", "path": str(pairs)}},
        methods={"supcon": {}, "clip": {}},
    )
    skipped = {(s.dataset, s.method): s.reason for s in p.skipped}
    assert skipped == {("mine", "supcon"): "the method needs labels and the dataset has none"}
    assert {run.config.supervision for run in p.runs if run.config.method == "clip"} == {
        "captions",
        "template captions",
    }


def test_a_batch_larger_than_the_limit_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batch of 64 is larger than the 45 .*\n.*batch_size"):
        planned(tmp_path, datasets={"digits": {"limit": 50}})


CODE_KEYS = """
import json, sys
sys.path.insert(0, sys.argv[1])
from replearn.config import parse_study
from replearn.planning import plan
assert "torch" not in sys.modules, "planning must not import torch"
p = plan(parse_study(json.loads(sys.argv[2]), "study"))
print(json.dumps({run.config.method: run.config.key for run in p.runs}))
"""


def test_editing_a_method_moves_its_key_alone_and_a_comment_moves_none(tmp_path: Path) -> None:
    copy = tmp_path / "code"
    shutil.copytree(ROOT / "replearn", copy / "replearn")
    study = json.dumps(
        {**study_with(methods={"byol": {}, "dino": {}}), "seeds": [0], "results": str(tmp_path)}
    )

    def keys_now() -> dict[str, str]:
        command = [sys.executable, "-c", CODE_KEYS, str(copy), study]
        out = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
        found: dict[str, str] = json.loads(out.stdout)
        return found

    byol = copy / "replearn" / "methods" / "byol.py"
    source = byol.read_text()
    before = keys_now()
    byol.write_text(
        '"""Another docstring."""\n' + source.partition('"""\n\nfrom')[2].join(["from", ""])
    )
    assert "from __future__" in byol.read_text()
    assert keys_now() == before, "a docstring"
    byol.write_text(source.replace("\n\n\n", "\n\n\n# a comment\n\n"))
    assert keys_now() == before, "a comment"
    byol.write_text(source.replace("2 - 2 * F.cosine", "2 - 1.9 * F.cosine"))
    after = keys_now()
    assert {name for name in before if after[name] != before[name]} == {"byol"}


def test_gpus_that_cannot_share_a_batch_are_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"5 GPUs cannot share a batch of 64 .*\n.*batch_size"):
        planned(tmp_path, gpus_per_run=5)


def test_a_folder_of_five_thousand_other_runs_is_not_searched(tmp_path: Path) -> None:
    """Planning opens what it names; what lies beside it costs nothing."""
    results = tmp_path / "results"
    for number in range(5000):
        (results / "runs" / "digits" / "simclr" / "default" / f"seed-{number}").mkdir(parents=True)
    raw = {
        "name": "small",
        "datasets": {"digits": {}},
        "methods": {"simclr": {}},
        "results": str(results),
    }
    listed = []

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event in ("os.listdir", "os.scandir") and str(results / "runs") in str(arguments[0]):
            listed.append(str(arguments[0]))

    sys.addaudithook(watch)
    small = plan(parse_study(raw, "small"))
    write(small)
    assert len(small.runs) == 3
    assert set(listed) <= {str(run.layout.root) for run in small.runs}

"""The studies of one invocation: planned once, found by run, and what is said of a wrong name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from replearn.claims.claim import claim_files
from replearn.config import parse_study
from replearn.errors import UserError
from replearn.planning import Plan, plan
from replearn.studies import Studies
from tests.claims.test_claim import written


def made(tmp_path: Path, **change: Any) -> tuple[Studies, list[str]]:
    """Studies of digits with the claim `pixels`, and the names of those that were planned."""
    folder = tmp_path / "claims"
    folder.mkdir()
    written(folder)
    raw = {
        "name": "own",
        "datasets": {"digits": {}},
        "methods": {"simclr": None},
        "seeds": [0],
        "results": str(tmp_path / "elsewhere"),
        **change,
    }
    seen: list[str] = []

    def note(planned: Plan) -> None:
        seen.append(planned.study.name)

    return Studies(plan(parse_study(raw, "own")), claim_files(folder), "cpu", {}, note), seen


def test_a_claim_is_planned_when_it_is_asked_for_and_once(tmp_path: Path) -> None:
    studies, seen = made(tmp_path)
    assert seen == ["own"]
    assert studies["claim_pixels_cpu"] is studies.claim("pixels")
    assert seen == ["own", "claim_pixels_cpu"]


def test_its_results_lie_beside_those_of_the_invocation(tmp_path: Path) -> None:
    studies, _ = made(tmp_path)
    assert studies.claim("pixels").study.results == studies.own.study.results


def test_a_run_is_found_by_its_key_even_if_another_claim_is_broken(tmp_path: Path) -> None:
    studies, seen = made(tmp_path)
    key = studies.claim("pixels").runs[0].config.key
    (tmp_path / "anew").mkdir()
    again, seen = made(tmp_path / "anew", results=str(tmp_path / "elsewhere"))
    (tmp_path / "anew" / "claims" / "a_broken_one.yaml").write_text("criteria: []")
    again = Studies(again.own, claim_files(tmp_path / "anew" / "claims"), "cpu", {}, lambda p: None)
    assert again.of_run(key).study.name == "claim_pixels_cpu"
    with pytest.raises(UserError, match="no study of this invocation"):
        again.run("0" * 12)
    assert seen == ["own"]


def test_one_run_has_one_evaluation(tmp_path: Path) -> None:
    """The invocation's study has the claim's own rows, evaluated in another way."""
    methods = {"pca": {"variants": {"two": {"components": 2}}}, "raw_pixels": None}
    studies, _ = made(tmp_path, methods=methods, evaluation={"knn": {"k": 3}})
    with pytest.raises(UserError, match="another evaluation"):
        studies.claim("pixels")


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ("claim_pixel_cpu", "Did you mean 'pixels'"),
        ("claim_pixels_gpu", "Add --config size=gpu"),
        ("something", "no claim is called 'something'"),
    ],
)
def test_wrong_names(tmp_path: Path, study: str, told: str) -> None:
    studies, _ = made(tmp_path)
    with pytest.raises(UserError) as error:
        _ = studies[study]
    assert told in str(error.value)


def test_an_invalid_claim_is_told_when_it_is_asked_for(tmp_path: Path) -> None:
    studies, _ = made(tmp_path)
    (tmp_path / "claims" / "pixels.yaml").write_text(yaml.safe_dump({"claim": "?"}))
    with pytest.raises(UserError, match="needs datasets and methods"):
        studies.claim("pixels")

"""The committed sample of the claims: of the criteria that are in the files now, and true to itself."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from replearn.claims.claim import claim_files, load_claim
from replearn.claims.judge import worst

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "docs" / "claims"
FOUND: list[dict[str, Any]] = json.loads((SAMPLE / "index.json").read_text())


def test_every_claim_is_in_the_sample() -> None:
    assert {found["claim"] for found in FOUND} == set(claim_files(ROOT / "config" / "claims"))


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found["claim"])
def test_its_criteria_are_those_of_the_file(found: dict[str, Any]) -> None:
    claim = load_claim(ROOT / "config" / "claims" / f"{found['claim']}.yaml")
    judged = [finding["criterion"] for finding in found["findings"]]
    assert judged == [criterion.model_dump(mode="json") for criterion in claim.criteria]
    assert found["sentence"] == claim.claim
    assert len(found["seeds"]) >= 3


@pytest.mark.parametrize("found", FOUND, ids=lambda found: found["claim"])
def test_its_verdicts_follow_from_its_intervals(found: dict[str, Any]) -> None:
    assert found["verdict"] == worst(finding["verdict"] for finding in found["findings"])
    for finding in found["findings"]:
        assert finding["verdict"] == worst(part["verdict"] for part in finding["parts"])


def test_the_table_and_the_page_say_the_same() -> None:
    with (SAMPLE / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(f["parts"]) for found in FOUND for f in found["findings"])
    assert {row["claim"]: row["overall"] for row in rows} == {
        found["claim"]: found["verdict"] for found in FOUND
    }
    page = (SAMPLE / "index.html").read_text()
    assert page.count('<section id="') == len(FOUND)


def test_the_page_about_it_names_each_verdict() -> None:
    text = (ROOT / "docs" / "claims.md").read_text()
    for found in FOUND:
        line = next(line for line in text.splitlines() if line.startswith(f"| `{found['claim']}`"))
        assert f"**{found['verdict']}**" in line

"""Claims from the command line: one, all, at a size, and what is said of mistakes."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import yaml

from tests.workflow_fixture import FinishedStudy, copy_checkout

CLAIM = {
    "claim": "Two components say as much as eight.",
    "lecture": "PCA",
    "experiment": "PCA with 2 and with 8 components.",
    "published": {"effect": "none", "source": "nobody"},
    "study": {
        "methods": {"pca": {"components": 8, "variants": {"two": {"components": 2}}}},
    },
    "criteria": [
        {
            "says": "Two are as good",
            "metric": "linear/accuracy",
            "better": "pca/two",
            "than": ["pca"],
            "by": -0.01,
        },
        {
            "says": "Formulas agree",
            "identity": "nt_xent_is_supcon_of_pairs",
            "at_most": 1e-6,
        },
    ],
}
SIZES = {
    "cpu": {"datasets": {"digits": {}}, "seeds": [0]},
    "gpu": {"datasets": {"digits": {"limit": 500}}, "seeds": [0]},
}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """A checkout with a single, quick claim, which has been asked for."""
    study = copy_checkout(tmp_path_factory.mktemp("claims") / "checkout")
    folder = study.root / "config" / "claims"
    for file in folder.iterdir():
        file.unlink()
    (folder / "sizes.yaml").write_text(yaml.safe_dump(SIZES))
    (folder / "two_components.yaml").write_text(yaml.safe_dump(CLAIM))
    done = study.snakemake("claims", "--cores", "2", "--config", "tracking={enabled: false}")
    assert done.returncode == 0, done.stdout
    return study


def verdict(study: FinishedStudy, size: str) -> Path:
    return study.root / "results" / "studies" / f"claim_two_components_{size}" / "claim.json"


def test_a_claim_is_judged_by_its_study(asked: FinishedStudy) -> None:
    found = json.loads(verdict(asked, "cpu").read_text())
    assert [finding["verdict"] for finding in found["findings"]] == ["contradicted", "supported"]
    assert found["verdict"] == "contradicted"
    assert found["runs"] == 2
    (part,) = found["findings"][0]["parts"]
    assert part["high"] < -1 < 0
    assert (asked.root / "reports" / "claim_two_components_cpu" / "index.html").is_file()


def test_the_page_and_its_tables_say_the_same(asked: FinishedStudy) -> None:
    folder = asked.root / "reports" / "claims-cpu"
    page = (folder / "index.html").read_text()
    assert "Two components say as much as eight." in page
    assert '<span class="badge contradicted">contradicted</span>' in page
    assert 'href="../claim_two_components_cpu/index.html"' in page
    assert page.count('<svg class="chart"') == 1
    with (folder / "index.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["verdict"] for row in rows] == ["contradicted", "supported"]
    assert json.loads((folder / "index.json").read_text()) == [
        json.loads(verdict(asked, "cpu").read_text())
    ]


def test_asking_again_computes_nothing(asked: FinishedStudy) -> None:
    done = asked.snakemake(
        "claim_two_components", "--cores", "2", "--config", "tracking={enabled: false}"
    )
    assert "Nothing to be done" in done.stdout


def test_other_criteria_judge_anew_and_train_nothing(asked: FinishedStudy) -> None:
    file = asked.root / "config" / "claims" / "two_components.yaml"
    file.write_text(yaml.safe_dump({**CLAIM, "lecture": "PCA, again"}))
    done = asked.snakemake("claims", "--dry-run", "--config", "tracking={enabled: false}")
    assert "judge" in done.stdout
    assert "pretrain" not in done.stdout
    file.write_text(yaml.safe_dump(CLAIM))


def test_the_other_size_is_another_study(asked: FinishedStudy) -> None:
    done = asked.snakemake(
        "claim_two_components", "--dry-run", "--quiet", "reason", "--config", "size=gpu"
    )
    assert done.returncode == 0, done.stdout
    assert "claim_two_components_gpu" in done.stdout
    assert not verdict(asked, "gpu").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["claim_two_component"], "Did you mean 'two_components'"),
        (["claims", "--config", "size=gpuu"], "Did you mean 'gpu'"),
    ],
)
def test_mistakes(asked: FinishedStudy, arguments: list[str], told: str) -> None:
    done = asked.snakemake(*arguments, "--dry-run")
    assert done.returncode != 0
    assert told in done.stdout
    assert "Traceback" not in done.stdout

"""Claims as files: every one of the repository is valid at both sizes; mistakes are told where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from replearn.claims.claim import SIZES, claim_files, load_claim
from replearn.errors import UserError

FOLDER = Path(__file__).parents[2] / "config" / "claims"
CLAIM: dict[str, Any] = {
    "claim": "Raw pixels are worse than PCA.",
    "lecture": "PCA",
    "experiment": "Both.",
    "published": {"effect": "none", "source": "nobody"},
    "study": {"methods": {"pca": {"variants": {"two": {"components": 2}}}, "raw_pixels": None}},
    "criteria": [
        {"says": "It is", "metric": "knn/accuracy", "better": "pca", "than": ["raw_pixels"]}
    ],
}
SIZE: dict[str, Any] = {"datasets": {"digits": {}}, "seeds": [0]}


def written(tmp_path: Path, **change: Any) -> Path:
    (tmp_path / "sizes.yaml").write_text(yaml.safe_dump(dict.fromkeys(SIZES, SIZE)))
    file = tmp_path / "pixels.yaml"
    file.write_text(yaml.safe_dump({**CLAIM, **change}))
    return file


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", claim_files(FOLDER))
def test_every_claim_is_a_valid_study_of_three_seeds_or_more(name: str, size: str) -> None:
    claim = load_claim(claim_files(FOLDER)[name])
    study = claim.study(size)
    assert study.name == f"claim_{name}_{size}"
    assert len(study.seeds) >= 3
    assert (study.device == "cuda") == (size == "gpu")


def test_the_claims_are_those_of_the_lecture() -> None:
    assert len(claim_files(FOLDER)) >= 14


def test_a_size_s_datasets_are_replaced_and_not_joined(tmp_path: Path) -> None:
    file = written(tmp_path, gpu={"datasets": {"cifar10": {}}})
    claim = load_claim(file)
    assert list(claim.study("cpu").datasets) == ["digits"]
    assert list(claim.study("gpu").datasets) == ["cifar10"]


def test_overrides_touch_the_datasets_that_a_claim_uses_alone(tmp_path: Path) -> None:
    claim = load_claim(written(tmp_path))
    changed = {"digits": {"limit": 500}, "cifar10": {"limit": 9}}
    study = claim.study("cpu", {"datasets": changed, "seeds": [4]})
    assert {name: options.limit for name, options in study.datasets.items()} == {"digits": 500}
    assert study.seeds == (4,)


def test_the_digest_changes_with_the_criteria_and_not_with_the_place(tmp_path: Path) -> None:
    first = load_claim(written(tmp_path)).digest
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert load_claim(written(elsewhere)).digest == first
    stricter = [{**CLAIM["criteria"][0], "by": 0.1}]
    assert load_claim(written(tmp_path, criteria=stricter)).digest != first


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"criteria": []}, "needs a list of criteria"),
        ({"criteria": [{"says": "?"}]}, "exactly one of the keys"),
        (
            {"criteria": [{"says": "?", "metric": "knn", "rows": ["pca"], "above": 1}]},
            "family/name",
        ),
        (
            {"criteria": [{"says": "?", "metric": "knn/accuracy", "rows": ["pca"]}]},
            "either above or below",
        ),
        (
            {
                "criteria": [
                    {"says": "?", "metric": "knn/accuracy", "rows": ["pca/tow"], "above": 1}
                ]
            },
            "Did you mean 'two'",
        ),
        ({"publisched": {}}, "Did you mean 'published'"),
        ({"cpu": [1]}, "expected a mapping"),
    ],
)
def test_mistakes_name_the_file_and_what_to_do(
    tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    file = written(tmp_path, **change)
    with pytest.raises(UserError) as error:
        load_claim(file).study("cpu")
    assert told in str(error.value)
    assert str(file) in str(error.value)

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits

from replearn.data import SOURCES, prompts
from replearn.data.digits import DigitsOptions

from .conftest import ADAPTER, Prepare


def test_digits_are_scikit_learns(prepared: Prepare) -> None:
    data = prepared(source="digits")
    oracle = load_digits()
    levels = np.round(oracle.images * 255 / 16).astype(np.uint8)
    expected = sorted((int(y), x.tobytes()) for x, y in zip(levels, oracle.target, strict=True))
    found = []
    for name in ("train", "validation", "test"):
        part = data.part(name)
        assert part.labels is not None
        found += [(int(y), x.tobytes()) for x, y in zip(part.images, part.labels, strict=True)]
    assert sorted(found) == expected
    assert data.manifest.splits["test"].count == 359
    assert data.manifest.splits["validation"].count == 144


def test_splits_are_stratified(prepared: Prepare) -> None:
    splits = prepared(source="digits").manifest.splits
    whole = np.bincount(load_digits().target)
    test = np.array(splits["test"].class_counts)
    validation = np.array(splits["validation"].class_counts)
    assert (np.abs(test - 0.2 * whole) <= 1).all()
    assert (np.abs(validation - 0.08 * whole) <= 1).all()


def test_sizes_limits_and_templates(prepared: Prepare) -> None:
    data = prepared(source="digits", size=16, limit=100, validation=0.5, templates=["no. {}"])
    assert data.part("train").images.shape == (50, 1, 16, 16)
    assert data.part("validation").images.shape == (50, 1, 16, 16)
    assert data.part("test").images.shape == (359, 1, 16, 16)
    assert prompts(data.manifest)[3] == ["no. 3"]
    assert data.manifest.captions == "templates"


def test_two_preparations_are_the_same_bytes(prepared: Prepare) -> None:
    one, two = (prepared(place, source="digits").path for place in ("one", "two"))
    assert {f.name: f.read_bytes() for f in one.iterdir()} == {
        f.name: f.read_bytes() for f in two.iterdir()
    }


def test_built_in_digests_need_no_data() -> None:
    digests = {
        source: ADAPTER.validate_python({"source": source}).digest()
        for source in SOURCES
        if source not in ("folder", "pairs", "webdataset")
    }
    assert len(set(digests.values())) == 5


def test_digest_follows_every_option_but_the_path() -> None:
    plain = DigitsOptions().digest()
    others = [
        DigitsOptions(limit=100),
        DigitsOptions(validation=0.2),
        DigitsOptions(size=16),
        DigitsOptions(templates=("{}",)),
    ]
    assert len({plain, *(options.digest() for options in others)}) == 5
    block = {"source": "fashion-mnist"}
    assert (
        ADAPTER.validate_python(block).digest()
        == ADAPTER.validate_python({**block, "path": "/somewhere"}).digest()
    )

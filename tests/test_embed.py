"""Features of every split in files: all rows, in order, from a real network."""

from __future__ import annotations

import resource
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from replearn import images as images_of_a_run
from replearn.augment import clean
from replearn.build import build_method, method_tensors
from replearn.config import parse_study
from replearn.data import open_prepared, prepare
from replearn.embed import embed, trained_method
from replearn.errors import UserError
from replearn.evaluate.features import read_features, write_tensors
from replearn.planning import plan


@pytest.mark.parametrize("name", ["simclr", "raw_pixels"])
def test_rows_are_those_of_the_network_in_their_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw: dict[str, Any] = {
        "name": "tiny",
        "datasets": {"digits": {"limit": 300}},
        "encoder": {"name": "convnet", "width": 4},
        "training": {"batch_size": 32},
        "methods": {name: {}},
        "results": str(tmp_path / "results"),
    }
    planned = plan(parse_study(raw, "tiny"))
    place, config = planned.datasets["digits"], planned.runs[0].config
    prepare("digits", place.options, place.directory, raw=tmp_path / "raw")
    dataset = open_prepared(place.directory)
    encoder = tmp_path / "encoder.safetensors"
    save_file(method_tensors(build_method(config, dataset.manifest)), encoder)

    monkeypatch.setattr(images_of_a_run, "CHUNK_IMAGES", 77)
    embed(config, dataset, encoder, tmp_path / "features", "cpu")

    method = trained_method(config, dataset, encoder, "cpu")
    mean, std = tuple(dataset.manifest.mean), tuple(dataset.manifest.std)
    for part in ("train", "validation", "test"):
        images = torch.from_numpy(dataset.part(part).images.read())
        with torch.no_grad():
            h, z = method.embed(clean(images, None, mean, std))
        found = read_features(tmp_path / "features" / f"{part}.safetensors")
        assert torch.allclose(found.h, h, atol=1e-5)
        assert (found.z is None) == (z is None)
        if z is not None and found.z is not None:
            assert torch.allclose(found.z, z, atol=1e-5)
        assert found.labels is not None
        assert found.labels.tolist() == list(dataset.part(part).labels)
        assert found.index.tolist() == list(dataset.part(part).index)


def test_features_replace_a_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "h.safetensors"
    write_tensors(path, {"h": torch.zeros(2, 3)})
    write_tensors(path, {"h": torch.arange(6.0).reshape(3, 2).T})
    assert load_file(path)["h"].tolist() == [[0, 2, 4], [1, 3, 5]]
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match=r"h\.safetensors: cannot write the file"):
        write_tensors(tmp_path / "file" / "h.safetensors", {"h": torch.zeros(1, 1)})
    # The kernel's limit on a file's size stands in for a full disk.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"h\.safetensors: cannot write the file"):
            write_tensors(tmp_path / "h.safetensors", {"h": torch.zeros(1000, 1)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

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
from replearn.augment.corruptions import corrupt, shuffled_patches
from replearn.build import build_method, method_tensors
from replearn.config import parse_study
from replearn.data import open_prepared, prepare
from replearn.embed import embed, trained_method
from replearn.errors import UserError
from replearn.evaluate.features import read_features, read_tensors, write_tensors
from replearn.evaluate.protocol import CORRUPTIONS, OF_COLOUR, OPERATIONS, RobustnessProtocol
from replearn.planning import Plan, plan
from replearn.shifted import shifted_features


@pytest.mark.parametrize("name", ["simclr", "raw_pixels", "autoencoder"])
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
        assert (found.reconstruction_error is not None) == (
            name == "autoencoder" and part == "test"
        )
        if found.reconstruction_error is not None:
            x = clean(images, None, mean, std)
            with torch.no_grad():
                x_hat = method.reconstruct(x)
            assert x_hat is not None
            errors = torch.stack([(x[row] - x_hat[row]).pow(2).mean() for row in range(len(x))])
            assert torch.allclose(found.reconstruction_error, errors, rtol=1e-5)


def test_shifted_images_are_those_of_each_corruption_and_view(
    tiny_study: Plan, tmp_path: Path
) -> None:
    run = next(run for run in tiny_study.runs if run.config.method == "raw_pixels")
    dataset = open_prepared(tiny_study.datasets["digits"].directory)
    test, manifest = dataset.part("test"), dataset.manifest
    method = build_method(run.config, manifest).eval()
    protocol = RobustnessProtocol(images=70, severities=(2, 5))
    with torch.no_grad():
        found = shifted_features(method, manifest, test, protocol, "cpu")
    rows = found["rows"].numpy()
    assert (len(rows), rows[0], rows[-1]) == (70, 0, len(test) - 1)
    images, index = torch.from_numpy(test.images.read(rows)), torch.from_numpy(test.index[rows])
    mean, std = tuple(manifest.mean), tuple(manifest.std)
    expected = {
        f"corruption_{name}_{severity}": clean(
            corrupt(images, name, severity, index), None, mean, std
        )
        for name in CORRUPTIONS
        for severity in (2, 5)
    }
    expected["ood_shuffled"] = clean(shuffled_patches(images, index), None, mean, std)
    expected["view_flip"] = clean(images, None, mean, std).flip(3)
    for name, pixels in expected.items():
        assert torch.allclose(found[name], pixels.flatten(1), atol=1e-5), name
    views = {name for name in found if name.startswith("view_")}
    assert views == {f"view_{name}" for name in OPERATIONS if name not in OF_COLOUR}
    assert shifted_features(method, manifest, test, RobustnessProtocol(images=0), "cpu") == {}
    write_tensors(tmp_path / "shifted.safetensors", {})
    assert read_tensors(tmp_path / "shifted.safetensors") == {}


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

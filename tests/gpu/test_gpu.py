"""What only a real graphics card can show: its numbers are the CPU's, and no step waits for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from replearn.augment import make_view
from replearn.data import open_prepared
from replearn.data.stored import StoredImages
from replearn.embed import embed
from replearn.engine import Compile, Engine
from replearn.evaluate.knn import knn_predict
from replearn.evaluate.run import OUTPUTS, evaluate, select
from replearn.images import ResidentImages, StreamedImages
from replearn.planning import Plan
from replearn.randomness import uniforms
from replearn.views import View
from tests.evaluate.digits import pixels, untrained
from tests.evaluate.test_device import CONFIG
from tests.evaluate.test_run import RUN, write_features
from tests.gpu.steps import compiled_view_errors, data, gradients, losses, settled, steps
from tests.methods.test_contract import TRAINED, run_config
from tests.tiny_study import curves, run_of, run_once

GPU = "cuda"

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device here"),
]


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Convolutions in float32 throughout: TensorFloat-32 would differ in the fourth digit."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", TRAINED)
def test_steps_are_those_of_the_cpu(name: str, single_precision: None) -> None:
    config = run_config(name)
    expected = losses(config, Engine(fast=False), "cpu")
    for fast in (True, False):
        assert losses(config, Engine(fast=fast), GPU) == pytest.approx(expected, rel=2e-3), fast


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_is_near(name: str) -> None:
    config = run_config(name)
    exact = losses(config, Engine(), GPU)
    assert losses(config, Engine(), GPU, torch.bfloat16) == pytest.approx(exact, rel=0.2)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw", "lars"])
def test_every_optimiser_steps_as_on_the_cpu(optimizer: str, single_precision: None) -> None:
    config = run_config("simclr")
    config = config.model_copy(
        update={
            "optimizer": config.optimizer.model_copy(
                update={"name": optimizer, "lr": 0.01, "momentum": 0.9, "trust": 0.02}
            )
        }
    )
    assert losses(config, Engine(), GPU) == pytest.approx(
        losses(config, Engine(fast=False), "cpu"), rel=2e-3
    )


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("name", TRAINED)
def test_no_step_waits_for_the_gpu(name: str, fast: bool, waiting_is_an_error: None) -> None:
    """From uint8 images to the averages after the step, once everything has been set up."""
    config = run_config(name)
    engine = Engine(fast=fast)
    method = settled(config, engine, GPU)
    made = steps(config, engine, method, data(GPU), torch.bfloat16)
    for _ in islice(made, 3):
        pass
    torch.cuda.set_sync_debug_mode("error")
    for _ in islice(made, 5):
        pass


@pytest.mark.parametrize("mode", ["kernels", "graphs"])
@pytest.mark.parametrize("name", TRAINED)
def test_compiled_steps_agree(name: str, mode: Compile, single_precision: None) -> None:
    torch.compiler.reset()
    config = run_config(name)
    expected = losses(config, Engine(fast=False), GPU)
    assert losses(config, Engine(compile=mode), GPU) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("mode", ["kernels", "graphs"])
@pytest.mark.parametrize(
    ("name", "encoder", "error"),
    [*((name, "convnet", 1e-3) for name in TRAINED), ("simclr", "resnet18", 2e-2)],
)
def test_compiled_gradients_agree(
    name: str, encoder: str, error: float, mode: Compile, single_precision: None
) -> None:
    """Those of the first step, before BYOL and others multiply rounding from step to step.

    ResNet-18 multiplies it even within a step, by its ReLUs and by BatchNorm over few pixels.
    """
    torch.compiler.reset()
    config = run_config(name, encoder)
    wanted = gradients(config, Engine(fast=False), GPU)
    found = gradients(config, Engine(compile=mode), GPU)
    assert (found - wanted).norm() < error * wanted.norm()


def test_uniform_numbers_are_equal_and_views_are_near() -> None:
    index = torch.arange(1000)
    assert torch.equal(uniforms(7, 3, index.to(GPU), 1, 40).cpu(), uniforms(7, 3, index, 1, 40))
    random = torch.Generator().manual_seed(0)
    images = torch.randint(256, (64, 3, 40, 40), generator=random, dtype=torch.uint8)
    view = View(
        size=32,
        crop_scale=(0.08, 1.0),
        flip=0.5,
        brightness=0.8,
        contrast=0.8,
        saturation=0.8,
        hue=0.2,
        jitter_probability=0.8,
        grayscale=0.2,
        blur=0.5,
        solarize=0.2,
    )
    made = [
        make_view(
            images.to(device),
            view,
            seed=1,
            epoch=0,
            index=torch.arange(64, device=device),
            number=0,
            mean=(0.0,) * 3,
            std=(1.0,) * 3,
        ).cpu()
        for device in ("cpu", GPU)
    ]
    difference = (made[0] - made[1]).abs()
    # A pixel at the threshold of solarising may fall to either side, by one bit.
    assert difference.quantile(0.999) < 1e-4
    assert difference.mean() < 1e-4


@pytest.mark.parametrize("name", TRAINED)
def test_compiled_views_are_near(name: str) -> None:
    torch.compiler.reset()
    for error in compiled_view_errors(run_config(name), GPU):
        assert error.quantile(0.999) < 1e-3
        assert error.mean() < 1e-4


@pytest.mark.parametrize("ahead", [1, 3])
def test_streamed_images_are_the_resident_ones(tmp_path: Path, ahead: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (997, 3, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "train.images.npy", pixels)
    streamed = StreamedImages(StoredImages.open(tmp_path / "train.images.npy"), GPU, ahead=ahead)
    resident = ResidentImages(torch.from_numpy(pixels).to(GPU))
    order = torch.randperm(997, generator=torch.Generator().manual_seed(0))
    for (a, one), (b, other) in zip(
        resident.batches(order, 64), streamed.batches(order, 64), strict=True
    ):
        assert torch.equal(a, b) and torch.equal(one, other)
        torch.cuda._sleep(1_000_000)


def test_neighbours_and_probes_are_those_of_the_cpu(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", untrained(0), untrained(1, width=4))

    def everything(device: str) -> dict[str, Any]:
        output = tmp_path / device
        select(features, output, CONFIG, RUN, device=device)
        evaluate(features, output / "select.json", output, CONFIG, RUN, device=device)
        return {
            name: json.loads((output / name).read_text())["metrics"]
            for name in OUTPUTS
            if name.endswith("json")
        }

    expected, found = everything("cpu"), everything(GPU)
    for name, metrics in expected.items():
        for metric, value in metrics.items():
            wanted = value if not isinstance(value, float) else pytest.approx(value, abs=0.01)
            assert found[name][metric] == wanted, (name, metric)


@pytest.mark.parametrize("k", [1, 20, 200])
def test_exact_neighbours(k: int) -> None:
    x, y = pixels()
    votes = [
        knn_predict(
            x[:1500].to(device),
            y[:1500].to(device),
            x[1500:].to(device),
            classes=10,
            k=k,
            temperature=0.07,
        ).cpu()
        for device in ("cpu", GPU)
    ]
    assert (votes[0] != votes[1]).sum() <= 1


@pytest.mark.parametrize("images", ["resident", "streamed"])
@pytest.mark.parametrize("method", ["simclr", "triplet", "dino", "distillation", "pca"])
def test_a_run_from_its_configuration_to_its_features(
    tiny_study: Plan, method: str, images: str, tmp_path: Path
) -> None:
    run = run_of(tiny_study, method)
    training = run.config.training.model_copy(update={"images": images})
    layout = run_once(tiny_study, method, tmp_path, GPU, training=training)
    facts = json.loads(layout.pretrain.read_text())["provenance"]
    assert facts["device"] == GPU
    if run.config.options.trained:
        lines = curves(layout)
        assert lines[-1]["loss"] < lines[1]["loss"] * 1.05
        assert facts["peak_memory_mb"] > 0
        assert 0 < facts["outside_model"] < 1
    dataset = open_prepared(tiny_study.datasets["digits"].directory)
    embed(run.config, dataset, layout.encoder, tmp_path / "features", GPU)
    features = load_file(tmp_path / "features" / "test.safetensors")
    embed(run.config, dataset, layout.encoder, tmp_path / "here", "cpu")
    torch.testing.assert_close(
        features["h"], load_file(tmp_path / "here" / "test.safetensors")["h"], rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("mode", ["off", "kernels"])
@pytest.mark.parametrize("encoder", ["convnet", "resnet18"])
def test_a_training_learns_what_it_learns_on_the_cpu(
    tiny_study: Plan, encoder: str, mode: Compile, tmp_path: Path
) -> None:
    """In the precision that a GPU has by default, over epochs enough for a small error to add up."""
    torch.compiler.reset()
    config = run_of(tiny_study, "simclr").config
    accuracies = [
        curves(
            run_once(
                tiny_study,
                "simclr",
                tmp_path / device,
                device,
                encoder=config.encoder.model_copy(update={"name": encoder}),
                training=config.training.model_copy(
                    update={"epochs": 8, "compile": mode if device == GPU else "off"}
                ),
            )
        )[-1]["knn"]
        for device in ("cpu", GPU)
    ]
    assert accuracies[1] == pytest.approx(accuracies[0], abs=0.1)
    assert accuracies[1] > 0.3, "far above chance, which is a tenth"

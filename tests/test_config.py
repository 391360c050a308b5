"""Studies: what is accepted, what is refused and in which words, and how layers win."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from replearn.config import load_study, merged, parse_study, resolve
from replearn.errors import UserError
from replearn.planning import plan

BASE: dict[str, Any] = {
    "name": "test",
    "datasets": {"digits": {}},
    "seeds": [0, 1],
    "encoder": {"name": "convnet", "width": 8},
    "training": {"epochs": 2, "batch_size": 64},
    "methods": {"simclr": {}, "raw_pixels": None},
}


def study_with(**change: Any) -> dict[str, Any]:
    return merged(BASE, change)


def write(tmp_path: Path, raw: Any) -> Path:
    path = tmp_path / "study.yaml"
    path.write_text(raw if isinstance(raw, str) else yaml.safe_dump(raw), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "where", "says"),
    [
        ({"sedes": [1]}, "sedes", "Did you mean 'seeds'?"),
        ({"training": {"epoch": 3}}, "training.epoch", "Did you mean 'epochs'?"),
        ({"methods": {"simcrl": {}}}, "methods.simcrl", "Did you mean 'simclr'?"),
        (
            {"methods": {"simclr": {"temprature": 0.1}}},
            "methods.simclr",
            "Did you mean 'temperature'?",
        ),
        ({"methods": {"simclr": {"lr": 0.1}}}, "methods.simclr", "It belongs under optimizer."),
        ({"methods": {"simclr": {"engine": "fast"}}}, "methods.simclr", "belongs under training."),
        ({"methods": {"simclr": {"temperature": -1}}}, "methods.simclr.temperature", "-1"),
        ({"methods": {"simclr": {"temperature": "warm"}}}, "methods.simclr.temperature", "'warm'"),
        ({"methods": {"simclr": {"optimizer": {"lr": 0}}}}, "methods.simclr.optimizer.lr", "0"),
        ({"methods": {"simclr": {"views": [{}]}}}, "methods.simclr.views", "takes 2 view(s)"),
        (
            {"methods": {"simclr": {"views": {"crop_scale": [0.9, 0.1]}}}},
            "methods.simclr.views[0]",
            "crop_scale",
        ),
        ({"methods": {"simclr": {"variants": {"default": {}}}}}, "variants.default", "taken"),
        (
            {"methods": {"simclr": {"variants": {"cold": {"tau": 0.1}}}}},
            "methods.simclr.variants.cold",
            "no option 'tau'",
        ),
        ({"methods": {"simclr": [1]}}, "methods.simclr", "mapping"),
        ({"encoder": {"name": "resnet"}}, "encoder.name", "Valid choices: convnet, resnet18"),
        ({"datasets": {"fashion-mnits": {}}}, "datasets.fashion-mnits.source", "fashion-mnist"),
        ({"datasets": {"digits": {"limt": 3}}}, "datasets.digits.limt", "Did you mean 'limit'?"),
        ({"datasets": {}, "name": "x"}, None, None),
        ({"seeds": [1, 1]}, "seeds", "twice"),
        ({"seeds": []}, "seeds", "at least 1"),
        ({"name": "a b; rm -rf"}, "name", "pattern"),
        ({"device": "tpu"}, "device", "auto"),
        ({"recipe": "tiny"}, "recipe", "Valid choices: auto, cifar, paper, small."),
        ({"engine": "plain"}, "engine", "It belongs under training."),
        ({"bank": 100}, "bank", "It belongs under training.monitor."),
        ({"training": {"gpus_per_run": 2}}, "training.gpus_per_run", "It belongs beside training."),
        ({"training": {"compile": True}}, "training.compile", "say kernels or graphs"),
        ({"training": {"compile": "kernel"}}, "training.compile", "Did you mean 'kernels'?"),
    ],
)
def test_a_mistake_is_one_message_that_names_key_and_remedy(
    tmp_path: Path, change: dict[str, Any], where: str | None, says: str | None
) -> None:
    raw = {**BASE, "datasets": {}} if change.get("datasets") == {} else study_with(**change)
    path = write(tmp_path, raw)
    with pytest.raises(UserError) as caught:
        load_study(path)
    message = str(caught.value)
    assert str(path) in message
    assert where is None or where in message
    assert says is None or says in message
    assert "Traceback" not in message and "pydantic" not in message


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "a: [", "just text"])
def test_a_file_that_is_no_study_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"study\.yaml"):
        load_study(write(tmp_path, text))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml.*not found"):
        load_study(tmp_path / "nowhere.yaml")


def test_yaml_reads_1e_3_as_text_and_it_is_still_a_number(tmp_path: Path) -> None:
    text = yaml.safe_dump(BASE).replace("simclr: {}", "simclr: {optimizer: {lr: 1e-3}}")
    study = load_study(write(tmp_path, text))
    assert resolve(study, "digits", "simclr", "default")["optimizer"].lr == 1e-3


def test_compilation_is_turned_off_by_a_bare_off(tmp_path: Path) -> None:
    text = yaml.safe_dump(BASE).replace(
        "simclr: {}",
        "simclr: {training: {compile: graphs}, variants: {b: {training: {compile: off}}}}",
    )
    study = load_study(write(tmp_path, text + "\ntraining: {compile: off}\n"))
    assert study.training.compile == "off"
    assert resolve(study, "digits", "simclr", "default")["training"].compile == "graphs"
    assert resolve(study, "digits", "simclr", "b")["training"].compile == "off"


def test_a_graphics_card_has_two_names() -> None:
    assert parse_study(study_with(device="gpu"), "study").device == "cuda"


def test_layers_win_from_defaults_to_variant() -> None:
    raw = study_with(
        methods={
            "simclr": {
                "temperature": 0.3,
                "optimizer": {"lr": 0.5},
                "training": {"epochs": 7},
                "variants": {
                    "cold": {"temperature": 0.05},
                    "plain": {"views": {"brightness": 0.0}},
                    "wide": {"encoder": {"width": 16}},
                },
            }
        }
    )
    study = parse_study(raw, "study")
    plain = resolve(study, "digits", "simclr", "default")
    cold = resolve(study, "digits", "simclr", "cold")
    assert plain["options"].temperature == 0.3
    assert plain["options"].hidden == 256, "from the recipe"
    assert plain["options"].layers == 2, "from the options' defaults"
    assert plain["optimizer"].lr == 0.5 and plain["optimizer"].name == "adamw"
    assert plain["training"].epochs == 7 and plain["training"].batch_size == 64
    assert cold["options"].temperature == 0.05 and cold["optimizer"].lr == 0.5
    assert all(v.brightness == 0 for v in resolve(study, "digits", "simclr", "plain")["views"])
    assert resolve(study, "digits", "simclr", "wide")["encoder"].width == 16


def test_overrides_replace_keys_of_the_file(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, BASE), {"seeds": [5], "training": {"epochs": 9}})
    assert study.seeds == (5,) and study.training.epochs == 9 and study.training.batch_size == 64


def test_the_shipped_studies_are_valid() -> None:
    config = Path(__file__).parents[1] / "config"
    for path in [config / "config.yaml", *sorted((config / "studies").glob("*.yaml"))]:
        runs = plan(load_study(path)).runs
        assert {run.config.method for run in runs} >= {"raw_pixels", "simclr", "clip"}, path

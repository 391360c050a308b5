"""Studies: validated, frozen, and resolved into one configuration for each run.

A study names datasets, methods, seeds and a budget. A run's configuration is layered from the defaults of
the method's options, the recipe, the study's block of the method, and the variant; the last one wins.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny

from replearn.data import SOURCES
from replearn.data.options import Options as DatasetOptions
from replearn.errors import UserError, nearest
from replearn.evaluate.protocol import EvaluationConfig
from replearn.jsonfile import read_json
from replearn.methods.options import METHODS, DistillationOptions, MethodOptions
from replearn.recipes import load_recipe
from replearn.validation import home, validated
from replearn.views import View

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=80)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]


class Model(BaseModel):
    """Frozen, and strict about names."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class EncoderConfig(Model):
    """The backbone that every method of the study trains."""

    name: Literal["convnet", "resnet18", "resnet50", "vit_tiny", "vit_small"] = "convnet"
    width: Annotated[int, Field(ge=1)] = 32
    """Channels of the convnet's first stage; its features are four times as wide."""
    patch: Annotated[int, Field(ge=1)] = 4
    """Patch size of the vision transformers in pixels."""


class MonitorConfig(Model):
    """Validation kNN and collapse signs during training, for the curves of the report."""

    epochs: Annotated[int, Field(ge=0)] = 1
    """Epochs between two looks; 0 turns them off."""
    bank: Annotated[int, Field(ge=1)] = 4000
    queries: Annotated[int, Field(ge=2)] = 1000


def _switched_off(value: object) -> object:
    """What YAML makes of `off` is false."""
    if value is True:
        raise ValueError("say kernels or graphs")
    return "off" if value is False else value


def _as_torch_calls_it(value: object) -> object:
    return "cuda" if value == "gpu" else value


Device = Annotated[Literal["auto", "cpu", "cuda"], BeforeValidator(_as_torch_calls_it)]
"""Where a job runs; "gpu" is read as "cuda"."""


class TrainingConfig(Model):
    """The budget, equal for every method unless a method's block says otherwise."""

    epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 256
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """"auto" is bfloat16 on a GPU that has it and float32 elsewhere."""
    engine: Literal["fast", "plain"] = "fast"
    """"plain" computes each step without the fast paths: the same up to rounding, to check them against."""
    compile: Annotated[Literal["off", "kernels", "graphs"], BeforeValidator(_switched_off)] = "off"
    """torch.compile: "kernels" fuses operations, "graphs" also replays them as CUDA graphs."""
    images: Literal["auto", "resident", "streamed"] = "auto"
    """Where the training images are: on the device, or on disk and streamed; "auto" decides by size."""
    monitor: MonitorConfig = MonitorConfig()
    stop_on_collapse: bool = False
    """End a training after two looks that saw a complete collapse, instead of spending its budget."""


class OptimizerConfig(Model):
    """How a method is trained; the learning rate is per 256 images and scales with the batch."""

    name: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: Annotated[float, Field(gt=0)] = 0.06
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    trust: Annotated[float, Field(gt=0)] = 0.02
    """Trust coefficient η of LARS."""


class MethodSettings(Model):
    """What a method's block may change of the study's encoder and budget and of its recipe."""

    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    optimizer: OptimizerConfig = OptimizerConfig()


class DatasetIdentity(Model):
    """Which data a run saw: a name to read and a digest to trust."""

    name: Name
    digest: str
    captions: Literal["none", "templates", "paired"]


class RunConfig(Model):
    """One run, fully resolved: what `config.json` of its directory holds."""

    dataset: DatasetIdentity
    method: Name
    variant: Name
    seed: Seed
    key: str = ""
    options: SerializeAsAny[MethodOptions]
    encoder: EncoderConfig
    training: TrainingConfig
    optimizer: OptimizerConfig
    views: tuple[View, ...]
    evaluation: EvaluationConfig
    device: Device = "auto"
    jobs_per_gpu: Annotated[int, Field(ge=1)] = 1
    on_error: Literal["stop", "record"] = "stop"
    recipe: str
    supervision: str
    teacher: str | None = None
    """Key of the run that this one learns from."""

    @property
    def id(self) -> str:
        """`<dataset>/<method>/<variant>/seed-<seed>`."""
        return f"{self.dataset.name}/{self.method}/{self.variant}/seed-{self.seed}"

    @property
    def identification(self) -> dict[str, str | int]:
        """What every metrics file says about its run."""
        return {
            "dataset": self.dataset.name,
            "method": self.method,
            "variant": self.variant,
            "seed": self.seed,
            "key": self.key,
        }


class TrackingConfig(Model):
    """MLflow; the environment's MLFLOW_TRACKING_URI wins over the default local database."""

    enabled: bool = True
    experiment: str | None = None
    """Name of the MLflow experiment; the study's name if absent."""


class MethodBlock(Model):
    """A method's block of a study: its options beside these reserved keys."""

    options: dict[str, Any] = {}
    recipe: str | None = None
    encoder: dict[str, Any] = {}
    training: dict[str, Any] = {}
    optimizer: dict[str, Any] = {}
    views: list[dict[str, Any]] | dict[str, Any] | None = None
    """A list replaces the recipe's views, a mapping changes each of them."""
    variants: dict[Name, dict[str, Any] | None] = {}


class Study(Model):
    """A whole comparison, as written in a YAML file."""

    name: Name
    title: str = ""
    description: str = ""
    datasets: dict[Name, SerializeAsAny[DatasetOptions]] = Field(min_length=1)
    methods: dict[str, MethodBlock] = Field(min_length=1)
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1)
    recipe: Literal["auto", "small", "cifar", "paper"] = "auto"
    encoder: EncoderConfig = EncoderConfig()
    training: TrainingConfig = TrainingConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    tracking: TrackingConfig = TrackingConfig()
    device: Device = "auto"
    jobs_per_gpu: Annotated[int, Field(ge=1)] = 1
    """Jobs that may share a GPU."""
    gpus_per_run: Annotated[int, Field(ge=1)] = 1
    """GPUs that share each batch of a training."""
    on_error: Literal["stop", "record"] = "stop"
    """"record" makes a run that fails (diverged, out of memory) a row of the table, and goes on."""
    results: Path = Path("results")
    reports: Path = Path("reports")
    source: str = ""


RESERVED = ("recipe", "encoder", "training", "optimizer", "views")


def load_study(file: str | Path, overrides: Mapping[str, Any] | None = None) -> Study:
    """Read and validate a study.

    Args:
        file: YAML file.
        overrides: keys that replace those of the file, as given with `--config key=value`.

    Raises:
        UserError: naming file, key, value and the nearest valid name.
    """
    file = Path(file)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError("study file not found", where=str(file)) from None
    except OSError as error:
        raise UserError(f"cannot read the study ({error.strerror})", where=str(file)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not valid YAML: {error}", where=str(file)) from None
    if not isinstance(raw, dict):
        raise UserError("a study is a mapping of keys to values", where=str(file))
    return parse_study(merged(raw, overrides or {}), where=str(file))


def parse_study(raw: Mapping[str, Any], where: str) -> Study:
    """Validate a study given as a mapping; `where` names its origin in messages."""
    fields = _mapping(dict(raw), where)
    fields["datasets"] = {
        name: _dataset_block(str(name), block, f"{where}: datasets.{name}")
        for name, block in _mapping(fields.get("datasets", {}), f"{where}: datasets").items()
    }
    fields["methods"] = {
        name: _method_block(name, block, f"{where}: methods.{name}")
        for name, block in _mapping(fields.get("methods", {}), f"{where}: methods").items()
    }
    study = validated(Study, {**fields, "source": where}, where)
    if len(set(study.seeds)) < len(study.seeds):
        raise UserError(f"a seed is listed twice in {list(study.seeds)}", where=f"{where}: seeds")
    for name in study.methods:
        for variant in variants_of(study, name):
            resolve(study, next(iter(study.datasets)), name, variant)
    return study


def variants_of(study: Study, method: str) -> list[str]:
    """Names of a method's variants: "default" first, then its ablations."""
    return ["default", *study.methods[method].variants]


def resolve(study: Study, dataset: str, method: str, variant: str) -> dict[str, Any]:
    """The layered and validated parts of a run: options, encoder, training, optimizer, views, recipe."""
    where = f"{study.source}: methods.{method}"
    block = study.methods[method]
    layers: list[Mapping[str, Any]] = [block.model_dump(exclude={"variants"}, exclude_none=True)]
    if variant != "default":
        where = f"{where}.variants.{variant}"
        layers.append(_split_block(method, block.variants[variant] or {}, where))

    encoder = study.encoder.model_dump()
    for layer in layers:
        encoder = merged(encoder, layer.get("encoder", {}))
    encoder_config = validated(EncoderConfig, encoder, f"{where}.encoder")
    recipe_name = next((la["recipe"] for la in reversed(layers) if la.get("recipe")), study.recipe)
    recipe = load_recipe(recipe_name, encoder_config.name, study.datasets[dataset].size)
    defaults = recipe.of(method)

    parts: dict[str, dict[str, Any]] = {
        "options": defaults.options,
        "optimizer": defaults.optimizer,
        "training": merged(study.training.model_dump(), defaults.training),
    }
    views = [dict(view) for view in defaults.views]
    for layer in layers:
        parts = {name: merged(part, layer.get(name, {})) for name, part in parts.items()}
        views = _changed_views(views, layer.get("views"))
    options = validated(METHODS[method], parts["options"], where)
    resolved: dict[str, Any] = {
        "options": options,
        "encoder": encoder_config,
        "training": validated(TrainingConfig, parts["training"], f"{where}.training"),
        "optimizer": validated(OptimizerConfig, parts["optimizer"], f"{where}.optimizer"),
        "views": tuple(
            validated(View, view, f"{where}.views[{number}]") for number, view in enumerate(views)
        ),
        "recipe": recipe.name,
    }
    wanted = options.views
    if wanted is not None and len(resolved["views"]) != wanted:
        raise UserError(
            f"{method} takes {wanted} view(s) per image, not {len(resolved['views'])}",
            where=f"{where}.views",
        )
    if isinstance(options, DistillationOptions):
        _check_teacher(study, options, f"{where}.teacher")
    return resolved


def _check_teacher(study: Study, options: DistillationOptions, where: str) -> None:
    rows = variants_of(study, "supervised") if "supervised" in study.methods else []
    if options.teacher_row not in [("supervised", row) for row in rows]:
        known = ["supervised", *(f"supervised/{row}" for row in rows[1:])]
        raise UserError(
            f"'{options.teacher}' is no supervised row of this study",
            where=where,
            hint=nearest(options.teacher, known) if rows else "Add 'supervised:' to the methods.",
        )


def read_run_config(path: str | Path) -> RunConfig:
    """The configuration of a run, as planning wrote it."""
    raw = read_json(path)
    raw["options"] = METHODS[raw["method"]].model_validate(raw["options"])
    return validated(RunConfig, raw, str(path))


def merged(base: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with `change` on top; nested mappings are merged, everything else is replaced."""
    result = dict(base)
    for key, value in change.items():
        old = result.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            result[key] = merged(old, value)
        else:
            result[key] = value
    return result


def _changed_views(
    views: list[dict[str, Any]], change: list[dict[str, Any]] | dict[str, Any] | None
) -> list[dict[str, Any]]:
    if change is None:
        return views
    if isinstance(change, dict):
        return [{**view, **change} for view in views]
    return change


def _dataset_block(name: str, block: Any, where: str) -> DatasetOptions:
    raw = _mapping({} if block is None else block, where)
    source = str(raw.get("source", name))
    if source not in SOURCES:
        raise UserError(
            f"unknown source '{source}'",
            where=f"{where}.source",
            hint=nearest(source, SOURCES),
        )
    return validated(SOURCES[source], {**raw, "source": source}, where)


def _method_block(name: str, block: Any, where: str) -> MethodBlock:
    if name not in METHODS:
        raise UserError(f"unknown method '{name}'", where=where, hint=nearest(name, METHODS))
    raw = _mapping({} if block is None else block, where)
    variants = _mapping(raw.get("variants") or {}, f"{where}.variants")
    parts = _split_block(name, {k: v for k, v in raw.items() if k != "variants"}, where)
    if "default" in variants:
        raise UserError("the name 'default' is taken", where=f"{where}.variants.default")
    return validated(MethodBlock, {**parts, "variants": variants}, where)


def _split_block(method: str, raw: Any, where: str) -> dict[str, Any]:
    """Options of the method on one side, reserved keys on the other."""
    block = _mapping(raw, where)
    options = {key: value for key, value in block.items() if key not in RESERVED}
    known = set(METHODS[method].model_fields) - {"method"}
    for key in options:
        if key not in known:
            raise UserError(
                f"{method} has no option '{key}'",
                where=where,
                hint=home(MethodSettings, [key]) or nearest(key, [*known, *RESERVED, "variants"]),
            )
    return {"options": options, **{key: block[key] for key in RESERVED if key in block}}


def _mapping(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"expected a mapping of keys to values, not {value!r}", where=where)
    for key in value:
        if not isinstance(key, str):
            raise UserError(f"a key is a word, not {key!r}", where=where, hint="Put it in quotes.")
    return value

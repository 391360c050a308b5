"""The evaluations of one run, from feature files to metrics files.

`select` decides everything that is decided on data and never opens a test file; `evaluate` takes
its choices as they are and touches the test images once.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from replearn.errors import UserError
from replearn.evaluate.features import joined, read_features, read_tensors, write_tensors
from replearn.evaluate.knn import knn_predict
from replearn.evaluate.linear import select_strength
from replearn.evaluate.measure import (
    accuracy,
    collapse_metrics,
    knn_metrics,
    linear_metrics,
    networks,
    text_metrics,
    unusable,
)
from replearn.evaluate.protocol import OPERATIONS, EvaluationConfig
from replearn.evaluate.robustness import robustness_metrics
from replearn.evaluate.structure import structure_metrics
from replearn.jsonfile import read_json, write_json
from replearn.layout import FAMILIES
from replearn.progress import Progress
from replearn.provenance import provenance

Run = Mapping[str, str | int]
Json = dict[str, Any]

OUTPUTS = (
    *(f"{family}.json" for family in FAMILIES if family != "text"),
    "predictions.safetensors",
)
"""What `evaluate` writes."""


def select(
    features: Path, output: Path, config: EvaluationConfig, run: Run, *, device: str = "cpu"
) -> None:
    """Choose each probe's strength on the validation images and write select.json.

    Args:
        features: directory of the feature files; only train and validation are opened.
        output: directory of the evaluation.
        config: the protocols.
        run: identification of the run, as every metrics file shows it.
        device: where to compute.

    Raises:
        UserError: a feature file is missing or damaged.
    """
    started = time.time()
    train = read_features(features / "train.safetensors", device)
    validation = read_features(features / "validation.safetensors", device)
    linear = config.linear
    metrics: Json = {"knn_validation_accuracy": None}
    details: Json = {"strengths": list(linear.strengths)}
    for network in networks(linear):
        metrics[f"strength_{network}"] = metrics[f"validation_accuracy_{network}"] = None
        rows, held_out = train.network(network), validation.network(network)
        if rows is None or held_out is None:
            continue
        reason = unusable(train, validation, network)
        if reason or train.labels is None or validation.labels is None:
            details[f"reason_{network}"] = reason
            continue
        classes = int(torch.cat([train.labels, validation.labels]).max()) + 1
        label = f"{run.get('dataset')}/{run.get('method')} probe of {network}"
        with Progress(linear.strength_count, label, unit="strengths") as progress:
            chosen = select_strength(
                rows,
                train.labels,
                held_out,
                validation.labels,
                classes=classes,
                strengths=linear.strengths,
                standardise=linear.standardise,
                patience=linear.patience,
                tolerance=linear.path_tolerance,
                max_iterations=linear.max_iterations,
                on_fit=lambda c, share: progress.advance(1, C=c, accuracy=share),
            )
        metrics[f"strength_{network}"] = chosen.strength
        metrics[f"validation_accuracy_{network}"] = chosen.accuracies[chosen.index]
        details[f"validation_losses_{network}"] = list(chosen.losses)
        details[f"validation_accuracies_{network}"] = list(chosen.accuracies)
        if network == "h":
            predicted = knn_predict(
                rows,
                train.labels,
                held_out,
                classes=classes,
                k=config.knn.k,
                temperature=config.knn.temperature,
            )
            metrics["knn_validation_accuracy"] = accuracy(predicted, validation.labels)
    protocol = {
        "name": "select",
        "version": 1,
        "fitted on": "train",
        "chosen on": "validation",
        "linear": linear.model_dump(mode="json"),
        "knn": config.knn.model_dump(mode="json"),
    }
    _write(output / "select.json", run, protocol, metrics, details, started, device)


def evaluate(
    features: Path,
    select_json: Path,
    output: Path,
    config: EvaluationConfig,
    run: Run,
    *,
    supervision: str = "none",
    device: str = "cpu",
) -> None:
    """Write a metrics file of each family, and predictions.safetensors.

    Args:
        features: directory of the feature files.
        select_json: the frozen choices, of the same run.
        output: directory of the evaluation.
        config: the protocols.
        run: identification of the run.
        supervision: of the method ("none", "labels", …, "-" for a reference row), for the verdict.
        device: where to compute.

    Raises:
        UserError: a file is missing or damaged, or the choices are another run's.
    """
    choices = read_json(select_json)
    if choices.get("run", {}).get("key") != run.get("key"):
        raise UserError(
            f"these choices are of run {choices.get('run', {}).get('key')}, not {run.get('key')}",
            where=str(select_json),
        )
    bank = joined(
        read_features(features / "train.safetensors", device),
        read_features(features / "validation.safetensors", device),
    )
    test = read_features(features / "test.safetensors", device)
    predictions = {"index": test.index.cpu()}
    if test.labels is not None:
        predictions["labels"] = test.labels.cpu()

    started = time.time()
    metrics, details, predicted = knn_metrics(bank, test, config.knn)
    if predicted is not None:
        predictions["knn"] = predicted.cpu()
    protocol = config.knn.model_dump(mode="json") | {
        "metric": "cosine of L2-normalised features",
        "bank": "train + validation, no augmentation",
        "network": "encoder h",
    }
    _write(output / "knn.json", run, protocol, metrics, details, started, device)

    started = time.time()
    metrics, details, probe = linear_metrics(bank, test, config.linear, choices["metrics"])
    no_probe = details.get("reason")
    if probe is not None:
        predictions["linear"] = probe.predict(test.h).cpu()
    protocol = config.linear.model_dump(mode="json") | {
        "chosen on": "validation, fitted on train",
        "fitted on": "train + validation, no augmentation",
        "network": "encoder h; accuracy_z: projector z",
    }
    _write(output / "linear.json", run, protocol, metrics, details, started, device)

    started = time.time()
    views = read_tensors(features / "views.safetensors")
    metrics, details = collapse_metrics(test, views, config, supervision=supervision)
    protocol = config.collapse.model_dump(mode="json") | {
        "images from": "test",
        "views": config.views.model_dump(mode="json") | {"images from": "validation"},
        "centring": "centred, but for feature_std, rank_me, alignment and uniformity",
        "normalisation": "rows L2-normalised for feature_std, alignment and uniformity",
    }
    _write(output / "collapse.json", run, protocol, metrics, details, started, device)

    started = time.time()
    metrics, details = structure_metrics(test, config.structure)
    protocol = config.structure.model_dump(mode="json") | {
        "images from": "test",
        "metric": "k-means and retrieval on L2-normalised encoder h",
        "clusters": "as many as classes",
    }
    _write(output / "structure.json", run, protocol, metrics, details, started, device)

    started = time.time()
    shifted = {
        name: tensor.to(device)
        for name, tensor in read_tensors(features / "shifted.safetensors").items()
    }
    metrics, details = robustness_metrics(
        bank, test, shifted, config.robustness, probe, no_probe=no_probe
    )
    protocol = config.robustness.model_dump(mode="json") | {
        "images from": "test",
        "operations": {
            name: view.model_dump(mode="json", exclude_defaults=True)
            for name, view in OPERATIONS.items()
        },
        "classifier": "the linear probe of h",
    }
    _write(output / "robustness.json", run, protocol, metrics, details, started, device)
    write_tensors(output / "predictions.safetensors", predictions)


def text(features: Path, output: Path, run: Run) -> None:
    """Write text.json: prompt classification and retrieval in both directions on the test images.

    Args:
        features: directory of the feature files, with text.safetensors.
        output: directory of the evaluation.
        run: identification of the run.

    Raises:
        UserError: the file is missing or damaged.
    """
    started = time.time()
    metrics, details = text_metrics(read_tensors(features / "text.safetensors"))
    protocol = {
        "name": "text",
        "version": 1,
        "metric": "cosine",
        "prompts": "mean of the normalised embeddings of a class's prompts, normalised",
        "equal captions": "count as correct",
    }
    _write(output / "text.json", run, protocol, metrics, details, started, "cpu")


def _write(
    path: Path, run: Run, protocol: Json, metrics: Json, details: Json, started: float, device: str
) -> None:
    write_json(
        path,
        {
            "schema": 1,
            "run": dict(run),
            "protocol": protocol,
            "metrics": metrics,
            "details": details,
            "provenance": provenance(started, device),
        },
    )

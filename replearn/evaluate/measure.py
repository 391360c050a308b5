"""The metrics of each family from features in memory, and why one is missing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from replearn.evaluate.calibration import calibration
from replearn.evaluate.collapse import diagnose, marchenko_pastur, spectrum
from replearn.evaluate.features import Features
from replearn.evaluate.knn import neighbours, vote
from replearn.evaluate.linear import Probe, fit
from replearn.evaluate.lowshot import low_shot_accuracies
from replearn.evaluate.protocol import EvaluationConfig, KnnProtocol, LinearProtocol
from replearn.evaluate.retrieval import prompt_classification, recall_at
from replearn.evaluate.verdict import verdict
from replearn.randomness import generator

Json = dict[str, Any]

NO_LABELS = "the dataset has no labels"
NOT_FINITE = "features are not finite numbers"
NO_CHOICE = "validation chose no strength"
ONE_CLASS = "the training images are all of one class"


def knn_metrics(
    bank: Features, test: Features, protocol: KnnProtocol
) -> tuple[Json, Json, Tensor | None]:
    """Accuracies of all settings from one search, details, and predictions of the main one."""
    settings = {"accuracy": (protocol.k, protocol.temperature)}
    for k, temperature in protocol.extra:
        suffix = "" if temperature == protocol.temperature else f"_t{temperature:g}"
        settings[f"accuracy_k{k}{suffix}"] = (k, temperature)
    metrics: Json = dict.fromkeys(settings)
    reason = unusable(bank, test, "h")
    if reason or bank.labels is None or test.labels is None:
        return metrics, {"reason": reason}, None
    classes = int(bank.labels.max()) + 1
    similarity, index = neighbours(bank.h, test.h, max(k for k, _ in settings.values()))
    predictions = {
        name: vote(
            similarity[:, :k], index[:, :k], bank.labels, classes=classes, temperature=temperature
        )
        for name, (k, temperature) in settings.items()
    }
    metrics = {name: accuracy(found, test.labels) for name, found in predictions.items()}
    details = {"bank": len(bank.h), "queries": len(test.h), "classes": classes}
    return metrics, details, predictions["accuracy"]


def linear_metrics(
    bank: Features, test: Features, protocol: LinearProtocol, choices: Mapping[str, Any]
) -> tuple[Json, Json, Probe | None]:
    """Probes at the strengths that were chosen: accuracies, details, and the main probe, on h."""
    shots = {f"low_shot_{count}": count for count in protocol.shots}
    calibrated = ("ece", "nll", "brier")
    metrics: Json = dict.fromkeys(
        ("accuracy", "accuracy_z", *calibrated, *shots, "shuffled_accuracy")
    )
    metrics["validation_accuracy"] = choices.get("validation_accuracy_h")
    metrics["strength"] = choices.get("strength_h")
    metrics["strength_z"] = choices.get("strength_z")
    details: Json = {}
    main = None
    for network in networks(protocol):
        rows, queries = bank.network(network), test.network(network)
        if rows is None or queries is None:
            continue
        strength = choices.get(f"strength_{network}")
        reason = unusable(bank, test, network) or (NO_CHOICE if strength is None else None)
        if reason or strength is None or bank.labels is None or test.labels is None:
            details["reason" if network == "h" else "reason_z"] = reason
            continue
        classes = int(bank.labels.max()) + 1
        probe = fit(
            rows,
            bank.labels,
            classes=classes,
            strength=strength,
            standardise=protocol.standardise,
            tolerance=protocol.tolerance,
            max_iterations=protocol.max_iterations,
        )
        logits = probe.logits(queries)
        metrics["accuracy" if network == "h" else "accuracy_z"] = accuracy(
            logits.argmax(1), test.labels
        )
        details[f"iterations_{network}"], details[f"loss_{network}"] = probe.iterations, probe.loss
        if network == "h":
            main = probe
            metrics |= calibration(logits, test.labels)
    if main is None or bank.labels is None or test.labels is None:
        return metrics, details, None
    classes, strength = int(bank.labels.max()) + 1, metrics["strength"]
    for name, count in shots.items():
        accuracies = low_shot_accuracies(
            bank.h,
            bank.labels,
            test.h,
            test.labels,
            classes=classes,
            shots=count,
            draws=protocol.draws,
            strength=strength,
            standardise=protocol.standardise,
        )
        if accuracies is None:
            details[f"reason_{name}"] = f"a class has fewer than {count} labelled images"
        else:
            metrics[name] = sum(accuracies) / len(accuracies)
            details[name] = accuracies
    if protocol.shuffled:
        order = torch.randperm(len(bank.h), generator=generator(0, "shuffled-labels"))
        canary = fit(
            bank.h,
            bank.labels[order.to(bank.labels.device)],
            classes=classes,
            strength=strength,
            standardise=protocol.standardise,
            tolerance=protocol.path_tolerance,
            max_iterations=protocol.max_iterations,
        )
        metrics["shuffled_accuracy"] = accuracy(canary.predict(test.h), test.labels)
    return metrics, details, main


def collapse_metrics(
    test: Features,
    views: Mapping[str, Tensor],
    config: EvaluationConfig,
    *,
    supervision: str,
) -> tuple[Json, Json]:
    """Diagnostics of h and z with their verdict, and their spectra beside those of noise."""
    rows = torch.linspace(0, len(test.h) - 1, min(config.collapse.images, len(test.h)))
    chosen = rows.long().to(test.h.device)
    labels = None if test.labels is None else test.labels[chosen]
    metrics: Json = {}
    details: Json = {}
    diagnosed = {}
    for network in ("h", "z"):
        features = test.network(network)
        if features is None:
            continue
        features = features[chosen]
        of_views = views.get(network)
        diagnosed[network] = diagnose(
            features,
            views=None if of_views is None else of_views.to(features.device),
            labels=labels,
            pairs=config.collapse.pairs,
        )
        metrics |= {f"{network}_{name}": value for name, value in diagnosed[network].items()}
        count, width = features.shape
        if count < width:
            details[f"{network}_warning"] = f"{count} images bound the ranks of {width} dimensions"
        if diagnosed[network]["finite"]:
            variances = spectrum(features)
            total = float(variances.sum())
            if total:
                details[f"{network}_spectrum"] = (variances / total).tolist()
            null = marchenko_pastur(count, width)
            details[f"{network}_marchenko_pastur"] = (null / null.sum()).tolist()
    judged = verdict(diagnosed["h"], diagnosed.get("z"), supervision=supervision)
    return metrics | {"verdict": judged.status, "rule": judged.rule}, details


def text_metrics(tensors: Mapping[str, Tensor]) -> tuple[Json, Json]:
    """Prompt classification and retrieval of the tensors of text.safetensors."""
    directions = ("image_to_text", "text_to_image")
    metrics: Json = {"prompt_accuracy": None}
    metrics |= {f"{direction}_r{k}": None for direction in directions for k in (1, 5, 10)}
    details: Json = {}
    if "prompts" in tensors and "labels" in tensors:
        metrics["prompt_accuracy"] = prompt_classification(
            tensors["image"], tensors["prompts"], tensors["labels"]
        )
    else:
        details["reason_prompts"] = "the dataset has no classes with prompts"
    if "text" in tensors:
        metrics |= recall_at(tensors["image"], tensors["text"], tensors["caption_group"])
        details["captions"] = len(tensors["text"])
        details["different_captions"] = len(tensors["caption_group"].unique())
    else:
        details["reason_retrieval"] = "the dataset has no caption of its own for each image"
    return metrics, details


def networks(protocol: LinearProtocol) -> tuple[str, ...]:
    """Names of the networks that are probed."""
    return ("h", "z") if protocol.projector else ("h",)


def unusable(a: Features, b: Features, network: str) -> str | None:
    """Why there can be no accuracy, if there is a reason."""
    if a.labels is None or b.labels is None:
        return NO_LABELS
    for part in (a, b):
        features = part.network(network)
        if features is None or not bool(torch.isfinite(features).all()):
            return NOT_FINITE
    if int(a.labels.unique().numel()) < 2:
        return ONE_CLASS
    return None


def accuracy(predicted: Tensor, labels: Tensor) -> float:
    """Share of equal entries."""
    return float((predicted == labels).double().mean())

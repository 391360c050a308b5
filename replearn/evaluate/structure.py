"""The family "structure": how test images lie among each other, without a classifier."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from replearn.evaluate.features import Features, evenly_spaced
from replearn.evaluate.kmeans import ari, kmeans, nmi
from replearn.evaluate.measure import NO_LABELS, NOT_FINITE, Json
from replearn.evaluate.protocol import StructureProtocol
from replearn.evaluate.ranking import retrieval
from replearn.randomness import generator

NO_DECODER = "the method does not give images back"
ONE_CLASS = "the test images are all of one class"
ALONE = "no image has another of its class"


def structure_metrics(test: Features, protocol: StructureProtocol) -> tuple[Json, Json]:
    """Clusters against classes, retrieval, and the error of reconstructions; why one is missing."""
    names = ("nmi", "ari", "map_at_r", "recall_at_1", "reconstruction_mse")
    metrics: Json = dict.fromkeys(names)
    details: Json = {}
    if test.reconstruction_error is None:
        details["reason_reconstruction"] = NO_DECODER
    else:
        metrics["reconstruction_mse"] = float(test.reconstruction_error.double().mean())
    rows = evenly_spaced(len(test.h), protocol.images).to(test.h.device)
    if test.labels is None:
        return metrics, details | {"reason": NO_LABELS}
    h, labels = test.h[rows], test.labels[rows]
    if not bool(torch.isfinite(h).all()):
        return metrics, details | {"reason": NOT_FINITE}
    clusters = int(labels.unique().numel())
    if clusters < 2:
        return metrics, details | {"reason": ONE_CLASS}
    found = kmeans(
        F.normalize(h.float(), dim=1), clusters, generator(0, "k-means"), protocol.restarts
    )
    metrics |= {"nmi": nmi(found, labels), "ari": ari(found, labels)}
    details |= {"images": len(rows), "clusters": clusters}
    nearest = retrieval(h, labels)
    if nearest is None:
        details["reason_retrieval"] = ALONE
    return metrics | (nearest or {}), details

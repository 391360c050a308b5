"""Where the methods of one dataset stand: summaries, comparisons, and ranks that know of ties."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from replearn import stats
from replearn.collate import Plan
from replearn.pooling import Noise, pool
from replearn.stability import RankStability, rank_stability
from replearn.stats import Comparison, Summary

if TYPE_CHECKING:
    import pandas as pd

Metric = tuple[str, str]
"""Family and name, as in the tidy table: ("linear", "accuracy")."""
LINEAR: Metric = ("linear", "accuracy")
KNN: Metric = ("knn", "accuracy")
SHARES = ("accuracy", "low_shot", "prompt", "shuffled", "validation", "image_to", "text_to")
"""Beginnings of the names of metrics that are shares of images."""
RANDOM, CEILING, PIXELS = "random_init", "supervised", "raw_pixels"
BASE_VARIANTS = ("", "base", "default")

NAMES = {
    "raw_pixels": "Raw pixels",
    "pca": "PCA",
    "random_init": "Random encoder",
    "supervised": "Supervised",
    "autoencoder": "Autoencoder",
    "inpainting": "Inpainting",
    "jigsaw": "Jigsaw",
    "relative_position": "Relative position",
    "distillation": "Distillation",
    "triplet": "Triplet",
    "supcon": "SupCon",
    "simclr": "SimCLR",
    "byol": "BYOL",
    "dino": "DINO",
    "gram": "DINO + Gram",
    "clip": "CLIP",
}
SUPERVISION = {
    "none": "none",
    "labels": "labels",
    "captions": "captions",
    "template captions": "template captions",
    "-": "–",
}
Predictions = Mapping[str, NDArray[np.bool_]]
"""Per-image correctness of one run by family."""


@dataclass(frozen=True)
class Entry:
    """One method and variant on one dataset, over its seeds."""

    method: str
    variant: str
    reference: bool
    trained: bool
    deterministic: bool
    supervision: str
    runs: tuple[Mapping[str, object], ...]
    values: Mapping[Metric, Mapping[int, float]]

    @property
    def name(self) -> tuple[str, str]:
        return self.method, self.variant

    @property
    def label(self) -> str:
        shown = NAMES.get(self.method, self.method)
        return shown if self.variant in BASE_VARIANTS else f"{shown} · {self.variant}"

    @property
    def collapsed(self) -> bool:
        """Whether a run of it has features that are not healthy."""
        return any(run.get("verdict") not in (None, "healthy") for run in self.finished)

    @property
    def finished(self) -> tuple[Mapping[str, object], ...]:
        return tuple(run for run in self.runs if run["status"] == "ok")

    def mean(self, metric: Metric) -> float | None:
        values = self.values.get(metric)
        return float(np.mean(list(values.values()))) if values else None

    def column(self, name: str) -> list[object]:
        """The known values of a column of the run table, in the order of the seeds."""
        return [run[name] for run in self.runs if run[name] is not None]

    def average(self, name: str) -> float | None:
        """The mean of a column over the finished runs that have a value."""
        known = [float(str(run[name])) for run in self.finished if run[name] is not None]
        return float(np.mean(known)) if known else None


class Standings:
    """The entries of one dataset with everything that is derived from them.

    Args:
        dataset: its name.
        entries: in the order of the study.
        correct: per-image correctness of a run, by family; empty where none is stored.
        labelled: False if the dataset has no labels, so that there is no accuracy to stand on.
    """

    def __init__(
        self,
        dataset: str,
        entries: Sequence[Entry],
        correct: Callable[[Mapping[str, object]], Predictions],
        *,
        labelled: bool = True,
    ) -> None:
        self.dataset = dataset
        self.labelled = labelled
        self.entries = tuple(entries)
        self._correct = correct
        self._noise: dict[Metric, Noise] = {}
        self._predictions: dict[str, Predictions] = {}

    @property
    def methods(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if not entry.reference)

    @property
    def references(self) -> tuple[Entry, ...]:
        return tuple(entry for entry in self.entries if entry.reference)

    def reference(self, method: str) -> Entry | None:
        return next((entry for entry in self.references if entry.method == method), None)

    def noise(self, metric: Metric) -> Noise:
        """Seed-to-seed noise pooled over the entries that have seeds.

        A row whose features collapsed hardly varies, or wildly: it is no sample of the others' noise
        and keeps its own.
        """
        if metric not in self._noise:
            seeded = [entry for entry in self.entries if _seeded(entry, metric)]
            apart = {entry.name for entry in seeded if entry.collapsed}
            noise = pool({e.name: e.values[metric] for e in seeded if e.name not in apart})
            self._noise[metric] = replace(noise, uneven=noise.uneven | apart)
        return self._noise[metric]

    def summary(self, entry: Entry, metric: Metric) -> Summary | None:
        """Mean, spread and interval; None without a value."""
        values = entry.values.get(metric)
        if not values:
            return None
        noise = self.noise(metric)
        summary = stats.summarise(
            values,
            noise=noise,
            uneven=entry.name in noise.uneven,
            deterministic=entry.deterministic,
            correct=self._hits(entry, metric),
        )
        if summary.interval is None or not is_share(metric):
            return summary
        interval = summary.interval
        within = replace(interval, low=max(0.0, interval.low), high=min(1.0, interval.high))
        return replace(summary, interval=within)

    def compare(
        self, a: Entry, b: Entry, metric: Metric, *, margin: float = 0.0
    ) -> Comparison | None:
        """Is a better than b by more than the margin? None where either has no value."""
        left, right = a.values.get(metric), b.values.get(metric)
        if not left or not right:
            return None
        noise = self.noise(metric)
        hits = self._hits(a, metric), self._hits(b, metric)
        both = None if hits[0] is None or hits[1] is None else (hits[0], hits[1])
        return stats.compare(
            left,
            right,
            noise=noise,
            uneven=bool({a.name, b.name} & noise.uneven),
            deterministic=(a.deterministic, b.deterministic),
            correct=both,
            margin=margin,
        )

    def pairs(
        self, entries: Iterable[Entry], metric: Metric
    ) -> dict[tuple[tuple[str, str], tuple[str, str]], Comparison]:
        """All ordered pairs, corrected by Holm where there are six or more seeds."""
        chosen = [entry for entry in entries if entry.values.get(metric)]
        family = {}
        for position, a in enumerate(chosen):
            for b in chosen[position + 1 :]:
                found = self.compare(a, b, metric)
                if found is not None:
                    family[(a.name, b.name)] = found
        family = stats.with_holm(family)
        mirrored = {(b, a): stats.mirrored(item) for (a, b), item in family.items()}
        return family | mirrored

    def ranks(self, entries: Iterable[Entry], metric: Metric) -> dict[tuple[str, str], int]:
        """Rank of each entry with a value: one more than the number supported as better."""
        chosen = [entry for entry in entries if entry.values.get(metric)]
        pairs = self.pairs(chosen, metric)
        return stats.ranks(
            {
                b.name: [
                    a.name
                    for a in chosen
                    if a is not b and pairs[(a.name, b.name)].verdict == "supported"
                ]
                for b in chosen
            }
        )

    def against(
        self, entries: Iterable[Entry], other: Entry, metric: Metric
    ) -> dict[tuple[str, str], Comparison]:
        """Is each better than `other`? Corrected by Holm where there are six or more seeds."""
        family = {entry.name: self.compare(entry, other, metric) for entry in entries}
        return stats.with_holm({name: found for name, found in family.items() if found})

    def stability(
        self, entries: Iterable[Entry], metric: Metric
    ) -> RankStability[tuple[str, str]] | None:
        """P(rank = r) of the entries with seeds; None where nothing says how much they vary."""
        chosen = [entry for entry in entries if _seeded(entry, metric)]
        hits = [found for e in chosen if (found := self._hits(e, metric)) is not None]
        return rank_stability(
            {entry.name: entry.values[metric] for entry in chosen},
            noise=self.noise(metric),
            correct=np.stack(hits) if hits and len(hits) == len(chosen) else None,
        )

    def best(self, entries: Iterable[Entry], metric: Metric) -> list[Entry]:
        """The entry with the highest mean, then those not supported as worse than it."""
        chosen = [entry for entry in entries if entry.values.get(metric)]
        chosen.sort(key=lambda entry: -(entry.mean(metric) or 0.0))
        if not chosen:
            return []
        top, rest = chosen[0], chosen[1:]
        pairs = self.pairs(chosen, metric)
        return [top, *(e for e in rest if pairs[(top.name, e.name)].verdict != "supported")]

    def score(self, entry: Entry, metric: Metric) -> float | None:
        """Position between the random encoder (0) and the supervised one (1).

        None unless the supervised row is supported as better: noise would set the scale.
        """
        random, ceiling = self.reference(RANDOM), self.reference(CEILING)
        mean = entry.mean(metric)
        if mean is None or random is None or ceiling is None:
            return None
        scale = self.compare(ceiling, random, metric)
        if scale is None or scale.verdict != "supported":
            return None
        return stats.normalised_score(mean, random.mean(metric), ceiling.mean(metric))

    def _hits(self, entry: Entry, metric: Metric) -> NDArray[np.bool_] | None:
        """Correctness per image of an entry's only run, for the main metric of a family."""
        if metric[1] != "accuracy" or len(entry.values.get(metric, ())) != 1:
            return None
        run = next(run for run in entry.runs if run["seed"] in entry.values[metric])
        place = str(run["directory"])
        if place not in self._predictions:
            self._predictions[place] = self._correct(run)
        return self._predictions[place].get(metric[0])


def standings(results: pd.DataFrame, runs: pd.DataFrame, plan: Plan) -> list[Standings]:
    """One `Standings` per dataset of the tidy tables, in their order."""
    evaluations = {(r.dataset, r.method, r.variant, r.seed): r.evaluation for r in plan.runs}

    def correct(run: Mapping[str, object]) -> Predictions:
        identity = (str(run["dataset"]), str(run["method"]), str(run["variant"]))
        return stored_correctness(evaluations[(*identity, int(str(run["seed"])))])

    found = []
    for dataset in dict.fromkeys(runs["dataset"]):
        there = runs[runs["dataset"] == dataset]
        numbers = results[results["dataset"] == dataset]
        entries = []
        for (method, variant), group in there.groupby(["method", "variant"], sort=False):
            own = numbers[(numbers["method"] == method) & (numbers["variant"] == variant)]
            entries.append(_entry(str(method), str(variant), group, own))
        accuracies = numbers[numbers["metric"] == "accuracy"]["value"]
        labelled = accuracies.empty or bool(accuracies.notna().any())
        found.append(Standings(str(dataset), entries, correct, labelled=labelled))
    return found


def stored_correctness(evaluation: Path) -> Predictions:
    """Per-image correctness from predictions.safetensors of an evaluation folder, by family."""
    file = evaluation / "predictions.safetensors"
    if not file.is_file():
        return {}
    from safetensors.numpy import load_file

    arrays = load_file(file)
    labels = arrays.get("labels")
    if labels is None:
        return {}
    return {
        family: np.asarray(arrays[family] == labels)
        for family in ("knn", "linear")
        if family in arrays
    }


def is_share(metric: Metric) -> bool:
    """Whether a metric is a share of images, shown in percent and between 0 and 1."""
    return metric[0] in ("knn", "linear", "text") and metric[1].startswith(SHARES)


def _seeded(entry: Entry, metric: Metric) -> bool:
    return not entry.deterministic and bool(entry.values.get(metric))


def _entry(method: str, variant: str, group: pd.DataFrame, numbers: pd.DataFrame) -> Entry:
    values: dict[Metric, dict[int, float]] = {}
    given = numbers[numbers["value"].notna()]
    for family, metric, seed, value in zip(
        given["family"], given["metric"], given["seed"], given["value"], strict=True
    ):
        values.setdefault((str(family), str(metric)), {})[int(seed)] = float(value)
    ordered = group.sort_values("seed").astype(object)
    known = ordered.where(ordered.notna(), None).to_dict("records")
    rows = tuple({str(name): value for name, value in row.items()} for row in known)
    supervision = next((str(row["supervision"]) for row in rows if row["supervision"]), "–")
    first = rows[0]
    return Entry(
        method=method,
        variant=variant,
        reference=bool(first["reference"]),
        trained=bool(first["trained"]),
        deterministic=bool(first["deterministic"]),
        supervision=SUPERVISION.get(supervision, supervision),
        runs=rows,
        values=values,
    )

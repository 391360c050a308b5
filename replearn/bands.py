"""Published bands: does a study at a known budget give what others report at it?"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from replearn.collate import Plan, read_plan, read_tables
from replearn.config import load_study
from replearn.formats import percent
from replearn.jsonfile import read_json
from replearn.layout import study_directory
from replearn.standings import Entry, Standings, standings
from replearn.stats import Summary

State = Literal["in", "below", "above", "other conditions", "not run"]


class Band(BaseModel):
    """Where one accuracy should lie, as a share of the test images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: str
    metric: str = Field(pattern=r"^[a-z]+/[a-z0-9_.]+$")
    low: float = Field(ge=0, le=1)
    high: float = Field(ge=0, le=1)
    source: str
    why: str

    @model_validator(mode="after")
    def _ordered(self) -> Band:
        if self.low >= self.high:
            raise ValueError(f"an empty band, {self.low} to {self.high}")
        return self


class Bands(BaseModel):
    """Bands that hold on one dataset, with one encoder and budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    dataset: str
    images: int
    encoder: str
    epochs: int
    batch_size: int
    bands: tuple[Band, ...]

    def obstacle(self, config: Mapping[str, Any], images: int | None) -> str:
        """In what a run differs from what the bands hold for; "" if in nothing.

        Args:
            config: the run's configuration.
            images: of the dataset's training split, those held out for validation included; None if unknown.
        """
        training = config["training"]
        compared = {
            "images": (images, self.images),
            "encoder": (config["encoder"]["name"], self.encoder),
            "epochs": (training["epochs"], self.epochs),
            "batch": (training["batch_size"], self.batch_size),
        }
        return ", ".join(
            f"{k} {is_ or 'unknown'} for {want}"
            for k, (is_, want) in compared.items()
            if is_ != want
        )


@dataclass(frozen=True, slots=True)
class Checked:
    """A band and what was measured.

    Attributes:
        measured: over seeds; None if there is no value.
        note: why it cannot be compared, if it cannot.
    """

    band: Band
    state: State
    measured: Summary | None = None
    note: str = ""

    @property
    def outside(self) -> bool:
        return self.state in ("below", "above")


@lru_cache
def published() -> Bands:
    """The bands of the package."""
    text = files("replearn").joinpath("bands.yaml").read_text(encoding="utf-8")
    return Bands.model_validate(yaml.safe_load(text))


def check(place: Path, bands: Bands) -> list[Checked]:
    """Compare a study's collated results with bands; the means over seeds decide.

    Args:
        place: plan.json of the study, or the study in YAML; one that never ran has no results.
        bands: what to compare with.

    Raises:
        UserError: the study is not valid, or planned but not collated.
    """
    plan_json = place
    if place.suffix != ".json":
        study = load_study(place)
        plan_json = study_directory(study.results, study.name) / "plan.json"
        if not (plan_json.parent / "results.parquet").is_file():
            return [Checked(band, "not run") for band in bands.bands]
    plan = read_plan(plan_json)
    boards = standings(*read_tables(plan_json.parent), plan)
    board = next((board for board in boards if board.dataset == bands.dataset), None)
    return [_checked(band, bands, board, plan) for band in bands.bands]


def words(found: Iterable[Checked]) -> list[str]:
    """Three lines for each band: what was measured against it, its source, and why it is so wide."""
    lines = []
    for item in found:
        band = item.band
        head = f"{band.method:11s}{band.metric:24s}{percent(band.low)}–{percent(band.high)}"
        lines.append(f"{head}  {item.state:17s}{_measured(item)}".rstrip())
        lines += [f"{'':11s}published: {band.source}", f"{'':11s}width: {band.why}"]
    return lines


def _checked(band: Band, bands: Bands, board: Standings | None, plan: Plan) -> Checked:
    entry = _entry(board, band.method)
    family, _, metric = band.metric.partition("/")
    summary = board.summary(entry, (family, metric)) if board and entry else None
    if entry is None or summary is None:
        return Checked(band, "not run")
    config = read_json(plan.run(entry.finished[0]).directory / "config.json")
    obstacle = bands.obstacle(config, _images(plan, bands.dataset))
    if obstacle:
        return Checked(band, "other conditions", summary, obstacle)
    below, above = summary.mean < band.low, summary.mean > band.high
    return Checked(band, "below" if below else "above" if above else "in", summary)


def _images(plan: Plan, dataset: str) -> int | None:
    """Images of the dataset's training split; None if it is no longer there."""
    manifest = plan.datasets.get(dataset)
    if manifest is None or not manifest.is_file():
        return None
    count: int = read_json(manifest)["splits"]["train"]["count"]
    return count


def _entry(board: Standings | None, method: str) -> Entry | None:
    entries = board.entries if board else ()
    return next((e for e in entries if e.name == (method, "default") and e.finished), None)


def _measured(item: Checked) -> str:
    if item.measured is None:
        return ""
    text = percent(item.measured.mean)
    interval = item.measured.interval
    if interval:
        text += f" [{percent(interval.low)}, {percent(interval.high)}]"
    return f"{text}  {item.note}".rstrip()

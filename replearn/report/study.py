"""Everything the report reads: plan, tidy tables, and the JSON files of each run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replearn.collate import Plan, Run, read_plan, read_tables
from replearn.jsonfile import read_json
from replearn.layout import FAMILIES
from replearn.origins import Origins, origins
from replearn.report.similarity import Pairs, read_similarities
from replearn.standings import Entry, Standings, standings

if TYPE_CHECKING:
    import pandas as pd

    from replearn.data.prepared import PreparedDataset


@dataclass(frozen=True)
class StudyFiles:
    """A collated study with access to the files behind its numbers."""

    plan: Plan
    results: pd.DataFrame
    runs: pd.DataFrame
    boards: tuple[Standings, ...]
    similarities: Mapping[str, Pairs]
    _read: dict[Path, Mapping[str, Any]] = field(default_factory=dict)

    def files(self, row: Mapping[str, object]) -> Run:
        """The planned run behind a row of the run table."""
        return self.plan.run(row)

    def json(self, path: Path) -> Mapping[str, Any]:
        """A JSON file of a run, read once; empty if it is missing, as in a partial report."""
        if path not in self._read:
            self._read[path] = read_json(path) if path.is_file() else {}
        return self._read[path]

    def config(self, row: Mapping[str, object]) -> Mapping[str, Any]:
        return self.json(self.files(row).directory / "config.json")

    def metrics(self, row: Mapping[str, object], family: str) -> Mapping[str, Any]:
        return self.json(self.files(row).evaluation / f"{family}.json")

    def origins(self, dataset: str) -> Origins:
        """What is mixed and what is stale among the runs on one dataset."""
        return origins((run for run in self.plan.runs if run.dataset == dataset), self.json)

    def shown_run(self, entry: Entry) -> Mapping[str, object] | None:
        """The run that stands for an entry in pictures: its first finished seed."""
        return next(iter(entry.finished), None)

    def dataset(self, name: str) -> PreparedDataset | None:
        """The prepared dataset, or None if it is not on this machine any more."""
        from replearn.data.prepared import open_prepared

        place = self.plan.datasets.get(name)
        return open_prepared(place) if place is not None and place.exists() else None

    def protocols(self) -> dict[str, dict[str, int]]:
        """For each family the distinct protocols in words, and how many runs used each."""
        found: dict[str, dict[str, int]] = {family: {} for family in FAMILIES}
        for run in self.plan.runs:
            for family in FAMILIES:
                protocol = self.json(run.evaluation / f"{family}.json").get("protocol")
                if protocol:
                    words = protocol_words(protocol)
                    found[family][words] = found[family].get(words, 0) + 1
        return {family: words for family, words in found.items() if words}


def read_study(plan_json: str | Path, study_dir: str | Path) -> StudyFiles:
    """Read a collated study.

    Raises:
        UserError: the plan or the tables are missing or damaged.
    """
    plan = read_plan(plan_json)
    results, runs = read_tables(study_dir)
    boards = tuple(standings(results, runs, plan))
    return StudyFiles(plan, results, runs, boards, read_similarities(Path(study_dir)))


def protocol_words(protocol: Mapping[str, Any]) -> str:
    """A protocol on one line: "knn v1: k 20, metric cosine"."""
    rest = {name: value for name, value in protocol.items() if name not in ("name", "version")}
    settings = ", ".join(f"{name} {_short(value)}" for name, value in sorted(rest.items()))
    head = f"{protocol.get('name', '?')} v{protocol.get('version', '?')}"
    return f"{head}: {settings}" if settings else head


def _short(value: object) -> str:
    if isinstance(value, list) and len(value) > 8:
        return f"{value[0]} … {value[-1]} ({len(value)} values)"
    return str(value)

"""The studies of one invocation: its own, and those of claims, planned when something asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from replearn.claims.claim import SIZES, load_claim, study_name
from replearn.errors import UserError, nearest
from replearn.planning import Plan, PlannedRun, plan


class Studies:
    """Plans by study and by run.

    Args:
        own: the plan of the invocation's own study.
        claims: files of the claims by name.
        size: at which claims are planned.
        overrides: keys that replace those of every study.
        on_plan: called once with each plan, the own one first.

    Raises:
        UserError: there is no such size.
    """

    def __init__(
        self,
        own: Plan,
        claims: Mapping[str, Path],
        size: str,
        overrides: Mapping[str, Any],
        on_plan: Callable[[Plan], None],
    ) -> None:
        if size not in SIZES:
            raise UserError(
                f"unknown size '{size}'", where="--config size", hint=nearest(size, SIZES)
            )
        self.own, self.size = own, size
        self._claims, self._overrides, self._on_plan = claims, overrides, on_plan
        self._plans: dict[str, Plan] = {}
        self._runs: dict[str, tuple[Plan, PlannedRun]] = {}
        self._add(own)

    def __getitem__(self, study: str) -> Plan:
        """The plan of a study by name: the own one or a claim's at this size."""
        if study in self._plans:
            return self._plans[study]
        for size in SIZES:
            if study.startswith("claim_") and study.endswith(f"_{size}") and size != self.size:
                raise UserError(
                    f"this invocation is of size {self.size}",
                    where=study,
                    hint=f"Add --config size={size}.",
                )
        return self.claim(study.removeprefix("claim_").removesuffix(f"_{self.size}"))

    def claim(self, name: str) -> Plan:
        """The plan of a claim.

        Raises:
            UserError: there is no such claim, or it is not valid.
        """
        study = study_name(name, self.size)
        if study not in self._plans:
            if name not in self._claims:
                raise UserError(
                    f"no claim is called '{name}'",
                    where="config/claims",
                    hint=nearest(name, self._claims),
                )
            own = self.own.study
            places = {"results": str(own.results), "reports": str(own.reports)}
            claim = load_claim(self._claims[name])
            self._add(plan(claim.study(self.size, {**places, **self._overrides})))
        return self._plans[study]

    def of_run(self, key: str) -> Plan:
        """The plan that a run belongs to; a job that starts anew looks for it among the claims."""
        return self._entry(key)[0]

    def run(self, key: str) -> PlannedRun:
        """A run by its key."""
        return self._entry(key)[1]

    def _entry(self, key: str) -> tuple[Plan, PlannedRun]:
        waiting = iter(self._claims)
        while key not in self._runs:
            name = next(waiting, None)
            if name is None:
                raise UserError(
                    f"no study of this invocation has a run with the key {key}",
                    hint="Its configuration or its code has changed; start again.",
                )
            with suppress(UserError):  # A mistake in another claim is no matter of this run.
                self.claim(name)
        return self._runs[key]

    def _add(self, planned: Plan) -> None:
        for run in planned.runs:
            _, known = self._runs.setdefault(run.config.key, (planned, run))
            if known.config.evaluation != run.config.evaluation:
                raise UserError(
                    f"{run.config.id} has another evaluation in another study of this invocation",
                    where=f"{planned.study.source}: evaluation",
                    hint="Run the two studies one after the other.",
                )
        self._plans[planned.study.name] = planned
        self._on_plan(planned)

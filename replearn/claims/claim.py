"""Claims as people write them: config/claims/<name>.yaml, resolved into one study for each size.

`sizes.yaml` beside them says what a size means for every claim; a claim's `study` block comes on top of it,
then its own block of the size.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from replearn.config import Study, merged, parse_study, variants_of
from replearn.errors import UserError, nearest
from replearn.identity import key_of
from replearn.validation import validated

SIZES = ("cpu", "gpu")
SIZES_FILE = "sizes.yaml"
Size = Literal["cpu", "gpu"]
Rows = Annotated[list[str], Field(min_length=1)]
"""Rows of the claim's study, as "method" or "method/variant"."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Level(_Model):
    """Every row's metric lies above or below a number."""

    says: str
    metric: str
    rows: Rows
    above: float | None = None
    below: float | None = None


class Comparison(_Model):
    """One row is better than each of the others by more than a margin, seed by seed."""

    says: str
    metric: str
    better: str
    than: Rows
    by: float = 0.0
    """The margin, in the metric's unit (accuracies: 0.01 is a point); negative: not worse than that."""
    lower_is_better: bool = False
    than_metric: str | None = None
    """Metric of the other rows, if it is another one."""


class Agreement(_Model):
    """A row's metric equals another's up to a relative difference."""

    says: str
    metric: str
    row: str
    equals: str
    within: Annotated[float, Field(gt=0)]


class Identity(_Model):
    """Two formulas give the same number: a check without training (`replearn.claims.identities`)."""

    says: str
    identity: str
    at_most: Annotated[float, Field(gt=0)]


Criterion = Level | Comparison | Agreement | Identity
_KINDS: dict[str, type[Level] | type[Comparison] | type[Agreement] | type[Identity]] = {
    "rows": Level,
    "better": Comparison,
    "equals": Agreement,
    "identity": Identity,
}
"""The key by which each kind of criterion is told."""


class Published(_Model):
    """What the literature reports, for comparison."""

    effect: str
    source: str


class Claim(_Model):
    """A statement of the lecture and how it is put to the test."""

    name: str
    claim: str
    """The lecture's sentence in our words."""
    lecture: str
    """The part of the lecture that says it."""
    experiment: str
    """What is trained and compared, in one or two sentences."""
    published: Published
    criteria: tuple[Criterion, ...]
    blocks: dict[str, dict[str, Any]]
    """The study by size."""
    file: Path

    @property
    def digest(self) -> str:
        """Changes when the statement, its studies or its criteria do."""
        return key_of(self.model_dump(mode="json", exclude={"file"}))

    def study(self, size: str, overrides: Mapping[str, Any] | None = None) -> Study:
        """The study at one size; overrides of datasets touch only those that it uses.

        Raises:
            UserError: naming file, key and value.
        """
        changes = dict(overrides or {})
        datasets = changes.pop("datasets", {})
        raw = merged(self.blocks[size], changes)
        raw["datasets"] = {
            name: datasets.get(name, block) for name, block in raw["datasets"].items()
        }
        raw |= {
            "name": study_name(self.name, size),
            "title": self.claim,
            "description": self.experiment,
        }
        study = parse_study(raw, str(self.file))
        for row in self.rows:
            _check_row(study, row, f"{self.file}: criteria")
        return study

    @property
    def rows(self) -> tuple[str, ...]:
        """Every row that a criterion names, once."""
        named: dict[str, None] = {}
        for criterion in self.criteria:
            if isinstance(criterion, Level):
                named |= dict.fromkeys(criterion.rows)
            elif isinstance(criterion, Comparison):
                named |= dict.fromkeys([criterion.better, *criterion.than])
            elif isinstance(criterion, Agreement):
                named |= dict.fromkeys([criterion.row, criterion.equals])
        return tuple(named)


def study_name(claim: str, size: str) -> str:
    """Name of a claim's study at one size."""
    return f"claim_{claim}_{size}"


def split_row(row: str) -> tuple[str, str]:
    """ "byol/no_predictor" as method and variant; a method alone is its row "default"."""
    method, _, variant = row.partition("/")
    return method, variant or "default"


def claim_files(folder: Path) -> dict[str, Path]:
    """The claims of a folder by name."""
    return {f.stem: f for f in sorted(folder.glob("*.yaml")) if f.name != SIZES_FILE}


def load_claim(file: Path) -> Claim:
    """Read and validate a claim with the sizes of its folder.

    Raises:
        UserError: naming file, key, value and the nearest valid name.
    """
    raw, sizes = _read(file), _read(file.with_name(SIZES_FILE))
    common = raw.pop("study", {})
    blocks: dict[str, dict[str, Any]] = {}
    for size in SIZES:
        blocks[size] = {}
        for layer in (sizes.get(size), common, raw.pop(size, {})):
            if not isinstance(layer, Mapping):
                raise UserError(f"expected a mapping, not {layer!r}", where=f"{file}: {size}")
            if "datasets" in layer:
                blocks[size].pop("datasets", None)
            blocks[size] = merged(blocks[size], layer)
        if "datasets" not in blocks[size] or "methods" not in blocks[size]:
            raise UserError("a claim needs datasets and methods", where=f"{file}: study")
    criteria = raw.pop("criteria", None)
    if not isinstance(criteria, list) or not criteria:
        raise UserError("a claim needs a list of criteria", where=f"{file}: criteria")
    return validated(
        Claim,
        {
            **raw,
            "name": file.stem,
            "file": file,
            "blocks": blocks,
            "criteria": [
                _criterion(entry, f"{file}: criteria[{number}]")
                for number, entry in enumerate(criteria)
            ],
        },
        str(file),
    )


def _criterion(entry: Any, where: str) -> Criterion:
    if not isinstance(entry, Mapping):
        raise UserError(f"expected a mapping, not {entry!r}", where=where)
    kinds = [kind for key, kind in _KINDS.items() if key in entry]
    if len(kinds) != 1:
        known = ", ".join(_KINDS)
        raise UserError(f"a criterion has exactly one of the keys {known}", where=where)
    found: Criterion = validated(kinds[0], entry, where)
    if isinstance(found, Level) and (found.above is None) == (found.below is None):
        raise UserError("a level lies either above or below a number", where=where)
    if isinstance(found, Comparison) and found.lower_is_better and found.than_metric:
        raise UserError("lower_is_better and than_metric do not go together", where=where)
    metric = getattr(found, "metric", "a/b")
    if metric.count("/") != 1:
        raise UserError(f"a metric is written family/name, not '{metric}'", where=f"{where}.metric")
    return found


def _check_row(study: Study, row: str, where: str) -> None:
    method, variant = split_row(row)
    if method not in study.methods:
        raise UserError(
            f"no row '{row}' in the study", where=where, hint=nearest(method, study.methods)
        )
    names = variants_of(study, method)
    if variant not in names:
        raise UserError(f"no row '{row}' in the study", where=where, hint=nearest(variant, names))


def _read(file: Path) -> dict[str, Any]:
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read the file ({error.strerror})", where=str(file)) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"not valid YAML: {error}", where=str(file)) from None
    if not isinstance(raw, dict):
        raise UserError("expected a mapping of keys to values", where=str(file))
    return raw

"""What every dataset's options have in common: frozen, typed models that never import torch."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from replearn.data.plan import Plan

FORMAT = 1
"""Version of the prepared format; part of every digest, so that a new format is a new place."""

Captions = Literal["none", "templates", "paired"]
Pixels = Annotated[int, Field(ge=4, le=1024)]


class Options(BaseModel, ABC):
    """Options of one dataset; each source family adds its own `source` and fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: ClassVar[frozenset[str]] = frozenset()
    """Fields that say where the data lies, not what it is: they are no part of the digest."""
    default_templates: ClassVar[tuple[str, ...]] = ("a photo of a {}.",)

    limit: Annotated[int, Field(ge=1)] | None = None
    """Keep at most this many training images, a stratified subset; the test split stays whole."""
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the training images held out to choose hyper-parameters."""
    size: Pixels | None = None
    """Height and width in pixels to which images are brought; their own if absent."""
    templates: tuple[str, ...] | None = None
    """Prompts with `{}` for the class name; the dataset's own if absent."""

    @field_validator("templates")
    @classmethod
    def _have_a_place(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value is not None:
            if not value:
                raise ValueError("templates needs at least one prompt")
            for template in value:
                if template.count("{}") != 1:
                    raise ValueError(f"the template {template!r} needs exactly one {{}}")
        return value

    @property
    def has_labels(self) -> bool:
        """Whether the images have classes."""
        return True

    @property
    def captions(self) -> Captions:
        """Where a caption comes from: nowhere, prompt templates, or a text beside the image."""
        return "templates" if self.has_labels else "none"

    @property
    def prompt_templates(self) -> tuple[str, ...]:
        """The templates in force; none for a dataset without classes."""
        if not self.has_labels:
            return ()
        return self.templates if self.templates is not None else self.default_templates

    @abstractmethod
    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        """SHA-256 of the source data itself, whatever subset or size is taken from it.

        Args:
            cache: file that remembers the hashes of local files by path, size and time.
            name: the dataset's name in the study, for messages.

        Raises:
            UserError: a local file or folder is missing or unreadable.
        """

    @abstractmethod
    def plan(self, name: str, raw: Path, content: str) -> Plan:
        """Find (downloading if needed) and survey the data, without decoding it.

        Args:
            name: the dataset's name in the study, for messages.
            raw: where downloads are kept.
            content: result of `content`, the seed of every deterministic split.
        """

    def digest(self, cache: Path | None = None, *, name: str | None = None) -> str:
        """SHA-256 of the prepared dataset: its source data and every option that shapes it."""
        return self.digest_of(self.content(cache, name=name))

    def digest_of(self, content: str) -> str:
        """`digest`, given the result of `content`."""
        value = {
            "format": FORMAT,
            "content": content,
            "options": self.model_dump(mode="json", exclude=set(self.where)),
            "templates": self.prompt_templates,
        }
        return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

"""Recipes: how each method is trained at one budget, every value with its source (the YAML files here)."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field

NAMES = ("small", "cifar", "paper")
SMALL_IMAGE = 64
"""Largest image, in pixels, for which the CIFAR recipe is the automatic choice."""


class MethodRecipe(BaseModel):
    """One method's values; they stand between the options' defaults and the study."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: str
    options: dict[str, Any] = {}
    optimizer: dict[str, Any] = {}
    training: dict[str, Any] = {}
    views: list[dict[str, Any]] = []
    settings_tried: int | None = Field(default=None, ge=1)
    """Settings compared on validation images when this block was chosen; None if its authors chose it."""


class Recipe(BaseModel):
    """The values of all methods at one budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    parts: dict[str, Any] = {}
    """Pieces that the file itself shares between methods by YAML anchors."""
    methods: dict[str, MethodRecipe]

    def of(self, method: str) -> MethodRecipe:
        """The block of one method; without one, its options' defaults and two plain views."""
        return self.methods.get(method, MethodRecipe(source="defaults", views=[{}, {}]))


def load_recipe(name: str, encoder: str, size: int | None) -> Recipe:
    """A recipe by name; "auto" chooses by encoder and image size.

    Args:
        name: "auto", "small", "cifar" or "paper".
        encoder: name of the backbone.
        size: height of the images in pixels if the study sets it.
    """
    if name == "auto":
        small_images = size is None or size <= SMALL_IMAGE
        name = "small" if encoder == "convnet" else "cifar" if small_images else "paper"
    return _read(name)


def settings_tried(recipe: str, method: str) -> int | None:
    """How many settings of a method were compared when a recipe was made; None if that is not known."""
    return _read(recipe).of(method).settings_tried if recipe in NAMES else None


@lru_cache
def _read(name: str) -> Recipe:
    text = files("replearn.recipes").joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return Recipe.model_validate({"name": name, **yaml.safe_load(text)})

"""Captions for datasets that have only class names: prompt templates (CLIP, section 3.1.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replearn.data.prepared import Manifest

CIFAR: tuple[str, ...] = tuple(
    f"a {kind}photo of {article} {{}}."
    for article in ("a", "the")
    for kind in (
        "",
        "blurry ",
        "black and white ",
        "low contrast ",
        "high contrast ",
        "bad ",
        "good ",
    )
) + tuple(
    f"a photo of {article} {size} {{}}." for article in ("a", "the") for size in ("small", "big")
)
"""The 18 templates that OpenAI published for CIFAR (openai/CLIP, data/prompts.md)."""

STL10: tuple[str, ...] = ("a photo of a {}.", "a photo of the {}.")

FASHION: tuple[str, ...] = (
    "a photo of a {}, a type of clothing.",
    "a black and white photo of a {}.",
    "a product photo of a {}.",
    "a low resolution photo of a {}, a piece of clothing.",
)

DIGITS: tuple[str, ...] = ('a photo of the number: "{}".', "a handwritten digit {}.")


def fill(template: str, class_name: str) -> str:
    """The template with the class name in place of `{}`; underscores become spaces."""
    return template.replace("{}", class_name.replace("_", " "))


def prompts(manifest: Manifest) -> list[list[str]]:
    """Every template filled for every class: C lists (in label order) of T prompts each."""
    return fill_all(manifest.classes, manifest.templates)


def fill_all(classes: Sequence[str], templates: Sequence[str]) -> list[list[str]]:
    """Every template filled for every class."""
    return [[fill(template, name) for template in templates] for name in classes]

"""The whole report of a real, finished study."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from replearn.report import build
from replearn.standings import NAMES

VOID = {"meta", "link", "img", "br", "input"}
LOADING = {"src", "srcset", "poster", "data", "action", "background"}


@dataclass
class Page(HTMLParser):
    """What a browser would find in a page."""

    loads: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    values: dict[tuple[str, str], float] = field(default_factory=dict)
    images: int = 0
    without_alt: int = 0
    charts: int = 0
    nameless: int = 0
    open: list[str] = field(default_factory=list)
    row: str = ""

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if tag not in VOID:
            self.open.append(tag)
        self.loads += [value for name, value in found.items() if name in LOADING]
        if tag in ("link", "use", "image", "script"):
            self.loads += [found[name] for name in ("href", "xlink:href") if name in found]
        if tag == "a":
            self.links.append(found.get("href", ""))
        if "id" in found:
            self.ids.append(found["id"])
        if tag == "img":
            self.images += 1
            self.without_alt += not found.get("alt")
        if tag == "svg":
            self.charts += 1
            self.nameless += not found.get("aria-label")
        if found.get("data-column") == "method":
            self.row = found["data-value"]
        elif found.get("data-column") in ("linear", "knn") and found["data-value"]:
            self.values[(self.row, found["data-column"])] = float(found["data-value"])

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def text(smoke_study: Any) -> str:
    return Path(smoke_study.report).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    parsed = Page()
    parsed.feed(text)
    return parsed


def test_it_loads_nothing_from_outside(page: Page, text: str) -> None:
    assert page.images > 0
    assert all(value.startswith(("data:", "#")) for value in page.loads)
    assert "@import" not in text
    assert not re.search(r"url\((?!['\"]?(#|data:))", text)


def test_elements_are_closed_and_ids_unique(page: Page) -> None:
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_inner_links_lead_somewhere(page: Page) -> None:
    inner = [link[1:] for link in page.links if link.startswith("#")]
    assert inner
    assert set(inner) <= set(page.ids)


def test_pictures_can_be_read_aloud(page: Page) -> None:
    assert page.without_alt == 0
    assert page.charts > 0
    assert page.nameless == 0


def test_every_method_is_there(text: str, smoke_study: Any) -> None:
    plan = json.loads(Path(smoke_study.plan).read_text(encoding="utf-8"))
    for method in {run["method"] for run in plan["runs"]}:
        assert html.escape(NAMES.get(method, method)) in text


def test_every_run_is_accounted_for(text: str, smoke_study: Any) -> None:
    plan = json.loads(Path(smoke_study.plan).read_text(encoding="utf-8"))
    assert all(run["key"] in text for run in plan["runs"])


def test_the_numbers_are_those_of_the_tidy_table(page: Page, smoke_study: Any) -> None:
    results = pd.read_parquet(Path(smoke_study.study) / "results.parquet")
    means = results[results["metric"] == "accuracy"].groupby(["method", "family"])["value"].mean()
    expected = {
        (NAMES[m], family): value for (m, family), value in means.items() if pd.notna(value)
    }
    assert expected
    assert page.values == pytest.approx(expected, abs=1e-12)


def test_texts_from_outside_cannot_become_elements(smoke_study: Any, tmp_path: Path) -> None:
    nasty = '<script>alert("x")</script> & </style> {{ 7 * 7 }}'
    plan = json.loads(Path(smoke_study.plan).read_text(encoding="utf-8"))
    skipped = [{"dataset": nasty, "method": nasty, "variant": nasty, "reason": nasty}]
    changed = {**plan, "title": nasty, "description": nasty, "skipped": skipped}
    # the plan's neighbours must stay where they are for its paths to hold
    file = Path(smoke_study.plan).with_name("plan-nasty.json")
    file.write_text(json.dumps(changed), encoding="utf-8")
    try:
        output = build(smoke_study.study, file, tmp_path / "report" / "index.html")
    finally:
        file.unlink()
    text = output.read_text(encoding="utf-8")
    assert nasty not in text
    assert text.count(html.escape(nasty, quote=False).replace('"', "&#34;")) >= 6
    parsed = Page()
    parsed.feed(text)
    assert parsed.open == []


def test_it_stays_small(text: str) -> None:
    assert len(text.encode()) < 6_000_000

"""The pages in a real browser: nothing fails in its console, and what can be clicked does what it says."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.workflow_fixture import CHECKOUT

pytestmark = pytest.mark.browser

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

LISTEN = """<script>
window.failures = [];
addEventListener("error", (event) => failures.push(event.message || "not loaded: " + event.target.src), true);
addEventListener("securitypolicyviolation", (event) => failures.push(event.blockedURI));
</script>"""

LOOK = """<script>
addEventListener("load", () => {
  const column = (table, n) => [...table.tBodies[0].rows].filter((row) => !row.classList.contains("group"))
    .map((row) => row.cells[n].dataset.value);
  const seen = {failures, sorted: {}};
  const table = document.querySelector("table.sortable");
  if (table) {
    [...table.tHead.rows].at(-1).querySelectorAll("th").forEach((head, n) => {
      const button = head.querySelector("button");
      button.click();
      const once = column(table, n), order = head.getAttribute("aria-sort");
      button.click();
      seen.sorted[head.textContent.trim()] = {
        numeric: head.classList.contains("number"), order, once, twice: column(table, n),
      };
    });
  }
  const colour = () => getComputedStyle(document.body).backgroundColor;
  const before = colour(), scheme = document.getElementById("scheme");
  scheme.click();
  seen.themes = [before, colour()];
  scheme.click();
  seen.themes.push(colour());
  const legend = document.querySelector(".legend button");
  if (legend) {
    legend.click();
    const paths = [...legend.closest(".legend").parentElement.querySelectorAll("svg.map path")];
    const chosen = "k" + legend.dataset.slot;
    seen.faded = paths.filter((path) => path.style.strokeOpacity).length;
    seen.others = paths.filter((path) => !path.classList.contains(chosen)).length;
  }
  seen.broken = [...document.images].filter((image) => !image.naturalWidth).length;
  seen.width = [document.documentElement.scrollWidth, innerWidth];
  const out = document.createElement("pre");
  out.id = "seen";
  out.textContent = JSON.stringify(seen);
  document.body.append(out);
});
</script>"""


def seen(page: Path, folder: Path, width: int) -> dict[str, Any]:
    """What a script finds in the page, opened in a window of so many pixels."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    assert browser, "no Chromium on this machine; `make test-all` installs it from Debian"
    text = page.read_text(encoding="utf-8")
    text = text.replace("<head>", "<head>" + LISTEN, 1).replace("</body>", LOOK + "</body>", 1)
    watched = folder / "watched.html"
    watched.write_text(text, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", *QUIET]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width},900"]
    command += ["--virtual-time-budget=10000", "--dump-dom", watched.as_uri()]
    dumped = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    found = re.search(r'<pre id="seen">(.*?)</pre>', dumped, re.DOTALL)
    assert found, "the page was not looked at to the end"
    result: dict[str, Any] = json.loads(html.unescape(found[1]))
    return result


@pytest.fixture(scope="module")
def report(smoke_study: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return seen(Path(smoke_study.report), tmp_path_factory.mktemp("browser"), 1280)


def test_nothing_fails(report: dict[str, Any]) -> None:
    assert report["failures"] == []
    assert report["broken"] == 0


def test_a_click_on_a_heading_sorts_and_another_turns_the_order(report: dict[str, Any]) -> None:
    assert len(report["sorted"]) > 5
    for name, column in report["sorted"].items():
        once = [value for value in column["once"] if value != ""]
        twice = [value for value in column["twice"] if value != ""]
        key: Any = float if column["numeric"] else str.casefold
        assert column["order"] == ("descending" if column["numeric"] else "ascending"), name
        assert [key(value) for value in once] == sorted(map(key, once), reverse=column["numeric"])
        assert [key(v) for v in twice] == sorted(map(key, twice), reverse=not column["numeric"])
        for values, present in ((column["once"], once), (column["twice"], twice)):
            assert values == present + [""] * (len(values) - len(present)), "empty ones last"


def test_the_theme_can_be_turned(report: dict[str, Any]) -> None:
    before, turned, back = report["themes"]
    assert before == back != turned


def test_a_class_in_the_legend_fades_the_others(report: dict[str, Any]) -> None:
    assert report["faded"] == report["others"] > 0


@pytest.mark.parametrize("width", [1280, 500])
def test_no_window_has_to_be_scrolled_sideways(
    smoke_study: Any, tmp_path: Path, width: int
) -> None:
    content, window = seen(Path(smoke_study.report), tmp_path, width)["width"]
    assert content <= window


def test_the_claims_page_works_too(tmp_path: Path) -> None:
    found = seen(CHECKOUT / "docs" / "claims" / "index.html", tmp_path, 1280)
    assert found["failures"] == [] and found["broken"] == 0
    assert found["width"][0] <= found["width"][1]
    assert found["themes"][0] == found["themes"][2] != found["themes"][1]

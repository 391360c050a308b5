"""The repository's own rules: pins agree, imports stay light, files are short, links resolve."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from benchmarks.pairs import Ratio

ROOT = Path(__file__).parent.parent
LOCK = ROOT / "requirements.lock"
SOURCES = sorted((ROOT / "replearn").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").rglob("*.py"))
PYTHON = [*SOURCES, *BENCHMARKS, *sorted((ROOT / "tests").rglob("*.py"))]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md")])
LONGEST = 400
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}

EXTRAS = (
    "snakemake",
    "mlflow",
    "pandas",
    "open_clip",
    "matplotlib",
    "seaborn",
    "sklearn",
    "jinja2",
)
LIGHT = (
    "replearn.cli",
    "replearn.config",
    "replearn.data",
    "replearn.errors",
    "replearn.evaluate.protocol",
    "replearn.identity",
    "replearn.layout",
    "replearn.methods.options",
    "replearn.planning",
    "replearn.progress",
)
CORE = (
    "replearn.augment",
    "replearn.evaluate.collapse",
    "replearn.evaluate.knn",
    "replearn.methods.base",
    "replearn.train",
    *(
        f"replearn.methods.{name}"
        for name in ("autoencoder", "byol", "clip", "dino", "references", "simclr", "supcon")
    ),
)


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def requirements(lock: Path = LOCK) -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each package in a lock."""
    found: dict[str, tuple[str, list[str]]] = {}
    current = ""
    for line in lock.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"^([A-Za-z0-9._-]+)==(\S+)( ; .*?)? \\$", line):
            current = match[1].lower()
            found[current] = (match[2], [])
        elif match := re.match(r"^    --hash=sha256:([0-9a-f]{64})( \\)?$", line):
            found[current][1].append(match[1])
        else:
            assert line.startswith("#"), f"unexpected line in the lock: {line}"
    return found


def project() -> dict[str, list[str]]:
    """Requirements of pyproject.toml by group, "" for the core's."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        content = tomllib.load(stream)
    groups: dict[str, list[str]] = {"": content["project"]["dependencies"]}
    groups |= content["project"]["optional-dependencies"]
    groups["build"] = content["build-system"]["requires"]
    return groups


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def test_every_pin_of_the_lock_has_its_hashes_and_nothing_names_a_host() -> None:
    pins = requirements()
    assert len(pins) > 100
    assert [package for package, (_, hashes) in pins.items() if not hashes] == []
    assert re.findall(r"https?:|file:|--find-links|--index|@ ", LOCK.read_text()) == []


def test_the_lock_satisfies_the_project() -> None:
    pins = requirements()
    for group, wanted in project().items():
        for requirement in wanted:
            package, operator, bound = re.fullmatch(
                r"([A-Za-z0-9_.-]+)(?:\[.*\])?(?:(==|>=)(.*))?", requirement
            ).groups()  # type: ignore[union-attr]
            if package == "replearn":
                continue
            pinned = version(pins[re.sub(r"[_.]", "-", package).lower()][0])
            bound = version(bound)
            assert pinned == bound if operator == "==" else pinned >= bound, (group, requirement)


def test_the_peers_of_the_benchmarks_are_pinned_beside_the_environment() -> None:
    """Their lock holds what they ask for, hashed, and nothing that the environment has already."""
    lock = ROOT / "benchmarks" / "requirements.lock"
    pins = requirements(lock)
    assert [package for package, (_, hashes) in pins.items() if not hashes] == []
    assert re.findall(r"https?:|file:|--find-links|--index|@ ", lock.read_text()) == []
    assert set(pins) & set(requirements()) == set()
    with (ROOT / "pyproject.toml").open("rb") as stream:
        wanted = tomllib.load(stream)["dependency-groups"]["peers"]
    assert [f"{name}=={pins[name][0]}" for name in (w.split("==")[0] for w in wanted)] == wanted


def test_the_group_all_holds_every_other_group() -> None:
    groups = set(project()) - {"", "all", "build"}
    (everything,) = project()["all"]
    assert set(everything.removeprefix("replearn[").removesuffix("]").split(",")) == groups


def test_conda_users_get_the_lock() -> None:
    content = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in content["dependencies"] if isinstance(entry, dict))
    assert "-r requirements.lock" in pip
    (python,) = (d for d in content["dependencies"] if str(d).startswith("python"))
    assert version(python)[:2] >= (3, 11)


@pytest.mark.parametrize("path", [*SOURCES, *BENCHMARKS], ids=name)
def test_a_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


def test_files_are_short_and_named_after_what_they_hold() -> None:
    long = {
        name(path): lines for path in PYTHON if (lines := len(path.open().readlines())) > LONGEST
    }
    assert long == {}
    assert [name(path) for path in PYTHON if path.stem in VAGUE] == []


def test_sources_name_no_machine() -> None:
    """Paths of somebody's computer have no place in what others clone."""
    texts = [
        *SOURCES,
        *BENCHMARKS,
        *DOCUMENTS,
        *ROOT.glob("config/**/*.yaml"),
        *ROOT.glob("workflow/**/*.*"),
    ]
    found = [name(path) for path in texts if re.search(r"/(home|Users|root)/\w", path.read_text())]
    assert found == []


def imported_by(statement: str) -> set[str]:
    """Top-level packages that are loaded after a statement, in a fresh interpreter."""
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_planning_and_the_command_line_load_no_torch() -> None:
    loaded = imported_by("\n".join(f"import {module}" for module in LIGHT))
    assert loaded & {"torch", "torchvision", *EXTRAS} == set()


def test_the_help_loads_no_torch() -> None:
    loaded = imported_by(
        "import contextlib, io\nfrom replearn.cli import main\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    main(['--help'])"
    )
    assert "replearn" in loaded
    assert loaded & {"torch", "torchvision", "numpy", *EXTRAS} == set()


def test_the_core_trains_without_the_extras() -> None:
    """A bare node has torch and little more; the rest loads where it is used."""
    loaded = imported_by("\n".join(f"import {module}" for module in CORE))
    assert "torch" in loaded
    assert loaded & set(EXTRAS) == set()


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_links_of_a_document_resolve(path: Path) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    broken = []
    for link in re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text):
        target, _, anchor = link.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        file = path.parent / target if target else path
        if not file.exists() or (anchor and anchor not in anchors(file)):
            broken.append(link)
    assert broken == []


def anchors(document: Path) -> set[str]:
    """What headings of a Markdown file can be linked by, in GitHub's way."""
    headings = re.findall(r"^#+ +(.+)$", document.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_paths_and_commands_of_a_document_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert called("make", text) <= targets
    places = re.findall(
        r"[`( ]((?:benchmarks|config|docs|replearn|tests|workflow)/[\w./-]*\w)", text
    )
    assert [place for place in places if not (ROOT / place).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    decisions = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("*.md"))
    assert [decision for decision in decisions if f"](decisions/{decision})" not in index] == []


def called(program: str, document: str) -> set[str]:
    """First arguments with which a Markdown text calls a program, in console blocks and spans."""
    blocks = "\n".join(re.findall(r"```console\n(.*?)```", document, re.DOTALL))
    return set(re.findall(rf"^{program} ([a-z][a-z-]*)", blocks, re.MULTILINE)) | set(
        re.findall(rf"`{program} ([a-z][a-z-]*)", document)
    )


def keys(model: type[BaseModel]) -> set[str]:
    return {field for field in model.model_fields if field not in ("source", "method", "name")}


def test_every_key_of_a_study_is_documented() -> None:
    from replearn import config
    from replearn.data import SOURCES
    from replearn.evaluate.protocol import EvaluationConfig
    from replearn.methods.options import METHODS
    from replearn.views import View

    study = [
        config.Study,
        config.EncoderConfig,
        config.TrainingConfig,
        config.OptimizerConfig,
        View,
    ]
    protocols = [field.annotation for field in EvaluationConfig.model_fields.values()]
    documented = {
        "configuration.md": [*study, config.MonitorConfig, config.TrackingConfig, *protocols],
        "methods.md": list(METHODS.values()),
        "data.md": list(SOURCES.values()),
    }
    for document, models in documented.items():
        text = (ROOT / "docs" / document).read_text(encoding="utf-8")
        wanted = set().union(*(keys(model) for model in models)) - {"version"}  # type: ignore[arg-type]
        assert sorted(key for key in wanted if f"`{key}`" not in text) == [], document


def test_every_diagnostic_and_its_thresholds_are_documented() -> None:
    from replearn.evaluate import collapse, verdict

    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    wanted = set(collapse.NAMES) - {"n", "d", "finite"}
    assert sorted(name for name in wanted if f"`{name}`" not in text) == []
    for rule in (
        f"`feature_std` < {verdict.CONSTANT_STD:g}",
        f"`relative_variance` < {verdict.CONSTANT_VARIANCE:g}",
        f"`rank_me` < {verdict.CONSTANT_RANK:g}",
        f"`cluster_residual` < {verdict.CLUSTER_RESIDUAL:g}",
        f"`effective_rank` ≥ {verdict.CLUSTER_RANK:g}",
        f"below {verdict.FEWEST_DIRECTIONS:g}",
    ):
        assert rule in text


def test_the_performance_page_shows_what_the_kept_benchmarks_measured() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    files = sorted((ROOT / "docs" / "measured").glob("*.json"))
    assert files
    for file in files:
        content = json.loads(file.read_text(encoding="utf-8"))
        assert f"(measured/{file.name})" in page
        assert f"`{content['machine']['command']}`" in page
        ratios = [row["ratio"] for table in content["tables"] for row in table["rows"]]
        told = [str(Ratio(**ratio)) for ratio in ratios if ratio]
        assert [ratio for ratio in told if ratio not in page] == [], file.name


def test_every_method_source_and_command_is_documented() -> None:
    from replearn.cli import app
    from replearn.data import SOURCES
    from replearn.methods.options import METHODS

    methods, data = (ROOT / "docs" / name for name in ("methods.md", "data.md"))
    assert [name for name in METHODS if f"`{name}`" not in methods.read_text()] == []
    assert [name for name in SOURCES if f"`{name}`" not in data.read_text()] == []
    commands = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    named = set().union(*(called("replearn", path.read_text()) for path in DOCUMENTS))
    assert named <= commands


def test_the_readme_lists_every_method() -> None:
    from replearn.methods.options import METHODS

    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [method for method in METHODS if f"`{method}`" not in readme] == []


def test_study_examples_in_documents_are_valid() -> None:
    """Every complete study in a YAML block is accepted as it stands."""
    from replearn.config import parse_study

    studies = 0
    for path in DOCUMENTS:
        for block in re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL):
            content = yaml.safe_load(block)
            if isinstance(content, dict) and {"name", "datasets", "methods"} <= set(content):
                parse_study(content, where=name(path))
                studies += 1
    assert studies >= 3

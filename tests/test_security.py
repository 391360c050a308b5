"""Nothing that comes from a study, its data or its folder is run, unpickled or shown as markup."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.workflow_fixture import CHECKOUT, FinishedStudy, copy_checkout

SOURCES = sorted((CHECKOUT / "replearn").rglob("*.py"))
FORBIDDEN = {
    "eval",
    "exec",
    "os.system",
    "os.popen",
    "pickle.load",
    "pickle.loads",
    "torch.load",
    "torch.save",
    "yaml.load",
    "subprocess.getoutput",
}


def calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(CHECKOUT)))
def test_no_module_runs_or_unpickles_what_it_reads(file: Path) -> None:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for call in calls(tree):
        assert ast.unparse(call.func) not in FORBIDDEN, ast.unparse(call)
        for keyword in call.keywords:
            if keyword.arg in ("shell", "allow_pickle"):
                assert ast.unparse(keyword.value) == "False", ast.unparse(call)


STUDY = """
name: nasty
title: "<script>alert('title')</script>"
description: "{{ 7 * 7 }} </style><img src=x onerror=alert(1)>"
datasets:
  toys: {source: folder, path: %s}
seeds: [0]
encoder: {name: convnet, width: 4}
training: {epochs: 1, batch_size: 16, monitor: {bank: 20, queries: 10}}
methods: {raw_pixels: , simclr: , clip: }
"""
CLASSES = [
    "<script>alert(1)<",
    "$(touch pwned)",
    "'; touch pwned; '",
    'a"b`touch pwned`',
    "ünï ço∂é",
]
FOLDER = 'it\'s a "folder"; $(touch pwned) & <b>ü'
SECRET = "hunter2-do-not-tell"


@pytest.fixture(scope="module")
def nasty(tmp_path_factory: pytest.TempPathFactory) -> FinishedStudy:
    """A study of images whose classes, files and folders have the worst names that a disk allows."""
    root = tmp_path_factory.mktemp("nasty") / FOLDER
    study = copy_checkout(root)
    random = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 6)):
        for name in CLASSES:
            folder = root / "images <i>" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number} <u>$(touch pwned)';\".png")
    (root / "study.yaml").write_text(STUDY % '"images <i>"')
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "API_TOKEN": SECRET,
        "MLFLOW_TRACKING_URI": f"http://me:{SECRET}@127.0.0.1:9",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    }
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "study.yaml"]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    (root / "told").write_text(done.stdout + done.stderr)
    return study


def test_names_reach_no_shell(nasty: FinishedStudy) -> None:
    assert not list(nasty.root.parent.rglob("pwned"))


def test_names_are_text_in_the_report(nasty: FinishedStudy) -> None:
    text = (nasty.root / "reports" / "nasty" / "index.html").read_text(encoding="utf-8")
    assert "&lt;script&gt;alert(1)&lt;" in text, "the class is shown"
    assert "{{ 7 * 7 }}" in text, "no template is evaluated twice"
    for markup in ("<script>alert(", "<img src=x", "<u>$(touch"):
        assert markup not in text


def test_secrets_stay_in_the_environment(nasty: FinishedStudy) -> None:
    for file in nasty.root.rglob("*"):
        if file.is_file() and ".git" not in file.parts:
            assert SECRET.encode() not in file.read_bytes(), file
    assert "http://me:***@127.0.0.1:9" in (nasty.root / "told").read_text()


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "a b", "$(x)", "a/b", "", "-rf", "a\nb", ".hidden"]
)
def test_a_study_s_name_is_a_plain_word(name: str, tmp_path: Path) -> None:
    from replearn.config import parse_study
    from replearn.errors import UserError

    raw = {"name": name, "datasets": {"digits": {}}, "methods": {"simclr": {}}}
    with pytest.raises(UserError, match="name"):
        parse_study(raw, "study.yaml")

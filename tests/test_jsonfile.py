"""JSON files are whole or absent."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from replearn.errors import UserError
from replearn.jsonfile import read_json, write_if_changed, write_json


def test_what_is_written_is_read_and_is_strict_json(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "metrics.json"
    write_json(path, {"b": [1, math.nan], "a": {"x": math.inf, "y": 0.1}, "t": (1, 2)})
    assert read_json(path) == {"a": {"x": None, "y": 0.1}, "b": [1, None], "t": [1, 2]}
    text = path.read_text()
    assert text.index('"a"') < text.index('"b"')
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert [p.name for p in path.parent.iterdir()] == ["metrics.json"], "no temporary file stays"


def test_an_unchanged_file_keeps_its_time(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    assert write_if_changed(path, "{}")
    before = path.stat().st_mtime_ns
    assert not write_if_changed(path, "{}")
    assert path.stat().st_mtime_ns == before
    assert write_if_changed(path, "[]")


def test_missing_damaged_and_unwritable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.json.*not found"):
        read_json(tmp_path / "gone.json")
    (tmp_path / "half.json").write_text('{"a": ')
    with pytest.raises(UserError, match=r"half\.json.*not valid JSON"):
        read_json(tmp_path / "half.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write_json(tmp_path / "file" / "below.json", {})

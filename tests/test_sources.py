"""What a module says is found out once for each content of its file."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from replearn import sources
from replearn.identity import source_digests

CODE = '''"""A module."""

from __future__ import annotations

import replearn.stats
from replearn.methods import base


def double(x: int) -> int:
    """Twice x."""
    return 2 * x  # exactly
'''


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of one module, `replearn.example`, in the place of the real one."""
    monkeypatch.setattr(sources, "PACKAGE", tmp_path)
    (tmp_path / "example.py").write_text(CODE)
    return tmp_path


def look() -> sources.Source:
    """A look by a process that has not looked before."""
    sources.examined.cache_clear()
    found = sources.examined("replearn.example")
    sources.examined.cache_clear()
    assert found is not None
    return found


def test_comments_docstrings_and_formatting_do_not_count(package: Path) -> None:
    before = look()
    assert before.imports == ("replearn.methods", "replearn.methods.base", "replearn.stats")
    tidied = CODE.replace("  # exactly", "").replace('"""Twice x."""', "'''2 x.'''")
    (package / "example.py").write_text(tidied.replace("2 * x", "(2*x)"))
    assert look() == before
    (package / "example.py").write_text(CODE.replace("2 * x", "3 * x"))
    assert look().digest != before.digest


def test_an_unchanged_file_is_not_parsed_again(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look()

    def refuse(*_: object) -> ast.Module:
        raise AssertionError("parsed again")

    monkeypatch.setattr(ast, "parse", refuse)
    assert look() == before
    (package / "example.py").touch()
    assert look() == before
    (package / "example.py").write_text(CODE + "\nMORE = 1\n")
    with pytest.raises(AssertionError, match="parsed again"):
        look()


def test_what_was_kept_by_other_rules_or_damaged_is_not_believed(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = look()
    (kept,) = package.rglob("*.source")
    stamp, _, *rest = kept.read_text().split()
    kept.write_text(" ".join([stamp, "0" * 64, *rest]))
    assert look().digest == "0" * 64, "this is where it is kept"
    monkeypatch.setattr(sources, "_rules", lambda: b"another Python")
    assert look() == before
    for damaged in (b"", b"\xff\xfe", stamp.encode()):
        kept.write_bytes(damaged)
        assert look() == before


def test_where_nothing_can_be_kept_it_is_found_all_the_same(package: Path) -> None:
    before = look()
    (kept,) = package.rglob("*.source")
    kept.unlink()
    kept.parent.rmdir()
    kept.parent.write_text("no folder")
    assert look() == before


def test_only_modules_of_the_package_can_be_asked_for() -> None:
    assert sources.examined("replearn.nowhere") is None
    with pytest.raises(ValueError, match="no module replearn"):
        source_digests(["replearn.nowhere"])
    assert "replearn.train" in source_digests(["replearn.pretrain"])

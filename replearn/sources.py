"""What the code of a module says, comments and formatting aside, and what it imports.

To find out takes a third of a second for the whole package, which every start of the workflow would pay.
So it is kept where Python keeps bytecode and, like that, made anew when the file's content has changed.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import cache_from_source
from pathlib import Path

from replearn.errors import UserError
from replearn.jsonfile import write_text

PACKAGE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Source:
    """A module of the package: SHA-256 of its normalised source, and which modules it may import."""

    digest: str
    imports: tuple[str, ...]
    """Sorted names below `replearn`; some are not modules but things in them."""


@lru_cache
def examined(module: str) -> Source | None:
    """What a module says, given its dotted name; None if the package has no such module.

    Raises:
        SyntaxError: the file is not Python.
    """
    path = _path_of(module)
    if path is None:
        return None
    content = path.read_bytes()
    stamp = hashlib.sha256(_rules() + content).hexdigest()
    kept = Path(cache_from_source(str(path))).with_suffix(".source")
    with suppress(OSError, ValueError):
        known, digest, *imports = kept.read_text(encoding="utf-8").split()
        if known == stamp:
            return Source(digest, tuple(imports))
    source = _examine(content)
    with suppress(UserError):
        write_text(kept, " ".join((stamp, source.digest, *source.imports)) + "\n", durable=False)
    return source


@lru_cache
def _rules() -> bytes:
    """What the result depends on beside the module itself: this file, and the Python that unparses."""
    return Path(__file__).read_bytes() + sys.version.encode()


def _path_of(module: str) -> Path | None:
    relative = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (relative.with_suffix(".py"), relative / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _examine(content: bytes) -> Source:
    tree = ast.parse(content)
    imports = tuple(sorted(_imports(tree)))
    _strip_docstrings(tree)
    return Source(hashlib.sha256(ast.unparse(tree).encode()).hexdigest(), imports)


def _imports(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.startswith("replearn.")}


def _strip_docstrings(tree: ast.AST) -> None:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        node.body = [  # type: ignore[attr-defined]
            line
            for line in body
            if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))
        ] or [ast.Pass()]

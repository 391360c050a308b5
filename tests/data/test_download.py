"""Downloads from a real server on this machine that breaks in every way we could think of."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from replearn.data.download import Source, SourceFailed, fetch_url, first_that_works, free_space
from replearn.errors import UserError

CONTENT = bytes(range(256)) * 3000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves /whole, /cut (half, then the connection ends), /wrong and /noranges; else 404."""

    requests: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        wanted = self.headers.get("Range")
        self.requests.append((self.path, wanted))
        name = self.path.rsplit("/", 1)[-1]
        if name not in ("whole", "cut", "wrong", "noranges"):
            self.send_error(404)
            return
        body = CONTENT[::-1] if name == "wrong" else CONTENT
        start = int(wanted[6:-1]) if wanted and name != "noranges" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        part = body[start:]
        self.wfile.write(part[: (len(part) + 1) // 2] if name == "cut" else part)

    def log_message(self, *arguments: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[str]:
    Handler.requests.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def part_of(target: Path) -> Path:
    (part,) = target.parent.glob("*.part")
    return part


def test_a_whole_file_arrives_once(server: str, tmp_path: Path) -> None:
    target = tmp_path / "deep/file"
    fetch_url(f"{server}/whole", target, sha256=SHA256)
    fetch_url(f"{server}/whole", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert len(Handler.requests) == 1
    assert [file.name for file in target.parent.iterdir()] == ["file"]


def test_a_partial_file_is_kept_but_is_no_data_and_goes_on(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file"
    with pytest.raises(SourceFailed, match=r"384,000 of 768,000 bytes|connection broke"):
        fetch_url(f"{server}/cut", target, sha256=SHA256)
    assert not target.exists()
    assert part_of(target).read_bytes() == CONTENT[: len(CONTENT) // 2]
    while not target.exists():
        with contextlib.suppress(SourceFailed):
            fetch_url(f"{server}/cut", target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert ("/cut", "bytes=384000-") in Handler.requests
    fetched = [wanted for _, wanted in Handler.requests]
    assert len(set(fetched)) == len(fetched)


@pytest.mark.parametrize("name", ["whole", "noranges"])
def test_resume_with_and_without_ranges(server: str, tmp_path: Path, name: str) -> None:
    target, url = tmp_path / "file", f"{server}/{name}"
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]
    (tmp_path / f"file.{tag}.part").write_bytes(CONTENT[:1000])
    fetch_url(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert Handler.requests == [(f"/{name}", "bytes=1000-")]


@pytest.mark.parametrize("stale", [b"from an older version", CONTENT, CONTENT + b"more"])
def test_a_stale_part_is_thrown_away(server: str, tmp_path: Path, stale: bytes) -> None:
    target, url = tmp_path / "file", f"{server}/whole"
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]
    (tmp_path / f"file.{tag}.part").write_bytes(stale)
    fetch_url(url, target, sha256=SHA256)
    assert target.read_bytes() == CONTENT
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(("name", "reason"), [("wrong", "SHA-256 differs"), ("gone", "404")])
def test_a_wrong_file_leaves_nothing(server: str, tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(SourceFailed, match=reason):
        fetch_url(f"{server}/{name}", tmp_path / "file", sha256=SHA256)
    assert list(tmp_path.iterdir()) == []


def test_no_server_is_told(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="no connection"):
        fetch_url("http://127.0.0.1:9/x", tmp_path / "file", sha256=SHA256, timeout=2)


def test_sources_are_tried_in_order(server: str, tmp_path: Path) -> None:
    target = tmp_path / "file"

    def source(name: str) -> Source:
        url = f"{server}/{name}"
        return Source(name, lambda: fetch_url(url, target, sha256=SHA256))

    first_that_works(
        [source("gone"), source("wrong"), source("whole"), source("cut")], where="w", hint="h"
    )
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in Handler.requests] == ["/gone", "/wrong", "/whole"]
    target.unlink()
    with pytest.raises(UserError) as caught:
        first_that_works([source("gone"), source("wrong")], where="datasets.x", hint="Do this.")
    message = str(caught.value)
    assert "gone: HTTP status 404" in message
    assert "wrong: the file is not the expected one" in message
    assert "Do this." in message


def test_no_room_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="are needed"):
        free_space(tmp_path, 10**18, "datasets.x")
    free_space(tmp_path, 1, "datasets.x")

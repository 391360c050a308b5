"""Downloads that are either whole and verified, or not there."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from replearn.data.prepared import file_sha256
from replearn.errors import UserError
from replearn.progress import Progress

BLOCK = 1 << 20


class SourceFailed(Exception):
    """One source did not deliver; the reason in words."""


@dataclass(frozen=True)
class Source:
    """One place to get the data from.

    Args:
        label: how a message calls it.
        fetch: puts the verified data in place or raises `SourceFailed`.
    """

    label: str
    fetch: Callable[[], None]


def first_that_works(sources: Sequence[Source], *, where: str, hint: str) -> None:
    """Try sources in order until one delivers.

    Raises:
        UserError: none did; the message lists each with its reason.
    """
    reasons = []
    for number, source in enumerate(sources, 1):
        try:
            source.fetch()
            return
        except SourceFailed as failure:
            reasons.append(f"{source.label}: {failure}")
            if number < len(sources):
                progress = Progress(len(sources), where, "sources", done=number)
                progress.note(f"{reasons[-1]}; now {sources[number].label}")
    tried = "".join(f"\n  - {reason}" for reason in reasons)
    raise UserError(f"no source delivered the data:{tried}", where=where, hint=hint)


def fetch_url(url: str, target: Path, *, sha256: str | None, timeout: float = 10.0) -> None:
    """Download `url` to `target`, going on where an earlier attempt stopped.

    Bytes gather in `<target>.<hash of the URL>.part`; only a complete file whose SHA-256 matches is
    renamed to `target`. What lies at `target` already with that checksum is left alone.

    Args:
        url: http(s) address.
        target: the file to make.
        sha256: of the whole file; None only where the caller checks the content itself.
        timeout: seconds without an answer or a byte before giving up.

    Raises:
        SourceFailed: no connection, an HTTP error, an incomplete or a wrong file.
    """
    if sha256 is not None and target.is_file() and file_sha256(target) == sha256:
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    tag = hashlib.sha256(url.encode()).hexdigest()[:8]
    part = target.with_name(f"{target.name}.{tag}.part")
    resumed = part.is_file() and part.stat().st_size > 0
    _transfer(url, part, timeout)
    if sha256 is not None and file_sha256(part) != sha256 and resumed:
        # The beginning may stem from an older version of the file: once more from nothing.
        part.unlink()
        _transfer(url, part, timeout)
    if sha256 is not None and file_sha256(part) != sha256:
        part.unlink()
        raise SourceFailed("the file is not the expected one (SHA-256 differs)")
    part.replace(target)


def _transfer(url: str, part: Path, timeout: float) -> None:
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "replearn"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            if answer.status != 206:
                have = 0
            length = answer.headers.get("Content-Length")
            total = have + int(length) if length is not None else None
            label = f"download {url.rsplit('/', 1)[-1]}"
            with (
                part.open("ab" if have else "wb") as stream,
                Progress((total or 0) // 1000, label, "kB", done=have // 1000) as progress,
            ):
                size = have
                while block := answer.read(BLOCK):
                    stream.write(block)
                    size += len(block)
                    progress.advance(size // 1000 - progress.done)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:
            part.unlink()
            _transfer(url, part, timeout)
            return
        raise SourceFailed(f"HTTP status {error.code} for {url}") from None
    except urllib.error.URLError as error:
        raise SourceFailed(f"no connection ({error.reason})") from None
    except (OSError, http.client.HTTPException) as error:
        raise SourceFailed(f"the connection broke ({error}); the part so far is kept") from None
    if total is not None and size != total:
        raise SourceFailed(f"only {size:,} of {total:,} bytes arrived; they are kept")


def free_space(folder: Path, needed: int, where: str) -> None:
    """Refuse to begin what there is no room for.

    Raises:
        UserError: fewer than `needed` bytes are free.
    """
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise UserError(
            f"{needed / 1e9:.1f} GB are needed in {folder}, {free / 1e9:.1f} GB are free",
            where=where,
        )

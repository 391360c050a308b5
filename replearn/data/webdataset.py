"""Image-text pairs from WebDataset's tar shards, read in place and never unpacked.

The members of one sample lie next to each other and share their name up to the first dot; what
follows the dot is the kind (jpg, txt, json, cls): https://github.com/webdataset/webdataset.
"""

from __future__ import annotations

import io
import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO, ClassVar, Literal

from replearn.data.images import SUFFIXES
from replearn.data.localfiles import content_hash, existing
from replearn.data.options import Captions
from replearn.data.paired import Pair, PairedOptions, paired_plan
from replearn.data.plan import Plan
from replearn.data.survey import Picture
from replearn.errors import UserError

CAPTION_FIELDS = ("caption", "text", "title")


class WebDatasetOptions(PairedOptions):
    """Local tar shards, for instance `shards/{000..003}.tar` or `shards/*.tar`.

    `caption_column` is `txt` or a field of the `json` member; by default the `txt` member, else the
    json's caption, text or title. `label_column` is `cls` or a field of the `json` member. With
    only a `label_column` the captions come from templates.
    """

    where: ClassVar[frozenset[str]] = frozenset({"path"})

    source: Literal["webdataset"] = "webdataset"

    @property
    def captions(self) -> Captions:
        labels_only = self.label_column is not None and self.caption_column is None
        return "templates" if labels_only else "paired"

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        shards = self._shards(name)
        root = os.path.commonpath([shard.parent for shard in shards])
        return content_hash([(os.path.relpath(shard, root), shard) for shard in shards], cache)

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        samples = (sample for shard in self._shards(name) for sample in read_shard(shard))
        pairs = [self._pair(sample) for sample in samples]
        if not pairs:
            raise UserError("the shards hold no samples", where=f"datasets.{name}.path")
        return paired_plan(name, self, pairs, content, self.path)

    def _shards(self, name: str | None) -> list[Path]:
        where = f"datasets.{name}.path" if name else "path"
        shards: list[Path] = []
        for pattern in expand(self.path):
            if re.match(r"(https?|s3|gs|hdfs)://|pipe:", pattern):
                raise UserError(
                    f"only local shards are read, not '{pattern}'",
                    where=where,
                    hint="Download the shards first.",
                )
            if "*" in pattern or "?" in pattern:
                place = Path(pattern).expanduser()
                found = sorted(place.parent.glob(place.name))
                if not found:
                    raise UserError(f"no file matches '{pattern}'", where=where)
                shards += found
            else:
                shards.append(existing(pattern, where))
        return shards

    def _pair(self, sample: Sample) -> Pair:
        caption = None
        if self.captions == "paired":
            caption = sample.text(self.caption_column, "txt", CAPTION_FIELDS)
        label = None
        if self.label_column is not None:
            label = sample.text(self.label_column, "cls", ())
        return Pair(sample.picture(), caption, label, sample.place)


@dataclass
class Sample:
    """The members of one key in a shard: images by their position, texts by their content."""

    shard: Path
    key: str
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)

    @property
    def place(self) -> str:
        return f"{self.shard}:{self.key}"

    def picture(self) -> Picture:
        """The sample's one image.

        Raises:
            UserError: there is none, or there are several.
        """
        if len(self.images) != 1:
            found = ", ".join(self.images) or f"only {', '.join(self.texts) or 'unknown kinds'}"
            raise UserError(f"a sample needs exactly one image, here {found}", where=self.place)
        ((kind, (offset, size)),) = self.images.items()
        return Picture(f"{self.place}.{kind}", partial(_slice, self.shard, offset, size))

    def text(self, wanted: str | None, member: str, fields: Sequence[str]) -> str:
        """A text of the sample; "" if it has none.

        Args:
            wanted: a kind of member or a field of the json; None for the default.
            member: the kind looked at by default.
            fields: the json's fields looked at by default.

        Raises:
            UserError: the text is not UTF-8 or the json is damaged.
        """
        try:
            if wanted in self.texts or (wanted is None and member in self.texts):
                return self.texts[wanted or member].decode("utf-8").strip()
            record = json.loads(self.texts.get("json", b"{}"))
        except ValueError as error:
            raise UserError(
                f"a text or json member is damaged ({error})", where=self.place
            ) from None
        if not isinstance(record, dict):
            raise UserError("the json member is no object", where=self.place)
        for name in fields if wanted is None else (wanted,):
            if record.get(name) is not None:
                return str(record[name]).strip()
        return ""


def read_shard(shard: Path) -> Iterator[Sample]:
    """The samples of a tar file in order.

    Raises:
        UserError: it is no whole tar file, or holds a key twice.
    """
    sample: Sample | None = None
    seen: set[str] = set()
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                folder, _, file = member.name.rpartition("/")
                stem, _, kind = file.partition(".")
                if not member.isfile() or not stem or not kind:
                    continue
                key = f"{folder}/{stem}" if folder else stem
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    if key in seen:
                        raise UserError(f"the sample '{key}' occurs twice", where=str(shard))
                    seen.add(key)
                    sample = Sample(shard, key)
                kind = kind.lower()
                if f".{kind.rpartition('.')[2]}" in SUFFIXES:
                    sample.images[kind] = (member.offset_data, member.size)
                elif (content := tar.extractfile(member)) is not None:
                    sample.texts[kind] = content.read()
            # tarfile takes a damaged header for the end; only a block of zeros is one.
            with shard.open("rb") as stream:
                stream.seek(tar.offset)
                if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
                    raise tarfile.ReadError(f"damaged or cut off at byte {tar.offset:,}")
    except (tarfile.TarError, OSError) as error:
        raise UserError(
            f"not a whole tar file ({error})",
            where=str(shard),
            hint="Shards must be uncompressed; a truncated one has to be fetched again.",
        ) from None
    if sample is not None:
        yield sample


def expand(pattern: str) -> list[str]:
    """Brace patterns as a shell expands them: `{000..003}` and `{a,b}`."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None:
        return [pattern]
    inner = match.group(1)
    numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inner)
    if numbers:
        low, high = numbers.groups()
        width = max(len(low), len(high)) if low.startswith("0") or high.startswith("0") else 0
        choices = [f"{value:0{width}d}" for value in range(int(low), int(high) + 1)]
    else:
        choices = inner.split(",")
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [result for choice in choices for result in expand(f"{before}{choice}{after}")]


def _slice(shard: Path, offset: int, size: int) -> IO[bytes]:
    with shard.open("rb") as stream:
        stream.seek(offset)
        return io.BytesIO(stream.read(size))

"""Handwritten digits bundled with scikit-learn: 1,797 images of 8 x 8 pixels, no network needed."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from replearn.data import captions
from replearn.data.options import Options
from replearn.data.plan import Plan, array_shape, array_split
from replearn.data.splits import subset
from replearn.errors import UserError

SHA256 = "6ebb3d2fee246a4e99363262ddf8a00a3c41bee6014c373ed9d9216ba7f651b8"
"""Of the decompressed table."""
TEST_SHARE = 0.2


class DigitsOptions(Options):
    """scikit-learn's digits (the test part of UCI's Optical Recognition of Handwritten Digits).

    The 17 grey levels 0 … 16 become 0 … 255; a stratified fifth is the test split.
    """

    default_templates: ClassVar[tuple[str, ...]] = captions.DIGITS

    source: Literal["digits"] = "digits"

    def content(self, cache: Path | None = None, *, name: str | None = None) -> str:
        return SHA256

    def plan(self, name: str, raw: Path, content: str) -> Plan:
        table = _table(name)
        pixels = table[:, :64].reshape(-1, 1, 8, 8)
        images = ((pixels * 255 + 8) // 16).astype(np.uint8)
        labels = table[:, 64].astype(np.int64)
        test = subset(labels, round(TEST_SHARE * len(labels)), content, "test")
        train = np.setdiff1d(np.arange(len(labels), dtype=np.int64), test)
        return Plan(
            classes=[str(digit) for digit in range(10)],
            shape=array_shape(images, self.size),
            splits=[
                array_split("train", images, labels, self.size, train),
                array_split("test", images, labels, self.size, test),
            ],
            licence="CC BY 4.0",
            citation="E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI, 1998",
            conversions=[f"{len(images):,} images scaled from 17 grey levels to 0–255"],
        )


def _table(name: str) -> np.ndarray:
    """The bundled table, int64 [1797, 65]: 64 pixels and a label. scikit-learn is not imported."""
    spec = importlib.util.find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise UserError(
            "the digits come with scikit-learn, which is not installed",
            where=f"datasets.{name}",
            hint="Install scikit-learn.",
        )
    file = Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
    try:
        text = gzip.decompress(file.read_bytes())
    except (OSError, EOFError) as error:
        raise UserError(f"cannot read scikit-learn's digits ({error})", where=str(file)) from None
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise UserError(
            "scikit-learn's digits are not the ones expected (SHA-256 differs)",
            where=str(file),
            hint="Reinstall scikit-learn.",
        )
    return np.loadtxt(text.decode().splitlines(), delimiter=",", dtype=np.int64)

"""Made-up folders of JPEG files, and what preparing one takes; without torch, as `replearn prepare` runs."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from replearn.data import FolderOptions, prepare

CLASSES = 10
FALL = 1.1
"""Amplitude of the noise falls with frequency to this power; photographs have about 1."""
QUALITY = 86


def make_files(root: Path, count: int, sides: tuple[int, int]) -> None:
    """Write `count` JPEG files of `sides` pixels to `<root>/<class>/<number>.jpg`; the same each time."""
    random = np.random.default_rng(0)
    noise = [pink(random, sides[1] + 40) for _ in range(12)]
    for number in range(count):
        height, width = random.integers(sides[0], sides[1] + 1, 2)
        top, left = random.integers(0, 40, 2)
        pixels = noise[number % len(noise)][top : top + height, left : left + width]
        file = root / f"{number % CLASSES}" / f"{number:06d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(file, quality=QUALITY)


def pink(random: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """Colour noise uint8 [side, side, 3] whose spectrum falls as that of photographs does."""
    spectrum = np.fft.rfft2(random.standard_normal((3, side, side)))
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])
    frequency[0, 0] = 1
    values = np.fft.irfft2(spectrum / frequency**FALL, s=(side, side))
    values = 120 + 50 * (values - values.mean()) / values.std()
    return values.clip(0, 255).astype(np.uint8).transpose(1, 2, 0)


def prepare_folder(root: str, size: int | None, output: str) -> dict[str, float]:
    """Prepare a folder; seconds of the whole and of its parts, and the process's peak memory in bytes."""
    wanted = FolderOptions(path=root, size=size)
    start = time.perf_counter()
    content = wanted.content()
    hashed = time.perf_counter()
    wanted.plan("benchmark", Path(output), content)
    surveyed = time.perf_counter()
    prepared = prepare("benchmark", wanted, Path(output), raw=Path(output).with_name("raw"))
    whole = time.perf_counter() - surveyed
    splits = prepared.manifest.splits
    return {
        "images": splits["train"].count + splits["test"].count,
        "bytes": sum(file.stat().st_size for file in Path(root).glob("*/*")),
        "all": whole,
        "hash": hashed - start,
        "survey": surveyed - hashed,
        "decode and write": whole - (surveyed - start),
        "peak": most_memory(),
    }


def most_memory() -> int:
    """The most bytes that this process has held in memory so far."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if name == "VmHWM":
            return int(value.split()[0]) * 1024
    raise ValueError("this kernel does not tell VmHWM")

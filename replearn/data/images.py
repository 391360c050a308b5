"""How image files become pixels: one policy for every source, and every conversion is counted.

Refused, with the file's name: what Pillow cannot read, truncated files, 32-bit pixels (no agreed
range), and images of more than 89,478,485 pixels (Pillow's limit against decompression bombs).
Converted, and stated in the manifest: greyscale, palette, CMYK, transparency, 16 bits, EXIF
orientation, animations (first frame), and sizes (shorter side to the wanted size, centre crop,
bicubic with antialiasing).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from replearn.data.plan import Images
from replearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 89_478_485
"""1 GB of RGB data divided among 4 bytes and 3 channels: `PIL.Image.MAX_IMAGE_PIXELS`."""
NATIVE_LIMIT = 224
"""Images that share one size keep it up to this many pixels; larger or mixed ones are resized."""
FALLBACK_SIZE = 64
# fmt: off
SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm",
    ".pbm", ".pnm", ".jp2", ".avif",
})
# fmt: on
_GREY = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "LA", "La"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})
SHOWN = 5
_ORIENTATION = 0x0112
_REDUCED = "reduced from 16 to 8 bits"
_SIXTEEN = re.compile(r"(?<!BGR);16")
"""Raw modes of 16 bits a channel; BGR;16 has 16 bits a pixel."""
_HINT = "Repair the file, or remove it from the data."

Opener = Callable[[], IO[bytes]]


@dataclass(frozen=True, slots=True)
class Header:
    """What an image file says of itself before it is decoded; sizes are upright (after EXIF)."""

    width: int
    height: int
    grey: bool


def read_header(open_file: Opener, name: str) -> Header:
    """Look at an image without decoding it.

    Raises:
        UserError: it is not a readable image, or larger than this policy allows.
    """
    with _opened(open_file, name) as image:
        width, height = image.size
        if image.getexif().get(_ORIENTATION) in (5, 6, 7, 8):
            width, height = height, width
        return Header(width, height, image.mode in _GREY)


def decode(
    open_file: Opener, name: str, shape: tuple[int, int, int]
) -> tuple[Images, Counter[str]]:
    """Decode one image to a given shape.

    Args:
        open_file: opens the file for reading.
        name: what messages call it.
        shape: (channels, height, width); channels is 1 or 3.

    Returns:
        uint8 [c, h, w], and the conversions it took.

    Raises:
        UserError: the file cannot be decoded as a whole.
    """
    from PIL import ImageOps

    channels, height, width = shape
    done: Counter[str] = Counter()
    with _opened(open_file, name) as opened:
        image: Image.Image = opened
        if getattr(image, "n_frames", 1) > 1:
            done["of several frames reduced to the first"] += 1
        # Pillow reads 16-bit colour as 8-bit; only the decoder's arguments tell.
        if _SIXTEEN.search(str([tile.args for tile in getattr(image, "tile", [])])):
            done[_REDUCED] += 1
        image.load()
        if image.getexif().get(_ORIENTATION, 1) not in (0, 1):
            image = ImageOps.exif_transpose(image)
            done["turned upright as their EXIF orientation says"] += 1
        image = _flat(_eight_bits(image, name, done), done)
        if channels == 1 and image.mode != "L":
            image = image.convert("L")
            done["converted from colour to greyscale"] += 1
        elif channels == 3 and image.mode != "RGB":
            image = image.convert("RGB")
            done["converted from greyscale to RGB"] += 1
        if image.size != (width, height):
            image = _fit(image, width, height)
            done[f"resized to {width} x {height} pixels"] += 1
        pixels = np.asarray(image, dtype=np.uint8)
    return (pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)), done


def collect_errors(
    problems: Sequence[UserError], kind: str = "images cannot be used"
) -> UserError | None:
    """One error for all of them, the first few spelled out; None for none."""
    if len(problems) < 2:
        return problems[0] if problems else None
    lines = [f"\n  - {problem.where}: {problem.message}" for problem in problems[:SHOWN]]
    if len(problems) > SHOWN:
        lines.append(f"\n  - and {len(problems) - SHOWN:,} more")
    return UserError(f"{len(problems):,} {kind}:{''.join(lines)}", hint=problems[0].hint)


def common_shape(
    headers: Iterable[Header], size: int | None, channels: int | None
) -> tuple[tuple[int, int, int], list[str]]:
    """The shape to which a set of images is brought, and what has to be said about the choice.

    One channel only if every image is greyscale (or `channels` says so). Without a `size`, images
    that all share one size up to 224 pixels keep it; otherwise 64 x 64.
    """
    grey, sizes = True, set[tuple[int, int]]()
    for header in headers:
        grey &= header.grey
        sizes.add((header.height, header.width))
    chosen = channels if channels is not None else (1 if grey else 3)
    if size is not None:
        return (chosen, size, size), []
    height, width = next(iter(sizes))
    if len(sizes) == 1 and max(height, width) <= NATIVE_LIMIT:
        return (chosen, height, width), []
    reason = (
        f"the images have {len(sizes):,} different sizes"
        if len(sizes) > 1
        else f"the images are {width} x {height}"
    )
    note = f"{reason} and no size is set: {FALLBACK_SIZE} x {FALLBACK_SIZE} pixels chosen"
    return (chosen, FALLBACK_SIZE, FALLBACK_SIZE), [note]


def resize_array(images: Images, size: int) -> Images:
    """Resize uint8 [n, c, h, w] to [n, c, size, size] as `decode` does."""
    from PIL import Image

    out = np.empty((*images.shape[:2], size, size), dtype=np.uint8)
    for image, target in zip(images, out, strict=True):
        for plane, target_plane in zip(image, target, strict=True):
            target_plane[:] = np.asarray(_fit(Image.fromarray(plane), size, size))
    return out


@contextmanager
def _opened(open_file: Opener, name: str) -> Iterator[Image.Image]:
    """The image, and any of Pillow's complaints about it as a `UserError`."""
    from PIL import Image, UnidentifiedImageError

    try:
        with open_file() as stream:
            if not stream.read(1):
                raise UserError("the file is empty", where=name, hint=_HINT)
            stream.seek(0)
            with Image.open(stream) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise UserError(
                        f"the image is too large: {width:,} x {height:,} pixels, at most "
                        f"{MAX_PIXELS:,} in all",
                        where=name,
                        hint="Scale it down first.",
                    )
                yield image
    except (UserError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise UserError(
            f"the image is too large ({error})", where=name, hint="Scale it down first."
        ) from None
    except FileNotFoundError:
        raise UserError("the image does not exist", where=name, hint="Correct the path.") from None
    except UnidentifiedImageError:
        raise UserError("not an image, or a damaged one", where=name, hint=_HINT) from None
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files
        raise UserError(f"the image is damaged ({error})", where=name, hint=_HINT) from None


def _eight_bits(image: Image.Image, name: str, done: Counter[str]) -> Image.Image:
    from PIL import Image

    if image.mode not in _DEEP and image.mode != "F":
        return image
    values: NDArray[Any] = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UserError(
            "the pixels have 32 bits, and how bright a value is meant to be is not known",
            where=name,
            hint="Convert the image to 8 or 16 bits.",
        )
    done[_REDUCED] = 1
    # 65535 / 255 = 257, so that white stays white.
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _flat(image: Image.Image, done: Counter[str]) -> Image.Image:
    """The image as L or RGB: no palette, no transparency, no other colour space."""
    from PIL import Image

    grey = image.mode in ("LA", "La", "L", "1")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getchannel("A").getextrema() != (255, 255):
            white = Image.new("RGBA", rgba.size, "white")
            rgba = Image.alpha_composite(white, rgba)
            done["with transparency laid on white"] += 1
        else:
            done["freed of an opaque alpha channel"] += 1
        return rgba.convert("L" if grey else "RGB")
    if image.mode == "P":
        done["converted from a colour palette"] += 1
    elif image.mode == "1":
        done["converted from black and white to greyscale"] += 1
    elif image.mode not in ("L", "RGB"):
        done[f"converted from {image.mode} to RGB"] += 1
    flat = "L" if grey else "RGB"
    return image if image.mode == flat else image.convert(flat)


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)

"""How image files become pixels: one policy for every source, and every conversion is counted.

Refused, with the file's name: what Pillow cannot read, truncated files, 32-bit pixels without an agreed range,
and images of more than 89,478,485 pixels (Pillow's limit against decompression bombs).
Converted, and stated in the manifest: greyscale, palette, CMYK, transparency, 16 bits, EXIF orientation,
animations (first frame), and sizes (shorter side to the wanted size, centre crop, bicubic with antialiasing).
"""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from replearn.data.plan import Images
from replearn.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 89_478_485
"""1 GB of RGB data divided among 4 bytes and 3 channels: `PIL.Image.MAX_IMAGE_PIXELS`."""
NATIVE_LIMIT = 224
"""Images that share one size keep it up to this many pixels; larger or mixed ones are resized."""
FALLBACK_SIZE = 64
SUFFIXES = frozenset(
    ".jpg .jpeg .jpe .png .bmp .gif .webp .tif .tiff .ppm .pgm .pbm .pnm .jp2 .avif".split()
)
_GREY = frozenset({"1", "L", "I", "I;16", "I;16B", "I;16L", "LA", "La"})
_DEEP = frozenset({"I", "I;16", "I;16B", "I;16L"})
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
        if image.getexif().get(0x0112) in (5, 6, 7, 8):
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
        image = opened
        if getattr(image, "n_frames", 1) > 1:
            done["of animations reduced to their first frame"] += 1
        # Pillow reads 16-bit colour as 8-bit; only the decoder's arguments tell.
        if ";16" in str([tile.args for tile in getattr(image, "tile", [])]):
            done["reduced from 16 to 8 bits"] += 1
        try:
            image.load()
            if image.getexif().get(0x0112, 1) not in (0, 1):
                image = ImageOps.exif_transpose(image)
                done["turned upright as their EXIF orientation says"] += 1
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise many kinds on damaged files
            raise _unreadable(error, name) from None
        image = _eight_bits(image, name, done)
        image = _flat(image, done)
        if channels == 1 and image.mode != "L":
            image = image.convert("L")
            done["converted from colour to greyscale"] += 1
        elif channels == 3 and image.mode != "RGB":
            if image.mode == "L":
                done["converted from greyscale to RGB"] += 1
            image = image.convert("RGB")
        if image.size != (width, height):
            image = _fit(image, width, height)
            done[f"resized to {width} x {height} pixels"] += 1
        pixels = np.asarray(image, dtype=np.uint8)
    return (pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)), done


def common_shape(
    headers: Iterable[Header], size: int | None, channels: int | None
) -> tuple[tuple[int, int, int], list[str]]:
    """The shape to which a set of images is brought, and what has to be said about the choice.

    One channel only if every image is greyscale (or `channels` says so). Without a `size`, images that all
    share one size up to 224 pixels keep it; otherwise 64 x 64.
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


def from_bytes(data: bytes) -> Opener:
    """An opener for an image that is in memory."""
    return lambda: io.BytesIO(data)


def _opened(open_file: Opener, name: str) -> Image.Image:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            # Our own check below says it with the file's name.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(open_file())
    except Image.DecompressionBombError as error:
        raise UserError(
            f"the image is too large ({error})", where=name, hint="Scale it down first."
        ) from None
    except MemoryError:
        raise
    except Exception as error:
        raise _unreadable(error, name) from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        image.close()
        raise UserError(
            f"the image is too large: {width:,} x {height:,} pixels, at most {MAX_PIXELS:,} in all",
            where=name,
            hint="Scale it down first.",
        )
    return image


def _unreadable(error: Exception, name: str) -> UserError:
    from PIL import UnidentifiedImageError

    if isinstance(error, FileNotFoundError):
        return UserError("the image does not exist", where=name, hint="Correct the path.")
    if isinstance(error, UnidentifiedImageError):
        return UserError("not an image, or a damaged one", where=name, hint=_HINT)
    return UserError(f"the image is damaged ({error})", where=name, hint=_HINT)


def _eight_bits(image: Image.Image, name: str, done: Counter[str]) -> Image.Image:
    from PIL import Image

    if image.mode not in _DEEP and image.mode != "F":
        return image
    values: np.ndarray[Any, Any] = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise UserError(
            "the pixels have 32 bits, and how bright a value is meant to be is not known",
            where=name,
            hint="Convert the image to 8 or 16 bits.",
        )
    done["reduced from 16 to 8 bits"] = 1
    # 65535 / 255 = 257, so that white stays white.
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _flat(image: Image.Image, done: Counter[str]) -> Image.Image:
    """The image as L or RGB: no palette, no transparency, no other colour space."""
    from PIL import Image

    grey = image.mode in ("LA", "La", "L", "1")
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        if rgba.getextrema()[3] != (255, 255):
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
    return image.convert("L" if grey else "RGB")


def _fit(image: Image.Image, width: int, height: int) -> Image.Image:
    from PIL import Image, ImageOps

    return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from replearn.data.images import MAX_PIXELS, Header, common_shape, decode, read_header, resize_array
from replearn.errors import UserError

from .conftest import pixels, save


def load(
    path: Path, shape: tuple[int, int, int] = (3, 12, 12)
) -> tuple[np.ndarray, dict[str, int]]:
    image, done = decode(partial(path.open, "rb"), str(path), shape)
    return image, dict(done)


def header(path: Path) -> Header:
    return read_header(partial(path.open, "rb"), str(path))


def test_rgb_is_untouched(tmp_path: Path) -> None:
    image, done = load(save(tmp_path / "größe und name 図.png", 3))
    np.testing.assert_array_equal(image, pixels(3).transpose(2, 0, 1))
    assert done == {}


def test_greyscale_to_one_and_three_channels(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", 1, (12, 12))
    one, done = load(path, (1, 12, 12))
    np.testing.assert_array_equal(one[0], pixels(1, (12, 12)))
    assert done == {}
    three, done = load(path)
    np.testing.assert_array_equal(three, np.stack([one[0]] * 3))
    assert done == {"converted from greyscale to RGB": 1}
    assert header(path).grey


def test_colour_to_grey_is_stated(tmp_path: Path) -> None:
    image, done = load(save(tmp_path / "a.png"), (1, 12, 12))
    assert image.shape == (1, 12, 12)
    assert done == {"converted from colour to greyscale": 1}


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((12, 12, 4), np.uint8)
    rgba[:6, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image, done = load(tmp_path / "a.png")
    assert image[:, :6].max() == 0
    assert image[:, 6:].min() == 255
    assert done == {"with transparency laid on white": 1}


def test_opaque_alpha_keeps_the_colours(tmp_path: Path) -> None:
    rgb = pixels(2)
    rgba = np.concatenate([rgb, np.full((12, 12, 1), 255, np.uint8)], axis=2)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image, done = load(tmp_path / "a.png")
    np.testing.assert_array_equal(image, rgb.transpose(2, 0, 1))
    assert done == {"freed of an opaque alpha channel": 1}


def test_palette_and_transparent_palette(tmp_path: Path) -> None:
    source = Image.fromarray(pixels(5)).quantize(16)
    source.save(tmp_path / "p.png")
    image, done = load(tmp_path / "p.png")
    np.testing.assert_array_equal(image, np.asarray(source.convert("RGB")).transpose(2, 0, 1))
    assert done == {"converted from a colour palette": 1}
    source.save(tmp_path / "t.png", transparency=source.getpixel((0, 0)))
    image, done = load(tmp_path / "t.png")
    assert image[:, 0, 0].tolist() == [255, 255, 255]
    assert done == {"with transparency laid on white": 1}


def test_sixteen_bits_scale_to_the_full_range(tmp_path: Path) -> None:
    deep = np.zeros((12, 12), np.uint16)
    deep[0, :3] = [65535, 257 * 100, 128]
    for name in ("a.png", "a.tif"):
        Image.fromarray(deep).save(tmp_path / name)
        image, done = load(tmp_path / name, (1, 12, 12))
        assert image[0, 0, :4].tolist() == [255, 100, 0, 0]
        assert done == {"reduced from 16 to 8 bits": 1}


def test_sixteen_bit_colour_is_stated(tmp_path: Path) -> None:
    values = np.full((4, 4, 3), 0x8040, dtype=">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in values)

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    head = struct.pack(">IIBBBBB", 4, 4, 16, 2, 0, 0, 0)
    (tmp_path / "a.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    image, done = load(tmp_path / "a.png", (3, 4, 4))
    assert np.unique(image).tolist() == [0x80]
    assert done == {"reduced from 16 to 8 bits": 1}


def test_float_pixels_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((12, 12), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match=r"32 bits") as caught:
        load(tmp_path / "a.tif")
    assert caught.value.where == str(tmp_path / "a.tif")


def test_cmyk_and_bilevel(tmp_path: Path) -> None:
    Image.fromarray(pixels(1)).convert("CMYK").save(tmp_path / "a.jpg")
    assert load(tmp_path / "a.jpg")[1] == {"converted from CMYK to RGB": 1}
    Image.fromarray(pixels(1, (12, 12))).convert("1").save(tmp_path / "b.png")
    image, done = load(tmp_path / "b.png", (1, 12, 12))
    assert set(np.unique(image)) == {0, 255}
    assert done == {"converted from black and white to greyscale": 1}


def test_exif_orientation_turns_the_image(tmp_path: Path) -> None:
    source = pixels(4, (8, 12, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(source).save(tmp_path / "a.png", exif=exif)
    image, done = load(tmp_path / "a.png", (3, 12, 8))
    np.testing.assert_array_equal(image, np.rot90(source, -1).transpose(2, 0, 1))
    assert done == {"turned upright as their EXIF orientation says": 1}
    assert header(tmp_path / "a.png") == Header(8, 12, False)


def test_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(np.full((12, 12), grey, np.uint8)) for grey in (10, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image, done = load(tmp_path / "a.gif", (1, 12, 12))
    assert np.unique(image).tolist() == [10]
    assert done["of several frames reduced to the first"] == 1


def test_resize_keeps_the_middle_and_is_stated(tmp_path: Path) -> None:
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 200
    Image.fromarray(wide).save(tmp_path / "a.png")
    image, done = load(tmp_path / "a.png", (3, 10, 10))
    assert image.min() == 200
    assert done == {"resized to 10 x 10 pixels": 1}


def test_resize_array_agrees_with_decode(tmp_path: Path) -> None:
    image, _ = load(save(tmp_path / "a.png", 7), (3, 9, 9))
    np.testing.assert_array_equal(resize_array(pixels(7).transpose(2, 0, 1)[None], 9)[0], image)


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "bmp", "tif", "webp"])
def test_truncated_files_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    path = save(tmp_path / f"whole.{suffix}", 1, (64, 64, 3))
    data = path.read_bytes()
    cut = tmp_path / f"cut.{suffix}"
    cut.write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError) as caught:
        load(cut, (3, 64, 64))
    assert caught.value.where == str(cut)


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "empty"), (b"hello, I am text", "not an image")]
)
def test_files_that_are_no_images(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.jpg"
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        header(path)
    assert caught.value.where == str(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_500, 20_000])
def test_huge_images_are_refused_before_decoding(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.bmp"
    size = struct.pack("<ii", side, side)
    path.write_bytes(
        b"BM"
        + struct.pack("<IHHI", 54, 0, 0, 54)
        + struct.pack("<I", 40)
        + size
        + struct.pack("<HHIIiiII", 1, 24, 0, 0, 0, 0, 0, 0)
    )
    with pytest.raises(UserError, match="too large") as caught:
        header(path)
    assert caught.value.where == str(path)
    assert side * side > MAX_PIXELS


def test_common_shape() -> None:
    grey, colour = Header(28, 20, True), Header(28, 20, False)
    assert common_shape([grey, grey], None, None) == ((1, 20, 28), [])
    assert common_shape([grey, colour], None, None) == ((3, 20, 28), [])
    assert common_shape([grey, colour], 16, 1) == ((1, 16, 16), [])
    shape, notes = common_shape([grey, Header(9, 9, True)], None, None)
    assert shape == (1, 64, 64)
    assert "2 different sizes" in notes[0]
    assert common_shape([Header(640, 480, False)], None, None)[0] == (3, 64, 64)

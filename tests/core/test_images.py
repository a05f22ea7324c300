"""Pictures of every kind come out upright, opaque, in eight bits; everything else is refused with a cure."""

from __future__ import annotations

import io
import os
import struct
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from convscope_core.errors import ImageError
from convscope_core.images import picture_size, read_image


def colours(height: int = 5, width: int = 7) -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(picture: PIL.Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def pixels(source: Any, mode: str = "RGB") -> np.ndarray[Any, Any]:
    picture = read_image(source, mode)
    assert picture.mode == mode
    return np.asarray(picture)


def test_all_ways_to_give_one_picture_agree(tmp_path: Path) -> None:
    a = colours()
    picture = PIL.Image.fromarray(a)
    path = tmp_path / "a picture.png"
    path.write_bytes(encoded(picture))
    sources = [
        a, a.copy(order="F"), a[::1], picture, encoded(picture), bytearray(encoded(picture)), path, str(path),
        torch.from_numpy(a).permute(2, 0, 1), a / 255, (a / 255).astype(np.float32), (a / 255).astype(np.float16),
        a.astype(np.uint16) * 257, np.dstack([a, np.full(a.shape[:2], 255, np.uint8)]),
    ]  # fmt: skip
    for source in sources:
        assert np.array_equal(pixels(source), a), type(source)


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))))
def test_bytes_survive(a: np.ndarray[Any, Any]) -> None:
    assert np.array_equal(pixels(a), np.broadcast_to(a, (*a.shape[:2], 3)))
    assert np.array_equal(pixels(torch.from_numpy(a.copy()).permute(2, 0, 1)), np.broadcast_to(a, (*a.shape[:2], 3)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    # What a camera that was held so would have stored for the upright picture, from the EXIF standard.
    upright = colours(4, 6)
    stored = {
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.transpose(1, 0, 2), 6: np.rot90(upright, 1), 7: np.rot90(upright.transpose(1, 0, 2), 2),
        8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    picture = PIL.Image.fromarray(np.ascontiguousarray(stored))
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(pixels(encoded(picture, exif=exif)), upright)


def test_transparent_pixels_are_laid_over_white() -> None:
    a = np.zeros((1, 3, 4), np.uint8)
    a[0, :, 0] = 200
    a[0, :, 3] = 0, 255, 128
    expected = [(255, 255, 255), (200, 0, 0), (227, 127, 127)]
    for source in (a, PIL.Image.fromarray(a), encoded(PIL.Image.fromarray(a)), torch.from_numpy(a).permute(2, 0, 1)):
        assert np.abs(pixels(source)[0].astype(int) - expected).max() <= 1


def test_grey_with_alpha_and_palette_with_transparency() -> None:
    grey = PIL.Image.new("LA", (2, 1), (80, 255))
    grey.putpixel((0, 0), (80, 0))
    assert pixels(grey)[0].tolist() == [[255, 255, 255], [80, 80, 80]]
    palette = PIL.Image.fromarray(np.array([[0, 1, 2]], np.uint8), "P")
    palette.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    assert pixels(encoded(palette))[0].tolist() == [[10, 20, 30], [40, 50, 60], [70, 80, 90]]
    assert pixels(encoded(palette, transparency=1))[0].tolist() == [[10, 20, 30], [255, 255, 255], [70, 80, 90]]


def test_grey_and_bilevel_and_cmyk() -> None:
    ramp = np.arange(6, dtype=np.uint8).reshape(2, 3) * 50
    assert np.array_equal(pixels(ramp), np.repeat(ramp[..., None], 3, 2))
    assert np.array_equal(pixels(ramp[..., None], "L"), ramp)
    assert np.array_equal(pixels(ramp > 100, "L"), (ramp > 100) * np.uint8(255))
    assert np.array_equal(pixels(PIL.Image.fromarray(ramp > 100), "L"), (ramp > 100) * np.uint8(255))
    cmyk = PIL.Image.new("CMYK", (2, 2), (0, 255, 255, 0))
    assert pixels(encoded(cmyk, "JPEG", quality=100))[0, 0, 0] > 200
    assert pixels(cmyk)[0, 0, 2] < 60


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert pixels(deep, "L").tolist() == [[0, 1, 128, 255]]
    assert pixels(encoded(PIL.Image.fromarray(deep)), "L").tolist() == [[0, 1, 128, 255]]
    assert pixels(np.dstack([deep] * 3)).tolist()[0][2] == [128, 128, 128]


def tiff(a: np.ndarray[Any, Any]) -> bytes:
    return encoded(PIL.Image.fromarray(a), "TIFF")


DEEP = np.linspace(0, 65535, 48, dtype=np.float32).reshape(6, 8)


@pytest.mark.parametrize("make", [lambda a: a, PIL.Image.fromarray, tiff], ids=["array", "Pillow", "TIFF"])
def test_numbers_in_files_are_treated_as_numbers_in_arrays(make: Any) -> None:
    """Black and white of floats and 32-bit integers are not guessed: refused with the range, or scaled when asked."""
    refused(make(DEEP), "float32 from 0 to 65535", "read_image(..., scale=(0, 65535))")
    refused(make((DEEP * 30000).astype(np.int32)), "int32 from 0 to 1.9", "scale=(0, ")
    refused(make((DEEP / 256).astype(np.int32)), "int32 from 0 to 255", "uint8")
    refused(make(np.full((4, 4), np.nan, np.float32)), "NaN")
    expected = np.rint(DEEP.astype(np.float64) / 65535 * 255).astype(np.uint8)
    assert np.array_equal(pixels(make(DEEP / np.float32(65535)), "L"), expected)
    for a, scale in ((DEEP, (0, 65535)), (DEEP.astype(np.int32) - 5, (-5, 65530))):
        assert np.abs(np.asarray(read_image(make(a), "L", scale=scale)).astype(int) - expected).max() <= 1
    half = np.asarray(read_image(make(DEEP), "L", scale=(0, 32767.5)))
    assert half.max() == 255
    assert (half == 255).mean() == pytest.approx(0.5, abs=0.05)
    assert np.array_equal(pixels(make(DEEP.astype(np.uint16)), "L"), expected)


@pytest.mark.parametrize("scale", [(1, 0), (0, 0), (0, float("nan")), 3, (0, 1, 2), "ab"])
def test_a_scale_is_two_numbers(scale: Any) -> None:
    with pytest.raises(ImageError, match=r"scale as \(low, high\)"):
        read_image(DEEP, scale=scale)


def test_sixteen_bits_of_every_format_are_sixteen_bits() -> None:
    deep = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert pixels(b"P5 4 1 65535\n" + deep.astype(">u2").tobytes(), "L").tolist() == [[0, 1, 128, 255]]
    assert pixels(tiff(deep), "L").tolist() == [[0, 1, 128, 255]]


def png(levels: np.ndarray[Any, Any], bits: int, transparent: int) -> bytes:
    """A grey PNG file of so many bits, by hand, of which one level is transparent."""
    height, width = levels.shape
    places = (levels[..., None] >> np.arange(bits)[::-1]) & 1
    rows = np.packbits(places.reshape(height, width * bits).astype(np.uint8), axis=1)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
        + chunk(b"tRNS", struct.pack(">H", transparent))
        + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows)))
        + chunk(b"IEND", b"")
    )


@given(st.sampled_from([1, 2, 4, 8, 16]), st.data())
def test_the_transparent_level_of_a_grey_file_is_one_of_its_own_levels(bits: int, data: st.DataObject) -> None:
    few = st.lists(st.integers(0, 2**bits - 1), min_size=12, max_size=12)
    levels = np.array(data.draw(few)).reshape(3, 4)
    transparent = data.draw(st.one_of(st.sampled_from(levels.ravel().tolist()), st.integers(0, 2**bits - 1)))
    expected = np.rint(levels / (2**bits - 1) * 255)
    expected[levels == transparent] = 255
    assert np.array_equal(pixels(png(levels, bits, transparent), "L"), expected)


def test_which_of_sixteen_bits_are_transparent_is_not_guessed_from_eight() -> None:
    data = encoded(PIL.Image.new("RGB", (4, 3)), transparency=(0, 0, 1))
    pixels(data)
    deep = bytearray(data)
    deep[24] = 16  # the header's bits, with its checksum and the pixels of such a file
    deep[29:33] = struct.pack(">I", zlib.crc32(deep[12:29]))
    begin, end = deep.index(b"IDAT") - 4, deep.index(b"IEND") - 4
    body = zlib.compress((b"\0" + bytes(4 * 6)) * 3)
    deep[begin:end] = struct.pack(">I", len(body)) + b"IDAT" + body + struct.pack(">I", zlib.crc32(b"IDAT" + body))
    refused(bytes(deep), "transparent", "RGBA")


def raw_tiff(a: np.ndarray[Any, Any], *, white_is_zero: bool) -> bytes:
    """A TIFF file of one strip, by hand."""
    kind = {"u": 1, "i": 2, "f": 3}[a.dtype.kind]
    tags = {
        256: a.shape[1], 257: a.shape[0], 258: 8 * a.dtype.itemsize, 259: 1, 262: 0 if white_is_zero else 1,
        273: 8 + 2 + 10 * 12 + 4, 277: 1, 278: a.shape[0], 279: a.nbytes, 339: kind,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + a.tobytes()


@pytest.mark.parametrize(
    ("dtype", "white_is_zero"),
    [(dtype, False) for dtype in ("u1", "<u2", "<f4", "i1", "<i2", "<i4", "<u4")]
    + [(dtype, True) for dtype in ("u1", "<u2", "<f4")],
)
def test_what_the_numbers_of_a_file_mean_is_read_from_it(dtype: str, white_is_zero: bool) -> None:
    share = DEEP.astype(np.float64) / 65535
    info = None if dtype == "<f4" else np.iinfo(np.dtype(dtype))
    low, high = (0.0, 1.0) if info is None else (float(info.min), float(info.max))
    a = (low + share * (high - low)).clip(low, high).astype(dtype)
    data = raw_tiff(a, white_is_zero=white_is_zero)
    expected = 255 * (1 - share if white_is_zero else share)
    if dtype[-2] == "i" or dtype == "<u4":
        refused(data, f"int{max(a.itemsize * 8, 32) if dtype != 'i1' else 8} from {low:.6g} to ", "scale=(")
        found = np.asarray(read_image(data, "L", scale=(low, high)))
    else:
        found = pixels(data, "L")
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["u2", "f2", "f4", "f8"])
def test_arrays_of_other_machines_are_the_same(order: str, kind: str) -> None:
    a = DEEP if kind == "u2" else DEEP / np.float32(65535)
    assert np.array_equal(pixels(a.astype(order + kind)), pixels(a.astype(kind)))


@pytest.mark.parametrize("orientation", [0, 1, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WebP"])
def test_the_size_is_known_before_a_picture_is_decoded(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[0x112] = orientation
    data = encoded(PIL.Image.fromarray(colours()), kind, exif=exif)
    (tmp_path / "file").write_bytes(data)
    for source in (data, tmp_path / "file", PIL.Image.open(io.BytesIO(data))):
        assert picture_size(source) == read_image(source).size


def test_first_frame_of_an_animation() -> None:
    frames = [PIL.Image.new("RGB", (4, 3), c) for c in ((255, 0, 0), (0, 255, 0))]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixels(data)[0, 0].tolist() == [255, 0, 0]


def test_result_is_a_copy() -> None:
    picture = PIL.Image.fromarray(colours())
    a = colours()
    for source in (picture, a):
        made = read_image(source)
        made.putpixel((0, 0), (1, 2, 3))
        assert read_image(source).getpixel((0, 0)) != (1, 2, 3)


# -- refusals: what was expected, what came, what to do --


def refused(source: Any, *words: str) -> None:
    with pytest.raises(ImageError) as error:
        read_image(source)
    message = str(error.value)
    assert message.startswith("Expected"), message
    for word in words:
        assert word in message, message


def test_paths_that_are_no_pictures(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "one picture", "the empty folder", "no pictures")
    full = tmp_path / "full"
    full.mkdir()
    (full / "b.png").write_bytes(b"")
    refused(full, "the folder", "b.png")
    refused(str(tmp_path / "gone.jpg"), "does not exist", "gone.jpg")
    (tmp_path / "notes.txt").write_text("hello")
    refused(tmp_path / "notes.txt", "cannot be read", "notes.txt", "PNG")
    (tmp_path / "zero.png").touch()
    refused(tmp_path / "zero.png", "It is empty")
    refused("https://example.org/cat.jpg", "Download it first", "https://example.org/cat.jpg")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """Opening a pipe waits for a writer, who may never come."""
    os.mkfifo(tmp_path / "pipe.jpg")
    refused(tmp_path / "pipe.jpg", "a pipe, a device or a socket")
    refused("/dev/zero", "a device")
    (tmp_path / "folder.jpg").mkdir()
    refused(tmp_path / "folder.jpg", "the empty folder")
    for path in (tmp_path / "pipe.jpg", "/dev/zero", tmp_path / "folder.jpg", tmp_path / "none.jpg"):
        with pytest.raises(ImageError, match=r"^Expected (a picture file|one picture), got"):
            picture_size(path)


def test_what_is_masked_is_no_value() -> None:
    values = np.ma.masked_array(colours(4, 4), mask=False)
    assert np.array_equal(np.asarray(read_image(values)), values.data)
    values[1, 1] = np.ma.masked
    refused(values, "a masked one", "a.filled(value)")


def test_damaged_files() -> None:
    data = encoded(PIL.Image.fromarray(colours(64, 64)), "JPEG")
    refused(data[: len(data) // 2], "truncated")
    refused(encoded(PIL.Image.fromarray(colours(64, 64)))[:200], "truncated")
    refused(b"GIF89a not really", "cannot be read")
    refused(b"", "It is empty")


def test_decompression_bomb(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = encoded(PIL.Image.new("1", (10_000, 10_001)))
    assert len(bomb) < 100_000
    refused(bomb, "at most 89 megapixels", "MAX_IMAGE_PIXELS")
    huge = encoded(PIL.Image.new("1", (20_000, 10_001)))
    refused(huge, "at most 89 megapixels")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 30)
    refused(encoded(PIL.Image.fromarray(colours())), "megapixels")
    refused(PIL.Image.fromarray(colours()), "7×5")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", None)
    assert pixels(encoded(PIL.Image.fromarray(colours()))).shape == (5, 7, 3)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (np.zeros((3, 5, 7), np.uint8), ["(3, 5, 7)", "transpose(1, 2, 0)"]),
        (np.zeros((1, 5, 7, 3), np.uint8), ["batch", "one picture"]),
        (np.zeros((5, 7, 2), np.uint8), ["(5, 7, 2)"]),
        (np.zeros((0, 7, 3), np.uint8), ["(0, 7, 3)"]),
        (np.zeros(7, np.uint8), ["(7,)"]),
        (np.zeros((5, 7), np.int64), ["int64", "uint8"]),
        (np.full((5, 7), 200.0), ["200", "255"]),
        (np.zeros((5, 7), complex), ["complex128"]),
        (np.full((5, 7), -0.5), ["-0.5"]),
        (np.full((5, 7), np.nan), ["NaN"]),
        (np.array([[np.inf]]), ["infinity"]),
        (torch.zeros(3, 5, 7), ["float32", "network input"]),
        (torch.zeros(5, 7, 3, dtype=torch.uint8), ["permute(2, 0, 1)"]),
        (torch.zeros(1, 3, 5, 7, dtype=torch.uint8), ["one picture at a time"]),
        (None, ["NoneType"]),
        (7, ["int", "Convert"]),
        ([1, 2], ["list"]),
    ],
)
def test_wrong_shapes_and_types(source: Any, words: list[str]) -> None:
    refused(source, *words)


def test_errors_are_value_errors() -> None:
    assert issubclass(ImageError, ValueError)
    assert "convscope_core.images" in sys.modules

"""Pictures as people have them, to PIL pictures upright in RGB or grey: `read_image`."""

from __future__ import annotations

import io
import math
import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from convscope_core.arguments import door
from convscope_core.errors import ImageError

__all__ = ["ImageLike", "SUFFIXES", "picture_size", "read_image"]

#: What is taken as a picture: a path, the bytes of a file, a PIL picture, an array or a tensor.
ImageLike: TypeAlias = str | os.PathLike[str] | bytes | PIL.Image.Image | np.ndarray[Any, Any] | torch.Tensor

#: File name endings that are taken for pictures when a folder is searched.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

_BACKGROUND = (255, 255, 255)


@door
def read_image(source: ImageLike, mode: str = "RGB", *, scale: tuple[float, float] | None = None) -> PIL.Image.Image:
    """Return a picture, upright and without transparency.

    EXIF orientation is applied; palettes are expanded; transparent pixels are laid over white; of an
    animation the first frame is taken; 16-bit and floating-point values are scaled to 8 bits.

    What black and white are in floats and 32-bit integers, in arrays as in files (TIFF), is not guessed: floats from 0
    to 1 are taken as they are, anything else is refused with its range, or scaled by `scale`.

    Parameters
    ----------
    source : path, bytes, PIL.Image.Image, array or tensor
        Bytes are those of a picture file. An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
        uint16, bool, or floats between 0 and 1. A tensor is uint8 of shape (H, W), (1, H, W), (3, H, W) or
        (4, H, W).
    mode : {"RGB", "L"}, default "RGB"
        Colour, or grey (luminance).
    scale : (low, high), optional
        The values that are black and white, for arrays and files of numbers that are not eight bits; what is beyond
        becomes black and white.

    Returns
    -------
    PIL.Image.Image
        Always a copy: changing it does not change `source`.

    Raises
    ------
    ImageError
        For anything else; the message states what was expected, what came and what to do.
    """
    if scale is not None:
        ends = np.asarray(scale, np.float64) if np.shape(scale) == (2,) else np.empty(0)
        if not (len(ends) == 2 and np.isfinite(ends).all() and ends[0] < ends[1]):
            raise ImageError(f"Expected scale as (low, high), the values of black and white, got {scale!r}.")
    if isinstance(source, PIL.Image.Image):
        picture = _load(source, "the PIL picture")
    elif isinstance(source, (bytes, bytearray, memoryview)):
        picture = _open(io.BytesIO(bytes(source)), f"{len(source)} bytes")
    elif isinstance(source, (str, os.PathLike)):
        try:
            picture = _from_path(source)
        except OSError as e:
            raise ImageError(
                f"Expected a picture file that may be read, got {os.fspath(source)!r}: {e.strerror or e}. Check the "
                "path and the permissions of its folders."
            ) from e
    elif isinstance(source, torch.Tensor):
        picture = _from_tensor(source)
    elif isinstance(source, np.ndarray):
        picture = _from_array(source, scale)
    else:
        raise ImageError(
            "Expected a picture as a path, the bytes of a file, a PIL picture, a NumPy array (H, W[, 3 or "
            f"4]) or a tensor, got {type(source).__name__}. Convert it to one of these."
        )
    return _flat(picture, scale).convert(mode)


def picture_size(source: ImageLike) -> tuple[int, int]:
    """Return width and height, pixels, of what `read_image` gives of a source; of files only the beginning is read.

    Raises
    ------
    ImageError
        When it is no picture, or its size cannot be read.
    """
    if isinstance(source, (np.ndarray, torch.Tensor)):
        return read_image(source, scale=None).size
    if not isinstance(source, PIL.Image.Image):
        given: Any = source
        in_memory = isinstance(source, (bytes, bytearray, memoryview))
        file = io.BytesIO(bytes(given)) if in_memory else _picture_path(given)
        try:
            with PIL.Image.open(file) as opened:
                return picture_size(opened)
        except ImageError:
            raise
        except Exception as error:
            raise ImageError(
                f"Expected a picture file, got {type(source).__name__} without a size: {error}."
            ) from error
    sideways = source.getexif().get(_ORIENTATION, 1) in _SIDEWAYS
    if sideways and source.format == "TIFF":  # of which some versions of Pillow give the size upright, and some do not
        return _load(source, "the picture").size
    size = (source.height, source.width) if sideways else source.size
    if 0 in size:
        raise ImageError(f"Expected a picture with pixels, got one of {size[0]}×{size[1]}.")
    return size


_ORIENTATION = 0x0112

_SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations of pictures that lie on their side (PIL.ImageOps.exif_transpose)."""


def _from_path(source: str | os.PathLike[str]) -> PIL.Image.Image:
    path = _picture_path(source)
    return _open(path, repr(str(path)))


def _picture_path(source: str | os.PathLike[str]) -> Path:
    """Return the path of a file that may be opened; ImageError for whatever is none."""
    text = os.fspath(source)
    if "://" in text[:12] or text.startswith("data:"):
        raise ImageError(
            f"Expected a file on this machine, got the address {text[:80]!r}. Download it first and give the "
            f"path, or give the bytes (for example urllib.request.urlopen(address).read())."
        )
    path = Path(text).expanduser()
    if path.is_dir():
        inside = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
        what = (
            f"Give one of its pictures, such as {str(inside[0])!r}, or pass the folder where a list of "
            f"pictures is taken."
            if inside
            else "It holds no pictures either; looked for " + ", ".join(sorted(SUFFIXES)) + "."
        )
        kind = "the folder" if inside else "the empty folder" if not any(path.iterdir()) else "the folder"
        raise ImageError(f"Expected one picture, got {kind} {str(path)!r}. {what}")
    if not path.exists():
        raise ImageError(
            f"Expected a picture file, got {str(path)!r}, which does not exist (looked from {str(Path.cwd())!r}). "
            f"Check the name, or give an absolute path."
        )
    if not path.is_file():  # opening a pipe or a device waits for ever, or reads for ever
        raise ImageError(
            f"Expected a picture file, got {str(path)!r}, which is a pipe, a device or a socket. Give a file, or the "
            "bytes that come out of it."
        )
    return path


def _open(file: Path | io.BytesIO, what: str) -> PIL.Image.Image:
    try:
        # Pillow warns above its limit of pixels and refuses at twice that; a kernel that dies is worse than
        # an error.
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            opened = PIL.Image.open(file)
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError) as e:
        raise _too_large(what) from e
    except Exception as e:
        size = file.stat().st_size if isinstance(file, Path) else len(file.getvalue())
        hint = "It is empty." if size == 0 else "It may be damaged, or of a format that Pillow does not read."
        raise ImageError(
            f"Expected a picture file (JPEG, PNG, WebP, ...), got {what}, which cannot be read as one. {hint} Open "
            f"it in a picture viewer to check, or convert it to PNG."
        ) from e
    with opened:
        return _load(opened, what)


def _load(picture: PIL.Image.Image, what: str) -> PIL.Image.Image:
    limit = PIL.Image.MAX_IMAGE_PIXELS
    if limit is not None and picture.width * picture.height > limit:
        raise _too_large(what, picture.size)
    if not picture.width or not picture.height:
        raise ImageError(f"Expected a picture with pixels, got {what} of {picture.width}×{picture.height}.")
    numbers = _numbers(picture)  # which Pillow forgets when it decodes
    try:
        upright = PIL.ImageOps.exif_transpose(picture)
        copy: PIL.Image.Image = picture.copy() if upright is picture else upright
        copy.format = picture.format  # which tells 16 bits from 32
        copy.info = {**copy.info, _NUMBERS: numbers}
    except Exception as e:
        raise ImageError(
            f"Expected a complete picture file, got {what}, which starts as one but cannot be decoded ({e}). It is "
            f"probably truncated or damaged: copy or download it again."
        ) from e
    return copy


class _Numbers(NamedTuple):
    """What the numbers in a file mean, as far as Pillow's modes do not tell.

    Attributes
    ----------
    levels : int
        By how much greys of two and four bits are multiplied.
    deep : bool
        Whether 16 bits of each colour became eight.
    inverted : bool
        Whether zero is white where Pillow leaves it so.
    kind : str
        "signed" bytes that are taken as unsigned, "unsigned" numbers of 32 bits that are taken as signed, or "".
    """

    levels: int = 1
    deep: bool = False
    inverted: bool = False
    kind: str = ""


_NUMBERS = "convscope numbers"
_INVERTED, _BITS, _SAMPLES = 262, 258, 339
"""Tags of TIFF: PhotometricInterpretation, BitsPerSample, SampleFormat."""


def _numbers(picture: PIL.Image.Image) -> _Numbers:
    if picture.format == "PNG" and (tile := getattr(picture, "tile", None)):
        raw = tile[0][3] if isinstance(tile[0][3], str) else tile[0][3][0]
        return _Numbers(levels={"L;2": 85, "L;4": 17}.get(raw, 1), deep=raw == "RGB;16B")
    tags = getattr(picture, "tag_v2", None)
    if picture.format == "TIFF" and tags is not None:
        bits, samples = (np.ravel(tags.get(tag, 1)).tolist() for tag in (_BITS, _SAMPLES))
        kinds = {(8, 2): "signed", (32, 1): "unsigned"}
        return _Numbers(
            inverted=tags.get(_INVERTED) == 0 and (picture.mode in ("F", "I") or picture.mode.startswith("I;16")),
            kind=kinds.get((bits[0], samples[0]), ""),
        )
    return _Numbers()


def _too_large(what: str, size: tuple[int, int] | None = None) -> ImageError:
    limit = PIL.Image.MAX_IMAGE_PIXELS or 0
    megapixels = f"{size[0]}×{size[1]} = {size[0] * size[1] / 1e6:.0f} megapixels" if size else "more"
    return ImageError(
        f"Expected a picture of at most {limit / 1e6:.0f} megapixels, got {what} with {megapixels}. Scale it down, or "
        f"raise the limit if you trust the file: PIL.Image.MAX_IMAGE_PIXELS = None."
    )


def _from_tensor(t: torch.Tensor) -> PIL.Image.Image:
    if t.dtype != torch.uint8:
        raise ImageError(
            f"Expected a picture tensor of uint8 (C, H, W), got {t.dtype} of shape {tuple(t.shape)}. "
            f"Floating-point tensors are taken as network input, not as pictures: for a picture with values "
            f"between 0 and 1 give (t * 255).round().byte(), or a NumPy array (H, W, C)."
        )
    if t.dim() == 3 and t.shape[0] in (1, 3, 4):
        return _from_array(t.detach().permute(1, 2, 0).cpu().numpy())
    if t.dim() == 2:
        return _from_array(t.detach().cpu().numpy())
    raise ImageError(
        f"Expected a uint8 tensor (C, H, W) with 1, 3 or 4 channels, or (H, W), got shape {tuple(t.shape)}. "
        + ("Move the channels to the front: t.permute(2, 0, 1)." if t.dim() == 3 else "Give one picture at a time.")
    )


def _from_array(a: np.ndarray[Any, Any], scale: tuple[float, float] | None = None) -> PIL.Image.Image:
    shape = a.shape
    if isinstance(a, np.ma.MaskedArray):
        if np.ma.is_masked(a):
            raise ImageError("Expected an array with all its values, got a masked one. Fill it: a.filled(value).")
        a = a.data
    if a.ndim == 3 and shape[2] == 1:
        a = a[:, :, 0]
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (3, 4)) or 0 in shape:
        cure = "Give one picture with colours on the last axis."
        if a.ndim == 3 and shape[0] in (1, 3, 4):
            cure = "Colours come first here: move them to the end with a.transpose(1, 2, 0)."
        elif a.ndim == 4:
            cure = "This looks like a batch: give one picture at a time."
        raise ImageError(f"Expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {shape}. {cure}")
    return PIL.Image.fromarray(np.ascontiguousarray(_eight_bits(a, "an array", scale)))


def _eight_bits(a: np.ndarray[Any, Any], what: str, scale: tuple[float, float] | None = None) -> np.ndarray[Any, Any]:
    """Return values as uint8; what black and white are is known from the type, from `scale`, or not at all."""
    if a.dtype == np.bool_:
        return np.asarray(a.astype(np.uint8) * np.uint8(255))
    if a.dtype.kind not in "iuf":
        raise ImageError(f"Expected numbers in {what}, got {a.dtype}. Give uint8, or floats between 0 and 1.")
    if a.dtype == np.uint8:
        return a
    a = a.astype(a.dtype.newbyteorder("="), copy=False)  # as files of other machines have them
    if scale is None and a.dtype == np.uint16:
        scale = (0, 65535)
    low, high = float(a.min()), float(a.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ImageError(f"Expected finite values in {what}, got NaN or infinity. Replace them.")
    if scale is None:
        if a.dtype.kind != "f" or low < -1e-3 or high > 1 + 1e-3:
            raise ImageError(
                f"Expected uint8, uint16, bool or floats between 0 and 1 in {what}, got {a.dtype} from {low:.6g} to "
                f"{high:.6g}, of which black and white are not known. If 255 is white, convert to uint8 or divide by "
                f"255; else state both: convscope.read_image(..., scale=({low:.6g}, {high:.6g}))."
            )
        scale = (0, 1)
    share = (a.astype(np.float64) - scale[0]) / (scale[1] - scale[0])
    levels: np.ndarray[Any, Any] = np.rint(np.clip(share, 0, 1) * 255)
    return levels.astype(np.uint8)


#: Formats in which Pillow gives 16 bits as 32.
_SIXTEEN_BITS = ("PNG", "PPM")


def _flat(p: PIL.Image.Image, scale: tuple[float, float] | None) -> PIL.Image.Image:
    """Return the picture in L or RGB: 16 bits and numbers scaled, transparency laid over white, palette expanded."""
    numbers: _Numbers = p.info.pop(_NUMBERS, _Numbers())
    transparent = p.info.get("transparency")
    if p.mode in ("F", "I") or p.mode.startswith("I;16") or numbers.kind == "signed":
        a = np.asarray(p)
        if p.mode.startswith("I;16") or (p.mode == "I" and getattr(p, "format", None) in _SIXTEEN_BITS):
            a = np.clip(a, 0, 65535).astype(np.uint16)
        elif numbers.kind:
            a = a.view(np.uint32 if numbers.kind == "unsigned" else np.int8)
        levels = _eight_bits(a, f"a picture of mode {p.mode}", scale)
        levels = 255 - levels if numbers.inverted else levels
        if isinstance(transparent, int):
            levels = np.where(a == transparent, np.uint8(255), levels)
        return PIL.Image.fromarray(levels)
    if transparent is not None and numbers.deep:
        raise ImageError(
            "Expected a picture whose transparent pixels are known, got a PNG file of 16 bits that names one colour as "
            "transparent, of which eight bits are left. Save it with an alpha channel (RGBA)."
        )
    if isinstance(transparent, int):
        p.info["transparency"] = transparent * numbers.levels
    if p.mode in ("RGBA", "LA", "PA", "La", "RGBa") or transparent is not None:
        rgba = p.convert("RGBA")
        ground = PIL.Image.new("RGBA", rgba.size, (*_BACKGROUND, 255))
        return PIL.Image.alpha_composite(ground, rgba).convert("RGB")
    return p if p.mode in ("L", "RGB") else p.convert("RGB")

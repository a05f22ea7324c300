"""Pictures as people have them, to PIL pictures upright in RGB or grey: `read_image`."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import Any, TypeAlias, Union

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from convscope_core.errors import ImageError

__all__ = ["ImageLike", "SUFFIXES", "read_image"]

#: What is taken as a picture: a path, the bytes of a file, a PIL picture, an array or a tensor.
ImageLike: TypeAlias = Union[str, "os.PathLike[str]", bytes, PIL.Image.Image, np.ndarray[Any, Any], torch.Tensor]

#: File name endings that are taken for pictures when a folder is searched.
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm"})

_BACKGROUND = (255, 255, 255)


def read_image(source: ImageLike, mode: str = "RGB") -> PIL.Image.Image:
    """Return a picture, upright and without transparency.

    EXIF orientation is applied; palettes are expanded; transparent pixels are laid over white; of an
    animation the first frame is taken; 16-bit and floating-point values are scaled to 8 bits.

    Parameters
    ----------
    source : path, bytes, PIL.Image.Image, array or tensor
        Bytes are those of a picture file. An array is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
        uint16, bool, or floats between 0 and 1. A tensor is uint8 of shape (H, W), (1, H, W), (3, H, W) or
        (4, H, W).
    mode : {"RGB", "L"}, default "RGB"
        Colour, or grey (luminance).

    Returns
    -------
    PIL.Image.Image
        Always a copy: changing it does not change `source`.

    Raises
    ------
    ImageError
        For anything else; the message states what was expected, what came and what to do.
    """
    if isinstance(source, PIL.Image.Image):
        picture = _load(source, "the PIL picture")
    elif isinstance(source, (bytes, bytearray, memoryview)):
        picture = _open(io.BytesIO(bytes(source)), f"{len(source)} bytes")
    elif isinstance(source, (str, os.PathLike)):
        picture = _from_path(source)
    elif isinstance(source, torch.Tensor):
        picture = _from_tensor(source)
    elif isinstance(source, np.ndarray):
        picture = _from_array(source)
    else:
        raise ImageError(
            "Expected a picture as a path, the bytes of a file, a PIL picture, a NumPy array (H, W[, 3 or "
            f"4]) or a tensor, got {type(source).__name__}. Convert it to one of these."
        )
    return _flat(picture).convert(mode)


def _from_path(source: str | os.PathLike[str]) -> PIL.Image.Image:
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
    return _open(path, repr(str(path)))


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
    try:
        upright = PIL.ImageOps.exif_transpose(picture)
        copy: PIL.Image.Image = picture.copy() if upright is picture else upright
    except Exception as e:
        raise ImageError(
            f"Expected a complete picture file, got {what}, which starts as one but cannot be decoded ({e}). It is "
            f"probably truncated or damaged: copy or download it again."
        ) from e
    return copy


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


def _from_array(a: np.ndarray[Any, Any]) -> PIL.Image.Image:
    shape = a.shape
    if a.ndim == 3 and shape[2] == 1:
        a = a[:, :, 0]
    if a.ndim not in (2, 3) or (a.ndim == 3 and a.shape[2] not in (3, 4)) or 0 in shape:
        cure = "Give one picture with colours on the last axis."
        if a.ndim == 3 and shape[0] in (1, 3, 4):
            cure = "Colours come first here: move them to the end with a.transpose(1, 2, 0)."
        elif a.ndim == 4:
            cure = "This looks like a batch: give one picture at a time."
        raise ImageError(f"Expected an array of shape (H, W), (H, W, 3) or (H, W, 4), got {shape}. {cure}")
    if a.dtype == np.uint8:
        eight = a
    elif a.dtype == np.uint16:
        eight = _scaled(a.astype(np.float64) / 65535)
    elif a.dtype == np.bool_:
        eight = a.astype(np.uint8) * np.uint8(255)
    elif np.issubdtype(a.dtype, np.floating):
        low, high = float(a.min()), float(a.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ImageError("Expected finite values between 0 and 1, got NaN or infinity. Replace them.")
        if low < -1e-3 or high > 1 + 1e-3:
            raise ImageError(
                f"Expected floating-point values between 0 and 1, got {low:.3g} to {high:.3g}. Divide by 255 "
                f"if they are 0 to 255, or convert to uint8."
            )
        eight = _scaled(a.astype(np.float64))
    else:
        raise ImageError(
            f"Expected an array of uint8, uint16, bool or floats between 0 and 1, got {a.dtype}. If its "
            f"values are 0 to 255: a.astype(numpy.uint8)."
        )
    return PIL.Image.fromarray(np.ascontiguousarray(eight))


def _scaled(a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    levels: np.ndarray[Any, Any] = np.rint(np.clip(a, 0, 1) * 255)
    return levels.astype(np.uint8)


def _flat(p: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture in L or RGB: 16 bits scaled, transparency laid over white, palette expanded."""
    if p.mode in ("I;16", "I;16B", "I;16L", "I;16N"):
        return _from_array(np.asarray(p).astype(np.uint16))
    if p.mode == "I":  # 32-bit integers; Pillow before 11.3 reads 16-bit PNG so
        a = np.asarray(p)
        return _from_array(np.clip(a, 0, 65535).astype(np.uint16)) if a.max() > 255 else p.convert("L")
    if p.mode == "F":
        a = np.asarray(p, dtype=np.float64)
        return _from_array(a if a.max() <= 1 else np.rint(np.clip(a, 0, 255)).astype(np.uint8))
    if p.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in p.info:
        rgba = p.convert("RGBA")
        ground = PIL.Image.new("RGBA", rgba.size, (*_BACKGROUND, 255))
        return PIL.Image.alpha_composite(ground, rgba).convert("RGB")
    return p if p.mode in ("L", "RGB") else p.convert("RGB")

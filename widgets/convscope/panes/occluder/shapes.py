"""Shapes of the occluder as the trait keeps them, and on their way to the browser and the core."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from convscope_core.errors import ArgumentError
from convscope_core.occlusion import checked_shape

__all__ = ["ShapeValue", "core_shape", "from_browser", "shape_value", "to_browser"]

#: A shape as the trait keeps it: a name, the points of an outline, or the rows of a mask. Hashable.
ShapeValue: TypeAlias = str | tuple[tuple[float, float], ...] | tuple[tuple[bool, ...], ...]


#: Side of a mask that comes from the browser, at most.
LARGEST = 1024


def is_mask(shape: ShapeValue) -> bool:
    """Whether a shape that is not a name is a mask rather than an outline."""
    return isinstance(shape[0][0], bool)


def shape_value(shape: Any) -> ShapeValue:
    """A shape as the trait keeps it; errors as of `checked_shape`."""
    known = checked_shape(shape)
    return tuple(map(tuple, known.tolist())) if isinstance(known, np.ndarray) else known


def core_shape(shape: ShapeValue) -> Any:
    """A shape as the core takes it."""
    return shape if isinstance(shape, str) or not is_mask(shape) else np.array(shape, bool)


def to_browser(shape: ShapeValue) -> Any:
    """A shape as the front end gets it: a mask as bits, row after row, in base64."""
    if isinstance(shape, str) or not is_mask(shape):
        return shape
    mask = np.array(shape, bool)
    bits = base64.b64encode(np.packbits(mask).tobytes()).decode("ascii")
    return {"bits": bits, "height": mask.shape[0], "width": mask.shape[1]}


def from_browser(value: Any) -> Any:
    """Undo `to_browser`."""
    if not isinstance(value, Mapping):
        return value
    height, width = (one if isinstance(one := value.get(name), int) else 0 for name in ("height", "width"))
    bits = value.get("bits")
    packed = b""
    if isinstance(bits, str) and 0 < height <= LARGEST and 0 < width <= LARGEST:
        with contextlib.suppress(ValueError):
            packed = base64.b64decode(bits, validate=True)
    if not packed or len(packed) != -(-height * width // 8):
        raise ArgumentError(
            f"Expected a mask of at most {LARGEST} x {LARGEST} as height, width and its bits in base64, got "
            f"{value!r:.80}. Reload the page."
        )
    return np.unpackbits(np.frombuffer(packed, np.uint8), count=height * width).reshape(height, width).astype(bool)

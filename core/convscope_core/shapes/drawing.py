"""Scenes become pixels, and the weight that each layer has in each pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from convscope_core.shapes.colours import Colour
from convscope_core.shapes.scene import Background, Layer, Light, Role, Scene

__all__ = ["draw", "weights"]

# How much brighter the lit side of a thing is than its middle, in full light; likewise of the background.
_SHADE = 0.38
_BACKGROUND_SHADE = 0.25
# How far an object's shadow falls, in halves of the picture, and how much light it takes.
_SHADOW_LENGTH = 0.09
_SHADOW_DEPTH = 0.45


@dataclass(frozen=True)
class _Stamp:
    """A layer's pixels: where, how much of each, in which colour."""

    rows: slice
    columns: slice
    cover: np.ndarray
    colour: np.ndarray


def draw(scene: Scene, size: int) -> NDArray[np.uint8]:
    """Draw a scene.

    Returns
    -------
    numpy.ndarray
        uint8 (size, size, 3).
    """
    x, y = _axes(size)
    canvas = _background(scene.background, scene.light, x, y)
    stamps = [(layer, stamp) for layer in scene.layers if (stamp := _stamp(layer, scene.light, x, y)) is not None]
    shadow = _shadow([stamp for layer, stamp in stamps if layer.role == "part"], scene.light, size)
    for layer, stamp in stamps:
        if layer.role == "part" and shadow is not None:
            canvas *= shadow
            shadow = None
        under = canvas[:, stamp.rows, stamp.columns]
        under += stamp.cover * (stamp.colour - under)
    light = np.array(scene.light.tint, np.float32) * np.float32(scene.light.gain * 255)
    canvas *= light[:, None, None]
    canvas += 0.5
    np.minimum(canvas, 255, out=canvas)
    # What numpy does with negative numbers here depends on the platform; there are none.
    return np.ascontiguousarray(canvas.astype(np.uint8).transpose(1, 2, 0))


def weights(scene: Scene, size: int) -> dict[tuple[Role, str], np.ndarray]:
    """How much of each pixel is whose: the share of its colour, after what covers it.

    Returns
    -------
    dict of (role, owner) to numpy.ndarray
        float32 (size, size) in [0, 1]; an owner outside the picture has zeros. With the background's share they sum
        to 1.
    """
    x, y = _axes(size)
    found = {(layer.role, layer.owner): np.zeros((size, size), np.float32) for layer in scene.layers}
    for layer in scene.layers:
        stamp = _stamp(layer, scene.light, x, y)
        if stamp is None:
            continue
        for owned in found.values():
            owned[stamp.rows, stamp.columns] *= 1 - stamp.cover
        found[layer.role, layer.owner][stamp.rows, stamp.columns] += stamp.cover
    return found


def _axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixel centres from left to right (1, size) and from top to bottom (size, 1)."""
    centres = (np.arange(size, dtype=np.float32) * 2 + 1) * np.float32(1 / size) - 1
    return centres[None, :], centres[:, None]


def _background(background: Background, light: Light, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Float32 (3, size, size)."""
    size = x.shape[1]
    amount = None if background.texture is None else background.texture.amount(x, y, 2 / size)
    canvas = np.empty((3, size, size), np.float32)
    canvas[:] = _mix(background.colour, background.pattern, amount)
    if light.strength:
        strength = light.strength * _BACKGROUND_SHADE
        canvas *= (x * (strength * light.direction[0]) + 1) + y * (strength * light.direction[1])
    return canvas


def _mix(colour: Colour, pattern: Colour | None, amount: np.ndarray | None) -> np.ndarray:
    first = np.array(colour, np.float32)[:, None, None]
    if amount is None or pattern is None:
        return first
    found: np.ndarray = first + (np.array(pattern, np.float32)[:, None, None] - first) * amount
    return found


def _stamp(layer: Layer, light: Light, x: np.ndarray, y: np.ndarray) -> _Stamp | None:
    size = x.shape[1]
    u, v, radius = layer.outline.circle()
    centre_x, centre_y = layer.frame.place(u, v)
    reach = radius * layer.frame.scale
    rows, columns = _window(centre_y, reach, size), _window(centre_x, reach, size)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    x, y = x[:, columns], y[rows]
    a, b, c, d, e, f = layer.frame.inverse()
    u_map, v_map = x * a + (y * b + c), x * d + (y * e + f)
    pixels = layer.frame.scale * size / 2
    cover = np.minimum(np.maximum(0.5 - layer.outline.distance(u_map, v_map) * pixels, 0), 1)
    amount = None if layer.texture is None else layer.texture.amount(u_map, v_map, 1 / pixels)
    colour = _mix(layer.colour, layer.pattern, amount)
    if light.strength:
        strength = light.strength * _SHADE / reach
        shade = ((x - centre_x) * (strength * light.direction[0]) + 1) + (y - centre_y) * (
            strength * light.direction[1]
        )
        colour = colour * shade
    return _Stamp(rows, columns, cover, colour)


def _window(centre: float, reach: float, size: int) -> slice:
    """The pixels that lie within reach, and one more."""
    first = int(((centre - reach) + 1) * size / 2) - 1
    last = int(((centre + reach) + 1) * size / 2) + 2
    return slice(max(0, first), min(size, max(0, last)))


def _shadow(stamps: list[_Stamp], light: Light, size: int) -> np.ndarray | None:
    """What the object's shadow leaves of the light, float32 (size, size)."""
    if not stamps or not light.strength:
        return None
    object_cover = np.zeros((size, size), np.float32)
    for stamp in stamps:
        under = object_cover[stamp.rows, stamp.columns]
        np.maximum(under, stamp.cover, out=under)
    length = _SHADOW_LENGTH * size / 2
    down, right = round(-light.direction[1] * length), round(-light.direction[0] * length)
    blur = max(1, round(0.03 * size))
    shadow = np.zeros_like(object_cover)
    shadow[max(0, down) : size + min(0, down), max(0, right) : size + min(0, right)] = object_cover[
        max(0, -down) : size + min(0, -down), max(0, -right) : size + min(0, -right)
    ]
    shadow = _blurred(_blurred(shadow, blur).T, blur).T
    found: np.ndarray = 1 - shadow * (light.strength * _SHADOW_DEPTH)
    return found


def _blurred(values: np.ndarray, pixels: int) -> np.ndarray:
    """Means of 2 pixels + 1 rows around each, with zeros outside; sums go row by row, in one order everywhere."""
    rows = values.shape[0]
    padded = np.zeros((rows + 2 * pixels, values.shape[1]), np.float32)
    padded[pixels : pixels + rows] = values
    total = padded[:rows].copy()
    for shift in range(1, 2 * pixels + 1):
        total += padded[shift : shift + rows]
    found: np.ndarray = total * np.float32(1 / (2 * pixels + 1))
    return found

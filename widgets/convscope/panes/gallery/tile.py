"""The maps of a gallery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope_core.explain import Attribution

__all__ = ["FAINT", "Tile", "packed", "painted", "planes_of", "strength"]

#: Of the magnitudes of a map, the one at which colours end.
PERCENTILE = 99.5
#: From the most negative value over zero to the most positive one: ColorBrewer's RdBu and PRGn, at equal steps.
COLOURS = {
    "red-blue": "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f",
    "purple-green": "00441b 1b7837 5aae61 a6dba0 d9f0d3 f7f7f7 e7d4e8 c2a5cf 9970ab 762a83 40004b",
}
#: A map weaker than this share of its group's strongest would be blank on their scale.
FAINT = 0.05


@dataclass(frozen=True, eq=False)
class Tile:
    """A map that has been computed, or why it could not be.

    Attributes
    ----------
    number : int
        Its own among all of the gallery.
    attribution : Attribution or None
    rho : float or None
        Of a control: how alike it is to the map. NaN where one of them is constant.
    turned : bool
        Of a control: whether it is like the map with its signs exchanged, which `rho`, of magnitudes, does not see.
    error : dict or None
        As the front end shows it.
    """

    number: int
    attribution: Attribution | None
    rho: float | None
    turned: bool
    error: dict[str, Any] | None


def packed(tile: Tile) -> tuple[dict[str, Any], bytes | None]:
    """A map as the front end takes it: 16 bits a value, 0 for zero and 32767 for the greatest magnitude.

    A signal in three colours goes as that, planes red, green, blue; all else as the sum over the channels.
    """
    made = tile.attribution
    if made is None:
        return {"error": tile.error}, None
    values = planes_of(made)
    limit, strong = float(np.abs(values).max()), strength(values)
    steps = np.rint(values.astype(np.float64) * (32767.0 / (limit or 1.0))).astype("<i2")
    rho = tile.rho
    fields = {
        "depth": len(values),
        "height": values.shape[1],
        "width": values.shape[2],
        "limit": limit,
        "strong": strong,
        "target": made.target,
        "label": made.label,
        "score": made.score,
        "brief": made.conservation.brief,
        "account": str(made.conservation),
        "notes": list(made.notes),
        "rho": None if rho is None or math.isnan(rho) else rho,
        "turned": tile.turned,
        "error": None,
    }
    return fields, steps.tobytes()


def is_turned(made: Attribution, control: Attribution) -> bool:
    """Whether a control is like a map with its signs exchanged: the cosine of the two is below -1/2."""
    a, b = (one.heatmap.astype(np.float64).ravel() for one in (made, control))
    return bool(a @ b < -0.5 * math.sqrt((a @ a) * (b @ b)))


def planes_of(made: Attribution) -> np.ndarray:
    """What is shown of a map: red, green and blue of a signal in three colours (3, h, w); else the sum (1, h, w)."""
    coloured = made.group == "signal" and made.layer is None and len(made.values) == 3
    return made.values if coloured else made.heatmap[None]


def strength(values: np.ndarray) -> float:
    """The magnitude at which colours end, where a map has a scale of its own."""
    magnitudes = np.abs(values)
    return float(np.percentile(magnitudes, PERCENTILE)) or float(magnitudes.max())


def painted(made: Attribution, end: float, colours: str, photo: np.ndarray, opacity: float) -> np.ndarray:
    """A map as the front end paints it on a light page: uint8 (h, w, 3).

    Parameters
    ----------
    made : Attribution
    end : float
        The magnitude at which colours end.
    colours : str
        Those of a map without three colours, a name of `COLOURS`.
    photo : ndarray
        The picture beneath, uint8 (H, W, 3); its colours are left out, so that those that there are are the map's.
    opacity : float
        Of the map, 0..1.
    """
    shares = (planes_of(made) / (end or 1.0)).clip(-1, 1)
    if len(shares) == 3:  # zero is mid-grey, as `convscope_core.render.signed` shows it
        pixels = (128 + 127 * shares).transpose(1, 2, 0)
    else:
        pixels = _coloured(shares[0], colours)
    if opacity < 1:
        (height, width), (high, wide) = photo.shape[:2], pixels.shape[:2]
        rows, columns = np.arange(height) * high // height, np.arange(width) * wide // width
        grey = (photo @ np.array([0.299, 0.587, 0.114]))[..., None]
        pixels = opacity * pixels[rows[:, None], columns] + (1 - opacity) * grey
    return np.rint(pixels).astype(np.uint8)


def _coloured(shares: np.ndarray, colours: str) -> np.ndarray:
    """Values (h, w) from -1 to 1 in colours, (h, w, 3) from 0 to 255."""
    anchors = np.array([list(bytes.fromhex(one)) for one in COLOURS[colours].split()], float)
    steps = np.linspace(-1, 1, len(anchors))
    return np.stack([np.interp(shares, steps, anchors[:, channel]) for channel in range(3)], axis=-1)

"""The maps of a gallery."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from convscope_core.explain import Attribution

__all__ = ["Tile", "packed", "shaded"]

#: Of the magnitudes of a map, the one at which colours end.
PERCENTILE = 99.5


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
    error : dict or None
        As the front end shows it.
    """

    number: int
    attribution: Attribution | None
    rho: float | None
    error: dict[str, Any] | None


def packed(tile: Tile) -> tuple[dict[str, Any], bytes | None]:
    """A map as the front end takes it: 16 bits a value, 0 for zero and 32767 for the greatest magnitude.

    A signal in three colours goes as that, planes red, green, blue; all else as the sum over the channels.
    """
    made = tile.attribution
    if made is None:
        return {"error": tile.error}, None
    coloured = made.group == "signal" and made.layer is None and len(made.values) == 3
    values = made.values if coloured else made.heatmap[None]
    magnitudes = np.abs(values)
    limit = float(magnitudes.max())
    strong = float(np.percentile(magnitudes, PERCENTILE)) or limit
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
        "error": None,
    }
    return fields, steps.tobytes()


def shaded(heatmap: np.ndarray) -> np.ndarray:
    """A map (h, w) as a picture (h, w, 3) uint8: red where positive, blue where negative, white for zero."""
    strong = float(np.percentile(np.abs(heatmap), PERCENTILE)) or 1.0
    share = (heatmap / strong).clip(-1, 1)
    fade = 1 - np.abs(share)
    planes = [np.where(share >= 0, 1, fade), fade, np.where(share >= 0, fade, 1)]
    return (255 * np.stack(planes, axis=-1)).astype(np.uint8)

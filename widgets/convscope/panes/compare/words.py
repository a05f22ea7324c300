"""What the front end is told of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from convscope_core.errors import ArgumentError
from convscope_core.experiments import Comparison, FilterHealth

__all__ = ["answers", "first_layer_row", "numbers"]


def numbers(result: Comparison) -> list[dict[str, Any]]:
    """The rows of the table: a name, what kind of number, and that of either network."""
    rows = result.rows()
    kinds = {
        "accuracy": "share", "top-5 accuracy": "share", "parameters": "count", "multiply-adds": "count",
        "seconds a picture": "seconds",
    }  # fmt: skip
    return [{"name": name, "kind": kind, "values": list(rows[name])} for name, kind in kinds.items()]


def first_layer_row(health: FilterHealth) -> dict[str, Any]:
    """What is said beneath a first layer."""
    aliasing = next((row for row in health if row.layer == health.layer), None)
    nothing = math.nan
    return {
        "layer": health.layer,
        "stride": None if aliasing is None else list(aliasing.stride),
        "dead": np.flatnonzero(health.dead).tolist(),
        "dead_by": health.dead_by,
        "dominant": np.flatnonzero(health.dominant).tolist(),
        "repeated": np.flatnonzero(health.duplicated).tolist(),
        "coverage": float(health.coverage),
        "folded": nothing if aliasing is None else aliasing.folded,
        "above": nothing if aliasing is None else aliasing.above,
        "next": None if aliasing is None else aliasing.next,
    }


def answers(result: Comparison, most: int) -> tuple[int | None, str | None, list[dict[str, Any]]]:
    """How many pictures they disagree on, what is wrong with that question, and the pictures that are shown.

    Where they disagree nowhere, or have no class in common, others are shown: the first ones.
    """
    complaint: str | None = None
    rights = [result.right("a"), result.right("b")]
    try:
        differing = result.disagreements()
    except ArgumentError as error:
        complaint = str(error)
    else:
        if differing:
            return len(differing), None, [_row(rights, *one) for one in differing[:most]]
    sides = (result.a, result.b)
    places: list[Sequence[int]] = [side.answers.images.tolist() for side in sides]
    known = set(places[1])
    rows = []
    for image in [one for one in places[0] if one in known][:most]:
        both: list[Any] = []
        for side, images in zip(sides, places, strict=True):
            row = images.index(image)
            both += [side.label(row), float(side.answers.probabilities[row, 0])]
        rows.append(_row(rights, image, result.a.survey.label(image), *both))
    return None if complaint else 0, complaint, rows


def _row(
    rights: Sequence[Mapping[int, bool]], image: int, label: str | None, a: str, p: float, b: str, q: float
) -> dict[str, Any]:
    return {
        "image": image,
        "label": label,
        "answers": [a, b],
        "probabilities": [p, q],
        "right": [one.get(image) for one in rights],
    }

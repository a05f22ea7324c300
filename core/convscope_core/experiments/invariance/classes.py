"""Which class of a picture is followed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError
from convscope_core.network import Network

__all__ = ["TARGETS", "followed", "truth_of"]

TARGETS = ("predicted", "true")
"""The class that was most probable for the picture as it is; or its label."""


def truth_of(net: Network, label: str | None) -> int:
    """Return the class that a picture's label names; -1 where it has none, or no class has it."""
    found = [index for index, name in enumerate(net.labels) if name == label]
    return found[0] if len(found) == 1 else -1


def followed(target: str, truth: int, probabilities: npt.NDArray[np.float32], image: int, label: str | None) -> int:
    """Return the class of a picture that is followed.

    Raises
    ------
    ArgumentError
        When it is the true one, which is not known.
    """
    if target == "predicted":
        return int(probabilities.argmax())
    if truth < 0:
        came = "has no label" if label is None else f"has the label {label!r}"
        raise ArgumentError(
            f"Expected pictures labelled with a class of the network, for target 'true', but picture {image} {came}. "
            "Leave target out to follow the most probable class."
        )
    return truth

"""Bounds of activation functions, and what a function that is cut off at a ceiling would be without it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from convscope_core.graph.node import Node

__all__ = ["bounds", "ceiling", "without_ceiling"]

_BOUNDS = {"relu": (0.0, None), "sigmoid": (0.0, 1.0), "hardsigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}
"""Kinds of activations that have the same bounds wherever they are."""

_LIMITS = {"relu6": ("min_val", "max_val"), "hardtanh": ("min_val", "max_val"), "clamp": ("min", "max")}
"""Kinds that cut off at numbers among their arguments: the names of these."""


def bounds(node: Node) -> tuple[float | None, float | None]:
    """Return the smallest and the largest value that an activation can have, None where there is no bound.

    That of a sigmoid is approached, and reached by rounding only; others are reached (`ceiling`).
    """
    if node.kind in _LIMITS:
        low, high = (node.args.get(name) for name in _LIMITS[node.kind])
        return None if low is None else float(low), None if high is None else float(high)
    return _BOUNDS.get(node.kind, (None, None))


def ceiling(node: Node) -> float | None:
    """Return the value at which an activation cuts off all that would be larger; None where it does not.

    That is 6 for ReLU6, 1 for the hard sigmoid, the upper bound of a hard tanh and of a clamp.
    """
    return bounds(node)[1] if node.kind in _LIMITS or node.kind == "hardsigmoid" else None


def without_ceiling(node: Node) -> Callable[[Tensor], Tensor] | None:
    """Return an activation as it would be if it did not cut off what is large; None where it does not.

    Its floor stays: a ReLU6 becomes a ReLU. Where the result is below the `ceiling`, it is the activation's.
    """
    if ceiling(node) is None:
        return None
    if node.kind == "hardsigmoid":
        return lambda x: (x + 3).clamp(min=0) / 6
    low, _ = bounds(node)
    return (lambda x: x) if low is None else (lambda x: x.clamp(min=low))

"""Checks of arguments that several calls take, so that all of them refuse alike."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from convscope_core.errors import ArgumentError, did_you_mean

__all__ = ["is_number", "is_whole", "listed", "require_between", "require_choice", "require_counts", "require_path"]


def is_whole(value: Any) -> bool:
    """Whether a value is one whole number: of Python, of NumPy or of torch, but not True or False."""
    if isinstance(value, (bool, np.bool_)) or (isinstance(value, torch.Tensor) and value.dtype == torch.bool):
        return False
    if isinstance(value, (np.ndarray, torch.Tensor)) and value.ndim:
        return False
    try:
        operator.index(value)
    except (TypeError, ValueError, RuntimeError):
        return False
    return True


def is_number(value: Any) -> bool:
    """Whether a value is one real number: of Python, of NumPy or of torch, but not True or False."""
    if isinstance(value, torch.Tensor) and not value.ndim:
        return value.dtype != torch.bool and not value.is_complex()
    return is_whole(value) or isinstance(value, (float, np.floating))


def require_counts(least: int = 1, /, **counts: object) -> None:
    """Raise ArgumentError unless every argument is a whole number of at least `least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ArgumentError(f"Expected {name} to be a whole number of at least {least}, got {count!r}.")


def require_between(name: str, value: object, least: float, most: float = math.inf, *, closed: bool = False) -> None:
    """Raise ArgumentError unless an argument is a number above `least` (or it, if `closed`) and below `most`."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not (least <= value if closed else least < value) or not value < most:  # type: ignore[operator]
        lower = f"of at least {least:g}" if closed else f"above {least:g}"
        upper = "" if math.isinf(most) else f" and below {most:g}"
        raise ArgumentError(f"Expected {name} to be a number {lower}{upper}, got {value!r}.")


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ArgumentError, with close matches, unless an argument is one of the choices."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(
            f"Expected {name} as one of {', '.join(map(repr, known))}, got {value!r}.{did_you_mean(str(value), known)}"
        )


def require_path(name: str, value: object) -> Path:
    """Return a path, "~" expanded; ArgumentError unless it is text or a path that a file can have."""
    text = os.fspath(value) if isinstance(value, (str, os.PathLike)) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ArgumentError(f"Expected {name} as the path of a file, got {value!r}. Give it as text or a pathlib.Path.")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:  # "~name" of nobody
        raise ArgumentError(f"Expected {name} as the path of a file, got {value!r}: {error}") from error


def listed(numbers: Sequence[int], limit: int = 5) -> str:
    """Write a list of numbers for an error message, cut after `limit`."""
    text = ", ".join(map(str, numbers[:limit]))
    return text if len(numbers) <= limit else f"{text} and {len(numbers) - limit} more"

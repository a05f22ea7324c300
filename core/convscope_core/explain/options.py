"""Checks of the options of methods: each says what was expected and what came."""

from __future__ import annotations

import math
from collections.abc import Iterable

from convscope_core.arguments import is_number, is_whole
from convscope_core.errors import ArgumentError, did_you_mean

__all__ = ["require_choice", "require_flag", "require_number", "require_whole"]


def require_flag(value: object, name: str) -> None:
    """Raise an `ArgumentError` unless it is True or False."""
    if not isinstance(value, bool):
        raise ArgumentError(f"Expected {name} as True or False, got {value!r}.")


def require_whole(value: object, name: str, least: int) -> None:
    """Raise an `ArgumentError` unless it is an int of at least so much."""
    if not is_whole(value) or value < least:
        raise ArgumentError(f"Expected {name} as a whole number of at least {least}, got {value!r}.")


def require_number(value: object, name: str) -> None:
    """Raise an `ArgumentError` unless it is a finite number of at least 0."""
    if not is_number(value) or not 0 <= value < math.inf:
        raise ArgumentError(f"Expected {name} as a number of at least 0, got {value!r}.")


def require_choice(value: object, name: str, choices: Iterable[str]) -> None:
    """Raise an `ArgumentError` unless it is one of the choices."""
    known = list(choices)
    if value not in known:
        shown = ", ".join(map(repr, known))
        raise ArgumentError(f"Expected {name} as one of {shown}, got {value!r}.{did_you_mean(str(value), known)}")

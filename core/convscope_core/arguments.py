"""Checks of arguments that several calls take, so that all of them refuse alike."""

from __future__ import annotations

import functools
import inspect
import math
import operator
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np
import torch

from convscope_core.errors import ArgumentError, did_you_mean

__all__ = [
    "argument_kind",
    "door",
    "is_number",
    "is_whole",
    "listed",
    "plain_number",
    "plain_methods",
    "require_between",
    "require_choice",
    "require_counts",
    "require_kind",
    "require_path",
]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T", bound=type)

_FEW = 8
"""Tuples and lists up to this long are numbers that belong together, such as a size; longer ones are data."""


def plain_number(value: Any) -> Any:
    """Return a number of NumPy or torch, on any device, as Python's; also in a short tuple or list; all else as it is.

    What is kept, compared, or written to a file is then the same, whoever's number it was.
    """
    if isinstance(value, (np.generic, np.ndarray, torch.Tensor)) and not value.ndim:
        return value if isinstance(value, torch.Tensor) and value.is_meta else value.item()
    if type(value) in (tuple, list) and len(value) <= _FEW:
        made = [plain_number(one) for one in value]
        return value if all(one is other for one, other in zip(made, value, strict=True)) else type(value)(made)
    return value


def argument_kind(advice: str) -> Callable[[T], T]:
    """Let `door` refuse anything else where a class is asked for.

    Parameters
    ----------
    advice : str
        What to do, a sentence.
    """

    def known(kind: T) -> T:
        _KINDS[kind.__name__] = kind, advice
        return kind

    return known


_KINDS: dict[str, tuple[type, str]] = {}
"""Classes by name, with what to do for who has none."""


def door(function: F) -> F:
    """Let a function be given numbers of NumPy and of torch, which it sees as Python's, and nothing of another kind.

    Where a parameter is annotated with an `argument_kind`, or that or None, anything else is an ArgumentError.
    """
    asked = _asked(function)

    @functools.wraps(function)
    def through(*args: Any, **kwargs: Any) -> Any:
        for place, name, kind, advice in asked:
            value = args[place] if place < len(args) else kwargs.get(name)
            given = place < len(args) or name in kwargs
            if given and not isinstance(value, kind):
                raise _refused(name, value, kind[0], advice)
        return function(*map(plain_number, args), **{name: plain_number(value) for name, value in kwargs.items()})

    made: Any = through
    return made  # type: ignore[no-any-return]


def _asked(function: Callable[..., Any]) -> list[tuple[int, str, tuple[type, ...], str]]:
    """Return the parameters that have to be of a kind: place, name, of what classes, what to do."""
    found: list[tuple[int, str, tuple[type, ...], str]] = []
    for place, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        hints = [hint.strip() for hint in str(parameter.annotation).split("|")]
        if hints[0] in _KINDS and hints[1:] in ([], ["None"]):
            kind, advice = _KINDS[hints[0]]
            found.append((place, name, (kind, type(None)) if hints[1:] else (kind,), advice))
    return found


def require_kind(name: str, value: object, kind: type) -> None:
    """Raise ArgumentError unless an argument is of an `argument_kind`."""
    if not isinstance(value, kind):
        raise _refused(name, value, kind, _KINDS[kind.__name__][1])


def _refused(name: str, value: object, kind: type, advice: str) -> ArgumentError:
    article = "an" if kind.__name__[0] in "AEIO" else "a"
    return ArgumentError(f"Expected {name} as {article} {kind.__name__}, got {_named(value)}. {advice}")


def _named(value: object) -> str:
    return repr(value) if value is None or isinstance(value, (str, int, float)) else f"a {type(value).__name__}"


def plain_methods(kind: T) -> T:
    """Make doors of all public methods of a class that take numbers or a network, and of its constructor."""
    for name, method in list(vars(kind).items()):
        if name.startswith("_") and name != "__init__":
            continue
        inner = getattr(method, "__func__", method)
        if inspect.isfunction(inner) and any(_TAKEN.search(str(hint)) for hint in inner.__annotations__.values()):
            made = door(inner)
            setattr(kind, name, type(method)(made) if isinstance(method, (classmethod, staticmethod)) else made)
    return kind


_TAKEN = re.compile(r"\b(int|float|Network)\b")


def is_whole(value: Any) -> TypeGuard[int]:
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


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value is one real number: of Python, of NumPy or of torch, but not True or False."""
    if isinstance(value, torch.Tensor) and not value.ndim:
        return value.dtype != torch.bool and not value.is_complex()
    if isinstance(value, np.ndarray) and not value.ndim:
        return value.dtype.kind in "iuf"
    return is_whole(value) or isinstance(value, (float, np.floating))


def require_counts(least: int = 1, /, **counts: object) -> None:
    """Raise ArgumentError unless every argument is a whole number of at least `least`."""
    for name, count in counts.items():
        if not is_whole(count) or count < least:
            raise ArgumentError(f"Expected {name} to be a whole number of at least {least}, got {count!r}.")


def require_between(name: str, value: object, least: float, most: float = math.inf, *, closed: bool = False) -> None:
    """Raise ArgumentError unless an argument is a number above `least` (or it, if `closed`) and below `most`."""
    if not is_number(value) or not (least <= value if closed else least < value) or not value < most:
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

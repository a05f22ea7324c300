"""Checks of arguments that several calls take, so that all of them refuse alike."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from convscope_core.errors import ArgumentError, did_you_mean

__all__ = ["listed", "require_choice", "require_counts"]


def require_counts(least: int = 1, /, **counts: object) -> None:
    """Raise ArgumentError unless every argument is a whole number of at least `least`."""
    for name, count in counts.items():
        if isinstance(count, bool) or not isinstance(count, int) or count < least:
            raise ArgumentError(f"Expected {name} to be a whole number of at least {least}, got {count!r}.")


def require_choice(name: str, value: object, choices: Iterable[str]) -> None:
    """Raise ArgumentError, with close matches, unless an argument is one of the choices."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        raise ArgumentError(
            f"Expected {name} as one of {', '.join(map(repr, known))}, got {value!r}.{did_you_mean(str(value), known)}"
        )


def listed(numbers: Sequence[int], limit: int = 5) -> str:
    """Write a list of numbers for an error message, cut after `limit`."""
    text = ", ".join(map(str, numbers[:limit]))
    return text if len(numbers) <= limit else f"{text} and {len(numbers) - limit} more"

"""The errors that convscope raises on purpose.

Every message states what was expected, what came, and what to do about it: "Expected X, got Y. Do Z." Each class also
derives from the built-in exception that a caller would catch without knowing convscope (``ValueError`` for bad values,
``LookupError`` for names that do not exist, ``OSError`` for files).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "ArgumentError",
    "ConvscopeError",
    "ExecutorError",
    "ImageError",
    "LayerError",
    "NetworkError",
    "StoreError",
    "TraceError",
    "did_you_mean",
]


class ConvscopeError(Exception):
    """Base of all errors that convscope raises on purpose."""


class TraceError(ConvscopeError):
    """A module cannot become a graph, or the graph does not compute what the module computes."""


class ImageError(ConvscopeError, ValueError):
    """Something that should be a picture cannot be read, or has the wrong shape, type or size."""


class LayerError(ConvscopeError, LookupError):
    """A layer (or channel, or unit) does not exist in the network."""


class NetworkError(ConvscopeError, ValueError):
    """A network cannot be loaded or described: weights missing, name unknown, labels unfit..."""


class StoreError(ConvscopeError, OSError):
    """A file of ours cannot be read or written: it is damaged, locked or protected, or the disk is full.

    The message says what happened, what is safe, and what to do.
    """


class ExecutorError(ConvscopeError, RuntimeError):
    """Processes that were to compute or to read pictures died, or take no more work.

    The message says what is kept, and how to go on.
    """


class ArgumentError(ConvscopeError, ValueError):
    """Any other argument outside what is allowed."""


def did_you_mean(name: str, known: Iterable[str], n: int = 4) -> str:
    """Return ``" Close matches: a, b."`` for the names closest to `name`, or an empty string.

    Parameters
    ----------
    name : str
        The name that was not found.
    known : iterable of str
        The names that exist.
    n : int, default 4
        The greatest number of suggestions.
    """
    pool = list(known)
    folded = {k.lower(): k for k in reversed(pool)}
    close = [folded[k] for k in difflib.get_close_matches(name.lower(), list(folded), n=n, cutoff=0.5)]
    return f" Close matches: {', '.join(close)}." if close else ""

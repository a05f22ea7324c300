"""What ipywidgets keeps until it is closed: every widget, also those that only another one holds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ipywidgets

__all__ = ["close_whole"]


def close_whole(*widgets: ipywidgets.Widget) -> None:
    """Close widgets and all that they are made of: a figure with its marks, axes, scales and layout."""
    found: dict[str, ipywidgets.Widget] = {}
    waiting = list(widgets)
    while waiting:
        one = waiting.pop()
        if one.comm is not None and one.model_id not in found:
            found[one.model_id] = one
            waiting += [part for name in one.keys for part in _within(getattr(one, name))]
    for one in found.values():
        one.close()


def _within(value: Any) -> Iterator[ipywidgets.Widget]:
    if isinstance(value, ipywidgets.Widget):
        yield value
    elif isinstance(value, (list, tuple)):
        yield from (one for one in value if isinstance(one, ipywidgets.Widget))
    elif isinstance(value, dict):
        yield from (one for one in value.values() if isinstance(one, ipywidgets.Widget))

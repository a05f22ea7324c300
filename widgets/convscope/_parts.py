"""What boxes and charts of other packages need: an end, and a host that shows what is in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anywidget
import ipywidgets

__all__ = ["close_whole", "displayed"]


def displayed(box: ipywidgets.Box, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is displayed of a box that holds widgets of other packages, and what goes with it, as with an anywidget.

    Colab reads there which manager of widgets has to show it; its own knows the widgets of ipywidgets only.
    """
    shown: Any = anywidget.AnyWidget._repr_mimebundle_(box)
    return box._repr_mimebundle_(**kwargs), shown[1]


def close_whole(*widgets: ipywidgets.Widget) -> None:
    """Close widgets and all that they are made of: a figure with its marks, axes, scales and layout.

    ipywidgets keeps every widget until it is closed, also one that only another one holds.
    """
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

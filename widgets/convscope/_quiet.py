"""Messages of the front end over which the kernel does not say that it is busy.

Around each message ipykernel says "busy" and "idle", and JupyterLab shows either: the tab's icon, which the browser
asks the server for each time, the toolbar's circle, the status bar. For the requests of a drag that took a third of all
processor time, the browser's most of all. The kernel is not busy with them, for they are only noted. So "busy" is left
out, unless others handle the message, too. "Idle", by which the front end knows that a message was taken, is said as
ever.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Iterable
from typing import Any

import IPython

__all__ = ["quieten"]

#: Where a kernel's method that leaves it out has the instruments whose messages are only noted; with the method, for
#: it outlives this module when that is loaded again.
NOTED = "_convscope_noted"


def quieten(widget: Any) -> None:
    """From now on the kernel is not called busy for a widget's custom messages; where there is no ipykernel, nothing.

    Parameters
    ----------
    widget : Instrument
        Its method ``_receive`` handles custom messages, and returns at once. Others may handle them, too; then the
        kernel is called busy.
    """
    kernel = getattr(IPython.get_ipython(), "kernel", None)
    publish = getattr(kernel, "_publish_status", None)
    if kernel is None or publish is None or not hasattr(kernel, "get_parent"):
        return
    if hasattr(publish, NOTED):
        getattr(publish, NOTED).add(widget)
        return
    noted = weakref.WeakSet([widget])

    @functools.wraps(publish)
    def publish_status(status: str, channel: str, parent: Any = None) -> None:
        if status != "busy" or not _is_noted(parent or kernel.get_parent(channel), noted):
            publish(status, channel, parent)

    setattr(publish_status, NOTED, noted)
    kernel._publish_status = publish_status


def _is_noted(message: Any, widgets: Iterable[Any]) -> bool:
    """Whether a message that the kernel has been given is for one of these widgets, and is only noted."""
    try:
        content = message["content"]
        kind, data = message["header"]["msg_type"], content.get("data", {})
        if kind != "comm_msg" or data.get("method") != "custom":
            return False
        open_ones = ((w, w.comm) for w in widgets)  # a closed one has none
        mine = (w for w, comm in open_ones if comm is not None and comm.comm_id == content["comm_id"])
        return any(w._msg_callbacks.callbacks == [w._receive] for w in mine)
    except Exception:  # whatever it is, it is none of ours
        return False

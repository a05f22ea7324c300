"""Messages of the front end over which the kernel does not say that it is busy.

Around each message ipykernel says "busy" and "idle", and JupyterLab shows either: the tab's icon, which the browser
asks the server for each time, the toolbar's circle, the status bar. For the requests of a drag that took a third of all
processor time, the browser's most of all. The kernel is not busy with them, for they are only noted. So "busy" is left
out; "idle", by which the front end knows that a message was taken, is said as ever.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

import IPython

__all__ = ["quieten"]

#: Of a kernel's method that leaves it out already.
MARK = "_convscope_quiet"

#: Those whose custom messages are only noted, by their ids.
_comms: weakref.WeakValueDictionary[str, Any] = weakref.WeakValueDictionary()


def quieten(comm: Any) -> None:
    """From now on the kernel is not called busy for a widget's custom messages; where there is no ipykernel, nothing.

    Parameters
    ----------
    comm : comm.base_comm.BaseComm
        Of a widget whose handler of custom messages returns at once.
    """
    kernel = getattr(IPython.get_ipython(), "kernel", None)
    publish = getattr(kernel, "_publish_status", None)
    if kernel is None or publish is None or not hasattr(kernel, "get_parent"):
        return
    _comms[comm.comm_id] = comm
    if hasattr(publish, MARK):
        return

    @functools.wraps(publish)
    def publish_status(status: str, channel: str, parent: Any = None) -> None:
        if status != "busy" or not _is_noted(parent or kernel.get_parent(channel)):
            publish(status, channel, parent)

    setattr(publish_status, MARK, True)
    kernel._publish_status = publish_status


def _is_noted(message: Any) -> bool:
    """Whether a message that the kernel has been given is only noted."""
    try:
        content = message["content"]
        kind, data = message["header"]["msg_type"], content.get("data", {})
        return kind == "comm_msg" and data.get("method") == "custom" and content["comm_id"] in _comms
    except Exception:  # whatever it is, it is none of ours
        return False

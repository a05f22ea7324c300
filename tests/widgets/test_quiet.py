"""Over which messages the kernel says that it is busy, and over which not."""

from __future__ import annotations

import gc
import importlib.util
import weakref
from types import SimpleNamespace

import IPython
import pytest

import convscope as cs
from convscope import _instrument, _quiet


class Kernel:
    """What ipykernel's does with a message from the front end, and what it says on its output channel."""

    def __init__(self):
        self.statuses = []

    def get_parent(self, channel=None):
        return self.message

    def _publish_status(self, status, channel, parent=None):
        self.statuses.append((status, channel))

    def dispatch(self, comm_id, *, kind="comm_msg", **data):
        self.statuses = []
        self.message = {"header": {"msg_type": kind}, "content": {"comm_id": comm_id, "data": data}}
        self._publish_status("busy", "shell")
        self._publish_status("idle", "shell")
        return [status for status, _ in self.statuses]


@pytest.fixture
def kernel(monkeypatch):
    kernel = Kernel()
    monkeypatch.setattr(IPython, "get_ipython", lambda: SimpleNamespace(kernel=kernel))
    return kernel


BOTH = ["busy", "idle"]


def test_requests_of_an_instrument_do_not_make_the_kernel_busy(kernel, net, pictures):
    first, second = cs.Occluder(net, pictures[0]), cs.Occluder(net, pictures[1])
    for one in (first, second):
        assert kernel.dispatch(one.comm.comm_id, method="custom", content={}) == ["idle"]
        # What a person's observers do with a trait may take its time.
        assert kernel.dispatch(one.comm.comm_id, method="update", state={}) == BOTH
    assert kernel.dispatch(first.comm.comm_id, kind="comm_close") == BOTH
    assert kernel.dispatch("another widget's", method="custom", content={}) == BOTH
    gone = first.comm.comm_id
    first.close()
    assert kernel.dispatch(gone, method="custom", content={}) == BOTH
    assert kernel.dispatch(second.comm.comm_id, method="custom", content={}) == ["idle"]


def test_where_others_handle_its_messages_the_kernel_is_busy(kernel, net, pictures):
    occluder = cs.Occluder(net, pictures[0])
    own = occluder.comm.comm_id

    def slow(widget, content, buffers):
        pass

    occluder.on_msg(slow)
    assert kernel.dispatch(own, method="custom", content={}) == BOTH
    occluder.on_msg(slow, remove=True)
    assert kernel.dispatch(own, method="custom", content={}) == ["idle"]
    occluder.close()


def test_a_closed_instrument_is_forgotten(kernel, net, pictures):
    occluder = cs.Occluder(net, pictures[0])
    comm, noted = occluder.comm, getattr(kernel._publish_status, _quiet.NOTED)
    occluder.close()
    assert kernel.dispatch(comm.comm_id, method="custom", content={}) == BOTH
    gone = weakref.ref(occluder)
    del occluder, comm
    gc.collect()
    assert gone() is None
    assert not noted


def test_after_a_reload_of_the_module_it_is_wrapped_once_and_knows_all(kernel, net, pictures, monkeypatch):
    first = cs.Occluder(net, pictures[0])
    wrapped = kernel._publish_status
    spec = importlib.util.find_spec(_quiet.__name__)
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    monkeypatch.setattr(_instrument, "quieten", again.quieten)
    second = cs.Occluder(net, pictures[1])
    assert kernel._publish_status is wrapped
    for one in (first, second):
        assert kernel.dispatch(one.comm.comm_id, method="custom", content={}) == ["idle"]
        one.close()


@pytest.mark.parametrize("message", [None, {}, {"header": {"msg_type": "comm_msg"}}, {"header": 3, "content": []}])
def test_over_what_is_no_message_of_a_widget_s_it_says_so(kernel, net, pictures, message):
    occluder = cs.Occluder(net, pictures[0])
    kernel.message = message
    kernel._publish_status("busy", "control")
    assert kernel.statuses == [("busy", "control")]
    occluder.close()


@pytest.mark.parametrize("shell", [None, SimpleNamespace(), SimpleNamespace(kernel=object())])
def test_where_the_kernel_is_another_s_nothing_is_done(monkeypatch, net, pictures, shell):
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    cs.Occluder(net, pictures[0]).close()

"""A Jupyter server extension: what a kernel says reaches the page at once.

A kernel answers a widget's message with several small ones: that it is busy, the answer, that it is idle. TCP holds the
second back until the first is acknowledged (Nagle's algorithm), and the browser waits up to 40 ms before it
acknowledges (delayed acknowledgement, RFC 1122, section 4.2.3.2). So every round trip of every widget takes that long.
The option ``TCP_NODELAY`` of the server's end of the kernel's websocket ends that; Jupyter's server does not set it.

It is set when a websocket opens. Set on the listening socket it would be inherited, too, but tornado takes it back
after each request on a connection that is kept alive, as that of a proxy is (``HTTP1Connection._finish_request``).

This is a package of its own, for the server's process must not import torch. It stands on tornado and traitlets alone.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from tornado.httputil import HTTPHeaders, HTTPServerRequest, RequestStartLine
from tornado.routing import Rule
from tornado.websocket import WebSocketHandler
from traitlets import Bool
from traitlets.config import Configurable

__all__ = ["ConvscopeServer"]

#: A kernel's websocket, whichever kernel: what answers this serves them all.
CHANNELS = "api/kernels/00000000-0000-0000-0000-000000000000/channels"

#: Of a handler that sets the option already.
MARK = "_convscope_sends_at_once"


class ConvscopeServer(Configurable):
    """Settings of the extension, in Jupyter's configuration or on its command line."""

    no_delay = Bool(
        True, help="Whether the websockets of kernels send at once (TCP_NODELAY), so that widgets answer without delay."
    ).tag(config=True)


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    return [{"module": "convscope_server"}]


def _load_jupyter_server_extension(serverapp: Any) -> None:
    """Have the websockets of kernels send at once; where that cannot be, leave the server as it is and log why.

    Parameters
    ----------
    serverapp : jupyter_server.serverapp.ServerApp
        Its handlers are in place.
    """
    log = serverapp.log
    if not ConvscopeServer(config=serverapp.config).no_delay:
        log.info("convscope_server: off (ConvscopeServer.no_delay). Kernel websockets stay as they are.")
        return
    try:
        served = _sending_at_once(serverapp.web_app, serverapp.base_url)
    except Exception as error:  # a server that is built otherwise must start all the same
        log.warning("convscope_server: kernel websockets stay as they are (%s: %s).", type(error).__name__, error)
        return
    if served:
        log.info("convscope_server: kernel websockets send at once. Off: c.ConvscopeServer.no_delay = False")
    else:
        log.warning("convscope_server: no handler of kernel websockets was found. They stay as they are.")


def _sending_at_once(web_app: Any, base_url: str) -> int:
    """Put a handler that sets the option in the place of each that serves kernel websockets; how many there are.

    Those are found by what they answer: they are called differently from version to version, and may be another
    package's (a gateway's).
    """
    asked = RequestStartLine("GET", f"{base_url.rstrip('/')}/{CHANNELS}", "HTTP/1.1")
    request = HTTPServerRequest(start_line=asked, headers=HTTPHeaders({"Host": "localhost"}))
    rules = list(_websocket_rules(web_app.default_router, request))
    for rule in rules:
        if not hasattr(rule.target, MARK):
            rule.target = _made_to_send_at_once(rule.target)
    return len(rules)


def _websocket_rules(router: Any, request: HTTPServerRequest) -> Iterator[Rule]:
    for rule in router.rules:
        if rule.matcher.match(request) is None:
            continue
        if hasattr(rule.target, "rules"):
            yield from _websocket_rules(rule.target, request)
        elif isinstance(rule.target, type) and issubclass(rule.target, WebSocketHandler):
            yield rule


def _made_to_send_at_once(handler: type[WebSocketHandler]) -> type[WebSocketHandler]:
    """A handler that sets ``TCP_NODELAY`` before it does what the given one does; on a Unix socket that is nothing."""

    # By the name of the other: the server's metrics go by it.
    @functools.wraps(handler, updated=())
    class SendingAtOnce(handler):  # type: ignore[misc, valid-type]
        def open(self, *args: Any, **kwargs: Any) -> Any:
            try:
                self.set_nodelay(True)
            except Exception as error:  # a kernel that answers late is better than none
                self.log.warning("convscope_server: a kernel websocket stays as it is (%s).", error)
            return super().open(*args, **kwargs)

    setattr(SendingAtOnce, MARK, True)
    return SendingAtOnce

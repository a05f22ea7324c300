"""The server extension: on a real Jupyter server, the websockets of kernels send at once."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect
from traitlets.config import Config, LoggingConfigurable

import convscope_server

serverapp = pytest.importorskip("jupyter_server.serverapp", reason="the extension is one of Jupyter's server")
from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection  # noqa: E402
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager  # noqa: E402

TIMEOUT = 60

Talk = Callable[[Any], Awaitable[None]]


def run_alone(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread: in this one tests of the browser, run before in the same process, leave a loop."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def sends_at_once(handler: WebSocketHandler) -> bool | None:
    """What the operating system says of a websocket's socket; None where it is none of TCP's."""
    end = handler.ws_connection.stream.socket
    return None if end.family == socket.AF_UNIX else bool(end.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


class Kernels(AsyncMappingKernelManager):
    """Has every kernel that is asked for. None runs: their sockets would have to end with the test."""

    def get_kernel(self, kernel_id: str) -> LoggingConfigurable:
        return LoggingConfigurable(parent=self)


class Echo(BaseKernelWebsocketConnection):
    """What takes the messages of a kernel's websocket. It notes how that is when it has been accepted."""

    accepted: asyncio.Queue[bool | None]

    session = SimpleNamespace()

    async def connect(self) -> None:
        Echo.accepted.put_nowait(sends_at_once(self.websocket_handler))

    def handle_incoming_message(self, message: str) -> None:
        self.websocket_handler.write_message(message)

    def disconnect(self) -> None:
        pass


@pytest.fixture
def serve(tmp_path, monkeypatch, caplog) -> Iterator[Callable[..., None]]:
    """Make a server that loads the extension as it loads others, and talk to it; what it logs is in `caplog`."""
    for kind in ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR"):
        monkeypatch.setenv(f"JUPYTER_{kind}", str(tmp_path / kind))
    monkeypatch.setenv("JUPYTER_NO_CONFIG", "1")

    async def run(talk: Talk, settings: dict[str, Any]) -> None:
        Echo.accepted = asyncio.Queue()
        app = serverapp.ServerApp(
            config=Config({"ServerApp": {"port": 0}, **settings}),
            jpserver_extensions={"convscope_server": True},
            kernel_manager_class=Kernels,
            kernel_websocket_connection_class=Echo,
            base_url="/user/someone",
            ip="127.0.0.1",
            root_dir=str(tmp_path),
            open_browser=False,
            allow_root=True,
        )
        app.log.addHandler(caplog.handler)
        app.init_signal = lambda: None  # the process is pytest's
        app.initialize(argv=[], find_extensions=False)
        # It listens from the loop's next turn on.
        listening = asyncio.Event()
        app.io_loop.add_callback(listening.set)
        await listening.wait()
        try:
            await asyncio.wait_for(talk(app), TIMEOUT)
        finally:
            await app._cleanup()
            app.log.removeHandler(caplog.handler)

    with caplog.at_level(logging.INFO):
        yield lambda talk, **settings: run_alone(run(talk, settings))


PATH = "/user/someone/api/kernels/12345678-1234-1234-1234-123456789012/channels"


def port(app: Any) -> int:
    (listening,) = app.http_server._sockets.values()
    return listening.getsockname()[1]


def token(app: Any) -> dict[str, str]:
    return {"Authorization": f"token {app.identity_provider.token}"}


async def ask_a_kernel(app: Any) -> None:
    """Connect as a page does, ask, and read the answer."""
    page = await websocket_connect(HTTPRequest(f"ws://127.0.0.1:{port(app)}{PATH}", headers=token(app)))
    await page.write_message("hello")
    assert await page.read_message() == "hello"
    page.close()


def test_a_kernel_s_websocket_sends_at_once(serve, caplog):
    serve(ask_a_kernel)
    assert Echo.accepted.get_nowait() is True
    assert "kernel websockets send at once" in caplog.text


def test_one_setting_leaves_them_as_they_are(serve, caplog):
    serve(ask_a_kernel, ConvscopeServer={"no_delay": False})
    assert Echo.accepted.get_nowait() is False
    assert "off (ConvscopeServer.no_delay)" in caplog.text


async def upgrade(app: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool | None:
    """Ask for something else first, as a proxy does on a connection that it keeps, then for a kernel's websocket.

    Whether that sends at once.
    """
    upgrading = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    for where, more in (("/user/someone/api/status", {}), (PATH, upgrading)):
        lines = [
            f"GET {where} HTTP/1.1",
            *(f"{k}: {v}" for k, v in {"Host": "localhost", **token(app), **more}.items()),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        if not more:
            await reader.readexactly(int(answer.lower().partition("content-length: ")[2].splitlines()[0]))
    assert answer.startswith("HTTP/1.1 101")
    at_once = await Echo.accepted.get()
    writer.close()
    return at_once


def test_so_does_one_on_a_connection_that_was_kept(serve):
    # Of such a connection tornado takes back what it has from the socket that listens.
    seen = []

    async def talk(app: Any) -> None:
        seen.append(await upgrade(app, *await asyncio.open_connection("127.0.0.1", port(app))))

    serve(talk)
    assert seen == [True]


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no Unix sockets")
def test_a_unix_socket_has_no_such_option_and_works(serve, tmp_path, caplog, monkeypatch):
    monkeypatch.chdir(tmp_path)  # paths of sockets are short
    seen = []

    async def talk(app: Any) -> None:
        seen.append(await upgrade(app, *await asyncio.open_unix_connection("jupyter.sock")))

    serve(talk, ServerApp={"sock": "jupyter.sock"})
    assert seen == [None]
    assert "stays as it is" not in caplog.text


# ---- servers that are built otherwise


class Gateway(WebSocketHandler):
    """Kernels of a gateway, say, are served by a class that Jupyter's server does not know."""

    log = logging.getLogger("gateway")

    def open(self, kernel: str) -> None:
        self.write_message(f"{kernel} {sends_at_once(self)}")


class Failing(Gateway):
    def set_nodelay(self, value: bool) -> None:
        raise OSError("no such option")


class Other(Gateway):
    """A websocket that is no kernel's."""


def loaded_into(web_app: Any) -> None:
    server = SimpleNamespace(log=logging.getLogger("other"), config=Config(), web_app=web_app, base_url="/base/")
    convscope_server._load_jupyter_server_extension(server)


async def first_word(web_app: Application, path: str) -> str:
    listening, number = bind_unused_port()
    server = HTTPServer(web_app)
    server.add_sockets([listening])
    page = await websocket_connect(f"ws://127.0.0.1:{number}{path}")
    word = await page.read_message()
    page.close()
    server.stop()
    return word


KERNELS = r"/base/api/kernels/([-\w]+)/channels"


@pytest.mark.parametrize("added", [False, True])
def test_it_goes_by_what_a_handler_answers(added, caplog):
    mine = [(KERNELS, Gateway), (r"/base/terminals/(\w+)", Other), (r"/base/api/kernels", RequestHandler)]
    web_app = Application([] if added else mine)
    if added:
        web_app.add_handlers(".*$", mine)
    with caplog.at_level(logging.INFO):
        loaded_into(web_app)
        loaded_into(web_app)  # a second time changes nothing
    assert "kernel websockets send at once" in caplog.text
    assert run_alone(first_word(web_app, "/base/api/kernels/k-1/channels")) == "k-1 True"
    assert run_alone(first_word(web_app, "/base/terminals/1")) == "1 False"
    assert Gateway.open.__qualname__ == "Gateway.open"  # the class itself is as it was


def test_where_the_option_cannot_be_set_the_kernel_is_reached_all_the_same(caplog):
    web_app = Application([(KERNELS, Failing)])
    loaded_into(web_app)
    assert run_alone(first_word(web_app, "/base/api/kernels/k/channels")) == "k False"
    assert "a kernel websocket stays as it is (no such option)" in caplog.text


@pytest.mark.parametrize(
    ("web_app", "reason"),
    [(Application([(r"/base/terminals/(\w+)", Other)]), "no handler"), (object(), "AttributeError")],
    ids=["no kernels", "not tornado's"],
)
def test_a_server_that_it_does_not_know_is_left_alone(web_app, reason, caplog):
    loaded_into(web_app)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert reason in record.message
    assert "stay as they are" in record.message

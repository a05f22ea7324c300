"""What every instrument is: an anywidget that answers numbered requests from one worker thread."""

from __future__ import annotations

import base64
import html
import json
import logging
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets

from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.network import Layer, Network

from ._worker import Worker

__all__ = ["Answer", "Instrument"]

logger = logging.getLogger("convscope")

STATIC = Path(__file__).parent / "static"


def bundle(name: str) -> Path:
    """The front end of one instrument, for its class's ``_esm``."""
    file = STATIC / f"{name}.js"
    if not file.exists():
        raise ImportError(
            f"the front end of convscope is not built: {file.name} is missing in {STATIC.name} beside "
            f"{Path(__file__).name}. In a checkout run `make js` (it needs Node 20 or newer); an installed package "
            "should be installed anew."
        )
    return file


#: Content and binary buffers of a reply.
Answer = tuple[dict[str, Any], Sequence[bytes]]

#: What the front end says without awaiting an answer.
RELEASE, CANCEL, ADD, HELLO = "release", "cancel", "add", "hello"


class Instrument(anywidget.AnyWidget):
    """Base of the instruments: network, pictures, and the way from a request to its answer.

    A request ``{kind, id, client, ...}`` is answered by the method ``_answer_<kind>(content, buffers)``, which runs on
    the worker thread and returns the reply's content and binary buffers. An exception becomes an error that is shown
    in the widget; the widget keeps its last good picture and goes on.

    Parameters
    ----------
    net : Network
        The network under the microscope.
    images : Images, optional
        The pictures at hand.
    **traits
        Initial values of traits; unknown names raise `TypeError`.
    """

    _css = STATIC / "convscope.css"

    _network = traitlets.Dict().tag(sync=True)
    _pictures: traitlets.List = traitlets.List().tag(sync=True)
    #: Counts changes that the front end cannot see (another picture under the same number): it asks for all anew.
    _revision = traitlets.Int(0).tag(sync=True)

    picture = traitlets.Int(0).tag(sync=True)
    """int: index of the current picture among `images`."""

    def __init__(self, net: Network, images: Images | None = None, **traits: Any) -> None:
        require_network(net)
        unknown = [name for name in traits if not self.has_trait(name) or name.startswith("_")]
        if unknown:
            known = ", ".join(sorted(name for name in self._own_traits()))
            raise TypeError(f"{type(self).__name__} has no option {', '.join(map(repr, unknown))}; it has: {known}")
        self.net = net
        self.images: Images | tuple[Picture, ...] = () if images is None else images
        #: What last ended each kind of long work, until it begins again.
        self._failures: dict[str, dict[str, Any]] = {}
        self._worker = Worker(f"convscope-{type(self).__name__.lower()}")
        super().__init__(
            _network=describe(net),
            _pictures=[named(one) for one in self.images],
            **traits,
        )
        self.on_msg(self._receive)

    #: Name of the front end's instrument; each sets ``_esm = bundle(_name)``, too.
    _name = ""

    @classmethod
    def _own_traits(cls) -> Iterable[str]:
        base = set(anywidget.AnyWidget.class_trait_names())
        return (name for name in cls.class_trait_names(sync=True) if name not in base and not name.startswith("_"))

    # ---- from request to answer

    def _receive(self, _widget: object, content: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        """Note a request; runs on the front end's callback thread and must return at once."""
        kind = content.get("kind")
        if kind == RELEASE:
            self._worker.stop()
            self._forget()
        elif kind == HELLO:
            # Whether messages still queue behind the cells: the front end says hello until they do not.
            self.send({"event": HELLO, "main": threading.current_thread() is threading.main_thread()})
            # Long work may have failed before there was a view to show it.
            for kind, error in list(self._failures.items()):
                self.send({"event": "error", "kind": kind, "error": error})
        elif kind == CANCEL:
            self._cancelled()
        elif kind == ADD:
            # Each file counts, so that each has a slot of its own.
            slot = f"{ADD} {time.monotonic_ns()}"
            self._worker.submit(slot, lambda: self._guarded(ADD, lambda: self._add(content, buffers)))
        elif isinstance(kind, str):
            self._worker.submit(
                kind,
                lambda: self._reply(kind, content, buffers),
                lambda: self.send({**self._head(content), "superseded": True}),
            )

    @staticmethod
    def _head(content: Mapping[str, Any]) -> dict[str, Any]:
        return {name: content[name] for name in ("kind", "id", "client", "at") if name in content}

    def _answer(self, kind: str, content: Mapping[str, Any], buffers: Sequence[Any] = ()) -> Answer:
        answer: Callable[[Mapping[str, Any], Sequence[Any]], Answer] | None = getattr(self, f"_answer_{kind}", None)
        if answer is None:
            raise ArgumentError(
                f"{type(self).__name__} does not answer requests of kind {kind!r}: the browser holds another version "
                "of the widget than the kernel; reload the page"
            )
        return answer(content, buffers)

    def _reply(self, kind: str, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        head = self._head(content)
        try:
            fields, planes = self._answer(kind, content, buffers)
        except Exception as error:
            logger.info("%s could not answer %r", type(self).__name__, kind, exc_info=True)
            self.send({**head, "ok": False, "error": described(error)})
        else:
            self.send({**head, "ok": True, **fields}, list(planes))

    def _failed(self, kind: str, error: Exception) -> None:
        """Show what ended a kind of long work, in views that are yet to come, too."""
        self._failures[kind] = {**described(error), "kind": kind}
        self.send({"event": "error", "kind": kind, "error": self._failures[kind]})

    def _guarded(self, kind: str, run: Callable[[], object]) -> None:
        """Run something nobody awaits an answer of; its error is shown in the widget all the same."""
        try:
            run()
        except Exception as error:
            logger.info("%s failed in %r", type(self).__name__, kind, exc_info=True)
            self.send({"event": "error", "kind": kind, "error": {**described(error), "kind": kind}})

    # ---- pictures

    @traitlets.validate("picture")
    def _existing_picture(self, proposal: Any) -> int:
        index = int(proposal["value"])
        count = len(self.images)
        if count and not 0 <= index < count:
            raise traitlets.TraitError(f"picture: expected an index of 0..{count - 1}, got {index}")
        return index

    def _current(self, content: Mapping[str, Any] | None = None) -> Picture:
        index = self.picture if content is None or content.get("picture") is None else int(content["picture"])
        if not 0 <= index < len(self.images):
            raise ArgumentError(f"expected a picture of 0..{len(self.images) - 1}, got {index}")
        return self.images[index]

    def _answer_photo(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        pixels = self.net.picture(self._current(content).image)
        return framed(pixels, int(content.get("picture", self.picture)))

    def _add(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        picture = sent(content, buffers)
        try:
            self.net.prepare(picture.image)  # refused here, not at every later use
        except ImageError as error:
            raise ImageError(f"{picture.name}: {error}") from error
        added = Images.of([picture])
        self.images = Images.of(self.images) + added if self.images else added
        with self.hold_sync():
            self._pictures = [named(one) for one in self.images]
            self.picture = len(self.images) - 1

    # ---- life

    def wait(self, timeout: float | None = 60.0) -> bool:
        """Wait until everything asked of the instrument has been computed.

        For scripts and tests: after ``occluder.position = (10, 20)`` the traits `probability` and `top5` follow a
        moment later; ``occluder.wait()`` returns when they have.

        Parameters
        ----------
        timeout : float or None, default 60.0
            Seconds; None waits for ever.

        Returns
        -------
        bool
            False if the time ran out first.
        """
        return self._worker.wait(timeout)

    def _forget(self) -> None:
        """Drop cached tensors; they are computed anew when a view asks for them."""

    def _cancelled(self) -> None:
        self._worker.cancel()

    def close(self) -> None:
        """Close the widget: its views go, its thread ends, its tensors are freed."""
        # Python also closes widgets whose constructor raised: what it did not get to is not there.
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.cancel()
            worker.stop()
            self._forget()
        super().close()

    # ---- a page without a kernel

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        """Requests whose answers a saved page needs."""
        return [("photo", {"picture": self.picture})]

    def to_html(self, path: str | Path | None = None, title: str = "convscope") -> str:
        """Write the instrument, as it stands, into one page that works without a kernel and without a network.

        Colour maps, order, search and hovering work; what needs the network to compute (dragging the occluder, another
        layer or unit) is switched off.

        Parameters
        ----------
        path : str or Path, optional
            File to write; by default nothing is written.
        title : str, default "convscope"
            Title of the page.

        Returns
        -------
        str
            The page.
        """
        answers = []
        for kind, content in self._snapshot():
            fields, buffers = self._answer(kind, content)
            packed = [base64.b64encode(bytes(one)).decode("ascii") for one in buffers]
            answers.append({"content": {"kind": kind, "ok": True, **fields}, "buffers": packed})
        names = [name for name in self.class_trait_names(sync=True) if name in SAVED]
        state = self.get_state([*self._own_traits(), *names])
        payload = json.dumps({"state": state, "answers": answers}).replace("</", "<\\/")
        page = PAGE.format(
            title=html.escape(title),
            css=(STATIC / "convscope.css").read_text("utf-8"),
            bundle=base64.b64encode(bundle(self._name).read_bytes()).decode("ascii"),
            payload=payload,
        )
        if path is not None:
            Path(path).write_text(page, "utf-8")
        return page


SAVED = {
    "_network",
    "_pictures",
    "_revision",
    "_survey",
    "_map",
    "_columns",
    "_refused",
    "_tiles",
    "_labels",
    "_health",
    "_patterns",
}

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 16px; background: #fff; font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; }} }}
{css}</style></head>
<body><div id="convscope"></div>
<script type="application/json" id="saved">{payload}</script>
<script type="module">
const saved = JSON.parse(document.getElementById("saved").textContent);
const {{ showSaved }} = await import("data:text/javascript;base64,{bundle}");
showSaved(saved, document.getElementById("convscope"));
</script></body></html>
"""


def require_network(net: object) -> None:
    """Refuse what is no network with what to do."""
    if not isinstance(net, Network):
        raise TypeError(
            f"Expected a convscope Network, got {type(net).__name__}. Wrap a module with cs.Network(module), or load "
            "one with cs.load(name)."
        )


def described(error: Exception) -> dict[str, Any]:
    """An exception as the front end shows it."""
    return {
        "name": type(error).__name__,
        "message": str(error) or "no message",
        "details": "".join(traceback.format_exception(error)),
    }


def named(picture: Picture) -> dict[str, Any]:
    """What the front end knows of a picture."""
    return {"name": picture.name, "label": picture.label}


def sent(content: Mapping[str, Any], buffers: Sequence[Any]) -> Picture:
    """A picture file that the front end sent."""
    return Picture(bytes(buffers[0]), name=str(content.get("name") or "pasted picture"), label=None, path=None)


def framed(pixels: np.ndarray, picture: int) -> Answer:
    """An RGB picture (H, W, 3) uint8 as an answer."""
    height, width = pixels.shape[:2]
    return {"picture": picture, "height": height, "width": width}, [np.ascontiguousarray(pixels).tobytes()]


def shown_layers(net: Network) -> list[Layer]:
    """The layers that the instruments offer: all but the poolings, whose maps repeat what came before."""
    return [layer for layer in net.layers if layer.kind != "pool"]


def describe(net: Network) -> dict[str, Any]:
    """What the front end knows of the network."""
    return {
        "name": net.name,
        "device": str(net.device),
        "size": list(net.input_shape[1:]),
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "channels": layer.channels,
                "size": list(layer.size),
                "field": int(layer.receptive_field.size),
                "gated": layer.gated,
            }
            for layer in shown_layers(net)
        ],
    }

"""What every instrument is: an anywidget that answers numbered requests from one worker thread."""

from __future__ import annotations

import base64
import io
import logging
import re
import threading
import traceback
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import anywidget
import numpy as np
import traitlets

from convscope_core.arguments import plain_methods, require_choice, require_kind
from convscope_core.errors import ArgumentError, ConvscopeError, did_you_mean
from convscope_core.locks import Lock
from convscope_core.network import Network
from convscope_core.saving import write_bytes, write_text

from ._figure import FORMATS, add_notes, figure_of, written
from ._job import Job
from ._layers import description
from ._quiet import quieten
from ._saved import saved_module, saved_page
from ._static import styles
from ._still import Strip, drawn
from ._wire import Choice, Message, fields, plain, refusing
from ._worker import Worker

__all__ = ["Answer", "Content", "Instrument", "Parts", "described", "framed", "whole"]

logger = logging.getLogger("convscope")

#: The fields of a message of the front end; an answer and a ``_take_`` get them as a `Message`.
Content: TypeAlias = Mapping[str, Any]

#: What is replied: fields, and binary buffers (arrays go as they are, row after row).
Answer: TypeAlias = tuple[dict[str, Any], Sequence["bytes | np.ndarray"]]

#: The same of what takes longer than a drag can wait: it yields between its parts.
Parts: TypeAlias = Generator[None, None, Answer]

#: A request that a saved page makes, whose answer it therefore holds: kind and content.
Request: TypeAlias = tuple[str, dict[str, Any]]

Result = TypeVar("Result")

#: Pages whose last requests are remembered.
PAGES = 64


@plain_methods
class Instrument(anywidget.AnyWidget):
    """Base of the panes, and so of the instruments: the network, and the way from a request to its answer.

    A *pane* is a class with traits and answers, which knows no other pane but those that it derives from. An
    *instrument* derives from the panes that it shows; it names its front end (``_name``, ``_esm``) and has the
    constructor that its users call.

    A pane has

    - synced traits, which the front end shares,
    - ``_answer_<kind>(content)`` for a request ``{kind, id, client, ...}`` of the front end. It runs on the worker
      thread and returns the reply's fields and binary buffers; one that takes long is a generator, which yields
      between its parts. An exception becomes an error that is shown in the widget, which keeps its last good picture
      and goes on;
    - ``_take_<kind>(content, buffers)`` for a message that awaits no reply. It runs on the front
      end's callback thread and must return at once. Fields of either that are no traits are declared by `fields`, and
      all are checked before (`Message`);
    - a `Job` for long work;
    - ``_snapshot()``, the requests whose answers a saved page holds, ``_strips()``, what a still picture shows,
      ``_figures()``, what `figure` draws, and ``_forget()``, which drops cached tensors: each adds to that of
      ``super()``.

    Parameters
    ----------
    net : Network
        The network under the microscope.
    **traits
        Initial values of traits; unknown names raise `TypeError`.
    """

    _css = styles()

    #: Name of the front end's bundle; each instrument sets ``_esm = bundle(_name)``, too.
    _name = ""

    _network = traitlets.Dict().tag(sync=True)

    #: The instrument as it stood when it was last displayed, for views without a kernel: a PNG in base64.
    _still = traitlets.Unicode().tag(sync=True)

    net: Network
    _trait_values: dict[str, Any]

    #: Python also closes widgets whose constructor raised: what it did not get to is not there.
    _complete = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Let all public methods be given numbers of NumPy and torch."""
        super().__init_subclass__(**kwargs)
        plain_methods(cls)

    def setup_instance(self, *args: Any, **kwargs: Any) -> None:
        """Make what the panes' constructors and validators stand on; called before any of them."""
        super().setup_instance(*args, **kwargs)
        net = self._given_network(*args, **kwargs)
        require_kind("net", net, Network)
        self.net = net
        self._jobs: list[Job] = []
        #: What last ended each kind of long work, until it begins again.
        self._failures: dict[str, dict[str, Any]] = {}
        #: The newest request of each kind taken, by page; messages may come on several threads.
        self._taken: dict[str, dict[str, int]] = {}
        self._taking = Lock()
        #: How often several traits were set at once, whether they are now, and what failed for it.
        self._holds, self._holding = 0, False
        self._postponed: list[Callable[[], None]] = []
        self._worker = Worker(f"convscope-{type(self).__name__.lower()}")

    def _given_network(self, *args: Any, **kwargs: Any) -> Any:
        """The network under the microscope, of what the constructor is called with."""
        return args[0] if args else kwargs.get("net")

    def _description(self, net: Network) -> dict[str, Any]:
        """What the front end knows of the network."""
        return description(net)

    def __init__(self, net: Network, **traits: Any) -> None:
        unknown = [name for name in traits if not self.has_trait(name) or name.startswith("_")]
        if unknown:
            known = ", ".join(sorted(name for name in self._shared_traits() if not name.startswith("_")))
            raise TypeError(
                f"Expected options that {type(self).__name__} has, got {', '.join(map(repr, unknown))}; it has: {known}"
            )
        self._network = self._description(net)
        super().__init__(**traits)
        self.on_msg(self._receive)
        self._complete = True

    @classmethod
    def _shared_traits(cls) -> Iterable[str]:
        """The traits that the front end shares: all but what anywidget itself has."""
        others = {*anywidget.AnyWidget.class_trait_names(), "_esm", "_css", "_anywidget_id"}
        return (name for name in cls.class_trait_names(sync=True) if name not in others)

    @traitlets.observe("comm")
    def _let_messages_come_beside_cells(self, _change: Any) -> None:
        # ipykernel 7.4 sends what the front end says on the way on which the kernel last said something: after a cell
        # that sets a trait, into the queue behind the cells. The front end knows the way beside them; let it choose.
        if hasattr(self.comm, "_reply_subshell_for"):
            self.comm._reply_subshell_for = lambda _data, chosen: chosen
        if self.comm is not None:
            quieten(self)

    @property
    def _live(self) -> bool:
        """Whether the front end can show anything yet, or still: not before the traits are set, not once closed."""
        return self.comm is not None

    # ---- from request to answer

    def _receive(self, _widget: object, content: object, buffers: Sequence[memoryview]) -> None:
        """Note a message; runs on the front end's callback thread and must return at once."""
        if not isinstance(content, Mapping) or not isinstance(kind := content.get("kind"), str):
            return
        take: Callable[[Content, Sequence[memoryview]], None] | None = getattr(self, f"_take_{kind}", None)
        if take is not None:
            known = take
            self._guarded(kind, lambda: known(self._message(kind, content, known), buffers))
            return
        with self._taking:
            # What was sent into the queue behind a busy cell is sent again on the way beside it: a request counts once,
            # and one that comes out of that queue later does not undo a newer one.
            number, page = content.get("id"), content.get("client")
            # Of kinds that are none nothing is remembered: there are as many of them as somebody likes.
            if isinstance(number, int) and isinstance(page, str) and hasattr(self, f"_answer_{kind}"):
                taken = self._taken[page] = self._taken.pop(page, {})
                while len(self._taken) > PAGES:
                    del self._taken[next(iter(self._taken))]
                if number <= taken.get(kind, -1):
                    return
                taken[kind] = number
            self._worker.submit(
                f"{kind} {page}",  # what one page asks takes the place of nothing that another waits for
                lambda: self._reply(kind, content),
                lambda: self.send({**self._head(content), "superseded": True}),
                hand=content.get("dragging") is True,
            )

    def _take_release(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        """The last view has gone."""
        self._worker.stop()
        self._forget()

    def _take_hello(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        # Whether messages still queue behind the cells: the front end repeats hello until they do not.
        self.send({"event": "hello", "main": threading.current_thread() is threading.main_thread()})
        # Long work may have failed before there was a view to show it.
        for kind, error in list(self._failures.items()):
            self.send({"event": "error", "kind": kind, "error": error, "work": True})

    def _take_cancel(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        for job in self._jobs:
            job.cancel()

    @staticmethod
    def _head(content: Content) -> dict[str, Any]:
        said = {name: content[name] for name in ("kind", "id", "client", "at") if name in content}
        return {name: plain(value) for name, value in said.items() if isinstance(value, (str, int, float))}

    def _message(self, kind: str, content: Content, method: Callable[..., Any]) -> Message:
        """The fields of a message for what answers it."""
        traits = {name: self.traits()[name] for name in self._shared_traits() if not name.startswith("_")}
        return Message(kind, content, {**traits, **getattr(method, "fields", {})}, self)

    def _answer(self, kind: str, content: Content) -> tuple[dict[str, Any], list[bytes]]:
        return whole(self._answering(kind, content))

    def _answering(self, kind: str, content: Content) -> Generator[None, None, tuple[dict[str, Any], list[bytes]]]:
        answer: Callable[[Content], Answer | Parts] | None = getattr(self, f"_answer_{kind}", None)
        if answer is None:
            raise ArgumentError(
                f"Expected a request that {type(self).__name__} answers, got {kind!r}: the browser holds another "
                "version of the widget than the kernel. Reload the page."
            )
        answered = answer(self._message(kind, content, answer))
        said, buffers = (yield from answered) if isinstance(answered, Generator) else answered
        return plain(said), [one if isinstance(one, bytes) else np.ascontiguousarray(one).tobytes() for one in buffers]

    def _reply(self, kind: str, content: Content) -> Generator[None, None, None]:
        """Answer a request, in the parts that its answer has."""
        head, before = self._head(content), self._holds
        try:
            fields, buffers = yield from self._answering(kind, content)
        except Exception as error:
            if self._again(before, lambda: whole(self._reply(kind, content))):
                return
            logger.info("%s could not answer %r", type(self).__name__, kind, exc_info=True)
            self.send({**head, "ok": False, "error": described(error)})
        else:
            self.send({**head, "ok": True, **fields}, buffers)

    def _failed(self, kind: str, error: Exception) -> None:
        """Show what ended a kind of long work, in views that are yet to come, too."""
        self._failures[kind] = {**described(error), "kind": kind}
        self.send({"event": "error", "kind": kind, "error": self._failures[kind], "work": True})

    def _recovered(self, kind: str) -> None:
        """Take back what ended a kind of long work: it begins again."""
        if self._failures.pop(kind, None) is not None:
            self.send({"event": "error", "kind": kind, "error": None, "work": True})

    def _guarded(self, kind: str, run: Callable[[], object]) -> None:
        """Run what no request awaits; its error is shown in the widget all the same."""
        before = self._holds
        try:
            run()
        except Exception as error:
            if self._again(before, lambda: self._guarded(kind, run)):
                return
            logger.info("%s failed in %r", type(self).__name__, kind, exc_info=True)
            self.send({"event": "error", "kind": kind, "error": {**described(error), "kind": kind}})

    def _again(self, before: int, task: Callable[[], None]) -> bool:
        """Do what failed again if traits were set meanwhile: they may have been what they may not be, for a moment."""
        with self._taking:
            if self._holding:
                self._postponed.append(task)
                return True
        if self._holds == before:
            return False
        task()
        return True

    # ---- what may be set

    def set_state(self, sync_data: Mapping[str, Any]) -> None:
        """Take what the front end set: all of it, or nothing, of which it is then told."""
        # `_view_count` is ipywidgets'; all others of such names are the kernel's word to the front end.
        offered = {name: one for name, one in sync_data.items() if name == "_view_count" or not name.startswith("_")}
        try:
            super().set_state(offered)
        except Exception as error:
            logger.info("%s refused %s", type(self).__name__, sorted(offered), exc_info=True)
            self.send({"event": "error", "kind": "setting", "error": {**described(error), "kind": "setting"}})
            self.send_state([name for name in sync_data if name in self.keys])
            return
        if len(offered) < len(sync_data):
            self.send_state([name for name in sync_data if name in self.keys and name not in offered])

    @contextmanager
    def hold_trait_notifications(self) -> Iterator[None]:
        """Set several traits at once: all of them, or none if one is refused."""
        if self._cross_validation_lock:  # within another
            with refusing():
                yield
            return
        with self._taking:
            self._holds, self._holding = self._holds + 1, True
        try:
            with self._checked_traits():
                yield
        finally:
            with self._taking:
                self._holding = False
                postponed, self._postponed = self._postponed, []
            for task in postponed:
                self._worker.submit(f"again {id(task)}", task)  # not in place of those of the time before

    @contextmanager
    def _checked_traits(self) -> Iterator[None]:
        before = dict(self._trait_values)
        try:
            with super().hold_trait_notifications(), refusing():
                yield
                # What equals the old value is no change to traitlets, which validates changes alone: 3 of NumPy for 3.
                for name in self._shared_traits():
                    value = self._trait_values.get(name)
                    if name in before and value is not before[name]:
                        self._trait_values[name] = self.traits()[name]._cross_validate(self, value)
        except traitlets.TraitError:
            # Traitlets sets the old values, which may be refused beside the new ones of others.
            self._trait_values = before
            raise

    def _register_validator(self, handler: Callable[..., Any], names: tuple[str, ...]) -> None:
        def validate(owner: Any, proposal: Any) -> Any:
            with refusing():
                return handler(owner, proposal)

        super()._register_validator(validate, names)

    @staticmethod
    def _trait_to_json(value: Any, _widget: object) -> Any:
        return plain(value)

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
        """Drop cached tensors; they are computed again when a view asks for them."""

    def close(self) -> None:
        """Close the widget: its views go, its thread ends, its tensors are freed."""
        if self._complete:
            self._worker.end()
            self._forget()
            self.layout.close()
        super().close()

    # ---- where there is no kernel

    def _strips(self) -> list[Strip]:
        """What a still picture shows of the instrument as it stands."""
        return []

    def still(self, path: str | Path | None = None) -> bytes:
        """Draw the instrument, as it stands, as one still picture.

        It is what a notebook shows where it has no kernel: each time the instrument is displayed the picture goes into
        the output, and with the widgets' state into the notebook. A call renews that in the state; displaying the
        instrument again renews that in the output.

        Parameters
        ----------
        path : str or Path, optional
            File to write, all of it or nothing; by default nothing is written.

        Returns
        -------
        bytes
            A PNG.
        """
        strips = [Strip(f"{type(self).__name__} · {self.net.name} · a still picture: run the cell to work with it")]
        strips += [Strip(note) for note in self._figure_notes("")]
        picture = drawn([*strips, *self._strips()])
        self._still = base64.b64encode(picture).decode("ascii")
        if path is not None:
            write_bytes(path, picture)
        return picture

    # ---- figures

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        """What `figure` can draw, by name: each gives a figure of matplotlib's, or strips; the default comes first."""
        return {}

    def _figure_notes(self, what: str) -> list[str]:
        """Lines for a figure, or for the still picture (""), on what it does not show by itself.

        They are made before it is: what long work adds meanwhile it does not speak of.
        """
        return [f"unfinished, {job.words}" for job in self._jobs if job.unfinished and job.drawn(what)]

    def figure(self, what: str | None = None, path: str | Path | None = None) -> Any:
        """Draw what the instrument shows, as it stands, as a figure for a paper: what its buttons PNG and SVG save.

        Parameters
        ----------
        what : str, optional
            Which of its figures, such as ``"unit"`` of an `Explorer`, or ``"row 0"`` of a `Gallery`: a wrong name is
            answered by those that there are. By default the first of them.
        path : str or Path, optional
            File to write; its ending says as what (``.png``, ``.svg``, ``.pdf``). By default nothing is written.

        Returns
        -------
        matplotlib.figure.Figure

        Raises
        ------
        ImportError
            Without matplotlib.
        ArgumentError
            If there is no such figure, nothing to draw yet, or no such kind of file.
        StoreError
            If it cannot be written; what was there before is as it was.
        """
        figures = self._figures()
        name = next(iter(figures), "") if what is None else what
        if name not in figures:
            kinds = f"one of the figures {', '.join(map(repr, figures))}" if figures else "an instrument with figures"
            raise ArgumentError(
                f"Expected {kinds} of {type(self).__name__}, got {what!r}.{did_you_mean(name, figures)}"
            )
        notes = self._figure_notes(name)  # first: the instrument is then as they say
        made = figures[name]()
        figure = figure_of(made) if isinstance(made, list) else made
        add_notes(figure, notes)
        if path is not None:
            kind = Path(path).suffix.removeprefix(".").lower()
            require_choice("the ending of the figure's file", kind, figure.canvas.get_supported_filetypes())
            file = io.BytesIO()
            figure.savefig(file, format=kind, dpi=200)
            write_bytes(path, file.getvalue())
        return figure

    @staticmethod
    def _plotted(result: Any) -> Any:
        """The figure of a result, which has a method ``plot``; None is one that is not there yet."""
        if result is None:
            raise ArgumentError("Expected a result, to draw it, got none yet. Wait until there is one: wait().")
        return result.plot()

    @fields(what=traitlets.Unicode(), format=Choice(FORMATS))
    def _answer_figure(self, content: Content) -> Answer:
        what, kind = content["what"], content["format"]
        return {"file": f"{self._file_name(what)}.{kind}"}, [written(self.figure(what), kind)]

    def _file_name(self, what: str) -> str:
        """What a figure is of, as the name of its file."""
        names = {"unit": ("layer", "selected"), "grid": ("layer",), "maps": ("layer",)}.get(what, ())
        words = [self.net.name, what, *(str(getattr(self, name, "")) for name in names)]
        return re.sub(r"[^\w.]+", "-", " ".join(words)).strip("-")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._with_still(super()._repr_mimebundle_(**kwargs))

    def _with_still(self, bundle: Any) -> Any:
        """Add the still picture to what is displayed."""
        if bundle is None:
            return None
        data, *more = bundle if isinstance(bundle, tuple) else (bundle,)
        try:
            self.still()
        except Exception:  # a picture that cannot be drawn must not keep the instrument from being shown
            logger.info("%s could not be drawn as a still picture", type(self).__name__, exc_info=True)
            return bundle
        data = {**data, "image/png": self._still}
        return (data, *more) if isinstance(bundle, tuple) else data

    # ---- a page without a kernel

    def _snapshot(self) -> list[Request]:
        """Requests whose answers a saved page needs."""
        return []

    def _saved_answer(self, kind: str, content: dict[str, Any]) -> tuple[dict[str, Any], list[bytes]]:
        """What a saved page answers; of what cannot be shown (a network that returns NaN) it says why, as live."""
        try:
            return self._answer(kind, content)
        except ConvscopeError as error:
            said = {"name": type(error).__name__, "message": str(error), "details": ""}
            return {**plain(content), "ok": False, "error": said}, []

    def to_html(self, path: str | Path | None = None, title: str = "convscope") -> str:
        """Write the instrument, as it stands, into one page that works without a kernel and without a network.

        Colour maps, order, search and hovering work; what needs the network to compute (dragging the occluder, another
        layer or unit) is switched off. Long work (a survey, a map) that is under way is saved as far as it is, with a
        warning; call `wait` before.

        Parameters
        ----------
        path : str or Path, optional
            File to write, all of it or nothing; by default nothing is written.
        title : str, default "convscope"
            Title of the page.

        Returns
        -------
        str
            The page.
        """
        saved = self._saved()
        try:
            self.still()
        except Exception:  # as where the instrument is displayed
            logger.info("%s could not be drawn as a still picture", type(self).__name__, exc_info=True)
        page = saved_page(self._name, title, *saved, self._still)
        if path is not None:
            write_text(path, page)
        return page

    def to_module(self, path: str | Path | None = None) -> str:
        """Write the instrument, as it stands, as a module of JavaScript for pages of your own: no kernel, no network.

        Its default export is ``{ render({ el }) }``, as an anywidget's, so that MyST's ``{anywidget}`` shows it. What
        works there is what works on the pages of `to_html`, and work under way is warned of as there.

        Parameters
        ----------
        path : str or Path, optional
            File to write, by convention ``.mjs``, all of it or nothing; by default nothing is written.

        Returns
        -------
        str
            The module.
        """
        module = saved_module(self._name, *self._saved())
        if path is not None:
            write_text(path, module)
        return module

    def _saved(self) -> tuple[dict[str, Any], list[tuple[str, Any, Any]]]:
        """Traits, and what the kernel would be asked, with the answers; called by what the user calls."""
        under_way = [one.words for one in self._jobs if one.running]
        if under_way:
            warnings.warn(
                f"Expected an instrument whose work is done, got one that is at it ({', '.join(under_way)}): what is "
                "saved holds what there is by now. Call wait(None) before.",
                stacklevel=3,
            )
        answers = [(kind, *self._saved_answer(kind, content)) for kind, content in self._snapshot()]
        return self.get_state([name for name in self._shared_traits() if name != "_still"]), answers


def whole(parts: Generator[Any, None, Result]) -> Result:
    """Do all parts of something; its result."""
    while True:
        try:
            next(parts)
        except StopIteration as end:
            result: Result = end.value
            return result


def described(error: Exception) -> dict[str, Any]:
    """An exception as the front end shows it."""
    return {
        "name": type(error).__name__,
        "message": str(error) or "no message",
        "details": "".join(traceback.format_exception(error)),
    }


def framed(pixels: np.ndarray, picture: int) -> Answer:
    """An RGB picture (H, W, 3) uint8 as an answer."""
    height, width = pixels.shape[:2]
    return {"picture": picture, "height": height, "width": width}, [pixels]

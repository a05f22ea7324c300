"""Long work of a pane: a step at a time between the requests, its progress in a trait that the front end follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import traitlets

from ._worker import Worker

__all__ = ["Job", "Step", "progress"]

State = Literal["none", "running", "done", "cancelled", "failed"]


class Step(NamedTuple):
    """How far long work is."""

    done: int
    total: int
    fresh: bool | None = None
    """Whether there are results that the front end should ask for. None: when it last asked long enough ago."""

    state: Literal["running", "done", "failed"] = "running"
    """Anything but "running" ends the work. Work that yields no further step is done."""


def progress(**more: Any) -> traitlets.Dict:
    """A synced trait for the progress of a `Job`.

    Its ``state`` is one of none, running, done, cancelled, failed; ``revision`` grows with every new result; ``done``
    and ``total`` count; ``left`` is a guess of the seconds left, None while there is none.
    """
    return traitlets.Dict(
        default_value={"state": "none", "revision": 0, "done": 0, "total": 0, "left": None, **more}
    ).tag(sync=True)


class Owner(Protocol):
    """What a job needs of its instrument."""

    _worker: Worker
    _jobs: list[Job]

    def _failed(self, kind: str, error: Exception) -> None: ...

    def _recovered(self, kind: str) -> None: ...

    def set_trait(self, name: str, value: Any) -> None: ...


class Job:
    """Long work of a pane.

    Parameters
    ----------
    owner : Instrument
    kind : str
        What its errors are shown as. An instrument has one job of a kind.
    trait : str
        Name of the trait that holds its progress; see `progress`.
    every : float, default 0
        Seconds that pass at least between two calls to the front end to ask for results.
    between : bool, default False
        Whether the front end follows the counts between them, too.
    fields : callable, optional
        Called when there are new results; what it returns joins the progress.
    patient : bool, default False
        Whether it lets the first view's requests go before; see `Worker.start`.
    counted : str, default ""
        What is counted, such as "pictures".
    drawn : callable, optional
        Given the name of a figure, whether that draws what the work gives, and so is unfinished while it is; "" is the
        still picture. By default all do.
    """

    def __init__(
        self,
        owner: Owner,
        kind: str,
        trait: str,
        every: float = 0.0,
        between: bool = False,
        fields: Callable[[], Mapping[str, Any]] = dict,
        patient: bool = False,
        counted: str = "",
        drawn: Callable[[str], bool] = lambda what: True,  # noqa: ARG005  a figure's name
    ) -> None:
        self.kind = kind
        self.drawn = drawn
        self.stopped = threading.Event()
        """Set when the work was cancelled, until it starts again."""
        self._owner, self._trait, self._every, self._between, self._fields = owner, trait, every, between, fields
        self._patient, self._counted = patient, counted
        self._under_way: threading.Event | None = None
        owner._jobs.append(self)

    @property
    def running(self) -> bool:
        """Whether there is work under way that was not cancelled."""
        return self._under_way is not None and not self.stopped.is_set()

    @property
    def unfinished(self) -> bool:
        """Whether it was begun and has not come to its end: it is under way, was stopped, or has failed."""
        known = getattr(self._owner, self._trait)
        left = known["done"] < known["total"] or not known["total"]
        return known["state"] == "failed" or (known["state"] in ("running", "cancelled") and left)

    @property
    def words(self) -> str:
        """How far it is."""
        known = getattr(self._owner, self._trait)
        if not known["total"]:
            return f"{self.kind}: just begun"
        return f"{self.kind}: {known['done']} of {known['total']} {self._counted}".rstrip()

    def start(self, steps: Iterator[Step], done: int = 0, total: int = 0, fresh: bool = True) -> None:
        """Begin, in place of work of this kind that may be under way.

        Parameters
        ----------
        steps : iterator of Step
            Computes one step each time it is asked for the next, on the instrument's thread; a step should take well
            under a second. What it raises is shown, and ends the work.
        done, total : int, default 0
            How far it is before the first step.
        fresh : bool, default True
            Whether there are results before that.
        """
        self.stopped = self._under_way = threading.Event()
        self._owner._recovered(self.kind)
        before = Step(done, total, fresh)
        self.show("running", before)
        self._owner._worker.start(self.kind, self._run(steps, self.stopped, before), self._patient)

    def cancel(self) -> None:
        """Stop after the step under way; what is computed stays."""
        self.stopped.set()

    def show(self, state: State, step: Step, left: float | None = None) -> None:
        """Put the progress into its trait; with results that are fresh the front end asks for them."""
        known: dict[str, Any] = getattr(self._owner, self._trait)
        fields = {**self._fields(), "revision": known["revision"] + 1} if step.fresh else {}
        self._owner.set_trait(
            self._trait, {**known, "state": state, "done": step.done, "total": step.total, "left": left, **fields}
        )

    def _run(self, steps: Iterator[Step], stopped: threading.Event, step: Step) -> Iterator[None]:
        start = shown = time.monotonic()
        first: int | None = None
        owed = False
        state: State = "done"
        try:
            for step in steps:
                if self._under_way is not stopped:
                    return  # other work has taken this one's place in the middle of a step
                state = step.state
                if state != "running":
                    break
                state = "done"
                if stopped.is_set():
                    state = "cancelled"
                    break
                now = time.monotonic()
                first = step.done if first is None else first
                left = (now - start) / (step.done - first) * (step.total - step.done) if step.done > first else None
                owed = owed or (now - shown >= self._every if step.fresh is None else step.fresh)
                # What the front end asks for then would come between a hand at work and its answers.
                fresh = owed and not self._owner._worker.hand_at_work
                if fresh:
                    shown, owed = now, False
                if fresh or self._between:
                    self.show("running", step._replace(fresh=fresh), left)
                yield
                if stopped.is_set():
                    state = "cancelled"
                    break
        except Exception as error:
            state = "failed"
            self._owner._failed(self.kind, error)
        if self._under_way is stopped:
            self._under_way = None
            self.show(state, step._replace(fresh=True))

"""Long work of a pane: how its progress and its results are told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convscope._job import Job, Step


class Worker:
    """A worker whose slices are the test's, as is what the hand does."""

    hand_at_work = False
    job: Iterator[object]

    def start(self, _kind: str, job: Iterator[object], _patient: bool) -> None:
        self.job = job


class Owner:
    """An instrument with one job."""

    def __init__(self) -> None:
        self._worker = Worker()
        self._jobs: list[Job] = []
        self._work: dict[str, Any] = {"state": "none", "revision": 0, "done": 0, "total": 0, "left": None}

    def set_trait(self, name: str, value: Any) -> None:
        setattr(self, name, value)

    def _recovered(self, kind: str) -> None:
        del kind


def told(owner: Owner) -> tuple[str, int, int]:
    return owner._work["state"], owner._work["done"], owner._work["revision"]


def test_results_wait_for_a_hand_at_work_while_the_counts_go_on():
    owner = Owner()
    job = Job(owner, "survey", "_work", between=True)
    fresh = [True, True, False, False, True]
    job.start((Step(done, 5, one) for done, one in enumerate(fresh, 1)), total=5, fresh=False)
    worker = owner._worker
    found = []
    for busy in (False, True, True, False, True):
        worker.hand_at_work = busy
        next(worker.job)
        found.append(told(owner))
    assert found == [("running", done, revision) for done, revision in [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]]
    # Its end is told at once, with all that there is.
    assert next(worker.job, "over") == "over"
    assert told(owner) == ("done", 5, 3)

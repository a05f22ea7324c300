"""A survey behind an instrument: given, or made in the background with progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import traitlets

from convscope._instrument import Content, Instrument
from convscope._job import Job, Step, progress
from convscope._layers import shown_layers
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.survey import Survey, SurveyProgress, inactive_word, surveying

from .patches import Patches

__all__ = ["SurveyPane", "pictures_or_survey"]

#: Pictures a pass: a drag waits for one of them at most.
BATCH = 4
#: Partial results are shown at most this often, seconds.
SHOW_EVERY = 1.5


class SurveyPane(Instrument):
    """The survey itself, its progress, and patches of the pictures that it looked at.

    Parameters
    ----------
    survey : Survey, optional
        One that was made before.

    Attributes
    ----------
    survey : Survey or None
        Grows while it is made.
    """

    _survey = progress(skipped=0, images=0)
    _labels = traitlets.List(traitlets.Unicode()).tag(sync=True)

    def __init__(self, net: Network, *, survey: Survey | None = None, **options: Any) -> None:
        if survey is not None:
            survey.require(net)
        self.survey: Survey | None = survey
        self._given_survey = survey
        self._patches = Patches(net)
        #: How the survey under way is begun, how many pictures were seen before it, and its passes, which go on where
        #: they were stopped.
        self._begin_survey: Callable[[], Iterator[SurveyProgress]] | None = None
        self._seen_before = 0
        self._passes_over: Iterator[SurveyProgress] | None = None
        self._survey_job = Job(
            self, "survey", "_survey", SHOW_EVERY, between=True, fields=self._survey_news, patient=True,
            counted="pictures", drawn=self._draws_survey,
        )  # fmt: skip
        super().__init__(net, **options)
        if survey is not None:
            # Stopped, or of chosen pictures only: a survey does not know which, so that it is as done as it will be.
            looked = int(survey.seen.sum()) + len(survey.skipped)
            self._survey_job.show("done", Step(looked, max(looked, len(survey.images)), fresh=True))

    def close(self) -> None:
        """See `Instrument`; a survey that could go on has threads, which read pictures ahead."""
        super().close()
        self._passes_over = None

    # ---- making one

    def start_survey(
        self, images: Images, k: int = 9, indices: Sequence[int] | None = None, start: Survey | None = None
    ) -> None:
        """Survey pictures in the background, between the requests of the front end.

        Parameters
        ----------
        images : Images
            The pictures to look through.
        k : int, default 9
            Exemplars a unit.
        indices : sequence of int, optional
            Look only at these of the pictures.
        start : Survey, optional
            Go on from this survey of the first of `images`.
        """
        names = [layer.name for layer in shown_layers(self.net)]
        self._begin_survey = partial(
            surveying,
            self.net,
            images,
            names if start is None else None,
            k if start is None else start.k,
            batch_size=BATCH,
            indices=indices,
            start=start,
        )
        self._passes_over = self._begin_survey()
        self._seen_before = 0 if start is None else int(start.seen.sum())
        count = len(images) if indices is None else len(indices)
        steps = self._survey_steps(self._passes_over)
        self._survey_job.start(steps, self._seen_before, self._seen_before + count, fresh=False)

    def _survey_steps(self, passes: Iterator[SurveyProgress]) -> Iterator[Step]:
        for one in passes:
            self.survey = one.survey
            yield Step(self._seen_before + one.done, self._seen_before + one.total)
        self._passes_over = None

    def _take_resume(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("resume", self._resume_survey)

    def _resume_survey(self) -> None:
        """Go on with a survey that was stopped; begin one again that has failed."""
        state, done, total = (self._survey[name] for name in ("state", "done", "total"))
        if self._begin_survey is None or state not in ("cancelled", "failed"):
            return
        if state == "failed" or self._passes_over is None:
            self._passes_over, done = self._begin_survey(), self._seen_before
        self._survey_job.start(self._survey_steps(self._passes_over), done, total, fresh=False)

    def _survey_news(self) -> Mapping[str, Any]:
        """What joins the progress when there are new results."""
        survey = self.survey
        if survey is None:
            return {}
        self._labels = list(survey.comparable)
        dead = {layer.name: float(survey.health(layer).dead.mean()) for layer in survey.layers}
        images = int(survey.seen.sum())
        return {"skipped": len(survey.skipped), "dead": dead, "images": images, "inactive": inactive_word(images)}

    # ---- what panes show of it

    def _surveyed(self, content: Content | None = None) -> Survey:  # noqa: ARG002  what a pane that derives may need
        """The survey that a request is about."""
        if self.survey is None:
            raise ArgumentError(
                "Expected a survey, got none yet. Give the instrument survey=..., or wait until its own has seen "
                "a picture."
            )
        return self.survey

    def _draws_survey(self, what: str) -> bool:
        """Whether a figure draws what the survey found."""
        return what not in ("grid", "occluder")

    def _figure_notes(self, what: str) -> list[str]:
        notes, survey = super()._figure_notes(what), self._given_survey
        if survey is None or survey is not self.survey or not self._draws_survey(what):
            return notes
        # Stopped, or of chosen pictures only: a survey does not know which.
        looked, count = int(survey.seen.sum()) + len(survey.skipped), len(survey.images)
        return notes if looked >= count else [*notes, f"the survey looked at {looked} of its {count} pictures"]

    def _forget(self) -> None:
        super()._forget()
        self._patches.forget()


def pictures_or_survey(instrument: str, images: Any, survey: Survey | None) -> tuple[Images, Survey | None]:
    """Sort out what an instrument was given to look through: pictures, or a finished survey in either place.

    Raises
    ------
    ArgumentError
        If there are neither pictures nor a survey.
    """
    if isinstance(images, Survey):
        images, survey = None, images
    if survey is not None:
        return survey.images, survey
    if images is None:
        raise ArgumentError(
            f"Expected pictures to look through, or a survey, got neither. {instrument}(net, 'photos/') or "
            f"{instrument}(net, survey=cs.survey(net, 'photos/'))."
        )
    return Images.of(images), None

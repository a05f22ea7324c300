"""What a network answers to each picture, kept beside its survey in one pass."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.jobs import Check, Job, Ledger
from convscope_core.survey import Survey
from convscope_core.survey.run import SurveyJob
from convscope_core.survey.statistics import Statistics

__all__ = ["TOP", "Answered", "AnsweredJob", "Answers"]

TOP = 5
"""Classes that are kept of each picture."""

_KEPT = ("images", "classes", "probabilities", "expected")


class Answers(NamedTuple):
    """What a network answers to each picture.

    Attributes
    ----------
    images : int64 array (n,)
        Index of each picture, ascending.
    classes : int64 array (n, 5)
        The most probable classes, best first; -1 where the network has fewer. Of a network of one class the first is 0
        for yes and -1 for no, see `Network.decided`.
    probabilities : float32 array (n, 5)
        Theirs, also of a no; 0 where there is none.
    expected : float32 array (n,)
        Probability of the picture's own class; NaN where it has none that the network knows.
    """

    images: npt.NDArray[np.int64]
    classes: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    expected: npt.NDArray[np.float32]


class Answered(NamedTuple):
    """A network's survey and answers."""

    survey: Survey
    answers: Answers


class _Part:
    """The statistics of a survey, and rows of answers."""

    def __init__(self, statistics: Statistics, rows: dict[str, Tensor]) -> None:
        self.statistics = statistics
        self.rows = rows

    def merge(self, other: _Part) -> None:
        """Take in those of other pictures."""
        self.statistics.merge(other.statistics)
        self.extend(other.rows)

    def extend(self, rows: Mapping[str, Tensor]) -> None:
        """Add rows; tensors are never written in place."""
        self.rows = {name: torch.cat([self.rows[name], rows[name]]) for name in _KEPT}

    def copy(self) -> _Part:
        """Return an independent one with the same state."""
        return _Part(self.statistics.copy(), dict(self.rows))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        survey = {f"survey.{key}": tensor for key, tensor in self.statistics.state_dict().items()}
        return {**survey, **{f"answers.{name}": tensor.cpu() for name, tensor in self.rows.items()}}


@dataclass(kw_only=True, eq=False, repr=False)
class AnsweredJob(Job[_Part, Answered]):
    """A survey of which the outputs are kept, too."""

    kind = "comparison"

    layers: tuple[str, ...]
    k: int
    sample: int

    @cached_property
    def _survey(self) -> SurveyJob:
        return SurveyJob(net=self.net, batch_size=self.batch_size, layers=self.layers, k=self.k, sample=self.sample)

    @cached_property
    def _numbers(self) -> dict[str, int]:
        """Classes by label, where only one has it."""
        labels = self.net.labels
        return {label: number for number, label in enumerate(labels) if labels.count(label) == 1}

    def empty(self, device: torch.device) -> _Part:
        """See `Job`."""
        rows = {
            "images": torch.zeros(0, dtype=torch.int64),
            "classes": torch.zeros(0, TOP, dtype=torch.int64),
            "probabilities": torch.zeros(0, TOP),
            "expected": torch.zeros(0),
        }
        return _Part(self._survey.empty(device), {name: tensor.to(device) for name, tensor in rows.items()})

    def room(self, images: int, labels: Collection[str]) -> int:
        """See `Job`."""
        return self._survey.room(images, labels) + (12 + 12 * TOP) * images

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Part:
        """See `Job`."""
        survey = {key.removeprefix("survey."): tensor for key, tensor in state.items() if key.startswith("survey.")}
        return _Part(SurveyJob.restored(survey), {name: state[f"answers.{name}"] for name in _KEPT})

    def add(self, part: _Part, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> Check | None:
        """See `Job`."""
        outputs: list[Tensor] = []
        check = self._survey.add(part.statistics, x, images, labels, outputs.append)
        p = self.net.probabilities(outputs[0]).float()
        # Of equals the lower class, as everywhere; topk takes any.
        values, order = (one[:, :TOP] for one in p.sort(dim=1, descending=True, stable=True))
        if p.shape[1] == 1:  # yes or no
            order = self.net.decided(p)[:, None]
            values = torch.where(order < 0, 1 - values, values)
        numbers = [-1 if label is None else self._numbers.get(label, -1) for label in labels]
        own = torch.tensor(numbers, device=p.device)
        expected = p.gather(1, own.clamp(min=0)[:, None])[:, 0]
        missing = (0, TOP - values.shape[1])
        part.extend({
            "images": torch.tensor(list(images), device=p.device),
            "classes": torch.nn.functional.pad(order, missing, value=-1),
            "probabilities": torch.nn.functional.pad(values, missing),
            "expected": torch.where(own >= 0, expected, torch.nan),
        })  # fmt: skip
        return check

    def result(self, part: _Part, images: Images, ledger: Ledger) -> Answered:
        """See `Job`."""
        order = torch.argsort(part.rows["images"])
        rows = {name: tensor[order].cpu().numpy() for name, tensor in part.rows.items()}
        return Answered(self._survey.result(part.statistics, images, ledger), Answers(**rows))

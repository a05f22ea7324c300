"""How often the class stays when a picture is shifted a little, by the protocols that others have published."""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import require_between, require_choice, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments.invariance.classes import TARGETS, followed, truth_of
from convscope_core.experiments.invariance.consistency_result import ConsistencyResult
from convscope_core.experiments.invariance.frame import Frame, checked_fill
from convscope_core.experiments.invariance.moves import Move
from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Network

__all__ = ["consistency", "measuring_consistency"]

_STEPS = range(-4, 5)
"""Places on the diagonal between which the picture goes by a pixel: eight steps, around the middle."""


class _Row(NamedTuple):
    """What was measured of a picture.

    Attributes
    ----------
    targets, truths, clean_classes : int64 ()
    pairs : int64 (passes, 2)
        The most probable classes of the two crops of each pass.
    steps : int64 (9,)
        Those along the diagonal.
    changes : float32 (8,)
        How far the probability of the class before each step changes.
    attempts : int64 (attempts,)
        The most probable classes of the picture turned and shifted at random.
    """

    targets: Tensor
    truths: Tensor
    clean_classes: Tensor
    pairs: Tensor
    steps: Tensor
    changes: Tensor
    attempts: Tensor


class _Rows:
    """Rows of pictures by their numbers."""

    def __init__(self, rows: dict[int, _Row]) -> None:
        self.rows = rows

    def merge(self, other: _Rows) -> None:
        """Take in other pictures."""
        self.rows = {**self.rows, **other.rows}

    def copy(self) -> _Rows:
        """Return independent ones."""
        return _Rows(dict(self.rows))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain tensors."""
        names = _Row._fields if self.rows else ()
        stacked = {name: torch.stack([getattr(row, name) for row in self.rows.values()]) for name in names}
        return {"images": torch.tensor(list(self.rows), dtype=torch.int64), **stacked}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> _Rows:
        """Make rows of their `state_dict`."""
        images = state["images"].tolist()
        return cls({i: _Row(*(state[name][k] for name in _Row._fields)) for k, i in enumerate(images)})


@dataclass(kw_only=True, eq=False, repr=False)
class _ConsistencyJob(Job[_Rows, ConsistencyResult]):
    """The class of each picture, shifted and turned a little."""

    kind = "consistency"

    fill: str
    passes: int
    reach: int
    attempts: int
    degrees: float
    pixels: int
    group: int
    target: str
    seed: int
    forward: int

    def settings(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self._setting_names() if name != "forward"}

    @cached_property
    def varied(self) -> Varied:
        """Makes the pictures."""
        height, width = self.net.input_shape[1:]
        turned = math.ceil((math.hypot(height, width) - min(height, width)) / 2) if self.degrees else 0
        margin = max((self.reach + 1) // 2, -_STEPS[0], self.pixels + turned + 2 if self.attempts else 0)
        return Varied(self.net, self.fill, margin, self.seed)

    def preparing(self) -> Frame:
        return self.varied.frame

    def empty(self, device: torch.device) -> _Rows:  # noqa: ARG002  it is small
        return _Rows({})

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Rows:
        return _Rows.from_state(state)

    def add(self, part: _Rows, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:
        for canvas, image, label in zip(x, images, labels, strict=True):
            part.rows[image] = self._row(canvas[None], image, label)

    def _row(self, canvas: Tensor, image: int, label: str | None) -> _Row:
        pairs = [self._crop(image, number, which) for number in range(self.passes) for which in range(2)]
        steps = [Move(float(k), float(k)) for k in _STEPS]
        draws = np.random.default_rng((self.seed, 1, image))
        attempts = [
            Move(
                float(draws.integers(-self.pixels, self.pixels + 1)),
                float(draws.integers(-self.pixels, self.pixels + 1)),
                angle=float(draws.uniform(-self.degrees, self.degrees)),
            )
            for _ in range(self.attempts)
        ]
        p = self._probabilities(canvas, [Move(), *pairs, *steps, *attempts])
        classes = self.net.decided(torch.from_numpy(p)).numpy()
        ends = np.cumsum([1, len(pairs), len(steps)])
        along, along_p = classes[ends[1] : ends[2]], p[ends[1] : ends[2]]
        before = along[:-1]
        eight = np.arange(len(before))
        truth = truth_of(self.net, label)
        found: list[Any] = [
            classes[0] if self.target == "predicted" else followed(self.target, truth, p[0], image, label),
            truth,
            classes[0],
            classes[1 : ends[1]].reshape(-1, 2),
            along,
            np.abs(along_p[eight, before] - along_p[eight + 1, before]),
            classes[ends[2] :],
        ]
        return _Row(*(torch.from_numpy(np.array(one)) for one in found))

    def _crop(self, image: int, number: int, which: int) -> Move:
        """One of two crops of a pass, whose place pictures of a group share, as a shift."""
        draws = np.random.default_rng((self.seed, 0, number, image // self.group))
        down, right = draws.integers(0, self.reach, size=(2, 2))[which]
        return Move(float(self.reach // 2 - down), float(self.reach // 2 - right))

    def _probabilities(self, canvas: Tensor, moves: Sequence[Move]) -> npt.NDArray[np.float32]:
        found: dict[Move, npt.NDArray[np.float32]] = {}
        asked = list(dict.fromkeys(moves))
        for start in range(0, len(asked), self.forward):
            chosen = asked[start : start + self.forward]
            outputs, _ = self.net.forward(self.varied.moved(canvas, chosen))
            p = self.net.probabilities(outputs).float().cpu().numpy()
            if not np.isfinite(p).all():
                raise ArgumentError("Expected finite probabilities, got NaN or infinite ones. Check the weights.")
            found |= zip(chosen, p, strict=True)
        return np.stack([found[move] for move in moves])

    def result(self, part: _Rows, images: Images, ledger: Ledger) -> ConsistencyResult:  # noqa: ARG002
        numbers = sorted(part.rows)
        stacked = {name: torch.stack([getattr(part.rows[i], name) for i in numbers]).numpy() for name in _Row._fields}
        return ConsistencyResult(
            images=np.array(numbers, np.int64),
            skipped=tuple((entry.image, entry.reason) for entry in ledger.skipped),
            fill=self.fill,
            reach=self.reach,
            degrees=self.degrees,
            pixels=self.pixels,
            group=self.group,
            target=self.target,
            seed=self.seed,
            network=self.net.name,
            fingerprint=self.net.fingerprint,
            **stacked,
        )


@documented
def measuring_consistency(
    net: Network,
    images: Any,
    *,
    fill: Any = "source",
    passes: int = 5,
    reach: int | None = None,
    attempts: int = 10,
    degrees: float = 30.0,
    pixels: int | None = None,
    group: int = 256,
    target: str = "predicted",
    store: str | Path | None = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    batch_size: int = 8,
    workers: int = 0,
    seed: int = 0,
    progress: bool = False,
) -> Generator[Progress[ConsistencyResult], None, None]:
    """Measure how often the most probable class stays when pictures are shifted and turned a little.

    Three protocols on the same pictures. Zhang (2019): two crops at random places of a larger picture; in how many
    passes over pictures do both have the same class. Azulay & Weiss (2019): steps of one pixel along the diagonal; how
    often the class changes, and how far its probability. Engstrom et al. (2019): turned and shifted at random several
    times; how often the class is right, or stays, every time.

    Parameters
    ----------
    net
    images
        Those that cannot be read are skipped and listed.
    fill : str or colour, default "source"
        What is seen beyond the network's input, as for `invariance`. "source" is Zhang's protocol: of preprocessing
        that scales to 256 and crops 224, all of the 256 pixels. It needs pictures, not tensors.
    passes : int, default 5
        Pairs of crops.
    reach : int, optional
        At how many places along each axis a crop can be. Default: Zhang's 32 of 224 pixels, fewer of smaller pictures.
    attempts : int, default 10
        How often a picture is turned and shifted.
    degrees : float, default 30.0
        By how much at most, either way.
    pixels : int, optional
        Likewise. Default: 24 of 224 pixels, fewer of smaller pictures.
    group : int, default 256
        How many pictures in a row share the places of their crops: the size of Zhang's batches.
    target : {"predicted", "true"}, default "predicted"
        What the class is compared with in `worst`: the class of the picture as it is, or its label.
    store, executor, shards, resume, batch_size, workers
    seed
        Of places and angles.
    progress

    Yields
    ------
    Progress
        After every picture; its `result` is of those so far. Closing the generator cancels.

    Raises
    ------
    ArgumentError
        When an argument is out of range; while running, when labels are asked for and a picture has none.
    ImageError
        When the pictures do not exist, or not one could be read, or, for the fill "source", none shows more than the
        network takes.

    References
    ----------
    R. Zhang: Making Convolutional Networks Shift-Invariant Again, ICML 2019. A. Azulay, Y. Weiss: Why do deep
    convolutional networks generalize so poorly to small image transformations?, JMLR 20 (2019). L. Engstrom, B. Tran,
    D. Tsipras, L. Schmidt, A. Madry: Exploring the Landscape of Spatial Robustness, ICML 2019.

    Examples
    --------
    >>> cs.consistency(net, "imagenet/val", target="true")
    """
    side = min(net.input_shape[1:])
    reach = max(round(32 * side / 224), 2) if reach is None else reach
    pixels = round(24 * side / 224) if pixels is None else pixels
    require_counts(passes=passes, group=group, batch_size=batch_size, attempts=attempts)
    require_counts(2, reach=reach)
    require_counts(0, pixels=pixels, seed=seed)
    require_between("degrees", degrees, 0, 180.5, closed=True)
    if reach > side or pixels > side:
        raise ArgumentError(
            f"Expected reach and pixels within the {side} pixels of a picture, got {reach} and {pixels}."
        )
    require_choice("target", target, TARGETS)
    job = _ConsistencyJob(
        net=net, batch_size=1, workers=workers, fill=checked_fill(fill), passes=passes, reach=reach, attempts=attempts,
        degrees=float(degrees), pixels=pixels, group=group, target=target, seed=seed, forward=batch_size,
    )  # fmt: skip
    return begin(
        job, Images.of(images), Progress,
        store=store, executor=executor, shards=shards, resume=resume, progress=progress,
    )  # fmt: skip


consistency = completed(measuring_consistency, "consistency", ConsistencyResult, lambda steps: last(steps).result)

"""A new pass over pictures: the mean of every feature map of a layer. `test_jobs.py` shows what it gets from `jobs`."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Network


class Sums:
    """What it accumulates."""

    def __init__(self, total: Tensor, count: Tensor) -> None:
        self.total, self.count = total, count

    def merge(self, other: Sums) -> None:
        self.total, self.count = self.total + other.total, self.count + other.count

    def copy(self) -> Sums:
        return Sums(self.total, self.count)

    def state_dict(self) -> dict[str, Tensor]:
        return {"total": self.total.cpu(), "count": self.count.cpu()}


@dataclass(kw_only=True, eq=False, repr=False)
class MeanMaps(Job[Sums, Tensor]):
    """How, and what it makes of it."""

    kind = "mean of maps"
    layer: str

    def empty(self, device: torch.device) -> Sums:
        zeros = torch.zeros(self.net.layer(self.layer).channels, dtype=torch.float64, device=device)
        return Sums(zeros, torch.zeros((), dtype=torch.int64, device=device))

    def add(self, part: Sums, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:
        self.net.visit(x, [self.layer], lambda _, maps: part.merge(Sums(maps.mean((2, 3)).double().sum(0), len(maps))))

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> Sums:
        return Sums(**state)

    def result(self, part: Sums, images: Images, ledger: Ledger) -> Tensor:
        return part.total / part.count


@documented
def averaging(
    net: Network,
    images: Any,
    layer: str,
    store: Any = None,
    executor: Any = None,
    shards: int | None = None,
    resume: bool = True,
    *,
    batch_size: int = 8,
    workers: int = 0,
    progress: bool = False,
) -> Generator[Progress[Tensor], None, None]:
    """Average every feature map of a layer over pictures and positions.

    Parameters
    ----------
    net, images
    layer : str
    store, executor, shards, resume, batch_size, workers, progress

    Yields
    ------
    Progress
        Its `result` is a Tensor (channels,).
    """
    job = MeanMaps(net=net, batch_size=batch_size, workers=workers, layer=net.layer(layer).name)
    return begin(
        job, Images.of(images), Progress, store=store, executor=executor, shards=shards, resume=resume,
        progress=progress,
    )  # fmt: skip


average = completed(averaging, "average", Tensor, lambda steps: last(steps).result)

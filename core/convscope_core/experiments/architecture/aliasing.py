"""Aliasing: how much of each layer's maps is too fine for the next stride, and how much a stride folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.datasets import Images
from convscope_core.errors import NetworkError
from convscope_core.graph.forward import evaluated
from convscope_core.graph.layers import GraphLayer
from convscope_core.graph.node import Graph, Node
from convscope_core.jobs import Check, Job, Ledger
from convscope_core.measures import energy_above
from convscope_core.network import Network

__all__ = ["Aliasing", "AliasingJob"]

_STRIDED = ("conv", "max_pool", "avg_pool")


@dataclass(frozen=True)
class Aliasing:
    """What the strides of a network fold, in one layer.

    Attributes
    ----------
    layer, kind : str
    stride : (int, int)
        The layer's own, along rows and columns.
    folded : float
        Share of the variation of the layer's maps that its own stride folds: the layer is computed at every place,
        and what is above the Nyquist rate of its stride is compared with all. 0 to 1; NaN for a layer without a stride.
    next : str or None
        The layer of the next stride after it.
    next_stride : (int, int) or None
    above : float
        Share of the variation of the layer's maps above the Nyquist rate of that, before it. 0 to 1; NaN where there is
        no next.
    units_folded, units_above : float64 arrays (C,)
        The same of each unit; NaN for maps that do not vary.
    """

    layer: str
    kind: str
    stride: tuple[int, int]
    folded: float
    next: str | None
    next_stride: tuple[int, int] | None
    above: float
    units_folded: npt.NDArray[np.float64]
    units_above: npt.NDArray[np.float64]


class _Energy:
    """Sums of squares of each layer's units: what is above, and all."""

    def __init__(self, sums: dict[str, Tensor]) -> None:
        self.sums = sums

    def merge(self, other: _Energy) -> None:
        """Take in those of other pictures."""
        names = {**self.sums, **other.sums}
        self.sums = {
            name: self.sums[name] + other.sums[name] if name in self.sums and name in other.sums else names[name]
            for name in names
        }

    def copy(self) -> _Energy:
        """Return an independent one with the same state; sums are never written in place."""
        return _Energy(dict(self.sums))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        return {name: tensor.cpu() for name, tensor in self.sums.items()}


@dataclass(kw_only=True, eq=False, repr=False)
class AliasingJob(Job[_Energy, tuple[Aliasing, ...]]):
    """One forward pass, with the layers that have a stride computed at every place, too."""

    kind = "aliasing"

    @cached_property
    def _layers(self) -> tuple[GraphLayer, ...]:
        found = [self.net.graph_layer(layer.name) for layer in self.net.layers]
        return tuple(layer for layer in found if len(layer.axes) == 3 and min(layer.size) > 1)

    @cached_property
    def _next(self) -> dict[str, Node]:
        found = {layer.name: _next_stride(self.net.graph, layer) for layer in self._layers}
        return {name: node for name, node in found.items() if node is not None}

    def empty(self, device: torch.device) -> _Energy:  # noqa: ARG002  sums come with the first batch
        """See `Job`."""
        return _Energy({})

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Energy:
        """See `Job`."""
        return _Energy(dict(state))

    def add(
        self,
        part: _Energy,
        x: Tensor,
        images: Sequence[int],
        labels: Sequence[str | None],  # noqa: ARG002
    ) -> Check:
        """See `Job`."""
        sums: dict[str, Tensor] = {}
        values = {layer.node: layer for layer in self._layers if layer.name in self._next}
        strided = {layer.anchor: layer for layer in self._layers if max(_stride(layer.anchor)) > 1}

        def visit(node: Node, value: Tensor, inputs: Sequence[Tensor]) -> None:
            if node in strided:
                layer = strided[node]
                known = dict(zip(node.inputs, inputs, strict=True))
                dense = evaluated(node, known.__getitem__, args={**node.args, "stride": (1, 1)})
                if layer.node is not node:
                    dense = evaluated(layer.node, lambda _: dense)
                sums[f"folded/{layer.name}"] = _summed(dense, _stride(node))
            if node in values:
                layer = values[node]
                maps = value.permute(0, *(axis + 1 for axis in layer.axes))
                sums[f"above/{layer.name}"] = _summed(maps, _stride(self._next[layer.name]))

        self.net.visit_nodes(x, [*strided, *values], visit)
        part.merge(_Energy(sums))
        return partial(_require_finite, sums, images)

    def result(self, part: _Energy, images: Images, ledger: Ledger) -> tuple[Aliasing, ...]:  # noqa: ARG002
        """See `Job`."""
        rows = []
        for layer in self._layers:
            after = self._next.get(layer.name)
            (folded, units_folded), (above, units_above) = (
                _shares(part.sums.get(f"{what}/{layer.name}"), layer.channels) for what in ("folded", "above")
            )
            rows.append(
                Aliasing(
                    layer=layer.name,
                    kind=layer.kind,
                    stride=_stride(layer.anchor),
                    folded=folded,
                    next=None if after is None else _named(self.net, after),
                    next_stride=None if after is None else _stride(after),
                    above=above,
                    units_folded=units_folded,
                    units_above=units_above,
                )
            )
        return tuple(rows)


def _stride(node: Node) -> tuple[int, int]:
    """Return the stride of an operation on maps; 1 for any other."""
    if node.kind not in _STRIDED or len(node.shape) != 3:
        return (1, 1)
    rows, columns = node["stride"]
    return int(rows), int(columns)


def _next_stride(graph: Graph, layer: GraphLayer) -> Node | None:
    """Find the first operation with a stride that reads a layer's maps, through others that keep their size."""
    size = sorted(layer.size)
    front, seen = [layer.node], {layer.node}
    while front:
        after = dict.fromkeys(user for node in front for user in graph.consumers[node] if user not in seen)
        for node in after:
            if max(_stride(node)) > 1:
                return node
        seen.update(after)
        front = [node for node in after if node.kind == "pad" or (len(node.shape) == 3 and _has(node.shape, size))]
    return None


def _has(shape: tuple[int, ...], size: Sequence[int]) -> bool:
    left = list(shape)
    for side in size:
        if side not in left:
            return False
        left.remove(side)
    return True


def _named(net: Network, node: Node) -> str:
    for layer in net.layers:
        if net.graph_layer(layer.name).anchor is node:
            return layer.name
    return node.module or node.name


def _summed(maps: Tensor, stride: tuple[int, int]) -> Tensor:
    """(2, C): above, and all, over the pictures."""
    return torch.stack([one.sum(0) for one in energy_above(maps, stride)])


def _shares(sums: Tensor | None, channels: int) -> tuple[float, npt.NDArray[np.float64]]:
    if sums is None:
        return float("nan"), np.full(channels, np.nan)
    above, total = sums.cpu().numpy()
    units = np.divide(above, total, out=np.full(channels, np.nan), where=total > 0)
    return float(above.sum() / total.sum()) if total.sum() > 0 else float("nan"), units


def _require_finite(sums: Mapping[str, Tensor], images: Sequence[int]) -> None:
    for name, tensor in sums.items():
        if not bool(torch.isfinite(tensor).all()):
            raise NetworkError(
                f"Expected finite activations, got NaN or infinite ones of {name.partition('/')[2]!r}, for images "
                f"{images[0]} to {images[-1]}. Check the weights, and how pictures are prepared."
            )

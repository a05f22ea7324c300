"""The kernels of a graph's convolutions, in the forms in which windows are computed fastest.

Those of 3x3 also as Winograd's minimal filtering needs them, with a quarter of the multiplications: a tile of 4x4
results takes 144 multiplications for each pair of an input and an output channel. Transformed (6x6 values of the
input around the tile, and the kernel), it takes 36, one for each transformed value, so that all tiles together are 36
products of matrices; sums then lead back to the 4x4 results. (A. Lavin, S. Gray: Fast Algorithms for Convolutional
Neural Networks, CVPR 2016.)

What is lost to rounding depends on the points at which the polynomials are evaluated. Those here, 0, 1, -1, 1/2, -2
and infinity, are among the best for this size (B. Barabasz et al.: Error analysis and improving the accuracy of
Winograd convolution for deep neural networks, 2018): the error is that of a direct convolution of 512 channels,
within a factor of two.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor

from convscope_core import compiled, fused
from convscope_core.graph import packed
from convscope_core.graph.forward import evaluated
from convscope_core.graph.node import Node, map_values
from convscope_core.graph.ops import kernel_size
from convscope_core.graph.workspace import Workspace
from convscope_core.locks import Lock, made_once
from convscope_core.precision import full_precision

__all__ = ["TILE", "Inner", "Kernels"]

#: Rows and columns of tiles, (first, last + 1) each.
Inner: TypeAlias = tuple[tuple[int, int], tuple[int, int]]

#: Side of a tile of results.
TILE = 4

#: Side of what a tile of results reads.
_SIDE = TILE + 2

#: What the transforms of a tile cost for each input and each output channel, in multiply-adds (measured).
_TRANSFORMS = {"cpu": 2200, "cpu by Intel": 4500, "cpu by Intel, compiled": 2600, "cuda": 1500}

#: What reading a number of a kernel from memory costs, in multiply-adds (measured).
_READING = 16

#: By how much the tiles must be faster, for the memory that the transformed kernels take.
_WORTH = 1.2

#: From so many multiply-adds on, a product takes long enough to be asked for by itself; smaller ones go together.
_ALONE = 2**20

#: Numbers that the tiles computed at once may take: little enough to stay in a processor's cache, enough for the
#: matrices to be large.
_AT_ONCE = {"cpu": 2**22, "cuda": 2**27}

_LAST = torch.channels_last

_POINTS = (0.0, 1.0, -1.0, 0.5, -2.0)


class Kernels:
    """The kernels of a graph's convolutions, brought into form when they are first asked for, and kept.

    Transformed kernels take four times the memory of the kernels, packed ones and others as much. Several threads may
    use them at once.

    Attributes
    ----------
    workspace : Workspace
        For those who use them one after the other.
    """

    def __init__(self) -> None:
        self._stored: dict[tuple[int, torch.dtype, torch.memory_format], tuple[Tensor, Tensor]] = {}
        self._packed: dict[Node, Tensor] = {}
        self._transformed: dict[Node, Tensor] = {}
        self._products: dict[Node, list[Callable[[Tensor], Tensor]]] = {}
        self._making = Lock()
        self.workspace = Workspace()
        results, kernels, inputs = _matrices()
        self._results, self._of_kernels, self._inputs = results.float(), kernels, inputs.float()

    def arguments(self, n: Node, dtype: torch.dtype, layout: torch.memory_format = _LAST) -> dict[str, Any]:
        """Return a node's arguments with all that is no integer in a type, and kernels in a layout.

        By default channels-last, in which a processor's convolution takes a kernel as it is; otherwise it would bring
        it into another at every call, which for a single picture may cost more than the convolution.
        """
        layout = layout if n.kind == "conv" else torch.preserve_format

        def formed(t: Tensor) -> Tensor:
            if not t.is_floating_point():
                return t

            def make() -> tuple[Tensor, Tensor]:
                made = t.detach().to(dtype, memory_format=layout if t.dim() == 4 else torch.preserve_format)
                return t, made  # with what it was made of, whose id stays its own so long

            return made_once(self._stored, (id(t), dtype, layout), make, self._making)[1]

        return {k: map_values(v, tensor=formed) for k, v in n.args.items()}

    def convolution(
        self,
        n: Node,
        like: Tensor,
        size: tuple[int, ...],
        padding: tuple[int, int],
        layout: torch.memory_format = _LAST,
    ) -> Callable[[Tensor], Tensor]:
        """Return what computes a convolution, without derivative.

        For a single picture on a processor with a packed kernel. For many, bringing the kernel into form is little
        beside what it is used for, and without packing the result has the bits of the ordinary pass.

        Parameters
        ----------
        n : Node
            Of the kind ``conv``.
        like : tensor
            Of the type and on the device of what it is computed from.
        size : tuple of int
            (N, C, H, W), what it is mostly computed from.
        padding : (int, int)
            In place of its own.
        layout : torch.memory_format
            Of the kernel, and of what it is computed from.
        """
        # Where parts of a picture are a batch of their own, its sizes are more.
        if size[0] == 1 and len(size) == 4 and packed.of_use(like) and packed.takes(n):
            kernel = made_once(self._packed, n, lambda: packed.kernel(n, size), self._making)
            return packed.convolution(n, kernel, padding)
        weight = n["weight"]
        single = isinstance(weight, Tensor) and weight.shape[1] * n["groups"] == 1
        args = {**self.arguments(n, like.dtype, layout), "padding": padding}
        if single:
            args["weight"] = _plain(args["weight"].contiguous())

        def convolved(x: Tensor) -> Tensor:
            x = x.contiguous() if single or layout is torch.contiguous_format else x
            x = _plain(x) if single else x
            found: Tensor = evaluated(n, lambda _: x, n.op, args)
            return found

        return convolved

    def product(self, n: Node, like: Tensor, rows: int) -> Callable[..., Tensor] | None:
        """Return what computes a linear layer faster than its own operation, with the same arguments; None if nothing.

        Parameters
        ----------
        n : Node
            Of the kind ``linear``.
        like : tensor
            Of the type and on the device of what it is computed from.
        rows : int
            Of how many it mostly is. For one alone reading the matrix takes all the time, however it lies in memory.
        """
        weight, bias = n["weight"], n["bias"]
        if rows == 1 or not packed.of_use(like) or not isinstance(weight, Tensor) or rows * weight.numel() < _ALONE:
            return None
        (multiplied,) = made_once(self._products, n, lambda: [packed.product(weight.T, bias)], self._making)
        return lambda x, *_: multiplied(x)

    @staticmethod
    def tiles(n: Node, like: Tensor, size: tuple[int, int], pictures: int, alike: int = 0) -> bool:
        """Tell whether a node is a convolution that is computed faster in tiles.

        Parameters
        ----------
        n : Node
        like : tensor
            Of the type and on the device of what it is computed from.
        size : (int, int)
            Rows and columns of results that are wanted.
        pictures : int
            In how many pictures at once.
        alike : int, default 0
            Tiles of each of which only one is computed.
        """
        device = like.device.type
        if n.kind != "conv" or like.dtype != torch.float32 or not (device == "cpu" or fused.of_use(like)):
            return False
        if kernel_size(n) != (3, 3) or n["stride"] != (1, 1) or n["dilation"] != (1, 1) or n["groups"] != 1:
            return False
        made, channels = n["weight"].shape[:2]
        count = pictures * (_count(size) - max(0, alike - 1))
        if device == "cpu" and packed.by_intel():
            device = "cpu by Intel, compiled" if compiled.of_use("tiles", like) else "cpu by Intel"
        transforms = _TRANSFORMS[device]
        tiled = _SIDE * _SIDE * (count + _READING) * channels * made + transforms * count * (channels + made)
        return bool(_WORTH * tiled < 9 * (pictures * math.prod(size) + _READING) * channels * made)

    @staticmethod
    def products(n: Node, size: tuple[int, int]) -> int:
        """Count the multiply-adds of a convolution in tiles for one picture, without what transforms take."""
        made, channels = n["weight"].shape[:2]
        return int(_SIDE * _SIDE * _count(size) * channels * made)

    def tiled(self, n: Node, x: Tensor, workspace: Workspace, inner: Inner | None = None) -> Tensor:
        """Compute a convolution without its padding.

        Parameters
        ----------
        n : Node
            One that `tiles`.
        x : tensor
            (N, C, 4 a + 2, 4 b + 2), float32 in channels-last memory.
        workspace : Workspace
            For transformed tiles.
        inner : ((first, last + 1), (first, last + 1)) or None
            Rows and columns of tiles that are all alike in each picture, as what they are computed from is constant: of
            each picture one is computed. On a processor only.

        Returns
        -------
        tensor
            (N, K, 4 a, 4 b), in channels-last memory.
        """
        x = x.contiguous(memory_format=torch.channels_last)
        count, channels, height, width = x.shape
        down, across = (height - 2) // TILE, (width - 2) // TILE
        made = n["weight"].shape[0]
        out = x.new_empty(count, TILE * down, TILE * across, made)
        blocks = _blocks(down, across, inner)
        each = _SIDE * _SIDE * sum(b.computed for b in blocks) * max(channels, made)
        most = max(1, _AT_ONCE[x.device.type] // each)
        batches = math.ceil(count / most)
        most = math.ceil(count / batches)
        a, b = (workspace.take(name, x, most * each) for name in ("tiles", "products"))
        with full_precision(x.device):  # rounded factors would be multiplied by the transforms
            for first in range(0, count, most):
                self._tiles(n, x[first : first + most], out[first : first + most], blocks, a, b)
        return out.permute(0, 3, 1, 2)

    def _tiles(self, n: Node, x: Tensor, out: Tensor, blocks: list[_Block], a: Tensor, b: Tensor) -> None:
        """Compute a part of the pictures; `a` and `b` hold, in turn, what one step gives to the next."""
        count, channels, height, width = x.shape
        down, across = (height - 2) // TILE, (width - 2) // TILE
        tiles, made = count * sum(block.computed for block in blocks), out.shape[3]
        bias = None if n["bias"] is None else n["bias"].detach().to(x.dtype)

        def memory(m: Tensor, *shape: int) -> Tensor:
            return m[: math.prod(shape)].view(shape)

        if fused.of_use(x, _SIDE**2 * tiles * max(channels, made)):
            transformed, products = memory(a, _SIDE**2, tiles, channels), memory(b, _SIDE**2, tiles, made)
            fused.tile_inputs(x, transformed)
            torch.bmm(transformed, self._winograd(n), out=products)
            fused.tile_results(products, bias, out)
            return
        if compiled.of_use("tiles", x):
            self._tiles_compiled(
                n, x, out, blocks, memory(a, _SIDE**2, tiles, channels), memory(b, _SIDE**2, tiles, made), bias
            )
            return
        picture, _, row, column = x.stride()
        overlapping = x.as_strided(
            (_SIDE, _SIDE, count, down, across, channels),
            (row, column, picture, TILE * row, TILE * column, 1),
            x.storage_offset(),
        )
        each, sizes = (slice(None),) * 3, [count * block.computed for block in blocks]
        for block, part in zip(blocks, torch.split(memory(a, _SIDE, _SIDE, tiles, channels), sizes, 2), strict=True):
            part.view(*part.shape[:2], count, *block.size, part.shape[3]).copy_(overlapping[each + block.read])
        _both(self._inputs.to(x.device), a, b, tiles * channels)
        self._multiply(n, memory(a, _SIDE**2, tiles, channels), memory(b, _SIDE**2, tiles, made))
        _both(self._results.to(x.device), b, a, tiles * made)
        # By rows and columns in the tile, then of tiles: (4, 4, N, a, b, K).
        places = out.view(count, down, TILE, across, TILE, made).permute(2, 4, 0, 1, 3, 5)
        for block, part in zip(blocks, torch.split(memory(b, TILE, TILE, tiles, made), sizes, 2), strict=True):
            place = places[each + block.filled]
            found = part.view(*part.shape[:2], count, *block.size, part.shape[3]).expand_as(place)
            if bias is None:
                place.copy_(found)
            else:
                torch.add(found, bias, out=place)

    def _tiles_compiled(
        self,
        n: Node,
        x: Tensor,
        out: Tensor,
        blocks: list[_Block],
        tiles: Tensor,
        products: Tensor,
        bias: Tensor | None,
    ) -> None:
        """Do the same, through memory once for each transform."""
        first = 0
        for block in blocks:
            compiled.tile_inputs(x, block.read, tiles, first)
            first += len(x) * block.computed
        self._multiply(n, tiles, products)
        first = 0
        for block in blocks:
            if block.read == block.filled:
                compiled.tile_results(products, first, bias, block.filled, out)
            else:  # one tile stands for many
                one = out.new_empty(len(x), TILE, TILE, out.shape[3])
                compiled.tile_results(products, first, bias, (slice(0, 1), slice(0, 1)), one)
                down, across = block.filled
                for r in range(down.start, down.stop):
                    part = out[:, TILE * r : TILE * r + TILE, TILE * across.start : TILE * across.stop]
                    part.view(len(x), TILE, -1, TILE, out.shape[3]).copy_(one[:, :, None])
            first += len(x) * block.computed

    def _multiply(self, n: Node, tiles: Tensor, out: Tensor) -> None:
        """Multiply transformed tiles (36, tiles, C) by the transformed kernel."""
        alone = packed.of_use(tiles) and not packed.by_intel() and tiles[0].numel() * out.shape[2] >= _ALONE
        if not alone:
            torch.bmm(tiles, self._winograd(n), out=out)
            return
        products = made_once(self._products, n, lambda: [packed.product(m) for m in self._made(n)], self._making)
        for multiplied, t, o in zip(products, tiles, out, strict=True):
            o.copy_(multiplied(t))

    def _winograd(self, n: Node) -> Tensor:
        """Return the transformed kernel, (36, C, K)."""
        return made_once(self._transformed, n, lambda: self._made(n), self._making)

    def _made(self, n: Node) -> Tensor:
        """Transform a kernel, (36, C, K), in float32, which tiles are computed in whatever the kernel's type."""
        weight = n["weight"].detach()
        g = self._of_kernels.to(weight.device)
        # In float64: the kernel is rounded once.
        rows = torch.einsum("ij,kcjl->ickl", g, weight.double())
        return torch.einsum("ml,ickl->imck", g, rows).flatten(0, 1).float().contiguous()


@dataclass(frozen=True)
class _Block:
    """A rectangle of tiles: those that are computed, and those that get what comes out, which may be more."""

    read: tuple[slice, slice]
    filled: tuple[slice, slice]

    @property
    def size(self) -> tuple[int, int]:
        """Rows and columns of tiles that are computed."""
        rows, columns = self.read
        return rows.stop - rows.start, columns.stop - columns.start

    @property
    def computed(self) -> int:
        """How many tiles are computed, for one picture."""
        return math.prod(self.size)


def _blocks(down: int, across: int, inner: Inner | None) -> list[_Block]:
    """Cut so many rows and columns of tiles into those that are computed each, and those that are alike."""
    if inner is None:
        everything = slice(0, down), slice(0, across)
        return [_Block(everything, everything)]
    (top, bottom), (left, right) = inner
    around = [
        (slice(0, top), slice(0, across)),
        (slice(bottom, down), slice(0, across)),
        (slice(top, bottom), slice(0, left)),
        (slice(top, bottom), slice(right, across)),
    ]
    alike = _Block((slice(top, top + 1), slice(left, left + 1)), (slice(top, bottom), slice(left, right)))
    return [alike, *(_Block(part, part) for part in around if _Block(part, part).computed)]


def _plain(t: Tensor) -> Tensor:
    """Return what has one channel with the strides of PyTorch's plain layout.

    Those of other layouts mean the same there, but let oneDNN 3.12 choose what `packed.takes` says.
    """
    return t[:, 0].unsqueeze(1)


def _count(size: tuple[int, int]) -> int:
    """Return how many tiles cover so many rows and columns."""
    return math.prod(-(-s // TILE) for s in size)


def _both(matrix: Tensor, a: Tensor, b: Tensor, numel: int) -> None:
    """Apply a matrix (P, Q) to rows and columns of `numel` tiles (Q, Q) in `a`; the result comes to lie in `a`."""
    p, q = matrix.shape
    torch.mm(matrix, a[: q * q * numel].view(q, q * numel), out=b[: p * q * numel].view(p, q * numel))
    torch.bmm(matrix.expand(p, p, q), b[: p * q * numel].view(p, q, numel), out=a[: p * p * numel].view(p, p, numel))


def _matrices() -> tuple[Tensor, Tensor, Tensor]:
    """Return, in float64, what is applied to products (4, 6), kernels (6, 3) and inputs (6, 6).

    Toom and Cook: the product of two polynomials from their values at 5 points and at infinity; the filter is its
    transpose.
    """
    points = torch.tensor(_POINTS, dtype=torch.float64)
    infinity = torch.zeros(1, _SIDE, dtype=torch.float64)

    def powers(count: int) -> Tensor:
        last = infinity[:, :count].clone()
        last[0, -1] = 1
        return torch.cat([points[:, None] ** torch.arange(count), last])

    # The polynomial through values at the points: coefficients of the products of (x - other points).
    def coefficients(roots: list[float]) -> Tensor:
        p = torch.tensor([1.0], dtype=torch.float64)
        for r in roots:
            p = torch.cat([p.new_zeros(1), p]) - r * torch.cat([p, p.new_zeros(1)])
        return torch.cat([p, p.new_zeros(_SIDE - len(p))])

    others = [[q for q in _POINTS if q != p] for p in _POINTS]
    inputs = torch.stack([*(coefficients(o) for o in others), coefficients(list(_POINTS))])
    scale = torch.tensor([*(math.prod(p - q for q in o) for p, o in zip(_POINTS, others, strict=True)), 1.0])
    return powers(TILE).T.contiguous(), powers(3) / scale.double()[:, None], inputs

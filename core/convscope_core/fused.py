"""Steps that CUDA does in one kernel where PyTorch takes many, each with its launch and its pass over memory.

Triton, which comes with PyTorch for CUDA on Linux, compiles the kernels when they are first needed. Without it, or
where it cannot compile, what calls these functions does the same with PyTorch's operations.
"""

from __future__ import annotations

import importlib
import logging
import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["maps_reduced", "of_use", "tile_inputs", "tile_results", "windows_taken"]

logger = logging.getLogger(__name__)

_BLOCK = 1024
_TILE_BLOCK = 128

#: Offsets are computed with 32 bits.
_MOST = 2**31 - 1

_kernels: Any = None
_tried: dict[torch.device, bool] = {}


def of_use(t: Tensor, numbers: int | None = None) -> bool:
    """Tell whether these functions take a tensor: on CUDA, of floating point, and not too large.

    Parameters
    ----------
    t : tensor
    numbers : int, optional
        How many the largest tensor has that is read or written; by default four times as many as that.
    """
    numbers = 4 * t.numel() if numbers is None else numbers
    if t.device.type != "cuda" or not t.is_floating_point() or numbers > _MOST:
        return False
    if t.device not in _tried:
        _tried[t.device] = _works(t.device)
    return _tried[t.device]


def _works(device: torch.device) -> bool:
    """Compile each kernel and look at what it gives."""
    global _kernels
    try:
        _kernels = importlib.import_module("convscope_core.fused_kernels")
        x = torch.arange(36.0, device=device).reshape(1, 1, 6, 6)
        first = (torch.zeros(1, dtype=torch.int64, device=device),) * 2
        transformed, results = x.new_empty(36, 1, 1), x.new_empty(1, 4, 4, 1)
        tile_inputs(x, transformed)
        tile_results(transformed, None, results)
        return all(
            (
                bool(results.isfinite().all()),
                torch.equal(windows_taken(x, (6, 6), first, first), x),
                torch.allclose(maps_reduced(x, None)["means"], x.mean((2, 3))),
            )
        )
    except Exception as e:  # no Triton, no C compiler, a device that is too old...
        logger.info("without kernels of its own on %s, which is slower: %s: %s", device, type(e).__name__, e)
        return False


def windows_taken(
    clean: Tensor | None,
    size: tuple[int, int],
    places: tuple[Tensor, Tensor],
    need: tuple[Tensor, Tensor],
    changed: Tensor | None = None,
    have: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Return windows of a map, with what changed in place.

    Parameters
    ----------
    clean : tensor or None
        (1, C, H, W), in any layout; None where what changed holds all that is wanted.
    size : (int, int)
        Of the windows.
    places : pair of int64 tensor (N,)
        For each picture, where in `need` and `have` its rows, and its columns, are.
    need : pair of int64 tensor
        Rows, and columns, at which windows begin.
    changed : tensor, optional
        (N, C, height, width).
    have : pair of int64 tensor, optional
        Rows, and columns, at which that begins.

    Returns
    -------
    tensor
        (N, C, *size), in channels-last memory.
    """
    like = clean if clean is not None else changed
    assert like is not None
    count, channels = len(places[0]), like.shape[1]
    out = torch.empty((count, *size, channels), dtype=like.dtype, device=like.device)
    numel = math.prod(size) * channels
    (_, clean_channel, clean_row, clean_column) = (0, 0, 0, 0) if clean is None else clean.stride()
    strides = (0, 0, 0, 0) if changed is None else changed.stride()
    extent = (0, 0) if changed is None else changed.shape[2:]
    _kernels.take_windows[(-(-numel // _BLOCK), count)](
        out, like if clean is None else clean, like if changed is None else changed, *places, *need,
        *(need if have is None else have), *size, channels, *extent, clean_row, clean_column, clean_channel,
        strides[0], strides[2], strides[3], strides[1],
        HAS_CLEAN=clean is not None, HAS_CHANGED=changed is not None, BLOCK=_BLOCK,
    )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def tile_inputs(x: Tensor, out: Tensor) -> None:
    """Transform what tiles of 4x4 results read, as `convscope_core.graph.kernels` says.

    Parameters
    ----------
    x : tensor
        (N, C, 4 a + 2, 4 b + 2), float32 in channels-last memory.
    out : tensor
        (36, N a b, C).
    """
    _, channels, height, width = x.shape
    picture, _, row, column = x.stride()
    numel = out[0].numel()
    _kernels.tile_inputs[(-(-numel // _TILE_BLOCK),)](
        x, out, height // 4, width // 4, channels, numel, picture, row, column, BLOCK=_TILE_BLOCK
    )


def tile_results(products: Tensor, bias: Tensor | None, out: Tensor) -> None:
    """Make results of the products of transformed tiles and kernels.

    Parameters
    ----------
    products : tensor
        (36, N a b, K).
    bias : tensor or None
        (K,).
    out : tensor
        (N, 4 a, 4 b, K), contiguous.
    """
    _, height, width, channels = out.shape
    numel = products[0].numel()
    _kernels.tile_results[(-(-numel // _TILE_BLOCK),)](
        products, products if bias is None else bias, out, height // 4, width // 4, channels, numel,
        HAS_BIAS=bias is not None, BLOCK=_TILE_BLOCK,
    )  # fmt: skip


def maps_reduced(maps: Tensor, ceiling: float | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w), contiguous float32, to what `convscope_core.survey.reduction` keeps of each.

    They may be as large as they like, but not as many: `of_use` is asked about one value of each.

    Returns
    -------
    dict of str to tensor
        Each (N, C): ``peaks``, ``rows`` and ``columns`` (of equal values the first, in row-major order), ``means``,
        ``magnitudes``, ``deviations``, ``active``, ``saturated``.
    """
    count, positions = maps.shape[0] * maps.shape[1], maps.shape[2] * maps.shape[3]
    # Two pieces of memory for all: what is small takes longer to begin than to do.
    numbers = torch.empty((4, *maps.shape[:2]), dtype=torch.float32, device=maps.device)
    counts = torch.empty((4, *maps.shape[:2]), dtype=torch.int64, device=maps.device)
    block = min(_BLOCK, 2 ** math.ceil(math.log2(max(positions, 16))))
    rows = max(1, _BLOCK // block)
    _kernels.reduce_maps[(-(-count // rows),)](
        maps, numbers, counts, count, positions, maps.shape[3], 0.0 if ceiling is None else float(ceiling),
        HAS_CEILING=ceiling is not None, ROWS=rows, BLOCK=block,
    )  # fmt: skip
    names = "peaks", "means", "magnitudes", "deviations", "rows", "columns", "active", "saturated"
    return dict(zip(names, (*numbers.unbind(), *counts.unbind()), strict=True))

"""Steps that a processor does in one pass over memory where PyTorch takes many.

Numba, which is an extra of this package, compiles them when they are first needed, and keeps what it compiled. Without
it, or where it cannot compile, what calls these functions does the same with PyTorch's operations.
"""

from __future__ import annotations

import importlib
import logging
import math
import os
from typing import Any

import numpy as np
import torch
from torch import Tensor

from convscope_core.locks import Lock, made_once

__all__ = ["maps_reduced", "of_use", "tile_inputs", "tile_results"]

logger = logging.getLogger(__name__)

CANCELLED = 0.01
"""Share of the squares that has to remain as deviations, so that at most two digits of float32 are lost."""

STEPS = ("maps", "tiles")

_kernels: dict[str, Any] = {}
_under_way: list[str] = []
_making = Lock()


def of_use(step: str, t: Tensor) -> bool:
    """Tell whether a step is computed here for such a tensor: of float32, on a CPU, in a process in which Numba works.

    Parameters
    ----------
    step : {"maps", "tiles"}
        `maps_reduced`, or `tile_inputs` and `tile_results`. It is compiled when it is first asked for.
    t : Tensor
    """
    if t.device.type != "cpu" or t.dtype != torch.float32 or type(t) not in (Tensor, torch.nn.Parameter):
        return False
    return made_once(_kernels, step, lambda: _working(step), _making) is not None


def _working(step: str) -> Any:
    """Compile a step, and look at what it gives."""
    _under_way.append(step)
    try:
        kernels = importlib.import_module("convscope_core.compiled_kernels")
        if not kernels.compiles():
            logger.info("%s are computed without Numba, which is slower: NUMBA_DISABLE_JIT is set", step)
        elif {"maps": kernels.maps_right, "tiles": kernels.tiles_right}[step]():
            return kernels
        else:
            logger.warning("%s are computed without Numba, which is slower: it gives other numbers", step)
    except ImportError as e:
        logger.info("%s are computed without Numba, which is slower: %s", step, e)
    except Exception as e:  # it has nowhere to keep what it compiled, or what it kept is damaged...
        logger.warning(
            "%s are computed without Numba, which is slower: %s: %s. Remove its files compiled_kernels*.nb*, which are "
            "made again, or name another folder for them (NUMBA_CACHE_DIR).",
            step, type(e).__name__, e,
        )  # fmt: skip
    finally:
        if _under_way:
            _under_way.pop()
    return None


def _do_without() -> None:
    """Leave undone what another thread was doing when this process was forked: it held Numba's locks, and is gone."""
    if _under_way:
        _under_way.clear()
        for step in STEPS:
            _kernels.setdefault(step, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_do_without)


def _array(t: Tensor) -> np.ndarray[Any, Any]:
    """Return values to read as an array in one piece, which is all that is compiled; where they are not, a copy."""
    return np.ascontiguousarray(t.resolve_neg().numpy())


def _single(value: float) -> Any:
    """Round a number to NumPy's single precision, in which what is too large is infinite."""
    return np.float32(math.copysign(math.inf, value) if abs(value) > float(np.finfo(np.float32).max) else value)


def maps_reduced(maps: Tensor, ceiling: float | None, signed: bool, places: Tensor | None) -> dict[str, Tensor]:
    """Reduce maps (N, C, h, w), float32, of which the channels of a position lie side by side in memory.

    Sums are those of a few values in float32, added in float64, in an order that is the same however many pictures
    there are.

    Parameters
    ----------
    maps, ceiling, signed, places
        See `convscope_core.survey.by_position.reduced`.

    Returns
    -------
    dict of str to tensor
        Each (N, C): ``peaks``, ``means``, ``magnitudes``, ``deviations``, ``rows`` and ``columns`` (of equal values the
        first, in row-major order), ``active``, ``saturated``.
    """
    count, channels, height, width = maps.shape
    numbers = torch.empty((4, count, channels), dtype=torch.float32, device="cpu")
    counts = torch.empty((4, count, channels), dtype=torch.int64, device="cpu")
    known = np.empty((0, 0), np.int64) if places is None else _array(places.expand(count, channels))
    _kernels["maps"].reduce_maps(
        _array(maps.permute(0, 2, 3, 1).reshape(count, height * width, channels)), width,
        _single(0.0 if ceiling is None else float(ceiling)), ceiling is not None, signed, CANCELLED, known,
        places is not None, numbers.numpy(), counts.numpy(),
    )  # fmt: skip
    names = "peaks", "means", "magnitudes", "deviations", "rows", "columns", "active", "saturated"
    return dict(zip(names, (*numbers.unbind(), *counts.unbind()), strict=True))


def tile_inputs(x: Tensor, tiles: tuple[slice, slice], out: Tensor, first: int) -> None:
    """Transform what tiles of 4x4 results read, as `convscope_core.graph.kernels` says.

    Parameters
    ----------
    x : Tensor
        (N, C, 4 a + 2, 4 b + 2), float32 in channels-last memory.
    tiles : (slice, slice)
        Rows and columns of tiles, with both ends.
    out : Tensor
        (36, tiles, C), contiguous.
    first : int
        Where in it they begin.
    """
    rows, columns = tiles
    _kernels["tiles"].tile_inputs(
        _array(x.permute(0, 2, 3, 1)), rows.start, rows.stop, columns.start, columns.stop, out.numpy(), first
    )


def tile_results(products: Tensor, first: int, bias: Tensor | None, tiles: tuple[slice, slice], out: Tensor) -> None:
    """Make results of the products of transformed tiles and kernels.

    Parameters
    ----------
    products : Tensor
        (36, tiles, K), contiguous.
    first : int
        Where in it these begin.
    bias : Tensor or None
        (K,).
    tiles : (slice, slice)
        Rows and columns of tiles, with both ends.
    out : Tensor
        (N, 4 a, 4 b, K), contiguous.
    """
    rows, columns = tiles
    added = np.zeros(out.shape[3], np.float32) if bias is None else _array(bias)
    _kernels["tiles"].tile_results(
        products.numpy(), first, added, rows.start, rows.stop, columns.start, columns.stop, out.numpy()
    )

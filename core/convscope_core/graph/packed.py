"""Convolutions and products whose kernels lie in memory in the form in which oneDNN computes with them.

PyTorch hands a processor's convolution its kernel in one of its own layouts, and oneDNN brings it into another at every
call: for a single picture that takes as long as the convolution. PyTorch's products of matrices go to MKL, which on
processors of other makers than Intel computes with half the width of their vectors; oneDNN does not.

On Intel's own MKL is the faster, but for matrices that meet few rows, which it packs at every call.

Both are in PyTorch as operations that take what was packed before, made for compiled models. They have no derivative
and no documentation. Where they are missing, or give something else, what calls these functions does without.
"""

from __future__ import annotations

import functools
import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from convscope_core.graph.node import Node

__all__ = ["by_intel", "convolution", "kernel", "of_use", "product", "takes"]

logger = logging.getLogger(__name__)

#: Where it has been measured. Elsewhere PyTorch is built with other libraries, and oneDNN with other kernels.
_MACHINES = frozenset({"x86_64", "amd64"})

#: What Linux says of the processor; elsewhere Python knows.
_PROCESSOR = Path("/proc/cpuinfo")

#: In which they compute, whatever the type of a kernel.
_TYPE = torch.float32

_ops: Any = torch.ops.mkldnn


def of_use(t: Tensor) -> bool:
    """Tell whether these functions take a tensor: of float32, on a processor."""
    return t.device.type == "cpu" and t.dtype == _TYPE and _works()


@functools.cache
def by_intel() -> bool:
    """Tell whether the processor is one of Intel's, for which MKL is made.

    Ways to compute are chosen by it, and not by trying, so that the results of a machine keep their bits.
    """
    described = _PROCESSOR.read_text(errors="replace") if _PROCESSOR.exists() else platform.processor()
    return "GenuineIntel" in described


def takes(n: Node) -> bool:
    """Tell whether a node is a convolution of maps with a constant kernel that oneDNN computes with, when packed.

    Not of a single map: with some strides, for results that are one column wide, oneDNN 3.12 then reads memory that is
    not the map's. There is next to nothing to pack in such a kernel.
    """
    if n.kind != "conv" or len(n.shape) != 3 or not n.batched:
        return False
    weight, bias = n["weight"], n["bias"]
    if not isinstance(weight, Tensor) or not (bias is None or isinstance(bias, Tensor)):
        return False
    return weight.shape[1] * int(n["groups"]) > 1


def kernel(n: Node, size: tuple[int, ...]) -> Tensor:
    """Return the kernel of a convolution as `convolution` takes it.

    Parameters
    ----------
    n : Node
        One that this `takes`.
    size : tuple of int
        (N, C, H, W), what it is mostly computed from. For others the kernel may be brought into another form at every
        call, as it would be without packing.
    """
    with torch.inference_mode():
        packed: Tensor = _ops._reorder_convolution_weight(
            n["weight"].detach().to(_TYPE), n["padding"], n["stride"], n["dilation"], n["groups"], size
        )
    return packed


def convolution(n: Node, packed: Tensor, padding: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    """Return what computes a convolution, in channels-last memory and without derivative.

    Parameters
    ----------
    n : Node
        One that this `takes`.
    packed : tensor
        Of `kernel`.
    padding : (int, int)
        In place of the node's own.
    """
    stride, dilation, groups = n["stride"], n["dilation"], n["groups"]
    bias = None if n["bias"] is None else n["bias"].detach().to(_TYPE)
    compute = _ops._convolution_pointwise.default

    def convolved(x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        found: Tensor = compute(x, packed, bias, padding, stride, dilation, groups, "none", [], "")
        return found

    return convolved


def product(matrix: Tensor, bias: Tensor | None = None) -> Callable[[Tensor], Tensor]:
    """Return what multiplies rows (..., C) by a constant matrix (C, K), and adds a bias, without derivative."""
    with torch.inference_mode():
        packed = _ops._reorder_linear_weight(matrix.detach().to(_TYPE).T.contiguous(), None)
    added = None if bias is None else bias.detach().to(_TYPE)
    multiply = _ops._linear_pointwise.default

    def multiplied(x: Tensor) -> Tensor:
        found: Tensor = multiply(x.contiguous(), packed, added, "none", [], "")
        return found

    return multiplied


@functools.cache
def _works() -> bool:
    """Compute a convolution and a product, and look at what they give."""
    if platform.machine().lower() not in _MACHINES or not torch._C._has_mkldnn:
        return False
    try:
        draw = torch.Generator("cpu").manual_seed(0)
        # What is found holds for the whole process, whatever is set around the first call.
        usual: dict[str, Any] = {"dtype": _TYPE, "device": "cpu", "generator": draw}
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            x, w, bias = (torch.randn(*size, **usual) for size in ((2, 16, 5, 6), (32, 16, 3, 3), (32,)))
            how = {"stride": (1, 2), "padding": (1, 0), "dilation": (1, 1), "groups": 1}
            node = Node("probe", "conv", None, {"weight": w, "bias": bias, **how}, (32, 5, 2))
            found = convolution(node, kernel(node, tuple(x.shape)), (1, 1))(x)
            expected = torch.conv2d(x, w, bias, (1, 2), (1, 1))
            a, b = x.reshape(-1, 30), w.reshape(-1, 48)[:30]
            return torch.allclose(found, expected, atol=1e-4) and torch.allclose(product(b)(a), a @ b, atol=1e-4)
    except Exception as e:  # another PyTorch, or one that was built without it
        logger.info("without packed kernels, which is slower: %s: %s", type(e).__name__, e)
        return False

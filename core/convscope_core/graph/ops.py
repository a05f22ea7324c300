# fmt: off
"""The vocabulary of the graph: what each aten operation is called here, and its arguments in one normal form.

PyTorch has several spellings for most operations (``relu_``, ``clamp(min=0)``, ``clamp_min(0)``; ``max_pool2d`` with
and without indices; ``view``, ``reshape``, ``flatten``). A walk over the graph should meet one. `normalise` gives each
operation a `kind`, an overload that computes it without side effect, and arguments by name:

=======================  ===========================================================================================
kind                     arguments besides the input, and what is known of them
=======================  ===========================================================================================
conv                     weight, bias or None, stride, padding, dilation (pairs), groups; 2-D, zero padding
conv1d, conv3d           as conv, with one number, or three, an axis
conv_transpose           weight, bias or None, stride, padding, output_padding, dilation (pairs), groups
linear                   weight, bias or None
batch_norm               weight, bias, running_mean, running_var, eps (evaluation mode: an affine map per channel)
layer_norm, group_norm,  as in aten
instance_norm
local_response_norm      size, alpha, beta, k (alpha is divided by size, as in PyTorch)
relu, relu6              none, however they were spelled
hardtanh, clamp,         as in aten
leaky_relu, elu, ...
activation               steps, constants: a function that PyTorch has no operation for (see graph/elementwise.py)
max_pool                 kernel_size, stride, padding, dilation (pairs), ceil_mode
avg_pool                 kernel_size, stride, padding (pairs), ceil_mode, count_include_pad, divisor_override
adaptive_avg_pool,       output_size (pair)
adaptive_max_pool
aten.amax, aten.amin     dim (tuple), keepdim; of ``max(dim)`` the values
mean                     dim (tuple, counted from 0 with the batch), keepdim
add, sub, mul, div       other (a node), alpha for add and sub
shift, scale             one of input and other is a number or a constant tensor
cat                      tensors (tuple), dim
flatten                  to one axis a picture
reshape                  shape (-1 at the batch axis)
permute                  dims, all axes
slice                    dim, start, end, step
select                   dim, index
pad                      pad (as in ``torch.nn.functional.pad``), mode, value
softmax, log_softmax     dim
=======================  ===========================================================================================

Anything else keeps its aten name (``"aten.einsum"``) and its aten arguments: it still runs.
"""
# fmt: on

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F

from convscope_core.graph.node import Node, map_values

__all__ = [
    "ACTIVATIONS",
    "COPIES",
    "ELEMENTWISE",
    "IDENTITIES",
    "POOLS",
    "RECTIFIERS",
    "STOP",
    "Spec",
    "bind",
    "is_decided_by_rounding",
    "kernel_size",
    "normalise",
    "spec",
    "twin",
]

aten = torch.ops.aten

#: Rectifiers: zero for every negative input, the identity above (up to a ceiling).
RECTIFIERS = frozenset({"relu", "relu6"})

#: Elementwise nonlinearities that belong to the layer which they directly follow.
ACTIVATIONS = RECTIFIERS | {
    "hardtanh", "clamp", "leaky_relu", "prelu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus",
    "hardswish", "hardsigmoid", "sigmoid", "tanh", "threshold", "hardshrink", "softshrink", "log_sigmoid",
    "activation",
}  # fmt: skip

#: Where a network stops the gradient: its value passes, no signal does.
STOP = "aten.detach"

#: Kinds whose output at a position depends on the inputs at that position only (after broadcasting).
ELEMENTWISE = ACTIVATIONS | {"batch_norm", "add", "sub", "mul", "div", "shift", "scale", STOP}

POOLS = frozenset({"max_pool", "avg_pool", "adaptive_avg_pool", "adaptive_max_pool"})

#: Operations that return their input, or a copy of it, in evaluation mode. Value: whether it is the very same
#: memory.
IDENTITIES: Mapping[str, bool] = {
    "aten.dropout.default": True,
    "aten.dropout_.default": True,
    "aten.feature_dropout.default": True,
    "aten.feature_dropout_.default": True,
    "aten.alpha_dropout.default": True,
    "aten.alpha_dropout_.default": True,
    "aten.feature_alpha_dropout.default": True,
    "aten.feature_alpha_dropout_.default": True,
    "aten.alias.default": True,
    "aten.positive.default": True,
    "aten.contiguous.default": False,
    "aten.clone.default": False,
    "aten.lift_fresh_copy.default": False,
    "aten.to.dtype": False,
    "aten.to.device": False,
    "aten.to.dtype_layout": False,
    "aten.to.other": False,
    "aten._to_copy.default": False,
    "aten.type_as.default": False,
}


#: Operations that return what is copied into a tensor (assigning to a slice is one), which have no derivative.
COPIES = frozenset({"aten.copy.default"})


@dataclass(frozen=True)
class Spec:
    """An operation in normal form: what it is, what computes it, and with which arguments in which order."""

    kind: str
    op: Callable[..., Any]
    args: dict[str, Any]
    keywords: frozenset[str] = frozenset()


#: Operations that tell equal values from nearly equal ones.
_COMPARISONS = frozenset(f"aten.{name}" for name in ("eq", "ne", "ge", "le", "gt", "lt"))

#: Operations that put values where the greatest was found, which of equal ones is the first.
_PLACES = frozenset({"aten.max_unpool2d", "aten.max_unpool3d"})


def is_decided_by_rounding(n: Node) -> bool:
    """Tell whether an operation tells equal values of maps from nearly equal ones.

    Values are equal exactly where a map meets its own maximum, and neighbours are wherever an occluder is of one
    colour; PyTorch's plain convolutions keep them so. Kernels that round otherwise from position to position
    (channels-last, windows) would make them differ.
    """
    if n.kind in _COMPARISONS:
        return len({i for i in n.inputs if i.kind != "size"}) > 1
    return n.kind in _PLACES


def bind(target: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of an aten overload by name, defaults filled in; ``self`` is called ``input``."""
    bound: dict[str, Any] = {}
    for i, a in enumerate(target._schema.arguments):
        name = "input" if a.name == "self" else a.name
        if i < len(args) and not a.kwarg_only:
            bound[name] = args[i]
        elif a.name in kwargs:
            bound[name] = kwargs[a.name]
        else:
            bound[name] = a.default_value
        if isinstance(bound[name], list):
            bound[name] = tuple(bound[name])
    return bound


def spec(kind: str, target: Any, args: dict[str, Any]) -> Spec:
    """Return a `Spec` for an aten overload; the names of keyword-only arguments come from its schema."""
    only = frozenset("input" if a.name == "self" else a.name for a in target._schema.arguments if a.kwarg_only)
    return Spec(kind, target, args, only & args.keys())


def twin(target: Any) -> Any | None:
    """Return the overload that computes what an in-place overload writes, or None if there is none."""
    name = target._schema.name.split("::")[1]
    if not name.endswith("_"):
        return None
    packet = getattr(aten, name[:-1], None)
    return getattr(packet, target._overloadname, None) if packet is not None else None


def kernel_size(node: Node) -> tuple[int, ...]:
    """Return the kernel of a convolution or of a pool (not an adaptive one), as one number an axis."""
    if "weight" in node.args:
        return tuple(node["weight"].shape[2:])
    size: tuple[int, ...] = node["kernel_size"]
    return size


def normalise(target: Any, a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    """Return the normal form of one operation.

    Parameters
    ----------
    target : torch._ops.OpOverload
        The operation; it must not write to its arguments (see `twin`).
    a : dict
        Its arguments as `bind` returns them.
    shape : tuple of int
        The shape of its result, with the batch axis if there is one (-1 for each axis that is not a
        constant).
    batched : bool
        Whether axis 0 of the result is the batch axis.
    """
    handler = _HANDLERS.get(str(target))
    made = handler(a, shape, batched) if handler is not None else None
    if made is not None:
        return made
    kind = _SAME.get(str(target)) or target._schema.name.replace("::", ".")
    return spec(kind, target, a)


# -- one function for each family of spellings --


def _pair(v: Any, n: int = 2) -> tuple[int, ...]:
    v = tuple(v) if isinstance(v, (tuple, list)) else (v,)
    made: tuple[int, ...] = v * n if len(v) == 1 else v
    return made


def _conv(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape, batched
    weight = a["weight"]
    if not isinstance(weight, torch.Tensor) or isinstance(a["bias"], Node):
        return None  # a kernel that is computed from the picture: not a layer with weights
    axes = weight.dim() - 2
    padding = a["padding"]
    dilation = _pair(a["dilation"], axes)
    if isinstance(padding, str):
        total = (
            [0] * axes if padding == "valid" else [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
        )
        if any(t % 2 for t in total):
            return None  # asymmetric: a pad node comes first, see `same_padding`
        padding = tuple(t // 2 for t in total)
    args = {
        "input": a["input"],
        "weight": weight,
        "bias": a["bias"],
        "stride": _pair(a["stride"], axes),
        "padding": _pair(padding, axes),
        "dilation": dilation,
    }
    if a.get("transposed"):
        kind, op = (
            "conv_transpose" if axes == 2 else f"conv_transpose{axes}d",
            (aten.conv_transpose1d, aten.conv_transpose2d, aten.conv_transpose3d)[axes - 1],
        )
        args = {k: args[k] for k in ("input", "weight", "bias", "stride", "padding")}
        args |= {"output_padding": _pair(a["output_padding"], axes), "groups": a["groups"], "dilation": dilation}
        return Spec(kind, op.default if axes == 1 else op.input, args)
    args["groups"] = a["groups"]
    kind, op = (("conv1d", aten.conv1d), ("conv", aten.conv2d), ("conv3d", aten.conv3d))[axes - 1]
    return Spec(kind, op.default, args)


def _conv_transpose(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    return _conv(a | {"transposed": True}, shape, batched)


def same_padding(a: Mapping[str, Any]) -> tuple[int, ...] | None:
    """Return the padding (last axis first) of a convolution with asymmetric ``padding="same"``, or None."""
    if a.get("padding") != "same" or not isinstance(a.get("weight"), torch.Tensor):
        return None
    kernel = a["weight"].shape[2:]
    total = [d * (k - 1) for d, k in zip(_pair(a["dilation"], len(kernel)), kernel, strict=True)]
    if not any(t % 2 for t in total):
        return None
    return tuple(p for t in reversed(total) for p in (t // 2, t - t // 2))


def _linear(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape, batched
    if not isinstance(a["weight"], torch.Tensor) or isinstance(a["bias"], Node):
        return None
    return Spec("linear", aten.linear.default, {k: a[k] for k in ("input", "weight", "bias")})


def _addmm(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape
    weight, bias = a["mat2"], a["input"]
    plain = a["beta"] == 1 and a["alpha"] == 1 and isinstance(weight, torch.Tensor)
    if not (batched and plain and isinstance(bias, torch.Tensor) and bias.dim() == 1):
        return None
    return Spec("linear", aten.linear.default, {"input": a["mat1"], "weight": weight.t(), "bias": bias})


def _batch_norm(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape, batched
    if a.get("training") or a["running_mean"] is None or a["running_var"] is None:
        return None
    args = {k: a[k] for k in ("input", "weight", "bias", "running_mean", "running_var", "eps")}
    return Spec("batch_norm", affine, args)


def affine(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    mean: torch.Tensor,
    var: torch.Tensor,
    eps: float,
) -> torch.Tensor:
    """Return batch norm in evaluation mode: ``(x - mean) / sqrt(var + eps) * weight + bias``, per channel."""
    return torch.batch_norm(x, weight, bias, mean, var, False, 0.0, eps, True)


def local_response_norm(x: torch.Tensor, size: int, alpha: float, beta: float, k: float) -> torch.Tensor:
    """Return ``x / (k + alpha / size * sum of x² over `size` neighbouring channels) ** beta``."""
    return F.local_response_norm(x, size, alpha, beta, k)


def _relu_or_clamp(kind: str, overload: Any, low: str, high: str) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del shape, batched
        lo, hi = a.get(low), a.get(high)
        if isinstance(lo, (int, float)) and lo == 0 and hi is None:
            return Spec("relu", aten.relu.default, {"input": a["input"]})
        if isinstance(lo, (int, float)) and lo == 0 and isinstance(hi, (int, float)) and hi == 6:
            return Spec("relu6", aten.hardtanh.default, {"input": a["input"], "min_val": 0.0, "max_val": 6.0})
        return spec(kind, overload, a)

    return handler


def _relu6(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del shape, batched
    return Spec("relu6", aten.hardtanh.default, {"input": a["input"], "min_val": 0.0, "max_val": 6.0})


def _threshold(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del shape, batched
    if a["threshold"] == 0 and a["value"] == 0:
        return Spec("relu", aten.relu.default, {"input": a["input"]})
    return spec("threshold", aten.threshold.default, a)


def _max_pool(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del shape, batched
    kernel = _pair(a["kernel_size"])
    args = {
        "input": a["input"],
        "kernel_size": kernel,
        "stride": _pair(a["stride"]) if a["stride"] else kernel,
        "padding": _pair(a["padding"]),
        "dilation": _pair(a["dilation"]),
        "ceil_mode": a["ceil_mode"],
    }
    return Spec("max_pool", aten.max_pool2d.default, args)


def _avg_pool(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del shape, batched
    kernel = _pair(a["kernel_size"])
    args = {
        "input": a["input"],
        "kernel_size": kernel,
        "stride": _pair(a["stride"]) if a["stride"] else kernel,
        "padding": _pair(a["padding"]),
        "ceil_mode": a["ceil_mode"],
        "count_include_pad": a["count_include_pad"],
        "divisor_override": a["divisor_override"],
    }
    return Spec("avg_pool", aten.avg_pool2d.default, args)


def _adaptive(kind: str, op: Callable[..., Any]) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del batched
        return Spec(kind, op, {"input": a["input"], "output_size": tuple(shape[-2:])})

    return handler


def adaptive_max_pool(x: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
    """Return the adaptive max pool without its indices."""
    pooled: torch.Tensor = aten.adaptive_max_pool2d.default(x, output_size)[0]
    return pooled


def _binary(kind: str, constant: str) -> Callable[..., Spec]:
    overloads = {"add": aten.add, "sub": aten.sub, "mul": aten.mul, "div": aten.div}

    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del shape, batched
        both = isinstance(a["input"], Node) and isinstance(a["other"], Node)
        inverse = kind == "div" and not isinstance(a["input"], Node)
        name = kind if both else (f"aten.{kind}" if inverse else constant)
        scalar = isinstance(a["other"], (int, float))
        return spec(name, overloads[kind].Scalar if scalar else overloads[kind].Tensor, a)

    return handler


def _rsub(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape, batched
    if not (isinstance(a["other"], Node) and a["alpha"] == 1):
        return None
    return spec("sub", aten.sub.Tensor, {"input": a["other"], "other": a["input"], "alpha": 1})


def _mean(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    del shape, batched
    if not isinstance(a["input"], Node) or not a["dim"] or not a["input"].batched:
        return None
    rank = len(a["input"].shape) + 1
    a = a | {"dim": tuple(sorted(d % rank for d in a["dim"]))}
    return spec("mean", aten.mean.dim, a)


def _winner(kind: str, op: Callable[..., Any]) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del batched
        rank = len(shape) if a["keepdim"] else len(shape) + 1
        return Spec(kind, op, {"input": a["input"], "dim": (a["dim"] % rank,), "keepdim": a["keepdim"]})

    return handler


def max_along(x: torch.Tensor, dim: tuple[int], keepdim: bool) -> torch.Tensor:
    """Return the largest values along an axis, without where they are; of values that tie, the first."""
    found: torch.Tensor = aten.max.dim(x, dim[0], keepdim)[0]
    return found


def min_along(x: torch.Tensor, dim: tuple[int], keepdim: bool) -> torch.Tensor:
    """Return the smallest values along an axis, without where they are; of values that tie, the first."""
    found: torch.Tensor = aten.min.dim(x, dim[0], keepdim)[0]
    return found


def max_pool3d(x: torch.Tensor, *window: Any) -> torch.Tensor:
    """Return a pool of a volume, laid out as PyTorch takes it: a map in channels-last is none to it."""
    pooled: torch.Tensor = aten.max_pool3d.default(x.contiguous(), *window)
    return pooled


def view_as_complex(x: torch.Tensor) -> torch.Tensor:
    """Return pairs as complex numbers; the two of a pair have to be neighbours in memory."""
    found: torch.Tensor = aten.view_as_complex.default(x.contiguous())
    return found


def matrix_exp(x: torch.Tensor) -> torch.Tensor:
    """Return matrix exponentials; PyTorch takes several matrices only as it lays them out by itself."""
    found: torch.Tensor = aten.matrix_exp.default(x.contiguous())
    return found


def as_strided(x: torch.Tensor, *places: Any) -> torch.Tensor:
    """Return values by their places in memory, which are those of a tensor as PyTorch lays it out by itself."""
    found: torch.Tensor = aten.as_strided.default(x.contiguous(), *places)
    return found


def _as_given(kind: str, op: Callable[..., Any]) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del shape, batched
        return Spec(kind, op, a)

    return handler


def _cat(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del batched
    return Spec("cat", aten.cat.default, {"tensors": a["tensors"], "dim": a["dim"] % len(shape)})


def _reshape(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    if shape.count(-1) > 1:
        return None
    kind = "flatten" if batched and len(shape) == 2 else "reshape"
    return Spec(kind, aten.reshape.default, {"input": a["input"], "shape": shape})


def _permute(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
    del batched
    rank = len(shape)
    return Spec("permute", aten.permute.default, {"input": a["input"], "dims": tuple(d % rank for d in a["dims"])})


def _transpose(first: str, second: str) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del batched
        rank = len(shape)
        dims = list(range(rank))
        i, j = a[first] % rank, a[second] % rank
        dims[i], dims[j] = dims[j], dims[i]
        return Spec("permute", aten.permute.default, {"input": a["input"], "dims": tuple(dims)})

    return handler


def _slice(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    x = a["input"]
    rank = len(shape)
    dim = a["dim"] % rank
    if not (isinstance(x, Node) and batched and dim) or any(isinstance(a[k], Node) for k in ("start", "end")):
        return None
    if x.shape[dim - 1] < 0:
        return None  # along a second axis of pictures, whose length is not constant
    start, end, step = slice(a["start"], a["end"], a["step"]).indices(x.shape[dim - 1])
    args = {"input": x, "dim": dim, "start": start, "end": end, "step": step}
    return Spec("slice", aten.slice.Tensor, args)


def _narrow(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    if isinstance(a["start"], Node) or isinstance(a["length"], Node):
        return None
    start = a["start"]
    bounds = {"start": start, "end": start + a["length"], "step": 1} if start >= 0 else None
    return _slice({"input": a["input"], "dim": a["dim"], **bounds}, shape, batched) if bounds else None


def _select(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec | None:
    x = a["input"]
    dim = a["dim"] % (len(shape) + 1)
    if not (isinstance(x, Node) and batched and dim and isinstance(a["index"], int)) or x.shape[dim - 1] < 0:
        return None
    index = a["index"] % x.shape[dim - 1]
    return Spec("select", aten.select.int, {"input": x, "dim": dim, "index": index})


def _pad(mode: str | None) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del shape, batched
        pad = a.get("pad", a.get("padding"))
        value = a.get("value")
        args = {"input": a["input"], "pad": pad, "mode": mode or a["mode"], "value": value}
        return Spec("pad", aten.pad.default, args)

    return handler


def _norm(kind: str, overload: Any, keys: tuple[str, ...]) -> Callable[..., Spec]:
    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del shape, batched
        return Spec(kind, overload, {k: a[k] for k in keys})

    return handler


def _softmax(kind: str) -> Callable[..., Spec]:
    overload = aten.softmax.int if kind == "softmax" else aten.log_softmax.int

    def handler(a: dict[str, Any], shape: tuple[int, ...], batched: bool) -> Spec:
        del batched
        return Spec(kind, overload, {"input": a["input"], "dim": a["dim"] % len(shape)})

    return handler


_HANDLERS: dict[str, Callable[[dict[str, Any], tuple[int, ...], bool], Spec | None]] = {
    **dict.fromkeys(
        (
            "aten.conv1d.default", "aten.conv2d.default", "aten.conv3d.default",
            "aten.conv1d.padding", "aten.conv2d.padding", "aten.conv3d.padding",
            "aten.convolution.default",
        ),
        _conv,
    ),
    **dict.fromkeys(
        ("aten.conv_transpose1d.default", "aten.conv_transpose2d.input", "aten.conv_transpose3d.input"),
        _conv_transpose,
    ),
    "aten.linear.default": _linear,
    "aten.addmm.default": _addmm,
    "aten.batch_norm.default": _batch_norm,
    "aten._native_batch_norm_legit_no_training.default": _batch_norm,
    "aten.layer_norm.default": _norm(
        "layer_norm", aten.layer_norm.default, ("input", "normalized_shape", "weight", "bias", "eps")
    ),
    "aten.native_layer_norm.default": _norm(
        "layer_norm", aten.layer_norm.default, ("input", "normalized_shape", "weight", "bias", "eps")
    ),
    "aten.clamp.default": _relu_or_clamp("clamp", aten.clamp.default, "min", "max"),
    "aten.clip.default": _relu_or_clamp("clamp", aten.clamp.default, "min", "max"),
    "aten.clamp_min.default": _relu_or_clamp("clamp", aten.clamp_min.default, "min", "max"),
    "aten.hardtanh.default": _relu_or_clamp("hardtanh", aten.hardtanh.default, "min_val", "max_val"),
    "aten.relu6.default": _relu6,
    "aten.threshold.default": _threshold,
    "aten.max_pool2d.default": _max_pool,
    "aten.max_pool2d_with_indices.default": _max_pool,
    "aten.avg_pool2d.default": _avg_pool,
    "aten.adaptive_avg_pool2d.default": _adaptive("adaptive_avg_pool", aten.adaptive_avg_pool2d.default),
    "aten._adaptive_avg_pool2d.default": _adaptive("adaptive_avg_pool", aten.adaptive_avg_pool2d.default),
    "aten.adaptive_max_pool2d.default": _adaptive("adaptive_max_pool", adaptive_max_pool),
    **{
        f"aten.{kind}.{overload}": _binary(kind, constant)
        for kind, constant in (("add", "shift"), ("sub", "shift"), ("mul", "scale"), ("div", "scale"))
        for overload in ("Tensor", "Scalar")
    },
    "aten.rsub.Tensor": _rsub,
    "aten.mean.dim": _mean,
    "aten.max.dim": _winner("aten.amax", max_along),
    "aten.min.dim": _winner("aten.amin", min_along),
    "aten.max_pool3d.default": _as_given("aten.max_pool3d", max_pool3d),
    "aten.view_as_complex.default": _as_given("aten.view_as_complex", view_as_complex),
    "aten.matrix_exp.default": _as_given("aten.matrix_exp", matrix_exp),
    "aten.linalg_matrix_exp.default": _as_given("aten.matrix_exp", matrix_exp),
    "aten.as_strided.default": _as_given("aten.as_strided", as_strided),
    "aten.max.other": _as_given("aten.maximum", aten.maximum.default),
    "aten.min.other": _as_given("aten.minimum", aten.minimum.default),
    "aten.cat.default": _cat,
    "aten.concat.default": _cat,
    **dict.fromkeys(
        (
            "aten.reshape.default", "aten.view.default", "aten._unsafe_view.default",
            "aten.flatten.using_ints", "aten.unflatten.int",
            "aten.squeeze.default", "aten.squeeze.dim", "aten.squeeze.dims",
            "aten.unsqueeze.default",
        ),
        _reshape,
    ),
    "aten.permute.default": _permute,
    "aten.transpose.int": _transpose("dim0", "dim1"),
    "aten.swapaxes.default": _transpose("axis0", "axis1"),
    "aten.swapdims.default": _transpose("dim0", "dim1"),
    "aten.slice.Tensor": _slice,
    "aten.narrow.default": _narrow,
    "aten.select.int": _select,
    "aten.pad.default": _pad(None),
    "aten.constant_pad_nd.default": _pad("constant"),
    "aten.reflection_pad2d.default": _pad("reflect"),
    "aten.replication_pad2d.default": _pad("replicate"),
    "aten.softmax.int": _softmax("softmax"),
    "aten._softmax.default": _softmax("softmax"),
    "aten.log_softmax.int": _softmax("log_softmax"),
    "aten._log_softmax.default": _softmax("log_softmax"),
}  # fmt: skip

#: Operations whose aten arguments are already the normal form.
_SAME = {
    f"aten.{name}.default": name
    for name in (
        "relu", "leaky_relu", "elu", "selu", "celu", "silu", "gelu", "mish", "softplus", "hardswish",
        "hardsigmoid", "sigmoid", "tanh", "hardshrink", "softshrink", "log_sigmoid",
        "group_norm", "instance_norm",
    )
} | {
    "aten.prelu.default": "prelu",
    "aten._prelu_kernel.default": "prelu",
    "aten.clamp_max.default": "clamp",
}  # fmt: skip

#: Operations with several results of which the first, alone, is an operation with one.
FIRST_RESULT = frozenset(
    {
        "aten.max_pool2d_with_indices.default",
        "aten.adaptive_max_pool2d.default",
        "aten._native_batch_norm_legit_no_training.default",
        "aten.native_layer_norm.default",
        "aten.max.dim",
        "aten.min.dim",
    }
)


def one_of_several(target: Any, a: Mapping[str, Any], index: int) -> tuple[Any, dict[str, Any]] | None:
    """Return the operation, and its arguments, that gives one of several results alone; None where there is none."""
    name, _, overload = str(target).removeprefix("aten.").partition(".")
    if name in ("std_mean", "var_mean") and a.get("dim"):
        rest = {k: a[k] for k in ("input", "dim", "keepdim")}
        if index:
            return aten.mean.dim, {**rest, "dtype": None}
        alone = getattr(aten.std if name == "std_mean" else aten.var, overload)
        names = ["input" if arg.name == "self" else arg.name for arg in alone._schema.arguments]
        return alone, {k: a[k] for k in names}
    if name == "aminmax" and a.get("dim") is not None:
        alone = aten.amax.default if index else aten.amin.default
        return alone, {"input": a["input"], "dim": (a["dim"],), "keepdim": a["keepdim"]}
    return None


def size_spec(target: Callable[..., Any], args: tuple[Any, ...]) -> Spec | None:
    """Return the spec of arithmetic on sizes (``operator.mul``...), or None for anything else."""
    if target not in vars(operator).values():
        return None
    return Spec("size", target, {f"arg{i}": map_values(a) for i, a in enumerate(args)})

"""The neurons of a network that have patterns: what each layer's outputs are a linear function of, and what gates them.

A convolution, a linear layer, a residual sum and an average pool are all the same thing here: neurons y = w^T x over
inputs x, with weights of shape (outputs, inputs a group, *kernel), in groups that share no inputs. A sum of two maps
has, for each channel, the two weights of its operands; a pool has one kernel for each channel.

A unit (a channel) is one neuron, repeated at every position, but for transposed convolutions: with a stride s the
output at o reads the taps k with o + padding - k dilation divisible by s, so positions with another o mod s (another
phase) read other taps, and are another neuron. Each tap belongs to one phase, so that weights and all that has their
shape hold the neurons of all phases side by side; counts and sums of outputs are kept for each unit and phase.
Everything else has a single phase.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.graph.gates import gate_of
from convscope_core.graph.node import Graph, Node, needed_for
from convscope_core.graph.ops import ACTIVATIONS, RECTIFIERS
from convscope_core.network import Layer, Network, listed_layers

__all__ = ["EXTENDED", "GATES", "Neurons", "neurons_of"]

#: Kinds of neurons to which the paper's definition was extended here.
EXTENDED = frozenset({"add", "pool", "conv_transpose"})

#: What decides whether an output counts as active: a rectifier after the layer; another activation function, taken as
#: if it were one; the output's own sign, for the scores that end a network; nothing.
GATES = ("rectifier", "activation", "output", "none")

_CONVOLUTIONS = ("conv", "conv1d", "conv3d")

_TRANSPOSED = ("conv_transpose", "conv_transpose1d", "conv_transpose3d")

#: Activations that are no gates: their output is as telling on the one side of zero as on the other.
_SQUASHING = frozenset({"sigmoid", "hardsigmoid", "tanh", "log_sigmoid", "hardshrink", "softshrink"})

#: Operations between a layer and its rectifier that keep each value's sign, or the sign of the largest of a window.
_SIGN_KEEPING = frozenset(
    {
        "max_pool", "adaptive_max_pool", "aten.amax", "aten.maximum", "flatten", "reshape", "permute",
        "aten.upsample_nearest2d", "aten._upsample_nearest_exact2d", "aten.pixel_shuffle", "aten.pixel_unshuffle",
        "aten.channel_shuffle", "aten.native_channel_shuffle",
    }
)  # fmt: skip

#: Operations between a layer and its rectifier that change values channel by channel.
_AFFINE = frozenset({"batch_norm", "scale", "shift", "aten.neg", "aten.rsub"})


_ENOUGH = 128
"""Outputs from which on one factor alone is multiplied as fast as several on a CPU."""


@dataclass(frozen=True, eq=False)
class Neurons:
    """The neurons of one layer.

    Attributes
    ----------
    name : str
        Of the layer. A module that is called several times is a layer each time (``fc#2``), with patterns of its own.
    node : Node
        The operation, before the activation.
    kind : {"conv", "conv_transpose", "linear", "add", "pool"}
    weight : Tensor (outputs, inputs a group, *kernel)
        Units first, also of a transposed convolution; `stored` gives the operation's own layout.
    bias : Tensor (outputs,)
    groups : int
    gate : str
        One of `GATES`.
    through : tuple of Node
        Affine operations between the node and its rectifier, which may turn the sign.
    """

    name: str
    node: Node
    kind: str
    weight: Tensor = field(repr=False)
    bias: Tensor = field(repr=False)
    groups: int
    gate: str
    through: tuple[Node, ...]

    @property
    def outputs(self) -> int:
        """How many units there are: channels."""
        return len(self.weight)

    @property
    def fan_in(self) -> int:
        """How many inputs each unit has; of a transposed convolution, in the phase that has most."""
        return self.weight.shape[1] * int(self.phase.bincount().max())

    @property
    def strides(self) -> tuple[int, ...]:
        """How many phases there are along each axis of the map; empty for a single one."""
        return tuple(self.node["stride"]) if self.kind == "conv_transpose" else ()

    @property
    def phases(self) -> int:
        """How many neurons each unit has."""
        return math.prod(self.strides)

    @cached_property
    def phase(self) -> Tensor:
        """Int64 (taps,): the phase of each tap of the kernel, flattened. Phases of several axes count like digits."""
        found = torch.zeros(self.weight.shape[2:] if not self.strides else (), dtype=torch.int64)
        for axis, stride in enumerate(self.strides):
            k = torch.arange(self.weight.shape[2 + axis])
            found = found[..., None] * stride + (k * self.node["dilation"][axis] - self.node["padding"][axis]) % stride
        return found.flatten()

    def by_phase(self, value: Tensor) -> list[Tensor]:
        """Return views of an output's positions, phase by phase: (samples, outputs, *positions of the phase)."""
        found = [value]
        for axis, stride in enumerate(self.strides, 2):
            before = (slice(None),) * axis
            ways = [(*before, slice(first, None, stride)) for first in range(stride)]
            found = [part[way] for part in found for way in ways]
        return found

    def within(self, products: Tensor) -> Tensor:
        """Sum something of the weight's shape over the inputs of each neuron: float64 (outputs, phases)."""
        if self.phases == 1:
            return products.reshape(len(products), -1).sum(1, dtype=torch.float64)[:, None]
        taps = products.sum(1, dtype=torch.float64).reshape(len(products), -1)
        return taps @ F.one_hot(self.phase, self.phases).to(taps)

    def over(self, values: Tensor) -> Tensor:
        """Give each tap its neuron's value: (outputs, phases) to (outputs, 1, *kernel)."""
        return values[:, self.phase.to(values.device)].reshape(len(values), 1, *self.weight.shape[2:])

    def stored(self, weight: Tensor) -> Tensor:
        """Return something of the weight's shape in the layout in which the operation has its weight."""
        return _swapped(weight, self.groups) if self.kind == "conv_transpose" else weight

    def flat(self, value: Tensor) -> Tensor:
        """Return the node's value as (samples, outputs, *positions): leading axes of a linear layer are samples."""
        return value.reshape(-1, self.outputs) if self.kind == "linear" else value

    def gated(self, value: Tensor) -> Tensor:
        """Return the sign-deciding value: positive where the rectifier is open."""
        for n in self.through:
            assert n.op is not None
            args = [value if isinstance(a, Node) else a for a in n.args.values()]
            positional = [a for k, a in zip(n.args, args, strict=True) if k not in n.keywords]
            value = n.op(*positional, **{k: a for k, a in zip(n.args, args, strict=True) if k in n.keywords})
        return value

    def factors(self, value: Tensor, count: int) -> tuple[Tensor | None, list[Tensor]]:
        """Make room for several factors of each output of a convolution or pool, in the layout that `weighted` likes.

        Parameters
        ----------
        value : Tensor (samples, outputs, *positions)
            The node's value, `flat`.
        count : int

        Returns
        -------
        whole : Tensor (samples, count * outputs, *positions) or None
            All of them side by side, where that helps: products of few outputs are slow.
        factors : list of Tensor
            Uninitialised, each of the shape of `value`; views of `whole`.
        """
        if self.groups > 1 or (value.device.type == "cpu" and self.outputs >= _ENOUGH):
            return None, [torch.empty_like(value) for _ in range(count)]
        last = value.dim() == 4 and not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
        whole = torch.empty(
            (len(value), count * self.outputs, *value.shape[2:]),
            dtype=value.dtype,
            device=value.device,
            memory_format=torch.channels_last if last else torch.contiguous_format,
        )
        return whole, list(torch.split(whole, self.outputs, 1))

    def weighted(self, inputs: Sequence[Tensor], whole: Tensor | None, factors: Sequence[Tensor]) -> list[Tensor]:
        """Return, for each factor, the sum over samples and positions of every input of every output times the factor.

        The gradient that a convolution's weight would get if the factor were the gradient of its output: no patch is
        ever copied out of the maps.

        Parameters
        ----------
        inputs : sequence of Tensor
            Values of the node's inputs.
        whole, factors
            From `factors`.

        Returns
        -------
        list of Tensor (outputs, inputs a group, *kernel)
        """
        if self.kind == "pool" and factors[0].shape[2:].numel() == 1:  # the whole map is one window
            windows = [g.reshape(*g.shape[:2], 1, 1) for g in factors]
            return [(g * inputs[0]).sum(0)[:, None] for g in windows]
        if whole is None:
            return [self._gradient(inputs[0], g) for g in factors]
        # All factors as outputs of one layer, so that the inputs are read once.
        return list(torch.split(self._gradient(inputs[0], whole), self.outputs))

    def _gradient(self, x: Tensor, g: Tensor) -> Tensor:
        if g.dim() == 4 and g.is_contiguous(memory_format=torch.channels_last):
            # Pictures come channels first; where the two differ the first layer takes ten times as long.
            x = x.contiguous(memory_format=torch.channels_last)
        axes = self.weight.dim() - 2
        output_padding = self.node.args.get("output_padding", (0,) * axes)
        weight = self.stored(torch.empty((g.shape[1], *self.weight.shape[1:]), dtype=x.dtype, device=x.device))
        found: Tensor = torch.ops.aten.convolution_backward(
            g, x, weight, None, *self._windows, self.kind == "conv_transpose", output_padding, self.groups,
            (False, True, False),
        )[1]  # fmt: skip
        return self.stored(found)  # to units first: a swap is its own inverse

    def summed(self, inputs: Sequence[Tensor], value: Tensor) -> Tensor:
        """Return the sum over samples and positions of each input: (groups, inputs a group, *kernel)."""
        if self.kind == "linear":
            return inputs[0].reshape(-1, inputs[0].shape[-1]).sum(0)[None]
        if self.kind == "add":
            return torch.stack([_totals(x) for x in inputs], -1)
        # In the order in which values lie in memory: torch takes ten times as long for a sum that changes it.
        x = inputs[0]
        last = x.stride(1) == 1
        # One picture with the sum of all: a sum over positions does not care which picture they are of.
        found = (x.movedim(1, -1) if last else x).sum(0)
        if found.device.type != "mps":
            found = found.double()
        for axis, (*window, taps) in enumerate(zip(*self._windows, self.weight.shape[2:], strict=True)):
            place = axis if last else axis + 1
            out = value.shape[2 + axis] if value.dim() > 2 else 1
            reads = self._reads(found.shape[place], out, taps, *window)
            found = torch.stack([found[(slice(None),) * place + (read,)].sum(place) for read in reads], place)
        found = found.movedim(-1, 0) if last else found
        return found.reshape(self.groups, -1, *self.weight.shape[2:])

    def _reads(self, size: int, out: int, taps: int, stride: int, padding: int, dilation: int) -> list[slice]:
        """Return, for each tap along an axis, which inputs it reads, of all outputs."""
        found = []
        for offset in range(-padding, taps * dilation - padding, dilation):
            # The output at o reads the input at o * stride + offset; of a transposed convolution, that at i where o is
            # i * stride + offset.
            transposed = self.kind == "conv_transpose"
            count, limit = (size, out) if transposed else (out, size)
            first, end = max(0, -(offset // stride)), min(count, (limit - 1 - offset) // stride + 1)
            if end <= first:
                found.append(slice(0))
            elif transposed:
                found.append(slice(first, end))
            else:
                found.append(slice(first * stride + offset, (end - 1) * stride + offset + 1, stride))
        return found

    @property
    def _windows(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Stride, padding and dilation along each axis of the map."""
        args, kernel = self.node.args, tuple(self.weight.shape[2:])
        given = (args.get("stride", kernel), args.get("padding", (0,) * len(kernel)))
        return *given, args.get("dilation", (1,) * len(kernel))


def _swapped(weight: Tensor, groups: int) -> Tensor:
    """Swap inputs and outputs of each group: (groups * a, b, *kernel) to (groups * b, a, *kernel)."""
    return weight.reshape(groups, -1, *weight.shape[1:]).transpose(1, 2).flatten(0, 1).contiguous()


def _totals(x: Tensor) -> Tensor:
    """The sum of each channel."""
    return x.sum((0, *range(2, x.dim())))


def neurons_of(net: Network, layers: str | Layer | Iterable[str | Layer] | None = None) -> tuple[Neurons, ...]:
    """Return the neurons of a network that signals of its class scores pass on their way to the picture.

    Left out: what computes a multiplicative gate (squeeze-and-excite), which is held constant on the way back; sums
    that broadcast; average pools whose windows are cut off at the border.

    Parameters
    ----------
    net : Network
    layers : str, Layer or several of them, optional
        Only these. Default: all.

    Raises
    ------
    ArgumentError
        When the network has none, or a layer that was asked for has no patterns.
    LayerError
        When there is no such layer.
    """
    named = {g.anchor: g.name for g in map(net.graph_layer, [layer.name for layer in net.layers])}
    channels_first = {
        g.anchor for g in map(net.graph_layer, [layer.name for layer in net.layers]) if g.axes in ((0,), (0, 1, 2))
    }
    found: dict[str, Neurons] = {}
    reached = _reached(net.graph)
    for n in net.graph:
        if n not in reached:
            continue
        name = named.get(n) or n.module or n.name
        while name in found:
            name += "'"
        made = _neurons(net.graph, n, name, n in channels_first)
        if made is not None:
            found[name] = made
    if layers is not None:
        asked = listed_layers(layers)
        chosen = [net.layer(item).name if item not in found else item for item in map(_name_of, asked)]
        if missing := [name for name in chosen if name not in found]:
            raise ArgumentError(
                f"Expected layers with neurons (convolutions, linear layers, sums, average pools), got {missing[0]!r}, "
                f"which is none. Those of {net.name}: {', '.join(found)}."
            )
        found = {name: neurons for name, neurons in found.items() if name in chosen}
    if not found:
        raise ArgumentError(f"Expected a network with convolutions or linear layers; {net.name} has none.")
    return tuple(found.values())


def _name_of(layer: str | Layer) -> str:
    return layer.name if isinstance(layer, Layer) else layer


def _reached(graph: Graph) -> set[Node]:
    """The nodes that a signal from the output passes, gates held constant."""
    reached = {graph.logits}
    for n in reversed(graph.nodes):
        if n in reached:
            gate = gate_of(n)
            reached.update([n.inputs[gate.map]] if gate is not None else n.inputs)
    return reached


def _neurons(graph: Graph, n: Node, name: str, channels_first: bool) -> Neurons | None:
    weight, bias, groups = n.args.get("weight"), n.args.get("bias"), 1
    if n.kind in _CONVOLUTIONS and isinstance(weight, Tensor):
        kind, groups = "conv", n["groups"]
    elif n.kind in _TRANSPOSED and isinstance(weight, Tensor):
        kind, groups = "conv_transpose", n["groups"]
        weight = _swapped(weight, groups)
    elif n.kind == "linear" and isinstance(weight, Tensor):
        kind = "linear"
    elif n.kind in ("add", "sub") and channels_first and len(n.inputs) == 2:
        if any(i.shape != n.shape for i in n.inputs):
            return None
        kind, groups = "add", n.shape[0]
        other = float(n["alpha"]) * (1 if n.kind == "add" else -1)
        weight = torch.tensor([1.0, other]).repeat(groups, 1)
    elif (kernel := _pool(n)) is not None:
        kind, groups = "pool", n.inputs[0].shape[0]
        weight = torch.full((groups, 1, *kernel), 1 / math.prod(kernel))
    else:
        return None
    if not isinstance(bias, Tensor):
        bias = torch.zeros(len(weight))
    gate, through = _gate(graph, n)
    return Neurons(name, n, kind, weight, bias, groups, gate, through)


def _pool(n: Node) -> tuple[int, int] | None:
    """Return the kernel of an average pool whose windows are all whole; None for anything else."""
    if not n.inputs or len(n.inputs[0].shape) != 3:
        return None
    size = n.inputs[0].shape[1:]
    if n.kind == "mean" and n["dim"] == (2, 3):
        return size[0], size[1]
    if n.kind == "adaptive_avg_pool":
        out = n.shape[1:]
        whole = all(a % b == 0 for a, b in zip(size, out, strict=True))
        kernel = size[0] // out[0], size[1] // out[1]
        return kernel if whole and kernel != (1, 1) else None
    if n.kind == "avg_pool" and n["divisor_override"] is None and n["padding"] == (0, 0):
        kernel, stride = n["kernel_size"], n["stride"]
        inside = all((o - 1) * s + k <= a for o, s, k, a in zip(n.shape[1:], stride, kernel, size, strict=True))
        return (kernel[0], kernel[1]) if inside else None
    return None


def _gate(graph: Graph, n: Node) -> tuple[str, tuple[Node, ...]]:
    """Find what decides whether an output is active, with the affine operations in between."""
    through: list[Node] = []
    scores = needed_for([graph.logits])
    while True:
        users = [u for u in graph.consumers[n] if u in scores]
        if n is graph.logits:
            return "output", ()
        if len(users) != 1:
            return "none", ()
        n = users[0]
        if n.kind in RECTIFIERS:
            return "rectifier", tuple(through)
        if n.kind in ACTIVATIONS and n.kind not in _SQUASHING:
            return "activation", tuple(through)
        if n.kind in _AFFINE and len([i for i in n.inputs if i.kind != "size"]) == 1:
            through.append(n)
        elif n.kind not in _SIGN_KEEPING:
            return "none", ()

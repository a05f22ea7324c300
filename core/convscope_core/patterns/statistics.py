"""Sums from which patterns follow: mergeable, of any batches in any order.

Kindermans et al. (2018, eq. 8) need, for a neuron y = w^T x and a regime r of its outputs, E_r[x y], E_r[x] and
E[y]. All are sums over samples, and a sample is one position of one picture. Of a transposed convolution a unit has a
neuron for each phase of the stride (see `neurons`), whose samples are the positions of that phase. What is kept:

- of all samples: how many there are, and for each neuron the sum of its output;
- of the active ones (positive at the rectifier, bias included) how many, and the sums of x and of x y;
- of all samples the sums of x and of x y, where the linear or the negative regime is asked for.

Sums of y and y y in a regime need not be kept: they are w^T times those of x and x y.

Outputs are taken relative to a constant for each unit, the mean over the first batch: the patterns do not depend on it,
the digits do. (Outputs 20 deviations from zero cost float32 sums three digits, and none with the shift.) Each batch is
summed in the network's precision, batches in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.patterns.neurons import Neurons

__all__ = ["REGIMES", "LayerSums", "PatternSums"]

#: Which samples: those where the unit is active, those where it is not, all.
REGIMES = ("positive", "negative", "all")

_ROWS = 256
"""Samples of a large linear layer that are collected before its sums, as large as its weights, are gone through."""

_LARGE = 2**20
"""Weights from which on that is worth it."""

_CHUNK = 2**24
"""Numbers of such a sum that are computed at once."""


class LayerSums:
    """The sums of one layer.

    Parameters
    ----------
    active, whole : bool
        Whether sums of inputs are kept over the active samples, and over all.

    Attributes
    ----------
    tensors : dict of str to Tensor
        float64, empty before the first batch: ``n`` (phases,), the samples; ``shift`` (outputs,); ``u`` and
        ``n_active`` (outputs, phases), where u is the output less the shift; with `whole` ``x`` (groups, inputs a
        group, *kernel) and ``xu`` (outputs, inputs a group, *kernel); with `active` ``x_active`` and ``xu_active`` in
        that shape.
    """

    def __init__(self, active: bool, whole: bool) -> None:
        self.active = active
        self.whole = whole
        self.tensors: dict[str, Tensor] = {}
        self._rows: list[tuple[Tensor, list[Tensor]]] = []

    @property
    def count(self) -> int:
        """How many samples there are, of all phases."""
        return int(self.tensors["n"].sum()) if self.tensors else 0

    def add(self, neurons: Neurons, inputs: Sequence[Tensor], value: Tensor) -> None:
        """Take in a batch.

        Parameters
        ----------
        neurons : Neurons
            The layer.
        inputs : sequence of Tensor
            Values of the node's inputs.
        value : Tensor
            Value of the node, before the activation.
        """
        z = neurons.flat(value)
        axes = (0, *range(2, z.dim()))
        if not self.tensors:
            with torch.inference_mode(False):  # what is accumulated must be open to change later
                self._begin(neurons, z.mean(axes, dtype=None if z.device.type == "mps" else torch.float64))
        whole, factors = neurons.factors(z, 2 * self.active + self.whole)
        u = factors[-1]
        t = self.tensors
        torch.sub(z, t["shift"].to(z).reshape(-1, *[1] * (z.dim() - 2)), out=u)
        t["n"] += torch.tensor([part.numel() // neurons.outputs for part in neurons.by_phase(z)]).to(t["n"])
        t["u"] += _total(neurons, u)
        if self.active:
            gate, masked = factors[:2]
            torch.gt(neurons.gated(z), 0, out=gate)
            torch.mul(u, gate, out=masked)
            t["n_active"] += _total(neurons, gate)
        if self.whole:
            t["x"] += neurons.summed(inputs, z).to(t["x"])
        if neurons.kind == "linear" and neurons.weight.numel() >= _LARGE:
            # Sums as large as the weights: better gone through once for many pictures.
            self._rows.append((inputs[0].reshape(-1, inputs[0].shape[-1]).clone(), factors))
            if sum(len(x) for x, _ in self._rows) >= _ROWS:
                self._flush()
        else:
            for into, part in zip(self._sums(), neurons.weighted(inputs, whole, factors), strict=True):
                into += part.to(into.device)

    def _begin(self, neurons: Neurons, shift: Tensor) -> None:
        accumulator = torch.device("cpu") if shift.device.type == "mps" else shift.device
        shift = shift.to(accumulator, torch.float64)
        self.tensors["shift"] = torch.where(shift.isfinite(), shift, 0.0)
        self.tensors["n"] = shift.new_zeros(neurons.phases)
        for name in ("u", "n_active"):
            self.tensors[name] = shift.new_zeros((neurons.outputs, neurons.phases))
        shape = tuple(neurons.weight.shape)
        if self.active:
            self.tensors["x_active"] = shift.new_zeros(shape)
            self.tensors["xu_active"] = shift.new_zeros(shape)
        if self.whole:
            self.tensors["x"] = shift.new_zeros((neurons.groups, *shape[1:]))
            self.tensors["xu"] = shift.new_zeros(shape)

    def _sums(self) -> list[Tensor]:
        """The sums of inputs times each factor, in the order of the factors."""
        names = (["x_active", "xu_active"] if self.active else []) + (["xu"] if self.whole else [])
        return [self.tensors[name] for name in names]

    def _flush(self) -> None:
        if not self._rows:
            return
        x = torch.cat([x for x, _ in self._rows])
        step = max(1, _CHUNK // x.shape[1])
        for number, into in enumerate(self._sums()):
            factor = torch.cat([factors[number] for _, factors in self._rows])
            for first in range(0, factor.shape[1], step):
                into[first : first + step] += (factor[:, first : first + step].T @ x).to(into.device)
        self._rows.clear()

    @property
    def finite(self) -> Tensor:
        """Bool (): whether all outputs so far were finite numbers."""
        return self.tensors["u"].isfinite().all() if self.tensors else torch.tensor(True)

    def merge(self, other: LayerSums) -> None:
        """Take in all that `other` has seen."""
        self._flush()
        other._flush()
        if not other.tensors:
            return
        if not self.tensors:
            self.tensors = {name: tensor.clone() for name, tensor in other.tensors.items()}
            return
        t, o = self.tensors, other.tensors
        # From the other's constant to ours: u = u' + d.
        d = o["shift"].to(t["shift"].device) - t["shift"]
        o = {name: tensor.to(d.device) for name, tensor in o.items()}
        t["u"] += o["u"] + d[:, None] * o["n"]
        t["n_active"] += o["n_active"]
        for kind in ("", "_active"):
            if f"x{kind}" in t:
                wide = d.reshape(-1, *[1] * (t[f"xu{kind}"].dim() - 1))
                t[f"xu{kind}"] += o[f"xu{kind}"] + wide * _each(o[f"x{kind}"], len(d))
                t[f"x{kind}"] += o[f"x{kind}"]
        t["n"] += o["n"]

    def copy(self) -> LayerSums:
        """Return an independent one with the same state."""
        self._flush()
        other = copy.copy(self)
        other._rows = []
        other.tensors = {name: tensor.clone() for name, tensor in self.tensors.items()}
        return other

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        self._flush()
        kind = torch.tensor([self.active, self.whole])
        return {"kind": kind, **{name: tensor.cpu() for name, tensor in self.tensors.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> LayerSums:
        """Make one of its `state_dict`."""
        active, whole = state["kind"].tolist()
        sums = cls(bool(active), bool(whole))
        sums.tensors = {name: tensor for name, tensor in state.items() if name != "kind"}
        return sums

    def of(self, regime: str) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums of a regime.

        Parameters
        ----------
        regime : str
            One of `REGIMES`.

        Returns
        -------
        n : Tensor (outputs, phases)
            Samples.
        x, xu : Tensor (outputs, inputs a group, *kernel)

        Raises
        ------
        ArgumentError
            When they were not kept.
        """
        self._flush()
        t = self.tensors
        if not t or (regime != "all" and not self.active) or (regime != "positive" and not self.whole):
            raise ArgumentError(f"Expected sums of the regime {regime!r}, which were not kept.")
        if regime == "positive":
            return t["n_active"], t["x_active"], t["xu_active"]
        n, x, xu = t["n"].expand_as(t["u"]), _each(t["x"], len(t["u"])), t["xu"]
        if regime == "all":
            return n, x, xu
        return n - t["n_active"], x - t["x_active"], xu - t["xu_active"]


def _each(x: Tensor, outputs: int) -> Tensor:
    """Sums of inputs for each group as sums for each output."""
    return x if len(x) == outputs else x.repeat_interleave(outputs // len(x), 0)


def _total(neurons: Neurons, x: Tensor) -> Tensor:
    """Sum (samples, outputs, *positions) to (outputs, phases): float32 within a picture, float64 beyond."""
    parts = neurons.by_phase(x)
    each = torch.stack([part.sum(tuple(range(2, x.dim()))) if x.dim() > 2 else part for part in parts], -1)
    if each.device.type == "mps":
        each = each.cpu()
    return each.sum(0, dtype=torch.float64)


class PatternSums:
    """The sums of several layers over the same pictures.

    Parameters
    ----------
    layers : sequence of LayerSums

    Attributes
    ----------
    images : int
        Pictures seen.
    """

    def __init__(self, layers: Sequence[LayerSums]) -> None:
        self.layers = list(layers)
        self.images = 0

    def merge(self, other: PatternSums) -> None:
        """Take in all that `other` has seen."""
        for mine, theirs in zip(self.layers, other.layers, strict=True):
            mine.merge(theirs)
        self.images += other.images

    def copy(self) -> PatternSums:
        """Return an independent one with the same state."""
        other = PatternSums([layer.copy() for layer in self.layers])
        other.images = self.images
        return other

    @property
    def finite(self) -> Tensor:
        """Bool (layers,): whether all outputs of each layer so far were finite numbers; not waited for."""
        return torch.stack([layer.finite for layer in self.layers])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        state = {"images": torch.tensor(self.images)}
        for number, layer in enumerate(self.layers):
            state |= {f"{number}.{name}": tensor for name, tensor in layer.state_dict().items()}
        return state

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> PatternSums:
        """Make one of its `state_dict`."""
        parts: dict[int, dict[str, Tensor]] = {}
        for key, tensor in state.items():
            number, _, name = key.partition(".")
            if name:
                parts.setdefault(int(number), {})[name] = tensor
        sums = cls([LayerSums.from_state(parts[number]) for number in sorted(parts)])
        sums.images = int(state["images"])
        return sums

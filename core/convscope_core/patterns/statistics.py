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

Sums in the shape of the weights are most of it, 8 bytes a number: those that every batch adds to are in memory, once.
All others are in files (see `convscope_core.spill`): of linear layers with one sample a picture, whose samples are kept
until there are many to add; and of shards that are done. What is made of those is made of some units at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor

from convscope_core import spill
from convscope_core.errors import ArgumentError
from convscope_core.patterns.neurons import Neurons
from convscope_core.spill import Spill, let_go, lies_in_file

__all__ = ["REGIMES", "ROW", "LayerSums", "PatternSums", "sums_of"]

#: Which samples: those where the unit is active, those where it is not, all.
REGIMES = ("positive", "negative", "all")

#: How names of samples begin, among those of sums.
ROW = "rows."

_ROWS = 256
"""Samples whose products are summed in the network's precision; such sums are added in float64."""

_CHUNK = 2**21
"""Numbers of a sum in the shape of the weights that are computed of samples at once."""

_SCALARS = 2**14
"""Bytes of a tensor that is not worth a place in a file."""

_FACTORS = 5 * 2**20
"""Numbers of all factors of a convolution's outputs that are made at once on a CPU; of more, memory is mapped anew."""

_CACHED = 2**17
"""Numbers of each of several maps, or sums, that are worked through at once on a CPU."""


class LayerSums:
    """The sums of one layer.

    Of a linear layer, which has few samples and many weights, the samples themselves are kept while they take less
    memory than half of the sums would, and less than 64 MB.

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
        that shape. Those in the shape of the weights lack the samples in `rows`, and are missing where there are no
        others.
    rows : dict of str to list of Tensor
        Samples of a linear layer that are not in those sums yet: their inputs ``x`` (samples, inputs) and outputs ``z``
        (samples, outputs), in the network's precision, and with `active` whether units are ``on``, bool.
    """

    def __init__(self, active: bool, whole: bool) -> None:
        self.active = active
        self.whole = whole
        self.tensors: dict[str, Tensor] = {}
        self.rows: dict[str, list[Tensor]] = {}
        self._shared: set[str] = set()  # tensors that a copy may have too: not to be changed in place
        self._seldom = False  # whether a picture is one sample, so that samples are seldom many

    @property
    def count(self) -> int:
        """How many samples there are, of all phases."""
        return int(self.tensors["n"].sum()) if self.tensors else 0

    def add(self, neurons: Neurons, inputs: Sequence[Tensor], value: Tensor) -> None:
        """Take in a batch: see `sums_of`."""
        if not self.tensors:
            z = neurons.flat(value)
            with torch.inference_mode(False):  # what is accumulated must be open to change later
                self._begin(neurons, z.mean((0, *range(2, z.dim()))))
        self._seldom = neurons.kind == "linear" and inputs[0].dim() == 2
        for found in sums_of(neurons, inputs, value, self.tensors["shift"], self.active, self.whole):
            self.take(found)

    def take(self, found: Mapping[str, Tensor]) -> None:
        """Take in what `sums_of` gives of a batch."""
        rows = {name.removeprefix(ROW): tensor for name, tensor in found.items() if name.startswith(ROW)}
        sums = {name: tensor for name, tensor in found.items() if not name.startswith(ROW)}
        with torch.inference_mode(False):
            self._unshare(sums)
        for name, more in sums.items():
            into = self.tensors[name]
            into += more.to(into.device)
        if rows:
            self._keep(rows)

    def _begin(self, neurons: Neurons, shift: Tensor) -> None:
        accumulator = torch.device("cpu") if shift.device.type == "mps" else shift.device
        shift = shift.to(accumulator, torch.float64)
        self.tensors["shift"] = torch.where(shift.isfinite(), shift, 0.0)
        self.tensors["n"] = shift.new_zeros(neurons.phases)
        for name in ("u", "n_active"):
            self.tensors[name] = shift.new_zeros((neurons.outputs, neurons.phases))
        shape = tuple(neurons.weight.shape)
        if self.whole:
            self.tensors["x"] = shift.new_zeros((neurons.groups, *shape[1:]))
        if neurons.kind != "linear":
            # In the layout of the weights, and so of what is added.
            empty = torch.zeros_like(neurons.weight, dtype=torch.float64, device=accumulator)
            self.tensors |= {name: empty.clone() for name in self._names}

    @property
    def _names(self) -> list[str]:
        return _names(self.active, self.whole)

    def _unshare(self, names: Collection[str]) -> None:
        shared = self._shared.intersection(names)
        self.tensors |= {name: self.tensors[name].clone() for name in shared}
        self._shared -= shared

    def _keep(self, rows: Mapping[str, Tensor]) -> None:
        """Take in samples of a linear layer."""
        with torch.inference_mode(False):
            for name, values in rows.items():
                # New lists: a copy may have the old ones. New tensors: the network writes over its own.
                kept = values.to(self.tensors["n"].device, copy=True)
                self.rows[name] = [*self.rows.get(name, []), kept]
            if self._many:
                self._settle()

    @property
    def _many(self) -> bool:
        """Whether there are as many samples as are kept: the sums are smaller, or what they cost to write is little."""
        return bool(self.rows) and self._rows_size > min(spill.LARGE, self._sums_size // 2)

    @property
    def _rows_size(self) -> int:
        return sum(each.nbytes for kept in self.rows.values() for each in kept)

    @property
    def _sums_size(self) -> int:
        return 8 * self._shape.numel() * len(self._names)

    @property
    def _shape(self) -> torch.Size:
        """Of the weights."""
        for name in self._names:
            if name in self.tensors:
                return self.tensors[name].shape
        return torch.Size((self.rows["z"][0].shape[1], self.rows["x"][0].shape[1])) if self.rows else torch.Size((0,))

    def _settle(self) -> None:
        """Add the samples that are kept to the sums."""
        here = [name for name in self._names if name in self.tensors and not lies_in_file(self.tensors[name])]
        if not here:
            # Sums that every batch adds to are no faster in a file.
            size = self._sums_size if self._seldom else 0
            self._write(Spill(size, len(self._names), self.tensors["n"].device))
            return
        self._unshare(here)
        for units in self._blocks(_CHUNK):
            self._add_rows({name: self.tensors[name][units] for name in here}, units)
        self.rows = {}

    def _blocks(self, numbers: int) -> Iterator[slice]:
        """Give some units at a time, whose sums are about so many numbers each."""
        outputs, *each = self._shape
        step = max(1, numbers // max(1, torch.Size(each).numel()))
        return (slice(first, first + step) for first in range(0, outputs, step))

    def _write(
        self,
        place: Spill,
        more: Callable[[str, slice], Tensor | None] = lambda *_: None,
        done: Callable[[slice], None] = lambda _: None,
    ) -> None:
        """Write the sums of the size of the weights anew, with `more`, and with the samples where those are many."""
        many = self._many
        if many or any(name in self.tensors for name in self._names) or more(self._names[0], slice(0, 1)) is not None:
            sums = {name: place.empty(self._shape) for name in self._names}
            for units in self._blocks(_CHUNK if many or place.device.type != "cpu" else _CACHED):
                made = {}
                for name, into in sums.items():
                    parts = [self.tensors[name][units] if name in self.tensors else None, more(name, units)]
                    first, *others = [part for part in parts if part is not None] or [torch.zeros_like(into[units])]
                    made[name] = first + others[0] if others else first.clone() if many else first
                if many:
                    self._add_rows(made, units)
                for name, block in made.items():
                    place.write(sums[name], units.start, block)
                self.let_go(units)
                done(units)
            self.tensors |= sums
            self._shared -= sums.keys()
        if many:
            self.rows = {}
        elif place.in_file:
            self.rows = {name: [place.copied(torch.cat(kept))] for name, kept in self.rows.items()}

    def _add_rows(self, sums: Mapping[str, Tensor], units: slice) -> None:
        """Add the samples that are kept to the sums of some units."""
        self.rows = {name: [torch.cat(kept)] if len(kept) > 1 else kept for name, kept in self.rows.items()}
        (x,), (z,) = self.rows["x"], self.rows["z"]
        shift = self.tensors["shift"][units].to(z)
        for first in range(0, len(x), _ROWS):
            part = slice(first, first + _ROWS)
            u = z[part, units] - shift
            factors = {"xu": u}
            if self.active:
                on = self.rows["on"][0][part, units].to(z)
                factors |= {"x_active": on, "xu_active": u * on}
            for name, into in sums.items():
                into += factors[name].T @ x[part]

    @property
    def finite(self) -> Tensor:
        """Bool (): whether all outputs so far were finite numbers."""
        return self.tensors["u"].isfinite().all() if self.tensors else torch.tensor(True)

    def room(self, other: LayerSums) -> int:
        """Return how many bytes what is merged may take of a `Spill`."""
        return max(self._sums_size, other._sums_size) + self._rows_size + other._rows_size

    def merge(self, other: LayerSums, place: Spill | None = None) -> None:
        """Take in all that `other` has seen; into `place`, if there is one."""
        if not other.tensors:
            return
        if not self.tensors:
            self._share(other)
            return
        t, o = self.tensors, other.tensors
        device = t["shift"].device
        # From the other's constant to ours: u = u' + d.
        d = o["shift"].to(device) - t["shift"]
        x = o["x"].to(device) if self.whole else o["shift"]
        if self.whole and other.rows:
            x = x - torch.stack([r.sum(0, dtype=torch.float64) for r in other.rows["x"]]).sum(0).to(device)

        def more(name: str, units: slice) -> Tensor | None:
            """Sums of the other, relative to our constant."""
            if name not in o:
                return None
            found = o[name][units].to(device)
            if name.startswith("xu"):
                of = o["x_active"][units].to(device) if name == "xu_active" else _each(x, len(d), units)
                found = torch.addcmul(found, d[units].reshape(-1, *[1] * (found.dim() - 1)), of)
            return found

        for name, kept in other.rows.items():
            self.rows[name] = [*self.rows.get(name, []), *(each.to(device) for each in kept)]
        self._write(place or Spill(0, device=device), more, other.let_go)
        # In new tensors, as a copy may have the old ones.
        t["u"] = t["u"] + (o["u"].to(device) + d[:, None] * o["n"].to(device))
        for name in ("n_active", "n", *(("x",) if self.whole else ())):
            t[name] = t[name] + o[name].to(device)
        self._shared -= {"u", "n_active", "n", "x"}

    def copy(self) -> LayerSums:
        """Return an independent one with the same state; nothing is copied before it changes."""
        other = LayerSums(self.active, self.whole)
        other._share(self)
        return other

    def _share(self, other: LayerSums) -> None:
        self.tensors, self.rows = dict(other.tensors), dict(other.rows)
        self._shared, other._shared = set(self.tensors), set(self.tensors)

    def let_go(self, units: slice = slice(None)) -> None:
        """Take what was read of files, of the sums of some units and of samples, out of memory."""
        let_go(*(self.tensors[name][units] for name in self._names if name in self.tensors))
        let_go(*chain.from_iterable(self.rows.values()))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        return self.state_in(Spill(0))

    def state_in(self, place: Spill) -> dict[str, Tensor]:
        """Return the state as CPU tensors, of which the large ones lie in files if `place` does."""
        kind = torch.tensor([self.active, self.whole])
        rows = {ROW + name: torch.cat(kept) if len(kept) > 1 else kept[0] for name, kept in self.rows.items()}
        return {"kind": kind, **{name: _at_rest(tensor, place) for name, tensor in (self.tensors | rows).items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> LayerSums:
        """Make one of its `state_dict`."""
        active, whole = state["kind"].tolist()
        sums = cls(bool(active), bool(whole))
        for name, tensor in state.items():
            if name.startswith(ROW):
                sums.rows[name.removeprefix(ROW)] = [tensor]
            elif name != "kind":
                sums.tensors[name] = tensor
        sums._shared = set(sums.tensors)
        return sums

    def of(self, regime: str, units: slice = slice(None)) -> tuple[Tensor, Tensor, Tensor]:
        """Return the sums of a regime.

        Parameters
        ----------
        regime : str
            One of `REGIMES`.
        units : slice, default all
            Of these outputs.

        Returns
        -------
        n : Tensor (outputs, phases)
            Samples.
        x, xu : Tensor (outputs, inputs a group, *kernel)
            Not to be changed.

        Raises
        ------
        ArgumentError
            When they were not kept.
        """
        return self.each((regime,), units)[regime]

    def each(self, regimes: Collection[str], units: slice) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
        """Return the sums of several regimes, as `of` those of one."""
        missing = [r for r in regimes if (r != "all" and not self.active) or (r != "positive" and not self.whole)]
        if missing or not self.tensors:
            raise ArgumentError(f"Expected sums of the regime {(missing or list(regimes))[0]!r}, which were not kept.")
        t = self.tensors
        outputs = len(t["shift"])
        large = {name: t[name][units] for name in self._names if name in t}
        if self.rows:
            size = len(range(*units.indices(outputs))), self.rows["x"][0].shape[1]
            large = {n: large[n].clone() if n in large else t["n"].new_zeros(size) for n in self._names}
            self._add_rows(large, units)
        found: dict[str, tuple[Tensor, Tensor, Tensor]] = {}
        if self.active:
            found["positive"] = t["n_active"][units], large["x_active"], large["xu_active"]
        if self.whole:
            found["all"] = t["n"].expand(outputs, -1)[units], _each(t["x"], outputs, units), large["xu"]
        if "negative" in regimes:
            (n, x, xu), (n_active, x_active, xu_active) = found["all"], found["positive"]
            found["negative"] = n - n_active, x - x_active, xu - xu_active
        return {regime: found[regime] for regime in regimes}


def sums_of(
    neurons: Neurons, inputs: Sequence[Tensor], value: Tensor, shift: Tensor, active: bool, whole: bool
) -> Iterator[dict[str, Tensor]]:
    """Give what a batch adds to the `LayerSums` of a layer: on a CPU piece by piece, elsewhere at once.

    Parameters
    ----------
    neurons : Neurons
        The layer.
    inputs : sequence of Tensor
        Values of the node's inputs.
    value : Tensor
        Value of the node, before the activation.
    shift : Tensor (outputs,)
        What outputs are taken relative to, on the device of the sums.
    active, whole : bool
        See `LayerSums`.

    Yields
    ------
    dict of str to Tensor
        What is to be added to `LayerSums.tensors`, under their names, and under "rows." and their names samples for
        `LayerSums.rows`: those may be views of the values.
    """
    z = neurons.flat(value)
    shifts = shift.to(z).reshape(-1, *[1] * (z.dim() - 2))
    # Made on the device: a number that is brought there makes it wait.
    found = {"n": torch.stack([shift.new_full((), v.numel() // neurons.outputs) for v in neurons.by_phase(z)])}
    if whole:
        found["x"] = neurons.summed(inputs, z)
    if neurons.kind == "add":
        yield found | _sums_of_operands(neurons, inputs, z, shifts, active, whole)
    elif neurons.kind == "linear":
        found["u"] = _total(neurons, z - shifts)
        found |= {ROW + "x": inputs[0].reshape(-1, inputs[0].shape[-1]), ROW + "z": z}
        if active:
            found[ROW + "on"] = on = neurons.gated(z) > 0
            found["n_active"] = _total(neurons, on.to(z))
        yield found
    else:
        yield found
        yield from _sums_of_maps(neurons, inputs, z, shifts, active, whole)


def _sums_of_maps(
    neurons: Neurons, inputs: Sequence[Tensor], z: Tensor, shift: Tensor, active: bool, whole: bool
) -> Iterator[dict[str, Tensor]]:
    """Give the sums of a convolution, or a pool."""
    names, count = _names(active, whole), 2 * active + whole
    # Some pictures at a time, so that factors are still in the cache when they are multiplied.
    step = max(1, _FACTORS // (count * z[0].numel())) if z.device.type == "cpu" else len(z)
    for first in range(0, len(z), step):
        part = slice(first, first + step)
        together, factors = neurons.factors(z[part], count)
        u = factors[-1]
        torch.sub(z[part], shift, out=u)
        found = {"u": _total(neurons, u)}
        if active:
            gate, masked = factors[:2]
            torch.gt(neurons.gated(z[part]), 0, out=gate)
            torch.mul(u, gate, out=masked)
            found["n_active"] = _total(neurons, gate)
        sums = neurons.weighted([x[part] for x in inputs], together, factors)
        yield found | dict(zip(names, sums, strict=True))


def _sums_of_operands(
    neurons: Neurons, inputs: Sequence[Tensor], z: Tensor, shift: Tensor, active: bool, whole: bool
) -> dict[str, Tensor]:
    """Return the sums of a sum of two maps, of which each channel has a neuron with two inputs."""
    gated = neurons.gated(z)
    axes = (0, *range(2, z.dim()))
    found: dict[str, list[Tensor]] = {}
    for block in _blocks(z):
        u, x = z[block] - shift, [each[block] for each in inputs]
        factors = {"xu": u}
        if active:
            gate = (gated[block] > 0).to(u)
            factors |= {"x_active": gate, "xu_active": u * gate}
            found.setdefault("n_active", []).append(gate.sum(axes)[:, None])
        found.setdefault("u", []).append(u.sum(axes)[:, None])
        for name in _names(active, whole):
            found.setdefault(name, []).append(torch.stack([(factors[name] * each).sum(axes) for each in x], -1))
    # Where there is no float64, sums are on the CPU.
    return {
        name: torch.stack(blocks).to("cpu" if z.device.type == "mps" else z.device).sum(0, dtype=torch.float64)
        for name, blocks in found.items()
    }


def _names(active: bool, whole: bool) -> list[str]:
    """The sums of inputs times each factor of the outputs: of the size of the weights."""
    return (["x_active", "xu_active"] if active else []) + (["xu"] if whole else [])


def _at_rest(tensor: Tensor, place: Spill) -> Tensor:
    """Return a tensor on the CPU, in a file if it is large and there is one for it."""
    if place.in_file and tensor.nbytes > _SCALARS and not lies_in_file(tensor):
        return place.copied(tensor)
    return tensor.cpu().contiguous()


def _each(x: Tensor, outputs: int, units: slice = slice(None)) -> Tensor:
    """Sums of inputs for each group as sums for each of some outputs."""
    if len(x) == outputs:
        return x[units]
    if len(x) == 1:
        return x.expand(outputs, *x.shape[1:])[units]
    return x[torch.arange(outputs, device=x.device)[units] // (outputs // len(x))]


def _blocks(z: Tensor) -> Iterator[tuple[slice, ...]]:
    """Cut maps (samples, outputs, *positions) into parts that fit a core's cache."""
    if z.device.type != "cpu" or z.dim() != 4:
        yield (slice(None),)
        return
    lines = max(1, _CACHED // max(1, z[0, :, 0].numel()))
    samples = max(1, lines // z.shape[2])
    for first in range(0, len(z), samples):
        for top in range(0, z.shape[2], lines):
            yield slice(first, first + samples), slice(None), slice(top, top + lines)


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
        pairs = list(zip(self.layers, other.layers, strict=True))
        place = self._place(sum(mine.room(theirs) for mine, theirs in pairs))
        for mine, theirs in pairs:
            mine.merge(theirs, place)
        self.images += other.images

    def copy(self) -> PatternSums:
        """Return an independent one with the same state."""
        other = PatternSums([layer.copy() for layer in self.layers])
        other.images = self.images
        return other

    def _place(self, size: int) -> Spill:
        devices = [layer.tensors["n"].device for layer in self.layers if layer.tensors]
        return Spill(size, 8 * len(self.layers), devices[0] if devices else None)

    @property
    def finite(self) -> Tensor:
        """Bool (layers,): whether all outputs of each layer so far were finite numbers; not waited for."""
        return torch.stack([layer.finite for layer in self.layers])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        tensors = chain.from_iterable([*layer.tensors.values(), *chain(*layer.rows.values())] for layer in self.layers)
        place = Spill(sum(tensor.nbytes for tensor in tensors if not lies_in_file(tensor)), 16 * len(self.layers))
        state = {"images": torch.tensor(self.images)}
        for number, layer in enumerate(self.layers):
            state |= {f"{number}.{name}": tensor for name, tensor in layer.state_in(place).items()}
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

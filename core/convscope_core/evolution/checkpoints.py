"""Checkpoints of a training, and the networks of them."""

from __future__ import annotations

import copy
import inspect
import math
import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from convscope_core.arguments import is_number, is_whole, plain_methods, require_choice
from convscope_core.errors import ArgumentError, NetworkError, StoreError, did_you_mean
from convscope_core.evolution.folder import Entry, begin_folder, digest_of, entries, read_about, read_entry, write_entry
from convscope_core.graph.classifier import own_path, unwrapped, wrapper_paths
from convscope_core.locks import Lock
from convscope_core.network import Network
from convscope_core.weights import read_state

__all__ = ["Checkpoint", "Checkpoints", "Origin", "number_of"]

_CACHED = 2**30
"""Bytes of weights of networks that are kept ready."""

_OPTIONS = tuple(name for name in inspect.signature(Network).parameters if name not in ("module", "snapshot"))
"""What `Network` takes beside the module."""

_SAVED = ("labels", "input_size", "name", "scores", "output")
"""Those of its options that JSON holds."""


@plain_methods
class Checkpoint:
    """The weights of a network at one moment of its training.

    Parameters
    ----------
    step : int
        Updates made until then, or whatever else the training counts; tells checkpoints apart.
    epoch : float or None
        How many times the training had gone through its data; None where that is not known.
    read : callable
        Gives the weights.
    digest : str, optional
        Of the weights, where it is known.
    layers : sequence of str, optional
        Modules that the weights are of, where they are not all.

    Attributes
    ----------
    step : int
    epoch : float or None
    layers : tuple of str or None
    """

    def __init__(
        self,
        step: int,
        epoch: float | None,
        read: Callable[[], Mapping[str, Tensor]],
        digest: str | None = None,
        layers: Sequence[str] | None = None,
    ) -> None:
        self.step = step
        self.epoch = epoch
        self.layers = None if layers is None else tuple(layers)
        self._read = read
        self._digest = digest

    @classmethod
    def filed(cls, entry: Entry, layers: Sequence[str] | None) -> Checkpoint:
        """Return the checkpoint in a file of a folder."""
        return cls(entry.step, entry.epoch, partial(read_entry, entry), entry.digest, layers)

    @property
    def label(self) -> str:
        """What it is called: "epoch 5", "step 1200" where the epoch is not known, "start" before the first update."""
        return _label(self.step, self.epoch)

    def state(self) -> dict[str, Tensor]:
        """Return the weights by name, on the CPU, as a module's ``state_dict`` has them; read now, not to be changed.

        Raises
        ------
        NetworkError, StoreError
            When they cannot be read.
        """
        return dict(self._read())

    @property
    def digest(self) -> str:
        """A hash (hex) of the names and values of the weights."""
        if self._digest is None:
            self._digest = digest_of(self.state())
        return self._digest

    def __repr__(self) -> str:
        return f"<Checkpoint {self.label}, step {self.step}>"


class Origin:
    """What the networks of checkpoints are made from: a network or a module, traced once, when it is first needed.

    Parameters
    ----------
    source : Network or torch.nn.Module
        A module is copied when it is needed, and put into evaluation mode; it is not changed, and may be in training.
    options : mapping of str to value
        What `Network` takes, for a module.
    lends : bool, default True
        Whether weights of layers that a checkpoint does not claim to hold may be taken from the module.
    """

    def __init__(self, source: Any, options: Mapping[str, Any], lends: bool = True) -> None:
        if not isinstance(source, (Network, nn.Module)):
            raise ArgumentError(
                f"Expected net as a Network, or the module that the checkpoints are of, got {type(source).__name__}."
            )
        unknown = [name for name in options if name not in _OPTIONS]
        if unknown:
            raise ArgumentError(
                f"Expected options of Network ({', '.join(_OPTIONS)}), got {unknown[0]!r}."
                f"{did_you_mean(unknown[0], _OPTIONS)}"
            )
        if options and isinstance(source, Network):
            raise ArgumentError(f"Expected {', '.join(options)} for a module, got a Network, which has its own.")
        self.options = dict(options)
        self._source = source
        self._lends = lends
        self._rest: dict[str, Tensor] | None = None
        self._network: Network | None = source if isinstance(source, Network) else None
        self._lock = Lock()
        self._ready: OrderedDict[Checkpoint, tuple[Network, int]] = OrderedDict()

    def learn(self, options: Mapping[str, Any]) -> None:
        """Take options of `Network` that become known later; those that are known already stay."""
        with self._lock:
            new = {name: value for name, value in options.items() if name not in self.options}
            if new and not isinstance(self._source, Network):
                self.options.update(new)
                self._network = None
                self._ready.clear()

    @property
    def prepared(self) -> bool:
        """Whether it is known how pictures are prepared."""
        return isinstance(self._source, Network) or "preprocess" in self.options

    @property
    def name(self) -> str:
        """What the network is called."""
        if isinstance(self._source, Network):
            return self._source.name
        return str(self.options.get("name") or type(unwrapped(self._source)).__name__.lower())

    def network(self, checkpoint: Checkpoint) -> Network:
        """Return the network of a checkpoint; those used last are kept."""
        with self._lock:
            if checkpoint in self._ready:
                self._ready.move_to_end(checkpoint)
                return self._ready[checkpoint][0]
            made = self._base().with_weights(
                checkpoint.state(), f"{self.name} · {checkpoint.label}", what=f"checkpoint {checkpoint.label!r}",
                rest=self._missing(checkpoint),
            )  # fmt: skip
            size = sum(t.numel() * t.element_size() for t in made.graph.tensors())
            self._ready[checkpoint] = made, size
            while len(self._ready) > 1 and sum(bytes_ for _, bytes_ in self._ready.values()) > _CACHED:
                self._ready.popitem(last=False)
            return made

    @property
    def architecture(self) -> Network:
        """A network like those of the checkpoints, whose weights are of no moment."""
        with self._lock:
            return self._base()

    def weights(self, checkpoint: Checkpoint) -> dict[str, Tensor]:
        """Return the weights of a checkpoint that its forward pass reads, by the module's own names."""
        with self._lock:
            return self._base().weights_of(
                checkpoint.state(), what=f"checkpoint {checkpoint.label!r}", rest=self._missing(checkpoint)
            )

    def _missing(self, checkpoint: Checkpoint) -> dict[str, Tensor] | None:
        """Return the module's weights of the layers that a checkpoint does not claim to hold."""
        if checkpoint.layers is None or self._rest is None:
            return None
        held = tuple(f"{layer}." for layer in checkpoint.layers)
        return {name: tensor for name, tensor in self._rest.items() if not name.startswith(held)}

    def _base(self) -> Network:
        if self._network is None:
            module = unwrapped(self._source)
            try:
                module = copy.deepcopy(module).eval()
            except Exception as e:
                raise NetworkError(
                    f"Expected a module that can be copied, to be looked into while it trains, got "
                    f"{type(module).__name__}, which raises {type(e).__name__}: {e}. Give another of the same "
                    "architecture: net=module."
                ) from e
            state = {name: tensor.detach() for name, tensor in module.state_dict().items()}
            wrappers = wrapper_paths(module)
            broken = [t for t in state.values() if t.is_floating_point() and not bool(torch.isfinite(t).all())]
            if self._lends:
                self._rest = {own_path(name, wrappers): t.clone() if broken else t for name, t in state.items()}
            for tensor in broken:  # of a training that has diverged; what is traced does not depend on values
                tensor.nan_to_num_(0, 0, 0)
            options = {"name": self.name, **_size_of(module), **self.options}
            self._network = Network(module, **options, snapshot=False)
        return self._network


@plain_methods
class Checkpoints(Sequence[Checkpoint]):
    """Checkpoints of one training, in order, and the network of each.

    Made by `of`, by `load`, or by an `EvolutionRecorder`; never changes.

    Parameters
    ----------
    items : iterable of Checkpoint
        By step.
    origin : Origin or None
        What makes networks of them.

    Raises
    ------
    ArgumentError
        When steps or epochs do not increase.
    """

    def __init__(self, items: Iterable[Checkpoint], origin: Origin | None = None) -> None:
        self._items = tuple(items)
        self._origin = origin
        for before, after in zip(self._items, self._items[1:], strict=False):
            both = before.epoch is not None and after.epoch is not None
            if after.step <= before.step or (both and after.epoch <= before.epoch):  # type: ignore[operator]
                same = after.step == before.step or (both and after.epoch == before.epoch)
                raise ArgumentError(
                    f"Expected checkpoints in the order of training, each once, got {after.label} (step {after.step}) "
                    f"after {before.label} (step {before.step}). "
                    + ("Leave one of them out." if same else "Sort them: dict(sorted(checkpoints.items())).")
                )

    @classmethod
    def of(
        cls,
        source: Any,
        net: Network | nn.Module | Checkpoints | None = None,
        *,
        unit: str = "epoch",
        layers: Sequence[str] | None = None,
        **options: Any,
    ) -> Checkpoints:
        """Make checkpoints of nearly anything that holds weights over time.

        Parameters
        ----------
        source : Checkpoints, EvolutionRecorder, folder, mapping or sequence
            - An `EvolutionRecorder`, or the folder that it (or `save`) wrote.
            - A mapping of epochs to weights, or a sequence of pairs (epoch, weights), in order: weights are a state
              dict, or the path of one (``.pth``, ``.safetensors``; see `convscope_core.weights.read_state`).
        net : Network, torch.nn.Module or Checkpoints, optional
            What the checkpoints are of, where `source` does not know it. A module may be in training: a copy is used.
            Where checkpoints are of some layers only, the weights of the others are the module's of now. Of other
            checkpoints: the same as theirs.
        unit : {"epoch", "step"}, default "epoch"
            What numbers in a mapping or a sequence count.
        layers : sequence of str, optional
            Modules that the weights in a mapping or a sequence are of. Default: all.
        **options
            What `Network` takes, where `net` is a module: ``preprocess``, ``labels``, ``input_size``...

        Returns
        -------
        Checkpoints
            Nothing is read yet.

        Raises
        ------
        ArgumentError
            When the source is of another kind or empty, or not in the order of training.

        Examples
        --------
        >>> Checkpoints.of({1: "epoch1.pth", 10: "epoch10.pth"}, net=module, input_size=112)      # doctest: +SKIP
        """
        require_choice("unit", unit, ("epoch", "step"))
        origin: Origin | None = None
        if isinstance(net, Checkpoints) and not options:
            origin = net._known()
        elif net is not None:
            origin = Origin(net, options)
        if net is None and options:
            raise ArgumentError(f"Expected net=module with {', '.join(options)}, got no net.")
        recorded = getattr(source, "checkpoints", source)
        if isinstance(recorded, Checkpoints):
            return recorded if origin is None else cls(recorded._items, origin)
        if isinstance(source, (str, os.PathLike)):
            folder = Path(source).expanduser()
            if not folder.is_dir():
                raise ArgumentError(
                    f"Expected a folder of checkpoints, got {str(folder)!r}, which is "
                    f"{'a file: give a mapping, {epoch: path}' if folder.exists() else 'not there'}."
                )
            held = read_about(folder).get("layers")
            return cls([Checkpoint.filed(entry, held) for entry in entries(folder)], origin)
        if isinstance(source, Mapping):
            pairs = list(source.items())
        elif isinstance(source, Sequence):
            pairs = list(source)
        else:
            raise ArgumentError(
                "Expected checkpoints as an EvolutionRecorder, its folder, or a mapping of epochs to state dicts or "
                f"paths, got {type(source).__name__}."
            )
        return cls(_given(pairs, unit, None if layers is None else list(layers)), origin)

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, index: int) -> Checkpoint: ...
    @overload
    def __getitem__(self, index: slice) -> Checkpoints: ...
    def __getitem__(self, index: int | slice) -> Checkpoint | Checkpoints:
        if isinstance(index, slice):
            return Checkpoints(self._items[index], self._origin)
        return self._items[index]

    def __repr__(self) -> str:
        of = "" if self._origin is None else f" of {self._origin.name}"
        if not self._items:
            return f"<Checkpoints{of}: none yet>"
        labels = [item.label for item in self._items]
        shown = ", ".join(labels if len(labels) <= 8 else [*labels[:4], "...", *labels[-3:]])
        return f"<{len(self)} checkpoint{'s' * (len(self) != 1)}{of}: {shown}>"

    def only(self, places: Sequence[int]) -> Checkpoints:
        """Return some of them."""
        return Checkpoints([self._items[place] for place in places], self._origin)

    @property
    def labels(self) -> tuple[str, ...]:
        """What each is called."""
        return tuple(item.label for item in self._items)

    @property
    def name(self) -> str:
        """What the network is called; "network" where it is not known."""
        return "network" if self._origin is None else self._origin.name

    @property
    def architecture(self) -> Network:
        """What all of them are alike in, before there is one: a Network whose weights are of no checkpoint.

        Its layers, preprocessing, labels and device are those of `network`.
        """
        return self._known().architecture

    def network(self, index: int) -> Network:
        """Return the network of a checkpoint: the same preprocessing, labels and device, named after the checkpoint.

        The module is traced once, for the first of them; each further one takes a small part of that time. Networks
        used last are kept, up to a gigabyte of weights.

        Parameters
        ----------
        index : int

        Raises
        ------
        ArgumentError
            When it is not known what the checkpoints are of, or there is no such checkpoint.
        NetworkError
            When the weights cannot be read, are not all there, are of another architecture, NaN or infinite: which
            checkpoint, which of the weights.
        """
        return self._known().network(self._item(index))

    def _item(self, index: int) -> Checkpoint:
        if not -len(self) <= index < len(self):
            raise ArgumentError(f"Expected the index of one of {len(self)} checkpoints, got {index}.")
        return self._items[index]

    def _known(self) -> Origin:
        if self._origin is None:
            raise ArgumentError(
                "Expected to know what the checkpoints are of, got weights alone. Give the network, or the module: "
                "Checkpoints.of(source, net=module, preprocess=..., labels=...)."
            )
        return self._origin

    def weights(self, index: int) -> dict[str, Tensor]:
        """Return the weights of a checkpoint that its forward pass reads, by the module's own names, on the CPU.

        Raises
        ------
        ArgumentError, NetworkError
            As `network` does.
        """
        return self._known().weights(self._item(index))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write all of them to a folder, a file of safetensors each.

        Preprocessing is a function, and is not written: give the network again to `load`.

        Raises
        ------
        ArgumentError
            When the folder holds checkpoints already.
        StoreError
            When it cannot be written; what is there, is whole.
        """
        target = Path(folder).expanduser()
        if target.is_dir() and any(target.glob("*.safetensors")):
            raise ArgumentError(
                f"Expected an empty folder, got {str(target)!r}, which holds checkpoints. Give another."
            )
        begin_folder(target, about(self._origin, self._items[0].layers if self._items else None))
        for item in self._items:
            try:
                write_entry(target, item.step, item.epoch, item.state())
            except StoreError as e:
                raise StoreError(f"Expected to write {item.label} of {', '.join(self.labels)}. {e}") from e
        return target

    @classmethod
    def load(
        cls, folder: str | os.PathLike[str], net: Network | nn.Module | None = None, **options: Any
    ) -> Checkpoints:
        """Open a folder that an `EvolutionRecorder` or `save` wrote.

        Parameters
        ----------
        folder : path
        net : Network or torch.nn.Module, optional
            What the checkpoints are of; needed for `network`, not for the weights. For a module, labels and input size
            are those that the recorder was given, unless `options` give others.
        **options
            What `Network` takes.

        Raises
        ------
        ArgumentError
            When it is no such folder.
        """
        path = Path(folder).expanduser()
        if net is not None and not isinstance(net, Network) and path.is_dir():
            known = read_about(path).get("options", {})
            options = {**{name: _tupled(value) for name, value in known.items()}, **options}
        return cls.of(path, net, **options)


def _size_of(module: nn.Module) -> dict[str, Any]:
    """Return the size of the pictures that a module says it takes, as ZFNet does, as an option of `Network`."""
    size = getattr(module, "input_size", None)
    sides = size if isinstance(size, tuple) else (size,)
    whole = all(is_whole(side) and side > 0 for side in sides)
    return {"input_size": size} if whole and len(sides) <= 3 else {}


def about(origin: Origin | None, layers: Sequence[str] | None) -> dict[str, Any]:
    """Return what a folder says of all its checkpoints."""
    options = {} if origin is None else {k: v for k, v in origin.options.items() if k in _SAVED and v is not None}
    if "labels" in options:
        options["labels"] = [str(label) for label in options["labels"]]
    return {
        "network": None if origin is None else origin.name,
        "options": options,
        "layers": None if layers is None else list(layers),
    }


def number_of(value: Any, what: str) -> float:
    """Return the number of an epoch or a step; ArgumentError for anything else."""
    number = math.nan
    if is_number(value):
        number = value.item() if isinstance(value, (np.generic, Tensor)) else value
    if not (math.isfinite(number) and number >= 0):
        raise ArgumentError(f"Expected {what} as a number of 0 or greater, got {value!r}.")
    return number


def _given(pairs: Sequence[Any], unit: str, layers: list[str] | None) -> list[Checkpoint]:
    if not pairs:
        raise ArgumentError("Expected at least one checkpoint, got none.")
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise ArgumentError(f"Expected pairs of ({unit}, state dict or path), got {_kind(pairs[0])}.")
    numbers = [number_of(number, unit) for number, _ in pairs]
    whole = all(float(number).is_integer() for number in numbers)
    if unit == "step" and not whole:
        raise ArgumentError(f"Expected steps as whole numbers, got {numbers}.")
    found: list[Checkpoint] = []
    places: dict[frozenset[int], str] = {}
    for place, (number, (_, weights)) in enumerate(zip(numbers, pairs, strict=True), int(numbers[0] > 0)):
        step, epoch = int(number) if whole else place, None if unit == "step" else number
        label = _label(step, epoch)
        if isinstance(weights, (str, os.PathLike)):
            path = Path(weights).expanduser()
            if not path.is_file():
                raise ArgumentError(f"Expected a file for {label}, got {str(path)!r}, which is not there.")
            found.append(Checkpoint(step, epoch, partial(read_state, path), None, layers))
        elif isinstance(weights, Mapping) and all(isinstance(t, Tensor) for t in weights.values()) and weights:
            kept = {name: tensor.detach() for name, tensor in weights.items()}
            where = frozenset(tensor.data_ptr() for tensor in kept.values() if tensor.numel())
            if where in places:
                raise ArgumentError(
                    f"Expected weights of their own for each checkpoint, got the same tensors for {places[where]} and "
                    f"{label}: a state dict refers to the weights of now. Keep copies: "
                    "{k: v.clone() for k, v in module.state_dict().items()}."
                )
            places[where] = label
            found.append(Checkpoint(step, epoch, partial(dict, kept), None, layers))
        else:
            now = " It has only the weights of now: EvolutionRecorder keeps copies." * isinstance(weights, nn.Module)
            raise ArgumentError(f"Expected a state dict or a path for {label}, got {_kind(weights)}.{now}")
    return found


def _label(step: int, epoch: float | None) -> str:
    if step == 0 and not epoch:
        return "start"
    return f"step {step}" if epoch is None else f"epoch {epoch:g}"


def _tupled(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _kind(value: Any) -> str:
    return f"a {type(value).__name__}"

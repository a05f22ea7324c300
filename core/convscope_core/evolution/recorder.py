"""Keeping the weights of a network at chosen moments of its training, which takes no notice of it."""

from __future__ import annotations

import itertools
import os
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _python_dispatch

from convscope_core.arguments import plain_methods, require_counts
from convscope_core.errors import ArgumentError, LayerError, StoreError, did_you_mean
from convscope_core.evolution.checkpoints import Checkpoint, Checkpoints, Origin, about, number_of
from convscope_core.evolution.folder import (
    begin_folder,
    digest_of,
    entries,
    file_of,
    read_about,
    read_entry,
    write_entry,
)
from convscope_core.graph.classifier import named_parts, unwrapped
from convscope_core.locks import Lock
from convscope_core.network import listed_layers

__all__ = ["PAPER", "EvolutionRecorder"]

PAPER = (1, 2, 5, 10, 20, 30, 40, 64)
"""The epochs of Zeiler & Fergus (2014, fig. 4)."""


_MOST = 10**6
"""Moments that may be chosen: an endless sequence is refused rather than read to its end."""


@plain_methods
class EvolutionRecorder:
    """Keeps the weights of a network at chosen moments of its training, and changes nothing.

    Weights and buffers are copied to memory or to a folder; nothing else is done to the module: no hook, no change of
    mode, no random number, no forward pass. Training has the same bits with and without. ``DataParallel``,
    ``DistributedDataParallel`` (where the first process records) and what ``torch.compile`` returns are looked into.

    Parameters
    ----------
    model : torch.nn.Module
        What is trained.
    at : "paper", iterable of numbers or callable, default "paper"
        When. Numbers are epochs where `step` is called with an epoch, else steps; each is recorded at the first call
        that reaches it, and 0 when the recorder is made (the weights before training). "paper" is `PAPER`, the epochs
        of Zeiler & Fergus (2014, fig. 4). A callable gets (step, epoch) and says whether to record.
    folder : path, optional
        Where to keep them, a file each, written beside and renamed when whole: a process that dies leaves whole files.
        Default: in memory, four bytes a weight and checkpoint.
    resume : bool, default False
        Go on with a folder that holds checkpoints. What is recorded again takes the place of what was there.
    layers : str or iterable of str, optional
        Modules whose weights to keep, by the names that the module tree has for them. Default: all. Networks of such
        checkpoints take the rest from a module that is given: ``Checkpoints.of(recorder, net=module)``.
    **options
        What `Network` takes, for the networks of the checkpoints: ``preprocess``, ``labels``, ``input_size``... What
        is not given, a callback of `cs.train` takes from the training. The default of ``input_size`` is the module's
        attribute of that name, where it has one.

    Raises
    ------
    ArgumentError
        When an argument is of another kind, weights are sharded, or the folder holds checkpoints.
    LayerError
        When a layer does not exist.
    StoreError
        When the folder cannot be written.

    Examples
    --------
    >>> recorder = cs.EvolutionRecorder(model, at=range(0, 65, 8), folder="run1", preprocess=transform)
    >>> for epoch in range(1, 65):
    ...     train_one_epoch(model)
    ...     recorder.step(epoch=epoch)
    >>> found = cs.evolution(recorder, images)
    """

    def __init__(
        self,
        model: nn.Module,
        at: str | Iterable[float] | Callable[[int, float | None], bool] = "paper",
        folder: str | os.PathLike[str] | None = None,
        *,
        resume: bool = False,
        layers: str | Iterable[str] | None = None,
        **options: Any,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise ArgumentError(f"Expected the torch.nn.Module that is trained, got {type(model).__name__}.")
        self._model = unwrapped(model)
        self._origin = Origin(self._model, options, lends=False)
        self._asked = at if callable(at) else None
        self._due = [] if callable(at) else _moments(at)
        self._layers = None if layers is None else listed_layers(layers)
        if self._layers == []:
            raise ArgumentError("Expected at least one layer to record, got none. Leave layers out to record all.")
        self._lock = Lock()
        self._observers: list[Callable[[Checkpoint], object]] = []
        self._calls = 0
        self._kept: list[Checkpoint] = []
        self._select()  # refuses what cannot be recorded before training begins
        self.folder = None if folder is None else Path(folder).expanduser()
        if self.folder is not None:
            self._open(self.folder, resume)
        self._resumed = bool(self._kept)
        self._earlier = tuple(self._kept)  # of the process before
        self._began = digest_of(self._select()) if self._resumed else None
        if 0 in self._due and not self._resumed:
            self.record(0, 0)
            self._due = [moment for moment in self._due if moment > 0]

    @property
    def checkpoints(self) -> Checkpoints:
        """What has been recorded so far; not changed by what follows."""
        with self._lock:
            return Checkpoints(self._kept, self._origin)

    @property
    def due(self) -> tuple[float, ...] | None:
        """The moments that are still to come, in order; None where a callable chooses them.

        Of a folder that is gone on with, those behind its last checkpoint, until `step` tells where training goes on.
        """
        if self._asked is not None:
            return None
        with self._lock:
            known = [_number(kept, kept.epoch) for kept in self._kept] if self._resumed else []
        return tuple(moment for moment in self._due if moment > max(known, default=-1.0))

    def __repr__(self) -> str:
        where = "in memory" if self.folder is None else f"in {str(self.folder)!r}"
        count = len(self._kept)
        bare = "" if self._origin.prepared else ", without preprocess"
        return f"<EvolutionRecorder of {self._origin.name}: {count} checkpoint{'s' * (count != 1)} {where}{bare}>"

    def training_begins(self, module: nn.Module, **options: Any) -> None:
        """Tell what a training does to pictures, before its first update, as `cs.train` tells its callbacks.

        Parameters
        ----------
        module : torch.nn.Module
            What is trained; where that is not what is recorded, nothing is taken.
        **options
            What `Network` takes: ``preprocess``, ``labels``, ``input_size``. Those that the recorder was given stay.

        Raises
        ------
        StoreError
            When the folder cannot be written.
        """
        if unwrapped(module) is not self._model:
            return
        self._origin.learn(options)
        if self.folder is not None and _leads():
            begin_folder(self.folder, about(self._origin, self._layers))

    def step(self, step: int | None = None, epoch: float | None = None) -> bool:
        """Tell that training has gone on: the weights are recorded if this is one of the chosen moments.

        Call it after each update, or after each epoch.

        Parameters
        ----------
        step : int, optional
            Updates made so far. Default: the number of calls.
        epoch : float, optional
            Epochs completed so far, which may be a fraction.

        Returns
        -------
        bool
            Whether the weights were recorded.

        Raises
        ------
        ArgumentError
            As for `record`, and where training begins anew with other weights than those that the folder begins with.
        StoreError
            When they could not be written. Training and recorder can go on: the next call tries again.
        """
        if not _leads():
            return False
        with self._lock:
            self._calls += 1
            if epoch is not None:  # calls go on from those of the process before
                behind = [c.step for c in self._earlier if c.epoch is not None and c.epoch < epoch]
                self._calls = max(self._calls, max(behind, default=-1) + 1)
            at = self._calls if step is None else _whole(step)
        if self._resumed and (step == 1 or (step is None and epoch == 1)):
            self._require_same_start()
        reached = number_of(at if epoch is None else epoch, "step" if epoch is None else "epoch")
        if self._asked is not None:
            due = bool(self._asked(at, epoch))
        else:
            if self._resumed:  # what is there and lies behind is not recorded again
                passed = [n for n in (_number(c, epoch) for c in self._kept) if n < reached]
                self._due = [moment for moment in self._due if moment > max(passed, default=-1.0)]
            due = bool(self._due) and self._due[0] <= reached
        self._resumed = False
        if due:
            before, self._due = self._due, [moment for moment in self._due if moment > reached]
            try:
                self.record(at, epoch)
            except Exception:
                self._due = before
                raise
        return due

    def record(self, step: int, epoch: float | None = None) -> Checkpoint:
        """Record the weights of now, whatever was chosen.

        One of the same step, or of the same epoch, is replaced.

        Raises
        ------
        ArgumentError
            When steps go back while epochs go on, or when the folder that is gone on with is of another training: it
            has other weights at this moment, and later ones.
        StoreError
            When they could not be written: which checkpoint, what is safe, what to do.
        """
        step = _whole(step)
        epoch = None if epoch is None else float(number_of(epoch, "epoch"))
        state = self._select()
        self._require_order(step, epoch)
        self._require_same_training(step, epoch, state)
        if self.folder is None:
            kept = {name: tensor.detach().to("cpu", copy=True) for name, tensor in state.items()}
            made = Checkpoint(step, epoch, lambda: kept, None, self._layers)
        else:
            made = self._write(self.folder, step, epoch, {name: t.detach().cpu() for name, t in state.items()})
        with self._lock:
            others = [c for c in self._kept if c.step != step and (epoch is None or c.epoch != epoch)]
            replaced = [c for c in self._kept if c.step != step and c not in others]
            self._kept = sorted([*others, made], key=lambda c: c.step)
        if self.folder is not None:
            for old in replaced:
                file_of(self.folder, old.step).unlink(missing_ok=True)
        for observer in tuple(self._observers):
            try:
                observer(made)
            except Exception as e:
                warnings.warn(
                    f"An observer of the checkpoints raised {type(e).__name__}: {e}. Training goes on.",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return made

    def observe(self, callback: Callable[[Checkpoint], object]) -> Callable[[], None]:
        """Call a function with each checkpoint that is recorded from now on.

        In the thread that trains, which waits for it. What it raises becomes a warning.

        Returns
        -------
        callable
            Call it to end this.
        """
        self._observers.append(callback)

        def end() -> None:
            if callback in self._observers:
                self._observers.remove(callback)

        return end

    # -- inside --

    def _require_order(self, step: int, epoch: float | None) -> None:
        """Raise ArgumentError unless epochs go on where steps do."""
        for kept in self._kept:
            if epoch is None or kept.epoch is None or kept.step == step or kept.epoch == epoch:
                continue
            if (kept.step < step) != (kept.epoch < epoch):
                raise ArgumentError(
                    f"Expected steps and epochs that go on together, got step {step} in epoch {epoch:g} beside step "
                    f"{kept.step} in epoch {kept.epoch:g}. Count steps over the whole training, or leave step out."
                )

    def _require_same_training(self, step: int, epoch: float | None, state: dict[str, Tensor]) -> None:
        """Raise ArgumentError if checkpoints of another training would follow those that are recorded now."""
        here = [c for c in self._earlier if c in self._kept and (c.step == step or (epoch and c.epoch == epoch))]
        later = [c.label for c in self._earlier if c in self._kept and c.step > step and c not in here]
        if here and later and digest_of(state) != here[-1].digest:
            raise ArgumentError(
                f"Expected to go on with the training that {str(self.folder)!r} is of, got other weights for "
                f"{here[-1].label}, which others of the folder follow ({', '.join(later[:3])}). Give another folder, "
                "or take those out of it."
            )

    def _require_same_start(self) -> None:
        """Raise ArgumentError if a training that begins has other weights than the one that the folder is of."""
        first = self._kept[0]
        if first.step == 0 and first.digest != self._began:
            raise ArgumentError(
                f"Expected to go on with the training that {str(self.folder)!r} is of, got one that begins anew, with "
                "other weights. Give another folder, or the weights that the training had come to."
            )

    def _select(self) -> dict[str, Tensor]:
        """Return the tensors to keep, by their names without PyTorch's wrappers."""
        state: dict[str, Tensor] = {}
        for path, module in named_parts(self._model, repeated=True):
            for name, tensor in [*module._parameters.items(), *module._buffers.items()]:
                if tensor is not None:
                    state[f"{path}.{name}" if path else name] = tensor
        for name, tensor in state.items():
            wrapped: Any = _python_dispatch.is_traceable_wrapper_subclass
            if tensor.is_meta or tensor.is_quantized or wrapped(tensor) or nn.parameter.is_lazy(tensor):
                raise ArgumentError(
                    f"Expected weights with values, in plain tensors, got {name} as a {type(tensor).__name__} "
                    "(sharded, quantised, lazy or on the meta device). Give a module that holds its whole weights."
                )
        if self._layers is None:
            return state
        modules = {".".join(name.split(".")[:depth]) for name in state for depth in range(1, name.count(".") + 1)}
        for layer in self._layers:
            if layer not in modules:
                near = did_you_mean(str(layer), modules)
                raise LayerError(f"Expected layers as names of modules with weights, got {layer!r}.{near}")
        return {name: t for name, t in state.items() if any(name.startswith(f"{layer}.") for layer in self._layers)}

    def _open(self, folder: Path, resume: bool) -> None:
        there = entries(folder) if folder.is_dir() else []
        if there and not resume:
            raise ArgumentError(
                f"Expected a folder without checkpoints, got {str(folder)!r} with {len(there)}, up to step "
                f"{there[-1].step}. Give another, or go on with it: resume=True."
            )
        mine = about(self._origin, self._layers)
        if there:
            theirs = read_about(folder)
            if theirs.get("layers") != mine["layers"]:
                raise ArgumentError(
                    f"Expected to go on with checkpoints of the same layers, got {mine['layers'] or 'all'} for "
                    f"{theirs.get('layers') or 'all'} in {str(folder)!r}. Give another folder."
                )
            now = {name: tuple(tensor.shape) for name, tensor in self._select().items()}
            was = {name: tuple(tensor.shape) for name, tensor in read_entry(there[-1]).items()}
            other = [name for name in {**now, **was} if was.get(name) != now.get(name)]
            if other:
                raise ArgumentError(
                    f"Expected to go on with checkpoints of the same network, got {other[0]} of shape "
                    f"{now.get(other[0], 'none')} for {was.get(other[0], 'none')} in {str(folder)!r}. Give another "
                    "folder."
                )
        if _leads():
            begin_folder(folder, mine)
        self._kept = [Checkpoint.filed(entry, self._layers) for entry in there]

    def _write(self, folder: Path, step: int, epoch: float | None, state: dict[str, Tensor]) -> Checkpoint:
        try:
            return Checkpoint.filed(write_entry(folder, step, epoch, state), self._layers)
        except StoreError as e:
            size = sum(t.numel() * t.element_size() for t in state.values()) / 1e6
            label = Checkpoint(step, epoch, dict).label
            safe = [c.label for c in self._kept]
            held = f"Those before it ({', '.join(safe)}) are whole" if safe else "There was none before it"
            raise StoreError(
                f"Expected to record {label} ({size:.1f} MB), which is not recorded now. {held}; the weights in "
                f"training are untouched, and the next step() tries again. In a loop of your own, catch this error to "
                f"train on without. {e}"
            ) from e


def _moments(at: Any) -> list[float]:
    if isinstance(at, str):
        if at != "paper":
            raise ArgumentError(f"Expected at as 'paper', numbers of epochs or steps, or a callable, got {at!r}.")
        return list(PAPER)
    if not isinstance(at, Iterable):
        raise ArgumentError(
            f"Expected at as 'paper', numbers of epochs or steps, or a callable, got a {type(at).__name__}. For every "
            "tenth: range(0, 101, 10)."
        )
    moments = list(itertools.islice(at, _MOST + 1))
    if len(moments) > _MOST:
        raise ArgumentError(f"Expected at most {_MOST:,} moments, got more. For endless ones give a callable.")
    return sorted({number_of(moment, "at") for moment in moments})


def _whole(step: Any) -> int:
    number = int(step) if isinstance(step, np.integer) else step
    require_counts(0, step=number)
    return int(number)


def _number(checkpoint: Checkpoint, epoch: float | None) -> float:
    return checkpoint.step if epoch is None or checkpoint.epoch is None else checkpoint.epoch


def _leads() -> bool:
    """Whether this is the process that records: the first of those that train together."""
    distributed = torch.distributed
    return not (distributed.is_available() and distributed.is_initialized()) or distributed.get_rank() == 0

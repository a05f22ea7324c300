"""What is called after every step of a training loop: ours, or Lightning's."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import nn

from convscope_core.errors import ArgumentError, StoreError
from convscope_core.training.clip import Radius, clip_filters

__all__ = ["Callback", "Recorder", "Step", "begun", "checked_callbacks", "lightning_callback", "notified"]


@dataclass(frozen=True)
class Step:
    """One update of the weights, just done.

    Attributes
    ----------
    step : int
        Updates so far: 1 after the first.
    epoch : float
        Epochs so far: exactly whole at the end of one.
    loss : float
        Of the step's batch, before the update; not a number where a loop of another make does not tell.
    rate : float
        The learning rate that it was made with; not a number likewise.
    module : torch.nn.Module
        With the weights after the update.
    """

    step: int
    epoch: float
    loss: float
    rate: float
    module: nn.Module


@runtime_checkable
class Recorder(Protocol):
    """What has a method for each step, such as `EvolutionRecorder`."""

    def step(self, step: int | None = None, epoch: float | None = None) -> Any:
        """Look at the weights."""


#: Called with a `Step`; or a `Recorder`, whose method `step` is called.
Callback: TypeAlias = "Callable[[Step], Any] | Recorder"


def begun(callbacks: tuple[Callback, ...], module: nn.Module, **options: Any) -> None:
    """Tell callbacks that ask for it, by a method ``training_begins``, what a training does to pictures."""
    for callback in callbacks:
        if (tell := getattr(callback, "training_begins", None)) is not None:
            try:
                tell(module, **options)
            except StoreError as e:
                warnings.warn(f"{e} Training goes on.", RuntimeWarning, stacklevel=2)


def checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return callbacks; ArgumentError for what is none, and for one that is not in a list."""
    found = tuple(callbacks) if isinstance(callbacks, Iterable) else (callbacks,)
    for one in found:
        if not isinstance(callbacks, Iterable) or not (callable(one) or isinstance(one, Recorder)):
            raise ArgumentError(
                f"Expected callbacks as a list of callables and recorders, got {one!r}. Write callbacks=[recorder]."
            )
    return found


def notified(callbacks: tuple[Callback, ...], step: Step) -> None:
    """Call every callback. What a recorder cannot write becomes a warning: training goes on, and it tries again."""
    for callback in callbacks:
        if isinstance(callback, Recorder):
            try:
                callback.step(step=step.step, epoch=step.epoch)
            except StoreError as error:
                warnings.warn(f"Training goes on without. {error}", RuntimeWarning, stacklevel=2)
        else:
            callback(step)


def lightning_callback(*callbacks: Callback, clip: Radius = None) -> Any:
    """Make a callback for a Lightning trainer of ours, such as an `EvolutionRecorder`.

    Parameters
    ----------
    *callbacks : callable or recorder
        As for `train`: called after every update of the weights (once where gradients of several batches are
        accumulated), with the updates and epochs that the trainer counts. Where it cannot know how many batches an
        epoch has (an ``IterableDataset`` without a length), epochs count when they end: not in fractions. Where
        an epoch ends before it was said to, callbacks are called once more for its last update, with the whole epoch.
    clip : float, mapping of str to float or None, optional
        Radius that the filters are clipped to before, by their names in the Lightning module; see `clip_filters`.

    Returns
    -------
    lightning.pytorch.Callback
        For ``Trainer(callbacks=[...])``; of the package ``pytorch_lightning`` where only that is in use.

    Raises
    ------
    ArgumentError
        For what is neither callable nor a recorder.
    ImportError
        Without Lightning.

    Examples
    --------
    >>> recorder = cs.EvolutionRecorder(model, at=[1, 2, 5, 10])  # doctest: +SKIP
    >>> Trainer(callbacks=[cs.lightning_callback(recorder, clip=0.1)]).fit(model, loader)  # doctest: +SKIP
    """
    base: Any = _lightning().Callback
    checked_callbacks(callbacks)

    class AfterEachUpdate(base):  # type: ignore[misc]  # known when Lightning is there
        """Clips filters and calls callbacks after each update of the weights."""

        def __init__(self) -> None:
            super().__init__()
            self._seen = 0
            self._last: Step | None = None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            del pl_module
            self._seen = trainer.global_step  # more than 0 where a checkpoint is gone on with

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            del batch
            if trainer.global_step == self._seen:  # gradients are still being accumulated
                return
            self._seen = trainer.global_step
            clip_filters(pl_module, clip)
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            rates = [group["lr"] for optimiser in trainer.optimizers for group in optimiser.param_groups]
            share = _share(batch_idx + 1, trainer.num_training_batches, trainer.is_last_batch)
            done = Step(
                step=trainer.global_step,
                epoch=trainer.current_epoch + share,
                loss=float("nan") if loss is None else float(loss),
                rate=rates[0] if rates else float("nan"),
                module=pl_module,
            )
            self._last = done
            notified(callbacks, done)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            # the loop finds out only now that there was no other batch, where a length that is stated is too large
            del pl_module
            last, end = self._last, trainer.current_epoch + 1
            if last is not None and last.epoch < end and trainer.fit_loop._data_fetcher.done:
                self._last = replace(last, epoch=end)
                notified(callbacks, self._last)

    return AfterEachUpdate()


def _share(done: int, batches: float, last: bool) -> float:
    """How much of an epoch is done; `batches` is infinite where nobody knows, and may be more than there are."""
    return 1.0 if last or done >= batches else done / batches


def _lightning() -> Any:
    """The package that the user has: Lightning goes by two names, whose classes do not know each other."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in sorted(names, key=lambda name: name not in sys.modules):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
    raise ImportError(
        "Expected Lightning, for a callback of its trainer, got none: it is not installed. pip install lightning"
    )

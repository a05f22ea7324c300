"""A plain training loop with the recipe of the first paper."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from convscope_core.arguments import is_whole, require_between, require_choice, require_counts, require_path
from convscope_core.errors import ArgumentError
from convscope_core.graph.classifier import named_parts
from convscope_core.jobs import completed, last
from convscope_core.jobs.forms import documented, shown
from convscope_core.models.mean_subtraction import MeanSubtraction
from convscope_core.saved_result import typed
from convscope_core.saving import reading_result
from convscope_core.training.callbacks import Callback, Step, begun, checked_callbacks, notified
from convscope_core.training.checkpoint import Progress, read_checkpoint, write_checkpoint
from convscope_core.training.clip import Radius, clip_filters, measured_filters
from convscope_core.training.crops import middle, one_of_ten
from convscope_core.training.evaluation import class_probabilities, evaluating, share_right
from convscope_core.training.pictures import LabelledPictures
from convscope_core.training.result import Epoch, Training, TrainingProgress

__all__ = ["train", "training"]

_PRECISIONS = {"bfloat16": torch.bfloat16, "float16": torch.float16}


@documented
def training(
    module: nn.Module,
    data: Any,
    epochs: int,
    *,
    validation: Any = None,
    classes: Sequence[str] | None = None,
    preprocess: MeanSubtraction | None = None,
    standardise: bool = False,
    batch_size: int = 128,
    rate: float = 0.01,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip: Radius = 0.1,
    factor: float = 0.1,
    patience: int = 5,
    crops: str = "ten",
    precision: str | None = None,
    callbacks: Sequence[Callback] = (),
    checkpoint: Any = None,
    checkpoint_every: int | None = None,
    resume: bool = True,
    cache: bool = True,
    seed: int = 0,
    progress: bool = False,
) -> Generator[TrainingProgress, None, None]:
    """Train a classifier as Zeiler and Fergus (2013, section 3) did.

    Stochastic gradient descent with momentum on the cross entropy; pictures are scaled, and of each one of ten crops is
    drawn; filters are bounded after every update; the learning rate is lowered when the validation error stalls.

    Parameters
    ----------
    module : torch.nn.Module
        Pictures (N, 3, size, size) in, class scores (N, K) out, where its weights are. It is trained in place, and in
        evaluation mode afterwards. Draw its weights with `initialise` first if they should not be what they are.
    data : anything that `Images.of` takes
        Pictures with labels: a folder of class folders, a torch data set of (picture, label), `Shapes`;
        `LabelledPictures` of the right size are taken as they are, to train several networks.
    epochs : int
        Passes over the pictures, in total: those of a checkpoint count. The paper has 70.
    validation : anything that `Images.of` takes, optional
        Pictures of the same classes, to measure accuracy on after each epoch.
    classes : sequence of str, optional
        Names of the classes in the order of the outputs. Default: the data set's ``classes``, else the labels that
        occur, sorted: numbers by value, names as text, as torchvision's ``ImageFolder`` does.
    preprocess : MeanSubtraction, optional
        Default: pictures scaled to 8/7 of the network's input (256 for 224) less their mean colour.
    standardise : bool, default False
        Whether the default of `preprocess` also divides by the colours' standard deviation. The paper does not: its
        inputs are -128 to 128. See `clip_filters` for what that means for `clip`.
    batch_size : int, default 128
    rate : float, default 0.01
        The learning rate at the beginning.
    momentum : float, default 0.9
    weight_decay : float, default 0.0
        The paper mentions none.
    clip : float, mapping of str to float or None, default 0.1
        Radius of the filters, see `clip_filters`; None: no bound.
    factor : float, default 0.1
        What the learning rate is multiplied by when it is lowered.
    patience : int, default 5
        Epochs without a smaller validation error (training loss, without validation) after which it is.
        The paper lowers it by hand.
    crops : {"ten", "middle"}, default "ten"
        Training sees one of the ten crops (corners and middle, mirrored or not), drawn each time, and validation
        averages the probabilities of all ten, as in the paper; or the middle one, in both.
    precision : {"bfloat16", "float16"}, optional
        Of what autocast computes in half precision; weights and updates are kept in single precision. Gradients of
        "float16" are scaled. Default: all in single precision.
    callbacks : sequence of callable or recorder
        Called after every update with a `Step`; an `EvolutionRecorder` is one. What they draw at random does not
        change the training. A recorder of the module takes preprocessing, classes and input size from the training,
        where it was given none. What a recorder cannot write is a RuntimeWarning, and it tries again after the next
        update.
    checkpoint : path, optional
        A file (safetensors) for weights, momentum and where the training stands, written after each epoch. If it
        exists, the training goes on from it: to the same bits as if it had never stopped, on the same machine.
    checkpoint_every : int, optional
        Write it also after so many updates.
    resume : bool, default True
        False: begin again, and overwrite the checkpoint.
    cache : bool, default True
        Keep the pictures in memory, see `LabelledPictures`.
    seed : int, default 0
        Of the order, crops and dropout. Every update draws from numbers of its own.
    progress

    Yields
    ------
    TrainingProgress
        After each epoch; once where the checkpoint has all of them.

    Raises
    ------
    ArgumentError
        For settings outside their ranges, pictures without labels or with labels that are no class, a module that does
        not take them or is not in single precision, a number of outputs other than that of the classes, a checkpoint of
        another training, where gradients are off, and when the loss is not finite: at which update.
    StoreError
        For a checkpoint that cannot be written, or is damaged. The one before is whole.
    """
    given: Any = module
    if not isinstance(given, nn.Module) or not any(p.requires_grad for p in given.parameters()):
        raise ArgumentError(
            f"Expected a torch.nn.Module with weights to train, got {type(given).__name__}. A Network is a snapshot: "
            f"give the module that it was made of, or cs.ZFNet(...)."
        )
    require_counts(epochs=epochs, batch_size=batch_size)
    require_counts(0, patience=patience)
    if checkpoint_every is not None:
        require_counts(checkpoint_every=checkpoint_every)
    require_choice("crops", crops, ("ten", "middle"))
    if precision is not None:
        require_choice("precision", precision, _PRECISIONS)
    require_between("rate", rate, 0)
    require_between("momentum", momentum, 0, 1, closed=True)
    require_between("weight_decay", weight_decay, 0, closed=True)
    require_between("factor", factor, 0, 1)
    require_counts(0, seed=seed)
    called = checked_callbacks(callbacks)
    path = None if checkpoint is None else require_path("checkpoint", checkpoint)
    _require_gradients()
    _require_single(module)
    measured_filters(module, clip)  # refuses what cannot be clipped, and changes nothing before the first update
    if preprocess is not None and not isinstance(preprocess, MeanSubtraction):
        raise ArgumentError(
            f"Expected preprocess as a MeanSubtraction, whose crops training draws, got {type(preprocess).__name__}. "
            f"Give MeanSubtraction(resize, size, mean, std), or nothing."
        )
    size = preprocess.size if preprocess is not None else _input_size(module)
    side = preprocess.resize if preprocess is not None else round(size * 8 / 7)
    pictures = LabelledPictures.of(data, side, classes, cache)
    held_out = None if validation is None else LabelledPictures.of(validation, side, pictures.classes, cache)
    if preprocess is None:
        mean, deviation = pictures.colours()
        preprocess = MeanSubtraction(side, size, mean, deviation if standardise else (1 / 255,) * 3)
    settings = {
        "network": hashlib.sha256(str(module).encode()).hexdigest()[:16],
        "pictures": pictures.digest(),
        "validation": None if held_out is None else held_out.digest(),
        "preprocess": asdict(preprocess),
        "batch_size": batch_size,
        "rate": rate,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "clip": dict(clip) if isinstance(clip, Mapping) else clip,
        "factor": factor,
        "patience": patience,
        "crops": crops,
        "precision": precision,
        "seed": seed,
        "frozen": [name for name, p in module.named_parameters() if not p.requires_grad] or None,
    }
    loop = _Loop(module, pictures, held_out, preprocess, settings, called)
    loop.try_out()
    if path is not None and resume and path.exists():
        loop.resume(path)
    steps = loop.steps(epochs, path, checkpoint_every)
    if progress:
        return shown(steps, f"training {type(module).__name__}", "epoch", lambda step: (step.done, step.total))
    return steps


train = completed(training, "train", Training, lambda steps: last(steps).result)


@dataclass
class _Loop:
    """A training that can stop after any update."""

    module: nn.Module
    pictures: LabelledPictures
    validation: LabelledPictures | None
    preprocess: MeanSubtraction
    settings: dict[str, Any]
    callbacks: tuple[Callback, ...]

    def __post_init__(self) -> None:
        self.device = next(self.module.parameters()).device
        self.optimiser = torch.optim.SGD(
            self.module.parameters(),
            lr=self.settings["rate"],
            momentum=self.settings["momentum"],
            weight_decay=self.settings["weight_decay"],
        )
        self.schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
            self.optimiser, "min", self.settings["factor"], self.settings["patience"], threshold=0.0, eps=0.0
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.settings["precision"] == "float16")
        self.at = Progress(0, 0, 0.0, 0, [], {}, {})

    def try_out(self) -> None:
        """Refuse a module that does not take the pictures, before anything is changed."""
        x = self.preprocess.normalised(middle(self.pictures.batch(torch.zeros(1).long())[0], self.preprocess.size))
        single = []

        def seen(part: nn.Module, given: tuple[Any, ...]) -> None:
            if given and isinstance(given[0], Tensor) and given[0].numel() == given[0].shape[1]:
                single.append(part)

        parts = dict(named_parts(self.module))
        hooks = [p.register_forward_pre_hook(seen) for p in parts.values() if isinstance(p, _BatchNorm)]
        try:
            with torch.no_grad(), evaluating(self.module), _randomness(0, self.device), self._half():
                self.module(x.to(self.device))
        except Exception as e:
            raise ArgumentError(
                f"Expected a module that takes pictures {tuple(x.shape)} in single precision, got {type(e).__name__} "
                f"from {type(self.module).__name__}: {e}. Give one with three channels, or a preprocess of its size."
            ) from e
        finally:
            for hook in hooks:
                hook.remove()
        count, size = len(self.pictures), self.settings["batch_size"]
        if single and 1 in (size, count % size, count):
            name = next(name for name, part in parts.items() if part is single[0])
            raise ArgumentError(
                f"Expected at least 2 pictures in every batch, for the batch norm {name} of single values, got {count} "
                f"pictures in batches of {size}, the last of 1. Choose another batch_size, or one picture less."
            )

    def resume(self, path: Path) -> None:
        self.at = read_checkpoint(path, self.module, self.optimiser, self.settings)
        with reading_result(path, "train(checkpoint=)"):
            typed(self.at.history, tuple[Epoch, ...], "history", unknown=True)
            self.schedule.load_state_dict(self.at.schedule)
            self.scaler.load_state_dict(self.at.scaler)
            for group, rate in zip(self.optimiser.param_groups, self.at.schedule["_last_lr"], strict=True):
                group["lr"] = float(rate)

    def keep(self, path: Path | None) -> None:
        if path is not None:
            self.at.schedule, self.at.scaler = self.schedule.state_dict(), self.scaler.state_dict()
            write_checkpoint(path, self.module, self.optimiser, self.at, self.settings)

    @property
    def result(self) -> Training:
        history = tuple(Epoch(**one) for one in self.at.history)
        return Training(self.module, history, self.pictures.classes, self.preprocess, self.settings)

    def steps(self, epochs: int, path: Path | None, every: int | None) -> Generator[TrainingProgress, None, None]:
        known = {"preprocess": self.preprocess, "labels": self.pictures.classes, "input_size": self.preprocess.size}
        begun(self.callbacks, self.module, **known)
        try:
            if len(self.at.history) >= epochs:
                self.module.eval()
                yield TrainingProgress(len(self.at.history), len(self.at.history), self.result)
            while len(self.at.history) < epochs:
                self.epoch(path, every)
                self.keep(path)
                yield TrainingProgress(len(self.at.history), epochs, self.result)
        finally:
            self.module.eval()

    def _half(self) -> AbstractContextManager[Any]:
        precision = self.settings["precision"]
        return nullcontext() if precision is None else torch.autocast(self.device.type, _PRECISIONS[precision])

    def epoch(self, path: Path | None, every: int | None) -> None:
        _require_gradients()
        started = time.perf_counter()
        at, number = self.at, len(self.at.history)
        order = torch.randperm(len(self.pictures), generator=self._generator("order", number))
        batches = torch.split(order, self.settings["batch_size"])
        clipped: dict[str, int] = {}
        for batch in batches[at.within :]:
            clipped = self.update(batch, number + (at.within + 1) / len(batches))
            if every is not None and at.step % every == 0 and at.within < len(batches):
                self.keep(path)
        right = None
        if self.validation is not None:
            p = class_probabilities(self.module, self.validation, self.preprocess, self.settings["crops"])
            right = share_right(p, self.validation.labels)
        loss, accuracy = at.loss / len(self.pictures), at.right / len(self.pictures)
        done = Epoch(
            epoch=number + 1,
            step=at.step,
            loss=loss,
            accuracy=accuracy,
            validation=right,
            rate=self.optimiser.param_groups[0]["lr"],
            clipped=sum(clipped.values()),
            seconds=round(time.perf_counter() - started, 3),
        )
        self.schedule.step(loss if right is None else 1 - right)
        at.history.append(asdict(done))
        at.within, at.loss, at.right = 0, 0.0, 0

    def update(self, batch: Tensor, epoch: float) -> dict[str, int]:
        """Make one update from the pictures of a batch."""
        at = self.at
        pixels, labels = (value.to(self.device) for value in self.pictures.batch(batch))
        if self.settings["crops"] == "ten":
            cut = one_of_ten(pixels, self.preprocess.size, self._generator("crops", at.step))
        else:
            cut = middle(pixels, self.preprocess.size)
        x = self.preprocess.normalised(cut)
        self.module.train()
        with _deterministic(self.device), _randomness(_number(self.settings["seed"], "dropout", at.step), self.device):
            with self._half():
                scores = self.module(x)
                self._check(scores)
                loss = F.cross_entropy(scores.float(), labels)
            value = float(loss.detach())
            if not math.isfinite(value):
                raise ArgumentError(
                    f"Expected a finite loss, got {value} at update {at.step + 1} (epoch {epoch:.2f}). The training "
                    f"has diverged: lower the rate ({self.settings['rate']:g}), or check that the pictures are in the "
                    f"range that the weights were drawn for (standardise, initialise)."
                )
            self.optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(self.scaler.scale(loss))
        rate = self.optimiser.param_groups[0]["lr"]
        self.scaler.step(self.optimiser)
        self.scaler.update()
        clipped = clip_filters(self.module, self.settings["clip"])
        at.step, at.within = at.step + 1, at.within + 1
        at.loss += value * len(batch)
        at.right += int((scores.detach().argmax(1) == labels).sum())
        notified(self.callbacks, Step(at.step, epoch, value, rate, self.module))
        return clipped

    def _check(self, scores: Any) -> None:
        count = len(self.pictures.classes)
        if not isinstance(scores, Tensor) or scores.dim() != 2 or scores.shape[1] != count:
            came = f"shape {tuple(scores.shape)}" if isinstance(scores, Tensor) else f"a {type(scores).__name__}"
            few = ", ".join(self.pictures.classes[:5]) + ("..." if count > 5 else "")
            raise ArgumentError(
                f"Expected outputs (N, {count}), a score for each of the classes {few}, got {came}. Make the network "
                f"with classes={count}, or say which classes there are."
            )

    def _generator(self, use: str, number: int) -> torch.Generator:
        return torch.Generator().manual_seed(_number(self.settings["seed"], use, number))


def _require_gradients() -> None:
    if not torch.is_grad_enabled():
        raise ArgumentError(
            "Expected to train where gradients are computed, got torch.no_grad() or torch.inference_mode() around it. "
            "Call it outside."
        )


def _require_single(module: nn.Module) -> None:
    for name, parameter in module.named_parameters():
        if nn.parameter.is_lazy(parameter):
            raise ArgumentError(
                f"Expected a module that knows its sizes, got {name}, which takes them from its first input. Give the "
                f"module a picture first."
            )
        if parameter.dtype != torch.float32:
            raise ArgumentError(
                f"Expected weights in single precision, got {name} in {str(parameter.dtype).removeprefix('torch.')}. "
                f"Train module.float(); precision='bfloat16' computes in half precision."
            )


def _input_size(module: nn.Module) -> int:
    """The side of pictures that a module states as its `input_size`; 224 where it states none."""
    stated: Any = getattr(module, "input_size", None)
    sides = {224} if stated is None else set(stated) if isinstance(stated, (tuple, list)) else {stated}
    side = next(iter(sides)) if len(sides) == 1 else None
    if not is_whole(side) or side < 1:
        raise ArgumentError(
            f"Expected the module's input_size as the side of a square in pixels, got {stated!r}. Say what it takes "
            f"with preprocess=MeanSubtraction(resize, size)."
        )
    return side


def _number(seed: int, use: str, number: int) -> int:
    """A seed of its own for every use and update, so that none depends on what was drawn before."""
    return int.from_bytes(hashlib.blake2b(f"{seed} {use} {number}".encode(), digest_size=7).digest(), "big")


@contextmanager
def _deterministic(device: torch.device) -> Iterator[None]:
    """Let cuDNN use what gives the same bits every time."""
    before: tuple[bool, bool] = (torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark)
    if device.type == "cuda":
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


@contextmanager
def _randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Draw from a seed, on the CPU and a device, and leave torch's own random state as it was."""
    with torch.random.fork_rng([]):
        torch.default_generator.manual_seed(seed)
        if device.type == "cpu":
            yield
            return
        backend: Any = getattr(torch, device.type)
        which = () if device.type == "mps" else (device,)  # there is one MPS device, which its functions do not take
        before = backend.get_rng_state(*which)
        try:
            if device.type == "cuda":
                torch.cuda.default_generators[device.index or 0].manual_seed(seed)
            else:
                backend.manual_seed(seed)
            yield
        finally:
            backend.set_rng_state(before, *which)

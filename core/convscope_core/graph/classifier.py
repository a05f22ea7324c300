"""What people bring, in one form: a module that takes one batch and returns one tensor of class scores.

Wrappers (``DataParallel``, ``torch.compile``, ``AveragedModel``...) are looked into; weights of another precision are
converted in a copy; of several results the one with the class scores is picked; a batch is given as the forward pass
takes it, by position, by keyword or in a list. What cannot be looked into is refused, with the reason.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import sys
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.utils import _python_dispatch

from convscope_core.errors import TraceError
from convscope_core.graph.answers import Answers

__all__ = [
    "Classifier",
    "NotTakenError",
    "Result",
    "check_module",
    "converted",
    "in_full_precision",
    "input_channels",
    "is_scores",
    "is_wrapper",
    "named_parts",
    "own_path",
    "results",
    "unwrapped",
    "wrapper_paths",
]

#: Packages of PyTorch's own wrappers, and names of the module in them.
_WRAPPERS = ("torch.nn.parallel", "torch.optim.swa_utils", "torch._dynamo", "torch.distributed")
_INNER = ("module", "_orig_mod", "_fsdp_wrapped_module")
#: Of these, names that nothing else has. What the first of them wraps is all that an export sees of it.
_CERTAIN = ("_orig_mod", "_fsdp_wrapped_module")

#: Names of results and parameters that say what they hold.
_SCORES = ("logits", "class_logits", "scores")
_PICTURES = ("pixel_values", "images", "image", "imgs", "img", "inputs", "input", "x")

_QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "torch.nn.quantized")


def unwrapped(module: Any) -> Any:
    """Return the module inside PyTorch's own wrappers, which compute what it computes.

    ``DataParallel`` and ``DistributedDataParallel``, what ``torch.compile`` returns, ``AveragedModel``.
    """
    while isinstance(module, nn.Module) and is_wrapper(type(module)):
        inner = [child for name, child in module.named_children() if name in _INNER]
        if len(inner) != 1:
            break
        module = inner[0]
    return module


def is_wrapper(kind: type | str) -> bool:
    """Whether a class, or the path of one, is one of PyTorch's own wrappers."""
    return (kind if isinstance(kind, str) else kind.__module__).startswith(_WRAPPERS)


def own_path(path: str, wrappers: Collection[str]) -> str:
    """Return a module's path as it is without PyTorch's wrappers around it, and around what it is in.

    Parameters
    ----------
    path : str
        As in ``module.named_modules()``: ``features.module.0``.
    wrappers : collection of str
        The paths of wrappers. A module of somebody else may be called ``module``, too.
    """
    steps = path.split(".")
    return ".".join(
        step
        for at, step in enumerate(steps)
        if step not in _CERTAIN and not (step in _INNER and ".".join(steps[:at]) in wrappers)
    )


def named_parts(module: nn.Module, *, repeated: bool = False) -> Iterator[tuple[str, nn.Module]]:
    """Give every module in a module under the name that a layer of it has: without PyTorch's wrappers.

    Parameters
    ----------
    module : torch.nn.Module
    repeated : bool, default False
        Give a module that is in several places in each of them.
    """
    wrappers = wrapper_paths(module)
    parts = module.named_modules(remove_duplicate=not repeated)
    return ((own_path(path, wrappers), part) for path, part in parts if path not in wrappers)


def wrapper_paths(module: nn.Module) -> set[str]:
    """Return where PyTorch's own wrappers are in a module."""
    return {path for path, part in module.named_modules(remove_duplicate=False) if is_wrapper(type(part))}


def check_module(module: Any) -> None:
    """Raise a `TraceError` if this is no module in evaluation mode with weights that can be read."""
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"Expected a torch.nn.Module, got {type(module).__name__}. Wrap a function in a module whose "
            f"forward calls it, or load a network by name with load()."
        )
    name = type(module).__name__
    for path, m in module.named_modules():
        which = f"{path} of {name}" if path else name
        if isinstance(m, torch.jit.ScriptModule):
            raise TraceError(
                f"Expected a module written in Python; {which} is TorchScript (torch.jit.script or trace), whose "
                f"operations cannot be read. Give the module that it was made from, with its weights: "
                f"module.load_state_dict(scripted.state_dict())."
            )
        if type(m).__module__.startswith(_QUANTISED):
            raise TraceError(
                f"Expected floating-point weights; {which} is quantised ({type(m).__name__}). Give the module that was "
                f"quantised, before its conversion."
            )
    training = [name or "(the whole network)" for name, m in module.named_modules() if m.training]
    if training:
        shown = ", ".join(training[:6]) + (f" and {len(training) - 6} more" if len(training) > 6 else "")
        raise TraceError(
            f"Expected {name} in evaluation mode; in train mode: {shown}. Dropout and batch norm "
            f"would make each result depend on chance and on the other pictures. Call .eval() on it first."
        )
    for path, t in [*module.named_parameters(), *module.named_buffers()]:
        if is_lazy(t):
            raise TraceError(
                f"Expected weights with values; {path} of {name} is not initialised (a lazy module). Call the module "
                f"once on a batch of pictures, then load its weights."
            )
        if t.is_meta:
            raise TraceError(f"Expected weights with values; {path} of {name} is on the meta device. Load them first.")
        wrapped: Any = _python_dispatch.is_traceable_wrapper_subclass
        if t.is_quantized or wrapped(t):
            what = "quantised" if t.is_quantized else f"a {type(t).__name__} (sharded or quantised)"
            raise TraceError(
                f"Expected weights in plain tensors; {path} of {name} is {what}. Give the module with its full "
                f"floating-point weights on one device."
            )


def converted(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return the module, or a copy of it, with all floating-point weights in one precision.

    Raises
    ------
    TraceError
        If it needs a copy and cannot be copied.
    """
    wide = {torch.float32: torch.complex64, torch.float64: torch.complex128}[dtype]

    def wanted(t: Tensor) -> torch.dtype:
        return wide if t.is_complex() else dtype if t.is_floating_point() else t.dtype

    tensors = [*module.named_parameters(), *module.named_buffers()]
    other = next(((path, t.dtype) for path, t in tensors if t.dtype != wanted(t)), None)
    if other is None:
        return module
    short = str(dtype).removeprefix("torch.")
    try:
        # Weights that are computed of others (pruning, weight norm as it was) would refuse to be copied.
        computed = [v for m in module.modules() for v in vars(m).values() if isinstance(v, Tensor) and not v.is_leaf]
        copied: Any = copy.deepcopy(module, {id(v): v.detach().clone() for v in computed})
        made: nn.Module = copied._apply(lambda t: t.to(wanted(t)))
        return made
    except Exception as e:
        raise TraceError(
            f"Expected {short} weights, or a module that can be copied to convert them; {other[0]} of "
            f"{type(module).__name__} is {str(other[1]).removeprefix('torch.')}, and copying failed with "
            f"{type(e).__name__}. Convert it first: module.to(torch.{short})."
        ) from e


class NotTakenError(TraceError):
    """A module fails when it is called on a batch, or gives something that is no batch."""


class Result(NamedTuple):
    """One tensor of what a module returned."""

    path: tuple[str | int, ...]
    value: Tensor

    @property
    def name(self) -> str:
        """The keys, attributes and indices that lead to it."""
        return ".".join(map(str, self.path))


def results(returned: Any, path: tuple[str | int, ...] = ()) -> Iterator[Result]:
    """Yield every tensor in what a module returned: mappings, sequences and objects with attributes are entered."""
    if isinstance(returned, Tensor):
        yield Result(path, returned)
    elif len(path) > 3:
        return
    elif isinstance(returned, Mapping):
        for key, value in returned.items():
            if isinstance(key, (str, int)):
                yield from results(value, (*path, key))
    elif hasattr(returned, "_fields"):  # a named tuple
        for key in returned._fields:
            yield from results(getattr(returned, key), (*path, key))
    elif isinstance(returned, Sequence) and not isinstance(returned, str):
        for i, value in enumerate(returned):
            yield from results(value, (*path, i))
    elif hasattr(returned, "__dict__"):  # a dataclass or a namespace
        for key, value in vars(returned).items():
            yield from results(value, (*path, key))


def is_scores(out: Tensor, batch: int) -> bool:
    """Tell whether a tensor has one number a picture and class, in (N, K), (N,), (N, K, 1, 1)..."""
    sides = [s for s in out.shape[1:] if s != 1]
    return out.dim() > 0 and out.shape[0] == batch and len(sides) <= 1 and out.is_floating_point() and out.numel() > 0


class Classifier(nn.Module):
    """A module as a function from one batch to one tensor.

    Parameters
    ----------
    module : torch.nn.Module
    x : tensor
        A batch to try it on, (N, C, H, W).
    output : str or int, optional
        Which of several results holds the class scores.

    Raises
    ------
    TraceError
        If the module does not take such a batch, or returns no class scores.

    Attributes
    ----------
    expected : tensor
        The class scores for `x`.
    answers : Answers or None
        What the forward pass is answered where it asks for values; None where it asks the tensors themselves.
    """

    answers: Answers | None = None

    def __init__(self, module: nn.Module, x: Tensor, output: str | int | None = None) -> None:
        super().__init__()
        self.module = module
        failures = []
        for take in ("position", *_keywords(module), "list"):
            self.take = take
            try:
                picked = self._pick(self._call(x), x, output)
            except NotTakenError as e:
                failures.append(e)
                continue
            self.path = picked.path
            self.expected = picked.value.detach().reshape(len(x), -1).clone()
            break
        else:
            raise failures[0]
        self.training = False  # an exported program's module has no eval()

    def forward(self, x: Tensor) -> Tensor:
        """Return the class scores."""
        with self.answers.repeated() if self.answers is not None else contextlib.nullcontext():
            returned = self._given(x)
        for step in self.path:
            named = isinstance(step, str) and not isinstance(returned, Mapping)
            returned = getattr(returned, str(step)) if named else returned[step]
        assert isinstance(returned, Tensor)
        return returned

    def asked(self, x: Tensor) -> Answers:
        """Return what the forward pass asks of tensors' values, and the answers."""
        return Answers(self.module, x, lambda: self._given(x))

    def _given(self, x: Tensor) -> Any:
        if self.take == "position":
            return self.module(x)
        return self.module([x]) if self.take == "list" else self.module(**{self.take: x})

    def _call(self, x: Tensor) -> Any:
        try:
            return self._given(x)
        except Exception as e:
            first = next((line.strip() for line in str(e).splitlines() if line.strip()), "")
            if any(word in first for word in ("NVIDIA", "CUDA", "cuda", "same device")):
                cure = (
                    "Its forward pass asks for another device than its weights are on: leave out .cuda() there, or use "
                    "x.device."
                )
            elif any(word in first for word in ("should be the same", "same dtype", "expected scalar type")):
                cure = (
                    f"Its forward pass asks for another precision than {str(x.dtype).removeprefix('torch.')}, in which "
                    f"its weights are here: leave out .float(), .half() or .double() there, use "
                    f"x.to(self.weight.dtype), or give dtype=torch.float32 or torch.float64."
                )
            else:
                cure = (
                    f"Is input_size={tuple(x.shape[1:])} what the network takes? Give input_size=side, (H, W) or "
                    f"(C, H, W)."
                )
            raise NotTakenError(
                f"Expected {type(self.module).__name__} to take input of shape {tuple(x.shape)} (batch, channels, "
                f"height, width); it failed with {type(e).__name__}: {first[:300]}. {cure}"
            ) from e

    def _pick(self, returned: Any, x: Tensor, output: str | int | None) -> Result:
        name = type(self.module).__name__
        all_results = list(results(returned))
        there = ", ".join(f"{r.name}: {tuple(r.value.shape)}" for r in all_results)
        if output is not None:
            chosen = [r for r in all_results if output in (r.name, r.path[0] if r.path else None)]
            if len(chosen) != 1:
                raise TraceError(
                    f"Expected output as one of the results of {name} ({there or type(returned).__name__}), got "
                    f"{output!r}."
                )
            picked = chosen[0]
        elif isinstance(returned, Tensor):
            picked = Result((), returned)
        else:
            fit = [r for r in all_results if is_scores(r.value, len(x))]
            fit = [r for r in fit if r.path[-1] in _SCORES] or fit
            if len(fit) != 1:
                first = all_results[0] if all_results else Result(("logits",), x)
                example = first.path[0] if len(first.path) == 1 else first.name
                raise TraceError(
                    f"Expected {name} to return one tensor of class scores (N, classes), got a "
                    f"{type(returned).__name__} of {there or 'no tensors'}. Say which holds the class scores, "
                    f"such as Network(..., output={example!r}), or wrap it "
                    f"in a module whose forward returns them only."
                )
            picked = fit[0]
        out = picked.value
        if not is_scores(out, len(x)):
            batch = out.dim() > 0 and len(out) == len(x)
            raise (TraceError if batch else NotTakenError)(
                f"Expected {name} to return class scores of shape ({len(x)}, classes); it returned {out.dtype} of "
                f"shape {tuple(out.shape)}. Wrap it in a module that ends in (N, classes), for example by "
                f".mean((2, 3)) or .flatten(1)."
            )
        if not bool(torch.isfinite(out).all()):
            raise TraceError(
                f"Expected {name} to return finite scores; on random input it returned NaN or infinity. Are all "
                f"its weights loaded (some published files hold the convolutional part only), and its batch norm "
                f"statistics sound?"
            )
        return picked


def _keywords(module: nn.Module) -> list[str]:
    """Return parameters of the forward pass, other than the first, that may be where pictures go."""
    try:
        parameters = list(inspect.signature(module.forward).parameters.values())
    except (TypeError, ValueError):
        return []
    named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    needed = [p.name for p in named if p.kind == p.KEYWORD_ONLY and p.default is p.empty]
    first = next((p.name for p in named if p.kind == p.POSITIONAL_OR_KEYWORD), None)
    known = [p.name for p in named if p.name in _PICTURES and p.name != first]
    return list(dict.fromkeys([*known, *(needed if len(needed) == 1 else [])]))


def input_channels(module: nn.Module, size: tuple[int, ...]) -> list[int]:
    """Return the numbers of channels that a module may take, the likeliest first.

    Which it takes is seen by calling it: what the first convolution in the module tree takes need not be what the
    network takes (pixel-unshuffling, a stem that is listed elsewhere, ``x[:, :1]``).
    """
    convolutions = [m.in_channels for m in module.modules() if isinstance(m, nn.Conv2d)]
    linear = next((m.in_features for m in module.modules() if isinstance(m, nn.Linear)), 0)
    pixels = size[0] * size[1]
    flat = [linear // pixels] if linear and linear % pixels == 0 else []
    unshuffled = [c // f**2 for c in convolutions[:1] for f in (2, 4, 8) if c % f**2 == 0]
    return list(dict.fromkeys([3, 1, *convolutions[:1], *flat, 4, 2, *convolutions[1:4], *unshuffled]))


@contextlib.contextmanager
def in_full_precision() -> Iterator[None]:
    """Let regions of autocast have no effect, and compiled parts run as they are written, on this thread."""
    original: Any = torch.autocast.__enter__
    thread = threading.get_ident()

    def enter(self: Any) -> Any:
        if threading.get_ident() != thread:
            return original(self)
        enabled, self._enabled = self._enabled, False
        try:
            return original(self)
        finally:
            self._enabled = enabled

    with contextlib.ExitStack() as stack:
        if "torch._dynamo" in sys.modules:
            stack.enter_context(torch.compiler.set_stance("force_eager"))
            # PyTorch 2.6 would refuse them all the same where they are traced.
            stack.enter_context(torch._dynamo.config.patch(error_on_nested_fx_trace=False))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        torch.autocast.__enter__ = enter  # type: ignore[method-assign]
        try:
            yield
        finally:
            torch.autocast.__enter__ = original  # type: ignore[method-assign]

"""From a module to a graph that is known to compute the same: `trace`."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from convscope_core.errors import TraceError
from convscope_core.graph.elementwise import collapse_activations
from convscope_core.graph.forward import Runner
from convscope_core.graph.node import Graph, Node
from convscope_core.graph.passes import collapse_response_norm, fold_batch_norm, own
from convscope_core.graph.purify import EntangledError, UnsupportedError, WritesStateError, translate

__all__ = ["check_module", "deviation", "probe", "trace"]

#: Greatest difference between graph and module that `trace` accepts, relative to the greatest output.
TOLERANCE = 1e-4

_MAX_BATCH = 2**16


def trace(
    module: nn.Module,
    input_shape: tuple[int, ...],
    device: torch.device | None = None,
    *,
    copy: bool = True,
) -> Graph:
    """Return the module's forward pass as a pure graph with a snapshot of its weights.

    The module is called (on random input, without gradient) and exported where it is; it is neither moved nor
    changed, and the graph keeps no reference to it. The graph is checked against the module on two batch
    sizes.

    Parameters
    ----------
    module : torch.nn.Module
        A classifier in evaluation mode with float32 weights: one tensor (N, C, H, W) in, one (N, classes),
        (N,) or (N, classes, 1, 1) out.
    input_shape : tuple of int
        (C, H, W).
    device : torch.device, optional
        Where the snapshot of the weights goes. Default: where the module's are.
    copy : bool, default True
        Whether to copy the weights. Without a copy, changes to the module's weights may show in the graph.

    Raises
    ------
    TraceError
        If the module is in train mode, is not float32, does not take such input or give such output, cannot
        be exported, or if the graph does not reproduce it. The message says what to do.
    """
    check_module(module)
    home = _device(module)
    with _untouched(module, home), torch.no_grad():
        generator = torch.Generator().manual_seed(0)
        probe = torch.randn(2, *input_shape, generator=generator).to(home)
        with _untouched(module, home):  # what the call leaves behind must not show in the program
            expected = _call(module, probe, input_shape)
        plain = _purified(_export(module, input_shape, home), module)
        for rewritten in (collapse_response_norm, collapse_activations, _flattened):
            plain = rewritten(plain)
        _refuse_chance(module, plain)
        graph = own(fold_batch_norm(plain), home, copy=copy)
        if not _difference(graph, probe, expected) <= TOLERANCE:
            # Folding loses digits where a running variance is close to zero; unfolded, nothing is rearranged.
            graph = own(plain, home, copy=copy)
            _refuse_difference(module, _difference(graph, probe, expected))
    return graph if device is None or device == home else own(graph, device, copy=False)


def probe(input_shape: tuple[int, ...]) -> torch.Tensor:
    """Return pictures (3, C, H, W) that are unlike each other: noise, a dim one with large patches, a bright one."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *input_shape, generator=generator)
    coarse = torch.nn.functional.interpolate(noise[1:2, :, ::8, ::8], size=input_shape[1:])
    return torch.cat([noise[:1], 0.3 * coarse, 3 * noise[2:] + 1])


def _difference(graph: Graph, x: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the deviation from the module: on two pictures or on the first alone, the greater."""
    run = Runner(graph)
    return max(deviation(run(x)[0], expected), deviation(run(x[:1])[0], expected[:1]))


def _refuse_chance(module: nn.Module, graph: Graph) -> None:
    for n in graph:
        if torch.Tag.nondeterministic_seeded not in getattr(n.op, "tags", ()):
            continue
        if n.args.get("training") is False or n.args.get("dropout_p") == 0:
            continue  # random in train mode only
        raise TraceError(
            f"Expected the forward pass of {_name(module)} to be a fixed function of each picture; it draws random "
            f"numbers ({n.kind}{f' in {n.module}' if n.module else ''}). Replace that part."
        )


def _refuse_difference(module: nn.Module, difference: float) -> None:
    if not difference <= TOLERANCE:
        raise TraceError(
            f"Expected the traced graph of {_name(module)} to compute what the module computes; on random "
            f"input they differ by {difference:.2g} of the largest output (allowed: {TOLERANCE:g}). The "
            f"forward pass probably depends on something that a graph of one picture cannot hold: random "
            f"numbers, the other pictures of the batch, or state that changes from call to call. Make it a "
            f"fixed function of each picture."
        )


def deviation(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the greatest absolute difference, relative to the greatest absolute expected value."""
    if got.shape != expected.shape:
        return float("inf")
    scale = expected.abs().max().item() or 1.0
    return (got - expected).abs().max().item() / scale


def _purified(program: torch.export.ExportedProgram, module: nn.Module) -> Graph:
    def attempt(program: torch.export.ExportedProgram) -> Graph:
        values = _placeholders(program)
        output = program.graph_signature.user_outputs[0]
        try:
            return translate(program.graph, values, str(output))
        except WritesStateError:
            private = {k: v.clone() for k, v in values.items()}
            return translate(program.graph, private, str(output), may_write=True)

    try:
        try:
            return attempt(program)
        except EntangledError:
            return attempt(program.run_decompositions({}))
    except (UnsupportedError, EntangledError) as e:
        raise TraceError(
            f"Expected the forward pass of {_name(module)} to consist of tensor operations; it holds {e}, "
            f"which cannot become part of a graph. Wrap the part of the module without it."
        ) from e


def _placeholders(program: torch.export.ExportedProgram) -> dict[str, torch.Tensor]:
    values: dict[str, torch.Tensor] = {}
    for s in program.graph_signature.input_specs:
        if s.target is None:
            continue
        found: Any = program.state_dict.get(s.target)
        if found is None:
            found = program.constants[s.target]
        values[s.arg.name] = found.detach()
    return values


def _export(module: nn.Module, input_shape: tuple[int, ...], home: torch.device) -> torch.export.ExportedProgram:
    example = torch.zeros(2, *input_shape, device=home)
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    try:
        with _quiet():
            return torch.export.export(module, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as e:
        raise TraceError(_why(module, e)) from e


def _why(module: nn.Module, e: Exception) -> str:
    text = str(e)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(e).__name__)
    name = _name(module)
    if "data-dependent" in text or "GuardOnDataDependent" in type(e).__name__:
        return (
            f"Expected the forward pass of {name} to run the same operations for every picture; it has "
            "data-dependent control flow (a Python `if`, loop, `float()` or `.item()` on values computed "
            f"from the input): {first[:200]}. Replace it by tensor operations (torch.where) or wrap the part "
            f"without it."
        )
    if "Constraints violated" in text or "specialized" in text:
        return (
            f"Expected {name} to take a batch of any size; its forward pass fixes the batch size (for "
            f"example `x.view(2, -1)`, `len(x)` or `if x.shape[0] == 1`). Use x.flatten(1) and x.shape[0]."
        )
    return (
        f"Expected {name} to be traceable by torch.export; it refused with {type(e).__name__}: "
        f"{first[:300]}. Use tensor operations only (no NumPy, no Python side effects) in forward, or wrap "
        f"the part that does."
    )


def _call(module: nn.Module, x: torch.Tensor, input_shape: tuple[int, ...]) -> torch.Tensor:
    name = _name(module)
    try:
        out = module(x)
    except Exception as e:
        first = next((line.strip() for line in str(e).splitlines() if line.strip()), "")
        raise TraceError(
            f"Expected {name} to take input of shape {tuple(x.shape)} (batch, channels, height, width); it "
            f"failed with {type(e).__name__}: {first[:300]}. Is input_size={input_shape} what the network "
            f"takes? Give input_size=side, (H, W) or (C, H, W)."
        ) from e
    if not isinstance(out, torch.Tensor):
        keys = f" with keys {list(out)}" if isinstance(out, dict) else ""
        raise TraceError(
            f"Expected {name} to return one tensor (N, classes); it returned a {type(out).__name__}{keys}. "
            "Wrap it in a module whose forward returns the logits only."
        )
    if not _is_scores(out, len(x)):
        raise TraceError(
            f"Expected {name} to return class scores of shape ({x.shape[0]}, classes); it returned {out.dtype} of "
            f"shape {tuple(out.shape)}. Wrap it in a module that ends in (N, classes), for example by .mean((2, 3)) or "
            f".flatten(1)."
        )
    if not bool(torch.isfinite(out).all()):
        raise TraceError(
            f"Expected {name} to return finite scores; on random input it returned NaN or infinity. Are all "
            f"its weights loaded (some published files hold the convolutional part only), and its batch norm "
            f"statistics sound?"
        )
    return out.detach().reshape(len(x), -1).clone()


def _is_scores(out: torch.Tensor, batch: int) -> bool:
    """Tell whether an output has one number a picture and class, in (N, K), (N,), (N, K, 1, 1)..."""
    sides = [s for s in out.shape[1:] if s != 1]
    return out.dim() > 0 and out.shape[0] == batch and len(sides) <= 1 and out.is_floating_point() and out.numel() > 0


def _flattened(graph: Graph) -> Graph:
    """Return the graph with its output in (N, classes)."""
    output = graph.output
    if len(output.shape) == 1 or not output.batched:
        return graph
    classes = math.prod(output.shape)
    args = {"input": output, "shape": (-1, classes)}
    flat = Node("classes", "flatten", torch.ops.aten.reshape.default, args, (classes,))
    return Graph((*graph.nodes, flat), flat, graph.outputs_of, graph.folded)


def check_module(module: Any) -> None:
    """Raise a `TraceError` if this is no module in evaluation mode with float32 weights."""
    if not isinstance(module, nn.Module):
        raise TraceError(
            f"Expected a torch.nn.Module; got {type(module).__name__}. Wrap a function in a module whose "
            f"forward calls it, or load a network by name with load()."
        )
    training = [name or "(the whole network)" for name, m in module.named_modules() if m.training]
    if training:
        shown = ", ".join(training[:6]) + (f" and {len(training) - 6} more" if len(training) > 6 else "")
        raise TraceError(
            f"Expected {_name(module)} in evaluation mode; in train mode: {shown}. Dropout and batch norm "
            f"would make each result depend on chance and on the other pictures. Call .eval() on it first."
        )
    for name, t in [*module.named_parameters(), *module.named_buffers()]:
        if t.is_floating_point() and t.dtype != torch.float32:
            raise TraceError(
                f"Expected float32 weights; {name} of {_name(module)} is "
                f"{str(t.dtype).removeprefix('torch.')}. Convert a copy: copy.deepcopy(module).float()."
            )
        if t.is_meta:
            raise TraceError(
                f"Expected weights with values; {name} of {_name(module)} is on the meta device. Load them first."
            )


def _device(module: nn.Module) -> torch.device:
    for t in [*module.parameters(), *module.buffers()]:
        return t.device
    return torch.device("cpu")


def _name(module: nn.Module) -> str:
    return type(module).__name__


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep to itself what torch.export writes about a module that it refuses: the error says it."""
    loggers = [logging.getLogger(f"torch.fx.experimental.{x}") for x in ("symbolic_shapes", "recording")]
    were = [x.disabled for x in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")
        for x in loggers:
            x.disabled = True
        try:
            yield
        finally:
            for x, disabled in zip(loggers, were, strict=True):
                x.disabled = disabled


@contextlib.contextmanager
def _untouched(module: nn.Module, home: torch.device) -> Iterator[None]:
    """Put back the buffers, and the state of the random number generators, that the block may change."""
    devices = [home] if home.type == "cuda" else []
    buffers = [(m, dict(m._buffers)) for m in module.modules()]
    values = [(b, b._version, b.detach().clone()) for b in module.buffers()]
    with torch.random.fork_rng(devices):
        try:
            yield
        finally:
            for m, kept in buffers:
                m._buffers.clear()
                m._buffers.update(kept)
            with torch.no_grad():
                for b, version, value in values:
                    if b._version != version:
                        b.copy_(value)

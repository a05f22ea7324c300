"""From a module to a graph that is known to compute the same: `trace`."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import nn
from torch.export import ExportedProgram

from convscope_core.errors import TraceError
from convscope_core.graph.classifier import (
    Classifier,
    NotTakenError,
    check_module,
    converted,
    in_full_precision,
    input_channels,
    results,
    unwrapped,
)
from convscope_core.graph.elementwise import collapse_activations
from convscope_core.graph.forward import Runner
from convscope_core.graph.gates import spell_products
from convscope_core.graph.mates import influence, mixing
from convscope_core.graph.node import Graph, Node, pruned
from convscope_core.graph.normalisation import collapse_normalisations
from convscope_core.graph.own_backward import backward_parts, hooked_modules, sends_other_gradient
from convscope_core.graph.passes import collapse_response_norm, fold_batch_norm, own, without_idle_stops
from convscope_core.graph.recipe import Recipe
from convscope_core.precision import full_precision

__all__ = ["Traceable", "deviation", "made", "probe", "trace", "traced"]

Traceable: TypeAlias = "nn.Module | ExportedProgram"

logger = logging.getLogger(__name__)

#: Greatest difference between graph and module that `trace` accepts, relative to the greatest output.
TOLERANCE = 1e-4

#: To which share a difference has to fall in float64 if rounding is its cause: the precision is 5e8 times as high.
_FALL = 1e-4

#: How many times as far from the exact outputs a graph may be as its module is, where rounding makes both inexact.
_ROUNDING = 30

#: cuDNN normalises no larger batch.
_MAX_BATCH = 2**16 - 1


def trace(module: Traceable, input_shape: tuple[int, ...], device: torch.device | None = None, **options: Any) -> Graph:
    """Return the first of what `traced` gives: the module's forward pass as a pure graph."""
    return traced(module, input_shape, device, **options)[0]


def traced(
    module: Traceable,
    input_shape: tuple[int, ...],
    device: torch.device | None = None,
    *,
    copy: bool = True,
    dtype: torch.dtype = torch.float32,
    output: str | int | None = None,
) -> tuple[Graph, Recipe]:
    """Return the module's forward pass as a pure graph with a snapshot of its weights, and what it was made from.

    The module is called (on random input, without gradient) and exported where it is; it is neither moved nor
    changed, and the graph keeps no reference to it. The graph is checked against the module.

    Parameters
    ----------
    module : torch.nn.Module or torch.export.ExportedProgram
        A classifier in evaluation mode: one tensor (N, C, H, W) in, one (N, classes), (N,) or (N, classes, 1, 1) out,
        or several of which one holds the class scores.
    input_shape : tuple of int
        (C, H, W); or (H, W), and the number of channels is found by trying.
    device : torch.device, optional
        Where the snapshot of the weights goes. Default: where the module's are.
    copy : bool, default True
        Whether to copy the weights. Without a copy, changes to the module's weights may show in the graph.
    dtype : torch.dtype, default torch.float32
        In which the graph computes: float32 or float64.
    output : str or int, optional
        Which of several results holds the class scores: its key, attribute or index.

    Returns
    -------
    graph : Graph
    recipe : Recipe
        Of which `made` makes the graphs of other weights.

    Raises
    ------
    TraceError
        If the module is in train mode, does not take such input or give such output, cannot be exported, depends on
        chance or on the other pictures of a batch, or if the graph does not reproduce it. The message says what to do.
    """
    if isinstance(module, ExportedProgram):
        program: _Module | _Exported = _Exported(module, dtype)
    else:
        inner: nn.Module = unwrapped(module)
        check_module(inner)
        program = _Module(converted(inner, dtype))
    home = program.home
    with _untouched(program.module, home), torch.no_grad(), in_full_precision(), full_precision(home):
        # What the call leaves behind must not show in the program.
        with _untouched(program.module, home, attributes=False), backward_parts() as parts:
            pictures, expected = program.begin(input_shape, dtype, output)
        with backward_parts() as later:  # here gradients are recorded, so that there are tensors' hooks
            plain = _rewritten(program.graph(pictures))
        _refuse_chance(program.name, plain)
        _refuse_mates(program.name, plain, pictures)
        tried: list[Graph] = []
        for graph in _candidates(plain, home, copy=copy):
            tried.append(graph)
            if _difference(graph, pictures, expected) <= TOLERANCE:
                break
        else:
            graph = _judged(program, tried, pictures, expected)
        names = [*(parts | later), *(f"hooks of {path}" for path in hooked_modules(program.module))]
        own_backward = sends_other_gradient(program.scores, lambda x: Runner(graph)(x)[0], pictures[:1], names)
    recipe = program.recipe
    assert recipe is not None
    recipe.own_backward = own_backward
    return (graph if device is None or device == home else own(graph, device, copy=False)), recipe


def made(
    recipe: Recipe,
    state: Mapping[str, torch.Tensor],
    input_shape: tuple[int, int, int],
    device: torch.device,
    *,
    copy: bool = True,
    dtype: torch.dtype = torch.float32,
) -> Graph:
    """Return the graph of a module with other weights: what `traced` gives for it, without exporting it again.

    Parameters
    ----------
    recipe : Recipe
    state : mapping of str to tensor
        What `Recipe.fitted` returned.
    input_shape : tuple of int
        (C, H, W).
    device : torch.device
    copy : bool, default True
        Whether to copy weights that could be shared.
    dtype : torch.dtype, default torch.float32
        As the recipe's module was traced.
    """
    with torch.no_grad(), in_full_precision(), full_precision(device):
        plain = _rewritten(recipe.graph(state, device))
        folded = fold_batch_norm(plain)
        graph = own(folded, device, copy=copy)
        if folded.folded:
            pictures = probe(input_shape)[:2].to(device, dtype)
            if not _difference(graph, pictures, Runner(plain)(pictures)[0]) <= TOLERANCE:
                graph = own(plain, device, copy=copy)  # see `traced`
    return graph


def _rewritten(graph: Graph) -> Graph:
    """Return the graph with what is spelled out in one node, and its output in (N, classes)."""
    for rewritten in (
        without_idle_stops, collapse_response_norm, collapse_activations, spell_products, collapse_normalisations,
        _flattened,
    ):  # fmt: skip
        graph = rewritten(graph)
    return graph


def _candidates(graph: Graph, home: torch.device, *, copy: bool) -> Iterator[Graph]:
    """Yield forms in which a graph may be kept, the fastest first."""
    yield own(fold_batch_norm(graph), home, copy=copy)
    # Folding loses digits where a running variance is close to zero; unfolded, nothing is rearranged.
    yield own(graph, home, copy=copy)


class _Module:
    """A module, ready to be called and exported."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module
        self.name = type(module).__name__
        self.home = next((t.device for t in [*module.parameters(), *module.buffers()]), torch.device("cpu"))
        self.classifier: Classifier | None = None
        self.recipe: Recipe | None = None
        self.output: str | int | None = None

    def begin(
        self, shape: tuple[int, ...], dtype: torch.dtype, output: str | int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two pictures as the module takes them, and their class scores."""
        self.output = output
        shapes = [shape] if len(shape) == 3 else [(c, *shape) for c in input_channels(self.module, shape)]
        failures: list[NotTakenError] = []
        for one in shapes:
            x = probe(one)[:2].to(self.home, dtype)
            try:
                return x, self._first(x)
            except NotTakenError as e:
                failures.append(e)
        first = next((m.in_channels for m in self.module.modules() if isinstance(m, nn.Conv2d)), shapes[0][0])
        tried = dict(zip([one[0] for one in shapes], failures, strict=True))
        told = tried.get(first, failures[0])  # for the channels that it looks as if it takes
        raise TraceError(str(told)) from told.__cause__

    def _first(self, x: torch.Tensor) -> torch.Tensor:
        self.classifier = Classifier(self.module, x, self.output)
        return self.classifier.expected

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores for a batch."""
        return self._first(x) if self.classifier is None else self.scores(x).detach().clone()

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores for a batch, with gradient."""
        assert self.classifier is not None
        found: torch.Tensor = self.classifier(x)
        return found.reshape(len(x), -1)

    def graph(self, x: torch.Tensor) -> Graph:
        """Return the forward pass as it was written."""
        assert self.classifier is not None
        decisive: Mapping[str, torch.Tensor] = {}
        try:
            exported = _export(self.classifier, self.name, x)
        except TraceError:
            if (apart := deviation(self.call(x), self.call(x))) > TOLERANCE:
                raise _depends_on_chance(self.name, apart) from None
            if self._follows_mates(x):  # which is why it cannot be exported for a batch of any size
                how = "a picture's output is another where its neighbours are others"
                raise _depends_on_mates(self.name, how) from None
            answers = self.classifier.asked(x)
            if not answers:
                raise
            self.classifier.answers = answers
            try:
                exported = _export(self.classifier, self.name, x)
            finally:
                self.classifier.answers = None
            decisive = answers.weights
        self.recipe = Recipe(exported, self.name, prefix="module.", decisive=decisive)
        return self.recipe.take_first()

    def _follows_mates(self, x: torch.Tensor) -> bool:
        """Tell whether the output for one of two pictures (2, C, H, W) is another if the other one is changed."""
        outputs = self.call(x)
        for row in (0, 1):
            changed = x.clone()
            changed[1 - row] = 1 - 2 * x[1 - row]
            if not deviation(self.call(changed)[row : row + 1], outputs[row : row + 1]) <= TOLERANCE:
                return True
        return False

    def in_float64(self) -> _Module:
        """Return a copy with weights in float64."""
        made = _Module(converted(self.module, torch.float64))
        made.output = self.output
        return made


class _Exported:
    """An exported program, ready to be called."""

    def __init__(self, program: ExportedProgram, dtype: torch.dtype) -> None:
        self.program = program
        self.name = "the exported program"
        self.module = program.module()
        tensors = [t for t in self.module.state_dict().values() if t.is_floating_point()]
        self.home = next((t.device for t in tensors), torch.device("cpu"))
        other = next((t.dtype for t in tensors if t.dtype != dtype), None)
        if other is not None:
            raise TraceError(
                f"Expected a program with weights in {str(dtype).removeprefix('torch.')}, got one in "
                f"{str(other).removeprefix('torch.')}. Convert the module, and export it again."
            )
        given = program.graph_signature.user_inputs
        inputs = [n for n in program.graph.nodes if n.op == "placeholder" and n.name in given]
        value: Any = inputs[0].meta["val"] if len(inputs) == 1 else None
        if not isinstance(value, torch.Tensor) or value.dim() != 4:
            raise TraceError(
                f"Expected an exported program of one input (N, C, H, W), got one of {len(inputs)} inputs. Export a "
                f"module that takes a batch of pictures and nothing else."
            )
        batch: Any = value.shape[0]
        if isinstance(batch, int):
            raise TraceError(
                f"Expected an exported program that takes a batch of any size, got one of {batch}. Export it "
                f"with dynamic_shapes=({{0: torch.export.Dim('batch')}},), or give the module itself."
            )
        self.shape: tuple[Any, ...] = tuple(value.shape[1:])
        self.result: int = 0
        self.recipe: Recipe | None = None

    def begin(
        self, shape: tuple[int, ...], dtype: torch.dtype, output: str | int | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return two pictures as the program takes them, and their class scores."""
        fixed = all(isinstance(s, int) for s in self.shape)
        x = probe(self.shape if fixed else shape)[:2].to(self.home, dtype)
        try:
            self.classifier = Classifier(self.module, x, output)
        except NotTakenError as e:
            raise TraceError(str(e)) from e.__cause__
        self.result = [r.path for r in results(self.module(x))].index(self.classifier.path)
        return x, self.classifier.expected

    def call(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores for a batch."""
        return self.scores(x).detach().clone()

    def scores(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores for a batch, with gradient."""
        found: torch.Tensor = self.classifier(x)
        return found.reshape(len(x), -1)

    def graph(self, x: torch.Tensor) -> Graph:
        """Return the program's graph."""
        del x
        self.recipe = Recipe(self.program, self.name, self.result)
        return self.recipe.take_first()

    def in_float64(self) -> _Module:
        raise TraceError("Expected a module, to compute in float64, got an exported program.")


def _judged(
    program: _Module | _Exported,
    graphs: Sequence[Graph],
    x: torch.Tensor,
    expected: torch.Tensor,
) -> Graph:
    """Return the first of the graphs that differs from its module by rounding only.

    Raises
    ------
    TraceError
        If none does; it says what else the difference is.
    """
    name = program.name
    difference = min(_difference(graph, x, expected) for graph in graphs)
    if not (apart := deviation(program.call(x), expected)) <= TOLERANCE:
        raise _depends_on_chance(name, apart)
    faithful, truth, apart = math.inf, expected, 0.0
    try:
        exact = program.in_float64()
        truth = exact.call(x.double())
        apart = deviation(exact.call(x[:1].double()), truth[:1])
        twin = own(_rewritten(exact.graph(x.double())), program.home, copy=False)
        faithful = _difference(twin, x.double(), truth)
        why = f"in float64 they differ by {faithful:.2g}"
    except TraceError as e:
        why = f"a comparison in float64 was not possible ({e})"
    if not apart <= _FALL * max(difference, TOLERANCE):
        raise _depends_on_mates(name, f"a picture's output alone is another than in a batch, by {apart:.2g}")
    if faithful <= _FALL * difference:
        rounding = deviation(expected.double(), truth)
        for graph in graphs:
            if _difference(graph, x, truth) <= TOLERANCE + _ROUNDING * rounding:
                return graph
        why = f"the module's own rounding errors are {rounding:.2g}"
    raise TraceError(
        f"Expected the traced graph of {name} to compute what the module computes; on random input they differ by "
        f"{difference:.2g} of the largest output (allowed: {TOLERANCE:g}), and {why}. The forward pass probably "
        f"depends on something that a graph of one picture cannot hold. Make it a fixed function of each picture."
    )


def _depends_on_chance(name: str, apart: float) -> TraceError:
    return TraceError(
        f"Expected the forward pass of {name} to be a fixed function of each picture; a second call on the same "
        f"pictures gave outputs that differ by {apart:.2g} of the largest. It draws random numbers, or keeps state "
        f"from call to call. Replace that part."
    )


def _depends_on_mates(name: str, how: str) -> TraceError:
    return TraceError(
        f"Expected the forward pass of {name} to treat each picture by itself; it depends on the other pictures of the "
        f"batch: {how}. Reduce over each picture's own axes, such as x.amin((1, 2, 3), keepdim=True), and use running "
        f"statistics in batch norm."
    )


def _where(n: Node) -> str:
    return f"{n.kind} in {n.module}" if n.module else n.kind


def _refuse_mates(name: str, graph: Graph, pictures: torch.Tensor) -> None:
    found = mixing(graph)
    if found is not None:
        raise _depends_on_mates(name, f"{_where(found)} reduces over all of it")
    # Three: of two pictures, the next but one is the picture itself.
    found = influence(graph, torch.cat([pictures, pictures[:1].flip(-1)]))
    if found is not None:
        raise _depends_on_mates(name, f"{_where(found)} gives a picture another value where its neighbours are others")


def probe(input_shape: tuple[int, ...]) -> torch.Tensor:
    """Return pictures (3, C, H, W) that are unlike each other: noise, a dim one with large patches, a bright one."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(3, *input_shape, generator=generator)
    coarse = torch.nn.functional.interpolate(noise[1:2, :, ::8, ::8], size=input_shape[1:])
    return torch.cat([noise[:1], 0.3 * coarse, 3 * noise[2:] + 1])


def _difference(graph: Graph, x: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the deviation from the module, on two pictures or the first alone; infinite if it cannot be computed."""
    run = Runner(graph)
    try:
        return max(deviation(run(x)[0], expected), deviation(run(x[:1])[0], expected[:1]))
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as e:
        logger.info("a graph that does not run: %s", e)
        return math.inf


def _refuse_chance(name: str, graph: Graph) -> None:
    for n in graph:
        if torch.Tag.nondeterministic_seeded not in getattr(n.op, "tags", ()):
            continue
        off = (n.args.get(k, True) in (False, 0) for k in ("training", "train", "dropout_p", "dropout", "p"))
        if any(off):
            continue  # random in train mode only
        raise TraceError(
            f"Expected the forward pass of {name} to be a fixed function of each picture; it draws random "
            f"numbers ({_where(n)}). Replace that part."
        )


def deviation(got: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the greatest absolute difference, relative to the greatest absolute expected value."""
    if got.shape != expected.shape:
        return float("inf")
    scale = expected.abs().max().item() or 1.0
    return (got - expected).abs().max().item() / scale


def _export(classifier: Classifier, name: str, x: torch.Tensor) -> ExportedProgram:
    example = torch.zeros_like(x)
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    try:
        with _quiet(), torch.enable_grad():  # or regions without gradients would not be seen
            return torch.export.export(classifier, (example,), dynamic_shapes=({0: batch},), strict=False)
    except Exception as e:
        raise TraceError(_why(name, e)) from e


def _why(name: str, e: Exception) -> str:
    text = str(e)
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(e).__name__)
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
            f"example `x.view(2, -1)`, `len(x)`, `if x.shape[0] == 1` or a loop over the pictures). Use "
            f"x.flatten(1) and x.shape[0]."
        )
    return (
        f"Expected {name} to be traceable by torch.export; it refused with {type(e).__name__}: "
        f"{first[:300]}. Use tensor operations only (no NumPy, no Python side effects) in forward, or wrap "
        f"the part that does."
    )


def _flattened(graph: Graph) -> Graph:
    """Return the graph with its output in (N, classes)."""
    output = graph.output
    if output.kind in ("aten.to", "aten._to_copy") and output.args.get("dtype") is torch.float64:
        output = output["input"]
        graph = Graph(pruned(graph.nodes, output), output, graph.outputs_of, graph.folded)
    if len(output.shape) == 1 or not output.batched:
        return graph
    classes = math.prod(output.shape)
    args = {"input": output, "shape": (-1, classes)}
    flat = Node("classes", "flatten", torch.ops.aten.reshape.default, args, (classes,))
    return Graph((*graph.nodes, flat), flat, graph.outputs_of, graph.folded)


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
def _untouched(module: nn.Module, home: torch.device, *, attributes: bool = True) -> Iterator[None]:
    """Put back the buffers and attributes, and the state of the random number generators, that the block may change.

    What `nn.DataParallel` wraps inside the module is called where it is: it would share the pictures out, which fixes
    the batch size.
    """
    shared = [(m, m.device_ids) for m in module.modules() if isinstance(m, nn.DataParallel)]
    devices = [home] if home.type == "cuda" else []
    buffers = [(m, dict(m._buffers)) for m in module.modules()]
    named = [(m, dict(vars(m))) for m in module.modules()] if attributes else []
    held = [v for _, kept in named for name, v in kept.items() if name[:1] != "_" and type(v) in (list, dict)]
    contents = [(v, v.copy()) for v in held]
    values = [(b, b._version, b.detach().clone()) for b in module.buffers()]
    with torch.random.fork_rng(devices):
        for wrapper, _ in shared:
            wrapper.device_ids = []
        try:
            yield
        finally:
            for wrapper, ids in shared:
                wrapper.device_ids = ids
            for m, kept in named:
                for name in vars(m).keys() - kept.keys():
                    del vars(m)[name]
                vars(m).update({name: v for name, v in kept.items() if vars(m).get(name) is not v})
            for container, content in contents:
                container.clear()
                container.update(content) if isinstance(container, dict) else container.extend(content)
            for m, kept in buffers:
                m._buffers.clear()
                m._buffers.update(kept)
            with torch.no_grad():
                for b, version, value in values:
                    if b._version != version:
                        b.copy_(value)

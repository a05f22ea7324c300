"""From an exported program to a graph without side effects and identities.

`translate` reads the program once, in order. What an in-place operation wrote is a new node, and every later
use of the tensor that was written to is a use of that node. This is exact as long as no *other* name of the
same memory (a view, or what the view was taken of) is read afterwards; where one is, `EntangledError` is
raised and the caller lets PyTorch functionalise the program, which is slower and spells operations less readably.
"""

from __future__ import annotations

import operator
import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from convscope_core.graph import ops
from convscope_core.graph.classifier import Classifier, is_wrapper, own_path
from convscope_core.graph.node import Graph, ModuleCall, Node, nodes_in, pruned

__all__ = ["EntangledError", "UnsupportedError", "WritesStateError", "inlined", "translate"]

aten = torch.ops.aten


#: Regions of a program that have no effect on what is computed in full precision.
_REGIONS = ("wrap_with_set_grad_enabled", "wrap_with_autocast")


class EntangledError(Exception):
    """An in-place operation changes memory that is read later under another name."""


class WritesStateError(Exception):
    """The forward pass writes to a parameter or buffer."""


class UnsupportedError(Exception):
    """The program holds something that is no operation on tensors."""


class _Cell:
    """What a name of the program currently stands for, and the names that may share its memory."""

    __slots__ = ("family", "names", "value")

    def __init__(self, value: Any, family: list[_Cell] | None = None) -> None:
        self.value = value
        self.names: list[fx.Node] = []
        self.family = [] if family is None else family
        self.family.append(self)


def inlined(module: fx.GraphModule, output: str) -> tuple[fx.Graph, str]:
    """Return a program's graph with regions of autocast and of gradient mode written out.

    What leaves a region without gradients is detached.

    Parameters
    ----------
    module : torch.fx.GraphModule
    output : str
        Name of a node.

    Returns
    -------
    graph : torch.fx.Graph
    output : str
        The node's name there.
    """
    if not any(_is_region(n) for n in module.graph.nodes):
        return module.graph, output
    graph = fx.Graph()
    known: dict[fx.Node, Any] = {}
    _copy_into(graph, module, known)
    last = next(n for n in module.graph.nodes if n.name == output)
    graph.output(known[last])
    return graph, str(known[last].name)


def _is_region(n: fx.Node) -> bool:
    return n.op == "call_function" and getattr(n.target, "__name__", "") in _REGIONS


def _is_without_gradients(n: fx.Node) -> bool:
    return getattr(n.target, "__name__", "") == "wrap_with_set_grad_enabled" and n.args[0] is False


def _detached(graph: fx.Graph, found: Any) -> Any:
    """Add to a graph what detaches tensors that are in it."""

    def detach(n: fx.Node) -> fx.Node:
        val = n.meta.get("val")
        if not isinstance(val, torch.Tensor):
            return n
        made = graph.call_function(aten.detach.default, (n,))
        made.meta = {**n.meta, "val": val}
        return made

    return fx.node.map_arg(found, detach)


def _copy_into(graph: fx.Graph, module: fx.GraphModule, known: dict[fx.Node, Any]) -> Any:
    """Copy the nodes of a graph, and those of the regions in it; return what it gives."""
    for n in module.graph.nodes:
        if n.op == "output":
            return fx.node.map_arg(n.args[0], known.__getitem__)
        if n in known:
            continue  # an argument of a region
        if _is_region(n):
            at = next(i for i, a in enumerate(n.args) if isinstance(a, fx.Node) and a.op == "get_attr")
            region = getattr(module, n.args[at].target)
            inputs = [m for m in region.graph.nodes if m.op == "placeholder"]
            inside = {m: known[a] for m, a in zip(inputs, n.args[at + 1 :], strict=True)}
            found = _copy_into(graph, region, inside)
            known[n] = _detached(graph, found) if _is_without_gradients(n) else found
        elif n.target is operator.getitem and not isinstance(known[n.args[0]], fx.Node):
            known[n] = known[n.args[0]][n.args[1]]
        elif n.op != "get_attr" or not isinstance(getattr(module, n.target, None), fx.GraphModule):
            known[n] = graph.node_copy(n, known.__getitem__)
    return None


def translate(program: fx.Graph, placeholders: Mapping[str, Any], output: str, *, may_write: bool = False) -> Graph:
    """Return the pure graph of an exported program.

    Parameters
    ----------
    program : torch.fx.Graph
        The graph of an ``ExportedProgram``.
    placeholders : mapping of str to tensor
        The parameter, buffer or constant behind each placeholder; what is no tensor (a generator of random numbers) as
        it is. The one placeholder not in here is the input.
    output : str
        Name of the program's node that is the user's output.
    may_write : bool, default False
        Whether the tensors in `placeholders` are private copies that the program may write to.

    Raises
    ------
    EntangledError, WritesStateError, UnsupportedError
        See there.
    """
    return _Translation(program, placeholders, may_write).run(output)


class _Translation:
    def __init__(self, program: fx.Graph, placeholders: Mapping[str, Any], may_write: bool) -> None:
        self.program = list(program.nodes)
        self.placeholders = placeholders
        held = [t for t in placeholders.values() if isinstance(t, torch.Tensor) and t.numel()]
        self.state = set() if may_write else {t.untyped_storage().data_ptr() for t in held}
        self.cells: dict[fx.Node, _Cell] = {}
        self.nodes: list[Node] = []
        self.names: set[str] = set()
        self.batch: Any = None
        self.batch_size: Node | None = None
        position = {n: i for i, n in enumerate(self.program)}
        self.last_use = {n: max((position[u] for u in n.users), default=-1) for n in self.program}

    def run(self, output: str) -> Graph:
        results: dict[fx.Node, Any] = {}
        for i, n in enumerate(self.program):
            if n.op == "placeholder":
                self.define(n, self.placeholder(n))
            elif n.op == "call_function":
                self.call(n, i)
            elif n.op != "output":
                raise UnsupportedError(f"{n.op} {n.target}")
            if n in self.cells:
                results[n] = self.cells[n].value
        final = next(n for n in self.program if n.name == output)
        result = self.cells[final].value
        if not isinstance(result, Node):
            raise UnsupportedError("the output does not depend on the input")
        kept = pruned(self.nodes, result)
        return Graph(kept, result, self.outputs_of(results, set(kept)))

    # -- names and values --

    def define(self, n: fx.Node, value: Any, family: list[_Cell] | None = None) -> None:
        self.bind(n, _Cell(value, family))

    def bind(self, n: fx.Node, cell: _Cell) -> None:
        self.cells[n] = cell
        cell.names.append(n)

    def value(self, a: Any) -> Any:
        """Return an argument of the program with every name replaced by what it stands for now."""
        if isinstance(a, fx.Node):
            return self.cells[a].value
        if isinstance(a, (tuple, list)):
            return tuple(self.value(x) for x in a)
        if isinstance(a, slice):
            return slice(self.value(a.start), self.value(a.stop), self.value(a.step))
        return a

    def placeholder(self, n: fx.Node) -> Any:
        if n.name in self.placeholders:
            return self.placeholders[n.name]
        shape = n.meta["val"].shape
        self.batch = shape[0]
        return self.emit(n, ops.Spec("input", _no_op, {}), tuple(shape[1:]), True)

    def emit(self, n: fx.Node, spec: ops.Spec, shape: tuple[int, ...], batched: bool, name: str | None = None) -> Node:
        base = name or n.name
        unique, k = base, 1
        while unique in self.names:
            k += 1
            unique = f"{base}_{k}"
        self.names.add(unique)
        op = None if spec.kind == "input" else spec.op
        node = Node(unique, spec.kind, op, spec.args, shape, _calls(n), spec.keywords, batched)
        self.nodes.append(node)
        return node

    def is_batch(self, d: Any) -> bool:
        return isinstance(d, torch.SymInt) and bool(d.node.expr == self.batch.node.expr)

    def shape(self, val: torch.Tensor) -> tuple[tuple[int, ...], bool]:
        """Return the shape without the batch axis (-1 where not constant), and whether there was one."""
        dims: tuple[Any, ...] = tuple(val.shape)
        batched = bool(dims) and self.is_batch(dims[0])
        return tuple(d if isinstance(d, int) else -1 for d in (dims[1:] if batched else dims)), batched

    # -- operations --

    def call(self, n: fx.Node, position: int) -> None:
        target: Any = n.target
        args = self.value(tuple(n.args))
        kwargs = {k: self.value(v) for k, v in n.kwargs.items()}
        if target is operator.getitem:
            self.getitem(n, args)
            return
        if isinstance(n.meta.get("val"), torch.SymInt) and self.is_batch(n.meta["val"]):
            self.define(n, self.the_batch_size(n))
            return
        depends = _depends(args, kwargs)
        if not isinstance(target, torch._ops.OpOverload):
            size = ops.size_spec(target, args)
            if size is None:
                raise UnsupportedError(str(target))
            self.define(n, self.emit(n, size, (), False) if depends else target(*args))
            return
        writes = target._schema.is_mutable
        if depends and str(target) in _LIKE and not _depends(args[1:], kwargs):
            # It takes no values from the picture, only its type and device: as good as a constant.
            val = n.meta["val"]
            args = (torch.empty((), dtype=val.dtype, device=val.device), *args[1:])
            depends = False
        if not depends:
            self.constant(n, target, args, kwargs, writes)
            return
        if str(target) in ops.IDENTITIES and self.is_identity(n, target, args, kwargs):
            source = self.cells[n.args[0]]  # type: ignore[index]  # these operations take a tensor first
            if ops.IDENTITIES[str(target)]:
                self.bind(n, source)
            else:
                self.define(n, source.value, source.family)
            return
        if writes:
            pure = ops.twin(target)
            if pure is None:
                raise EntangledError(str(target))
            written = self.cells[n.args[0]]  # type: ignore[index]
            self.check_alone(written, position)
            written.value = self.single(n, pure, args, kwargs, n.meta["val"])
            self.bind(n, written)
            return
        val = n.meta.get("val")
        if isinstance(val, (tuple, list)):
            # Results that are taken apart one by one: a pending call, see getitem.
            self.define(n, _Several(target, args, kwargs, tuple(val)), self.family(n, target))
            return
        if val is None:
            return  # an assertion: nothing can use it
        self.define(n, self.single(n, target, args, kwargs, val), self.family(n, target))

    def single(self, n: fx.Node, target: Any, args: Any, kwargs: Any, val: Any) -> Any:
        if not isinstance(val, torch.Tensor):
            return self.emit(n, ops.spec("size", target, ops.bind(target, args, kwargs)), (), False)
        shape, batched = self.shape(val)
        a = ops.bind(target, args, kwargs)
        pad = ops.same_padding(a) if "weight" in a else None
        if pad is not None:
            x: Node = a["input"]
            grown = x.shape[:1] + tuple(s + pad[-2 * i - 2] + pad[-2 * i - 1] for i, s in enumerate(x.shape[1:]))
            spec = ops.Spec("pad", aten.pad.default, {"input": x, "pad": pad, "mode": "constant", "value": None})
            a |= {"input": self.emit(n, spec, grown, True, f"{n.name}_pad"), "padding": "valid"}
        if str(target) == "aten.slice.Tensor" and _takes_all(a):
            return a["input"]
        full = (-1, *shape) if batched else shape
        if str(target) in ops.COPIES:  # of one tensor into the shape of another: what is written stands there after
            source = a["src"]
            if isinstance(source, Node) and (source.shape, source.batched) == (shape, batched):
                return source
            target, a = aten.expand_as.default, {"input": source, "other": a["input"]}
        spec = ops.normalise(target, a, full, batched)
        x = spec.args.get("input")  # type: ignore[assignment]
        if spec.kind == "slice" and x.shape == shape:
            return x
        if spec.kind == "cat" and len(spec.args["tensors"]) == 1:
            return spec.args["tensors"][0]
        return self.emit(n, spec, shape, batched)

    def getitem(self, n: fx.Node, args: tuple[Any, ...]) -> None:
        several, index = args
        family = self.cells[n.args[0]].family  # type: ignore[index]
        if not isinstance(several, _Several):
            if isinstance(several, (tuple, list)):
                self.define(n, several[index], family)
                return
            raise UnsupportedError(f"{n.name} = {n.args}[{index}]")
        self.define(n, self.part(n, several, index), family)

    def part(self, n: fx.Node, several: _Several, index: int) -> Node:
        name = str(several.target)
        a = ops.bind(several.target, several.args, several.kwargs)
        val = several.vals[index]
        shape, batched = self.shape(val)
        if index == 0 and name in ops.FIRST_RESULT:
            return self.emit(n, ops.normalise(several.target, a, (-1, *shape), batched), shape, batched)
        x = a.get("input", a.get("tensor"))
        if name.split(".")[1] in ("chunk", "split", "split_with_sizes", "tensor_split") and batched:
            dim = a["dim"] % (len(shape) + 1)
            if dim:
                start = sum(int(v.shape[dim]) for v in several.vals[:index])
                piece = {"input": x, "dim": dim, "start": start, "end": start + shape[dim - 1], "step": 1}
                return self.emit(n, ops.Spec("slice", aten.slice.Tensor, piece), shape, True)
        if name.startswith("aten.unbind.") and batched:
            dim = a["dim"] % (len(shape) + 2)
            if dim:
                spec = ops.Spec("select", aten.select.int, {"input": x, "dim": dim, "index": index})
                return self.emit(n, spec, shape, True)
        if batched and (one := ops.one_of_several(several.target, a, index)) is not None:
            return self.emit(n, ops.normalise(*one, (-1, *shape), True), shape, True)
        whole = several.node
        if whole is None:
            kind = f"aten.{several.target._schema.name.split('::')[1]}"
            whole = self.emit(n, ops.spec(kind, several.target, a), (), False, f"{n.name}_all")
            several.node = whole
        return self.emit(n, ops.Spec("getitem", operator.getitem, {"input": whole, "index": index}), shape, batched)

    def constant(self, n: fx.Node, target: Any, args: Any, kwargs: Any, writes: bool) -> None:
        """Compute what does not depend on the input, once, now."""
        if torch.Tag.nondeterministic_seeded in target.tags:
            raise UnsupportedError(f"random numbers ({target})")
        if writes and _storage(args[0]) in self.state:
            raise WritesStateError(str(target))
        value = target(*args, **kwargs)
        if isinstance(value, list):
            value = tuple(value)
        if writes:
            self.bind(n, self.cells[n.args[0]])  # type: ignore[index]
        else:
            self.define(n, value, self.family(n, target))

    def the_batch_size(self, n: fx.Node) -> Node:
        if self.batch_size is None:
            a = {"input": self.nodes[0], "dim": 0}
            self.batch_size = self.emit(n, ops.Spec("size", aten.sym_size.int, a), (), False, "batch_size")
        return self.batch_size

    def is_identity(self, n: fx.Node, target: Any, args: Any, kwargs: Any) -> bool:
        a = ops.bind(target, args, kwargs)
        if a.get("train") and a.get("p", 1):
            return False
        before, after = n.args[0].meta["val"], n.meta["val"]  # type: ignore[union-attr]
        return bool(before.dtype == after.dtype and before.device == after.device)

    # -- memory --

    def family(self, n: fx.Node, target: Any) -> list[_Cell] | None:
        """Return the cells whose memory the result may share."""
        shares = any(r.alias_info is not None for r in target._schema.returns) or str(target) in _MAY_SHARE
        if shares and n.args and isinstance(n.args[0], fx.Node):
            return self.cells[n.args[0]].family
        return None

    def check_alone(self, written: _Cell, position: int) -> None:
        for other in written.family:
            if other is not written and any(self.last_use[name] > position for name in other.names):
                raise EntangledError(str(self.program[position]))

    # -- modules --

    def outputs_of(self, results: Mapping[fx.Node, Any], kept: set[Node]) -> dict[ModuleCall, Node]:
        """Find, for each module call with one result, the node that holds this result."""
        leaving: dict[ModuleCall, dict[fx.Node, None]] = defaultdict(dict)
        calls = {n: _calls(n) for n in self.program}
        for n in self.program:
            if not isinstance(n.meta.get("val"), torch.Tensor):
                continue
            outside = [set(calls[u]) for u in n.users if u.op == "output" or u.meta.get("val") is not None]
            for c in calls[n]:
                if any(c not in o for o in outside):
                    leaving[c][n] = None
        found: dict[ModuleCall, Node] = {}
        for c, names in leaving.items():
            values = {results[n] for n in names if isinstance(results.get(n), Node)}
            if len(values) == 1 and (value := values.pop()) in kept:
                found[c] = value
        return found


class _Several:
    """A call with several results, which are nodes only when something takes them out."""

    def __init__(self, target: Any, args: Any, kwargs: Any, vals: tuple[Any, ...]) -> None:
        self.target, self.args, self.kwargs, self.vals = target, args, kwargs, vals
        self.node: Node | None = None


_MAY_SHARE = frozenset(
    {
        "aten.reshape.default", "aten.reshape_as.default", "aten.contiguous.default", "aten.to.dtype",
        "aten.to.device", "aten.to.dtype_layout", "aten.to.other", "aten.type_as.default",
        "aten.unflatten.int", "aten.flatten.using_ints",
    }
)  # fmt: skip


#: Fills new memory of a given size; takes no values from the tensor that it is called on.
_LIKE = frozenset(f"aten.new_{x}.default" for x in ("zeros", "ones", "full", "empty"))


def _no_op() -> None:  # the input node has no operation; a spec needs one
    return None


def _depends(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    return any(True for _ in nodes_in((args, tuple(kwargs.values()))))


def _takes_all(a: Mapping[str, Any]) -> bool:
    """Tell whether the arguments of a slice mean ``[:]``."""
    ends = a["end"] is None or (isinstance(a["end"], int) and a["end"] >= sys.maxsize)
    return a["start"] in (None, 0) and ends and a["step"] == 1


def _storage(t: Any) -> int:
    return t.untyped_storage().data_ptr() if isinstance(t, torch.Tensor) else -1


def _calls(n: fx.Node) -> tuple[ModuleCall, ...]:
    """Read the module calls off a node of the program; the key's ``@k`` counts the calls before this one.

    The outermost module is our own (`Classifier`), and the user's is in it.
    """
    stack = list((n.meta.get("nn_module_stack") or {}).items())
    ours = bool(stack) and stack[0][1][1] in (Classifier, f"{Classifier.__module__}.{Classifier.__qualname__}")
    calls = []
    wrappers = {path for _, (path, kind) in stack if is_wrapper(kind)}
    for key, (path, kind) in stack[ours:]:
        before = key.rsplit("@", 1)[1] if "@" in key else "0"
        name = kind if isinstance(kind, str) else kind.__qualname__
        if key.startswith("_empty_nn_module_stack") or path in wrappers:
            continue
        path = own_path(path, wrappers)
        inner = path.removeprefix("module").removeprefix(".") if ours else path
        calls.append(ModuleCall(inner, int(before) + 1 if before.isdigit() else 1, name.rsplit(".", 1)[-1]))
    return tuple(calls)

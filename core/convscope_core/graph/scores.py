"""What a network's outputs are, class scores or probabilities, and where its scores before any squashing are.

Three questions, answered in this order. Which operations make the outputs: shape operations, means and concatenations
are followed back to a soft-max or a sigmoid, and repeated on what goes into it; that gives the node of the logits, from
which explanations start. What values the outputs can take: what follows the last weighted operations is computed for
random values, small and very large, in their place. What values they do take, on probe pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope_core.errors import NetworkError
from convscope_core.graph.forward import Runner, evaluated
from convscope_core.graph.node import Graph, Node, map_values, needed_for, pruned

__all__ = ["SCORES", "Scores", "find_scores", "squashed", "stated_scores"]

#: What outputs can be: class scores of which a soft-max makes probabilities (log-probabilities, too);
#: probabilities of classes that exclude each other; probabilities of classes that do not.
SCORES = ("logits", "probabilities", "independent")

_SQUASHES = {"softmax": False, "sigmoid": False, "hardsigmoid": False, "log_softmax": True, "log_sigmoid": True}
"""Operations that make probabilities of scores. Value: whether their results are logarithms."""

_SHAPES = frozenset(
    {
        "reshape", "flatten", "permute", "slice", "select", "mean", "scale", "shift", "add", "cat", "getitem",
        "aten.expand", "aten.stack", "aten.mean", "aten.flip", "aten.index_select", "aten.index", "aten.unsqueeze",
        "aten.select", "aten.slice", "aten.unbind", "aten.split", "aten.chunk", "aten.t", "aten.sum", "aten.amax",
        "aten.max", "max_pool", "adaptive_max_pool", "avg_pool", "adaptive_avg_pool",
    }
)  # fmt: skip
"""Operations that are done to the scores as they are done to the probabilities."""

_BOUNDS = frozenset({"clamp", "hardtanh", "relu", "aten.nan_to_num", "aten.clamp_min", "aten.clamp_max"})
"""Operations that leave probabilities as they are."""

_CASTS = frozenset({"aten.to", "aten._to_copy", "aten.type_as"})
"""Changes of precision."""

_HALVES = frozenset({"torch.float16", "torch.bfloat16"})

_WEIGHTED = frozenset(
    {
        "input", "conv", "conv1d", "conv3d", "conv_transpose", "conv_transpose1d", "conv_transpose3d", "linear",
        "batch_norm", "layer_norm", "group_norm", "instance_norm", "aten.matmul", "aten.mm", "aten.bmm", "aten.addmm",
        "aten.baddbmm", "aten.einsum", "aten.bilinear", "aten.mv", "aten.lstm", "aten.gru", "aten.rnn_tanh",
        "aten.rnn_relu", "aten.scaled_dot_product_attention", "aten.convolution",
    }
)  # fmt: skip
"""Operations whose results may be anything."""

_SCALES = (1.0, 10.0, 100.0)
"""Of values in place of what the last weighted operations give."""

_SUM_SLACK = 1e-4
_SLACK = 1e-5


@dataclass(frozen=True)
class Scores:
    """What outputs are.

    Attributes
    ----------
    kind : str
        One of `SCORES`.
    of_output : {"softmax", "sigmoid", "exp", "none"}
        What makes probabilities of outputs.
    of_logits : {"softmax", "sigmoid", "exp", "none"} or None
        What makes probabilities of the values of ``Graph.logits``; None where they do not say it all (a mean of
        soft-maxes).
    """

    kind: str
    of_output: str
    of_logits: str | None

    def probabilities(self, output: Tensor) -> Tensor:
        """Return class probabilities (N, K) for outputs (N, K)."""
        return squashed(output, self.of_output)

    def log_odds(self, values: Tensor, target: int) -> Tensor:
        """Return ``log(p / (1 - p))`` of a class, (N,), with gradient.

        Parameters
        ----------
        values : tensor
            (N, K), of ``Graph.logits`` where `of_logits` is not None, else of the output.
        target : int
            The class.
        """
        how = self.of_output if self.of_logits is None else self.of_logits
        if how == "sigmoid":
            return values[:, target]
        if how == "softmax":  # of a probability that rounds to 1 the log-odds would be infinite
            others = torch.cat([values[:, :target], values[:, target + 1 :]], 1)
            return values[:, target] - others.logsumexp(1)
        p = squashed(values, how)[:, target]
        smallest = torch.finfo(p.dtype).eps
        return p.clamp(smallest, 1 - smallest).logit()


def squashed(values: Tensor, how: str) -> Tensor:
    """Return values (N, K) after a soft-max, a sigmoid, an exponential function or ("none") as they are."""
    if how == "softmax":
        return values.softmax(-1)
    if how == "sigmoid":
        return values.sigmoid()
    return values.exp() if how == "exp" else values


def stated_scores(kind: str, found: Scores) -> Scores:
    """Return what outputs are where the user says it, given what `find_scores` says.

    Raises
    ------
    NetworkError
        If outputs are taken for probabilities that are none.
    """
    none = found.of_output in ("none", "exp")  # they are probabilities, or logarithms of some, already
    if kind == "logits":
        return Scores(kind, "softmax", None if none else "softmax")
    if none:
        return Scores(kind, found.of_output, found.of_logits)
    if kind == "independent":
        return Scores(kind, "sigmoid", "sigmoid")
    raise NetworkError(
        'Expected probabilities as the outputs for scores="probabilities", got values that may be below 0, above 1, '
        'or of any sum. Give scores="logits" (or "independent"), or leave it out.'
    )


def find_scores(graph: Graph, x: Tensor) -> tuple[Graph, Scores]:
    """Find out what the outputs of a graph are.

    Parameters
    ----------
    graph : Graph
        Its output is (N, K).
    x : tensor
        Probe pictures (N, C, H, W), as unlike each other as can be. Looked at only where operations do not tell.

    Returns
    -------
    graph : Graph
        The same computation, with its ``logits``.
    scores : Scores
        A single output is of a yes/no class, so that it is independent.
    """
    output = graph.output
    alone = output.shape == (1,)
    raw = Scores("independent", "sigmoid", "sigmoid") if alone else Scores("logits", "softmax", "softmax")
    weighted = _last_weighted(graph)
    mixed = any(_squash_before(i) for n in weighted for i in n.inputs)
    if output in weighted and not mixed:
        return graph, raw
    search = _Search(graph)
    before = search.before(output)
    if before is not None and before.batched and before.shape == output.shape:
        nodes = pruned((*graph.nodes, *search.made), output, before)
        graph = Graph(nodes, output, graph.outputs_of, graph.folded, before)
    seen, possible, logits = _examples(graph, x, weighted - {output})
    logarithm = before is not None and search.logarithm
    if logarithm:
        seen, possible = seen.exp(), possible.exp()
    kind = _kind(possible if len(possible) else seen)
    sure = bool((seen.amax(1) < 1 - _SUM_SLACK).any())  # not by saturation, where one is 1 and the rest are 0
    if kind != "probabilities" and _kind(seen) == "probabilities" and sure and (kind == "independent" or mixed):
        kind = "probabilities"  # of operations that only together, or with these weights, sum to 1
    if kind == "independent" and logarithm and search.squashes & {"softmax", "log_softmax"}:
        return graph, raw  # a mean of log-probabilities, say: to be normalised
    if kind == "logits":
        if before is None or _kind(possible.exp()) == "probabilities":  # logarithms, written out by hand, are logits
            return graph, raw
        return Graph(pruned(graph.nodes, output), output, graph.outputs_of, graph.folded), raw
    if alone:
        kind = "independent"
    if logarithm and kind == "probabilities":
        return graph, raw
    turn = "exp" if logarithm else "none"
    if graph.logits is output:
        return graph, Scores(kind, turn, turn)
    fits = [how for how in ("softmax", "sigmoid") if _close(squashed(logits, how), seen)]
    return graph, Scores(kind, turn, fits[0] if fits else None)


def _unrounded(steps: list[Node], values: dict[Node, Tensor]) -> dict[Node, Tensor]:
    """Compute steps without their rounding: rounded probabilities are probabilities, but sum to 1 only nearly."""
    for n in steps:
        values[n] = values[n["input"]] if n.kind == "aten.round" else evaluated(_smooth(n), values.__getitem__)
    return values


def _rounds(n: Node) -> bool:
    """Tell whether there is rounding in a node."""
    return n.kind == "aten.round" or (n.kind == "activation" and any(_is_rounding(step) for step in n["steps"]))


def _only_rounds(n: Node) -> bool:
    """Tell whether a node is rounding and nothing else."""
    return n.kind == "aten.round" or (n.kind == "activation" and all(_is_rounding(step) for step in n["steps"]))


def _is_rounding(step: Any) -> bool:
    """Tell whether a step rounds, if only by a change to half precision."""
    name, given, named = str(step[0]), step[1], dict(step[2])
    casts = name.startswith(tuple(f"{c}." for c in _CASTS))
    return name.startswith("aten.round.") or (casts and not _HALVES.isdisjoint(map(str, (*given, *named.values()))))


def _smooth(n: Node) -> Node:
    """Return a node without the rounding in it."""
    if n.kind != "activation" or not _rounds(n):
        return n
    steps = tuple(("aten.clone.default", s[1][:1], ()) if _is_rounding(s) else s for s in n["steps"])
    return Node(n.name, n.kind, n.op, {**n.args, "steps": steps}, n.shape, n.calls, n.keywords, n.batched)


def _close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a.double(), b.double(), rtol=1e-3, atol=1e-6)


def _kind(p: Tensor) -> str:
    """Tell what values (N, K) can be taken for."""
    p = p[p.isfinite().all(1)]
    if (
        not bool(p.any()) or bool((p < -_SLACK).any()) or bool((p > 1 + _SLACK).any())
    ):  # nothing but zeros tells nothing
        return "logits"
    return "probabilities" if bool(((p.sum(1) - 1).abs() <= _SUM_SLACK).all()) else "independent"


def _last_weighted(graph: Graph) -> set[Node]:
    """Return the weighted operations from which the output is computed without another one."""
    found: set[Node] = set()
    seen = {graph.output}
    stack = [graph.output]
    while stack:
        n = stack.pop()
        if n.kind in _WEIGHTED:
            found.add(n)
            continue
        stack.extend(i for i in n.inputs if i not in seen)
        seen.update(n.inputs)
    return found


def _squash_before(n: Node) -> bool:
    """Tell whether a node is made of squashed scores, before any weighted operation."""
    if n.kind in _SQUASHES:
        return True
    return n.kind not in _WEIGHTED and any(_squash_before(i) for i in n.inputs)


def _examples(graph: Graph, x: Tensor, weighted: set[Node]) -> tuple[Tensor, Tensor, Tensor]:
    """Return outputs for the pictures, outputs for random values of the weighted operations, logits for the pictures.

    The values in place of the weighted operations' are of very different sizes: what is in a range for all of them is
    in that range for every picture.
    """
    below: set[Node] = set(weighted)
    for n in graph:
        if not below.isdisjoint(n.inputs):
            below.add(n)
    needed = needed_for([graph.output])
    steps = [n for n in graph if n in below and n in needed and n not in weighted]
    given = [i for n in steps for i in n.inputs if i not in below or i in weighted]
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        _, values = Runner(graph)(x, [*given, graph.output, graph.logits], output=False)
        possible = []
        for scale in _SCALES if weighted else ():
            changed = dict(values)
            drawn: list[Node] = []
            for n in sorted(weighted, key=lambda n: n.name):
                same = next((d for d in drawn if torch.equal(values[d], values[n])), None)  # a module called twice
                noise = torch.randn(values[n].shape, generator=generator).to(values[n]) * scale
                changed[n] = noise if same is None else changed[same]
                drawn.append(n)
            possible.append(_unrounded(steps, changed)[graph.output])
        seen = (_unrounded(steps, dict(values)) if any(map(_rounds, steps)) else values)[graph.output]
    return seen, torch.cat(possible) if possible else seen[:0], values[graph.logits]


class _Search:
    """Follows probabilities back to the scores that they are made of, and repeats on the scores what was done to them.

    Attributes
    ----------
    made : list of Node
        Operations that the graph has to have besides.
    logarithm : bool
        Whether the outputs are logarithms of probabilities.
    """

    def __init__(self, graph: Graph) -> None:
        self.made: list[Node] = []
        self.logarithm = False
        self.squashes: set[str] = set()
        self._names = {n.name for n in graph}

    def before(self, n: Node) -> Node | None:
        """Return the node of the scores; None where there are none."""
        scores, logarithm = self._before(n)
        self.logarithm = logarithm
        return scores

    def _before(self, n: Node) -> tuple[Node | None, bool]:
        if n.kind in _SQUASHES:
            self.squashes.add(n.kind)
            x = n["input"]
            while x.kind in _CASTS:
                x = x["input"]
            return x, _SQUASHES[n.kind]
        if n.kind in ("aten.exp", "aten.log"):
            scores, logarithm = self._before(n["input"])
            return (scores, n.kind == "aten.log") if logarithm == (n.kind == "aten.exp") else (None, False)
        if n.kind in _BOUNDS or n.kind in _CASTS or _only_rounds(n):
            return self._before(n["input"])
        if n.kind in ("aten.rsub", "aten.sub") and _is_complement(n):
            x = n["input"] if isinstance(n["input"], Node) else n["other"]
            scores, logarithm = self._before(x)
            if scores is None or logarithm:
                return None, False
            return self._add(n, "aten.neg", torch.ops.aten.neg.default, {"input": scores}), False
        if n.kind not in _SHAPES or not n.inputs or (n.kind == "aten.sum" and not _sums_heads(n)):
            return None, False
        found: dict[Node, Node] = {}
        logarithms = set()
        for i in n.inputs:
            if i.kind == "size":
                continue
            scores, logarithm = self._before(i)
            if scores is None:
                return None, False
            found[i] = scores
            logarithms.add(logarithm)
        if len(logarithms) != 1:
            return None, False
        args = {k: map_values(v, lambda i: found.get(i, i)) for k, v in n.args.items()}
        return self._add(n, n.kind, n.op, args), logarithms.pop()

    def _add(self, n: Node, kind: str, op: Any, args: dict[str, Any]) -> Node:
        name = f"{n.name}_logits"
        while name in self._names:
            name += "_"
        self._names.add(name)
        node = Node(name, kind, op, args, n.shape, n.calls, n.keywords & args.keys(), n.batched)
        self.made.append(node)
        return node


def _sums_heads(n: Node) -> bool:
    """Tell whether a sum is over heads or positions, not over classes."""
    x, dims = n["input"], n.args.get("dim")
    if not dims or x.kind not in ("aten.stack", "softmax", "sigmoid"):
        return False
    rank = len(x.shape) + x.batched
    summed = {d % rank for d in dims}
    return summed == {x["dim"] % rank} if x.kind == "aten.stack" else x.kind == "softmax" and x["dim"] not in summed


def _is_complement(n: Node) -> bool:
    """Tell whether a node is 1 - p."""
    if n.kind == "aten.rsub":
        one, factor = n["other"], n["alpha"]
    else:
        one, factor = n["input"], n["alpha"]
    if isinstance(one, Tensor):
        one = one.item() if one.numel() == 1 else None
    return bool(one == 1 and factor == 1)

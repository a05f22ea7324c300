"""The forward walk: what it records, what it skips, and that calls do not disturb each other."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

from convscope_core.graph import Graph, Node, Runner, trace


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.fc = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.relu(self.a(x))
        return self.fc(self.relu(self.b(h) + h).mean((2, 3)))


def graph() -> Graph:
    torch.manual_seed(0)
    return trace(Net().eval(), (3, 8, 8))


def plainly(g: Graph, x: torch.Tensor) -> dict[Node, Any]:
    """Every value of the graph, computed one after another with nothing shared and nothing freed."""
    values: dict[Node, Any] = {g.input: x}
    for n in g.nodes[1:]:
        args = [values[v].clone() if isinstance(v, Node) else v for v in n.args.values()]
        assert n.op is not None
        given = [a for k, a in zip(n.args, args, strict=True) if k not in n.keywords]
        named = {k: a for k, a in zip(n.args, args, strict=True) if k in n.keywords}
        values[n] = n.op(*given, **named)
    return values


def test_every_node_can_be_recorded_alone_and_together() -> None:
    g = graph()
    run = Runner(g)
    x = torch.randn(3, 3, 8, 8)
    expected = plainly(g, x)
    out, values = run(x, g.nodes)
    assert torch.equal(out, expected[g.output])
    assert all(torch.equal(values[n], expected[n]) for n in g.nodes)
    for n in g.nodes:
        out, values = run(x, [n])
        assert torch.equal(values[n], expected[n]), n
        assert torch.equal(out, expected[g.output])


def test_input_is_not_written_to() -> None:
    module = nn.Sequential(nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(192, 2)).eval()
    run = Runner(trace(module, (3, 8, 8)))
    x = torch.randn(2, 3, 8, 8)
    kept = x.clone()
    run(x)
    assert torch.equal(x, kept)


SUMS: dict[str, Callable[[Any, torch.Tensor], torch.Tensor]] = {
    "conv + h": lambda net, h: net.b(h) + h,
    "h + conv": lambda net, h: h + net.b(h),
    "conv + a h": lambda net, h: torch.add(net.b(h), h, alpha=0.5),
    "h + a conv": lambda net, h: torch.add(h, net.b(h), alpha=0.5),
    "conv + conv": lambda net, h: net.b(h) + net.a2(h),
    "one conv twice": lambda net, h: (lambda y: y + y)(net.b(h)),
    "conv needed again": lambda net, h: (lambda y: (y + h) * y)(net.b(h)),
    "conv of one channel": lambda net, h: net.one(h) + h,
    "h + conv of one channel": lambda net, h: h + net.one(h),
}


class Sum(nn.Module):
    def __init__(self, way: str) -> None:
        super().__init__()
        self.a, self.b, self.a2, self.one = (nn.Conv2d(i, o, 3, padding=1) for i, o in ((3, 4), (4, 4), (4, 4), (4, 1)))
        self.way = way

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(SUMS[self.way](self, torch.sigmoid(self.a(x)))).mean((2, 3))


@pytest.mark.parametrize("way", SUMS)
def test_sums_in_the_memory_of_a_term_are_those_of_the_module(way: str) -> None:
    torch.manual_seed(0)
    module = Sum(way).eval()
    g = trace(module, (3, 8, 8))
    run = Runner(g)
    x = torch.randn(2, 3, 8, 8, requires_grad=True)
    expected = module(x)
    expected.double().sum().backward()
    gradient, x.grad = x.grad, None
    out, values = run(x, g.nodes)
    torch.testing.assert_close(out, expected)
    alone = plainly(g, x)
    assert all(torch.equal(values[n], alone[n]) for n in g.nodes)
    out = run(x)[0]
    assert torch.equal(out, alone[g.output])
    out.double().sum().backward()
    torch.testing.assert_close(x.grad, gradient)
    found: list[torch.Tensor] = []
    with torch.no_grad():
        run.visit(x.detach(), [g.output], lambda _, value, __: found.append(value.clone()))
    torch.testing.assert_close(found[0], expected)


@pytest.mark.parametrize(("way", "same"), [("conv + h", True), ("h + conv", True), ("conv needed again", False)])
def test_a_sum_takes_no_new_memory_where_a_term_is_needed_no_more(way: str, same: bool) -> None:
    g = trace(Sum(way).eval(), (3, 8, 8))
    term = next(i for n in g if n.kind == "add" for i in n.inputs if i.kind == "conv")
    where: dict[Node, int] = {}
    kept: list[torch.Tensor] = []  # so that no memory is free for another

    def visit(node: Node, value: torch.Tensor, _: object) -> None:
        where[node] = value.data_ptr()
        kept.append(value)

    (rectified,) = (n for n in g if n.kind == "relu")
    Runner(g).visit(torch.randn(2, 3, 8, 8), [term, rectified], visit)
    assert (where[term] == where[rectified]) == same


@pytest.mark.parametrize("way", SUMS)
def test_a_sum_that_is_shown_is_shown_with_its_terms(way: str) -> None:
    g = trace(Sum(way).eval(), (3, 8, 8))
    x = torch.randn(2, 3, 8, 8)
    alone = plainly(g, x)
    sums = [n for n in g if n.kind == "add"]
    assert sums

    def visit(node: Node, value: torch.Tensor, inputs: Sequence[torch.Tensor]) -> None:
        torch.testing.assert_close(value, alone[node])
        for term, expected in zip(inputs, node.inputs, strict=True):
            torch.testing.assert_close(term, alone[expected])

    with torch.no_grad():
        Runner(g).visit(x, sums, visit)


def test_without_output_the_walk_stops_after_the_last_recorded_node() -> None:
    g = graph()
    calls: list[str] = []

    def counted(n: Node, args: dict[str, Any]) -> Node:
        op = n.op

        def count(*a: Any, **k: Any) -> Any:
            calls.append(n.name)
            assert op is not None
            return op(*a, **k)

        return Node(n.name, n.kind, None if op is None else count, args, n.shape, n.calls, n.keywords)

    g = g.rebuilt(counted)
    first = next(n for n in g if n.kind == "relu")
    out, values = Runner(g)(torch.randn(2, 3, 8, 8), [first], output=False)
    convs = [n.name for n in g if n.kind == "conv"]
    assert [c for c in calls if c in convs] == convs[:1]  # the second convolution is not run
    assert "linear" not in calls
    assert values[first].shape == (2, 4, 8, 8)
    assert out.numel() == 0


def test_values_are_freed_after_their_last_use() -> None:
    g = graph()
    alive: list[weakref.ref[torch.Tensor]] = []
    most = 0

    def watched(n: Node, args: dict[str, Any]) -> Node:
        op = n.op

        def watch(*a: Any, **k: Any) -> Any:
            nonlocal most
            assert op is not None
            made = op(*a, **k)
            alive.append(weakref.ref(made))
            most = max(most, sum(r() is not None for r in alive))
            return made

        return Node(n.name, n.kind, None if op is None else watch, args, n.shape, n.calls, n.keywords)

    Runner(g.rebuilt(watched))(torch.randn(2, 3, 8, 8))
    assert most <= 3  # the residual branch, an input and a result


def test_threads_do_not_disturb_each_other() -> None:
    g = graph()
    run = Runner(g)
    nodes = [n for n in g if n.kind in ("relu", "add")]
    pictures = [torch.randn(n % 3 + 1, 3, 8, 8) for n in range(40)]
    expected = [run(x, nodes) for x in pictures]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda x: run(x, nodes), pictures))
    for (a, values_a), (b, values_b) in zip(expected, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)
        for n in nodes:
            torch.testing.assert_close(values_a[n], values_b[n], rtol=1e-6, atol=1e-6)


def test_recorded_values_stay_when_the_graph_runs_again() -> None:
    g = graph()
    run = Runner(g)
    first = next(n for n in g if n.kind == "conv")
    _, values = run(torch.randn(2, 3, 8, 8), [first])
    kept = values[first].clone()
    run(torch.randn(2, 3, 8, 8), [first])
    assert torch.equal(values[first], kept)

"""Generated networks against the modules: forward, what changes, what a unit sees, what reaches the picture."""

from __future__ import annotations

import copy
import os

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope_core.explain import attribute
from convscope_core.graph import Graph, Runner, axes, trace
from convscope_core.graph.backward import GRADIENT
from convscope_core.graph.fields import FieldWalk, Units
from convscope_core.graph.geometry import Geometry
from convscope_core.graph.layers import GraphLayer, find_layers
from convscope_core.graph.regions import Regions
from convscope_core.network import Network
from convscope_core.occlusion import Occlusion, occlusion_map

from .networks import FORMS, Net, between_convolutions, networks
from .test_regions import occluded

#: Relative to the greatest value: float32 through a few steps.
ROUNDING = 2e-5


def off(got: Tensor, expected: Tensor) -> float:
    assert got.shape == expected.shape
    return float((got - expected).abs().max() / expected.abs().max().clamp(min=0.1))  # sums that cancel round


def check_forward(net: Net, graph: Graph, x: Tensor) -> None:
    with torch.no_grad():
        assert off(Runner(graph)(x)[0], net(x)) <= 1e-4


def check_regions(net: Net, graph: Graph, x: Tensor, draw: torch.Generator) -> None:
    """Boxes of any size anywhere, also over the border: output and all layers are those of the pictures themselves."""
    layers = [layer.node for layer in find_layers(graph)]
    regions = Regions(graph, x, layers)
    assert regions.distrust is None
    _, height, width = net.shape
    for _ in range(3):
        size = _integer(draw, 1, height // 2), _integer(draw, 1, width // 2)
        positions = [(_integer(draw, -1, height - 1), _integer(draw, -1, width - 1)) for _ in range(4)]
        patches = 2 * torch.randn(4, net.shape[0], *size, generator=draw)
        pictures = occluded(x, positions, patches)
        with torch.no_grad():
            assert off(regions(positions, patches)[0], net(pictures)) <= 1e-4
        expected = Runner(graph)(pictures, layers)[1]
        found = regions(positions, patches, layers)[1]
        for n in layers:
            assert off(found[n].whole(), expected[n]) <= ROUNDING, n


def check_boxes(net: Net, graph: Graph, layer: GraphLayer, x: Tensor, draw: torch.Generator) -> None:
    """Whatever is put outside a unit's box, the unit stays as it is."""
    geometry = Geometry(graph)
    if geometry.gated(layer.node.name):
        return
    row, column = (_integer(draw, 0, size - 1) for size in layer.size)
    box = geometry.box(layer.node.name, row, column, layer.axes[1:]).clipped(*net.shape[1:])
    others = 3 * torch.randn(6, *net.shape, generator=draw)
    inside = slice(box.top, max(box.bottom, box.top)), slice(box.left, max(box.right, box.left))
    others[:, :, inside[0], inside[1]] = x[:, :, inside[0], inside[1]]
    maps = Runner(graph)(torch.cat([x, others]), [layer.node])[1][layer.node]
    maps = maps.permute(0, *(a + 1 for a in layer.axes))
    values = maps[:, :, row, column] if maps.dim() == 4 else maps
    assert off(values[1:], values[:1].expand_as(values[1:])) <= ROUNDING


def check_projection(graph: Graph, layer: GraphLayer, x: Tensor, draw: torch.Generator) -> None:
    """What reaches the picture from a unit, inside its box, is what autograd brings there."""
    geometry = Geometry(graph)
    row, column = (_integer(draw, 0, size - 1) for size in layer.size)
    channel = _integer(draw, 0, layer.channels - 1)
    whole = (0, 0, *graph.input.shape[1:])
    gated = geometry.gated(layer.node.name)

    def box(r: int, c: int) -> tuple[int, ...]:
        return whole if gated else geometry.box(layer.node.name, r, c, layer.axes[1:])

    walk = FieldWalk(graph, GRADIENT, layer.node, layer.axes, box, always=True)
    units = Units(*(torch.tensor([v]) for v in (0, channel, row, column)))
    (found,) = walk(x, units, "one")
    picture = x.clone().requires_grad_()
    maps = Runner(graph)(picture, [layer.node])[1][layer.node].permute(0, *(a + 1 for a in layer.axes))
    value = maps[0, channel, row, column] if maps.dim() == 4 else maps[0, channel]
    expected = torch.zeros_like(x)
    if value.requires_grad:
        (expected,) = torch.autograd.grad(value, picture)
    got = torch.zeros_like(x)
    top, left, bottom, right = found.boxes[0].tolist()
    for r in range(max(top, 0), min(bottom, x.shape[2])):
        for c in range(max(left, 0), min(right, x.shape[3])):
            got[0, :, r, c] = found.values[0, :, r - top, c - left]
    assert torch.allclose(found.activations[0], value, rtol=1e-4, atol=1e-5)
    assert float((got - expected).abs().max()) <= 1e-4 * max(float(expected.abs().max()), 1e-3), walk


def check(net: Net, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(1, *net.shape, generator=draw)
    graph = trace(net, net.shape)
    check_forward(net, graph, torch.cat([x, torch.randn(2, *net.shape, generator=draw)]))
    check_regions(net, graph, x, draw)
    layers = find_layers(graph)
    for _ in range(3):
        layer = layers[_integer(draw, 0, len(layers) - 1)]
        with torch.no_grad():
            check_boxes(net, graph, layer, x, draw)
        check_projection(graph, layer, x, draw)


def _integer(draw: torch.Generator, low: int, high: int) -> int:
    return int(torch.randint(low, max(high, low) + 1, (), generator=draw))


few_examples = settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],  # shrinking a network takes minutes and the network is small
)


@few_examples
@given(net=networks(), seed=st.integers(0, 2**20))
def test_generated_networks(net: Net, seed: int) -> None:
    note(repr(net))
    check(net, seed)


@pytest.mark.slow
@settings(few_examples, max_examples=600, derandomize=bool(os.environ.get("CI")))
@given(net=networks(), seed=st.integers(0, 2**20))
def test_many_generated_networks(net: Net, seed: int) -> None:
    note(repr(net))
    check(net, seed)


@pytest.mark.parametrize("name", sorted(FORMS))
def test_every_form(name: str) -> None:
    """Each form between two convolutions: what changes, what a unit sees, a map of occlusion, the gradient."""
    module = between_convolutions(name)
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(1, *module.shape, generator=draw)
    net = Network(module, input_size=module.shape)
    check_reads(net.graph)
    check_forward(module, net.graph, torch.cat([x, x + 1]))
    check_regions(module, net.graph, x, draw)
    with torch.no_grad():
        for layer in find_layers(net.graph):
            check_boxes(module, net.graph, layer, x, draw)
    check_map(net, module, x)
    check_gradient(net, module, x)


def check_reads(graph: Graph) -> None:
    """What is derived of an operation by formula, or by moving numbers, holds all that is read when it is tried."""
    derivation = axes._Derivation(graph)
    derivation.run()
    for n in graph.nodes[1:]:
        for i in derivation._sources(n):
            if not (n.batched and i.batched) or n.name in axes.structure(graph).statistics:
                continue
            for a in set(derivation.axes[i]) - {None}:
                link, tried = derivation.link(n, i, a), derivation._tried(n, i, a)
                if tried.axis == link.axis:
                    assert (tried.reads.low >= link.reads.low).all(), (n, link)
                    assert (tried.reads.high <= link.reads.high).all(), (n, link)
                else:  # lost by one of the two: what all positions read together
                    overall = [(r.low.min(), r.high.max()) for r in (tried.reads, link.reads)]
                    assert tried.reads.whole or overall[1][0] <= overall[0][0] <= overall[0][1] <= overall[1][1]


def check_map(net: Network, module: Net, x: Tensor) -> None:
    """A map of occlusion, and the occluder that follows the hand, show what the module says."""
    occlusion = Occlusion(net, x)
    found = occlusion_map(net, x, size=7, stride=6, progress=False)
    places = [tuple(map(int, p)) for row in found.positions for p in row]
    with torch.no_grad():
        expected = torch.cat([module(occlusion.occlude(p, 7)) for p in places]).softmax(1)
        clean = module(x).softmax(1)
    effect = float((expected - clean).abs().max())
    got = torch.from_numpy(found.probability).flatten()
    assert float((got - expected[:, found.target]).abs().max()) <= 1e-3 * effect + 2e-6
    one = occlusion.predict(places[3], 7)
    assert float((torch.from_numpy(one.probabilities) - expected[3]).abs().max()) <= 1e-3 * effect + 2e-6


def check_gradient(net: Network, module: Net, x: Tensor) -> None:
    picture = x.double().requires_grad_()
    logits = copy.deepcopy(module).double()(picture)
    (expected,) = torch.autograd.grad(logits[0, 1], picture)
    got = torch.from_numpy(attribute(net, x, "gradient", target=1).values)
    assert float((got - expected[0]).abs().max()) <= 1e-3 * float(expected.abs().max())

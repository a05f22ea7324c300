"""Projections: the walk inside receptive fields is the walk over whole maps, everywhere; results and their display."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.explain import Unit, attribute, project, project_many, projecting
from convscope_core.explain.deconvnet import deconvnet
from convscope_core.explain.guided_backprop import guided_backprop
from convscope_core.graph import Graph, trace
from convscope_core.graph.backward import GRADIENT, Table, Walk
from convscope_core.graph.fields import FieldWalk, Found, Units
from convscope_core.graph.geometry import Geometry
from convscope_core.graph.layers import GraphLayer, find_layers
from convscope_core.network import Network
from convscope_core.render import signed

from .test_geometry import SHAPE, Head, bodies, output_shape
from .test_graph_models import build

TABLES = {"gradient": GRADIENT, "deconvnet": deconvnet(None), "guided_backprop": guided_backprop(None)}


def whole(
    graph: Graph, table: Table, layer: GraphLayer, x: Tensor, units: Units, boxes: Tensor
) -> tuple[list[Tensor], Tensor]:
    """Each unit's projection from a walk over all maps, cut out at its box; and its value."""
    walk = Walk(graph, table, [layer.node])
    tape = walk.forward(x)
    value = tape.values[layer.node].permute(0, *(a + 1 for a in layer.axes))
    activations = value[tuple(units)]
    signal = torch.zeros(len(activations), *value.shape[1:], dtype=x.dtype)
    signal[(torch.arange(len(activations)), *units[1:])] = activations
    back = [0, *np.argsort(layer.axes) + 1]
    found = walk(tape, {layer.node: signal.permute(back)}, units.pictures)
    cut = []
    for maps, (top, left, bottom, right) in zip(found, boxes.tolist(), strict=True):
        out = maps.new_zeros(maps.shape[0], max(bottom - top, 0), max(right - left, 0))
        for r in range(max(top, 0), min(bottom, maps.shape[1])):
            for c in range(max(left, 0), min(right, maps.shape[2])):
                out[:, r - top, c - left] = maps[:, r, c]
        cut.append(out)
    return cut, activations


def places(layer: GraphLayer) -> Units:
    """Units in all corners, at all sides and in the middle, of three pictures."""
    h, w = layer.size
    rows, columns = zip(*[(r, c) for r in (0, h // 2, h - 1) for c in (0, w // 2, w - 1)], strict=True)
    n = len(rows)
    return Units(torch.arange(n) % 3, torch.arange(n) % layer.channels, torch.tensor(rows), torch.tensor(columns))


def fields(graph: Graph, table: Table, layer: GraphLayer, **options: Any) -> FieldWalk:
    geometry = geometry_of(graph)
    return FieldWalk(graph, table, layer.node, layer.axes, lambda r, c: geometry.box(layer.node.name, r, c), **options)


def joined(parts: Iterable[Found]) -> tuple[list[Tensor], Tensor, Tensor]:
    """Each unit's values in its own box, all boxes, all activations."""
    parts = list(parts)
    boxes, activations = (torch.cat([getattr(p, k) for p in parts]) for k in ("boxes", "activations"))
    values = [v for p in parts for v in p.values]
    return (
        [v[:, : max(b - t, 0), : max(r - q, 0)] for v, (t, q, b, r) in zip(values, boxes.tolist(), strict=True)],
        boxes,
        activations,
    )


def same(got: list[Tensor], expected: list[Tensor], tolerance: float) -> bool:
    """Relative to the strongest of all units."""
    most = max(float(e.abs().sum()) and float(e.abs().max()) for e in expected)
    return all(
        a.shape == b.shape and not ((a - b).abs() > tolerance * most).any() for a, b in zip(got, expected, strict=True)
    )


def compare(graph: Graph, table: Table, layer: GraphLayer, walk: FieldWalk, x: Tensor, tolerance: float) -> None:
    units = places(layer)
    for pictures, u in ((x, units), (x[:1], units._replace(pictures=units.pictures * 0))):
        # few units for each picture are computed from the pixels, many are cut out of whole maps
        got, found, values = joined(walk(pictures, u, "value"))
        geometry = geometry_of(graph)
        boxes = [geometry.box(layer.node.name, r, c) for r, c in zip(u.rows.tolist(), u.columns.tolist(), strict=True)]
        assert found.tolist() == [list(b) for b in boxes]
        expected, activations = whole(graph, table, layer, pictures, u, found)
        assert torch.allclose(values, activations, rtol=tolerance, atol=tolerance * float(activations.abs().max()))
        assert same(got, expected, tolerance)
        known, _, _ = joined(walk(pictures, u, "value", activations))
        assert same(known, expected, tolerance)


geometry_of = functools.cache(Geometry)


@functools.cache
def architecture(name: str, side: int) -> Graph:
    return trace(build(name), (3, side, side))


# -- the walk inside receptive fields --


@pytest.mark.parametrize(
    ("name", "side", "method"),
    [
        ("resnet18", 96, "deconvnet"),
        ("resnet18", 96, "guided_backprop"),
        pytest.param("googlenet", 96, "deconvnet", marks=pytest.mark.slow),
        ("alexnet", 96, "deconvnet"),
        pytest.param("convnext_tiny", 64, "gradient", marks=pytest.mark.slow),
    ],
)
def test_architectures_in_windows(name: str, side: int, method: str) -> None:
    """In float32: residual blocks, branches, strides, overlapping pools, channels on the last axis."""
    graph = architecture(name, side)
    x = torch.randn(3, 3, side, side)
    table, inside = TABLES[method], 0
    for layer in [y for y in find_layers(graph) if len(y.axes) == 3][:12:3]:
        walk = fields(graph, table, layer)
        if walk.reason is None:
            inside += 1
            compare(graph, table, layer, walk, x, 1e-5)
    assert inside >= (1 if name == "convnext_tiny" else 2)


@settings(
    max_examples=25, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(body=bodies, method=st.sampled_from(sorted(TABLES)))
def test_random_networks_in_windows(body: nn.Module, method: str) -> None:
    """All strides, paddings, dilations, ceil modes, crops and branches, on maps hardly larger than the fields."""
    assume(output_shape(body) is not None)
    note(repr(body))
    graph = trace(Head(nn.Sequential(body, nn.ReLU())).eval(), SHAPE)
    graph = graph.with_tensors(lambda t: t.double() if t.is_floating_point() else t)
    layers = [y for y in find_layers(graph) if len(y.axes) == 3]
    assume(layers)
    x = torch.randn(3, *SHAPE, dtype=torch.float64)
    for layer in layers[-2:]:
        compare(graph, TABLES[method], layer, fields(graph, TABLES[method], layer, always=True), x, 1e-10)


def test_small_batches_give_what_large_ones_give() -> None:
    graph = architecture("resnet18", 64)
    layer = find_layers(graph)[4]
    x = torch.randn(3, 3, 64, 64)
    large, small = (fields(graph, TABLES["deconvnet"], layer, budget=b) for b in (None, 2**20))
    a, b = (list(w(x, places(layer), "value")) for w in (large, small))
    assert len(a) < len(b)
    assert same(joined(a)[0], joined(b)[0], 1e-5)


def test_gates_are_held_and_come_from_the_whole_picture() -> None:
    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.se = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 1)
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            h = self.a(x).relu()
            h = h * self.se(h.mean((2, 3), keepdim=True)).sigmoid()
            return self.fc(self.b(h).relu().mean((2, 3)))

    graph = trace(Gated().eval(), (3, 20, 20))
    layer = find_layers(graph)[-3]
    x = torch.randn(3, 3, 20, 20)
    walk = fields(graph, TABLES["deconvnet"], layer)
    assert walk.reason is None
    compare(graph, TABLES["deconvnet"], layer, walk, x, 1e-5)
    assert "from the whole picture" in str(fields(graph, GRADIENT, layer).reason)


def test_why_whole_maps_are_walked() -> None:
    graph = architecture("resnet18", 64)
    layers = find_layers(graph)
    assert "see the whole picture" in str(fields(graph, GRADIENT, layers[-1]).reason)
    assert "% of the work" in str(fields(graph, GRADIENT, layers[-4]).reason)
    assert fields(graph, GRADIENT, layers[3]).speedup > 2


# -- project --


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    return Network(build("resnet18"), input_size=64, name="resnet18")


@pytest.mark.parametrize("method", ["gradient", "deconvnet", "guided_backprop", "input_times_gradient"])
@pytest.mark.parametrize("layer", ["layer1.0.conv1", "layer1.1", "layer4", "fc"])
def test_a_projection_is_the_attribution_of_its_unit_in_its_box(net: Network, layer: str, method: str) -> None:
    x = torch.randn(3, 64, 64)
    got = project(net, x, layer, 7, method=method)
    name = net.layer(layer).name
    maps = net.activations(x, name)[name][0, 7]
    assert maps[got.position] == maps.max()
    assert got.activation == pytest.approx(maps.max().item(), rel=1e-5)
    assert got.box == net.layer(layer).box(*got.position)
    expected = attribute(net, x, method, (name, 7, *got.position)).values
    inner = got.box.clipped(64, 64)
    top, left = inner.top - got.box.top, inner.left - got.box.left
    part = got.values[:, top : top + inner.height, left : left + inner.width]
    seen = expected[:, inner.top : inner.bottom, inner.left : inner.right]
    assert abs(part - seen).max() <= 1e-5 * abs(expected).max()
    assert got.values.sum(dtype=np.float64) == pytest.approx(part.sum(dtype=np.float64))  # nothing outside the picture
    outside = expected.copy()
    outside[:, inner.top : inner.bottom, inner.left : inner.right] = 0
    assert not outside.any()  # the support lies in the receptive field
    picture = net.picture(x)
    assert got.crop.shape == (got.box.height, got.box.width, 3)
    np.testing.assert_array_equal(
        got.crop[top : top + inner.height, left : left + inner.width],
        picture[inner.top : inner.bottom, inner.left : inner.right],
    )


def test_many_are_what_each_is_alone_in_the_order_given(net: Network) -> None:
    images = [torch.randn(3, 64, 64) for _ in range(4)]
    units = [Unit(int(i), int(c), int(r), int(k)) for i, c, r, k in torch.randint(0, 4, (40, 4)).tolist()]
    found = project_many(net, images, "layer1.0.conv2", units, "guided_backprop")
    for unit, got in zip(units, found, strict=True):
        alone = project(
            net, images[unit.image], "layer1.0.conv2", unit.channel, (unit.row, unit.column), "guided_backprop"
        )
        assert (got.channel, got.position, got.box) == (unit.channel, (unit.row, unit.column), alone.box)
        assert abs(got.values - alone.values).max() <= 1e-5 * max(abs(alone.values).max(), 1e-6)
        np.testing.assert_array_equal(got.crop, alone.crop)


def test_known_activations_are_used(net: Network) -> None:
    x = torch.randn(3, 64, 64)
    one = project(net, x, "layer1.1", 3)
    (double,) = project_many(net, [x], "layer1.1", [Unit(0, 3, *one.position, 2 * one.activation)])
    np.testing.assert_allclose(double.values, 2 * one.values, rtol=1e-4, atol=1e-8)  # positively homogeneous


def test_units_that_see_padding_only_project_to_nothing() -> None:
    body = nn.Sequential(nn.Conv2d(2, 2, 1, stride=3), nn.ConvTranspose2d(2, 2, 1, stride=2))
    net = Network(Head(body).eval(), input_size=SHAPE)
    layer = net.layers[1]
    x = torch.rand(SHAPE)
    seen = project(net, x, layer.name, 0, (2, 2), "gradient")
    assert (seen.values.shape, seen.crop.shape, seen.box) == ((2, 1, 1), (1, 1, 3), (3, 3, 4, 4))
    unseen = project(net, x, layer.name, 0, (1, 1), "gradient")
    assert unseen.values.size == unseen.crop.size == 0
    mixed = project_many(net, x, layer.name, [Unit(0, 0, r, 2) for r in range(4)], "gradient")
    assert [p.values.shape[1] for p in mixed] == [1, 0, 1, 0]
    repr(unseen)


def test_units_that_are_off_project_to_nothing(net: Network) -> None:
    x = torch.randn(3, 64, 64)
    maps = net.activations(x, "layer1.1")["layer1.1.relu#2"][0]
    channel, row, column = (maps == 0).nonzero()[0].tolist()
    got = project(net, x, "layer1.1", channel, (row, column))
    assert got.activation == 0
    assert not got.values.any()


def test_bad_arguments_are_told_what_is_possible(net: Network) -> None:
    x = torch.randn(3, 64, 64)
    for arguments, error, message in [
        (("layer9", 0), LayerError, "name of a layer"),
        (("layer1", 64), LayerError, "0 to 63"),
        (("layer1", 0, (16, 0)), ArgumentError, "16×16"),
        (("layer1", 0, "mean"), ArgumentError, "'max' or"),
        (("layer1", 0, 3), ArgumentError, "'max' or"),
        (("layer1", 0, (0.5, 1)), ArgumentError, "whole number"),
        (("fc", 0, (1, 0)), ArgumentError, "1×1"),
        (("layer1", 0, "max", "occlusion"), ArgumentError, "deconvnet"),
    ]:
        with pytest.raises(error, match=message):
            project(net, x, *arguments)
    with pytest.raises(ArgumentError, match="one of 1 pictures"):  # by the call, before the first step
        projecting(net, [x], "layer1", [Unit(1, 0, 0, 0)])
    with pytest.raises(ArgumentError, match="option of deconvnet"):
        project(net, x, "layer1", 0, swiches=True)


def test_a_projection_shows_itself(net: Network) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    p = project(net, torch.randn(3, 64, 64), "layer1", 5)
    assert "deconvnet of layer1.1.relu#2, channel 5" in repr(p)
    assert p.group == "signal"
    assert p.fingerprint == net.fingerprint
    assert isinstance(p.plot(), matplotlib.figure.Figure)


# -- display --


def test_zero_is_mid_grey_and_the_strongest_reaches_the_end() -> None:
    tile = np.zeros((3, 4, 4), np.float32)
    tile[0, 0, 0], tile[1, 1, 1] = -2, 1
    shown = signed(tile)
    assert shown.shape == (4, 4, 3)
    assert (shown[0, 0, 0], shown[1, 1, 1], shown[2, 2, 2]) == (1, 192, 128)
    assert (signed(np.zeros((1, 2, 2))) == 128).all()


def test_tiles_groups_and_layers_share_a_scale() -> None:
    values = torch.ones(2, 3, 1, 2, 2) * torch.tensor([[1.0, 2, 4], [8, 16, 16]])[:, :, None, None, None]

    def shades(scale: str) -> Any:
        return (signed(values, scale)[..., 0, 0, 0].astype(int) - 128).tolist()

    assert shades("tile") == [[127, 127, 127], [127, 127, 127]]
    assert shades("group") == [[32, 64, 127], [64, 127, 127]]
    assert shades("layer") == [[8, 16, 32], [64, 127, 127]]


def test_outliers_clip_and_gain_stretches() -> None:
    tile = np.ones((1, 10, 10))
    tile[0, 0, 0] = 100
    assert signed(tile)[1, 1, 0] == 129
    assert signed(tile, percentile=90)[1, 1, 0] == 255
    assert signed(tile, gain=10)[1, 1, 0] == 141
    sparse = np.zeros((1, 20, 20))
    sparse[0, 3, 3] = -1
    assert signed(sparse, percentile=90)[3, 3, 0] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("all",), "'tile', 'group' or 'layer'"), (("tile", 0), "percentile"), (("tile", 99, 0), "gain")],
)
def test_display_refuses_what_it_cannot_do(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        signed(np.ones((3, 2, 2)), *arguments)
    with pytest.raises(ArgumentError, match="tiles"):
        signed(np.ones((4, 2, 2)))
    with pytest.raises(ArgumentError, match="finite"):
        signed(np.full((3, 2, 2), np.nan))

"""The region walk against the ordinary forward pass: every family, every border, any box."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence

import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, example, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core import compiled
from convscope_core.errors import ArgumentError
from convscope_core.graph import Graph, Node, Runner, packed, trace
from convscope_core.graph.kernels import Kernels
from convscope_core.graph.layers import find_layers
from convscope_core.graph.plan import Plan
from convscope_core.graph.regions import Regions
from convscope_core.graph.windows import Batch, Changed
from convscope_core.threads import threads_here

from .test_geometry import SHAPE, Head, bodies, output_shape
from .test_graph_models import MODELS, build


def occluded(x: Tensor, positions: list[tuple[int, int]], patches: Tensor) -> Tensor:
    """The pictures themselves; what of a patch lies outside is left out."""
    out = x.repeat(len(positions), 1, 1, 1)
    rows, columns = x.shape[2:]
    height, width = patches.shape[2:]
    for picture, patch, (top, left) in zip(out, patches.expand(len(positions), -1, -1, -1), positions, strict=True):
        a, b, c, d = max(top, 0), min(top + height, rows), max(left, 0), min(left + width, columns)
        if a < b and c < d:
            picture[:, a:b, c:d] = patch[:, a - top : b - top, c - left : d - left]
    return out


def worst(graph: Graph, regions: Regions, x: Tensor, positions: list[tuple[int, int]], patches: Tensor) -> float:
    """Greatest deviation of the output and of all recorded maps, relative to the greatest value of each."""
    record = list(regions.values)
    with torch.inference_mode():
        expected, maps = Runner(graph)(occluded(x, positions, patches), record)
    output, changed = regions(positions, patches, record)
    pairs = [(output, expected), *((changed[n].whole(), maps[n]) for n in record)]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(((a - b).abs().max() / b.abs().max().clamp(min=1e-30)).item() for a, b in pairs)


def corners(side: int, size: tuple[int, int]) -> list[tuple[int, int]]:
    """All corners, the middle, and places that meet no stride."""
    down, across = side - size[0], side - size[1]
    middle = (down // 2, across // 2)
    return [(0, 0), (down, 0), (0, across), (down, across), middle, (min(5, down), min(3, across))]


# -- architectures --


SLOW = {
    "densenet121", "googlenet", "inception_v3", "resnet50", "vgg16", "vgg16_bn", "convnext_tiny", "efficientnet_b0",
    "alexnet", "mnasnet0_5", "regnet_y_400mf",
}  # fmt: skip
"""Families of which a smaller member, or another test, stands in the quick tests."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in MODELS])
def test_architectures_give_what_the_ordinary_pass_gives(name: str, device: torch.device) -> None:
    side = MODELS[name]
    graph = trace(build(name), (3, side, side))
    convs = [layer.node for layer in find_layers(graph) if layer.kind == "conv"]
    x = torch.randn(1, 3, side, side)
    regions = Regions(graph, x, [convs[0], convs[len(convs) // 2], convs[-1], graph.output])
    for size in ((1, 1), (5, 3), (20, 20), (side // 2, 7), (side, side)):
        positions = corners(side, size)
        patches = 2 * torch.randn(len(positions), 3, *size)
        # cuDNN has other algorithms for windows than for whole maps.
        assert worst(graph, regions, x, positions, patches) <= (1e-5 if device.type == "cpu" else 3e-5), size


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "efficientnet_lite0",
        *(pytest.param(n, marks=pytest.mark.slow) for n in ("shufflenet_v2_x0_5", "googlenet")),
    ],
)
def test_a_single_picture_errs_no_more_than_the_ordinary_pass(name: str) -> None:
    """Against float64: its kernels lie in memory in another form, in which sums are taken in another order."""
    side = MODELS[name]
    graph = trace(build(name), (3, side, side))
    exact = graph.with_tensors(lambda t: t.double() if t.is_floating_point() else t)
    convs, same = ([layer.node for layer in find_layers(g) if layer.kind == "conv"] for g in (graph, exact))
    nodes = [convs[0], convs[len(convs) // 2], convs[-1], graph.output]
    doubles = [same[0], same[len(same) // 2], same[-1], exact.output]
    x = torch.randn(1, 3, side, side)
    regions = Regions(graph, x, nodes)
    for at in corners(side, (9, 13)):
        patch = 2 * torch.randn(1, 3, 9, 13)
        picture = occluded(x, [at], patch)
        with torch.inference_mode():
            maps, truth = Runner(graph)(picture, nodes)[1], Runner(exact)(picture.double(), doubles)[1]
        changed = regions([at], patch, nodes)[1]

        def error(values: dict[Node, Tensor], truth: dict[Node, Tensor] = truth) -> float:
            pairs = [(values[n].double(), truth[d]) for n, d in zip(nodes, doubles, strict=True)]
            return max(float((a - b).abs().max() / b.abs().max()) for a, b in pairs)

        assert error({n: changed[n].whole() for n in nodes}) <= 3 * error(maps)


# -- random small networks --


@settings(
    max_examples=40, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(body=bodies, size=st.tuples(st.integers(1, 9), st.integers(1, 9)), seed=st.integers(0, 99))
@example(body=nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), size=(3, 2), seed=0)
@example(body=nn.AvgPool2d(3, 2, 1, ceil_mode=True), size=(3, 2), seed=1)
@example(body=nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(3, 2, 1, ceil_mode=True)), size=(1, 1), seed=2)
@example(body=nn.Conv2d(2, 2, 4, padding="same"), size=(2, 2), seed=3)
@example(
    body=nn.Sequential(nn.Conv2d(2, 2, 3, 1, 2, 2), nn.ZeroPad2d((0, 3, 2, 1)), nn.AvgPool2d(2)), size=(4, 1), seed=4
)
@example(body=nn.Conv2d(2, 2, 3, padding=1, padding_mode="reflect"), size=(2, 2), seed=5)
@example(body=nn.Sequential(nn.Conv2d(2, 2, 1, 2), nn.Conv2d(2, 2, 1, 2)), size=(1, 1), seed=6)
@example(body=nn.Sequential(nn.Conv2d(2, 2, 3), nn.MaxPool2d(2, 1, dilation=2), nn.PReLU(2)), size=(2, 2), seed=7)
def test_random_networks_give_what_the_ordinary_pass_gives(body: nn.Module, size: tuple[int, int], seed: int) -> None:
    note(repr(body))
    assume(output_shape(body) is not None)
    graph = trace(Head(body).eval(), SHAPE)
    x = torch.randn(1, *SHAPE)
    maps = next(n for c, n in graph.outputs_of.items() if c.path == "body")
    regions = Regions(graph, x, [maps])
    draw = torch.Generator().manual_seed(seed)
    limits = SHAPE[1] - size[0], SHAPE[2] - size[1]
    positions = [(int(torch.randint(0, limits[0] + 1, (), generator=draw)), limits[1]) for _ in range(3)]
    positions += [(0, int(torch.randint(0, limits[1] + 1, (), generator=draw))) for _ in range(3)]
    patches = torch.randn(len(positions), SHAPE[0], *size, generator=draw)
    assert worst(graph, regions, x, positions, patches) <= 1e-5


# -- operations that need a thought of their own --


class Habits(nn.Module):
    """Channel shuffles and chunks, layer norm in channels-last, gates, constants with a value for each position."""

    def __init__(self, habit: str) -> None:
        super().__init__()
        self.habit = habit
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.GroupNorm(2, 8) if habit == "group norm" else nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.last = nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 4)
        self.register_buffer("places", torch.randn(8, 32, 32))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        if self.habit == "shuffle":
            x = F.relu(x).view(-1, 2, 4, 32, 32).transpose(1, 2).reshape(-1, 8, 32, 32)
        elif self.habit == "chunk":
            a, b = x.chunk(2, 1)
            x = torch.cat([b, F.relu(a)], 1)
        elif self.habit == "channels last":
            x = x + self.mix(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        elif self.habit == "gate":
            x = x * self.mix(x.mean((2, 3))).sigmoid()[:, :, None, None]
        elif self.habit == "group norm":
            x = self.norm(x)
        elif self.habit == "places":
            x = x + self.places
        elif self.habit == "response norm":
            x = F.local_response_norm(x, 5)
        elif self.habit == "softmax of rows":
            x = x * x.softmax(3)
        elif self.habit == "rows side by side":
            x = torch.cat([x[:, :, :16], x[:, :, 16:] * 2], 2)
        elif self.habit == "upsampled":
            x = F.interpolate(F.max_pool2d(x, 2), scale_factor=2)
        elif self.habit == "same twice":
            x = x + x
        elif self.habit == "subtracted":
            x = 1 - x - 0.5 * F.relu(x)
        return self.head(self.last(x).relu().mean((2, 3)))


HABITS = [
    "shuffle", "chunk", "channels last", "gate", "group norm", "places", "response norm", "softmax of rows",
    "rows side by side", "upsampled", "same twice", "subtracted",
]  # fmt: skip


@pytest.mark.parametrize("habit", HABITS)
def test_habits(habit: str) -> None:
    graph = trace(Habits(habit).eval(), (3, 32, 32))
    x = torch.randn(1, 3, 32, 32)
    layers = [layer.node for layer in find_layers(graph) if layer.kind in ("conv", "cat", "add")]
    regions = Regions(graph, x, layers)
    for size in ((4, 4), (2, 9)):
        positions = corners(32, size)
        assert worst(graph, regions, x, positions, torch.randn(len(positions), 3, *size)) <= 1e-5


@pytest.mark.parametrize("habit", ["shuffle", "chunk", "channels last", "response norm", "same twice"])
def test_what_treats_positions_alike_stays_in_windows(habit: str) -> None:
    graph = trace(Habits(habit).eval(), (3, 32, 32))
    work = Regions(graph, torch.randn(1, 3, 32, 32)).work((4, 4))
    assert work.bound > 8


# -- the ways to compute it --


class Wide(nn.Module):
    """Convolutions of 3x3 with channels enough for tiles: padded and not, on maps that are no multiple of a tile."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d
        self.stem = nn.Sequential(conv(3, 64, 3, padding=1), nn.ReLU(), conv(64, 64, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(
            nn.MaxPool2d(2), conv(64, 160, 3), nn.ReLU(), conv(160, 160, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()
        )
        self.top = nn.Sequential(conv(160, 160, 3, padding=1, bias=False), nn.ReLU(), conv(160, 64, 3))
        self.head = nn.Linear(64, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.top(self.body(self.stem(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def wide() -> tuple[Graph, list[Node]]:
    torch.manual_seed(0)
    graph = trace(Wide().eval(), (3, 70, 62))
    return graph, [layer.node for layer in find_layers(graph) if layer.kind == "conv"]


@settings(max_examples=15, deadline=None)
@given(
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    places=st.lists(st.tuples(st.integers(-5, 65), st.integers(-5, 60)), min_size=1, max_size=5),
    colours=st.sampled_from(["all", "one each", "one", "one but for a pixel"]),
    intel=st.booleans(),
)
@example(size=(30, 26), places=[(11, 8), (20, 21), (-3, 5)], colours="one each", intel=False)
@example(size=(30, 26), places=[(11, 8), (20, 21), (0, 36)], colours="one but for a pixel", intel=False)
@example(size=(44, 42), places=[(11, 8), (20, 15)], colours="one each", intel=True)
def test_tiles_give_what_the_ordinary_pass_gives(
    wide: tuple[Graph, list[Node]], size: tuple[int, int], places: list[tuple[int, int]], colours: str, intel: bool
) -> None:
    graph, record = wide
    x = torch.randn(1, 3, 70, 62)
    number = 1 if colours == "one" else len(places)
    patches = torch.randn(number, 3, *(size if colours == "all" else (1, 1))).expand(number, 3, *size).clone()
    if colours == "one but for a pixel":
        patches[-1, 0, size[0] // 2, size[1] // 2] += 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packed, "by_intel", lambda: intel)
        assert worst(graph, Regions(graph, x, record), x, places, patches) <= 1e-5


@pytest.fixture
def other_maker(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor on which tiles are chosen more often."""
    monkeypatch.setattr(packed, "by_intel", lambda: False)


@pytest.mark.cpu_only("tiles are for the CPU")
@pytest.mark.parametrize(
    # The second convolution's windows are 34 and 48 wide, 9 and 12 tiles. What sees one colour only is 26 and 40 wide,
    # from the 3rd position on at a border, from the 7th at the other: positions 6 to 27 and 41, 5 and 8 tiles wherever
    # the box is.
    ("intel", "numba", "side", "alike", "otherwise"),
    [
        (False, False, 30, 9 * 9 - 5 * 5 + 1, 9 * 9),
        (True, True, 44, 12 * 12 - 8 * 8 + 1, 12 * 12),
        (True, False, 44, 12 * 12 - 8 * 8 + 1, None),
    ],
)
def test_tiles_under_one_colour_are_computed_once(
    wide: tuple[Graph, list[Node]],
    intel: bool,
    numba: bool,
    side: int,
    alike: int,
    otherwise: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(packed, "by_intel", lambda: intel)
    if not numba:
        monkeypatch.setattr(compiled, "_kernels", {"tiles": None})
    elif not compiled.of_use("tiles", torch.zeros(1)):
        pytest.skip("Numba does not work here")
    regions = Regions(wide[0], torch.randn(1, 3, 70, 62))
    second = [n for n in wide[0] if n.kind == "conv"][1]
    tiles: dict[Node, int] = {}
    multiply = Kernels._multiply

    def counted(self: Kernels, n: Node, given: Tensor, out: Tensor) -> None:
        tiles[n] = given.shape[1]
        multiply(self, n, given, out)

    monkeypatch.setattr(Kernels, "_multiply", counted)
    patch = torch.ones(1, 3, side, side)
    places = [(8, 8), (13, 11)]
    regions(places, patch)
    assert tiles[second] == len(places) * alike
    tiles.clear()
    patch[0, 0, -1, -1] = 0
    regions(places, patch)
    assert tiles.get(second) == (None if otherwise is None else len(places) * otherwise)


@pytest.mark.usefixtures("other_maker")
@pytest.mark.cpu_only("tiles are for the CPU")
def test_tiles_are_used_in_windows_and_on_whole_maps(wide: tuple[Graph, list[Node]]) -> None:
    plan = Regions(wide[0], torch.randn(1, 3, 70, 62))._plan((16, 16))
    assert plan._tiled & plan._windows.keys()
    assert plan._tiled & plan._whole


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ("densenet121", "convnext_tiny", "googlenet", "efficientnet_b0")
        ),
    ],
)
def test_windows_by_index_are_those_of_the_loop(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What accelerators take instead of copies in a loop, on the processor."""
    side = MODELS[name]
    graph = trace(build(name), (3, side, side))
    convs = [layer.node for layer in find_layers(graph) if layer.kind == "conv"]
    record = [convs[0], convs[len(convs) // 2], convs[-1]]
    regions = Regions(graph, torch.randn(1, 3, side, side), record)
    for size in ((5, 3), (20, 20), (side, side)):
        positions = [*corners(side, size), (-2, side - 3)]
        patches = torch.randn(len(positions), 3, *size)
        output, changed = regions(positions, patches, record)
        maps = {n: changed[n].whole() for n in record}
        with monkeypatch.context() as patch:
            patch.setattr("convscope_core.graph.windows._LOOPS", frozenset())
            again, changed = regions(positions, patches, record)
            assert torch.equal(again, output)
            assert all(torch.equal(changed[n].whole(), maps[n]) for n in record)


@pytest.mark.parametrize("habit", HABITS)
def test_windows_by_index_whatever_the_axes(habit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convscope_core.graph.windows._LOOPS", frozenset())
    test_habits(habit)


def test_a_lower_precision_errs_a_little(wide: tuple[Graph, list[Node]]) -> None:
    graph, record = wide
    x = torch.randn(1, 3, 70, 62)
    exact, rounded = Regions(graph, x, record), Regions(graph, x, record, dtype=torch.bfloat16)
    assert torch.equal(rounded.output, exact.output)
    for size in ((9, 9), (70, 62)):  # in windows, and by the ordinary pass
        positions = corners(62, size)[:1] if size[0] > 9 else corners(62, size)
        patches = torch.randn(len(positions), 3, *size)
        expected, _ = exact(positions, patches)
        found, changed = rounded(positions, patches, record[-1:])
        assert found.dtype == torch.float32
        assert changed[record[-1]].whole().shape[1:] == record[-1].shape
        error = (found - expected).abs().max() / expected.abs().max()
        assert 0 < error <= 0.03


@pytest.mark.usefixtures("other_maker")
@pytest.mark.parametrize("walk", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("traced", [torch.float64, torch.float32])
def test_a_walk_in_another_type_than_the_graph(traced: torch.dtype, walk: torch.dtype, device: torch.device) -> None:
    torch.manual_seed(0)
    module = Wide().eval()
    graph, x = trace(module, (3, 70, 62), dtype=traced), torch.randn(1, 3, 70, 62).to(traced)
    regions = Regions(graph, x, dtype=walk)
    double = copy.deepcopy(module).double()
    exact = 1e-5 if device.type == "cpu" else 3e-5  # as above, of cuDNN
    bound = 0.05 if walk == torch.bfloat16 else exact
    for positions in ([(20, 30)], corners(62, (16, 12))):  # a single picture, and many
        patches = torch.randn(len(positions), 3, 16, 12).to(walk)
        found, _ = regions(positions, patches)
        with torch.inference_mode():
            expected = double(occluded(x.double(), positions, patches.double()))
        assert ((found.double() - expected).abs().max() / expected.abs().max()).item() <= bound
    if walk == torch.float32 and device.type == "cpu":
        assert regions._plan((16, 12))._tiled


# -- boxes and batches --


@pytest.fixture(scope="module")
def small() -> tuple[Graph, list[Node]]:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 8, 3, padding=1))
    graph = trace(Head(body).eval(), (3, 40, 36))
    return graph, [layer.node for layer in find_layers(graph) if layer.kind in ("conv", "pool") and layer.size[0] > 1]


def test_boxes_may_leave_the_picture(small: tuple[Graph, list[Node]]) -> None:
    graph, record = small
    x = torch.randn(1, 3, 40, 36)
    regions = Regions(graph, x, record)
    positions = [(-3, -5), (36, 33), (-7, 10), (12, 34), (5, 5), (-20, 3)]
    assert worst(graph, regions, x, positions, torch.randn(len(positions), 3, 7, 8)) <= 1e-5


def test_one_patch_serves_all_positions(small: tuple[Graph, list[Node]]) -> None:
    graph, record = small
    x = torch.randn(1, 3, 40, 36)
    assert worst(graph, Regions(graph, x, record), x, [(0, 0), (9, 9), (35, 31)], torch.full((1, 3, 5, 5), 3.0)) <= 1e-5


def test_a_patch_of_the_picture_itself_changes_nothing(small: tuple[Graph, list[Node]]) -> None:
    graph, record = small
    x = torch.randn(1, 3, 40, 36)
    regions = Regions(graph, x, record)
    output, changed = regions([(4, 6)], x[:, :, 4:15, 6:17], record)
    torch.testing.assert_close(output, regions.output)
    for n in record:
        torch.testing.assert_close(changed[n].whole(), regions.values[n])


def test_totals_are_sums_over_the_map(small: tuple[Graph, list[Node]]) -> None:
    graph, record = small
    regions = Regions(graph, torch.randn(1, 3, 40, 36), record)
    _, changed = regions([(0, 0), (9, 9), (35, 31)], torch.randn(3, 3, 5, 5), record)
    for n in record:
        assert changed[n].rows is not None
        expected = changed[n].whole()[:, 2].double().sum((1, 2))
        torch.testing.assert_close(changed[n].totals(2), expected)


def test_totals_of_maps_in_channels_last() -> None:
    graph = trace(Habits("channels last").eval(), (3, 32, 32))
    node = next(n for n in graph if n.kind == "layer_norm")
    regions = Regions(graph, torch.randn(1, 3, 32, 32), [node])
    _, changed = regions([(1, 20)], torch.randn(1, 3, 4, 7), [node])
    expected = changed[node].whole()[..., 5].double().sum((1, 2))
    torch.testing.assert_close(changed[node].totals(5, axis=3), expected)


def test_a_sweep_gives_each_position_once_whatever_the_budget(small: tuple[Graph, list[Node]]) -> None:
    graph, _ = small
    x = torch.randn(1, 3, 40, 36)
    positions = [(r, c) for r in range(0, 35, 6) for c in range(0, 31, 6)]
    patch = torch.zeros(1, 3, 5, 5)
    with torch.inference_mode():
        expected, _ = Runner(graph)(occluded(x, positions, patch))
    sizes = set()
    for budget in (1, 50_000, 2**30):
        regions = Regions(graph, x, budget=budget)
        found: dict[int, Tensor] = {}
        for indices, output, _ in regions.sweep(positions, (5, 5), lambda _: patch):
            found.update(zip(indices, output, strict=True))
        sizes.add(regions.batch_size((5, 5)))
        torch.testing.assert_close(torch.stack([found[i] for i in range(len(positions))]), expected)
    assert len(sizes) == 3


def swept(regions: Regions, x: Tensor, size: tuple[int, int], seconds: float | None) -> tuple[float, int]:
    """Greatest deviation of a sweep from the ordinary pass, as `worst` has it, and how many batches were at once."""
    graph, record = regions.graph, list(regions.values)
    down, across = (
        torch.linspace(0, n - s, k).int().tolist() for n, s, k in zip(x.shape[2:], size, (5, 4), strict=True)
    )
    positions = [(r, c) for r in down for c in across]
    held = dict(zip(positions, torch.randn(len(positions), 3, *size), strict=True))

    def patches(places: Sequence[tuple[int, int]]) -> Tensor:
        return torch.stack([held[at] for at in places])

    with torch.inference_mode():
        expected, maps = Runner(graph)(occluded(x, positions, patches(positions)), record)
    order, error = [], 0.0
    for indices, output, changed in regions.sweep(positions, size, patches, record, seconds):
        order += indices
        pairs = [(output, expected), *((changed[n].whole(), maps[n]) for n in record)]
        error = max(error, *(float((a - b[indices]).abs().max() / b.abs().max().clamp(min=1e-30)) for a, b in pairs))
    assert sorted(order) == list(range(len(positions)))
    assert seconds is not None or order == regions.order(size, positions)
    return error, len(regions._workspaces)


side_by_side = pytest.mark.cpu_only("batches are side by side on a CPU alone")


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few pictures are cut into batches, too."""
    monkeypatch.setattr("convscope_core.graph.regions._FEWEST", 2)


@side_by_side
@settings(
    max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate]
)
@given(
    habit=st.sampled_from([*HABITS, "wide"]),
    size=st.tuples(st.integers(1, 12), st.integers(1, 12)),
    threads=st.integers(2, 6),
    budget=st.sampled_from([None, 1, 200_000]),
    seconds=st.sampled_from([None, 1e-9, 0.05]),
)
def test_a_sweep_side_by_side_gives_what_the_ordinary_pass_gives(
    wide: tuple[Graph, list[Node]],
    habit: str,
    size: tuple[int, int],
    threads: int,
    budget: int | None,
    seconds: float | None,
    few: None,
) -> None:
    graph = wide[0] if habit == "wide" else trace(Habits(habit).eval(), (3, 32, 32))
    record = [layer.node for layer in find_layers(graph) if layer.kind in ("conv", "cat", "add")]
    x = torch.randn(1, 3, *graph.input.shape[1:])
    with threads_here(threads):
        error, parts = swept(Regions(graph, x, record, budget=budget), x, size, seconds)
    assert error <= 1e-5
    if seconds is None and budget is None:
        assert parts == {2: 2, 3: 3, 4: 4, 5: 4, 6: 3}[threads]
    if budget == 1:
        assert parts == 1


@side_by_side
@pytest.mark.parametrize("name", ["resnet18", pytest.param("efficientnet_b0", marks=pytest.mark.slow)])
def test_architectures_swept_side_by_side(name: str, few: None) -> None:
    graph = trace(build(name), (3, 64, 64))
    layers = [layer.node for layer in find_layers(graph) if layer.kind == "conv"]
    x = torch.randn(1, 3, 64, 64)
    with threads_here(2):
        error, parts = swept(Regions(graph, x, layers[-1:]), x, (9, 13), None)
    assert error <= 1e-4
    assert parts == 2


@side_by_side
@pytest.mark.parametrize(("count", "batches"), [(31, [31]), (32, [16, 16]), (70, [17, 18, 17, 18])])
def test_batches_are_not_too_small_for_one_thread(
    small: tuple[Graph, list[Node]], count: int, batches: list[int]
) -> None:
    regions = Regions(small[0], torch.randn(1, 3, 40, 36))
    places = [(k % 30, k // 30) for k in range(count)]
    with threads_here(2):
        found = [len(indices) for indices, *_ in regions.sweep(places, (5, 5), lambda _: torch.zeros(1, 3, 5, 5))]
    assert sorted(found) == sorted(batches)


@side_by_side
def test_memory_that_runs_out_in_one_of_several_batches(
    small: tuple[Graph, list[Node]], monkeypatch: pytest.MonkeyPatch, few: None
) -> None:
    run, asked = Plan.run, []

    def counted(self: Plan, batch: Batch, record: tuple[Node, ...]) -> tuple[Tensor, dict[Node, Changed]]:
        asked.append(batch.size)
        if batch.size > 3:
            raise torch.OutOfMemoryError("out of memory")
        return run(self, batch, record)

    regions = Regions(small[0], torch.randn(1, 3, 40, 36))
    monkeypatch.setattr(Plan, "run", counted)
    with threads_here(2):
        sweep = regions.sweep([(r, 3) for r in range(16)], (5, 5), lambda _: torch.zeros(1, 3, 5, 5))
        done = [i for indices, *_ in sweep for i in indices]
    assert sorted(done) == list(range(16))
    assert asked[:4] == [8, 8, 4, 4]
    assert asked[4:] == [2] * 8


def test_a_sweep_halves_its_batches_when_memory_runs_out(small: tuple[Graph, list[Node]]) -> None:
    graph, _ = small
    regions = Regions(graph, torch.randn(1, 3, 40, 36))
    asked = []

    def patches(places: object) -> Tensor:
        asked.append(len(places))  # type: ignore[arg-type]
        if asked[-1] > 3:
            raise torch.OutOfMemoryError("out of memory")
        return torch.zeros(1, 3, 5, 5)

    positions = [(r, 3) for r in range(14)]
    done = [i for indices, *_ in regions.sweep(positions, (5, 5), patches) for i in indices]
    assert sorted(done) == list(range(14))
    assert asked[:2] == [14, 7]
    assert sorted(asked[2:]) == [2, 3, 3, 3, 3]


@side_by_side
@pytest.mark.parametrize(("seconds", "most"), [(1000.0, 32), (None, 64)])
def test_what_waits_for_a_turn_waits_for_no_more_pictures_side_by_side(
    small: tuple[Graph, list[Node]], seconds: float | None, most: int
) -> None:
    asked = []

    def patches(places: Sequence[tuple[int, int]]) -> Tensor:
        asked.append(len(places))
        return torch.zeros(1, 3, 5, 5)

    positions = [(r, c) for r in range(20) for c in range(16)]
    with threads_here(2):
        for _ in Regions(small[0], torch.randn(1, 3, 40, 36)).sweep(positions, (5, 5), patches, seconds=seconds):
            pass
    assert 0.8 * most <= max(asked) <= most


@pytest.mark.parametrize("threads", [1, 2])
def test_a_sweep_keeps_to_the_time_that_a_batch_may_take(
    small: tuple[Graph, list[Node]], monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Under a clock that goes on by 10 ms a picture, later by 100."""
    regions = Regions(small[0], torch.randn(1, 3, 40, 36))
    clock = [0.0]
    monkeypatch.setattr("convscope_core.graph.regions.time.perf_counter", lambda: clock[0])
    positions = [(r, c) for r in range(20) for c in range(15)]
    taken: list[float] = []

    def patches(places: object) -> Tensor:
        pace = 0.01 if sum(taken) < 1.5 else 0.1
        taken.append(pace * len(places))  # type: ignore[arg-type]
        clock[0] += taken[-1]
        return torch.zeros(1, 3, 5, 5)

    with threads_here(threads):
        done = [i for indices, *_ in regions.sweep(positions, (5, 5), patches, seconds=0.2) for i in indices]
    assert sorted(done) == list(range(len(positions)))
    assert taken[0] == pytest.approx(0.04)
    slow = next(k for k, t in enumerate(taken) if t > 0.31)  # where the clock slows down unforeseen
    assert max(taken[:slow] + taken[slow + 1 :]) <= 0.31
    assert max(taken[:slow]) >= 0.13
    assert len(taken) < 120


def test_positions_with_windows_of_like_sizes_go_together(wide: tuple[Graph, list[Node]]) -> None:
    regions = Regions(wide[0], torch.randn(1, 3, 70, 62))
    positions = [(r, c) for r in range(0, 62, 3) for c in range(0, 54, 3)]
    batches = regions._batches((8, 8), positions, range(len(positions)), 32)
    assert sorted(i for batch in batches for i in batch) == list(range(len(positions)))
    assert max(map(len, batches)) <= 32
    together = [regions.work((8, 8), [positions[i] for i in batch]).regions * len(batch) for batch in batches]
    assert sum(together) < 0.9 * regions.work((8, 8), positions).regions * len(positions)
    assert sorted(regions.order((8, 8), positions)) == list(range(len(positions)))


def test_other_errors_of_a_sweep_are_raised(small: tuple[Graph, list[Node]]) -> None:
    graph, _ = small

    def patches(_: object) -> Tensor:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        list(Regions(graph, torch.randn(1, 3, 40, 36)).sweep([(0, 0)], (5, 5), patches))


def test_global_mixing_from_the_start_takes_the_ordinary_pass(caplog: pytest.LogCaptureFixture) -> None:
    torch.manual_seed(0)
    from torchvision.models import VisionTransformer

    module = VisionTransformer(image_size=32, patch_size=8, num_layers=6, num_heads=2, hidden_dim=32, mlp_dim=128)
    module.heads.head = nn.Linear(32, 4)
    graph = trace(module.eval(), (3, 32, 32))
    x = torch.randn(1, 3, 32, 32)
    regions = Regions(graph, x, [find_layers(graph)[0].node])
    with caplog.at_level(logging.INFO, logger="convscope_core.graph.regions"):
        reason = regions.reason((4, 4))
    assert reason is not None
    assert reason in caplog.text
    positions, patches = corners(32, (4, 4))[1:], torch.randn(1, 3, 4, 4)
    assert worst(graph, regions, x, positions, patches) <= 1e-5
    with torch.inference_mode():
        expected, _ = Runner(graph)(occluded(x, positions, patches))
    [(indices, output, _)] = regions.sweep(positions, (4, 4), lambda _: patches)
    torch.testing.assert_close(output, expected[indices])


def test_a_box_of_the_whole_picture_takes_the_ordinary_pass(small: tuple[Graph, list[Node]]) -> None:
    graph, _ = small
    regions = Regions(graph, torch.randn(1, 3, 40, 36))
    assert regions.reason((40, 36)) is not None
    assert regions.reason((4, 4)) is None


def test_the_work_is_counted(small: tuple[Graph, list[Node]]) -> None:
    graph, _ = small
    regions = Regions(graph, torch.randn(1, 3, 40, 36))
    # 20x18 positions of a 3x3 convolution from 3 to 6 channels, 10x9 of one from 6 to 8.
    assert regions.work((4, 4)).whole == 20 * 18 * 27 * 6 + 10 * 9 * 54 * 8
    # A box of 4 pixels meets 3 rows of the first convolution, then at most 3 of the pool, then 5 of the last.
    assert regions.work((4, 4)).regions == 3 * 3 * 27 * 6 + 5 * 5 * 54 * 8
    # Where all boxes meet the strides in the same way, no window need be larger: 3, 2, 4.
    places = [(r, c) for r in range(8, 30, 4) for c in range(8, 30, 4)]
    assert regions.work((4, 4), places).regions == 3 * 3 * 27 * 6 + 4 * 4 * 54 * 8
    assert regions.work((4, 4)).carried_out == regions.work((4, 4)).regions  # nothing is in tiles


@pytest.mark.usefixtures("other_maker")
@pytest.mark.cpu_only("tiles are for the CPU")
def test_tiles_take_fewer_multiplications(wide: tuple[Graph, list[Node]]) -> None:
    plan = Regions(wide[0], torch.randn(1, 3, 70, 62))._plan((16, 16))
    less = plan.work.regions - plan.work.carried_out
    expected = 0.0
    for n in plan._tiled:
        rows, columns = plan._windows[n].size if n in plan._windows else n.shape[1:]
        expected += n["weight"].shape[:2].numel() * (9 * rows * columns - 36 * -(-rows // 4) * -(-columns // 4))
    assert less == expected > 0
    assert plan.work.bound_in_tiles > plan.work.bound


@pytest.mark.parametrize("count", [0, 2, 16, 31, 33])
def test_a_sweep_refuses_patches_of_another_number_than_its_positions(
    small: tuple[Graph, list[Node]], count: int
) -> None:
    """Also as many as one of the batches has that are computed at once."""
    regions = Regions(small[0], torch.randn(1, 3, 40, 36))
    with threads_here(2), pytest.raises(ArgumentError, match="for 32 positions"):
        list(regions.sweep([(r, 3) for r in range(32)], (5, 5), lambda _: torch.zeros(count, 3, 5, 5)))


@pytest.mark.parametrize(
    ("positions", "shape"),
    [([], (1, 3, 4, 4)), ([(0, 0)], (1, 3, 41, 4)), ([(0, 0)], (1, 1, 4, 4)), ([(0, 0)], (2, 3, 4, 4))],
)
def test_patches_that_do_not_fit_are_refused(small: tuple[Graph, list[Node]], positions: list, shape: tuple) -> None:
    regions = Regions(small[0], torch.randn(1, 3, 40, 36))
    with pytest.raises(ArgumentError, match="Expected patches"):
        regions(positions, torch.zeros(shape))


def test_nodes_that_were_not_recorded_are_refused(small: tuple[Graph, list[Node]]) -> None:
    graph, record = small
    with pytest.raises(ArgumentError, match="Expected nodes given"):
        Regions(graph, torch.randn(1, 3, 40, 36))([(0, 0)], torch.zeros(1, 3, 4, 4), record[:1])


def test_more_than_one_clean_picture_is_refused(small: tuple[Graph, list[Node]]) -> None:
    with pytest.raises(ArgumentError, match="one clean picture"):
        Regions(small[0], torch.randn(2, 3, 40, 36))

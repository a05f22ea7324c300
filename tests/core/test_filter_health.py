"""First-layer filters with known faults, and aliasing of known tones, against a computation at every place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError
from convscope_core.experiments import FilterHealth, filter_health, measuring_filters
from convscope_core.network import Network
from convscope_core.survey import survey

SIZE = 24


def first(weight: torch.Tensor, stride: int = 1) -> Network:
    count, channels, side, _ = weight.shape
    conv = nn.Conv2d(channels, count, side, stride)
    conv.weight.data, conv.bias.data = weight, torch.zeros(count)
    out = (SIZE - side) // stride + 1
    module = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(count * out * out, 2))
    return Network(module.eval(), input_size=(channels, SIZE, SIZE), name="first")


def pictures(count: int = 6) -> list[torch.Tensor]:
    return list(torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


# ---- filters


def test_faults_of_filters_are_found() -> None:
    torch.manual_seed(0)
    weight = torch.randn(8, 3, 5, 5)
    weight[2] *= 9  # dominates
    weight[5] = weight[1] * 0.3 + 1e-4  # repeats
    weight[6] = 0  # dead
    weight[7] = -weight[1]  # the opposite is no repetition
    health = filter_health(first(weight))
    assert np.flatnonzero(health.dominant).tolist() == [2]
    assert np.flatnonzero(health.dead).tolist() == [6]
    assert health.dead_by == "weights"
    assert health.duplicates.tolist() == [0, 1, 2, 3, 4, 1, 6, 7]
    np.testing.assert_allclose(health.rms, weight.double().square().mean((1, 2, 3)).sqrt(), rtol=1e-6)
    np.testing.assert_allclose(health.dominance, health.rms / np.median(health.rms))
    assert np.isnan(health.centroid[6])
    assert health.aliasing == ()
    assert "1 dead, 1 dominant, 1 repeated (dead by weights)" in repr(health)


def test_a_survey_says_which_filters_are_dead() -> None:
    torch.manual_seed(0)
    net = first(torch.randn(6, 3, 5, 5))
    net = net.with_tensors(lambda t: torch.tensor([0, -1e4, 0, 0, 0, 0.0]) if t.shape == (6,) else t, "dead")
    for count, dead_by, dead in ((100, "weights", []), (101, "activations", [1])):
        found = survey(net, pictures(count), progress=False)
        health = filter_health(net, found, pictures=2, progress=False)
        assert (health.dead_by, np.flatnonzero(health.dead).tolist()) == (dead_by, dead)
    assert not filter_health(net).dead.any()
    with pytest.raises(ArgumentError, match="with these weights"):
        filter_health(first(torch.randn(6, 3, 5, 5)), found)
    with pytest.raises(ArgumentError, match=r"survey of the first layer, '0'"):
        filter_health(net, survey(net, pictures(), ["3"], progress=False))


def test_frequencies_directions_and_coverage_are_those_of_the_filters() -> None:
    y, x = np.mgrid[:11, :11]
    tones = [(0.05, 0), (0.2, 45), (0.35, 90), (0.45, 135)]
    weight = np.stack([
        np.cos(2 * np.pi * f * (x * np.cos(np.radians(a)) - y * np.sin(np.radians(a)))) for f, a in tones
    ])  # fmt: skip
    health = filter_health(first(torch.from_numpy(weight).float()[:, None].repeat(1, 3, 1, 1)))
    assert np.all(np.diff(health.centroid) > 0)
    np.testing.assert_allclose(health.centroid[1:], [0.2, 0.35, 0.45], atol=0.05)
    np.testing.assert_allclose(health.angle[1:], [45, 90, 135], atol=5)
    nothing = filter_health(first(torch.zeros(4, 3, 5, 5)))
    assert "nan%" not in repr(nothing) + nothing._repr_html_()
    assert nothing.plot()
    low = filter_health(first(torch.ones(4, 3, 5, 5)))
    assert low.coverage < health.coverage <= 1


def test_the_first_layer_is_found_behind_what_prepares_the_picture() -> None:
    class Prepared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, stride=2), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = F.pad((x - 0.5) * 255, (0, 1, 0, 1))
            return self.head(self.conv(x).relu().mean((2, 3)))

    net = Network(Prepared().eval(), input_size=SIZE)
    assert filter_health(net).layer == "conv"
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2)).eval()
    pooled = nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(200, 2)).eval()
    for module in (flat, pooled):
        with pytest.raises(LayerError, match="first layer is a convolution of the picture"):
            filter_health(Network(module, input_size=SIZE))


# ---- aliasing


def tone(k: int) -> torch.Tensor:
    """A picture that varies along its rows by k / 48 cycles a pixel."""
    wave = torch.cos(torch.pi * k * (torch.arange(SIZE) + 0.5) / SIZE)
    return wave.expand(1, SIZE, SIZE).contiguous()


@pytest.mark.parametrize("stride", [2, 3])
@pytest.mark.parametrize("k", [1, 5, 7, 9, 13, 20])
def test_a_tone_below_the_nyquist_rate_passes_and_one_above_is_folded(stride: int, k: int) -> None:
    module = nn.Sequential(
        nn.Conv2d(1, 1, 1, bias=False), nn.Conv2d(1, 1, 1, stride, bias=False), nn.Flatten(),
        nn.Linear((-(-SIZE // stride)) ** 2, 2),
    ).eval()  # fmt: skip
    for conv in module[:2]:
        conv.weight.data.fill_(1.0)
    health = filter_health(Network(module, input_size=(1, SIZE, SIZE)), images=[tone(k)], progress=False)
    expected = float(k >= SIZE / stride)
    before, at = health
    assert (before.layer, before.next, before.next_stride) == ("0", "1", (stride, stride))
    assert before.above == pytest.approx(expected, abs=1e-4)
    assert np.isnan(before.folded)
    assert (at.layer, at.stride) == ("1", (stride, stride))
    assert at.folded == pytest.approx(expected, abs=1e-4)
    assert at.next is None
    assert np.isnan(at.above)


def test_a_blur_before_a_stride_folds_less() -> None:
    noise = list(torch.randn(4, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(0)))
    shares = []
    for kernel in ([0, 0, 1, 0, 0], [1, 4, 6, 4, 1]):
        blur = nn.Conv2d(1, 1, 5, 2, 2, bias=False)
        row = torch.tensor(kernel) / sum(kernel)
        blur.weight.data = (row[:, None] * row)[None, None]
        module = nn.Sequential(blur, nn.Flatten(), nn.Linear(144, 2)).eval()
        net = Network(module, input_size=(1, SIZE, SIZE))
        shares.append(filter_health(net, images=noise, progress=False)[0].folded)
    assert shares[0] == pytest.approx(0.75, abs=0.03)  # noise is as strong in all four quarters of the frequencies
    assert shares[1] < 0.25


class Branches(nn.Module):
    """Strides in a convolution, pools of either kind, a branch; padding in front; a block on the last axis."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.max = nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(3, 2)
        self.inner, self.norm, self.mlp = nn.Conv2d(4, 4, 3, padding=1), nn.LayerNorm(4), nn.Linear(4, 4)
        self.down, self.side = nn.Conv2d(4, 6, 3, 2), nn.AvgPool2d(2)
        self.head = nn.Linear(10, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.max(self.conv(x).relu())
        x = self.inner(x).relu() + x
        x = self.mlp(self.norm(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        a = self.down(F.pad(x, (0, 1, 0, 1))).relu()
        b = self.side(x)
        return self.head(torch.cat([a.mean((2, 3)), b.mean((2, 3))], 1))


def above(maps: torch.Tensor, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """(C,) sums of squares above the Nyquist rate, and all, by the transform as a matrix of cosines."""
    x = maps.double().numpy()
    x = x - x.mean((2, 3), keepdims=True)
    matrices = []
    for size in x.shape[2:]:
        m = np.array([[np.cos(np.pi * k * (n + 0.5) / size) for n in range(size)] for k in range(size)])
        matrices.append(m / np.linalg.norm(m, axis=1, keepdims=True))
    c = np.square(matrices[0] @ x @ matrices[1].T)
    rows, columns = (np.arange(size) >= size / stride for size in x.shape[2:])
    return (c * (rows[:, None] | columns[None])).sum((0, 2, 3)), c.sum((0, 2, 3))


def test_every_layer_equals_a_computation_at_every_place() -> None:
    torch.manual_seed(0)
    module = Branches().eval()
    images = pictures(5)
    health = filter_health(Network(module, input_size=SIZE), images=images, batch_size=2, progress=False)
    x = torch.stack(images)
    with torch.no_grad():
        conv = module.conv(x).relu()
        pool = module.max(conv)
        inner = module.inner(pool).relu()
        block = module.mlp(module.norm((inner + pool).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)
        padded = F.pad(block, (0, 1, 0, 1))
        own = {
            "conv": F.conv2d(x, module.conv.weight, module.conv.bias, padding=1).relu(),
            "max": F.max_pool2d(conv, 3, 1),
            "down": F.conv2d(padded, module.down.weight, module.down.bias).relu(),
            "side": F.avg_pool2d(block, 2, 1),
        }
    after = {"conv": (conv, "max"), "max": (pool, "down"), "inner": (inner, "down"), "mlp": (block, "down")}
    rows = {row.layer: row for row in health}
    assert {"conv", "max", "inner", "mlp", "down", "side"} <= rows.keys()
    for name, dense in own.items():
        high, total = above(dense, 2)
        assert rows[name].folded == pytest.approx(high.sum() / total.sum(), rel=1e-4)
        np.testing.assert_allclose(rows[name].units_folded, high / total, rtol=1e-3, atol=1e-6)
    for name, (maps, following) in after.items():
        high, total = above(maps, 2)
        assert rows[name].next in (following, "side")
        assert rows[name].above == pytest.approx(high.sum() / total.sum(), rel=1e-4)
        np.testing.assert_allclose(rows[name].units_above, high / total, rtol=1e-3, atol=1e-6)
    assert np.isnan(rows["down"].above)


# ---- kept, drawn, refused


def test_step_by_step_it_is_the_same() -> None:
    net = first(torch.randn(4, 3, 3, 3), stride=2)
    steps = list(measuring_filters(net, images=pictures(), pictures=3, batch_size=2))
    assert [(step.done, step.total, step.result is None) for step in steps] == [(2, 3, True), (3, 3, False)]
    assert repr(steps[-1].result) == repr(filter_health(net, images=pictures(), pictures=3, progress=False))
    (alone,) = measuring_filters(net)
    assert alone.result is not None
    assert (alone.result.images, len(alone.result)) == (0, 0)


def test_it_is_kept_and_drawn(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Network(Branches().eval(), input_size=SIZE)
    health = filter_health(net, images=pictures(), pictures=3, progress=False)
    assert health.images == 3
    again = FilterHealth.load(health.save(tmp_path / "x"))
    assert repr(again) == repr(health)
    assert again._repr_html_() == health._repr_html_()
    np.testing.assert_equal(again.columns(), health.columns())
    np.testing.assert_array_equal(again.spectra, health.spectra)
    assert again.coverage == health.coverage
    pytest.importorskip("matplotlib")
    assert len(health.plot().axes) == 4
    assert len(filter_health(net).plot().axes) == 3


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"pictures": 0, "images": pictures()}, ArgumentError, "pictures to be a whole number"),
        ({"images": []}, ArgumentError, "at least one picture"),
        ({"images": [torch.full((3, SIZE, SIZE), torch.nan)]}, ImageError, "all failed"),
    ],
)
def test_other_arguments_are_refused(arguments: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        filter_health(first(torch.ones(2, 3, 3, 3)), progress=False, **arguments)


def test_activations_that_are_no_numbers_are_refused_with_their_layer() -> None:
    net = first(torch.ones(2, 3, 3, 3), stride=2).with_tensors(lambda t: t * 3e38, "broken")
    with pytest.raises(NetworkError, match=r"NaN or infinite ones of '0'"):
        filter_health(net, images=pictures(), progress=False)

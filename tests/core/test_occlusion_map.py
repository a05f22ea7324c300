"""Occlusion maps against brute force: every position predicted by itself."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from convscope_core.errors import ArgumentError, ImageError, LayerError, StoreError
from convscope_core.graph.regions import Changed, Regions
from convscope_core.network import Network
from convscope_core.occlusion import Occlusion, OcclusionResult, occluding_map, occlusion_map, sweep

HEIGHT, WIDTH = 48, 40


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    body = nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5),
    )  # fmt: skip
    body[-1].weight.data *= 20  # so that the occluder decides
    labels = ["ant", "bee", "cat", "dog", "elk"]
    return Network(body.eval(), labels=labels, input_size=(3, HEIGHT, WIDTH), name="small")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "stride", "fill", "shape"),
    [
        (9, 6, "grey", "square"),
        ((5, 12), (7, 4), "noise", "ellipse"),
        (1, 9, "#ff8000", "square"),
        ((HEIGHT, 3), 5, "blur", "square"),
        ((HEIGHT, WIDTH), 1, "mean", "ellipse"),
    ],
)
def test_every_position_is_what_the_network_predicts_there(net: Network, photo, size, stride, fill, shape) -> None:
    result = occlusion_map(net, photo, size, stride, fill, target="cat", layer="3", shape=shape, progress=False)
    occlusion = Occlusion(net, photo, fill, shape)
    assert result.complete
    assert result.probability.shape == result.label.shape == result.activity.shape == result.positions.shape[:2]
    for r, c in np.ndindex(result.label.shape):
        at = (int(result.positions[r, c, 0]), int(result.positions[r, c, 1]))
        expected = net.predict(occlusion.occlude(at, size))
        assert result.probability[r, c] == pytest.approx(expected.probabilities[2], abs=1e-6)
        assert result.labels[result.label[r, c]] == expected.label
        maps = net.activations(occlusion.occlude(at, size), "3")["3"]
        assert result.activity[r, c] == pytest.approx(float(maps[0, result.channel].double().sum()), rel=1e-4)
    clean = net.activations(photo, "3")["3"][0].sum((1, 2))
    assert result.channel == int(clean.argmax())
    assert result.clean_activity == pytest.approx(float(clean.max()), rel=1e-5)
    np.testing.assert_allclose(result.clean.probabilities, net.predict(photo).probabilities, rtol=1e-5)


def test_the_grid_is_wholly_inside_and_begins_in_the_corner(net: Network, photo) -> None:
    result = occlusion_map(net, photo, 10, (6, 7), progress=False)
    assert result.positions[:, 0, 0].tolist() == [0, 6, 12, 18, 24, 30, 36]
    assert result.positions[0, :, 1].tolist() == [0, 7, 14, 21, 28]


def test_the_papers_grid() -> None:
    module_ = nn.Sequential(nn.Conv2d(3, 2, 8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2))
    net = Network(module_.eval())
    result = occlusion_map(net, np.zeros((224, 224, 3), np.uint8), progress=False)
    assert result.label.shape == (30, 30)
    assert result.positions[-1, -1].tolist() == [174, 174]


def test_what_is_left_out_is_the_clean_pictures_best_and_the_last_convolution(net: Network, photo) -> None:
    result = occlusion_map(net, photo, 20, 12, progress=False)
    assert result.target == net.predict(photo).index
    assert result.layer == "3"
    assert occlusion_map(net, photo, 20, 12, channel=5, progress=False).channel == 5


def test_layers_may_be_vectors_or_lacking(net: Network, photo) -> None:
    result = occlusion_map(net, photo, 20, 14, layer="7", channel=1, progress=False)
    at = (int(result.positions[1, 1, 0]), int(result.positions[1, 1, 1]))
    logits, _ = net.forward(Occlusion(net, photo).occlude(at, 20))
    assert result.activity[1, 1] == pytest.approx(float(logits[0, 1]), rel=1e-4)
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval(), input_size=8)
    without = occlusion_map(flat, np.zeros((8, 8, 3), np.uint8), 3, 2, progress=False)
    assert without.layer is None
    assert np.isnan(without.activity).all()
    assert without.complete


def test_it_comes_coarse_to_fine_and_each_result_stays_as_it_is(net: Network, photo) -> None:
    results = list(occluding_map(net, photo, 8, 4, budget=1))
    counts = [int(r.computed.sum()) for r in results]
    assert counts == list(range(1, results[-1].label.size + 1))
    coarse = results[3].computed  # 11 x 9 positions: every 8th is 2 x 2
    assert {tuple(p) for p in np.argwhere(coarse)} == set(itertools.product((0, 8), (0, 8)))
    assert np.isnan(results[3].probability[~coarse]).all()
    assert (results[3].label[~coarse] == -1).all()
    whole = occlusion_map(net, photo, 8, 4, progress=False)
    np.testing.assert_allclose(results[-1].probability, whole.probability, atol=1e-6)
    for r in results:
        assert (r.probability[r.computed] == results[-1].probability[r.computed]).all()


def test_an_interrupt_keeps_what_was_computed(net: Network, photo, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Occlusion.patches
    calls = []

    def interrupted(self, positions, size=50):
        calls.append(len(positions))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, positions, size)

    monkeypatch.setattr(Occlusion, "patches", interrupted)
    with pytest.warns(UserWarning, match="positions are computed"):
        result = occlusion_map(net, photo, 8, 4, progress=False)
    assert int(result.computed.sum()) == sum(calls[:2])
    assert not result.complete
    assert "computed" in repr(result)
    monkeypatch.setattr(Occlusion, "patches", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        occlusion_map(net, photo, 8, 4, progress=False)


def test_progress_counts_positions(net: Network, photo, capsys: pytest.CaptureFixture) -> None:
    occlusion_map(net, photo, 20, 10)
    assert "9/9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 41}, ArgumentError, "at most the picture"),
        ({"size": 0}, ArgumentError, "at least 1 pixel"),
        ({"size": 2.5}, ArgumentError, "whole numbers"),
        ({"size": 5, "stride": 0}, ArgumentError, "stride of at least 1"),
        ({"size": 5, "stride": (3, -1)}, ArgumentError, "stride of at least 1"),
        ({"size": 5, "stride": 1.5}, ArgumentError, "whole numbers"),
        ({"size": 5, "target": "cow"}, ArgumentError, "Expected a class"),
        ({"size": 5, "target": 5}, ArgumentError, "Expected a class"),
        ({"size": 5, "layer": "nowhere"}, LayerError, "name of a layer"),
        ({"size": 5, "channel": 8}, ArgumentError, "unit of 3 from 0 to 7"),
        ({"size": 5, "fill": "greyish"}, ArgumentError, "fill"),
        ({"size": 5, "shape": "star"}, ArgumentError, "shape"),
        (
            {"size": 3, "shape": [(0, 0), (0, 0.1), (0.1, 0)]},
            ArgumentError,
            "outline of 3 points, which at 3x3 covers none",
        ),
        ({"size": (HEIGHT, WIDTH), "fill": "inpaint"}, ArgumentError, "leaves a part of the picture"),
        ({"size": 5, "maps": [("nowhere", 0)]}, LayerError, "name of a layer"),
        ({"size": 5, "maps": [("0", 1), ("3", 8)]}, ArgumentError, "unit of 3 from 0 to 7, got 8"),
        ({"size": 5, "maps": [("0", -1)]}, ArgumentError, "unit of 0 from 0 to 5, got -1"),
        ({"size": 5, "maps": [("0", 0.5)]}, ArgumentError, "whole numbers, got 0.5"),
        ({"size": 5, "maps": ("0", 1)}, ArgumentError, r"sequence of \(layer, channel\), got '0' among"),
        ({"size": 5, "maps": "3"}, ArgumentError, r"sequence of \(layer, channel\), got '3'"),
        ({"size": 5, "maps": 3}, ArgumentError, r"sequence of \(layer, channel\), got 3"),
        ({"size": 5, "budget": "all"}, ArgumentError, "budget to be a whole number of at least 1, got 'all'"),
        ({"size": 5, "budget": 0}, ArgumentError, "budget to be a whole number of at least 1"),
        ({"size": 5, "seconds": -1}, ArgumentError, "seconds to be a number of at least 0"),
        ({"size": 5, "start": 3}, ArgumentError, "start as an OcclusionResult, got 3. Make one with occlusion_map"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    net: Network, photo, arguments, error, message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "regions", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(error, match=message):
        occluding_map(net, photo, **arguments)


class Rooted(nn.Module):
    """Returns NaN where there is little to be seen: the root of a negative number."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.module(x) + torch.sqrt((x.amax((2, 3)) - x.amin((2, 3))).mean(1, keepdim=True) - 0.5)  # type: ignore[no-any-return]


def test_where_the_network_returns_nan_no_class_is_the_most_probable(tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    image = np.zeros((12, 12, 3), np.uint8)
    image[2:6, 2:6] = 255
    net = Network(Rooted(module).eval(), input_size=12)
    steps = list(occluding_map(net, image, 5, 1, "black", keep_all=True))
    result = steps[-1]
    occlusion = Occlusion(net, image, "black")
    for place in np.ndindex(result.label.shape):
        top, left = (int(one) for one in result.positions[place])
        truth = net.predict(occlusion.occlude((top, left), 5)).probabilities
        assert result.label[place] == (-2 if np.isnan(truth).any() else truth.argmax())
    unknown = int((result.label == -2).sum())
    assert 0 < unknown < result.label.size
    assert result.complete
    assert sum(count for _, count in result.counts()) == result.label.size - unknown
    assert f"the network returns NaN at {unknown} of them" in str(result)
    assert "nan" not in str(result)
    result.plot()
    back = OcclusionResult.load(result.save(tmp_path / "saved"))
    assert (back.label == result.label).all()
    older = dataclasses.replace(result, label=np.maximum(result.label, 0))  # as the first version wrote it
    assert (OcclusionResult.load(older.save(tmp_path / "older")).label == result.label).all()
    *_, again = occluding_map(net, image, 5, 1, "black", keep_all=True, start=steps[1])
    np.testing.assert_array_equal(again.label, result.label)
    assert all(step.computed.sum() <= later.computed.sum() for step, later in itertools.pairwise(steps))


def test_a_picture_with_nan_is_refused(net: Network) -> None:
    with pytest.raises(ImageError, match="NaN"):
        occluding_map(net, torch.full((3, HEIGHT, WIDTH), math.nan), 5)


def same(a: OcclusionResult, b: OcclusionResult) -> None:
    """Check that two results hold the same, but for previews."""
    for field in dataclasses.fields(OcclusionResult):
        mine, its = getattr(a, field.name), getattr(b, field.name)
        if field.name == "clean":
            np.testing.assert_array_equal(mine.probabilities, its.probabilities)
            assert mine.labels == its.labels
        elif isinstance(mine, np.ndarray):
            assert mine.dtype == its.dtype
            np.testing.assert_array_equal(mine, its, field.name)
        elif field.name != "preview":
            assert mine == its, field.name


def test_saved_results_come_back(net: Network, photo, tmp_path: Path) -> None:
    star = [(0.02, 0.5), (1, 1 / 3), (0.35, 0.97)]
    mask = np.random.default_rng(0).random((5, 7)) < 0.5
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval(), input_size=8)
    for result in (
        occlusion_map(net, photo, 8, 9, progress=False),
        next(occluding_map(net, photo, (8, 5), 4, budget=1)),
        occlusion_map(net, photo, 8, 9, "inpaint", maps=[("0", 1), ("7", 2)], shape=star, progress=False),
        occlusion_map(net, photo, 8, 9, photo, keep_all=True, shape=mask, preview=True, progress=False),
        occlusion_map(flat, np.zeros((8, 8, 3), np.uint8), 3, 2, progress=False),
    ):
        result.save(tmp_path / "map.safetensors")
        back = OcclusionResult.load(tmp_path / "map.safetensors")
        same(back, result)
        np.testing.assert_array_equal(back.activity, result.activity)
        assert back.preview is None
        assert repr(back) == repr(result)
        assert back.fingerprint == net.fingerprint or back.network == flat.name


def test_a_saved_result_holds_what_it_held_though_the_computation_went_on(net: Network, photo, tmp_path: Path) -> None:
    results = occluding_map(net, photo, 8, 9, keep_all=True, budget=1)
    first = next(results)
    for _ in results:
        pass
    first.save(tmp_path / "map.safetensors")
    back = OcclusionResult.load(tmp_path / "map.safetensors")
    assert np.isnan(back.all_probabilities[~first.computed]).all()
    np.testing.assert_array_equal(back.all_probabilities[first.computed], first.all_probabilities[first.computed])


@pytest.mark.parametrize("layer", ["3", None])
def test_files_of_the_first_version_are_read(net: Network, photo, tmp_path: Path, layer: str | None) -> None:
    new = occlusion_map(net, photo, 8, 9, progress=False)
    if layer is None:
        none = {"maps": (), "activities": new.activities[:0], "clean_activities": new.clean_activities[:0]}
        new = dataclasses.replace(new, layer=None, channel=None, **none)
    settings = {"labels": new.labels, "clean_activity": None if layer is None else new.clean_activity}
    for key in ("target", "layer", "channel", "size", "stride", "fill", "shape", "seed", "network", "fingerprint"):
        settings[key] = getattr(new, key)
    arrays = {key: getattr(new, key) for key in ("probability", "label", "activity", "positions", "picture")}
    arrays["clean"] = new.clean.probabilities
    written = {"format": "convscope occlusion map 1", "settings": json.dumps(settings)}
    save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, tmp_path / "old", written)
    same(OcclusionResult.load(tmp_path / "old"), dataclasses.replace(new, preprocessing=None))


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="does not exist"):
        OcclusionResult.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello, this is no map of anything")
    with pytest.raises(StoreError, match="/text', which is damaged or another kind of file"):
        OcclusionResult.load(tmp_path / "text")
    save_file({"a": np.zeros(2)}, tmp_path / "other")
    with pytest.raises(ArgumentError, match="other tensors"):
        OcclusionResult.load(tmp_path / "other")


def test_results_are_frozen_and_show_themselves(net: Network, photo) -> None:
    result = occlusion_map(net, photo, 8, 9, target="bee", progress=False)
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.target = 2  # type: ignore[misc]
    assert "probability of bee" in repr(result)
    assert sum(n for _, n in result.counts()) == result.label.size


def test_plot_draws_the_papers_panels(net: Network, photo) -> None:
    pytest.importorskip("matplotlib")
    figure = occlusion_map(net, photo, 8, 9, target="bee", progress=False).plot()
    titles = [a.get_title() for a in figure.axes if a.get_title()]
    assert len(titles) == 4
    assert any("bee" in t for t in titles)
    partial = next(occluding_map(net, photo, 8, 4, budget=1))
    assert partial.plot().axes
    many = occlusion_map(net, photo, 20, 9, maps=[("0", 1), ("0", 2), ("7", 3)], channel=4, progress=False)
    titles = [a.get_title() for a in many.plot().axes if a.get_title()]
    for name in ("activity of 3, 4", "activity of 0, 1", "activity of 0, 2", "activity of 7, 3", "picture"):
        assert name in titles
    assert len(titles) == 7
    assert "unit 4 of 3, unit 1 of 0, unit 2 of 0, unit 3 of 7" in repr(many)


def test_all_cells_come_once() -> None:
    for rows, columns in ((1, 1), (30, 30), (9, 2)):
        cells = [c for level in sweep._coarse_to_fine(rows, columns) for c in level]
        assert sorted(cells) == list(itertools.product(range(rows), range(columns)))


# --- several maps


def brute(net: Network, occlusion: Occlusion, result: OcclusionResult, layer: str) -> np.ndarray:
    """Sums of every channel of a layer at every position, (rows, columns, channels)."""
    sums = []
    for top, left in result.positions.reshape(-1, 2).tolist():
        maps = net.activations(occlusion.occlude((top, left), result.size), layer)[layer]
        sums.append(maps[0].double().sum((1, 2)).numpy())
    return np.array(sums).reshape(*result.label.shape, -1)


def test_further_maps_of_any_layers_are_recorded(net: Network, photo) -> None:
    maps = [("0", 2), ("7", 4), ("3", 1), ("0", 2), ("1", 2)]  # "1" is the rectifier after "0": the same layer
    result = occlusion_map(net, photo, (9, 13), 8, "blur", maps=maps, shape="ellipse", progress=False)
    occlusion = Occlusion(net, photo, "blur", "ellipse")
    strongest = result.channel
    assert strongest == int(net.activations(photo, "3")["3"][0].sum((1, 2)).argmax())
    expected = [("3", strongest), ("0", 2), ("7", 4), *([("3", 1)] if strongest != 1 else [])]
    assert result.maps == tuple(expected)
    assert result.activities.shape == (len(expected), *result.label.shape)
    for m, (layer, channel) in enumerate(result.maps):
        np.testing.assert_allclose(result.activities[m], brute(net, occlusion, result, layer)[..., channel], rtol=1e-4)
        clean = float(net.activations(photo, layer)[layer][0, channel].sum())
        assert result.clean_activities[m] == pytest.approx(clean, rel=1e-4)
    np.testing.assert_array_equal(result.activity, result.activities[0])
    assert result.clean_activity == result.clean_activities[0]
    merged = occlusion_map(net, photo, 9, 12, channel=1, maps=[("3", 1)], progress=False)
    assert merged.maps == (("3", 1),)


def test_maps_without_a_default_layer() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    flat = Network(module, input_size=8)
    picture = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    result = occlusion_map(flat, picture, 3, 2, maps=[("1", 2)], progress=False)
    assert (result.layer, result.channel, result.maps) == (None, None, (("1", 2),))
    assert np.isnan(result.activity).all()
    assert math.isnan(result.clean_activity)
    np.testing.assert_allclose(
        result.activities[0], brute(flat, Occlusion(flat, picture), result, "1")[..., 2], rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize(("axes", "axis"), [((2, 3), 1), ((1, 2), 3), ((3, 2), 1), (None, 1)])
def test_totals_of_all_channels_are_those_of_each(axes, axis: int) -> None:
    generator = torch.Generator().manual_seed(0)
    size = [5, 7, 7, 7]
    size[axis] = 3
    clean = torch.randn(1, *size[1:], generator=generator)
    value = torch.randn([4 if axes and a in axes else n for a, n in enumerate(size)], generator=generator)
    rows, columns = np.array([0, 1, 3, 2, 0]), np.array([3, 0, 1, 1, 2])
    changed = Changed(value, clean, axes, rows, columns)
    every = changed.totals(axis=axis)
    assert (every.shape, every.dtype) == ((5, 3), torch.float64)
    torch.testing.assert_close(every, torch.stack([changed.totals(c, axis) for c in range(3)], 1))
    others = [a for a in (1, 2, 3) if a != axis]
    torch.testing.assert_close(every, changed.whole().double().sum(others))


# --- all classes and channels


@pytest.mark.parametrize("layer", ["3", "7"])
def test_with_all_kept_any_class_and_channel_can_be_followed(net: Network, photo, layer: str) -> None:
    occlusion = Occlusion(net, photo, "noise")
    result = occlusion_map(net, photo, 11, 9, "noise", layer=layer, maps=[("0", 1)], keep_all=True, progress=False)
    every = net.forward(torch.cat([occlusion.occlude((t, l), 11) for t, l in result.positions.reshape(-1, 2).tolist()]))
    expected = every[0].softmax(1).numpy().reshape(*result.label.shape, 5)
    np.testing.assert_allclose(result.all_probabilities, expected, atol=1e-6)
    np.testing.assert_array_equal(result.all_probabilities[..., result.target], result.probability)
    np.testing.assert_allclose(result.all_activities, brute(net, occlusion, result, layer), rtol=1e-4, atol=1e-5)
    sums = net.activations(photo, layer)[layer][0].double().sum((1, 2))
    np.testing.assert_allclose(result.clean_all_activities, sums, rtol=1e-5)
    for target, channel in itertools.product((0, "dog", None), (0, 4, None)):
        direct = occlusion_map(
            net, photo, 11, 9, "noise", target, layer, channel=channel, maps=[("0", 1)], keep_all=True, progress=False
        )
        followed = result.follow(target, channel)
        np.testing.assert_allclose(followed.activities, direct.activities, rtol=1e-6)
        same(dataclasses.replace(followed, activities=direct.activities), direct)


def test_what_is_kept_is_shared_but_a_result_knows_what_of_it_is_its_own(net: Network, photo) -> None:
    results = list(occluding_map(net, photo, 8, 9, keep_all=True, budget=1))
    assert all(r.all_probabilities is results[0].all_probabilities for r in results)
    assert all(r.all_activities is results[0].all_activities for r in results)
    early = results[2].follow("elk", 0)
    assert int(early.computed.sum()) == 3
    assert (np.isfinite(early.probability) == early.computed).all()
    assert (np.isfinite(early.activity) == early.computed).all()


def test_following_without_having_kept_all(net: Network, photo) -> None:
    result = occlusion_map(net, photo, 20, 9, target="bee", channel=2, maps=[("3", 5), ("0", 1)], progress=False)
    assert result.follow() is result.follow("bee", 2) is result.follow(1) is result
    other = result.follow(channel=5)
    assert other.maps == (("3", 5), ("3", 2), ("0", 1))
    np.testing.assert_array_equal(other.activities, result.activities[[1, 0, 2]])
    assert (other.channel, other.clean_activity) == (5, result.clean_activities[1])
    for arguments, what in ((("cat",), "class 'cat'"), ((None, 7), "unit 7 of 3")):
        with pytest.raises(ArgumentError, match=rf"{what}, which was not.*keep_all=True"):
            result.follow(*arguments)
    with pytest.raises(ArgumentError, match="Expected a class of small"):
        result.follow("cow")
    kept = occlusion_map(net, photo, 20, 9, keep_all=True, progress=False)
    with pytest.raises(ArgumentError, match="unit of 3 from 0 to 7, got 8"):
        kept.follow(channel=8)
    with pytest.raises(ArgumentError, match="whole numbers"):
        kept.follow(channel=0.5)


# --- previews


def conv_net(*body: nn.Module, classes: int = 3, last: nn.Module | None = None) -> Network:
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3, 2), *body, nn.Flatten(), nn.LazyLinear(classes)]
    module = nn.Sequential(*layers, *([last] if last else []))
    module(torch.zeros(1, 3, 15, 18))
    return Network(module.eval(), input_size=(3, 15, 18))


@pytest.fixture(scope="module")
def small() -> torch.Tensor:
    return torch.rand(3, 15, 18, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("shape", ["square", "ellipse", [(0, 0), (0.1, 1), (1, 0.7)]])
def test_of_a_linear_network_the_preview_is_exact(small: torch.Tensor, shape) -> None:
    net = conv_net(classes=2)  # of two classes the log-odds are a difference of logits
    first, *_, last = occluding_map(net, small, (5, 4), (3, 2), "noise", shape=shape, preview=True)
    assert not first.computed.any()
    assert np.isnan(first.probability).all()
    assert np.isnan(first.activities).all()
    assert first.preview is last.preview
    assert (first.preview.probability.dtype, first.preview.activity.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(first.preview.probability, last.probability, atol=1e-5)
    np.testing.assert_allclose(first.preview.activity, last.activity, atol=1e-4)
    assert np.ptp(last.probability) > 0.01


def test_a_preview_errs_in_the_second_order_of_the_change(small: torch.Tensor) -> None:
    net = conv_net(nn.Softplus(), nn.Conv2d(4, 4, 3), nn.Tanh(), nn.Conv2d(4, 5, 1), nn.GELU())
    direction = torch.randn(3, 15, 18, generator=torch.Generator().manual_seed(3))
    errors = []
    for step in (0.4, 0.2, 0.1):
        result = occlusion_map(net, small, 6, 3, small + step * direction, preview=True, progress=False)
        p, estimate = result.probability.astype(np.float64), result.preview.probability.astype(np.float64)
        log_odds = np.log(p / (1 - p)) - np.log(estimate / (1 - estimate))
        errors.append((np.abs(log_odds).mean(), np.abs(result.activity - result.preview.activity).mean()))
    ratios = np.array(errors[:-1]) / np.array(errors[1:])
    assert ((ratios > 3) & (ratios < 5)).all(), ratios  # half the change, a quarter of the error


@pytest.mark.parametrize("last", [None, nn.Softmax(1)])
@pytest.mark.parametrize("target", [None, 0])
def test_a_preview_is_the_gradient_of_the_log_odds_times_the_change(small, last, target) -> None:
    body = [nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Conv2d(4, 6, 2), nn.ReLU6(inplace=True)]
    net, logits = conv_net(*body, last=last), conv_net(*body)
    modules = nn.Sequential(*(m for m in _modules(body)))
    result = next(occluding_map(net, small, (4, 5), (3, 4), "#102030", target, shape="ellipse", preview=True))
    occlusion = Occlusion(logits, small, "#102030", "ellipse")
    x = small[None].clone().requires_grad_()
    z = modules(x)
    p = z.double().softmax(1)[0, result.target]
    (gradient,) = torch.autograd.grad(torch.log(p) - torch.log(1 - p), x)
    for r, c in np.ndindex(result.label.shape):
        at = (int(result.positions[r, c, 0]), int(result.positions[r, c, 1]))
        change = occlusion.occlude(at, (4, 5)) - occlusion.image
        log_odds = torch.log(p / (1 - p)) + (gradient.double() * change.double()).sum()
        assert result.preview.probability[r, c] == pytest.approx(torch.sigmoid(log_odds).item(), abs=1e-5)


def _modules(body: list[nn.Module]) -> list[nn.Module]:
    """Make the modules of `conv_net` again, weights and all."""
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3, 2), *body, nn.Flatten(), nn.LazyLinear(3)]
    nn.Sequential(*layers)(torch.zeros(1, 3, 15, 18))
    return layers


def test_a_preview_of_a_network_that_is_quite_sure_is_finite(small: torch.Tensor) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 15 * 18, 3))
    module[1].weight.data *= 1e4
    net = Network(module.eval(), input_size=(3, 15, 18))
    result = occlusion_map(net, small, 6, 3, preview=True, progress=False)
    assert result.clean.probabilities.max() == 1
    assert np.isfinite(result.preview.probability).all()
    assert result.preview.probability.min() >= 0
    assert result.preview.probability.max() <= 1
    assert np.isnan(result.preview.activity).all()  # no layer with maps


class Igamma(nn.Module):
    """Has no derivative by its first argument."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.igamma(x.abs() + 1, x.abs())


def test_where_there_is_no_preview_nothing_extra_comes(net: Network, photo, small: torch.Tensor) -> None:
    for network, picture, fill in ((net, photo, "inpaint"), (conv_net(Igamma()), small, "grey")):
        with_preview, without = (list(occluding_map(network, picture, 8, 3, fill, preview=p)) for p in (True, False))
        assert len(with_preview) == len(without)
        assert with_preview[0].computed.any()
        assert all(r.preview is None for r in with_preview)
        same(with_preview[-1], without[-1])


def test_previews_leave_gradients_and_networks_alone(net: Network, photo) -> None:
    before = net.graph.digest()
    with torch.inference_mode():
        result = occlusion_map(net, photo, 20, 9, preview=True, progress=False)
    assert result.preview is not None
    assert net.graph.digest() == before
    assert result.follow(channel=result.channel).preview is result.preview


# --- going on


@pytest.mark.parametrize("keep_all", [False, True])
def test_a_map_goes_on_where_it_was_stopped(net: Network, photo, monkeypatch, keep_all: bool) -> None:
    options = {"fill": "noise", "maps": [("0", 1)], "shape": np.eye(8, dtype=bool), "keep_all": keep_all}
    whole = occlusion_map(net, photo, 8, 4, progress=False, **options)
    part = list(itertools.islice(occluding_map(net, photo, 8, 4, budget=1, **options), 30))[-1]
    original, asked = Occlusion.patches, []

    def counted(self, positions, size=50):
        asked.extend(positions)
        return original(self, positions, size)

    monkeypatch.setattr(Occlusion, "patches", counted)
    rest = list(occluding_map(net, photo, 8, 4, start=part, **options))
    assert len(asked) == len(set(asked)) == whole.label.size - 30
    assert (rest[0].computed >= part.computed).all()
    np.testing.assert_allclose(rest[-1].probability, whole.probability, atol=1e-6)
    np.testing.assert_allclose(rest[-1].activities, whole.activities, rtol=1e-5)
    np.testing.assert_array_equal(rest[-1].label, whole.label)
    if keep_all:
        np.testing.assert_allclose(rest[-1].all_probabilities, whole.all_probabilities, atol=1e-6)
        np.testing.assert_allclose(rest[-1].all_activities, whole.all_activities, rtol=1e-5)
    (again,) = occluding_map(net, photo, 8, 4, start=whole, **options)
    same(again, whole)


def test_a_map_goes_on_only_with_the_same_settings(net: Network, photo) -> None:
    part = next(occluding_map(net, photo, 8, 4, target="cat", channel=3, budget=1))
    assert occlusion_map(net, photo, 8, 4, start=part, progress=False).target == 2
    assert occlusion_map(net, photo, 8, 4, start=part, progress=False).channel == 3
    assert occlusion_map(net, photo, 8, 4, layer="4", start=part, progress=False).channel == 3  # 4 is 3's rectifier
    for changes, name in (
        ({"image": 255 - photo}, "picture"),
        ({"size": 9}, "size"),
        ({"stride": 5}, "stride"),
        ({"fill": "mean"}, "fill"),
        ({"seed": 1}, "seed"),
        ({"shape": "ellipse"}, "shape"),
        ({"shape": np.ones((8, 8), bool)}, "shape"),
        ({"target": "dog"}, "target"),
        ({"layer": "0"}, "maps"),
        ({"channel": 4}, "maps"),
        ({"maps": [("0", 1)]}, "maps"),
    ):
        with pytest.raises(ArgumentError, match=f"start, a result of the same settings, got one of another {name}"):
            occluding_map(net, **({"image": photo, "size": 8, "stride": 4} | changes), start=part)
    with pytest.raises(ArgumentError, match="without keep_all"):
        occluding_map(net, photo, 8, 4, start=part, keep_all=True)
    with pytest.raises(ArgumentError, match="another network"):
        occluding_map(conv_net(), photo, 8, 4, start=part, target=0)


# --- errors in the middle


def test_an_error_in_the_middle_keeps_what_was_computed(net: Network, photo, monkeypatch) -> None:
    original = Regions.sweep

    def failing(after: int):
        def sweep(self, *args, **kwargs):
            for count, batch in enumerate(original(self, *args, **kwargs)):
                if count == after:
                    raise torch.OutOfMemoryError("no memory left")
                yield batch

        return sweep

    monkeypatch.setattr(Regions, "sweep", failing(3))
    with pytest.warns(RuntimeWarning, match=r"OutOfMemoryError: no memory left; 3 of 99 positions are computed"):
        result = occlusion_map(net, photo, 8, 4, budget=1, progress=False)
    assert int(result.computed.sum()) == 3
    monkeypatch.setattr(Regions, "sweep", original)
    whole = occlusion_map(net, photo, 8, 4, start=result, progress=False)
    assert whole.complete
    monkeypatch.setattr(Regions, "sweep", failing(0))
    with pytest.raises(torch.OutOfMemoryError):
        occlusion_map(net, photo, 8, 4, preview=True, progress=False)


@pytest.mark.parametrize("keep_all", [False, True])
def test_lower_precision_says_by_how_much_it_is_off(net: Network, photo, tmp_path: Path, keep_all: bool) -> None:
    exact = occlusion_map(net, photo, 8, 8, progress=False)
    rough = occlusion_map(net, photo, 8, 8, precision="bfloat16", keep_all=keep_all, progress=False)
    assert (exact.precision, exact.rounding) == ("float32", 0.0)
    off = np.abs(rough.probability - exact.probability)
    assert 0 < rough.rounding < 0.02
    # All positions of this small grid, or evenly spread ones.
    assert off.max() <= 3 * rough.rounding
    assert off.max() > 0
    assert "bfloat16" in repr(rough)
    rough.save(tmp_path / "rough")
    again = OcclusionResult.load(tmp_path / "rough")
    assert (again.precision, again.rounding) == ("bfloat16", rough.rounding)
    with pytest.raises(ArgumentError, match="another precision"):
        occlusion_map(net, photo, 8, 8, start=rough, progress=False)


def test_an_unknown_precision_is_refused_before_any_work(net: Network, photo) -> None:
    with pytest.raises(ArgumentError, match=r"'float32', 'bfloat16', 'float16', got 'int8'"):
        occluding_map(net, photo, 8, 8, precision="int8")


def test_a_folder_that_does_not_exist_is_named(net: Network, photo, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"in a folder that exists.*nowhere"):
        occlusion_map(net, photo, 20, 14, progress=False).save(tmp_path / "nowhere" / "map.safetensors")


@pytest.mark.parametrize(
    "several", [lambda h: h.median(2)[0], lambda h: torch.std_mean(h, 2)[1], lambda h: h.sort(2)[0][:, :, 3]]
)
def test_the_outputs_may_be_one_of_several_results(several) -> None:
    """An operation that gives a tuple of tensors right before the class scores."""
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.eval()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return several(self.conv(x).relu().flatten(2))

    module = Net()
    net = Network(module, input_size=12)
    picture = np.random.default_rng(0).integers(0, 255, (12, 12, 3), dtype=np.uint8)
    found = occlusion_map(net, picture, 4, 4, target=1, progress=False)
    occlusion = Occlusion(net, picture, "grey")
    for at in np.ndindex(found.label.shape):
        x = net.prepare(occlusion.occlude((int(found.positions[at][0]), int(found.positions[at][1])), 4))
        with torch.no_grad():
            assert found.probability[at] == pytest.approx(float(module(x).softmax(1)[0, 1]), abs=1e-6)

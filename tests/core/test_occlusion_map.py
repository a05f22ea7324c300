"""Occlusion maps against brute force: every position predicted by itself."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import nn

from convscope_core import occlusion_map as module
from convscope_core.errors import ArgumentError, ImageError, LayerError
from convscope_core.network import Network
from convscope_core.occlusion import Occlusion
from convscope_core.occlusion_map import OcclusionResult, occluding_map, occlusion_map

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
    return Network(body.eval(), labels=labels, input_size=(3, HEIGHT, WIDTH), device="cpu", name="small")


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
    net = Network(module_.eval(), device="cpu")
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
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 3)).eval(), input_size=8, device="cpu")
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
        ({"size": 5, "channel": 8}, ArgumentError, "channel of 3 from 0 to 7"),
        ({"size": 5, "fill": "greyish"}, ArgumentError, "fill"),
        ({"size": 5, "shape": "star"}, ArgumentError, "shape"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    net: Network, photo, arguments, error, message, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Network, "regions", lambda *_, **__: pytest.fail("worked"))
    with pytest.raises(error, match=message):
        occluding_map(net, photo, **arguments)


def test_a_picture_with_nan_is_refused(net: Network) -> None:
    with pytest.raises(ImageError, match="NaN"):
        occluding_map(net, torch.full((3, HEIGHT, WIDTH), math.nan), 5)


def test_saved_results_come_back(net: Network, photo, tmp_path: Path) -> None:
    for result in (
        occlusion_map(net, photo, 8, 9, progress=False),
        next(occluding_map(net, photo, (8, 5), 4, budget=1)),
    ):
        result.save(tmp_path / "map.safetensors")
        back = OcclusionResult.load(tmp_path / "map.safetensors")
        for field in dataclasses.fields(result):
            a, b = getattr(result, field.name), getattr(back, field.name)
            if field.name == "clean":
                np.testing.assert_array_equal(a.probabilities, b.probabilities)
                assert a.labels == b.labels
            elif isinstance(a, np.ndarray):
                assert a.dtype == b.dtype
                np.testing.assert_array_equal(a, b)
            else:
                assert a == b
        assert repr(back) == repr(result)
        assert back.fingerprint == net.fingerprint


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="no file"):
        OcclusionResult.load(tmp_path / "none.safetensors")
    (tmp_path / "text").write_text("hello, this is no map of anything")
    with pytest.raises(ArgumentError, match="is none"):
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


def test_all_cells_come_once() -> None:
    for rows, columns in ((1, 1), (30, 30), (9, 2)):
        cells = [c for level in module._coarse_to_fine(rows, columns) for c in level]
        assert sorted(cells) == list(itertools.product(range(rows), range(columns)))

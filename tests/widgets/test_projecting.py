"""Projections from the kernel's side: the unit panel's, the filter grid's, and that of the current picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import convscope as cs
from convscope.explorer import Explorer
from convscope.panes.projection import projection_tile, signed_bytes
from convscope_core.explain import project


@pytest.fixture(scope="module")
def survey(net, pictures):
    return cs.survey(net, pictures, progress=False)


def correlation(one, other):
    return float(np.corrcoef(one.ravel().astype(np.float64), other.ravel().astype(np.float64))[0, 1])


class TestUnitPanel:
    @pytest.mark.parametrize("method", ["deconvnet", "guided_backprop", "gradient"])
    def test_projections_are_those_of_the_exemplars_in_their_order(
        self, net, pictures, survey, browser_end, show, method
    ):
        panel = show(cs.UnitPanel(net, survey=survey, layer="0", channel=3))
        answer, (shades,) = browser_end.ask(panel, "projections", layer="0", channel=3, method=method)
        side = answer["side"]
        tiles = np.frombuffer(shades, np.int8).reshape(-1, side, side, 3)
        exemplars = survey.top("0", 3)
        assert len(tiles) == len(answer["peaks"]) == len(exemplars)
        for shown, peak, one in zip(tiles, answer["peaks"], exemplars, strict=True):
            truth = project(net, pictures[one.image], "0", 3, (one.row, one.column), method)
            assert truth.activation == pytest.approx(one.value, rel=1e-5)
            # A field of 5 px is shown as its pixels: read one in the middle of each.
            height, width = truth.values.shape[1:]
            rows = (np.arange(height) * side + side // 2) // height
            columns = (np.arange(width) * side + side // 2) // width
            read = shown[rows[:, None], columns] * (peak / 127)
            np.testing.assert_allclose(read, np.moveaxis(truth.values, 0, -1).clip(-peak, peak), atol=peak / 127)

    def test_a_field_larger_than_the_picture_shows_the_picture_as_the_crop_does(self, net, pictures):
        made = project(net, pictures[0], "7", 2, (0, 0))
        shades, peak = projection_tile(made, (32, 32), 32)
        inside = made.values[:, -made.box.top : 32 - made.box.top, -made.box.left : 32 - made.box.left]
        assert inside.shape == (3, 32, 32)
        assert correlation(shades, np.moveaxis(inside, 0, -1)) > 0.99
        assert peak > 0


class TestGrid:
    def test_tiles_are_the_projections_of_the_best_patches(self, net, survey, pictures, browser_end, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="3", survey=survey, lens="projection"))
        grid, buffers = browser_end.ask(widget, "grid")
        assert (grid["lens"], grid["depth"], grid["channels"]) == ("projection", 3, 20)
        assert set(np.frombuffer(buffers[0], np.uint8)) == {128}
        wanted = [5, 0, 19]
        answer, (rgb, peaks) = browser_end.ask(widget, "tiles", layer="3", channels=wanted)
        assert answer["channels"] == wanted
        side = answer["side"]
        tiles = np.frombuffer(rgb, np.uint8).reshape(len(wanted), side, side, 3)
        assert (grid["height"], grid["width"]) == (side, side)
        for channel, shown, peak in zip(wanted, tiles, np.frombuffer(peaks, np.float32), strict=True):
            best = survey.top("3", channel)[0]
            if best.value <= 0:
                assert set(shown.ravel()) == {128}
                assert peak == 0
                continue
            made = project(net, pictures[best.image], "3", channel, (best.row, best.column))
            shades, strongest = projection_tile(made, (32, 32), side)
            np.testing.assert_array_equal(shown.astype(np.int16) - 128, shades)
            assert peak == pytest.approx(strongest, rel=1e-5)

    def test_what_was_projected_is_kept(self, net, survey, pictures, browser_end, show, monkeypatch):
        widget = show(cs.FilterGrid(net, pictures[0], layer="3", survey=survey, lens="projection"))
        first = browser_end.ask(widget, "tiles", layer="3", channels=[1, 2])[1][0]
        monkeypatch.setattr("convscope.panes.projection.project_many", lambda *a, **k: [])
        assert browser_end.ask(widget, "tiles", layer="3", channels=[1, 2])[1][0] == first

    def test_a_saved_page_holds_all_tiles(self, net, survey, pictures, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="3", survey=survey, lens="projection"))
        kinds = dict(widget._snapshot())
        assert kinds["tiles"]["channels"] == list(range(20))


class TestHere:
    def test_is_the_strongest_activation_under_the_occluder(self, net, survey, pictures, browser_end, show):
        explorer = show(Explorer(net, pictures, survey=survey, layer="3", selected=4, size=10))
        answer, (shades,) = browser_end.ask(explorer, "here", layer="3", channel=4, position=(2, 3))
        x = net.prepare(pictures[0]).clone()
        x[..., 2:12, 3:13] = net.to_network(torch.full((3, 10, 10), 0.5))
        truth = project(net, x, "3", 4)
        assert (answer["row"], answer["column"]) == truth.position
        assert answer["value"] == pytest.approx(truth.activation, rel=1e-5)
        top, left, bottom, right = answer["box"]
        assert 0 <= top < bottom <= 32
        shown = np.frombuffer(shades, np.int8).reshape(bottom - top, right - left, 3) * (answer["peak"] / 127)
        part = truth.values[
            :, top - truth.box.top : bottom - truth.box.top, left - truth.box.left : right - truth.box.left
        ]
        peak = answer["peak"]
        np.testing.assert_allclose(shown, np.moveaxis(part, 0, -1).clip(-peak, peak), atol=peak / 127)

    def test_a_silent_unit_has_none(self, net, survey, pictures, browser_end, show):
        explorer = show(Explorer(net, pictures, survey=survey, layer="0", selected=0, size=32))
        # All grey: whichever channel answers to grey with nothing is silent.
        silent = next(
            c for c in range(12) if net.activations(np.full((32, 32, 3), 0.5, np.float32), "0")["0"][0, c].max() <= 0
        )
        answer, _ = browser_end.ask(explorer, "here", layer="0", channel=silent, position=(0, 0))
        assert answer["value"] <= 0
        assert answer["peak"] == 0


def strided(activation):
    torch.manual_seed(1)
    body = torch.nn.Conv2d(3, 4, 3, stride=2), activation, torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    return cs.Network(torch.nn.Sequential(*body).eval(), input_size=32)


def test_the_usual_method_follows_the_pooling_and_the_activations(net, pictures, survey, show):
    assert show(cs.UnitPanel(net, survey=survey, layer="0")).method == "deconvnet"
    assert show(cs.FilterGrid(strided(torch.nn.ReLU()), pictures[0])).method == "guided_backprop"
    assert show(cs.FilterGrid(strided(torch.nn.SiLU()), pictures[0])).method == "gradient"
    assert show(cs.FilterGrid(net, pictures[0], method="gradient")).method == "gradient"


def test_a_method_without_a_rule_says_so_in_the_widget(pictures, browser_end, show):
    panel = show(cs.UnitPanel(strided(torch.nn.SiLU()), pictures, layer="0", channel=1, method="deconvnet"))
    assert panel.wait(60)
    answer, _ = browser_end.ask(panel, "projections", layer="0", channel=1)
    assert not answer["ok"]
    assert "silu" in answer["error"]["message"]


def test_the_lens_needs_a_survey(net, pictures, browser_end, show):
    widget = show(cs.FilterGrid(net, pictures[0], layer="3", lens="projection"))
    answer, _ = browser_end.ask(widget, "grid")
    assert not answer["ok"]
    assert "survey" in answer["error"]["message"]


def test_shades_clip_few_values_and_grey_is_summed_colours():
    values = np.linspace(-1, 1, 999, dtype=np.float32).reshape(1, 27, 37)
    shades, peak = signed_bytes(values)
    assert 0.99 <= peak <= 1
    assert shades.shape == (27, 37, 3)
    np.testing.assert_allclose(shades[..., 1] / 127, values[0] / peak, atol=0.01)
    assert signed_bytes(np.zeros((3, 4, 4), np.float32))[1] == 0

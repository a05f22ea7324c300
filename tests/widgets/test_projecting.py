"""Projections from the kernel's side: the unit panel's, the filter grid's, and that of the current picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import convscope as cs
from convscope.explorer import Explorer
from convscope.panes.patches import inside
from convscope.panes.projection import effective_box, projection_tile, signed_bytes, visible
from convscope_core.explain import project


@pytest.fixture(scope="module")
def survey(net, pictures):
    return cs.survey(net, pictures, progress=False)


def correlation(one, other):
    return float(np.corrcoef(one.ravel().astype(np.float64), other.ravel().astype(np.float64))[0, 1])


@given(
    top=st.integers(-40, 40), left=st.integers(-40, 40), side=st.integers(1, 60),
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)  # fmt: skip
def test_the_picture_is_where_the_shares_say(top, left, side, size):
    box = (top, left, top + side, left + side)
    first, start, last, end = inside(box, size)
    if side >= max(size):
        assert (first, start, last, end) == (0, 0, 1, 1)
        return
    rows, columns = (np.arange(side) + at for at in (top, left))
    for low, high, places, most in ((first, last, rows, size[0]), (start, end, columns, size[1])):
        middles = (np.arange(side) + 0.5) / side
        np.testing.assert_array_equal((low < middles) & (middles < high), (places >= 0) & (places < most))


class TestUnitPanel:
    @pytest.mark.parametrize("method", ["deconvnet", "guided_backprop", "gradient"])
    def test_projections_are_those_of_the_exemplars_in_their_order(
        self, net, pictures, survey, browser_end, show, method
    ):
        panel = show(cs.UnitPanel(net, survey=survey, layer="0", channel=3))
        answer, (shades, crops) = browser_end.ask(panel, "projections", layer="0", channel=3, method=method)
        assert (answer["crop"], answer["inside"], bytes(crops)) == ("field", [], b"")
        side = answer["side"]
        tiles = np.frombuffer(shades, np.int8).reshape(-1, side, side, 3)
        exemplars = survey.top("0", 3)
        assert len(tiles) == len(answer["peaks"]) == len(exemplars)
        assert answer["places"] == [[one.image, one.row, one.column] for one in exemplars]
        for shown, peak, one in zip(tiles, answer["peaks"], exemplars, strict=True):
            truth = project(net, pictures[one.image], "0", 3, (one.row, one.column), method)
            assert truth.activation == pytest.approx(one.value, rel=1e-5)
            # A field of 5 px is shown as its pixels: read one in the middle of each.
            height, width = truth.values.shape[1:]
            rows = (np.arange(height) * side + side // 2) // height
            columns = (np.arange(width) * side + side // 2) // width
            read = shown[rows[:, None], columns] * (peak / 127)
            np.testing.assert_allclose(read, np.moveaxis(truth.values, 0, -1).clip(-peak, peak), atol=peak / 127)

    def test_the_effective_crop_holds_nearly_all_of_each_projection(self, net, pictures, survey, browser_end, show):
        panel = show(cs.UnitPanel(net, survey=survey, layer="7", channel=2, crop="effective"))
        answer, (_, crops) = browser_end.ask(panel, "projections", layer="7", channel=2)
        side, top = answer["side"], survey.top("7", 2)
        assert answer["crop"] == "effective"
        patches = np.frombuffer(crops, np.uint8).reshape(-1, side, side, 3)
        assert len(patches) == len(answer["inside"]) == len(answer["sides"]) == len(top)
        for one, patch, within, size in zip(top, patches, answer["inside"], answer["sides"], strict=True):
            made = project(net, pictures[one.image], "7", 2, (one.row, one.column))
            values, (above, before, _, _) = visible(made, (32, 32))
            energy = (values.astype(np.float64) ** 2).sum(0)
            box = effective_box(made, (32, 32))
            assert box.bottom - box.top == box.right - box.left == size
            rows = slice(max(box.top - above, 0), max(box.bottom - above, 0))
            columns = slice(max(box.left - before, 0), max(box.right - before, 0))
            assert energy[rows, columns].sum() >= 0.95 * energy.sum() * (1 - 1e-6)
            # What lies beyond the picture is told by shares of the tile; what lies in it is the picture.
            first, start, last, end = (round(share * side) for share in within)
            assert first == max(0, round(-box.top / size * side))
            middle = ((first + last) // 2, (start + end) // 2)
            y, x = (
                int(at + (place + 0.5) / side * size) for at, place in zip((box.top, box.left), middle, strict=True)
            )
            near = net.picture(pictures[one.image])[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].astype(int)
            assert near.min() - 2 <= patch[middle].min()
            assert patch[middle].max() <= near.max() + 2

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

"""Figures for papers: of every instrument, in Python and as the files that its buttons save."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
from PIL import Image

import convscope as cs
from convscope._figure import written

HERE = Path(__file__).parent

FIGURES = {
    "Compare": ["comparison", "occluder"],
    "Correspondence": ["scores"],
    "Evolution": ["evolution", "curves", "unit"],
    "Explorer": ["unit", "occluder", "grid"],
    "FilterGrid": ["grid"],
    "Gallery": ["gallery", "row 0", "row 1"],
    "HealthView": ["health"],
    "Invariance": ["curves"],
    "Occluder": ["occluder"],
    "OcclusionMap": ["maps", "occluder"],
    "PatternReport": [],
    "UnitPanel": ["unit"],
}


@pytest.fixture(scope="module")
def workshop() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import widget_harness

        yield widget_harness.Workshop()


@pytest.mark.parametrize("name", FIGURES)
def test_every_instrument_draws_what_it_shows(workshop, show, name):
    widget = show(workshop.make[name](workshop.net))
    assert widget.wait(60)
    if widget.has_trait("selected") and widget.layer:
        widget.selected = 2
    assert list(widget._figures()) == FIGURES[name]
    for what in FIGURES[name]:
        picture = np.asarray(Image.open(io.BytesIO(written(widget.figure(what), "png"))).convert("L"))
        assert picture.std() > 5, "an empty figure"
    with pytest.raises(cs.ArgumentError, match=r"Expected .*got 'unicorn'"):
        widget.figure("unicorn")


def test_the_figure_of_a_unit_has_its_patches_and_values(net, pictures, show):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.UnitPanel(net, survey=survey, layer="3", channel=4))
    figure = widget.figure()
    top = survey.top("3", 4)
    patches, projections = (part.axes for part in figure.subfigs)
    assert [axes.texts[0].get_text() for axes in patches] == [f"{one.value:#.3g}" for one in top]
    beyond = 0
    for axes, one in zip(patches, top, strict=True):
        expected, _ = widget._patches.patch(survey.images, one, 112)
        # Nothing where the picture ends.
        height, width = one.box.bottom - one.box.top, one.box.right - one.box.left
        rows = one.box.top + (np.arange(112) + 0.5) * height / 112
        columns = one.box.left + (np.arange(112) + 0.5) * width / 112
        size = survey.images[one.image].image.shape[0]
        outside = np.logical_or.outer((rows < 0) | (rows >= size), (columns < 0) | (columns >= size))
        drawn = np.asarray(axes.images[0].get_array())
        assert (drawn[outside] == 255).all()
        np.testing.assert_array_equal(drawn[~outside], expected[~outside])
        beyond += int(outside.sum())
    assert beyond
    assert len(projections) == len(top)


@pytest.mark.parametrize("scale", ["unit", "layer"])
def test_the_figure_of_a_grid_has_the_colours_and_the_scale_of_the_grid(net, pictures, show, scale):
    for name, colours in (("3", "viridis"), (net.layers[-1].name, "RdBu_r")):
        widget = show(cs.FilterGrid(net, pictures[0], layer=name, colormap="viridis", scale=scale))
        maps = net.activations(pictures[0], name)[name][0].numpy()
        strongest = int(maps.max(axis=(1, 2)).argmax())
        shown = maps if scale == "layer" else maps[strongest]
        most = np.abs(shown).max()
        low, high = (-most, most) if colours == "RdBu_r" else (0.0 if scale == "layer" else shown.min(), shown.max())
        expected = matplotlib.colormaps[colours]((maps[strongest] - low) / (high - low))[..., :3]
        drawn = np.asarray(widget.figure("grid").subfigs[1].axes[0].images[0].get_array())
        np.testing.assert_allclose(drawn, 255 * expected, atol=1)
        assert ("one scale" in widget.figure("grid").subfigs[1].get_suptitle()) == (scale == "layer")


def test_a_button_saves_what_python_draws_and_text_stays_text(net, pictures, browser_end, show, tmp_path):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.Explorer(net, pictures, survey, layer="3", selected=4))
    assert widget.wait(30)
    answer, (svg,) = browser_end.ask(widget, "figure", what="unit", format="svg")
    assert answer["file"] == "small-unit-3-4.svg"
    assert bytes(svg) == written(widget.figure("unit"), "svg")
    texts = [
        "".join(one.itertext()) for one in ElementTree.fromstring(bytes(svg)).iter("{http://www.w3.org/2000/svg}text")
    ]
    assert any("unit 4" in one for one in texts)
    _, (png,) = browser_end.ask(widget, "figure", what="occluder", format="png")
    assert Image.open(io.BytesIO(bytes(png))).width > 800
    for ending in ("png", "svg", "pdf"):
        widget.figure("unit", tmp_path / f"unit.{ending}")
        assert (tmp_path / f"unit.{ending}").stat().st_size > 1000


def test_without_matplotlib_it_says_what_to_install(net, pictures, browser_end, show, monkeypatch):
    widget = show(cs.Occluder(net, pictures[0], size=8))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        widget.figure()
    answer, _ = browser_end.ask(widget, "figure", what="occluder", format="png")
    assert (answer["ok"], answer["error"]["name"]) == (False, "ImportError")


def test_what_is_not_there_yet_is_said(net, pictures, show):
    widget = show(cs.UnitPanel(net, pictures, layer="3"))
    assert widget.wait(30)
    widget.selected = None
    with pytest.raises(cs.ArgumentError, match="selected unit"):
        widget.figure()

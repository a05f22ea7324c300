"""Figures for papers: of every instrument, in Python and as the files that its buttons save."""

from __future__ import annotations

import io
import re
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
from convscope._job import Job
from convscope._still import drawn

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


def test_a_class_is_named_beside_its_unit(net, pictures, show):
    survey = cs.survey(net, pictures, progress=False)
    last = [layer.name for layer in net.layers][-1]
    for layer, title in ((last, f"{last}, unit 2 (class 2): what"), ("3", "3, unit 2: what")):
        widget = show(cs.Explorer(net, pictures, survey, layer=layer, selected=2))
        assert widget.wait(30)
        assert f"\n{title}" in texts_of(widget.figure("unit"))


def test_without_matplotlib_it_says_what_to_install(net, pictures, browser_end, show, monkeypatch):
    widget = show(cs.Occluder(net, pictures[0], size=8))
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="pip install matplotlib"):
        widget.figure()
    answer, _ = browser_end.ask(widget, "figure", what="occluder", format="png")
    assert (answer["ok"], answer["error"]["name"]) == (False, "ImportError")


def texts_of(figure: Any) -> str:
    svg = ElementTree.fromstring(written(figure, "svg"))
    return "\n".join("".join(one.itertext()) for one in svg.iter("{http://www.w3.org/2000/svg}text"))


#: Instruments with long work on eleven pictures, after how many of its steps it is stopped, what each figure says then,
#: and the still picture; None where there is nothing to draw yet.
STOPPED: dict[str, tuple[Any, int, dict[str, str | None], str]] = {
    "OcclusionMap": (
        lambda net, images: cs.OcclusionMap(net, images[0], size=8, stride=2),
        3,
        {"maps": r"^unfinished: (\d+) of 169 positions", "occluder": ""},
        r"unfinished, map: (\d+) of 169 positions",
    ),
    "UnitPanel": (
        lambda net, images: cs.UnitPanel(net, images, layer="3", channel=4),
        0,
        {"unit": r"unfinished, survey: (\d+) of 11 pictures"},
        r"unfinished, survey: (\d+) of 11 pictures",
    ),
    "HealthView": (
        lambda net, images: cs.HealthView(net, images),
        0,
        {"health": r"unfinished, survey: (\d+) of 11 pictures"},
        r"unfinished, survey: (\d+) of 11 pictures",
    ),
    "Explorer": (
        lambda net, images: cs.Explorer(net, images, layer="3", selected=4),
        0,
        {"unit": r"unfinished, survey: (\d+) of 11 pictures", "occluder": "", "grid": ""},
        r"unfinished, survey: (\d+) of 11 pictures",
    ),
    "Gallery": (
        lambda net, images: cs.Gallery(net, images[:2], ["gradient", "lrp"]),
        2,
        {"gallery": r"not computed yet", "row 0": r"not computed yet", "row 1": None},
        r"unfinished, tiles: (\d+) of 8 maps",
    ),
    "Invariance": (
        lambda net, images: cs.Invariance(net, images, {"shift_x": [-2, 0, 2]}, ["0", "3"]),
        2,
        {"curves": r"unfinished, invariance: (\d+) of 22 measurements"},
        r"unfinished, invariance: (\d+) of 22 measurements \(curves and consistency of each picture\)",
    ),
    "Correspondence": (
        lambda net, images: cs.Correspondence(net, images[:4], points=[(9, 9)] * 4, places=4, permutations=20),
        2,
        {"scores": r"unfinished, correspondence: (\d+) of 4 pictures"},
        r"unfinished, correspondence: (\d+) of 4 pictures",
    ),
    "Compare": (
        lambda net, images: cs.Compare(net, net, images),
        1,
        {"comparison": None, "occluder": ""},
        r"unfinished, compare: (\d+) of 44 passes of a picture through a network",
    ),
}


@pytest.mark.parametrize("name", STOPPED)
def test_a_figure_of_unfinished_work_says_how_far_that_is(net, pictures, show, monkeypatch, name):
    make, steps, figures, still = STOPPED[name]
    lines: list[str] = []
    monkeypatch.setattr(
        "convscope._instrument.drawn", lambda strips: lines.extend(one.text for one in strips) or drawn(strips)
    )
    start = Job.start

    def few(self, work, *args, **kwargs):
        def stopped():
            for number, step in enumerate(work):
                if number == steps:
                    self.cancel()
                yield step

        start(self, stopped(), *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Job, "start", few)
        widget = show(make(net, pictures))
        assert widget.wait(60)
    (known,) = [getattr(widget, one._trait) for one in widget._jobs if getattr(widget, one._trait)["state"] != "none"]
    assert known["state"] == "cancelled"
    assert list(figures) == list(widget._figures())
    for what, says in figures.items():
        if says is None:
            with pytest.raises(cs.ArgumentError, match="none yet"):
                widget.figure(what)
            continue
        texts = texts_of(widget.figure(what))
        assert ("unfinished" in texts) == ("unfinished" in says)
        found = re.search(says, texts, re.MULTILINE)
        assert found, texts
        assert [int(one) for one in found.groups()] in ([], [known["done"]])
    widget.still()
    (line,) = [one for one in lines if "unfinished" in one]
    assert re.fullmatch(still, line)[1] == str(known["done"])

    whole = show(make(net, pictures))
    assert whole.wait(60)
    lines.clear()
    whole.still()
    said = [*lines, *(texts_of(whole.figure(what)) for what in figures)]
    assert not [one for one in said if "unfinished" in one or "not computed" in one]


def test_a_figure_of_a_given_survey_says_how_many_of_its_pictures_that_looked_at(net, pictures, show):
    part = cs.survey(net, pictures, indices=[0, 3, 7], progress=False)
    whole = cs.survey(net, pictures, progress=False)
    says = "the survey looked at 3 of its 11 pictures"
    for make, figures in (
        (lambda survey: cs.Explorer(net, pictures, survey, layer="3", selected=4), ["unit", ""]),
        (lambda survey: cs.UnitPanel(net, survey=survey, layer="3", channel=4), ["unit", ""]),
        (lambda survey: cs.HealthView(net, survey=survey), ["health", ""]),
    ):
        partly, wholly = show(make(part)), show(make(whole))
        for what in figures:
            assert partly._figure_notes(what) == [says]
        assert says in texts_of(partly.figure(figures[0])).replace("\n", " ")
        for view, what in [(wholly, one) for one in figures] + [
            (partly, one) for one in partly._figures() if one in ("grid", "occluder")
        ]:
            assert view._figure_notes(what) == []


def test_invariance_counts_what_is_known_of_another_transformation_as_done(net, pictures, show):
    transforms = {"shift_x": [-2, 0, 2], "rotation": [-5, 0, 5]}
    view = show(cs.Invariance(net, pictures, transforms, ["0", "3"]))
    assert view.wait(60)
    assert (view._work["state"], view._work["done"], view._work["total"]) == ("done", 22, 22)
    seen = []
    view.observe(lambda change: seen.append((change["new"]["done"], change["new"]["total"])), "_work")
    view.transform = "rotation"  # the consistency is known
    assert view.wait(60)
    assert seen[0] == (11, 22)
    assert seen == sorted(seen)
    assert (view._work["state"], seen[-1]) == ("done", (22, 22))


def growing(monkeypatch, view, surveys):
    """Let each look at an instrument's survey see another one of these, as while it is made; the looks are counted."""
    looks = []

    def another(_view):
        looks.append(surveys[len(looks) % len(surveys)])
        return looks[-1]

    monkeypatch.setattr(type(view), "survey", property(another), raising=False)
    return looks


@pytest.mark.parametrize("lens", ["activation", "patch", "projection"])
def test_a_figure_is_of_one_survey_while_that_grows(net, pictures, show, monkeypatch, lens):
    surveys = [cs.survey(net, pictures, indices=range(count), progress=False) for count in (2, 5, 11)]
    expected = {}
    for survey in surveys:
        view = show(cs.Explorer(net, pictures, survey, layer="3", selected=4, lens=lens))
        expected[int(survey.seen.sum())] = view._figures()["unit"](), view._figures()["grid"](), view._strips()
    view = show(cs.Explorer(net, pictures, surveys[0], layer="3", selected=4, lens=lens))
    growing(monkeypatch, view, surveys)
    for _ in surveys:
        made = view._figures()["unit"](), view._figures()["grid"](), view._strips()
        for at, strips in enumerate(made):
            assert any(alike(strips, one[at]) for one in expected.values())


def alike(strips, others) -> bool:
    return len(strips) == len(others) and all(
        (a.text, list(a.captions)) == (b.text, list(b.captions))
        and len(a.pictures) == len(b.pictures)
        and all(np.array_equal(x, y) for x, y in zip(a.pictures, b.pictures, strict=True))
        for a, b in zip(strips, others, strict=True)
    )


def test_every_instrument_with_long_work_is_among_those_that_are_stopped(workshop, show):
    other = workshop.net.with_tensors(lambda tensor: tensor, "another")
    working = set()
    for name, make in workshop.make.items():
        widget = show(make(other))
        if any(getattr(widget, one._trait)["state"] != "none" for one in widget._jobs):
            working.add(name)
    assert working == {*STOPPED, "Evolution"}


def test_a_figure_of_an_evolution_says_how_many_checkpoints_are_to_come(net, module, pictures, show):
    recorder = cs.EvolutionRecorder(module, at=range(4), input_size=32)
    recorder.step(epoch=1)
    view = show(cs.Evolution(recorder, pictures, layer="0"))
    assert view.wait(60)
    for what in view._figures():
        view.selected = 3
        texts = texts_of(view.figure(what)).replace("\n", " ")
        assert "unfinished, training: 2 of 4 checkpoints that are planned" in texts
    assert "a bar: the strongest picture changed" in texts_of(view.figure("evolution"))
    recorder.step(epoch=2)
    recorder.step(epoch=3)
    assert view.wait(60)
    assert "unfinished" not in "".join(texts_of(view.figure(what)) for what in view._figures())


def test_a_figure_shows_what_is_chosen(workshop, net, pictures, show):
    evolution = show(cs.Evolution(workshop.evolution, layer="0", order="index", rows=2, method="gradient", selected=3))
    ticks = [one.get_text() for one in evolution.figure("evolution").axes[0].get_yticklabels()]
    assert ticks == ["0", "3"]
    moved = show(cs.Invariance(net, pictures[:2], {"shift_x": [-2, 0, 2]}, ["0", "3"], shown=["3"], distance="cosine"))
    assert moved.wait(60)
    titles = [one.get_title() for one in moved.figure().axes]
    assert [one for one in titles if "distance" in one] == ["3: cosine distance"]


@pytest.mark.parametrize(("crop", "contrast"), [("field", "group"), ("effective", "tile")])
def test_the_figure_of_a_unit_has_its_crop_and_its_shades(net, pictures, browser_end, show, crop, contrast):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.UnitPanel(net, survey=survey, layer="3", channel=4, crop=crop, contrast=contrast))
    answer, (shades, _) = browser_end.ask(widget, "projections", layer="3", channel=4)
    side, peaks = answer["side"], answer["peaks"]
    told = np.frombuffer(shades, np.int8).reshape(-1, side, side, 3).astype(float)
    _, drawn_ = (part.axes for part in widget.figure().subfigs)
    for axes, tile, peak in zip(drawn_, told, peaks, strict=True):
        gain = peak / max(peaks) if contrast == "group" else 1.0
        shown = np.asarray(axes.images[0].get_array()).astype(float)
        inside = ~(shown == 255).all(-1)  # nothing where the picture ends
        assert inside.mean() > 0.2
        np.testing.assert_allclose(shown[inside], (128 + gain * tile)[inside], atol=0.51)
    assert ("95 %" in texts_of(widget.figure())) == (crop == "effective")


@pytest.mark.parametrize("lens", ["patch", "projection"])
def test_the_figure_of_a_grid_has_its_lens(net, pictures, browser_end, show, lens):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.FilterGrid(net, pictures[0], layer="3", survey=survey, lens=lens))
    asked = ("grid", {}) if lens == "patch" else ("tiles", {"layer": "3", "channels": list(range(20))})
    _, (data, *_) = browser_end.ask(widget, asked[0], **asked[1])
    tiles = np.frombuffer(bytes(data), np.uint8).reshape(20, 48, 48, 3)
    order = np.argsort(-net.activations(pictures[0], "3")["3"][0].flatten(1).amax(1).numpy(), kind="stable")
    cut = 0
    for axes, channel in zip(widget.figure("grid").subfigs[0].axes, order.tolist(), strict=False):
        shown = np.asarray(axes.images[0].get_array())
        inside = (shown != 255).any(-1)  # nothing where the picture ends
        cut += int((~inside).sum())
        np.testing.assert_array_equal(shown[inside], tiles[channel][inside])
        value = survey.top("3", channel)[0].value
        assert axes.texts[0].get_text() == f"{channel}: {value:#.3g}"
    assert cut


@pytest.mark.parametrize("scale_by", ["method", "group", "map"])
def test_the_figure_of_a_gallery_has_its_colours_and_scales(net, pictures, show, scale_by):
    colours = "purple-green"
    names = ["gradient", "guided_backprop", "lrp"]
    gallery = show(cs.Gallery(net, pictures[:2], names, control=False, scale_by=scale_by, colours=colours))
    assert gallery.wait(60)
    heat = {(row, name): gallery.attribution(row, name).heatmap for row in (0, 1) for name in ("gradient", "lrp")}
    own = {place: np.percentile(np.abs(one), 99.5) for place, one in heat.items()}
    panels = gallery.figure("row 0").subfigs[0].axes
    for at, name in ((1, "gradient"), (3, "lrp")):
        # Neither has another method of its group beside it.
        end = max(own[0, name], own[1, name]) if scale_by == "method" else own[0, name]
        expected = matplotlib.colormaps["PRGn_r"]((1 + (heat[0, name] / end).clip(-1, 1)) / 2)[..., :3]
        drawn_ = np.asarray(panels[at].images[0].get_array())
        np.testing.assert_allclose(drawn_, 255 * expected, atol=3)
        assert panels[at].texts[0].get_text() == f"{name}\n± {end:.2g}"
    signal = gallery.attribution(0, "guided_backprop").values
    assert len(signal) == 3
    ends = [np.percentile(np.abs(gallery.attribution(row, "guided_backprop").values), 99.5) for row in (0, 1)]
    end = max(ends) if scale_by == "method" else ends[0]
    expected = 128 + 127 * (signal / end).clip(-1, 1).transpose(1, 2, 0)
    np.testing.assert_allclose(np.asarray(panels[2].images[0].get_array()), expected, atol=0.51)


def test_what_is_not_there_yet_is_said(net, pictures, show):
    widget = show(cs.UnitPanel(net, pictures, layer="3"))
    assert widget.wait(30)
    widget.selected = None
    with pytest.raises(cs.ArgumentError, match="selected unit"):
        widget.figure()

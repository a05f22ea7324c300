"""The still picture in every output, for whoever opens a notebook without its kernel."""

from __future__ import annotations

import base64
import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import pytest
from nbconvert import HTMLExporter
from PIL import Image

import convscope as cs

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def workshop() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        import widget_harness

        yield widget_harness.Workshop()


def bundle_of(widget: Any) -> dict[str, Any]:
    bundle = widget._repr_mimebundle_()
    return bundle[0] if isinstance(bundle, tuple) else bundle


def pixels_of(png: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB")).astype(int)


def test_every_instrument_carries_one_in_its_output_and_its_state(workshop, show):
    for make in workshop.make.values():
        widget = show(make(workshop.net))
        assert widget.wait(60)
        bundle = bundle_of(widget)
        assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"]
        assert pixels_of(bundle["image/png"]).std() > 1, "an empty picture"
        assert widget._still == bundle["image/png"]
        assert len(bundle["image/png"]) < 150_000
        assert len(json.dumps(widget.get_state(list(widget._shared_traits())))) < 160_000


def test_every_instrument_and_chart_is_shown_by_colabs_manager_of_widgets_of_others(workshop, show, monkeypatch):
    output = ModuleType("google.colab.output")
    output._widgets = SimpleNamespace(_installed_url="https://colab.example/manager.js")
    output.enable_custom_widget_manager = lambda: None
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    widgets = [show(make(workshop.net)) for make in workshop.make.values()]
    curves = cs.degradation(workshop.net, workshop.pictures[:2], ["random"], steps=2, progress=False)
    for widget in [*widgets, show(cs.degradation_chart(curves))]:
        data, metadata = widget._repr_mimebundle_()
        (view,) = (name for name in data if name.endswith("widget-view+json"))
        assert metadata[view]["colab"]["custom_widget_manager"]["url"] == output._widgets._installed_url


def test_it_shows_the_picture_and_the_occluder_where_it_is(net, pictures, show):
    widget = show(cs.Occluder(net, pictures[0], size=8, position=(0, 0)))
    shown = pixels_of(bundle_of(widget)["image/png"])
    expected = Image.fromarray(net.picture(pictures[0])).resize((224, 224), Image.Resampling.NEAREST)
    inside = np.asarray(expected).astype(int)
    inside[:56, :56] = 128
    # 128 colours stand for all; the picture stands beneath two lines of text.
    places = range(shown.shape[0] - 224)
    least = min(np.abs(shown[top : top + 224, 12:236] - inside).mean() for top in places)
    assert least < 8
    widget.position = (20, 20)
    assert base64.b64encode(widget.still()).decode() == widget._still
    assert not np.array_equal(pixels_of(widget._still), shown)


def test_it_shows_the_patches_of_an_evolution_checkpoint_by_checkpoint(workshop, show):
    view = show(cs.Evolution(workshop.evolution, layer="0", order="index", rows=3))
    head, *rows = view._strips()[:4]
    assert "epoch 0, 1" in head.text
    assert [row.text for row in rows] == ["unit 0", "unit 1", "unit 2"]
    for index in (0, 1):
        answer, (_, patches) = view._answer("cells", {"channels": [0, 1, 2], "checkpoint": index})
        tiles = np.frombuffer(patches, np.uint8).reshape(3, answer["side"], answer["side"], 3)
        for row, tile, (top, left, bottom, right) in zip(rows, tiles, answer["insides"], strict=True):
            shown = row.pictures[index]
            inside = ~(shown == 255).all(-1)  # nothing where the picture ends
            assert abs(inside.mean() - (bottom - top) * (right - left)) < 0.1
            np.testing.assert_array_equal(shown[inside], tile[inside])


def test_it_shows_the_picture_moved_as_the_slider_has_it(net, pictures, show):
    view = show(cs.Invariance(net, pictures[:2], {"shift_x": [-4, 0, 4]}, ["0"], value=4.0, fill="#000000"))
    assert view.wait(60)
    photo, *lines = view._strips()
    assert photo.text.endswith("4 px")
    expected = np.zeros((32, 32, 3), np.uint8)
    expected[:, 4:] = net.picture(pictures[0])[:, :-4]
    np.testing.assert_allclose(photo.pictures[0].astype(int), expected, atol=1)
    assert any(line.text.startswith("shift consistency: ") for line in lines)


def test_one_that_cannot_be_drawn_does_not_keep_the_instrument_from_being_shown(net, pictures, show, monkeypatch):
    widget = show(cs.Occluder(net, pictures[0], size=8))
    monkeypatch.setattr(widget, "_strips", lambda: 1 / 0)
    assert set(bundle_of(widget)) == {"text/plain", "application/vnd.jupyter.widget-view+json"}


def test_nbconvert_shows_it_where_the_state_of_the_widgets_was_not_saved(net, pictures, show):
    bundle = bundle_of(show(cs.Occluder(net, pictures[0], size=8)))
    book = nbformat.v4.new_notebook()
    cell = nbformat.v4.new_code_cell("occluder")
    cell.outputs = [nbformat.v4.new_output("display_data", bundle)]
    book.cells = [cell]
    page, _ = HTMLExporter().from_notebook_node(book)
    assert f"data:image/png;base64,{bundle['image/png'][:100]}" in page


def test_pictures_are_written_whole_or_not_at_all(net, pictures, show, tmp_path):
    widget = show(cs.Occluder(net, pictures[0], size=8))
    for write in (widget.still, lambda path: widget.figure(path=path)):
        write(tmp_path / "made.png")
        assert Image.open(tmp_path / "made.png").size[0] > 100
        with pytest.raises(cs.ArgumentError, match="a folder that exists"):
            write(tmp_path / "none" / "made.png")
    with pytest.raises(cs.ArgumentError, match=r"ending of the figure's file as one of .*'png'.*, got 'xyz'"):
        widget.figure(path=tmp_path / "made.xyz")
    assert [one.name for one in tmp_path.iterdir()] == ["made.png"]

"""The occluder's free forms, fills that depend on the place or are pictures, and its trail, from the kernel's side."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import traitlets
from PIL import Image

import convscope as cs
from convscope.panes.occluder.shapes import from_browser, to_browser

#: Its slope passes between the centres of the pixels of a box of 12x12.
TRIANGLE = ((0.0, 0.0), (0.0, 0.97), (0.97, 0.0))
MASK = np.array([[1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)


def occluded(net, picture, position, mask, fill):
    """The picture with another's pixels under a mask, without any code of the occluder's."""
    x, other = net.prepare(picture).clone(), net.prepare(fill)
    for row, column in np.argwhere(mask):
        at = (..., position[0] + int(row), position[1] + int(column))
        x[at] = other[at]
    return net.predict(x)


def encoded(picture):
    file = io.BytesIO()
    Image.fromarray((picture * 255).astype(np.uint8)).save(file, "png")
    return file.getvalue()


class TestForms:
    def test_an_outline_covers_the_polygon(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=12, shape=TRIANGLE, fill=pictures[1]))
        answer, _ = browser_end.ask(widget, "occlude", position=(3, 5))
        half = np.add.outer(np.arange(12), np.arange(12)) < 11
        truth = occluded(net, pictures[0], (3, 5), half, pictures[1])
        assert answer["target"]["now"] == pytest.approx(truth.probabilities[answer["target"]["index"]], abs=1e-6)

    @pytest.mark.parametrize("shape", ["square", "ellipse", TRIANGLE, tuple(map(tuple, MASK.tolist()))])
    def test_a_shape_survives_the_way_to_the_browser_and_back(self, net, pictures, show, shape):
        widget = show(cs.Occluder(net, pictures[0], size=12, shape=shape))
        there = json.loads(json.dumps(to_browser(widget.shape)))
        other = show(cs.Occluder(net, pictures[0], size=12, shape=from_browser(there)))
        assert other.shape == widget.shape == shape

    def test_a_mask_is_taken_as_it_is_and_travels_as_bits(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=MASK.shape, shape=MASK, fill=pictures[2]))
        state = widget.get_state("shape")["shape"]
        assert (state["height"], state["width"]) == MASK.shape
        answer, _ = browser_end.ask(widget, "occlude", position=(20, 7), shape=state)
        truth = occluded(net, pictures[0], (20, 7), MASK, pictures[2])
        assert answer["target"]["now"] == pytest.approx(truth.probabilities[answer["target"]["index"]], abs=1e-6)

    @pytest.mark.parametrize(
        ("shape", "expected"),
        [
            ([(0, 0), (1, 1)], "outline"),
            ([(0, 0), (1, 1), (0, 7)], "0 to 1"),
            (np.zeros((3, 3), bool), "covers"),
            (7, "outline"),
        ],
    )
    def test_what_is_no_shape_is_refused(self, net, pictures, show, shape, expected):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        with pytest.raises(cs.ArgumentError, match=expected):
            widget.shape = shape
        assert widget.shape == "square"

    def test_a_form_of_no_pixel_at_this_size_is_an_error_that_is_shown(self, net, pictures, browser_end, show):
        sliver = ((0.0, 0.0), (0.01, 1.0), (0.0, 1.0))
        widget = show(cs.Occluder(net, pictures[0], size=10))
        answer, _ = browser_end.ask(widget, "occlude", shape=sliver, position=(0, 0))
        assert not answer["ok"]
        assert "covers" in answer["error"]["message"]


class TestFills:
    def test_a_picture_given_in_python_joins_those_at_hand(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10, position=(4, 4)))
        widget.fill = pictures[3]
        assert widget.fill == "picture:1"
        assert [one["name"] for one in widget._pictures] == [one.name for one in widget.images]
        assert widget.wait(30)
        truth = occluded(net, pictures[0], (4, 4), np.ones((10, 10), bool), pictures[3])
        assert widget.probability == pytest.approx(truth.probabilities[net.predict(pictures[0]).index], abs=1e-6)
        answer, buffers = browser_end.ask(widget, "fill", fill="picture:1", picture=0)
        pixels = np.frombuffer(buffers[0], np.uint8).reshape(answer["height"], answer["width"], 3)
        np.testing.assert_array_equal(pixels, net.picture(pictures[3]))

    def test_a_file_that_the_browser_sends_becomes_the_fill(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        widget._handle_custom_msg({"kind": "add", "as": "fill", "name": "cat.png"}, [encoded(pictures[4])])
        assert widget.wait(30)
        assert (widget.fill, widget.picture) == ("picture:1", 0)
        assert widget.images[1].name == "cat.png"

    def test_a_file_that_is_no_picture_is_shown_as_an_error_and_changes_nothing(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        widget._handle_custom_msg({"kind": "add", "as": "fill", "name": "cat.png"}, [b"no picture"])
        assert widget.wait(30)
        assert (widget.fill, len(widget.images)) == ("grey", 1)
        ((kind, error),) = [(m["kind"], m["error"]) for m, _ in browser_end.received if m.get("event") == "error"]
        assert (kind, error["name"]) == ("fill", "ImageError")  # where it was chosen
        assert error["message"].startswith(
            "Expected a picture file (JPEG, PNG, WebP, ...), got cat.png: 10 bytes, which"
        )

    def test_another_picture_under_the_occluder_keeps_the_fills(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[0], size=10, fill=pictures[1], position=(2, 2)))
        widget.image = pictures[5]
        assert widget.wait(30)
        truth = occluded(net, pictures[5], (2, 2), np.ones((10, 10), bool), pictures[1])
        assert widget.fill == "picture:1"
        assert widget.probability == pytest.approx(truth.probabilities[net.predict(pictures[5]).index], abs=1e-6)

    def test_a_fill_that_is_not_at_hand_is_refused(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        with pytest.raises(traitlets.TraitError, match="picture:0"):
            widget.fill = "picture:1"

    def test_inpainted_pixels_come_with_the_frame_and_are_what_the_network_saw(self, net, pictures, browser_end, show):
        pytest.importorskip("cv2")
        widget = show(cs.Occluder(net, pictures[0], size=8, fill="inpaint"))
        answer, buffers = browser_end.ask(widget, "occlude", position=(9, 13))
        pixels = np.frombuffer(buffers[0], np.uint8).reshape(8, 8, 3)
        picture = net.picture(pictures[0])
        picture[9:17, 13:21] = pixels
        truth = net.predict(picture)
        assert answer["target"]["now"] == pytest.approx(truth.probabilities[answer["target"]["index"]], abs=1e-4)
        assert browser_end.ask(widget, "fill", fill="inpaint")[0]["height"] == 0


class TestTrail:
    def asked(self, browser_end, widget, **content):
        answer, (places, values) = browser_end.ask(widget, "trail", **content)
        at = np.frombuffer(places, np.int32).reshape(-1, 2).tolist()
        return answer["trail"], dict(zip(map(tuple, at), np.frombuffer(values, np.float32).tolist(), strict=True))

    def test_holds_every_place_with_its_probability(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        places = [(0, 0), (3, 7), (22, 1), (3, 7)]
        frames = [browser_end.ask(widget, "occlude", position=place)[0] for place in places]
        number, trail = self.asked(browser_end, widget)
        assert {frame["trail"] for frame in frames} == {number}
        assert list(trail) == [(0, 0), (3, 7), (22, 1)]
        for frame in frames:
            assert trail[tuple(frame["position"])] == pytest.approx(frame["target"]["now"], abs=1e-7)
        assert [place for place, _ in widget.trail] == list(trail)

    @pytest.mark.parametrize(
        "change", [{"size": 9}, {"shape": "ellipse"}, {"fill": "blur"}, {"target": 2}], ids=lambda change: str(change)
    )
    def test_begins_anew_where_the_values_would_mean_something_else(self, net, pictures, browser_end, show, change):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        first = browser_end.ask(widget, "occlude", position=(1, 1))[0]["trail"]
        second = browser_end.ask(widget, "occlude", position=(2, 2), **change)[0]["trail"]
        assert second > first
        assert list(self.asked(browser_end, widget)[1]) == [(2, 2)]

    def test_is_cleared_by_the_browser_and_from_python(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        before = browser_end.ask(widget, "occlude", position=(1, 1))[0]["trail"]
        number, trail = self.asked(browser_end, widget, clear=True)
        assert number > before
        assert trail == {}
        browser_end.ask(widget, "occlude", position=(2, 1))
        widget.clear_trail()
        assert widget.trail == []
        assert [one["trail"] for one, _ in browser_end.received if one.get("event") == "trail"] == [
            widget._occluder.trail.number
        ]


def test_a_saved_page_holds_the_form_and_the_trail(net, pictures, show):
    widget = show(cs.Occluder(net, pictures[0], size=MASK.shape, shape=MASK))
    widget.position = (5, 5)
    assert widget.wait(30)
    page = widget.to_html()
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', page, re.DOTALL)[1])
    assert saved["state"]["shape"]["height"] == 4
    assert [answer["content"]["kind"] for answer in saved["answers"]] == ["photo", "fill", "occlude", "trail"]

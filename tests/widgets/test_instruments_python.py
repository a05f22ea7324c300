"""The instruments from the kernel's side: traits, answers, errors, life."""

from __future__ import annotations

import threading
import types

import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import convscope as cs
from convscope.explorer import spaced
from convscope.panes.occluder.pane import usual_size
from convscope.panes.unit import BARS, bars
from convscope_core.survey import histogram_edges


def by_hand(net, picture, position, size):
    """The prediction with a grey rectangle painted over, without any code of the occluder's."""
    x = net.prepare(picture).clone()
    high, wide = (size, size) if isinstance(size, int) else size
    top, left = position
    x[..., top : top + high, left : left + wide] = net.to_network(torch.full((3, high, wide), 0.5))
    return net.predict(x)


def same_frame(frame, clean, now):
    np.testing.assert_allclose(
        [row["now"] for row in frame["classes"]],
        [now.probabilities[row["index"]] for row in frame["classes"]],
        atol=1e-6,
    )
    assert [row["index"] for row in frame["classes"]] == np.argsort(-clean.probabilities, kind="stable")[:5].tolist()


def held(widget, monkeypatch):
    """Keep an instrument at a request, of page "a" with the number 1, until the event is set."""
    begun, go_on = threading.Event(), threading.Event()

    def hold(content):
        begun.set()
        go_on.wait(30)
        return {}, []

    monkeypatch.setattr(widget, "_answer_hold", hold, raising=False)
    widget._handle_custom_msg({"kind": "hold", "id": 1, "client": "a"}, [])
    assert begun.wait(30)
    return go_on


class TestOccluder:
    @pytest.mark.parametrize("position", [(0, 0), (5, 9), (22, 22)])
    @pytest.mark.parametrize("size", [10, (4, 10)])
    def test_answers_with_what_the_network_says_of_the_occluded_picture(
        self, net, pictures, browser_end, show, position, size
    ):
        widget = show(cs.Occluder(net, pictures[0], size=size))
        answer, buffers = browser_end.ask(widget, "occlude", position=position, size=size)
        assert answer["ok"]
        assert list(buffers) == []
        same_frame(answer, net.predict(pictures[0]), by_hand(net, pictures[0], position, size))
        assert answer["position"] == list(position)

    def test_position_set_in_python_is_followed_by_probability_and_top5(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[1], size=12, target="class 3"))
        widget.position = (7, 2)
        assert widget.wait(30)
        truth = by_hand(net, pictures[1], (7, 2), 12)
        assert widget.target == 3
        assert widget.probability == pytest.approx(truth.probabilities[3], abs=1e-6)
        assert [label for label, _ in widget.top5] == [label for label, _ in truth.top(5)]
        np.testing.assert_allclose([p for _, p in widget.top5], [p for _, p in truth.top(5)], atol=1e-6)

    def test_a_class_that_is_followed_has_a_row_wherever_it_stands(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[1], size=12))
        clean, now = net.predict(pictures[1]), by_hand(net, pictures[1], (7, 2), 12)
        first, outside = np.argsort(-clean.probabilities, kind="stable")[:5], clean.probabilities.argsort()[:2]
        for target in (int(clean.index), *map(int, outside)):
            answer, _ = browser_end.ask(widget, "occlude", position=(7, 2), target=target)
            shown = [*first] if target in first else [*first, target]
            assert [row["index"] for row in answer["classes"]] == shown
            followed = next(row for row in answer["classes"] if row["index"] == target)
            assert followed == answer["target"]
            assert followed["clean"] == pytest.approx(clean.probabilities[target], abs=1e-6)
            assert followed["now"] == pytest.approx(now.probabilities[target], abs=1e-6)
            others = [index for index in range(7) if index not in shown]
            assert answer["other"]["index"] == max(others, key=lambda index: now.probabilities[index])

    def test_a_picture_set_in_python_takes_the_place_of_the_first(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[1], size=12, position=(1, 1)))
        widget.image = pictures[2]
        assert widget.wait(30)
        truth = by_hand(net, pictures[2], (1, 1), 12)
        assert widget.probability == pytest.approx(truth.probabilities[net.predict(pictures[2]).index], abs=1e-6)

    @pytest.mark.parametrize(("side", "size"), [(32, 7), (99, 22), (100, 50), (224, 50)])
    def test_the_usual_size_fits_small_inputs(self, side, size):
        assert usual_size(side, side + 1) == size

    def test_starts_in_the_middle_and_is_kept_inside(self, net, pictures, show):
        widget = show(cs.Occluder(net, pictures[0], size=12))
        assert widget.position == (10, 10)
        widget.position = (-5, 999)
        assert widget.position == (0, 20)
        widget.size = (8, 30)
        assert widget.position == (0, 2)

    @pytest.mark.parametrize(
        ("option", "value", "expected"),
        [
            ("size", 0, "32"),
            ("size", 33, "32"),
            ("size", (10, 40), "32"),
            ("fill", "chessboard", "grey"),
            ("shape", "star", "ellipse"),
            ("target", 7, "0"),
            ("target", "clas 3", "class 3"),
        ],
    )
    def test_impossible_options_are_refused_with_what_is_possible(self, net, pictures, option, value, expected):
        with pytest.raises((traitlets.TraitError, cs.ConvscopeError), match=expected):
            cs.Occluder(net, pictures[0], **{"size": 10, option: value})

    def test_unknown_options_and_things_that_are_no_network_are_refused(self, net, pictures, module):
        with pytest.raises(TypeError, match=r"colour.*it has: .*fill"):
            cs.Occluder(net, pictures[0], size=10, colour="grey")
        with pytest.raises(cs.ArgumentError, match=r"Network\(module\)"):
            cs.Occluder(module, pictures[0])

    def test_an_unreadable_picture_is_an_error_of_the_constructor(self, net, tmp_path):
        broken = tmp_path / "broken.png"
        broken.write_bytes(b"\x89PNG\r\n\x1a\n not really")
        with pytest.raises(cs.ImageError, match=r"broken\.png"):
            cs.Occluder(net, broken, size=10)

    def test_fill_answer_holds_what_shows_inside_the_occluder(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        answer, buffers = browser_end.ask(widget, "fill", fill="#0a141e", picture=0)
        pixels = np.frombuffer(buffers[0], np.uint8).reshape(answer["height"], answer["width"], 3)
        np.testing.assert_array_equal(pixels, np.broadcast_to([10, 20, 30], (32, 32, 3)))


class TestRequests:
    def test_an_error_is_an_answer_and_the_next_request_works(self, net, pictures, browser_end, show, monkeypatch):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        with monkeypatch.context() as patch:
            patch.setattr(net, "probabilities", lambda *a, **k: 1 / 0)
            answer, _ = browser_end.ask(widget, "occlude", position=(1, 1))
            assert not answer["ok"]
            assert answer["error"]["name"] == "ZeroDivisionError"
            assert "division" in answer["error"]["message"]
            assert "Traceback" in answer["error"]["details"]
        assert browser_end.ask(widget, "occlude", position=(1, 1))[0]["ok"]

    def test_a_request_that_the_kernel_does_not_know_says_why(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        answer, _ = browser_end.ask(widget, "teleport")
        assert not answer["ok"]
        assert "Reload" in answer["error"]["message"]

    def test_an_overtaken_request_is_told_so(self, net, pictures, browser_end, show, monkeypatch):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        go_on = held(widget, monkeypatch)
        for number in range(2, 12):
            widget._handle_custom_msg({"kind": "occlude", "id": number, "client": "a", "position": (number, 0)}, [])
        go_on.set()
        assert widget.wait(30)
        answered = {content["id"]: content for content, _ in browser_end.received if "id" in content}
        assert sorted(answered) == list(range(1, 12))
        assert [number for number in range(2, 12) if answered[number].get("superseded")] == list(range(2, 11))
        assert answered[11]["position"] == [11, 0]

    def test_what_one_page_asks_takes_the_place_of_nothing_that_another_waits_for(
        self, net, pictures, browser_end, show, monkeypatch
    ):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        go_on = held(widget, monkeypatch)
        for page in ("a", "b"):
            content = {"kind": "occlude", "id": 2, "client": page, "position": (3, 3), "dragging": page == "b"}
            widget._handle_custom_msg(content, [])
        go_on.set()
        assert widget.wait(30)
        answered = [(one["client"], one["ok"]) for one, _ in browser_end.received if one.get("id") == 2]
        assert answered == [("b", True), ("a", True)]

    def test_of_several_in_flight_the_answers_keep_their_order(self, net, pictures, browser_end, show, monkeypatch):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        begun, go_on, answer = threading.Event(), threading.Event(), widget._answer_occlude

        def held(content):
            begun.set()
            assert go_on.wait(30)
            return answer(content)

        def send(number):
            widget._handle_custom_msg({"kind": "occlude", "id": number, "client": "a", "position": (number, 0)}, [])

        monkeypatch.setattr(widget, "_answer_occlude", held)
        send(1)
        assert begun.wait(30)
        for number in (2, 3, 3, 2, 4):  # one waits; each takes the place of that before it, at once, and only once
            send(number)
        replied = [one for one, _ in browser_end.received if "id" in one]
        assert [(one["id"], one.get("superseded")) for one in replied] == [(2, True), (3, True)]
        go_on.set()
        assert widget.wait(30)
        replied = [one for one, _ in browser_end.received if "id" in one][2:]
        assert [(one["id"], one["ok"], one["position"]) for one in replied] == [(1, True, [1, 0]), (4, True, [4, 0])]

    def test_a_request_is_taken_once_and_never_after_a_newer_one(self, net, pictures, browser_end, show):
        widget = show(cs.Occluder(net, pictures[0], size=10))

        def send(number, client="a", kind="occlude"):
            widget._handle_custom_msg({"kind": kind, "id": number, "client": client, "position": (number, 0)}, [])
            assert widget.wait(30)

        for number in (5, 5, 4, 6):  # sent again beside a busy cell; 4 waited behind it
            send(number)
        send(4, client="another page")
        send(4, kind="photo")
        answered = [(one["kind"], one["id"], one["client"]) for one, _ in browser_end.received if "id" in one]
        assert answered == [
            ("occlude", 5, "a"), ("occlude", 6, "a"), ("occlude", 4, "another page"), ("photo", 4, "a"),
        ]  # fmt: skip

    def test_a_callback_returns_while_the_network_computes(self, net, pictures, browser_end, show, monkeypatch):
        widget = show(cs.Occluder(net, pictures[0], size=10))
        begun, go_on = threading.Event(), threading.Event()
        real = net.probabilities

        def slow(*args, **kwargs):
            begun.set()
            assert go_on.wait(30)
            return real(*args, **kwargs)

        monkeypatch.setattr(net, "probabilities", slow)
        widget._handle_custom_msg({"kind": "occlude", "id": 1, "client": "a", "position": (3, 3)}, [])
        assert begun.wait(30)  # the callback above has returned, the pass has not
        assert browser_end.received == []
        go_on.set()
        assert widget.wait(30)
        assert browser_end.received[-1][0]["ok"]


class TestLife:
    def test_close_ends_the_thread_and_frees_the_tensors(self, net, pictures):
        before = set(threading.enumerate())
        widget = cs.Occluder(net, pictures[0], size=10)
        widget.position = (1, 1)
        assert widget.wait(30)
        assert widget._occluder.kept
        (thread,) = set(threading.enumerate()) - before
        widget.close()
        thread.join(30)
        assert not thread.is_alive()
        assert not widget._occluder.kept

    def test_close_can_be_called_again_as_python_does_in_the_end(self, net, pictures):
        for widget in (cs.Explorer(net, pictures), cs.Occluder(net, pictures[0]), cs.FilterGrid(net, pictures[0])):
            widget.close()
            widget.close()
            assert not widget._worker.alive or widget._worker.wait(30)

    def test_constructing_an_instrument_starts_no_thread(self, net, pictures, show):
        before = set(threading.enumerate())
        show(cs.Occluder(net, pictures[0], size=10))
        show(cs.FilterGrid(net, pictures[0]))
        assert set(threading.enumerate()) <= before  # one of an earlier test may end meanwhile


class TestFilterGrid:
    def test_planes_are_the_activations(self, net, pictures, browser_end, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="0"))
        answer, (data, low, high, most, mean, active, _) = browser_end.ask(widget, "grid", layer="0")
        maps = net.activations(pictures[0], ["0"])["0"][0].numpy()
        shape = (answer["channels"], answer["height"], answer["width"])
        assert shape == maps.shape
        low, high = np.frombuffer(low, np.float32), np.frombuffer(high, np.float32)
        back = low[:, None, None] + np.frombuffer(data, np.uint8).reshape(shape) / 255 * (high - low)[:, None, None]
        assert (np.abs(back - maps) <= (high - low)[:, None, None] / 255 * 0.51 + 1e-6).all()
        np.testing.assert_allclose(np.frombuffer(most, np.float32), maps.max((1, 2)), rtol=1e-6)
        np.testing.assert_allclose(np.frombuffer(mean, np.float32), maps.mean((1, 2)), rtol=1e-4)
        np.testing.assert_allclose(np.frombuffer(active, np.float32), (maps > 0).mean((1, 2)), rtol=1e-6)

    def test_aliases_become_the_layer_and_unknown_layers_list_what_is_close(self, net, pictures, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="1"))
        assert widget.layer == "0"
        with pytest.raises(cs.LayerError, match="conv9"):
            widget.layer = "conv9"
        assert widget.layer == "0"

    def test_a_unit_that_is_not_there_is_refused_and_forgotten_with_its_layer(self, net, pictures, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="3", selected=19))
        with pytest.raises(traitlets.TraitError, match="0 to 19"):
            widget.selected = 20
        widget.layer = "0"
        assert widget.selected is None

    def test_weights_are_for_the_first_layer(self, net, pictures, browser_end, show):
        widget = show(cs.FilterGrid(net, pictures[0], layer="0"))
        answer, buffers = browser_end.ask(widget, "grid", layer="0", lens="weights")
        assert (answer["channels"], answer["height"], answer["width"], answer["depth"]) == (12, 5, 5, 3)
        pixels = np.frombuffer(buffers[0], np.uint8).astype(float) - 127.5
        weight = net.weight("0").cpu().permute(0, 2, 3, 1).numpy().ravel()
        assert np.corrcoef(pixels, weight)[0, 1] > 0.999
        answer, _ = browser_end.ask(widget, "grid", layer="3", lens="weights")
        assert "first layer" in answer["error"]["message"]


class TestSurveyed:
    def test_unit_panel_makes_its_survey_and_shows_its_crops(self, net, pictures, browser_end, show):
        widget = show(cs.UnitPanel(net, pictures, layer="0", channel=4))
        assert widget.wait(60)
        answer, (crops,) = browser_end.ask(widget, "unit", layer="0", channel=4)
        assert widget._survey["state"] == "done"
        top = widget.survey.top("0", 4)
        assert [(one["value"], one["image"], one["row"], one["column"]) for one in answer["exemplars"]] == [
            (one.value, one.image, one.row, one.column) for one in top
        ]
        side = answer["side"]
        first = np.frombuffer(crops, np.uint8).reshape(len(top), side, side, 3)[0]
        box = top[0].box
        padded = np.pad(net.picture(pictures[top[0].image]), ((8, 8), (8, 8), (0, 0)), constant_values=128)
        truth = padded[box.top + 8 : box.bottom + 8, box.left + 8 : box.right + 8]
        small = np.asarray(Image.fromarray(first).resize(truth.shape[1::-1], Image.Resampling.BOX)).astype(float)
        assert np.abs(small - truth).mean() < 12

    def test_a_survey_of_another_network_is_refused(self, net, module, pictures):
        survey = cs.survey(net, pictures, progress=False)
        other = cs.Network(module[:5].append(torch.nn.Flatten()).eval(), input_size=32, name="other")
        with pytest.raises(cs.ArgumentError, match="Survey the pictures with this network"):
            cs.UnitPanel(other, survey=survey)

    def test_panel_needs_pictures_or_a_survey(self, net):
        with pytest.raises(cs.ArgumentError, match="survey"):
            cs.UnitPanel(net)

    def test_explorer_surveys_what_is_at_hand_and_goes_to_addresses(self, net, pictures, show):
        widget = show(cs.Explorer(net, pictures))
        assert widget.wait(60)
        assert widget.survey.seen.all()
        widget.address = "small/3/7"
        assert (widget.layer, widget.selected, widget.address) == ("3", 7, "small/3/7")
        widget.address = "0"
        assert (widget.layer, widget.selected) == ("0", None)
        for wrong in ["small", "3/x", "3/7/1", ""]:
            with pytest.raises(cs.ArgumentError, match="network/layer/unit"):
                widget.address = wrong
        assert widget.layer == "0"

    def test_a_page_opens_a_layer_on_a_unit_unless_one_is_selected(self, net, pictures, browser_end, show):
        widget = show(cs.UnitPanel(net, pictures, layer="0", channel=4))

        def opens(layer, channel):
            widget._handle_custom_msg({"kind": "open", "layer": layer, "channel": channel}, [])

        opens("0", 2)
        assert widget.selected == 4  # somebody's choice, which the page may not have heard of
        widget.selected = None
        opens("3", 1)
        assert widget.selected is None  # of a layer that is no longer looked at
        opens("0", 2)
        assert widget.selected == 2
        widget.selected = None
        opens("0", 400)
        (event,) = [content for content, _ in browser_end.received if content.get("event") == "error"]
        assert "Expected a unit of 0 from 0 to" in event["error"]["message"]
        assert widget.selected is None

    def test_a_failing_survey_is_shown(self, net, pictures, browser_end, show, monkeypatch):
        monkeypatch.setattr(net, "visit", lambda *a, **k: 1 / 0)
        widget = show(cs.UnitPanel(net, pictures, layer="0"))
        assert widget.wait(60)
        assert widget._survey["state"] == "failed"
        (event,) = [content for content, _ in browser_end.received if content.get("event") == "error"]
        assert event["error"]["name"] == "ZeroDivisionError"

    def test_a_quick_survey_is_evenly_spaced(self):
        assert list(spaced(100, 7)) == [0, 14, 28, 42, 57, 71, 85]
        assert list(spaced(5, 7)) == [0, 1, 2, 3, 4]


def test_bars_keep_every_picture_and_show_the_largest():
    edges = np.array([-1.0, -0.5, 0.5, 1.0, 2.0, 4.0])
    counts = np.array([0, 3, 10, 1, 2, 4, 0])
    heights, ends = bars(counts, edges)
    assert sum(heights) == counts.sum()
    assert heights == [13, 1, 2, 4]
    assert ends == [0.0, 0.5, 1.0, 2.0, 4.0]
    assert bars(np.array([2, 5, 0, 0, 0, 0, 0]), edges)[0] == [7]


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=30), st.floats(1e-6, 1))
def test_bars_of_a_signed_layer_hold_each_value_between_their_edges(values, scale):
    edges = histogram_edges().numpy()
    maxima = np.array(values, np.float32) * np.float32(scale)
    counts = np.bincount(np.searchsorted(edges, maxima, side="right"), minlength=len(edges) + 1)
    heights, ends = bars(counts, edges, signed=True)
    assert sum(heights) == len(values)
    assert 1 < len(heights) == len(ends) - 1 <= BARS
    assert np.all(np.diff(ends) > 0)
    # The open bins at the ends hold what is beyond.
    inside = np.clip(maxima, 2 * edges[0], np.nextafter(np.float32(2 * edges[-1]), np.float32(0)))
    assert np.array_equal(np.histogram(inside, ends)[0], heights)


def test_no_module_stands_where_a_function_should():
    # A module convscope.occlusion_map would take the place of the function as soon as it is imported.
    assert [name for name in cs.__all__ if isinstance(getattr(cs, name), types.ModuleType)] == []


class TestThePicturesAtHand:
    @pytest.fixture
    def folder(self, tmp_path):
        for name, colour in (("red", (200, 9, 9)), ("green", (9, 200, 9))):
            Image.new("RGB", (32, 32), colour).save(tmp_path / f"{name}.png")
        return tmp_path

    def add(self, widget, name, content):
        widget._handle_custom_msg({"kind": "add", "name": name}, [memoryview(content)])
        assert widget.wait(30)

    def test_the_same_file_twice_counts_once(self, net, folder, show):
        widget = show(cs.Explorer(net, folder))
        assert widget.wait(30)
        content = (folder / "red.png").read_bytes()
        self.add(widget, "again.png", content)
        names = [one.name for one in widget.images]
        assert names == ["green.png", "red.png"]
        assert widget.picture == names.index("red.png")
        Image.new("RGB", (32, 32), (9, 9, 200)).save(folder.parent / "blue.png")
        for _ in range(2):
            self.add(widget, "blue.png", (folder.parent / "blue.png").read_bytes())
            assert ([one.name for one in widget.images], widget.picture) == (["green.png", "red.png", "blue.png"], 2)
        assert int(widget.survey.seen.sum()) == 3

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda one: memoryview(bytearray(one)).cast("c")])
    def test_whatever_a_host_hands_over_as_binary_is_a_file(self, net, folder, show, kind):
        widget = show(cs.Explorer(net, folder))
        content = (folder / "red.png").read_bytes()
        widget._handle_custom_msg({"kind": "add", "name": "again.png"}, [kind(content)])
        assert widget.wait(30)
        assert [one.name for one in widget.images] == ["green.png", "red.png"]
        assert widget.picture == 1

    def test_a_picture_of_the_survey_is_looked_at_and_joins_those_at_hand_where_it_is_none(
        self, net, pictures, folder, show
    ):
        survey = cs.survey(net, folder, progress=False)
        widget = show(cs.Explorer(net, pictures[:2], survey))
        for image, expected in ((1, 2), (0, 3), (1, 2)):
            widget._handle_custom_msg({"kind": "look", "image": image}, [])
            assert widget.wait(30)
            assert widget.picture == expected
        assert [one.name for one in widget.images[2:]] == ["red.png", "green.png"]

    def test_of_the_photographs_that_come_along_crops_are_surveyed_which_a_patch_leads_to(self, net, show):
        widget = show(cs.Explorer(net))
        assert widget.wait(120)
        survey = widget.survey
        assert survey.images.cropped
        assert not widget.images.cropped
        assert survey.seen.all()
        images = [exemplar.image for exemplar in survey.top("3", 4)]
        overlap = survey.images.places.overlap(np.array(images)[:, None], np.array(images))
        assert (overlap == np.eye(9, dtype=bool)).all()
        before = len(widget.images)
        for _ in range(2):
            widget._handle_custom_msg({"kind": "look", "image": images[0]}, [])
            assert widget.wait(30)
            crop = widget.images[widget.picture]
            assert (crop.name, len(widget.images)) == (survey.images[images[0]].name, before + 1)
            np.testing.assert_array_equal(np.asarray(crop.image), np.asarray(survey.images[images[0]].image))
        assert widget.survey is survey  # it has seen that crop

    @pytest.mark.parametrize("own", [True, False])
    def test_a_picture_that_was_added_is_removed_and_everything_that_counts_pictures_follows(
        self, net, pictures, folder, browser_end, show, monkeypatch, own
    ):
        given = None if own else cs.survey(net, pictures[:2], progress=False)
        widget = show(cs.Explorer(net, pictures[:2], given, selected=3))
        assert widget.wait(30)
        for name in ("red", "green"):
            self.add(widget, f"{name}.png", (folder / f"{name}.png").read_bytes())
        widget.fill = "picture:3"
        assert widget.wait(30)
        red, green = (one["added"] for one in widget._pictures[2:])
        seen = [2, 3, 4] if own else [2, 2, 2]
        assert int(widget.survey.seen.sum()) == seen[2]
        revision = widget._revision
        for _ in range(2):  # the second time it is gone
            widget._handle_custom_msg({"kind": "remove", "added": red}, [])
            assert widget.wait(30)
        assert [one.name for one in widget.images[2:]] == ["green.png"]
        assert (widget.picture, widget.fill) == (2, "picture:2")
        assert widget._revision > revision
        assert int(widget.survey.seen.sum()) == seen[1]
        found, _ = browser_end.ask(widget, "occlude")
        same_frame(found, net.predict(widget.images[2].image), net.predict(widget.images[2].image))  # filled by itself
        widget._handle_custom_msg({"kind": "remove", "added": green}, [])
        assert widget.wait(30)
        assert ([len(widget.images), widget.picture, widget.fill], len(widget._pictures)) == ([2, 1, "grey"], 2)
        assert int(widget.survey.seen.sum()) == seen[0]
        # One that comes back is not looked through twice, and has the place that it had.
        self.add(widget, "green.png", (folder / "green.png").read_bytes())
        self.add(widget, "red.png", (folder / "red.png").read_bytes())
        if own:
            assert int(widget.survey.seen.sum()) == 4
            assert [one.name for one in widget.survey.images[2:]] == ["red.png", "green.png"]
            plain = cs.survey(net, [*pictures[:2], folder / "red.png", folder / "green.png"], progress=False)
            for channel in range(20):
                np.testing.assert_allclose(
                    [one[:4] for one in widget.survey.top("3", channel)],
                    [one[:4] for one in plain.top("3", channel)],
                    rtol=1e-5,
                )
        monkeypatch.setattr("convscope.panes.pictures.STRIP", 1)  # of many given ones only the first are shown small
        thumbnails, (tiles,) = browser_end.ask(widget, "thumbnails")
        assert thumbnails["pictures"] == [0, 3]
        assert len(tiles) == 2 * thumbnails["side"] ** 2 * 3
        for index in (0, 1, 4, -1, True):
            with pytest.raises(cs.ArgumentError, match=r"picture that was added, 2 to 3, got"):
                widget.remove_picture(index)


def test_pictures_that_cannot_be_read_are_passed_by_wherever_they_are(net, show, browser_end, damaged):
    widget = show(cs.Explorer(net, damaged))
    assert widget.wait(30)
    assert (widget.picture, widget.images[1].name) == (1, "1.png")
    answer, (tiles,) = browser_end.ask(widget, "thumbnails")
    assert (answer["pictures"], sorted(answer["unread"])) == ([1, 3], ["0", "2"])
    assert len(tiles) == 2 * answer["side"] ** 2 * 3
    assert "0.png" in answer["unread"]["0"]
    assert [one.image for one in widget.survey.skipped] == [0, 2]
    with pytest.raises(cs.ImageError, match=r"0\.png"):
        cs.Explorer(net, damaged, picture=0)
    for name in ("1.png", "3.png"):
        (damaged / name).write_bytes(b"")
    with pytest.raises(cs.ImageError, match=r"0\.png"):
        cs.Explorer(net, damaged)


def test_the_number_of_surveyed_pictures_is_of_those_that_were_read(net, show, damaged, tmp_path_factory):
    more = tmp_path_factory.mktemp("more") / "more.png"
    Image.new("RGB", (32, 32)).save(more)
    widget = show(cs.Explorer(net, damaged))
    assert widget.wait(30)
    counts = [(widget._survey["images"], widget._survey["skipped"])]
    widget._handle_custom_msg({"kind": "add", "name": "more.png"}, [memoryview(more.read_bytes())])
    assert widget.wait(30)
    counts.append((widget._survey["images"], widget._survey["skipped"]))
    assert counts == [(2, 2), (3, 2)]
    again = show(cs.HealthView(net, survey=widget.survey))
    assert (again._survey["images"], again._survey["skipped"]) == (3, 2)

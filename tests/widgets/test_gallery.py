"""The gallery from the kernel's side: what is computed, kept, cancelled, refused and answered."""

from __future__ import annotations

import dataclasses
import json
import math
import re

import numpy as np
import pytest
import torch
import traitlets
from torch import nn

import convscope as cs
from convscope.panes.gallery import columns
from convscope.panes.gallery import pane as gallery_module
from convscope.panes.gallery.tile import is_turned

NAMES = ["gradient", "deconvnet", "guided_backprop", "input_times_gradient"]


@pytest.fixture
def gallery(net, pictures, show):
    return show(cs.Gallery(net, pictures[:2], NAMES))


@pytest.fixture
def computed(monkeypatch):
    """Every map that is computed: (network, method, class)."""
    made = []
    real = gallery_module.attribute_tensor

    def counting(net, x, method, target, **options):
        made.append((net.name, method, target))
        return real(net, x, method, target, **options)

    monkeypatch.setattr(gallery_module, "attribute_tensor", counting)
    return made


@pytest.fixture(scope="module")
def silu():
    """A network with operations that deconvnet says nothing about."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2), nn.SiLU(), nn.Conv2d(8, 12, 3), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(12, 4),
    )  # fmt: skip
    return cs.Network(module.eval(), input_size=32, name="smooth")


def maps(browser_end, gallery, **content):
    """The gallery's answer as the front end reads it: {(row, method, control): (fields, values)}."""
    answer, buffers = browser_end.ask(gallery, "tiles", **content)
    buffers, found = iter(buffers), {}
    for one in answer["tiles"]:
        values = None
        if one.get("new") and not one["error"]:
            steps = np.frombuffer(next(buffers), "<i2").reshape(one["depth"], one["height"], one["width"])
            values = steps * one["limit"] / 32767
        found[one["row"], one["method"], one["control"]] = (one, values)
    assert next(buffers, None) is None
    return answer, found


def test_shows_what_attribute_computes_for_the_most_probable_class(net, pictures, gallery, browser_end):
    assert gallery.wait(60)
    assert gallery._tiles["state"] == "done"
    assert gallery._tiles["done"] == gallery._tiles["total"] == 16
    answer, found = maps(browser_end, gallery)
    for row in (0, 1):
        index = net.predict(pictures[row]).index
        assert answer["targets"][row]["label"] == f"class {index}"
        for name in NAMES:
            truth = cs.attribute(net, pictures[row], name, index)
            np.testing.assert_array_equal(gallery.attribution(row, name).values, truth.values)
            fields, values = found[row, name, False]
            shown = truth.values if truth.group == "signal" else truth.heatmap[None]
            assert values.shape == shown.shape
            np.testing.assert_allclose(values, shown, atol=np.abs(shown).max() / 60000)
            assert fields["strong"] == pytest.approx(np.percentile(np.abs(shown), 99.5), rel=1e-6)
            assert (fields["target"], fields["score"]) == (index, truth.score)
            assert (fields["brief"], fields["account"]) == (truth.conservation.brief, str(truth.conservation))


def test_a_class_that_speaks_against_itself_is_told(net, pictures, browser_end):
    scores, _ = net.forward(net.prepare(pictures[0]))
    worst = int(scores.argmin())
    gallery = cs.Gallery(net, pictures[:1], ["gradient", "deconvnet"], target=worst, control=False)
    assert gallery.wait(60)
    _, found = maps(browser_end, gallery)
    assert float(scores.min()) < 0
    for name in ("gradient", "deconvnet"):
        (note,) = found[0, name, False][0]["notes"]
        assert "speaks against itself" in note
    assert "starts from one" in found[0, "deconvnet", False][0]["notes"][0]


def test_controls_are_the_same_class_of_the_randomised_network(net, pictures, gallery, browser_end):
    assert gallery.wait(60)
    other = cs.randomised(net, 0.5, 0)
    _, found = maps(browser_end, gallery)
    for row in (0, 1):
        for name in NAMES:
            map_of = gallery.attribution(row, name)
            truth = cs.attribute(other, pictures[row], name, map_of.target)
            np.testing.assert_array_equal(gallery.attribution(row, name, control=True).values, truth.values)
            rho = cs.similarity(map_of.values, truth.values)
            assert gallery.similarities[row, name] == rho
            assert found[row, name, True][0]["rho"] == rho
            # Of magnitudes: what it does not see, signs that are exchanged, is told beside it.
            a, b = (one.values.sum(0, dtype=float).ravel() for one in (map_of, truth))
            cosine = a @ b / np.sqrt((a @ a) * (b @ b))
            assert found[row, name, True][0]["turned"] == (cosine < -0.5)
    assert len(set(gallery.similarities.values())) > 4


def test_a_map_with_its_signs_exchanged_is_told_from_the_map_though_all_magnitudes_are_the_same(net, pictures):
    made = cs.attribute(net, pictures[0], "gradient")
    other = dataclasses.replace(made, values=-3 * made.values)
    assert cs.similarity(made.values, other.values) == 1
    assert is_turned(made, other)
    assert not is_turned(made, made)
    none = dataclasses.replace(made, values=np.zeros_like(made.values))
    assert not is_turned(made, none)


def test_columns_are_grouped_and_default_to_what_the_network_supports(net, silu, pictures, show):
    columns = show(cs.Gallery(net, pictures[0]))._columns
    order = ["function", "signal", "attribution"]
    assert [c["group"] for c in columns] == sorted((c["group"] for c in columns), key=order.index)
    assert set(NAMES) <= {c["name"] for c in columns}
    assert show(cs.Gallery(net, pictures[0], "gradient")).methods == ["gradient"]
    gallery = show(cs.Gallery(silu, pictures[0]))
    supported = {m.name for m in cs.methods(silu) if m.supported}
    assert {c["name"] for c in gallery._columns} == supported
    refused = {r["name"]: r for r in gallery._refused}
    assert "silu" in refused["deconvnet"]["reason"]
    assert refused["deconvnet"]["extension"] == "rectify"
    assert refused["deconvnet"]["kind"] == "network"


def test_more_methods_than_fit_are_named_and_those_that_take_long_give_way(net, pictures, show, monkeypatch):
    monkeypatch.setattr(columns, "COLUMNS", 2)
    monkeypatch.setattr(columns, "takes_many_passes", lambda method: method.name == "gradient")
    gallery = show(cs.Gallery(net, pictures[0]))
    assert len(gallery._columns) == 2
    assert "gradient" not in {c["name"] for c in gallery._columns}
    (gradient,) = [r for r in gallery._refused if r["name"] == "gradient"]
    assert (gradient["kind"], gradient["extension"]) == ("more", None)


def test_an_extension_is_computed_when_asked_for_and_labelled(silu, pictures, show):
    gallery = show(cs.Gallery(silu, pictures[0], ["gradient", "deconvnet"]))
    assert gallery.wait(60)
    assert gallery.attribution(0, "deconvnet") is None
    gallery.extended = ["deconvnet"]
    assert gallery.wait(60)
    assert {one["kind"] for one in gallery._refused} <= {"more", "patterns"}  # what was not asked for
    assert gallery._refused
    (column,) = [c for c in gallery._columns if c["name"] == "deconvnet"]
    assert column["extended"] == {"how": "rectify", "where": "silu (×2)"}
    truth = cs.attribute(silu, pictures[0], "deconvnet", extension="rectify")
    np.testing.assert_array_equal(gallery.attribution(0, "deconvnet").values, truth.values)
    # A method that needs none is the published one all the same.
    gallery.extended = ["deconvnet", "gradient"]
    assert [c["extended"] is None for c in gallery._columns] == [True, False]


def test_options_reach_the_method(net, pictures, show):
    gallery = show(cs.Gallery(net, pictures[0], ["deconvnet"], options={"deconvnet": {"switches": False}}))
    assert gallery.wait(60)
    truth = cs.attribute(net, pictures[0], "deconvnet", switches=False)
    np.testing.assert_array_equal(gallery.attribution(0, "deconvnet").values, truth.values)


class TestClasses:
    def test_each_row_keeps_its_own(self, net, pictures, gallery, computed):
        assert gallery.wait(60)
        computed.clear()
        gallery.targets = [3, None]
        assert gallery.wait(60)
        assert {target for _, _, target in computed} == {3}
        assert len(computed) == 8
        truth = cs.attribute(net, pictures[0], "gradient", 3)
        np.testing.assert_array_equal(gallery.attribution(0, "gradient").values, truth.values)
        computed.clear()
        gallery.targets = [None, None]
        assert gallery.wait(60)
        assert computed == []

    def test_target_sets_all(self, net, pictures, gallery, show):
        gallery.target = "class 5"
        assert gallery.targets == [5, 5]
        assert show(cs.Gallery(net, pictures[:3], NAMES[:1], target=2)).targets == [2, 2, 2]
        gallery.target = None
        assert gallery.targets == [None, None]

    def test_rows_say_the_five_most_probable(self, net, pictures, gallery, browser_end):
        answer, buffers = browser_end.ask(gallery, "rows")
        for row, (fields, pixels) in enumerate(zip(answer["rows"], buffers, strict=True)):
            top = net.predict(pictures[row]).top(5)
            assert [(c["label"], c["probability"]) for c in fields["classes"]] == top
            np.testing.assert_array_equal(np.frombuffer(pixels, np.uint8), net.picture(pictures[row]).ravel())


class TestControl:
    def test_without_it_nothing_is_randomised(self, net, pictures, show, computed):
        gallery = show(cs.Gallery(net, pictures[0], NAMES, control=False))
        assert gallery.wait(60)
        assert {name for name, _, _ in computed} == {"small"}
        assert gallery.similarities == {}
        gallery.control = True
        assert gallery.wait(60)
        assert len(gallery.similarities) == 4

    def test_another_share_computes_the_controls_alone(self, net, gallery, computed):
        assert gallery.wait(60)
        before = gallery.similarities
        computed.clear()
        gallery.top = 1.0
        assert gallery.wait(60)
        assert len(computed) == 8
        assert {name for name, _, _ in computed} == {cs.randomised(net, 1.0).name}
        assert gallery.similarities != before


def test_changing_how_maps_are_shown_computes_nothing(gallery, computed):
    assert gallery.wait(60)
    computed.clear()
    revision = gallery._tiles["revision"]
    gallery.opacity, gallery.scale_by, gallery.colours = 0.3, "map", "purple-green"
    assert gallery.wait(60)
    assert computed == []
    assert gallery._tiles["revision"] == revision


def test_only_new_maps_are_sent(gallery, browser_end):
    assert gallery.wait(60)
    _, found = maps(browser_end, gallery)
    have = [fields["number"] for fields, _ in found.values()]
    answer, again = maps(browser_end, gallery, have=have[:-1])
    assert [key for key, (_, values) in again.items() if values is not None] == [list(found)[-1]]
    assert set(again) == set(found)
    assert not answer["more"]


def test_many_maps_come_in_several_answers(gallery, browser_end, monkeypatch):
    monkeypatch.setattr(gallery_module, "ANSWER", 20_000)
    assert gallery.wait(60)
    have, rounds, more = set(), 0, True
    while more:
        answer, found = maps(browser_end, gallery, have=list(have))
        transferred = {fields["number"] for fields, values in found.values() if values is not None}
        assert transferred
        assert not transferred & have
        have |= transferred
        more, rounds = answer["more"], rounds + 1
    assert len(have) == 16
    assert rounds > 2


def test_an_error_is_the_tiles_own_and_the_rest_goes_on(net, pictures, show, browser_end, monkeypatch):
    real = gallery_module.attribute_tensor

    def breaking(net, x, method, target, **options):
        if method == "deconvnet":
            raise RuntimeError("the lamp went out")
        return real(net, x, method, target, **options)

    monkeypatch.setattr(gallery_module, "attribute_tensor", breaking)
    gallery = show(cs.Gallery(net, pictures[0], NAMES))
    assert gallery.wait(60)
    assert (gallery._tiles["state"], gallery._tiles["failed"]) == ("failed", 2)
    _, found = maps(browser_end, gallery)
    assert found[0, "deconvnet", False][0]["error"]["message"] == "the lamp went out"
    assert sum(values is not None for _, values in found.values()) == 6
    monkeypatch.undo()
    gallery.start()
    assert gallery.wait(60)
    assert gallery._tiles["state"] == "done"
    assert gallery.attribution(0, "deconvnet") is not None


def test_what_failed_before_there_was_a_view_is_told_to_it(net, pictures, show, browser_end, monkeypatch):
    def breaking(self, row):
        raise RuntimeError("the lamp went out")

    monkeypatch.setattr(cs.Gallery, "_prediction", breaking)
    gallery = show(cs.Gallery(net, pictures[0], ["gradient"]))
    assert gallery.wait(60)
    assert gallery._tiles["state"] == "failed"

    def told():
        browser_end.received.clear()
        gallery._handle_custom_msg({"kind": "hello", "client": "test"}, [])
        return [one["error"]["message"] for one, _ in browser_end.received if one.get("event") == "error"]

    assert told() == ["the lamp went out"]
    monkeypatch.undo()
    monkeypatch.setattr(cs.Gallery, "send", lambda self, content, buffers=None: None)
    gallery.start()
    assert gallery.wait(60)
    assert gallery._failures == {}
    assert gallery._tiles["state"] == "done"


def test_values_that_are_no_numbers_are_an_error(net, pictures, show, monkeypatch):
    real = gallery_module.attribute_tensor

    def spoiled(*args, **options):
        found = real(*args, **options)
        found.values[:] = np.nan
        return found

    monkeypatch.setattr(gallery_module, "attribute_tensor", spoiled)
    gallery = show(cs.Gallery(net, pictures[0], ["gradient"], control=False))
    assert gallery.wait(60)
    assert gallery._tiles["failed"] == 1


def test_a_map_without_order_has_no_similarity(pictures, show, browser_end):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 2))
    with torch.no_grad():
        flat[1].weight.fill_(0)
    gallery = show(cs.Gallery(cs.Network(flat.eval(), input_size=(3, 32, 32)), pictures[0], ["gradient"]))
    assert gallery.wait(60)
    assert math.isnan(gallery.similarities[0, "gradient"])
    _, found = maps(browser_end, gallery)
    fields, values = found[0, "gradient", False]
    assert fields["limit"] == 0
    assert not values.any()
    assert found[0, "gradient", True][0]["rho"] is None


def test_cancelled_keeps_what_is_computed_and_goes_on(net, pictures, show, monkeypatch, computed):
    compute = cs.Gallery._compute

    def stopping(self, place, key):
        if len(computed) == 3:
            self._handle_custom_msg({"kind": "cancel"}, [])
        return compute(self, place, key)

    monkeypatch.setattr(cs.Gallery, "_compute", stopping)
    gallery = show(cs.Gallery(net, pictures[:2], NAMES))
    assert gallery.wait(60)
    assert gallery._tiles["state"] == "cancelled"
    assert len(computed) == gallery._tiles["done"] == 4
    monkeypatch.setattr(cs.Gallery, "_compute", compute)
    gallery._handle_custom_msg({"kind": "compute", "id": 1, "client": "test"}, [])
    assert gallery.wait(60)
    assert gallery._tiles["done"] == len(computed) == 16


def test_methods_that_take_long_come_last_and_controls_after_all(net, pictures, show, monkeypatch, computed):
    monkeypatch.setattr(gallery_module, "takes_many_passes", lambda method: method.name == "gradient")
    gallery = show(cs.Gallery(net, pictures[:2], NAMES))
    assert gallery.wait(60)
    assert [method for _, method, _ in computed[:8]] == [*(2 * NAMES[1:]), "gradient", "gradient"]
    assert {name for name, _, _ in computed[:8]} == {"small"}


def test_at_most_twelve_pictures_are_shown(net, pictures, show, browser_end):
    gallery = show(cs.Gallery(net, [*pictures, *pictures[:3]], ["gradient"], control=False))
    assert len(gallery.images) == len(gallery.targets) == 12
    assert browser_end.ask(gallery, "rows")[0]["given"] == 14


@pytest.mark.parametrize(
    ("options", "error", "expected"),
    [
        ({"methods": ["gradeint"]}, cs.ArgumentError, "gradient"),
        ({"target": 7}, cs.ArgumentError, "0 to 6"),
        ({"targets": [1, 2]}, traitlets.TraitError, "each of the 1"),
        ({"extended": ["nothing"]}, cs.ArgumentError, "name of a method"),
        ({"options": {"deconvnet": {"swiches": True}}}, cs.ArgumentError, "swiches"),
        ({"top": 1.5}, traitlets.TraitError, "top"),
        ({"scale_by": "row"}, traitlets.TraitError, "scale_by"),
        ({"colors": "red"}, TypeError, "colors"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_impossible_settings_are_refused_before_any_work(net, pictures, computed, options, error, expected):
    with pytest.raises(error, match=expected):
        cs.Gallery(net, pictures[0], **options)
    assert computed == []


def test_pictures_that_cannot_be_read_are_passed_by_and_all_of_them_refused(net, show, browser_end, damaged):
    gallery = show(cs.Gallery(net, damaged, ["gradient"], control=False))
    assert [one.name for one in gallery.images] == ["1.png", "3.png"]
    answer, (first, _) = browser_end.ask(gallery, "rows")
    assert ([row["name"] for row in answer["rows"]], answer["given"]) == (["1.png", "3.png"], 4)
    assert [name for name, error in answer["unread"] if name in error] == ["0.png", "2.png"]
    np.testing.assert_array_equal(np.frombuffer(first, np.uint8), net.picture(damaged / "1.png").ravel())
    gallery._forget()  # reads them again
    assert browser_end.ask(gallery, "rows")[1][0] == first
    for name in ("1.png", "3.png"):
        (damaged / name).write_bytes(b"no picture")
    with pytest.raises(cs.ImageError, match=r"0\.png"):
        cs.Gallery(net, damaged)


def test_a_saved_page_holds_all_maps_and_pictures(gallery):
    assert gallery.wait(60)
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', gallery.to_html(), re.DOTALL)[1])
    assert [c["name"] for c in saved["state"]["_columns"]] == [c["name"] for c in gallery._columns]
    answers = {one["content"]["kind"]: one for one in saved["answers"]}
    assert len(answers["tiles"]["buffers"]) == 16
    assert len(answers["rows"]["buffers"]) == 2


def test_memory_is_freed_and_made_again(net, pictures, gallery):
    assert gallery.wait(60)
    gallery._handle_custom_msg({"kind": "release"}, [])
    assert gallery._inputs == {}
    assert gallery._controls is None
    gallery.targets = [1, 1]
    assert gallery.wait(60)
    assert gallery.attribution(1, "gradient").target == 1


def test_a_row_is_named_by_what_its_picture_is_known_to_be(net, pictures, show, browser_end):
    labels = ("n02123045", "a cup", None)
    images = [cs.Picture(one, f"{n}.png", label) for n, (one, label) in enumerate(zip(pictures, labels, strict=False))]
    gallery = show(cs.Gallery(net, images, ["gradient"], control=False))
    rows = browser_end.ask(gallery, "rows")[0]["rows"]
    assert [(row["name"], row["label"]) for row in rows] == [("0.png", "tabby"), ("1.png", "a cup"), ("2.png", None)]


class Arriving(dict):
    """Maps of which one more is there at each look, as while the worker computes them."""

    def __init__(self, tiles, there):
        super().__init__(tiles)
        self.there = there

    def get(self, key, default=None):
        tile = super().get(key, default) if key in list(self)[: self.there] else default
        self.there += 1
        return tile


@pytest.mark.parametrize("scale_by", ["method", "group", "map"])
@pytest.mark.parametrize("backwards", [False, True])
def test_what_is_drawn_while_maps_arrive_is_of_one_moment(gallery, scale_by, backwards):
    assert gallery.wait(60)
    gallery.scale_by = scale_by
    tiles = dict(reversed(gallery._computed.items()) if backwards else gallery._computed)
    for there in range(len(tiles)):
        gallery._computed = Arriving(tiles, there)
        gallery.still()
        gallery._computed = Arriving(tiles, there)
        strips = gallery._rows_figure(range(2)) if there else []  # of none there is no figure
        for maps, controls in zip(strips[::2], strips[1::2], strict=True):
            for strip, word in ((maps, "±"), (controls, "ρ =")):
                for drawing, caption in zip(strip.pictures[1:], strip.captions[1:], strict=True):
                    missing = drawing is gallery_module.NOTHING
                    assert ("not computed yet" in caption) == missing
                    assert (word in caption) != missing


def test_start_may_drop_failed_maps_while_the_worker_makes_room(gallery, monkeypatch):
    class Dropping(dict):
        """Loses its first map to `start` when the worker looks which that is."""

        def __iter__(self):
            first = next(super().__iter__())
            del self[first]
            return iter([first])

    assert gallery.wait(60)
    monkeypatch.setattr(gallery_module, "KEPT", 1)
    count = 2 * len(gallery._places())
    gallery._computed = Dropping(dict(enumerate([*gallery._computed.values()] * 2)))
    assert len(gallery._computed) == count
    gallery.start()
    assert gallery.wait(60)
    assert gallery._tiles["state"] == "done"
    assert len(gallery._computed) == count

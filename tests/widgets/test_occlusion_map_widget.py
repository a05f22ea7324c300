"""The linked maps from the kernel's side: what is computed, kept, cancelled, followed and answered."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import traitlets

import convscope as cs
from convscope_core.graph.regions import Regions


@pytest.fixture
def maps(net, pictures, show):
    return show(cs.OcclusionMap(net, pictures[0], size=8, stride=4))


@pytest.fixture
def counted(monkeypatch):
    """How many positions have been computed."""
    sweep, done = Regions.sweep, []

    def counting(self, *args, **kwargs):
        for step in sweep(self, *args, **kwargs):
            done.extend(step[0])
            yield step

    monkeypatch.setattr(Regions, "sweep", counting)
    return done


def same(one, other):
    np.testing.assert_allclose(one.probability, other.probability, atol=1e-5)
    np.testing.assert_allclose(one.activity, other.activity, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(one.label, other.label)


def test_shows_what_occlusion_map_computes(net, pictures, maps):
    assert maps.wait(60)
    truth = cs.occlusion_map(net, pictures[0], 8, 4, progress=False)
    assert maps.result.complete
    assert maps.result.label.shape == (7, 7)
    same(maps.result, truth)
    assert maps.result.layer == truth.layer == maps.layer
    assert maps._map["state"] == "done"
    assert maps._map["done"] == maps._map["total"] == 49


def test_usual_size_and_stride_are_the_papers_share_of_the_picture(net, pictures, show):
    maps = show(cs.OcclusionMap(net, pictures[0]))
    assert (maps.size, maps.stride) == (7, 1)


@pytest.mark.parametrize(
    "change",
    [{"fill": "blur"}, {"shape": "ellipse"}, {"size": (6, 10)}, {"stride": 6}, {"layer": "0"}],
    ids=lambda change: next(iter(change)),
)
def test_follows_its_settings_and_keeps_the_maps_before(net, pictures, maps, counted, change):
    assert maps.wait(60)
    first = maps.result
    before = {name: getattr(maps, name) for name in change}
    maps.set_trait(*next(iter(change.items())))
    assert maps.wait(60)
    settings = {"size": 8, "stride": 4} | change
    same(maps.result, cs.occlusion_map(net, pictures[0], progress=False, **settings))
    counted.clear()
    maps.set_trait(*next(iter(before.items())))
    assert maps.wait(60)
    same(maps.result, first)
    assert counted == []


def test_another_class_or_map_is_followed_without_computing(net, pictures, maps, counted):
    assert maps.wait(60)
    counted.clear()
    maps.target = "class 5"
    maps.channel = 11
    assert maps.wait(60)
    assert counted == []
    truth = cs.occlusion_map(net, pictures[0], 8, 4, target=5, channel=11, progress=False)
    same(maps.result, truth)


def test_cancelled_maps_are_kept_and_gone_on_with(net, pictures, show, monkeypatch, counted):
    maps = show(cs.OcclusionMap(net, pictures[0], size=8, stride=2))
    stop_after(maps, monkeypatch, 20)
    assert maps.wait(60)
    assert maps._map["state"] == "cancelled"
    kept = maps.result
    assert 20 <= kept.computed.sum() < kept.label.size
    counted.clear()
    monkeypatch.undo()
    maps.start()
    assert maps.wait(60)
    assert maps.result.complete
    same(maps.result, cs.occlusion_map(net, pictures[0], 8, 2, progress=False))
    np.testing.assert_array_equal(maps.result.probability[kept.computed], kept.probability[kept.computed])


def stop_after(maps, monkeypatch, positions):
    """Cancel as soon as so many positions are computed."""
    keep = maps._keep

    def keeping(setting, result):
        keep(setting, result)
        if result.computed.sum() >= positions:
            maps.cancel()

    monkeypatch.setattr(maps, "_keep", keeping)


def test_an_error_is_shown_and_keeps_what_is_computed(net, pictures, browser_end, show, monkeypatch):
    sweep = Regions.sweep

    def breaking(self, positions, *args, **kwargs):
        if len(positions) > 10:
            raise RuntimeError("the lamp went out")
        yield from sweep(self, positions, *args, **kwargs)

    monkeypatch.setattr(Regions, "sweep", breaking)
    maps = show(cs.OcclusionMap(net, pictures[0], size=8, stride=2))
    assert maps.wait(60)
    (error,) = [one["error"] for one, _ in browser_end.received if one.get("event") == "error"]
    assert (error["name"], error["message"]) == ("RuntimeError", "the lamp went out")
    assert maps._map["state"] == "failed"
    assert 0 < maps.result.computed.sum() < maps.result.label.size


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("stride", 0, "at least 1"),
        ("size", 33, "32"),
        ("size", 0, "32"),
        ("size", "large", r"size, a side or \(height, width\), in whole numbers, got 'large'"),
        ("size", float("nan"), "whole numbers, got nan"),
        ("size", (1, 2, 3), r"a side or \(height, width\), got \(1, 2, 3\)"),
        ("target", 7, "0 to 6"),
        ("layer", "nothing", "nothing"),
        ("channel", 20, "0 to 19"),
        ("fill", "chessboard", "grey"),
    ],
)
def test_impossible_settings_are_refused_before_any_work(net, pictures, counted, option, value, expected):
    with pytest.raises((traitlets.TraitError, cs.ConvscopeError), match=expected):
        cs.OcclusionMap(net, pictures[0], **({"size": 8} | {option: value}))
    assert counted == []


def test_a_map_that_the_new_layer_has_not_is_forgotten(maps):
    maps.channel = 19
    maps.layer = "0"
    assert maps.channel is None


class TestAnswers:
    def planes(self, answer, buffers):
        shape = (answer["rows"], answer["columns"])
        kinds = (np.float32, np.float32, np.int32)
        return [np.frombuffer(b, k).reshape(shape) for b, k in zip(buffers, kinds, strict=True)]

    def test_hold_the_result(self, maps, browser_end):
        assert maps.wait(60)
        answer, buffers = browser_end.ask(maps, "map")
        probability, activity, label = self.planes(answer, buffers)
        result = maps.result
        np.testing.assert_array_equal(probability, result.probability)
        np.testing.assert_array_equal(activity, result.activity.astype(np.float32))
        np.testing.assert_array_equal(label, result.label)
        assert answer["tops"] == answer["lefts"] == list(range(0, 25, 4))
        assert set(answer["labels"]) == {str(one) for one in np.unique(label)}
        assert answer["clean"]["probability"] == pytest.approx(result.clean.probability)
        assert not answer["preview"]

    def test_a_request_says_which_class_and_map_it_means(self, maps, browser_end):
        assert maps.wait(60)
        answer, buffers = browser_end.ask(maps, "map", target=2, channel=4)
        followed = maps.result.follow(2, 4)
        probability, activity, _ = self.planes(answer, buffers)
        np.testing.assert_array_equal(probability, followed.probability)
        np.testing.assert_array_equal(activity, followed.activity.astype(np.float32))
        assert (answer["target"]["label"], answer["unit"]) == ("class 2", 4)

    def test_settings_without_a_map_have_none(self, maps, browser_end):
        assert maps.wait(60)
        assert browser_end.ask(maps, "map", stride=13)[0]["rows"] == 0

    def test_before_the_first_exact_value_there_is_a_preview(self, net, pictures, show, browser_end, monkeypatch):
        sweep = Regions.sweep
        seen = []

        def looking(self, *args, **kwargs):
            seen.append(maps._answer("map", {}))
            yield from sweep(self, *args, **kwargs)

        monkeypatch.setattr(Regions, "sweep", looking)
        maps = show(cs.OcclusionMap(net, pictures[0], size=8, stride=4))
        assert maps.wait(60)
        answer, buffers = seen[0]
        probability, activity, label = self.planes(answer, buffers)
        assert answer["preview"]
        assert np.isfinite(probability).all()
        assert np.isfinite(activity).all()
        assert (label == -1).all()
        # The estimate is not what is found, but nearer to it than the clean picture's probability is.
        truth = maps.result
        guess = np.abs(probability - truth.probability).mean()
        assert guess < np.abs(truth.clean.probability - truth.probability).mean()

    def test_the_browser_can_go_on_with_what_was_cancelled(self, net, pictures, show, browser_end, monkeypatch):
        maps = show(cs.OcclusionMap(net, pictures[0], size=8, stride=2))
        stop_after(maps, monkeypatch, 20)
        assert maps.wait(60)
        monkeypatch.undo()
        assert maps._map["state"] == "cancelled"
        maps._handle_custom_msg({"kind": "compute", "id": 1, "client": "test"}, [])
        assert maps.wait(60)
        assert maps.result.complete

    def test_the_browser_cancels(self, maps):
        maps._handle_custom_msg({"kind": "cancel"}, [])
        assert maps._map_job.stopped.is_set()


def test_a_saved_page_holds_the_maps(maps):
    assert maps.wait(60)
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', maps.to_html(), re.DOTALL)[1])
    assert saved["state"]["_map"]["state"] == "done"
    (answer,) = [one for one in saved["answers"] if one["content"]["kind"] == "map"]
    assert answer["content"]["rows"] == 7
    assert len(answer["buffers"]) == 3


def test_close_ends_the_map(net, pictures):
    maps = cs.OcclusionMap(net, pictures[0], size=8, stride=1)
    maps.close()
    assert maps.wait(60)
    assert not maps._worker.alive or not maps._worker._jobs

"""The evolution of units: what is shown is what the checkpoints say; a training does not notice that it is watched."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import traitlets
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import convscope as cs
from convscope.panes.evolution import orders
from convscope_core.evolution import evolving

SIDE = 16
EPOCHS = 3


def module() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(125, 3)
    )


@pytest.fixture(scope="module")
def pictures() -> list[cs.Picture]:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(20)]
    return [cs.Picture(one, f"{place}.png", "ab"[place % 2], None) for place, one in enumerate(pixels)]


def train(net: nn.Module, recorder: cs.EvolutionRecorder | None = None, epochs: int = EPOCHS) -> None:
    """A few updates of large steps, so that winners change."""
    optimiser = torch.optim.SGD(net.parameters(), 0.5)
    generator = torch.Generator().manual_seed(1)
    for epoch in range(1, epochs + 1):
        x, y = torch.randn(8, 3, SIDE, SIDE, generator=generator), torch.arange(8) % 3
        loss = nn.functional.cross_entropy(net(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if recorder is not None:
            recorder.step(epoch=epoch)


def recorder_of(net: nn.Module, **options: Any) -> cs.EvolutionRecorder:
    return cs.EvolutionRecorder(net, **{"at": range(EPOCHS + 1), "input_size": SIDE, "name": "small", **options})


@pytest.fixture(scope="module")
def result(pictures: list[cs.Picture]) -> cs.EvolutionResult:
    net = module()
    recorder = recorder_of(net)
    train(net, recorder)
    return cs.evolution(recorder, pictures, progress=False)


Show = Callable[[Any], Any]


def test_winners_are_those_of_a_search_through_all_pictures(
    result: cs.EvolutionResult, pictures: list[cs.Picture], browser_end: Any, show: Show
) -> None:
    view = show(cs.Evolution(result, layer="3"))
    answer, (value, image, jump, *found) = browser_end.ask(view, "winners", layer="3")
    assert (answer["ok"], answer["channels"]) == (True, 5)
    shape = (EPOCHS + 1, 5)
    value, image = np.frombuffer(value, np.float32).reshape(shape), np.frombuffer(image, np.int32).reshape(shape)
    jump = np.frombuffer(jump, np.uint8).reshape(shape)
    for index in range(EPOCHS + 1):
        net = result.network(index)
        peaks = np.stack([net.activations(one.image, "3")["3"][0].flatten(1).amax(1).numpy() for one in pictures])
        alive = peaks.max(0) > 0
        np.testing.assert_allclose(value[index], peaks.max(0), rtol=1e-5)
        np.testing.assert_array_equal(image[index][alive], peaks.argmax(0)[alive])
        assert (image[index][~alive] == -1).all()
    np.testing.assert_array_equal(jump[1:], image[1:] != image[:-1])
    assert 0 < jump.sum() < jump[1:].size
    assert [np.frombuffer(one, np.int32).tolist() for one in found] == [
        one.tolist() for one in orders(value, jump).values()
    ]


def test_a_cell_is_the_winner_projected_with_the_weights_of_its_checkpoint(
    result: cs.EvolutionResult, pictures: list[cs.Picture], browser_end: Any, show: Show
) -> None:
    view = show(cs.Evolution(result, layer="3"))
    winners = result.winners("3")
    index = 1
    unit = int(np.argmax(winners.value[index]))
    answer, (shades, crops) = browser_end.ask(view, "cells", layer="3", checkpoint=index, channels=[unit])
    image = int(winners.image[index, unit])
    place = int(winners.row[index, unit]), int(winners.column[index, unit])
    truth = cs.project(result.network(index), pictures[image], "3", unit, place, view.method)
    side = answer["side"]
    tile = np.frombuffer(shades, np.int8).reshape(side, side, 3)
    # A field of a few pixels is enlarged pixel by pixel: the middle of each has its value.
    _, height, width = truth.values.shape
    rows, columns = ((np.arange(count) + 0.5) * side / count for count in (height, width))
    middle = tile[rows.astype(int)[:, None], columns.astype(int)].astype(float) * answer["peaks"][0] / 127
    np.testing.assert_allclose(
        middle.clip(-answer["peaks"][0], answer["peaks"][0]),
        np.moveaxis(truth.values, 0, -1).clip(-answer["peaks"][0], answer["peaks"][0]),
        atol=answer["peaks"][0] / 120,
    )
    assert answer["names"] == [f"{image}.png"]
    assert answer["labels"] == ["ab"[image % 2]]
    assert len(crops) == side * side * 3
    dead = [int(one) for one in np.flatnonzero(winners.value[index] <= 0)]
    if dead:
        answer, _ = browser_end.ask(view, "cells", layer="3", checkpoint=index, channels=dead[:1])
        assert (answer["peaks"], answer["names"]) == ([0.0], [""])


def test_the_unit_panel_is_that_of_the_checkpoint(result: cs.EvolutionResult, browser_end: Any, show: Show) -> None:
    view = show(cs.Evolution(result, layer="3", selected=1))
    for checkpoint in (0, 2, None):
        survey = result.survey(-1 if checkpoint is None else checkpoint)
        answer, _ = browser_end.ask(view, "unit", layer="3", channel=1, checkpoint=checkpoint)
        assert answer["checkpoint"] == checkpoint
        assert [one["value"] for one in answer["exemplars"]] == [one.value for one in survey.top("3", 1)]
    assert len({result.network(index).fingerprint for index in range(EPOCHS + 1)}) == EPOCHS + 1


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_orders_are_what_sorting_by_hand_gives(seed: int, count: int, units: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 3, (count, units)).astype(np.float32)
    jumps = rng.integers(0, 2, (count, units)).astype(bool)
    jumps[0] = False
    found = orders(values, jumps)

    def by(key: Callable[[int], Any]) -> list[int]:
        return sorted(range(units), key=lambda unit: (key(unit), -values[-1, unit], unit))

    assert found["strongest"].tolist() == by(lambda unit: 0)
    assert found["jumps"].tolist() == by(lambda unit: -int(jumps[:, unit].sum()))
    assert found["settling"].tolist() == by(lambda unit: -max((t for t in range(count) if jumps[t, unit]), default=-1))
    assert found["index"].tolist() == list(range(units))


def test_there_is_no_chart_before_the_first_checkpoint(pictures: list[cs.Picture], show: Show) -> None:
    recorder = cs.EvolutionRecorder(module(), at=[1, 2], input_size=SIDE)
    view = show(cs.Evolution(recorder, pictures))
    assert view.wait(60)
    assert view.box.children == (view,)
    recorder.step(epoch=1)
    assert view.wait(60)
    assert view.box.children == (view, view.curves.figure)


def test_a_training_that_is_watched_has_the_same_bits(pictures: list[cs.Picture], show: Show) -> None:
    alone = module()
    train(alone)
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    net = module()
    recorder = recorder_of(net)
    view = show(cs.Evolution(recorder, pictures))
    torch.random.set_rng_state(before)
    train(net, recorder)
    assert view.wait(60)
    assert torch.equal(before, torch.random.get_rng_state())
    for one, other in zip(alone.state_dict().values(), net.state_dict().values(), strict=True):
        assert torch.equal(one, other)
    assert [one["short"] for one in view._evolution["checkpoints"]] == ["0", "1", "2", "3"]
    assert (view._evolution["live"], view._evolution["ahead"]) == ("ended", [])
    assert view._survey["state"] == "done"
    # The same as what is computed afterwards, at once.
    whole = cs.evolution(recorder, pictures, progress=False)
    for layer in ("0", "3"):
        np.testing.assert_array_equal(view.result.winners(layer).image, whole.winners(layer).image)
        np.testing.assert_array_equal(view.result.cka(layer), whole.cka(layer))


def test_a_training_does_not_wait_for_the_instrument(pictures: list[cs.Picture], show: Show) -> None:
    net = module()
    recorder = recorder_of(net)
    view = show(cs.Evolution(recorder, pictures))
    assert view.wait(60)
    assert view._evolution["live"] == "training"
    assert view._evolution["ahead"] == ["1", "2", "3"]
    held, free = threading.Event(), threading.Event()
    view._worker.submit("hold", lambda: (held.set(), free.wait(60)))
    assert held.wait(60)
    train(net, recorder)  # returns, though the instrument's thread is stuck
    assert len(recorder.checkpoints) == EPOCHS + 1
    assert len(view.result.checkpoints) == 1
    free.set()
    assert view.wait(60)
    assert len(view.result.checkpoints) == EPOCHS + 1


def test_a_closed_instrument_no_longer_follows(pictures: list[cs.Picture]) -> None:
    net = module()
    recorder = recorder_of(net, at=(1, 2))
    view = cs.Evolution(recorder, pictures)
    assert (view.result, view._evolution["checkpoints"]) == (None, [])
    assert view.wait(60)
    assert view._survey["state"] == "none"
    view.close()
    assert not view._worker.alive
    train(net, recorder)
    assert not view._worker.alive
    assert view.result is None


def test_a_checkpoint_that_fails_is_named_and_the_others_stay(pictures: list[cs.Picture], show: Show) -> None:
    net = module()
    recorder = recorder_of(net)
    view = show(cs.Evolution(recorder, pictures))
    train(net, recorder, 1)
    assert view.wait(60)
    with torch.no_grad():
        net[0].weight[0] = torch.nan
    recorder.step(epoch=2)
    assert view.wait(60)
    assert view._survey["state"] == "failed"
    assert "epoch 2" in view._failures["survey"]["message"]
    assert len(view.result.checkpoints) == 2


def test_a_last_checkpoint_that_cannot_be_used_does_not_hide_those_before(
    pictures: list[cs.Picture], show: Show
) -> None:
    good, bad = module().state_dict(), module().state_dict()
    bad["0.bias"] = bad["0.bias"] * torch.nan
    view = show(cs.Evolution({1: good, 2: bad}, pictures, net=cs.Network(module().eval(), input_size=SIDE)))
    assert view.wait(60)
    assert view._survey["state"] == "failed"
    assert "epoch 2" in view._failures["survey"]["message"]
    assert [one["label"] for one in view._evolution["checkpoints"]] == ["epoch 1"]


def test_it_can_be_stopped_and_gone_on_with(pictures: list[cs.Picture], show: Show) -> None:
    net = module()
    recorder = recorder_of(net)
    view = show(cs.Evolution(recorder, pictures))
    assert view.wait(60)
    view.cancel()
    train(net, recorder)
    assert view.wait(60)
    assert len(view.result.checkpoints) == 1
    view._handle_custom_msg({"kind": "resume"}, [])
    assert view.wait(60)
    assert len(view.result.checkpoints) == EPOCHS + 1


def test_the_explorer_opens_on_a_checkpoint(result: cs.EvolutionResult, show: Show) -> None:
    view = show(cs.Evolution(result, layer="3", selected=2, checkpoint=1))
    explorer = show(view.explorer())
    assert explorer.net.fingerprint == result.network(1).fingerprint
    assert explorer.survey.fingerprint == explorer.net.fingerprint
    assert (explorer.layer, explorer.selected) == ("3", 2)
    assert show(view.explorer(-1)).net.fingerprint == result.network(EPOCHS).fingerprint
    with pytest.raises(cs.ArgumentError, match="from 0 to 3, got 9"):
        view.explorer(9)
    # An index is no epoch: which is meant is said.
    epochs = [one.epoch for one in result.checkpoints]
    assert show(view.explorer(epoch=epochs[2])).net.fingerprint == result.network(2).fingerprint
    with pytest.raises(cs.ArgumentError, match=r"an epoch of which there is a checkpoint .*, got 77"):
        view.explorer(epoch=77)
    with pytest.raises(cs.ArgumentError, match="checkpoint or epoch, got both: 1 and 2"):
        view.explorer(1, epoch=2)


def test_the_curves_are_the_numbers_of_the_result(result: cs.EvolutionResult, show: Show) -> None:
    view = show(cs.Evolution(result, layer="3"))
    layers = [layer.name for layer in result.layers]
    for curve in ("staying", "jaccard", "cka", "weight_rms"):
        view.curve = curve
        lines = {line.labels[0]: line for line in view.curves.figure.marks[:-1]}
        assert list(lines) == layers
        for layer in layers:
            truth = getattr(result, curve)(layer)
            there = np.isfinite(truth)
            np.testing.assert_array_equal(lines[layer].x, np.flatnonzero(there))
            np.testing.assert_allclose(lines[layer].y, truth[there])
    view.curve = "inactive"
    assert len(view.curves.figure.marks) == 2 * len(layers) + 1
    view.curve = "energy"
    np.testing.assert_allclose([line.y for line in view.curves.figure.marks[:-1]], result.energy_profile())
    view.curve, view.checkpoint = "cka", 2
    assert list(view.curves.figure.marks[-1].x) == [2.0, 2.0]


def test_a_saved_page_holds_every_checkpoint_of_what_is_shown(result: cs.EvolutionResult, show: Show) -> None:
    view = show(cs.Evolution(result, layer="3", rows=2))
    asked = view._snapshot()
    assert {content["checkpoint"] for kind, content in asked if kind == "cells"} == set(range(EPOCHS + 1))
    assert all(len(content["channels"]) == 2 for kind, content in asked if kind == "cells")
    assert {content["checkpoint"] for kind, content in asked if kind == "unit"} == set(range(EPOCHS + 1))
    assert "small" in view.to_html()
    # Patches of the checkpoint that is looked at are as large as ever, those of the others smaller.
    moments = [content for kind, content in asked if kind == "unit"]
    sides = [view._saved_answer("unit", content)[0]["side"] for content in moments]
    assert sorted(set(sides)) == [56, 112]
    assert sides[view.checkpoint] == 112


def test_what_does_not_fit_is_refused(result: cs.EvolutionResult, pictures: list[cs.Picture], show: Show) -> None:
    with pytest.raises(cs.ArgumentError, match="pictures to look through"):
        cs.Evolution(recorder_of(module()))
    with pytest.raises(cs.ArgumentError, match="EvolutionRecorder"):
        cs.Evolution(3, pictures)
    with pytest.raises(cs.ArgumentError, match="result alone"):
        cs.Evolution(result, pictures)
    with pytest.raises(cs.ArgumentError, match="what the checkpoints are of"):
        cs.Evolution({1: module().state_dict()}, pictures)
    with pytest.raises(cs.LayerError):
        cs.Evolution(result, layer="conv9")
    with pytest.raises(TypeError, match="'colour'"):
        cs.Evolution(result, colour="red")
    view = show(cs.Evolution(result))
    for trait, value in (("checkpoint", 4), ("rows", -1), ("selected", 99)):
        with pytest.raises(traitlets.TraitError, match=f"Expected {trait}"):
            setattr(view, trait, value)
    some = cs.evolution(result.checkpoints, pictures, ["0"], progress=False)
    with pytest.raises(cs.ArgumentError, match="followed"):
        cs.Evolution(some, layer="3")
    assert [one["name"] for one in show(cs.Evolution(some))._network["layers"]] == ["0"]


def test_a_recorder_of_some_layers_is_followed_with_the_module_for_the_rest(
    pictures: list[cs.Picture], show: Show
) -> None:
    net = module()
    recorder = recorder_of(net, layers=["0"])
    view = show(cs.Evolution(recorder, pictures, net=cs.Checkpoints.of(recorder, net, input_size=SIDE, name="small")))
    train(net, recorder, 2)
    assert view.wait(60)
    assert len(view.result.checkpoints) == 3
    assert view._evolution["live"] == "training"


def test_the_first_that_a_page_hears_is_whole(
    result: cs.EvolutionResult, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Any] = []
    opened = cs.Evolution.open

    def listening(widget: Any) -> None:
        heard.append(widget.get_state())
        opened(widget)

    monkeypatch.setattr(cs.Evolution, "open", listening)
    show(cs.Evolution(result, layer="3"))
    assert [one["short"] for one in heard[0]["_evolution"]["checkpoints"]] == ["0", "1", "2", "3"]
    assert heard[0]["_network"]["name"] == "small"


def test_one_checkpoint_alone_is_shown(pictures: list[cs.Picture], show: Show) -> None:
    net = cs.Network(module().eval(), input_size=SIDE)
    view = show(cs.Evolution({1: module().state_dict()}, pictures, net=net))
    assert view.wait(60)
    assert view._survey["state"] == "done"
    assert view._evolution["curves"]["staying"]["0"] == [None]


def test_what_is_drawn_while_checkpoints_come_is_of_one_result(result, pictures, show, monkeypatch):
    steps = evolving(result.checkpoints, pictures, progress=False)
    grown = {len(one.result.checkpoints): one.result for one in steps if one.result is not None}
    assert list(grown) == list(range(1, EPOCHS + 2))

    def seen(view: cs.Evolution) -> tuple[list[bytes], list[bytes]]:
        drawings = view._figures()["unit"](), view._strips()[:6]
        return tuple([one.text.encode() + b"".join(map(bytes, one.pictures)) for one in strips] for strips in drawings)

    # Of the unit that changes most.
    options = {"layer": "3", "selected": int(np.argmax(np.asarray(result.jumps("3")).sum(0)))}
    expected = list(zip(*(seen(show(cs.Evolution(one, **options))) for one in grown.values()), strict=True))
    for one in expected:
        assert len(set(map(tuple, one))) == len(grown)
    view = show(cs.Evolution(result, **options))
    assert view.wait(30)
    looks = iter(())
    monkeypatch.setattr(type(view), "result", property(lambda _view: next(looks, result)), raising=False)
    for still in range(20):
        looks = itertools.chain([grown[1]] * still, grown.values())
        for drawn, possible in zip(seen(view), expected, strict=True):
            assert drawn in possible

"""One unit, large, and what is pinned: on what is under the occluder, with what is silent."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

import convscope as cs


@pytest.fixture
def explorer(net, pictures, show):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.Explorer(net, pictures[:2], survey, layer="3", selected=5, size=10, position=(3, 4)))
    assert widget.wait(30)
    return widget


def occluded(net, picture):
    x = net.prepare(picture).clone()
    x[..., 3:13, 4:14] = net.to_network(x.new_full((3, 10, 10), 0.5))
    return x


def test_it_is_the_map_with_the_occluder_on_and_the_fields_of_a_place(net, pictures, explorer, browser_end):
    x = occluded(net, pictures[0])
    values = net.activations(x, "3")["3"][0, 5]
    strongest = divmod(int(values.argmax()), 8)
    for place in (None, (0, 0), (7, 2)):
        row, column = place or (None, None)
        answer, (data,) = browser_end.ask(explorer, "detail", layer="3", channel=5, row=row, column=column)
        shown = place or strongest
        found = cs.effective_field(net, x, "3", 5, shown)
        np.testing.assert_allclose(np.frombuffer(data, np.float32).reshape(8, 8), values, atol=1e-6)
        assert (answer["height"], answer["width"], answer["strongest"]) == (8, 8, list(strongest))
        assert (answer["place"], answer["field"]) == (list(shown), list(net.layer("3").box(*shown)))
        assert (answer["effective"], answer["share"]) == (list(found.box), 0.95)
    explorer.silenced = {"3": 5}
    assert explorer.wait(30)
    answer, (data,) = browser_end.ask(explorer, "detail", layer="3", channel=5, row=0, column=0)
    assert answer["effective"] is None
    assert not np.frombuffer(data, np.float32).any()
    refused, _ = browser_end.ask(explorer, "detail", layer="3", channel=5, row=8, column=0)
    assert "inside the 8×8 maps" in refused["error"]["message"]


def test_its_colours_have_the_sides_that_those_of_the_grid_have_whatever_it_does(net, pictures, show, browser_end):
    survey = cs.survey(net, pictures, progress=False)
    sides = set()
    for layer in survey.layers:
        widget = show(cs.Explorer(net, pictures[:2], survey, layer=layer.name, selected=1))
        assert widget.wait(30)
        for silenced in ({}, {layer.name: 1}):
            try:
                widget.silenced = silenced
            except cs.ConvscopeError:  # its units cannot be
                continue
            assert widget.wait(30)
            grid, _ = browser_end.ask(widget, "grid", layer=layer.name, lens="activation")
            detail, _ = browser_end.ask(widget, "detail", layer=layer.name, channel=1)
            assert detail["signed"] == grid["signed"]
            sides.add((detail["signed"], bool(silenced)))
    assert sides == {(signed, silenced) for signed in (True, False) for silenced in (True, False)}


def test_a_saved_page_holds_that_of_the_strongest_place(explorer):
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', explorer.to_html(), re.DOTALL)[1])
    (one,) = [one["content"] for one in saved["answers"] if one["content"]["kind"] == "detail"]
    assert one["place"] == one["strongest"]


@pytest.mark.parametrize(("pinned", "looked_at"), [("pinning", "unit"), ("pinned_projections", "projections")])
def test_of_what_is_pinned_the_same_is_known_as_of_what_is_looked_at(explorer, browser_end, pinned, looked_at):
    assert explorer.wait(30)
    (one, its), (other, others) = (
        browser_end.ask(explorer, kind, layer="3", channel=7) for kind in (pinned, looked_at)
    )
    assert {**one, "kind": looked_at, "id": 0} == {**other, "id": 0}
    assert [bytes(part) for part in its] == [bytes(part) for part in others]


def test_what_is_pinned_follows_the_occluder_and_what_is_silent(net, pictures, explorer, browser_end):
    values = net.activations(occluded(net, pictures[0]), "3")["3"][0, 7]
    answer, _ = browser_end.ask(explorer, "pinned_unit", layer="3", channel=7)
    assert answer["value"] == pytest.approx(float(values.max()), abs=1e-6)
    assert [answer["row"], answer["column"]] == list(divmod(int(values.argmax()), 8))
    for silenced in ({}, {"3": [0, 1, 2, 3]}):
        explorer.silenced = silenced
        assert explorer.wait(30)
        answer, _ = browser_end.ask(explorer, "pinned_picture", picture=1)
        truth = net.silenced(silenced).predict(pictures[1]).top(3)
        assert [label for label, _ in answer["classes"]] == [label for label, _ in truth]
        assert [p for _, p in answer["classes"]] == pytest.approx([p for _, p in truth], abs=1e-6)

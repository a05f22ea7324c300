"""Units that are held at zero in the explorer: everything about the picture follows, the survey does not."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import traitlets
from matplotlib.text import Text

import convscope as cs
from convscope_core.occlusion import Occlusion

SILENT = {"3": [4, 11, 17]}


@pytest.fixture
def explorer(net, pictures, show):
    survey = cs.survey(net, pictures, progress=False)
    widget = show(cs.Explorer(net, pictures[:2], survey, layer="3", selected=5, size=10, position=(3, 4)))
    assert widget.wait(30)
    return widget


def tell(widget, kind, **content):
    widget._handle_custom_msg({"kind": kind, **content}, [])
    assert widget.wait(30)


def test_probabilities_maps_and_projections_are_those_of_the_network_without_the_units(
    net, pictures, explorer, browser_end
):
    before, _ = browser_end.ask(explorer, "occlude")
    revision = explorer._revision
    explorer.silenced = {"3": {17, 4, 11}, "0": []}
    assert explorer.wait(30)
    assert explorer.silenced == SILENT
    assert explorer._revision > revision  # the front end asks again
    silent = net.silenced(SILENT)
    frame, _ = browser_end.ask(explorer, "occlude")
    whole, clean = net.predict(pictures[0]), silent.predict(pictures[0])
    x = net.prepare(pictures[0]).clone()
    x[..., 3:13, 4:14] = net.to_network(x.new_full((3, 10, 10), 0.5))
    now = silent.predict(x)
    # The rows, and the class that is followed, stay those of the whole network.
    assert [row["index"] for row in frame["classes"]] == [row["index"] for row in before["classes"]]
    assert frame["target"]["index"] == frame["before"]["index"] == whole.index
    assert frame["first"]["index"] == now.index
    assert (before["silenced"], frame["silenced"]) == (0, 3)
    occluded = net.predict(x)
    assert frame["unsilenced"] == {"index": occluded.index, "label": occluded.label}
    assert "unsilenced" not in before
    assert explorer._compute()["unsilenced"] == frame["unsilenced"]
    for row in [*frame["classes"], frame["target"]]:
        expected = [one.probabilities[row["index"]] for one in (whole, clean, now)]
        np.testing.assert_allclose([row[name] for name in ("whole", "clean", "now")], expected, atol=1e-6)
    assert explorer.probability == frame["target"]["now"]
    assert explorer.top5[0][0] == now.label
    assert "whole" not in before["target"]
    maps = silent.forward(x, ["3"])[1]["3"][0]
    for channel in (4, 5):
        here, _ = browser_end.ask(explorer, "here", layer="3", channel=channel)
        assert here["value"] == pytest.approx(float(maps[channel].max()), abs=1e-6)
    _, (_, _, _, maximum, *_) = browser_end.ask(explorer, "grid")
    expected = silent.activations(pictures[0], "3")["3"][0].flatten(1).amax(1)
    np.testing.assert_allclose(np.frombuffer(maximum, np.float32), expected, atol=1e-6)
    # What a survey found is of the whole network.
    unit, _ = browser_end.ask(explorer, "unit", layer="3", channel=4)
    assert [one["value"] for one in unit["exemplars"]] == [one.value for one in explorer.survey.top("3", 4)]
    explorer.silenced = {}
    assert explorer.wait(30)
    after, _ = browser_end.ask(explorer, "occlude")
    assert after["classes"] == before["classes"]
    assert explorer.probability == before["target"]["now"]


def test_a_drag_does_not_wait_for_the_whole_network_which_answers_where_it_ends(
    net, explorer, browser_end, monkeypatch
):
    explorer.silenced = SILENT
    assert explorer.wait(30)
    asked = []
    predict = Occlusion.predict
    monkeypatch.setattr(Occlusion, "predict", lambda one, *given: asked.append(one.net) or predict(one, *given))
    for left in range(3):
        frame, _ = browser_end.ask(explorer, "occlude", position=[2, left], dragging=True)
        assert frame["silenced"] == 3
        assert "unsilenced" not in frame
    assert len(asked) == 3
    assert net not in asked
    # What was computed on the way is not computed again.
    frame, _ = browser_end.ask(explorer, "occlude", position=[2, 2], dragging=False)
    assert asked[3:] == [net]
    occluded = explorer._occlusion(0, "grey", "square").occlude((2, 2), 10)
    assert frame["unsilenced"]["index"] == net.predict(occluded).index
    # A place outside the picture is the nearest inside, for both.
    frame, _ = browser_end.ask(explorer, "occlude", position=[-5, 500], dragging=False)
    assert frame["position"] == [0, 22]
    assert frame["ok"]


@pytest.mark.parametrize("layer", ["0", "3", "7"])
def test_silent_units_change_neither_the_colours_of_their_layer_nor_pass_for_others(layer, net, explorer, browser_end):
    def seen():
        answer, (_, low, *_) = browser_end.ask(explorer, "grid", layer=layer)
        return answer["signed"], answer["silenced"], bool((np.frombuffer(low, np.float32) < 0).any())

    signed = net.layer(layer).activation is None
    assert seen() == (signed, [], signed)
    for units in ([1, 4], list(range(net.layer(layer).channels))):
        explorer.silenced = {layer: units}
        assert explorer.wait(30)
        assert seen()[:2] == (signed, units)
    assert not seen()[2]  # all of it is zero
    explorer.silenced = {}
    assert explorer.wait(30)
    assert seen() == (signed, [], signed)


def test_the_front_end_sets_units_halves_and_layers(net, explorer):
    assert explorer.get_state("silenced") == {"silenced": []}
    explorer.set_state({"silenced": [["3", [1]], ["0", [2, 0]]]})
    assert explorer.wait(30)
    assert list(explorer.silenced.items()) == [("0", [0, 2]), ("3", [1])]
    assert explorer.get_state("silenced") == {"silenced": [["0", [0, 2]], ["3", [1]]]}
    for which in ("strongest", "weakest"):
        tell(explorer, "silence", layer="3", which=which)
        assert explorer.silenced == {"0": [0, 2], "3": explorer.survey.half("3", which)}
    tell(explorer, "silence", layer="3", which="all")
    assert explorer.silenced["3"] == list(range(20))
    tell(explorer, "silence", layer="3", which="none")
    assert explorer.silenced == {"0": [0, 2]}
    explorer.silenced = {"0": None}
    assert explorer.silenced == {"0": list(range(12))}


def test_what_cannot_be_silent_is_refused_and_nothing_changes(net, explorer, browser_end):
    explorer.silenced = SILENT
    for wrong, words in [
        ({"nowhere": [1]}, "layer of small"),
        ({"3": [20]}, "0 to 19, got 20"),
        ({"3": "all"}, "by number, got 'all'"),
        ([1, 2], "dict of layers to their units"),
    ]:
        with pytest.raises((cs.ArgumentError, cs.LayerError, traitlets.TraitError), match=words):
            explorer.silenced = wrong
    for wrong in ["3", [["3"]], [["3", 4]], {"3": [1]}, [["3", ["x"]]]]:
        explorer.set_state({"silenced": wrong})
    assert explorer.wait(30)
    assert explorer.silenced == SILENT
    assert [browser_end.ask(explorer, "silenceable", layer=name)[0]["refused"] for name in ("0", "7")] == [None, None]
    pool = next(layer.name for layer in net.layers if layer.kind == "pool")
    assert "Silence the layers" in browser_end.ask(explorer, "silenceable", layer=pool)[0]["refused"]


def test_it_is_set_from_the_start_and_saved(net, pictures, show):
    widget = show(cs.Explorer(net, pictures[:2], cs.survey(net, pictures[:2], progress=False), silenced=SILENT))
    assert widget.wait(30)
    saved = json.loads(re.search(r'id="saved">(.*?)</script>', widget.to_html(), re.DOTALL)[1])
    assert saved["state"]["silenced"] == [["3", SILENT["3"]]]
    (frame,) = [one["content"] for one in saved["answers"] if one["content"]["kind"] == "occlude"]
    assert frame["target"]["whole"] == pytest.approx(net.predict(pictures[0]).probability, abs=1e-6)
    assert frame["target"]["clean"] == pytest.approx(
        net.silenced(SILENT).predict(pictures[0]).probabilities[frame["target"]["index"]], abs=1e-6
    )


def texts_of(figure):
    return [one.get_text() for one in figure.findobj(Text)]


@pytest.mark.parametrize(
    ("silenced", "line"),
    [({"3": [0, 1, 2]}, "3 units of 3 silenced"), ({"0": 1, "3": [2, 5]}, "1 unit of 0, 2 units of 3 silenced")],
)
def test_every_figure_states_what_is_silenced_also_right_after_it_was(
    net, pictures, explorer, browser_end, silenced, line
):
    names = list(explorer._figures())
    assert names == ["unit", "occluder", "grid"]
    assert not [text for name in names for text in texts_of(explorer.figure(name)) if "silenced" in text]
    before = explorer.still()
    for name in names:
        explorer.silenced = {}
        explorer.silenced = silenced
        notes = [text.replace("\n", " ") for text in texts_of(explorer.figure(name)) if text.startswith(line)]
        assert len(notes) == 1, name
        assert ("whole network" in notes[0]) == (name == "unit")
    _, (svg,) = browser_end.ask(explorer, "figure", what="occluder", format="svg")
    assert line in bytes(svg).decode()
    assert explorer.still() != before

    # The bars, clean and occluded, are the silent network's; the marks are the whole network's.
    bars = explorer.figure("occluder").axes[1]
    labels = [one.get_text() for one in bars.get_yticklabels()]
    (marks,) = bars.lines
    clean = [one.get_width() for one in bars.containers[0]]
    for found, network in ((marks.get_xdata(), net), (clean, net.silenced(silenced))):
        prediction = network.predict(pictures[0])
        expected = [prediction.probabilities[net.class_index(label)] for label in labels]
        np.testing.assert_allclose(found, expected, atol=1e-6)

    def in_grid():
        captions = [text for text in texts_of(explorer.figure("grid")) if re.match(r"\d+: ", text)]
        assert len(captions) == net.layer("3").channels
        return {int(text.split(":")[0]) for text in captions if text.endswith("silenced")}

    assert in_grid() == set(silenced["3"])
    explorer.silenced = {}
    assert not [text for name in names for text in texts_of(explorer.figure(name)) if "silenced" in text]
    assert explorer.still() == before

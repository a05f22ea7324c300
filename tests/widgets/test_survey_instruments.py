"""What the instruments answer from a survey: classes, health, weaker examples, the histogram."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

import convscope as cs
from convscope._histogram import place
from convscope_core.datasets import Images
from convscope_core.survey import surveying


@pytest.fixture(scope="module")
def labelled(pictures):
    return [cs.Picture(one, f"picture {index}", "ab"[index % 2]) for index, one in enumerate(pictures)]


@pytest.fixture(scope="module")
def survey(net, labelled):
    return cs.survey(net, labelled, k=3, progress=False)


class TestGrid:
    def test_health_comes_with_what_each_unit_repeats(self, net, pictures, survey, browser_end, show):
        grid = show(cs.FilterGrid(net, pictures[0], layer="0", survey=survey))
        answer, (_, _, first, state) = browser_end.ask(grid, "health", layer="0")
        assert answer["images"] == 11
        assert answer["short"] == "Rarely active units are told from 101 pictures on; here are 11."
        assert np.frombuffer(state, np.uint8).tolist() == survey.health("0").dead.astype(int).tolist()
        assert np.frombuffer(first, np.int32).tolist() == survey.duplicates("0").tolist()

    def test_a_search_lists_units_of_all_layers_and_ranks_those_of_one(self, net, pictures, survey, browser_end, show):
        grid = show(cs.FilterGrid(net, pictures[0], layer="0", survey=survey, label="a", order="class", show="alive"))
        assert grid._labels == ["a", "b"]
        answer, (preference,) = browser_end.ask(grid, "search", label="a", layer="0")
        assert answer["units"] == [[one.layer, one.channel, one.preference] for one in survey.units("a", n=8)]
        expected = survey.classes("0").preference("a")
        assert np.frombuffer(preference, np.float32) == pytest.approx(expected, rel=1e-5)

    def test_an_unknown_class_is_an_answer_with_what_there_is(self, net, pictures, survey, browser_end, show):
        grid = show(cs.FilterGrid(net, pictures[0], survey=survey))
        answer, _ = browser_end.ask(grid, "search", label="c")
        assert not answer["ok"]
        assert "got 'c'" in answer["error"]["message"]

    def test_with_one_class_none_is_offered(self, net, pictures, show):
        alone = cs.survey(net, [cs.Picture(pictures[0], "x", "a")], progress=False)
        assert show(cs.FilterGrid(net, pictures[0], survey=alone))._labels == []


class TestUnit:
    def test_a_unit_tells_its_classes_and_who_is_like_it(self, net, survey, browser_end, show):
        panel = show(cs.UnitPanel(net, survey=survey, layer="3", channel=2))
        answer, _ = browser_end.ask(panel, "unit", layer="3", channel=2)
        assert answer["classes"] == [[one.label, one.preference, one.images] for one in survey.preferences("3", 2)]
        assert answer["similar"] == []
        assert answer["short"] == ["Similar units are told from 20 sampled pictures on; here are 11."]
        # Fewer than five of the pictures activate it: its values are told one by one.
        assert answer["values"] == [one.value for one in survey.top("3", 2)]
        active = survey.health("3").active_images * 11
        assert active[2] < 4.5
        often = int(active.argmax())
        assert active[often] > 4.5
        assert browser_end.ask(panel, "unit", layer="3", channel=often)[0]["values"] is None
        labels = [survey.label(one.image) for one in survey.top("3", 2)]
        most, times, of = answer["purity"]
        assert (times, of) == (max(map(labels.count, labels)), 3)
        assert labels.count(most) == times

    def test_weaker_examples_are_where_the_network_says(self, net, survey, browser_end, show):
        panel = show(cs.UnitPanel(net, survey=survey, layer="3", channel=2))
        answer, (crops,) = browser_end.ask(panel, "weaker", layer="3", channel=2)
        expected = survey.quantiles("3", 2)
        assert [one["image"] for one in answer["exemplars"]] == [one.image for one in expected]
        assert len(crops) == len(expected) * answer["side"] ** 2 * 3
        for one in answer["exemplars"]:
            maps = net.activations(survey.images[one["image"]], "3")["3"][0, 2]
            assert float(maps[one["row"], one["column"]]) == float(maps.max())
            assert one["value"] == pytest.approx(float(maps.max()), rel=1e-5)

    def test_the_histogram_counts_every_picture_and_marks_the_top(self, net, survey, show):
        panel = show(cs.UnitPanel(net, survey=survey, layer="3", channel=2))
        histogram = panel.histogram
        assert sum(histogram.counts) == 11
        assert histogram.top == pytest.approx([one.value for one in survey.top("3", 2)])
        marks = histogram.figure.marks[1]
        assert marks.visible
        for x, value in zip(marks.x, histogram.top, strict=True):
            assert histogram.edges[math.floor(x)] <= value * (1 + 1e-6)
            assert value <= histogram.edges[math.ceil(x)] * (1 + 1e-6)
        assert panel.box.children == (panel, histogram.figure)

    def test_what_few_pictures_activate_is_told_one_by_one(self, net, pictures, browser_end, show):
        few = cs.survey(
            net, [cs.Picture(one, "x", "ab"[at % 2]) for at, one in enumerate(pictures[:4])], progress=False
        )
        panel = show(cs.UnitPanel(net, survey=few, layer="3", channel=2))
        answer, _ = browser_end.ask(panel, "unit", layer="3", channel=2)
        assert answer["values"] == [one.value for one in few.top("3", 2) if one.value > 0]
        assert answer["short"][0] == "Preferences for classes are told from 5 pictures of a class on; here are 2."
        assert panel.histogram.figure.layout.display == "none"

    def test_of_crops_it_is_said_that_none_of_those_shown_overlap(self, net, pictures, browser_end, show):
        """Others may be as strong: of all of them the histogram tells."""
        crops = Images.of([np.kron(one, np.ones((2, 2, 1), np.uint8)) for one in pictures]).crops((1, 1 / 2))
        panel = show(cs.UnitPanel(net, survey=cs.survey(net, crops, progress=False), layer="3", channel=2))
        answer, _ = browser_end.ask(panel, "unit", layer="3", channel=2)
        assert answer["cropped"]
        assert answer["images"] == len(crops)
        assert (
            panel.histogram.figure.title == f"unit 2 in {len(crops)} pictures; ▴ the {len(panel.histogram.top)} shown"
        )
        plain = show(cs.UnitPanel(net, survey=cs.survey(net, pictures, progress=False), layer="3", channel=2))
        assert not browser_end.ask(plain, "unit", layer="3", channel=2)[0]["cropped"]

    def test_the_histogram_follows_the_selection(self, net, survey, show):
        panel = show(cs.UnitPanel(net, survey=survey, layer="3", channel=2))
        panel.selected = 5
        assert panel.histogram.top == pytest.approx([one.value for one in survey.top("3", 5) if one.value > 0])
        assert "unit 5 in 11 pictures" in panel.histogram.figure.title
        panel.close()
        panel.close()

    def test_marks_lie_at_the_logarithm_between_edges(self):
        assert place(np.array([1.0, 2.0, 4.0]), [0.0, 1.0, 4.0]).tolist() == pytest.approx([1.0, 1.5, 2.0])
        assert place(np.array([]), [0.0, 0.0]).tolist() == []
        assert place(np.array([-2.0, -0.5, 3.0]), [-2.0, -1.0, 0.0, 4.0]).tolist() == [0.0, 1.5, 2.75]


class TestWordNet:
    """Folders of ImageNet have ids for names; the classes' names are shown."""

    def test_ids_are_shown_and_searched_by_name_and_matched_with_the_networks_classes(
        self, module, pictures, browser_end, show
    ):
        labels = ["tench", "coucal", *"cdefg"]
        net = cs.Network(module, labels=labels, input_size=32)
        ids = ["n01824575", "n01440764"]
        given = [cs.Picture(one, f"{at}", ids[at % 2] if at < 10 else None) for at, one in enumerate(pictures)]
        survey = cs.survey(net, given, progress=False)
        explorer = show(cs.Explorer(net, given, survey=survey, layer="3", selected=2))
        assert explorer._labels == ["tench", "coucal"]
        assert [(one["label"], one["class"]) for one in explorer._pictures[::5]] == [
            ("coucal", 1), ("tench", 0), (None, None),
        ]  # fmt: skip
        for label in ("coucal", "n01824575"):
            answer, _ = browser_end.ask(explorer, "search", label=label, layer="0")
            assert answer["label"] == "coucal"
            assert answer["units"] == [[one.layer, one.channel, one.preference] for one in survey.units("coucal", n=8)]
        answer, _ = browser_end.ask(explorer, "unit", layer="3", channel=2)
        assert {one["label"] for one in answer["exemplars"]} <= {"tench", "coucal", None}


class TestSigned:
    """Logits: a value below zero says "not this class", and is neither inactive nor dead."""

    def test_units_of_the_last_layer_have_the_classes_names(self, net, pictures, survey, browser_end, show):
        grid = show(cs.FilterGrid(net, pictures[0], layer="7", survey=survey))
        assert [one["signed"] for one in grid._network["layers"]] == [False, False, True]
        answer, _ = browser_end.ask(grid, "grid")
        assert answer["names"] == [f"class {index}" for index in range(7)]
        assert browser_end.ask(grid, "grid", layer="3")[0]["names"] is None
        panel = show(cs.UnitPanel(net, survey=survey, layer="7", channel=5))
        assert browser_end.ask(panel, "unit", layer="7", channel=5)[0]["name"] == "class 5"
        assert browser_end.ask(panel, "unit", layer="3", channel=5)[0]["name"] is None

    def test_what_is_below_zero_is_not_dead(self, pictures, browser_end, show):
        module = nn.Sequential(nn.Conv2d(3, 4, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
        with torch.no_grad():
            module[4].weight[:2] = -module[4].weight[:2].abs()
            module[4].bias[:] = torch.tensor([-1.0, -2.0, 0.0])
            module[4].weight[2] = 0
        net = cs.Network(module.eval(), input_size=32)
        survey = cs.survey(net, pictures, progress=False)
        health = survey.health("4")
        assert not health.active_images.any()
        assert health.dead.tolist() == [False, False, True]  # the last is zero everywhere
        grid = show(cs.FilterGrid(net, pictures[0], layer="4", survey=survey))
        assert np.frombuffer(browser_end.ask(grid, "health")[1][3], np.uint8).tolist() == [0, 0, 1]
        assert browser_end.ask(grid, "grid")[0]["names"] is None  # numbers are no names

    def test_a_pooling_that_was_not_surveyed_is_refused_by_name(self, net, pictures, survey, show):
        grid = show(cs.FilterGrid(net, pictures[0], layer="0", survey=survey))
        with pytest.raises(cs.LayerError, match="the pooling '2', whose maps repeat what came before"):
            grid.layer = "2"
        assert grid.layer == "0"
        show(cs.FilterGrid(net, pictures[0], layer="2"))


class TestHealthView:
    def test_a_row_opens_the_units_that_it_counts(self, net, survey, browser_end, show):
        view = show(cs.HealthView(net, survey=survey))
        for layer in survey.layers:
            answer, _ = browser_end.ask(view, "units", layer=layer.name)
            first, health = survey.duplicates(layer.name), survey.health(layer.name)
            assert answer["dead"] == [unit for unit in range(layer.channels) if health.dead[unit]]
            assert answer["duplicated"] == [[u, int(f)] for u, f in enumerate(first) if f != u]
            assert answer["counts"]["rare"] == len(answer["rare"]) == 0  # of few pictures it is not told
        with pytest.raises(Exception, match="a unit of no layer"):
            view.selected = 0
        view.layer = "3"
        view.selected = 19
        with pytest.raises(Exception, match="below 20"):
            view.selected = 20

    def test_rows_are_those_of_the_table(self, net, survey, show):
        view = show(cs.HealthView(net, survey=survey))
        assert [row["layer"] for row in view._health] == [layer.name for layer in survey.layers]
        assert [row["dead"] for row in view._health] == cs.layer_health(survey).columns()["dead"]
        assert {row["saturated"] for row in view._health} == {None}
        assert {row["rare"] for row in view._health} == {None}  # of eleven pictures
        assert view._survey["inactive"] == "inactive"
        assert len(view.table) == len(view._health)

    def test_a_layer_can_be_chosen(self, net, survey, show):
        view = show(cs.HealthView(net, survey, layer="1"))
        assert view.layer == "0"  # the rectifier's name means the convolution
        with pytest.raises(cs.LayerError):
            view.layer = "nowhere"

    def test_it_surveys_by_itself_and_says_what_it_needs(self, net, pictures, browser_end, show):
        view = show(cs.HealthView(net, pictures))
        assert view.wait(60)
        assert view._survey["state"] == "done"
        assert len(view._health) == 3
        with pytest.raises(cs.ArgumentError, match="HealthView"):
            cs.HealthView(net)

    @pytest.mark.parametrize("make", [cs.HealthView, cs.UnitPanel, cs.Explorer])
    def test_a_survey_that_was_stopped_goes_on(self, net, pictures, show, make):
        view = show(make(net, pictures))
        seen = []

        def stop(change):
            seen.append(change["new"]["done"])
            if change["new"]["state"] == "running" and change["new"]["done"] == 4:
                view.unobserve(stop, "_survey")
                view._survey_job.cancel()

        view.observe(stop, "_survey")
        assert view.wait(60)
        assert (view._survey["state"], view._survey["done"], view._survey["total"]) == ("cancelled", 4, 11)
        view.observe(lambda change: seen.append(change["new"]["done"]), "_survey")
        view._handle_custom_msg({"kind": "resume"}, [])
        assert view.wait(60)
        assert (view._survey["state"], view._survey["done"], view._survey["images"]) == ("done", 11, 11)
        assert seen == sorted(seen)  # none is seen twice
        whole = cs.survey(net, pictures, progress=False)
        np.testing.assert_allclose(view.survey.health("0").mean, whole.health("0").mean, rtol=1e-12)
        # Of one that is done, and of one that was given, there is nothing to go on with.
        view._handle_custom_msg({"kind": "resume"}, [])
        assert view.wait(60)
        assert view._survey["state"] == "done"

    def test_a_survey_that_has_failed_begins_again(self, net, pictures, show, monkeypatch):
        broken = [True]

        def fails(*args, **options):
            if broken:
                raise RuntimeError("no memory")
            yield from surveying(*args, **options)

        monkeypatch.setattr("convscope.panes.survey.surveying", fails)
        view = show(cs.HealthView(net, pictures))
        assert view.wait(60)
        assert view._survey["state"] == "failed"
        broken.clear()
        view._handle_custom_msg({"kind": "resume"}, [])
        assert view.wait(60)
        assert (view._survey["state"], view._survey["images"]) == ("done", 11)

    def test_a_survey_of_a_part_says_of_how_many(self, net, pictures, show):
        part = next(iter(surveying(net, pictures, batch_size=4)))
        view = show(cs.HealthView(net, part.survey))
        assert {name: view._survey[name] for name in ("state", "done", "total", "images")} == {
            "state": "done", "done": 4, "total": 11, "images": 4,
        }  # fmt: skip

    def test_a_saved_page_holds_the_rows(self, net, survey, show):
        page = show(cs.HealthView(net, survey)).to_html()
        assert '"duplicated"' in page


@pytest.fixture(scope="module")
def cut():
    """A network whose first units reach the ceiling of a ReLU6 on every picture."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 5, 4), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3))
    with torch.no_grad():
        module[0].weight *= 200
        module[0].weight[4] /= 2000
    return cs.Network(module.eval(), input_size=32)


@pytest.fixture(scope="module")
def found(cut, labelled):
    return cs.survey(cut, labelled, k=3, progress=False)


class TestCeiling:
    def test_a_unit_tells_what_its_pictures_are_before_the_ceiling(self, cut, found, browser_end, show):
        panel = show(cs.UnitPanel(cut, survey=found, layer="0", channel=0))
        answer, _ = browser_end.ask(panel, "unit", layer="0", channel=0)
        assert answer["ceiling"] == 6
        assert [one["value"] for one in answer["exemplars"]] == [6, 6, 6]
        before = [one["before"] for one in answer["exemplars"]]
        assert before == sorted(before, reverse=True)
        assert before[2] > 6
        for one in answer["exemplars"]:
            maps = cut.activations(found.images[one["image"]], "0", before_ceiling=True)["0"][0, 0]
            assert one["before"] == pytest.approx(float(maps.max()), rel=1e-5)
            assert float(maps[one["row"], one["column"]]) == float(maps.max())
        weaker, _ = browser_end.ask(panel, "weaker", layer="0", channel=0)
        assert max(one["before"] for one in weaker["exemplars"]) <= before[2]
        assert "before the ceiling of 6" in panel.histogram.figure.axes[0].label
        assert panel.histogram.top == pytest.approx(before)
        strips = [panel._patch_strip(found, channel, found.top("0", channel)) for channel in (0, 4)]
        assert "; in brackets: before the ceiling of 6" in strips[0].text
        assert strips[0].captions[0] == f"6.00 ({before[0]:#.3g})".replace(".)", ")")
        assert "brackets" not in strips[1].text

    def test_a_layer_without_one_tells_nothing_of_it(self, cut, found, browser_end, show):
        panel = show(cs.UnitPanel(cut, survey=found, layer="4", channel=0))
        answer, _ = browser_end.ask(panel, "unit", layer="4", channel=0)
        assert answer["ceiling"] is None
        assert {one["before"] for one in answer["exemplars"]} == {None}
        assert "ceiling" not in panel.histogram.figure.axes[0].label

    def test_the_grid_orders_units_by_what_they_are_before_it(self, cut, pictures, found, browser_end, show):
        grid = show(cs.FilterGrid(cut, pictures[0], layer="0", survey=found))
        answer, (_, _, _, strongest, *_) = browser_end.ask(grid, "grid", layer="0")
        assert answer["ceiling"] == 6
        maps = cut.activations(pictures[0], "0", before_ceiling=True)["0"][0]
        assert np.frombuffer(strongest, np.float32) == pytest.approx(maps.amax((1, 2)).numpy())
        answer, (best, *_) = browser_end.ask(grid, "health", layer="0")
        assert answer["ceiling"] == 6
        assert np.frombuffer(best, np.float32) == pytest.approx(found.arrays("0").before_ceiling[:, 0])
        order = maps.amax((1, 2)).argsort(descending=True).tolist()
        captions = grid._strongest(5).captions
        assert [int(one.partition(":")[0]) for one in captions] == order
        assert captions[0].startswith(f"{order[0]}: 6.00 (")

    def test_here_is_where_it_is_strongest_before_it(self, cut, pictures, found, browser_end, show):
        explorer = show(cs.Explorer(cut, pictures, layer="0", selected=0, survey=found))
        here, _ = browser_end.ask(explorer, "here", layer="0", channel=0, picture=0, position=[0, 0], size=1)
        assert here["value"] == 6
        assert here["before"] > 6
        pinned, _ = browser_end.ask(explorer, "pinned_unit", layer="0", channel=0, picture=0, position=[0, 0], size=1)
        detail, _ = browser_end.ask(explorer, "detail", layer="0", channel=0, picture=0, position=[0, 0], size=1)
        assert {name: pinned[name] for name in ("row", "column", "value", "before")} == {
            name: here[name] for name in ("row", "column", "value", "before")
        }
        assert detail["strongest"] == [here["row"], here["column"]]

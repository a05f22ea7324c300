"""Calls of the public interface, for the type checker alone: nothing here runs.

The wrong ones are those that it has to find: each names the error that it expects, and one that is not found is an
error of the checker itself ("unused type: ignore").
"""

from __future__ import annotations

from pathlib import Path

import convscope as cs


def right(net: cs.Network, survey: cs.Survey, patterns: cs.Patterns, pictures: list[Path]) -> None:
    cs.Occluder(net, "dog.jpg", "tabby", 50, position=(10, 20), show_trail=False)
    cs.Occluder(net, "dog.jpg", shape=[(0, 0), (0, 1), (1, 0.5)], fill=(128, 128, 128), size=(60, 80))
    cs.OcclusionMap(net, b"...", stride=8, channel=3, opacity=0.5, show_trail=True)
    cs.FilterGrid(net, pictures[0], survey=survey, lens="patch", order="best", scale="layer", selected=None)
    cs.UnitPanel(net, survey=survey, channel=12, method="gradient", contrast="group", crop="effective")
    cs.HealthView(net, "photos/", layer="features.0", selected=2)
    cs.PatternReport(net, patterns, only_problems=True)
    cs.Gallery(net, pictures, targets=[None, "tabby", 3], extended=["deconvnet"], opacity=0.3, colours="red-blue")
    cs.Invariance(net, pictures, transform="rotation", value=10, distance="cosine", shown=("features.0",))
    cs.Correspondence(net, pictures, points=[(60, 80), None], part="eye", size=30, entries="changed")
    cs.Compare(net, net, pictures, k=4, pair_show="projection", target=3, target_b=None, size=40)
    cs.Evolution("run/", "photos/", curve="cka", show="crop", spread="layer", checkpoint=2, rows=10)
    cs.Explorer(net, selected=3, silenced={"features.0": [1, 2], "features.3": None}, fill="blur", lens="projection")
    before: float | None = survey.top("features.0", 3)[0].before_ceiling
    ceiling: float | None = net.layer("features.0").ceiling
    assert before != ceiling


def wrong(net: cs.Network, survey: cs.Survey, patterns: cs.Patterns, pictures: list[Path]) -> None:
    cs.Occluder(net, "dog.jpg", sise=50)  # type: ignore[call-arg]
    cs.Occluder(net, "dog.jpg", position="left")  # type: ignore[arg-type]
    cs.Occluder(net, "dog.jpg", size="large")  # type: ignore[arg-type]
    cs.Occluder(net, "dog.jpg", stride=6)  # type: ignore[call-arg]
    cs.OcclusionMap(net, "dog.jpg", colormap="inferno")  # type: ignore[call-arg]
    cs.FilterGrid(net, "dog.jpg", lens="patches")  # type: ignore[arg-type]
    cs.FilterGrid(net, "dog.jpg", survey="photos.survey")  # type: ignore[arg-type]
    cs.UnitPanel(net, survey=survey, selected=12)  # type: ignore[call-arg]
    cs.UnitPanel(net, survey=survey, method="lrp")  # type: ignore[arg-type]
    cs.HealthView(net, "photos/", layers="features.0")  # type: ignore[call-arg]
    cs.PatternReport(net, patterns, only_problem=True)  # type: ignore[call-arg]
    cs.Gallery(net, pictures, extended="deconvnet")  # type: ignore[arg-type]
    cs.Invariance(net, pictures, value="10")  # type: ignore[arg-type]
    cs.Correspondence(net, pictures, points=[(60, 80, 1)])  # type: ignore[list-item]
    cs.Compare(net, net, pictures, pair_show="both")  # type: ignore[arg-type]
    cs.Evolution("run/", "photos/", curve="accuracy")  # type: ignore[arg-type]
    cs.Explorer(net, silenced=["features.0"])  # type: ignore[arg-type]
    cs.survey(net, pictures, top=9)  # type: ignore[call-arg]

"""The report of a fit, the charts of the experiments, and patterns in the gallery."""

from __future__ import annotations

import base64
import io
import re
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
import torch
import traitlets
from PIL import Image
from torch import nn

import convscope as cs
from convscope.charts import colours_of
from convscope_core.experiments import degradation

SIDE = 16


@pytest.fixture(scope="module")
def net() -> cs.Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3), nn.ReLU(), nn.Flatten()
    module = nn.Sequential(*layers, nn.Linear(100, 3)).eval()
    with torch.no_grad():
        module[0].bias[2] = -100
    return cs.Network(module, input_size=SIDE, device="cpu", name="small")


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8) for _ in range(24)]


@pytest.fixture(scope="module")
def patterns(net: cs.Network, pictures: list[np.ndarray]) -> cs.Patterns:
    return cs.fit_patterns(net, pictures, ("positive", "negative", "all"), progress=False)


@pytest.fixture(scope="module")
def quality(net: cs.Network, patterns: cs.Patterns, pictures: list[np.ndarray]) -> cs.SignalQuality:
    return cs.signal_quality(net, patterns, pictures, samples=64, progress=False)


def test_a_report_shows_what_the_fit_says(net: cs.Network, patterns: cs.Patterns, quality: cs.SignalQuality) -> None:
    report = cs.PatternReport(net, patterns, quality)
    shown = report._patterns
    assert shown["images"] == 24
    assert [row["layer"] for row in shown["rows"]] == list(patterns)
    for row, fit in zip(shown["rows"], patterns.report, strict=True):
        assert (row["fitted"], row["units"], row["samples"]) == (fit.fitted, fit.units, fit.samples)
        assert {p["name"]: p["count"] for p in row["problems"]} == {
            name: len(getattr(fit, name)) for name in ("dead", "thin", "vanishing", "negative") if getattr(fit, name)
        }
        for name in quality.estimators:
            assert row["quality"][name] == pytest.approx(quality.mean(fit.layer, name))
    assert shown["rows"][0]["problems"][0] == {"name": "dead", "count": 1, "units": [2]}
    report.layer = "3"
    with pytest.raises(cs.ArgumentError, match="'conv9'"):
        report.layer = "conv9"
    assert len(report.box.children) == 2
    page = report.to_html()
    assert "small" in page
    report.close()
    alone = cs.PatternReport(net, patterns, only_problems=True)
    assert len(alone.box.children) == 1
    assert alone._patterns["estimators"] == []


def test_a_report_refuses_what_belongs_to_another_network(
    net: cs.Network, patterns: cs.Patterns, quality: cs.SignalQuality
) -> None:
    other = net.with_tensors(lambda t: t + 1, "other")
    with pytest.raises(cs.ArgumentError, match="with these weights"):
        cs.PatternReport(other, patterns)
    with pytest.raises(cs.ArgumentError, match="signal quality"):
        cs.PatternReport(net, patterns, cs.SignalQuality({}, {}, (), "pre", "all", 4, "other", "0" * 64))
    with pytest.raises(cs.ArgumentError, match="dict"):
        cs.PatternReport(net, {})  # type: ignore[arg-type]
    with pytest.raises((TypeError, traitlets.TraitError)):
        cs.PatternReport(net, patterns, colour="red")


def test_the_chart_of_quality_has_its_numbers(quality: cs.SignalQuality) -> None:
    figure = cs.quality_chart(quality)
    assert [mark.labels[0] for mark in figure.marks] == [
        "random", "filter S_w", "linear S_a", "two-component S_a±",
    ]  # fmt: skip
    for mark, name in zip(figure.marks, quality.estimators, strict=True):
        expected = np.array([quality.mean(layer, name) for layer in quality.layers])
        np.testing.assert_allclose(mark.y, expected[np.isfinite(expected)])
    assert list(figure.axes[0].tick_labels.values()) == list(quality.layers)


def test_a_chart_is_a_picture_where_bqplot_cannot_be(
    quality: cs.SignalQuality, monkeypatch: pytest.MonkeyPatch
) -> None:
    figure = cs.quality_chart(quality)
    shown = figure._display_()._repr_html_()  # marimo shows what this gives
    found = re.search(r'src="data:image/png;base64,([^"]*)"', shown)
    assert found
    assert Image.open(io.BytesIO(base64.b64decode(found[1]))).width > 500
    bundle = figure._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert "application/vnd.jupyter.widget-view+json" in data
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).width > 500
    monkeypatch.setitem(sys.modules, "matplotlib", None)  # its import fails
    bundle = figure._repr_mimebundle_()
    assert "image/png" not in (bundle[0] if isinstance(bundle, tuple) else bundle)
    assert "matplotlib" in figure._display_()._repr_html_()


def cells(html: str) -> list[list[str]]:
    rows = re.findall(r"<tr>(.*?)</tr>", html)
    return [[unescape(one) for one in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row)] for row in rows]


def test_beneath_a_chart_is_a_table_of_its_numbers(
    quality: cs.SignalQuality, net: cs.Network, pictures: list[np.ndarray]
) -> None:
    figure = cs.quality_chart(quality)
    data = figure._repr_mimebundle_()
    data = data[0] if isinstance(data, tuple) else data
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == figure.box.model_id
    chart, numbers = figure.box.children
    assert chart is figure
    rows = cells(numbers.value)
    assert rows[0] == ["layer", *(mark.labels[0] for mark in figure.marks)]
    for layer, row in zip(quality.layers, rows[1:], strict=True):
        values = [quality.mean(layer, name) for name in quality.estimators]
        assert row == [layer, *(f"{one:.3f}" if np.isfinite(one) else "–" for one in values)]
    figure.close()
    assert numbers.comm is None
    assert figure.comm is None
    result = degradation(net, pictures[:3], ["random", "gradient"], patch=4, steps=5, progress=False)
    figure = cs.degradation_chart(result)
    rows = cells(figure.box.children[1].value)
    assert rows[0] == ["patches replaced", *result.order]
    for at, row in enumerate(rows[1:]):
        for name, cell in zip(result.order, row[1:], strict=True):
            place = result.methods.index(name)
            low, high = result.band[place, :, at]
            assert cell == f"{result.mean[place, at]:.3f} ({low:.3f} to {high:.3f})"
    assert [int(row[0]) for row in rows[1:]] == result.patches.tolist()
    figure.close()


def test_the_chart_of_degradation_has_its_numbers(net: cs.Network, pictures: list[np.ndarray]) -> None:
    result = degradation(net, pictures[:3], ["random", "gradient"], patch=4, steps=5, progress=False)
    figure = cs.degradation_chart(result)
    lines = [mark for mark in figure.marks if mark.labels]
    assert [line.labels[0] for line in lines] == list(result.order)
    for line in lines:
        np.testing.assert_allclose(line.y, result.mean[result.methods.index(line.labels[0])])
    assert len(figure.marks) == 4
    alone = degradation(net, pictures[:1], ["gradient"], patch=4, steps=5, progress=False)
    assert len(cs.degradation_chart(alone).marks) == 1, "no band with one picture"
    colours = colours_of(["random", "a", "b"])
    assert len(set(colours.values())) == 3


def test_the_gallery_takes_patterns(net: cs.Network, patterns: cs.Patterns, pictures: list[np.ndarray]) -> None:
    gallery = cs.Gallery(net, pictures[:1], patterns=patterns)
    assert gallery.wait(120)
    groups = {column["name"]: column["group"] for column in gallery._columns}
    assert groups["patternnet"] == "signal"
    assert groups["patternattribution"] == "attribution"
    found = gallery.attribution(0, "patternattribution")
    assert found is not None
    expected = cs.attribute(net, pictures[0], "patternattribution", patterns=patterns)
    np.testing.assert_allclose(found.values, expected.values)
    control = gallery.attribution(0, "patternnet", control=True)
    assert control is not None
    without = cs.Gallery(net, pictures[:1], ["gradient", "patternnet"], control=False)
    refused = {column["name"]: column["reason"] for column in without._refused}
    assert "fit_patterns" in refused["patternnet"]
    other = net.with_tensors(lambda t: t + 1, "other")
    with pytest.raises(cs.ArgumentError, match="with these weights"):
        cs.Gallery(other, pictures[:1], patterns=patterns)


def test_patterns_and_curves_come_back_from_files(patterns: cs.Patterns, tmp_path: Path) -> None:
    back = cs.Patterns.load(patterns.save(tmp_path / "small.patterns"))
    assert back.report == patterns.report

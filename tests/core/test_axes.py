"""Axes follow from operations and inputs; and what happens should they ever be wrong. (Every form: test_networks.)"""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope_core.graph import Node, Runner, axes, trace
from convscope_core.graph.axes import Link, Reads, structure
from convscope_core.graph.regions import Regions

from .test_regions import occluded


class Across(nn.Module):
    """Maps that lie across the picture from the first layer on."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 6, (3, 5), (2, 1), 1), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x.transpose(2, 3)).relu()).relu().mean((2, 3)))


def test_axes_follow_the_picture() -> None:
    graph = trace(Across().eval(), (3, 40, 28))
    found = structure(graph)
    by_kind = {n.kind: found.axes[n.name] for n in graph}
    assert by_kind["input"] == (1, 2)
    assert by_kind["permute"] == by_kind["conv"] == by_kind["relu"] == (2, 1)
    assert by_kind["linear"] == (None, None)
    assert Regions(graph, torch.randn(1, 3, 40, 28)).work((4, 4)).bound > 8  # in windows, across or not


def test_windows_that_are_off_are_measured_and_not_used(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = axes._FORMULAS["conv"]

    def wrong(n: Node, i: Node, a: int) -> Link | None:
        """As if a convolution gave rows and columns of the picture whatever came in."""
        link = right(n, i, a)
        if link is None or link.axis is None:
            return link
        low = np.minimum(link.reads.low + 2, 10**6)
        return Link(link.axis, Reads(low, low, link.reads.step))

    monkeypatch.setitem(axes._FORMULAS, "conv", wrong)
    graph = trace(Across().eval(), (3, 40, 28))
    x = torch.randn(1, 3, 40, 28)
    with caplog.at_level(logging.WARNING):
        regions = Regions(graph, x)
    assert regions.distrust is not None
    assert "ordinary forward pass" in caplog.text
    positions, patch = [(3, 5), (30, 20)], torch.randn(1, 3, 7, 5)
    expected = Runner(graph)(occluded(x, positions, patch))[0]
    torch.testing.assert_close(regions(positions, patch)[0], expected)
    assert regions.reason((7, 5)) == regions.distrust
    again = Regions(graph, 2 * x)  # measured once
    assert again.distrust == regions.distrust

"""Instruments in a stand-in for Colab: its frames, its widget manager, its binary buffers; the kernel is a real one."""

from __future__ import annotations

import hashlib
import io
import re

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, FrameLocator, expect

from colab import opened
from hosts import SETUP
from lab import Lab

pytestmark = pytest.mark.slow  # a kernel of its own each


def drawn(output: FrameLocator) -> None:
    """An explorer has shown what came as binary: the picture, and the tiles of the grid."""
    expect(output.locator(".cs-class").first).to_contain_text("0.")
    expect(output.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("^2/"))
    expect(output.locator(".cs-root").first).to_have_attribute("data-theme", "dark")
    shades = output.locator(".cs-picture canvas").first.evaluate(
        """one => new Set(one.getContext("2d").getImageData(0, 0, one.width, one.height).data).size"""
    )
    assert shades > 50, "an empty picture"


def test_an_instrument_works_in_each_output_and_binary_goes_both_ways(lab: Lab, browser: Browser) -> None:
    with opened(lab, browser) as colab:
        colab.run(SETUP)
        colab.run("explorer = cs.Explorer(net, pictures[:3], survey=survey); explorer")
        colab.run("display(explorer)")
        first, second = colab.output(0), colab.output(1)
        drawn(first)
        drawn(second)
        assert max(colab.crossed("in")) >= 3 * 48 * 48

        # A question by keys, and its answer.
        square = first.locator(".cs-occluder")
        square.focus()
        colab.page.keyboard.press("Shift+ArrowDown")
        row, column = colab.value("explorer.position")
        expect(first.locator(".cs-probabilities").last).to_have_attribute("data-position", f"{row},{column}")

        # A file to the kernel, whose bytes are those of the file.
        pixels = np.random.default_rng(7).integers(0, 255, (60, 50, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "png")
        data = file.getvalue()
        chosen = {"name": "noise.png", "mimeType": "image/png", "buffer": data}
        first.locator("input[type=file][multiple]").set_input_files([chosen])
        for output in (first, second):
            expect(output.locator(".cs-strip [aria-current=true]")).to_have_accessible_name("noise.png")
        assert len(data) in colab.crossed("out")
        digest = colab.value("__import__('hashlib').sha256(explorer.images[-1].image).hexdigest()")
        assert digest == hashlib.sha256(data).hexdigest()

        # What the kernel sets is seen in both; nothing of the page is touched, nor are the names of the frame.
        colab.run("explorer.layer = '0'")
        for output in (first, second):
            expect(output.locator(".cs-grid")).to_have_attribute("data-painted", re.compile("^0/"))
            expect(output.locator(".cs-error:visible")).to_have_count(0)
            assert output.locator("body").evaluate("() => window.left()") == []
            assert output.locator("body").evaluate("() => { try { return parent.name } catch { return null } }") is None


def test_what_a_cell_returns_is_shown_with_its_chart(lab: Lab, browser: Browser) -> None:
    """As what it displays: both name the widget manager that knows widgets of others."""
    with opened(lab, browser) as colab:
        colab.run(SETUP)
        colab.run("cs.UnitPanel(net, survey=survey)")
        colab.run("cs.degradation_chart(cs.degradation(net, pictures[:2], ['random'], steps=5, progress=False))")
        expect(colab.output(0).locator(".cs-root--unit")).to_be_visible()
        for number in range(2):
            expect(colab.output(number).locator(".bqplot.figure .svg-figure")).to_be_visible()

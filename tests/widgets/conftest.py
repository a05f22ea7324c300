"""A small network, and instruments whose messages to the browser are recorded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import convscope as cs


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(12, 20, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 7),
    )
    with torch.no_grad():
        layers[7].weight.mul_(40)
    return layers.eval()


@pytest.fixture(scope="module")
def net(module):
    return cs.Network(module, labels=[f"class {index}" for index in range(7)], input_size=32, name="small")


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [np.kron(rng.random((8, 8, 3)), np.ones((4, 4, 1))).astype(np.float32) for _ in range(11)]


@pytest.fixture
def damaged(pictures, tmp_path):
    """A folder of four pictures, of which the first and the third cannot be read."""
    for index in (1, 3):
        Image.fromarray((255 * pictures[index]).astype(np.uint8)).save(tmp_path / f"{index}.png")
    (tmp_path / "0.png").write_bytes((tmp_path / "1.png").read_bytes()[:80])
    (tmp_path / "2.png").write_bytes(b"")
    return tmp_path


class Browser:
    """Stands where the browser is: asks an instrument and reads its answers."""

    def __init__(self, monkeypatch):
        self.received = []
        self._numbers = itertools.count(1)
        monkeypatch.setattr(
            "convscope._instrument.Instrument.send",
            lambda _, content, buffers=None: self.received.append((content, buffers or [])),
        )

    def ask(self, widget, kind, **content):
        number = next(self._numbers)
        widget._handle_custom_msg({"kind": kind, "id": number, "client": "test", **content}, [])
        assert widget.wait(30)
        answers = [one for one in self.received if one[0].get("id") == number]
        assert len(answers) == 1
        return answers[0]


@pytest.fixture
def browser_end(monkeypatch):
    return Browser(monkeypatch)


@pytest.fixture
def show():
    """Make instruments that are closed at the end of the test."""
    opened = []

    def make(widget):
        opened.append(widget)
        return widget

    yield make
    for widget in opened:
        widget.close()

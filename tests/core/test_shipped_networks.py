"""The small networks that come with convscope: what is in the files is what the documentation says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from convscope_core.errors import NetworkError
from convscope_core.evolution import PAPER
from convscope_core.explain import project
from convscope_core.models import load, shapes_checkpoints
from convscope_core.models.loaders import names
from convscope_core.models.paper import Run, read_run
from convscope_core.network import Network
from convscope_core.occlusion import occlusion_map
from convscope_core.shapes import Shapes

WEIGHTS = Path(load.__code__.co_filename).parent / "weights"
BOTH = ["alexnet_shapes", "zfnet_shapes"]

TEST = Shapes(count=750, size=128, split="test")
"""The pictures that accuracy is stated of."""


@pytest.fixture(scope="module", params=BOTH)
def run(request: pytest.FixtureRequest) -> Run:
    return read_run(WEIGHTS / request.param)


@pytest.fixture(scope="module")
def net(run: Run) -> Network:
    return load(run.name)


def test_both_are_there_and_small() -> None:
    assert sorted(folder.name for folder in WEIGHTS.iterdir()) == BOTH
    assert set(BOTH) <= set(names())
    for name in BOTH:
        assert sum(file.stat().st_size for file in (WEIGHTS / name).iterdir()) < 3e6


def test_they_are_described(run: Run, net: Network) -> None:
    assert tuple(run.epochs) == PAPER
    assert net.labels == Shapes().classes
    assert (net.name, net.input_shape) == (run.name, (3, 112, 112))
    assert run.kind == {"zfnet_shapes": "ZFNet", "alexnet_shapes": "AlexNet2012"}[run.name]
    assert f"seed={TEST.seed}" in run.details["pictures"]
    assert str(TEST) in run.details["pictures"]
    assert len(run.details["history"]) == 64


def test_weights_by_epoch(run: Run, net: Network) -> None:
    stored = load_file(run.epochs[5])
    assert {value.dtype for value in stored.values()} == {torch.float16}
    fifth = load(run.name, weights="EPOCH_5")
    weight = fifth.weight("conv3")
    assert weight is not None
    assert torch.equal(weight, stored["conv3.weight"].float())
    assert load(run.name, weights="EPOCH_64").fingerprint == net.fingerprint != fifth.fingerprint
    assert load(run.name, weights=run.epochs[5]).fingerprint == fifth.fingerprint
    assert load(run.name, weights=None).fingerprint not in (net.fingerprint, fifth.fingerprint)
    with pytest.raises(NetworkError, match=r"'EPOCH_1', 'EPOCH_2'.* got 'EPOCH_50'. Close matches: .*EPOCH_5"):
        load(run.name, weights="EPOCH_50")


def right(net: Network, count: int) -> float:
    x = torch.cat([net.prepare(TEST[index][0]) for index in range(count)])
    found = torch.cat([net.forward(part)[0] for part in x.split(60)]).argmax(1)
    return float((found == torch.tensor([TEST[index][1] for index in range(count)])).double().mean())


def test_accuracy_is_the_documented_one(run: Run, net: Network) -> None:
    # of the first of the pictures that it is stated of: within three standard errors
    for epoch, network in ((64, net), (2, load(run.name, weights="EPOCH_2"))):
        stated = run.accuracy[epoch]
        assert right(network, 120) == pytest.approx(stated, abs=3 * (stated * (1 - stated) / 120) ** 0.5 + 0.005)
    assert run.accuracy[64] > 0.85
    assert run.accuracy[1] < 0.6
    assert run.accuracy[1] + 0.1 < run.accuracy[5] < run.accuracy[64] - 0.05


def test_checkpoints_are_those_weights(run: Run, net: Network) -> None:
    found = shapes_checkpoints(run.name)
    assert [one.epoch for one in found] == list(PAPER)
    assert [one.step for one in found] == [one["step"] for one in run.details["checkpoints"]]
    last = found.network(-1)
    assert (last.name, last.labels) == (f"{run.name} · epoch 64", net.labels)
    x = net.prepare(TEST[0][0])
    assert torch.equal(last.forward(x.to(last.device))[0].cpu(), net.forward(x)[0])
    with pytest.raises(NetworkError, match=r"Expected one of .*zfnet_shapes., got .zfnet."):
        shapes_checkpoints("zfnet")


def projected(module: nn.Module, x: Tensor, channel: int) -> Tensor:
    """The deconvnet as the paper describes it, from the strongest value of a map of layer 5, layer by layer."""
    passed: list[tuple[nn.Module, Tensor]] = []
    for name, part in module.named_children():
        passed.append((part, x))
        x = part(x)
        if name == "relu5":
            break
    signal = torch.where(x == x[0, channel].max(), x, 0.0)
    signal[0, :channel] = signal[0, channel + 1 :] = 0
    for part, before in reversed(passed):
        if isinstance(part, nn.ReLU):
            signal = signal.clamp(min=0)
        elif isinstance(part, nn.Conv2d):
            signal = torch.nn.grad.conv2d_input(before.shape, part.weight, signal, part.stride, part.padding)
        elif isinstance(part, nn.MaxPool2d):  # each value to its switch; where windows overlap they add up
            _, switches = F.max_pool2d(before, 3, 2, ceil_mode=True, return_indices=True)
            signal = torch.zeros_like(before).flatten(2).scatter_add(2, switches.flatten(2), signal.flatten(2))
            signal = signal.view_as(before)
    return signal


def test_switches_lead_back_to_the_picture(run: Run, net: Network) -> None:
    module = run.module()
    module.load_state_dict(load_file(run.epochs[64]))
    x = net.prepare(TEST[1][0])
    channel = int(net.activations(x, "conv5")["conv5"][0].amax((1, 2)).argmax())
    found = project(net, x, "conv5", channel)
    with torch.no_grad():
        expected = projected(module, x, channel)[0].numpy()
    top, left, bottom, right_ = found.box
    padded = np.pad(expected, ((0, 0), (112, 112), (112, 112)))[:, 112 + top : 112 + bottom, 112 + left : 112 + right_]
    assert np.abs(padded).max() > 0
    np.testing.assert_allclose(
        found.values / np.abs(found.values).max(), padded / np.abs(padded).max(), rtol=1e-3, atol=1e-5
    )


def test_an_occluder_takes_the_object_away(net: Network) -> None:
    index = next(i for i in range(40) if net.predict(TEST[i][0]).index == TEST[i][1])
    picture, label = TEST[index]
    result = occlusion_map(net, picture, 42, 14, fill=(0, 0, 0), target=label, progress=False)
    black = net.to_network(torch.zeros(3, 1, 1))
    for row, column in ((0, 0), (2, 3)):
        top, left = result.positions[row, column]
        x = net.prepare(picture)
        x[0, :, top : top + 42, left : left + 42] = black
        assert result.probability[row, column] == pytest.approx(net.predict(x).probabilities[label], abs=1e-4)
    assert result.probability.min() < result.clean.probability - 0.3

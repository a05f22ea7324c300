"""Patterns against the definition written out in numpy, and against iNNvestigate's own numbers."""

from __future__ import annotations

import itertools
import json
import math
import os
import pickle
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from convscope_core import spill
from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError, StoreError
from convscope_core.explain import attribute, methods, randomised
from convscope_core.jobs.parts import Packed, unpacked
from convscope_core.jobs.store import Store
from convscope_core.network import Network
from convscope_core.patterns import Patterns, estimate, fit, fit_patterns, fitting_patterns, statistics
from convscope_core.patterns.estimate import pattern_of
from convscope_core.patterns.estimators import direction
from convscope_core.patterns.neurons import Neurons, neurons_of
from convscope_core.patterns.statistics import REGIMES, LayerSums, PatternSums
from convscope_core.spill import Spill, lies_in_file

Array = npt.NDArray[np.float64]
ALL = ("positive", "negative", "all")


def network(*layers: nn.Module, size: int | tuple[int, ...] = 10) -> Network:
    return Network(nn.Sequential(*layers).eval(), input_size=size)


def pictures(count: int, shape: tuple[int, ...] = (3, 10, 10), seed: int = 0) -> list[Tensor]:
    """Inputs whose channels and neighbours covary, in network space."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(count, *shape)).astype(np.float32)
    mixed += 0.7 * np.roll(mixed, 1, -1) + 0.5 * rng.normal(size=(count, 1, *[1] * (len(shape) - 1))).astype(np.float32)
    return list(torch.from_numpy(mixed.astype(np.float32)))


def rows(neurons: Neurons, x: Tensor) -> Array:
    """All inputs of one group's neurons, a row for each sample, by copying patches out: (samples, groups, inputs)."""
    n = neurons.node
    if neurons.kind == "linear":
        return x.double().reshape(-1, 1, x.shape[-1]).numpy()
    unfold = nn.Unfold(neurons.weight.shape[2:], n["dilation"], n["padding"], n["stride"])
    found = unfold(x.double()).transpose(1, 2)
    return found.reshape(-1, neurons.groups, found.shape[-1] // neurons.groups).numpy()


def by_definition(neurons: Neurons, x: Tensor, regime: str) -> Array:
    """Equation 8 (4 for all samples), unit by unit."""
    samples = rows(neurons, x)
    w, b = neurons.weight.double().flatten(1).numpy(), neurons.bias.double().numpy()
    found = np.zeros_like(w)
    for unit in range(len(w)):
        inputs = samples[:, unit * neurons.groups // len(w)]
        y = inputs @ w[unit]
        z = y + b[unit]
        chosen = {"positive": z > 0, "negative": z <= 0, "all": np.ones(len(z), bool)}[regime]
        if not chosen.any():
            continue
        numerator = (inputs * y[:, None])[chosen].mean(0) - inputs[chosen].mean(0) * y.mean()
        below = w[unit] @ numerator
        found[unit] = numerator / below if below else 0
    return found.reshape(neurons.weight.shape)


def assert_close(got: Any, expected: Any, tolerance: float) -> None:
    """Each unit within a share of its largest value."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    for mine, theirs in zip(got, expected, strict=True):
        assert abs(mine - theirs).max() <= tolerance * max(abs(theirs).max(), 1e-30)


# -- the definition --

LAYERS = {
    "plain": nn.Conv2d(4, 6, 3),
    "padded": nn.Conv2d(4, 6, 3, padding=(1, 0)),
    "strided": nn.Conv2d(4, 6, (3, 2), stride=(2, 1)),
    "dilated": nn.Conv2d(4, 6, 3, dilation=2, padding=2),
    "grouped": nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "depthwise": nn.Conv2d(4, 8, 3, groups=4, stride=2),
    "pointwise": nn.Conv2d(4, 6, 1, bias=False),
    "same": nn.Conv2d(4, 6, 4, padding="same"),
    "reflected": nn.Conv2d(4, 6, 3, padding=1, padding_mode="reflect"),
    "circular": nn.Conv2d(4, 6, 3, padding=2, padding_mode="circular"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_convolutions_have_the_patterns_of_the_definition(name: str) -> None:
    net = network(nn.Conv2d(3, 4, 3), nn.Tanh(), LAYERS[name], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = pictures(12)
    (neurons,) = neurons_of(net, "2")
    values = net.values(torch.stack(images), [neurons.node.inputs[0]])
    patterns = fit_patterns(net, images, ALL, layers="2", batch_size=5, progress=False)
    for regime in ALL:
        expected = by_definition(neurons, values[neurons.node.inputs[0]], regime)
        fitted = patterns.fitted("2", regime)
        assert fitted is not None
        assert fitted.shape == neurons.weight.shape
        assert_close(fitted, expected, 2e-4)


def test_linear_layers_have_the_patterns_of_the_definition() -> None:
    net = network(nn.Flatten(), nn.Linear(300, 8), nn.ReLU(), nn.Linear(8, 5))
    images = pictures(40)
    patterns = fit_patterns(net, images, ALL, progress=False)
    for layer in neurons_of(net):
        x = net.values(torch.stack(images), [layer.node.inputs[0]])[layer.node.inputs[0]]
        for regime in ALL:
            assert_close(patterns.fitted(layer.name, regime), by_definition(layer, x, regime), 1e-3)


@pytest.mark.parametrize("axes", [1, 3])
def test_convolutions_along_one_and_three_axes(axes: int) -> None:
    conv, shape = ((nn.Conv1d, (4, 5)), None, (nn.Conv3d, (4, 5, 2, 2)))[axes - 1]  # type: ignore[misc]

    class Reshaping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv(4, 6, 2, padding=1, groups=2)

        def forward(self, x: Tensor) -> Tensor:
            return torch.relu(self.conv(x.reshape(-1, *shape))).flatten(2).mean(2)

    net = Network(Reshaping().eval(), input_size=(1, math.prod(shape) // 5, 5))
    images = pictures(20, (1, math.prod(shape) // 5, 5))
    (neurons,) = neurons_of(net, "conv")
    x = torch.stack(images).reshape(-1, *shape).double()
    module = conv(4, 6, 2, padding=1, groups=2).double()
    module.weight.data, module.bias.data = neurons.weight.double(), neurons.bias.double()
    patterns = fit_patterns(net, images, progress=False)
    # The numerator by autograd, which has no part in what is tested: the weight's gradient for upstream z > 0, and y.
    z = module(x)
    m = (z > 0).double()
    y = z - module.bias.reshape(1, -1, *[1] * axes)
    inside = [v.flatten(2).transpose(0, 1).flatten(1).sum(1) for v in (m, y)]
    n, mean = inside[0], inside[1] / (z.numel() / 6)
    sums = [torch.autograd.grad(module(x), module.weight, v.detach())[0] for v in (m, m * y)]
    wide = (-1, *[1] * (axes + 1))
    numerator = (sums[1] - sums[0] * mean.reshape(wide)) / n.reshape(wide)
    expected = numerator / (numerator * module.weight).flatten(1).sum(1).reshape(wide)
    assert_close(patterns["conv"], expected.detach(), 2e-4)


def test_sums_and_averages_are_neurons_with_the_patterns_of_the_definition() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)
            self.pool, self.end = nn.AvgPool2d(2), nn.AdaptiveAvgPool2d(1)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(self.pool(torch.relu(self.a(x) + self.b(x)))).flatten(1)

    net = Network(Block().eval(), input_size=8)
    images = pictures(30, (3, 8, 8))
    patterns = fit_patterns(net, images, progress=False)
    report = {fit.layer: fit for fit in patterns.report}
    assert [report[name].kind for name in report] == ["conv", "conv", "add", "pool", "pool"]
    assert report["a"].regime == "all", "no rectifier follows the operands"
    add = next(n for n in neurons_of(net) if n.kind == "add")
    values = net.values(torch.stack(images), [*add.node.inputs, add.node])
    a, b = (values[i].double().transpose(0, 1).flatten(1).numpy() for i in add.node.inputs)
    y = a + b
    for unit in range(4):
        on = y[unit] > 0
        shares = [(v[unit] * y[unit])[on].mean() - v[unit][on].mean() * y[unit].mean() for v in (a, b)]
        np.testing.assert_allclose(patterns[add.name][unit], np.array(shares) / sum(shares), rtol=1e-4)
    np.testing.assert_allclose(patterns[add.name].sum(1), 1, rtol=1e-5)
    pool = next(n for n in neurons_of(net) if n.name == "pool")
    x = net.values(torch.stack(images), [pool.node.inputs[0]])[pool.node.inputs[0]].double()
    windows = x.unfold(2, 2, 2).unfold(3, 2, 2).permute(1, 0, 2, 3, 4, 5).reshape(4, -1, 4).numpy()
    for unit in range(4):
        y = windows[unit].mean(1)
        covariance = (windows[unit] * y[:, None]).mean(0) - windows[unit].mean(0) * y.mean()
        np.testing.assert_allclose(patterns["pool"][unit].flatten(), covariance / covariance.mean(), rtol=1e-4)


# -- laws --


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(1)
    return network(
        nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(20, 4)
    )


@pytest.fixture(scope="module")
def fitted(net: Network) -> Patterns:
    return fit_patterns(net, pictures(60), ALL, progress=False)


def test_every_live_unit_detects_its_own_pattern(net: Network, fitted: Patterns) -> None:
    for layer in neurons_of(net):
        for regime in ALL:
            a = fitted.fitted(layer.name, regime)
            assert a is not None
            products = (a.double() * layer.weight.double()).flatten(1).sum(1)
            fit = next(f for f in fitted.reported(regime) if f.layer == layer.name)
            live = [u for u in range(layer.outputs) if u not in (*fit.dead, *fit.vanishing)]
            assert len(live) == fit.fitted
            np.testing.assert_allclose(products[live], 1, rtol=1e-5)


def test_the_regimes_together_are_the_covariance(net: Network) -> None:
    """pi_+ num_+ + pi_- num_- = cov[x, y] (eq. 6), on the sums themselves."""
    (layer,) = neurons_of(net, "3")
    sums = sums_of(net, layer, pictures(60), 7)
    n, x, xu = sums.of("all")
    mean = (sums.tensors["u"] / sums.count).reshape(-1, 1, 1, 1)
    covariance = xu - x * mean
    parts = [sums.of(regime) for regime in ("positive", "negative")]
    np.testing.assert_allclose(sum(p[2] - p[1] * mean for p in parts), covariance, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(sum(p[0] for p in parts), n)


def sums_of(net: Network, layer: Neurons, images: list[Tensor], batch: int) -> LayerSums:
    sums = LayerSums(active=True, whole=True)
    for first in range(0, len(images), batch):
        x = torch.stack(images[first : first + batch])
        values = net.values(x, [layer.node.inputs[0], layer.node])
        sums.add(layer, [values[layer.node.inputs[0]]], values[layer.node])
    return sums


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 29), max_size=4, unique=True), st.integers(1, 30), st.integers(0, 1),
    st.sampled_from([spill.LARGE, 4000, 0]), st.booleans(),
)  # fmt: skip
def test_any_split_merges_to_the_same(cuts: list[int], batch: int, which: int, large: int, written: bool) -> None:
    """Of the linear layer samples are kept up to five pictures: parts have samples, sums, or both, in files or not."""
    torch.manual_seed(1)
    net = network(nn.Conv2d(3, 4, 3, groups=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    images = pictures(30)
    layer = neurons_of(net)[which]
    whole = sums_of(net, layer, images, 30)
    merged = PatternSums([LayerSums(active=True, whole=True)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "LARGE", large)
        for a, b in itertools.pairwise([0, *sorted(cuts), 30]):
            part = PatternSums([sums_of(net, layer, images[a:b], batch)])
            if written:
                part = PatternSums.from_state(unpacked(Packed(part)))
            merged.merge(part)
    (merged,) = merged.layers
    assert merged.count == whole.count
    for regime in ALL:
        mine, theirs = pattern_of(layer, merged, regime), pattern_of(layer, whole, regime)
        assert_close(mine[0], theirs[0], 1e-4)
        assert mine[1] == theirs[1]


class Residual(nn.Module):
    """A sum of two maps, which is written over."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu_(self.bn(self.conv(x)).add_(x))


@pytest.mark.parametrize("regimes", [("positive",), ("all",), ALL])
def test_a_batch_taken_at_once_adds_what_it_adds_layer_by_layer(regimes: tuple[str, ...]) -> None:
    torch.manual_seed(1)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), Residual(), nn.Conv2d(4, 8, 3, groups=2, stride=2),
        nn.ReLU(inplace=True), nn.ConvTranspose2d(8, 4, 3, stride=2), nn.ReLU(inplace=True), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(36, 140), nn.ReLU(inplace=True), nn.Linear(140, 3),
    )  # fmt: skip
    net = Network(module.eval(), input_size=10)
    job = fit._FitJob(net=net, layers=[n.name for n in neurons_of(net)], regimes=regimes, denominator="paper", few=0)
    at_once, by_layer = job.empty(net.device), job.empty(net.device)
    for number, count in enumerate([5, 3, 5, 5, 3, 1]):
        x = torch.stack(pictures(count, seed=number)).to(net.device)
        job._visit(x, lambda i, inputs, value: by_layer.layers[i].add(job._neurons[i], inputs, value))
        if number:
            job._add_at_once(at_once, x)
        else:
            job.add(at_once, x, range(count), [None] * count)
    for mine, theirs in zip(at_once.layers, by_layer.layers, strict=True):
        mine, theirs = mine.state_dict(), theirs.state_dict()
        assert mine.keys() == theirs.keys()
        for name, tensor in mine.items():
            assert_close(tensor.double(), theirs[name].double(), 1e-5)


@pytest.mark.parametrize("which", [0, 1])
def test_a_copy_and_what_is_merged_stay_as_they_are(which: int) -> None:
    torch.manual_seed(1)
    net = network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    layer = neurons_of(net)[which]
    sums, more = sums_of(net, layer, pictures(9), 3), sums_of(net, layer, pictures(4, seed=1), 4)
    kept = {name: tensor.to(net.device) for name, tensor in sums.state_dict().items()}  # where batches are added
    parts = [sums, more, sums.copy(), LayerSums.from_state(kept)]
    before = [{name: tensor.clone() for name, tensor in part.state_dict().items()} for part in parts]
    values = net.values(torch.stack(pictures(3, seed=2)), [layer.node.inputs[0], layer.node])
    for part in parts:
        for change in (
            lambda one: one.merge(more),
            lambda one: one.add(layer, [values[layer.node.inputs[0]]], values[layer.node]),
        ):
            one = part.copy()
            for _ in range(2):
                change(one)
        empty = LayerSums(active=True, whole=True)
        empty.merge(part)
        empty.add(layer, [values[layer.node.inputs[0]]], values[layer.node])
    for part, state in zip(parts, before, strict=True):
        now = part.state_dict()
        assert now.keys() == state.keys()
        assert all(torch.equal(tensor, state[name]) for name, tensor in now.items())


def test_few_pictures_take_less_memory_than_the_weights() -> None:
    net = network(nn.Flatten(), nn.Linear(300, 2000), nn.ReLU(), nn.Linear(2000, 400))
    step = list(fitting_patterns(net, pictures(20), ALL, shards=1))[-1]
    (part,) = step._parts
    kept = sum(tensor.nbytes for tensor in part.state_dict().values())
    assert kept < sum(layer.weight.nbytes for layer in neurons_of(net)) / 2


def in_memory(part: LayerSums) -> int:
    """Bytes that a part holds and that are not in a file."""
    held = [*part.tensors.values(), *itertools.chain.from_iterable(part.rows.values())]
    return sum(tensor.nbytes for tensor in held if not lies_in_file(tensor))


@pytest.mark.cpu_only("on a GPU the sums of the shard under way are in its memory")
@pytest.mark.parametrize("shards", [1, 3, 8])
def test_memory_does_not_grow_with_pictures_or_shards(shards: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part under way holds sums of convolutions and so many samples of linear layers; others hold no more.

    And no block of a sum that is worked on is larger than it may be.
    """
    large, chunk = 20_000, 4000
    monkeypatch.setattr(spill, "LARGE", large)
    for module, name in itertools.product((statistics, estimate), ("_CHUNK", "_CACHED")):
        monkeypatch.setattr(module, name, chunk)
    monkeypatch.setattr(statistics, "_SCALARS", 512)
    net = network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 40), nn.ReLU(), nn.Linear(40, 4))
    images, layers = pictures(240), neurons_of(net)
    held, blocks = [], []
    add, write = LayerSums.add, Spill.write

    def adding(self: LayerSums, *of: Any) -> None:
        add(self, *of)
        held.append((of[0].name, in_memory(self)))

    def writing(self: Spill, into: Tensor, first: int, block: Tensor) -> None:
        blocks.append(block.nbytes)
        write(self, into, first, block)

    monkeypatch.setattr(LayerSums, "add", adding)
    monkeypatch.setattr(Spill, "write", writing)
    *_, step = fitting_patterns(net, images, ALL, shards=shards, batch_size=10)
    few = {n.name: 8 * (4 * n.outputs + 1) + 8 * n.weight[0].numel() for n in layers}  # counts, sums of outputs, inputs
    of_weights = {n.name: 3 * 8 * n.weight.numel() for n in layers}
    # A convolution's sums; no more than samples of a large layer; a small one's sums, and half as much of samples.
    most = {"0": of_weights["0"], "3": large, "5": 1.5 * of_weights["5"]}
    assert max(of_weights["0"], of_weights["5"]) < large < of_weights["3"]
    for name, size in held:
        assert size <= most[name] + few[name]
    assert max(blocks) <= max(8 * chunk, large)
    for part in step._parts:
        assert sum(map(in_memory, part.layers)) <= large + sum(few.values())
    monkeypatch.setattr(spill, "LARGE", 2**40)
    plain = fit_patterns(net, images, ALL, shards=shards, batch_size=10, progress=False)
    for layer, regime in itertools.product(plain, ALL):
        assert_close(step.patterns.fitted(layer, regime), plain.fitted(layer, regime), 1e-5)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
def test_a_full_disk_is_told_and_what_is_done_is_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net, settings_ = stored_network(), {"shards": 4, "batch_size": 1, "progress": False}
    monkeypatch.setattr(spill, "LARGE", 4000)
    monkeypatch.setattr(statistics, "_SCALARS", 512)
    whole = fit_patterns(net, folder, ALL, **settings_)
    copied, put, done = Spill.copied, Store.put, 0

    def putting(self: Store, *of: Any) -> None:
        nonlocal done
        put(self, *of)
        done += 1

    def copying(self: Spill, tensor: Tensor) -> Tensor:
        if done:
            self._file = open("/dev/full", "wb", buffering=0)  # noqa: SIM115  the disk that is always full
        return copied(self, tensor)

    with monkeypatch.context() as patch:
        patch.setattr(Store, "put", putting)
        patch.setattr(Spill, "copied", copying)
        with pytest.raises(StoreError, match=r"intermediate results in .*No space left on device.*TMPDIR"):
            fit_patterns(net, folder, ALL, store=tmp_path / "fit", **settings_)
    *_, step = fitting_patterns(net, folder, ALL, store=tmp_path / "fit", batch_size=1)
    assert 0 < step.total < 33, "what was done is not done again"
    same(step.patterns, whole)


def test_patterns_scale_against_the_weights_and_do_not_see_batch_norm() -> None:
    """a(lambda w) = a / lambda; and w a is the same whether a batch norm is folded or not."""
    torch.manual_seed(0)
    conv, images = nn.Conv2d(3, 5, 3, bias=False), pictures(40)
    norm = nn.BatchNorm2d(5)
    norm.running_mean.normal_(0, 0.3), norm.running_var.uniform_(0.5, 2)
    norm.weight.data = torch.tensor([1.5, -0.7, 0.2, 1.0, -2.0])
    norm.bias.data.normal_(0, 0.2)
    end = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)
    folded = network(conv, norm, nn.ReLU(), *end)
    gain = norm.weight.data / (norm.running_var + norm.eps).sqrt()
    fit = {}
    for regime in ALL:
        fit[regime] = fit_patterns(folded, images, regime, layers="0", progress=False)["0"]
    (neurons,) = neurons_of(folded, "0")
    assert_close(neurons.weight, conv.weight.data * gain.reshape(-1, 1, 1, 1), 1e-5)
    # Unfolded, by the definition: y of the bare convolution, the regime by the sign behind the batch norm.
    samples = rows(neurons, torch.stack(images))[:, 0]
    w = conv.weight.data.double().flatten(1).numpy()
    for unit in range(5):
        y = samples @ w[unit]
        z = gain[unit].item() * (y - norm.running_mean[unit].item()) + norm.bias.data[unit].item()
        for regime, on in (("positive", z > 0), ("negative", z <= 0), ("all", z < np.inf)):
            numerator = (samples * y[:, None])[on].mean(0) - samples[on].mean(0) * y.mean()
            expected = w[unit] * numerator / (w[unit] @ numerator)
            got = (neurons.weight[unit] * fit[regime][unit]).double().flatten().numpy()
            assert abs(got - expected).max() <= 5e-4 * abs(expected).max()


def test_a_batch_norm_that_cannot_be_folded_decides_the_regime() -> None:
    class Shared(nn.Module):
        """The pool lies between convolution and batch norm."""

        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.end = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
            self.norm.weight.data = torch.tensor([1.0, -1.0, 0.5, -0.5])
            self.norm.running_mean.fill_(0.1)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(torch.relu(self.norm(torch.max_pool2d(self.conv(x), 2))).mean((2, 3)))

    net = Network(Shared().eval(), input_size=10)
    (layer,) = neurons_of(net, "conv")
    assert layer.gate == "rectifier"
    assert [n.kind for n in layer.through] == ["batch_norm"]
    z = torch.randn(2, 4, 3, 3)
    np.testing.assert_allclose(layer.gated(z) > 0, net_norm(z) > 0)


def net_norm(z: Tensor) -> Tensor:
    return (z - 0.1) * torch.tensor([1.0, -1.0, 0.5, -0.5]).reshape(1, 4, 1, 1)


@pytest.mark.parametrize("mean", [0.0, 0.4])
def test_the_toy_of_the_paper(mean: float) -> None:
    """x = y (1, 0) + e (1, 1), w = (1, -1): a = (1, 0); a_+ = (1 + 1.5 mu, 1.5 mu) for a distractor of mean mu."""
    rng = np.random.default_rng(0)
    y, e = rng.uniform(-1, 1, 20_000), rng.normal(mean, 0.5, 20_000)
    x = torch.from_numpy(np.stack([y + e, e], 1)).float()
    net = network(nn.Flatten(), linear([[1.0, -1.0]] * 2), nn.ReLU(), size=(1, 1, 2))
    (layer,) = neurons_of(net)
    sums = LayerSums(active=True, whole=True)
    for part in x.split(1000):
        sums.add(layer, [part], part @ layer.weight.T)
    expected = {"all": (1, 0), "positive": (1 + 1.5 * mean, 1.5 * mean), "negative": (1 - 1.5 * mean, -1.5 * mean)}
    for regime, values in expected.items():
        np.testing.assert_allclose(pattern_of(layer, sums, regime)[0][0], values, atol=0.03)


def linear(weight: Any, bias: Any = None) -> nn.Linear:
    w = torch.as_tensor(weight)
    layer = nn.Linear(w.shape[1], w.shape[0])
    layer.weight.data = w.float()
    layer.bias.data = torch.zeros(len(w)) if bias is None else torch.as_tensor(bias).float()
    return layer


def test_outputs_far_from_zero_keep_their_digits() -> None:
    """Twenty deviations off: raw float32 sums would be wrong by half a part in a thousand."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(4000, 6)).astype(np.float32)) + 3
    net = network(nn.Flatten(), linear(rng.normal(size=(3, 6)), [60.0, 80.0, -1.0]), nn.ReLU(), size=(1, 1, 6))
    (layer,) = neurons_of(net)
    sums = LayerSums(active=True, whole=True)
    for part in x.split(500):
        sums.add(layer, [part], torch.nn.functional.linear(part, layer.weight, layer.bias))
    for regime in ("all", "positive"):
        assert_close(pattern_of(layer, sums, regime)[0][:2], by_definition(layer, x, regime)[:2], 2e-5)


def test_denominators_that_vanish_or_turn_are_reported_and_the_bias_neuron_is_the_remedy() -> None:
    """y ~ N(-1, .5): with bias 0.5 and 1 the paper's denominator is negative, with the bias as a neuron it never is."""
    rng = np.random.default_rng(0)
    y = rng.normal(-1, 0.5, 40_000)
    x = torch.from_numpy(np.stack([y, rng.normal(size=len(y))], 1)).float()
    biases = [0.0, 0.5, 1.0, 1.5, 3.0]
    expected = {
        "paper": [0.2515, -0.1315, -0.1490, 0.0342, 0.2493],
        "bias_neuron": [0.2515, 0.2497, 0.2492, 0.2494, 0.2494],
    }
    net = network(nn.Flatten(), linear([[1.0, 0.0]] * 5, biases), nn.ReLU(), size=(1, 1, 2))
    (layer,) = neurons_of(net)
    sums = LayerSums(active=True, whole=False)
    sums.add(layer, [x], torch.nn.functional.linear(x, layer.weight, layer.bias))
    n, inputs, weighted = sums.of("positive")
    mean = sums.tensors["u"] / sums.count
    numerator = ((weighted - inputs * mean) / n)[:, 0]
    for denominator, values in expected.items():
        pattern, fit = pattern_of(layer, sums, "positive", denominator)
        np.testing.assert_allclose(numerator / pattern[:, 0], values, atol=0.02)
        assert fit.negative == ((1, 2) if denominator == "paper" else ())


def test_units_without_a_pattern_are_zero_and_listed_or_have_the_linear_one() -> None:
    constant = linear(np.eye(3, 6), [-100.0, 0.0, 0.0])
    constant.weight.data[1] = 0  # never varies
    net = network(nn.Flatten(), constant, nn.ReLU(), linear(np.ones((2, 3))), size=(1, 1, 6))
    images = pictures(50, (1, 1, 6))
    alone = fit_patterns(net, images, progress=False)
    report = {fit.layer: fit for fit in alone.report}
    assert report["1"].dead == (0, 1)
    assert report["1"].thin == (2,)
    assert "2 dead" in repr(alone.report)
    assert not alone["1"][:2].any()
    both = fit_patterns(net, images, ("positive", "all"), progress=False)
    assert_close(both["1"][:1], by_definition(neurons_of(net, "1")[0], torch.stack(images).flatten(1), "all")[:1], 1e-3)
    assert both.reported("all")[0].vanishing == (1,)


# -- iNNvestigate's numbers --


def of_reference(data: Any) -> tuple[Network, list[str]]:
    names = json.loads(str(data["meta"]))["layers"]
    layers: list[nn.Module] = [nn.Flatten()]
    for name in names:
        weight, bias = data[f"w.{name}"], data[f"b.{name}"]
        # A network has at least two outputs here: a single one is there twice.
        layers += [
            linear(np.repeat(weight, 1 + (len(weight) == 1), 0), np.repeat(bias, 1 + (len(bias) == 1))),
            nn.ReLU(),
        ]
    size = data[f"w.{names[0]}"].shape[1]
    return Network(nn.Sequential(*layers[:-1]).eval(), input_size=(1, 1, size)), names


@pytest.mark.parametrize("name", ["toy_linear", "mlp"])
def test_patterns_of_innvestigate(reference: Path, name: str) -> None:
    data = np.load(reference / "innvestigate" / f"{name}.npz")
    net, names = of_reference(data)
    images = list(torch.from_numpy(data["X_fit"]).reshape(len(data["X_fit"]), 1, 1, -1))
    patterns = fit_patterns(net, images, ALL, progress=False)
    for layer, theirs in zip(patterns, names, strict=True):
        for regime, key in zip(ALL, ("pos", "neg", "linear"), strict=True):
            got = patterns.fitted(layer, regime)
            expected = data[f"pattern_{key}.{theirs}"]
            fit = next(f for f in patterns.reported(regime) if f.layer == layer)
            for unit in range(len(expected)):
                if unit in fit.dead:
                    assert not expected[unit].any()
                    continue
                assert abs(got[unit].numpy() - expected[unit]).max() <= 1e-3 * abs(expected[unit]).max()


def given_patterns(net: Network, names: list[str], data: Any, key: str) -> Patterns:
    regime = "positive" if key == "pos" else "all"
    tensors = {
        (layer.name, regime): torch.from_numpy(data[f"pattern_{key}.{theirs}"]).expand(layer.weight.shape)
        for layer, theirs in zip(neurons_of(net), names, strict=True)
    }
    return Patterns(net.name, net.fingerprint, net.preprocessing.identity, (regime,), "paper", 0, {}, tensors)


@pytest.mark.parametrize("key", ["pos", "linear"])
@pytest.mark.parametrize("method", ["patternnet", "patternattribution"])
@pytest.mark.parametrize("name", ["toy_linear", "mlp"])
def test_explanations_of_innvestigate(reference: Path, name: str, method: str, key: str) -> None:
    data = np.load(reference / "innvestigate" / f"{name}.npz")
    net, names = of_reference(data)
    index = json.loads(str(data["meta"]))["index_neuron"]
    own = fit_patterns(
        net, list(torch.from_numpy(data["X_fit"]).reshape(len(data["X_fit"]), 1, 1, -1)), ALL, progress=False
    )
    estimator = "two_component" if key == "pos" else "linear"
    for patterns, tolerance in ((given_patterns(net, names, data, key), 1e-5), (own, 1e-3)):
        for which, target in (("max", None), ("index", index)):
            expected = data[f"{method}.{key}.{which}.noproj"]
            for x, theirs in zip(data["X_eval"], expected, strict=True):
                picture = torch.from_numpy(x).reshape(1, 1, -1)
                got = attribute(net, picture, method, target, patterns=patterns, estimator=estimator)
                assert abs(got.values.ravel() - theirs).max() <= tolerance * abs(theirs).max()


# -- the methods --


def test_patterns_equal_to_the_weights_give_the_gradient(net: Network) -> None:
    weights = {(n.name, "positive"): n.weight.clone() for n in neurons_of(net)}
    patterns = Patterns(net.name, net.fingerprint, net.preprocessing.identity, ("positive",), "paper", 0, {}, weights)
    picture = pictures(1, seed=5)[0]
    gradient = attribute(net, picture, "gradient", 2)
    signal_ = attribute(net, picture, "patternnet", 2, patterns=patterns)
    np.testing.assert_allclose(signal_.values, gradient.values * gradient.score, rtol=1e-4, atol=1e-6)


def test_the_filter_estimator_is_the_w_squared_rule() -> None:
    """Where there is no rectifier: that rule hands relevance to closed units too."""
    torch.manual_seed(0)
    net = network(nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 3))
    picture = pictures(1, seed=5)[0]
    rules = dict.fromkeys(("conv", "dense", "first"), "w_squared")
    relevance = attribute(net, picture, "lrp", 1, bias=False, **rules)
    got = attribute(net, picture, "patternattribution", 1, estimator="filter")
    np.testing.assert_allclose(got.values, relevance.values, rtol=1e-4, atol=1e-7)


def test_the_identity_estimator_is_input_times_gradient_without_biases() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(256, 3, bias=False)]
    net = network(*layers)
    picture = pictures(1)[0]
    got = attribute(net, picture, "patternattribution", 1, estimator="identity")
    expected = attribute(net, picture, "input_times_gradient", 1)
    np.testing.assert_allclose(got.values, expected.values, rtol=1e-3, atol=1e-5)


def test_a_linear_network_hands_on_all_of_its_score() -> None:
    torch.manual_seed(0)
    net = network(nn.Flatten(), nn.Linear(300, 20, bias=False), nn.Linear(20, 3, bias=False))
    patterns = fit_patterns(net, pictures(400), "all", progress=False)
    for picture in pictures(3, seed=7):
        got = attribute(net, picture, "patternattribution", 1, patterns=patterns, estimator="linear")
        assert got.values.sum(dtype=np.float64) == pytest.approx(got.score, rel=1e-4)


def test_explanations_agree_with_autograd_through_replaced_layers(net: Network, fitted: Patterns) -> None:
    """The exact forward values, the gradient of other kernels: out = conv(x) + (conv_k(x) - conv_k(x).detach())."""
    kernels = {n.name: (n.weight, fitted[n.name]) for n in neurons_of(net)}
    picture = pictures(1, seed=9)[0]
    for method, kernel in (("patternnet", lambda w, a: a), ("patternattribution", lambda w, a: w * a)):
        x = picture[None].clone().requires_grad_()

        def conv(name: str, x: Tensor, kernel: Any = kernel) -> Tensor:
            w, a = kernels[name]
            bias = next(n.bias for n in neurons_of(net) if n.name == name)
            op = torch.conv2d if w.dim() == 4 else torch.nn.functional.linear
            other = op(x, kernel(w, a))
            return op(x, w, bias).detach() + other - other.detach()

        h = torch.max_pool2d(torch.relu(conv("0", x)), 2)
        logits = conv("6", torch.relu(conv("3", h)).flatten(1))
        (logits[0, 3] * logits[0, 3].detach()).backward()
        got = attribute(net, picture, method, 3, patterns=fitted)
        assert x.grad is not None
        np.testing.assert_allclose(got.values, x.grad[0], rtol=1e-3, atol=1e-5 * float(x.grad.abs().max()))


@pytest.mark.parametrize("size", [1e-9, 1e12, 1e15])
def test_signals_beyond_the_range_of_float32_are_brought_back(net: Network, size: float) -> None:
    """Three layers with patterns of that size: the same map, times its third power."""
    plain = {(n.name, "positive"): torch.randn(n.weight.shape) for n in neurons_of(net)}
    maps = []
    for factor in (1.0, size):
        tensors = {key: factor * tensor for key, tensor in plain.items()}
        patterns = Patterns(
            net.name, net.fingerprint, net.preprocessing.identity, ("positive",), "paper", 0, {}, tensors
        )
        maps.append(attribute(net, pictures(1)[0], "patternnet", patterns=patterns))
    assert np.isfinite(maps[1].values).all()
    scale = maps[1].options.get("scale", 1.0)
    assert (scale < 1) == (size == 1e15)
    got = maps[1].values.astype(np.float64) / scale / size**3
    np.testing.assert_allclose(got, maps[0].values, rtol=1e-4, atol=1e-6 * abs(maps[0].values).max())


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("resnet18", 32),
        pytest.param("googlenet", 64, marks=pytest.mark.slow),
        pytest.param("densenet121", 32, marks=pytest.mark.slow),
        ("mobilenet_v2", 32),
    ],
)
def test_torchvision_s_families_are_covered(name: str, side: int) -> None:
    import torchvision

    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    module = torchvision.models.get_model(name, weights=None, num_classes=5, **options).eval()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    net = Network(module, input_size=side)
    images = pictures(4, (3, side, side))
    patterns = fit_patterns(net, images, progress=False)
    assert {fit.kind for fit in patterns.report} >= {"conv", "linear"}
    for method in ("patternnet", "patternattribution"):
        found = attribute(net, images[0], method, patterns=patterns)
        assert np.isfinite(found.values).all()
        assert set(found.extended.values()) <= {"add", "relu6", "avg_pool", "adaptive_avg_pool", "mean", "batch_norm"}


def test_extensions_are_labelled_and_the_paper_s_own_networks_are_not(net: Network, fitted: Patterns) -> None:
    assert not attribute(net, pictures(1)[0], "patternnet", patterns=fitted).extended
    own = network(nn.Conv2d(3, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    patterns = fit_patterns(own, pictures(20), progress=False)
    got = attribute(own, pictures(1)[0], "patternattribution", patterns=patterns)
    assert set(got.extended.values()) == {"relu6", "adaptive_avg_pool"}
    assert "beyond the published method" in repr(got)


def test_sums_share_the_signal_or_copy_it() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.end = nn.Conv2d(3, 3, 3, padding=1), nn.Linear(300, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.end(torch.relu(self.conv(x) + x).flatten(1))

    net = Network(Residual().eval(), input_size=10)
    patterns = fit_patterns(net, pictures(50), progress=False)
    name = next(n.name for n in neurons_of(net) if n.kind == "add")
    picture = pictures(1, seed=3)[0]
    at_sum = attribute(net, picture, "patternattribution", 0, layer=name, patterns=patterns).values
    open_ = net.activations(picture[None], name)[name][0].numpy() > 0
    through = at_sum * open_
    share = patterns[name].numpy().reshape(3, 2, 1, 1)
    n = neurons_of(net, "conv")[0]
    kernel = n.weight * patterns["conv"]

    def back(values: Any) -> Any:
        x = torch.zeros(1, 3, 10, 10, requires_grad=True)
        torch.conv2d(x, kernel, padding=1).backward(torch.as_tensor(values)[None])
        assert x.grad is not None
        return x.grad[0].numpy()

    for sums, (left, right) in {"pattern": (share[:, 0], share[:, 1]), "copy": (1.0, 1.0)}.items():
        got = attribute(net, picture, "patternattribution", 0, patterns=patterns, sums=sums).values
        expected = back(np.float32(through * left)) + through * right
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


def test_a_control_forgets_the_patterns_of_the_layers_that_it_randomises(net: Network, fitted: Patterns) -> None:
    other = randomised(net, 0.0)
    picture = pictures(1, seed=4)[0]
    real = attribute(net, picture, "patternnet", 0, patterns=fitted)
    control = attribute(other, picture, "patternnet", 0, patterns=fitted)
    again = attribute(randomised(net, 0.0), picture, "patternnet", 0, patterns=fitted)
    np.testing.assert_array_equal(control.values, again.values)
    assert abs(np.corrcoef(real.values.ravel(), control.values.ravel())[0, 1]) < 0.9


# -- keeping, continuing, refusing --


def test_patterns_are_saved_with_their_report(fitted: Patterns, net: Network, tmp_path: Path) -> None:
    path = fitted.save(tmp_path / "net.patterns")
    back = Patterns.load(path)
    assert repr(back) == repr(fitted)
    assert back.report == fitted.report
    assert back.fingerprint == net.fingerprint
    for layer in fitted:
        for regime in ALL:
            assert torch.equal(back.fitted(layer, regime), fitted.fitted(layer, regime))
    (tmp_path / "other").write_bytes(b"nothing")
    for other, error in (("other", StoreError), ("missing", ArgumentError)):
        with pytest.raises(error, match="Expected a file"):
            Patterns.load(tmp_path / other)


SCRIPT = """
import sys
import torch
from torch import nn
from convscope_core import spill
from convscope_core.network import Network
from convscope_core.patterns import fitting_patterns
torch.set_num_threads(1)
torch.manual_seed(0)
module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 3))
folder, store, device, large = sys.argv[1:]
spill.LARGE = int(large)
net = Network(module.eval(), input_size=10, device=device)
for step in fitting_patterns(net, folder, ("positive", "all"), store=store, shards=8, batch_size=1):
    print(step.done, flush=True)
"""


def stored_network() -> Network:
    torch.manual_seed(0)
    return network(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 3))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(32):
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), np.uint8)).save(root / f"{number:02}.png")
    (root / "99.png").write_bytes(b"no picture")
    return root


def same(a: Patterns, b: Patterns) -> None:
    assert a.report == b.report
    for layer in a:
        assert torch.equal(a[layer], b[layer])


@pytest.mark.parametrize("large", [spill.LARGE, 2000])
def test_a_killed_fit_goes_on_and_ends_with_the_same_bits(
    folder: Path, tmp_path: Path, device: torch.device, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill, "LARGE", large)
    net, store = stored_network(), tmp_path / "fit"
    settings_ = {"regime": ("positive", "all"), "shards": 8, "batch_size": 1, "progress": False}
    whole = fit_patterns(net, folder, **settings_)
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(folder), str(store), str(device), str(large)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    while int(process.stdout.readline()) < 13:
        pass
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    steps = list(fitting_patterns(net, folder, ("positive", "all"), store=store, shards=8, batch_size=1))
    assert steps[0].total < 33, "what was done is not done again"
    assert steps[-1].skipped[-1][0] == 32
    same(steps[-1].patterns, whole)
    last = list(fitting_patterns(net, folder, ("positive", "all"), store=store))[-1]
    assert last.total == 1, "the one that could not be read is tried again"
    with pytest.raises(ArgumentError, match="resume=False"):
        fit_patterns(net, folder, ("positive", "all"), store=store, resume=False)
    with pytest.raises(ArgumentError, match=r"same sums: it is of .* second over all.* Ask for what the store has"):
        fit_patterns(net, folder, "positive", store=store)


def test_an_executor_gives_the_same_bits(folder: Path) -> None:
    net = stored_network()
    whole = fit_patterns(net, folder, ALL, shards=5, progress=False)
    with ThreadPoolExecutor(2) as executor:
        same(fit_patterns(net, folder, ALL, executor=executor, shards=5, progress=False), whole)


def test_a_closed_fit_keeps_the_shards_that_are_done(net: Network) -> None:
    run = fitting_patterns(net, pictures(40), shards=4, batch_size=5)
    for step in run:
        if step.done >= 20:
            break
    run.close()
    assert step.patterns.images == 20
    same(step.patterns, fit_patterns(net, pictures(40)[:20], shards=2, batch_size=5, progress=False))


def test_sums_survive_pickle_and_state(net: Network) -> None:
    layer = neurons_of(net)[0]
    sums = PatternSums([sums_of(net, layer, pictures(8), 3)])
    again = PatternSums.from_state(pickle.loads(pickle.dumps(sums.state_dict())))
    for regime in REGIMES:
        assert torch.equal(pattern_of(layer, again.layers[0], regime)[0], pattern_of(layer, sums.layers[0], regime)[0])


def test_weights_are_unchanged_and_pictures_do_not_see_one_another(net: Network, fitted: Patterns) -> None:
    before = net.graph.digest()
    both = [attribute(net, picture, "patternnet", 0, patterns=fitted).values for picture in pictures(2, seed=8)]
    alone = attribute(net, pictures(2, seed=8)[1], "patternnet", 0, patterns=fitted).values
    np.testing.assert_array_equal(both[1], alone)
    assert net.graph.digest() == before


def test_what_cannot_be_fitted_or_used_is_refused_by_name(net: Network, fitted: Patterns) -> None:
    images = pictures(4)
    with pytest.raises(ArgumentError, match=r"regime.*'positve'.*positive"):
        fit_patterns(net, images, "positve")
    with pytest.raises(ArgumentError, match="denominator"):
        fit_patterns(net, images, denominator="none")
    with pytest.raises(ArgumentError, match="at least two pictures"):
        fit_patterns(net, images[:1])
    with pytest.raises(LayerError):
        fit_patterns(net, images, layers="conv9")
    with pytest.raises(ArgumentError, match=r"neurons.*'2'"):
        fit_patterns(net, images, layers=["0", "2"])
    with pytest.raises(ArgumentError, match=r"patterns=.*fit_patterns"):
        attribute(net, images[0], "patternnet")
    with pytest.raises(ArgumentError, match="two-component"):
        attribute(net, images[0], "patternnet", patterns=fit_patterns(net, images, "all", progress=False))
    with pytest.raises(ArgumentError, match="none of '3'"):
        attribute(net, images[0], "patternnet", patterns=fit_patterns(net, images, layers=["0", "6"], progress=False))
    other = network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    with pytest.raises(ArgumentError, match="with these weights"):
        attribute(other, images[0], "patternnet", patterns=fitted)
    info = {m.name: m for m in methods(net)}
    assert not info["patternnet"].supported
    assert "fit_patterns" in info["patternnet"].reason
    with pytest.raises(KeyError, match="Close matches"):
        fitted["33"]
    with pytest.raises(ImageError, match="all failed"):
        fit_patterns(net, [b"one", b"two"], progress=False)


def test_values_that_are_no_numbers_are_refused_with_the_layer() -> None:
    net = network(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(256, 2))
    broken = net.with_tensors(lambda t: t * float("inf") if t.shape == (2, 256) else t, "broken")
    with pytest.raises(NetworkError, match="layer '3'"):
        fit_patterns(broken, pictures(4), progress=False)


def test_directions_of_the_simple_estimators(net: Network) -> None:
    for layer in neurons_of(net):
        for estimator in ("filter", "random"):
            u = direction(layer, estimator)
            np.testing.assert_allclose((u.double() * layer.weight).flatten(1).sum(1), 1, rtol=1e-4)
        assert not torch.equal(direction(layer, "random"), direction(layer, "random", seed=1))

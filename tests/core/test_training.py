"""The training loop: what is done to filters, pictures and weights; one that was stopped goes on as it was."""

from __future__ import annotations

import copy
import errno
import math
import pickle
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.data import TensorDataset
from torchvision.datasets import ImageFolder

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, LayerError, NetworkError, StoreError
from convscope_core.evolution import Checkpoints, EvolutionRecorder, folder
from convscope_core.models import MeanSubtraction, ZFNet, initialise
from convscope_core.saving import opened_result, save_result
from convscope_core.training import (
    LabelledPictures,
    Step,
    Training,
    clip_filters,
    filter_sizes,
    ten_crops,
    train,
    training,
)
from convscope_core.training.crops import middle, one_of_ten
from convscope_core.training.evaluation import class_probabilities, share_right


class Blocks(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """Noisy pictures of which half is bright; a class has the mirror images of its pictures, too."""

    classes = ("above", "below", "middle", "sides")

    def __init__(self, count: int, seed: int = 0, side: int = 24) -> None:
        rng = np.random.default_rng(seed)
        self.pixels = rng.integers(0, 120, (count, side, side, 3), dtype=np.uint8)
        self.labels = [i % 4 for i in range(count)]
        half, quarter = side // 2, side // 4
        for one, label in zip(self.pixels, self.labels, strict=True):
            bright = np.zeros((side, side), bool)
            bright[:half] = label == 0
            bright[half:] |= label == 1
            bright[:, quarter:-quarter] |= label == 2
            bright[:, :quarter] |= label == 3
            bright[:, -quarter:] |= label == 3
            one[bright] += 100

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.pixels[index]), self.labels[index]


def small(classes: int = 4, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 6, 5, stride=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(6 * 4 * 4, 16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, classes),
    )  # fmt: skip


PREPROCESS = MeanSubtraction(24, 20, (0.35,) * 3, (0.2,) * 3)
OPTIONS: dict[str, Any] = {"preprocess": PREPROCESS, "batch_size": 16, "rate": 0.05, "progress": False}


def bits(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


# -- filters --


def slowly_clipped(weight: torch.Tensor, radius: float) -> torch.Tensor:
    """The paper's sentence, weight by weight, in float64."""
    found = weight.double().clone()
    for unit in range(len(found)):
        values = [v for channel in found[unit].tolist() for row in channel for v in row]
        size = math.sqrt(sum(v * v for v in values) / len(values))
        if size > radius:
            for channel in found[unit]:
                for row in channel:
                    for i in range(len(row)):
                        row[i] *= radius / size
    return found


@given(
    channels=st.integers(1, 4), units=st.integers(1, 6), kernel=st.integers(1, 4), groups=st.sampled_from((1, 2)),
    spread=st.floats(0.01, 10), radius=st.floats(0.02, 2), seed=st.integers(0, 99),
)  # fmt: skip
def test_clipping_is_what_its_slow_twin_does(
    channels: int, units: int, kernel: int, groups: int, spread: float, radius: float, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(channels * groups, units * groups, kernel, groups=groups)
    with torch.no_grad():
        conv.weight.normal_(0, spread).mul_(torch.rand(units * groups, 1, 1, 1))
    before, bias = conv.weight.detach().clone(), conv.bias.detach().clone()
    twin = slowly_clipped(before, radius)
    over = before.double().square().mean((1, 2, 3)).sqrt() > radius * (1 + 1e-6)
    clipped = clip_filters(conv, radius)
    torch.testing.assert_close(conv.weight.detach().double(), twin, rtol=1e-5, atol=1e-12)
    under = before.double().square().mean((1, 2, 3)).sqrt() < radius * (1 - 1e-6)
    assert torch.equal(conv.weight.detach()[under], before[under])
    assert int(over.sum()) <= clipped[""] <= int((~under).sum())
    assert torch.equal(conv.bias.detach(), bias)
    assert filter_sizes(conv, None).values[""].max() <= radius * (1 + 1e-5)


def test_each_layer_has_a_radius_of_its_own() -> None:
    net = nn.ModuleDict(
        {"a": nn.Conv2d(3, 4, 3), "b": nn.Conv2d(4, 4, 3), "up": nn.ConvTranspose2d(4, 4, 3), "fc": nn.Linear(3, 3)}
    )
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(1)
    assert clip_filters(net, {"a": 0.5, "b": None}) == {"a": 4}
    found = filter_sizes(net, {"a": 0.5})
    assert found.values.keys() == {"a", "b"}
    np.testing.assert_allclose(found.values["a"], 0.5)
    np.testing.assert_array_equal(found.values["b"], 1)
    assert clip_filters(net) == {"a": 4, "b": 4}
    assert all(bool((net[name].weight == 1).all()) for name in ("up", "fc"))
    assert clip_filters(net, None) == {}
    with pytest.raises(LayerError, match=r"Close matches: up|got 'upp'"):
        clip_filters(net, {"upp": 1.0})
    with pytest.raises(ArgumentError, match="above 0, got 0"):
        clip_filters(net, 0)
    with torch.no_grad():
        net["b"].weight[1, 0, 0, 0] = math.nan
    with pytest.raises(ArgumentError, match="NaN or infinity in b"):
        clip_filters(net)


def test_tied_filters_are_scaled_once_and_frozen_ones_are_left_alone() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3))
    net[1].weight = net[0].weight
    frozen = net[2].requires_grad_(False).weight.fill_(1).clone()
    with torch.no_grad():
        net[0].weight.fill_(1)
    assert clip_filters(net, 0.1) == {"0": 3, "1": 0}
    torch.testing.assert_close(net[0].weight.detach(), torch.full((3, 3, 3, 3), 0.1))
    assert torch.equal(net[2].weight, frozen)
    assert clip_filters(net, {"2": 0.1}) == {"2": 3}  # who names it means it


@pytest.mark.parametrize("norm", [nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm])
def test_weights_that_are_computed_are_neither_clipped_nor_drawn(norm: Any) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), norm(nn.Conv2d(4, 4, 3)))
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(100)
    before = bits(net)
    for call in (lambda: clip_filters(net, 0.1), lambda: clip_filters(net, {"1": 0.1}), lambda: initialise(net)):
        with pytest.raises(ArgumentError, match=r"got 1, a .*Conv2d whose weight is computed"):
            call()
    assert same(bits(net), before)
    assert clip_filters(net, {"0": 0.1}) == {"0": 4}
    assert filter_sizes(net, None).values.keys() == {"0", "1"}


def test_filters_are_shown_against_the_radius() -> None:
    pytest.importorskip("matplotlib")
    net = ZFNet(3, width=1 / 24, units=4, input_size=64)
    found = filter_sizes(net, {"conv1": 0.01})
    assert [line.split()[0] for line in repr(found).splitlines()] == ["FilterSizes", *(f"conv{i}" for i in range(1, 6))]
    figure = found.plot()
    lines = {panel.get_title(): [line.get_xdata()[0] for line in panel.lines] for panel in figure.axes}
    assert lines == {"conv1": [0.01], "conv2": [], "conv3": [], "conv4": [], "conv5": []}
    heights = sum(patch.get_height() for patch in figure.axes[1].patches)
    assert heights == len(found.values["conv2"])
    with pytest.raises(ArgumentError, match="with convolutions, got a Linear"):
        filter_sizes(nn.Linear(2, 2))


# -- crops --


@given(height=st.integers(7, 13), width=st.integers(7, 13), size=st.integers(1, 7))
def test_ten_crops_are_torchvisions(height: int, width: int, size: int) -> None:
    vision = pytest.importorskip("torchvision.transforms.v2.functional")
    pictures = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    expected = torch.stack(vision.ten_crop(pictures, [size, size]))
    assert torch.equal(ten_crops(pictures, size), expected)
    assert torch.equal(middle(pictures, size), expected[4])


def test_each_picture_gets_one_of_its_ten_crops() -> None:
    pictures = torch.rand(400, 2, 9, 9)
    found = one_of_ten(pictures, 6, torch.Generator().manual_seed(0))
    equal = (ten_crops(pictures, 6) == found).flatten(2).all(2)
    assert bool((equal.sum(0) == 1).all())
    assert int(equal.sum(1).min()) > 15  # of 40 each
    again = one_of_ten(pictures, 6, torch.Generator().manual_seed(0))
    assert torch.equal(found, again)
    with pytest.raises(ArgumentError, match="at least 10 pixels, to crop them, got 9×9"):
        ten_crops(pictures, 10)


def test_all_ten_are_averaged() -> None:
    module, data = small().eval(), LabelledPictures(Blocks(10), 24)
    p = class_probabilities(module, data, PREPROCESS, batch_size=4)
    for index in range(10):
        pixels = data.batch(torch.tensor([index]))[0]
        each = [module(PREPROCESS.normalised(one)).softmax(1) for one in ten_crops(pixels, 20)]
        torch.testing.assert_close(p[index].float(), torch.stack(each).mean(0)[0].detach())
    assert share_right(torch.eye(4)[[0, 1, 2, 2]], torch.arange(4)) == 0.75


# -- the loop --


def by_hand(module: nn.Module, epochs: int, seed: int = 0) -> nn.Module:
    """The same training written out, with torch's optimiser replaced by its formula."""
    from convscope_core.training.loop import _number

    data = Blocks(40)
    pixels = torch.from_numpy(data.pixels).permute(0, 3, 1, 2)
    labels = torch.tensor(data.labels)
    velocity = {name: torch.zeros_like(p) for name, p in module.named_parameters()}
    step = 0
    for epoch in range(epochs):
        order = torch.randperm(40, generator=torch.Generator().manual_seed(_number(seed, "order", epoch)))
        for batch in (order[0:16], order[16:32], order[32:40]):
            crops = torch.randint(
                10, (len(batch),), generator=torch.Generator().manual_seed(_number(seed, "crops", step))
            )
            x = torch.stack([ten_crops(pixels[i : i + 1], 20)[c, 0] for i, c in zip(batch, crops, strict=True)])
            torch.manual_seed(_number(seed, "dropout", step))
            loss = F.cross_entropy(module.train()((x.float() / 255 - 0.35) / 0.2), labels[batch])
            gradients = torch.autograd.grad(loss, list(module.parameters()))
            with torch.no_grad():
                for (name, p), gradient in zip(module.named_parameters(), gradients, strict=True):
                    velocity[name] = 0.9 * velocity[name] + gradient
                    p -= 0.05 * velocity[name]
                w = module[0].weight
                w.copy_(slowly_clipped(w, 0.1))
            step += 1
    return module


def test_it_is_the_recipe_written_out() -> None:
    found = train(small(), Blocks(40), 2, **OPTIONS)
    expected = by_hand(small(), 2)
    for name, value in found.module.state_dict().items():
        torch.testing.assert_close(value, expected.state_dict()[name], rtol=1e-4, atol=1e-6)
    assert not found.module.training
    assert [one.step for one in found.history] == [3, 6]


def test_it_learns() -> None:
    found = train(small(), Blocks(160), 12, validation=Blocks(80, seed=1), **OPTIONS)
    assert found.history[-1].validation is not None
    assert found.history[-1].validation > 0.9
    assert found.history[0].loss > 2 * found.history[-1].loss
    assert found.classes == Blocks.classes
    net = found.network("blocks")
    picture, label = Blocks(80, seed=1)[3]
    assert (net.name, net.predict(picture).label) == ("blocks", Blocks.classes[label])
    assert "validation" in repr(found)
    pytest.importorskip("matplotlib")
    left, right = found.plot().axes
    np.testing.assert_array_equal(left.lines[0].get_ydata(), [one.loss for one in found.history])
    np.testing.assert_array_equal(right.lines[1].get_ydata(), [one.validation for one in found.history])


def test_a_training_is_kept_and_read_again(tmp_path: Path) -> None:
    found = train(small(), Blocks(40), 2, validation=Blocks(12, seed=1), **OPTIONS)
    read = Training.load(found.save(tmp_path / "training.safetensors"), small(seed=8))
    assert same(bits(read.module), bits(found.module))
    assert (read.history, read.classes, read.preprocess) == (found.history, found.classes, found.preprocess)
    assert repr(read) == repr(found)
    with pytest.raises(NetworkError, match=r"does not fit. Wrong shape or type: 7.weight \(4, 16\) for \(5, 16\)"):
        Training.load(tmp_path / "training.safetensors", small(classes=5))
    half = found.module.bfloat16()
    Training(half, (), found.classes, found.preprocess, {}).save(tmp_path / "half.safetensors")
    again = Training.load(tmp_path / "half.safetensors", small().bfloat16())
    assert same(bits(again.module), bits(half))


class StopError(Exception):
    pass


class StopAt:
    def __init__(self, step: int) -> None:
        self.at = step

    def __call__(self, done: Step) -> None:
        if done.step == self.at:
            raise StopError


@settings(max_examples=20)
@given(stops=st.lists(st.integers(1, 9), max_size=3), every=st.sampled_from((None, 1, 2)))
def test_killed_and_resumed_is_uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], every: int | None
) -> None:
    kwargs = {**OPTIONS, "validation": Blocks(12, seed=1), "patience": 0, "checkpoint_every": every}
    whole = train(small(), Blocks(40), 3, **kwargs)
    path = tmp_path_factory.mktemp("kept") / "checkpoint.safetensors"
    for stop in sorted(stops):
        with suppress(StopError):  # not met again where the checkpoint is from behind it
            train(small(), Blocks(40), 3, checkpoint=path, callbacks=[StopAt(stop)], **kwargs)
        torch.manual_seed(random.randrange(1000))
    again = train(small(), Blocks(40), 3, checkpoint=path, **kwargs)
    assert same(bits(again.module), bits(whole.module))
    plain = [{**vars(one), "seconds": 0} for one in whole.history]
    assert [{**vars(one), "seconds": 0} for one in again.history] == plain


def test_a_finished_training_goes_on_to_more_epochs(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "checkpoint.safetensors"
    train(small(), Blocks(40), 1, checkpoint=path, **OPTIONS)
    longer = train(small(seed=5), Blocks(40), 2, checkpoint=path, **OPTIONS)
    assert same(bits(longer.module), bits(train(small(), Blocks(40), 2, **OPTIONS).module))
    (only,) = training(small(), Blocks(40), 2, checkpoint=path, **OPTIONS)
    assert (only.done, only.total) == (2, 2)
    assert same(bits(only.result.module), bits(longer.module))
    anew = train(small(seed=5), Blocks(40), 1, checkpoint=path, resume=False, **OPTIONS)
    assert not same(bits(anew.module), bits(longer.module))
    assert [p.name for p in path.parent.iterdir()] == ["checkpoint.safetensors"]


def test_batch_norm_and_frozen_weights_go_along(tmp_path: Path) -> None:
    def make() -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 5, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(256, 4))
        net[0].bias.requires_grad_(False)
        return net

    path = tmp_path / "checkpoint.safetensors"
    whole = train(make(), Blocks(40), 2, **OPTIONS)
    with pytest.raises(StopError):
        train(make(), Blocks(40), 2, checkpoint=path, checkpoint_every=1, callbacks=[StopAt(4)], **OPTIONS)
    assert same(bits(train(make(), Blocks(40), 2, checkpoint=path, **OPTIONS).module), bits(whole.module))
    assert torch.equal(whole.module[0].bias, make()[0].bias)


def test_callbacks_change_nothing_and_see_every_update() -> None:
    plain = train(small(), Blocks(40), 2, **OPTIONS)
    seen: list[Step] = []

    class Recorder:
        def __init__(self) -> None:
            self.calls: list[tuple[int | None, float | None]] = []

        def step(self, step: int | None = None, epoch: float | None = None) -> bool:
            self.calls.append((step, epoch))
            torch.rand(3)
            return True

    recorder = Recorder()

    def watch(done: Step) -> None:
        seen.append(done)
        torch.manual_seed(99)
        done.module.eval()

    watched = train(small(), Blocks(40), 2, callbacks=[watch, recorder], **OPTIONS)
    assert same(bits(plain.module), bits(watched.module))
    assert [(one.step, one.epoch) for one in seen] == recorder.calls
    assert [one.epoch for one in seen] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert (seen[2].epoch, seen[5].epoch) == (1, 2)
    assert all(math.isfinite(one.loss) and one.rate == 0.05 for one in seen)


def test_an_evolution_recorder_keeps_the_weights_of_epochs() -> None:
    module = small()
    recorder = EvolutionRecorder(module, at=[0, 1, 2], input_size=20)
    before = bits(module)
    found = train(module, Blocks(40), 2, callbacks=[recorder], **OPTIONS)
    kept = recorder.checkpoints
    assert [(one.step, one.epoch) for one in kept] == [(0, 0), (3, 1), (6, 2)]
    assert same(kept[0].state(), before)
    assert same(kept[1].state(), bits(train(small(), Blocks(40), 1, **OPTIONS).module))
    assert same(kept[2].state(), bits(found.module))


def test_nothing_changes_before_the_first_update() -> None:
    module = small()
    with torch.no_grad():
        module[0].weight.mul_(50)
    before = bits(module)
    with pytest.raises(ArgumentError):
        train(module, [], 1, **OPTIONS)
    begun = training(module, Blocks(32), 1, **OPTIONS)
    assert same(bits(module), before)
    assert filter_sizes(module, None).values["0"].max() > 0.1
    module[0].requires_grad_(False)
    for _ in begun:
        pass
    after = bits(module)
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["4.weight"], before["4.weight"])


def test_a_recorder_whose_disk_is_full_does_not_end_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")
    writing, failures = folder.save_file, [full, full]

    def save_file(*arguments: Any) -> None:
        if failures:
            raise failures.pop()
        writing(*arguments)

    module = small()
    recorder = EvolutionRecorder(module, at=[1], folder=tmp_path)
    monkeypatch.setattr(folder, "save_file", save_file)
    with pytest.warns(RuntimeWarning) as warned:
        train(module, Blocks(32), 2, callbacks=[recorder], **OPTIONS)
    for one, moment in zip(warned, ("epoch 1", "epoch 1.5"), strict=True):
        assert str(one.message).startswith(f"Training goes on without. Expected to record {moment} ")
        assert "got a full disk" in str(one.message)
    assert [(c.step, c.epoch) for c in recorder.checkpoints] == [(4, 2.0)]  # tried after updates 2, 3 and 4
    plain = small()
    train(plain, Blocks(32), 2, **OPTIONS)
    assert same(bits(plain), bits(module))


def test_a_recorder_takes_what_it_was_not_given_from_the_training(tmp_path: Path) -> None:
    def zfnet() -> nn.Module:
        made = ZFNet(classes=4, input_size=56, width=0.05, units=8)
        initialise(made, "kaiming", seed=0)
        return made

    module = zfnet()
    bare = EvolutionRecorder(module, at=[1], folder=tmp_path)
    mine = MeanSubtraction(56, 56)
    own, other = EvolutionRecorder(module, at=[1], preprocess=mine), EvolutionRecorder(zfnet(), at=[0])
    assert bare.checkpoints.architecture.input_shape == (3, 56, 56)  # the module says it
    assert "without preprocess" in repr(bare)
    assert "without" not in repr(own)
    data = Blocks(8, side=64)
    found = train(module, data, 1, callbacks=[bare, own, other], batch_size=4)
    assert "without" not in repr(bare)
    made, wanted = bare.checkpoints.network(0), found.network()
    assert made.preprocessing.identity == wanted.preprocessing.identity
    assert (made.labels, made.fingerprint) == (wanted.labels, wanted.fingerprint)
    assert own.checkpoints.network(0).preprocessing.identity != made.preprocessing.identity
    assert own.checkpoints.network(0).labels == wanted.labels
    assert "without preprocess" in repr(other)  # of another module
    assert Checkpoints.load(tmp_path, zfnet()).network(0).labels == wanted.labels


def test_torchs_random_state_is_left_alone() -> None:
    before = torch.get_rng_state()
    module = small()
    torch.set_rng_state(before)
    train(module, Blocks(40), 1, **OPTIONS)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_rate_falls_when_the_error_stalls() -> None:
    module = small()
    for p in module.parameters():
        p.requires_grad_(False)
    module[-1].bias.requires_grad_(True)
    rates = [
        one.rate
        for one in train(module, Blocks(40), 8, validation=Blocks(8), patience=1, **{**OPTIONS, "rate": 1e-9}).history
    ]
    np.testing.assert_allclose(rates, [1e-9] * 3 + [1e-10] * 2 + [1e-11] * 2 + [1e-12], rtol=1e-6)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_on_the_processor(tmp_path: Path, precision: str) -> None:
    path = tmp_path / "checkpoint.safetensors"
    kwargs = {**OPTIONS, "precision": precision}
    whole = train(small(), Blocks(160), 6, **kwargs)
    assert whole.history[-1].accuracy > 0.6
    assert all(p.dtype == torch.float32 for p in whole.module.parameters())
    full = train(small(), Blocks(160), 6, **OPTIONS)
    assert not same(bits(whole.module), bits(full.module))
    with pytest.raises(StopError):
        train(small(), Blocks(160), 6, checkpoint=path, callbacks=[StopAt(31)], **kwargs)
    assert same(bits(train(small(), Blocks(160), 6, checkpoint=path, **kwargs).module), bits(whole.module))


def test_gradients_beyond_half_precision_skip_an_update() -> None:
    module, seen = small(), []
    kwargs = {**OPTIONS, "precision": "float16", "batch_size": 40}
    with torch.no_grad():
        module[-1].weight.mul_(2000)  # gradients times the scale of 65536 are beyond 65504
    before = bits(module)
    train(module, Blocks(40), 1, callbacks=[lambda done: seen.append(done.loss)], **{**kwargs, "clip": None})
    assert math.isfinite(seen[0])
    assert same(bits(module), before)


# -- what is wrong with what is given --


def test_a_loss_that_is_not_finite_is_named_with_its_update() -> None:
    module = small()

    def spoil(done: Step) -> None:
        if done.step == 4:
            with torch.no_grad():
                done.module[-1].bias.fill_(math.nan)

    with pytest.raises(ArgumentError, match=r"finite loss, got nan at update 5 \(epoch 1.67\).*rate \(0.05\)"):
        train(module, Blocks(40), 2, callbacks=[spoil], **OPTIONS)
    assert not module.training


def test_what_cannot_learn() -> None:
    for module in (nn.Flatten(), "zfnet", train(small(), Blocks(8), 1, **OPTIONS).network()):
        with pytest.raises(ArgumentError, match=r"torch.nn.Module with weights to train, got"):
            train(module, Blocks(8), 1, **OPTIONS)  # type: ignore[arg-type]


def flat_norm() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 4))


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (small().double(), "single precision, got 0.weight in float64"),
        (small().bfloat16(), "single precision, got 0.weight in bfloat16"),
        (nn.Sequential(nn.Flatten(), nn.LazyLinear(4)), "knows its sizes, got 1.weight"),
        (nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.LazyLinear(4)), "knows its sizes, got 2.weight"),
        (ZFNet(4, channels=1, width=0.02, units=4, input_size=56), r"takes pictures \(1, 3, 20, 20\) .* RuntimeError"),
        (flat_norm(), "at least 2 pictures in every batch, for the batch norm 2 .* got 17 pictures in batches of 16"),
    ],
)
def test_modules_that_cannot_take_the_pictures(module: nn.Module, message: str) -> None:
    modes = [part.training for part in module.modules()]
    with pytest.raises(ArgumentError, match=message):
        training(module, Blocks(17), 1, **OPTIONS)
    assert [part.training for part in module.modules()] == modes


def test_batches_of_one_are_no_matter_where_batch_norm_has_more() -> None:
    train(flat_norm(), Blocks(18), 1, **OPTIONS)
    train(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 18 * 18, 4)),
        Blocks(17),
        1,
        **OPTIONS,
    )


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_without_gradients_there_is_no_training(off: Any) -> None:
    begun = training(small(), Blocks(8), 2, **OPTIONS)
    with off():
        with pytest.raises(ArgumentError, match="where gradients are computed"):
            training(small(), Blocks(8), 1, **OPTIONS)
        with pytest.raises(ArgumentError, match="where gradients are computed"):
            next(begun)


@pytest.mark.parametrize(
    ("stated", "size"),
    [(20, 20), ((20, 20), 20), ([20, 20], 20), (None, 224), ((20, 24), None), ("20", None), ((), None), (0, None)],
)
def test_the_size_that_a_module_states(stated: Any, size: int | None) -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 4))
    module.input_size = stated
    if size is not None:
        assert train(module, Blocks(8), 1).preprocess.size == size
    else:
        with pytest.raises(ArgumentError, match="input_size as the side of a square"):
            train(module, Blocks(8), 1)


def test_pictures_that_cannot_be_learnt_from() -> None:
    with pytest.raises(ArgumentError, match="at least one picture, got an empty list"):
        train(small(), [], 1)
    with pytest.raises(ArgumentError, match=r"pictures with labels, got picture 0 .* without"):
        train(small(), [Image.new("RGB", (24, 24))], 1)
    strange = type("Strange", (Blocks,), {})(8)
    strange.labels[2] = 7
    with pytest.raises(ArgumentError, match=r"classes above, below, middle, sides, got '7' of picture 2 \(Strange 2\)"):
        train(small(), strange, 1, **OPTIONS)
    with pytest.raises(ArgumentError, match=r"of the 2 classes above, below, got 'middle' of picture 2"):
        train(small(), Blocks(8), 1, classes=["above", "below"], **OPTIONS)
    with pytest.raises(ArgumentError, match=r"outputs \(N, 4\), a score for each .* got shape \(16, 7\).*classes=4"):
        train(small(classes=7), Blocks(40), 1, **OPTIONS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs to be a whole number"),
        ({"batch_size": 0}, "batch_size"),
        ({"rate": 0}, "rate to be a number above 0"),
        ({"momentum": 1.0}, "momentum to be a number of at least 0 and below 1"),
        ({"factor": 2}, "factor to be a number above 0 and below 1"),
        ({"patience": -1}, "patience"),
        ({"crops": "five"}, "crops as one of 'ten', 'middle'"),
        ({"precision": "float8"}, "precision as one of"),
        ({"clip": -1}, "radius of filters to be a number above 0"),
        ({"checkpoint_every": 0}, "checkpoint_every"),
        ({"seed": "a"}, "seed to be a whole number"),
        ({"seed": 1.5}, "seed to be a whole number"),
        ({"checkpoint": 5}, "checkpoint as the path of a file"),
        ({"callbacks": [3]}, "callables and recorders, got 3"),
        ({"callbacks": print}, r"callables and recorders, got .*Write callbacks=\["),
        ({"preprocess": math.sqrt}, "preprocess as a MeanSubtraction"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        train(small(), Blocks(8), **{"epochs": 1, **OPTIONS, **options})


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(small(), Blocks(40), 1, checkpoint=path, **OPTIONS)
    kept = path.read_bytes()

    def refused(message: str, module: nn.Module | None = None, data: Any = None, **options: Any) -> None:
        module = module or small()
        before = bits(module)
        with pytest.raises(ArgumentError, match=message):
            train(module, data or Blocks(40), 2, checkpoint=path, **{**OPTIONS, **options})
        assert same(bits(module), before)
        assert path.read_bytes() == kept

    refused(r"with rate 0.1, got 0.05", rate=0.1)
    refused(r"with seed 1, got 0", seed=1)
    refused(r"with pictures ", data=Blocks(40, seed=8))
    wide = small()
    wide[4], wide[7] = nn.Linear(96, 8), nn.Linear(8, 4)
    refused(r"with 4.weight of shape \(8, 96\), got shape \(16, 96\)", wide)
    other = small()
    other[6] = nn.Dropout(0.4)
    refused(r"with network ", other)
    with opened_result(path, "the test", ["convscope training checkpoint 1"]) as (form, arrays, settings):
        arrays.pop("module/7.bias")
    save_result(path, form, arrays, settings)
    kept = path.read_bytes()
    refused(r"with 7.bias of shape \(4,\), got none")
    save_result(path, "something else", {"x": np.zeros(2)}, {})
    kept = path.read_bytes()
    refused(r"which holds something else")


def test_a_checkpoint_is_gone_on_with_whatever_is_kept_in_memory(tmp_path: Path) -> None:
    path, other = tmp_path / "checkpoint.safetensors", Blocks(44)
    for before, after in ((True, False), (False, True)):
        train(small(), Blocks(40), 1, validation=Blocks(8), checkpoint=path, cache=before, resume=False, **OPTIONS)
        with pytest.raises(ArgumentError, match="with pictures "):
            train(small(), other, 2, validation=Blocks(8), checkpoint=path, cache=after, **OPTIONS)
        found = train(small(), Blocks(40), 2, validation=Blocks(8), checkpoint=path, cache=after, **OPTIONS)
        assert same(bits(found.module), bits(train(small(), Blocks(40), 2, **OPTIONS).module))


def test_a_checkpoint_is_not_gone_on_with_while_other_weights_are_frozen(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(small(), Blocks(40), 1, checkpoint=path, **OPTIONS)
    frozen = small()
    frozen[0].weight.requires_grad_(False)
    with pytest.raises(ArgumentError, match=r"with frozen \['0.weight'\], got None"):
        train(frozen, Blocks(40), 2, checkpoint=path, **OPTIONS)
    train(frozen, Blocks(40), 1, checkpoint=path, resume=False, **OPTIONS)
    train(frozen, Blocks(40), 2, checkpoint=path, **OPTIONS)
    with pytest.raises(ArgumentError, match=r"with frozen None, got \['0.weight'\]"):
        train(small(), Blocks(40), 3, checkpoint=path, **OPTIONS)


def test_a_damaged_checkpoint_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(small(), Blocks(40), 1, checkpoint=path, **OPTIONS)
    whole = path.read_bytes()
    for damaged in (b"junk", whole[:-9], whole[:-9] + bytes(9)):
        path.write_bytes(damaged)
        with pytest.raises(StoreError, match=r"which is damaged or another kind of file"):
            train(small(), Blocks(40), 2, checkpoint=path, **OPTIONS)
    train(small(), Blocks(40), 1, checkpoint=path, resume=False, **OPTIONS)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.safetensors"
    train(small(), Blocks(40), 1, checkpoint=path, **OPTIONS)
    kept = path.read_bytes()

    def full(*args: Any, **kwargs: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("convscope_core.saving.save_file", full)
    with pytest.raises(StoreError, match=r"got a full disk. What was there before is as it was"):
        train(small(), Blocks(40), 2, checkpoint=path, **OPTIONS)
    assert path.read_bytes() == kept
    assert len(list(tmp_path.iterdir())) == 1


# -- pictures --


def test_folders_and_sets_give_the_same_pictures(tmp_path: Path) -> None:
    data = Blocks(12)
    for index, (picture, label) in enumerate(data):
        folder = tmp_path / data.classes[label]
        folder.mkdir(exist_ok=True)
        picture.save(folder / f"{index:02}.png")
    files = LabelledPictures(tmp_path, 24)
    memory = LabelledPictures(data, 24)
    lazy = LabelledPictures(tmp_path, 24, cache=False)
    assert files.classes == memory.classes == lazy.classes
    every = torch.arange(12)
    order = torch.argsort(memory.labels, stable=True)
    for one in (files, lazy):
        assert torch.equal(one.labels, memory.labels[order])
        assert torch.equal(one.batch(every)[0], memory.batch(order)[0])
    assert lazy.digest() == LabelledPictures(tmp_path, 24, cache=False).digest()
    assert lazy.digest() == {"pixels": None, "names": files.digest()["names"]}
    assert files.digest()["pixels"] != memory.digest()["pixels"]
    assert memory.digest() == LabelledPictures(Blocks(12), 24).digest()
    mean, deviation = memory.colours()
    np.testing.assert_allclose(mean, data.pixels.mean((0, 1, 2)) / 255, atol=1e-6)
    np.testing.assert_allclose(deviation, (data.pixels / 255).std((0, 1, 2)), atol=1e-6)


@pytest.mark.parametrize("cache", [True, False])
def test_classes_of_a_folder_are_in_the_order_of_torchvisions(tmp_path: Path, cache: bool) -> None:
    for index, name in enumerate(("a2", "a10", "b", "B", "10", "9")):
        (tmp_path / name).mkdir()
        Blocks(6)[index][0].save(tmp_path / name / "1.png")
    expected = ImageFolder(tmp_path)
    pictures = Images.of(tmp_path)
    for source in (expected, tmp_path, pictures, pictures[::-1], list(pictures)):
        found = LabelledPictures(source, 24, cache=cache)
        assert found.classes == tuple(expected.classes)
    for source, numbers in (
        (expected, expected.targets),
        (tmp_path, [expected.class_to_idx[p.label] for p in pictures]),
    ):
        assert LabelledPictures(source, 24, cache=cache).labels.tolist() == numbers


@pytest.mark.parametrize("cache", [True, False])
def test_numbers_without_names_are_in_order(cache: bool) -> None:
    pixels, labels = torch.zeros(12, 3, 8, 8, dtype=torch.uint8), torch.arange(12).flip(0)
    found = LabelledPictures(TensorDataset(pixels, labels), 8, cache=cache)
    assert found.classes == tuple(map(str, range(12)))
    assert torch.equal(found.labels, labels)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize(
    "labels", [F.one_hot(torch.arange(6) % 3, 3), torch.arange(6) / 2, torch.arange(6) - 1, torch.zeros(6, 2).bool()]
)  # fmt: skip
def test_labels_that_are_no_classes_are_refused(labels: torch.Tensor, cache: bool) -> None:
    data = TensorDataset(torch.zeros(6, 3, 8, 8, dtype=torch.uint8), labels)
    with pytest.raises(ArgumentError, match=r"names or numbers of classes, from 0, got .* of picture 0"):
        LabelledPictures(data, 8, cache=cache)


def test_a_number_is_not_the_name_of_another_class() -> None:
    data = type("Named", (Blocks,), {"classes": ("7", "5")})(4)
    data.labels = [0, 1, 1, 5]
    with pytest.raises(ArgumentError, match=r"of the 2 classes 7, 5, got '5' of picture 3"):
        LabelledPictures(data, 24)
    with pytest.raises(ArgumentError, match=r"of the 2 classes 7, 5, got '5' of picture 3"):
        LabelledPictures(data, 24, ["7", "5"])
    label = copy.deepcopy(pickle.loads(pickle.dumps(Images.of(data)[3].label)))
    assert (label, label.number) == ("5", 5)


@pytest.mark.parametrize("classes", [5, [0, 1, 2], "012", [], ["a", "b", "a"]])
def test_classes_that_are_no_names_are_refused(classes: Any) -> None:
    with pytest.raises(ArgumentError, match=r"Expected classes as a list of names|Expected every class once, got 'a'"):
        train(small(), Blocks(8), 1, classes=classes, **OPTIONS)


def test_pictures_are_read_once_for_several_networks() -> None:
    held = LabelledPictures(Blocks(40), 24)
    found = train(small(), held, 1, validation=held, **OPTIONS)
    assert same(bits(found.module), bits(train(small(), Blocks(40), 1, **OPTIONS).module))
    with pytest.raises(ArgumentError, match="pictures of 24 pixels, got LabelledPictures of 20"):
        train(small(), LabelledPictures(Blocks(8), 20), 1, **OPTIONS)
    with pytest.raises(ArgumentError, match="classes above, below, got those of above, below, middle, sides"):
        train(small(), held, 1, classes=["above", "below"], **OPTIONS)


def test_the_default_preprocessing_is_the_papers() -> None:
    net = ZFNet(4, width=1 / 48, units=8, input_size=56)
    initialise(net, "kaiming", seed=0)
    found = train(net, Blocks(8, side=64), 1, progress=False, rate=1e-6)
    assert isinstance(found, Training)
    preset = found.preprocess
    assert (preset.resize, preset.size, preset.std) == (64, 56, (1 / 255,) * 3)
    assert preset.mean == LabelledPictures(Blocks(8, side=64), 64).colours()[0]
    divided = train(copy.deepcopy(net), Blocks(8, side=64), 1, standardise=True, progress=False, rate=1e-6).preprocess
    assert divided.std == LabelledPictures(Blocks(8, side=64), 64).colours()[1]

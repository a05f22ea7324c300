"""Invariance: every measure against a plain loop in float64, curves that are known, interruption, files, bad input."""

from __future__ import annotations

import concurrent.futures
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from torch import nn

from convscope_core.errors import ArgumentError, ImageError, LayerError, StoreError
from convscope_core.experiments import (
    ConsistencyResult,
    InvarianceResult,
    consistency,
    invariance,
    measuring_consistency,
    measuring_invariance,
)
from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.experiments.invariance.transforms import margin_of
from convscope_core.network import Network

SIZE = 24
TRANSFORMS = {"shift_y": [-4, 0, 2.5, 8], "rotation": [0, 30, 90], "noise": [0.1], "brightness": [0.5, 1, 1.5]}


def strided(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(180, 3),
    ).eval()  # fmt: skip


def pooled(stride: int) -> nn.Sequential:
    """Circular convolutions and a mean over all places."""
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride, 1, padding_mode="circular"), nn.ReLU(),
        nn.Conv2d(8, 8, 3, 1, 1, padding_mode="circular"), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(8, 4),
    ).eval()  # fmt: skip


class Labelled(torch.utils.data.Dataset[tuple[Any, int]]):
    """Prepared pictures with labels, one of them damaged."""

    classes = ("a", "b", "c")

    def __init__(self, count: int = 7, damaged: int = -1) -> None:
        self.x = torch.rand(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
        self.damaged = damaged

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return (torch.full((3, SIZE, SIZE), torch.nan) if index == self.damaged else self.x[index]), index % 3


@pytest.fixture(scope="module")
def net() -> Network:
    return Network(strided(), input_size=SIZE, labels=["a", "b", "c"], name="small")


@pytest.fixture(scope="module")
def found(net: Network) -> InvarianceResult:
    return invariance(net, Labelled(), TRANSFORMS, fill="reflect", seed=3, batch_size=4, progress=False)


def test_every_measure_is_that_of_a_plain_loop(net: Network, found: InvarianceResult) -> None:
    data, module = Labelled(), strided().double()
    made = Varied(net, "reflect", margin_of(found.transforms, net.input_shape), 3)
    stops = {"0": 2, "3": 5, "6": 7}
    assert found.layers == tuple(stops)
    for transform in found.transforms:
        name = transform.name
        means: dict[str, list[Any]] = {layer: [] for layer in stops}
        for n in range(len(data)):
            pictures = made(made.frame.prepare(data.x[n]), name, transform.values, n).double()
            with torch.no_grad():
                values = {layer: module[:stop](pictures) for layer, stop in stops.items()}
                clean = {layer: module[:stop](data.x[n : n + 1].double())[0] for layer, stop in stops.items()}
            p, clean_p = values["6"].softmax(1), clean["6"].softmax(0)
            top = int(clean_p.argmax())
            np.testing.assert_allclose(found.probabilities(name)[n], p[:, top], rtol=1e-4)
            assert found.kept(name)[n].tolist() == (p.argmax(1) == top).tolist()
            for layer in stops:
                b, a = values[layer].flatten(1).numpy(), clean[layer].flatten().numpy()
                raw = np.sqrt(((b - a) ** 2).sum(1))
                cosine = 1 - (b @ a) / np.sqrt((b**2).sum(1) * (a**2).sum())
                np.testing.assert_allclose(found.distances(name, layer, "raw")[n], raw, rtol=1e-4, atol=1e-5)
                relative = raw / np.sqrt((a**2).sum())
                np.testing.assert_allclose(found.distances(name, layer)[n], relative, rtol=1e-4, atol=1e-6)
                np.testing.assert_allclose(found.distances(name, layer, "cosine")[n], cosine, rtol=2e-3, atol=2e-6)
                maps = values[layer] if values[layer].ndim == 4 else values[layer][:, :, None, None]
                means[layer].append(maps.mean((2, 3)).numpy())
        for layer in stops:
            units = np.stack(means[layer])  # picture, value, unit
            if units.shape[1] == 1:
                assert np.isnan(found.spread(name, layer)).all()
            else:
                ratio = units.std(1, ddof=1).mean(0) / units.std(0, ddof=1).mean(0)
                np.testing.assert_allclose(found.spread(name, layer), ratio, rtol=1e-3)
            rows = found.distances(name, layer)
            curve = found.curve(name, layer)
            np.testing.assert_allclose(curve.mean, rows.mean(0))
            np.testing.assert_allclose(curve.high - curve.mean, 1.96 * rows.std(0, ddof=1) / np.sqrt(len(rows)))


def test_it_is_exactly_nothing_where_nothing_changes(net: Network, found: InvarianceResult) -> None:
    for transform in found.transforms:
        same = [k for k in range(len(transform.values)) if k not in transform.changing]
        for layer in found.layers:
            for distance in ("raw", "relative", "cosine"):
                assert (found.distances(transform.name, layer, distance)[:, same] == 0).all()
                assert (found.distances(transform.name, layer, distance)[:, list(transform.changing)] > 0).all()
        assert (found.probabilities(transform.name)[:, same] == found.clean_probability[:, None]).all()
    data = Labelled()
    for n in range(len(data)):
        prediction = net.predict(data.x[n])
        assert prediction.index == found.targets[n] == found.clean_classes[n]
        assert prediction.probability == pytest.approx(float(found.clean_probability[n]), rel=1e-6)
    assert found.truths.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_curves_that_are_known() -> None:
    torch.manual_seed(0)
    linear = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.Flatten(), nn.Linear(6 * 22 * 22, 2, bias=False)).eval()
    net = Network(linear, input_size=SIZE)
    factors = [0.25, 0.5, 1, 1.5, 2]
    dark = 0.5 * Labelled().x
    found = invariance(net, dark, {"brightness": factors}, progress=False)
    for layer in found.layers:
        expected = np.abs(np.array(factors) - 1)[None].repeat(len(dark), 0)
        np.testing.assert_allclose(found.distances("brightness", layer), expected, rtol=1e-4)
        np.testing.assert_allclose(found.distances("brightness", layer, "cosine"), 0, atol=1e-6)
    # A mean over all places does not see circular shifts, what is before it does; nothing is left of a unit's spread.
    circular = Network(pooled(1), input_size=SIZE)
    moved = invariance(circular, Labelled().x, {"shift_x": range(-9, 10, 3)}, fill="wrap", progress=False)
    assert moved.distances("shift_x", "6").max() < 1e-5 < 0.1 < moved.distances("shift_x", "0")[:, 0].min()
    assert np.nanmax(moved.spread("shift_x", "0")) < 1e-4
    assert moved.kept("shift_x").all()


def whole(stride: int) -> nn.Sequential:
    """Convolutions and pools whose weights are whole numbers, so that sums are exact in any order."""
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride, 1), nn.ReLU(), nn.MaxPool2d(2, 2), nn.Conv2d(4, 3, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    ).eval()  # fmt: skip
    draws = torch.Generator().manual_seed(5)
    for parameter in made.parameters():
        parameter.data = torch.randint(-2, 3, parameter.shape, generator=draws).float()
    return made


@pytest.mark.parametrize("stride", [1, 2])
def test_maps_move_with_the_picture(stride: int) -> None:
    net = Network(whole(stride), input_size=48)
    pictures = torch.randint(0, 9, (3, 3, 48, 48), generator=torch.Generator().manual_seed(1)).float()
    shifts = [-8, -3, -2, 0, 1, 4, 12]
    found = invariance(
        net, pictures, {"scale": [1.5], "shift_x": shifts, "shift_y": shifts}, ["0", "3"], progress=False
    )
    for axis, name in ((2, "shift_y"), (3, "shift_x")):
        for layer, jump, stop in (("0", stride, 2), ("3", 2 * stride, 5)):
            inside = found.equivariance(name, layer)
            whole_cells = [bool(s) and s % jump == 0 for s in shifts]
            assert (inside[:, whole_cells] == 0).all()
            assert np.isnan(inside[:, [not one for one in whole_cells]]).all()
            overlap = found.equivariance(name, layer, inside=False)
            made = Varied(net, "mean", 12)
            for n, k in ((0, 0), (2, 6)):
                by = shifts[k] // jump
                with torch.no_grad():
                    x = pictures[n : n + 1]
                    moved = made(made.frame.prepare(x[0]), name, [shifts[k]])
                    before, after = (net.forward(one, [layer])[1][layer][0] for one in (x, moved))
                assert torch.equal(before, whole(stride)[:stop](x)[0])
                before, after = before.transpose(1, axis - 1), after.transpose(1, axis - 1)
                mine, theirs = (after[:, by:], before[:, :-by]) if by > 0 else (after[:, :by], before[:, -by:])
                truth = float((mine - theirs).norm() / theirs.norm())
                assert overlap[n, k] == pytest.approx(truth, rel=1e-5)
                assert truth > 0  # padding and fill
    with pytest.raises(ArgumentError, match="shifts"):
        found.equivariance("scale", "0")


def test_it_is_the_same_interrupted_in_a_store_and_elsewhere(
    net: Network, found: InvarianceResult, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"fill": "reflect", "seed": 3, "batch_size": 4, "store": tmp_path / "x.store"}
    steps = measuring_invariance(net, Labelled(), TRANSFORMS, shards=4, **options)
    first = next(steps)
    next(steps), next(steps)
    steps.close()
    assert (first.done, first.total, len(first.result.images)) == (1, 7, 1)
    assert np.isnan(first.result.curve("rotation", "0").low).all()
    assert np.isnan(first.result.spread("rotation", "0")).all()
    assert "1 picture," in repr(first.result)
    again = [*measuring_invariance(net, Labelled(), TRANSFORMS, shards=4, **options)]
    assert len(again) < 7
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        elsewhere = invariance(
            net, Labelled(), TRANSFORMS, shards=4, executor=pool, progress=False, **{**options, "store": None}
        )
    for other in (again[-1].result, elsewhere):
        for name in ("distance", "norm", "probability", "classes", "inside", "overlap", "strips", "images"):
            np.testing.assert_array_equal(getattr(other, name), getattr(found, name))
        np.testing.assert_allclose(other.over_pictures, found.over_pictures, rtol=1e-12)
    assert again[-1].result.over_transforms.tobytes() == elsewhere.over_transforms.tobytes()
    with pytest.raises(ArgumentError, match="fill"):
        measuring_invariance(net, Labelled(), TRANSFORMS, **{**options, "fill": "edge"})


def test_it_is_kept_shown_and_drawn(found: InvarianceResult, tmp_path: Path) -> None:
    again = InvarianceResult.load(found.save(tmp_path / "a"))
    np.testing.assert_equal(again.__dict__, found.__dict__)
    assert repr(again) == repr(found)
    rows = found.table("cosine")
    assert len(rows) == len(rows.columns()["layer"]) == 12
    assert rows[0].distance == pytest.approx(found.distances("shift_y", "0", "cosine")[:, [0, 2, 3]].mean())
    assert "<td>" in rows._repr_html_()
    assert "vertical translation -4 to 8 px" in repr(rows)
    pytest.importorskip("matplotlib")
    assert len(found.plot(["0", "3"]).axes) == 16
    assert found.strips.shape == (5, 4, 5, 64, 64, 3)
    object.__setattr__(again, "norm", again.norm[:, :, 1:])
    with pytest.raises(StoreError, match="damaged"):
        InvarianceResult.load(again.save(tmp_path / "b"))
    with pytest.raises(ArgumentError, match=r"InvarianceResult\.save"):
        InvarianceResult.load(tmp_path / "none")


def test_what_cannot_be_measured_is_refused(net: Network, found: InvarianceResult) -> None:
    data = Labelled(3)
    with pytest.raises(LayerError, match="Expected the name of a layer"):
        measuring_invariance(net, data, layers="conv9")
    for transforms in ([("scale", [1.5])], [["scale"]], [3]):
        with pytest.raises(ArgumentError, match="a transformation as one of"):
            measuring_invariance(net, data, transforms)
    with pytest.raises(ArgumentError, match="at least one layer"):
        measuring_invariance(net, data, layers=[])
    with pytest.raises(ArgumentError, match="target as one of"):
        measuring_invariance(net, data, target="best")
    with pytest.raises(ArgumentError, match="batch_size"):
        measuring_invariance(net, data, batch_size=0)
    with pytest.raises(ArgumentError, match="labelled with a class"):
        invariance(net, data.x, "scale", target="true", progress=False)
    with pytest.raises(ImageError, match="all failed"):
        invariance(net, data.x, "shift_y", fill="source", progress=False)
    with pytest.raises(LayerError, match="layers that were measured"):
        found.distances("rotation", "5")
    with pytest.raises(ArgumentError, match="that was measured"):
        found.probabilities("hue")
    with pytest.raises(ArgumentError, match="distance as one of"):
        found.curve("rotation", "0", "manhattan")
    broken = net.with_tensors(lambda tensor: tensor * 1e25, "broken")
    with pytest.raises(ArgumentError, match="finite features of"):
        invariance(broken, data.x, "scale", progress=False)
    one = invariance(net, Labelled(4, damaged=1), {"scale": 1.5}, "0", target="true", progress=False)
    assert one.images.tolist() == [0, 2, 3]
    assert one.skipped[0][0] == 1
    assert one.targets.tolist() == [0, 2, 0]


# -- consistency --


def test_a_network_that_shifts_cannot_change_is_consistent() -> None:
    pictures = torch.rand(12, 3, 40, 40, generator=torch.Generator().manual_seed(4))
    exact = consistency(Network(pooled(1), input_size=40), pictures, fill="wrap", degrees=0, progress=False)
    assert exact.consistency == (1, 1, 1)
    assert exact.top1_changes == (0, 0, 0)
    assert exact.worst == (1, 1, 1)
    assert exact.mean_change.value < 1e-6
    module = pooled(8)
    with torch.no_grad():  # so that the classes lie close together
        scores = module[:6](pictures)
        module[6].bias.copy_(-module[6].weight @ scores.mean(0))
    jumping = consistency(Network(module, input_size=40), pictures, fill="wrap", progress=False)
    assert 0.1 < jumping.consistency.value < 0.95
    assert jumping.top1_changes.value > 0


def test_the_protocols_are_those_of_plain_loops() -> None:
    module = pooled(4)
    pictures = torch.rand(9, 3, 32, 32, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        module[6].bias.copy_(-module[6].weight @ module[:6](pictures).mean(0))
    net = Network(module, input_size=32)
    found = consistency(
        net, pictures, fill="wrap", passes=3, reach=11, group=4, attempts=5, degrees=0, pixels=3, seed=2, progress=False
    )

    def classify(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(x[None])[0].softmax(0)

    for n, x in enumerate(pictures):
        for number in range(3):
            offsets = np.random.default_rng((2, 0, number, n // 4)).integers(0, 11, size=(2, 2))
            large = torch.from_numpy(np.pad(x.numpy(), ((0, 0), (5, 5), (5, 5)), mode="wrap"))
            crops = [large[:, a : a + 32, b : b + 32] for a, b in offsets]
            assert [int(classify(crop).argmax()) for crop in crops] == found.pairs[n, number].tolist()
        along = [classify(x.roll((k, k), (1, 2))) for k in range(-4, 5)]
        assert [int(p.argmax()) for p in along] == found.steps[n].tolist()
        for k in range(8):
            top = int(along[k].argmax())
            assert float(found.changes[n, k]) == pytest.approx(abs(float(along[k][top] - along[k + 1][top])), abs=1e-6)
    assert found.consistency.value == np.mean(found.pairs[..., 0] == found.pairs[..., 1])
    assert found.top1_changes.value == pytest.approx(
        np.mean([a != b for row in found.steps for a, b in itertools.pairwise(row)])
    )
    assert found.worst.value == np.mean([all(row == t) for row, t in zip(found.attempts, found.targets, strict=False)])
    shares = (found.attempts == found.targets[:, None]).mean(1)
    assert found.average.high == pytest.approx(min(shares.mean() + 1.96 * shares.std(ddof=1) / 3, 1))


def asking(seed: int) -> nn.Sequential:
    """A network of one class, which says yes to half of what it sees."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)
    ).eval()
    with torch.no_grad():
        module[4].weight.mul_(50)
        # Between two of them: of one at the threshold itself rounding decides.
        module[4].bias.sub_(module(Labelled(9).x).flatten().sort().values[3:5].mean())
    return module


def test_a_network_that_answers_yes_or_no_changes_its_answer(tmp_path: Path) -> None:
    module, x = asking(0), Labelled(9).x
    net = Network(module, input_size=SIZE, labels=["cat"], device="cpu")

    def answers(pictures: torch.Tensor) -> list[int]:
        with torch.no_grad():
            return [0 if float(p) >= 0.5 else -1 for p in module(pictures).sigmoid()]

    shifted = invariance(net, x, {"shift_y": [-3, 0, 3]}, fill="wrap", progress=False)
    assert shifted.clean_classes.tolist() == answers(x)
    assert set(answers(x)) == {0, -1}
    assert shifted.classes[:, 0].tolist() == answers(x.roll(-3, 2))
    assert 0 < shifted.kept("shift_y")[:, 0].mean() < 1
    with torch.no_grad():
        np.testing.assert_allclose(shifted.clean_probability, module(x).sigmoid()[:, 0], rtol=1e-5)
    found = consistency(net, x, fill="wrap", degrees=0, pixels=2, progress=False)
    assert found.steps[:, 4].tolist() == found.targets.tolist() == answers(x)
    assert found.steps[:, 7].tolist() == answers(x.roll((3, 3), (2, 3)))
    assert found.top1_changes.value > 0
    assert found.consistency.value < 1
    np.testing.assert_equal(ConsistencyResult.load(found.save(tmp_path / "a")).__dict__, found.__dict__)
    np.testing.assert_equal(InvarianceResult.load(shifted.save(tmp_path / "b")).__dict__, shifted.__dict__)


class Ramps(torch.utils.data.Dataset[tuple[Any, int]]):
    """Pictures that brighten downwards in red and to the right in green, of several sizes."""

    classes = ("tench", "goldfish")

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Any, int]:
        height, width = ((300, 400), (420, 310), (256, 256))[index]
        rows, columns = np.linspace(0, 255, height)[:, None], np.linspace(0, 255, width)[None]
        blue = np.full((height, width), 128.0)
        ramps = [rows + 0 * columns, columns + 0 * rows, blue]
        return PIL.Image.fromarray(np.stack(ramps, -1).astype(np.uint8)), index % 2


def test_the_command_for_published_figures_takes_the_crops_of_their_protocol(tmp_path: Path) -> None:
    # The weights' preprocessing and names, of a network whose class says where in the picture the crop was.
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    levels = torch.linspace(-1, 3, 1000)
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 1000)).eval()
    with torch.no_grad():  # the class of the level nearest to red + 0.3 green
        module[2].weight.copy_(2 * levels[:, None] * torch.tensor([1.0, 0.3, 0.0]))
        module[2].bias.copy_(-levels.square())
    net = Network(module, preprocess=weights.transforms(), labels=weights.meta["categories"], name="resnet18")
    found = consistency(net, Ramps(), store=tmp_path / "resnet18.consistency", workers=2, progress=False)
    assert (found.reach, found.group, found.pairs.shape) == (32, 256, (3, 5, 2))
    transforms = torchvision.transforms
    large = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(256), transforms.ToTensor(),
         transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    )  # fmt: skip
    classes = set()
    for n in range(3):
        x = large(Ramps()[n][0])
        for number in range(5):
            offsets = np.random.default_rng((0, 0, number, 0)).integers(0, 32, size=(2, 2))
            for which, (down, right) in enumerate(offsets):
                with torch.no_grad():
                    expected = int(module(x[None, :, down : down + 224, right : right + 224]).argmax())
                assert abs(int(found.pairs[n, number, which]) - expected) <= 1  # a row is four levels
                classes.add(expected)
    assert len(classes) > 20
    assert found.consistency.value < 0.5


def test_consistency_is_kept_and_goes_on(net: Network, tmp_path: Path) -> None:
    options: dict[str, Any] = {"fill": "edge", "target": "true", "passes": 2, "attempts": 3, "seed": 1}
    steps = measuring_consistency(net, Labelled(), store=tmp_path / "x", shards=3, **options)
    for _ in range(4):
        next(steps)
    steps.close()
    *_, last = measuring_consistency(net, Labelled(), store=tmp_path / "x", shards=3, batch_size=3, **options)
    whole = consistency(net, Labelled(), progress=False, **options)
    np.testing.assert_allclose(last.result.changes, whole.changes, atol=1e-6)
    assert repr(last.result) == repr(whole)
    assert whole.targets.tolist() == whole.truths.tolist() == [0, 1, 2, 0, 1, 2, 0]
    again = ConsistencyResult.load(whole.save(tmp_path / "a"))
    np.testing.assert_equal(again.__dict__, whole.__dict__)
    assert "worst of 3" in whole.table()
    pytest.importorskip("matplotlib")
    assert whole.plot().axes
    one = consistency(net, Labelled(1), fill="grey", progress=False)
    assert np.isnan(one.consistency.low)
    assert "1 picture," in repr(one)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 0}, "passes"), ({"reach": 1}, "at least 2"), ({"reach": 25}, "within the 24 pixels"),
        ({"attempts": 0}, "attempts"), ({"degrees": -1}, "degrees"), ({"fill": "blur"}, "fill"),
        ({"target": "x"}, "target"), ({"group": 0}, "group"),
    ],
)  # fmt: skip
def test_a_protocol_that_cannot_be_is_refused(net: Network, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        measuring_consistency(net, Labelled(2), **options)

"""Image degradation against a loop that replaces patches one by one and runs the module."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from convscope_core.errors import ArgumentError, ImageError
from convscope_core.experiments import Degradation, degradation, degrading
from convscope_core.experiments import image_degradation as module_under_test
from convscope_core.explain import attribute
from convscope_core.network import Network
from convscope_core.patterns import fit_patterns

SIDE = 22
METHODS = ("gradient", "lrp", "random")


@pytest.fixture(scope="module")
def module() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 6, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(512, 5)).eval()


@pytest.fixture(scope="module")
def net(module: nn.Module) -> Network:
    return Network(module, input_size=SIDE)


def pictures(count: int = 3) -> list[Tensor]:
    rng = np.random.default_rng(0)
    return list(torch.from_numpy(rng.normal(size=(count, 3, SIDE, SIDE)).astype(np.float32)))


def by_hand(net: Network, module: nn.Module, x: Tensor, method: str, patch: int, steps: int, number: int) -> Any:
    """The paper's protocol in loops, without leaving anything to the code under test but the attribution."""
    probabilities = lambda y: torch.softmax(module(y[None]), 1)[0]  # noqa: E731
    with torch.no_grad():
        target = int(probabilities(x).argmax())
    places = [(i, j) for i in range(SIDE // patch) for j in range(SIDE // patch)]
    if method == "random":
        order = [places[k] for k in np.random.default_rng((0, number)).permutation(len(places))]
    else:
        heat = attribute(net, x, method, target).values.astype(np.float64)
        score = {(i, j): heat[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch].sum() for i, j in places}
        order = sorted(places, key=lambda p: -score[p])
    y, curve = x.clone(), []
    for step in range(steps + 1):
        if step:
            i, j = order[step - 1]
            box = np.s_[:, i * patch : (i + 1) * patch, j * patch : (j + 1) * patch]
            y[box] = x[box].mean((1, 2), keepdim=True)
        with torch.no_grad():
            curve.append(float(probabilities(y)[target]))
    return target, curve


@pytest.mark.parametrize("groups", [False, True])
@pytest.mark.parametrize(("patch", "steps"), [(9, 4), (5, 11), (4, 25)])
def test_curves_are_those_of_the_protocol(
    net: Network, module: nn.Module, patch: int, steps: int, groups: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By whole forward passes, and in groups with the region walk; 22 pixels hold no whole number of patches."""
    monkeypatch.setattr(module_under_test, "_walk_pays", lambda *_: groups)
    images = pictures()
    found = degradation(net, images, METHODS, patch=patch, steps=steps, progress=False)
    for row, method in enumerate(METHODS):
        for number, x in enumerate(images):
            target, curve = by_hand(net, module, x, method, patch, steps, number)
            assert found.targets[number] == target
            np.testing.assert_allclose(found.probability[row, number], curve, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found.replaced, np.arange(steps + 1) * patch**2 / SIDE**2)


def test_what_is_summed_up_is_what_the_curves_say(net: Network) -> None:
    found = degradation(net, pictures(4), METHODS, patch=5, steps=8, progress=False)
    np.testing.assert_allclose(found.mean, found.probability.mean(1), rtol=1e-6)
    error = 1.96 * found.probability.astype(float).std(1, ddof=1) / 2
    np.testing.assert_allclose(found.band[:, 1], np.clip(found.mean + error, 0, 1), rtol=1e-6)
    assert list(found.order) == sorted(METHODS, key=lambda m: found.area[METHODS.index(m)])
    assert found.order[0] in repr(found).splitlines()[2]
    alone = degradation(net, pictures(1), METHODS, patch=5, steps=8, progress=False)
    assert np.isnan(alone.band).all()


def test_deletion_ends_in_the_fill_and_insertion_in_the_picture(net: Network) -> None:
    images = pictures(2)
    settings = {"methods": ["gradient"], "patch": 11, "steps": 2, "progress": False}
    deleted = degradation(net, images, mode="deletion", fill=(255, 0, 0), **settings)
    inserted = degradation(net, images, mode="insertion", fill=(255, 0, 0), **settings)
    np.testing.assert_array_equal(deleted.patches, [0, 2, 4])
    red = net.to_network(torch.tensor([1.0, 0.0, 0.0])[:, None, None].expand(3, SIDE, SIDE))
    end = net.probabilities(net.forward(red[None])[0])[0]
    for number, x in enumerate(images):
        clean = net.probabilities(net.forward(x[None])[0])[0]
        target = int(clean.argmax())
        assert deleted.probability[0, number, 0] == pytest.approx(float(clean[target]), rel=1e-5)
        assert deleted.probability[0, number, -1] == pytest.approx(float(end[target]), rel=1e-5)
        assert inserted.probability[0, number, 0] == pytest.approx(float(end[target]), rel=1e-5)
        assert inserted.probability[0, number, -1] == pytest.approx(float(clean[target]), rel=1e-5)
        # What is half deleted and half inserted: the first two patches of the order are gone, or there.
        heat = attribute(net, x, "gradient", target).heatmap
        sums = heat.reshape(2, 11, 2, 11).sum((1, 3)).ravel()
        kept = np.isin(np.arange(4), np.argsort(-sums)[:2]).reshape(2, 2).repeat(11, 0).repeat(11, 1)
        for result, mask in ((deleted, ~kept), (inserted, kept)):
            half = torch.where(torch.from_numpy(mask), x, red)
            expected = net.probabilities(net.forward(half[None])[0])[0, target]
            assert result.probability[0, number, 1] == pytest.approx(float(expected), rel=1e-5)


def test_methods_may_have_options_and_labels(net: Network) -> None:
    images = pictures(12)
    patterns = fit_patterns(net, images, ("positive", "all"), progress=False)
    asked = {
        "S_a": ("patternattribution", {"patterns": patterns, "estimator": "linear"}),
        "S_a+-": ("patternattribution", {"patterns": patterns}),
        "no order": ("random", {}),
    }
    found = degradation(net, images[:2], asked, steps=3, patch=5, progress=False)
    assert found.methods == tuple(asked)
    default = degradation(net, images[:1], steps=2, patch=9, progress=False)
    assert default.methods[0] == "random"
    assert "lrp" in default.methods
    assert "patternattribution" not in default.methods


def test_without_a_number_of_steps_a_picture_of_few_patches_is_taken_apart_whole(net: Network) -> None:
    """The paper's hundred steps need a hundred patches, which small pictures have not."""
    found = degradation(net, pictures(1), "gradient", progress=False)
    assert found.patches.tolist() == list(range((SIDE // 9) ** 2 + 1))
    assert len(degradation(net, pictures(1), "gradient", patch=2, progress=False).patches) == 101
    assert len(degradation(net, pictures(1), "gradient", mode="deletion", progress=False).patches) == 101
    with pytest.raises(ArgumentError, match="at most 4 steps, one for each patch of 9 in 22×22, got 5"):
        degradation(net, pictures(1), "gradient", steps=5, progress=False)


def test_the_seed_is_that_of_noise_too(net: Network) -> None:
    def curves(seed: int) -> Any:
        asked = {"noisy": ("smoothgrad", {"samples": 2})}
        return degradation(net, pictures(2), asked, patch=3, steps=40, seed=seed, progress=False).probability

    np.testing.assert_array_equal(curves(1), curves(1))
    assert not np.array_equal(curves(1), curves(2))


def test_partial_results_are_not_kept(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    """They grow with the pictures: all of them together would grow with the square of their number."""
    alive: weakref.WeakSet[Degradation] = weakref.WeakSet()
    most = 0

    class Watched(Degradation):
        def __init__(self, *args: Any, **settings: Any) -> None:
            nonlocal most
            super().__init__(*args, **settings)
            alive.add(self)
            gc.collect()
            most = max(most, len(alive))

    monkeypatch.setattr(module_under_test, "Degradation", Watched)
    degradation(net, pictures(8), ["random"], steps=2, progress=False)
    assert 1 <= most <= 3


def test_partial_results_are_valid_and_unreadable_pictures_are_listed(net: Network, tmp_path: Path) -> None:
    good = pictures(2)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    images: list[Any] = [good[0], tmp_path / "bad.png", good[1]]
    run = degrading(net, images, ["gradient"], steps=3)
    first = next(run)
    assert list(first.images) == [0]
    second = next(run)
    run.close()
    assert list(second.images) == [0, 2]
    assert second.skipped[0][0] == 1
    np.testing.assert_array_equal(first.probability[:, 0], second.probability[:, 0])
    last = degradation(net, [good[0], tmp_path / "bad.png"], ["gradient"], steps=3, progress=False)
    assert [number for number, _ in last.skipped] == [1], "also where no picture follows"
    with pytest.raises(ImageError, match="all failed"):
        degradation(net, [tmp_path / "bad.png"], ["gradient"], steps=3, progress=False)


def test_it_saves_loads_and_draws_itself(net: Network, tmp_path: Path) -> None:
    found = degradation(net, pictures(2), METHODS, steps=3, progress=False)
    back = Degradation.load(found.save(tmp_path / "curves"))
    assert repr(back) == repr(found)
    np.testing.assert_array_equal(back.probability, found.probability)
    assert (back.methods, back.skipped, back.fingerprint) == (found.methods, found.skipped, net.fingerprint)
    with pytest.raises(ArgumentError, match="Expected a file"):
        Degradation.load(tmp_path / "none")
    pytest.importorskip("matplotlib")
    lines = found.plot().axes[0].lines
    np.testing.assert_allclose(lines[0].get_ydata(), found.mean[0])


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"mode": "delete"}, "mode"), ({"patch": 23}, "patches that fit"), ({"steps": 5}, "at most 4 steps"),
     ({"methods": ["gradeint"]}, "gradient"), ({"methods": []}, "at least one method"), ({"seed": -1}, "seed"),
     ({"methods": {"a": ("gradient", {"no": 1})}}, "no"), ({"methods": ["lrp", "lrp"]}, "different methods"),
     ({"methods": {"a": "gradient"}}, "name of a method, options"), ({"methods": ["patternnet"]}, "atterns"),
     ({"methods": {"a": ("random", {"b": 1})}}, "random"), ({"fill": "inpaint", "mode": "deletion"}, "inpaint")],
)  # fmt: skip
def test_bad_input_is_refused(net: Network, changed: dict[str, Any], message: str) -> None:
    settings = {"methods": ["gradient"], "steps": 3, "progress": False} | changed
    with pytest.raises(ArgumentError, match=message):
        degradation(net, pictures(1), **settings)

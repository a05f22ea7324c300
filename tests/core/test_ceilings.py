"""Where an activation cuts off what is large, pictures are ranked by what they would be without."""

from __future__ import annotations

import copy
import functools
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, NetworkError
from convscope_core.jobs import begin
from convscope_core.network import Network
from convscope_core.survey import Survey, load_survey, survey
from convscope_core.survey.run import SurveyJob, SurveyProgress, choose

SIZE = 9


class Form(NamedTuple):
    """An activation, with what it is above its floor, its floor and its ceiling."""

    function: Callable[[Tensor], Tensor]
    low: float | None
    high: float
    line: Callable[[Any], Any] = lambda x: x


def _sixth(x: Any) -> Any:
    return x / 6 + 0.5


FORMS = {
    "ReLU6": Form(nn.ReLU6(), 0, 6),
    "ReLU6 in place": Form(nn.ReLU6(inplace=True), 0, 6),
    "relu6": Form(F.relu6, 0, 6),
    "Hardtanh": Form(nn.Hardtanh(), -1, 1),
    "hardtanh": Form(lambda x: F.hardtanh(x, -2, 3), -2, 3),
    "clamp": Form(lambda x: x.clamp(-0.5, 2.5), -0.5, 2.5),
    "clamp of positive numbers": Form(lambda x: x.clamp(0, 4), 0, 4),
    "clip": Form(lambda x: torch.clip(x, 0.5, 0.75), 0.5, 0.75),
    "clamp from above": Form(lambda x: x.clamp(max=1.5), None, 1.5),
    "clamp_max": Form(lambda x: torch.clamp_max(x, -1), None, -1),
    "minimum": Form(lambda x: torch.minimum(x, torch.tensor(2.0)), None, 2),
    "minimum of a rectifier": Form(lambda x: torch.minimum(F.relu(x), torch.tensor(3.0)), 0, 3),
    "two rectifiers": Form(lambda x: F.relu(x) - F.relu(x - 3), 0, 3),
    "where": Form(lambda x: torch.where(x > 2, 2.0, torch.where(x < -2, -2.0, x)), -2, 2),
    "Hardsigmoid": Form(nn.Hardsigmoid(), 0, 1, _sixth),
    "hard sigmoid by hand": Form(lambda x: F.relu6(x + 3) / 6, 0, 1, _sixth),
}


class Cut(nn.Module):
    """A convolution, a residual sum and a linear layer, each with the same activation."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.stem, self.more, self.dense = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 5)
        self.head = nn.Linear(5, 2)
        for module in (self.stem, self.more, self.dense):
            module.weight.data *= 6

    def given(self, x: Tensor) -> list[Tensor]:
        """What the activations are given."""
        first = self.stem(x)
        x = self.function(first.clone())
        second = self.more(x) + x
        third = self.dense(self.function(second.clone()).mean((2, 3)))
        return [first, second, third[:, :, None, None]]

    def forward(self, x: Tensor) -> Tensor:
        x = self.function(self.stem(x))
        x = self.function(self.more(x) + x)
        return self.head(self.function(self.dense(x.mean((2, 3)))))


@functools.cache
def made(form: str) -> tuple[Cut, Network]:
    module = Cut(FORMS[form].function).eval()
    return module, Network(module, input_size=SIZE, name="cut")


def pictures(count: int, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


def cut_layers(net: Network) -> list[Any]:
    return [layer for layer in net.layers if layer.ceiling is not None]


# --- against brute force


@settings(max_examples=6, deadline=None)
@given(
    count=st.integers(1, 9),
    k=st.integers(1, 5),
    batch=st.integers(1, 4),
    contrast=st.sampled_from([0.3, 1.0, 5.0]),
    seed=st.integers(0, 100),
)
@pytest.mark.parametrize("form", FORMS)
def test_the_top_is_that_of_a_search_before_the_ceiling(
    form: str, count: int, k: int, batch: int, contrast: float, seed: int
) -> None:
    _, low, high, line = FORMS[form]
    module, net = made(form)
    x = pictures(count, seed) * contrast
    found = survey(net, x, k=k, batch_size=batch, sample=20, progress=False)
    layers = cut_layers(net)
    assert [layer.ceiling for layer in layers] == pytest.approx([high] * 3)
    assert found.before_ceiling
    for layer, given_ in zip(layers, module.given(x), strict=True):
        uncut = line(given_.detach().double().numpy())
        uncut = uncut if low is None else uncut.clip(min=low)
        top, health = found.arrays(layer), found.health(layer)
        assert top.before_ceiling is not None
        for channel in range(layer.channels):
            flat = uncut[:, channel].reshape(count, -1)
            ranked = sorted((-maps.max(), image, int(maps.argmax())) for image, maps in enumerate(flat))[:k]
            exemplars = found.top(layer, channel)
            assert len(exemplars) == len(ranked)
            for one, (value, image, place) in zip(exemplars, ranked, strict=True):
                assert one.before_ceiling == pytest.approx(-value, rel=1e-4, abs=1e-5)
                assert one.value == pytest.approx(min(-value, high), rel=1e-4, abs=1e-5)
                assert one.image == image
                assert (one.row, one.column) == divmod(place, layer.size[1])
        # Everything else is of the values that the network computes with.
        after = uncut.clip(max=high)
        np.testing.assert_allclose(health.maximum, after.max((0, 2, 3)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(health.mean, after.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(health.saturated, (uncut >= high).mean((0, 2, 3)), atol=1e-6)
        np.testing.assert_allclose(found.sampled(layer).peaks, after.max((2, 3)), rtol=1e-4, atol=1e-5)
    (head,) = [layer for layer in net.layers if layer.name == "head"]
    assert head.ceiling is None
    assert found.arrays(head).before_ceiling is None
    assert found.top(head, 0)[0].before_ceiling is None


def test_values_are_those_that_the_network_computes() -> None:
    for form in FORMS:
        _, net = made(form)
        x = pictures(6)
        found = survey(net, x, k=3, batch_size=1, progress=False)
        for layer in cut_layers(net):
            for channel in range(layer.channels):
                for one in found.top(layer, channel):
                    maps = net.activations(x[one.image], layer.name)[layer.name][0, channel]
                    # Not to the last digit: layers that are looked at one by one are computed with packed kernels.
                    assert one.value == pytest.approx(float(maps[one.row, one.column]), rel=1e-6, abs=1e-6)
                    assert one.value == pytest.approx(float(maps.max()), rel=1e-6, abs=1e-6)


def test_pictures_that_are_equal_before_the_ceiling_keep_their_order() -> None:
    module = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU6(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 1))
    nn.init.ones_(module[0].weight)
    nn.init.zeros_(module[0].bias)
    net = Network(module.eval(), input_size=(1, 2, 3))
    x = torch.zeros(6, 1, 2, 3)
    x[1] = x[3] = 9
    x[4, 0, 1, 1] = x[4, 0, 1, 2] = 11
    x[2] = -5
    x[5] = 6
    found = survey(net, x, k=6, progress=False).top("0", 0)
    assert [(e.image, e.value, e.before_ceiling, e.row, e.column) for e in found] == [
        (4, 6, 11, 1, 1), (1, 6, 9, 0, 0), (3, 6, 9, 0, 0), (5, 6, 6, 0, 0), (0, 0, 0, 0, 0), (2, 0, 0, 0, 0),
    ]  # fmt: skip


@pytest.mark.parametrize("function", [nn.ReLU(), nn.Sigmoid(), nn.Tanh(), nn.SiLU(), nn.Hardswish(), nn.Identity()])
def test_activations_that_cut_nothing_off_have_no_ceiling(function: nn.Module) -> None:
    net = Network(Cut(function).eval(), input_size=SIZE)
    assert not cut_layers(net)
    found = survey(net, pictures(3), progress=False)
    assert not found.before_ceiling
    assert found.arrays("stem").before_ceiling is None


def test_an_infinity_that_is_cut_off_is_an_error() -> None:
    module, net = made("ReLU6")
    state = copy.deepcopy(module.state_dict())
    state["stem.weight"][1] *= 1e37
    large = net.with_weights(state, "large")
    x = pictures(2)
    assert large.forward(x)[0].isfinite().all()
    assert survey(large, x, progress=False).top("stem", 1)[0].before_ceiling > 1e36
    with pytest.raises(NetworkError, match=r"layer 'stem', channel 1, for image 1"):
        survey(large, x * torch.tensor([1.0, 1e3])[:, None, None, None], progress=False)


# --- kept, continued and merged


def older(net: Network, images: Images, **options: Any) -> Survey:
    """As versions before 0.2 made it."""
    layers = tuple(layer.name for layer in choose(net, None))
    job = SurveyJob(net=net, layers=layers, k=4, sample=20, before_ceiling=False)
    *_, last = begin(job, images, SurveyProgress, **options)
    return last.survey


@pytest.fixture(scope="module")
def net() -> Network:
    return made("ReLU6")[1]


def ties(found: Survey) -> float:
    """The share of the top that is told from its neighbours by nothing but the order of the pictures."""
    values = found.arrays("stem").values
    return float((values == 6).mean())


def test_a_survey_goes_on_and_merges_as_if_it_had_run_through(net: Network, tmp_path: Path) -> None:
    images = Images.of(pictures(20))
    whole = survey(net, images, k=4, batch_size=1, sample=20, progress=False)
    assert ties(whole) > 0.9
    half = survey(net, images, k=4, batch_size=1, sample=20, indices=range(0, 20, 2), progress=False)
    rest = survey(net, images, k=4, batch_size=1, sample=20, indices=range(1, 20, 2), progress=False)
    again = Survey.of_state(*half.state(), half.layers, images)
    assert again.before_ceiling
    path = tmp_path / "cut.survey"
    survey(net, images, k=4, batch_size=1, sample=20, store=path, indices=range(7), progress=False)
    stored = survey(net, images, k=4, batch_size=1, sample=20, store=path, progress=False)
    opened = load_survey(path, net, images)
    for other in (
        half.merge(rest),
        survey(net, images, batch_size=1, start=again, k=4, progress=False),
        stored,
        opened,
    ):
        assert other.before_ceiling
        for layer in whole.layers:
            one, two = whole.arrays(layer), other.arrays(layer)
            for name in ("images", "rows", "columns", "values", "before_ceiling"):
                np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_surveys_of_versions_that_ranked_after_the_ceiling_open_and_go_on_like_it(net: Network, tmp_path: Path) -> None:
    images, path = Images.of(pictures(20)), tmp_path / "older.survey"
    older(net, images, store=path, indices=range(10))
    opened = load_survey(path, net, images)
    assert not opened.before_ceiling
    assert opened.arrays("stem").before_ceiling is None
    assert opened.top("stem", 0)[0].before_ceiling is None
    saturated = [one.image for one in opened.top("stem", 0) if one.value == 6]
    assert saturated == sorted(saturated)
    with pytest.raises(ArgumentError, match=r"before_ceiling.*version before 0\.2.*load_survey"):
        survey(net, images, k=4, sample=20, store=path, progress=False)
    state, about = opened.state()
    assert "top.before_ceiling" not in state
    again = Survey.of_state(state, about, opened.layers, images)
    on, whole = survey(net, images, k=4, start=again, progress=False), older(net, images)
    for layer in whole.layers:
        for name in ("images", "rows", "columns"):
            np.testing.assert_array_equal(getattr(on.arrays(layer), name), getattr(whole.arrays(layer), name))
    rest = survey(net, images, k=4, sample=20, indices=range(10, 20), progress=False)
    with pytest.raises(ArgumentError, match="same ranking, got after the ceiling and before the ceiling"):
        again.merge(rest)


def test_stores_of_networks_without_a_ceiling_are_as_they_were(tmp_path: Path) -> None:
    plain = Network(Cut(nn.ReLU()).eval(), input_size=SIZE)
    images, path = Images.of(pictures(8)), tmp_path / "plain.survey"
    older(plain, images, store=path, indices=range(4))
    found = survey(plain, images, k=4, sample=20, store=path, progress=False)
    assert found.seen.all()
    job = SurveyJob(net=plain, layers=("stem",), k=4, sample=20)
    assert "before_ceiling" not in job.settings()


def test_a_job_pickles_with_its_ranking(net: Network) -> None:
    for ranked in (True, False):
        job = SurveyJob(net=net, layers=("stem",), k=2, sample=5, before_ceiling=ranked)
        part = job.empty(torch.device("cpu"))
        job.add(part, pictures(3), range(3), [None] * 3)
        again = pickle.loads(pickle.dumps(job))
        other = again.empty(torch.device("cpu"))
        again.add(other, pictures(3), range(3), [None] * 3)
        assert other.top.before_ceiling == ranked
        assert torch.equal(other.top.values, part.top.values)
        assert bool((part.top.values > 6).any()) == ranked


def test_what_tells_pictures_and_units_apart_is_before_the_ceiling(net: Network) -> None:
    images = Images.of(pictures(30))
    found = survey(net, images, k=4, batch_size=1, progress=False)
    maps = np.stack([net.activations(one.image, "stem", before_ceiling=True)["stem"][0].numpy() for one in images])
    maxima = maps.max((2, 3))
    assert (maxima >= 6).mean() > 0.8
    sampled, health = found.sampled("stem"), found.health("stem")
    np.testing.assert_allclose(sampled.before_ceiling, maxima, rtol=1e-6)
    np.testing.assert_array_equal(sampled.peaks, sampled.before_ceiling.clip(max=6))
    np.testing.assert_allclose(health.maximum, maxima.max(0).clip(max=6))
    places = np.searchsorted(health.edges, maxima.T, side="right")
    np.testing.assert_array_equal(health.histogram, [np.bincount(row, minlength=115) for row in places])
    correlation = np.corrcoef(maxima.T.astype(np.float64))
    for one in found.similar("stem", 0):
        assert one.correlation == pytest.approx(correlation[0, one.channel], rel=1e-5)
    top = {one.image for one in found.top("stem", 0)}
    weaker = found.quantiles("stem", 0)
    assert [one.before_ceiling for one in weaker] == sorted((one.before_ceiling for one in weaker), reverse=True)
    for one in weaker:
        assert one.image not in top
        assert one.before_ceiling == pytest.approx(maxima[one.image, 0])
        assert one.value == pytest.approx(min(maxima[one.image, 0], 6))
        assert one.quantile == pytest.approx((maxima[:, 0] < maxima[one.image, 0]).mean())


@pytest.mark.parametrize("form", FORMS)
def test_activations_before_the_ceiling_are_cut_to_what_the_network_computes_with(form: str) -> None:
    _, low, high, line = FORMS[form]
    module, net = made(form)
    x = pictures(1)
    layers = cut_layers(net)
    names = [layer.name for layer in layers]
    before = net.activations(x[0], names, before_ceiling=True)
    after = net.activations(x[0], [*names, "head"])
    for name, given_ in zip(names, module.given(x), strict=True):
        uncut = line(given_.detach())
        torch.testing.assert_close(before[name], uncut if low is None else uncut.clamp(min=low), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(before[name].clamp(max=high), after[name], rtol=1e-6, atol=1e-6)
    assert torch.equal(net.activations(x[0], "head", before_ceiling=True)["head"], after["head"])

"""The survey against a search by brute force; and that it can be cut, continued, merged and cancelled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError
from convscope_core.network import Network
from convscope_core.survey import Survey, by_position, histogram_edges, survey, surveying

SIZE = 20


class Branches(nn.Module):
    """Convolutions, a residual add, a concatenation, a pool and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU()
        self.left = nn.Conv2d(6, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.right = nn.Conv2d(6, 4, 1)
        self.head = nn.Linear(10, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.stem(x))
        x = torch.relu(self.left(x) + x)
        x = self.pool(x)
        x = torch.cat([x, self.right(x)], 1)
        return self.head(x.mean((2, 3)))


@pytest.fixture(scope="module")
def net() -> Network:
    torch.manual_seed(0)
    return Network(Branches().eval(), input_size=SIZE, name="branches")


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def images() -> Images:
    return Images.of(pictures(23))


@pytest.fixture(scope="module")
def whole(net: Network, images: Images) -> Survey:
    return survey(net, images, k=5, progress=False)


def assert_same(a: Survey, b: Survey) -> None:
    """Equal up to the last digits of the activations, which depend on the batch."""
    assert a.layers == b.layers
    assert a.skipped == b.skipped
    np.testing.assert_array_equal(a.seen, b.seen)
    for layer in a.layers:
        x, y = a.arrays(layer), b.arrays(layer)
        np.testing.assert_allclose(x.values, y.values, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(x.images, y.images)
        np.testing.assert_array_equal(x.rows, y.rows)
        np.testing.assert_array_equal(x.columns, y.columns)
        p, q = a.health(layer), b.health(layer)
        assert p.images == q.images
        np.testing.assert_array_equal(p.active_images, q.active_images)
        np.testing.assert_allclose(p.active_positions, q.active_positions, atol=1e-3)
        np.testing.assert_allclose(p.mean, q.mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(p.variance, q.variance, rtol=1e-4, atol=1e-6)


# --- against brute force


def test_every_channel_of_every_layer_equals_a_search_image_by_image(
    net: Network, images: Images, whole: Survey
) -> None:
    for layer in whole.layers:
        every = torch.cat([net.activations(picture.image, layer.name)[layer.name] for picture in images])
        for channel in range(layer.channels):
            ranked = []
            for image, maps in enumerate(every[:, channel].tolist()):
                cells = [(-value, r, c) for r, row in enumerate(maps) for c, value in enumerate(row)]
                value, row, column = min(cells)
                ranked.append((value, image, row, column))
            ranked.sort()
            found = whole.top(layer, channel)
            assert len(found) == 5
            for exemplar, (value, image, row, column) in zip(found, ranked, strict=False):
                assert exemplar.value == pytest.approx(-value, rel=1e-5, abs=1e-6)
                # Random maps have no ties; a channel that no image activates is all ties, at the first
                # position.
                assert (exemplar.image, exemplar.row, exemplar.column) == (image, row, column)
                assert exemplar.box == layer.box(row, column)


def test_health_of_every_channel_equals_that_of_all_activations_at_once(
    net: Network, images: Images, whole: Survey
) -> None:
    for layer in whole.layers:
        every = torch.cat([net.activations(picture.image, layer.name)[layer.name] for picture in images]).double()
        maxima = every.amax((2, 3))
        health = whole.health(layer)
        assert health.images == 23
        np.testing.assert_allclose(health.active_images, (maxima > 0).double().mean(0))
        np.testing.assert_allclose(health.active_positions, (every > 0).double().mean((0, 2, 3)), atol=1e-3)
        np.testing.assert_allclose(health.maximum, maxima.amax(0), rtol=1e-5)
        np.testing.assert_allclose(health.mean, every.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(health.magnitude, every.abs().mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(health.variance, every.var((0, 2, 3), correction=0), rtol=1e-4, atol=1e-6)
        never = (every == 0).all(3).all(2) if health.signed else maxima <= 0
        np.testing.assert_array_equal(health.dead, never.all(0))
        np.testing.assert_array_equal(health.histogram.sum(1), 23)
        places = np.searchsorted(health.edges, maxima.float().T.numpy(), side="right")
        expected = np.stack([np.bincount(row, minlength=115) for row in places])
        np.testing.assert_array_equal(health.histogram, expected)
    np.testing.assert_array_equal(whole.health(whole.layers[0]).edges, histogram_edges())


def test_a_dead_channel_is_seen_as_dead() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        module[0].weight.zero_()
        module[0].bias.copy_(torch.tensor([-1.0, 1.0]))
    found = survey(Network(module, input_size=SIZE), pictures(4), "0", k=2, progress=False)
    assert found.health("0").dead.tolist() == [True, False]
    assert found.health("0").active_positions.tolist() == [0, 1]
    # All images tie at zero: the first ones win, at the first position.
    assert [(e.value, e.image, e.row, e.column) for e in found.top("0", 0)] == [(0, 0, 0, 0), (0, 1, 0, 0)]


# --- which layers


def test_by_default_all_layers_but_pools_are_surveyed_in_execution_order(net: Network, whole: Survey) -> None:
    assert {layer.kind for layer in whole.layers} == {"conv", "add", "cat", "linear"}
    assert whole.layers == tuple(layer for layer in net.layers if layer.kind != "pool")


def test_layers_by_name_alias_or_object_come_once_in_execution_order(net: Network, images: Images) -> None:
    stem, right = net.layer("stem"), net.layer("right")
    found = survey(net, images, [right, "stem", *stem.aliases[:1]], k=1, progress=False)
    assert found.layers == (stem, right)
    assert survey(net, images, "right", k=1, progress=False).layers == (right,)
    assert survey(net, images, right, k=1, progress=False).layers == (right,)
    for alias in stem.aliases:
        assert found.top(alias, 0) == found.top("stem", 0)


def test_a_pool_can_be_asked_for(net: Network, images: Images) -> None:
    pool = next(layer for layer in net.layers if layer.kind == "pool")
    assert survey(net, images, pool, k=1, progress=False).layers == (pool,)


# --- order, batches, shards


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batch_size_does_not_matter(net: Network, images: Images, whole: Survey, batch_size: int) -> None:
    assert_same(survey(net, images, k=5, batch_size=batch_size, progress=False), whole)


def test_torchs_default_type_does_not_matter(
    net: Network, images: Images, whole: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_position, "_own", by_position._Own())  # as where nothing has been surveyed yet
    torch.set_default_dtype(torch.float64)
    try:
        assert_same(survey(net, images, k=5, progress=False), whole)
    finally:
        torch.set_default_dtype(torch.float32)
    assert_same(survey(net, images, k=5, progress=False), whole)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


@pytest.mark.cpu_only("batches are halved for a CPU's threads")
def test_with_several_threads_batches_are_halved_and_nothing_else_changes(
    net: Network, images: Images, whole: Survey, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    visit = net.visit

    def watched(x: torch.Tensor, *arguments: Any) -> None:
        seen.append((threading.get_ident(), len(x)))
        visit(x, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(net, "visit", watched)
        found = survey(net, images, k=5, batch_size=10, progress=False)
    assert_same(found, whole)
    # Halves of 10, 10 and 3 pictures, at most 4 at a time; 3 are too few.
    assert sorted(count for _, count in seen) == [1, 1, 1, 1, 3, 4, 4, 4, 4]
    again = survey(net, images, k=5, batch_size=10, progress=False)
    for name, tensor in found._statistics.state_dict().items():
        assert torch.equal(again._statistics.state_dict()[name], tensor), name


@pytest.mark.cpu_only("batches are halved for a CPU's threads")
def test_an_error_in_a_thread_that_helps_ends_the_survey_and_leaves_all_as_it_was(
    net: Network, images: Images, whole: Survey, two_threads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    visit = net.visit

    def failing(x: torch.Tensor, *arguments: Any) -> None:
        if float(x[0, 0, 0, 0]) == float(pictures(23)[12, 0, 0, 0]):  # the first of the second half of the second batch
            raise KeyError("12")
        visit(x, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(net, "visit", failing)
        with pytest.raises(KeyError, match="12"):
            survey(net, images, k=5, progress=False)
    outside = threading.Thread(target=lambda: net.lock.__enter__() or net.lock.__exit__(None, None, None))
    outside.start()
    outside.join(20)
    assert not outside.is_alive()
    assert_same(survey(net, images, k=5, progress=False), whole)


def test_pictures_from_a_generator_are_surveyed_like_their_list(net: Network, whole: Survey) -> None:
    found = survey(net, (picture for picture in pictures(23)), k=5, progress=False)
    assert_same(found, whole)
    assert len(found.images) == 23  # kept, so that the top pictures can be shown


def test_the_order_of_the_indices_does_not_matter(net: Network, images: Images, whole: Survey) -> None:
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    assert_same(survey(net, images, k=5, indices=order, progress=False), whole)


def test_merged_shards_are_the_whole(net: Network, images: Images, whole: Survey) -> None:
    shards = [survey(net, images, k=5, indices=range(start, 23, 3), progress=False) for start in range(3)]
    a, b, c = shards
    assert_same(a.merge(b).merge(c), whole)
    assert_same(c.merge(a.merge(b)), whole)
    assert [shard.seen.sum() for shard in shards] == [8, 8, 7]  # the parts are as they were


def test_a_survey_goes_on_where_it_stopped(net: Network, images: Images, whole: Survey) -> None:
    run = surveying(net, images, k=5, batch_size=4)
    next(run)
    half = next(run).survey
    run.close()
    assert half.seen.sum() == 8
    steps = list(surveying(net, images, k=5, start=half))
    assert (steps[-1].done, steps[-1].total) == (15, 15)
    assert_same(steps[-1].survey, whole)


def test_pictures_can_be_added(net: Network, images: Images, whole: Survey) -> None:
    fewer = survey(net, images[:20], k=5, progress=False)
    more = survey(net, fewer.images + images[20:], k=5, start=fewer, progress=False)
    assert_same(more, whole)
    assert len(fewer.images) == 20


def test_a_finished_survey_has_nothing_left_to_do(net: Network, images: Images, whole: Survey) -> None:
    (step,) = surveying(net, images, k=5, start=whole)
    assert (step.done, step.total) == (0, 0)
    assert_same(step.survey, whole)
    assert_same(survey(net, images, k=5, start=whole, progress=False), whole)


# --- progress and cancelling


def test_every_step_is_a_survey_of_the_images_so_far_and_stays_so(net: Network, images: Images) -> None:
    steps = list(surveying(net, images, "stem", k=3, batch_size=8))
    assert [(step.done, step.total) for step in steps] == [(8, 23), (16, 23), (23, 23)]
    for step in steps:
        assert_same(step.survey, survey(net, images, "stem", k=3, indices=range(step.done), progress=False))


def test_closing_the_generator_ends_its_threads(net: Network, images: Images) -> None:
    before = set(threading.enumerate())
    run = surveying(net, images, "stem", batch_size=2)
    step = next(run)
    assert set(threading.enumerate()) > before
    run.close()
    assert set(threading.enumerate()) == before
    assert step.survey.seen.sum() == 2
    with pytest.raises(StopIteration):
        next(run)


def test_only_a_few_images_are_read_ahead(net: Network) -> None:
    read: list[int] = []

    class Watched(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> torch.Tensor:
            read.append(index)
            return torch.zeros(3, SIZE, SIZE)

    run = surveying(net, Watched(), "stem", batch_size=4)
    next(run)
    run.close()
    assert len(read) <= 4 * 3


def test_fewer_images_than_k(net: Network, images: Images) -> None:
    found = survey(net, images[:2], "stem", k=9, progress=False)
    assert len(found.top("stem", 0)) == 2
    arrays = found.arrays("stem")
    assert arrays.values.shape == (6, 9)
    assert (arrays.images[:, 2:] == -1).all()


def test_a_survey_of_no_image_is_empty(net: Network, images: Images) -> None:
    found = survey(net, images, "stem", indices=[], progress=False)
    assert found.top("stem", 0) == []
    health = found.health("stem")
    assert health.images == 0
    assert np.isnan(health.active_images).all()
    assert np.isnan(health.mean).all()
    assert not health.dead.any()


def test_progress_bar_counts_images(net: Network, images: Images, capsys: pytest.CaptureFixture[str]) -> None:
    survey(net, images, "stem")
    assert "23/23" in capsys.readouterr().err
    survey(net, images, "stem", progress=False)
    assert capsys.readouterr().err == ""


# --- what cannot be read


class Faulty(torch.utils.data.Dataset):
    """Every third item raises."""

    def __len__(self) -> int:
        return 7

    def __getitem__(self, index: int) -> torch.Tensor:
        if index % 3 == 0:
            raise KeyError("lost")
        return pictures(7)[index]


def test_unreadable_pictures_are_skipped_and_listed_with_the_reason(net: Network, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    nan = torch.full((3, SIZE, SIZE), float("nan"))
    source = [tmp_path / "broken.png", *pictures(3), tmp_path / "missing.png", nan, torch.zeros(3, 4, 4)]
    found = survey(net, source, "stem", k=9, batch_size=2, progress=False)
    reasons = dict(found.skipped)
    assert list(reasons) == [0, 4, 5, 6]
    assert "broken.png" in reasons[0]
    assert "missing.png" in reasons[4]
    assert "NaN" in reasons[5]
    assert "(3, 4, 4)" in reasons[6]
    assert np.flatnonzero(found.seen).tolist() == [1, 2, 3]
    assert {exemplar.image for exemplar in found.top("stem", 0)} == {1, 2, 3}
    assert "4 images skipped" in repr(found)


def test_errors_of_a_data_set_are_reasons_too(net: Network) -> None:
    found = survey(net, Faulty(), "stem", progress=False)
    assert found.skipped == ((0, "KeyError: 'lost'"), (3, "KeyError: 'lost'"), (6, "KeyError: 'lost'"))
    assert found.health("stem").images == 4


def test_a_picture_that_comes_back_is_taken_in_when_the_survey_goes_on(net: Network, tmp_path: Path) -> None:
    from PIL import Image

    late = tmp_path / "late.png"
    source = Images.of([*pictures(3), late])
    first = survey(net, source, "stem", progress=False)
    assert [entry.image for entry in first.skipped] == [3]
    Image.new("RGB", (SIZE, SIZE), "red").save(late)
    second = survey(net, source, start=first, progress=False)
    assert second.skipped == ()
    assert second.seen.all()


def test_when_nothing_can_be_read_the_error_says_why(net: Network, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"got 12 that all failed.*image 0: .*nowhere0\.png"):
        survey(net, [tmp_path / f"nowhere{n}.png" for n in range(12)], batch_size=5, progress=False)


def test_a_layer_that_gives_nan_is_named(images: Images) -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).eval()
    with torch.no_grad():
        module[0].weight.fill_(1)
        module[2].weight[3, 0] = 1e34
    net = Network(module, input_size=SIZE)
    bright = [torch.zeros(3, SIZE, SIZE), torch.full((3, SIZE, SIZE), 1e6)]  # 3e6 * 1e34 overflows float32
    with pytest.raises(NetworkError, match=r"layer '2', channel 3, for image 1\."):
        survey(net, bright, ["0", "2"], progress=False)


# --- looking things up, and errors


def test_unknown_layers_and_channels_name_what_there_is(net: Network, images: Images) -> None:
    found = survey(net, images[:2], ["stem", "left"], progress=False)
    with pytest.raises(LayerError, match=r"2 surveyed layers, got 'stme'.*Close matches: stem"):
        found.top("stme", 0)
    with pytest.raises(LayerError, match="2 surveyed layers, got 'right'"):
        found.health(net.layer("right"))
    with pytest.raises(LayerError):
        found.arrays("right")
    for channel in (-1, 6):
        with pytest.raises(ArgumentError, match=rf"'stem' from 0 to 5, got {channel}"):
            found.top("stem", channel)
    for channel in (1.0, True, "1"):
        with pytest.raises(ArgumentError, match="whole number"):
            found.top("stem", channel)
    assert found.top("stem", np.int64(2)) == found.top("stem", 2)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"layers": "nothing"}, LayerError, "nothing"),
        ({"layers": []}, ArgumentError, "at least one layer"),
        ({"k": 0}, ArgumentError, "k to be .*got 0"),
        ({"batch_size": 0}, ArgumentError, "batch_size to be .*got 0"),
        ({"indices": [0, 23]}, ArgumentError, "0 to 22, got 23"),
        ({"images": []}, ArgumentError, "empty list"),
        ({"images": "no/such/folder"}, ImageError, "does not exist"),
    ],
)
def test_bad_arguments_are_refused_before_any_work(
    net: Network, images: Images, options: dict, error, words: str
) -> None:
    with pytest.raises(error, match=words):
        surveying(net, **{"images": images, **options})  # the generator is not even started


def test_only_like_surveys_merge(net: Network, images: Images, whole: Survey) -> None:
    torch.manual_seed(1)
    other_weights = Network(Branches().eval(), input_size=SIZE, name="branches")
    for other, words in (
        (survey(other_weights, images, k=5, indices=[0], progress=False), "same network"),
        (survey(net, images, "stem", k=5, indices=[0], progress=False), "same layers"),
        (survey(net, images, k=4, indices=[0], progress=False), "same k"),
        (survey(net, pictures(23), k=5, indices=[0], progress=False), "same images"),
        (survey(net, images, k=5, indices=[3, 4], progress=False), "2 in both.*3, 4"),
    ):
        with pytest.raises(ArgumentError, match=words):
            whole.merge(other)


def test_only_a_survey_of_the_same_things_is_continued(net: Network, images: Images, whole: Survey) -> None:
    for options, words in (
        ({"k": 4}, "same k"),
        ({"k": 5, "layers": "stem"}, "same layers"),
        ({"k": 5, "images": images[1:]}, "begin with those of the survey"),
    ):
        with pytest.raises(ArgumentError, match=words):
            surveying(net, **{"images": images, "start": whole, **options})


def test_merging_keeps_what_only_one_could_read(net: Network, tmp_path: Path) -> None:
    from PIL import Image

    late = tmp_path / "late.png"
    source = Images.of([*pictures(2), late])
    before = survey(net, source, "stem", progress=False)
    Image.new("RGB", (SIZE, SIZE), "red").save(late)
    after = survey(net, source, "stem", indices=[2], progress=False)
    assert before.merge(after).skipped == after.merge(before).skipped == ()
    assert before.merge(after).seen.all()


def test_what_a_survey_gives_out_cannot_be_changed_by_accident(whole: Survey) -> None:
    with pytest.raises(ValueError, match="read-only"):
        whole.arrays("stem").values[0, 0] = 0
    with pytest.raises(ValueError, match="read-only"):
        whole.health("stem").maximum[0] = 0
    with pytest.raises(ValueError, match="read-only"):
        whole.seen[0] = False


def test_repr_says_what_was_surveyed(net: Network, whole: Survey) -> None:
    channels = sum(layer.channels for layer in whole.layers)
    assert (
        repr(whole) == f"<Survey of branches: top 5 of 23 images for {channels} channels of {len(whole.layers)} layers>"
    )


def test_a_survey_leaves_the_network_usable_in_another_thread(net: Network, images: Images) -> None:
    expected = net.predict(images[0].image).probabilities
    run = surveying(net, images, batch_size=4)
    next(run)
    results: list[np.ndarray] = []
    thread = threading.Thread(target=lambda: results.append(net.predict(images[0].image).probabilities))
    thread.start()
    thread.join(timeout=20)
    run.close()
    np.testing.assert_allclose(results[0], expected, rtol=1e-5)

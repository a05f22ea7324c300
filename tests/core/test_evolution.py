"""The evolution of a network: against a brute-force search at each checkpoint, interrupted, gone on with, refused."""

from __future__ import annotations

import copy
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError, StoreError
from convscope_core.evolution import Checkpoints, EvolutionRecorder, EvolutionResult, evolution, evolving, run
from convscope_core.explain import project
from convscope_core.models import MeanSubtraction
from convscope_core.network import Network
from convscope_core.shapes import Shapes
from convscope_core.survey import load_survey

SIZE = 12


def model(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(45, 3),
    )  # fmt: skip


PICTURES = list(torch.randn(23, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)))


@pytest.fixture(scope="module")
def recorder() -> EvolutionRecorder:
    """A short training, whose unit 1 of layer 4 dies at the third checkpoint."""
    net = model()
    made = EvolutionRecorder(net, at=range(0, 7, 2), input_size=SIZE, labels=["a", "b", "c"], name="small")
    optimiser = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9)
    for step in range(1, 7):
        optimiser.zero_grad()
        x, y = torch.randn(8, 3, SIZE, SIZE), torch.randint(0, 3, (8,))
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()
        if step == 4:
            net[4].bias.data[1] = -100
        made.step(step)
    return made


@pytest.fixture(scope="module")
def found(recorder: EvolutionRecorder) -> EvolutionResult:
    return evolution(recorder, PICTURES, k=3, batch_size=5, progress=False)


def modules(recorder: EvolutionRecorder) -> list[nn.Module]:
    """The modules of the checkpoints, rebuilt by other means."""
    made = []
    for item in recorder.checkpoints:
        net = model()
        net.load_state_dict(item.state())
        made.append(net.eval())
    return made


def maps(module: nn.Module, layer: int) -> torch.Tensor:
    """(N, C, h, w) after the rectifier, of the module itself."""
    with torch.no_grad():
        value = module[: {0: 3, 4: 6, 8: 9}[layer]](torch.stack(PICTURES))
    return value if value.ndim == 4 else value[:, :, None, None]


def test_winners_equal_a_search_picture_by_picture(recorder: EvolutionRecorder, found: EvolutionResult) -> None:
    for layer in (0, 4, 8):
        winners, jumps = found.winners(str(layer)), found.jumps(str(layer))
        before: list[int] = []
        for t, module in enumerate(modules(recorder)):
            every = maps(module, layer).double()
            image = []
            for unit in range(every.shape[1]):
                best = max(
                    (float(every[n, unit, r, c]), -n, -r, -c)
                    for n in range(every.shape[0]) for r in range(every.shape[2]) for c in range(every.shape[3])
                )  # fmt: skip
                assert winners.value[t, unit] == pytest.approx(best[0], rel=1e-4, abs=1e-5)
                dead = bool((every[:, unit] == 0).all())
                assert (winners.image[t, unit] == -1) == dead
                if not dead:
                    place = (winners.image[t, unit], winners.row[t, unit], winners.column[t, unit])
                    assert place == tuple(-x for x in best[1:])
                image.append(int(winners.image[t, unit]))
            expected = [a != b for a, b in zip(before, image, strict=True)] if t else [False] * len(image)
            assert jumps[t].tolist() == expected
            before = image
    assert found.winners("4").image[2:, 1].tolist() == [-1, -1]


def test_what_is_said_of_layers_equals_a_twin_in_float64(recorder: EvolutionRecorder, found: EvolutionResult) -> None:
    nets = modules(recorder)
    for layer in (0, 4, 8):
        name = str(layer)
        every = [maps(module, layer).double() for module in nets]
        top = [tops(one) for one in every]
        n = len(PICTURES)
        for t, one in enumerate(every):
            # Logits below zero are no sign of death.
            never = one.abs() if bool((one < 0).any()) else one
            assert found.dead(name)[t] == pytest.approx(float((never.amax((0, 2, 3)) <= 0).double().mean()), rel=1e-14)
            size = one.abs().mean((0, 2, 3))
            for tau in (0.0, 0.025, 0.5, 1.0):
                dormant = float((size <= tau * size.mean()).double().mean())
                assert found.dormant(name, tau)[t] == pytest.approx(dormant, rel=1e-14)
            weight = recorder.checkpoints[t].state()[f"{layer}.weight"].double()
            assert found.weight_rms(name)[t] == pytest.approx(float(weight.square().mean().sqrt()), rel=1e-6)
            scores = [len(a & b) / len(a | b) for a, b in zip(top[t], top[-1], strict=True) if a | b]
            assert found.jaccard(name)[t] == pytest.approx(np.mean(scores))
            grams = [(x := maps_.mean((2, 3))) @ x.T for maps_ in (one, every[-1])]
            hsic = {(i, j): unbiased_hsic(grams[i], grams[j], n) for i in (0, 1) for j in (0, 1)}
            expected = hsic[0, 1] / (hsic[0, 0] * hsic[1, 1]) ** 0.5
            assert found.cka(name)[t] == pytest.approx(expected, abs=1e-4)
        assert np.isnan(found.staying(name)[0])
        for t in range(1, len(every)):
            firsts = [[next(iter(sorted_), None) for sorted_ in ranked(one)] for one in (every[t - 1], every[t])]
            pairs = [(a, b) for a, b in zip(*firsts, strict=True) if a is not None or b is not None]
            assert found.staying(name)[t] == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert found.dead("4")[2:].min() >= 0.2


def ranked(maps_: torch.Tensor) -> list[list[int]]:
    """For each unit the pictures that excite it, strongest first; none where it is zero throughout."""
    peaks = maps_.amax((2, 3))
    return [[n for n in sorted(range(len(p)), key=lambda n: (-float(p[n]), n)) if p[n] != 0] for p in peaks.T]


def tops(maps_: torch.Tensor, k: int = 3) -> list[set[int]]:
    return [set(one[:k]) for one in ranked(maps_)]


def unbiased_hsic(k: torch.Tensor, l: torch.Tensor, n: int) -> float:
    """Song et al. 2012, eq. 5, as it stands there."""
    k, l = k - torch.diag(k.diag()), l - torch.diag(l.diag())
    one = torch.ones(n, dtype=torch.float64)
    cross = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
    return float((torch.trace(k @ l) + cross) / (n * (n - 3)))


def test_the_energy_profile_is_of_what_was_learnt(recorder: EvolutionRecorder, found: EvolutionResult) -> None:
    weights = [item.state()["0.weight"].double() for item in recorder.checkpoints]
    np.testing.assert_array_equal(found.filters(), np.stack([w.float().numpy() for w in weights]))
    components, variances = found._components()
    assert np.all(np.diff(variances) <= 1e-12)
    np.testing.assert_allclose(components.T @ components, np.eye(27), atol=1e-10)
    profile = found.energy_profile()
    assert found.learnt_since == "start"
    assert not profile[0].any()
    for t in range(1, len(weights)):
        change = (weights[t] - weights[0]).flatten(1).numpy()
        along = [np.sqrt(sum(float(w @ components[:, i]) ** 2 for w in change)) for i in range(27)]
        np.testing.assert_allclose(profile[t], np.array(along) / max(along), rtol=1e-6)
    later = evolution(recorder.checkpoints[1:], PICTURES, "0", batch_size=23, progress=False)
    assert later.learnt_since == "zero"
    np.testing.assert_allclose(later.energy_profile(found.filters()[0]), profile[1:], rtol=1e-5, atol=1e-6)


# ---- figures


def test_a_cell_is_the_winner_projected_with_the_weights_of_then(found: EvolutionResult) -> None:
    for t in range(len(found)):
        winners = found.winners("4")
        for unit, cell in enumerate(found.cells("4", range(5), t)):
            image = int(winners.image[t, unit])
            assert (cell is None) == (image < 0)
            if cell is not None:
                place = int(winners.row[t, unit]), int(winners.column[t, unit])
                expected = project(found.network(t), PICTURES[image], "4", unit, place)
                np.testing.assert_allclose(cell.projection.values, expected.values, rtol=1e-4, atol=1e-6)
                np.testing.assert_array_equal(cell.projection.crop, expected.crop)
                assert cell.projection.activation == pytest.approx(float(winners.value[t, unit]))
                assert cell.jump == found.jumps("4")[t, unit]
                assert found.cell("4", unit, t) is cell
    with pytest.raises(ArgumentError, match="from 0 to 4, got 5"):
        found.cell("4", 5, 0)
    with pytest.raises(ArgumentError, match="one of 4 checkpoints, got 4"):
        found.cell("4", 0, 4)
    with pytest.raises(LayerError, match="got 'conv4'"):
        found.winners("conv4")


def test_figures_are_drawn(found: EvolutionResult) -> None:
    pytest.importorskip("matplotlib")
    figure = found.plot(units=3)
    assert [panel.get_title() for panel in figure.axes] == ["0", "4"]
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["start", "2", "4", "6"]
    assert len(figure.axes[1].get_yticklabels()) == 3
    figure = found.plot("4", units=[1])
    # Of a unit that has died, two columns are empty; the bar says that the picture changed where there is one.
    shown = np.asarray(figure.axes[0].images[0].get_array())
    bar = (shown == (214, 96, 30)).all(2).any(0)
    jumps = found.jumps("4")[:, 1] & (found.winners("4").image[:, 1] >= 0)
    assert [bool(part.any()) for part in np.split(bar, 4)] == jumps.tolist()
    assert len(found.plot_curves().axes) == 6


def test_the_table_has_a_row_a_layer_and_checkpoint(found: EvolutionResult) -> None:
    table = found.table()
    assert [(row.layer, row.checkpoint) for row in table[:5]] == [
        ("0", "start"), ("0", "step 2"), ("0", "step 4"), ("0", "step 6"), ("4", "start"),
    ]  # fmt: skip
    assert table[3].cka == pytest.approx(1)
    assert table[3].jaccard == 1
    assert set(map(len, table.columns().values())) == {12}
    assert "dormant up to 0.025" in repr(table)
    assert "<table>" in table._repr_html_()
    assert "4 checkpoints (start to step 6), 12 units of 3 layers, 23 images" in repr(found)


# ---- interrupted, gone on with


def assert_identical(a: EvolutionResult, b: EvolutionResult) -> None:
    assert a.labels == b.labels
    for one, other in zip(a.moments, b.moments, strict=True):
        mine, theirs = one.survey.state()[0], other.survey.state()[0]
        assert mine.keys() == theirs.keys()
        for key, array in mine.items():
            np.testing.assert_array_equal(array, theirs[key], err_msg=key)
        np.testing.assert_array_equal(one.weights.rms, other.weights.rms)
        np.testing.assert_array_equal(one.weights.first, other.weights.first)


OPTIONS: dict[str, Any] = {"k": 3, "batch_size": 5, "shards": 3}


@pytest.fixture(scope="module")
def whole(recorder: EvolutionRecorder) -> EvolutionResult:
    return evolution(recorder, PICTURES, progress=False, **OPTIONS)


@settings(max_examples=8)
@given(stops=st.lists(st.integers(1, 18), max_size=4))
def test_stopped_anywhere_and_resumed_it_is_the_same(
    recorder: EvolutionRecorder, whole: EvolutionResult, tmp_path_factory: pytest.TempPathFactory, stops: list[int]
) -> None:
    store = tmp_path_factory.mktemp("store") / "x"
    for steps in stops:
        going = evolving(recorder, PICTURES, store=store, **OPTIONS)
        before = 0
        for _, step in zip(range(steps), going, strict=False):
            assert step.done > before
            assert step.total == 4 * 23
            before = step.done
        going.close()
    *_, step = evolving(recorder, PICTURES, store=store, **OPTIONS)
    assert_identical(step.result, whole)
    assert sorted(path.name for path in store.glob("*.survey")) == [
        "start.survey", "step-2.survey", "step-4.survey", "step-6.survey",
    ]  # fmt: skip
    kept = load_survey(store / "step-4.survey", recorder.checkpoints.network(2), PICTURES)
    np.testing.assert_array_equal(kept.state()[0]["top.values"], whole.survey(2).state()[0]["top.values"])


SCRIPT = """
import sys
import torch
from torch import nn
from convscope_core.evolution import Checkpoints, evolving
torch.set_num_threads(1)
def model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(400, 3)).eval()
def states():
    for seed in range(3):
        torch.manual_seed(seed)
        yield seed, model().state_dict()
pictures = list(torch.randn(24, 3, 12, 12, generator=torch.Generator().manual_seed(1)))
checkpoints = Checkpoints.of(dict(states()), model(), input_size=12, device=device)
if __name__ == "__main__":
    steps = evolving(checkpoints, pictures, store=sys.argv[1], batch_size=1, shards=3)
    for number, step in enumerate(steps):
        if number == int(sys.argv[2]):
            print("here", flush=True)
            sys.stdin.read()
"""


def test_killed_and_resumed_it_is_the_same(tmp_path: Path, device: torch.device) -> None:
    script = f"device = {str(device)!r}\n{SCRIPT}"
    (tmp_path / "script.py").write_text(script)
    names: dict[str, Any] = {"__name__": "script"}
    exec(script, names)
    expected = evolution(names["checkpoints"], names["pictures"], batch_size=1, shards=3, progress=False)
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "store"), "40"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "here\n"  # within a shard of the second checkpoint
    process.send_signal(signal.SIGKILL)
    process.communicate()
    resumed = evolution(
        names["checkpoints"], names["pictures"], store=tmp_path / "store", batch_size=1, shards=3, progress=False
    )
    assert_identical(resumed, expected)
    assert len(list((tmp_path / "store").glob("*.survey"))) == 3


def test_an_executor_gives_the_same_bits(recorder: EvolutionRecorder, whole: EvolutionResult) -> None:
    with ThreadPoolExecutor(2) as executor:
        assert_identical(evolution(recorder, PICTURES, executor=executor, progress=False, **OPTIONS), whole)


def test_only_new_checkpoints_are_surveyed_and_the_last_is_the_new_one(
    recorder: EvolutionRecorder, whole: EvolutionResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    surveyed, original = [], run.surveying

    def counted(net: Network, *args: Any, **options: Any) -> Any:
        steps = original(net, *args, **options)

        def counting() -> Any:
            surveyed.append(net.name)
            yield from steps

        return counting()

    monkeypatch.setattr(run, "surveying", counted)
    before = evolution(recorder.checkpoints[:2], PICTURES, progress=False, **OPTIONS)
    assert surveyed == ["small · start", "small · step 2"]
    assert before.cka("4")[-1] == pytest.approx(1)
    # What is known may be of checkpoints in the middle, too.
    for start in (before, evolution(recorder.checkpoints[1:3], PICTURES, progress=False, **OPTIONS)):
        surveyed.clear()
        after = evolution(recorder, PICTURES, start=start, progress=False, **OPTIONS)
        assert len(surveyed) == 2
        assert_identical(after, whole)
        np.testing.assert_array_equal(after.cka("4"), whole.cka("4"))
    for options, says in (
        ({"k": 4}, "same k, 3, got 4"), ({"sample": 5}, "same sample"), ({"layers": ["0"]}, r"same layers.*\(4\)"),
    ):  # fmt: skip
        with pytest.raises(ArgumentError, match=says):
            evolving(recorder, PICTURES, **{**OPTIONS, "start": before, **options})
    with pytest.raises(ArgumentError, match="same images"):
        evolving(recorder, PICTURES[:5], start=before, **OPTIONS)


def test_a_store_of_other_weights_is_refused_with_its_checkpoint(recorder: EvolutionRecorder, tmp_path: Path) -> None:
    evolution(recorder.checkpoints[:1], PICTURES, store=tmp_path / "x", progress=False, **OPTIONS)
    state = {name: tensor * 2 for name, tensor in recorder.checkpoints[0].state().items()}
    other = Checkpoints.of({0: state}, model(), input_size=SIZE)
    with pytest.raises(ArgumentError, match=r"survey start.*same fingerprint"):
        list(evolving(other, PICTURES, store=tmp_path / "x", **OPTIONS))


def test_it_is_kept_and_read_again(whole: EvolutionResult, recorder: EvolutionRecorder, tmp_path: Path) -> None:
    whole.energy_profile()
    path = whole.save(tmp_path / "x.evolution")
    again = EvolutionResult.load(path, recorder, PICTURES)
    assert_identical(again, whole)
    np.testing.assert_equal(again.table().columns(), whole.table().columns())
    np.testing.assert_array_equal(again.energy_profile(), whole.energy_profile())
    assert again.network(2).fingerprint == whole.network(2).fingerprint
    assert [layer.name for layer in again.layers] == ["0", "4", "8"]
    *_, step = evolving(recorder, PICTURES, start=again, **OPTIONS)
    assert_identical(step.result, whole)
    with pytest.raises(ArgumentError, match="got none of that step for step 6"):
        EvolutionResult.load(path, recorder.checkpoints[:3], PICTURES)
    others = {item.step: {**item.state(), "0.bias": torch.ones(4)} for item in recorder.checkpoints}
    with pytest.raises(ArgumentError, match="got other weights for start"):
        EvolutionResult.load(path, others, PICTURES, net=model(), unit="step", input_size=SIZE)
    with pytest.raises(ArgumentError, match=r"the 23 pictures that .* is of"):
        EvolutionResult.load(path, recorder, PICTURES[:5])
    with pytest.raises(ArgumentError, match="they were not files"):
        EvolutionResult.load(path, recorder)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match="damaged"):
        EvolutionResult.load(path, recorder, PICTURES)


# ---- unusual, and refused


def test_one_checkpoint_gives_curves_of_one_point(recorder: EvolutionRecorder) -> None:
    one = evolution(recorder.checkpoints[3:], PICTURES, "4", progress=False)
    assert one.cka("4").tolist() == pytest.approx([1])
    assert one.jaccard("4").tolist() == [1]
    assert np.isnan(one.staying("4")).tolist() == [True]
    assert one.jumps("4").shape == (1, 5)
    assert not one.jumps("4").any()
    assert "1 checkpoint (step 6 to step 6)" in repr(one)


def test_pictures_that_cannot_be_read_are_left_out(recorder: EvolutionRecorder, found: EvolutionResult) -> None:
    broken = [*PICTURES[:7], torch.full((3, SIZE, SIZE), torch.nan), *PICTURES[7:]]
    made = evolution(recorder, broken, k=3, batch_size=5, progress=False)
    assert [skipped.image for skipped in made.survey(0).skipped] == [7]
    image = made.winners("4").image
    np.testing.assert_array_equal(np.where(image > 7, image - 1, image), found.winners("4").image)
    np.testing.assert_allclose(made.cka("4"), found.cka("4"), atol=1e-4)
    with pytest.raises(ImageError, match=r"survey start.*all failed"):
        evolution(recorder, [torch.full((3, SIZE, SIZE), torch.nan)] * 2, progress=False)


def test_with_three_pictures_there_is_no_cka(recorder: EvolutionRecorder) -> None:
    assert np.isnan(evolution(recorder, PICTURES[:3], progress=False).cka("4")).all()


def test_some_layers_of_a_training_are_followed_with_the_rest_of_a_module(found: EvolutionResult) -> None:
    net = model()
    part = EvolutionRecorder(net, at=[0], layers=["0", "1"], input_size=SIZE)
    with pytest.raises(NetworkError, match=r"survey start|'start'.*missing.*net=module"):
        evolving(part, PICTURES, "0")
    whole = evolution(EvolutionRecorder(net, at=[0], input_size=SIZE), PICTURES, "0", progress=False)
    made = evolution(Checkpoints.of(part, model(3), input_size=SIZE), PICTURES, "0", progress=False)
    np.testing.assert_array_equal(made.winners("0").value, whole.winners("0").value)
    # Of those that it claims to hold none may be missing, whatever the module has.
    state = {name: tensor for name, tensor in part.checkpoints[0].state().items() if name != "1.bias"}
    with pytest.raises(NetworkError, match=r"missing: 1\.bias"):
        Checkpoints.of({0: state}, model(), layers=["0", "1"], input_size=SIZE).network(0)


def states(count: int = 3) -> dict[int, dict[str, torch.Tensor]]:
    return {seed: {name: t.clone() for name, t in model(seed).state_dict().items()} for seed in range(count)}


def with_change(epoch: int, name: str, value: torch.Tensor | None) -> dict[int, dict[str, torch.Tensor]]:
    made = states()
    if value is None:
        del made[epoch][name]
    else:
        made[epoch][name] = value
    return made


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (with_change(1, "4.weight", torch.zeros(5, 4, 5, 5)), r"'epoch 1'.*wrong shape: 4\.weight \(5, 4, 5, 5\) for"),
        (with_change(2, "4.weight", None), r"'epoch 2'.*missing: 4\.weight"),
        (with_change(2, "9.weight", torch.zeros(3)), r"'epoch 2'.*does not have: 9\.weight"),
        (with_change(1, "8.bias", torch.full((3,), torch.nan)), r"'epoch 1', got NaN .* in 8\.bias: 3 of 3"),
        (with_change(1, "4.weight", torch.full((5, 4, 3, 3), 1e38)), r"survey epoch 1.*NaN .* in layer '4'"),
    ],
    ids=["shape", "missing", "other", "nan", "overflow"],
)  # fmt: skip
def test_checkpoints_that_do_not_fit_are_named_with_their_layer(source: Any, says: str) -> None:
    checkpoints = Checkpoints.of(source, model(), input_size=SIZE)
    steps = evolving(checkpoints, PICTURES, batch_size=23)
    with pytest.raises(NetworkError, match=says):
        list(steps)
    # Those before are not lost.
    going = evolving(checkpoints, PICTURES, batch_size=23)
    assert next(going).result.labels == ("start",)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({}, "at least one checkpoint, got none"),
        ([], "at least one checkpoint, got none"),
        ({2: states()[0], 1: states()[1]}, r"in the order of training, each once, got epoch 1 .* after epoch 2.*Sort"),
        ([(1, states()[0]), (1, states()[1])], r"each once, got epoch 1 .* after epoch 1 .*Leave one of them out"),
        ({1: model()}, r"got a Sequential\. It has only the weights of now"),
        ({1: "missing.pth"}, r"a file for epoch 1, got 'missing\.pth'"),
        ({-1: states()[0]}, "got -1"),
        ({"one": states()[0]}, "got 'one'"),
        ([states()[0]], r"pairs of \(epoch, state dict or path\), got a dict"),
        (7, "got int"),
        (dict.fromkeys((1, 2), states()[0]), r"the same tensors for epoch 1 and epoch 2.*clone"),
    ],
)
def test_other_things_than_checkpoints_are_refused(source: Any, says: str) -> None:
    with pytest.raises(ArgumentError, match=says):
        evolving(source, PICTURES, net=model())


def test_other_arguments_are_refused(recorder: EvolutionRecorder, tmp_path: Path) -> None:
    for arguments, error, says in (
        ({"images": []}, ArgumentError, "at least one picture, got an empty list"),
        ({"images": tmp_path / "none"}, ImageError, "does not exist"),
        ({"layers": "conv9"}, LayerError, "got 'conv9'"),
        ({"tau": -1}, ArgumentError, "tau as a number of 0 or greater, got -1"),
        ({"k": 0}, ArgumentError, "k to be a whole number"),
        ({"store": tmp_path / "none" / "deeper"}, ArgumentError, "in one that exists"),
        ({"start": 3}, ArgumentError, "Expected start as an EvolutionResult, got 3"),
    ):
        with pytest.raises(error, match=says):
            evolving(recorder, **{"images": PICTURES, **arguments})
    with pytest.raises(ArgumentError, match="got weights alone"):
        evolving(states(), PICTURES)
    with pytest.raises(ArgumentError, match="got none yet"):
        evolving(EvolutionRecorder(model(), at=[5]), PICTURES)
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="which is a file"):
        evolving(recorder, PICTURES, store=tmp_path / "file")


# ---- known again by what it is of, not by names


def dilated(dilation: int = 1, rectified: bool = True) -> nn.Sequential:
    """Networks of the same weights, which compute different things."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU() if rectified else nn.Identity(), nn.Conv2d(4, 4, 3, dilation=dilation), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip


def through(door: str, path: Path, before: EvolutionResult, of: Checkpoints, images: Any) -> None:
    """Go on with an evolution, or read it."""
    if door == "start":
        evolving(of, images, start=before)
    else:
        EvolutionResult.load(path, of, None if door == "load by itself" else images)


def opaque(shift: float = 0) -> torch.utils.data.TensorDataset:
    return torch.utils.data.TensorDataset(torch.stack(PICTURES) + shift, torch.zeros(len(PICTURES), dtype=torch.long))


@pytest.mark.parametrize("door", ["start", "load"])
@pytest.mark.parametrize(
    ("net", "options"),
    [(dilated(2), {}), (dilated(rectified=False), {}), (dilated(), {"preprocess": MeanSubtraction(SIZE, SIZE)})],
    ids=["dilation", "no rectifier", "preprocessing"],
)
def test_another_network_of_the_same_weights_is_refused(
    door: str, net: nn.Module, options: dict[str, Any], tmp_path: Path
) -> None:
    state = {0: dilated().state_dict()}
    before = evolution(Checkpoints.of(state, dilated(), input_size=SIZE), PICTURES, "2", progress=False)
    other = Checkpoints.of(state, net, input_size=SIZE, **options)
    path = before.save(tmp_path / "x")
    with pytest.raises(ArgumentError, match=r"these weights \(fingerprint|another preprocessing"):
        through(door, path, before, other, PICTURES)


@pytest.mark.parametrize("door", ["start", "load"])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Shapes(count=9, size=16), Shapes(count=9, size=16, seed=1)),
        (PICTURES, [picture + 1 for picture in PICTURES]),
        (opaque(), opaque(1)),
    ],
    ids=["settings", "memory", "data set"],
)
def test_other_pictures_of_the_same_names_are_refused(door: str, one: Any, other: Any, tmp_path: Path) -> None:
    of = Checkpoints.of({0: dilated().state_dict()}, dilated(), input_size=SIZE)
    before = evolution(of, one, "2", progress=False)
    path = before.save(tmp_path / "x")
    with pytest.raises(ArgumentError, match=r"was made with, got others: picture \d+"):
        through(door, path, before, of, other)
    same = copy.deepcopy(one)  # other objects, of the same contents
    assert len(evolution(of, same, start=before, progress=False)) == 1
    assert len(EvolutionResult.load(path, of, same)) == 1


@pytest.mark.parametrize("how", ["start", "load", "load by itself"])
def test_a_file_that_was_replaced_is_refused(how: str, tmp_path: Path) -> None:
    for place in range(4):
        Image.fromarray(Shapes(count=4, size=16).pixels(place)).save(tmp_path / f"{place}.bmp")
    of = Checkpoints.of({0: dilated().state_dict()}, dilated(), input_size=SIZE)
    before = evolution(of, tmp_path, "2", progress=False)
    path = before.save(tmp_path / "x.evolution")

    os.utime(tmp_path / "1.bmp", (0, 0))  # only touched
    through(how, path, before, of, tmp_path)
    Image.fromarray(Shapes(count=4, size=16, seed=1).pixels(1)).save(tmp_path / "1.bmp")
    with pytest.raises(ArgumentError, match=r"picture 1 '1.*has another content"):
        through(how, path, before, of, tmp_path)


def test_epochs_that_are_called_alike_have_stores_of_their_own(tmp_path: Path) -> None:
    states = {100.0001: dilated().state_dict(), 100.0002: {k: v / 2 for k, v in dilated().state_dict().items()}}
    of = Checkpoints.of(states, dilated(), input_size=SIZE)
    evolution(of, PICTURES, "2", store=tmp_path / "x", progress=False)
    assert sorted(p.name for p in (tmp_path / "x").glob("*.survey")) == [
        "epoch-100.0001.survey", "epoch-100.0002.survey",
    ]  # fmt: skip


def test_whole_numbers_are_no_weights() -> None:
    state = {name: (tensor * 127).to(torch.int8) for name, tensor in dilated().state_dict().items()}
    with pytest.raises(NetworkError, match=r"whole numbers: 0.weight of torch.int8"):
        Checkpoints.of({0: state}, dilated(), input_size=SIZE).network(0)

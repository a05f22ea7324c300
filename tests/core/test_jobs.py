"""What every pass over pictures gets from `jobs`, shown on one of twenty lines; and both forms of every long call."""

from __future__ import annotations

import ast
import inspect
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.errors import ArgumentError, ExecutorError, ImageError, NetworkError
from convscope_core.evolution import evolution, evolving
from convscope_core.experiments import compare, comparing, degradation, degrading, filter_health, measuring_filters
from convscope_core.explain import project_many, projecting
from convscope_core.jobs import completed, documented, load, parts
from convscope_core.network import Network
from convscope_core.occlusion import occluding_map, occlusion_map
from convscope_core.patterns import fit_patterns, fitting_patterns, signal_quality
from convscope_core.patterns.fit import _FitJob
from convscope_core.saving import Damage
from convscope_core.survey import load_survey, survey, surveying
from convscope_core.survey.run import SurveyJob

HERE = Path(__file__).parent
COUNT = 24
DAMAGED = 3  # a picture that cannot be read

SCRIPT = """
import sys
import torch
sys.path.insert(0, sys.argv[1])
from test_jobs import network
from mean_maps import averaging
torch.set_num_threads(1)
for step in averaging(network(), sys.argv[2], "2", sys.argv[3], shards=6, batch_size=1):
    print(step.done, flush=True)
"""


def network() -> Network:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)
    return Network(nn.Sequential(*layers).eval(), input_size=10)


@pytest.fixture(scope="module")
def net() -> Network:
    return network()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(COUNT):
        Image.fromarray(rng.integers(0, 256, (10, 10, 3), np.uint8)).save(root / f"{number}.png")
    (root / f"{DAMAGED}.png").write_bytes(b"no picture")
    return root


@pytest.fixture(scope="module")
def mean_maps() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)  # where another process finds it, too
        import mean_maps

        yield mean_maps


@pytest.fixture(scope="module")
def whole(net: Network, folder: Path, mean_maps: ModuleType) -> torch.Tensor:
    """In one go, without a store, in six shards of four."""
    found: torch.Tensor = mean_maps.average(net, folder, "2", shards=6, batch_size=1, progress=False)
    return found


def test_it_computes_what_a_plain_loop_does(net: Network, folder: Path, whole: torch.Tensor) -> None:
    files = [folder / f"{number}.png" for number in range(COUNT) if number != DAMAGED]
    maps = torch.cat([net.activations(file, "2")["2"] for file in files])
    torch.testing.assert_close(whole, maps.double().mean((0, 2, 3)), rtol=1e-6, atol=1e-8)


@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(stops=st.lists(st.integers(1, COUNT), max_size=4))
def test_stopped_anywhere_it_goes_on_and_ends_with_the_same_bits(
    net: Network, folder: Path, whole: torch.Tensor, mean_maps: ModuleType, tmp_path_factory: Any, stops: list[int]
) -> None:
    store = tmp_path_factory.mktemp("store") / "maps"
    left = COUNT
    for count in [*stops, COUNT + 1]:
        run = mean_maps.averaging(net, folder, "2", store, shards=6, batch_size=1)
        steps = [step for _, step in zip(range(count), run, strict=False)]
        run.close()
        again = left < COUNT  # the damaged picture is in the first shard: once that is done, it is tried again
        assert steps[0].total == left + again, "what is done is not done again, and what is done is not lost"
        left -= steps[-1].done // 4 * 4
    assert torch.equal(steps[-1].result, whole)
    assert [entry.image for entry in steps[-1].skipped] == [DAMAGED]
    assert torch.equal(load(mean_maps.MeanMaps, store, net), whole)


def test_killed_it_goes_on_and_ends_with_the_same_bits(
    net: Network, folder: Path, whole: torch.Tensor, mean_maps: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "maps"
    command = [sys.executable, "-c", SCRIPT, str(HERE), str(folder), str(store)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 9:
            pass
        os.kill(process.pid, signal.SIGKILL)
    steps = list(mean_maps.averaging(net, folder, "2", store, shards=6, batch_size=1))
    # Two shards were done, of which one may have been written only in part; the damaged one is tried again.
    assert steps[0].total <= COUNT - 4 + 1
    assert torch.equal(steps[-1].result, whole)


def test_in_another_process_it_has_the_same_bits(
    net: Network, folder: Path, whole: torch.Tensor, mean_maps: ModuleType, tmp_path: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        options = {"executor": pool, "shards": 6, "batch_size": 1}
        steps = list(mean_maps.averaging(net, folder, "2", tmp_path / "maps", **options))
    assert torch.equal(steps[-1].result, whole)
    assert [step.total for step in steps] == [COUNT] * 6, "a step a shard"


def test_each_step_is_of_the_pictures_so_far_and_stays_so(net: Network, folder: Path, mean_maps: ModuleType) -> None:
    steps = list(mean_maps.averaging(net, folder, "2", shards=2, batch_size=4))
    assert [step.done for step in steps] == [4, 8, 12, 16, 20, 24]
    for step in steps:
        files = [folder / f"{number}.png" for number in range(step.done)]
        expected = mean_maps.average(net, files, "2", batch_size=4, progress=False)
        torch.testing.assert_close(step.result, expected, rtol=1e-6, atol=1e-8)


def test_a_process_that_reads_may_die_wherever_the_job_is(
    net: Network, folder: Path, mean_maps: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def add(*_: object) -> None:
        # Not while a batch is waited for: PyTorch raises what it hears of in the middle of this.
        os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
        threading.Event().wait(20)

    monkeypatch.setattr(mean_maps.MeanMaps, "add", add)
    with pytest.raises(ExecutorError, match="2 processes that read pictures"):
        mean_maps.average(net, folder, "2", batch_size=2, workers=2, progress=False)
    for process in multiprocessing.active_children():  # PyTorch tells it to end, and waits five seconds
        process.join(60)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("device", "apart", "surveyed", "fitted"),
    [
        ("cpu", False, [None, None, None], [1, 4, 16]),
        ("cuda", False, [1, 1, 3], [1, 1, 16]),
        ("cuda", True, [None, None, None], [1, 4, 16]),  # an executor may have several
    ],
)
def test_shards_by_default(
    net: Network, device: str, apart: bool, surveyed: list[int | None], fitted: list[int]
) -> None:
    jobs = (
        SurveyJob(net=net, layers=("0",), k=1, sample=1),
        _FitJob(net=net, layers=("0",), regimes=("all",), denominator="covariance", few=1),
    )
    for job, expected in zip(jobs, (surveyed, fitted), strict=True):
        job.net = SimpleNamespace(device=torch.device(device))
        assert [job.shards(images, apart) for images in (0, 256, 70_000)] == expected


def test_closed_it_ends_its_threads(net: Network, folder: Path, mean_maps: ModuleType) -> None:
    before = set(threading.enumerate())

    def loading() -> set[threading.Thread]:
        return {thread for thread in set(threading.enumerate()) - before if "convscope-loading" in thread.name}

    for progress in (False, True):
        run = mean_maps.averaging(net, folder, "2", batch_size=2, progress=progress)
        next(run)
        assert loading()
        run.close()
        assert not loading()


def test_the_form_in_one_go_shows_a_bar(
    net: Network, folder: Path, mean_maps: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    mean_maps.average(net, folder, "2")
    shown = capsys.readouterr().err
    assert "mean of maps" in shown
    assert f"{COUNT}/{COUNT}" in shown
    list(mean_maps.averaging(net, folder, "2"))
    assert capsys.readouterr().err == ""


def test_what_is_wrong_is_refused_by_the_call_itself(
    net: Network, folder: Path, mean_maps: ModuleType, tmp_path: Path
) -> None:
    store = tmp_path / "maps"
    mean_maps.average(net, folder, "2", store, progress=False)
    for options, words in (
        ({"batch_size": 0}, "batch_size to be a whole number of at least 1, got 0"),
        ({"workers": -1}, "workers to be a whole number of at least 0, got -1"),
        ({"shards": 1.5}, "shards to be a whole number of at least 1, got 1.5"),
        ({"executor": 3}, "interface of concurrent.futures, got int"),
        ({"store": store, "layer": "0"}, "same layer: it is of 2, asked for is 0"),
        ({"store": store, "resume": False}, "resume=False"),
    ):
        with pytest.raises(ArgumentError, match=words):
            mean_maps.averaging(**{"net": net, "images": folder, "layer": "2", **options})
    survey(net, folder, store=tmp_path / "other", progress=False)
    with pytest.raises(ArgumentError, match="same kind: it is of survey, asked for is mean of maps"):
        mean_maps.averaging(net, folder, "2", tmp_path / "other")
    with pytest.raises(ArgumentError, match=r"store of a mean of maps.* is one of 'survey'"):
        load(mean_maps.MeanMaps, tmp_path / "other", net)
    with pytest.raises(ImageError, match=r"2 that all failed. image 0: .*; image 1: "):
        mean_maps.average(net, [b"one", b"two"], "2", progress=False)


def test_values_that_are_no_numbers_are_refused_with_their_pictures(folder: Path, net: Network) -> None:
    broken = net.with_tensors(lambda t: t * torch.inf if t.shape == (3, 144) else t, "broken")
    with pytest.raises(NetworkError, match=r"layer '5', for image 0, 1\."):
        fit_patterns(broken, folder, batch_size=2, progress=False)


# ---- stores of earlier versions


def small() -> Network:
    """A network whose numbers, and those of the pictures below, are multiples of powers of two: exact anywhere."""
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    with torch.no_grad():
        for p in module.parameters():
            p.copy_((torch.arange(p.numel()) * 7 % 11 - 5).reshape(p.shape) / 16)
    return Network(module, input_size=8, name="small")


def exact_pictures() -> list[torch.Tensor]:
    found = list(((torch.arange(20 * 3 * 64) * 37 % 101 - 50) / 32).reshape(20, 3, 8, 8))
    found[7] = torch.full((3, 8, 8), float("nan"))
    return found


@given(runs=st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=6), seed=st.integers(0, 99))
def test_parts_are_compressed_where_it_pays_and_read_as_any_zlib_data(runs: list[tuple[bool, int]], seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = b"".join(rng.bytes(size) if digits else bytes(size) for digits, size in runs)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_PIECE", 64)
        patch.setattr(parts, "_TRIAL", 32)
        for chunk in (len(data) + 1, 100, 1):
            chunks = [memoryview(data)[start : start + chunk] for start in range(0, len(data), chunk)]
            assert zlib.decompress(b"".join(parts._deflated(chunks))) == data
    zeros, digits = bytes(2**21), rng.bytes(2**21)
    deflated = b"".join(parts._deflated([memoryview(zeros), memoryview(digits)]))
    assert len(digits) < len(deflated) < len(digits) + 2**15


class Kept:
    """A part that is nothing but its state."""

    def __init__(self, state: dict[str, torch.Tensor]) -> None:
        self.state_dict = lambda: state


@pytest.mark.cpu_only("states are of the processor's memory")
@given(
    numbers=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-200, 70_000), max_size=5),
    scale=st.sampled_from([1, 2**8, 2**16, 2**32]),
)
def test_whole_numbers_are_written_in_few_bytes_and_read_as_they_were(numbers: list[int], scale: int) -> None:
    whole = torch.tensor([n // scale for n in numbers], dtype=torch.int64)
    state = {
        "whole": whole, "across": whole.repeat(3, 1).T, "short": whole.to(torch.int8), "text": whole.to(torch.uint8),
        "truth": whole > 0, "digits": whole.double() / 3, "one": torch.tensor(-7),
    }  # fmt: skip
    data = list(parts.Packed(Kept(state)))
    found = parts.unpacked(data)
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    size = sum(tensor.nbytes for tensor in state.values())
    with pytest.raises(Damage):
        parts.unpacked(data, size - 1)
    counts = torch.arange(50_000) % 100
    assert len(zlib.decompress(b"".join(parts.Packed(Kept({"counts": counts}))))) < 50_200


def test_stores_of_version_1_are_refused_with_what_to_do(tmp_path: Path) -> None:
    """They do not say how pictures were prepared, so that nobody can tell what their results are of."""
    shutil.copy(HERE.parent / "stores" / "survey-1.store", tmp_path)
    before = (tmp_path / "survey-1.store").read_bytes()
    for call in (surveying, lambda net, images, store: load_survey(store, net, images)):
        with pytest.raises(ArgumentError, match=r"got version 1 in .*pictures were prepared\. Give another file"):
            call(small(), exact_pictures(), store=tmp_path / "survey-1.store")
    assert (tmp_path / "survey-1.store").read_bytes() == before


def stopped(folder: Path) -> None:
    """Write the stores of the next test: each stopped in the fifth of five shards."""
    net, images = small(), exact_pictures()
    for steps in (
        surveying(net, images, store=folder / "survey-2.store", k=3, sample=8, batch_size=2, shards=5),
        fitting_patterns(net, images, ("positive", "all"), store=folder / "patterns-2.store", batch_size=2, shards=5),
    ):
        for _ in range(9):
            next(steps)
        steps.close()


def test_stores_of_version_2_are_gone_on_with(tmp_path: Path) -> None:
    net, images = small(), exact_pictures()
    for name in ("survey-2.store", "patterns-2.store"):
        shutil.copy(HERE.parent / "stores" / name, tmp_path)
    options = {"k": 3, "sample": 8, "batch_size": 2}
    *_, step = surveying(net, images, store=tmp_path / "survey-2.store", **options)
    new = survey(net, images, shards=5, progress=False, **options)
    assert step.total == 4 + 1, "and the one that could not be read"
    assert [entry.image for entry in step.skipped] == [7]
    for layer in new.layers:
        assert np.array_equal(step.survey.arrays(layer).values, new.arrays(layer).values)
        assert np.array_equal(step.survey.arrays(layer).images, new.arrays(layer).images)
        assert np.allclose(step.survey.health(layer).variance, new.health(layer).variance, rtol=1e-6)
    regimes = ("positive", "all")
    *_, last = fitting_patterns(net, images, regimes, store=tmp_path / "patterns-2.store", batch_size=2)
    patterns = fit_patterns(net, images, regimes, shards=5, batch_size=2, progress=False)
    assert last.total == 4 + 1
    assert last.patterns.images == 19
    for name in patterns:
        torch.testing.assert_close(last.patterns[name], patterns[name], rtol=1e-5, atol=1e-7)


# ---- both forms of a call

FORMS = [
    (surveying, survey),
    (fitting_patterns, fit_patterns),
    (occluding_map, occlusion_map),
    (projecting, project_many),
    (degrading, degradation),
    (evolving, evolution),
    (comparing, compare),
    (measuring_filters, filter_health),
]


@pytest.mark.parametrize(("steps", "whole_form"), FORMS)
def test_both_forms_have_one_signature_and_one_documentation(steps: Any, whole_form: Any) -> None:
    mine, theirs = inspect.signature(steps).parameters, inspect.signature(whole_form).parameters
    assert list(mine) == list(theirs)
    assert {name for name in mine if mine[name].default != theirs[name].default} <= {"progress"}
    assert inspect.isfunction(whole_form)
    assert getattr(sys.modules[whole_form.__module__], whole_form.__name__) is whole_form
    for form, own, other in ((steps, "Yields", "Returns"), (whole_form, "Returns", "Yields")):
        doc = inspect.getdoc(form)
        assert doc is not None
        assert f"\n{own}\n{'-' * len(own)}\n" in doc
        assert f"\n{other}\n" not in doc
        assert doc.startswith(str(inspect.getdoc(steps)).split("\n")[0])
    # What Python says of a wrong call is of the form that was called.
    with pytest.raises(TypeError, match=rf"^{whole_form.__name__}\(\) missing a required argument"):
        whole_form()


@pytest.mark.parametrize("form", [*(form for pair in FORMS for form in pair), signal_quality])
def test_every_parameter_is_described_once_with_its_default(form: Any) -> None:
    doc = str(inspect.getdoc(form))
    section = doc.split("\nParameters\n----------\n")[1].split("\n\n")[0]
    headers = [line for line in section.splitlines() if not line.startswith(" ")]
    described = [name.lstrip("*") for header in headers for name in header.split(" : ")[0].split(", ")]
    parameters = inspect.signature(form).parameters
    assert sorted(described) == sorted(parameters)
    for header in headers:
        names, _, kind = header.partition(" : ")
        if names.startswith("*"):
            continue
        assert kind, f"{names} has no type"
        for name in names.split(", "):
            default = parameters[name].default
            if default is inspect.Parameter.empty:
                assert "default" not in kind
                assert "optional" not in kind
            elif default is None:
                assert kind.endswith(", optional")
            else:
                assert ast.literal_eval(kind.rpartition(", default ")[2]) == default


def test_a_parameter_that_is_described_nowhere_is_named() -> None:
    with pytest.raises(LookupError, match="type of the parameter 'colour'"):

        @documented
        def counting(colour):  # type: ignore[no-untyped-def]
            """Count.

            Parameters
            ----------
            colour
            """


def test_without_docstrings_both_forms_work() -> None:  # as under python -OO
    def counting(until, progress=False):  # type: ignore[no-untyped-def]
        yield from range(until)

    assert completed(documented(counting), "count", int, sum)(5) == 10

"""The recorder: training has the same bits with and without; what it keeps is what there was, whole or not at all."""

from __future__ import annotations

import copy
import itertools
import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from convscope_core.errors import ArgumentError, LayerError, NetworkError, StoreError
from convscope_core.evolution import PAPER, Checkpoints, EvolutionRecorder
from convscope_core.network import Network

SIZE = 12


def model() -> nn.Sequential:
    """With all that a training changes beside weights: running statistics, dropout's random numbers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 5, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(45, 3),
    )  # fmt: skip


def trained(net: nn.Module, after: Callable[[int], object] = lambda step: None, steps: int = 6) -> list[Any]:
    """Train a little; return all that a training can be told apart by."""
    torch.manual_seed(1)
    optimiser = torch.optim.SGD(net.parameters(), 0.05, momentum=0.9)
    trace: list[Any] = []
    for step in range(1, steps + 1):
        x, y = torch.randn(8, 3, SIZE, SIZE), torch.randint(0, 3, (8,))
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
        after(step)
        grads = [p.grad.clone() for p in net.parameters()]
        trace.append((loss.detach(), *grads, *(t.clone() for t in net.state_dict().values()), torch.rand(2)))
    return trace


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True))


# ---- nothing changes


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_training_has_the_same_bits_with_and_without(where: str, tmp_path: Path) -> None:
    plain, watched = model(), model()
    expected = trained(plain)
    recorder = EvolutionRecorder(watched, at=range(7), folder=tmp_path if where == "folder" else None, input_size=SIZE)
    modes = [m.training for m in watched.modules()]
    hooks = [len(m._forward_hooks) + len(m._state_dict_hooks) for m in watched.modules()]
    got = trained(watched, lambda step: recorder.step(step))
    assert same(got, expected)
    assert modes == [m.training for m in watched.modules()]
    assert hooks == [len(m._forward_hooks) + len(m._state_dict_hooks) for m in watched.modules()]
    assert len(recorder.checkpoints) == 7


def test_networks_of_it_may_be_built_while_it_trains() -> None:
    plain, watched = model(), model()
    expected = trained(plain)
    recorder = EvolutionRecorder(watched, at=range(7), input_size=SIZE)

    def look(step: int) -> None:
        recorder.step(step)
        recorder.checkpoints.network(-1)

    assert same(trained(watched, look), expected)


# ---- what is kept


@pytest.mark.parametrize("where", ["memory", "folder"])
def test_a_checkpoint_is_the_weights_of_its_moment(where: str, tmp_path: Path) -> None:
    net = model()
    kept: dict[int, dict[str, torch.Tensor]] = {0: copy.deepcopy(net.state_dict())}
    recorder = EvolutionRecorder(net, at=[0, 2, 5], folder=tmp_path if where == "folder" else None, input_size=SIZE)

    def after(step: int) -> None:
        assert recorder.step(step) == (step in (2, 5))
        kept[step] = copy.deepcopy(net.state_dict())

    trained(net, after)
    found = recorder.checkpoints
    assert [c.step for c in found] == [0, 2, 5]
    for item in found:
        state = item.state()
        assert state.keys() == kept[item.step].keys()
        assert all(torch.equal(state[name], tensor) for name, tensor in kept[item.step].items())


def test_the_network_of_a_checkpoint_is_that_of_the_module_with_its_weights() -> None:
    net = model()
    recorder = EvolutionRecorder(net, at=range(7), input_size=SIZE, labels=["a", "b", "c"], name="small")
    trained(net, recorder.step)
    for i, item in enumerate(recorder.checkpoints):
        twin = model()
        twin.load_state_dict(item.state())
        made = recorder.checkpoints.network(i)
        assert made.fingerprint == Network(twin.eval(), input_size=SIZE).fingerprint
        assert made.labels == ("a", "b", "c")
        assert made.name == f"small · {item.label}"
        assert made.scores == "logits"
    assert recorder.checkpoints.network(2) is recorder.checkpoints.network(2)


class Watched(nn.Module):
    """Another name for the same module, as wrappers have it."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.features = nn.DataParallel(inner)
        self.head = nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


@pytest.mark.parametrize(
    "wrap", [nn.DataParallel, torch.compile, lambda m: torch.optim.swa_utils.AveragedModel(m)],
    ids=["DataParallel", "compile", "AveragedModel"],
)  # fmt: skip
def test_wrappers_leave_no_trace_in_names(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = model()
    recorder = EvolutionRecorder(wrap(net), at=[0], input_size=SIZE)
    assert recorder.checkpoints[0].state().keys() == net.state_dict().keys()
    assert recorder.checkpoints.network(0).fingerprint == Network(net.eval(), input_size=SIZE).fingerprint


@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no distributed training")
def test_distributed_training_is_recorded_by_its_first_process(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        plain, watched = model(), nn.parallel.DistributedDataParallel(model())
        expected = trained(plain)
        recorder = EvolutionRecorder(watched, at=[0, 6], input_size=SIZE)
        assert same(trained(watched, recorder.step), expected)
    finally:
        torch.distributed.destroy_process_group()
    assert recorder.checkpoints[1].state().keys() == plain.state_dict().keys()
    assert recorder.checkpoints.network(1).fingerprint == Network(plain.eval(), input_size=SIZE).fingerprint


def test_wrappers_inside_are_seen_through() -> None:
    net = Watched(model())
    recorder = EvolutionRecorder(net, at=[0], input_size=SIZE)
    assert "features.0.weight" in recorder.checkpoints[0].state()
    assert recorder.checkpoints.network(0).fingerprint == Network(net.eval(), input_size=SIZE).fingerprint


def test_only_the_first_process_records(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    recorder = EvolutionRecorder(model(), at=[1], folder=tmp_path / "run", input_size=SIZE)
    assert not recorder.step(1)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    assert EvolutionRecorder(model(), at=[1], folder=tmp_path / "run", input_size=SIZE).step(1)


def test_a_folder_is_opened_later(tmp_path: Path) -> None:
    net = model()
    recorder = EvolutionRecorder(net, at=[1, 2.5], folder=tmp_path, input_size=SIZE, labels=["a", "b", "c"])
    for step in range(1, 9):
        recorder.step(step, epoch=step / 2)
    opened = Checkpoints.load(tmp_path, model())
    assert opened.labels == ("epoch 1", "epoch 2.5")
    assert [c.digest for c in opened] == [c.digest for c in recorder.checkpoints]
    assert opened.network(1).labels == ("a", "b", "c")
    assert opened.network(1).fingerprint == recorder.checkpoints.network(1).fingerprint
    assert Checkpoints.of(tmp_path).labels == opened.labels
    with pytest.raises(ArgumentError, match="net=module"):
        Checkpoints.of(tmp_path).network(0)


# ---- when


@given(at=st.sets(st.integers(0, 30), max_size=6), calls=st.lists(st.integers(1, 30), max_size=20, unique=True))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_moment_is_recorded_at_the_first_call_that_reaches_it(at: set[int], calls: list[int]) -> None:
    recorder = EvolutionRecorder(nn.Conv2d(3, 1, 1), at=at)
    expected = [0] if 0 in at else []
    before = 0
    for step in sorted(calls):
        reached = any(before < moment <= step for moment in at)
        assert recorder.step(step) == reached
        expected += [step] * reached
        before = step
    assert [c.step for c in recorder.checkpoints] == expected


def test_it_knows_what_is_still_to_come_and_what_the_network_will_be() -> None:
    net = model()
    recorder = EvolutionRecorder(net, at=(1, 2.5, 4), input_size=SIZE)
    assert len(recorder.checkpoints) == 0
    told: list[Any] = []
    recorder.observe(lambda _: told.append(recorder.due))
    before = recorder.checkpoints.architecture
    for epoch in (1, 2, 3, 4):
        recorder.step(epoch=epoch)
    assert told == [(2.5, 4), (4,), ()]
    assert recorder.due == ()
    after = recorder.checkpoints.network(-1)
    assert [layer.name for layer in before.layers] == [layer.name for layer in after.layers]
    assert (before.input_shape, before.labels) == (after.input_shape, after.labels)
    assert EvolutionRecorder(net, at=lambda step, epoch: True).due is None


def test_the_papers_epochs() -> None:
    recorder = EvolutionRecorder(nn.Conv2d(3, 1, 1))
    assert [epoch for epoch in range(1, 71) if recorder.step(epoch=epoch)] == list(PAPER)
    assert recorder.checkpoints.labels == tuple(f"epoch {epoch}" for epoch in PAPER)


def test_numbers_may_be_numpys() -> None:
    recorder = EvolutionRecorder(nn.Conv2d(3, 1, 1), at=np.arange(1, 9, 3))
    taken = [recorder.step(step, epoch=epoch) for step, epoch in zip(np.arange(8), np.arange(0, 4, 0.5), strict=True)]
    assert taken == [False, False, True, False, False, False, False, False]
    assert recorder.checkpoints.labels == ("epoch 1",)
    for step in (-1, 1.5, True, "1"):
        with pytest.raises(ArgumentError, match="step to be a whole number"):
            recorder.step(step)  # type: ignore[arg-type]


def test_a_function_may_choose() -> None:
    recorder = EvolutionRecorder(nn.Conv2d(3, 1, 1), at=lambda step, epoch: step % 3 == 0)
    assert [recorder.step() for _ in range(7)] == [False, False, True, False, False, True, False]


def test_observers_are_told_and_cannot_stop_training() -> None:
    recorder, told = EvolutionRecorder(nn.Conv2d(3, 1, 1), at=[1, 2, 3]), []
    end = recorder.observe(told.append)
    recorder.step(1)
    end()
    recorder.observe(lambda item: 1 / 0)
    with pytest.warns(RuntimeWarning, match="ZeroDivisionError"):
        recorder.step(2)
    assert [item.step for item in told] == [1]
    assert len(recorder.checkpoints) == 2


# ---- resumed


def test_a_folder_is_gone_on_with_only_when_asked_to(tmp_path: Path) -> None:
    first = EvolutionRecorder(model(), at=[0, 1, 5, 10], folder=tmp_path)
    for epoch in range(1, 11):
        first.step(epoch * 100, epoch=epoch)
    with pytest.raises(ArgumentError, match=r"with 4, up to step 1000.*resume=True"):
        EvolutionRecorder(model(), at=[1], folder=tmp_path)
    # It died after epoch 10, and training goes on from a copy of epoch 7.
    again = EvolutionRecorder(model(), at=[0, 1, 5, 10, 20], folder=tmp_path, resume=True)
    assert len(again.checkpoints) == 4
    recorded = [epoch for epoch in range(8, 21) if again.step(epoch * 100 + 1, epoch=epoch)]
    assert recorded == [10, 20]
    assert [(c.step, c.epoch) for c in again.checkpoints] == [(0, 0), (100, 1), (500, 5), (1001, 10), (2001, 20)]
    assert [c.digest for c in Checkpoints.of(tmp_path)] == [c.digest for c in again.checkpoints]


def test_a_folder_of_another_training_is_not_gone_on_with(tmp_path: Path) -> None:
    def recorded(folder: Path, at: list[int]) -> None:
        net = model()
        first = EvolutionRecorder(net, at=at, folder=folder)
        for epoch in range(1, 4):
            net[0].bias.data += 1
            first.step(epoch=epoch)

    def other(at: list[int], folder: Path) -> EvolutionRecorder:
        net = model()
        net[0].bias.data += 0.5
        return EvolutionRecorder(net, at=at, folder=folder, resume=True)

    recorded(tmp_path / "a", [0, 3])
    with pytest.raises(ArgumentError, match="one that begins anew, with other weights"):
        other([0, 3], tmp_path / "a").step(epoch=1)
    recorded(tmp_path / "b", [1, 2, 3])
    again = other([1, 2, 3], tmp_path / "b")
    before = [c.digest for c in again.checkpoints]
    assert again.due == ()
    with pytest.raises(ArgumentError, match=r"other weights for epoch 1, which .* \(epoch 2, epoch 3\)"):
        again.step(epoch=1)
    assert [c.digest for c in Checkpoints.of(tmp_path / "b")] == before
    # The same training, from an older state: what comes again is the same, and its calls go on counting.
    net = model()
    net[0].bias.data += 1
    same = EvolutionRecorder(net, at=[1, 2, 3, 4], folder=tmp_path / "b", resume=True)
    assert same.due == (4,)
    for epoch in range(2, 5):
        net[0].bias.data += 1
        assert same.step(epoch=epoch)
        assert same.due == tuple(range(epoch + 1, 5))
    assert [c.digest for c in same.checkpoints][:3] == before
    assert [(c.step, c.epoch) for c in same.checkpoints] == [(1, 1), (2, 2), (3, 3), (4, 4)]


@pytest.mark.parametrize("going", [(3, 5.0), (12, 3.0)])
def test_steps_and_epochs_go_on_together(going: tuple[int, float]) -> None:
    recorder = EvolutionRecorder(model(), at=lambda step, epoch: True)
    recorder.step(10, epoch=4)
    with pytest.raises(ArgumentError, match="go on together, got step"):
        recorder.step(*going)
    assert recorder.checkpoints.labels == ("epoch 4",)


def test_a_folder_of_another_network_is_not_gone_on_with(tmp_path: Path) -> None:
    EvolutionRecorder(model(), at=[0], folder=tmp_path)
    with pytest.raises(ArgumentError, match=r"same network, got weight of shape \(1, 3, 1, 1\) for none"):
        EvolutionRecorder(nn.Conv2d(3, 1, 1), at=[0], folder=tmp_path, resume=True)
    with pytest.raises(ArgumentError, match="same layers"):
        EvolutionRecorder(model(), at=[0], folder=tmp_path, resume=True, layers="0")


# ---- some layers only


def test_some_layers_alone_need_a_module_for_the_rest() -> None:
    net = model()
    recorder = EvolutionRecorder(net, at=[0, 6], layers=["0", "1"], input_size=SIZE)
    before = copy.deepcopy(net.state_dict())
    trained(net, recorder.step)
    assert {name.split(".")[0] for name in recorder.checkpoints[0].state()} == {"0", "1"}
    with pytest.raises(NetworkError, match=r"'start' .*missing: 4.weight, 4.bias, 8.weight and 1 more.*net=module"):
        recorder.checkpoints.network(0)
    mixed = copy.deepcopy(net)
    mixed.load_state_dict({k: v if k[0] in "01" else net.state_dict()[k] for k, v in before.items()})
    made = Checkpoints.of(recorder, net, input_size=SIZE).network(0)
    assert made.fingerprint == Network(mixed.eval(), input_size=SIZE).fingerprint
    # A network has its batch norms folded, and no weights to lend.
    with pytest.raises(NetworkError, match="missing"):
        Checkpoints.of(recorder, Network(net.eval(), input_size=SIZE)).network(0)


@settings(max_examples=60)
@given(data=st.data())
def test_no_byte_of_a_folder_of_checkpoints_changes_what_it_says(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("folder") / "run"
    state = {"0.weight": torch.arange(4.0)}
    Checkpoints.of(
        [(1, state), (2.5, {name: value + 1 for name, value in state.items()})],
        model(),
        labels=["ab", "cd", "ef"],
        input_size=SIZE,
    ).save(folder)

    def told() -> object:
        found = Checkpoints.load(folder, model())
        return (
            [(one.step, one.epoch, one.layers, repr([*one.state().items()])) for one in found],
            found._known().options,
        )

    before = told()
    file = folder / data.draw(st.sampled_from(sorted(os.listdir(folder))))
    changed = bytearray(file.read_bytes())
    if data.draw(st.booleans(), "cut off"):
        del changed[data.draw(st.integers(0, len(changed) - 1)) :]
    else:
        changed[data.draw(st.integers(0, len(changed) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(changed)
    with suppress(StoreError):
        assert told() == before


def test_folders_from_before_they_had_digests_are_read(tmp_path: Path) -> None:
    state = {"0.weight": torch.arange(4.0)}
    made = Checkpoints.of([(1, state)], model(), labels=["ab", "cd", "ef"]).save(tmp_path / "run")
    about = json.loads((made / "checkpoints.json").read_text())
    del about["digest"]
    (made / "checkpoints.json").write_text(json.dumps(about))
    (file,) = made.glob("*.safetensors")
    with safe_open(file, "pt") as opened:
        metadata = {name: value for name, value in opened.metadata().items() if name != "about"}
    save_file(state, file, metadata)
    found = Checkpoints.load(made, model())
    assert found.labels == ("epoch 1",)
    assert torch.equal(found[0].state()["0.weight"], state["0.weight"])
    os.mkfifo(made / "step-000000009.safetensors")
    with pytest.raises(StoreError, match="it is no file"):
        Checkpoints.load(made, model())


def test_a_damaged_checkpoint_is_found_when_it_is_read(tmp_path: Path) -> None:
    recorder = EvolutionRecorder(model(), at=[0, 1], folder=tmp_path, input_size=SIZE)
    recorder.step(1)
    path = tmp_path / "step-000000001.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(StoreError, match=r"step-000000001.*damaged"):
        Checkpoints.load(tmp_path, model(), input_size=SIZE).network(1)
    path.write_bytes(bytes(data[:40]))
    with pytest.raises(StoreError, match=r"step-000000001.*damaged"):
        Checkpoints.load(tmp_path)


# ---- refused


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let files grow to `size` bytes only: writing more fails as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_tied_weights_are_kept_in_a_folder(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 3), nn.ReLU(), nn.Conv2d(3, 3, 3), nn.Flatten(), nn.LazyLinear(2)).eval()
    net(torch.rand(1, 3, SIZE, SIZE))
    net[2].weight, net[2].bias = net[0].weight, nn.Parameter(net[0].bias.detach()[:])
    recorder = EvolutionRecorder(net, at=[1], folder=tmp_path / "recorded", input_size=SIZE)
    assert recorder.step(epoch=1)
    Checkpoints.of(recorder).save(tmp_path / "saved")
    for where in ("recorded", "saved"):
        (found,) = Checkpoints.of(tmp_path / where)
        kept, state = found.state(), net.state_dict()
        assert kept.keys() == state.keys()
        assert all(torch.equal(kept[name], value) for name, value in state.items())


def test_a_full_disk_says_which_checkpoint_and_what_is_safe_and_training_goes_on(tmp_path: Path) -> None:
    plain, watched = model(), model()
    expected = trained(plain)
    recorder = EvolutionRecorder(watched, at=[1, 2, 4], folder=tmp_path, input_size=SIZE)
    failures = []

    def after(step: int) -> None:
        with room_for(500 if step in (2, 3) else 10**9):
            try:
                recorder.step(step)
            except StoreError as e:
                failures.append(str(e))

    assert same(trained(watched, after), expected)
    assert len(failures) == 2  # tried again at the next call
    assert "step 2" in failures[0]
    assert "before it (step 1) are whole" in failures[0]
    assert "got a full disk" in failures[0]
    assert [c.step for c in recorder.checkpoints] == [1, 4]
    assert [c.step for c in Checkpoints.of(tmp_path)] == [1, 4]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "checkpoints.json", "step-000000001.safetensors", "step-000000004.safetensors",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_written_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="folder for checkpoints at"):
        EvolutionRecorder(model(), folder=tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"at": "weekly"}, ArgumentError, "'paper', numbers"),
        ({"at": 5}, ArgumentError, "got a int.*range"),
        ({"at": [-1]}, ArgumentError, "0 or greater, got -1"),
        ({"at": [float("nan")]}, ArgumentError, "got nan"),
        ({"at": itertools.count()}, ArgumentError, "endless ones give a callable"),
        ({"layers": ["con"]}, LayerError, "got 'con'"),
        ({"input_sizes": 3}, ArgumentError, "got 'input_sizes'.*input_size"),
    ],
)
def test_arguments_that_are_refused(options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        EvolutionRecorder(model(), **options)


def test_other_things_than_modules_are_refused() -> None:
    with pytest.raises(ArgumentError, match="got function"):
        EvolutionRecorder(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="UninitializedParameter"):
        EvolutionRecorder(nn.LazyConv2d(3, 1))


def test_moments_are_numbers_of_any_library() -> None:
    for at in (torch.arange(3), np.arange(3), [torch.tensor(0.0), np.float32(1), 2]):
        assert EvolutionRecorder(model(), at=at).due == (1, 2)
    with pytest.raises(ArgumentError, match="at as a number"):
        EvolutionRecorder(model(), at=[torch.tensor(True)])
    with pytest.raises(ArgumentError, match="at least one layer to record"):
        EvolutionRecorder(model(), at=[0], layers=[])

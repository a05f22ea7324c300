"""The script that trains the shipped networks, and the folders that it leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convscope_core.datasets import Images
from convscope_core.errors import NetworkError
from convscope_core.models.paper import read_run
from convscope_core.training import __main__ as script


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty pictures, dark or bright, by class."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(40):
        where = root / ("dark", "bright")[index % 2]
        where.mkdir(exist_ok=True)
        pixels = rng.integers(0, 100, (50, 64, 3)) + 120 * (index % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(where / f"{index:02}.png")
    return root


SMALL = ["--size", "56", "--width", "0.05", "--units", "8", "--epochs", "4", "--keep", "1,2", "--batch-size", "8"]


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("run") / "small"
    script.main([str(folder), str(made), *SMALL, "--network", "alexnet", "--standardise", "--dropout", "0"])
    return made


def test_a_run_is_described_and_makes_networks(run: Path, folder: Path) -> None:
    assert sorted(file.name for file in run.iterdir()) == [
        "epoch_01.safetensors", "epoch_02.safetensors", "epoch_04.safetensors", "run.json",
    ]  # fmt: skip
    found = read_run(run)
    assert (found.name, found.kind, found.labels) == ("small", "AlexNet2012", ("bright", "dark"))
    assert list(found.epochs) == [1, 2, 4]
    assert found.details["command"].startswith("python -m convscope_core.training ")
    assert len(found.details["history"]) == 4
    stored = load_file(found.epochs[2])
    assert {value.dtype for value in stored.values()} == {torch.float16}
    net = found.network(found.epochs[2])
    assert torch.equal(net.weight("conv1"), stored["conv1.weight"].float())
    assert (net.labels, net.input_shape) == (("bright", "dark"), (3, 56, 56))


def test_accuracy_is_that_of_the_weights_in_the_files(run: Path, folder: Path) -> None:
    found = read_run(run)
    test = [picture for index, picture in enumerate(Images.of(folder)) if index % 10 == 9]
    for epoch, path in found.epochs.items():
        net = found.network(path)
        right = [net.predict(picture).label == picture.label for picture in test]
        assert found.accuracy[epoch] == sum(right) / len(test)


def test_stopped_it_goes_on(run: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StoppedError(Exception):
        pass

    command = [str(folder), str(tmp_path / "small"), *SMALL, "--network", "alexnet", "--standardise", "--dropout", "0"]
    with monkeypatch.context() as patch:
        kept = script.KeptEpochs.__call__

        def until(self: script.KeptEpochs, step: object) -> None:
            if step.epoch > 3:
                raise StoppedError
            kept(self, step)

        patch.setattr(script.KeptEpochs, "__call__", until)
        with pytest.raises(StoppedError):
            script.main(command)
    assert (tmp_path / "small" / "checkpoint.safetensors").is_file()
    script.main(command)
    for file in run.glob("*.safetensors"):
        assert file.read_bytes() == (tmp_path / "small" / file.name).read_bytes()


def test_folders_that_are_no_run(run: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"Expected a folder that python -m convscope_core.training wrote"):
        read_run(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"name": "x"}))
    with pytest.raises(NetworkError, match="KeyError: 'kind'"):
        read_run(tmp_path)


def test_errors_are_a_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"Expected pictures of at least \d+ pixels for ZFNet, got input_size=20"):
        script.main([str(folder), str(tmp_path / "run"), "--size", "20"])
    with pytest.raises(SystemExit, match="does not exist"):
        script.main([str(tmp_path / "gone"), str(tmp_path / "run")])


def test_shapes_and_cifar10_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = script._parser().parse_args(["shapes", "run", "--count", "240", "--seed", "3"])
    train, validation, test, classes, described = script._sets(asked, 64)
    assert [(one.count, one.size, one.split) for one in (train, validation, test)] == [
        (240, 64, "train"), (12, 64, "test"), (30, 64, "test"),
    ]  # fmt: skip
    assert classes == train.classes
    assert len({one.identity for one in (train, validation, test)}) == 3
    assert "seed=3" in described

    class Fake(torch.utils.data.Dataset[tuple[Image.Image, int]]):
        classes = ("a", "b")

        def __init__(self, root: Path, train: bool, download: bool) -> None:
            self.count = 50 if train else 7

        def __len__(self) -> int:
            return self.count

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new("RGB", (32, 32)), index % 2

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Fake)
    train, validation, test, classes, _ = script._sets(script._parser().parse_args(["cifar10", "run"]), 64)
    assert (len(train), len(validation), len(test), classes) == (45, 5, 7, ("a", "b"))
    assert set(train.indices).isdisjoint(validation.indices)

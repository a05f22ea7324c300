"""The callback for Lightning's trainer, in a real one; and the error without Lightning."""

from __future__ import annotations

import logging
import math
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from convscope_core.evolution import EvolutionRecorder
from convscope_core.training import Step, clip_filters, filter_sizes, lightning_callback

x, y = torch.rand(20, 3, 8, 8), torch.arange(20) % 3


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))


class Unmeasured(torch.utils.data.IterableDataset[Any]):
    """The same pictures, without a length."""

    def __iter__(self) -> Any:
        yield from zip(x, y, strict=True)


def fitted(package: str, callback: Any, folder: Path, data: Any = None, **options: Any) -> nn.Module:
    lightning = pytest.importorskip(package)
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = network()

        def training_step(self, batch: Any, index: int) -> torch.Tensor:
            return F.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.5)

    module = Classifier()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y) if data is None else data, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers, few batches
        trainer = lightning.Trainer(
            max_epochs=2, accelerator="cpu", devices=1, logger=False, enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder, callbacks=[callback],
            **options,
        )  # fmt: skip
        trainer.fit(module, loader)
    return module.net


@pytest.mark.parametrize("package", ["lightning.pytorch", "pytorch_lightning"])
def test_every_update_is_seen_and_filters_are_clipped(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip(package)
    for name in [name for name in ("lightning.pytorch", "pytorch_lightning") if name != package]:
        monkeypatch.setitem(sys.modules, name, None)
    seen: list[Step] = []
    calls = []

    class Recorder:
        def step(self, step: int | None = None, epoch: float | None = None) -> bool:
            calls.append((step, epoch))
            return False

    net = fitted(package, lightning_callback(seen.append, Recorder(), clip={"net.0": 0.05}), tmp_path)
    assert [(one.step, one.epoch) for one in seen] == calls
    assert [one.step for one in seen] == [1, 2, 3, 4, 5, 6]
    assert [one.epoch for one in seen] == pytest.approx([1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2])
    assert all(math.isfinite(one.loss) and one.rate == 0.5 for one in seen)
    by_hand = network()
    for _ in range(2):
        for part in torch.arange(20).split(8):
            loss = F.cross_entropy(by_hand(x[part]), y[part])
            for parameter, gradient in zip(
                by_hand.parameters(), torch.autograd.grad(loss, list(by_hand.parameters())), strict=True
            ):
                parameter.data -= 0.5 * gradient
            clip_filters(by_hand, 0.05)
    for name, value in net.state_dict().items():
        torch.testing.assert_close(value, by_hand.state_dict()[name])
    assert filter_sizes(net).values["0"].max() == pytest.approx(0.05)


def test_accumulated_gradients_are_one_update(tmp_path: Path) -> None:
    seen: list[Step] = []
    fitted("lightning.pytorch", lightning_callback(seen.append), tmp_path, accumulate_grad_batches=2)
    assert [one.step for one in seen] == [1, 2, 3, 4]
    assert [one.epoch for one in seen] == pytest.approx([2 / 3, 1, 5 / 3, 2])


@pytest.mark.parametrize(
    ("options", "whole"),
    [
        ({}, [(3, 1), (6, 2)]),
        ({"limit_train_batches": 99}, [(3, 1), (6, 2)]),
        ({"limit_train_batches": 2}, [(2, 1), (4, 2)]),
        ({"limit_train_batches": 99, "max_steps": 5}, [(3, 1)]),
    ],
)
def test_epochs_of_unknown_length_count_when_they_end(
    tmp_path: Path, options: dict[str, Any], whole: list[tuple[int, int]]
) -> None:
    seen: list[Step] = []
    recorded = nn.Linear(1, 1)
    recorder = EvolutionRecorder(recorded, at=[1, 2])
    fitted("lightning.pytorch", lightning_callback(seen.append, recorder), tmp_path, Unmeasured(), **options)
    assert [(c.step, c.epoch) for c in recorder.checkpoints] == whole
    assert {one.step for one in seen} == set(range(1, seen[-1].step + 1))
    epochs = [one.epoch for one in seen]
    assert epochs == sorted(epochs)


def test_without_lightning(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lightning", "lightning.pytorch", "pytorch_lightning"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"Expected Lightning.*pip install lightning"):
        lightning_callback()

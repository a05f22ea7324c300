"""The evolution of a network: against a brute-force search at each checkpoint, interrupted, gone on with, refused."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from convscope_core.evolution import Checkpoints, EvolutionRecorder, EvolutionResult, evolution, evolving
from convscope_core.network import Network

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


def test_it_is_kept_and_read_again(found: EvolutionResult, recorder: EvolutionRecorder, tmp_path: Path) -> None:
    path = found.save(tmp_path / "x.evolution")
    again = EvolutionResult.load(path, recorder, PICTURES)
    np.testing.assert_equal(again.table().columns(), found.table().columns())
    assert again.network(2).fingerprint == found.network(2).fingerprint
    assert copy.copy(again.labels) == ("start", "step 2", "step 4", "step 6")
    assert isinstance(Checkpoints.of(recorder).network(0), Network)
    *_, step = evolving(recorder, PICTURES, k=3, batch_size=5, start=again)
    np.testing.assert_equal(step.result.table().columns(), found.table().columns())

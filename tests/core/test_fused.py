"""The kernels for CUDA against what they stand for; where there is no device, as Triton's interpreter runs them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch._subclasses import FakeTensorMode

from convscope_core import fused
from convscope_core.graph.kernels import _matrices
from convscope_core.graph.windows import gathered


def check_windows(draw: random.Random) -> None:
    """Any place, also where what changed lies beside what is wanted; any layout."""
    count, channels, height, width = draw.randint(1, 4), draw.randint(1, 20), draw.randint(6, 20), draw.randint(6, 20)
    layout = draw.choice((torch.contiguous_format, torch.channels_last))
    clean = torch.randn(1, channels, height, width).contiguous(memory_format=layout)
    size, extent = ([draw.randint(1, 6) for _ in range(2)] for _ in range(2))
    changed = torch.randn(draw.choice((1, count)), channels, *extent).contiguous(memory_format=layout)
    changed = changed.expand(count, -1, -1, -1)
    need, have = (
        [
            torch.tensor([draw.randint(low, s - n - low) for _ in range(5)])
            for s, n in zip((height, width), each, strict=True)
        ]
        for low, each in ((0, size), (-3, extent))
    )
    places = [torch.tensor([draw.randrange(5) for _ in range(count)]) for _ in range(2)]
    at, changed_at = ([t[p] for t, p in zip(table, places, strict=True)] for table in (need, have))
    got = fused.windows_taken(clean, size, places, need, changed, have)
    assert torch.equal(got, gathered(clean, (2, 3), size, at, changed, changed_at))
    assert torch.equal(fused.windows_taken(clean, size, places, need), gathered(clean, (2, 3), size, at))
    within = [t + draw.randint(0, e - 1) for t, e in zip(have, extent, strict=True)]
    got = fused.windows_taken(None, (1, 1), places, within, changed, have)
    at = [t[p] for t, p in zip(within, places, strict=True)]
    assert torch.equal(got, gathered(None, (2, 3), (1, 1), at, changed, changed_at))


def check_tiles(draw: random.Random) -> None:
    """Both transforms against the matrices in float64."""
    results, _, inputs = (m.to(torch.zeros(0).device) for m in _matrices())
    count, channels, down, across = (draw.randint(1, 5) for _ in range(4))
    x = torch.randn(count, channels, 4 * down + 2, 4 * across + 2).contiguous(memory_format=torch.channels_last)
    out = torch.empty(36, count * down * across, channels)
    fused.tile_inputs(x, out)
    tiles = [x[:, :, 4 * a : 4 * a + 6, 4 * b : 4 * b + 6] for a in range(down) for b in range(across)]
    expected = torch.einsum("ia,jb,ntcab->ijntc", inputs, inputs, torch.stack(tiles, 1).double())
    torch.testing.assert_close(out.double(), expected.reshape(out.shape), rtol=1e-5, atol=1e-5)
    bias = torch.randn(channels) if draw.random() < 0.7 else None
    made = torch.empty(count, 4 * down, 4 * across, channels)
    fused.tile_results(out, bias, made)
    products = out.double().reshape(6, 6, count, down, across, channels)
    expected = torch.einsum("ia,jb,abnyxk->nyixjk", results, results, products).reshape(made.shape)
    expected = expected if bias is None else expected + bias
    torch.testing.assert_close(made.double(), expected, rtol=1e-5, atol=1e-4)


def check_maps(draw: random.Random) -> None:
    """Few positions and many; equal values."""
    shape = draw.randint(1, 3), draw.randint(1, 7), draw.choice((1, 7, 50)), draw.choice((1, 9, 61))
    x = torch.randn(shape).mul(4).round().div(2)
    flat, ceiling = x.flatten(2), draw.choice((None, 1.0))
    got = fused.maps_reduced(x, ceiling)
    assert torch.equal(got["peaks"], flat.amax(2))
    places = (flat == flat.amax(2, keepdim=True)).int().argmax(2)
    assert torch.equal(got["rows"] * shape[3] + got["columns"], places)
    assert bool((got["columns"] < shape[3]).all())
    assert torch.equal(got["active"], (flat > 0).sum(2))
    assert torch.equal(got["saturated"], (flat >= ceiling).sum(2) if ceiling else torch.zeros_like(got["saturated"]))
    wide = flat.double()
    expected = {
        "means": wide.mean(2), "magnitudes": wide.abs().mean(2),
        "deviations": (wide - wide.mean(2, keepdim=True)).square().sum(2),
    }  # fmt: skip
    for name, value in expected.items():
        torch.testing.assert_close(got[name].double(), value, rtol=1e-5, atol=1e-6)


CHECKS = {"windows": check_windows, "tiles": check_tiles, "maps": check_maps}


def check_large() -> None:
    """A layer of VGG-16 for the 450 windows of a batch: 75 million numbers, in tiles 133; some pictures of them."""
    results, _, inputs = (m.double() for m in _matrices())
    x = torch.randn(450, 18, 18, 512).permute(0, 3, 1, 2)
    out, made, bias = torch.empty(36, 7200, 512), torch.empty(450, 16, 16, 512), torch.randn(512)
    fused.tile_inputs(x, out)
    fused.tile_results(out, bias, made)
    for n in (0, 1, 224, 225, 448, 449):
        one, mine = x[n : n + 1].cpu(), out[:, 16 * n : 16 * n + 16].cpu().double()
        tiles = [one[:, :, 4 * a : 4 * a + 6, 4 * b : 4 * b + 6] for a in range(4) for b in range(4)]
        expected = torch.einsum("ia,jb,ntcab->ijntc", inputs, inputs, torch.stack(tiles, 1).double())
        torch.testing.assert_close(mine, expected.reshape(mine.shape), rtol=1e-5, atol=1e-5)
        products = mine.reshape(6, 6, 4, 4, 512)
        expected = torch.einsum("ia,jb,abyxk->yixjk", results, results, products).reshape(16, 16, 512) + bias.cpu()
        torch.testing.assert_close(made[n].cpu().double(), expected, rtol=1e-5, atol=1e-4)


def run(name: str, times: int) -> None:
    torch.manual_seed(0)
    if name == "large":
        check_large()
        return
    draw = random.Random(0)
    for _ in range(times):
        CHECKS[name](draw)


def interpreted(name: str) -> None:
    """Run checks where Triton interprets its kernels: as it is imported, it decides."""
    core = str(Path(fused.__file__).parents[1])
    path = os.pathsep.join([core, os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, __file__, name], env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path},
        stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", CHECKS)
def test_kernels_do_what_they_stand_for(name: str, device: torch.device) -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    if device.type == "cuda":
        assert fused.of_use(torch.zeros(1))
        run(name, 40)
    else:
        interpreted(name)


def test_layers_may_have_many_numbers_on_a_gpu(device: torch.device) -> None:
    if device.type != "cuda":
        pytest.skip("a minute without a device")
    run("large", 1)


@pytest.mark.slow
@pytest.mark.cpu_only("a device needs no interpreter")
def test_layers_may_have_many_numbers() -> None:
    pytest.importorskip("triton", reason="Triton is not installed")
    interpreted("large")


def test_as_many_numbers_as_offsets_reach_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of VGG-16 for the 450 windows of a batch: 75 million numbers, in tiles 133."""
    with FakeTensorMode():
        x = torch.empty(450, 512, 18, 18, device="cuda")
        monkeypatch.setitem(fused._tried, x.device, True)
        assert fused.of_use(x)
        assert fused.of_use(x, 36 * 450 * 16 * 512)
        assert fused.of_use(x, 2**31 - 1)
        assert not fused.of_use(x, 2**31)
        assert not fused.of_use(torch.empty(2**29, device="cuda"))


def test_other_devices_and_types_are_left_to_pytorch() -> None:
    assert not fused.of_use(torch.zeros(1, device="cpu"))
    assert not fused.of_use(torch.zeros(1, dtype=torch.int64))


if __name__ == "__main__":
    assert fused._works(torch.device("cpu"))
    if sys.argv[1] == "large":
        fused._TILE_BLOCK = 2**17  # few programs, each with much to do, take a minute; as many as on a device, an hour
    run(sys.argv[1], 6)

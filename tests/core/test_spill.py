"""Tensors in files: the same numbers, written once, gone with the last of them; a disk that takes no more is told."""

from __future__ import annotations

import errno
import gc
import io
import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from convscope_core import spill
from convscope_core.errors import StoreError
from convscope_core.jobs import parts
from convscope_core.saving import Damage
from convscope_core.spill import Spill, let_go, lies_in_file
from convscope_core.survey.profile import ClassProfile
from convscope_core.survey.sample import Sample

TYPES = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.int8, torch.uint8, torch.bool]

tensors = st.builds(
    lambda dtype, shape, seed: (
        torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).mul(100).to(dtype)
    ),
    st.sampled_from(TYPES), st.lists(st.integers(0, 5), max_size=3), st.integers(0, 99),
)  # fmt: skip


@given(st.lists(tensors, min_size=1, max_size=5), st.sampled_from([0, 2**20]), st.integers(1, 40))
def test_what_is_copied_is_the_same(several: list[Tensor], large: int, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "LARGE", large)
        patch.setattr(spill, "_BLOCK", block)
        place = Spill(1 + sum(tensor.nbytes for tensor in several), len(several))
        copies = [place.copied(tensor) for tensor in several]
    for _ in range(2):  # in memory, and read again
        for tensor, copy in zip(several, copies, strict=True):
            assert copy.dtype == tensor.dtype
            assert torch.equal(copy, tensor)
            assert lies_in_file(copy) == (large == 0 and copy.numel() > 0)
            assert not lies_in_file(tensor)
        let_go(*copies)


class Kept:
    """A part that is nothing but its state."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state_dict = lambda: state


@pytest.mark.cpu_only("states are of the processor's memory")
@settings(max_examples=50)
@given(st.dictionaries(st.text(max_size=4), tensors, max_size=5), st.integers(20, 200), st.integers(1, 3))
def test_parts_are_read_alike_into_memory_and_into_files(state: dict[str, Tensor], piece: int, pieces: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_PIECE", piece)
        patch.setattr(parts, "_ROW", piece * pieces)
        packed = parts.Packed(Kept(state))
        rows = list(packed)
        assert len(rows) == packed.count
        for large in (0, spill.LARGE):
            patch.setattr(spill, "LARGE", large)
            found = parts.unpacked(rows)
            assert found.keys() == state.keys()
            for name, tensor in state.items():
                assert found[name].dtype == tensor.dtype
                assert torch.equal(found[name], tensor)
                assert found[name].untyped_storage().nbytes() <= tensor.nbytes, "pickled, it takes no others along"
            with pytest.raises(Damage):
                parts.unpacked(rows[:-1])
            with pytest.raises(Damage):
                parts.unpacked(rows, packed.size - 1)
            with pytest.raises(Damage):
                parts.unpacked([*rows, b"more"])


@pytest.mark.parametrize(
    "head",
    [
        '{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[1],"data_offsets":[8,16]}}',
        '{"a":{"dtype":"F64","shape":[-1,-1],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[2],"data_offsets":[0,16]}}',
        '{"a":{"dtype":"F64","shape":[],"data_offsets":[0,8]},"b":{"dtype":"F64","shape":[],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[1],"data_offsets":["0",8]}}',
        '{"a":{"dtype":"F65","shape":[1],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[1.0],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[true],"data_offsets":[0,8]}}',
        '{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8.0]}}',
        '{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},'
        '"b":{"dtype":"F64","shape":[4294967296,4294967296,0],"data_offsets":[8,8]}}',
        '{"a":8}',
        "[]",
        "{",
    ],
)
def test_what_says_that_it_is_what_it_is_not_is_damage(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a file as in memory, where safetensors says so."""
    data = len(head).to_bytes(8, "little") + head.encode() + bytes(8)
    monkeypatch.setattr(spill, "LARGE", 0)
    with pytest.raises(Damage):
        parts.unpacked(list(parts._deflated([memoryview(data)])))


def test_a_tensor_is_pickled_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not with all of the file, once for each tensor of it: surveys that were read from stores are pickled."""
    monkeypatch.setattr(spill, "LARGE", 0)
    place = Spill(10**6, 3)
    several = [place.copied(torch.arange(float(size))) for size in (3, 1000, 5)]
    for tensor in several:
        data = pickle.dumps(tensor)
        assert len(data) < tensor.nbytes + 5000
        assert torch.equal(pickle.loads(data), tensor)
        assert lies_in_file(tensor[1:])
    torch.save(several, file := io.BytesIO())
    assert len(file.getvalue()) < 20_000


def test_no_place_for_temporary_files_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def none() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']")

    monkeypatch.setattr(spill, "LARGE", 0)
    monkeypatch.setattr(spill, "_folder", none)
    with pytest.raises(StoreError, match=r"room for .* results, got an error: No usable temporary .*TMPDIR"):
        Spill(100)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is told by Linux")
def test_files_go_with_the_last_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "LARGE", 0)
    monkeypatch.setattr(spill, "_folder", lambda: str(tmp_path))

    def ours() -> int:
        gc.collect()
        links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
        return sum(str(tmp_path) in os.readlink(link) for link in links if os.path.lexists(link))

    made = Spill(100, 2)
    one, other = made.copied(torch.ones(3)), made.copied(torch.zeros(2))
    assert os.listdir(tmp_path) == [], "whatever ends the process"
    del made, one
    assert ours() == 1
    assert torch.equal(other, torch.zeros(2))
    del other
    assert ours() == 0


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill, "LARGE", 0)
    monkeypatch.setattr(spill, "_folder", lambda: str(tmp_path / "none"))
    with pytest.raises(StoreError, match=r"room for 3\.0 GB .*none', got an error: No such file.*TMPDIR"):
        Spill(3 * 10**9)


@pytest.mark.cpu_only("states are of the processor's memory")
def test_what_a_survey_reads_from_a_store_is_pickled_once() -> None:
    """And not all rows with each row."""
    peaks, names = torch.rand(64, 32), [f"class {number}" for number in range(64)]
    text = torch.tensor(list(json.dumps(names).encode()), dtype=torch.uint8)
    sample = {"images": torch.arange(64), "peaks": peaks, "means": peaks, "size": torch.tensor(64)}
    sums = {"sums": peaks, "squares": peaks.sum(0), "counts": torch.ones(64, dtype=torch.int64), "labels": text}
    for part in (Sample.from_state(sample), ClassProfile.from_state(sums)):
        rows = part._rows if isinstance(part, Sample) else part._sums
        assert sum(row.untyped_storage().nbytes() for row in rows.values()) == sum(row.nbytes for row in rows.values())

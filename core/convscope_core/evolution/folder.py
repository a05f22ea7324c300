"""A folder of checkpoints: a file of safetensors each, which is whole or not there, and one of JSON about them all."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from convscope_core.errors import ArgumentError
from convscope_core.saved_result import typed
from convscope_core.saving import Damage, guarded, replacing, write_text

__all__ = ["Entry", "begin_folder", "digest_of", "entries", "file_of", "read_about", "read_entry", "write_entry"]

_FORM = "convscope checkpoint 1"
_ABOUT = "checkpoints.json"
_ABOUT_KEYS = ("format", "network", "options", "layers")
_ENTRY_KEYS = ("format", "step", "epoch", "digest")
_SAFE = "Nothing was changed in it."
_CURE = "Copy it again, or move it away to go without that checkpoint."


class Entry(NamedTuple):
    """A checkpoint in a folder.

    Attributes
    ----------
    path : Path
    step : int
    epoch : float or None
    digest : str
        See `digest_of`.
    """

    path: Path
    step: int
    epoch: float | None
    digest: str


def begin_folder(folder: Path, about: Mapping[str, Any]) -> None:
    """Make a folder for checkpoints, or go on with one.

    Parameters
    ----------
    folder : Path
    about : mapping of str to anything that JSON holds
        What all its checkpoints are of.

    Raises
    ------
    StoreError
        When it cannot be written.
    """
    with guarded(folder, "a folder for checkpoints", "Nothing was written.", "Give another path."):
        folder.mkdir(parents=True, exist_ok=True)
    told = {"format": _FORM, **about}
    write_text(folder / _ABOUT, json.dumps({**told, "digest": _digest_of_text(told)}, indent=1))


def read_about(folder: Path) -> dict[str, Any]:
    """Return what `begin_folder` wrote.

    Raises
    ------
    ArgumentError
        When this is no folder of checkpoints.
    StoreError
        When it cannot be read.
    """
    path = folder / _ABOUT
    if not path.is_file():
        raise ArgumentError(
            f"Expected a folder that EvolutionRecorder or Checkpoints.save wrote, got {str(folder)!r}, which has no "
            f"{_ABOUT}. For files of other programs give a mapping: {{epoch: path}}."
        )
    with guarded(path, "what a folder of checkpoints is about", _SAFE, "Copy it again."):
        about = json.loads(path.read_text("utf-8"))
        if not isinstance(about, dict) or about.get("format") != _FORM:
            raise Damage("it is not of this version")
        _require_digest(about, about.pop("digest", None), _ABOUT_KEYS)
        typed(about["layers"], tuple[str, ...] | None, "layers")
        if not isinstance(about["options"], dict):
            raise Damage("options that no network has")
    return about


def _digest_of_text(about: Mapping[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(about, sort_keys=True).encode(), digest_size=16).hexdigest()


def _require_digest(about: Mapping[str, Any], digest: Any, known: Collection[str]) -> None:
    """Raise Damage unless what a file says of itself is what was written."""
    # Files from before there was a digest have none; one under another name is not such a file.
    if strange := sorted(set(about) - set(known)):
        raise Damage(f"it says {strange[0]!r}, which none of ours do")
    if digest is not None and digest != _digest_of_text(about):
        raise Damage("what it says of itself is not what was written")


def digest_of(state: Mapping[str, Tensor]) -> str:
    """Return a BLAKE2 digest (hex) of the names and values of weights."""
    h = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(state.items()):
        value = tensor.detach().cpu().contiguous()
        h.update(f"\0{name}\0{value.dtype}{tuple(value.shape)}".encode())
        h.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return h.hexdigest()


def file_of(folder: Path, step: int) -> Path:
    """Return the file of a checkpoint."""
    return folder / f"step-{step:09d}.safetensors"


def write_entry(folder: Path, step: int, epoch: float | None, state: Mapping[str, Tensor]) -> Entry:
    """Write a checkpoint beside what is there, and put it in its place when it is whole.

    Raises
    ------
    StoreError
        When it cannot be written; what was there stays, and nothing else does.
    """
    path, digest = file_of(folder, step), digest_of(state)
    about = {"format": _FORM, "step": str(step), "epoch": "" if epoch is None else repr(epoch), "digest": digest}
    with replacing(path) as beside:
        save_file(_apart(state), beside, {**about, "about": _digest_of_text(about)})
    return Entry(path, step, epoch, digest)


def _apart(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return weights of which no two share memory, as tied ones do: safetensors takes no others."""
    found, seen = {}, set()
    for name, tensor in state.items():
        whole = tensor.contiguous()
        memory = whole.untyped_storage().data_ptr()
        found[name] = whole.clone() if memory in seen else whole
        seen.add(memory)
    return found


def entries(folder: Path) -> list[Entry]:
    """Return the checkpoints of a folder, by step.

    Raises
    ------
    StoreError
        When a file is damaged, or none of ours.
    """
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with guarded(path, "a checkpoint", _SAFE, _CURE):
            if not path.is_file():  # a pipe would be waited for
                raise Damage("it is no file")
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
            if about.get("format") != _FORM:
                raise Damage("it holds other tensors")
            _require_digest(about, about.pop("about", None), _ENTRY_KEYS)
            step, epoch = int(about["step"]), float(about["epoch"]) if about["epoch"] else None
            if step < 0 or not (epoch is None or 0 <= epoch < math.inf):
                raise Damage(f"it is of step {step} and epoch {epoch}, of which none can be")
            found.append(Entry(path, step, epoch, about["digest"]))
    return sorted(found, key=lambda entry: entry.step)


def read_entry(entry: Entry) -> dict[str, Tensor]:
    """Return the weights of a checkpoint in a folder.

    Raises
    ------
    StoreError
        When it cannot be read, or is damaged.
    """
    with guarded(entry.path, "a checkpoint", _SAFE, _CURE):
        state = load_file(entry.path)
        if digest_of(state) != entry.digest:
            raise Damage("its contents are not those that were recorded")
    return state

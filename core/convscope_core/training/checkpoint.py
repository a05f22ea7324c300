"""What a training loop needs to go on as if it had not stopped: a file of safetensors, replaced as a whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from convscope_core.errors import ArgumentError
from convscope_core.saved_result import typed
from convscope_core.saving import guarded, opened_result, reading_result, save_result

__all__ = ["Progress", "as_array", "read_checkpoint", "write_checkpoint"]

_FORM = "convscope training checkpoint 1"


@dataclass
class Progress:
    """Where a loop stands, beside its weights.

    Attributes
    ----------
    step : int
        Updates so far.
    within : int
        Batches of the present epoch that are done.
    loss : float
        Sum over its pictures.
    right : int
        Its pictures that were right.
    history : list of dict
        The epochs that are done.
    schedule, scaler : dict
        States of the learning rate's schedule and of the scaler of gradients.
    """

    step: int
    within: int
    loss: float
    right: int
    history: list[dict[str, Any]]
    schedule: dict[str, Any]
    scaler: dict[str, Any]


_NUMBERS = {"step": int, "within": int, "loss": float, "right": int}
_STATES = {"history": list, "schedule": dict, "scaler": dict}


def write_checkpoint(
    path: Path, module: nn.Module, optimiser: torch.optim.SGD, progress: Progress, settings: Mapping[str, Any]
) -> None:
    """Write weights, momentum and where the loop stands; the file before is replaced when that is done.

    Raises
    ------
    StoreError
        If it cannot be written.
    """
    tensors = {f"module/{name}": value for name, value in module.state_dict().items()}
    for name, parameter in module.named_parameters():
        momentum = optimiser.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            tensors[f"momentum/{name}"] = momentum
    with guarded(path.parent, "a folder for the checkpoint", "Nothing was written.", "Give another path."):
        path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: as_array(value) for name, value in tensors.items()}
    save_result(path, _FORM, arrays, {"settings": settings, "progress": vars(progress)})


def read_checkpoint(path: Path, module: nn.Module, optimiser: torch.optim.SGD, settings: Mapping[str, Any]) -> Progress:
    """Read a checkpoint into a module and its optimiser.

    Raises
    ------
    ArgumentError
        If it is of another training (which setting differs) or of another network (which tensor). Nothing is changed
        then.
    StoreError
        If it cannot be read, or is damaged.
    """
    with opened_result(path, "train(checkpoint=)", [_FORM]) as (_, arrays, kept):
        told = kept["progress"]
        numbers = {name: typed(told[name], hint, name) for name, hint in _NUMBERS.items()}
        progress = Progress(**numbers, **{name: kind(told[name]) for name, kind in _STATES.items()})
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        found = dict(kept["settings"])
    _check_tensors(path, tensors, module)
    with reading_result(path, "train(checkpoint=)"):
        _check_settings(path, found, json.loads(json.dumps(settings)))
    module.load_state_dict({k.removeprefix("module/"): v for k, v in tensors.items() if k.startswith("module/")})
    for name, parameter in module.named_parameters():
        momentum = tensors.get(f"momentum/{name}")
        if momentum is not None:
            optimiser.state[parameter]["momentum_buffer"] = momentum.to(parameter.device, parameter.dtype)
    return progress


def as_array(value: Tensor) -> npt.NDArray[Any]:
    """Return a tensor as an array with the same values, bfloat16 in single precision."""
    value = value.detach().cpu()
    # numpy has no bfloat16; single precision holds its values exactly
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def _check_tensors(path: Path, tensors: Mapping[str, Tensor], module: nn.Module) -> None:
    wanted = {f"module/{name}": tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in tensors.items()}
    for name, shape in wanted.items():
        if shapes.get(name) != shape:
            raise _other(
                path, f"{name[7:]} of shape {shape}", "none" if name not in shapes else f"shape {shapes[name]}"
            )
    for name, shape in shapes.items():
        if name.startswith("module/") and name not in wanted:
            raise _other(path, f"no {name[7:]}", f"shape {shape}")
        if name.startswith("momentum/") and shape != wanted.get(f"module/{name[9:]}"):
            raise _other(path, f"the momentum of {name[9:]} in its shape", f"shape {shape}")


def _check_settings(path: Path, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    for name in {**wanted, **found}:
        now, then = wanted.get(name), found.get(name)
        if name in ("pictures", "validation") and isinstance(now, dict) and isinstance(then, dict):
            by = (
                "names" if None in (now["pixels"], then["pixels"]) else "pixels"
            )  # without a cache nobody has read them
            now, then = now[by], then[by]
        if now != then:
            raise _other(path, f"{name} {now!r}", repr(then))


def _other(path: Path, expected: str, came: str) -> ArgumentError:
    return ArgumentError(
        f"Expected a checkpoint of this training, with {expected}, got {came} in {str(path)!r}. Give the same network, "
        f"pictures and settings to go on, another file, or resume=False to begin again."
    )

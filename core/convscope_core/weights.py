"""State dicts: read from files, and checked against the module that they are for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope_core.errors import ArgumentError, NetworkError

__all__ = ["fill", "read_state", "require_own_weight"]


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a state dict from a file of `torch.save` or safetensors; nothing that is pickled is run.

    Raises
    ------
    NetworkError
        If the file cannot be read, or holds something else.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:
        first = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        raise NetworkError(
            f"Expected a state dict (saved by torch.save(module.state_dict(), path), or .safetensors); "
            f"{str(path)!r} cannot be read as one: {first[:200]}. Files with pickled objects are not loaded, "
            f"for safety: save the state dict alone."
        ) from e
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
    if not isinstance(found, Mapping) or not all(isinstance(v, torch.Tensor) for v in found.values()):
        raise NetworkError(
            f"Expected a state dict (names to tensors) in {str(path)!r}, got a {type(found).__name__}. "
            f"Save module.state_dict()."
        )
    return {k.removeprefix("module."): v for k, v in found.items()}


def fill(module: nn.Module, state: Mapping[str, torch.Tensor], name: str, source: str) -> None:
    """Load a state dict into a module.

    Parameters
    ----------
    module : torch.nn.Module
    state : mapping of str to tensor
        Other precisions are converted; whole numbers are no weights.
    name, source : str
        What the module is called and where the state comes from, for the message.

    Raises
    ------
    NetworkError
        If a tensor is missing, is not known, has another shape, or is not finite; which.
    """
    wanted = module.state_dict()
    missing = [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")]
    surplus = [k for k in state if k not in wanted]
    unfit = [f"{k} {tuple(state[k].shape)} for {tuple(v.shape)}" for k, v in wanted.items()
             if k in state and state[k].shape != v.shape]  # fmt: skip
    unfit += [f"{k} of {_kind(state[k])} for {_kind(v)}" for k, v in wanted.items()
              if k in state and state[k].shape == v.shape and _is_other_kind(state[k], v)]  # fmt: skip
    if missing or surplus or unfit:
        what = "; ".join(
            f"{label}: {', '.join(found[:3])}{' ...' if len(found) > 3 else ''}"
            for label, found in (("missing", missing), ("not known", surplus), ("wrong shape or type", unfit))
            if found
        )
        raise NetworkError(
            f"Expected the state dict of {name}; {source!r} does not fit. {what[0].upper()}{what[1:]}. "
            f"For another architecture or number of classes: Network(module, ...)."
        )
    broken = [k for k in wanted if k in state and not bool(torch.isfinite(state[k]).all())]
    if broken:
        raise NetworkError(
            f"Expected finite weights of {name}, got NaN or infinity in {', '.join(broken[:3])}"
            f"{' and more' if len(broken) > 3 else ''} of {source!r}. Was the training stopped before it diverged?"
        )
    module.load_state_dict(state, strict=False)


def shortly(weights: Any) -> str:
    """Write what was given as weights for a message: what holds tensors by its kind alone, with the cure."""
    if isinstance(weights, (str, int, float)) or weights is None:
        return repr(weights)
    if isinstance(weights, Mapping):
        return "a state dict: save it to a file, and give the path"
    return f"a {type(weights).__name__}"


def _is_other_kind(given: torch.Tensor, wanted: torch.Tensor) -> bool:
    """Whether whole numbers were given for weights, such as those of a quantised network."""
    return wanted.is_floating_point() and not given.is_floating_point()


def _kind(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def require_own_weight(layer: nn.Module, name: str, remedy: str) -> None:
    """Raise ArgumentError unless a layer's weight is a parameter of its own, with values, so that it can be set.

    Parameters
    ----------
    layer : torch.nn.Module
    name : str
        What it is called.
    remedy : str
        What to do where it is not.
    """
    weight = layer._parameters.get("weight")
    if weight is None:
        raise ArgumentError(
            f"Expected layers whose weight is a parameter, got {name or 'one'}, a {type(layer).__name__} whose weight "
            f"is computed from others (such as weight_norm or spectral_norm). {remedy}"
        )
    if nn.parameter.is_lazy(weight):
        raise ArgumentError(
            f"Expected layers that know their sizes, got {name or 'one'}, a {type(layer).__name__} that takes them "
            f"from its first input. Give the module an input first."
        )

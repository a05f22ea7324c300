"""Files of results: arrays as safetensors, all else as JSON in their metadata."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from convscope_core.errors import ArgumentError

__all__ = ["load_result", "save_result"]


def save_result(
    path: str | os.PathLike[str], form: str, arrays: Mapping[str, npt.NDArray[Any]], settings: Mapping[str, Any]
) -> Path:
    """Write arrays and settings to a file.

    Parameters
    ----------
    path : path
    form : str
        What the file is, and in which version.
    arrays : mapping of str to array
    settings : mapping of str to anything that JSON holds

    Returns
    -------
    Path

    Raises
    ------
    ArgumentError
        If the file cannot be written.
    """
    target = Path(path).expanduser()
    try:
        save_file(
            {name: np.ascontiguousarray(array) for name, array in arrays.items()},
            target,
            {"format": form, "settings": json.dumps(settings)},
        )
    except (OSError, SafetensorError) as error:
        raise ArgumentError(f"Expected a file that can be written, got {str(target)!r}: {error}.") from error
    return target


def load_result(
    path: str | os.PathLike[str], writer: str, forms: Collection[str]
) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Read what `save_result` wrote.

    Parameters
    ----------
    path : path
    writer : str
        What writes such files, for the messages.
    forms : collection of str
        What the file may be.

    Returns
    -------
    form : str
    arrays : dict of str to array
    settings : dict

    Raises
    ------
    ArgumentError
        If there is no such file, or it holds something else.
    """
    source = Path(path).expanduser()
    expected = f"Expected a file of {writer}, got {str(source)!r}"
    try:
        with safe_open(source, framework="np") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except (OSError, SafetensorError) as error:
        raise ArgumentError(f"{expected}: {error}.") from error
    form = metadata.get("format", "other tensors")
    if form not in forms:
        raise ArgumentError(f"{expected}, which holds {form}.")
    return form, arrays, json.loads(metadata["settings"])

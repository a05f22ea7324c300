"""A picture with its name and label, and what may stand for one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from convscope_core.errors import ArgumentError

__all__ = ["Picture", "as_picture", "is_picture"]


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture with its name, and what is known about it.

    Attributes
    ----------
    image : Any
        What `Network.prepare` takes: a path, bytes, a PIL image, an array or a tensor. A file is not read
        before it is needed.
    name : str
        For display. Within a folder, the path below it.
    label : str or None
        The class it is known to belong to.
    path : Path or None
        The file it comes from.
    """

    image: Any
    name: str
    label: str | None = None
    path: Path | None = None


def is_picture(item: Any) -> bool:
    """Whether something may stand for one picture: a path, bytes, a PIL image, an array or a tensor."""
    if isinstance(item, (np.ndarray, torch.Tensor)):
        return item.ndim in (2, 3, 4)
    return isinstance(item, (Picture, str, os.PathLike, bytes, bytearray, memoryview, Image.Image))


def as_picture(item: Any, index: int) -> Picture:
    """Wrap one picture of a list."""
    if isinstance(item, Picture):
        return item
    if not is_picture(item):
        kind = f"shape {tuple(item.shape)}" if hasattr(item, "shape") else type(item).__name__
        raise ArgumentError(
            "Expected a list of paths, bytes, PIL images, arrays (H, W[, C]) or tensors (C, H, W), "
            f"got {kind} in place {index}. For pictures with labels make each a Picture(image, name, label)."
        )
    if isinstance(item, (str, os.PathLike)):
        path = Path(item).expanduser()
        return Picture(path, path.name, None, path)
    file = getattr(item, "filename", None)
    path_of_image = Path(file) if isinstance(file, str) and file else None
    return Picture(item, path_of_image.name if path_of_image else f"picture {index}", None, path_of_image)

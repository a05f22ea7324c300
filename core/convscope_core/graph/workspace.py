"""Memory that the steps of a walk fill in turn."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Workspace"]


class Workspace:
    """Memory for what is read only by the next steps, kept from one walk to the next.

    Fresh memory is zeroed by the system first, at half the price of filling it. Walks that are under way at the same
    time have one each.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[str, torch.dtype, torch.device], Tensor] = {}

    def take(self, name: str, like: Tensor, numel: int) -> Tensor:
        """Return memory for so many numbers of a tensor's type, on its device: what had this name is overwritten."""
        key = name, like.dtype, like.device
        if key not in self._kept or self._kept[key].numel() < numel:
            self._kept.pop(key, None)  # given back before more is taken
            self._kept[key] = like.new_empty(numel)
        return self._kept[key][:numel]

    def tensors(self) -> list[Tensor]:
        """Return all that is kept."""
        return list(self._kept.values())

    def free(self) -> None:
        """Give it back; it is taken again when needed."""
        self._kept.clear()

"""Full float32 on a CUDA device, whatever torch is set to.

Tensor cores round the factors of float32 products to 10 bits (TF32), and torch lets convolutions do so by default. An
occluder's effect, the difference of two nearly equal outputs, would be lost in that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch

from convscope_core.locks import Lock

__all__ = ["Door", "convolutions_round", "full_precision"]


class _Settings:
    """What torch's settings were before the first of those who want full precision came; they return with the last.

    The settings are the process's: while one thread wants full precision, others get it, too.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._wanted = 0
        self._before: list[Callable[[], None]] = []

    def take(self) -> None:
        with self._lock:
            if not self._wanted:
                self._switch()
            self._wanted += 1

    def give_back(self) -> None:
        with self._lock:
            self._wanted -= 1
            if not self._wanted:
                for restore in self._before:
                    restore()

    def _switch(self) -> None:
        self._before = []
        cudnn: Any = torch.backends.cudnn
        # torch has an older and, from 2.9 on, a newer way to say it, and refuses to tell in the older one what was said
        # in the newer. Both are kept.
        with contextlib.suppress(RuntimeError):
            products = torch.get_float32_matmul_precision()
            self._before.append(lambda: torch.set_float32_matmul_precision(products))
        with contextlib.suppress(RuntimeError):
            convolutions = cudnn.allow_tf32
            self._before.append(lambda: setattr(cudnn, "allow_tf32", convolutions))
        newer = [x for x in (torch.backends.cuda.matmul, *_parts(cudnn)) if hasattr(x, "fp32_precision")]
        for x in newer:
            self._before.append(partial(setattr, x, "fp32_precision", x.fp32_precision))
        torch.set_float32_matmul_precision("highest")
        cudnn.allow_tf32 = False
        for x in newer:
            x.fp32_precision = "ieee"


def _parts(cudnn: Any) -> list[Any]:
    return [getattr(cudnn, name) for name in ("conv", "rnn") if hasattr(cudnn, name)]


_settings = _Settings()


def convolutions_round() -> bool:
    """Tell whether convolutions on a CUDA device round their factors as torch is set now."""
    conv: Any = getattr(torch.backends.cudnn, "conv", None)
    return bool(conv.fp32_precision == "tf32" if hasattr(conv, "fp32_precision") else torch.backends.cudnn.allow_tf32)


@contextlib.contextmanager
def full_precision(device: torch.device, wanted: bool = True) -> Iterator[None]:
    """Let nothing round the factors of products, and regions of autocast have no effect, on a device.

    Parameters
    ----------
    device : torch.device
        On a CUDA device torch's settings are changed for all threads until the last of those who want it is done.
    wanted : bool, default True
        If not, nothing changes.
    """
    if not wanted:
        yield
        return
    if device.type == "cuda":
        _settings.take()
    try:
        if torch.is_autocast_enabled(device.type):
            with torch.autocast(device.type, enabled=False):
                yield
        else:
            yield
    finally:
        if device.type == "cuda":
            _settings.give_back()


class Door(Lock):
    """The lock under which a network computes, and in which precision: who holds it computes in full float32.

    Parameters
    ----------
    device : torch.device
    full : bool
        If not, torch's settings hold.
    """

    def __init__(self, device: torch.device, full: bool) -> None:
        super().__init__()
        self._device, self._full = device, full
        self._entered: list[contextlib.AbstractContextManager[None]] = []

    def _begin(self) -> None:
        precision = full_precision(self._device, self._full)
        precision.__enter__()
        self._entered.append(precision)

    def _end(self) -> None:
        self._entered.pop().__exit__(None, None, None)

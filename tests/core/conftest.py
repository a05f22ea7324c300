"""The device that the core's tests compute on: `pytest tests/core --device cuda`, the CPU by default.

No test says where. The modules and tensors that a test makes lie on the device, with the same random numbers as on the
CPU, and networks are made there; what a test compares or turns into an array is brought together for it. All that is
done for calls that a test's own lines make, never for those of the core: what the core forgets to move fails.

PyTorch keeps such modes for each thread. What a test's own lines make in another thread lies on the CPU; for the core
that changes nothing. Tests of what is for a CPU alone, such as calls side by side in threads, are marked `cpu_only`.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._device import _device_constructors

from convscope_core import network

_TESTS, _CORE = str(Path(__file__).parent), str(Path(network.__file__).parent)
_TRANSFORMS = str(Path(torchvision.transforms.__file__).parent)

_RANDOM = frozenset({torch.rand, torch.randn, torch.randint, torch.randperm, torch.normal})
_DRAWING = frozenset({Tensor.bernoulli_, Tensor.exponential_, Tensor.normal_, Tensor.random_, Tensor.uniform_})
_MADE = frozenset(_device_constructors()) - _RANDOM
_INITIAL = frozenset(f for name, f in vars(torch.nn.init).items() if name.endswith("_") and callable(f))
_AS_THEY_ARE = frozenset({Tensor.data.__set__, Tensor.grad.__set__, torch._has_compatible_shallow_copy_type})
_ARRAYS = frozenset({Tensor.numpy, Tensor.__array__})


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where the core's tests compute: cpu, cuda, cuda:1... (cpu)")


def pytest_configure(config: pytest.Config) -> None:
    device = torch.device(config.getoption("--device", "cpu"))
    network.best_device = lambda: device
    if device.type == "cpu":
        return
    torch.empty(0, device=device)  # one that is not there fails here, once
    # What a test computes to compare with is computed as exactly as what it is compared with.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    torch.testing.assert_close = functools.partial(torch.testing.assert_close, check_device=False)
    mode = _TestsOn(device)
    torch.from_numpy = mode.taken(torch.from_numpy)  # which asks no mode
    mode.__enter__()
    config.add_cleanup(lambda: mode.__exit__(None, None, None))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if torch.device(config.getoption("--device", "cpu")).type == "cpu":
        return
    for item in items:
        for mark in item.iter_markers("cpu_only"):
            item.add_marker(pytest.mark.skip(*mark.args))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """Where the tests compute."""
    return torch.device(request.config.getoption("--device", "cpu"))


class _TestsOn(TorchFunctionMode):
    """Bring the tensors of tests to a device."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.process = os.getpid()  # CUDA is of no use in a fork

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if os.getpid() != self.process or not _is_of_a_test(sys._getframe(1)):
            return func(*args, **kwargs)
        if func in _ARRAYS:
            return func(args[0].cpu(), *args[1:], **kwargs)
        if func in _RANDOM:
            return self._drawn(func, args, kwargs)
        if func in _MADE:
            return self._made(func, args, kwargs)
        if func in _INITIAL or func in _DRAWING:
            return self._filled(func, args, kwargs)
        # In place the tensor that changes stays where it is.
        there = (
            args[0].device
            if args and isinstance(args[0], Tensor) and _changes(getattr(func, "__name__", ""))
            else self.device
        )
        if (
            func not in _AS_THEY_ARE
            and len({t.device.type for t in _tensors((args, kwargs))} & {"cpu", self.device.type}) == 2
        ):
            args, kwargs = _moved(args, there), _moved(kwargs, there)
        return func(*args, **kwargs)

    def taken(self, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """The function, with what it gives a test on the device."""

        def call(*args: Any) -> Tensor:
            return function(*args).to(self.device if _is_of_a_test(sys._getframe(1)) else "cpu")

        return call

    def _drawn(self, func: Callable[..., Tensor], args: Any, kwargs: dict[str, Any]) -> Tensor:
        """The numbers that are drawn on the CPU."""
        if kwargs.get("device") is not None or "out" in kwargs:
            return func(*args, **kwargs)
        gradient = kwargs.pop("requires_grad", False)
        return (
            func(*_moved(args, torch.device("cpu")), **{**kwargs, "device": "cpu"})
            .to(self.device)
            .requires_grad_(gradient)
        )

    def _filled(self, func: Callable[..., Tensor], args: Any, kwargs: dict[str, Any]) -> Tensor:
        """The tensor, filled with the numbers that are drawn on the CPU."""
        tensor = args[0] if args else kwargs.pop("tensor")
        if tensor.device.type != self.device.type:
            return func(tensor, *args[1:], **kwargs)
        with torch.no_grad():
            return tensor.copy_(func(torch.empty_like(tensor, device="cpu"), *args[1:], **kwargs))

    def _made(self, func: Callable[..., Tensor], args: Any, kwargs: dict[str, Any]) -> Tensor:
        if kwargs.get("device") is None and "out" not in kwargs:
            kwargs = {**kwargs, "device": self.device}
        return func(*args, **kwargs)


@functools.cache
def _owner(file: str) -> bool | None:
    """Whether a file is a test's (True), the core's or what prepares pictures (False), or somebody else's (None)."""
    return True if file.startswith(_TESTS) else False if file.startswith((_CORE, _TRANSFORMS)) else None


def _is_of_a_test(frame: Any) -> bool:
    """Whether a call is of a test's own lines; modes, of the core too, hand on the calls of others."""
    while frame is not None:
        file, name = frame.f_code.co_filename, frame.f_code.co_name
        owner = None if file == __file__ or name == "__torch_function__" else _owner(file)
        if owner is not None:
            return owner
        frame = frame.f_back
    return False


def _changes(name: str) -> bool:
    in_place = name.endswith("_") and not name.endswith("__")
    return (
        in_place
        or name == "__setitem__"
        or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"))
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (tuple, list)):
        for v in value:
            yield from _tensors(v)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device) if value.device.type in ("cpu", "cuda") and value.device.type != device.type else value
    if isinstance(value, (tuple, list)) and type(value) in (tuple, list):
        return type(value)(_moved(v, device) for v in value)
    if isinstance(value, dict):
        return {k: _moved(v, device) for k, v in value.items()}
    return value

"""Whether a module sends back another gradient than that of what it computes.

A forward pass may hold a `torch.autograd.Function` whose backward is no derivative (a straight-through estimator, a
reversed gradient), and hooks may change what passes a module on the way back. A graph of operations holds neither: its
gradient is that of what is computed. Where the two differ, this has to be stated.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["backward_parts", "hooked_modules", "sends_other_gradient"]

#: Greatest difference of gradients, relative to the greatest value, that rounding is taken for.
_ROUNDING = 1e-2


@contextlib.contextmanager
def backward_parts() -> Iterator[dict[str, None]]:
    """Collect, on this thread, the names of functions with a backward of their own, and whether tensors have hooks."""
    function: Any = torch.autograd.Function
    tensor: Any = Tensor
    original, register = function.__dict__["apply"], tensor.__dict__["register_hook"]
    thread = threading.get_ident()
    found: dict[str, None] = {}

    def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() == thread and not cls.__module__.startswith("torch."):
            found[cls.__name__] = None
        return original.__get__(None, cls)(*args, **kwargs)

    def register_hook(self: Tensor, hook: Any) -> Any:
        if threading.get_ident() == thread:
            found["hooks of tensors"] = None
        return register(self, hook)

    function.apply, tensor.register_hook = classmethod(apply), register_hook
    try:
        yield found
    finally:
        function.apply, tensor.register_hook = original, register


def hooked_modules(module: nn.Module) -> list[str]:
    """Return the paths of modules with backward hooks."""
    return [
        path or type(m).__name__ for path, m in module.named_modules() if m._backward_hooks or m._backward_pre_hooks
    ]


def sends_other_gradient(
    module: Callable[[Tensor], Tensor], graph: Callable[[Tensor], Tensor], x: Tensor, names: Iterable[str]
) -> str:
    """Compare gradients; return what a module has of its own on the way back, empty where that is the derivative.

    Parameters
    ----------
    module, graph : callable
        From pictures (1, C, H, W) to class scores (1, K), to be differentiated.
    x : tensor
        A picture.
    names : iterable of str
        Of what has, or may have, a backward of its own.
    """
    found = ", ".join(names)
    if not found:
        return ""
    gradients = []
    for call in (module, graph):
        with torch.inference_mode(False), torch.enable_grad():
            picture = x.clone().requires_grad_()
            try:
                scores = call(picture)
                weights = torch.linspace(1, 2, scores.numel(), dtype=scores.dtype, device=scores.device)
                total = (scores.reshape(-1) * weights).sum()
                (gradient,) = torch.autograd.grad(total, picture) if total.requires_grad else (torch.zeros_like(x),)
            except RuntimeError:  # it cannot be differentiated: there is no gradient to differ from
                return ""
        gradients.append(gradient)
    own, ours = gradients
    scale = max(float(own.abs().max()), float(ours.abs().max()))
    return "" if float((own - ours).abs().max()) <= _ROUNDING * scale else found

"""What a forward pass asks of numbers that no picture has a part in: the answers are the same for every picture.

``if (std == 0).any()`` in a normalisation, ``if self.enabled[0] == 1``, ``self.temperature.item()``: a program that is
exported knows no values, so that such a forward pass could not be exported. Here the questions are asked once of the
module as it is, while every operation hands on which of its inputs come from the pictures, from chance or from weights;
and the answers are repeated while the module is exported. A question to a picture is not answered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

__all__ = ["Answers"]

#: Functions that make a Python value of a tensor's values.
_QUESTIONS = frozenset(
    {
        "__bool__", "__float__", "__int__", "__index__", "__complex__", "__contains__", "item", "tolist", "numpy",
        "__array__", "is_nonzero", "equal", "allclose",
    }
)  # fmt: skip

_PICTURE = ""
"""Stands, among names of weights, for what differs from picture to picture or from call to call."""


class _Answer(NamedTuple):
    question: str
    value: Any
    sources: frozenset[str]
    """Names of the weights that it depends on, and "" for pictures and chance."""


class Answers:
    """The questions of one forward pass, in order, with their answers.

    Attributes
    ----------
    weights : mapping of str to tensor
        Copies of those parameters and buffers, by name, that an answer depends on which is repeated: for others the
        program may be another.
    """

    def __init__(self, module: nn.Module, x: Tensor, call: Callable[[], Any]) -> None:
        """Ask.

        Parameters
        ----------
        module : torch.nn.Module
        x : tensor
            The batch that `call` gives to the module.
        call : callable
            Evaluates the module.
        """
        named = [*module.named_parameters(), *module.named_buffers()]
        origin: Any = WeakIdKeyDictionary()
        origin[x] = frozenset({_PICTURE})
        for name, t in named:
            origin[t] = frozenset({name})
        asking = _Asking(origin)
        with asking, _Origins(origin):
            call()
        self._found = asking.found
        self._distances = asking.distances
        decisive = {name for a in self._found if _PICTURE not in a.sources for name in a.sources}
        self.weights: Mapping[str, Tensor] = {n: t.detach().clone() for n, t in named if n in decisive}

    def __bool__(self) -> bool:
        """Whether to repeat them may let a module be exported that could not be."""
        return self._distances or any(_PICTURE not in a.sources for a in self._found)

    def repeated(self) -> TorchFunctionMode:
        """Return a context in which the questions are answered in order, to be entered by each forward pass."""
        return _Repeating(self._found)


class _Origins(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Keeps, for every tensor, what it was computed from."""

    def __init__(self, origin: Any) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.origin = origin

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
        sources = frozenset().union(*(self.origin.get(t, frozenset()) for t in given))
        if torch.Tag.nondeterministic_seeded in func.tags:
            sources |= {_PICTURE}
        if sources:
            written = given if func._schema.is_mutable else []
            for t in (*_pytree.tree_leaves(result), *written):
                if isinstance(t, Tensor):
                    self.origin[t] = self.origin.get(t, frozenset()) | sources
        return result


class _Asking(TorchFunctionMode):
    """Takes down questions and answers."""

    def __init__(self, origin: Any) -> None:
        super().__init__()
        self.origin = origin
        self.found: list[_Answer] = []
        self.distances = False

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        self.distances |= func is torch.cdist
        name = getattr(func, "__name__", "")
        if name in _QUESTIONS:
            given = [t for t in _pytree.tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
            sources = frozenset().union(*(self.origin.get(t, frozenset()) for t in given))
            self.found.append(_Answer(name, value, sources))
        return value


class _Repeating(TorchFunctionMode):
    """Answers the questions of one forward pass as they were answered, those to pictures left out.

    Distances are computed in one way for any number of pictures: of more than 25, PyTorch would compute them in
    another, by which the program would be one for few pictures.
    """

    def __init__(self, answers: list[_Answer]) -> None:
        super().__init__()
        self.left = deque(answers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name in _QUESTIONS:
            answer = self._next(name)
            if answer is not None and answer.question == name and _PICTURE not in answer.sources:
                return answer.value
        if func is torch.cdist:
            kwargs = {**kwargs, "compute_mode": "donot_use_mm_for_euclid_dist"}
        return func(*args, **kwargs)

    def _next(self, question: str) -> _Answer | None:
        if question == "item" and self.left and self.left[0].question == "tolist":  # as exporting spells it
            whole = self.left.popleft()
            self.left.extendleft(_Answer("item", v, whole.sources) for v in reversed(_flat(whole.value)))
        return self.left.popleft() if self.left else None


def _flat(value: Any) -> list[Any]:
    return [v for part in value for v in _flat(part)] if isinstance(value, list) else [value]

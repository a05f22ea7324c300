"""A forward pass as it was exported, without its weights: what graphs of one module with many weights are made from.

Exporting a module takes seconds, what follows milliseconds; and what is exported does not depend on the values of the
weights. So the networks of a training's checkpoints share one export.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, fx
from torch.export import ExportedProgram

from convscope_core.errors import NetworkError, TraceError
from convscope_core.graph.node import Graph
from convscope_core.graph.purify import EntangledError, UnsupportedError, WritesStateError, inlined, translate

__all__ = ["Recipe"]

_WRAPPERS = frozenset({"module", "_orig_mod", "_fsdp_wrapped_module"})
"""What PyTorch's wrappers call the module inside, in the names of weights."""

_COUNTER = "num_batches_tracked"
"""Of batch norms: nothing that is computed depends on it, and older files lack it."""


class _Form(NamedTuple):
    """One way of writing a program down."""

    graph: fx.Graph
    output: str
    inputs: tuple[tuple[str, str], ...]
    """Placeholders, and the names of the tensors behind them; an empty name where nothing reads it."""

    @classmethod
    def of(cls, program: ExportedProgram, result: int) -> _Form:
        graph, output = inlined(program.graph_module, program.graph_signature.user_outputs[result])
        read = {n.name for n in graph.nodes if n.op == "placeholder" and n.users}
        specs = [s for s in program.graph_signature.input_specs if s.target is not None]
        return cls(graph, output, tuple((s.arg.name, s.target if s.arg.name in read else "") for s in specs))

    def translated(self, tensors: Mapping[str, Tensor]) -> Graph:
        nothing = torch.empty(0)
        values = {name: _detached(tensors[target]) if target else nothing for name, target in self.inputs}
        try:
            return translate(self.graph, values, self.output)
        except WritesStateError:
            private = {name: v.clone() if isinstance(v, Tensor) else v for name, v in values.items()}
            return translate(self.graph, private, self.output, may_write=True)


class Recipe:
    """A forward pass without its weights.

    Parameters
    ----------
    program : torch.export.ExportedProgram
    name : str
        Of the module, for messages.
    result : int, default 0
        Which of the program's results is the output.
    prefix : str, default ""
        What the names of all weights in the program begin with, beyond the module's own names.
    decisive : mapping of str to tensor, optional
        Weights, by the module's own names, on whose values it depends which operations the program has.

    Raises
    ------
    TraceError
        When the program cannot become a graph.

    Attributes
    ----------
    first : Graph
        With the program's own weights; taken by `take_first`.
    shapes : dict of str to tuple of int
        Of every parameter and persistent buffer of the module, by name.
    used : frozenset of str
        Names of those that the forward pass reads.
    own_backward : str
        What of the module sends back another gradient than that of what it computes; empty where nothing does.
    """

    own_backward: str = ""

    def __init__(
        self,
        program: ExportedProgram,
        name: str,
        result: int = 0,
        prefix: str = "",
        decisive: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.name = name
        self._decisive = dict(decisive or {})
        self._prefix = prefix
        tensors = {**program.constants, **program.state_dict}
        try:
            try:
                self._form = _Form.of(program, result)
                self._first: Graph | None = self._form.translated(tensors)
            except (EntangledError, UnsupportedError):
                try:
                    decomposed = program.run_decompositions({})
                except Exception as e:
                    raise UnsupportedError(f"a part that PyTorch cannot decompose ({type(e).__name__})") from e
                tensors = {**decomposed.constants, **decomposed.state_dict}
                self._form = _Form.of(decomposed, result)
                self._first = self._form.translated(tensors)
        except (UnsupportedError, EntangledError) as e:
            raise TraceError(
                f"Expected the forward pass of {name} to consist of tensor operations; it holds {e}, "
                f"which cannot become part of a graph. Wrap the part of the module without it."
            ) from e
        targets = [target for _, target in self._form.inputs if target]
        state = {self._own(target): tensor for target, tensor in program.state_dict.items()}
        self.shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
        self.floating = frozenset(key for key, tensor in state.items() if tensor.is_floating_point())
        self.used = frozenset(self._own(target) for target in targets) & self.shapes.keys()
        self._dtypes = {key: state[key].dtype for key in self.used}
        # What is no weight: tables that are not saved, numbers in the code.
        self._constants = {t: _detached(tensors[t]) for t in targets if self._own(t) not in self.used}

    def take_first(self) -> Graph:
        """Return the graph with the program's own weights, once: the recipe keeps none."""
        graph, self._first = self._first, None
        assert graph is not None
        self._constants = {target: tensor.clone() for target, tensor in self._constants.items()}
        return graph

    def graph(self, state: Mapping[str, Tensor], device: torch.device) -> Graph:
        """Return the graph with other weights, which `fitted` has found to fit.

        Parameters
        ----------
        state : mapping of str to Tensor
            All of `used`. They are converted to the precision in which the module was exported.
        device : torch.device
        """
        tensors = {target: tensor.to(device) for target, tensor in self._constants.items()}
        for key in self.used:
            tensors[f"{self._prefix}{key}"] = state[key].detach().to(device, self._dtypes[key])
        return self._form.translated(tensors)

    def fitted(
        self, state: Mapping[str, Tensor], what: str, rest: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Return the weights that the forward pass reads, by the module's own names, after checking them.

        Parameters
        ----------
        state : mapping of str to Tensor
            As a module's ``state_dict`` has them. Names of wrappers (``module.``, ``_orig_mod.``), and a beginning that
            all have in common (``model.``), are seen through.
        what : str
            What they are, for messages: "checkpoint 'epoch 5'".
        rest : mapping of str to Tensor, optional
            Where to take what is missing from. Default: nothing may be missing.

        Raises
        ------
        NetworkError
            When weights are missing, of another shape, of other layers, whole numbers, NaN or infinite.
        """
        found = _renamed(state, self.shapes)
        whole = {
            key: tensor for key, tensor in {**_renamed(rest or {}, self.shapes), **found}.items() if key in self.used
        }
        missing = [key for key in self.shapes if key in self.used and key not in whole]
        surplus = [key for key in found if key not in self.shapes and not key.endswith(_COUNTER)]
        unfit = [
            f"{key} {tuple(found[key].shape)} for {shape}"
            for key, shape in self.shapes.items()
            if key in found and tuple(found[key].shape) != shape
        ]
        whole_numbers = [
            f"{key} of {found[key].dtype}"
            for key in self.shapes
            if key in found and key in self.floating and not found[key].is_floating_point()
        ]
        if missing or surplus or unfit or whole_numbers:
            kinds = (
                ("wrong shape", unfit),
                ("whole numbers", whole_numbers),
                ("missing", missing),
                ("of layers that it does not have", surplus),
            )
            told = "; ".join(f"{kind}: {_first(names)}" for kind, names in kinds if names)
            only = bool(whole) and not (surplus or unfit or whole_numbers)
            cure = (
                "To take the layers that were not kept from a module, give it: net=module."
                if only
                else "Give checkpoints of one architecture, and the network that they are of."
            )
            raise NetworkError(f"Expected {what} to hold the weights of {self.name}, got others ({told}). {cure}")
        for key, tensor in self._decisive.items():
            if key in found and not torch.equal(found[key].cpu().to(tensor.dtype), tensor.cpu()):
                raise NetworkError(
                    f"Expected {what} to have the same {key} as {self.name}, got another: its forward pass reads "
                    f"values of it in Python (an `if`, .item()), so that others may mean other operations. Give the "
                    f"module itself, with these weights."
                )
        for key, tensor in whole.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                bad = int((~torch.isfinite(tensor)).sum())
                raise NetworkError(
                    f"Expected finite weights in {what}, got NaN or infinite values in {key}: {bad} of "
                    f"{tensor.numel()}. Training had diverged by then: leave it out, and those after it."
                )
        return whole

    def _own(self, target: str) -> str:
        return target.removeprefix(self._prefix)


def _detached(constant: Any) -> Any:
    """Return a tensor without its gradient; a generator of random numbers, and the like, as it is."""
    return constant.detach() if isinstance(constant, Tensor) else constant


def _plain_names(names: Iterable[str]) -> dict[str, str]:
    """Return names of weights without those of PyTorch's wrappers; as they are where that would make two equal."""
    given = list(names)
    made = {name: ".".join(step for step in name.split(".") if step not in _WRAPPERS) for name in given}
    return made if len({*made.values()}) == len(given) else {name: name for name in given}


def _renamed(state: Mapping[str, Tensor], wanted: Mapping[str, Any]) -> dict[str, Tensor]:
    """Give weights the names that a module has for them."""
    if state.keys() <= wanted.keys():
        return dict(state)
    theirs, ours = _plain_names(state), {plain: name for name, plain in _plain_names(wanted).items()}
    found = {theirs[name]: tensor for name, tensor in state.items()}
    if not any(plain in ours for plain in found):
        found = _without_beginning(found, ours)
    return {ours.get(plain, plain): tensor for plain, tensor in found.items()}


def _without_beginning(state: dict[str, Tensor], wanted: Mapping[str, str]) -> dict[str, Tensor]:
    """Drop what all names begin with (``model.``), where the names behind it are the wanted ones."""
    beginnings = {key.partition(".")[0] + "." for key in state}
    fitting = [start for start in beginnings if any(start + name in state for name in wanted)]
    if len(fitting) != 1:
        return state
    return {key.removeprefix(fitting[0]): t for key, t in state.items() if key.startswith(fitting[0])}


def _first(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")

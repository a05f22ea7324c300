"""What a method is, and the registry of methods by name.

Each file of this package states one method: a function, decorated with its name and group, whose docstring says where
it was published and whose keyword arguments are the method's options.
"""

from __future__ import annotations

import importlib
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.explain.conservation import Conservation
from convscope_core.explain.options import require_choice
from convscope_core.graph.backward import GRADIENT, Account, Table, Walk
from convscope_core.graph.node import Node
from convscope_core.network import Network

__all__ = [
    "GROUPS",
    "METHODS",
    "Method",
    "Plan",
    "Request",
    "TableMethod",
    "computed",
    "find",
    "logits",
    "require",
    "tabled",
]

#: What kind of answer a method gives (Kindermans et al. 2018, section 1): how the output changes with the input; what
#: the network saw; how much each input value contributed.
GROUPS = ("function", "signal", "attribution")


#: What may start at the explained unit: one; the unit's own value; that value if it is not negative, else one (for
#: methods in which what is passed on is an amount, so that a negative start would turn every sign).
STARTS = ("one", "value", "positive")


@dataclass(frozen=True, eq=False)
class Request:
    """What to explain.

    Attributes
    ----------
    net : Network
    x : tensor
        The picture in network space (1, C, H, W).
    node : Node
        The node that holds what is explained.
    index : tuple of int
        Which of its values: the class; or the place of a unit, ``slice(None)`` standing for all positions.
    to : Node
        The node at which attributions are taken: the input, or a layer's.
    layer : str or None
        The name of that layer.
    """

    net: Network
    x: Tensor
    node: Node
    index: tuple[int | slice, ...]
    to: Node
    layer: str | None

    def score(self, value: Tensor) -> Tensor:
        """Return what is explained, for values (N, *shape) of `node`: (N,). For a whole map, the sum."""
        place: Any = (slice(None), *self.index)
        return value[place].reshape(len(value), -1).sum(1)

    def scores(self, x: Tensor) -> Tensor:
        """Return what is explained for other pictures (N, C, H, W): (N,), with gradient."""
        found = self.score(self.net.values(x, [self.node])[self.node])
        # Behind whole numbers or comparisons alone the gradient is zero, which autograd does not say, but refuses.
        return found if found.requires_grad or not x.requires_grad else found + 0 * x.flatten(1).sum(1)

    def signal(self, value: Tensor, start: str) -> Tensor:
        """Return what starts at `node`: at the explained values the values themselves, or ones; zero elsewhere.

        With "positive", the values if what is explained is not negative, else ones.
        """
        place = (slice(None), *self.index)
        signal = torch.zeros_like(value)
        signal[place] = value[place] if self.started(value, start) == "value" else 1.0
        return signal

    def started(self, value: Tensor, start: str) -> str:
        """Return what starts there, "one" or "value"."""
        if start != "positive":
            return start
        return "one" if float(self.score(value)[0]) < 0 else "value"


@dataclass(frozen=True, eq=False)
class Method(ABC):
    """An explanation method.

    Attributes
    ----------
    name : str
    group : str
        One of `GROUPS`.
    options : mapping of str to value
        The options with their defaults.
    source : str
        First line of its documentation.
    function : callable
        ``function(request, **options) -> (1, *shape)``, for a method that is no table of rules.
    layer : callable or None
        For a method that explains by a layer: returns the layer to use where none is given.
    baseline : callable or None
        For a method that shares out the difference from another picture's score: ``baseline(request, **options)`` is
        that picture, (1, C, H, W).
    """

    name: str
    group: str
    options: Mapping[str, Any]
    source: str
    function: Callable[..., Any] = field(repr=False)
    layer: Callable[[Network, Node], str] | None = field(default=None, repr=False)
    baseline: Callable[..., Tensor] | None = field(default=None, repr=False)

    def settings(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return all options, those given in place of the defaults.

        Raises
        ------
        ArgumentError
            If there is no such option.
        """
        for name in given:
            if name not in self.options:
                known = ", ".join(self.options) or "none"
                raise ArgumentError(
                    f"Expected an option of {self.name} ({known}), got {name!r}.{did_you_mean(name, self.options)}"
                )
        return {**self.options, **given}

    @abstractmethod
    def begin(self, net: Network, settings: Mapping[str, Any], node: Node, to: Node) -> Plan:
        """Prepare to explain values of a node by those of another; nothing is computed yet.

        Raises
        ------
        ArgumentError
            If an option is out of range, or the method cannot explain this network; it says why.
        ImportError
            If the method needs a package that is not installed.
        """

    def begin_scores(self, net: Network, settings: Mapping[str, Any]) -> Plan:
        """Prepare to explain class scores by the picture, or by the layer that the method explains by; as `begin`."""
        node = logits(net)
        to = net.graph.input if self.layer is None else net.graph_layer(self.layer(net, node)).node
        return self.begin(net, settings, node, to)


@dataclass(frozen=True, eq=False)
class TableMethod(Method):
    """A method that is a table of rules on the reverse walk.

    Its function is ``function(net, **options) -> Table``. Options that all of them have: ``start`` (one of `STARTS`)
    and ``extension`` (see `convscope_core.graph.backward.EXTENSIONS`).

    Attributes
    ----------
    times_input : bool
        Whether what arrives is multiplied by the value there.
    rescales : bool
        Whether the walk is expected to exceed the range of float32, and is brought back on the way from the start.
    """

    times_input: bool = False
    rescales: bool = False

    @property
    def shares(self) -> bool:
        """Whether what starts is shared out on the way, so that an account can be kept."""
        return self.group == "attribution" and not self.times_input

    def table(self, net: Network, settings: Mapping[str, Any]) -> Table:
        """Return the method's rules, as a network needs them.

        Raises
        ------
        ArgumentError
            If an option is out of range.
        """
        start = settings["start"]
        require_choice(start, "start", STARTS)
        own = {k: v for k, v in settings.items() if k not in ("start", "extension")}
        table: Table = self.function(net, **own)
        return table.extended(settings["extension"])

    def begin(self, net: Network, settings: Mapping[str, Any], node: Node, to: Node) -> Plan:
        """Prepare the reverse walk from `node` to `to`."""
        return _Walked(self, settings, net.walk(self.table(net, settings), [node], to), node, to)


class Plan(ABC):
    """A method about to explain.

    Attributes
    ----------
    extended : mapping of Node to str
        The nodes for which the method was extended, and what it lacks.
    scale : float
        What the attribution has to be divided by, where it would not fit into float32 otherwise; else 1.
    changed : dict of str to value
        Options that came out different from what was asked for: what the walk started from.
    """

    extended: Mapping[Node, str] = MappingProxyType({})
    scale: float = 1.0
    changed: Mapping[str, Any] = MappingProxyType({})

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Compute the value of the node whose values are explained, (1, *shape)."""

    @abstractmethod
    def explain(self, request: Request) -> Tensor:
        """Return the attribution, (1, *shape of `Request.to`) or (1, 1, H, W), after `forward`.

        Raises
        ------
        ArgumentError
            If a value is not finite, naming where that begins.
        """

    @abstractmethod
    def conservation(self, request: Request, score: float, values: Tensor) -> Conservation:
        """Return how much arrived of what was explained, after `explain`."""


class _Walked(Plan):
    def __init__(self, method: TableMethod, settings: Mapping[str, Any], walk: Walk, node: Node, to: Node) -> None:
        self.method, self.start, self.walk = method, settings["start"], walk
        self.node, self.to = node, to
        self.extended = walk.extended

    def forward(self, x: Tensor) -> Tensor:
        self.tape = self.walk.forward(x, [self.to] if self.method.times_input else ())
        return self.tape.values[self.node]

    def explain(self, request: Request) -> Tensor:
        value = self.tape.values[self.node]
        signal = request.signal(value, self.start)
        if self.start == "positive":
            self.changed = {"start": request.started(value, self.start)}
        self.began = float(signal.sum(dtype=torch.float64))
        found, account = (None, None) if self.method.rescales else self._walked(signal, None)
        if found is None or _out_of_range(found, signal):
            # Once more, brought back into range on the way.
            exponents = torch.zeros(len(signal), dtype=torch.float32, device=signal.device)
            found, account = self._walked(signal, exponents)
            # Exact: a power of two. In two steps, as the power alone may be beyond float32.
            half = torch.exp2(exponents / 2).reshape(-1, *[1] * (found.dim() - 1))
            whole = found * half * half
            if bool(whole.isfinite().all()):
                found = whole
            else:
                self.scale = 2.0 ** -float(exponents[0])
        if self.method.times_input:
            found = found * self.tape.values[self.to]
        if not bool(found.isfinite().all()):
            raise ArgumentError(_not_finite(self.method.name, found, account, value))
        self.account = account
        return found

    def _walked(self, signal: Tensor, exponents: Tensor | None) -> tuple[Tensor, Account | None]:
        account = Account() if self.method.shares else None
        return self.walk(self.tape, {self.node: signal}, exponents=exponents, account=account), account

    def conservation(self, request: Request, score: float, values: Tensor) -> Conservation:
        del request
        arrived = float(values.sum(dtype=torch.float64)) / self.scale
        if self.method.times_input:
            return Conservation(score, score, arrived, {"biases and curvature": score - arrived})
        if self.account is None:
            return Conservation(score, score, arrived, shares=False)
        return Conservation(score, self.began, arrived, MappingProxyType(self.account.lost))


def _out_of_range(found: Tensor, signal: Tensor) -> bool:
    """Tell whether a walk overflowed, or lost everything though something started."""
    top = float(found.abs().max()) if found.numel() else 0.0
    return not top < float("inf") or (top < torch.finfo(found.dtype).tiny and bool(signal.any()))


def _not_finite(name: str, found: Tensor, account: Account | None, value: Tensor) -> str:
    if not bool(value.isfinite().all()):
        return (
            f"Expected a network whose values for this picture are finite; what is explained is "
            f"{'NaN' if bool(value.isnan().any()) else 'infinite'}. Check the weights."
        )
    count = int((~found.isfinite()).sum())
    broken = None if account is None else account.broken
    where = "" if broken is None else f", from {broken.kind} ({broken.module or broken.name}) on"
    return (
        f"Expected finite values of {name}, got NaN or infinity in {count} of {found.numel()}{where}. Check the "
        f"weights there; for a rule that divides, give a larger epsilon."
    )


METHODS: dict[str, Method] = {}
"""All methods by name."""


def logits(net: Network) -> Node:
    """Return the node of the class scores: the output, or what goes into the soft-max or sigmoid that it is made by."""
    return net.graph.logits


def find(name: str) -> Method:
    """Return a method by its name.

    Raises
    ------
    ArgumentError
        If there is none of this name.
    """
    try:
        return METHODS[name]
    except (KeyError, TypeError):
        raise ArgumentError(
            f"Expected the name of a method: {', '.join(METHODS)}, got {name!r}."
            f"{did_you_mean(str(name), METHODS)} methods(net) lists what a network supports."
        ) from None


def tabled(
    name: str, group: str, *, start: str, times_input: bool = False, rescales: bool = False
) -> Callable[[Callable[..., Table]], Callable[..., Table]]:
    """Register a function that returns a method's table: ``function(net, **options)``.

    Parameters
    ----------
    name : str
        Of the method.
    group : str
        One of `GROUPS`.
    start : str
        What starts at the explained unit, one of `STARTS`.
    times_input : bool, default False
        Whether what arrives is multiplied by the value there.
    rescales : bool, default False
        Whether the walk is expected to exceed the range of float32, and is brought back on the way from the start.
    """

    def register(function: Callable[..., Table]) -> Callable[..., Table]:
        options = {**_options(function), "start": start, "extension": None}
        METHODS[name] = TableMethod(
            name, group, options, _first_line(function), function, times_input=times_input, rescales=rescales
        )
        return function

    return register


def computed(
    name: str,
    group: str,
    needs: str,
    layer: Callable[[Network, Node], str] | None = None,
    baseline: Callable[..., Tensor] | None = None,
) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Register a function that computes the attribution with the help of a library: ``function(request, **options)``.

    Parameters
    ----------
    name, group
        As for `tabled`.
    needs : str
        The package, which must be importable.
    layer : callable, optional
        For a method that explains by a layer: returns the layer to use where none is given. Other methods explain by
        the picture only.
    baseline : callable, optional
        As of `Method`.
    """

    def register(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        METHODS[name] = _LibraryMethod(
            name, group, _options(function), _first_line(function), function, layer, baseline, needs
        )
        return function

    return register


@dataclass(frozen=True, eq=False)
class _LibraryMethod(Method):
    needs: str = ""

    def begin(self, net: Network, settings: Mapping[str, Any], node: Node, to: Node) -> Plan:
        require(self.needs, self.name)
        if self.layer is None and to is not net.graph.input:
            raise ArgumentError(f"Expected no layer: {self.name} explains by the values of the picture.")
        net.walk(GRADIENT, [node], to)  # refuses what cannot be differentiated
        return _Computed(self, settings, net, node)


class _Computed(Plan):
    def __init__(self, method: Method, settings: Mapping[str, Any], net: Network, node: Node) -> None:
        self.method, self.settings, self.net, self.node = method, settings, net, node

    def forward(self, x: Tensor) -> Tensor:
        with torch.inference_mode(False), torch.no_grad():
            self.value = self.net.values(x, [self.node])[self.node]
            return self.value

    def explain(self, request: Request) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            found: Tensor = self.method.function(request, **self.settings)
        if not bool(found.isfinite().all()):
            raise ArgumentError(_not_finite(self.method.name, found, None, self.value))
        return found.detach()

    def conservation(self, request: Request, score: float, values: Tensor) -> Conservation:
        arrived = float(values.sum(dtype=torch.float64))
        if self.method.baseline is None:
            return Conservation(score, score, arrived, shares=False)
        with torch.inference_mode(False), torch.no_grad():
            start = self.method.baseline(request, **self.settings)
            before = float(request.scores(start)[0])
        return Conservation(
            score, score, arrived, {"the baseline's score": before, "the integral's error": score - before - arrived}
        )


def require(package: str, method: str) -> Any:
    """Import an optional package.

    Raises
    ------
    ImportError
        Without it; the message says what to install.
    """
    root = package.split(".")[0]
    try:
        return importlib.import_module(package)
    except ImportError as e:
        raise ImportError(
            f"Expected {root} for the method {method}; it is not installed. pip install 'convscope[{root}]'"
        ) from e


def _options(function: Callable[..., Any]) -> dict[str, Any]:
    return {p.name: p.default for p in list(inspect.signature(function).parameters.values())[1:]}


def _first_line(function: Callable[..., Any]) -> str:
    return (inspect.getdoc(function) or "").split("\n", 1)[0]

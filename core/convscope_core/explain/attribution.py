"""Attributions: what each value of the picture, or of a layer, has to do with a class score or a unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope_core.arguments import door, is_whole
from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, LayerError
from convscope_core.explain.conservation import Conservation
from convscope_core.explain.method import GROUPS, METHODS, Method, Request, find, logits
from convscope_core.graph.node import Node
from convscope_core.images import ImageLike
from convscope_core.network import Network
from convscope_core.patterns.estimate import Patterns
from convscope_core.plots import draws_figure, panels
from convscope_core.render import signed

__all__ = ["Attribution", "MethodInfo", "MethodList", "Target", "attribute", "attribute_tensor", "methods"]

Target: TypeAlias = "int | str | tuple[str, int] | tuple[str, int, int, int] | None"
"""What to explain: a class by index or label; a channel, (layer, channel), summed over its map; or a unit,
(layer, channel, row, column). None: the most probable class."""


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """What a method says about one picture.

    Attributes
    ----------
    values : float32 array (C, H, W)
        Signed: one number for every input value; or (1, H, W) for a method that knows no colours, or (channels, h, w)
        of a layer.
    method : str
        Name of the method.
    group : {"function", "signal", "attribution"}
        What kind of answer it is; compare magnitudes and colours within a group only.
    target : int or tuple
        The explained class, or (layer, channel) or (layer, channel, row, column).
    label : str
        The target in words.
    score : float
        The explained value: the class score before the soft-max, or the activation.
    layer : str or None
        The layer at which the values are, or by whose maps the method explains; None for the picture.
    options : dict
        All options of the method, and the seed where there is chance; "start" as it was used; "scale", what the values
        are to be divided by, where they would not fit into float32.
    extended : dict of str to str
        Where the published method says nothing, and the option `extension` or a rule of our own stood in: place in the
        network to the operation there. Empty for the method as published.
    conservation : Conservation
        How much of the score arrived, and where the rest went; ``str`` of it is one line.
    notes : tuple of str
        What else to know, such as that the score is negative and the walk started from one.
    picture : uint8 array (H, W, 3)
        The picture as the network sees it.
    network : str
        The network's name.
    fingerprint : str
        The network's fingerprint.
    """

    values: npt.NDArray[np.float32]
    method: str
    group: str
    target: int | tuple[Any, ...]
    label: str
    score: float
    layer: str | None
    options: Mapping[str, Any]
    extended: Mapping[str, str]
    conservation: Conservation
    notes: tuple[str, ...]
    picture: npt.NDArray[np.uint8]
    network: str
    fingerprint: str

    def __repr__(self) -> str:
        v = self.values
        shape = "×".join(map(str, v.shape))
        where = f"at {self.layer}" if self.layer else "of the picture"
        lines = [
            f"Attribution: {self.method} ({self.group}) for {self.label}, score {self.score:.4g}, on {self.network}"
        ]
        lines.append(f"  values {shape} {where}: {v.min():.3g} to {v.max():.3g}, sum {v.sum(dtype=np.float64):.4g}")
        lines += [f"  {note}" for note in self.notes]
        lines.append(f"  {self.conservation}")
        shown = ", ".join(f"{k}={o!r}" for k, o in self.options.items() if o is not None)
        if shown:
            lines.append(f"  {shown}")
        if self.extended:
            kinds = ", ".join(dict.fromkeys(self.extended.values()))
            how = self.options.get("extension")
            lines.append(
                f"  beyond the published method at {len(self.extended)} operations ({kinds})"
                + (f": extension={how!r}" if how else "")
            )
        return "\n".join(lines)

    @property
    def heatmap(self) -> npt.NDArray[np.float32]:
        """The values summed over the channels, (H, W)."""
        total: npt.NDArray[np.float32] = self.values.sum(0, dtype=np.float64).astype(np.float32)
        return total

    @draws_figure
    def plot(self) -> Any:
        """Draw the picture and, beside it, the values.

        A signal for a colour picture is shown as a picture (zero is mid-grey); all else as the sum over the channels,
        red where it is positive and blue where it is negative, white at zero.
        """
        figure, (left, right) = panels(1, 2, (3.75, 4))
        left.imshow(self.picture)
        left.set_title(self.label)
        name = self.method + (" (extended)" if self.extended else "")
        right.set_title(f"{name}, {self.layer}" if self.layer else name)
        if self.group == "signal" and self.layer is None and len(self.values) in (1, 3):
            right.imshow(signed(self.values))
        else:
            strongest = float(np.abs(self.heatmap).max()) or 1.0
            drawn = right.imshow(self.heatmap, cmap="seismic", vmin=-strongest, vmax=strongest)
            figure.colorbar(drawn, ax=right, shrink=0.8)
        return figure


@door
def attribute(
    net: Network,
    image: ImageLike | Picture,
    method: str,
    target: Target = None,
    layer: str | None = None,
    **options: Any,
) -> Attribution:
    """Explain a class score, or a unit, by what each value of the picture has to do with it.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes.
    method : str
        A name of `methods`: "gradient", "deconvnet", "guided_backprop", "lrp"...
    target : int, str or tuple, optional
        A class by index or label; a channel (layer, channel), its map summed; or a unit (layer, channel, row, column).
        Default: the most probable class. For a class the score is explained, not the probability: what goes into the
        soft-max or sigmoid that ends the network. Where the mean of several soft-maxes is taken, the mean of
        what goes into them.
    layer : str, optional
        The layer at which to take the attribution. Default: the picture; for Grad-CAM, the last layer with maps.
    **options
        Options of the method; see its documentation. The methods that walk back under rules also take

        - ``start``: what starts at the explained unit: "one"; "value", the unit's own; or "positive", its value if that
          is not negative, else one. The gradient starts with one; patterns and LRP with the value; the deconvnet,
          guided backprop and deep Taylor decomposition, which pass on amounts, with "positive". The result's options
          say which it was;
        - ``extension``: what to do with operations that the published method says nothing about: None (refuse),
          "rectify" (an elementwise activation as the method treats a rectifier), "pass" or "gradient". Results are
          labelled.

    Returns
    -------
    Attribution

    Raises
    ------
    ArgumentError
        When there is no such method, option, class or position, an option is out of range, or the method has no rule
        for an operation of the network.
    LayerError
        When there is no such layer or channel.
    ImageError
        When the picture cannot be read, or holds NaN.
    ImportError
        When the method needs a package that is not installed.
    """
    return attribute_tensor(net, net.prepare(image), method, target, layer, **options)


def attribute_tensor(
    net: Network, x: Tensor, method: str, target: Target = None, layer: str | None = None, **options: Any
) -> Attribution:
    """Explain a prepared picture (1, C, H, W); otherwise as `attribute`."""
    found = find(method)
    settings = found.settings(options)
    with net.lock:
        node, place = _node(net, target)
        if layer is None and found.layer is not None:
            layer = found.layer(net, node)
        at = None if layer is None else net.graph_layer(layer)
        to = net.graph.input if at is None else at.node
        plan = found.begin(net, settings, node, to)
        value = plan.forward(x)
        if place is None:  # what the logits say, or the output where it is not of them alone
            decides = net.forward(x)[0] if net.squashing.of_logits is None else value
            place = (int(decides[0].argmax()),)
        index = place
        request = Request(net, x, node, index, to, None if at is None else at.name)
        values = plan.explain(request)
        score = float(request.score(value)[0])
        conservation = plan.conservation(request, score, values)
    chosen, label = _named(net, target, index)
    if at is not None and values.dim() == len(at.axes) + 1 and values.shape[1:] == at.node.shape:
        values = values[:, :, None, None] if len(at.axes) == 1 else values.permute(0, *(a + 1 for a in at.axes))
    return Attribution(
        values=values[0].float().cpu().contiguous().numpy(),
        method=found.name,
        group=found.group,
        target=chosen,
        label=label,
        score=score,
        layer=request.layer,
        options={**settings, **plan.changed, **({} if plan.scale == 1 else {"scale": plan.scale})},
        extended={n.module or n.name: n.kind for n in plan.extended},
        conservation=conservation,
        notes=(*_notes(found, score, {**settings, **plan.changed}, isinstance(chosen, int)), *_own_backward(net)),
        picture=net.picture(x.cpu()),
        network=net.name,
        fingerprint=net.fingerprint,
    )


def _notes(method: Method, score: float, settings: Mapping[str, Any], of_class: bool) -> tuple[str, ...]:
    if score >= 0:
        return ()
    what = f"the score is negative ({score:.3g})"
    against = f"{what}: the class speaks against itself here" if of_class else what
    if method.options.get("start") == "positive" and settings["start"] == "one":
        return (f"{against}; {method.name} means an amount, and starts from one",)
    if settings.get("start") == "value":
        return (f"{against}, so that what speaks for it has the sign minus",)
    return (against,)


def _own_backward(net: Network) -> tuple[str, ...]:
    """Return what is to be known of a network that sends back another gradient than that of what it computes."""
    if not net.own_backward:
        return ()
    return (f"the network's own backward ({net.own_backward}) is not followed: the derivative of what it computes is",)


def _node(net: Network, target: Any) -> tuple[Node, tuple[int | slice, ...] | None]:
    """Return the node that is explained, and the place in it; None for the most probable class."""
    if target is None:
        return logits(net), None
    if not isinstance(target, tuple):
        return logits(net), (net.class_index(target),)
    if len(target) not in (2, 4) or not isinstance(target[0], str):
        raise ArgumentError(
            f"Expected target as a class (index or label), (layer, channel) or (layer, channel, row, column), got "
            f"{target!r}."
        )
    return net.graph_layer(target[0]).node, unit_index(net, *target)


def _named(net: Network, target: Any, index: tuple[int | slice, ...]) -> tuple[int | tuple[Any, ...], str]:
    """Return the target by the layer's own name, and in words."""
    if not isinstance(target, tuple):
        chosen = index[0]
        assert isinstance(chosen, int)
        return chosen, net.labels[chosen]
    name = net.layer(target[0]).name
    where = f" at ({target[2]}, {target[3]})" if len(target) == 4 else ""
    return (name, *(int(v) for v in target[1:])), f"{name}, channel {target[1]}{where}"


def unit_index(
    net: Network, layer: str, channel: object, row: object = None, column: object = None
) -> tuple[int | slice, ...]:
    """Return where a unit is in its layer's node, or where a whole map is if there is no row and column.

    Raises
    ------
    LayerError
        If there is no such layer or channel.
    ArgumentError
        If the position is outside the map, or no whole number.
    """
    found = net.graph_layer(layer)
    c = _whole(channel, "channel")
    if not 0 <= c < found.channels:
        raise LayerError(f"Expected a channel of {found.name} from 0 to {found.channels - 1}, got {channel!r}.")
    if row is None and column is None:
        where: list[int | slice] = [slice(None)] * len(found.axes)
        where[found.axes[0]] = c
        return tuple(where)
    height, width = found.size
    r, k = _whole(row, "row"), _whole(column, "column")
    if not (0 <= r < height and 0 <= k < width):
        raise ArgumentError(
            f"Expected a position inside the {height}×{width} maps of {found.name}, got row {row!r}, column "
            f"{column!r}. Rows and columns count from 0."
        )
    if len(found.axes) == 1:
        return (c,)
    where = [0, 0, 0]
    for axis, value in zip(found.axes, (c, r, k), strict=True):
        where[axis] = value
    return tuple(where)


def _whole(value: Any, name: str) -> int:
    if not is_whole(value):
        raise ArgumentError(f"Expected {name} as a whole number, got {value!r}.")
    return int(value)


@dataclass(frozen=True)
class MethodInfo:
    """A method, and whether a network supports it.

    Attributes
    ----------
    name, group : str
    supported : bool
        With the method's default options.
    reason : str
        Why not, and what would be possible; empty where it is supported.
    options : mapping of str to value
        The method's options with their defaults.
    summary : str
        One line on what it is.
    extended : str
        What stands in, for this network, where the published method has no rule, and for how many operations; empty
        where the method is used as published.
    """

    name: str
    group: str
    supported: bool
    reason: str
    options: Mapping[str, Any]
    summary: str
    extended: str = ""


class MethodList(tuple[MethodInfo, ...]):
    """The methods, in a tuple that prints as a table."""

    __slots__ = ()

    def __repr__(self) -> str:
        lines = []
        for m in self:
            text = m.summary if m.supported else f"not supported: {m.reason}"
            text += f" Extended: {m.extended}." if m.extended else ""
            lines.append(f"{'✓' if m.supported else '✗'} {m.name:<22} {m.group:<12} {text}")
        return "\n".join(lines)


@door
def methods(net: Network, patterns: Patterns | None = None) -> MethodList:
    """Return all methods, with whether this network supports them and why not.

    Parameters
    ----------
    net : Network
    patterns : Patterns, optional
        For the methods that need them (see `convscope_core.patterns.fit_patterns`).

    Returns
    -------
    tuple of MethodInfo
        Prints as a table.
    """
    found = []
    for m in sorted(METHODS.values(), key=lambda m: (GROUPS.index(m.group), m.name)):
        reason = extended = ""
        try:
            options = {**m.options, "patterns": patterns} if "patterns" in m.options else m.options
            extended = "; ".join(filter(None, [_phrases(m.begin_scores(net, options).extended), *_own_backward(net)]))
        except (ArgumentError, ImportError) as e:
            reason = str(e)
        found.append(MethodInfo(m.name, m.group, not reason, reason, m.options, m.source, extended))
    return MethodList(found)


def _phrases(extended: Mapping[Node, str]) -> str:
    """Return what was used in place of published rules, each once, with the number of operations."""
    counts = Counter(extended.values())
    return "; ".join(f"{phrase} ({counts[phrase]})" for phrase in dict.fromkeys(reversed([*extended.values()])))

"""Projections: what single units picked out of the pictures, each inside its receptive field.

Zeiler & Fergus (2014, fig. 2) show, for a unit and each of the nine pictures that excite its filter most, the
projection of that one activation and the part of the picture that the unit sees. Activations are projected one by one:
the projection of a whole map is not the sum of those of its units.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from convscope_core.arguments import door
from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError
from convscope_core.explain.attribution import unit_index
from convscope_core.explain.method import METHODS, TableMethod, find
from convscope_core.graph.fields import FieldWalk, Units
from convscope_core.images import ImageLike
from convscope_core.jobs.forms import completed, documented
from convscope_core.network import Box, Network
from convscope_core.plots import draws_figure, panels
from convscope_core.render import crop, signed

__all__ = ["Projection", "Unit", "project", "project_many", "projecting"]

#: Units whose pictures are in memory at a time.
_CHUNK = 128


class Unit(NamedTuple):
    """One activation: a channel of a layer at one position, for one picture.

    Attributes
    ----------
    image : int
        Index of the picture.
    channel, row, column : int
        Place in the layer's maps; row and column 0 for a vector.
    activation : float or None
        Its value where it is known, as from a survey; saves computing it.
    """

    image: int
    channel: int
    row: int
    column: int
    activation: float | None = None


@dataclass(frozen=True, eq=False, repr=False)
class Projection:
    """What one unit picked out of one picture.

    Attributes
    ----------
    values : float32 array (C, h, w)
        Signed, in the network's (normalised) space, inside the unit's receptive field; zero where that leaves the
        picture. `convscope_core.render.signed` shows it.
    crop : uint8 array (h, w, 3)
        The picture there as the network sees it; mid-grey where the box leaves it.
    box : Box
        (top, left, bottom, right) of the receptive field in pixels of the network's input, half-open; may leave the
        picture.
    activation : float
        The unit's value, after the rectifier that directly follows the layer.
    layer : str
    channel : int
    position : (row, column)
        Where the unit is in its map.
    method : str
    group : {"function", "signal", "attribution"}
    options : dict
        All options of the method.
    extended : dict of str to str
        Where `extension` stood in for a rule: place in the network to the operation.
    network, fingerprint : str
        The network's name and fingerprint.
    """

    values: npt.NDArray[np.float32]
    crop: npt.NDArray[np.uint8]
    box: Box
    activation: float
    layer: str
    channel: int
    position: tuple[int, int]
    method: str
    group: str
    options: Mapping[str, Any]
    extended: Mapping[str, str]
    network: str
    fingerprint: str

    def __repr__(self) -> str:
        v = self.values
        low, high = (v.min(), v.max()) if v.size else (0.0, 0.0)
        extended = f", not as published (extension={self.options['extension']!r})" if self.extended else ""
        return (
            f"Projection: {self.method} of {self.layer}, channel {self.channel} at {self.position}, on {self.network}"
            f"{extended}\n  activation {self.activation:.4g}; values {'×'.join(map(str, v.shape))}, {low:.3g} to "
            f"{high:.3g}, in {tuple(self.box)}"
        )

    @draws_figure
    def plot(self) -> Any:
        """Draw the picture in the receptive field and, beside it, the projection, in which zero is mid-grey."""
        figure, (left, right) = panels(1, 2, (3, 3.3))
        left.imshow(self.crop)
        left.set_title(f"{self.layer}, {self.channel} at {self.position}")
        shown = self.values if len(self.values) in (1, 3) else self.values.sum(0, keepdims=True)
        right.imshow(signed(shown))
        right.set_title(self.method + (" (extended)" if self.extended else ""))
        return figure


@door
def project(
    net: Network,
    image: ImageLike | Picture,
    layer: str,
    channel: int,
    position: str | tuple[int, int] = "max",
    method: str = "deconvnet",
    **options: Any,
) -> Projection:
    """Project one activation down to the picture.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array or tensor
        What `Network.prepare` takes.
    layer : str
        Name or alias of the layer.
    channel : int
    position : "max" or (row, column), default "max"
        The unit in the channel's map: that with the largest value, before the ceiling of the layer's activation where
        it has one (the first in row-major order), or a given one.
    method : str, default "deconvnet"
        A method of rules: "gradient", "deconvnet", "guided_backprop", "lrp"...
    **options
        Options of the method, as for `attribute`.

    Returns
    -------
    Projection

    Raises
    ------
    ArgumentError
        When the position is outside the map, there is no such method or option, or the method has no rule for an
        operation of the network.
    LayerError
        When there is no such layer or channel.
    ImageError
        When the picture cannot be read, or holds NaN.
    """
    found = net.graph_layer(layer)
    unit_index(net, layer, channel)
    x = net.prepare(image)
    value = None
    if isinstance(position, str):
        if position != "max":
            raise ArgumentError(f"Expected position as 'max' or (row, column), got {position!r}.")
        map_ = net.activations(x, found.name, before_ceiling=True)[found.name][0, channel]
        at = divmod(int(map_.argmax()), map_.shape[1])
        value = float(map_[at] if found.ceiling is None else map_[at].clamp(max=found.ceiling))
    else:
        at = _pair(position)
    (made,) = projecting(net, x, layer, [Unit(0, channel, at[0], at[1], value)], method, **options)
    return made


@documented
def projecting(
    net: Network, images: Any, layer: str, units: Iterable[Unit], method: str = "deconvnet", **options: Any
) -> Generator[Projection, None, None]:
    """Project many activations of one layer, each in its own receptive field: as `project`, and much faster.

    Forward and backward are computed inside the receptive fields only, in batches, exactly. At the end of ResNet-18's
    layer2 it takes about a tenth of the time of whole pictures, at conv3_3 of VGG-16 less than a fiftieth
    (tests/benchmarks/projection.py). Layers whose units see most of the picture are walked as a whole.

    Parameters
    ----------
    net, images
    layer : str
        Name or alias of the layer.
    units : iterable of Unit
        Which activations: (image, channel, row, column), and the value where it is known.
    method : str, default "deconvnet"
    **options
        As for `project`.

    Yields
    ------
    Projection
        In the order of `units`, each when it is there.

    Raises
    ------
    ArgumentError, LayerError, ImageError
        As for `project`; also when a unit's picture does not exist. Errors in the arguments are raised by the
        call itself.

    Examples
    --------
    The nine strongest activations of every filter of a layer, as a survey found them:

    >>> layer = net.layer("layer2")                                                     # doctest: +SKIP
    >>> units = [
    ...     Unit(e.image, channel, e.row, e.column, e.value)
    ...     for channel in range(layer.channels) for e in found.top(layer, channel)
    ... ]                                                                               # doctest: +SKIP
    >>> projections = project_many(net, images, "layer2", units)                        # doctest: +SKIP
    """
    chosen = find(method)
    if not isinstance(chosen, TableMethod):
        known = ", ".join(m.name for m in METHODS.values() if isinstance(m, TableMethod))
        raise ArgumentError(f"Expected a method that walks back under rules ({known}), got {method!r}.")
    settings = chosen.settings(options)
    found, described = net.graph_layer(layer), net.layer(layer)
    wanted = [Unit(*u) for u in units]
    images = Images.of(images)
    for u in wanted:
        unit_index(net, layer, u.channel, u.row, u.column)
        if not 0 <= u.image < len(images):
            raise ArgumentError(f"Expected the index of one of {len(images)} pictures, got {u.image!r}.")
    table = chosen.table(net, settings)
    open_gates = described.gated and table.exact is None  # then the whole picture has a part in every unit
    whole = Box(0, 0, *net.input_shape[1:])
    walk = FieldWalk(
        net.graph,
        table,
        found.node,
        found.axes,
        lambda r, c: whole if open_gates else described.box(r, c),
        net.runner,
    )
    return _projected(net, images, walk, described.name, wanted, chosen, settings)


project_many = completed(projecting, "project_many", list[Projection], list)


def _projected(
    net: Network,
    images: Images,
    walk: FieldWalk,
    layer: str,
    units: Sequence[Unit],
    method: TableMethod,
    settings: Mapping[str, Any],
) -> Generator[Projection, None, None]:
    extended = {n.module or n.name: n.kind for n in walk.extended}
    for first in range(0, len(units), _CHUNK):
        chunk = units[first : first + _CHUNK]
        used = sorted({u.image for u in chunk})
        x = torch.cat([net.prepare(images[i].image) for i in used])
        pictures = [net.picture(one.cpu()) for one in x]
        # neighbours with the same row have the same borders, which are then done together
        order = sorted(range(len(chunk)), key=lambda k: (chunk[k].row, chunk[k].column))
        columns = [[used.index(chunk[k].image) for k in order], *([chunk[k][a] for k in order] for a in (1, 2, 3))]
        known = [chunk[k].activation for k in order]
        activations = None if None in known else torch.tensor(known, dtype=torch.float32)
        places = iter(order)
        made: dict[int, Projection] = {}
        steps = walk(x, Units(*(torch.tensor(c) for c in columns)), settings["start"], activations)
        while True:
            with net.lock:  # between batches others may ask the network something
                part = next(steps, None)
            if part is None:
                break
            values, boxes, found = part.values.cpu(), part.boxes.tolist(), part.activations.tolist()
            for v, b, a in zip(values, boxes, found, strict=True):
                k = next(places)
                u, box = chunk[k], Box(*b)
                height, width = max(box.height, 0), max(box.width, 0)  # none for a unit that sees padding only
                inside = v[:, :height, :width]
                at = used.index(u.image)
                if method.times_input:
                    inside = inside * _window(x[at].cpu(), box)
                seen = crop(pictures[at], box) if inside.numel() else np.zeros((height, width, 3), np.uint8)
                made[k] = Projection(
                    values=inside.contiguous().numpy().copy(), crop=seen, box=box, activation=a, layer=layer,
                    channel=int(u.channel), position=(int(u.row), int(u.column)), method=method.name,
                    group=method.group, options=_used(settings, a), extended=extended, network=net.name,
                    fingerprint=net.fingerprint,
                )  # fmt: skip
        yield from (made[k] for k in range(len(chunk)))


def _used(settings: Mapping[str, Any], activation: float) -> Mapping[str, Any]:
    """Return the options as they came out: what the walk started from."""
    if settings["start"] != "positive":
        return settings
    return {**settings, "start": "one" if activation < 0 else "value"}


def _pair(position: Any) -> tuple[int, int]:
    if not isinstance(position, (tuple, list)) or len(position) != 2:
        raise ArgumentError(f"Expected position as 'max' or (row, column), got {position!r}.")
    return position[0], position[1]


def _window(x: Tensor, box: Box) -> Tensor:
    """Return a box of a picture (C, H, W), zero outside."""
    inner = box.clipped(x.shape[1], x.shape[2])
    out = x.new_zeros(x.shape[0], max(box.height, 0), max(box.width, 0))
    if inner.height > 0 and inner.width > 0:
        part = x[:, inner.top : inner.bottom, inner.left : inner.right]
        top, left = inner.top - box.top, inner.left - box.left
        out[:, top : top + inner.height, left : left + inner.width] = part
    return out

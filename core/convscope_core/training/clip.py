"""The bound on the size of filters that kept a few of them from dominating layer 1: section 3 of the paper."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from convscope_core.arguments import door, require_between
from convscope_core.errors import ArgumentError, LayerError, did_you_mean
from convscope_core.graph.classifier import named_parts
from convscope_core.plots import draws_figure, panels
from convscope_core.weights import require_own_weight

__all__ = ["FilterSizes", "Radius", "clip_filters", "filter_sizes", "measured_filters"]

#: A bound for all convolutions, or one for each that is named; None: no bound.
Radius: TypeAlias = "float | Mapping[str, float | None] | None"


@door
def clip_filters(module: nn.Module, radius: Radius = 0.1) -> dict[str, int]:
    """Scale convolution filters whose root mean square exceeds a radius back to it.

    A filter is the weights of one unit, over all input channels and positions. Smaller ones keep every bit. To be
    called after each update of the weights.

    Parameters
    ----------
    module : torch.nn.Module
        Its convolutions are changed in place; transposed ones and linear layers are not.
    radius : float, mapping of str to float or None, default 0.1
        The bound: positive. One number is for all convolutions but those that are frozen (``requires_grad=False``). A
        mapping gives it for each convolution by name, as a `Network` names its layers (``module.named_modules()``
        without PyTorch's wrappers); those that it does not name, and those with None, are left alone.

        The paper's 0.1 goes with inputs of about -128 to 128. In layer 1 what counts is radius times the spread of the
        inputs: where they are divided by a standard deviation of 58, as good as the paper's is 0.1 * 58 = 5.8, and 0.1
        there is 58 times as tight. `filter_sizes` shows where the filters lie.

    Returns
    -------
    dict of str to int
        How many filters of each bounded convolution were scaled.

    Raises
    ------
    ArgumentError
        For a radius that is not positive, weights that are not finite, and weights that are computed from other
        parameters (``weight_norm``), which cannot be set: of which layer. Nothing is changed then.
    LayerError
        If the module has no convolution of a name.
    """
    clipped: dict[str, int] = {}
    scaled = set()
    for name, (weight, measured, bound) in measured_filters(module, radius).items():
        size = _sizes(weight) if weight in scaled else measured  # tied weights may have been scaled already
        # Rounding may leave what was scaled a last digit above the bound.
        over = size > (bound * (1 + 1e-6) if weight in scaled else bound)
        clipped[name] = int(over.sum())
        if clipped[name]:
            scale = torch.where(over, bound / size, 1.0)
            with torch.no_grad():
                weight.copy_(weight * scale.reshape(-1, *[1] * (weight.dim() - 1)))
            scaled.add(weight)
    return clipped


def measured_filters(module: nn.Module, radius: Radius) -> dict[str, tuple[Tensor, Tensor, float]]:
    """Return weights, sizes of filters and the bound on them of what `clip_filters` changes; raise what it raises."""
    found = {}
    for name, (convolution, bound) in _bounded(module, radius).items():
        require_own_weight(convolution, name, "Leave it out of the radius (a mapping by name), or give None.")
        size = _sizes(convolution.weight)
        if not bool(torch.isfinite(size).all()):
            raise ArgumentError(
                f"Expected finite weights, got NaN or infinity in {name}. Training has diverged: lower the "
                f"learning rate."
            )
        found[name] = convolution.weight, size, bound
    return found


@dataclass(frozen=True, eq=False, repr=False)
class FilterSizes:
    """The root mean square of every filter of every convolution, and the bound on it.

    Attributes
    ----------
    values : dict of str to float32 array (filters,)
        By the convolutions' names, in order.
    radius : dict of str to float
        The bounds there are.
    """

    values: dict[str, npt.NDArray[np.float32]]
    radius: dict[str, float]

    def __repr__(self) -> str:
        wide = max(len(name) for name in self.values)
        lines = [f"FilterSizes {'':<{max(wide - 10, 0)}} filters   least  median    most  radius  at or above"]
        for name, found in self.values.items():
            bound = self.radius.get(name)
            above = "" if bound is None else f"{int((found >= 0.999 * bound).sum()):>13}"
            lines.append(
                f"  {name:<{max(wide, 10)}} {len(found):>7} {found.min():>7.3g} {np.median(found):>7.3g} "
                f"{found.max():>7.3g} {'' if bound is None else format(bound, '>7.3g')}{above}"
            )
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw a histogram of each convolution's filters, with the radius as a line."""
        count = len(self.values)
        across = min(count, 5)
        figure, every = panels(math.ceil(count / across), across, (2.4, 2.0))
        for panel, (name, found) in zip(every, self.values.items(), strict=False):
            bound = self.radius.get(name)
            top = max([float(found.max()), *([] if bound is None else [bound])]) or 1.0
            panel.hist(found, bins=np.linspace(0, 1.05 * top, 25), color="0.55")
            if bound is not None:
                panel.axvline(bound, color="C3")
            panel.set_title(name, fontsize="small")
            panel.set_xticks([0, float(f"{top:.2g}")])
        for panel in every[count:]:
            panel.set_axis_off()
        figure.supxlabel("root mean square of a filter", fontsize="small")
        figure.supylabel("filters", fontsize="small")
        return figure


@door
def filter_sizes(module: nn.Module, radius: Radius = 0.1) -> FilterSizes:
    """Measure the filters that `clip_filters` would bound.

    Parameters
    ----------
    module : torch.nn.Module
    radius : float, mapping or None, default 0.1
        As for `clip_filters`; nothing is changed.

    Raises
    ------
    ArgumentError, LayerError
        As for `clip_filters`; also if there is no convolution.
    """
    bounds = {name: bound for name, (_, bound) in _bounded(module, radius).items()}
    with torch.no_grad():
        values = {name: _sizes(found.weight).cpu().numpy() for name, found in _convolutions(module).items()}
    if not values:
        raise ArgumentError(f"Expected a module with convolutions, got a {type(module).__name__} without any.")
    return FilterSizes(values, bounds)


def _convolutions(module: nn.Module) -> dict[str, nn.modules.conv._ConvNd]:
    return {
        name: part
        for name, part in named_parts(module)
        if isinstance(part, nn.modules.conv._ConvNd) and not part.transposed
    }


def _bounded(module: nn.Module, radius: Radius) -> dict[str, tuple[nn.modules.conv._ConvNd, float]]:
    """The convolutions that have a bound, with it."""
    known = _convolutions(module)
    if isinstance(radius, Mapping):
        for name in radius:
            if name not in known:
                raise LayerError(
                    f"Expected the name of a convolution of the module, got {name!r}.{did_you_mean(str(name), known)}"
                )
        given: dict[str, Any] = dict(radius)
    else:
        given = {n: radius for n, part in known.items() if any(p.requires_grad for p in part.parameters())}
        if radius is not None:
            require_between("the radius of filters", radius, 0)
    found = {}
    for name, bound in given.items():
        if bound is None:
            continue
        require_between("the radius of filters", bound, 0)
        found[name] = known[name], float(bound)
    return found


def _sizes(weight: Tensor) -> Tensor:
    """The root mean square of each filter, in single precision at least."""
    flat = weight.detach().flatten(1)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    return flat.square().mean(1).sqrt()

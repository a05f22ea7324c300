"""ZFNet, and the AlexNet of 2012 that it replaces, with the changes that the paper tries on both.

Zeiler and Fergus, *Visualizing and Understanding Convolutional Networks* (2013), figure 3 and section 4.1; Krizhevsky,
Sutskever and Hinton, *ImageNet Classification with Deep Convolutional Neural Networks* (2012), in one column: the
paper's copy has no groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from convscope_core.arguments import (
    door,
    is_whole,
    plain_methods,
    require_between,
    require_choice,
    require_counts,
)
from convscope_core.errors import ArgumentError
from convscope_core.graph.classifier import named_parts
from convscope_core.weights import require_own_weight

__all__ = ["INITIALISATIONS", "AlexNet2012", "ZFNet", "initialise"]

#: How `initialise` draws weights.
INITIALISATIONS = ("paper", "kaiming")

_OPTIONAL = (3, 4, 6, 7)
"""Layers that the paper leaves out (table 3)."""

_MAPS = (96, 256, 384, 384, 256)


_MOST = 2**20
"""Maps or units of a layer: far beyond what fits into memory, and within what torch can count."""


class _Convolution(NamedTuple):
    kernel: int
    stride: int
    padding: int


_POOL = _Convolution(3, 2, 0)


@plain_methods
class _Staged(nn.Module):
    """Five convolutions, three pools, two hidden linear layers and the class scores."""

    _convolutions: tuple[_Convolution, ...]

    #: What follows the rectifiers of layers 1 and 2, in order.
    _between: tuple[str, str]

    def __init__(
        self,
        classes: int = 1000,
        *,
        input_size: int = 224,
        channels: int = 3,
        width: float = 1.0,
        maps: Sequence[int] = _MAPS,
        units: int = 4096,
        without: Collection[int] = (),
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        require_counts(classes=classes, input_size=input_size, channels=channels, units=units)
        without = _checked_without(without)
        counts = _counted(maps, width)
        for name, count in {"classes": classes, "channels": channels, "units": units, "maps": max(counts)}.items():
            if count > _MOST:
                raise ArgumentError(
                    f"Expected at most {_MOST:,} as {name}, got {count:.3g}. Choose fewer, or less width."
                )
        require_between("dropout", dropout, 0, 1, closed=True)
        stages = dict(self._stages(without))
        self.input_size = input_size
        self.sizes = _sizes(stages, input_size, type(self).__name__)
        reaches = channels
        for name, stage in stages.items():
            kind, number = name[:-1], int(name[-1])
            if kind == "conv":
                self.add_module(name, _blank(nn.Conv2d, reaches, counts[number - 1], *stage))
                self.add_module(f"relu{number}", nn.ReLU())
                reaches = counts[number - 1]
            elif kind == "pool":
                # cuda-convnet, in which both papers were computed, rounds up
                self.add_module(name, nn.MaxPool2d(*stage, ceil_mode=True))
            else:
                # k = 2, n = 5, alpha = 1e-4, beta = 0.75 (Krizhevsky et al., section 3.3), where alpha multiplies the
                # sum over the n maps; PyTorch's multiplies their mean
                self.add_module(name, nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        self.add_module("flatten", nn.Flatten())
        reaches *= self.sizes["pool5"] ** 2
        for number in (6, 7):
            if number not in without:
                self.add_module(f"fc{number}", _blank(nn.Linear, reaches, units))
                self.add_module(f"relu{number}", nn.ReLU())
                self.add_module(f"drop{number}", nn.Dropout(dropout))
                reaches = units
        self.add_module("fc8", _blank(nn.Linear, reaches, classes))
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return class scores (N, classes) of pictures (N, channels, input_size, input_size)."""
        for module in self.children():
            x = module(x)
        return x

    @classmethod
    def _stages(cls, without: Collection[int]) -> Iterable[tuple[str, _Convolution]]:
        """The convolutions, pools and norms that are there, in order, by name."""
        for number, convolution in enumerate(cls._convolutions, 1):
            if number in without:
                continue
            yield f"conv{number}", convolution
            if number <= 2:
                yield from ((f"{kind}{number}", _POOL) for kind in cls._between)
        yield "pool5", _POOL


_PARAMETERS = """
    Modules are called ``conv1`` to ``conv5``, ``fc6`` to ``fc8``, with ``relu``, ``pool``, ``norm`` and ``drop`` of the
    same numbers; all pools round up. Weights are drawn as the paper did, see `initialise`.

    Parameters
    ----------
    classes : int, default 1000
    input_size : int, default 224
        Side of the pictures, in pixels.
    channels : int, default 3
        Of the pictures.
    width : float, default 1.0
        What the numbers of feature maps are multiplied by (then rounded, at least 1).
    maps : five int, default (96, 256, 384, 384, 256)
        Feature maps of layers 1 to 5, before `width`. The paper's larger network has 512, 1024, 512 in layers 3 to 5.
    units : int, default 4096
        Of layers 6 and 7 each. The paper tries 2048 and 8192.
    without : collection of int, default ()
        Layers to leave out, of 3, 4, 6 and 7. The paper tries (3, 4), (7,), (6, 7) and (3, 4, 6, 7).
    dropout : float, default 0.5
        Of layers 6 and 7.

    Attributes
    ----------
    input_size : int
    sizes : dict of str to int
        Side of the maps after every convolution, pool and norm.

    Raises
    ------
    ArgumentError
        For options outside these ranges, and pictures so small that a map would be empty.
"""


@plain_methods
class ZFNet(_Staged):
    """The network of Zeiler and Fergus (2013), figure 3: filters of 7 pixels, stride 2; 62,357,608 parameters.

    At 224 pixels the maps of layer 1 have side 110, then 55 (pooled), 26, 13 (pooled) in layers 2 to 5, 6 (pooled).
    The paper prints no paddings: 1 in layer 1 and none in layer 2 give these sizes. Each of layers 1 and 2 is
    convolution, rectifier, max pool, normalisation across maps.
    """

    _convolutions = tuple(_Convolution(*c) for c in ((7, 2, 1), (5, 2, 0), (3, 1, 1), (3, 1, 1), (3, 1, 1)))
    _between = ("pool", "norm")


@plain_methods
class AlexNet2012(_Staged):
    """The network of Krizhevsky et al. (2012) in one column: filters of 11 pixels, stride 4; 62,378,344 parameters.

    At 224 pixels the maps of layer 1 have side 55, then 27 (pooled), 27 in layer 2, 13 (pooled) in layers 2 to 5, 6
    (pooled). Normalisation across maps comes before the pools of layers 1 and 2. torchvision's ``"alexnet"`` is the
    later one with fewer maps and without normalisation.
    """

    _convolutions = tuple(_Convolution(*c) for c in ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1)))
    _between = ("norm", "pool")


for _network in (ZFNet, AlexNet2012):
    if _network.__doc__ is not None:  # there is none under python -OO
        _network.__doc__ += _PARAMETERS


@door
def initialise(module: nn.Module, scheme: str = "paper", seed: int | None = None) -> None:
    """Draw the weights of convolutions and linear layers; set their biases to 0.

    Parameters
    ----------
    module : torch.nn.Module
        Any; changed in place.
    scheme : {"paper", "kaiming"}, default "paper"
        "paper" draws every weight from a normal distribution of standard deviation 0.01: the paper says "1e-2", which
        as a constant could not be trained. It suits the paper's widths and inputs of -128 to 128; in a narrow network
        signals vanish on the way up, since their size is multiplied by about 0.01 sqrt(inputs / 2) in each layer.
        "kaiming" draws from a normal distribution of variance 2 / inputs (He et al. 2015), which keeps it, for
        inputs of standard deviation 1. Inputs are those of one output: in a transposed convolution input channels
        of its group times kernel, by stride.
    seed : int, optional
        Of the numbers drawn; then torch's own random state is left alone. Default: from that.

    Raises
    ------
    ArgumentError
        For an unknown scheme, a seed that is none, and layers whose weights cannot be set: those that are computed from
        other parameters (``weight_norm``), or not known yet (lazy). Nothing is changed then.
    """
    require_choice("scheme", scheme, INITIALISATIONS)
    given: Any = module
    if not isinstance(given, nn.Module):
        raise ArgumentError(
            f"Expected a torch.nn.Module, got {type(given).__name__}. A Network is a snapshot: give the module that it "
            f"was made of."
        )
    if seed is not None:
        require_counts(0, seed=seed)
        if seed >= 2**64:
            raise ArgumentError(f"Expected seed to be below 2**64, got {seed}.")
    parts = {n: p for n, p in named_parts(module) if isinstance(p, (nn.modules.conv._ConvNd, nn.Linear))}
    for name, part in parts.items():
        require_own_weight(part, name, "Draw the weights first, then wrap it.")
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for part in parts.values():
            deviation = 0.01 if scheme == "paper" else math.sqrt(2 / _inputs(part))
            if generator is None:
                part.weight.normal_(0, deviation)
            else:
                # on the CPU, so that all devices begin alike
                part.weight.copy_(torch.empty(part.weight.shape).normal_(0, deviation, generator=generator))
            if part.bias is not None:
                part.bias.zero_()


def _inputs(part: nn.modules.conv._ConvNd | nn.Linear) -> float:
    """How many inputs an output is the weighted sum of; their mean, where the outputs differ in it."""
    if isinstance(part, nn.Linear) or not part.transposed:
        return part.weight[0].numel()
    # (in, out / groups, ...): an input reaches numel / in outputs of a group, spread over stride times as many places
    return part.in_channels / part.groups * math.prod(part.kernel_size) / math.prod(part.stride)


def _blank(kind: Callable[..., nn.Module], *sizes: int) -> nn.Module:
    """Make a layer without drawing weights, which `initialise` does once for all."""
    made: nn.Module = nn.utils.skip_init(kind, *sizes)  # type: ignore[no-untyped-call]
    return made


def _checked_without(without: Any) -> frozenset[int]:
    listed = list(without) if isinstance(without, Iterable) and not isinstance(without, (str, bytes)) else [without]
    wrong = [number for number in listed if number not in _OPTIONAL]
    if wrong:
        raise ArgumentError(
            f"Expected without as layers to leave out, of {', '.join(map(str, _OPTIONAL))}, got {without!r}. For "
            f"example without=(3, 4)."
        )
    return frozenset(listed)


def _counted(maps: Any, width: Any) -> tuple[int, ...]:
    require_between("width", width, 0)
    found = tuple(maps) if isinstance(maps, Iterable) else ()
    if len(found) != 5 or not all(is_whole(m) and m >= 1 for m in found):
        raise ArgumentError(
            f"Expected maps as the numbers of feature maps of layers 1 to 5, such as {_MAPS}, got {maps!r}."
        )
    return tuple(max(1, round(width * count)) for count in found)


def _sizes(stages: dict[str, _Convolution], side: int, network: str) -> dict[str, int]:
    """The side of the maps after each stage."""
    found = _followed(stages, side)
    if min(found.values()) < 1:
        first = next(name for name, size in found.items() if size < 1)
        least = next(s for s in range(side + 1, 1000) if min(_followed(stages, s).values()) >= 1)
        raise ArgumentError(
            f"Expected pictures of at least {least} pixels for {network}, got input_size={side}, whose maps would be "
            f"empty after {first}. Scale small pictures up, or choose a larger input_size."
        )
    return found


def _followed(stages: dict[str, _Convolution], side: int) -> dict[str, int]:
    found = {}
    for name, (kernel, stride, padding) in stages.items():
        if name.startswith("conv"):
            side = (side + 2 * padding - kernel) // stride + 1
        elif name.startswith("pool"):
            side = -((kernel - side) // stride) + 1  # rounded up
        found[name] = side
    return found

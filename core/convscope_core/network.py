"""`Network`: a classifier with its preprocessing, class names and device, ready to be looked into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
import PIL.Image
import torch
from torch import nn
from torch.export import ExportedProgram

from convscope_core.arguments import argument_kind, is_whole, plain_methods
from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError, did_you_mean
from convscope_core.graph import Graph, Node, Runner
from convscope_core.graph.backward import Table, Walk
from convscope_core.graph.bounds import without_ceiling
from convscope_core.graph.classifier import check_module, unwrapped
from convscope_core.graph.forward import Visit, evaluated
from convscope_core.graph.geometry import Box, Geometry, ReceptiveField
from convscope_core.graph.kernels import Kernels
from convscope_core.graph.layers import GraphLayer, find_layers
from convscope_core.graph.node import with_args
from convscope_core.graph.plan import multiply_adds
from convscope_core.graph.recipe import Recipe
from convscope_core.graph.regions import Regions
from convscope_core.graph.scores import SCORES, Scores, find_scores, stated_scores
from convscope_core.graph.trace import Traceable, made, probe, traced
from convscope_core.images import ImageLike
from convscope_core.precision import Door, full_precision
from convscope_core.preprocessing import Preprocess, Preprocessing
from convscope_core.threads import parts_at_once, side_by_side
from convscope_core.wordnet import class_name

T = TypeVar("T")

_PIECE = 4
"""Pictures that a thread computes at once on a CPU: few enough for their maps to be in its cache when they are read
again, enough for what is done once for all of them to be little, as measured."""

__all__ = ["Box", "Layer", "Network", "Prediction", "ReceptiveField", "best_device", "class_index", "listed_layers"]


@plain_methods
@dataclass(frozen=True)
class Layer:
    """One layer of a network: an operation with its batch norm and the activation that directly follows.

    Attributes
    ----------
    name : str
        The module whose output it is, as in the user's module tree; ``#2`` marks a module's second use. A
        functional add or concatenation has the name of the activation module that follows or of the block
        whose output it is, else of the block with ``.add`` or ``.cat``.
    kind : str
        ``"conv"``, ``"linear"``, ``"add"``, ``"cat"``, ``"pool"``, ``"batch_norm"`` (one that could not be
        folded) or ``"conv_transpose"``.
    channels : int
        Number of channels (of units, for a vector).
    size : tuple of int
        Height and width of a channel's map; (1, 1) for a vector.
    activation : str or None
        The activation after which the layer's value is taken (``"relu"``, ``"silu"``...), or None.
    ceiling : float or None
        The value at which that activation cuts off all that would be larger: 6 for ReLU6, 1 for the hard sigmoid, the
        upper bound of a hard tanh and of a clamp. None where it does not.
    aliases : tuple of str
        Other names that `Network.layer` takes for it: of the activation, the folded batch norm, a block that
        ends with it.
    """

    name: str
    kind: str
    channels: int
    size: tuple[int, int]
    activation: str | None
    ceiling: float | None
    aliases: tuple[str, ...] = field(repr=False)
    _node: str = field(repr=False)
    _geometry: Geometry = field(repr=False, compare=False)
    _axes: tuple[int, ...] = field(repr=False)

    @property
    def receptive_field(self) -> ReceptiveField:
        """Receptive field of a unit: (size, jump, start) in input pixels, along the larger axis.

        For a layer whose units see the whole picture the jump is the size.
        """
        return self._geometry.receptive_field(self._node, self._axes)

    @property
    def gated(self) -> bool:
        """Whether something upstream (squeeze-and-excite, group norm) depends on the whole picture."""
        return self._geometry.gated(self._node)

    def box(self, row: int, column: int) -> Box:
        """Return the input pixels that a unit depends on, not clipped to the picture.

        Parameters
        ----------
        row, column : int
            The unit's position, 0 <= row < size[0], 0 <= column < size[1].

        Raises
        ------
        ArgumentError
            If the position is outside the map.
        """
        if not (0 <= row < self.size[0] and 0 <= column < self.size[1]):
            raise ArgumentError(
                f"Expected a position inside the {self.size[0]}×{self.size[1]} maps of {self.name}, got row "
                f"{row}, column {column}. Rows and columns count from 0."
            )
        return self._geometry.box(self._node, row, column, self._axes)


@plain_methods
@dataclass(frozen=True, eq=False)
class Prediction:
    """Class probabilities of one picture.

    Attributes
    ----------
    probabilities : numpy.ndarray
        (K,) float32, between 0 and 1; summing to 1 unless the classes are independent.
    labels : tuple of str
        The K class names.
    independent : bool
        Whether each class has a probability of its own, whatever the others have (multi-label networks, and those
        that answer yes or no).
    """

    probabilities: np.ndarray[Any, np.dtype[np.float32]]
    labels: tuple[str, ...]
    independent: bool = False

    @property
    def index(self) -> int:
        """Index of the most probable class."""
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        """Name of the most probable class."""
        return self.labels[self.index]

    @property
    def probability(self) -> float:
        """Probability of the most probable class."""
        return float(self.probabilities[self.index])

    def top(self, k: int = 5) -> list[tuple[str, float]]:
        """Return the `k` most probable classes as (name, probability), best first; ties by class index."""
        order = np.argsort(-self.probabilities, kind="stable")[: max(k, 0)]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]

    def __repr__(self) -> str:
        top = self.top(5)
        wide = max(len(label) for label, _ in top)
        lines = [f"  {label:<{wide}}  {p:7.2%}" for label, p in top]
        return "\n".join(["Prediction (independent classes)" if self.independent else "Prediction", *lines])


class Redrawn(NamedTuple):
    """How a network came out of another by drawing weights at random.

    Attributes
    ----------
    origin : Network
    nodes : frozenset of str
        Names of the graph's nodes whose weights were drawn.
    seed : int
    """

    origin: Network
    nodes: frozenset[str]
    seed: int


_PREPARING = frozenset({"scale", "shift", "pad"})
"""Kinds of nodes that may come between the picture and the first convolution."""


@plain_methods
@argument_kind("Wrap a module with Network(module), or load one with load(name).")
class Network:
    """A classifier to look into.

    The module's forward pass is traced into a pure graph with a **snapshot** of its weights on the device.
    The module itself is not kept, moved or changed; training it further does not change this network (make a
    new one).

    Parameters
    ----------
    module : torch.nn.Module or torch.export.ExportedProgram
        A classifier in evaluation mode; one tensor (N, C, H, W) in, class scores or probabilities (N, K) out. A single
        output (N, 1) is the score or the probability of one class: yes or no. ``DataParallel``, ``AveragedModel`` and
        what ``torch.compile`` returns are looked into.
    preprocess : callable, optional
        From a PIL picture to a tensor (C, H, W): a torchvision weights transform, a ``Compose``, or any
        function that resizes, crops, and then normalises every channel by a mean and a standard deviation.
        Default: pictures are scaled and centre-cropped to the input size and given as values between 0 and 1.
    labels : sequence of str, optional
        Class names. Default: the class index as text.
    input_size : int or tuple of int, default 224
        Side of a square input, (H, W) or (C, H, W). Where C is not given it is found by trying: 3, 1, and what the
        convolutions take.
    device : torch.device or str, optional
        Where to compute. Default: where the module is if that is an accelerator, else CUDA, then MPS, then
        the CPU.
    name : str, optional
        Default: the module's class in lower case.
    snapshot : bool, default True
        Whether to copy the weights. False saves time and memory where nobody else will change the module's.
    scores : {"logits", "probabilities", "independent"}, optional
        What the outputs are: class scores of which a soft-max makes probabilities (log-probabilities, too);
        probabilities that sum to 1; or of independent classes (multi-label), as probabilities or as scores of which a
        sigmoid makes them. Default: what the network's operations and its outputs for probe pictures say. They cannot
        tell scores of independent classes from scores for a soft-max: say "independent" where the network was trained
        with a sigmoid in its loss.
    dtype : torch.dtype, default torch.float32
        In which to compute, whatever the module's weights are in (half precision and float64 are converted, in a copy):
        ``torch.float32`` or ``torch.float64``.
    output : str or int, optional
        Where the module returns several tensors: the key, attribute or index of the one with the class scores. Default:
        the one called "logits", or the only one that can be class scores.
    tf32 : bool, default False
        Whether torch's settings may let products on a CUDA device round their factors to 10 bits, as they do in
        convolutions unless told otherwise: several times faster, and too coarse for small effects of an occluder.

    Raises
    ------
    TraceError
        If the module cannot become a graph (train mode, data-dependent control flow, pictures of a batch that depend
        on each other...).
    NetworkError
        If preprocessing, labels, input size or `scores` do not fit the module.
    """

    def __init__(
        self,
        module: Traceable,
        *,
        preprocess: Preprocess | None = None,
        labels: Sequence[str] | None = None,
        input_size: int | tuple[int, ...] = 224,
        device: torch.device | str | None = None,
        name: str | None = None,
        snapshot: bool = True,
        scores: str | None = None,
        dtype: torch.dtype = torch.float32,
        output: str | int | None = None,
        tf32: bool = False,
    ) -> None:
        module = unwrapped(module)
        if not isinstance(module, ExportedProgram):
            check_module(module)
        if dtype not in (torch.float32, torch.float64):
            raise ArgumentError(f"Expected dtype as torch.float32 or torch.float64, got {dtype!r}.")
        if scores is not None and scores not in SCORES:
            raise ArgumentError(f"Expected scores as one of {', '.join(SCORES)}, or None, got {scores!r}.")
        self.device = _device(module, device)
        self.dtype = dtype
        self.tf32 = tf32
        self.name = name or type(module).__name__.lower()
        self.lock = Door(self.device, not tf32)
        graph, self._recipe = _traced(module, input_size, self.device, copy=snapshot, dtype=dtype, output=output)
        self.own_backward = self._recipe.own_backward
        channels, height, width = graph.input.shape
        self.input_shape = channels, height, width
        self._preprocessing = Preprocessing(preprocess, self.input_shape)
        self._settle(graph, scores)
        self.labels = _labels(labels, self.graph.output.shape[0])

    #: What networks of the same module with other weights are made from; None in another process.
    _recipe: Recipe | None = None

    #: The argument `scores`, where it differs from what was found in the network; None: it does not.
    _stated: str | None = None

    #: What of the module sends back another gradient than that of what it computes, which is followed: names, or "".
    own_backward: str = ""

    #: Where layers' weights were redrawn at random: the network that this one was, the names of the nodes, the seed.
    redrawn: Redrawn | None = None

    def _settle(self, graph: Graph, stated: str | None) -> None:
        """Find what the outputs are, and take the graph."""
        with full_precision(self.device):
            graph, self._scores = find_scores(graph, probe(self.input_shape).to(self.device, self.dtype))
        self._stated = None
        if stated is not None and stated != self._scores.kind:
            self._scores, self._stated = stated_scores(stated, self._scores), stated
        self._take(graph)

    def _take(self, graph: Graph) -> None:
        """Make what follows from a graph."""
        self.graph = graph
        self._runner = Runner(graph)
        self._kernels = Kernels()
        self._fingerprint: str | None = None
        self._found: dict[str, GraphLayer] = {}
        geometry = self._geometry = Geometry(graph)
        layers = []
        for g in find_layers(graph):
            layer = Layer(
                name=g.name, kind=g.kind, channels=g.channels, size=g.size, activation=g.activation, ceiling=g.ceiling,
                aliases=g.aliases, _node=g.node.name, _geometry=geometry, _axes=g.axes[1:],
            )  # fmt: skip
            layers.append(layer)
            self._found[g.name] = g
        self._layers = tuple(layers)
        self._by_name = {a: layer for layer in reversed(layers) for a in layer.aliases}
        self._by_name.update({layer.name: layer for layer in layers})

    def __getstate__(self) -> dict[str, Any]:
        # What cannot follow from the graph; the rest, and the lock, are made again where it is unpickled.
        kept = "device dtype tf32 input_shape name labels graph own_backward"
        kept += " _preprocessing _fingerprint _scores _stated"
        return {name: getattr(self, name) for name in kept.split()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.lock = Door(self.device, not self.tf32)
        self._take(self.graph)
        self._fingerprint = state["_fingerprint"]

    @property
    def scores(self) -> str:
        """What the outputs are.

        ``"logits"`` (class scores of which a soft-max makes probabilities, or log-probabilities), ``"probabilities"``
        (they sum to 1) or ``"independent"`` (each class has a probability of its own: multi-label networks, and those
        that answer yes or no).
        """
        return self._scores.kind

    @property
    def squashing(self) -> Scores:
        """How probabilities are made of outputs, and of the values of ``graph.logits``."""
        return self._scores

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to a picture before the network gets it, on the CPU."""
        return self._preprocessing

    def with_tensors(self, change: Callable[[torch.Tensor], torch.Tensor], name: str) -> Network:
        """Return a network that computes the same with other weights; this one is untouched.

        Parameters
        ----------
        change : callable
            From each parameter or constant of the graph (batch norms folded) to what takes its place, of the same
            shape and on the same device.
        name : str
            Name of the new network.
        """
        other = self._like(name)
        other._take(self.graph.with_tensors(change))
        return other

    def silenced(self, units: Mapping[str, int | Iterable[int] | None], name: str | None = None) -> Network:
        """Return a network in which units are always 0, whatever the picture; this one is untouched.

        Their weights and biases are set to 0, so that every explanation and every occluder of the new network agrees.

        Parameters
        ----------
        units : mapping of str to int, iterable of int or None
            By layer, a convolution or linear layer by name or alias: which of its units. None: all of them.
        name : str, optional
            Name of the new network. Default: this one's with what is silenced.

        Raises
        ------
        LayerError
            If there is no such layer or unit.
        ArgumentError
            For layers that have no weights of their own, such as sums and pools, and for those whose activation is not
            0 where its input is.
        """
        if not isinstance(units, Mapping):
            raise ArgumentError(
                f"Expected the units to silence by layer, got {units!r:.80}. For example {{'conv1': [3, 5]}}, or "
                "{'conv1': None} for all of a layer."
            )
        chosen: dict[Node, list[int]] = {}
        words = []
        for key, which in units.items():
            layer, found = self.layer(key), self.graph_layer(key)
            numbers = list(range(layer.channels)) if which is None else _numbers(which)
            for number in numbers:
                if not is_whole(number):
                    raise LayerError(f"Expected units of {layer.name} by number, got {number!r}.")
                if not 0 <= number < layer.channels:
                    raise LayerError(f"Expected a unit of {layer.name}, 0 to {layer.channels - 1}, got {number!r}.")
            _check_silencing(layer, found)
            chosen.setdefault(found.anchor, []).extend(map(int, numbers))
            words.append(layer.name if which is None else f"{layer.name}/{','.join(map(str, numbers))}")
        done = {
            node: {argument: _silent(node, argument, numbers) for argument in ("weight", "bias")}
            for node, numbers in chosen.items()
        }

        def change(node: Node, args: dict[str, Any]) -> Node | None:
            return with_args(node, {**args, **done[node]}) if node in done else None

        other = self._like(name or f"{self.name} without {' '.join(words) or 'nothing'}")
        other._take(self.graph.rebuilt(change))
        return other

    def _like(self, name: str) -> Network:
        """Return a network with all that this one has, for another graph to be taken."""
        other = Network.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.name = name
        other.lock = Door(self.device, not self.tf32)
        return other

    def with_weights(
        self,
        state: Mapping[str, torch.Tensor],
        name: str,
        *,
        what: str = "the state dict",
        rest: Mapping[str, torch.Tensor] | None = None,
    ) -> Network:
        """Return the network of the same module with other weights, as `Network` of it would be; this one is untouched.

        The forward pass is not traced again, which takes most of the time. Preprocessing, labels and device are this
        network's.

        Parameters
        ----------
        state : mapping of str to Tensor
            As the module's ``state_dict`` has them, of any floating-point precision. Batch norms are folded here.
            They are copied.
        name : str
            Name of the new network.
        what : str, default "the state dict"
            What they are, for messages.
        rest : mapping of str to Tensor, optional
            Where weights that are missing are taken from. Default: none may be missing.

        Raises
        ------
        NetworkError
            When weights are missing, of another shape, of layers that the module does not have, NaN or infinite; or
            this network came from another process, to which what it was traced from does not go along.
        """
        weights = self.weights_of(state, what=what, rest=rest)
        other = self._like(name)
        other.redrawn = None
        assert self._recipe is not None
        graph = made(self._recipe, weights, self.input_shape, self.device, dtype=self.dtype)
        other._settle(graph, self.scores if self._stated is None else self._stated)
        return other

    def weights_of(
        self,
        state: Mapping[str, torch.Tensor],
        *,
        what: str = "the state dict",
        rest: Mapping[str, torch.Tensor] | None = None,
    ) -> dict[str, torch.Tensor]:
        """Return the weights of a state dict that the forward pass reads, by the names that the module has for them.

        Parameters and errors are those of `with_weights`.
        """
        if self._recipe is None:
            raise NetworkError(
                f"Expected a network that was made in this process, got {self.name}, which was pickled. Make it again "
                "of its module: Network(module, ...)."
            )
        return self._recipe.fitted(state, what, rest)

    def __repr__(self) -> str:
        c, h, w = self.input_shape
        return (
            f"Network {self.name}: {len(self.labels)} class{'es' * (len(self.labels) != 1)} ({self.scores}), "
            f"{len(self.layers)} layers, input {c}×{h}×{w}, on {self.device}"
        )

    # -- layers --

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers in the order in which they are computed.

        Maps in any memory layout are listed (channels-last blocks of ConvNeXt and Swin too), and vectors.
        Token sequences (the inside of a transformer's blocks) are not: they have no maps.
        """
        return self._layers

    @property
    def first_convolution(self) -> Layer | None:
        """The convolution that looks at the picture itself, shifted and scaled perhaps; None where there is none."""
        layer = next((layer for layer in self._layers if layer.kind == "conv"), None)
        if layer is None:
            return None
        source = self._found[layer.name].anchor["input"]
        while source.kind in _PREPARING and len(source.inputs) == 1:
            (source,) = source.inputs
        return layer if source is self.graph.input else None

    def layer(self, name: str) -> Layer:
        """Return a layer by its name or one of its aliases.

        Raises
        ------
        LayerError
            If there is none of this name.
        """
        if isinstance(name, Layer):
            name = name.name
        try:
            return self._by_name[name]
        except (KeyError, TypeError):
            raise LayerError(
                f"Expected the name of a layer of {self.name}, got {name!r}."
                f"{did_you_mean(str(name), self._by_name)} All names: [layer.name for layer in net.layers]."
            ) from None

    def graph_layer(self, name: str) -> GraphLayer:
        """Return a layer as part of the graph, by its name or one of its aliases; errors as for `layer`."""
        return self._found[self.layer(name).name]

    def weight(self, name: str) -> torch.Tensor | None:
        """Return the weight of a layer, with the batch norm that was folded into it.

        Parameters
        ----------
        name : str
            A layer's name or alias.

        Returns
        -------
        tensor or None
            As `torch.nn` keeps it: (out, in / groups, kh, kw) for a convolution, (out, in) for a linear
            layer. None for a layer without weights. A copy.
        """
        weight = self.graph_layer(name).anchor.args.get("weight")
        return weight.clone(memory_format=torch.contiguous_format) if isinstance(weight, torch.Tensor) else None

    def ceiling(self, name: str) -> float | None:
        """Return the largest value that a layer can have by its activation; None where there is no bound.

        Parameters
        ----------
        name : str
            A layer's name or alias.

        Returns
        -------
        float or None
            `Layer.ceiling`, or 1, which sigmoid and tanh approach.
        """
        return self.graph_layer(name).bounds[1]

    def floor(self, name: str) -> float | None:
        """Return the smallest value that a layer can have by its activation; None where there is no bound.

        Parameters
        ----------
        name : str
            A layer's name or alias.

        Returns
        -------
        float or None
            0 for ReLU, ReLU6, sigmoid and hard sigmoid, -1 for tanh, the lower bound of a hard tanh and of a clamp.
        """
        return self.graph_layer(name).bounds[0]

    def class_index(self, target: int | str) -> int:
        """Return the index of a class, given by index or label.

        Raises
        ------
        ArgumentError
            If there is no such class, or several have that label.
        """
        return class_index(target, self.labels, self.name)

    # -- pictures --

    def prepare(self, image: ImageLike | Picture) -> torch.Tensor:
        """Return a picture as the network takes it.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image, array, tensor or Picture
            A picture (see `convscope_core.images.read_image`), or a floating-point tensor (C, H, W) or (1, C,
            H, W), which is taken to be in network space already.

        Returns
        -------
        tensor
            (1, C, H, W) on the network's device, in its `dtype`.

        Raises
        ------
        ImageError
            If it is no picture, or a tensor of the wrong shape or with NaN or infinity.
        """
        return self._preprocessing.prepare(image).to(self.device, self.dtype)

    def picture(self, image: ImageLike | Picture) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return what the network sees of a picture, as colours: uint8 (H, W, 3).

        The prepared picture with its normalisation undone, rounded and clipped. One channel becomes grey;
        other numbers of channels than 1 and 3 are shown as their mean.
        """
        return self.pixels(self._preprocessing.prepare(image)[0])

    def prepare_mask(self, mask: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return a mask of a picture's own pixels as one of the network's input: resized and cropped as the picture is.

        Parameters
        ----------
        mask : bool array (h, w)
            Of the picture's size.

        Returns
        -------
        bool array (H, W)
            The pixels of the network's input of which the mask covers at least half.

        Raises
        ------
        ArgumentError
            If it is no bool array of two axes.
        """
        if not isinstance(mask, np.ndarray) or mask.dtype != bool or mask.ndim != 2:
            came = f"{mask.dtype} of shape {mask.shape}" if isinstance(mask, np.ndarray) else type(mask).__name__
            raise ArgumentError(f"Expected a mask as a bool array (h, w), got {came}. Of numbers make one: values > 0.")
        white = np.where(mask, 255, 0).astype(np.uint8)
        shown = self.to_rgb(self._preprocessing.prepare(PIL.Image.fromarray(white)))
        found: np.ndarray[Any, np.dtype[np.bool_]] = (shown[0].mean(0) >= 0.5).numpy()
        return found

    def pixels(self, x: torch.Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
        """Return a part of a picture in network space, (C, h, w) of any size, as `picture` does: uint8 (h, w, 3)."""
        rgb = self.to_rgb(x)
        if rgb.shape[0] != 3:
            rgb = rgb.mean(0, keepdim=True).expand(3, -1, -1)
        return (rgb * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()

    def to_network(self, rgb: torch.Tensor) -> torch.Tensor:
        """Normalise colours between 0 and 1, (..., C, H, W), as the preprocessing does."""
        return self._preprocessing.to_network(rgb)

    def to_rgb(self, x: torch.Tensor) -> torch.Tensor:
        """Undo the normalisation of (..., C, H, W) in network space; clipped to between 0 and 1."""
        return self._preprocessing.to_rgb(x)

    # -- computing --

    def forward(self, x: torch.Tensor, layers: Iterable[str] = ()) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Compute logits, and the values of layers, for a batch.

        Parameters
        ----------
        x : tensor
            (N, C, H, W) in network space, N >= 1.
        layers : iterable of str, default ()
            Names or aliases of layers to record.

        Returns
        -------
        logits : tensor
            (N, K).
        values : dict of str to tensor
            By the layers' own names: (N, channels, h, w), after the activation; h = w = 1 for vectors.
        """
        wanted = [self.layer(name).name for name in listed_layers(layers)]
        self._check_batch(x)
        found = {name: self._found[name] for name in wanted}
        x = x.to(self.device, self.dtype)
        with self.lock, torch.inference_mode():
            logits, values = self._runner(x, [g.node for g in found.values()])
        return logits, {name: _as_maps(values[g.node], g.axes) for name, g in found.items()}

    def visit(
        self,
        x: torch.Tensor,
        layers: Iterable[str],
        visit: Callable[[str, torch.Tensor], None],
        output: Callable[[torch.Tensor], None] | None = None,
        before: Mapping[str, Callable[[torch.Tensor], None]] | None = None,
    ) -> None:
        """Compute the values of layers for a batch, and show each as soon as it is there, without keeping any.

        Parameters
        ----------
        x : tensor
            (N, C, H, W) in network space, N >= 1.
        layers : iterable of str
            Names or aliases of layers. Nothing beyond the last of them is computed, unless the output is asked for.
        visit : callable
            Gets a layer's name and its maps (N, channels, h, w), after the activation, in execution order. The maps
            are overwritten once it has returned.
        output : callable, optional
            Gets the outputs (N, K), as `forward` gives them.
        before : mapping of str to callable, optional
            By a layer with an activation: what gets the maps (N, channels, h, w) that the activation is given, earlier
            than `visit` gets those after it, which take their place in memory.
        """
        found: dict[Node, list[Callable[[torch.Tensor], None]]] = {}

        def show(layer: GraphLayer, node: Node, to: Callable[[torch.Tensor], None]) -> None:
            found.setdefault(node, []).append(lambda value: to(_as_maps(value, layer.axes)))

        for name in dict.fromkeys(self.layer(name).name for name in listed_layers(layers)):
            show(self._found[name], self._found[name].node, partial(visit, name))
        for name, to in (before or {}).items():
            layer = self.graph_layer(name)
            if layer.activation is None:
                raise ArgumentError(f"Expected a layer with an activation, to look before it, got {layer.name}.")
            show(layer, layer.anchor, to)
        self._check_batch(x)
        if output is not None:
            found.setdefault(self.graph.output, []).append(output)

        def shown(node: Node, value: torch.Tensor, _: Sequence[torch.Tensor]) -> None:
            for to in found[node]:
                to(value)

        with self.lock, torch.inference_mode():
            self._runner.visit(x.to(self.device, self.dtype), found, shown)

    def in_pieces(self, look: Callable[[torch.Tensor], T], x: torch.Tensor) -> list[T]:
        """Look at a batch (N, C, H, W) in pieces: on a CPU a few pictures at a time, in threads side by side.

        Parameters
        ----------
        look : callable
            Gets a piece, such as to `visit` it.
        x : tensor

        Returns
        -------
        list
            What it returned, in the order of the pictures.
        """
        if self.device.type != "cpu":
            return [look(x)]
        parts = x.chunk(parts_at_once(len(x), self.device))
        found = side_by_side(lambda part: [look(piece) for piece in torch.split(part, _PIECE)], parts, self.lock)
        return [each for part in found for each in part]

    def visit_nodes(self, x: torch.Tensor, nodes: Iterable[Node], visit: Visit) -> None:
        """Compute nodes of the graph for a batch (N, C, H, W), and show each with its inputs, without keeping any."""
        self._check_batch(x)
        with self.lock, torch.inference_mode():
            self._runner.visit(x.to(self.device, self.dtype), nodes, visit)

    def values(self, x: torch.Tensor, nodes: Iterable[Node]) -> dict[Node, torch.Tensor]:
        """Compute the values of nodes of the graph for a batch (N, C, H, W), with gradient where it is enabled."""
        self._check_batch(x)
        with self.lock:
            return self._runner(x.to(self.device, self.dtype), nodes, output=False)[1]

    def regions(
        self,
        x: torch.Tensor,
        layers: Iterable[str] = (),
        *,
        budget: int | None = None,
        dtype: torch.dtype | None = None,
    ) -> Regions:
        """Prepare to compute exactly, and only, what changes when boxes of one picture change.

        Parameters
        ----------
        x : tensor
            (1, C, H, W) in network space: the clean picture.
        layers : iterable of str, default ()
            Names or aliases of layers whose values may be asked for (as the nodes of `graph_layer`).
        budget : int, optional
            Bytes that what a sweep computes at once may take.
        dtype : torch.dtype, optional
            In which the walk computes, such as ``torch.bfloat16``; outputs are float32 all the same. What it
            costs is seen by comparing with a `Regions` without it. Default: float32.

        Returns
        -------
        Regions
            To be called under the network's `lock`.
        """
        self._check_batch(x)
        nodes = [self.graph_layer(name).node for name in listed_layers(layers)]
        x = x.to(self.device, self.dtype)
        with self.lock:
            return Regions(
                self.graph,
                x,
                nodes,
                geometry=self._geometry,
                budget=budget,
                runner=self._runner,
                kernels=self._kernels,
                dtype=dtype,
            )

    @property
    def runner(self) -> Runner:
        """What evaluates the graph; to be called under the network's `lock`."""
        return self._runner

    def walk(self, table: Table, sources: Iterable[Node], to: Node | None = None) -> Walk:
        """Prepare a reverse walk of the graph under a table of rules.

        Parameters
        ----------
        table : Table
            See `convscope_core.graph.backward`.
        sources : iterable of Node
            Where signals may start (as the nodes of `graph_layer`, and ``graph.output``).
        to : Node, optional
            Where the walk ends. Default: the input.

        Returns
        -------
        Walk
            To be called under the network's `lock`.

        Raises
        ------
        ArgumentError
            If the walk meets an operation that the table states nothing about.
        """
        return Walk(self.graph, table, sources, to, self._runner)

    def predict(self, image: ImageLike | Picture) -> Prediction:
        """Return the class probabilities of one picture (see `prepare` for what is taken as one)."""
        outputs, _ = self.forward(self.prepare(image))
        return self.prediction(outputs)

    def prediction(self, outputs: torch.Tensor) -> Prediction:
        """Return the class probabilities for the outputs (1, K) that `forward` gives for one picture."""
        p = self.probabilities(outputs)[0].float().cpu().numpy()
        return Prediction(p, self.labels, self.scores == "independent")

    def probabilities(self, outputs: torch.Tensor) -> torch.Tensor:
        """Return class probabilities (N, K) for the outputs (N, K) that `forward` gives.

        They sum to 1 unless the classes are independent, see `scores`.
        """
        return self._scores.probabilities(outputs)

    @staticmethod
    def decided(probabilities: torch.Tensor) -> torch.Tensor:
        """Return the class that is decided for: the most probable. Of a single class, yes or no.

        Parameters
        ----------
        probabilities : tensor
            (N, K).

        Returns
        -------
        tensor
            int64 (N,): the class; of equals the lower one. Where there is one class, 0 from a probability of one half
            on, and -1, none, below.
        """
        if probabilities.shape[1] == 1:
            return (probabilities[:, 0] >= 0.5).long() - 1
        return probabilities.argmax(1)

    def activations(
        self, image: ImageLike | Picture, layers: str | Iterable[str], *, before_ceiling: bool = False
    ) -> dict[str, torch.Tensor]:
        """Return the values of layers for one picture.

        Parameters
        ----------
        image : path, bytes, PIL.Image.Image, array or tensor
            As `prepare` takes it.
        layers : str or iterable of str
            Names or aliases of layers.
        before_ceiling : bool, default False
            Whether values that the layer's activation cuts off (`Layer.ceiling`) are returned as they would be without
            that: of a ReLU6 those of a ReLU. What other layers compute with stays as it is.

        Returns
        -------
        dict of str to tensor
            By the layers' own names: (1, channels, h, w), after the activation that directly follows.
        """
        wanted = {name: self._found[name] for name in (self.layer(n).name for n in listed_layers(layers))}
        cut = {name: without_ceiling(g.node) for name, g in wanted.items() if before_ceiling and g.node is not g.anchor}
        nodes = {name: g.node if cut.get(name) is None else g.anchor for name, g in wanted.items()}
        x = self.prepare(image)
        with self.lock, torch.inference_mode():
            _, values = self._runner(x, nodes.values(), output=False)
            found = {name: _as_maps(values[nodes[name]], g.axes) for name, g in wanted.items()}
            return {name: f(found[name]) if (f := cut.get(name)) else found[name] for name in found}

    def gradients(
        self,
        x: torch.Tensor,
        numbers: Callable[[torch.Tensor, dict[str, torch.Tensor]], Sequence[torch.Tensor]],
        layers: Iterable[str] = (),
    ) -> list[tuple[float, torch.Tensor]]:
        """Differentiate numbers that follow from the class scores and the values of layers, by the input.

        Parameters
        ----------
        x : tensor
            (1, C, H, W) in network space.
        numbers : callable
            From class scores (1, K) and values of layers as `forward` gives them, to tensors of one element. Scores
            are the logits before any squashing, or the outputs where those do not follow from logits alone;
            ``net.squashing.log_odds(scores, target)`` makes ``log(p / (1 - p))`` of either.
        layers : iterable of str, default ()
            Names or aliases of layers.

        Returns
        -------
        list of (float, tensor)
            For each number its value and its gradient (1, C, H, W).

        Raises
        ------
        RuntimeError
            If an operation of the network cannot be differentiated.
        """
        found = {name: self._found[name] for name in (self.layer(n).name for n in listed_layers(layers))}
        self._check_batch(x)
        scores = self.graph.output if self._scores.of_logits is None else self.graph.logits
        # Rectifiers in the memory of their input are no obstacle: what they overwrite nobody saves for a gradient,
        # and autograd would raise, not err. A clone made here is no inference tensor, whatever x is.
        with self.lock, torch.inference_mode(False), torch.enable_grad():
            x = x.detach().to(self.device, self.dtype).clone().requires_grad_()
            _, values = self._runner(x, [scores, *(g.node for g in found.values())], output=False)
            maps = {name: _as_maps(values[g.node], g.axes) for name, g in found.items()}
            computed = []
            for number in numbers(values[scores], maps):
                gradient = torch.zeros_like(x)
                if number.requires_grad:
                    (gradient,) = torch.autograd.grad(
                        number.sum(), x, retain_graph=True, allow_unused=True, materialize_grads=True
                    )
                computed.append((float(number.detach()), gradient))
        return computed

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of the convolutions and linear layers for one picture."""
        return sum(multiply_adds(n, 1.0) for n in self.graph)

    @property
    def parameters(self) -> int:
        """How many numbers it computes with, batch norms folded."""
        return sum(t.numel() for t in self.graph.tensors())

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of operations, weights and `scores`: equal where networks compute the same."""
        if self._fingerprint is None:
            with self.lock:
                self._fingerprint = self.graph.digest(*([] if self._stated is None else [self._stated]))
        return self._fingerprint

    def _check_batch(self, x: Any) -> None:
        c, h, w = self.input_shape
        if not isinstance(x, torch.Tensor) or tuple(x.shape[1:]) != self.input_shape or len(x) < 1:
            came = f"shape {tuple(x.shape)}" if isinstance(x, torch.Tensor) else type(x).__name__
            raise ImageError(
                f"Expected a batch (N, {c}, {h}, {w}) in network space, got {came}. net.prepare(image) makes "
                f"one of a picture."
            )


def listed_layers(layers: Any) -> list[Any]:
    """Return one layer, or several, as a list.

    Raises
    ------
    ArgumentError
        When it is neither a name, a `Layer`, nor several of them.
    """
    if isinstance(layers, (str, Layer)):
        return [layers]
    if not isinstance(layers, Iterable):
        raise ArgumentError(
            f"Expected the name of a layer or several of them, got {layers!r}. All names: "
            "[layer.name for layer in net.layers]."
        )
    return list(layers)


def class_index(target: int | str, labels: Sequence[str], name: str) -> int:
    """Return the index of a class of a network of that name, given by index or label.

    Raises
    ------
    ArgumentError
        If there is no such class, or several have that label.
    """
    count = len(labels)
    if isinstance(target, str):
        found = [index for index, label in enumerate(labels) if label == target]
        if not found and (name_of := class_name(target)) != target:  # a folder of ImageNet
            found = [index for index, label in enumerate(labels) if label == name_of]
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            raise ArgumentError(
                f"Expected a class, got {target!r}, the label of classes {', '.join(map(str, found))}. Give the index."
            )
        raise ArgumentError(
            f"Expected a class of {name}, by label or by an index of 0 to {count - 1}, got "
            f"{target!r}.{did_you_mean(target, labels)}"
        )
    index: Any = target
    if not is_whole(index) or not 0 <= index < count:
        raise ArgumentError(f"Expected a class of {name}, by label or by an index of 0 to {count - 1}, got {target!r}.")
    return int(index)


def best_device() -> torch.device:
    """Return CUDA, else MPS, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def _device(module: Traceable, device: torch.device | str | None) -> torch.device:
    if device is not None:
        try:
            found = torch.device(device)
        except RuntimeError as e:
            raise ArgumentError(f"Expected a device such as 'cpu', 'cuda', 'cuda:1' or 'mps', got {device!r}.") from e
        available = _devices()
        if found.type not in available or (found.index or 0) >= available[found.type]:
            there = ", ".join(
                kind if count == 1 else f"{kind}:0 to {kind}:{count - 1}" for kind, count in available.items()
            )
            raise ArgumentError(
                f"Expected a device that is available here ({there}), got {device!r}. Leave device out to use the best."
            )
        return found
    if isinstance(module, nn.Module):
        for p in module.parameters():
            if p.device.type != "cpu":
                return p.device
    return best_device()


def _devices() -> dict[str, int]:
    """Return the kinds of devices that are available, with their number."""
    found = {"cpu": 1}
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.device_count()
    if torch.backends.mps.is_available():
        found["mps"] = 1
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        found.setdefault(accelerator.type, torch.accelerator.device_count())
    return found


def _numbers(which: Any) -> list[Any]:
    return list(which) if isinstance(which, Iterable) and not isinstance(which, str) else [which]


def _check_silencing(layer: Layer, found: GraphLayer) -> None:
    """Refuse a layer whose units cannot be silenced by their weights."""
    weight = found.anchor.args.get("weight")
    if layer.kind not in ("conv", "conv_transpose", "linear") or not isinstance(weight, torch.Tensor):
        raise ArgumentError(
            f"Expected a convolution or a linear layer with weights of its own, to silence units, got {layer.name} "
            f"({layer.kind}). Silence the layers that it is made of."
        )
    if found.node is not found.anchor:
        zero = torch.zeros(1, *found.anchor.shape, dtype=weight.dtype, device=weight.device)
        with torch.inference_mode():
            if bool(evaluated(found.node, lambda _: zero).any()):
                raise ArgumentError(
                    f"Expected a layer whose activation is 0 where its input is, got {layer.name} with "
                    f"{layer.activation}. Its units cannot be silenced."
                )


def _silent(node: Node, argument: str, units: Sequence[int]) -> torch.Tensor | None:
    """Return the weight or the bias of a convolution or linear node with nothing for some units."""
    tensor: torch.Tensor | None = node.args.get(argument)
    if tensor is None:
        return None
    tensor = tensor.clone()
    if node.kind == "conv_transpose" and argument == "weight":
        # (inputs, outputs / groups, kh, kw): the inputs of a group meet only its outputs
        inputs, outputs = tensor.shape[0] // node["groups"], tensor.shape[1]
        for unit in units:
            group = unit // outputs
            tensor[group * inputs : (group + 1) * inputs, unit % outputs] = 0
    else:
        tensor[list(units)] = 0
    return tensor


def _traced(module: Traceable, size: Any, device: torch.device, **options: Any) -> tuple[Graph, Recipe]:
    """Trace a module, with the number of channels that it takes where that is not given."""
    given = (size, size) if not isinstance(size, (tuple, list)) else tuple(size)
    if len(given) not in (2, 3) or not all(isinstance(s, int) and s > 0 for s in given):
        raise NetworkError(
            f"Expected input_size as a side, (H, W) or (C, H, W) in pixels, got {size!r}. For example input_size=224."
        )
    return traced(module, given, device, **options)


def _labels(labels: Sequence[str] | None, classes: int) -> tuple[str, ...]:
    if labels is None:
        return ("yes",) if classes == 1 else tuple(str(i) for i in range(classes))
    if isinstance(labels, (str, Mapping)):
        raise NetworkError(f"Expected a list of {classes} class names, got a {type(labels).__name__}.")
    names = tuple(str(x) for x in labels)
    if len(names) != classes:
        cure = (
            "A single output z is of one class, yes or no; for two classes wrap the module in one that returns "
            "torch.cat([-z / 2, z / 2], 1)."
            if (classes, len(names)) == (1, 2)
            else "Give labels in the order of the outputs, or none."
        )
        raise NetworkError(
            f"Expected {classes} class name{'s' * (classes != 1)}, one for each output, got {len(names)}. {cure}"
        )
    return names


def _as_maps(value: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
    if len(axes) == 1:
        return value[:, :, None, None]
    return value.permute(0, *(a + 1 for a in axes)) if axes != (0, 1, 2) else value

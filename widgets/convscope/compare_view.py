"""Two networks side by side."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convscope_core.arguments import require_kind
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments import Comparison, comparing
from convscope_core.network import Layer, Network
from convscope_core.survey.run import choose

from ._static import bundle
from .panes.compare import ComparePane
from .panes.compare.pane import BATCH

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import CompareOptions

__all__ = ["Compare"]


class Compare(ComparePane):
    """Compare two networks: what their first layers see, which layers are alike, and where they disagree.

    Figure 6 of Zeiler & Fergus (2013) as an instrument, for any two networks, also of other input sizes,
    preprocessings and classes. The first layers stand side by side on one scale, with what is dead, dominant and
    folded; every layer of the one against every layer of the other by CKA, of which a click opens the matched units
    with their patches; accuracy, agreement and cost; and the pictures on which the two disagree, under one occluder:
    the square covers the same place on what either network sees, and both answers follow a drag. Networks are
    compared in the background.

    Parameters
    ----------
    net_a : Network or Comparison
        The first network, or a finished comparison, of which nothing is computed again.
    net_b : Network, optional
        The second one.
    images : folder, list, data set or single picture, optional
        See `Images.of`. Both see all of them.
    layers_a, layers_b : str, Layer or several of them, optional
        Of either network. Default: all but the pools.
    k : int, default 9
        Top pictures that are kept for each unit.
    sample : int, default 512
        Pictures on which layers and units are compared.
    store : path, optional
        A folder, as for `compare`: the same call goes on where it stopped.
    **traits
        Initial traits: `layer_a`, `layer_b`, `pair_order`, `pair_show`, `pairs`, `picture`, `position`, `size`,
        `shape`, `fill`, `target`, `target_b`, `show_trail`.

    Attributes
    ----------
    result : Comparison or None
    health : list of FilterHealth or None
        Of either first layer.
    images : Images
        Those of the occluder: where the two disagree, both surest first.

    Raises
    ------
    ArgumentError
        When an argument is out of range, or a network or the pictures are missing.
    ImageError
        When the pictures do not exist.
    LayerError
        When a layer does not exist.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, arXiv:1311.2901 (2013), section 4.1,
    figure 6.

    Examples
    --------
    >>> cs.Compare(cs.load("alexnet_shapes"), cs.load("zfnet_shapes"), cs.Shapes(240, split="test"))  # doctest: +SKIP
    >>> cs.Compare(cs.compare(net_a, net_b, "photos/"))      # doctest: +SKIP
    """

    _name = "compare"
    _esm = bundle(_name)

    def _given_network(self, net_a: Any = None, *_: Any, **__: Any) -> Any:
        if not isinstance(net_a, Comparison):
            require_kind("net_a", net_a, Network)
            return net_a
        return net_a.a.network

    def __init__(
        self,
        net_a: Network | Comparison,
        net_b: Network | None = None,
        images: Any = None,
        layers_a: str | Layer | Iterable[str | Layer] | None = None,
        layers_b: str | Layer | Iterable[str | Layer] | None = None,
        *,
        k: int = 9,
        sample: int = 512,
        store: str | Path | None = None,
        **traits: Unpack[CompareOptions],
    ) -> None:
        if isinstance(net_a, Comparison):
            others = (net_b, images, layers_a, layers_b, store)
            if any(one is not None for one in others):
                raise ArgumentError(
                    "Expected a finished comparison alone, got a network, images, layers or a store beside it. It is "
                    "shown as it is: Compare(result)."
                )
            layers = tuple([layer.name for layer in side] for side in net_a.layers)
            super().__init__(
                net_a.a.network, net_a.b.network, images=net_a.images, layers=(layers[0], layers[1]),
                result=net_a, **traits,
            )  # fmt: skip
            return
        if net_b is None or images is None:
            missing = "second network" if net_b is None else "pictures"
            raise ArgumentError(
                f"Expected two networks and pictures, got no {missing}. Compare(net_a, net_b, 'photos/'), or a "
                "finished comparison: Compare(cs.compare(net_a, net_b, 'photos/'))."
            )
        given: Any = net_b
        if not isinstance(given, Network):
            raise ArgumentError(f"Expected two networks, got a {type(given).__name__}. Make one: Network(module, ...).")
        pictures = Images.of(images)
        names = [[layer.name for layer in choose(*one)] for one in ((net_a, layers_a), (net_b, layers_b))]
        begin = partial(comparing, net_a, net_b, pictures, *names, k=k, sample=sample, store=store, batch_size=BATCH)
        super().__init__(net_a, net_b, images=pictures, layers=(names[0], names[1]), comparing=begin, **traits)

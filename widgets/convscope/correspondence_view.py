"""Whether a network knows a part as that part, in every picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from convscope_core.datasets import Images
from convscope_core.network import Layer, Network
from convscope_core.occlusion import Fill

from ._static import bundle
from .panes.correspondence import CorrespondencePane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import CorrespondenceOptions

__all__ = ["Correspondence"]


class Correspondence(CorrespondencePane):
    """Click the same part in several pictures, and see whether masking it acts alike.

    Table 1 of Zeiler & Fergus (2013) as an instrument. From the second click on each layer has a score, the share of
    features whose change differs in sign, mean over pairs of pictures; lower is more alike. It stands on the band of
    random places of the same area, with a permutation p-value. Scores are computed in the background; another click
    begins again, and computes only what it adds. Parts that were given as masks, and those that are kept, stay as rows.

    Parameters
    ----------
    net : Network
    images : folder, list or data set
        See `Images.of`. From 2 to 48. Those that cannot be read are named, and cannot be clicked.
    masks : sequence of masks, or mapping of str to sequence of masks, optional
        Parts that need no click, as for `correspondence`.
    layers : str, Layer or several of them, optional
        By default the last one with maps and the last before the class scores.
    objects : sequence of bool array or None, optional
        The object in each picture: random places lie on it. By default anywhere in the picture.
    fill : str, colour or picture, default "grey"
        What masks show.
    places : int, default 50
        Random places in each picture.
    permutations : int, default 10000
    seed : int, default 0
    **traits
        Initial traits: `points`, `size`, `part`, `entries`, `shown`.

    Attributes
    ----------
    result : CorrespondenceResult or None
        Of the part that is clicked.
    results : dict of str to CorrespondenceResult
        By part.

    Raises
    ------
    ArgumentError
        When there are fewer than two pictures, or a mask, a point or another argument is out of range.
    LayerError
        When a layer does not exist.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, arXiv:1311.2901 (2013), section 4.3,
    table 1.

    Examples
    --------
    >>> view = cs.Correspondence(net, "dogs/")      # doctest: +SKIP
    >>> view.points = [(60, 80), (71, 90), None]      # doctest: +SKIP
    >>> view.wait(), view.result      # doctest: +SKIP
    """

    _name = "correspondence"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        images: Any,
        masks: Any = None,
        layers: str | Layer | Iterable[str | Layer] | None = None,
        objects: Any = None,
        *,
        fill: Fill = "grey",
        places: int = 50,
        permutations: int = 10_000,
        seed: int = 0,
        **traits: Unpack[CorrespondenceOptions],
    ) -> None:
        given = {} if masks is None else masks if isinstance(masks, Mapping) else {"part": masks}
        super().__init__(
            net,
            images=Images.of(images),
            masks=given,
            objects=objects,
            settings={"fill": fill, "places": places, "permutations": permutations, "seed": seed},
            layers=layers,
            **traits,
        )

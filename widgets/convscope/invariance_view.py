"""What moving or changing a picture does."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from convscope_core.datasets import Images
from convscope_core.experiments.invariance import checked_transforms, chosen_layers
from convscope_core.experiments.invariance.transforms import KINDS, Transforms
from convscope_core.network import Layer, Network

from ._charted import Charted
from ._static import bundle
from .panes.invariance import InvariancePane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import InvarianceOptions

__all__ = ["Invariance"]

#: Layers whose curves are drawn where none are named.
LAYERS = 4


class Invariance(InvariancePane, Charted):
    """Move or change a picture with a slider, and watch what follows.

    Figure 5 of Zeiler & Fergus (2013) as an instrument: the picture, moved; beneath it all pictures, moved alike;
    curves of how far the features of layers go from where they were, and of the probability of the class, a line a
    picture, with the cursor where the slider is. Beside them how consistent the network is. Curves are measured in
    the background, for the transformation that is looked at.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or single picture
        See `Images.of`. A few: every transformation costs tens of passes a picture.
    transforms : str, iterable of str, or mapping of str to iterable of float, optional
        As for `invariance`; by default all, with the paper's ranges. One that needs colours is left out for grey.
    layers : str, Layer or several of them, optional
        By default four, from the first with weights to the last but one.
    fill : str or colour, default "mean"
        What is seen beyond the picture; as for `invariance`.
    **traits
        Initial traits: `transform`, `value`, `distance`, `shown`, `picture`.

    Attributes
    ----------
    results : dict of str to InvarianceResult
    consistency : ConsistencyResult or None
    curves : InvarianceCurves
    box : ipywidgets.VBox
        The panes with the charts beneath.

    Raises
    ------
    ArgumentError
        When a transformation or fill is not known.
    LayerError
        When a layer does not exist.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, arXiv:1311.2901 (2013), figure 5.

    Examples
    --------
    >>> cs.Invariance(net, "photos/", transform="rotation")      # doctest: +SKIP
    """

    _name = "invariance"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        images: Any,
        transforms: Transforms = None,
        layers: str | Layer | Iterable[str | Layer] | None = None,
        *,
        fill: Any = "mean",
        **traits: Unpack[InvarianceOptions],
    ) -> None:
        if transforms is None:
            channels = net.input_shape[0]
            needs = {"hue": (3,), "jpeg": (1, 3)}
            transforms = [name for name in KINDS if channels in needs.get(name, (channels,))]
        chosen = chosen_layers(net, layers)
        if layers is None:
            places = np.linspace(0, max(len(chosen) - 2, 0), min(LAYERS, len(chosen)))
            chosen = tuple(dict.fromkeys(chosen[round(float(place))] for place in places))
        super().__init__(
            net,
            images=Images.of(images),
            transforms=checked_transforms(transforms, net.input_shape),
            layers=chosen,
            fill=fill,
            **traits,
        )
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for these charts.
        from ._invariance_curves import InvarianceCurves

        self.curves = InvarianceCurves(self)
        self._put_beneath(self.curves.box, self.curves.close)

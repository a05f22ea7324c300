"""The paper's linked panels: what the network predicts for every position of the occluder."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_core.network import Network
from convscope_core.occlusion import Fill, Shape

from ._layers import convolutions
from ._static import bundle
from .occluder import Occluder
from .panes.maps import MapsPane, usual_stride

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import OcclusionMapOptions

__all__ = ["OcclusionMap"]


class OcclusionMap(MapsPane, Occluder):
    """Slide an occluder over the whole picture: four linked panels.

    The picture with the occluder | the activity of one unit of a layer | the probability of a class | the most probable
    class, each for every position of the occluder. Hovering one panel marks the place on all; a click puts the
    occluder there. The maps come from coarse to fine while one looks; until the first exact values are there, a
    first-order estimate is shown and marked "preview". Choosing another class or another unit of the layer computes
    nothing again.

    The occluder itself is that of `Occluder`: drag it, resize it, change its fill or shape; the maps follow. The last
    few are kept, finished or not, so that going back costs nothing.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    size : int or (int, int), optional
        Side, or height and width, of the occluder, px of the network's input. Default: the paper's 50, and 50/224 of
        the shorter side on inputs of less than 100 px.
    stride : int or (int, int), optional
        Distance of neighbouring positions, px. Default: the paper's 6, on small inputs the same share of the picture.
    fill, shape
        Of the occluder; see `Occluder`.
    target : int, str or None, optional
        Class to follow; by default the most probable of the clean picture.
    layer : str, optional
        Layer of which one unit's activity is shown. Default: the last convolution with feature maps.
    channel : int, optional
        The unit. Default: the one with the greatest activity for the clean picture.
    **traits
        Further traits: `position`, `colormap`.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    LayerError, ArgumentError, traitlets.TraitError
        If an option is out of range; the message states what was expected.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, ECCV 2014, section 4.2, fig. 7.

    Examples
    --------
    >>> maps = cs.OcclusionMap(net, "dog.jpg")      # doctest: +SKIP
    >>> maps.wait(None)                             # doctest: +SKIP
    >>> maps.result.save("dog.safetensors")         # doctest: +SKIP
    """

    _name = "map"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        image: Any,
        size: int | tuple[int, int] | None = None,
        stride: int | tuple[int, int] | None = None,
        fill: Fill = "grey",
        target: int | str | None = None,
        layer: str | None = None,
        *,
        channel: int | None = None,
        shape: Shape = "square",
        **traits: Unpack[OcclusionMapOptions],
    ) -> None:
        if stride is None:
            stride = usual_stride(*net.input_shape[1:])
        if layer is None:
            layer = next((one.name for one in reversed(convolutions(net))), "")
        super().__init__(
            net, image=image, target=target, size=size, shape=shape, fill=fill, stride=stride, layer=layer,
            channel=channel, **traits,
        )  # fmt: skip
        self.start()

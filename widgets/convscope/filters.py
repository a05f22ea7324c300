"""The filter grid: every unit (filter) of a layer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_core.network import Network
from convscope_core.survey import Survey

from ._layers import last_convolution
from ._static import bundle
from .panes.grid import GridPane
from .panes.pictures import one_picture

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import FilterGridOptions

__all__ = ["FilterGrid"]


class FilterGrid(GridPane):
    """All units (filters) of a layer, each as its feature map on a picture.

    One canvas holds every tile and paints only what is in sight, so that thousands of units scroll smoothly; colour
    map, scale, order and search are the browser's work alone. Arrow keys move the selection, plus and minus change the
    size of the tiles, a slash goes to the search.

    Parameters
    ----------
    net : Network
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    layer : str, optional
        Name of a layer (see ``net.layers``); by default the last convolution.
    survey : Survey, optional
        From `survey`; adds the best patches and orders by what the units did over all its pictures.
    **traits
        Initial traits: `selected`, `colormap`, `scale`, `order`, `show`, `label`, `lens`.

    Raises
    ------
    LayerError
        If the network has no such layer; the message lists close matches.
    ImageError
        If the picture cannot be read.
    """

    _name = "filters"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        image: Any,
        layer: str | None = None,
        survey: Survey | None = None,
        **traits: Unpack[FilterGridOptions],
    ) -> None:
        images = one_picture(net, image)
        super().__init__(net, images=images, survey=survey, layer=layer or last_convolution(net), **traits)

"""The occluder: a square dragged over the picture, and the class probabilities that follow it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_core.datasets import Images
from convscope_core.network import Network
from convscope_core.occlusion import Fill, Shape

from ._static import bundle
from .panes.occluder import OccluderPane
from .panes.pictures import one_picture

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import OccluderOptions

__all__ = ["Occluder"]


class Occluder(OccluderPane):
    """Drag a square over a picture and watch the class probability follow.

    The picture is shown as the network sees it; positions and sizes are in its pixels. The square can be dragged and
    resized by mouse, pen or touch, and by keyboard: arrows move it (with Shift by ten), plus and minus resize it; any
    other shape can be drawn. Each frame computes only what the occluder can change; while one is under way only the
    newest position waits, so the picture never lags behind the pointer by more than one frame, and the last position is
    always computed. Where the occluder has been is coloured by the probability there: a map that grows with the drag.

    Parameters
    ----------
    net : Network
        From `load`, or a module wrapped by `Network`.
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    target : int, str or None, optional
        Class to follow, by index or label; by default the most probable class of the clean picture.
    size : int or (int, int), optional
        Side, or height and width, of the occluder, px of the network's input. Default: 50, and 50/224 of the shorter
        side on inputs of less than 100 px.
    shape : {"square", "ellipse"}, outline or mask, default "square"
        An outline is a closed polygon of (row, column) points in 0..1 of the occluder's box; a mask a bool array.
    fill : {"grey", "mean", "blur", "noise", "inpaint"}, colour or picture, default "grey"
        See `convscope_core.occlusion.Occlusion`.
    **traits
        Further traits: `position`, `show_trail`.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    traitlets.TraitError, ArgumentError
        If an option is out of range; the message states what was expected.

    Notes
    -----
    Zeiler & Fergus 2014, Fig. 7 (ECCV Fig. 6), use a grey square of 50 px on a picture of 224 px.

    Examples
    --------
    >>> occluder = cs.Occluder(net, "dog.jpg")          # doctest: +SKIP
    >>> occluder.observe(print, "probability")          # doctest: +SKIP
    """

    _name = "occluder"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        image: Any,
        target: int | str | None = None,
        size: int | tuple[int, int] | None = None,
        shape: Shape = "square",
        fill: Fill = "grey",
        **traits: Unpack[OccluderOptions],
    ) -> None:
        images = one_picture(net, image)  # an unreadable picture is an error here, not in the widget
        super().__init__(net, images=images, target=target, size=size, shape=shape, fill=fill, **traits)

    @property
    def image(self) -> Any:
        """The picture; set it to put another one under the occluder."""
        return self.images[0].image

    @image.setter
    def image(self, image: Any) -> None:
        images = one_picture(self.net, image)
        # The others are fills.
        self.images = images + Images.of(self.images[1:]) if len(self.images) > 1 else images
        with self.hold_sync():
            self._list_pictures()
            self._revision += 1
        self._follow(None)

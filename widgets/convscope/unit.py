"""The unit panel: what one filter responds to."""

from __future__ import annotations

from typing import Any

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.survey import Survey

from ._instrument import bundle, require_network
from .filters import FilterPart, last_convolution

__all__ = ["UnitPanel"]


class UnitPanel(FilterPart):
    """The patches that activate one unit most and, in the same order, what the unit picked out of each.

    As in figure 2 of Zeiler & Fergus (2014): nine crops to the unit's receptive field, and the nine projections of
    those activations down to the pictures. Each patch shows the picture that it comes from.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or Survey, optional
        Pictures to look through in the background (see `Images.of`), or a finished survey. May be left out where
        `survey` is given.
    layer : str, optional
        By default the last convolution.
    channel : int, default 0
        The unit; the trait `selected` afterwards.
    survey : Survey, optional
        From `survey`. nothing is computed then.
    k : int, default 9
        Patches to show, when the panel makes the survey itself.
    **traits
        Initial traits: `method`, `contrast`.

    Raises
    ------
    ArgumentError
        If there are neither pictures nor a survey.
    LayerError
        If the network has no such layer.
    """

    _name = "unit"
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        images: Any = None,
        layer: str | None = None,
        channel: int = 0,
        survey: Survey | None = None,
        k: int = 9,
        **traits: Any,
    ) -> None:
        require_network(net)
        if isinstance(images, Survey):
            images, survey = None, images
        if images is None and survey is None:
            raise ArgumentError(
                "expected pictures to look through, or a survey: UnitPanel(net, 'photos/') or "
                "UnitPanel(net, survey=cs.survey(net, 'photos/'))"
            )
        pictures = survey.images if survey is not None else Images.of(images)
        # Pictures are not listed by name in the front end: a survey may have very many.
        super().__init__(net, None, survey=survey, layer=layer or last_convolution(net), selected=channel, **traits)
        if survey is None:
            self.start_survey(pictures, k)

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        top = self._surveyed().top(self.layer, self.selected or 0)
        return [
            ("unit", {"layer": self.layer, "channel": self.selected or 0}),
            ("projections", {"layer": self.layer, "channel": self.selected or 0}),
            *[("whole", {"picture": image}) for image in {one.image for one in top}],
        ]

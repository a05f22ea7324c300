"""The unit panel: what one filter responds to."""

from __future__ import annotations

from typing import Any

import ipywidgets

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
    those activations down to the pictures. Each patch shows the picture that it comes from, and its file. Besides: the
    classes that the unit prefers, pictures from a random sample that excite it less, units that are active on the same
    pictures, and how strongly it responds to all of them.

    Displayed by itself the panel brings the histogram along (`box` holds both); inside a layout of your own it is the
    panel alone.

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

    Attributes
    ----------
    survey : Survey or None
        The survey behind the panel; grows while it is made.
    histogram : Histogram
        The largest activation in every picture, and where the top ones lie among them; with its bqplot figure.
    box : ipywidgets.VBox
        The panel with the chart beneath.

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
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for this one chart.
        from ._histogram import Histogram

        self.histogram = Histogram(self)
        self.box = ipywidgets.VBox([self, self.histogram.figure], layout={"width": "100%"})
        if survey is None:
            self.start_survey(pictures, k)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.box._repr_mimebundle_(**kwargs)

    def close(self) -> None:
        """Close the panel and the chart; the thread ends and the tensors are freed."""
        if hasattr(self, "box"):
            self.histogram.close()
            self.box.close()
        super().close()

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        top = self._surveyed().top(self.layer, self.selected or 0)
        return [
            ("unit", {"layer": self.layer, "channel": self.selected or 0}),
            ("projections", {"layer": self.layer, "channel": self.selected or 0}),
            ("weaker", {"layer": self.layer, "channel": self.selected or 0}),
            *[("whole", {"picture": image}) for image in {one.image for one in top}],
        ]

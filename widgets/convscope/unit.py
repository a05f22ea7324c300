"""The unit panel: what one unit (filter) responds to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_core.network import Network
from convscope_core.survey import Survey

from ._charted import Charted
from ._layers import last_convolution
from ._static import bundle
from .panes.survey import pictures_or_survey
from .panes.unit import UnitPane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import UnitOptions

__all__ = ["UnitPanel"]


class UnitPanel(UnitPane, Charted):
    """The patches that activate one unit most and, in the same order, what the unit picked out of each.

    As in figure 2 of Zeiler & Fergus (2014): nine crops to the unit's receptive field, and the nine projections of
    those activations down to the pictures. Each patch shows the picture that it comes from, and its file. Beside them:
    the classes that the unit prefers, pictures from a random sample that excite it less, units that are active on the
    same pictures, and how strongly it responds to all of them.

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
        From `survey`. Nothing is computed then.
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
        **traits: Unpack[UnitOptions],
    ) -> None:
        pictures, survey = pictures_or_survey(type(self).__name__, images, survey)
        super().__init__(net, survey=survey, layer=layer or last_convolution(net), selected=channel, **traits)
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for this one chart.
        from ._histogram import Histogram

        self.histogram = Histogram(self)
        self._put_beneath(self.histogram.figure, self.histogram.close)
        if survey is None:
            self.start_survey(pictures, k)

"""The health of a network's layers at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convscope_core.network import Network
from convscope_core.survey import Survey

from ._static import bundle
from .panes.health import HealthPane
from .panes.survey import pictures_or_survey

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import HealthOptions

__all__ = ["HealthView"]


class HealthView(HealthPane):
    """Which units (filters) of each layer are dead, rarely active or repeat another, and which saturate.

    A row for each layer with its shares; a click, or Enter, chooses one and lists its dead, rarely active and repeated
    units, of which a click chooses one (`selected`). The numbers are those of `layer_health`.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or Survey, optional
        Pictures to look through in the background (see `Images.of`), or a finished survey. May be left out where
        `survey` is given.
    survey : Survey, optional
        From `survey`. Nothing is computed then.
    **traits
        Initial traits: `layer`, `selected`.

    Raises
    ------
    ArgumentError
        If there are neither pictures nor a survey.
    LayerError
        If the network has no such layer.

    Examples
    --------
    >>> view = cs.HealthView(net, survey=survey)
    >>> grid = cs.FilterGrid(net, "dog.jpg", survey=survey, show="dead")
    >>> ipywidgets.link((view, "layer"), (grid, "layer"))
    >>> ipywidgets.link((view, "selected"), (grid, "selected"))
    """

    _name = "health"
    _esm = bundle(_name)

    def __init__(
        self, net: Network, images: Any = None, survey: Survey | None = None, **traits: Unpack[HealthOptions]
    ) -> None:
        pictures, survey = pictures_or_survey(type(self).__name__, images, survey)
        super().__init__(net, survey=survey, **traits)
        if survey is None:
            self.start_survey(pictures)

"""The health of a network's layers at a glance."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import traitlets

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.survey import HealthTable, Survey, layer_health

from ._instrument import bundle, require_network
from ._surveying import SurveyPart

__all__ = ["HealthView"]


class HealthView(SurveyPart):
    """Which filters of each layer are dead, rarely active or say the same as another, and which saturate.

    A row for each layer with its shares; a click, or Enter, chooses one. The numbers are those of `layer_health`.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or Survey, optional
        Pictures to look through in the background (see `Images.of`), or a finished survey. May be left out where
        `survey` is given.
    survey : Survey, optional
        From `survey`. Nothing is computed then.
    **traits
        Initial traits: `layer`.

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
    """

    _name = "health"
    _esm = bundle(_name)

    layer = traitlets.Unicode().tag(sync=True)
    """str: name of the chosen layer; empty for none."""

    _health = traitlets.List(traitlets.Dict()).tag(sync=True)

    def __init__(self, net: Network, images: Any = None, survey: Survey | None = None, **traits: Any) -> None:
        require_network(net)
        if isinstance(images, Survey):
            images, survey = None, images
        if images is None and survey is None:
            raise ArgumentError(
                "expected pictures to look through, or a survey: HealthView(net, 'photos/') or "
                "HealthView(net, survey=cs.survey(net, 'photos/'))"
            )
        super().__init__(net, None, survey=survey, **traits)
        if survey is None:
            self.start_survey(Images.of(images))

    @property
    def table(self) -> HealthTable:
        """HealthTable: the numbers behind the rows; ArgumentError before the first picture has been seen."""
        return layer_health(self._surveyed())

    @traitlets.validate("layer")
    def _known_layer(self, proposal: Any) -> str:
        return self.net.layer(proposal["value"]).name if proposal["value"] else ""

    def _show(self, state: str, done: int, total: int, left: float | None = None, fresh: bool = True) -> None:
        if fresh and self.survey is not None:
            rows = [dataclasses.asdict(row) for row in layer_health(self.survey)]
            self._health = [
                # JSON has no NaN.
                {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
                for row in rows
            ]
        super()._show(state, done, total, left, fresh)

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return []  # all of it is in the traits

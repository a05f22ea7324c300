"""An instrument with a chart of bqplot's beneath."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from ._instrument import Instrument
from ._parts import displayed

__all__ = ["Charted"]


class Charted(Instrument):
    """Displayed by itself the instrument shows `box`; inside a layout of your own it is the panes alone.

    Attributes
    ----------
    box : ipywidgets.VBox
        The panes with the chart beneath.
    """

    box: ipywidgets.VBox

    def _put_beneath(self, figure: Any | None, close: Callable[[], None]) -> None:
        """Make the box. `close` ends what draws the figure, and the figure."""
        self._close_chart = close
        self.box = ipywidgets.VBox([self] if figure is None else [self, figure], layout={"width": "100%"})
        self.box.add_class("cs-box")
        if figure is not None:  # one frame around both
            self._announce_chart(True)
            self.box.add_class("cs-charted")
            self.box.add_class(f"cs-charted--{self._name}")

    def _announce_chart(self, there: bool) -> None:
        """Tell the front end whether there is a chart, which draws it where bqplot does not."""
        (self.box.add_class if there else self.box.remove_class)("cs-has-chart")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self._with_still(displayed(self.box, **kwargs))

    def close(self) -> None:
        """Close the panes and the chart; the thread ends and the tensors are freed."""
        if hasattr(self, "box"):
            self._close_chart()
            self.box.layout.close()
            self.box.close()
        super().close()

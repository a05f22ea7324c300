"""What is kept in sight while something else is looked at: a unit and its value, a picture's classes."""

from __future__ import annotations

from convscope._instrument import Answer, Content, Parts
from convscope._wire import Whole, fields

from .here import HerePane
from .unit import UNIT, UnitPane

__all__ = ["PinPane"]

#: Classes of a pinned picture.
CLASSES = 3


class PinPane(HerePane, UnitPane):
    """A unit or a picture that is pinned beside the present one.

    What is pinned may not have come when another unit is selected, whose requests take the place of its own: the page
    asks for it by kinds of its own.
    """

    @UNIT
    def _answer_pinning(self, content: Content) -> Answer:
        return self._answer_unit(content)

    @UNIT
    def _answer_pinned_projections(self, content: Content) -> Parts:
        return self._answer_projections(content)

    @fields(channel=Whole())
    def _answer_pinned_unit(self, content: Content) -> Answer:
        """How strong a unit is on the current picture, with the occluder on it, and where."""
        seen = self._seen(content)
        return {**seen.of, **seen.strongest}, []

    def _answer_pinned_picture(self, content: Content) -> Answer:
        """The most probable classes of a picture."""
        picture = self._current(content)
        prediction = self._acting_net.predict(picture.image)
        classes = [[label, probability] for label, probability in prediction.top(CLASSES)]
        return {"picture": content.get("picture", self.picture), "name": picture.name, "classes": classes}, []

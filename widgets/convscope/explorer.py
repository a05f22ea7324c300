"""The whole microscope: pictures and occluder, layers and units, with one selection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import traitlets

from convscope_core.datasets import Images, Picture, sample_images
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.survey import Survey

from ._charted import Charted
from ._instrument import Content, Request
from ._job import Step
from ._layers import middle
from ._static import bundle
from ._wire import Whole, fields
from .panes.detail import DetailPane
from .panes.grid import GridPane
from .panes.pictures import StripPane, same_picture
from .panes.pin import PinPane
from .panes.silence import SilencePane
from .panes.unit import UnitPane

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ._options import ExplorerOptions

__all__ = ["Explorer"]

#: A survey that the explorer makes by itself looks at this many pictures at most.
SURVEYED = 256


class Explorer(DetailPane, PinPane, SilencePane, StripPane, GridPane, UnitPane, Charted):
    """Put a network under the microscope.

    Left: the pictures, the occluder on the current one, class probabilities before and after. Top: the layers. Middle:
    every unit (filter) of the chosen layer. Right: the chosen unit, with the patches that activate it most, what it
    picked out of each, and what it picks out of the current picture. Beneath: how the probability of the target went
    during the drag (folded away until its button is pressed). Pictures can be added by dropping or pasting them.

    The panes are one widget, so that selection and hovering link without the kernel. Displayed by itself the explorer
    brings the chart along (`box` holds both); inside a layout of your own it is the panes alone.

    Parameters
    ----------
    net : Network
    images : folder, list, data set or single picture, optional
        The pictures at hand (see `Images.of`); by default `sample_images`, whose crops are surveyed (`Images.crops`).
    survey : Survey, optional
        From `survey`. By default the pictures at hand are surveyed in the background: at most 256 of them, evenly
        spaced.
    layer : str, optional
        The layer to open on; by default a convolution in the middle of the network.
    k : int, default 9
        Patches a unit, when the explorer makes the survey itself.
    **traits
        Initial traits: `picture`, `position`, `size`, `shape`, `fill`, `target`, `selected`, `silenced`, `colormap`,
        `scale`, `order`, `show`, `label`, `lens`, `method`, `contrast`, `show_trail`, `show_history`.

    Attributes
    ----------
    survey : Survey or None
        The survey behind the unit panel; grows while it is made.
    history : History
        Probabilities of the target, frame by frame, and their bqplot figure.
    box : ipywidgets.VBox
        The panes with the chart beneath.

    Raises
    ------
    ImageError
        If there are no pictures, or the one of `picture`, or where that is not given each of the first 48, cannot be
        read. Of others those that cannot be read are skipped, and named beneath the strip.
    LayerError
        If the network has no such layer.
    """

    _name = "explorer"
    _esm = bundle(_name)

    show_history = traitlets.Bool(False).tag(sync=True)
    """bool: whether `box` shows the chart of the drag beneath the panes."""

    #: The pictures of a survey that is the explorer's own.
    _growth: Growth | None = None

    def __init__(
        self,
        net: Network,
        images: Any = None,
        survey: Survey | None = None,
        layer: str | None = None,
        k: int = 9,
        **traits: Unpack[ExplorerOptions],
    ) -> None:
        pictures = sample_images() if images is None else Images.of(images)
        if "picture" in traits:
            net.prepare(pictures[int(traits["picture"])].image)
        super().__init__(net, images=pictures, survey=survey, layer=layer or middle(net), **traits)
        surveyed = pictures.crops(overlap=0) if images is None else pictures
        self._growth = Growth(surveyed) if survey is None else None
        # bqplot brings pandas along: a tenth of the time of `import convscope`, for this one chart.
        from ._history import History

        self.history = History(self)
        self._put_beneath(None, self.history.close)
        self._show_history()
        if survey is None:
            self.start_survey(surveyed, k, indices=in_turns(spaced(len(surveyed), SURVEYED)))

    @traitlets.observe("show_history")
    def _show_history(self, _change: Any = None) -> None:
        if hasattr(self, "box"):
            self.box.children = [self, self.history.figure] if self.show_history else [self]
            self._announce_chart(self.show_history)

    @traitlets.observe("_pictures", "_survey")
    def _follow_pictures(self, _change: Any) -> None:
        """Let a survey of one's own be of the pictures at hand; one that was given stays what it is."""
        if self._growth is None:
            return
        if self._growth.of_given is None and self._survey["state"] == "done":
            self._growth.of_given = self.survey
        given = len(self.images) - len(self._added)
        added = dict(zip(self._added, self.images[given:], strict=True))
        if self._growth.of_given is None or not self._growth.changes(added):
            return
        before = self._growth.of_given
        if added:
            self.start_survey(self._growth.images, indices=self._growth.places, start=before)
        else:
            count = int(before.seen.sum())
            self._survey_job.start(self._survey_back(before), count, count)

    def _survey_back(self, survey: Survey) -> Iterator[Step]:
        self.survey = survey
        yield Step(int(survey.seen.sum()), int(survey.seen.sum()), state="done")

    @fields(image=Whole())
    def _take_look(self, content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("look", lambda: self._guarded("look", lambda: self._look(content["image"])))

    def _look(self, image: int) -> None:
        """Put a picture of the survey under the occluder."""
        surveyed, given = self._surveyed().images, len(self.images) - len(self._added)
        if not 0 <= image < len(surveyed):
            raise ArgumentError(f"Expected image, an index from 0 to {len(surveyed) - 1}, got {image}.")
        picture = surveyed[image]
        # A data set makes its pictures anew each time: what has one name at one place is one picture.
        here = self.images[image] if image < given else None
        if here is not None and (here.name, here.label, here.path) == (picture.name, picture.label, picture.path):
            self.picture = image
        else:
            self._show(picture)

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        figures = super()._figures()
        return {"unit": figures["unit"], **figures}

    @property
    def address(self) -> str:
        """str: the selected unit as ``network/layer/unit``; set it to go to another."""
        return "/".join([self.net.name, self.layer, *([] if self.selected is None else [str(self.selected)])])

    @address.setter
    def address(self, address: str) -> None:
        names = {layer.name for layer in self.net.layers}
        parts = address.strip().split("/")
        at = next((index for index, part in enumerate(parts) if part in names), None)
        if at is None or len(parts) > at + 2 or (len(parts) == at + 2 and not parts[at + 1].isdigit()):
            raise ArgumentError(
                f"Expected an address such as {self.net.name}/{self.layer}/0 (network/layer/unit), got {address!r}."
            )
        with self.hold_sync():
            self.selected = None
            self.layer = parts[at]
            self.selected = int(parts[at + 1]) if len(parts) == at + 2 else None

    def _snapshot(self) -> list[Request]:
        if self.selected is None:  # as the front end does, so that there is something to look at
            maps = self._acting_net.activations(self._current().image, [self.layer])[self.layer]
            self.selected = int(maps[0].flatten(1).amax(1).argmax())
        return super()._snapshot()


class Growth:
    """The pictures of a survey to which others are added, and from which they are removed: places in it stay.

    Parameters
    ----------
    given : Images
        The first of them, which remain.

    Attributes
    ----------
    images : Images
        All that there ever were; one that comes again has the place that it had.
    places : list of int
        Which of them were added and are at hand.
    of_given : Survey or None
        Of the given ones, once it is made.
    """

    def __init__(self, given: Images) -> None:
        self.images = given
        self.places: list[int] = []
        self.of_given: Survey | None = None
        self._given = len(given)
        self._known: dict[int, int] = {}

    def changes(self, added: Mapping[int, Picture]) -> bool:
        """Note which pictures are at hand beside the given, by numbers of their own; whether they are others by now."""
        for number in added.keys() - self._known.keys():
            self._known[number] = self._place(added[number])
        places = {self._known[number] for number in added}
        before, self.places = self.places, sorted(place for place in places if place >= self._given)
        return self.places != before

    def _place(self, picture: Picture) -> int:
        # A patch of a crop puts the crop under the occluder, which is one of the given.
        for place in range(0 if self.images.cropped else self._given, len(self.images)):
            if same_picture(self.images[place], picture):
                return place
        self.images = self.images + Images.of([picture])
        return len(self.images) - 1


def spaced(count: int, most: int) -> range | list[int]:
    """At most `most` indices of `count` pictures, evenly spaced, so that every folder has its share."""
    return range(count) if count <= most else [(index * count) // most for index in range(most)]


def in_turns(indices: Sequence[int]) -> list[int]:
    """The same indices, first every seventh, so that what is found soon is of pictures from everywhere."""
    return [index for turn in range(7) for index in indices[turn::7]]

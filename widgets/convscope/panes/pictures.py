"""The pictures at hand, and which of them is looked at."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import PIL.Image
import torch
import traitlets

from convscope._instrument import Answer, Content, Instrument, Request, framed
from convscope._still import Strip
from convscope._wire import Choice, Whole, fields
from convscope_core.contents import digest_of
from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.graph.geometry import Box
from convscope_core.network import Layer, Network
from convscope_core.render import crop
from convscope_core.wordnet import class_name

__all__ = ["PicturesPane", "StripPane", "first_readable", "one_picture", "readable", "same_picture", "thumbnails"]

#: Side of a thumbnail, px; and how many the strip shows.
THUMBNAIL_SIDE = 84
STRIP = 48

#: Pictures that are no files. Those of a data set, and crops, are made anew each time.
PIXELS = (PIL.Image.Image, np.ndarray, torch.Tensor)


class PicturesPane(Instrument):
    """The pictures at hand; the front end can add more.

    Parameters
    ----------
    images : Images
        The pictures at hand.
    """

    picture = Whole(0).tag(sync=True)
    """int: index of the current picture among `images`."""

    _pictures: traitlets.List = traitlets.List().tag(sync=True)

    #: Counts changes that the front end cannot see (another picture under the same number), which then asks again.
    _revision = Whole(0).tag(sync=True)

    def __init__(self, net: Network, *, images: Images, **options: Any) -> None:
        self.images = images
        # Of equal names none says which class it is.
        counts = Counter(net.labels)
        self._classes = {name: index for index, name in enumerate(net.labels) if counts[name] == 1}
        self._uploads = itertools.count()
        #: Of those that were added, at the end of the pictures at hand: numbers that they keep, however they move.
        self._added: list[int] = []
        self._additions = itertools.count()
        self._list_pictures()
        super().__init__(net, **options)

    def _list_pictures(self) -> None:
        """Tell the front end which pictures there are."""
        given = len(self.images) - len(self._added)
        numbers: list[dict[str, int]] = [{}] * given + [{"added": number} for number in self._added]
        self._pictures = [
            {"name": picture.name, **self._class_of(picture.label), **number}
            for picture, number in zip(self.images, numbers, strict=True)
        ]

    def _class_of(self, label: str | None) -> dict[str, Any]:
        """A picture's label by its name, and which of the network's classes that is, if it is one."""
        if label is None:
            return {"label": None, "class": None}
        name = class_name(label)
        return {"label": name, "class": self._classes.get(name)}

    def _append(self, added: Images) -> None:
        """Put pictures at the end of those at hand, from where they can be removed."""
        self.images = Images.of(self.images) + added
        self._added = [*self._added, *itertools.islice(self._additions, len(added))]
        self._list_pictures()

    @traitlets.validate("picture")
    def _existing_picture(self, proposal: Any) -> int:
        index: int = proposal["value"]
        if not 0 <= index < len(self.images):
            raise traitlets.TraitError(f"Expected picture, an index from 0 to {len(self.images) - 1}, got {index}.")
        return index

    def _current(self, content: Content | None = None) -> Picture:
        """The picture that a request is about; by default the current one."""
        index: int = (content or {}).get("picture", self.picture)
        if not 0 <= index < len(self.images):
            raise ArgumentError(f"Expected picture, an index from 0 to {len(self.images) - 1}, got {index}.")
        return self.images[index]

    @property
    def _acting_net(self) -> Network:
        """The network whose answers to the pictures are shown: in a pane that derives units of it may be silenced."""
        return self.net

    def _silent_units(self, layer: Layer) -> list[int]:  # noqa: ARG002  what a pane that derives may need
        """The units of a layer that the acting network holds at zero."""
        return []

    def _goes_below_zero(self, layer: Layer, maps: torch.Tensor, image: Any) -> bool:
        """Whether the layer's maps have colours on either side of zero: silenced units do not change that.

        A sum of products that no activation follows may go below zero on any picture; of others the maps say it, such
        as those of a pooling, which has no activation of its own.
        """
        if layer.activation is None and layer.kind in ("conv", "conv_transpose", "linear"):
            return True
        if bool((maps < 0).any()):
            return True
        if self._acting_net is self.net:
            return False
        return bool((self.net.activations(image, layer.name)[layer.name] < 0).any())

    def _answer_photo(self, content: Content) -> Answer:
        pixels = self.net.picture(self._current(content).image)
        return framed(pixels, content.get("picture", self.picture))

    @fields(name=traitlets.Unicode(), **{"as": Choice(("fill",))})
    def _take_add(self, content: Content, buffers: Sequence[memoryview]) -> None:
        # Each file counts, so that each has a slot of its own.
        slot = f"add {next(self._uploads)}"
        kind = content.get("as") or "add"  # its error stands where it was chosen
        self._worker.submit(slot, lambda: self._guarded(kind, lambda: self._add(content, uploaded(content, buffers))))

    def _add(self, content: Content, picture: Picture) -> None:  # noqa: ARG002  what a pane that derives may need
        """Put a picture that the front end gave at the end, and show it."""
        one_picture(self.net, picture)  # refused here, not at every later use
        self._show(picture)

    def _show(self, picture: Picture) -> None:
        """Look at a picture: at the one at hand that it is, or at the end of them, where it is put."""
        known = next((place for place, one in enumerate(self.images) if same_picture(one, picture)), None)
        if known is not None:
            self.picture = known
            return
        with self.hold_sync():
            self._append(Images.of([picture]))
            self.picture = len(self.images) - 1

    def remove_picture(self, index: int) -> None:
        """Take a picture away that was added: dropped, pasted, picked from a file, or joined as a fill.

        Where it is the current one, the picture before it takes its place.

        Parameters
        ----------
        index : int
            Which of `images`.

        Raises
        ------
        ArgumentError
            If there is no such picture, or the instrument was made with it: others are counted from those.
        """
        given = len(self.images) - len(self._added)
        place: Any = index
        if isinstance(place, bool) or not isinstance(place, (int, np.integer)) or not given <= place < len(self.images):
            kept = f"{given} to {len(self.images) - 1}" if self._added else "of which there is none"
            raise ArgumentError(
                f"Expected a picture that was added, {kept}, got {index!r}. Those given at the start stay."
            )
        with self.hold_sync(), self.hold_trait_notifications():
            self.images = self.images[:index] + self.images[index + 1 :]
            self._added = [number for place, number in enumerate(self._added, given) if place != index]
            self._list_pictures()
            self._renumber(int(index))
            self._revision += 1

    def _renumber(self, removed: int) -> None:
        """Let traits that count pictures follow when one is removed: those after it move up by one."""
        if self.picture >= removed:
            self.picture -= 1

    @fields(added=Whole(min=0))
    def _take_remove(self, content: Content, _buffers: Sequence[memoryview]) -> None:
        number = content["added"]

        def remove() -> None:
            # Twice the same, from two views: the second finds it gone.
            if number in self._added:
                self.remove_picture(len(self.images) - len(self._added) + self._added.index(number))

        self._worker.submit(f"remove {number}", lambda: self._guarded("remove", remove))

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("photo", {"picture": self.picture})]

    def _strips(self) -> list[Strip]:
        picture = self._current()
        return [Strip(picture.name, [self.net.picture(picture.image)], 224), *super()._strips()]


class StripPane(PicturesPane):
    """The pictures at hand as a strip of thumbnails; by default the first that can be read is looked at."""

    def __init__(self, net: Network, *, images: Images, **options: Any) -> None:
        if "picture" not in options:
            options["picture"] = self._first_readable(net, images)
        super().__init__(net, images=images, **options)

    def _first_readable(self, net: Network, images: Images) -> int:
        return first_readable(net, images)

    def _answer_thumbnails(self, _content: Content) -> Answer:
        """The first pictures, and those that were added, however many there are before them."""
        given = len(self.images) - len(self._added)
        shown = [*range(min(given, STRIP)), *range(given, len(self.images))[-STRIP:]]
        return thumbnails(shown, lambda index: self.net.picture(self.images[index].image))

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("thumbnails", {})]


def same_picture(one: Picture, other: Picture) -> bool:
    """Whether two pictures are one: the same object, the same file, or files or pixels of the same content."""
    if one.image is other.image or (one.path is not None and one.path == other.path):
        return True
    if isinstance(one.image, PIXELS) and isinstance(other.image, PIXELS):
        return one.name == other.name and digest_of(one.image) == digest_of(other.image)
    sizes = file_size(one), file_size(other)
    return sizes[0] is not None and sizes[0] == sizes[1] and file_content(one) == file_content(other)


def file_size(picture: Picture) -> int | None:
    """Bytes of a picture's file; None where it is none, or cannot be read."""
    if isinstance(picture.image, bytes):
        return len(picture.image)
    try:
        return None if picture.path is None else picture.path.stat().st_size
    except OSError:
        return None


def file_content(picture: Picture) -> bytes | None:
    """What is in a picture's file."""
    if isinstance(picture.image, bytes):
        return picture.image
    try:
        return None if picture.path is None else picture.path.read_bytes()
    except OSError:
        return None


def first_readable(net: Network, images: Images, *others: Network) -> int:
    """Return the index of the first picture, of those in the strip, that the network, or all of several, can take.

    Raises
    ------
    ImageError
        If it can take none of them; of the first.
    """
    refused: ImageError | None = None
    for index in range(min(len(images), STRIP)):
        try:
            for one in (net, *others):
                one.prepare(images[index].image)
        except ImageError as error:
            refused = refused or error
        else:
            return index
    raise refused or ImageError("Expected at least one picture, got none.")


def one_picture(net: Network, image: Any) -> Images:
    """A picture, checked to be one that the network can take; bytes are refused by the name of their file."""
    images = Images.of([image])
    try:
        net.prepare(images[0].image)
    except ImageError as error:
        if not (isinstance(image, Picture) and isinstance(image.image, bytes)):
            raise
        raise ImageError(str(error).replace(", got ", f", got {image.name}: ", 1)) from error
    return images


def uploaded(content: Content, buffers: Sequence[Any]) -> Picture:
    """A picture file that the front end gave."""
    if not buffers:
        raise ArgumentError("Expected a picture to add, got a message without its file. Reload the page.")
    return Picture(bytes(buffers[0]), name=content.get("name") or "pasted picture", label=None, path=None)


def readable(indices: Iterable[int], pixels: Callable[[int], np.ndarray]) -> tuple[dict[int, np.ndarray], Content]:
    """Pictures by index, and how the front end is told which of them those are, and why others cannot be read."""
    found: dict[int, np.ndarray] = {}
    unread: dict[str, str] = {}
    for index in indices:
        try:
            found[index] = pixels(index)
        except ImageError as error:  # of the others there is something to be seen
            unread[str(index)] = str(error)
    return found, {"count": len(found), "pictures": list(found), "unread": unread}


def thumbnails(indices: Iterable[int], pixels: Callable[[int], np.ndarray]) -> Answer:
    """Thumbnails of those pictures that can be read; see `readable`."""
    tiles, told = readable(indices, lambda index: thumbnail(pixels(index), THUMBNAIL_SIDE))
    return {"side": THUMBNAIL_SIDE, **told}, [b"".join(tile.tobytes() for tile in tiles.values())]


def thumbnail(pixels: np.ndarray, side: int) -> np.ndarray:
    """The centre square of an RGB picture, `side` px."""
    height, width = pixels.shape[:2]
    half = min(height, width)
    top, left = (height - half) // 2, (width - half) // 2
    return crop(pixels, Box(top, left, top + half, left + half), side=side)

"""An occluder on pictures, and what one network says of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

from convscope_core.network import Network, Prediction
from convscope_core.occlusion import Occlusion

from .comparison import ROWS, compared
from .shapes import ShapeValue, core_shape
from .threads import FrameThreads
from .trail import Trail

__all__ = ["LiveOccluder", "Setting"]

#: Occlusions that are kept, so that going back and forth between two fills or pictures costs nothing.
KEPT = 4


class Setting(NamedTuple):
    """What is asked about an occluder, but for its place."""

    picture: int
    fill: str
    shape: ShapeValue
    size: int | tuple[int, int]
    target: int | None


class LiveOccluder:
    """What a network says of pictures under an occluder: the last few occlusions, and where it has been.

    Attributes
    ----------
    net : Network
    kept : dict
        Occlusions by revision, picture, fill and shape.
    trail : Trail
    threads : FrameThreads
    last : tuple of tuple and dict, or None
        What was computed last, and of what.
    top : list of (str, float)
        The most probable classes then.
    """

    def __init__(self, net: Network) -> None:
        self.net = net
        self.kept: dict[tuple[Any, ...], Occlusion] = {}
        self.trail = Trail()
        self.threads = FrameThreads(net.device)
        self.last: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self.top: list[tuple[str, float]] = []

    def occlusion(
        self,
        place: tuple[int, int],
        fill: str,
        shape: ShapeValue,
        image: Callable[[], Any],
        core_fill: Callable[[str], Any],
    ) -> Occlusion:
        """The occlusion of a picture, of which `place` is the revision and the index."""
        key = (*place, fill, shape)
        occlusion = self.kept.get(key)
        if occlusion is None:
            of_picture = next((one for known, one in self.kept.items() if known[:2] == place), None)
            looks = {"fill": core_fill(fill), "shape": core_shape(shape)}
            if of_picture is not None:  # the clean picture's prediction is shared
                occlusion = of_picture.replace(**looks)
            else:
                occlusion = Occlusion(self.net, image(), **looks)
            while len(self.kept) >= KEPT:
                self.kept.pop(next(iter(self.kept)))
            self.kept[key] = occlusion
        return occlusion

    def frame(
        self,
        revision: int,
        setting: Setting,
        occlusion: Occlusion,
        position: tuple[int, int],
        whole: Prediction | None = None,
    ) -> dict[str, Any]:
        """What the network says with the occluder at a place, as the front end shows it; see `compared` for `whole`."""
        picture, fill, shape, size, target = setting
        position = occlusion.clip(position, size)
        key = (revision, *setting, position)
        if self.last is not None and self.last[0] == key:
            return self.last[1]
        start = time.perf_counter()
        with self.threads.chosen((picture, fill, shape, size)):
            now: Prediction = occlusion.predict(position, size)
        scores = compared(occlusion.clean, now, target, whole)
        frame = {
            "picture": picture,
            "position": list(position),
            "size": list(size) if isinstance(size, tuple) else size,
            **scores,
            "milliseconds": 1000 * (time.perf_counter() - start),
            "trail": self.trail.visit((revision, *setting), position, scores["target"]["now"]),
        }
        self.last, self.top = (key, frame), now.top(ROWS)
        return frame

    def forget(self) -> None:
        """Drop cached tensors."""
        self.kept.clear()
        self.last = None

"""The occluder: a square dragged over the picture, and the class probabilities that follow it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import traitlets

from convscope_core.datasets import Images
from convscope_core.network import Network, Prediction
from convscope_core.occlusion import Occlusion, clip, fill_name

from ._instrument import Answer, Instrument, framed, require_network

__all__ = ["Occluder"]

#: Rows of class probabilities.
ROWS = 5


class OccluderPart(Instrument):
    """The occluder's traits and answers, for the instruments that have one."""

    position = traitlets.Tuple(traitlets.Int(), traitlets.Int(), default_value=(0, 0)).tag(sync=True)
    """(int, int): row and column of the occluder's top-left corner, px of the network's input. Written when a drag
    ends; setting it moves the square. Clipped so that the occluder lies inside the picture, as in Zeiler &
    Fergus, Fig. 7."""

    size = traitlets.Union([traitlets.Int(), traitlets.Tuple(traitlets.Int(), traitlets.Int())], default_value=50).tag(
        sync=True
    )
    """int or (int, int): side, or height and width, px of the network's input. By default 50, the
    paper's."""

    shape = traitlets.Enum(("square", "ellipse"), default_value="square").tag(sync=True)
    """str: "square" (a rectangle where the size has two numbers) or "ellipse"."""

    fill = traitlets.Any("grey").tag(sync=True)
    """str or (int, int, int): "grey", "mean" (the picture's mean colour), "blur", "noise", or a colour such as
    "#336699"."""

    target = traitlets.Any(None, allow_none=True).tag(sync=True)
    """int, str or None: the class whose `probability` is followed, by index or label. None: the most probable class of
    the clean picture."""

    probability = traitlets.Float(float("nan"), read_only=True)
    """float: probability of the target class with the occluder where it is, 0..1; follows a drag live. NaN before the
    first computation."""

    top5: traitlets.List = traitlets.List(read_only=True)
    """list of (str, float): the five most probable classes with the occluder where it is."""

    _frame = traitlets.Dict()

    def __init__(self, net: Network, images: Images, **traits: Any) -> None:
        self._occlusions: dict[tuple[Any, ...], Occlusion] = {}
        self._last: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        require_network(net)
        height, width = net.input_shape[1:]
        if traits.get("size") is None:
            traits["size"] = usual_size(height, width)
        if "position" not in traits:
            # In the middle, where it covers something.
            size = traits["size"]
            high, wide = (size, size) if isinstance(size, int) else size
            traits["position"] = ((height - high) // 2, (width - wide) // 2)
        super().__init__(net, images, **traits)

    # ---- what may be set

    @traitlets.validate("size")
    def _possible_size(self, proposal: Any) -> int | tuple[int, int]:
        value = proposal["value"]
        high, wide = (value, value) if isinstance(value, int) else value
        height, width = self.net.input_shape[1:]
        if not (1 <= high <= height and 1 <= wide <= width):
            raise traitlets.TraitError(
                f"size: expected 1 to {height} px high and 1 to {width} px wide (the network's input), got {value}"
            )
        return high if high == wide else (high, wide)

    @traitlets.validate("position")
    def _inside(self, proposal: Any) -> tuple[int, int]:
        return clip(proposal["value"], self.size, self.net.input_shape[1:])

    @traitlets.observe("size")
    def _keep_inside(self, _change: Any) -> None:
        self.position = clip(self.position, self.size, self.net.input_shape[1:])

    @traitlets.validate("fill")
    def _known_fill(self, proposal: Any) -> str:
        return fill_name(proposal["value"])

    @traitlets.validate("target")
    def _known_class(self, proposal: Any) -> int | None:
        value = proposal["value"]
        return None if value is None else self.net.class_index(value)

    @traitlets.observe("picture", "position", "size", "shape", "fill", "target")
    def _chosen(self, _change: Any) -> None:
        # Before the constructor is through there is nothing to compute for; the first view or reader asks.
        if getattr(self, "_worker", None) is not None and self.comm is not None:
            self._worker.submit("follow", lambda: self._guarded("occlude", self._compute))

    # ---- computing

    def _occlusion(self, picture: int, fill: str, shape: str) -> Occlusion:
        key = (self._revision, picture, fill, shape)
        found = self._occlusions.get(key)
        if found is None:
            same = next((one for known, one in self._occlusions.items() if known[:2] == key[:2]), None)
            if same is not None:  # the clean picture's prediction is shared
                found = same.replace(fill=fill, shape=shape)
            else:
                found = Occlusion(self.net, self.images[picture].image, fill=fill, shape=shape)
            # The last few, so that going back and forth between two fills or pictures costs nothing.
            while len(self._occlusions) >= 4:
                self._occlusions.pop(next(iter(self._occlusions)))
            self._occlusions[key] = found
        return found

    def _compute(self, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The frame for a request, or for the traits as they are; the traits that show results follow it."""
        asked = content or {}
        picture = int(asked.get("picture", self.picture))
        self._current({"picture": picture})
        fill, shape = fill_name(asked.get("fill", self.fill)), asked.get("shape", self.shape)
        size = asked.get("size", self.size)
        size = tuple(size) if isinstance(size, (list, tuple)) else int(size)
        occlusion = self._occlusion(picture, fill, shape)
        position = occlusion.clip(asked.get("position", self.position), size)
        target = asked.get("target", self.target)
        key = (self._revision, picture, fill, shape, size, position, target)
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        begun = time.perf_counter()
        now = occlusion.predict(position, size)
        frame = {
            "picture": picture,
            "position": list(position),
            "size": list(size) if isinstance(size, tuple) else size,
            **compare(occlusion.clean, now, target),
            "milliseconds": 1000 * (time.perf_counter() - begun),
        }
        self._last = key, frame
        self.set_trait("top5", now.top(ROWS))
        self.set_trait("probability", frame["target"]["now"])
        self._frame = frame
        return frame

    def _answer_occlude(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        return self._compute(content), []

    def _answer_fill(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        picture = int(content.get("picture", self.picture))
        fill = fill_name(content.get("fill", self.fill))
        return framed(self._occlusion(picture, fill, self.shape).fill_picture, picture)

    def _forget(self) -> None:
        super()._forget()
        self._occlusions.clear()
        self._last = None

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return [*super()._snapshot(), ("fill", {}), ("occlude", {})]


class Occluder(OccluderPart):
    """Drag a square over a picture and watch the class probability follow.

    The picture is shown as the network sees it; positions and sizes are in its pixels. The square can be dragged and
    resized by mouse, pen or touch, and by keyboard: arrows move it (with Shift by ten), plus and minus resize it. Each
    frame is one pass through the network; while one is under way only the newest position waits, so the picture never
    lags behind the pointer by more than one pass, and the last position is always computed.

    Parameters
    ----------
    net : Network
        From `load`, or a module wrapped by `Network`.
    image : path, bytes, PIL image, array, tensor or Picture
        Anything `Network.prepare` takes.
    target : int, str or None, optional
        Class to follow, by index or label; by default the most probable class of the clean picture.
    size : int or (int, int), optional
        Side, or height and width, of the occluder, px of the network's input. Default: 50, and 50/224 of the shorter
        side on inputs of less than 100 px.
    shape : {"square", "ellipse"}, default "square"
    fill : {"grey", "mean", "blur", "noise"} or colour, default "grey"
    **traits
        Further traits: `position`.

    Raises
    ------
    ImageError
        If the picture cannot be read.
    traitlets.TraitError, ArgumentError
        If an option is out of range; the message says what was expected.

    Notes
    -----
    Zeiler & Fergus 2014, Fig. 7 (ECCV Fig. 6), use a grey square of 50 px on a picture of 224 px.

    Examples
    --------
    >>> occluder = cs.Occluder(net, "dog.jpg")          # doctest: +SKIP
    >>> occluder.observe(print, "probability")          # doctest: +SKIP
    """

    _name = "occluder"

    def __init__(
        self,
        net: Network,
        image: Any,
        target: int | str | None = None,
        size: int | tuple[int, int] | None = None,
        shape: str = "square",
        fill: Any = "grey",
        **traits: Any,
    ) -> None:
        require_network(net)
        images = Images.of([image])
        net.prepare(images[0].image)  # an unreadable picture is an error here, not in the widget
        super().__init__(net, images, target=target, size=size, shape=shape, fill=fill, **traits)

    @property
    def image(self) -> Any:
        """The picture; set it to put another one under the occluder."""
        return self.images[0].image

    @image.setter
    def image(self, image: Any) -> None:
        images = Images.of([image])
        self.net.prepare(images[0].image)
        self.images = images
        with self.hold_sync():
            self._pictures = [{"name": images[0].name, "label": images[0].label}]
            self._revision += 1
        self._chosen(None)


def usual_size(height: int, width: int) -> int:
    """The paper's 50 px; on small inputs the same share of the picture, 50/224."""
    side = min(height, width)
    return 50 if side >= 100 else max(1, round(side * 50 / 224))


def compare(clean: Prediction, now: Prediction, target: int | None) -> dict[str, Any]:
    """Class probabilities before and after, as the front end shows them: rows that keep their order."""

    def score(index: int) -> dict[str, Any]:
        return {
            "index": index,
            "label": clean.labels[index],
            "clean": float(clean.probabilities[index]),
            "now": float(now.probabilities[index]),
        }

    rows = [int(index) for index in clean.probabilities.argsort(kind="stable")[::-1][:ROWS]]
    others = now.probabilities.copy()
    others[rows] = -1.0
    other = int(others.argmax())
    return {
        "target": score(clean.index if target is None else target),
        "before": score(clean.index),
        "first": score(now.index),
        "classes": [score(index) for index in rows],
        "other": score(other) if others[other] >= 0 else None,
    }

"""The occluder: a square dragged over the picture, and the class probabilities that follow it."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import traitlets

from convscope_core.datasets import Images, Picture
from convscope_core.network import Network, Prediction
from convscope_core.occlusion import Occlusion, checked_shape, clip, fill_name

from ._instrument import Answer, Instrument, bundle, framed, named, require_network, sent

__all__ = ["Occluder"]

#: A shape as the trait keeps it: a name, the points of an outline, or the rows of a mask. Hashable.
Form: TypeAlias = str | tuple[tuple[float, float], ...] | tuple[tuple[bool, ...], ...]

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

    shape = traitlets.Any("square").tag(
        sync=True, to_json=lambda shape, _: to_browser(shape), from_json=lambda value, _: from_browser(value)
    )
    """str, outline or mask: "square" (a rectangle where the size has two numbers), "ellipse", a closed polygon of
    (row, column) points in 0..1 of the occluder's box, or a bool array (h, w) that is scaled to the box. A free form
    can be drawn on the picture."""

    fill = traitlets.Any("grey").tag(sync=True)
    """str, (int, int, int) or picture: "grey", "mean" (the picture's mean colour), "blur", "noise", "inpaint" (filled
    in from the surroundings; needs OpenCV), a colour such as "#336699", or another picture, which joins `images` and
    becomes "picture:N" by its place among them."""

    target = traitlets.Any(None, allow_none=True).tag(sync=True)
    """int, str or None: the class whose `probability` is followed, by index or label. None: the most probable class of
    the clean picture."""

    probability = traitlets.Float(float("nan"), read_only=True)
    """float: probability of the target class with the occluder where it is, 0..1; follows a drag live. NaN before the
    first computation."""

    top5: traitlets.List = traitlets.List(read_only=True)
    """list of (str, float): the five most probable classes with the occluder where it is."""

    show_trail = traitlets.Bool(True).tag(sync=True)
    """bool: whether the places that the occluder has visited are coloured, by the probability of the target there."""

    _frame = traitlets.Dict()

    def __init__(self, net: Network, images: Images, **traits: Any) -> None:
        self._occlusions: dict[tuple[Any, ...], Occlusion] = {}
        self._last: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._trail = Trail()
        require_network(net)
        height, width = net.input_shape[1:]
        if traits.get("size") is None:
            traits["size"] = usual_size(height, width)
        if "position" not in traits:
            # In the middle, where it covers something.
            size = traits["size"]
            high, wide = (size, size) if isinstance(size, int) else size
            traits["position"] = ((height - high) // 2, (width - wide) // 2)
        if "fill" in traits and is_picture(traits["fill"]):
            images = Images.of(images) + pictures_of(net, traits["fill"])
            traits["fill"] = f"picture:{len(images) - 1}"
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

    @traitlets.validate("shape")
    def _known_shape(self, proposal: Any) -> Form:
        return form_of(proposal["value"])

    @traitlets.validate("fill")
    def _known_fill(self, proposal: Any) -> str:
        value = proposal["value"]
        if is_picture(value):
            return self._join(pictures_of(self.net, value))
        return value if self._fill_picture(value) is not None else fill_name(value)

    def _fill_picture(self, fill: object) -> int | None:
        """The index of the picture that a fill stands for; None for every other fill."""
        found = PICTURE.fullmatch(fill) if isinstance(fill, str) else None
        if found is None:
            return None
        index = int(found[1])
        if index >= len(self.images):
            raise traitlets.TraitError(
                f"fill: expected one of the {len(self.images)} pictures at hand, picture:0 to "
                f"picture:{len(self.images) - 1}, got {fill!r}"
            )
        return index

    def _core_fill(self, fill: str) -> Any:
        index = self._fill_picture(fill)
        return fill if index is None else self.images[index].image

    def _join(self, added: Images) -> str:
        """Put a picture at the end of those at hand, to be a fill."""
        self.images = Images.of(self.images) + added
        self._pictures = [named(one) for one in self.images]
        return f"picture:{len(self.images) - 1}"

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

    def _occlusion(self, picture: int, fill: str, shape: Form) -> Occlusion:
        key = (self._revision, picture, fill, shape)
        found = self._occlusions.get(key)
        if found is None:
            same = next((one for known, one in self._occlusions.items() if known[:2] == key[:2]), None)
            looks = {"fill": self._core_fill(fill), "shape": core_shape(shape)}
            if same is not None:  # the clean picture's prediction is shared
                found = same.replace(**looks)
            else:
                found = Occlusion(self.net, self.images[picture].image, **looks)
            # The last few, so that going back and forth between two fills or pictures costs nothing.
            while len(self._occlusions) >= 4:
                self._occlusions.pop(next(iter(self._occlusions)))
            self._occlusions[key] = found
        return found

    def _asked(self, content: Mapping[str, Any] | None) -> tuple[int, str, Form, int | tuple[int, int], int | None]:
        """What a request is about: picture, fill, shape, size and target; where it does not say, the traits'."""
        asked = content or {}
        picture = int(asked.get("picture", self.picture))
        self._current({"picture": picture})
        fill = asked.get("fill", self.fill)
        fill = fill if self._fill_picture(fill) is not None else fill_name(fill)
        shape = form_of(from_browser(asked["shape"])) if "shape" in asked else self.shape
        size = asked.get("size", self.size)
        size = tuple(size) if isinstance(size, (list, tuple)) else int(size)
        return picture, fill, shape, size, asked.get("target", self.target)

    def _compute(self, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The frame for a request, or for the traits as they are; the traits that show results follow it."""
        about = picture, fill, shape, size, target = self._asked(content)
        occlusion = self._occlusion(picture, fill, shape)
        position = occlusion.clip((content or {}).get("position", self.position), size)
        key = (self._revision, *about, position)
        if self._last is not None and self._last[0] == key:
            return self._last[1]
        begun = time.perf_counter()
        now = occlusion.predict(position, size)
        compared = compare(occlusion.clean, now, target)
        frame = {
            "picture": picture,
            "position": list(position),
            "size": list(size) if isinstance(size, tuple) else size,
            **compared,
            "milliseconds": 1000 * (time.perf_counter() - begun),
            "trail": self._trail.visit((self._revision, *about), position, compared["target"]["now"]),
        }
        self._last = key, frame
        self.set_trait("top5", now.top(ROWS))
        self.set_trait("probability", frame["target"]["now"])
        self._frame = frame
        return frame

    def _answer_occlude(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        frame = self._compute(content)
        picture, fill, shape, size, _ = self._asked(content)
        occlusion = self._occlusion(picture, fill, shape)
        if occlusion.fill_image is not None:
            return frame, []
        # What the occluder shows depends on where it is.
        return frame, [occlusion.pixels(tuple(frame["position"]), size).tobytes()]

    def _answer_fill(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        picture, fill, *_ = self._asked(content)
        pixels = self._occlusion(picture, fill, self.shape).fill_picture
        return framed(pixels, picture) if pixels is not None else ({"picture": picture, "height": 0, "width": 0}, [b""])

    # ---- where it has been

    @property
    def trail(self) -> list[tuple[tuple[int, int], float]]:
        """Where the occluder has been, and the probability of the target there: list of ((top, left), float).

        Begins anew with another picture, target, or size, shape or fill of the occluder.
        """
        return list(self._trail.visited.items())

    def clear_trail(self) -> None:
        """Forget where the occluder has been."""
        self._trail.begin(None)
        self._revise_trail()

    def _revise_trail(self) -> None:
        self.send({"event": "trail", "trail": self._trail.number})

    def _answer_trail(self, content: Mapping[str, Any], _buffers: Sequence[Any]) -> Answer:
        if content.get("clear"):
            self._trail.begin(None)
        visited = self._trail.visited
        places = np.array(list(visited), np.int32).reshape(-1, 2)
        values = np.array(list(visited.values()), np.float32)
        return {"trail": self._trail.number}, [places.tobytes(), values.tobytes()]

    def _add(self, content: Mapping[str, Any], buffers: Sequence[Any]) -> None:
        if content.get("as") == "fill":
            self.fill = self._join(pictures_of(self.net, sent(content, buffers)))
        else:
            super()._add(content, buffers)

    def _forget(self) -> None:
        super()._forget()
        self._occlusions.clear()
        self._last = None

    def _snapshot(self) -> list[tuple[str, dict[str, Any]]]:
        return [*super()._snapshot(), ("fill", {}), ("occlude", {}), ("trail", {})]


class Trail:
    """Where the occluder has been under one setting, and the probability of the target there.

    Attributes
    ----------
    number : int
        Grows with every new beginning, so that a view can tell whose places it holds.
    visited : dict of (top, left) to float
    """

    def __init__(self) -> None:
        self.number = 0
        self.visited: dict[tuple[int, int], float] = {}
        self._setting: object = None

    def begin(self, setting: object) -> None:
        """Forget everything."""
        self._setting = setting
        self.number += 1
        self.visited = {}

    def visit(self, setting: object, position: tuple[int, int], value: float) -> int:
        """Note a place; returns the trail's number."""
        if setting != self._setting:
            self.begin(setting)
        self.visited[position] = value
        return self.number


class Occluder(OccluderPart):
    """Drag a square over a picture and watch the class probability follow.

    The picture is shown as the network sees it; positions and sizes are in its pixels. The square can be dragged and
    resized by mouse, pen or touch, and by keyboard: arrows move it (with Shift by ten), plus and minus resize it; any
    other form can be drawn. Each frame computes only what the occluder can change; while one is under way only the
    newest position waits, so the picture never lags behind the pointer by more than one frame, and the last position is
    always computed. Where the occluder has been is coloured by the probability there: a map that grows with the drag.

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
    shape : {"square", "ellipse"}, outline or mask, default "square"
        An outline is a closed polygon of (row, column) points in 0..1 of the occluder's box; a mask a bool array.
    fill : {"grey", "mean", "blur", "noise", "inpaint"}, colour or picture, default "grey"
        See `convscope_core.occlusion.Occlusion`.
    **traits
        Further traits: `position`, `show_trail`.

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
    _esm = bundle(_name)

    def __init__(
        self,
        net: Network,
        image: Any,
        target: int | str | None = None,
        size: int | tuple[int, int] | None = None,
        shape: Any = "square",
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
        # The others are fills.
        self.images = images + Images.of(self.images[1:]) if len(self.images) > 1 else images
        with self.hold_sync():
            self._pictures = [named(one) for one in self.images]
            self._revision += 1
        self._chosen(None)


PICTURE = re.compile(r"picture:(\d+)")


def is_picture(fill: object) -> bool:
    """Whether a fill is another picture, as a path or pixels."""
    if isinstance(fill, Picture):
        return True
    if isinstance(fill, str) and PICTURE.fullmatch(fill):
        return False
    return fill_name(fill).split(" ")[0] == "picture"


def pictures_of(net: Network, fill: Any) -> Images:
    """A fill that is a picture, checked to be one that the network can take."""
    found = Images.of([fill])
    net.prepare(found[0].image)
    return found


def is_mask(form: Form) -> bool:
    """Whether a form that is not a name is a mask rather than an outline."""
    return isinstance(form[0][0], bool)


def form_of(shape: Any) -> Form:
    """A shape in the form of the trait; errors as of `checked_shape`."""
    known = checked_shape(shape)
    return tuple(map(tuple, known.tolist())) if isinstance(known, np.ndarray) else known


def core_shape(form: Form) -> Any:
    """A form as the core takes it."""
    return form if isinstance(form, str) or not is_mask(form) else np.array(form, bool)


def to_browser(form: Form) -> Any:
    """A shape as the front end gets it: a mask as bits, row after row, in base64."""
    if isinstance(form, str) or not is_mask(form):
        return form
    mask = np.array(form, bool)
    bits = base64.b64encode(np.packbits(mask).tobytes()).decode("ascii")
    return {"bits": bits, "height": mask.shape[0], "width": mask.shape[1]}


def from_browser(value: Any) -> Any:
    """Undo `to_browser`."""
    if not isinstance(value, Mapping):
        return value
    height, width = int(value["height"]), int(value["width"])
    bits = np.unpackbits(np.frombuffer(base64.b64decode(value["bits"]), np.uint8), count=height * width)
    return bits.reshape(height, width).astype(bool)


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
        "independent": clean.independent,
        "other": score(other) if others[other] >= 0 else None,
    }

"""The occluder's traits and answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import traitlets

from convscope._instrument import Answer, Content, Request, framed
from convscope._still import Strip
from convscope._wire import Value, Whole, fields
from convscope.panes.pictures import PicturesPane, one_picture
from convscope_core.datasets import Images, Picture
from convscope_core.errors import ArgumentError
from convscope_core.network import Network, Prediction
from convscope_core.occlusion import FILLS, Occlusion, clip, fill_name
from convscope_core.occlusion.box import sides_of
from convscope_core.plots import curves

from .live import LiveOccluder, Setting
from .shapes import ShapeValue, from_browser, shape_value, to_browser
from .trail import Trail

__all__ = ["OccluderPane", "checked_size", "visited"]

#: What stands for the occluder in a still picture.
OCCLUDED = 128

#: A fill that is one of the pictures at hand.
PICTURE = re.compile(r"picture:(\d{1,9})")
#: A fill that is a colour, as `fill_name` writes it.
COLOUR = re.compile(r"#[0-9a-f]{6}")


class OccluderPane(PicturesPane):
    """An occluder on the current picture, the probabilities that follow it, and where it has been."""

    position = traitlets.Tuple(Whole(), Whole(), default_value=(0, 0)).tag(sync=True)
    """(int, int): row and column of the occluder's top-left corner, px of the network's input. Written when a drag
    ends; setting it moves the square. Clipped so that the occluder lies inside the picture, as in Zeiler &
    Fergus, Fig. 7."""

    size = traitlets.Union([Whole(), traitlets.Tuple(Whole(), Whole())], default_value=50).tag(sync=True)
    """int or (int, int): side, or height and width, px of the network's input. By default 50, the
    paper's."""

    shape = Value("square").tag(
        sync=True, to_json=lambda shape, _: to_browser(shape), from_json=lambda value, _: from_browser(value)
    )
    """str, outline or mask: "square" (a rectangle where the size has two numbers), "ellipse", a closed polygon of
    (row, column) points in 0..1 of the occluder's box, or a bool array (h, w) that is scaled to the box. A free shape
    can be drawn on the picture."""

    fill = Value("grey").tag(sync=True, from_json=lambda value, _: offered(value))
    """str, (int, int, int) or picture: "grey", "mean" (the picture's mean colour), "blur", "noise", "inpaint" (filled
    in from the surroundings; needs OpenCV), a colour such as "#336699", or another picture, which joins `images` and
    becomes "picture:N" by its place among them."""

    target = Value(None, allow_none=True).tag(sync=True)
    """int, str or None: the class whose `probability` is followed, by index or label. None: the most probable class of
    the clean picture."""

    probability = traitlets.Float(float("nan"), read_only=True)
    """float: probability of the target class with the occluder where it is, 0..1; follows a drag live. NaN before the
    first computation."""

    top5: traitlets.List = traitlets.List(read_only=True)
    """list of (str, float): the five most probable classes with the occluder where it is."""

    show_trail = traitlets.Bool(True).tag(sync=True)
    """bool: whether the places that the occluder has visited are coloured, by the probability of the target there."""

    #: The last that was computed, for the chart beneath.
    _frame = traitlets.Dict()

    def __init__(self, net: Network, *, images: Images, **options: Any) -> None:
        self._occluder = LiveOccluder(net)
        height, width = net.input_shape[1:]
        if options.get("size") is None:
            options["size"] = usual_size(height, width)
        if "position" not in options:
            # In the middle, where it covers something.
            high, wide = sides_of(options["size"])
            options["position"] = ((height - high) // 2, (width - wide) // 2)
        if "fill" in options and is_picture(options["fill"]):
            images = Images.of(images) + one_picture(net, options["fill"])
            options["fill"] = f"picture:{len(images) - 1}"
        super().__init__(net, images=images, **options)

    # ---- what may be set

    @traitlets.validate("size")
    def _possible_size(self, proposal: Any) -> int | tuple[int, int]:
        return checked_size(self.net, proposal["value"])

    @traitlets.validate("position")
    def _inside(self, proposal: Any) -> tuple[int, int]:
        return clip(proposal["value"], self.size, self.net.input_shape[1:])

    @traitlets.observe("size")
    def _keep_inside(self, _change: Any) -> None:
        self.position = clip(self.position, self.size, self.net.input_shape[1:])

    @traitlets.validate("shape")
    def _known_shape(self, proposal: Any) -> ShapeValue:
        return shape_value(proposal["value"])

    @traitlets.validate("fill")
    def _known_fill(self, proposal: Any) -> str:
        value = proposal["value"]
        if is_picture(value):
            return self._join(one_picture(self.net, value))
        return value if self._fill_picture(value) is not None else fill_name(value)

    def _fill_picture(self, fill: object) -> int | None:
        """The index of the picture that a fill stands for; None for every other fill."""
        index = self._fill_number(fill)
        if index is not None and index >= len(self.images):
            raise traitlets.TraitError(
                f"Expected fill, one of the {len(self.images)} pictures at hand, picture:0 to "
                f"picture:{len(self.images) - 1}, got {fill!r}."
            )
        return index

    @staticmethod
    def _fill_number(fill: object) -> int | None:
        match = PICTURE.fullmatch(fill) if isinstance(fill, str) else None
        return None if match is None else int(match[1])

    def _core_fill(self, fill: str) -> Any:
        """A fill as the core takes it."""
        index = self._fill_picture(fill)
        return fill if index is None else self.images[index].image

    def _join(self, added: Images) -> str:
        """Put a picture at the end of those at hand, to be a fill."""
        self._append(added)
        return f"picture:{len(self.images) - 1}"

    def _renumber(self, removed: int) -> None:
        super()._renumber(removed)
        filling = self._fill_number(self.fill)
        if filling is not None and filling >= removed:
            self.fill = "grey" if filling == removed else f"picture:{filling - 1}"
        self._occluder.forget()

    @traitlets.validate("target")
    def _known_class(self, proposal: Any) -> int | None:
        value = proposal["value"]
        return None if value is None else self.net.class_index(value)

    @traitlets.observe("picture", "position", "size", "shape", "fill", "target")
    def _follow(self, _change: Any) -> None:
        # Before there is anything to show, the first view or reader asks.
        if self._live:
            self._worker.submit("follow", lambda: self._guarded("occlude", self._compute))

    # ---- computing

    def _occlusion(self, picture: int, fill: str, shape: ShapeValue, occluder: LiveOccluder | None = None) -> Occlusion:
        images = self.images
        place = (self._revision, picture)
        return (occluder or self._occluder).occlusion(
            place, fill, shape, lambda: images[picture].image, self._core_fill
        )

    def _setting_of(self, content: Content | None) -> Setting:
        """What a request is about; by default what the traits are."""
        message = content or {}
        picture = message.get("picture", self.picture)
        self._current({"picture": picture})
        fill = message.get("fill", self.fill)
        fill = fill if self._fill_picture(fill) is not None else fill_name(fill)
        shape = shape_value(message["shape"]) if "shape" in message else self.shape
        target = message.get("target", self.target)
        return Setting(
            picture,
            fill,
            shape,
            checked_size(self.net, message.get("size", self.size)),
            None if target is None else self.net.class_index(target),
        )

    def _compute(self, content: Content | None = None) -> dict[str, Any]:
        """The frame for a request, or for the traits as they are; the traits that show results follow it."""
        setting = self._setting_of(content)
        frame = self._framed(self._occluder, setting, (content or {}).get("position", self.position))
        self.set_trait("top5", self._occluder.top)
        self.set_trait("probability", frame["target"]["now"])
        self._frame = frame
        return frame

    def _framed(self, occluder: LiveOccluder, setting: Setting, position: tuple[int, int]) -> dict[str, Any]:
        occlusion = self._occlusion(setting.picture, setting.fill, setting.shape, occluder)
        return occluder.frame(self._revision, setting, occlusion, position, self._whole_prediction(setting))

    def _whole_prediction(self, setting: Setting) -> Prediction | None:  # noqa: ARG002  what a pane that derives may need
        """What the network says of the clean picture, where the occluder's has silenced units."""
        return None

    @property
    def _acting_net(self) -> Network:
        return self._occluder.net

    @fields(dragging=traitlets.Bool())
    def _answer_occlude(self, content: Content) -> Answer:
        """What the network says with the occluder at a place; ``dragging``: while it is on its way to another."""
        return self._shown(self._occluder, self._setting_of(content), self._compute(content))

    def _shown(self, occluder: LiveOccluder, setting: Setting, frame: dict[str, Any]) -> Answer:
        """A frame as an answer, with what the occluder shows where that depends on where it is."""
        occlusion = self._occlusion(setting.picture, setting.fill, setting.shape, occluder)
        if occlusion.fill_image is not None:
            return frame, []
        return frame, [occlusion.pixels(tuple(frame["position"]), setting.size)]

    def _answer_fill(self, content: Content) -> Answer:
        return self._filled(self._occluder, self._setting_of(content))

    def _filled(self, occluder: LiveOccluder, setting: Setting) -> Answer:
        """The picture that shines through the occluder, wherever it is."""
        picture = setting.picture
        pixels = self._occlusion(picture, setting.fill, self.shape, occluder).fill_picture
        return framed(pixels, picture) if pixels is not None else ({"picture": picture, "height": 0, "width": 0}, [b""])

    def _answer_labels(self, _content: Content) -> Answer:
        """All classes, of which any can be followed."""
        return {"labels": list(self.net.labels)}, []

    # ---- where it has been

    @property
    def trail(self) -> list[tuple[tuple[int, int], float]]:
        """Where the occluder has been, and the probability of the target there: list of ((top, left), float).

        Begins again with another picture, target, or size, shape or fill of the occluder.
        """
        return list(self._occluder.trail.visited.items())

    def clear_trail(self) -> None:
        """Forget where the occluder has been."""
        self._occluder.trail.begin(None)
        self.send({"event": "trail", "trail": self._occluder.trail.number})

    @fields(clear=traitlets.Bool())
    def _answer_trail(self, content: Content) -> Answer:
        if content.get("clear"):
            self._occluder.trail.begin(None)
        return visited(self._occluder.trail)

    # ---- pictures, life

    def _add(self, content: Content, picture: Picture) -> None:
        if content.get("as") == "fill":
            self.fill = self._join(one_picture(self.net, picture))
        else:
            super()._add(content, picture)

    def _forget(self) -> None:
        super()._forget()
        self._occluder.forget()

    def _strips(self) -> list[Strip]:
        (photo, *others), last = super()._strips(), self._occluder.last
        pixels = photo.pictures[0].copy()
        top, left = self.position
        high, wide = (self.size, self.size) if isinstance(self.size, int) else self.size
        pixels[top : top + high, left : left + wide] = OCCLUDED
        text = photo.text
        if last is not None and last[1]["picture"] == self.picture:
            target = last[1]["target"]
            text += f" · {target['label']}: {target['clean']:.3f}, occluded {target['now']:.3f}"
        return [Strip(text, [pixels], photo.side), *others]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        return {"occluder": self._occluder_figure, **super()._figures()}

    def _occluder_figure(self) -> Any:
        """The picture under the occluder as the network gets it, and the classes before and after."""
        figure, panels = curves(2, (3.4, 2.4))
        self._draw_occluder(panels, self._occluder, self._setting_of(None), self.position, self._current().name)
        return figure

    def _draw_occluder(
        self, panels: Sequence[Any], occluder: LiveOccluder, setting: Setting, position: tuple[int, int], title: str
    ) -> None:
        photo, bars = panels
        found = self._framed(occluder, setting, position)
        occlusion = self._occlusion(setting.picture, setting.fill, setting.shape, occluder)
        photo.imshow(occluder.net.picture(occlusion.occlude(position, setting.size).cpu()))
        photo.set_axis_off()
        photo.set_title(title, fontsize=9)
        rows = found["classes"][::-1]
        places = np.arange(len(rows))
        for name, shift, colour, legend in (("clean", 0.2, "0.65", "clean"), ("now", -0.2, "#1c7ed6", "occluded")):
            bars.barh(places + shift, [row[name] for row in rows], 0.36, color=colour, label=legend)
        if all("whole" in row for row in rows):
            bars.plot(
                [row["whole"] for row in rows], places + 0.2, linestyle="none", marker="|", markersize=11,
                markeredgewidth=2, color="#e8590c", label="clean, whole network", clip_on=False,
            )  # fmt: skip
        bars.set_yticks(places, [row["label"] for row in rows], fontsize=8)
        bars.set_xlim(0, 1)
        bars.set_xlabel("probability", fontsize=8)
        bars.tick_params(axis="x", labelsize=8)
        bars.spines[["top", "right"]].set_visible(False)
        bars.legend(frameon=False, fontsize=8)

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("fill", {}), ("occlude", {}), ("trail", {})]


def offered(fill: Any) -> Any:
    """A fill as the front end may name it: what it was offered. A path, say, would have the kernel open that file."""
    if isinstance(fill, str) and (fill in FILLS or PICTURE.fullmatch(fill) or COLOUR.fullmatch(fill)):
        return fill
    raise ArgumentError(
        f"Expected from the browser one of the fills {', '.join(FILLS)}, '#rrggbb' or 'picture:N', got {fill!r:.80}. "
        "In Python any picture can be a fill."
    )


def visited(trail: Trail) -> Answer:
    """Where an occluder has been, as an answer."""
    places = np.array(list(trail.visited), np.int32).reshape(-1, 2)
    return {"trail": trail.number}, [places, np.array(list(trail.visited.values()), np.float32)]


def checked_size(net: Network, value: int | tuple[int, int]) -> int | tuple[int, int]:
    """A size that an occluder on pictures of a network may have."""
    high, wide = sides_of(value)
    height, width = net.input_shape[1:]
    if not (1 <= high <= height and 1 <= wide <= width):
        raise ArgumentError(
            f"Expected size, 1 to {height} px high and 1 to {width} px wide (the network's input), got {value}."
        )
    return high if high == wide else (high, wide)


def is_picture(fill: object) -> bool:
    """Whether a fill is another picture, as a path or pixels."""
    if isinstance(fill, Picture):
        return True
    if isinstance(fill, str) and PICTURE.fullmatch(fill):
        return False
    return fill_name(fill).split(" ")[0] == "picture"


def usual_size(height: int, width: int) -> int:
    """The paper's 50 px; on small inputs the same share of the picture, 50/224."""
    side = min(height, width)
    return 50 if side >= 100 else max(1, round(side * 50 / 224))

"""The same part in several pictures, and whether masking it acts alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import traitlets

from convscope._instrument import Answer, Content, Instrument, Request
from convscope._job import Job, Step, progress
from convscope._still import Strip
from convscope._wire import Choice, Whole
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments import CorrespondenceResult, SignScores
from convscope_core.experiments.part_correspondence import checked_run, chosen_layers
from convscope_core.network import Network
from convscope_core.wordnet import class_name

from .pictures import readable

__all__ = ["CorrespondencePane"]

#: Pictures that there may be: each is shown, as large as the network takes it.
MOST = 48

#: The colour of a mask's outline in a still picture.
OUTLINE = (232, 89, 12)


class CorrespondencePane(Instrument):
    """A row of pictures with a click in each, and scores of parts at layers against random places.

    Parameters
    ----------
    net : Network
    images : Images
    masks : dict of str to sequence
        Of parts that are known already, as `correspondence` takes them.
    objects : sequence of bool array or None, optional
    settings : dict
        fill, places, permutations and seed, as `correspondence` takes them.

    Attributes
    ----------
    results : dict of str to CorrespondenceResult
        By part: those that were given, those that were kept, and the one that is clicked.
    """

    points: traitlets.List = traitlets.List().tag(sync=True)
    """list: for each picture the (row, column) of the part, in pixels of the network's input, or None."""

    size = Whole(1).tag(sync=True)
    """int: side of the square about a point, px."""

    layers: traitlets.List = traitlets.List(traitlets.Unicode()).tag(sync=True)
    """list of str: the layers that are scored."""

    part = traitlets.Unicode("part 1").tag(sync=True)
    """str: what the part is called that is clicked."""

    entries = Choice(("all", "changed"), default_value="all").tag(sync=True)
    """str: which entries are counted: all, as in the paper, or those that both masks change."""

    shown = traitlets.Unicode().tag(sync=True)
    """str: the part whose masks are shown on the pictures; empty for the one that is clicked."""

    _pictures: traitlets.List = traitlets.List().tag(sync=True)
    _rows: traitlets.List = traitlets.List().tag(sync=True)
    _work = progress()

    def __init__(
        self,
        net: Network,
        *,
        images: Images,
        masks: Mapping[str, Any],
        objects: Any,
        settings: Mapping[str, Any],
        **options: Any,
    ) -> None:
        if not 2 <= len(images) <= MOST:
            raise ArgumentError(
                f"Expected 2 to {MOST} pictures, in each of which the part is clicked, got {len(images)}. "
                "For more use correspondence(), with masks."
            )
        self.images = images
        self.results: dict[str, CorrespondenceResult] = {}
        self._objects, self._settings = objects, dict(settings)
        #: Masks of parts that are not clicked, or not any more; of those that were, the points and their size.
        self._masks: dict[str, tuple[Any, int | None]] = {str(name): (entries, None) for name, entries in masks.items()}
        self._memory: dict[Any, Any] = {}
        #: Parts whose results are of all their pictures.
        self._done: set[str] = set()
        #: Counts how often scoring was begun.
        self._turn = 0
        self._scoring = Job(self, "correspondence", "_work", between=True, patient=True, counted="pictures")
        self._pictures = [{"name": one.name, "label": one.label and class_name(one.label)} for one in images]
        options = {"size": max(1, min(net.input_shape[1:]) // 8), "points": [None] * len(images), **options}
        options["layers"] = list(chosen_layers(net, options.get("layers")))
        if "part" not in options:
            options["part"] = self._free_name()
        # What cannot be is refused here, also where nothing is clicked yet.
        nothing = {"part": [(0, 0), (0, 0), *[None] * (len(images) - 2)]}
        checked_run(net, images, dict(masks) or nothing, options["layers"], objects, 1, **self._settings)
        super().__init__(net, **options)
        self.observe(self._changed, ["points", "size", "layers"])
        self.observe(self._renamed, "part")
        self.start()

    # ---- what may be set

    @traitlets.validate("points")
    def _possible_points(self, proposal: Any) -> list[list[int] | None]:
        points = proposal["value"]
        if len(points) != len(self.images):
            raise ArgumentError(
                f"Expected points for {len(self.images)} pictures, got {len(points)}. Give None for a picture without."
            )
        return [None if point is None else self._point(point, number) for number, point in enumerate(points)]

    def _point(self, point: Any, number: int) -> list[int]:
        height, width = self.net.input_shape[1:]
        if isinstance(point, np.ndarray):
            point = point.tolist()
        whole = isinstance(point, (list, tuple)) and len(point) == 2
        if not whole or not all(isinstance(at, (int, np.integer)) and not isinstance(at, bool) for at in point):
            raise ArgumentError(
                f"Expected the point in picture {number} as (row, column) in pixels, got {point!r:.40}."
            )
        row, column = map(int, point)
        if not (0 <= row < height and 0 <= column < width):
            raise ArgumentError(
                f"Expected a point inside {height}x{width} in picture {number}, got {(row, column)!r:.60}."
            )
        return [row, column]

    @traitlets.validate("size")
    def _possible_size(self, proposal: Any) -> int:
        most = max(1, min(self.net.input_shape[1:]) // 2)
        if not 1 <= proposal["value"] <= most:
            raise ArgumentError(f"Expected size from 1 to {most}, half of the picture, got {proposal['value']}.")
        return int(proposal["value"])

    @traitlets.validate("layers")
    def _known_layers(self, proposal: Any) -> list[str]:
        return list(chosen_layers(self.net, proposal["value"]))

    @traitlets.validate("part")
    def _free_part(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if not name.strip():
            raise ArgumentError("Expected a name for the part, got none.")
        if name in self._masks:
            raise ArgumentError(f"Expected a name that no other part has, got {name!r:.60}.")
        return name

    @traitlets.validate("shown")
    def _known_part(self, proposal: Any) -> str:
        name: str = proposal["value"]
        if name and name not in self._masks:
            raise ArgumentError(
                f"Expected a part that is known ({', '.join(self._masks) or 'none is'}), got {name!r:.60}."
            )
        return name

    # ---- scoring

    @property
    def result(self) -> CorrespondenceResult | None:
        """CorrespondenceResult or None: the scores of the part that is clicked, as far as they are known."""
        return self.results.get(self.part)

    @property
    def _clicked(self) -> int:
        return sum(point is not None for point in self.points)

    def _changed(self, change: Any) -> None:
        if change["name"] == "layers":
            self.results, self._done = {}, set()
        if change["name"] in ("layers", "size"):
            self._memory = {}
        if change["name"] == "points":
            self.shown = ""
        self._done.discard(self.part)
        self.start()

    def _renamed(self, change: Any) -> None:
        old, new = change["old"], change["new"]
        if old not in self._masks and (known := self.results.pop(old, None)) is not None:
            self.results[new] = dataclasses.replace(known, parts=(new,))
            self._done = {new if name == old else name for name in self._done}
        self._tell()

    def start(self) -> None:
        """Score what is not known yet, in the background: parts that were given, then the one that is clicked."""
        wanted = [name for name in self._masks if name not in self._done]
        if self._clicked < 2:
            self.results.pop(self.part, None)
        elif self.part not in self._done:
            wanted.append(self.part)
        self._turn += 1
        self._tell()
        if wanted:
            self._scoring.start(self._steps(wanted, self._turn), 0, sum(map(self._marked, wanted)), fresh=False)
        else:
            self._scoring.cancel()
            self._scoring.show("done" if self._done else "none", Step(0, 0, fresh=False))

    def cancel(self) -> None:
        """Stop scoring; what is known stays."""
        self._scoring.cancel()

    def _take_resume(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("resume", self.start)

    def _entries(self, name: str) -> tuple[Any, int | None]:
        """The masks of a part, and the size about points."""
        if name in self._masks:
            return self._masks[name]
        return [None if point is None else tuple(point) for point in self.points], self.size

    def _marked(self, name: str) -> int:
        return sum(entry is not None for entry in self._entries(name)[0])

    def _run(self, name: str, memory: Any = None) -> Any:
        entries, size = self._entries(name)
        settings = {**self._settings, "objects": self._objects, "size": size, "memory": memory}
        return checked_run(self.net, self.images, {name: entries}, self.layers, **settings)

    def _steps(self, names: Sequence[str], turn: int) -> Iterator[Step]:
        memory, before = self._memory, 0
        runs = [
            (name, name not in self._masks, self._run(name, None if name in self._masks else memory)) for name in names
        ]
        total = sum(len(masks) for _, _, run in runs for masks in run.parts.values())
        for name, clicked, run in runs:
            for step in run.steps():
                if turn != self._turn:
                    return  # another click, or another size: other work has taken this one's place
                # A part that is clicked may have been given another name.
                current = self.part if clicked else name
                if step.result is not None:
                    self.results[current] = dataclasses.replace(step.result, parts=(current,))
                    if step.done == step.total:
                        self._done.add(current)
                    self._tell()
                yield Step(before + step.done, total, fresh=step.result is not None)
            before += step.total
        clicked_run = next((run for _, clicked, run in runs if clicked), None)
        if clicked_run is not None and turn == self._turn:
            kept = {(0, at, mask.tobytes()) for masks in clicked_run.parts.values() for at, mask in masks.items()}
            self._memory = {key: signs for key, signs in memory.items() if key in kept}

    def keep(self) -> None:
        """Keep the scores of the part that is clicked as a row of the table, and begin another part.

        Raises
        ------
        ArgumentError
            When they are not known yet.
        """
        name = self.part
        if name not in self._done:
            raise ArgumentError(
                f"Expected scores of {name!r:.60} to keep, got none. Click it in two pictures at least, and wait."
            )
        self._masks[name] = self._entries(name)
        with self.hold_sync():
            self.part = self._free_name()
            self.reset()

    def reset(self) -> None:
        """Take all points back."""
        self.points = [None] * len(self.images)

    def _take_keep(self, _content: Content, _buffers: Sequence[memoryview]) -> None:
        self._worker.submit("keep", lambda: self._guarded("keep", self.keep))

    def _free_name(self) -> str:
        return next(name for number in range(1, 10**6) if (name := f"part {number}") not in self._masks)

    def _tell(self) -> None:
        """Tell the front end what is known."""
        known = self.results
        names = [*self._masks, *([self.part] if self.part in known and self.part not in self._masks else [])]
        self._rows = [
            {"name": name, "current": name not in self._masks, "pictures": self._marked(name), "scores": {}}
            if name not in known
            else {
                "name": name,
                "current": name not in self._masks,
                "pictures": len(known[name].pictures[0]),
                "scores": _held(known[name]),
            }
            for name in names
        ]

    # ---- answering

    def _answer_views(self, _content: Content) -> Answer:
        """All pictures that can be read, as the network takes them."""
        pixels, told = self._readable()
        height, width = self.net.input_shape[1:]
        return {**told, "height": height, "width": width}, [b"".join(one.tobytes() for one in pixels.values())]

    def _readable(self) -> tuple[dict[int, npt.NDArray[np.uint8]], Content]:
        return readable(range(len(self.images)), lambda index: self.net.picture(self.images[index].image))

    def _answer_covered(self, content: Content) -> Answer:
        """The masks of a part in all pictures, a bit a pixel, each picture beginning with a byte."""
        name = content["shown"]
        if name not in self._masks:
            raise ArgumentError(f"Expected a part that is known, got {name!r:.60}.")
        height, width = self.net.input_shape[1:]
        found = self._covered(name)
        nothing = np.zeros((height, width), bool)
        bits = [np.packbits(found.get(number, nothing)) for number in range(len(self.images))]
        return {"part": name, "count": len(bits), "height": height, "width": width}, [np.concatenate(bits)]

    def _covered(self, name: str) -> dict[int, npt.NDArray[np.bool_]]:
        masks: dict[int, npt.NDArray[np.bool_]] = self._run(name).parts[name]
        return masks

    def _forget(self) -> None:
        super()._forget()
        self._memory = {}

    # ---- a page without a kernel

    def _snapshot(self) -> list[Request]:
        return [*super()._snapshot(), ("views", {}), *(("covered", {"shown": name}) for name in self._masks)]

    def _figures(self) -> Mapping[str, Callable[[], Any]]:
        # Of parts that were given as masks there is a result without a click.
        last = self.result or next(reversed(self.results.values()), None)
        return {"scores": lambda: self._plotted(last), **super()._figures()}

    def _strips(self) -> list[Strip]:
        name = self.shown or (self.part if self._clicked > 1 else next(iter(self._masks), ""))
        masks = self._covered(name) if name else {}
        pictures = [_outlined(pixels, masks.get(index)) for index, pixels in self._readable()[0].items()]
        texts = []
        for part, found in self.results.items():
            scores = found.all_entries if self.entries == "all" else found.changed_entries
            numbers = [
                f"{layer} {scores.delta[0, j]:.3f}, random {scores.random[0, j]:.3f} (p {scores.p[0, j]:.2g})"
                for j, layer in enumerate(found.layers)
            ]
            texts.append(f"{part}: {'; '.join(numbers)}")
        return [Strip(name or "no part is clicked yet", pictures, 112), *map(Strip, texts), *super()._strips()]


def _held(found: CorrespondenceResult) -> dict[str, Any]:
    """The scores of a part by layer and by what is counted."""

    def numbers(scores: SignScores, j: int) -> dict[str, float]:
        return {field.name: float(getattr(scores, field.name)[0, j]) for field in dataclasses.fields(SignScores)}

    return {
        layer: {"all": numbers(found.all_entries, j), "changed": numbers(found.changed_entries, j)}
        for j, layer in enumerate(found.layers)
    }


def _outlined(pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8]:
    """A picture with the border of a mask drawn into it."""
    if mask is None:
        return pixels
    around = np.pad(mask, 1)
    inside = around[:-2, 1:-1] & around[2:, 1:-1] & around[1:-1, :-2] & around[1:-1, 2:]
    drawn = pixels.copy()
    drawn[mask & ~inside] = OUTLINE
    return drawn

"""The set of pictures."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import SupportsIndex

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from convscope_core.arguments import is_number, is_whole, plain_methods, require_choice, require_counts
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.shapes.compose import Amounts, compose
from convscope_core.shapes.drawing import draw
from convscope_core.shapes.draws import Draws
from convscope_core.shapes.objects import OBJECTS, parts_of
from convscope_core.shapes.scene import Scene
from convscope_core.shapes.truth import ShapesTruth

__all__ = ["Shapes"]

_SPLITS = ("train", "test")
_AMOUNTS = tuple(field.name for field in fields(Amounts))
# Pixels between the pictures of a sheet.
_GAP = 4
# Goes up with every change to what is drawn: pictures of two versions are not the same pictures.
_VERSION = 1


@plain_methods
@dataclass(frozen=True)
class Shapes(torch.utils.data.Dataset[tuple[Image.Image, int]]):
    """Synthetic pictures with known answers: objects made of parts, on textured grounds, among clutter, in any light.

    A map-style torch data set. Nothing is stored: picture i is computed when it is asked for and depends on i, the seed
    and the settings alone, not on `count`, on other pictures or on any global random state. It is made of integers,
    IEEE arithmetic and random bits that numpy guarantees, so it is the same on every platform.

    Settings leave each other alone: without clutter the same object stands in the same place in the same light; at
    another `size` it is the same scene.

    Of every ``len(classes)`` pictures in a row each class has one, in random order.

    Parameters
    ----------
    count : int, default 4000
        The number of pictures.
    size : int, default 112
        Height and width in pixels, at least 16.
    seed : int, default 0
        From 0 to 2**64 - 1.
    classes : sequence of str, optional
        Which classes there are, in this order; all twelve by default (`Shapes().classes`). Cat and bear differ in one
        part alone, the ears; the two fish in the texture of the body alone.
    split : {"train", "test"}
        Two sets of one seed that have no random number in common.
    clutter, distractors, textures, light, pose, jitter : float, default 1
        From 0 to 1, how much there is of: things in the background, one of them at times before the object; lone parts
        beside the object; textures on grounds and objects (those of the fish stay); shading, shadow and change of
        brightness; change of place, size, angle and side; change of where exactly parts are.

    Raises
    ------
    ArgumentError
        When a setting is out of range, or a class or split does not exist.

    Examples
    --------
    >>> shapes = Shapes(count=100, seed=3)
    >>> picture, label = shapes[7]
    >>> shapes.truth(7).parts.keys()  # doctest: +SKIP
    """

    count: int = 4000
    size: int = 112
    seed: int = 0
    classes: Sequence[str] = tuple(OBJECTS)
    split: str = "train"
    clutter: float = 1.0
    distractors: float = 1.0
    textures: float = 1.0
    light: float = 1.0
    pose: float = 1.0
    jitter: float = 1.0

    def __post_init__(self) -> None:
        for name in ("count", "size", "seed"):  # NumPy's 3 and Python's are one setting, and have one identity
            if is_whole(number := getattr(self, name)):
                object.__setattr__(self, name, operator.index(number))
        require_counts(count=self.count)
        require_counts(16, size=self.size)
        require_counts(0, seed=self.seed)
        if self.seed >= 2**64:
            raise ArgumentError(f"Expected seed to be below 2**64, got {self.seed}.")
        require_choice("split", self.split, _SPLITS)
        object.__setattr__(self, "split", str(self.split))
        object.__setattr__(self, "classes", _chosen(self.classes))
        for name in _AMOUNTS:
            amount = getattr(self, name)
            if not is_number(amount) or not 0 <= amount <= 1:
                raise ArgumentError(f"Expected {name} to be a number from 0 (none) to 1, got {amount!r}.")
            # 0 and 0.0 are one setting and have one identity.
            object.__setattr__(self, name, float(amount))

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: SupportsIndex) -> tuple[Image.Image, int]:
        """A picture and its class.

        Raises
        ------
        IndexError
            When there is no such picture.
        """
        place = self._place(index)
        return Image.fromarray(self.pixels(place)), self.label(place)

    def __iter__(self) -> Iterator[tuple[Image.Image, int]]:
        return (self[index] for index in range(self.count))

    @property
    def identity(self) -> str:
        """All settings that pictures depend on: sets of the same identity have the same pictures in the same places."""
        settings = (f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.name != "count")
        return f"Shapes {_VERSION}: {', '.join(settings)}"

    @property
    def parts(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the parts of each class, in the order in which they are drawn."""
        return {name: parts_of(name) for name in self.classes}

    def label(self, index: SupportsIndex) -> int:
        """The class of a picture, without drawing it."""
        block, place = divmod(self._place(index), len(self.classes))
        return Draws(self.seed, _SPLITS.index(self.split), block, 0).order(len(self.classes))[place]

    def pixels(self, index: SupportsIndex, without: Iterable[str] = ()) -> NDArray[np.uint8]:
        """A picture as an array.

        Parameters
        ----------
        index : int
            Which picture.
        without : iterable of str
            Parts to leave out, by the names in `truth`: what lies behind them shows, and they cast no shadow.

        Returns
        -------
        numpy.ndarray
            uint8 (size, size, 3).

        Raises
        ------
        ArgumentError
            When the object has no such part.
        """
        scene = self._scene(index)
        left_out = {without} if isinstance(without, str) else set(without)
        present = {layer.owner for layer in scene.layers if layer.role == "part"}
        for name in left_out - present:
            raise ArgumentError(
                f"Expected parts of picture {operator.index(index)}, got {name!r}.{did_you_mean(str(name), present)} "
                f"It has: {', '.join(sorted(present))}."
            )
        return draw(scene.without(left_out), self.size)

    def truth(self, index: SupportsIndex) -> ShapesTruth:
        """What is in a picture, and where."""
        label = self.label(index)
        return ShapesTruth.of(self._scene(index), label, self.classes[label], self.size)

    def sheet(self, rows: int = 4, columns: int | None = None) -> Image.Image:
        """The first pictures on one sheet, row by row.

        Parameters
        ----------
        rows : int, default 4
        columns : int, optional
            As many as there are classes by default, so that each row has every class.

        Returns
        -------
        PIL.Image.Image
            With a white line between pictures; places beyond the last picture are white.
        """
        columns = len(self.classes) if columns is None else columns
        require_counts(rows=rows, columns=columns)
        step = self.size + _GAP
        sheet = np.full((rows * step - _GAP, columns * step - _GAP, 3), 255, np.uint8)
        for place in range(min(self.count, rows * columns)):
            top, left = place // columns * step, place % columns * step
            sheet[top : top + self.size, left : left + self.size] = self.pixels(place)
        return Image.fromarray(sheet)

    def _place(self, index: SupportsIndex) -> int:
        place = operator.index(index)
        if not -self.count <= place < self.count:
            raise IndexError(f"Expected an index from 0 to {self.count - 1}, got {place}.")
        return place % self.count

    def _scene(self, index: SupportsIndex) -> Scene:
        amounts = Amounts(**{name: getattr(self, name) for name in _AMOUNTS})
        place = self._place(index)
        return compose(self.classes[self.label(place)], self.seed, _SPLITS.index(self.split), place, amounts)


def _chosen(classes: object) -> tuple[str, ...]:
    if classes is None:
        return tuple(OBJECTS)
    if isinstance(classes, str) or not isinstance(classes, Iterable):
        raise ArgumentError(f"Expected classes as a list of names, got {classes!r}. There are: {', '.join(OBJECTS)}.")
    chosen = tuple(classes)
    for name in chosen:
        require_choice("classes", name, OBJECTS)
    chosen = tuple(map(str, chosen))  # NumPy's text has another printed form
    if not chosen:
        raise ArgumentError(f"Expected at least one class, got none. There are: {', '.join(OBJECTS)}.")
    if len(set(chosen)) < len(chosen):
        raise ArgumentError(f"Expected every class once, got {', '.join(chosen)}.")
    return chosen

"""What is known about a picture: what is where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from convscope_core.arguments import plain_methods
from convscope_core.errors import ArgumentError, did_you_mean
from convscope_core.shapes.drawing import weights
from convscope_core.shapes.scene import Light, Role, Scene

__all__ = ["ShapesTruth"]


@plain_methods
@dataclass(frozen=True, eq=False)
class ShapesTruth:
    """What is in a picture of `Shapes`, and where.

    A pixel belongs to what gives it more than half of its colour, so masks are of what can be seen: what covers a part
    is not of its mask. No pixel belongs to two masks, other than to a part's and the object's.

    Attributes
    ----------
    label : int
        The class, as a place in the set's `classes`.
    name : str
        Its name.
    parts : mapping of str to numpy.ndarray
        A mask bool (H, W) for every part of the object, in the order of drawing; all False where a part is hidden.
        "left" and "right" are the picture's, "front" and "rear" the object's.
    object : numpy.ndarray
        Mask of the whole object, bool (H, W).
    distractors : mapping of str to numpy.ndarray
        A mask for every kind of lone part that lies in the picture; often empty.
    clutter : numpy.ndarray
        Mask of what is part of nothing.
    box : (int, int, int, int)
        The object's first row, first column, and the row and column after its last: ``picture[box[0]:box[2],
        box[1]:box[3]]``.
    texture : str
        What is on the object's main part: "plain", "stripes", "checks" or "spots".
    background : str
        The background's texture.
    light : Light
        Direction, strength, gain, tint.
    flipped : bool
        Whether the object looks to the left.
    """

    label: int
    name: str
    parts: Mapping[str, np.ndarray]
    object: np.ndarray
    distractors: Mapping[str, np.ndarray]
    clutter: np.ndarray
    box: tuple[int, int, int, int]
    texture: str
    background: str
    light: Light
    flipped: bool

    @classmethod
    def of(cls, scene: Scene, label: int, name: str, size: int) -> ShapesTruth:
        """Measure a scene at a resolution."""
        shares = weights(scene, size)
        nothing = np.zeros((size, size), np.float32)

        def masks(role: Role) -> dict[str, np.ndarray]:
            return {owner: share > 0.5 for (kind, owner), share in shares.items() if kind == role}

        whole = sum((share for (kind, _), share in shares.items() if kind == "part"), nothing) > 0.5
        rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
        box = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1) if rows.size else (0, 0, 0, 0)
        texture = scene.background.texture
        return cls(
            label=label,
            name=name,
            parts=masks("part"),
            object=whole,
            distractors=masks("distractor"),
            clutter=shares.get(("clutter", "clutter"), nothing) > 0.5,
            box=box,
            texture=scene.texture,
            background="plain" if texture is None else texture.name,
            light=scene.light,
            flipped=scene.flipped,
        )

    def mask(self, part: str) -> np.ndarray:
        """Mask of all parts of a kind, bool (H, W): "eye" is the left and the right one.

        Raises
        ------
        ArgumentError
            When the object has no such part.
        """
        found = [mask for name, mask in self.parts.items() if name == part or name.endswith(f" {part}")]
        if not found:
            raise ArgumentError(
                f"Expected a part of a {self.name}, got {part!r}.{did_you_mean(part, self.parts)} "
                f"It has: {', '.join(self.parts)}."
            )
        union: np.ndarray = np.logical_or.reduce(found)
        return union

    def __repr__(self) -> str:
        area = {name: int(mask.sum()) for name, mask in self.parts.items()}
        lone = f", beside it {', '.join(self.distractors)}" if self.distractors else ""
        parts = ", ".join(f"{name} {pixels}" for name, pixels in area.items())
        return f"ShapesTruth({self.name}, {int(self.object.sum())} pixels: {parts}{lone})"

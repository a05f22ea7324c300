"""The twelve kinds of object: which parts they have, where, and in which order these are drawn.

An object lies about in the unit circle of its frame, looks to the right, and stands upright (v goes down). Eyes,
wheels and windows are the same in all objects that have them, so that no such part alone says what an object is. A cat
and a bear differ in their ears alone, a spotted and a striped fish in the texture of the body alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import MappingProxyType

from convscope_core.shapes.colours import Colour, Palette
from convscope_core.shapes.draws import Draws, half_tangent
from convscope_core.shapes.frame import Frame
from convscope_core.shapes.outlines import Cut, Ellipse, Line, Outline, Polygon, Rectangle, Ring, Union
from convscope_core.shapes.scene import Layer, Role
from convscope_core.shapes.textures import Texture

__all__ = ["LONE_PARTS", "OBJECTS", "Maker", "parts_of"]


class Maker:
    """Collects the layers of an object.

    Parameters
    ----------
    frame : Frame
        The object's.
    palette : Palette
        Its colours.
    draws : Draws
        For what varies within a class: where parts lie exactly, how many petals a flower has.
    coat : Texture, optional
        What lies on the object's main part.
    jitter : float
        How much parts move, turn and change in size, from 0 (not at all) to 1.
    role : {"part", "distractor"}
        What the layers are.
    """

    def __init__(
        self,
        frame: Frame,
        palette: Palette,
        draws: Draws,
        coat: Texture | None = None,
        jitter: float = 1.0,
        role: Role = "part",
    ) -> None:
        self.palette = palette
        self.draws = draws
        self.layers: list[Layer] = []
        self._frame = frame
        self._coat = coat
        self._jitter = jitter
        self._role: Role = role
        # A mirrored object's left part lies on the right.
        self._mirrored = frame.xx * frame.yy - frame.xy * frame.yx < 0

    def part(
        self,
        name: str,
        at: tuple[float, float],
        *strokes: tuple[Outline, Colour],
        scale: float = 1.0,
        coat: bool = False,
        move: float = 0.04,
        turn: float = 0.04,
    ) -> None:
        """Draw a part over what is there.

        Parameters
        ----------
        name : str
            "left" and "right" in it are the sides in an object that is not mirrored; in the layers they are the
            picture's.
        at : (float, float)
            Where in the object.
        *strokes : (Outline, Colour)
            What it is made of, about `at`.
        scale : float
            Factor on the strokes.
        coat : bool
            Whether the first stroke has the object's texture.
        move, turn : float
            How far it moves at most, in the object's unit; the tangent of half the angle that it turns at most.
        """
        draws, much = self.draws, self._jitter
        u, v = at[0] + much * draws.around(move), at[1] + much * draws.around(move)
        size = scale * (1 + much * draws.around(0.1))
        frame = self._frame.within(u, v, size, half_tangent(much * draws.around(turn)))
        if self._mirrored:
            side, _, rest = name.partition(" ")
            name = f"{_OTHER_SIDE[side]} {rest}" if side in _OTHER_SIDE else name
        for place, (outline, colour) in enumerate(strokes):
            texture = self._coat if coat and place == 0 else None
            self.layers.append(
                Layer(self._role, name, outline, frame, colour, texture, self.palette.pattern if texture else None)
            )


def _eye(make: Maker, name: str, at: tuple[float, float], scale: float = 1.0) -> None:
    look = make.draws.around(0.05), make.draws.around(0.04)
    make.part(
        name,
        at,
        (Ellipse(0, 0, 0.18, 0.17), make.palette.light),
        (Ellipse(*look, 0.1, 0.11), make.palette.dark),
        (Ellipse(look[0] - 0.03, look[1] - 0.04, 0.035, 0.035), (1.0, 1.0, 1.0)),
        scale=scale,
    )


def _wheel(make: Maker, name: str, at: tuple[float, float], scale: float = 1.0) -> None:
    cos, sin = make.draws.direction()
    spokes = [
        Line((-0.66 * a, -0.66 * b), (0.66 * a, 0.66 * b), 0.05)
        for a, b in (
            (cos, sin),
            (cos * 0.5 - sin * 0.866, sin * 0.5 + cos * 0.866),
            (cos * 0.5 + sin * 0.866, sin * 0.5 - cos * 0.866),
        )
    ]
    make.part(
        name,
        at,
        (Ellipse(0, 0, 1.0, 1.0), make.palette.dark),
        (Ellipse(0, 0, 0.68, 0.68), make.palette.light),
        (Union((*spokes, Ellipse(0, 0, 0.2, 0.2))), make.palette.dark),
        scale=scale,
        move=0.03,
    )


def _window(make: Maker, name: str, at: tuple[float, float], scale: float = 1.0) -> None:
    make.part(
        name,
        at,
        (Rectangle(0, 0, 1.0, 1.0, 0.1), make.palette.light),
        (Rectangle(0, 0, 0.8, 0.8), make.palette.glass),
        (Union((Line((0, -0.8), (0, 0.8), 0.07), Line((-0.8, 0), (0.8, 0), 0.07))), make.palette.light),
        scale=scale,
    )


def _pointed_ear(make: Maker, name: str, at: tuple[float, float], side: int) -> None:
    outer = Polygon(((-0.24 * side, 0.3), (0.26 * side, 0.22), (0.16 * side, -0.42)))
    inner = Polygon(((-0.1 * side, 0.16), (0.15 * side, 0.13), (0.11 * side, -0.24)))
    make.part(name, at, (outer, make.palette.main), (inner, make.palette.second))


def _round_ear(make: Maker, name: str, at: tuple[float, float], side: int) -> None:
    make.part(
        name,
        at,
        (Ellipse(0.02 * side, -0.02, 0.27, 0.27), make.palette.main),
        (Ellipse(0.03 * side, -0.02, 0.15, 0.15), make.palette.second),
    )


def _face(make: Maker, ear: Callable[[Maker, str, tuple[float, float], int], None]) -> None:
    palette = make.palette
    ear(make, "left ear", (-0.52, -0.5), -1)
    ear(make, "right ear", (0.52, -0.5), 1)
    make.part("head", (0, 0.12), (Ellipse(0, 0, 0.76, 0.68), palette.main), coat=True)
    make.part("muzzle", (0, 0.4), (Ellipse(0, 0, 0.36, 0.27), palette.light))
    _eye(make, "left eye", (-0.3, -0.06))
    _eye(make, "right eye", (0.3, -0.06))
    corners = Line((0, 0.09), (-0.15, 0.02), 0.022), Line((0, 0.09), (0.15, 0.02), 0.022)
    mouth = Union((Line((0, -0.1), (0, 0.09), 0.022), *corners))
    make.part("mouth", (0, 0.45), (mouth, palette.dark))
    make.part("nose", (0, 0.28), (Ellipse(0, 0, 0.13, 0.09), palette.dark))


def _cat(make: Maker) -> None:
    _face(make, _pointed_ear)


def _bear(make: Maker) -> None:
    _face(make, _round_ear)


def _tail_fin(make: Maker, name: str, at: tuple[float, float]) -> None:
    upper = Polygon(((0.12, 0), (-0.38, -0.42), (-0.24, 0.04)))
    lower = Polygon(((0.12, 0), (-0.38, 0.42), (-0.24, -0.04)))
    make.part(name, at, (Union((upper, lower)), make.palette.second))


def _fish(make: Maker) -> None:
    palette = make.palette
    _tail_fin(make, "tail", (-0.6, 0))
    make.part(
        "top fin", (-0.02, -0.36), (Polygon(((-0.34, 0.12), (0.34, 0.12), (0.06, -0.24), (-0.2, -0.2))), palette.second)
    )
    make.part("body", (0.06, 0), (Ellipse(0, 0, 0.72, 0.43), palette.main), coat=True)
    make.part("side fin", (-0.02, 0.1), (Polygon(((0.12, 0), (-0.24, -0.12), (-0.2, 0.2))), palette.accent), turn=0.15)
    make.part("mouth", (0.68, 0.09), (Line((-0.12, 0.02), (0.04, -0.02), 0.025), palette.dark))
    _eye(make, "eye", (0.45, -0.1), 0.75)


def _bird(make: Maker) -> None:
    palette = make.palette
    legs = Union(
        (
            Line((-0.12, -0.2), (-0.14, 0.2), 0.03),
            Line((0.12, -0.2), (0.12, 0.2), 0.03),
            Line((-0.14, 0.2), (0, 0.2), 0.03),
            Line((0.12, 0.2), (0.26, 0.2), 0.03),
        )
    )
    make.part("legs", (-0.04, 0.72), (legs, palette.accent))
    make.part(
        "tail",
        (-0.62, 0.02),
        (Polygon(((0.16, -0.1), (0.16, 0.16), (-0.36, 0.02), (-0.32, -0.24))), palette.second),
        turn=0.1,
    )
    make.part("body", (-0.06, 0.2), (Ellipse(0, 0, 0.58, 0.4, half_tangent(-0.1)), palette.main), coat=True)
    make.part("beak", (0.7, -0.36), (Polygon(((-0.1, -0.14), (-0.1, 0.14), (0.26, 0.03))), palette.accent))
    make.part("head", (0.4, -0.36), (Ellipse(0, 0, 0.31, 0.3), palette.main))
    make.part("wing", (-0.16, 0.14), (Ellipse(0, 0, 0.36, 0.2, half_tangent(-0.2)), palette.second), turn=0.15)
    _eye(make, "eye", (0.47, -0.42), 0.6)


def _car(make: Maker) -> None:
    palette = make.palette
    make.part(
        "cabin",
        (0, -0.16),
        (Polygon(((-0.56, 0.16), (-0.36, -0.28), (0.22, -0.28), (0.52, 0.16))), palette.main),
        move=0.02,
        turn=0.0,
    )
    make.part("body", (0, 0.2), (Rectangle(0, 0, 0.92, 0.25, 0.12), palette.main), coat=True, move=0.02, turn=0.0)
    _window(make, "rear window", (-0.22, -0.14), 0.17)
    _window(make, "front window", (0.18, -0.14), 0.17)
    make.part("headlight", (0.82, 0.14), (Ellipse(0, 0, 0.09, 0.09), palette.accent))
    _wheel(make, "rear wheel", (-0.5, 0.44), 0.25)
    _wheel(make, "front wheel", (0.5, 0.44), 0.25)


def _lorry(make: Maker) -> None:
    palette = make.palette
    make.part("chassis", (0, 0.4), (Rectangle(0, 0, 0.9, 0.07), palette.dark), move=0.01, turn=0.0)
    make.part("cab", (0.62, 0.08), (Rectangle(0, 0, 0.3, 0.34, 0.08), palette.main), move=0.02, turn=0.0)
    make.part("load", (-0.32, -0.1), (Rectangle(0, 0, 0.6, 0.5, 0.02), palette.second), coat=True, move=0.02, turn=0.0)
    _window(make, "window", (0.68, -0.04), 0.17)
    _wheel(make, "rear wheel", (-0.5, 0.5), 0.23)
    _wheel(make, "front wheel", (0.58, 0.5), 0.23)


def _bicycle(make: Maker) -> None:
    palette = make.palette
    _wheel(make, "rear wheel", (-0.54, 0.3), 0.4)
    _wheel(make, "front wheel", (0.54, 0.3), 0.4)
    tubes = (
        ((-0.54, 0.3), (-0.06, 0.32)),
        ((-0.54, 0.3), (-0.2, -0.16)),
        ((-0.06, 0.32), (-0.24, -0.3)),
        ((-0.06, 0.32), (0.38, -0.2)),
        ((-0.2, -0.16), (0.38, -0.2)),
        ((0.54, 0.3), (0.34, -0.34)),
    )
    make.part(
        "frame",
        (0, 0),
        (Union(tuple(Line(start, end, 0.05) for start, end in tubes)), palette.main),
        move=0.01,
        turn=0.0,
    )
    make.part("saddle", (-0.26, -0.36), (Rectangle(0, 0, 0.19, 0.06, 0.05), palette.dark))
    make.part(
        "handlebar",
        (0.36, -0.42),
        (Union((Line((-0.02, 0.1), (-0.04, -0.06), 0.045), Line((-0.04, -0.06), (0.2, -0.1), 0.05))), palette.dark),
    )


def _house(make: Maker) -> None:
    palette = make.palette
    make.part("chimney", (0.36, -0.5), (Rectangle(0, 0, 0.1, 0.26), palette.accent))
    make.part("wall", (0, 0.32), (Rectangle(0, 0, 0.62, 0.42), palette.main), coat=True, move=0.02, turn=0.0)
    make.part("roof", (0, -0.36), (Polygon(((-0.8, 0.3), (0.8, 0.3), (0, -0.46))), palette.second), move=0.02, turn=0.0)
    make.part(
        "door",
        (0.26, 0.48),
        (Rectangle(0, 0, 0.15, 0.26, 0.03), palette.accent),
        (Ellipse(-0.09, 0.02, 0.03, 0.03), palette.dark),
        turn=0.0,
    )
    _window(make, "window", (-0.26, 0.26), 0.19)


def _boat(make: Maker) -> None:
    palette = make.palette
    make.part("mast", (0, -0.26), (Rectangle(0, 0, 0.035, 0.62), palette.dark), move=0.01, turn=0.0)
    make.part("flag", (-0.13, -0.8), (Polygon(((0.12, -0.09), (0.12, 0.09), (-0.14, 0.0))), palette.accent), move=0.01)
    make.part("mainsail", (0.27, -0.24), (Polygon(((-0.2, -0.5), (-0.2, 0.4), (0.36, 0.4))), palette.light))
    make.part("foresail", (-0.26, -0.1), (Polygon(((0.19, -0.42), (0.19, 0.26), (-0.28, 0.26))), palette.second))
    make.part(
        "hull",
        (0, 0.5),
        (Polygon(((-0.8, -0.18), (0.84, -0.18), (0.56, 0.26), (-0.54, 0.26))), palette.main),
        coat=True,
        move=0.02,
        turn=0.03,
    )
    make.part(
        "portholes",
        (0, 0.46),
        (Union(tuple(Ellipse(u, 0, 0.08, 0.08) for u in (-0.3, 0.0, 0.3))), palette.glass),
        move=0.02,
    )


def _petals(make: Maker, name: str, at: tuple[float, float]) -> None:
    n = 5 + make.draws.whole(4)
    step_cos, step_sin = _PETAL_STEPS[n]
    cos, sin = 0.0, -1.0
    petals: list[Outline] = []
    for _ in range(n):
        petals.append(Ellipse(0.36 * cos, 0.36 * sin, 0.25, 0.9 / n + 0.02, (cos, sin)))
        cos, sin = cos * step_cos - sin * step_sin, sin * step_cos + cos * step_sin
    make.part(name, at, (Union(tuple(petals)), make.palette.main), turn=0.3)


def _flower(make: Maker) -> None:
    palette = make.palette
    green: Colour = (palette.glass[0] * 0.25, 0.35 + palette.second[1] * 0.3, palette.glass[2] * 0.2)
    make.part("stem", (0, 0.42), (Line((0, -0.5), (0.06, 0.52), 0.05), green))
    make.part("leaf", (0.26, 0.56), (Ellipse(0, 0, 0.27, 0.11, half_tangent(-0.25)), green), turn=0.2)
    _petals(make, "petals", (0, -0.34))
    make.part("centre", (0, -0.34), (Ellipse(0, 0, 0.19, 0.19), palette.accent), coat=True)


def _cup(make: Maker) -> None:
    palette = make.palette
    make.part("saucer", (0, 0.62), (Ellipse(0, 0, 0.8, 0.14), palette.second))
    make.part("handle", (0.56, 0.0), (Ring(0, 0, 0.26, 0.07), palette.main))
    sides = Polygon(((-0.58, -0.5), (0.58, -0.5), (0.4, 0.58), (-0.4, 0.58)))
    make.part("bowl", (0, 0.04), (sides, palette.main), coat=True, move=0.02, turn=0.0)
    make.part(
        "rim",
        (0, -0.46),
        (Ellipse(0, 0, 0.59, 0.15), palette.light),
        (Cut(Ellipse(0, 0.02, 0.5, 0.1), Rectangle(0, -1, 1, 0.96)), palette.accent),
        move=0.01,
        turn=0.0,
    )


_OTHER_SIDE = {"left": "right", "right": "left"}

# Cosine and sine of the angle between petals, by their number; written out, since a platform's own may differ in the
# last bit.
_PETAL_STEPS = {
    5: (0.30901699437494745, 0.9510565162951535),
    6: (0.5, 0.8660254037844386),
    7: (0.6234898018587336, 0.7818314824680298),
    8: (0.7071067811865476, 0.7071067811865476),
}

OBJECTS: Mapping[str, Callable[[Maker], None]] = MappingProxyType(
    {
        "cat": _cat,
        "bear": _bear,
        "spotted fish": _fish,
        "striped fish": _fish,
        "bird": _bird,
        "car": _car,
        "lorry": _lorry,
        "bicycle": _bicycle,
        "house": _house,
        "boat": _boat,
        "flower": _flower,
        "cup": _cup,
    }
)

# Parts that also lie about alone, in an object's frame.
LONE_PARTS: Mapping[str, Callable[[Maker], None]] = MappingProxyType(
    {
        "eye": lambda make: _eye(make, "eye", (0, 0)),
        "wheel": lambda make: _wheel(make, "wheel", (0, 0), 0.28),
        "window": lambda make: _window(make, "window", (0, 0), 0.2),
        "pointed ear": lambda make: _pointed_ear(make, "pointed ear", (0, 0), 1),
        "round ear": lambda make: _round_ear(make, "round ear", (0, 0), 1),
        "tail fin": lambda make: _tail_fin(make, "tail fin", (0.1, 0)),
        "petals": lambda make: _petals(make, "petals", (0, 0)),
    }
)


@cache
def parts_of(name: str) -> tuple[str, ...]:
    """Names of the parts of a kind of object, in the order in which they are drawn."""
    draws = Draws(0, 0, 0, 0)
    make = Maker(Frame(), Palette.draw(draws), draws)
    OBJECTS[name](make)
    return tuple(dict.fromkeys(layer.owner for layer in make.layers))

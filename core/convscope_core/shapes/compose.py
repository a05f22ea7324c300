"""What is in a picture: a scene, drawn by lot."""

from __future__ import annotations

from dataclasses import dataclass

from convscope_core.shapes.colours import Colour, Palette, muted, vivid
from convscope_core.shapes.draws import Draws, half_tangent
from convscope_core.shapes.frame import Frame
from convscope_core.shapes.objects import LONE_PARTS, OBJECTS, Maker
from convscope_core.shapes.outlines import Ellipse, Line, Outline, Polygon, Rectangle, Ring
from convscope_core.shapes.scene import Background, Layer, Light, Scene
from convscope_core.shapes.textures import BACKGROUNDS, COATS, draw_texture

__all__ = ["Amounts", "compose"]

# One stream of random numbers each, so that turning one thing off leaves the others as they are.
_OBJECT, _COAT, _BACKGROUND, _CLUTTER, _DISTRACTORS, _LIGHT = range(1, 7)

# The texture that belongs to a class; others have any.
_OWN_COATS = {"spotted fish": "spots", "striped fish": "stripes"}


@dataclass(frozen=True)
class Amounts:
    """How much of each nuisance there is, from 0 (none) to 1."""

    clutter: float
    distractors: float
    textures: float
    light: float
    pose: float
    jitter: float


def compose(name: str, seed: int, split: int, picture: int, amounts: Amounts) -> Scene:
    """Compose a picture of an object of this kind."""

    def draws(stream: int) -> Draws:
        return Draws(seed, split, picture, stream)

    layers, frame, coat, flipped = _object(name, draws(_OBJECT), draws(_COAT), amounts)
    behind, before = _clutter(draws(_CLUTTER), amounts)
    distractors = _distractors(draws(_DISTRACTORS), frame, amounts.distractors)
    return Scene(
        _background(draws(_BACKGROUND), amounts.textures),
        (*behind, *distractors, *layers, *before),
        _light(draws(_LIGHT), amounts.light),
        coat,
        flipped,
    )


def _object(name: str, draws: Draws, coat_draws: Draws, amounts: Amounts) -> tuple[list[Layer], Frame, str, bool]:
    much = amounts.pose
    scale = 0.68 + much * draws.around(0.16)
    # Objects reach a little beyond the unit circle of their frame, and stay inside the picture.
    room = 1 - 1.17 * scale
    x, y = much * draws.around(room), much * draws.around(room)
    turn = half_tangent(much * draws.around(0.16))
    flipped = draws.chance(0.5) and much > 0
    frame = Frame().within(x, y, scale, turn, flipped)
    palette = Palette.draw(draws)

    kind = coat_draws.choice(COATS)
    covered = coat_draws.unit() < amounts.textures
    kind = _OWN_COATS.get(name) or (kind if covered else "plain")
    coat = draw_texture(coat_draws, kind, (2.0, 3.6))

    make = Maker(frame, palette, draws, coat, amounts.jitter)
    OBJECTS[name](make)
    return make.layers, frame, kind, flipped


def _background(draws: Draws, amount: float) -> Background:
    colour, other = muted(draws), muted(draws)
    contrast = amount * draws.uniform(0.35, 1.0)
    red, green, blue = (a + (b - a) * contrast for a, b in zip(colour, other, strict=True))
    texture = draw_texture(draws, draws.choice(BACKGROUNDS), (1.2, 5.0))
    return Background(colour, texture if amount else None, (red, green, blue))


def _clutter(draws: Draws, amounts: Amounts) -> tuple[list[Layer], list[Layer]]:
    if not amounts.clutter:
        return [], []
    # Between none and the most, which grows with the amount: 7 behind the object, 1 before it.
    behind = [_thing(draws, (0.1, 0.4), amounts.textures) for _ in range(draws.whole(1 + round(7 * amounts.clutter)))]
    before = [_thing(draws, (0.06, 0.15), amounts.textures)] if draws.chance(0.4 * amounts.clutter) else []
    return behind, before


def _thing(draws: Draws, radius: tuple[float, float], textures: float) -> Layer:
    """Something that is part of nothing."""
    outlines: tuple[Outline, ...] = (
        Ellipse(0, 0, 1, draws.uniform(0.4, 1.0)),
        Rectangle(0, 0, draws.uniform(0.5, 0.9), draws.uniform(0.3, 0.9), draws.uniform(0, 0.25)),
        Polygon(((-0.9, 0.5), (0.9, 0.5), (draws.around(0.8), -0.8))),
        Ring(0, 0, 0.8, draws.uniform(0.1, 0.2)),
        Line((-1, 0), (1, 0), draws.uniform(0.1, 0.25)),
    )
    outline = draws.choice(outlines)
    frame = Frame().within(draws.around(1.0), draws.around(1.0), draws.uniform(*radius), draws.direction())
    colour: Colour = vivid(draws, draws.unit()) if draws.chance(0.6) else muted(draws)
    pattern = muted(draws)
    kind = draws.choice(COATS)
    covered = draws.unit() < textures * 0.6
    texture = draw_texture(draws, kind, (1.0, 2.5))
    return Layer("clutter", "clutter", outline, frame, colour, texture if covered else None, pattern)


def _distractors(draws: Draws, frame: Frame, amount: float) -> list[Layer]:
    """Up to two lone parts, of another object's colours, in the corners that the object leaves most room in."""
    if not amount:
        return []
    layers: list[Layer] = []
    corners = [(-1.0, -1.0), (-1.0, 1.0), (1.0, -1.0), (1.0, 1.0)]
    for count in range(1, 3):
        kind = draws.choice(tuple(LONE_PARTS))
        scale = draws.uniform(0.5, 0.85)
        along, across = draws.uniform(0.62, 0.85), draws.uniform(0.62, 0.85)
        turn, mirrored = half_tangent(draws.around(0.2)), draws.chance(0.5)
        palette = Palette.draw(draws)
        wanted = draws.chance(0.45 * amount if count == 1 else 0.3)
        if not wanted:
            break
        side = max(corners, key=lambda corner: (corner[0] * along - frame.x) ** 2 + (corner[1] * across - frame.y) ** 2)
        corners.remove(side)
        place = Frame().within(side[0] * along, side[1] * across, scale, turn, mirrored)
        make = Maker(place, palette, draws, role="distractor")
        LONE_PARTS[kind](make)
        layers += make.layers
    return layers


def _light(draws: Draws, amount: float) -> Light:
    cos, sin = draws.direction()
    # From above more often than from below.
    direction = (cos, -abs(sin) if draws.chance(0.85) else abs(sin))
    gain = 1 + amount * draws.uniform(-0.35, 0.15)
    warmth = amount * draws.around(0.08)
    return Light(direction, amount, gain, (1 + warmth, 1.0, 1 - warmth))

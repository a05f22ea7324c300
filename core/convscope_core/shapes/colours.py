"""Colours of an object and of its surroundings."""

from __future__ import annotations

from dataclasses import dataclass

from convscope_core.shapes.draws import Draws

__all__ = ["Colour", "Palette", "muted", "vivid"]

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Palette:
    """An object's colours.

    Attributes
    ----------
    main, second, accent : Colour
        Vivid, of hues apart from each other.
    pattern : Colour
        What the texture on `main` is drawn in: `main`, much lighter or darker.
    light, dark, glass : Colour
        Nearly white, nearly black, and a pale blue or yellow.
    """

    main: Colour
    second: Colour
    accent: Colour
    pattern: Colour
    light: Colour
    dark: Colour
    glass: Colour

    @classmethod
    def draw(cls, draws: Draws) -> Palette:
        """Draw colours by lot."""
        hue = draws.unit()
        main = vivid(draws, hue)
        second = vivid(draws, hue + draws.uniform(0.2, 0.45))
        accent = vivid(draws, hue + draws.uniform(0.5, 0.8))
        pattern = _mixed(main, 0.75, (0.08, 0.08, 0.1) if _luminance(main) > 0.45 else (1.0, 1.0, 0.95))
        glass = _hsv(draws.choice((0.14, 0.55, 0.6)), draws.uniform(0.2, 0.45), draws.uniform(0.85, 1.0))
        light = _hsv(draws.unit(), 0.08, draws.uniform(0.88, 1.0))
        dark = _hsv(draws.unit(), 0.3, draws.uniform(0.06, 0.2))
        return cls(main, second, accent, pattern, light, dark, glass)


def vivid(draws: Draws, hue: float) -> Colour:
    """A strong colour of a hue from 0 to 1, in the circle."""
    return _hsv(hue, draws.uniform(0.4, 0.95), draws.uniform(0.45, 1.0))


def muted(draws: Draws) -> Colour:
    """A weak colour of any hue and lightness, as backgrounds have."""
    return _hsv(draws.unit(), draws.uniform(0.05, 0.45), draws.uniform(0.25, 0.95))


def _mixed(colour: Colour, amount: float, other: Colour) -> Colour:
    a, b, c = (x + (y - x) * amount for x, y in zip(colour, other, strict=True))
    return a, b, c


def _luminance(colour: Colour) -> float:
    red, green, blue = colour
    return 0.3 * red + 0.6 * green + 0.1 * blue


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    def channel(shift: float) -> float:
        place = (shift + hue * 6) % 6
        return value - value * saturation * max(0.0, min(place, 4 - place, 1.0))

    return channel(5), channel(3), channel(1)

"""An instrument as a still picture, for whoever opens a notebook without its kernel."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Bar", "Strip", "drawn", "valued"]

#: Of the whole, px.
WIDTH, MARGIN, GAP = 760, 12, 4
#: Height of a line of text, and its size, px.
LINE, TEXT = 18, 13
#: Colours of the picture: few make a small file, which is part of the notebook.
COLOURS = 128
INK, GROUND = (60, 66, 74), (255, 255, 255)


class Bar(NamedTuple):
    """What the colours of pictures stand for.

    Attributes
    ----------
    colours : str
        Name of matplotlib's colour map that the pictures were made with.
    low, high : float
        What its ends stand for.
    text : str
    """

    colours: str
    low: float
    high: float
    text: str


class Strip(NamedTuple):
    """A line of text, and pictures beneath, of which a still picture has as many as there is room for.

    Attributes
    ----------
    text : str
    pictures : sequence of ndarray
        Each (h, w, 3) uint8.
    side : int
        Of a picture's longer side when drawn, px.
    captions : sequence of str
        Beneath each picture of a figure; a still picture has none.
    bar : Bar, optional
        Beside the pictures of a figure.
    """

    text: str
    pictures: Sequence[np.ndarray] = ()
    side: int = 84
    captions: Sequence[str] = ()
    bar: Bar | None = None


def valued(value: float, before: float | None) -> str:
    """An activation, and in brackets what it is before the ceiling of the layer's activation where that cuts it off."""
    numbers = [value] if before is None or before <= value else [value, before]
    first, *rest = (f"{number:#.3g}".rstrip(".") for number in numbers)
    return f"{first} ({rest[0]})" if rest else first


def drawn(strips: Sequence[Strip]) -> bytes:
    """Draw strips one beneath the other; a PNG."""
    font = ImageFont.load_default(TEXT)
    lines = [(strip, [_fit(one, strip.side) for one in strip.pictures]) for strip in strips]
    heights = [LINE + (max((one.height for one in pictures), default=-GAP) + 2 * GAP) for _, pictures in lines]
    sheet = Image.new("RGB", (WIDTH, 2 * MARGIN + sum(heights)), GROUND)
    draw = ImageDraw.Draw(sheet)
    top = MARGIN
    for (strip, pictures), height in zip(lines, heights, strict=True):
        draw.text((MARGIN, top), _cut(strip.text, font), INK, font)
        left = MARGIN
        for picture in pictures:
            if left + picture.width > WIDTH - MARGIN:
                break
            sheet.paste(picture, (left, top + LINE + GAP))
            left += picture.width + GAP
        top += height
    file = io.BytesIO()
    sheet.quantize(COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(file, "png")
    return file.getvalue()


def _fit(pixels: np.ndarray, side: int) -> Image.Image:
    picture = Image.fromarray(pixels)
    scale = side / max(picture.size)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    # Pixels of small maps are shown as the pixels that they are.
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BILINEAR)


def _cut(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    while text and font.getlength(text) > WIDTH - 2 * MARGIN:
        text = text[:-2].rstrip("…") + "…"
    return text

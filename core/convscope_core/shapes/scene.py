"""A scene: what is drawn, in which order, in which light. It knows no pixels."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from convscope_core.shapes.colours import Colour
from convscope_core.shapes.frame import Frame
from convscope_core.shapes.outlines import Outline
from convscope_core.shapes.textures import Texture

__all__ = ["Background", "Layer", "Light", "Role", "Scene"]

Role = Literal["clutter", "distractor", "part"]


@dataclass(frozen=True)
class Layer:
    """One flat thing of one colour, or of two in a texture.

    Attributes
    ----------
    role : {"clutter", "distractor", "part"}
        What it belongs to.
    owner : str
        The name of the part or distractor; several layers may make one.
    outline : Outline
        In units of `frame`.
    frame : Frame
        Where it is.
    colour : Colour
        Red, green and blue in [0, 1].
    texture, pattern : Texture and Colour, optional
        Where the second colour is, in units of `frame`, and which it is.
    """

    role: Role
    owner: str
    outline: Outline
    frame: Frame
    colour: Colour
    texture: Texture | None = None
    pattern: Colour | None = None


@dataclass(frozen=True)
class Background:
    """Two colours and a texture, in the picture's own frame."""

    colour: Colour
    texture: Texture | None
    pattern: Colour


@dataclass(frozen=True)
class Light:
    """The light on a scene.

    Attributes
    ----------
    direction : (float, float)
        A unit vector towards where the light comes from, x to the right, y down.
    strength : float
        How much brighter the lit side of a thing is than its middle, and how dark the object's shadow: 0 to 1.
    gain : float
        Factor on all colours.
    tint : Colour
        Further factors on red, green and blue.
    """

    direction: tuple[float, float] = (0.0, -1.0)
    strength: float = 0.0
    gain: float = 1.0
    tint: Colour = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Scene:
    """A background and layers, the later ones over the earlier.

    Attributes
    ----------
    background : Background
        Behind all.
    layers : tuple of Layer
        The object's parts stand together; its shadow falls on what lies before them.
    light : Light
        On all of it.
    texture : str
        Name of the texture on the object.
    flipped : bool
        Whether the object looks to the left instead of to the right.
    """

    background: Background
    layers: tuple[Layer, ...]
    light: Light
    texture: str
    flipped: bool

    def without(self, parts: Collection[str]) -> Scene:
        """The scene without these parts of the object."""
        kept = tuple(layer for layer in self.layers if layer.role != "part" or layer.owner not in parts)
        return replace(self, layers=kept)

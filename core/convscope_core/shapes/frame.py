"""Places of things: frames of reference within frames, down to the picture's."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Frame"]


@dataclass(frozen=True)
class Frame:
    """A frame of reference within the picture: turned, mirrored, scaled the same in both directions, moved.

    A point (u, v) of the frame lies at (xx u + xy v + x, yx u + yy v + y) of the picture, whose x goes from -1 (left)
    to 1 (right) and whose y goes from -1 (top) to 1 (bottom).

    Attributes
    ----------
    x, y : float
        The origin.
    xx, xy, yx, yy : float
        The matrix: a rotation or reflection times `scale`.
    scale : float
        Length of the frame's unit in the picture's.
    """

    x: float = 0.0
    y: float = 0.0
    xx: float = 1.0
    xy: float = 0.0
    yx: float = 0.0
    yy: float = 1.0
    scale: float = 1.0

    def place(self, u: float, v: float) -> tuple[float, float]:
        """The picture's coordinates of a point."""
        return self.xx * u + self.xy * v + self.x, self.yx * u + self.yy * v + self.y

    def within(
        self,
        u: float,
        v: float,
        scale: float = 1.0,
        turn: tuple[float, float] = (1.0, 0.0),
        mirrored: bool = False,
    ) -> Frame:
        """A frame inside this one: its origin at (u, v), turned by an angle of this (cosine, sine)."""
        cos, sin = turn
        a, b = (-cos if mirrored else cos), -sin
        c, d = (-sin if mirrored else sin), cos
        x, y = self.place(u, v)
        return Frame(
            x,
            y,
            scale * (self.xx * a + self.xy * c),
            scale * (self.xx * b + self.xy * d),
            scale * (self.yx * a + self.yy * c),
            scale * (self.yx * b + self.yy * d),
            scale * self.scale,
        )

    def inverse(self) -> tuple[float, float, float, float, float, float]:
        """Numbers (a, b, c, d, e, f): a picture's point (x, y) is (a x + b y + c, d x + e y + f) of the frame."""
        square = self.scale * self.scale
        a, b, d, e = self.xx / square, self.yx / square, self.xy / square, self.yy / square
        return a, b, -(a * self.x + b * self.y), d, e, -(d * self.x + e * self.y)

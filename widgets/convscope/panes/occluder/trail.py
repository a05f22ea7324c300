"""Where the occluder has been."""

from __future__ import annotations

__all__ = ["Trail"]


class Trail:
    """Where the occluder has been under one setting, and the probability of the target there.

    Attributes
    ----------
    number : int
        Grows with every new beginning, so that a view knows whose places it holds.
    visited : dict of (top, left) to float
    """

    def __init__(self) -> None:
        self.number = 0
        self.visited: dict[tuple[int, int], float] = {}
        self._setting: object = None

    def begin(self, setting: object) -> None:
        """Forget everything."""
        self._setting = setting
        self.number += 1
        self.visited = {}

    def visit(self, setting: object, position: tuple[int, int], value: float) -> int:
        """Note a place; returns the trail's number."""
        if setting != self._setting:
            self.begin(setting)
        self.visited[position] = value
        return self.number

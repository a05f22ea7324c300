"""How many images it takes to tell something of a unit: of fewer a survey says so, and computes nothing."""

from __future__ import annotations

from typing import NamedTuple

from convscope_core.errors import ArgumentError

__all__ = ["MINIMA", "Minimum", "inactive_word"]


class Minimum(NamedTuple):
    """The least number of images from which something is told, and why not from fewer.

    Attributes
    ----------
    images : int
        How many at least.
    of : str
        Which images count.
    reason : str
        Why fewer do not tell.
    """

    images: int
    of: str
    reason: str

    def shortage(self, count: int, what: str) -> str | None:
        """Say that so many images are too few for something; None where they are not."""
        if count >= self.images:
            return None
        return f"{what} told from {self.images} {self.of} on; here {'is' if count == 1 else 'are'} {count}."

    def require(self, count: int, what: str) -> None:
        """Raise ArgumentError where so many images are too few for something."""
        if count < self.images:
            raise ArgumentError(f"Expected at least {self.images} {self.of} for {what}, got {count}: {self.reason}.")


MINIMA: dict[str, Minimum] = {
    "preference": Minimum(
        5,
        "pictures of a class",
        "by chance alone the mean of n pictures strays by 1/sqrt(n) standard deviations, and the largest of ten such "
        "means by 1.5 times as much",
    ),
    "similar": Minimum(
        20,
        "sampled pictures",
        "over 10 pictures one in a hundred pairs of unrelated units correlates by 0.76 and more, over 20 by 0.56",
    ),
    "repeated": Minimum(
        8,
        "sampled pictures that activate a unit",
        "over 8 pictures one in a million pairs of unrelated units correlates by 0.99 and more, over 4 one in "
        "two hundred",
    ),
    "dead": Minimum(
        101,
        "pictures",
        "a unit that three pictures in a hundred activate is inactive in a hundred of them one time in twenty",
    ),
    "rare": Minimum(101, "pictures", "of fewer a single one is not less than one in a hundred"),
    "histogram": Minimum(5, "pictures that activate the unit", "so few values are better read one by one"),
}
"""By what is told: preferences for classes; similar, repeated, dead, rarely active units; the histogram of a unit."""


def inactive_word(images: int) -> str:
    """What units are called that none of so many images activated: "dead", or of too few (`MINIMA`) "inactive"."""
    return "inactive" if images < MINIMA["dead"].images else "dead"

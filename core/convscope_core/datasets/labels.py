"""Labels as text, and the text by which a picture is known again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["APART", "WrittenLabel", "described", "find_classes", "identity"]


class WrittenLabel(str):
    """A label that its data set keeps as a number without a name, or as anything else (one-hot, a float), as text.

    It is text like any other to look at; who learns from labels has to tell 10 from "10", and a class from neither.

    Attributes
    ----------
    number : int or None
        The number that it is; None for anything else.
    """

    number: int | None

    def __new__(cls, label: object) -> WrittenLabel:
        """Write a label as text."""
        made = super().__new__(cls, label)
        made.number = label if isinstance(label, int) else None
        return made


def find_classes(dataset: Any) -> Sequence[Any] | None:
    """Class names of a data set in the order of its numbers, also through `torch.utils.data.Subset`; None without."""
    while dataset is not None:
        classes = getattr(dataset, "classes", None)
        if isinstance(classes, (list, tuple)):
            return classes
        dataset = getattr(dataset, "dataset", None)
    return None


APART = "\x1f"
"""Between name, label and content in an identity."""


def identity(name: str, label: str | None, content: str) -> str:
    """Write name, label and content as one text."""
    return f"{name}{APART}{'' if label is None else label}{APART}{content}"


def described(identity: str) -> str:
    """Write an identity in words: 'name' labelled 'label'."""
    name, *more = identity.split(APART)
    return f"{name!r}" + (f" labelled {more[0]!r}" if more and more[0] else "")

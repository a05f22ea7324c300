"""WordNet's identifiers, by which folders of ImageNet are called, as the names of classes.

``imagenet_ids.txt`` lists the 1000 classes of ILSVRC 2012 in the order of networks' outputs, which is that of the
numbers (the challenge's development kit; taken from timm's ``imagenet_synsets.txt``, Apache 2.0). The names are those
that torchvision gives the outputs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

__all__ = ["class_name", "class_names"]

_ID = re.compile(r"n\d{8}")


def class_name(label: str) -> str:
    """Return the name of the ImageNet class that an id such as ``n01824575`` means; any other label as it is."""
    return _names().get(label, label) if _ID.fullmatch(label) else label


def class_names(labels: Iterable[str]) -> dict[str, str]:
    """Return the name of each label, none twice: a name that is a label itself stays that label's alone."""
    given = list(labels)
    return {label: label if (name := class_name(label)) in given else name for label in given}


@cache
def _names() -> dict[str, str]:
    from torchvision.models import ResNet18_Weights  # takes a second to import

    ids = (Path(__file__).parent / "imagenet_ids.txt").read_text(encoding="ascii").split()
    return {f"n{number}": name for number, name in zip(ids, ResNet18_Weights.DEFAULT.meta["categories"], strict=True)}

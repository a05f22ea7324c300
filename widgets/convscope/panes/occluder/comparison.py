"""Class probabilities before and after."""

from __future__ import annotations

from typing import Any

from convscope_core.network import Prediction

__all__ = ["ROWS", "compared"]

#: Rows of class probabilities.
ROWS = 5


def compared(clean: Prediction, now: Prediction, target: int | None, whole: Prediction | None = None) -> dict[str, Any]:
    """Class probabilities before and after, as the front end shows them: rows that keep their order.

    The followed class is one of the rows: after the most probable where it is none of them.

    Parameters
    ----------
    clean, now : Prediction
        Of the picture, and with the occluder on it.
    target : int or None
        The class that is followed; None for the first there was.
    whole : Prediction, optional
        Of the picture, by the network of which these have silenced units. The rows are then its classes.
    """
    first = clean if whole is None else whole

    def score(index: int) -> dict[str, Any]:
        return {
            "index": index,
            "label": clean.labels[index],
            "clean": float(clean.probabilities[index]),
            "now": float(now.probabilities[index]),
            **({} if whole is None else {"whole": float(whole.probabilities[index])}),
        }

    rows = [int(index) for index in first.probabilities.argsort(kind="stable")[::-1][:ROWS]]
    followed = first.index if target is None else target
    rows += [followed] * (followed not in rows)
    others = now.probabilities.copy()
    others[rows] = -1.0
    other = int(others.argmax())
    return {
        "target": score(followed),
        "before": score(first.index),
        "first": score(now.index),
        "classes": [score(index) for index in rows],
        "independent": clean.independent,
        "other": score(other) if others[other] >= 0 else None,
    }

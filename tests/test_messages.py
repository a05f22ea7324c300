"""What users read: every error that is raised on purpose begins alike, "Expected X, got Y."."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from convscope_core import errors

ROOT = Path(__file__).parents[1]
SOURCES = sorted([*(ROOT / "core").rglob("*.py"), *(ROOT / "widgets").rglob("*.py")])

#: What is raised on purpose: the package's own, and those of Python and traitlets that a caller would catch.
RAISED = {name for name in errors.__all__ if name.endswith("Error")} | {
    "ImportError", "KeyError", "LookupError", "TraitError", "TypeError", "ValueError",
}  # fmt: skip


def beginning(message: ast.expr) -> str | None:
    """The literal text with which a message begins; None where a variable says it."""
    if isinstance(message, ast.Constant) and isinstance(message.value, str):
        return message.value
    if isinstance(message, ast.JoinedStr) and message.values:
        return beginning(message.values[0])
    return beginning(message.left) if isinstance(message, ast.BinOp) else None


def messages(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            text = beginning(node.args[0]) if name in RAISED else None
            if text is not None:
                yield node.lineno, text


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_errors_say_first_what_was_expected(source: Path) -> None:
    text = source.read_text("utf-8")
    assert [(line, begins) for line, begins in messages(text) if not begins.startswith("Expected ")] == []
    assert "; got " not in text, 'what came follows a comma: "Expected X, got Y."'


def test_a_message_that_begins_otherwise_is_found() -> None:
    source = 'raise ArgumentError(f"there is no {x}.")\nraise ValueError("Expected a, got b.")\nraise TypeError(text)'
    assert list(messages(source)) == [(1, "there is no "), (2, "Expected a, got b.")]

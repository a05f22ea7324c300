"""What users read: errors that are raised on purpose begin alike, "Expected X, got Y."; a state has one name."""

from __future__ import annotations

import ast
import json
import re
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


# ---- one word for each state of a unit at zero (docs/concepts.md)

#: What is said otherwise: "inactive", "inactive here", "dead", "silenced".
BANNED = re.compile(r"\b(silent|never[- ]active|not active|never fires?|asleep|lifeless|how alive)\b", re.IGNORECASE)
SCRIPTS = sorted(path for path in (ROOT / "js").rglob("*") if path.suffix in (".ts", ".css"))
PAGES = sorted([*ROOT.glob("README.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")])

#: A comment, or text in quotes, whichever begins first.
LITERAL = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`|\'(?:[^\'\\\n]|\\.)*\'', re.DOTALL)


def shown(path: Path, text: str) -> Iterator[str]:
    """What of a file somebody reads: texts and docstrings of code, all of a page but its pictures."""
    if path.suffix == ".py":
        nodes = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Constant))
        yield from (node.value for node in nodes if isinstance(node.value, str))
    elif path.suffix in (".ts", ".css"):
        yield from (one for one in LITERAL.findall(text) if not one.startswith("/"))
    elif path.suffix == ".ipynb":
        yield from ("".join(cell["source"]) for cell in json.loads(text)["cells"])
    else:
        yield text


@pytest.mark.parametrize("path", [*SOURCES, *SCRIPTS, *PAGES], ids=lambda path: str(path.relative_to(ROOT)))
def test_a_unit_at_zero_is_called_what_it_is_called_elsewhere(path: Path) -> None:
    texts = " ".join(" ".join(shown(path, path.read_text("utf-8"))).split())
    assert [texts[max(0, one.start() - 40) : one.end() + 20] for one in BANNED.finditer(texts)] == []


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("a.py", 'def f():\n    """Units that are silent."""  # silent', 1),
        ("a.py", 'silent = f"{n} not\\x20active"', 1),
        ("a.ts", "// silent\nconst silent = `${n} never active`; /* silent */", 1),
        ("a.css", '.silent { content: "silent" }', 1),
        ("a.md", "Fell\nsilent.", 1),
        ("a.ipynb", '{"cells": [{"source": ["never\\n", "active"]}]}', 1),
        ("a.ts", 'const inactive = "silenced: inactive here, dead";', 0),
    ],
)
def test_another_word_for_it_is_found(name: str, text: str, found: int) -> None:
    words = " ".join(" ".join(shown(Path(name), text)).split())
    assert len(BANNED.findall(words)) == found

"""The files of the front end: a bundle an instrument, and one style sheet."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bundle", "styles", "text"]

STATIC = Path(__file__).parent / "static"


def bundle(name: str) -> str | Path:
    """The front end of one instrument, for its class's ``_esm``."""
    return _served(f"{name}.js")


def styles() -> str | Path:
    """The style sheet of all instruments, for ``_css``."""
    return _served("convscope.css")


def text(name: str) -> str:
    """What a file of the front end holds."""
    return _existing(name).read_text("utf-8")


def _served(name: str) -> str | Path:
    # Of a file anywidget keeps every instance that was made, to send it what changes: that is for who works on the
    # front end (`npm run watch`), and asks for it as anywidget wants it.
    return _existing(name) if os.environ.get("ANYWIDGET_HMR") == "1" else text(name)


def _existing(name: str) -> Path:
    file = STATIC / name
    if not file.exists():
        raise ImportError(
            f"Expected the front end of convscope, built, got no {file.name} in {STATIC.name} beside "
            f"{Path(__file__).name}. In a checkout run `make js` (it needs Node 20 or newer); reinstall an "
            "installed package."
        )
    return file

"""The files of the front end: a bundle an instrument, and one style sheet."""

from __future__ import annotations

from pathlib import Path

__all__ = ["STYLES", "bundle"]

STATIC = Path(__file__).parent / "static"

STYLES = STATIC / "convscope.css"


def bundle(name: str) -> Path:
    """The front end of one instrument, for its class's ``_esm``."""
    file = STATIC / f"{name}.js"
    if not file.exists():
        raise ImportError(
            f"Expected the front end of convscope, built, got no {file.name} in {STATIC.name} beside "
            f"{Path(__file__).name}. In a checkout run `make js` (it needs Node 20 or newer); reinstall an "
            "installed package."
        )
    return file

"""How the documentation's site is built: `make docs`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

project = "convscope"
author = "convscope contributors"
version = release = json.loads((ROOT / "package.json").read_text())["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
]

# Markdown pages, and the notebooks as `docs/live_notebooks.py` executed them.
exclude_patterns = ["_site", "_extra", "_templates"]
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3

autosummary_generate = True
autodoc_typehints = "none"  # numpydoc's sections say it
autodoc_member_order = "groupwise"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
templates_path = ["_templates"]

intersphinx_mapping = {}  # the site is built without a network

html_theme = "pydata_sphinx_theme"
html_title = "convscope"
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # the instruments' pages
html_css_files = ["site.css"]
html_show_sourcelink = False
html_theme_options = {
    "show_nav_level": 1,
    "navigation_with_keys": False,  # arrow keys belong to the instruments
    # Instruments want the room.
    "secondary_sidebar_items": {"notebooks/*": [], "[!n]*": ["page-toc"]},
}
html_sidebars = {"notebooks/*": [], "index": []}


def _signature(
    app: Any, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str, str] | None:
    """Show what an instrument's constructor takes: Sphinx finds the `__new__` of traitlets first."""
    if what != "class":
        return None
    try:
        found = inspect.signature(obj)
    except (TypeError, ValueError):
        return None
    bare = [one.replace(annotation=inspect.Parameter.empty) for one in found.parameters.values()]
    return str(inspect.Signature(bare)), ""


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", _signature)

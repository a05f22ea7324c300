"""An instrument as one page that works without a kernel."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from typing import Any

from ._static import text
from ._wire import plain

__all__ = ["saved_page"]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 16px; background: #fff; font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; }} }}
{css}</style></head>
<body><div id="convscope"></div>
<script type="application/json" id="saved">{payload}</script>
<script type="module">
const saved = JSON.parse(document.getElementById("saved").textContent);
const {{ showSaved }} = await import("data:text/javascript;base64,{bundle}");
showSaved(saved, document.getElementById("convscope"));
</script></body></html>
"""


def saved_page(
    name: str, title: str, state: Mapping[str, Any], answers: Sequence[tuple[str, Mapping[str, Any], Sequence[bytes]]]
) -> str:
    """Write a page with the front end, the traits, and the answers that it will ask for.

    Parameters
    ----------
    name : str
        Of the front end's bundle.
    title : str
    state : mapping
        Values of the traits, ready for JSON.
    answers : sequence of (kind, fields, buffers)
        What a request of that kind is answered.

    Returns
    -------
    str
    """
    packed = [
        {
            "content": {"kind": kind, "ok": True, **fields},
            "buffers": [base64.b64encode(one).decode("ascii") for one in buffers],
        }
        for kind, fields, buffers in answers
    ]
    # Neither "</script" nor "<!--" nor anything else in a label may end, or begin, what the page is made of.
    payload = json.dumps({"state": plain(state), "answers": packed}, allow_nan=False).replace("<", "\\u003c")
    return PAGE.format(
        title=html.escape(title),
        css=text("convscope.css"),
        bundle=base64.b64encode(text(f"{name}.js").encode()).decode("ascii"),
        payload=payload,
    )

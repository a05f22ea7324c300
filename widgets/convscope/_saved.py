"""An instrument as one page, or one module of JavaScript, that works without a kernel."""

from __future__ import annotations

import base64
import html
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from ._static import text
from ._wire import plain

__all__ = ["saved_module", "saved_page"]

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>body {{ margin: 16px; background: #fff; font-family: system-ui, sans-serif; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #111; }} noscript {{ color: #eee; }} }}
noscript img {{ max-width: 100%; }}
{css}</style></head>
<body><div id="convscope"></div>
<noscript>{still}
<p>This is a picture of the instrument; with JavaScript, the page shows the instrument itself.</p></noscript>
<script type="application/json" id="saved">{payload}</script>
<script type="module">
{front_end}
{show}(JSON.parse(document.getElementById("saved").textContent), document.getElementById("convscope"));
</script></body></html>
"""

#: What is written in one file stands in it as text: no name of it can be one of the front end's.
MODULE = """{front_end}
export default {{
  render({{ el }}) {{
    el.append(Object.assign(document.createElement("style"), {{ textContent: {css} }}));
    {show}(JSON.parse({payload}), el);
  }},
}};
"""

#: How a bundle ends: with what it exports, and while one works on it with its source map.
EXPORTS = re.compile(r"export\s*\{([^}]*)\};?\s*(?://# sourceMappingURL=\S*\s*)?\Z")

#: One thing exported: what it is called inside, and outside if that differs.
EXPORTED = re.compile(r"([\w$]+)(?:\s+as\s+([\w$]+))?")


#: What a request of a kind is answered: the kind, fields, buffers.
Answers: TypeAlias = Sequence[tuple[str, Mapping[str, Any], Sequence[bytes]]]


def saved_page(name: str, title: str, state: Mapping[str, Any], answers: Answers, still: str) -> str:
    """Write a page with the front end, the traits, and the answers that it will ask for.

    Parameters
    ----------
    name : str
        Of the front end's bundle.
    title : str
    state : mapping
        Values of the traits, ready for JSON.
    answers : Answers
    still : str
        A PNG in base64 for readers without JavaScript; may be empty.

    Returns
    -------
    str
        The page. Its script is inline, so that it runs where a policy allows no other (`script-src 'unsafe-inline'`).
    """
    front_end, show = _inlined(text(f"{name}.js"))
    return PAGE.format(
        title=html.escape(title),
        css=text("convscope.css"),
        front_end=front_end,
        show=show,
        payload=_payload(state, answers),
        still=f'<img alt="{html.escape(title)}" src="data:image/png;base64,{still}">' if still else "",
    )


def saved_module(name: str, state: Mapping[str, Any], answers: Answers) -> str:
    """Write a module of JavaScript whose default export renders the instrument, as an anywidget's does.

    It brings its style sheet along, needs nothing of the model that it is given, and may be shown in a shadow tree.
    """
    front_end, show = _inlined(text(f"{name}.js"))
    css = json.dumps(text("convscope.css"))
    return MODULE.format(front_end=front_end, show=show, css=css, payload=json.dumps(_payload(state, answers)))


def _payload(state: Mapping[str, Any], answers: Answers) -> str:
    """Traits and answers as JSON, in which no text of a label ends, or begins, what a page is made of."""
    packed = [
        {
            "content": {"kind": kind, "ok": True, **_without_paths(fields)},
            "buffers": [_packed(bytes(one)) for one in buffers],
        }
        for kind, fields, buffers in answers
    ]
    # Neither "</script" nor "<!--"
    return json.dumps({"state": plain(state), "answers": packed}, allow_nan=False).replace("<", "\\u003c")


def _packed(data: bytes) -> str:
    """Pack a buffer: deflated as it is ("z"), or ("d") as steps to the next pixel of the same colour."""
    values = np.frombuffer(data, np.uint8)
    steps = values.copy()
    steps[3:] -= values[:-3]
    plain_, delta = zlib.compress(data, 6), zlib.compress(steps.tobytes(), 6)
    return f"d{_base64(delta)}" if len(delta) < len(plain_) else f"z{_base64(plain_)}"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _without_paths(fields: Any) -> Any:
    """Return fields of an answer without the places of files, which say whose disk they were on."""
    if isinstance(fields, Mapping):
        return {name: None if name == "path" else _without_paths(value) for name, value in fields.items()}
    return [_without_paths(one) for one in fields] if isinstance(fields, list) else fields


def _inlined(bundle: str) -> tuple[str, str]:
    """Return a bundle as a script that exports nothing, and the name of its ``showSaved``."""
    end = EXPORTS.search(bundle)
    names = {outside or inside: inside for inside, outside in EXPORTED.findall(end[1])} if end else {}
    if end is None or "showSaved" not in names or re.search(r"</script|<!--", bundle, re.IGNORECASE):
        raise RuntimeError(
            "Expected a bundle that exports showSaved and can stand in a page. Run make js, or reinstall."
        )
    return bundle[: end.start()], names["showSaved"]

"""Print, as constraints for pip, the lowest versions of the packages that users need: `make lowest` tests with them.

    python tests/lowest_versions.py pyproject.toml > constraints.txt

Those that only tests and documentation need are left out: of these the newest are used.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

#: Extras of those who work on it.
OURS = ("docs", "test", "dev")


def constraints(text: str) -> list[str]:
    """Return a line for each package with a lower bound in the text of a pyproject.toml; Python 3.10 reads no TOML."""
    found: dict[str, None] = {}
    for heading, items in re.findall(r"^([\w-]+) = \[(.*?)\]\n", text, re.MULTILINE | re.DOTALL):
        if heading == "dependencies" or (heading not in OURS and heading in _extras(text)):
            for name, bound, marker in re.findall(r'"([\w-]+)>=([\w.]+)(; [^"]*)?"', items):
                found[f"{name}=={bound}{marker}"] = None
    return list(found)


def _extras(text: str) -> set[str]:
    section = re.search(r"^\[project.optional-dependencies\]\n(.*?)^\[", text, re.MULTILINE | re.DOTALL)
    return set(re.findall(r"^([\w-]+) = \[", section[1], re.MULTILINE)) if section else set()


if __name__ == "__main__":
    print("\n".join(constraints(Path(sys.argv[1]).read_text("utf-8"))))

"""Builds the JavaScript bundles whenever the wheel (editable or not) is built, and the description for package indexes.

``CONVSCOPE_SKIP_JS=1`` leaves the bundle as it is, for environments that build it by another way. What is missing is
reported by ``SystemExit``: pip shows its one sentence, where any other exception would come with a traceback.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

STATIC = "widgets/convscope/static"


def bundle(root: Path) -> list[str]:
    """What the build makes: a script for each instrument, and the style sheet."""
    names = [f"{file.stem}.js" for file in sorted((root / "js" / "instruments").glob("*.ts"))]
    return [f"{STATIC}/{name}" for name in [*names, "convscope.css"]]


def find_npm(root: Path) -> str:
    """Path of npm; raise ``SystemExit`` where there is none, or where Node.js is older than package.json asks for."""
    engines: dict[str, str] = json.loads((root / "package.json").read_text(encoding="utf-8"))["engines"]
    oldest = engines["node"].removeprefix(">=")
    needed = f"Building convscope needs Node.js >= {oldest} with npm"
    remedy = "or install convscope from a wheel, which carries the built JavaScript."
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise SystemExit(f"{needed}, and there is none on PATH. Install it, {remedy}")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = re.match(r"v(\d+)\.", version)
    if major is None or int(major[1]) < int(oldest):
        raise SystemExit(f"{needed}; the one on PATH is {version or 'broken'}. Install a newer one, {remedy}")
    return npm


def description(readme: str) -> str:
    """The README for a package index, where no files stand beside it: without pictures, and pages by name only."""
    text = re.sub(r"<picture>.*?</picture>\n+", "", readme, flags=re.DOTALL)
    text = re.sub(r"\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", text)
    return f"{text.rstrip()}\n\nPages that are named, and pictures, come with the source distribution.\n"


class DescriptionHook(MetadataHookInterface):
    """Writes the project's description."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Put it into the project's metadata."""
        readme = Path(self.root, "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": description(readme)}


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``npm ci`` where the installed packages are older than the lock file, then ``npm run build``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the bundle; raise ``SystemExit`` where a wheel would end up without one, or with an old one."""
        root = Path(self.root)
        if os.environ.get("CONVSCOPE_SKIP_JS", "") not in {"", "0"}:
            missing = [name for name in bundle(root) if not (root / name).is_file()]
            if missing and version != "editable":
                raise SystemExit(
                    f"CONVSCOPE_SKIP_JS is set but {' and '.join(missing)} is not built: the wheel would "
                    "have no widgets. Run `npm ci && npm run build` first, or unset CONVSCOPE_SKIP_JS."
                )
            return
        npm = find_npm(root)
        # npm writes node_modules/.package-lock.json at the end of every install
        lock, packages = root / "package-lock.json", root / "node_modules"
        installed = packages / ".package-lock.json"
        current = installed.is_file() and installed.stat().st_mtime >= lock.stat().st_mtime
        # What a link leads to belongs to another folder: npm ci would empty it.
        if not current and not packages.is_symlink():
            subprocess.run([npm, "ci", "--no-audit"], cwd=root, check=True)
        subprocess.run([npm, "run", "--silent", "build"], cwd=root, check=True)

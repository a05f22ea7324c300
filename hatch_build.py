"""Builds the JavaScript bundles whenever the wheel (editable or not) is built.

``CONVSCOPE_SKIP_JS=1`` leaves the bundle as it is, for environments that build it by another way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

STATIC = "widgets/convscope/static"


def bundle(root: Path) -> list[str]:
    """What the build makes: a script for each instrument, and the style sheet."""
    names = [f"{file.stem}.js" for file in sorted((root / "js" / "instruments").glob("*.ts"))]
    return [f"{STATIC}/{name}" for name in [*names, "convscope.css"]]


class BundleHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs ``npm ci`` where the installed packages do not match the lock file, then ``npm run build``."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make the bundle; raise ``RuntimeError`` where a wheel would end up without one."""
        root = Path(self.root)
        missing = [name for name in bundle(root) if not (root / name).is_file()]
        if os.environ.get("CONVSCOPE_SKIP_JS", "") not in {"", "0"}:
            if missing and version != "editable":
                raise RuntimeError(
                    f"CONVSCOPE_SKIP_JS is set but {' and '.join(missing)} is not built: the wheel would "
                    "have no widgets. Run `npm ci && npm run build` first, or unset CONVSCOPE_SKIP_JS."
                )
            return
        npm = shutil.which("npm")
        if npm is None:
            if missing:
                raise RuntimeError(
                    "Building convscope needs npm (Node.js >= 20) and there is none on PATH. Install Node.js "
                    "or install convscope from a wheel, which carries the built JavaScript."
                )
            self.app.display_warning("npm is not on PATH: the bundle that is there is used, as it is")
            return
        # npm writes node_modules/.package-lock.json at the end of every install
        lock, installed = root / "package-lock.json", root / "node_modules" / ".package-lock.json"
        if not installed.is_file() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run([npm, "ci", "--no-audit"], cwd=root, check=True)
        subprocess.run([npm, "run", "--silent", "build"], cwd=root, check=True)

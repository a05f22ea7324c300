"""All tables of speeds, one after the other: each script's own says what it measures, how, and with which options.

    make benchmark                                     # all; several hours
    python tests/benchmarks --only first_light,drag    # some

What the tables say depends on the machine, and on what else it does: nothing else should run.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from machine import described

#: Of the scripts in this folder those that measure speed; the others are about what is right.
SCRIPTS = ("first_light", "drag", "occlusion", "projection", "survey", "patterns", "evolution", "stores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(SCRIPTS), help="scripts, separated by commas")
    names = parser.parse_args().only.split(",")
    if unknown := set(names) - set(SCRIPTS):
        parser.error(f"Expected some of {', '.join(SCRIPTS)}, got {', '.join(sorted(unknown))}.")
    failed = []
    for name in names:
        print(f"\n# {name}\n\n{described()}, load {os.getloadavg()[0]:.1f} at the beginning.\n", flush=True)
        begun = time.monotonic()
        script = Path(__file__).with_name(f"{name}.py")
        if subprocess.run([sys.executable, str(script)], check=False).returncode:
            failed.append(name)
        print(f"\n({(time.monotonic() - begun) / 60:.0f} minutes)", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()

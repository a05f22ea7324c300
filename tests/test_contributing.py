"""The first additions that CONTRIBUTING.md leads through: its files are cut out and run, on both sides."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import convscope
import convscope.panes
import convscope_core.experiments
import convscope_core.explain
from convscope import _static
from convscope_core.explain.method import METHODS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"```\w+\n(?:#|//) (\S+\.\w+)\n(.*?)```", re.DOTALL)
FILES = dict(BLOCK.findall((ROOT / "CONTRIBUTING.md").read_text("utf-8")))


def run(tree: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's front end with the page's files in their places."""
    tree = tmp_path_factory.mktemp("contributing")
    shutil.copytree(ROOT / "js", tree / "js")
    for name in ("package.json", "tsconfig.json", "biome.json", "vitest.config.ts", "pyproject.toml"):
        shutil.copy(ROOT / name, tree)
    (tree / "node_modules").symlink_to(ROOT / "node_modules")
    for name, text in FILES.items():
        assert not (ROOT / name).exists(), f"{name} is an example, and should not be in the repository"
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text, "utf-8")
    return tree


@pytest.fixture(scope="module")
def built(tree: Path) -> Path:
    run(tree, "node", "js/build.mjs")
    return tree / "widgets/convscope/static"


@pytest.fixture
def importable(tree: Path, built: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page's modules stand beside those of the packages that they say."""
    for package in (convscope, convscope.panes, convscope_core.explain, convscope_core.experiments):
        side = "core" if package.__name__.startswith("convscope_core") else "widgets"
        beside = str(tree / side / package.__name__.replace(".", "/"))
        monkeypatch.setattr(package, "__path__", [*package.__path__, beside])
    monkeypatch.setattr(_static, "STATIC", built)
    methods = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(methods)
    for name in [*modules("core"), *modules("widgets")]:
        package, _, module = name.rpartition(".")
        if sys.modules.pop(name, None):
            delattr(sys.modules[package], module)


def modules(side: str) -> list[str]:
    """The names of the page's modules on one side, in its order."""
    names = [Path(name) for name in FILES if name.startswith(f"{side}/") and name.endswith(".py")]
    return [".".join(name.with_suffix("").parts[1:]) for name in names]


def test_the_page_leads_through_an_explainer_a_measure_and_a_pane() -> None:
    assert modules("core") == ["convscope_core.explain.unrectified", "convscope_core.experiments.mirror"]
    assert modules("widgets") == ["convscope.panes.norms", "convscope.norms"]
    assert [name for name in FILES if name.startswith("js/panes/")], "the browser's side, too"


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("tests/")])
def test_its_tests_pass(name: str, tree: Path, importable: None) -> None:
    for module in [*modules("core"), *modules("widgets")]:
        assert Path(importlib.import_module(module).__file__ or "").is_relative_to(tree)
    namespace: dict[str, object] = {"__name__": "contributed"}
    exec(compile(FILES[name], name, "exec"), namespace)
    tests = [one for key, one in namespace.items() if key.startswith("test_")]
    assert tests
    for test in tests:
        test()  # type: ignore[operator]


def test_its_front_end_is_sound(tree: Path) -> None:
    browser = [name for name in FILES if name.endswith(".ts")]
    tools = tree / "node_modules" / ".bin"
    run(tree, str(tools / "biome"), "check", "--error-on-warnings", *browser)
    run(tree, str(tools / "tsc"), "--noEmit")
    run(tree, str(tools / "vitest"), "run", "--no-cache", *[name for name in browser if name.endswith(".test.ts")])


def test_its_python_is_in_the_house_style(tree: Path) -> None:
    files = [name for name in FILES if name.endswith(".py")]
    run(tree, sys.executable, "-m", "ruff", "check", "--no-cache", "--ignore", "ARG002", *files)
    run(tree, sys.executable, "-m", "ruff", "format", "--no-cache", "--check", *files)

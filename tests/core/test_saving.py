"""Files of results: whole or not there, and never believed when they are damaged, forged, or out of reach."""

from __future__ import annotations

import ast
import importlib
import json
import os
import pkgutil
import re
import resource
import stat
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch import nn

import convscope_core
from convscope_core.errors import ArgumentError, ConvscopeError, StoreError
from convscope_core.evolution import Checkpoints, EvolutionResult, evolution
from convscope_core.experiments import (
    Ablation,
    Comparison,
    ConsistencyResult,
    CorrespondenceResult,
    Degradation,
    FilterHealth,
    InvarianceResult,
    Probes,
    ablation,
    compare,
    consistency,
    correspondence,
    degradation,
    filter_health,
    invariance,
    probe,
)
from convscope_core.models import MeanSubtraction
from convscope_core.network import Network
from convscope_core.occlusion import OcclusionResult, occlusion_map
from convscope_core.patterns import Patterns, fit_patterns
from convscope_core.saved_result import SavedResult, types_of
from convscope_core.saving import Damage, inflated, opened_result, save_result, write_text
from convscope_core.training import Training, train
from convscope_core.training.result import Epoch

SIZE = 16


class Kind(NamedTuple):
    """A result with a file of its own: what makes one, and reads it."""

    make: Callable[[], Any]
    load: Callable[[Any], Any]


def module(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 2, 3, 2), nn.ReLU(), nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return nn.Sequential(*layers, nn.Linear(3, 3)).eval()


class Pictures(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    classes = ("a", "b", "c")

    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        draws = np.random.default_rng(index)
        return torch.from_numpy(draws.integers(0, 256, (3, SIZE, SIZE), np.uint8)), index % 3


NET, OTHER = (Network(module(seed), input_size=SIZE, labels=Pictures.classes) for seed in range(2))
PICTURES = [Pictures()[index][0] for index in range(6)]
MOMENTS = [(epoch, module(epoch).state_dict()) for epoch in range(2)]
QUIET: dict[str, Any] = {"progress": False}


def learner() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 3))


def learnt(path: Any = None) -> Any:
    preprocess = MeanSubtraction(resize=12, size=10)
    return train(learner(), Pictures(), 2, batch_size=4, preprocess=preprocess, checkpoint=path, **QUIET)


class Checkpoint(NamedTuple):
    """The checkpoint of a training, which is no result of its own."""

    def save(self, path: Path) -> Path:
        learnt(path)
        return path


KINDS = {
    "map": Kind(
        lambda: occlusion_map(NET, PICTURES[0], 4, 4, shape=np.eye(4, dtype=bool), keep_all=True, **QUIET),
        OcclusionResult.load,
    ),
    "patterns": Kind(lambda: fit_patterns(NET, PICTURES, ("positive", "all"), **QUIET), Patterns.load),
    "curves": Kind(
        lambda: degradation(NET, PICTURES[:2], ["random", "gradient"], patch=4, steps=2, **QUIET), Degradation.load
    ),
    "ablation": Kind(lambda: ablation(NET, Pictures(), {"one": {"0": [0]}}, **QUIET), Ablation.load),
    "probes": Kind(lambda: probe(NET, Pictures(), per_class=2, held_out=2, splits=2, **QUIET), Probes.load),
    "invariance": Kind(
        lambda: invariance(NET, PICTURES[:2], {"shift_x": [-2, 0, 2], "brightness": [0.5, 1]}, ["0"], **QUIET),
        InvarianceResult.load,
    ),
    "consistency": Kind(
        lambda: consistency(NET, PICTURES[:2], passes=2, reach=4, attempts=2, **QUIET), ConsistencyResult.load
    ),
    "correspondence": Kind(
        lambda: correspondence(NET, PICTURES[:3], {"eye": [(4, 4), (9, 9), (5, 8)]}, ["0"], size=4, places=3,
                               permutations=9, **QUIET),
        CorrespondenceResult.load,
    ),
    "filters": Kind(lambda: filter_health(NET, None, PICTURES, pictures=4, **QUIET), FilterHealth.load),
    "comparison": Kind(
        lambda: compare(NET, OTHER, PICTURES, k=2, sample=3, **QUIET),
        lambda path: Comparison.load(path, NET, OTHER, PICTURES),
    ),
    "evolution": Kind(
        lambda: evolution(Checkpoints.of(MOMENTS, NET), PICTURES, k=2, sample=3, **QUIET),
        lambda path: EvolutionResult.load(path, Checkpoints.of(MOMENTS, NET), PICTURES),
    ),
    "training": Kind(learnt, lambda path: Training.load(path, learner())),
    "checkpoint": Kind(Checkpoint, lambda path: learnt(path)),
}  # fmt: skip
RESULTS = [kind for kind in KINDS if kind != "checkpoint"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of each kind."""
    folder = tmp_path_factory.mktemp("saved")
    return {name: kind.make().save(folder / name) for name, kind in KINDS.items()}


def contents(path: Path) -> tuple[str, dict[str, Any], dict[str, Any]]:
    with safe_open(path, "np") as file:
        about = file.metadata()
        return about["format"], {name: file.get_tensor(name) for name in file.keys()}, json.loads(about["settings"])  # noqa: SIM118


def same(kind: str, path: Path, whole: Path, scratch: Path) -> bool:
    """Whether a file is read as another is."""
    result = KINDS[kind].load(path)
    if kind == "evolution":  # it looks for the pictures of its own when they are asked for
        return repr(result) == repr(KINDS[kind].load(whole))
    again = result.save(scratch)
    (form, arrays, about), (form_, arrays_, about_) = contents(again), contents(whole)
    return (form, about) == (form_, about_) and all(
        a.dtype == arrays_[name].dtype and a.tobytes() == arrays_[name].tobytes() for name, a in arrays.items()
    )


@pytest.mark.parametrize("kind", RESULTS)
def test_what_is_saved_is_read_again(saved: dict[str, Path], kind: str, tmp_path: Path) -> None:
    assert same(kind, saved[kind], saved[kind], tmp_path / "again")
    assert sorted(os.listdir(saved[kind].parent)) == sorted(KINDS), "nothing is left beside it"


@pytest.mark.parametrize("kind", RESULTS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_bytes_are_refused_or_change_nothing(
    saved: dict[str, Path], kind: str, tmp_path: Path, data: Any
) -> None:
    changed = bytearray(saved[kind].read_bytes())
    header = 8 + int.from_bytes(changed[:8], "little")
    for _ in range(data.draw(st.integers(1, 3))):
        region = data.draw(st.sampled_from([(0, 8), (8, header), (header, len(changed))]))
        changed[data.draw(st.integers(region[0], region[1] - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "changed").write_bytes(changed)
    with suppress(ConvscopeError):
        assert same(kind, tmp_path / "changed", saved[kind], tmp_path / "again")


@pytest.mark.parametrize("kind", RESULTS)
@pytest.mark.parametrize("letter", range(6))
def test_a_digest_that_lost_its_name_is_missed(saved: dict[str, Path], kind: str, letter: int, tmp_path: Path) -> None:
    changed = bytearray(saved[kind].read_bytes())
    changed[changed.index(b'"digest"') + 1 + letter] ^= 1
    changed[-1] ^= 1
    (tmp_path / "changed").write_bytes(changed)
    with pytest.raises(StoreError, match="is damaged or another kind of file: its metadata hold"):
        KINDS[kind].load(tmp_path / "changed")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
def test_a_file_that_was_cut_off_is_refused(saved: dict[str, Path], kind: str, step: int, tmp_path: Path) -> None:
    whole = saved[kind].read_bytes()
    (tmp_path / "cut").write_bytes(whole)
    for length in reversed(range(0, len(whole), max(step, len(whole) // 50 if step > 1 else 1))):
        os.truncate(tmp_path / "cut", length)
        with pytest.raises(StoreError, match=r"^Expected a file of .*, which is damaged or another kind of file: "):
            KINDS[kind].load(tmp_path / "cut")


def wide(array: np.ndarray) -> np.ndarray:
    return np.concatenate([array, array])


FORGED: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], object]]] = [
    ("patterns", lambda a, s: a.update({"positive/0": np.full_like(a["positive/0"], np.nan)})),
    ("patterns", lambda a, s: a.update({"positive/0": a["positive/0"].astype(np.float64)})),
    ("patterns", lambda a, s: a.update({"positive/0": wide(a["positive/0"])})),
    ("patterns", lambda a, s: a.update({"positive/9": a["positive/0"]})),
    ("patterns", lambda a, s: a.pop("all/0")),
    ("patterns", lambda a, s: s.update(fits=[])),
    ("patterns", lambda a, s: s.pop("fingerprint")),
    ("patterns", lambda a, s: s.update(fingerprint=5)),
    ("patterns", lambda a, s: s.update(regimes=["sometimes"])),
    ("patterns", lambda a, s: s.update(images="many")),
    ("patterns", lambda a, s: s["fits"][0].update(units=-1)),
    ("patterns", lambda a, s: s["fits"][0].update(dead=[10**9])),
    ("patterns", lambda a, s: s["fits"][0].update(colour="red")),
    ("map", lambda a, s: s.update(mask=[60_000, 60_000])),
    ("map", lambda a, s: s.update(mask=[10**30, 10**30])),
    ("map", lambda a, s: s.update(mask=[-4, -4])),
    ("map", lambda a, s: a.update(mask=a["mask"].astype(np.float32))),
    ("map", lambda a, s: a.update(probability=a["probability"] + 2)),
    ("map", lambda a, s: a.update(label=a["label"] + 7)),
    ("map", lambda a, s: a.update(positions=wide(a["positions"]))),
    ("map", lambda a, s: a.update(picture=a["picture"][0])),
    ("map", lambda a, s: a.update(all_activities=a["all_activities"][..., :1])),
    ("map", lambda a, s: a.pop("clean_all_activities")),
    ("map", lambda a, s: a.update(surplus=a["label"])),
    ("map", lambda a, s: a.pop("clean")),
    ("map", lambda a, s: s.update(target=99)),
    ("map", lambda a, s: s.update(target=None)),
    ("map", lambda a, s: s.update(size=[4])),
    ("map", lambda a, s: s.update(maps=[])),
    ("map", lambda a, s: s.update(labels=[1, 2, 3])),
    ("map", lambda a, s: s.update(seed=1.5)),
    ("curves", lambda a, s: a.update(probability=a["probability"][:1])),
    ("curves", lambda a, s: a.update(targets=a["targets"].astype(np.int32))),
    ("curves", lambda a, s: s.update(methods=[])),
    ("curves", lambda a, s: s.update(methods=None)),
    ("curves", lambda a, s: s.update(skipped=[1])),
    ("curves", lambda a, s: s.update(patch="nine")),
]


@pytest.mark.parametrize(("kind", "forge"), FORGED)
def test_contents_that_no_result_has_are_refused_before_memory_is_taken(
    saved: dict[str, Path], kind: str, forge: Any, tmp_path: Path
) -> None:
    """With a digest that fits: somebody wrote them so."""
    form, arrays, about = contents(saved[kind])
    forge(arrays, about)
    path = save_result(tmp_path / "forged", form, arrays, about)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreError, match=r"^Expected a file of .*damaged or another kind of file.*\. Save the result"):
        KINDS[kind].load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=3)
)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_in_it_the_error_is_ours(saved: dict[str, Path], kind: str, tmp_path: Path, data: Any) -> None:
    form, arrays, about = contents(saved[kind])
    for _ in range(data.draw(st.integers(1, 2))):
        where: dict[str, Any] = data.draw(st.sampled_from([arrays, about]))
        name = data.draw(st.sampled_from(sorted(where)))
        if data.draw(st.booleans()):
            where.pop(name)
        elif where is about:
            where[name] = data.draw(VALUES)
        else:
            shape = data.draw(st.lists(st.integers(0, 3), max_size=4))
            where[name] = np.ones(shape, data.draw(st.sampled_from(["f4", "f8", "i8", "u1", "?"])))
        if not (arrays and about):
            break
    path = save_result(tmp_path / "forged", form, arrays, about)
    with suppress(ConvscopeError):
        repr(KINDS[kind].load(path))


@pytest.mark.parametrize("kind", RESULTS)
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "pipe", "no file"), (tmp_path, "no file"), (tmp_path / "none", "not exist")):
        with pytest.raises(ArgumentError, match=words):
            KINDS[kind].load(path)
    for path in (5, None, True, "", "a\0b", b"bytes", 1.5):
        with pytest.raises(ArgumentError, match="as the path of a file, got "):
            KINDS[kind].load(path)


def test_every_result_that_has_files_is_tried(tmp_path: Path) -> None:
    """So that a new one is, too."""
    for module in pkgutil.walk_packages(convscope_core.__path__, "convscope_core."):
        importlib.import_module(module.name)
    made = {type(KINDS[kind].make()) for kind in RESULTS}
    kept = {
        kind
        for kind in classes_of("convscope_core")
        if callable(getattr(kind, "save", None)) and callable(getattr(kind, "load", None))
    }
    # What SavedResult is for is in its subclasses; a folder of checkpoints is tried in test_recorder.py.
    assert kept - {SavedResult, Checkpoints} == made


def classes_of(package: str) -> set[type]:
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == package]
    found = {one for module in modules for one in vars(module).values() if isinstance(one, type)}
    return {one for one in found if one.__module__.partition(".")[0] == package}


@dataclass(frozen=True)
class Wide(SavedResult):
    """What Python 3.10 cannot evaluate among its annotations, and what no version can; neither is a field."""

    count: int
    pair: tuple[str, Epoch | None]
    _arrays: ClassVar = {}  # type: ignore[misc]
    _form: ClassVar[NoSuchName] = "wide"  # type: ignore[name-defined]  # noqa: F821
    other: ClassVar = 3  # type: ignore[misc]


def test_only_fields_have_to_be_understood_to_read_a_result(tmp_path: Path) -> None:
    one = Wide(2, ("a", None))
    assert Wide.load(one.save(tmp_path / "wide")) == one
    assert list(types_of(Wide)) == ["count", "pair"]
    assert list(types_of(Epoch)) == [field.name for field in fields(Epoch)]
    assert list(types_of(Kind)) == [*Kind._fields]
    assert types_of(Wide)["count"] is int


# ---- writing


def limited(script: str, *arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **options)


FULL = """
import resource, sys
import convscope_core
from convscope_core.errors import StoreError
from convscope_core.saved_result import SavedResult, types_of
from convscope_core.saving import write_text
from convscope_core.patterns import Patterns
patterns = Patterns.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for write in (lambda: patterns.save(sys.argv[2]), lambda: write_text(sys.argv[2], "page" * 1000)):
    try:
        write()
    except StoreError as error:
        print(error)
"""


@pytest.mark.parametrize("before", ["what was there before", None])
def test_a_full_disk_leaves_what_was_there(saved: dict[str, Path], tmp_path: Path, before: str | None) -> None:
    """A limit on the size of files is the full disk that a test can have; the system reports it in the same way."""
    target = tmp_path / "target"
    if before is not None:
        target.write_text(before)
    done = limited(FULL, saved["patterns"], target)
    assert done.stdout.count("got a full disk: its file may not become larger") == 2, done
    assert done.stdout.count("What was there before is as it was. Raise the limit, or give a path on") == 2, done
    assert os.listdir(tmp_path) == ([] if before is None else ["target"])
    if before is not None:
        assert target.read_text() == before


def test_writing_takes_the_place_of_a_file_and_nothing_else_of_it(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_text(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    umask = os.umask(0o022)
    try:
        save_result(tmp_path / "fresh", "form", {"a": np.zeros(2)}, {})
    finally:
        os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o644, "as any other file"


def test_no_file_is_written_but_through_the_door() -> None:
    """Which writes beside and renames: what a full disk leaves is whole."""
    for package in (convscope_core, pytest.importorskip("convscope")):
        for file in Path(package.__path__[0]).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or file.name == "saving.py":
                    continue
                called, said = ast.unparse(node.func), [ast.unparse(one) for one in node.args]
                opens = called.rpartition(".")[2] == "open" and any(re.fullmatch(r"'[wax]b?\+?'", one) for one in said)
                assert not opens, f"{file}:{node.lineno}"
                writes = called.endswith((".write_bytes", ".write_text"))
                assert not writes, f"{file}:{node.lineno}"
                if called.endswith((".savefig", "save_file")):
                    assert {*said} & {"file", "beside"}, f"{file}:{node.lineno}"


PROTECTED = """
import os, sys
import convscope_core
from convscope_core.errors import StoreError
from convscope_core.saved_result import SavedResult, types_of
from convscope_core.saving import write_text
if os.getuid() == 0:  # who may write everywhere
    os.setgid(65534)
    os.setuid(65534)
for target in sys.argv[1:]:
    try:
        write_text(target, "new")
    except StoreError as error:
        print(error)
"""


def test_a_protected_file_or_folder_is_named() -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        file, folder = Path(root, "file"), Path(root, "folder")
        file.write_text("old")
        file.chmod(0o444)
        folder.mkdir(mode=0o555)
        done = limited(PROTECTED, file, folder / "new")
        assert done.stdout.count("written where results are added, got none: Permission denied. What was") == 2, done
        assert file.read_text() == "old"
        assert not list(folder.iterdir())


def test_text_that_utf_8_cannot_say_is_written_all_the_same(tmp_path: Path) -> None:
    write_text(tmp_path / "page", f"a\ud800b{os.fsdecode(bytes([255]))}é")
    assert (tmp_path / "page").read_text("utf-8") == "a?b?é"


def test_a_device_is_not_replaced_by_a_file() -> None:
    with pytest.raises(ArgumentError, match="a file to write"):
        write_text("/dev/null", "page")
    assert not Path("/dev/null").is_file()


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 3)])
def test_arrays_keep_their_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).T
    path = save_result(tmp_path / "file", "form", {"a": array}, {})
    with opened_result(path, "the test", ["form"]) as (_, arrays, _):
        np.testing.assert_array_equal(arrays["a"], array, strict=True)


# ---- what is compressed


@settings(max_examples=60)
@given(st.binary(max_size=200), st.integers(0, 9), st.data())
def test_what_was_compressed_comes_back_whole_or_not_at_all(content: bytes, level: int, data: Any) -> None:
    packed = zlib.compress(content, level)
    assert inflated(packed, len(content)) == content
    with pytest.raises((Damage, zlib.error)):
        inflated(packed[: data.draw(st.integers(0, len(packed) - 1))], len(content))
    with pytest.raises(Damage, match="incomplete"):
        inflated(packed + b"more", len(content))
    if content:
        with pytest.raises(Damage, match="holds more than"):
            inflated(packed, len(content) - 1)


def test_a_bomb_is_not_set_off() -> None:
    maker = zlib.compressobj(9)
    bomb = b"".join([*(maker.compress(bytes(2**20)) for _ in range(600)), maker.flush()])
    assert len(bomb) < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(Damage, match="more than the 1,000 bytes"):
        inflated(bomb, 1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000, "kB"

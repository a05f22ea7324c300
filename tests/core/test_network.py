"""Network: pictures in, probabilities, activations and layers out; and what it refuses."""

from __future__ import annotations

import gc
import pickle
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
import torchvision
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torchvision import transforms
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ImageError, LayerError, NetworkError, TraceError
from convscope_core.experiments import ablating, comparing, corresponding, measuring_invariance, probing
from convscope_core.network import Layer, Network, Prediction
from convscope_core.patterns import fitting_patterns
from convscope_core.survey import surveying

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PRESET = ImageClassification(crop_size=32, resize_size=40, mean=MEAN, std=STD)


def module(channels: int = 3, classes: int = 5) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(channels, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, classes),
    ).eval()


@pytest.fixture(scope="module")
def net() -> Network:
    return Network(module(), preprocess=PRESET, labels=["ant", "bee", "cat", "dog", "elk"], input_size=32)


def photograph(height: int = 48, width: int = 64) -> np.ndarray[Any, Any]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 3 % 256, y * 5 % 256, (x + y) * 2 % 256], 2).astype(np.uint8)


# -- preparing --


def test_prepare_is_the_preset(net: Network) -> None:
    a = photograph()
    x = net.prepare(a)
    assert (x.shape, x.dtype, x.device) == ((1, 3, 32, 32), torch.float32, net.device)
    assert torch.equal(x[0].cpu(), PRESET(PIL.Image.fromarray(a)))


def test_prepare_takes_everything_that_read_image_takes(net: Network, tmp_path: Path) -> None:
    a = photograph()
    path = tmp_path / "p.png"
    PIL.Image.fromarray(a).save(path)
    expected = net.prepare(a)
    for source in (path, str(path), path.read_bytes(), PIL.Image.fromarray(a), torch.from_numpy(a).permute(2, 0, 1)):
        assert torch.equal(net.prepare(source), expected)


def test_float_tensors_are_in_network_space_already(net: Network) -> None:
    x = torch.randn(3, 32, 32, requires_grad=True)
    for t in (x, x[None], x.double(), x.half().float()):
        got = net.prepare(t)
        assert got.shape == (1, 3, 32, 32)
        assert not got.requires_grad
        torch.testing.assert_close(got[0].cpu(), x.detach(), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.zeros(3, 31, 32), ["(3, 32, 32)", "(3, 31, 32)"]),
        (torch.zeros(2, 3, 32, 32), ["net.forward"]),
        (torch.zeros(32, 32, 3), ["permute(2, 0, 1)"]),
        (torch.full((3, 32, 32), torch.nan), ["NaN"]),
        (torch.full((3, 32, 32), torch.inf), ["infinity"]),
        (torch.zeros(3, 32, 32, dtype=torch.int64), ["uint8", "int64"]),
    ],
)
def test_unfit_tensors_are_refused(net: Network, tensor: torch.Tensor, words: list[str]) -> None:
    with pytest.raises(ImageError, match="Expected") as error:
        net.prepare(tensor)
    assert all(w in str(error.value) for w in words), error.value


def test_picture_is_what_the_network_sees(net: Network) -> None:
    a = photograph()
    seen = net.picture(a)
    assert (seen.shape, seen.dtype) == ((32, 32, 3), np.uint8)
    resized = transforms.Compose([transforms.Resize(40), transforms.CenterCrop(32)])(PIL.Image.fromarray(a))
    assert np.abs(seen.astype(int) - np.asarray(resized)).max() <= 1
    assert np.array_equal(net.picture(net.prepare(a)), seen)
    assert np.array_equal(net.pixels(net.prepare(a)[0, :, 3:20, 5:9]), seen[3:20, 5:9])


@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_colours_go_there_and_back(colour: list[float]) -> None:
    rgb = torch.tensor(colour).view(3, 1, 1)
    x = shared().to_network(rgb)
    expected = (rgb - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(shared().to_rgb(x), rgb, rtol=1e-5, atol=1e-5)
    batch = rgb.expand(2, 4, 3, 5, 6)
    assert shared().to_network(batch).shape == batch.shape
    assert shared().to_rgb(x * 100).min() >= 0
    assert shared().to_rgb(x * 100).max() <= 1


_nets: list[Network] = []


def shared() -> Network:
    if not _nets:
        _nets.append(Network(module(), preprocess=PRESET, input_size=32))
    return _nets[0]


PREPROCESSING: dict[str, Any] = {
    "preset": PRESET,
    "v1": transforms.Compose(
        [transforms.Resize(40), transforms.CenterCrop(32), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    ),
    "v2": v2.Compose(
        [
            v2.ToImage(), v2.Resize(40), v2.CenterCrop(32), v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    ),
    "function": lambda p: transforms.functional.normalize(
        torch.from_numpy(np.array(p.resize((32, 32)))).permute(2, 0, 1).float() / 255, MEAN, STD
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PREPROCESSING)
def test_normalisation_is_found_by_probing(name: str) -> None:
    made = Network(module(), preprocess=PREPROCESSING[name], input_size=32)
    x = made.to_network(torch.tensor([[[0.2]], [[0.5]], [[0.9]]]))
    expected = (torch.tensor([0.2, 0.5, 0.9]) - torch.tensor(MEAN)) / torch.tensor(STD)
    torch.testing.assert_close(x.flatten(), expected, rtol=1e-3, atol=1e-3)


def test_values_of_0_to_255_and_swapped_channels() -> None:
    def caffe(p: PIL.Image.Image) -> torch.Tensor:
        rgb = torch.from_numpy(np.array(p.resize((32, 32)))).permute(2, 0, 1).float()
        return rgb - torch.tensor([124.0, 117.0, 104.0])[:, None, None]

    made = Network(module(), preprocess=caffe, input_size=32)
    torch.testing.assert_close(
        made.to_network(torch.full((3, 1, 1), 0.5)).flatten(), torch.tensor([3.5, 10.5, 23.5]), rtol=1e-4, atol=1e-3
    )


def random_flip(p: PIL.Image.Image) -> Any:
    return PREPROCESSING["v1"](transforms.RandomHorizontalFlip()(p))


@pytest.mark.parametrize(
    ("preprocess", "size", "words"),
    [
        (transforms.ToTensor(), 32, ["(3, 32, 32)", "input_size="]),
        (PRESET, 64, ["(3, 64, 64)", "(3, 32, 32)", "input_size=(3, 32, 32)"]),
        (lambda p: p, 32, ["got a Image", "ToTensor"]),
        (lambda p: 1 / 0, 32, ["ZeroDivisionError"]),
        (lambda p: PREPROCESSING["v1"](p) ** 2, 32, ["(value - mean) / std", "black"]),
        (lambda p: PREPROCESSING["v1"](p) * 0, 32, ["(value - mean) / std"]),
        (lambda p: PREPROCESSING["v1"](p) + torch.rand(3, 32, 32), 32, ["(value - mean) / std"]),
        (random_flip, 32, ["same result", "validation"]),
    ],
)
def test_unfit_preprocessing_is_refused(preprocess: Any, size: int, words: list[str]) -> None:
    with pytest.raises(NetworkError, match="Expected") as error:
        Network(module(), preprocess=preprocess, input_size=size)
    assert all(w in str(error.value) for w in words), error.value


def test_without_preprocessing_pictures_are_fitted_and_between_0_and_1() -> None:
    made = Network(module(), input_size=(32, 48))
    exact = photograph(32, 48)
    assert torch.equal(made.prepare(exact)[0], torch.from_numpy(exact.astype(np.float32) / 255).permute(2, 0, 1))
    assert np.array_equal(made.picture(exact), exact)
    wide = np.zeros((64, 200, 3), np.uint8)
    wide[:, 52:148] = 255  # the centre of the right shape
    assert made.prepare(wide)[0, :, :, 2:-2].min() > 0.99


def test_one_channel() -> None:
    made = Network(module(1), input_size=28)
    assert made.input_shape == (1, 28, 28)
    grey = photograph(28, 28)[:, :, 0]
    assert torch.equal(made.prepare(grey)[0, 0], torch.from_numpy(grey.astype(np.float32) / 255))
    assert made.prepare(photograph()).shape == (1, 1, 28, 28)
    assert np.array_equal(made.picture(grey), np.repeat(grey[..., None], 3, 2))
    digits = transforms.Compose([transforms.Resize((28, 28)), transforms.ToTensor(), transforms.Normalize(0.13, 0.31)])
    made = Network(module(1), preprocess=digits, input_size=28)
    torch.testing.assert_close(made.to_network(torch.tensor([[[0.13]]])), torch.zeros(1, 1, 1), atol=1e-4, rtol=0)


def test_five_channels_take_tensors() -> None:
    made = Network(module(5), input_size=16)
    assert made.input_shape == (5, 16, 16)
    assert made.predict(torch.rand(5, 16, 16)).probabilities.shape == (5,)
    assert made.picture(torch.rand(5, 16, 16)).shape == (16, 16, 3)
    with pytest.raises(ImageError, match="5 channels"):
        made.prepare(photograph())


# -- computing --


def test_forward_is_the_module(net: Network) -> None:
    torch.manual_seed(1)
    reference = module()
    for n in (1, 4):
        x = torch.randn(n, 3, 32, 32)
        logits, values = net.forward(x, ["0", "5", "8"])
        with torch.no_grad():
            torch.testing.assert_close(logits.cpu(), reference(x), rtol=1e-5, atol=1e-5)
            expected = {"0": reference[:3](x), "4": reference[:6](x), "8": reference(x)[:, :, None, None]}
        assert values.keys() == expected.keys()  # the layers' own names: "5" is the rectifier of "4"
        for name, value in expected.items():
            torch.testing.assert_close(values[name].cpu(), value, rtol=1e-5, atol=1e-5)


def test_forward_computes_no_gradient(net: Network) -> None:
    logits, values = net.forward(torch.randn(1, 3, 32, 32, requires_grad=True), ["0"])
    assert not logits.requires_grad
    assert not values["0"].requires_grad


@pytest.mark.parametrize("x", [torch.zeros(3, 32, 32), torch.zeros(1, 3, 30, 32), torch.zeros(0, 3, 32, 32), None])
def test_forward_refuses_what_is_no_batch(net: Network, x: Any) -> None:
    with pytest.raises(ImageError, match=r"Expected a batch \(N, 3, 32, 32\)"):
        net.forward(x)


def test_activations_of_one_layer_or_several(net: Network) -> None:
    a = photograph()
    _, values = net.forward(net.prepare(a), ["0", "4"])
    for given_ in ("4", ["4"], [net.layer("4")], ("0", "4"), {"5", "0"}):
        found = net.activations(a, given_)  # type: ignore[arg-type]
        for name, value in found.items():
            assert torch.equal(value, values[name])
    assert list(net.activations(a, ["4", "0"])) == ["4", "0"]
    assert net.activations(a, []) == {}


def test_prediction(net: Network) -> None:
    a = photograph()
    found = net.predict(a)
    with torch.no_grad():
        expected = module()(net.prepare(a).cpu()).softmax(1)[0]
    np.testing.assert_allclose(found.probabilities, expected.numpy(), rtol=1e-4)
    assert found.probabilities.dtype == np.float32
    best = int(expected.argmax())
    assert (found.index, found.label) == (best, net.labels[best])
    assert found.probability == pytest.approx(float(expected.max()), rel=1e-4)
    top = found.top(3)
    assert top[0] == (found.label, found.probability)
    assert [p for _, p in top] == sorted(found.probabilities.tolist(), reverse=True)[:3]
    assert len(found.top(99)) == 5
    assert found.top(0) == []
    assert found.label in repr(found)


def test_equal_probabilities_come_in_order_of_class() -> None:
    even = Prediction(np.full(4, 0.25, np.float32), ("d", "c", "b", "a"))
    assert [n for n, _ in even.top(4)] == ["d", "c", "b", "a"]


def test_softmax_at_the_end_is_not_applied_twice() -> None:
    plain, ended = (
        Network(module(), input_size=32),
        Network(nn.Sequential(module(), nn.Softmax(1)).eval(), input_size=32),
    )
    a = photograph()
    np.testing.assert_allclose(ended.predict(a).probabilities, plain.predict(a).probabilities, rtol=1e-5)


def test_forward_is_under_the_lock(net: Network) -> None:
    done = threading.Event()
    with net.lock:
        worker = threading.Thread(target=lambda: (net.predict(photograph()), done.set()))
        worker.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    worker.join()


# -- layers --


def test_layers(net: Network) -> None:
    assert [(x.name, x.kind, x.channels, x.size, x.activation) for x in net.layers] == [
        ("0", "conv", 6, (32, 32), "relu"),
        ("3", "pool", 6, (16, 16), None),
        ("4", "conv", 8, (14, 14), "relu"),
        ("6", "pool", 8, (1, 1), None),
        ("8", "linear", 5, (1, 1), None),
    ]
    assert [tuple(x.receptive_field) for x in net.layers] == [
        (3, 1, 0), (4, 2, 0.5), (8, 2, 2.5), (32, 32, 15.5), (32, 32, 15.5),
    ]  # fmt: skip
    assert net.layer("1") is net.layer("2") is net.layer("0")
    assert net.layer("4").box(0, 0) == (-1, -1, 7, 7)
    assert net.layer("4").box(13, 13) == (25, 25, 33, 33)
    assert net.layer("8").box(0, 0) == (0, 0, 32, 32)
    assert not net.layer("4").gated


def test_boxes_hold_what_a_unit_depends_on(net: Network) -> None:
    x = torch.randn(1, 3, 32, 32)
    _, before = net.forward(x, ["4"])
    box = net.layer("4").box(5, 9)
    changed = x + 1
    changed[:, :, box.top : box.bottom, box.left : box.right] = x[:, :, box.top : box.bottom, box.left : box.right]
    _, after = net.forward(changed, ["4"])
    assert torch.equal(before["4"][0, :, 5, 9], after["4"][0, :, 5, 9])
    assert not torch.equal(before["4"], after["4"])


def test_unknown_layers_and_positions(net: Network) -> None:
    with pytest.raises(LayerError, match="got 'conv1'"):
        net.layer("conv1")
    with pytest.raises(LookupError, match="Close matches: 4"):
        net.activations(photograph(), "44")
    with pytest.raises(LayerError):
        net.layer(7)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="14×14"):
        net.layer("4").box(14, 0)
    with pytest.raises(ArgumentError, match="row -1"):
        net.layer("4").box(-1, 0)


DOORS: dict[str, Callable[[Network, Images, Any], Any]] = {
    "activations": lambda net, images, layers: net.activations(images[0].image, layers),
    "survey": surveying,
    "patterns": lambda net, images, layers: fitting_patterns(net, images, layers=layers),
    "invariance": lambda net, images, layers: measuring_invariance(net, images, "shift_y", layers),
    "comparison": lambda net, images, layers: comparing(net, net, images, layers),
    "correspondence": lambda net, images, layers: corresponding(net, images, [(8, 8)] * 2, layers=layers, size=5),
    "probes": probing,
    "ablation": ablating,
}


@pytest.mark.parametrize("door", DOORS)
def test_layers_are_given_alike_everywhere(net: Network, door: str) -> None:
    images = Images.of([photograph()] * 2)
    layer = net.layer("4")
    for layers in (layer.name, layer, [layer], (layer.name, layer), iter([layer.name])):
        DOORS[door](net, images, layers)
    for wrong in (5, 1.5, object()):
        with pytest.raises(ArgumentError, match="Expected the name of a layer or several of them, got"):
            DOORS[door](net, images, wrong)
    for wrong in ([5], "no layer", [layer, "no layer"]):
        with pytest.raises(LayerError):
            DOORS[door](net, images, wrong)


def test_weight_of_a_layer_has_its_batch_norm(net: Network) -> None:
    reference = module()
    norm = reference[1]
    assert isinstance(norm, nn.BatchNorm2d)
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()  # type: ignore[operator]
    weight = net.weight("0")
    assert weight is not None
    torch.testing.assert_close(weight.cpu(), (reference[0].weight * gain[:, None, None, None]).detach())
    weight.zero_()
    assert net.weight("1").abs().sum() > 0  # type: ignore[union-attr]
    assert net.weight("3") is None


# -- construction --


def test_labels_default_to_the_index_and_must_fit() -> None:
    assert Network(module(), input_size=32).labels == ("0", "1", "2", "3", "4")
    with pytest.raises(NetworkError, match="Expected 5 class names, one for each output, got 4"):
        Network(module(), input_size=32, labels=list("abcd"))
    with pytest.raises(NetworkError, match="list of 5 class names, got a str"):
        Network(module(), input_size=32, labels="abcde")


def test_class_index(net: Network) -> None:
    assert net.class_index("cat") == net.class_index(2) == net.class_index(np.int64(2)) == 2
    for wrong in ("cats", 5, -1, True):
        with pytest.raises(ArgumentError, match="Expected a class"):
            net.class_index(wrong)


@pytest.mark.parametrize("size", [0, -3, (32,), (1, 2, 3, 4), "32", 32.0, (32.0, 32)])
def test_input_size_must_be_a_size(size: Any) -> None:
    with pytest.raises(NetworkError, match="Expected input_size"):
        Network(module(), input_size=size)


def test_errors_of_the_graph_come_through() -> None:
    with pytest.raises(TraceError, match=r"Call \.eval\(\)"):
        Network(module().train(), input_size=32)
    with pytest.raises(TraceError, match=r"torch\.nn\.Module"):
        Network(lambda x: x)  # type: ignore[arg-type]
    with pytest.raises(TraceError, match="input_size"):
        Network(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(50, 3)).eval(), input_size=32)


def test_device_is_checked() -> None:
    with pytest.raises(ArgumentError, match="'toaster'"):
        Network(module(), input_size=32, device="toaster")
    assert Network(module(), input_size=32, device="cpu").device.type == "cpu"


def test_names_and_repr() -> None:
    made = Network(module(), input_size=32, name="mine")
    assert made.name == "mine"
    for part in ("mine", "5 classes", "5 layers", "3×32×32", str(made.device)):
        assert part in repr(made)
    assert "6" in repr(made.layers[0])
    assert isinstance(made.layers[0], Layer)


def test_fingerprint_follows_weights_and_structure() -> None:
    first = Network(module(), input_size=32)
    assert first.fingerprint == Network(module(), input_size=32, name="other", labels=list("abcde")).fingerprint
    other = module()
    with torch.no_grad():
        other[8].bias[0] += 1  # type: ignore[index, union-attr]
    assert Network(other, input_size=32).fingerprint != first.fingerprint
    assert Network(module(), input_size=34).fingerprint != first.fingerprint
    assert len(first.fingerprint) == 64


def test_network_frees_its_weights_and_outlives_the_module() -> None:
    m = module()
    made = Network(m, input_size=32)
    gone = weakref.ref(m)
    del m
    gc.collect()
    assert gone() is None
    weights = [weakref.ref(t) for t in made.graph.tensors()]
    layers = made.layers
    del made
    gc.collect()
    assert all(w() is None for w in weights)
    assert layers[0].receptive_field.size == 3  # a layer may be kept without keeping the weights


def test_no_copy_where_none_is_wanted() -> None:
    m = module()
    linear = m[8]  # type: ignore[index]
    made = Network(m, input_size=32, snapshot=False)
    assert linear.weight.data_ptr() in {t.data_ptr() for t in made.graph.tensors()}


def test_regions_share_kernels_and_may_be_of_lower_precision(net: Network) -> None:
    x = torch.randn(1, 3, 32, 32)
    patch = torch.zeros(1, 3, 5, 5)
    exact, rounded = net.regions(x), net.regions(x, dtype=torch.bfloat16)
    assert exact._recorded.kernels is rounded._recorded.kernels
    expected, _ = exact([(3, 4)], patch)
    found, _ = rounded([(3, 4)], patch)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.05 * float(expected.abs().max()))


def test_a_picture_of_a_data_set_is_taken_as_its_image() -> None:
    torch.manual_seed(0)
    net = Network(
        nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval(), input_size=16
    )
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3)).astype(np.uint8)
    (picture,) = Images.of([image])
    torch.testing.assert_close(net.prepare(picture), net.prepare(image))
    np.testing.assert_array_equal(net.picture(picture), image)


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("densenet121", marks=pytest.mark.slow), "shufflenet_v2_x0_5", "convnext_tiny"]
)
def test_visited_layers_have_the_values_that_forward_gives(name: str) -> None:
    torch.manual_seed(0)
    net = Network(torchvision.models.get_model(name, weights=None, num_classes=5).eval(), input_size=64)
    x = torch.randn(2, 3, 64, 64)
    names = [layer.name for layer in net.layers]
    _, values = net.forward(x, names)
    seen: dict[str, torch.Tensor] = {}
    net.visit(x, reversed(names), lambda layer, maps: seen.update({layer: maps.clone()}))
    assert list(seen) == names, "in execution order"
    for layer in names:
        # Kernels that are packed add up in another order.
        atol = 1e-5 * float(values[layer].abs().max())
        torch.testing.assert_close(seen[layer], values[layer], rtol=0, atol=atol, msg=layer)
    # Nothing beyond the last layer that is asked for.
    counted: list[str] = []
    net.visit(x, names[0], lambda layer, _: counted.append(layer))
    assert counted == names[:1]


@pytest.mark.parametrize(
    "name", ["resnet18", pytest.param("densenet121", marks=pytest.mark.slow), "shufflenet_v2_x0_5"]
)
def test_a_network_pickles_to_the_same_network(name: str) -> None:
    torch.manual_seed(0)
    net = Network(torchvision.models.get_model(name, weights=None, num_classes=5).eval(), input_size=64)
    again = pickle.loads(pickle.dumps(net))
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(again.forward(x)[0], net.forward(x)[0])
    assert [layer.name for layer in again.layers] == [layer.name for layer in net.layers]
    assert again.graph.digest() == net.fingerprint == again.fingerprint
    assert again.labels == net.labels


def test_the_ceiling_of_a_layer_is_that_of_its_activation() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.Hardtanh(-1, 2.5), nn.Conv2d(2, 2, 1), nn.Sigmoid(), nn.Conv2d(2, 2, 1), nn.ReLU(),
        nn.Conv2d(2, 2, 1), nn.ReLU6(), nn.Flatten(), nn.Linear(32, 2),
    )  # fmt: skip
    net = Network(module.eval(), input_size=4)
    assert [net.ceiling(layer.name) for layer in net.layers] == [2.5, 1.0, None, 6.0, None]

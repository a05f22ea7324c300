"""Which operations are layers, and the names under which users find them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from convscope_core.graph import Runner, trace
from convscope_core.graph.layers import GraphLayer, find_layers


def layers_of(module: nn.Module, side: int = 32, channels: int = 3) -> dict[str, GraphLayer]:
    return {x.name: x for x in find_layers(trace(module.eval(), (channels, side, side)))}


@pytest.fixture(scope="module")
def resnet() -> dict[str, GraphLayer]:
    return layers_of(torchvision.models.resnet18(weights=None), 64)


def test_resnet_blocks(resnet: dict[str, GraphLayer]) -> None:
    names = list(resnet)
    assert names[:5] == ["conv1", "maxpool", "layer1.0.conv1", "layer1.0.conv2", "layer1.0.relu#2"]
    assert names[-2:] == ["avgpool", "fc"]
    assert len(names) == 31
    add = resnet["layer2.1.relu#2"]
    assert (add.kind, add.activation, add.channels, add.size) == ("add", "relu", 128, (8, 8))
    assert set(add.aliases) == {"layer2", "layer2.1"}
    first = resnet["layer2.0.conv1"]
    assert (first.activation, set(first.aliases)) == ("relu", {"layer2.0.bn1", "layer2.0.relu"})
    assert resnet["layer2.0.conv2"].activation is None  # the add is between it and the rectifier
    assert set(resnet["layer2.0.downsample.0"].aliases) == {"layer2.0.downsample", "layer2.0.downsample.1"}


def test_vgg_names_are_those_of_the_convolutions() -> None:
    features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])

    class Small(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features = features
            self.classifier = nn.Sequential(nn.Linear(512, 8), nn.ReLU(True), nn.Dropout(), nn.Linear(8, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classifier(torch.flatten(self.features(x), 1))

    found = layers_of(Small())
    convs = [n for n, x in found.items() if x.kind == "conv"]
    assert convs == [f"features.{i}" for i in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    last = found["features.28"]
    assert (last.activation, last.aliases, last.size) == ("relu", ("features.29",), (2, 2))
    assert found["features.30"].kind == "pool"
    assert found["features.30"].aliases == ("features",)
    assert found["classifier.0"].aliases == ("classifier.1", "classifier.2")
    assert (found["classifier.3"].kind, found["classifier.3"].activation) == ("linear", None)


def test_mobilenet_residual_blocks_have_the_block_name() -> None:
    found = layers_of(torchvision.models.mobilenet_v2(weights=None))
    assert found["features.3"].kind == "add"
    assert found["features.3"].activation is None
    assert "features.2" in found["features.2.conv.2"].aliases
    assert found["features.18.0"].activation == "relu6"


def test_functional_rectifier_belongs_to_its_convolution() -> None:
    extra: dict[str, Any] = {"init_weights": False, "aux_logits": True}
    found = layers_of(torchvision.models.googlenet(weights=None, **extra), 64)
    first = found["conv1.conv"]
    assert (first.activation, first.aliases) == ("relu", ("conv1.bn", "conv1"))
    assert found["inception3a"].kind == "cat"
    assert not any(n.startswith("aux") for n in found)


def test_convnext_has_maps_in_channels_last_blocks() -> None:
    module = torchvision.models.convnext_tiny(weights=None).eval()
    graph = trace(module, (3, 64, 64))
    found = {x.name: x for x in find_layers(graph)}
    wide = found["features.1.0.block.3"]
    assert (wide.kind, wide.activation, wide.channels, wide.size) == ("linear", "gelu", 384, (16, 16))
    assert wide.axes == (2, 0, 1)
    assert found["features.1.0"].size == (16, 16)


def test_tokens_are_no_layers() -> None:
    module = torchvision.models.vision_transformer.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=8, mlp_dim=16, num_classes=4
    )
    found = layers_of(module)
    assert list(found) == ["conv_proj", "heads.head"]


class Odd(nn.Module):
    """Functional adds and concatenations, some repeated in one module, some preprocessing."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, padding=1)
        self.act = nn.ReLU()
        self.bn = nn.BatchNorm2d(4)
        self.head = nn.Linear(8, 3)
        self.dead = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.cat([x[:, 0:1] * 2, x[:, 1:] + 1], 1)  # as in GoogLeNet's transform_input
        h = self.a(x)
        one = h + self.bn(h)  # the batch norm is not folded, and no rectifier follows
        two = self.act(one + h)
        three = F.relu(self.bn(two))
        both = torch.cat([two + three, three], 1)
        self.dead(both.mean((2, 3)))
        return self.head(both.mean((2, 3)))


def test_functional_adds_and_cats() -> None:
    found = layers_of(Odd())
    assert {n: (x.kind, x.activation) for n, x in found.items()} == {
        "a": ("conv", None),
        "add": ("add", None),
        "act": ("add", "relu"),
        "bn#2": ("batch_norm", "relu"),
        "add#2": ("add", None),
        "cat": ("cat", None),
        "mean": ("pool", None),
        "head": ("linear", None),
    }


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = self.conv(x)
        return self.block(self.block(x)).mean((2, 3))


def test_each_use_of_a_module_is_a_layer() -> None:
    found = layers_of(Shared())
    assert list(found) == ["conv", "conv#2", "conv#3", "block.0", "block.0#2", "mean"]
    assert found["block.0#2"].aliases == ("block#2", "block.1#2")


@pytest.mark.parametrize(
    ("activation", "kind"),
    [
        (nn.LeakyReLU(), "leaky_relu"), (nn.SiLU(inplace=True), "silu"), (nn.GELU(), "gelu"), (nn.ELU(), "elu"),
        (nn.Hardswish(), "hardswish"), (nn.PReLU(), "prelu"), (nn.Tanh(), "tanh"), (nn.Sigmoid(), "sigmoid"),
        (nn.Mish(), "mish"), (nn.Softplus(), "softplus"), (nn.SELU(), "selu"), (nn.CELU(), "celu"),
        (nn.Hardtanh(-2, 2), "hardtanh"), (nn.Hardsigmoid(), "hardsigmoid"), (nn.ReLU6(True), "relu6"),
    ],
)  # fmt: skip
def test_value_is_taken_after_the_activation(activation: nn.Module, kind: str) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation, nn.Flatten(), nn.Linear(4 * 36, 3))
    module.eval()
    module[1].running_mean.normal_()  # type: ignore[operator, union-attr]
    graph = trace(module, (3, 8, 8))
    layer = find_layers(graph)[0]
    assert (layer.name, layer.activation, layer.aliases) == ("0", kind, ("1", "2"))
    x = torch.randn(2, 3, 8, 8)
    _, values = Runner(graph)(x, [layer.node])
    with torch.no_grad():
        torch.testing.assert_close(values[layer.node], module[:3](x), rtol=1e-5, atol=1e-5)


def test_rectifier_that_shares_its_input_is_not_part_of_the_layer() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.relu = nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            h = self.conv(x)
            return (self.relu(h) + 2 * h).mean((2, 3))

    found = layers_of(Fork())
    assert found["conv"].activation is None
    assert found["add"].kind == "add"

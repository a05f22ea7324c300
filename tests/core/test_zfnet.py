"""The first paper's networks: sizes and counts as printed, the changes that it tries, and loading them by name."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_core.errors import ArgumentError, NetworkError
from convscope_core.models import AlexNet2012, MeanSubtraction, ZFNet, initialise, load, paper
from convscope_core.models.loaders import names
from convscope_core.network import Network

BOTH = [ZFNet, AlexNet2012]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def shapes(module: nn.Module, side: int) -> dict[str, tuple[int, ...]]:
    """Shape of the output of each module for one picture, without its values."""
    x, found = torch.empty(1, 3, side, side, device="meta"), {}
    for name, part in module.to("meta").named_children():
        x = part(x)
        found[name] = tuple(x.shape[1:])
    return found


def test_zfnet_is_the_papers() -> None:
    net = ZFNet()
    assert count(net) == 62_357_608
    found = shapes(net, 224)
    assert [found[name] for name in ("conv1", "pool1", "conv2", "pool2", "conv3", "conv4", "conv5", "pool5")] == [
        (96, 110, 110), (96, 55, 55), (256, 26, 26), (256, 13, 13),
        (384, 13, 13), (384, 13, 13), (256, 13, 13), (256, 6, 6),
    ]  # fmt: skip
    assert [found[name] for name in ("fc6", "fc7", "fc8")] == [(4096,), (4096,), (1000,)]
    order = [name for name, _ in net.named_children()]
    assert order[:8] == ["conv1", "relu1", "pool1", "norm1", "conv2", "relu2", "pool2", "norm2"]


def test_alexnet_is_krizhevskys_in_one_column() -> None:
    net = AlexNet2012()
    # Krizhevsky's one column: with groups it has 60,965,224
    assert count(net) == 62_357_608 + 96 * 3 * (11**2 - 7**2) == 62_378_344
    found = shapes(net, 224)
    assert [found[name][1] for name in ("conv1", "pool1", "conv2", "pool2", "conv5", "pool5")] == [
        55,
        27,
        27,
        13,
        13,
        6,
    ]
    order = [name for name, _ in net.named_children()]
    assert order[:8] == ["conv1", "relu1", "norm1", "pool1", "conv2", "relu2", "norm2", "pool2"]


@pytest.mark.parametrize(
    ("network", "options", "parameters"),
    [
        # by hand: the sum over layers of (inputs × outputs + outputs)
        (ZFNet, {"without": (3, 4)}, 62_357_608 - (256 * 9 + 1) * 384 - (384 * 9 + 1) * 384 - (384 - 256) * 9 * 256),
        (ZFNet, {"without": (7,)}, 62_357_608 - 4097 * 4096),
        (ZFNet, {"without": (6, 7)}, 62_357_608 - 9217 * 4096 - 4097 * 4096 + (9216 - 4096) * 1000),
        (ZFNet, {"units": 2048}, 62_357_608 - 9217 * 2048 - (4097 * 4096 - 2049 * 2048) - 2048 * 1000),
        (ZFNet, {"units": 8192}, 62_357_608 + 9217 * 4096 + (8193 * 8192 - 4097 * 4096) + 4096 * 1000),
    ],
)  # fmt: skip
def test_the_papers_changes(network: type[ZFNet], options: dict[str, object], parameters: int) -> None:
    with torch.device("meta"):
        assert count(network(**options)) == parameters  # type: ignore[arg-type]


def test_the_larger_network_and_the_smallest() -> None:
    with torch.device("meta"):
        large = ZFNet(maps=(96, 256, 512, 1024, 512))
        small = AlexNet2012(without=(3, 4, 6, 7))
    assert [large.get_submodule(f"conv{i}").weight.shape[:2] for i in (3, 4, 5)] == [
        (512, 256),
        (1024, 512),
        (512, 1024),
    ]
    assert [name for name, _ in small.named_children() if name[:2] in ("co", "fc")] == [
        "conv1",
        "conv2",
        "conv5",
        "fc8",
    ]
    assert small.get_submodule("fc8").weight.shape == (1000, 9216)


@given(
    network=st.sampled_from(BOTH),
    side=st.integers(20, 90),
    without=st.sets(st.sampled_from((3, 4, 6, 7))),
    width=st.sampled_from((0.01, 1 / 48)),
)
def test_sizes_are_those_that_torch_computes_and_empty_maps_are_refused(
    network: type[ZFNet], side: int, without: set[int], width: float, device: torch.device
) -> None:
    options = {"classes": 3, "width": width, "units": 5, "without": without}
    try:
        net = network(input_size=side, **options).to(device)
    except ArgumentError as refused:
        least = int(str(refused).split("at least ")[1].split()[0])
        assert least > side
        network(input_size=least, **options)
        with pytest.raises(ArgumentError, match="empty after"):
            network(input_size=least - 1, **options)
        return
    assert net(torch.zeros(1, 3, side, side)).shape == (1, 3)
    found = shapes(net, side)
    assert {name: found[name][1] for name in net.sizes} == net.sizes


def test_layers_of_small_networks_see_as_much_as_the_papers() -> None:
    net = Network(ZFNet(4, width=1 / 48, units=8).eval())
    fields = [net.layer(f"conv{i}").receptive_field for i in range(1, 6)]
    assert [(f.size, f.jump) for f in fields] == [(7, 2), (27, 8), (75, 16), (107, 16), (139, 16)]


@pytest.mark.parametrize("layer", [
    nn.Conv2d(32, 64, 3), nn.Conv2d(32, 64, 3, groups=4), nn.Linear(300, 400),
    nn.ConvTranspose2d(16, 128, 3), nn.ConvTranspose2d(64, 32, 4, stride=2, groups=2), nn.ConvTranspose1d(32, 16, 3),
], ids=repr)  # fmt: skip
def test_kaiming_keeps_the_size_of_signals(layer: nn.Module) -> None:
    initialise(layer, "kaiming", seed=0)
    shape = (300,) if isinstance(layer, nn.Linear) else (layer.in_channels, *[16] * (layer.weight.dim() - 2))
    x = torch.randn(16, *shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        y = layer(x)
    for _ in shape[1:]:  # outputs at the edges of transposed convolutions have fewer inputs
        y = y.transpose(2, -1)[:, :, 4:-4]
    # twice, of which a rectifier keeps half
    assert float(y.square().mean() / x.square().mean()) == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((3,), "Expected a torch.nn.Module, got int"),
        ((nn.LazyLinear(4),), "takes them from its first input"),
        ((nn.Conv2d(3, 4, 3), "paper", "a"), "seed to be a whole number"),
        ((nn.Conv2d(3, 4, 3), "paper", -1), "seed to be a whole number"),
        ((nn.Conv2d(3, 4, 3), "paper", 2**70), "seed to be below"),
    ],
)
def test_what_weights_cannot_be_drawn_for(given: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        initialise(*given)


def test_weights_are_drawn_as_asked() -> None:
    net = ZFNet(10, width=0.5, units=512, input_size=112)
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any()
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.01, rel=0.05)
    initialise(net, "kaiming", seed=3)
    before = torch.get_rng_state()
    first = {k: v.clone() for k, v in net.state_dict().items()}
    assert float(net.get_parameter("conv3.weight").detach().std()) == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    initialise(net, "kaiming", seed=3)
    assert all(torch.equal(v, first[k]) for k, v in net.state_dict().items())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"without": (5,)}, "of 3, 4, 6, 7, got"),
        ({"without": "34"}, "layers to leave out"),
        ({"width": 0}, "width to be a number above 0"),
        ({"maps": (1, 2, 3)}, "layers 1 to 5"),
        ({"units": 0}, "units to be a whole number"),
        ({"dropout": 1.0}, "dropout to be a number of at least 0 and below 1"),
        ({"width": 1e300}, "at most 1,048,576 as maps"),
        ({"maps": (1, 2, 3, 4, 2**70)}, "at most 1,048,576 as maps"),
        ({"units": 2**70}, "at most 1,048,576 as units"),
        ({"classes": "ten"}, "classes to be a whole number"),
        ({"input_size": 20}, r"Expected pictures of at least \d+ pixels for ZFNet, got input_size=20"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        ZFNet(**options)  # type: ignore[arg-type]


def test_mean_subtraction_is_torchvisions_resize_and_crop() -> None:
    vision = pytest.importorskip("torchvision.transforms.v2")
    pixels = np.random.default_rng(0).integers(0, 256, (300, 410, 3), dtype=np.uint8)
    reference = vision.Compose(
        [vision.ToImage(), vision.ToPILImage(), vision.Resize(256), vision.CenterCrop(224), vision.ToImage()]
    )(pixels)
    from PIL import Image

    mine = MeanSubtraction()
    x = mine(Image.fromarray(pixels))
    expected = reference.float() - 255 * torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    torch.testing.assert_close(x, expected, atol=1e-3, rtol=0)
    assert -128 < float(x.min()) < -100
    assert pickle.loads(pickle.dumps(mine)) == mine
    with pytest.raises(ArgumentError, match="at most the 100 pixels"):
        MeanSubtraction(resize=100, size=112)
    with pytest.raises(ArgumentError, match="three numbers as mean"):
        MeanSubtraction(mean=(0.5,))
    with pytest.raises(ArgumentError, match="positive numbers as std"):
        MeanSubtraction(std=(1, 1, 0))


def test_zfnet_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: torch.device) -> None:
    # a narrow one in its place: the whole one takes seconds to trace
    monkeypatch.setitem(paper._LARGE, "zfnet", lambda: ZFNet(width=1 / 48, units=8))
    monkeypatch.setattr(paper, "_warned", set())
    with pytest.warns(UserWarning, match="no trained weights of zfnet are public"):
        net = load("zfnet")
    assert (net.name, net.input_shape, len(net.labels), net.labels[0]) == ("zfnet", (3, 224, 224), 1000, "tench")
    torch.testing.assert_close(net.preprocessing.std, torch.full((3, 1, 1), 1 / 255))
    torch.testing.assert_close(net.preprocessing.mean.flatten(), torch.tensor([0.485, 0.456, 0.406]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load("zfnet")  # once is enough
        load("zfnet", weights=None)
    module = ZFNet(width=1 / 48, units=8).to(device)
    torch.save(module.state_dict(), tmp_path / "mine.pth")
    x = torch.randn(1, 3, 224, 224)
    found, _ = load("zfnet", weights=tmp_path / "mine.pth").forward(x)
    torch.testing.assert_close(found, module.eval()(x), rtol=1e-4, atol=1e-6)
    with pytest.raises(NetworkError, match="is not there"):
        load("zfnet", weights="gone.pth")
    with pytest.raises(NetworkError, match="got 'IMAGENET1K_V1'"):
        load("zfnet", weights="IMAGENET1K_V1")
    torch.save(AlexNet2012(width=1 / 48, units=8).state_dict(), tmp_path / "other.pth")
    with pytest.raises(NetworkError, match=r"conv1.weight \(2, 3, 11, 11\) for \(2, 3, 7, 7\)"):
        load("zfnet", weights=tmp_path / "other.pth")


def test_names_are_known() -> None:
    assert {"zfnet", "alexnet_2012"} <= set(names())
    with pytest.raises(NetworkError, match=r"Close matches: .*zfnet"):
        load("zf_net")

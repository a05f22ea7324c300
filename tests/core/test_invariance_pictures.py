"""Pictures as transformations make them: against arrays padded and turned by other means, ramps, tones, and Pillow."""

from __future__ import annotations

import io
import math

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import transforms as tv

from convscope_core.errors import ArgumentError, ImageError
from convscope_core.experiments.invariance.frame import FILLS, Frame, checked_fill
from convscope_core.experiments.invariance.moves import Move, _resampled
from convscope_core.experiments.invariance.pictures import Varied
from convscope_core.experiments.invariance.transforms import KINDS, Transform, checked_transforms, margin_of
from convscope_core.network import Network
from convscope_core.preprocessing import Preprocessing

PHASES = (Phase.explicit, Phase.reuse, Phase.generate)
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def network(size: tuple[int, int] = (20, 20), preprocess: object = None) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    return Network(module, input_size=size, preprocess=preprocess)


def preparing(crop: int, resize: int) -> tv.Compose:
    return tv.Compose([tv.Resize(resize), tv.CenterCrop(crop), tv.ToTensor(), tv.Normalize(MEAN, STD)])


def photo(width: int, height: int, seed: int = 0) -> PIL.Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 10, width // 10, 3), np.uint8)
    return PIL.Image.fromarray(coarse).resize((width, height), PIL.Image.Resampling.BICUBIC)


NET, OBLONG = network(), network((16, 24))
X = torch.randn(1, 3, 20, 20, generator=torch.Generator().manual_seed(1))


def varied(fill: str, margin: int, net: Network = NET) -> tuple[Varied, torch.Tensor]:
    made = Varied(net, fill, margin)
    return made, made.frame.prepare(X if net is NET else torch.rand(net.input_shape))


@pytest.mark.parametrize(("fill", "mode"), [("reflect", "reflect"), ("edge", "edge"), ("wrap", "wrap")])
@pytest.mark.parametrize("margin", [0, 3, 25, 60])
def test_margins_are_numpys(fill: str, mode: str, margin: int) -> None:
    _, canvas = varied(fill, margin)
    truth = np.pad(X.numpy(), ((0, 0), (0, 0), (margin, margin), (margin, margin)), mode=mode)
    np.testing.assert_array_equal(canvas.numpy(), truth)


def test_the_mean_is_that_of_the_picture_and_colours_are_normalised() -> None:
    net = network(preprocess=preparing(20, 20))
    picture = photo(20, 20)
    values = np.asarray(picture) / 255
    for fill, colour in (("mean", values.mean((0, 1))), ("#ff8000", (1, 128 / 255, 0)), ("grey", (0.5,) * 3)):
        corner = Frame(net.preprocessing, fill, 2).prepare(picture)[0, :, 0, 0]
        np.testing.assert_allclose(corner, (np.array(colour) - MEAN) / STD, atol=1e-5)


@pytest.mark.parametrize("size", [(230, 170), (170, 230), (120, 120), (64, 500)])
def test_the_source_shows_what_the_crop_cut_off(size: tuple[int, int]) -> None:
    small, large = Preprocessing(preparing(48, 64), (3, 48, 48)), Preprocessing(preparing(64, 64), (3, 64, 64))
    picture = photo(*size)
    canvas = Frame(small, "source", 8).prepare(picture)
    assert torch.equal(canvas[..., 8:-8, 8:-8], small.prepare(picture))
    level = 1 / 255 / min(STD)
    assert float((canvas - large.prepare(picture)).abs().max()) < 4 * level
    assert float((canvas - large.prepare(picture)).abs().mean()) < 0.5 * level
    # Beyond the picture it is mirrored.
    further = Frame(small, "source", 40).prepare(picture)
    short = 3 if size[0] < size[1] else 2
    edge = (picture.size[0 if short == 3 else 1] * 64 / min(size) - 48) / 2
    at = 40 - round(edge)
    one, other = further.select(short, at - 1), further.select(short, at + 1)
    assert torch.equal(one, other)


def test_a_source_that_is_not_known_is_refused() -> None:
    with pytest.raises(ImageError, match="float tensor"):
        Frame(NET.preprocessing, "source", 3).prepare(X)
    boxed = tv.Compose([tv.Resize((10, 20)), tv.Pad((0, 5)), tv.ToTensor()])
    preprocessing = Preprocessing(None, (3, 20, 20))
    preprocessing.function = boxed
    with pytest.raises(ImageError, match="does more"):
        Frame(preprocessing, "source", 3).prepare(photo(40, 40))
    for fill in ("blur", "noise", "inpaint", "meen", 3, None):
        with pytest.raises(ArgumentError, match="Expected fill as one of mean, reflect"):
            checked_fill(fill)
    assert checked_fill("red") == "#ff0000"
    assert [checked_fill(fill) for fill in FILLS] == [*FILLS]


@settings(deadline=None, phases=PHASES, max_examples=60)
@given(st.sampled_from([*KINDS]), st.sampled_from(["mean", "reflect", "edge", "wrap"]))
def test_what_changes_nothing_is_the_picture_to_the_bit(name: str, fill: str) -> None:
    made, canvas = varied(fill, 12)
    identity = KINDS[name].identity
    other = 3.0 if identity == 0 else 50.0 if name == "jpeg" else 1.5
    found = made(canvas, name, [other, identity], 7)
    assert torch.equal(found[1], X[0])
    assert not torch.equal(found[0], X[0])
    assert torch.equal(made.moved(canvas, [Move()]), X)


def test_whole_shifts_and_right_angles_choose_pixels() -> None:
    made, canvas = varied("wrap", 20)
    for down, right in ((3, 0), (0, -5), (-20, 20), (7, 2)):
        assert torch.equal(made.moved(canvas, [Move(down, right)]), X.roll((down, right), (2, 3)))
    for quarters in range(-4, 5):
        turned = made.moved(canvas, [Move(angle=90.0 * quarters)])[0]
        truth = np.rot90(X[0].numpy(), quarters, (1, 2))
        np.testing.assert_array_equal(turned.numpy(), truth)
        both = made.moved(canvas, [Move(2, -1, angle=90.0 * quarters)])[0]
        np.testing.assert_array_equal(both[:, 2:, :-1], truth[:, :-2, 1:])


#: Pixels around the picture: no place that is sampled, nor what is smoothed with it, is at the canvas's border.
MARGIN = 45


@settings(deadline=None, phases=PHASES, max_examples=40)
@given(
    st.floats(-6, 6), st.floats(-6, 6), st.floats(0.6, 3), st.floats(-180, 180),
    st.sampled_from([(20, 20), (16, 24)]),
)  # fmt: skip
def test_a_ramp_goes_where_geometry_says(
    down: float, right: float, scale: float, angle: float, size: tuple[int, int]
) -> None:
    made = Varied(NET if size == (20, 20) else OBLONG, "mean", MARGIN)
    rows, columns = np.indices((size[0] + 2 * MARGIN, size[1] + 2 * MARGIN), np.float64)
    rows, columns = rows - MARGIN - (size[0] - 1) / 2, columns - MARGIN - (size[1] - 1) / 2
    canvas = torch.from_numpy(np.stack([rows, columns, rows + 2 * columns])[None]).float() / 200
    found = made.moved(canvas, [Move(down, right, scale, angle)])[0, :2].double().numpy() * 200
    # Where a point goes: scaled and turned about the middle, then shifted. Cubic convolution with -0.75 is off by up to
    # 0.0481 pixels of the picture that it samples.
    y, x = np.indices(size, np.float64)
    y, x = y - (size[0] - 1) / 2, x - (size[1] - 1) / 2
    theta = math.radians(angle)
    to_x = scale * (math.cos(theta) * found[1] + math.sin(theta) * found[0]) + right
    to_y = scale * (-math.sin(theta) * found[1] + math.cos(theta) * found[0]) + down
    np.testing.assert_allclose(np.hypot(to_x - x, to_y - y) / scale, 0, atol=0.0481 * math.sqrt(2) + 1e-3)


def test_a_smaller_picture_has_no_tone_that_it_cannot_show() -> None:
    made = Varied(network((64, 64)), "wrap", 70)
    places = torch.arange(64)
    for frequency, kept in ((1 / 32, 0.9), (29 / 64, 0.0)):  # cycles a pixel; of half the size twice as many
        tone = 0.5 + 0.4 * torch.cos(2 * math.pi * frequency * places)
        canvas = made.frame.prepare(tone.expand(3, 64, 64).contiguous())
        small = made(canvas, "scale", [0.5])[0, 0, 16:48, 16:48]
        contrast = float(small.std() / tone.std())
        assert kept <= contrast <= 1.02 if kept else contrast < 0.02
        # Bicubic interpolation alone would fold the higher tone down.
        folded = _resampled(canvas, (64, 64), [Move(scale=0.5)])[0, 0, 16:48, 16:48]
        assert float(folded.std() / tone.std()) > 0.2


def test_colours_are_as_their_formulas_say() -> None:
    net = network(preprocess=preparing(20, 20))
    picture = photo(20, 20)
    made = Varied(net, "mean", 0)
    canvas = made.frame.prepare(picture)
    rgb = np.asarray(picture).transpose(2, 0, 1) / 255

    def shown(name: str, value: float, image: int = 0) -> np.ndarray:
        return net.to_rgb(made(canvas, name, [value], image))[0].numpy()

    luminance = (np.array([0.2989, 0.587, 0.114])[:, None, None] * rgb).sum(0).mean()
    np.testing.assert_allclose(shown("brightness", 1.4), np.clip(rgb * 1.4, 0, 1), atol=1e-5)
    np.testing.assert_allclose(shown("contrast", 0.3), luminance + 0.3 * (rgb - luminance), atol=1e-4)
    np.testing.assert_allclose(shown("hue", 120), np.roll(rgb, 1, 0), atol=1e-4)  # red becomes green
    one, two = shown("noise", 0.01) - rgb, shown("noise", 0.02) - rgb
    inside = (rgb > 0.15) & (rgb < 0.85)
    np.testing.assert_allclose(2 * one[inside], two[inside], atol=1e-5)
    assert one[inside].std() == pytest.approx(0.01, rel=0.1)
    assert np.abs(shown("noise", 0.01, 1) - shown("noise", 0.01)).max() > 0.001
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)
    np.testing.assert_allclose(shown("jpeg", 30) * 255, np.asarray(PIL.Image.open(file)).transpose(2, 0, 1), atol=1e-3)
    blurred = shown("blur", 2.0)
    kernel = np.exp(-0.5 * (np.arange(-6, 7) / 2.0) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(rgb, ((0, 0), (6, 6), (6, 6)), mode="reflect")
    truth = np.einsum(
        "cyxab,a,b->cyx", np.lib.stride_tricks.sliding_window_view(padded, (13, 13), (1, 2)), kernel, kernel
    )
    np.testing.assert_allclose(blurred, truth, atol=1e-4)


def test_the_paper_is_the_default_in_parts_of_the_picture() -> None:
    shift, scale, rotation = checked_transforms(None, (3, 224, 224))
    assert (shift.name, shift.values[0], shift.values[-1], len(shift.values)) == ("shift_y", -60, 60, 25)
    assert (scale.values[0], scale.values[-1]) == (1, 1.8)
    assert rotation.values == tuple(range(0, 360, 10))
    assert checked_transforms("shift_x", (3, 32, 32))[0].values == tuple(range(-9, 10))
    assert all(KINDS[t.name].identity in t.values for t in checked_transforms([*KINDS], (3, 64, 64)))


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([], "at least one transformation"),
        ({"rotation": []}, "at least one value of rotation, got none"),
        ({"rotation": range(0)}, "at least one value"),
        ("rotatoin", "Close matches: rotation"),
        ({"rotation": "many"}, "numbers"),
        ({"scale": [0]}, "from 0.25 to 16, got 0"),
        ({"shift_y": [21]}, "from -20 to 20"),
        ({"noise": [float("nan")]}, "from 0 to 16, got nan"),
        ({"blur": [1, 1.0]}, "once"),
        (3, "as names, or a mapping"),
        ({"jpeg": [0]}, "from 1 to 100"),
    ],
)
def test_what_is_no_transformation_is_refused(transforms: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        checked_transforms(transforms, (3, 20, 20))  # type: ignore[arg-type]


def test_hue_needs_colours() -> None:
    with pytest.raises(ArgumentError, match="colour pictures for hue"):
        checked_transforms("hue", (1, 20, 20))


@settings(deadline=None, phases=PHASES, max_examples=30)
@given(st.sampled_from(["shift_y", "shift_x", "scale", "rotation"]), st.floats(0.3, 19), st.booleans())
def test_the_margin_is_enough(name: str, value: float, negative: bool) -> None:
    value = min(value, 3) if name == "scale" else 17 * value if name == "rotation" else -value if negative else value
    transform = Transform(name, (value,))
    margin = margin_of([transform], (3, 20, 20))
    both = [Varied(NET, "reflect", m) for m in (margin, margin + 30)]
    one, other = (made(made.frame.prepare(X), name, [value]) for made in both)
    torch.testing.assert_close(one, other, atol=2e-4, rtol=0)

"""The occluder: which pixels it covers, what it shows there, and what the network then says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.errors import ArgumentError, ImageError
from convscope_core.network import Network
from convscope_core.occlusion import FILLS, Occlusion, clip

HEIGHT, WIDTH = 24, 40
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def network(channels: int = 3, preprocess=None) -> Network:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(channels, 4, 3, stride=2),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 5),
    )
    return Network(module.eval(), preprocess=preprocess, input_size=(channels, HEIGHT, WIDTH), device="cpu")


@pytest.fixture(scope="module")
def net() -> Network:
    from torchvision import transforms

    normalised = [transforms.Resize((HEIGHT, WIDTH)), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return network(preprocess=transforms.Compose(normalised))


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def squared(net: Network, photo: np.ndarray) -> Occlusion:
    return Occlusion(net, photo)


@pytest.fixture(scope="module")
def elliptic(net: Network, photo: np.ndarray) -> Occlusion:
    return Occlusion(net, photo, shape="ellipse")


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, int], tuple[int, int]]:
    """A position and a size that fit the picture."""
    height, width = draw(st.integers(1, HEIGHT)), draw(st.integers(1, WIDTH))
    return (draw(st.integers(0, HEIGHT - height)), draw(st.integers(0, WIDTH - width))), (height, width)


# --- the mask


@given(boxes())
def test_a_square_covers_exactly_its_box(squared: Occlusion, box) -> None:
    (top, left), (height, width) = box
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[top : top + height, left : left + width] = True
    np.testing.assert_array_equal(squared.mask(*box), expected)


@given(boxes())
def test_an_ellipse_covers_the_pixels_whose_centres_lie_in_it(elliptic: Occlusion, box) -> None:
    from fractions import Fraction

    (top, left), (height, width) = box
    mask = elliptic.mask(*box)
    for row in range(HEIGHT):
        for column in range(WIDTH):
            y = (Fraction(2 * (row - top) + 1, 2) - Fraction(height, 2)) / Fraction(height, 2)
            x = (Fraction(2 * (column - left) + 1, 2) - Fraction(width, 2)) / Fraction(width, 2)
            assert mask[row, column] == (x * x + y * y <= 1)


@given(boxes())
def test_an_ellipse_is_symmetric_and_touches_no_pixel_outside_its_box(
    squared: Occlusion, elliptic: Occlusion, box
) -> None:
    (top, left), (height, width) = box
    mask = elliptic.mask(*box)
    assert not (mask & ~squared.mask(*box)).any()
    inside = mask[top : top + height, left : left + width]
    assert inside.any()
    np.testing.assert_array_equal(inside, inside[::-1])
    np.testing.assert_array_equal(inside, inside[:, ::-1])


def test_an_ellipse_known_by_hand(elliptic: Occlusion) -> None:
    picture = elliptic.mask((1, 2), (4, 6))[1:5, 2:8].astype(int)
    assert picture.tolist() == [[0, 1, 1, 1, 1, 0], [1] * 6, [1] * 6, [0, 1, 1, 1, 1, 0]]


def test_a_large_ellipse_has_the_area_of_an_ellipse(elliptic: Occlusion) -> None:
    assert elliptic.mask((0, 0), (HEIGHT, WIDTH)).sum() == pytest.approx(np.pi / 4 * HEIGHT * WIDTH, rel=0.02)


def test_size_as_a_side(squared: Occlusion) -> None:
    np.testing.assert_array_equal(squared.mask((3, 4), 5), squared.mask((3, 4), (5, 5)))
    np.testing.assert_array_equal(squared.mask((np.int64(3), 4), np.int64(5)), squared.mask((3, 4), 5))
    assert squared.mask([0, 0], [HEIGHT, WIDTH]).all()


def test_the_papers_grid_of_positions_fits() -> None:
    # Fig. 7: 50x50 on 224x224 at stride 6, wholly inside: 30x30 positions, the last at 174.
    positions = range(0, 224 - 50 + 1, 6)
    assert len(positions) == 30
    assert clip((positions[-1],) * 2, 50, (224, 224)) == (174, 174)


# --- occluding


@pytest.mark.parametrize("shape", ["square", "ellipse"])
@pytest.mark.parametrize("fill", [*FILLS, "#1e90ff", (255, 0, 3)])
def test_fill_inside_clean_outside_bit_for_bit(net: Network, photo: np.ndarray, fill, shape: str) -> None:
    occlusion = Occlusion(net, photo, fill=fill, shape=shape)
    occluded = occlusion.occlude((5, 7), (9, 12))
    mask = torch.as_tensor(occlusion.mask((5, 7), (9, 12)))
    assert occluded.shape == (1, 3, HEIGHT, WIDTH)
    assert occluded.dtype == torch.float32
    assert torch.equal(occluded[..., mask], occlusion.fill_image[..., mask])
    assert torch.equal(occluded[..., ~mask], net.prepare(photo)[..., ~mask])
    assert torch.equal(occlusion.image, net.prepare(photo))


def test_prediction_is_that_of_the_occluded_picture(net: Network, photo: np.ndarray) -> None:
    occlusion = Occlusion(net, photo, fill="mean")
    x = net.prepare(photo).clone()
    x[0, :, 2:12, 3:13] = x.mean(dim=(2, 3)).reshape(3, 1, 1)
    logits, _ = net.forward(x)
    np.testing.assert_allclose(occlusion.predict((2, 3), 10).probabilities, logits[0].softmax(0), atol=1e-6)
    np.testing.assert_array_equal(occlusion.clean.probabilities, net.predict(photo).probabilities)
    assert occlusion.clean is occlusion.clean


def test_covering_everything_with_a_colour_is_predicting_that_colour(net: Network, photo: np.ndarray) -> None:
    plain = Image.new("RGB", (WIDTH, HEIGHT), "tomato")
    covered = Occlusion(net, photo, fill="tomato").predict((0, 0), (HEIGHT, WIDTH))
    np.testing.assert_allclose(covered.probabilities, net.predict(plain).probabilities, atol=1e-6)


# --- fills


@pytest.mark.parametrize(
    ("fill", "rgb"),
    [
        ("grey", (0.5, 0.5, 0.5)),
        ("#1e90ff", (30 / 255, 144 / 255, 1)),
        ("tomato", (1, 99 / 255, 71 / 255)),
        ("gray", (128 / 255,) * 3),
        ((1, 2, 3), (1 / 255, 2 / 255, 3 / 255)),
        (np.array([1, 2, 3]), (1 / 255, 2 / 255, 3 / 255)),
    ],
    ids=str,
)
def test_uniform_fills_in_network_space(net: Network, photo: np.ndarray, fill, rgb) -> None:
    expected = (torch.tensor(rgb) - torch.tensor(MEAN)) / torch.tensor(STD)
    image = Occlusion(net, photo, fill=fill).fill_image
    torch.testing.assert_close(image, expected.reshape(1, 3, 1, 1).expand(1, 3, HEIGHT, WIDTH), rtol=1e-4, atol=1e-4)


def test_mean_fill_is_the_mean_colour(net: Network, photo: np.ndarray) -> None:
    shown = Occlusion(net, photo, fill="mean").fill_picture
    assert shown.shape == (HEIGHT, WIDTH, 3)
    assert shown.dtype == np.uint8
    assert (np.abs(shown - photo.mean((0, 1))) <= 0.51).all()


def test_blur_is_a_gaussian_of_10_pixels_at_224_reflected_at_the_border() -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    net = network()
    picture = torch.rand(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    blurred = Occlusion(net, picture, fill="blur").fill_image[0]
    sigma = 10 / 224 * HEIGHT
    for channel in range(3):
        # scipy's "mirror" is the reflection that does not repeat the border.
        expected = ndimage.gaussian_filter(
            picture[0, channel].double().numpy(), sigma, mode="mirror", radius=int(np.ceil(3 * sigma))
        )
        np.testing.assert_allclose(blurred[channel], expected, atol=1e-5)


def test_blur_keeps_a_plain_picture(net: Network) -> None:
    plain = Image.new("RGB", (WIDTH, HEIGHT), (10, 200, 90))
    occlusion = Occlusion(net, plain, fill="blur")
    torch.testing.assert_close(occlusion.fill_image, occlusion.image, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 300)])
def test_blur_of_tiny_and_long_pictures(size: tuple[int, int]) -> None:
    module = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)).eval()
    net = Network(module, input_size=(3, *size), device="cpu")
    picture = torch.rand(3, *size, generator=torch.Generator().manual_seed(0))
    fill = Occlusion(net, picture, fill="blur").fill_image
    assert fill.isfinite().all()
    assert fill.min() >= picture.min() - 1e-6
    assert fill.max() <= picture.max() + 1e-6


def test_noise_depends_on_the_seed_only_and_is_uniform(net: Network, photo: np.ndarray) -> None:
    first, again = (Occlusion(net, photo, fill="noise", seed=3).fill_image for _ in range(2))
    other_picture = Occlusion(net, 255 - photo, fill="noise", seed=3).fill_image
    assert torch.equal(first, again)
    assert torch.equal(first, other_picture)
    assert not torch.equal(first, Occlusion(net, photo, fill="noise", seed=4).fill_image)
    rgb = net.to_rgb(first)
    assert rgb.mean().item() == pytest.approx(0.5, abs=0.03)
    assert rgb.var().item() == pytest.approx(1 / 12, rel=0.1)
    assert len(rgb[0, 0].unique()) > 900


def test_noise_stands_still_while_the_occluder_moves(net: Network, photo: np.ndarray) -> None:
    occlusion = Occlusion(net, photo, fill="noise")
    here, there = occlusion.occlude((0, 0), 12), occlusion.occlude((4, 5), 12)
    assert torch.equal(here[..., 4:12, 5:12], there[..., 4:12, 5:12])


def test_noise_leaves_the_global_random_state_alone(net: Network, photo: np.ndarray) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    Occlusion(net, photo, fill="noise")
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("fill", FILLS)
def test_any_number_of_channels(channels: int, fill: str) -> None:
    net = network(channels)
    picture = torch.rand(channels, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    occlusion = Occlusion(net, picture, fill=fill)
    assert occlusion.fill_image.shape == (1, channels, HEIGHT, WIDTH)
    assert occlusion.predict((0, 0), 8).probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert occlusion.fill_picture.shape == (HEIGHT, WIDTH, 3)
    if fill == "mean":
        torch.testing.assert_close(occlusion.fill_image[0, :, 0, 0], picture.mean((1, 2)))


def test_a_colour_on_a_grey_network_is_its_luminance() -> None:
    fill = Occlusion(network(1), torch.zeros(1, HEIGHT, WIDTH), fill=(200, 100, 50)).fill_image
    assert fill.unique().tolist() == [pytest.approx((0.299 * 200 + 0.587 * 100 + 0.114 * 50) / 255, abs=1e-6)]


def test_a_colour_on_a_network_without_colours_is_refused() -> None:
    with pytest.raises(ArgumentError, match=r"5 input channels.*grey, mean, blur, noise"):
        Occlusion(network(5), torch.zeros(5, HEIGHT, WIDTH), fill="red")


def test_replace_shares_the_picture_and_its_prediction(net: Network, photo: np.ndarray) -> None:
    occlusion = Occlusion(net, photo, fill="noise", shape="ellipse", seed=5)
    clean = occlusion.clean
    other = occlusion.replace(fill="mean")
    assert (other.fill, other.shape, other.seed) == ("mean", "ellipse", 5)
    assert torch.equal(other.image, occlusion.image)
    assert other.clean is clean
    assert torch.equal(other.fill_image, Occlusion(net, photo, fill="mean").fill_image)
    assert (occlusion.fill, occlusion.replace(shape="square").shape) == ("noise", "square")


def test_picture_is_what_the_network_sees(squared: Occlusion, photo: np.ndarray) -> None:
    np.testing.assert_array_equal(squared.picture, photo)


# --- clip


@given(
    st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
    st.tuples(st.integers(1, HEIGHT), st.integers(1, WIDTH)),
)
def test_clip_gives_the_nearest_position_inside(squared: Occlusion, position, size) -> None:
    top, left = squared.clip(position, size)
    squared.mask((top, left), size)  # does not raise
    for wanted, got, room in ((position[0], top, HEIGHT - size[0]), (position[1], left, WIDTH - size[1])):
        assert abs(got - wanted) <= min(abs(other - wanted) for other in range(room + 1)) + 1e-9


def test_clip_leaves_positions_inside_alone() -> None:
    assert clip((3, 4), 5, (20, 30)) == (3, 4)
    assert clip((-7, 99), (5, 6), (20, 30)) == (0, 24)
    assert clip((1.6, 2.4), 5, (20, 30)) == (2, 2)


# --- errors


@pytest.mark.parametrize(
    ("position", "size", "words"),
    [
        ((0, 0), 0, "at least 1 pixel.*24x40, got 0x0"),
        ((0, 0), -3, "got -3x-3"),
        ((0, 0), (25, 10), "24x40, got 25x10"),
        ((0, 0), 41, "got 41x41"),
        ((0, 0), 2.5, "whole numbers, got 2.5"),
        ((0, 0), True, "whole numbers, got True"),
        ((0, 0), None, "whole numbers, got None"),
        ((0, 0), "5", "whole numbers, got '5'"),
        ((0, 0), (5, 5, 5), r"\(height, width\), got \(5, 5, 5\)"),
        ((-1, 0), 5, r"top from 0 to 19, left from 0 to 35; got \(-1, 0\)"),
        ((0, 36), 5, r"got \(0, 36\)"),
        ((0.5, 0), 5, "whole numbers, got 0.5"),
        ((0,), 5, r"\(top, left\), got \(0,\)"),
        (3, 5, r"\(top, left\), got 3"),
    ],
)
def test_boxes_outside_the_picture_are_refused(squared: Occlusion, position, size, words: str) -> None:
    for call in (squared.mask, squared.occlude, squared.predict):
        with pytest.raises(ArgumentError, match=words):
            call(position, size)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"fill": "gray7000"},
            "grey, mean, blur, noise, the name of a colour.*'gray7000'.*Close matches: gray",
        ),
        ({"fill": "#12"}, "'#12'"),
        ({"fill": "#11223344"}, "without transparency"),
        ({"fill": (1, 2)}, r"\(red, green, blue\) from 0 to 255; got \(1, 2\)"),
        ({"fill": (1, 2, 256)}, r"got \(1, 2, 256\)"),
        ({"fill": (0.1, 0.2, 0.3)}, "whole numbers, got 0.1"),
        ({"fill": None}, "got None"),
        ({"fill": 128}, "got 128"),
        ({"shape": "triangle"}, "'square', 'ellipse', got 'triangle'"),
        ({"seed": 0.5}, "seed in whole numbers, got 0.5"),
    ],
)
def test_unknown_options_list_the_known_ones(net: Network, photo: np.ndarray, options: dict, words: str) -> None:
    with pytest.raises(ArgumentError, match=words):
        Occlusion(net, photo, **options)


@pytest.mark.parametrize(
    ("position", "size"), [((float("nan"), 0), 5), ((0, float("inf")), 5), (("a", "b"), 5), ((0, 0), 50)]
)
def test_clip_refuses_what_has_no_nearest_position(squared: Occlusion, position, size) -> None:
    with pytest.raises(ArgumentError, match="Expected"):
        squared.clip(position, size)


def test_a_picture_with_nan_is_refused(net: Network) -> None:
    picture = torch.zeros(3, HEIGHT, WIDTH)
    picture[1, 2, 3] = float("nan")
    with pytest.raises(ImageError, match="NaN"):
        Occlusion(net, picture)


@given(boxes())
def test_predictions_are_those_of_the_whole_pass(squared: Occlusion, elliptic: Occlusion, box) -> None:
    for occlusion in (squared, elliptic):
        expected = occlusion.net.predict(occlusion.occlude(*box)).probabilities
        np.testing.assert_allclose(occlusion.predict(*box).probabilities, expected, rtol=1e-4, atol=1e-6)


@given(st.lists(boxes(), min_size=1, max_size=4))
def test_patches_are_crops_of_the_occluded_picture(elliptic: Occlusion, found) -> None:
    (_, (height, width)), *_ = found
    places = [(min(t, HEIGHT - height), min(l, WIDTH - width)) for (t, l), _ in found]
    patches = elliptic.patches(places, (height, width))
    for patch, (t, l) in zip(patches, places, strict=True):
        expected = elliptic.occlude((t, l), (height, width))[0, :, t : t + height, l : l + width]
        assert torch.equal(patch, expected)

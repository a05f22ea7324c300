"""The occluder: which pixels it covers, what it shows there, and what the network then says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn

from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError, ImageError
from convscope_core.network import Network
from convscope_core.occlusion import FILLS, Occlusion, box_mask, clip, fill_name, shape_name

HEIGHT, WIDTH = 24, 40
PLACED = [fill for fill in FILLS if fill != "inpaint"]  # the fills that show the same wherever the occluder is
STAR = ((0.02, 0.5), (0.98, 0.2), (0.35, 0.97), (0.36, 0.03), (0.97, 0.81))  # crosses itself: a hole in the middle
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
    return Network(module.eval(), preprocess=preprocess, input_size=(channels, HEIGHT, WIDTH))


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


@pytest.mark.parametrize("shape", ["square", "ellipse", STAR, np.eye(3, dtype=bool)], ids=shape_name)
@pytest.mark.parametrize("fill", [*PLACED, "#1e90ff", (255, 0, 3)])
def test_fill_inside_clean_outside_bit_for_bit(net: Network, photo: np.ndarray, fill, shape) -> None:
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
        *[(word, (0.5, 0.5, 0.5)) for word in ("gray", "Grey", "GRAY")],
        ("#808080", (128 / 255,) * 3),
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
    net = Network(module, input_size=(3, *size))
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
@pytest.mark.parametrize("fill", PLACED)
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
        ((-1, 0), 5, r"top from 0 to 19, left from 0 to 35, got \(-1, 0\)"),
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
            "grey, mean, blur, noise, inpaint, the name of a colour.*path of a file.*'gray7000'.*Close matches: gray",
        ),
        ({"fill": "#12"}, "'#12'"),
        ({"fill": "#11223344"}, "without transparency"),
        ({"fill": (1, 2)}, r"\(red, green, blue\) from 0 to 255.*, got \(1, 2\)"),
        ({"fill": (1, 2, 256)}, r"got \(1, 2, 256\)"),
        ({"fill": (0.1, 0.2, 0.3)}, "whole numbers, got 0.1"),
        ({"fill": None}, "got None"),
        ({"fill": 128}, "got 128"),
        ({"shape": "triangle"}, "'square', 'ellipse', an outline.*a mask.*got 'triangle'"),
        ({"shape": "elipse"}, "Close matches: ellipse"),
        ({"shape": None}, "got None"),
        ({"shape": [(0, 0), (1, 1)]}, r"at least 3 points.*shape \(2, 2\)"),
        ({"shape": [(0, 0), (1, 1), (0,)]}, r"at least 3 points.*\(0,\)"),
        ({"shape": [(0, 0), (1, 1.5), (0, 1)]}, "from 0 to 1, in units of the occluder's box, got 0 to 1.5"),
        ({"shape": [(0, 0), (1, float("nan")), (0, 1)]}, "from 0 to 1, in units"),
        ({"shape": np.zeros((3, 4), bool)}, "covers a pixel, got one of 3x4 without any"),
        ({"shape": np.ones((3, 4), np.uint8)}, r"a mask \(a bool array.*uint8 of shape \(3, 4\)"),
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


# --- outlines and masks


@st.composite
def outlines(draw: st.DrawFn) -> tuple[tuple[float, float], ...]:
    """Any closed polygon; 96 and its parts lie on the centres and borders of small boxes often."""
    number = st.one_of(st.floats(0, 1), st.integers(0, 96).map(lambda n: n / 96))
    return tuple(draw(st.lists(st.tuples(number, number), min_size=3, max_size=8)))


SMALL = st.tuples(st.integers(1, 12), st.integers(1, 12))


def covered(shape, size: tuple[int, int]) -> np.ndarray:
    """`box_mask`, with what covers nothing as an empty mask."""
    try:
        return box_mask(shape, size)
    except ArgumentError:
        return np.zeros(size, bool)


@given(outlines(), SMALL)
def test_an_outline_covers_by_the_rule_that_javascript_computes_too(outline, size) -> None:
    height, width = size
    expected = np.zeros(size, bool)
    for row in range(height):
        for column in range(width):
            y, x, inside = (row + 0.5) / height, (column + 0.5) / width, False
            for k, (r1, c1) in enumerate(outline):
                r2, c2 = outline[(k + 1) % len(outline)]
                if (r1 > y) != (r2 > y) and x < (c2 - c1) * (y - r1) / (r2 - r1) + c1:
                    inside = not inside
            expected[row, column] = inside
    np.testing.assert_array_equal(covered(outline, size), expected)


@given(outlines(), SMALL)
def test_an_outline_covers_what_lies_inside_it(outline, size) -> None:
    """Exactly, and with a ray in another direction: down each column, in fractions."""
    from fractions import Fraction

    exact = [(Fraction(r), Fraction(c)) for r, c in outline]
    edges = list(zip(exact, [*exact[1:], exact[0]], strict=True))
    mask = covered(outline, size)
    for row, column in np.ndindex(size):
        y, x = Fraction(2 * row + 1, 2 * size[0]), Fraction(2 * column + 1, 2 * size[1])
        heights = []
        for (r1, c1), (r2, c2) in edges:
            # The distance to the edge's line, times its length: rounding may decide about a pixel on an edge.
            if abs((r2 - r1) * (x - c1) - (c2 - c1) * (y - r1)) < 1e-9:
                break
            if (c1 > x) != (c2 > x):
                heights.append((r2 - r1) * (x - c1) / (c2 - c1) + r1)
        else:
            assert mask[row, column] == (sum(y < h for h in heights) % 2 == 1)


def test_an_outline_known_by_hand() -> None:
    diamond = [(0, 0.5), (0.5, 1), (1, 0.5), (0.5, 0)]
    assert box_mask(diamond, (5, 5)).astype(int).tolist() == [
        [0, 0, 1, 0, 0], [0, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0],
    ]  # fmt: skip
    # Centres on the outline: those on a left side are inside, those on a right side not, so that outlines tile.
    assert box_mask(diamond, (4, 4)).astype(int).tolist() == [[0, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 0]]
    star = box_mask(STAR, (25, 25))
    assert not star[12, 12]  # even-odd: the middle of a star that crosses itself is outside
    assert star[4, 12]


@given(SMALL)
def test_an_outline_of_the_box_is_the_square(size) -> None:
    np.testing.assert_array_equal(box_mask([(0, 0), (0, 1), (1, 1), (1, 0)], size), box_mask("square", size))


@pytest.mark.parametrize("size", [(40, 40), (25, 60), (224, 101)])
def test_a_polygon_of_many_points_is_the_ellipse(size: tuple[int, int]) -> None:
    angles = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    outline = 0.5 + 0.5 * np.stack([np.sin(angles), np.cos(angles)], 1)
    y, x = (((np.arange(n) + 0.5) / n - 0.5) * 2 for n in size)
    near = np.abs(y[:, None] ** 2 + x**2 - 1) < 1e-5
    assert ((box_mask(outline, size) == box_mask("ellipse", size)) | near).all()


@given(boxes(), st.sampled_from([STAR, np.eye(5, dtype=bool), "ellipse"]))
def test_every_shape_moves_and_stays_the_same(net: Network, photo: np.ndarray, box, shape) -> None:
    (top, left), (height, width) = box
    if not covered(shape, (height, width)).any():
        return
    mask = Occlusion(net, photo, shape=shape).mask(*box)
    np.testing.assert_array_equal(mask[top : top + height, left : left + width], box_mask(shape, (height, width)))
    assert mask.sum() == box_mask(shape, (height, width)).sum()


@given(SMALL, SMALL, st.integers(0, 9))
def test_a_mask_is_scaled_by_its_nearest_pixels(size, box, seed: int) -> None:
    given_mask = np.random.default_rng(seed).random(size) < 0.5
    given_mask[0, 0] = True
    expected = np.asarray(Image.fromarray(given_mask).resize(box[::-1], Image.Resampling.NEAREST))
    # Pillow adds up steps, so that its rounding decides where a centre lies on the border of two pixels.
    clear = [(2 * np.arange(n) + 1) * have % (2 * n) != 0 for n, have in zip(box, size, strict=True)]
    np.testing.assert_array_equal(covered(given_mask, box)[np.ix_(*clear)], expected[np.ix_(*clear)])
    np.testing.assert_array_equal(box_mask(given_mask, size), given_mask)


def test_a_mask_is_kept_as_it_was_given(net: Network, photo: np.ndarray) -> None:
    mine = np.eye(4, dtype=bool)
    occlusion = Occlusion(net, photo, shape=mine)
    mine[:] = True
    np.testing.assert_array_equal(occlusion.box_mask(4), np.eye(4, dtype=bool))
    assert Occlusion(net, photo, shape=torch.eye(4).bool()).box_mask(4).sum() == 4
    for array in (occlusion.box_mask(4), occlusion.box_mask(5), occlusion.shape):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = False


def test_a_shape_that_covers_no_pixel_is_refused(net: Network, photo: np.ndarray) -> None:
    sliver = Occlusion(net, photo, shape=[(0.4, 0), (0.4, 1), (0.45, 1)])
    assert sliver.mask((0, 0), 20).any()
    for call in (sliver.mask, sliver.occlude, sliver.predict, sliver.pixels):
        with pytest.raises(ArgumentError, match=r"outline of 3 points, which at 2x2 covers none"):
            call((0, 0), 2)


def test_shapes_and_fills_have_names(net: Network, photo: np.ndarray) -> None:
    assert [shape_name(s) for s in ("square", "ellipse", STAR, np.ones((3, 7), bool))] == [
        "square", "ellipse", "outline of 5 points", "mask of 3x7",
    ]  # fmt: skip
    assert repr(Occlusion(net, photo, photo, STAR)) == (
        "<Occlusion of a picture of 24x40 for sequential: outline of 5 points, picture>"
    )


@given(boxes())
def test_predictions_with_any_form_are_those_of_the_whole_pass(net: Network, photo: np.ndarray, box) -> None:
    for shape, fill in ((STAR, "noise"), (np.eye(9, 5, dtype=bool), "inpaint")):
        if covered(shape, box[1]).all() or not covered(shape, box[1]).any():
            continue
        occlusion = Occlusion(net, photo, fill, shape)
        expected = net.predict(occlusion.occlude(*box)).probabilities
        np.testing.assert_allclose(occlusion.predict(*box).probabilities, expected, rtol=1e-4, atol=1e-6)


# --- what the box shows


@pytest.mark.parametrize("shape", ["square", "ellipse", STAR], ids=shape_name)
@pytest.mark.parametrize("fill", [*FILLS, "tomato"])
def test_pixels_are_what_the_occluded_picture_shows_in_the_box(net: Network, photo, fill, shape) -> None:
    occlusion = Occlusion(net, photo, fill, shape)
    shown = occlusion.pixels((5, 7), (9, 12))
    assert (shown.shape, shown.dtype) == ((9, 12, 3), np.uint8)
    np.testing.assert_array_equal(shown, net.picture(occlusion.occlude((5, 7), (9, 12)))[5:14, 7:19])
    left_out = ~occlusion.box_mask((9, 12))
    np.testing.assert_array_equal(shown[left_out], photo[5:14, 7:19][left_out])


# --- inpainting


@given(boxes(), st.sampled_from(["square", "ellipse", STAR, np.eye(5, dtype=bool)]), st.booleans())
def test_inpainting_is_teleas_of_the_whole_picture(net: Network, photo: np.ndarray, box, shape, smooth: bool) -> None:
    import cv2

    if smooth:
        photo = np.asarray(Image.fromarray(photo[::8, ::8]).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC))
    mask = np.zeros((HEIGHT, WIDTH), bool)
    (top, left), (height, width) = box
    mask[top : top + height, left : left + width] = covered(shape, box[1])
    if mask.all() or not mask.any():
        return
    occlusion = Occlusion(net, photo, "inpaint", shape)
    expected = cv2.inpaint(photo, mask.astype(np.uint8), 3, cv2.INPAINT_TELEA)
    occluded = occlusion.occlude(*box)
    np.testing.assert_array_equal(net.picture(occluded), expected)
    clean = torch.as_tensor(~mask)
    assert torch.equal(occluded[..., clean], occlusion.image[..., clean])  # outside not even rounded to 8 bits
    levels = torch.from_numpy(expected).permute(2, 0, 1).float() / 255
    torch.testing.assert_close(net.to_rgb(occluded)[0][:, ~clean], levels[:, ~clean], atol=1e-6, rtol=0)


def test_inpainting_several_places_at_once(net: Network, photo: np.ndarray) -> None:
    occlusion = Occlusion(net, photo, "inpaint", "ellipse")
    places = [(0, 0), (3, 4), (3, 4), (14, 30), (0, 0)]
    for patch, (top, left) in zip(occlusion.patches(places, 10), places, strict=True):
        fresh = Occlusion(net, photo, "inpaint", "ellipse").occlude((top, left), 10)
        assert torch.equal(patch, fresh[0, :, top : top + 10, left : left + 10])


def test_inpainting_has_no_fill_picture_and_can_be_replaced(net: Network, photo: np.ndarray) -> None:
    occlusion = Occlusion(net, photo, "inpaint")
    assert occlusion.fill_image is None
    assert occlusion.fill_picture is None
    assert fill_name("inpaint") == "inpaint"
    square = occlusion.pixels((3, 3), 6)
    assert not np.array_equal(occlusion.replace(shape="ellipse").pixels((3, 3), 6), square)
    assert torch.equal(occlusion.replace(fill="mean").fill_image, Occlusion(net, photo, "mean").fill_image)


def test_inpainting_on_grey() -> None:
    import cv2

    grey = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[4:12, 10:22] = 1
    expected = cv2.inpaint(grey, mask, 3, cv2.INPAINT_TELEA)[4:12, 10:22]
    shown = Occlusion(network(1), grey, "inpaint").pixels((4, 10), (8, 12))
    np.testing.assert_array_equal(shown, np.repeat(expected[..., None], 3, 2))


def test_where_inpainting_cannot_be_had(net: Network, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ArgumentError, match=r"5 input channels, got 'inpaint'. Take one of grey, mean"):
        Occlusion(network(5), torch.zeros(5, HEIGHT, WIDTH), "inpaint")
    whole = Occlusion(net, photo, "inpaint")
    for call in (whole.mask, whole.occlude, whole.predict, whole.pixels):
        with pytest.raises(ArgumentError, match=r"leaves a part of the picture.*square of 24x40, which covers all"):
            call((0, 0), (HEIGHT, WIDTH))
    whole.replace(shape="ellipse").predict((0, 0), (HEIGHT, WIDTH))
    monkeypatch.setitem(__import__("sys").modules, "cv2", None)
    with pytest.raises(ImportError, match=r"pip install convscope\[inpaint\]"):
        Occlusion(net, photo, "inpaint")


# --- another picture as fill


def test_any_kind_of_picture_is_a_fill(net: Network, photo: np.ndarray, tmp_path) -> None:
    other = 255 - photo
    file = tmp_path / "other one.png"
    Image.fromarray(other).save(file)
    expected = net.prepare(other)
    kinds = {
        str(file): "picture other one.png",
        file: "picture other one.png",
        file.read_bytes(): "picture",
        Picture(file, "folder/other", None, file): "picture other one.png",
        Picture(other, "chelsea"): "picture chelsea",
    }
    fills = [*kinds.items(), (Image.open(file), "picture other one.png"), (Image.fromarray(other), "picture")]
    fills += [(other, "picture"), (torch.tensor(other).permute(2, 0, 1), "picture"), (expected, "picture")]
    for fill, name in fills:
        assert torch.equal(Occlusion(net, photo, fill).fill_image, expected)
        assert fill_name(fill) == name
    occlusion = Occlusion(net, photo, file)
    np.testing.assert_array_equal(occlusion.pixels((2, 3), 9), other[2:11, 3:12])
    file.unlink()
    assert torch.equal(occlusion.replace(shape="ellipse", seed=3).fill_image, expected)  # not read again


def test_names_and_colours_go_before_files(net: Network, photo: np.ndarray, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("red", "blur", "cat"):
        Image.fromarray(photo).save(tmp_path / name, "PNG")
    assert {fill_name(word) for word in ("grey", "gray", "Gray")} == {"grey"}
    assert [fill_name(name) for name in ("red", "blur", "cat")] == ["#ff0000", "blur", "picture cat"]
    assert fill_name(np.array([1, 2, 3])) == fill_name(torch.tensor([1, 2, 3])) == "#010203"


def test_pictures_that_cannot_be_read_are_named(net: Network, photo: np.ndarray, tmp_path) -> None:
    (tmp_path / "notes.txt").write_text("no picture")
    for fill in (tmp_path / "notes.txt", str(tmp_path / "notes.txt")):
        with pytest.raises(ImageError, match=r"notes.txt', which cannot be read"):
            Occlusion(net, photo, fill)
    with pytest.raises(ImageError, match=r"nowhere.png', which does not exist"):
        Occlusion(net, photo, tmp_path / "nowhere.png")
    with pytest.raises(ImageError, match="folder"):
        Occlusion(net, photo, str(tmp_path))
    with pytest.raises(ArgumentError, match=r"path of a file that exists.*nowhere.png"):
        Occlusion(net, photo, str(tmp_path / "nowhere.png"))
    with pytest.raises(ImageError, match="network space"):
        Occlusion(net, photo, torch.zeros(3, 5, 5))

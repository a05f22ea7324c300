"""Image degradation: how fast a class's probability falls when what an explanation calls important goes."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from convscope_core.arguments import argument_kind, require_choice, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.explain.attribution import attribute_tensor
from convscope_core.explain.attribution import methods as all_methods
from convscope_core.explain.method import TableMethod, find
from convscope_core.jobs import Job, Ledger, Progress, begin, completed, documented, last
from convscope_core.network import Network
from convscope_core.occlusion import Fill, Occlusion, fill_name
from convscope_core.plots import axes, draws_figure
from convscope_core.saved_result import SavedResult, Values

__all__ = ["MODES", "Degradation", "degradation", "degrading"]

MODES = ("degradation", "deletion", "insertion")

_RANDOM = "random"

_GROUP = 5
"""Steps that share one recorded picture, the middle one: the others differ from it by two patches at most."""

_PAYS = 2.0
"""How many times less work a region walk over one patch must be than a forward pass, for groups to be walked.
Process time on one thread of a shared machine, patches of 9 on 224, groups of five against batches of eight: VGG-11 1.6
to 2.7 times as fast (its walk is 12.6 times less work), VGG-16 1.7 to 2.0, ResNet-18 0.95 to 1.4 (2.5), MobileNetV2 1.0
to 1.5 (1.9). Lengths chosen by `Regions.work`, in the one calibration tried, were slower than five in most cases."""

Methods = Sequence[str] | Mapping[str, tuple[str, Mapping[str, Any]]]


@argument_kind("Make one with degradation(net, images), or open one with Degradation.load.")
@dataclass(frozen=True, eq=False, repr=False)
class Degradation(SavedResult):
    """Probabilities of the class that was most probable, as pictures are degraded in the order of explanations.

    Attributes
    ----------
    probability : float32 array (methods, images, steps + 1)
        Probability of the class; at step 0 of the clean picture (of the filled one, in mode "insertion").
    methods : tuple of str
        Labels.
    replaced : float64 array (steps + 1,)
        Share of the picture's pixels that are replaced (put back, in mode "insertion").
    patches : int64 array (steps + 1,)
        How many patches that is.
    targets : int64 array (images,)
        The class of each picture.
    images : int64 array (images,)
        The pictures' numbers.
    skipped : tuple of (int, str)
        Pictures that could not be read, with the reason.
    patch, mode, fill, seed
        As they were asked for; fill in words, "patch mean" in mode "degradation".
    network, fingerprint : str
    """

    _form: ClassVar[str] = "convscope degradation 1"
    _arrays: ClassVar[dict[str, Values]] = {
        "probability": Values("float32", "methods pictures steps", 0, 1),
        "replaced": Values("float64", "steps", 0, 1),
        "patches": Values("int64", "steps", 0),
        "targets": Values("int64", "pictures", 0),
        "images": Values("int64", "pictures", 0),
    }

    probability: npt.NDArray[np.float32]
    methods: tuple[str, ...]
    replaced: npt.NDArray[np.float64]
    patches: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    images: npt.NDArray[np.int64]
    skipped: tuple[tuple[int, str], ...]
    patch: int
    mode: str
    fill: str
    seed: int
    network: str
    fingerprint: str

    @cached_property
    def mean(self) -> npt.NDArray[np.float64]:
        """Mean over the images, (methods, steps + 1)."""
        found: npt.NDArray[np.float64] = self.probability.mean(1, dtype=np.float64)
        return found

    @cached_property
    def band(self) -> npt.NDArray[np.float64]:
        """95 % interval of the mean, (methods, 2, steps + 1): 1.96 standard errors, within 0 and 1.

        NaN with fewer than two images.
        """
        count = self.probability.shape[1]
        if count < 2:
            return np.full((len(self.methods), 2, self.probability.shape[2]), np.nan)
        error = 1.96 * self.probability.std(1, ddof=1, dtype=np.float64) / math.sqrt(count)
        found: npt.NDArray[np.float64] = np.clip(np.stack([self.mean - error, self.mean + error], 1), 0.0, 1.0)
        return found

    @property
    def area(self) -> npt.NDArray[np.float64]:
        """Mean of each curve over the steps, (methods,): the smaller, the steeper it falls."""
        found: npt.NDArray[np.float64] = self.mean.mean(1)
        return found

    @property
    def order(self) -> tuple[str, ...]:
        """The methods, steepest first (in mode "insertion", the one that rises fastest)."""
        area = self.area if self.mode != "insertion" else -self.area
        return tuple(self.methods[i] for i in np.argsort(area, kind="stable"))

    def __repr__(self) -> str:
        wide = max(map(len, self.methods))
        last = self.probability.shape[2] - 1
        shown = sorted({0, last // 10, last // 4, last // 2, last})
        lines = [
            f"Image {self.mode} on {self.network}: {len(self.images)} images, patches of {self.patch}, {self.fill}",
            f"{'patches':<{wide}}  " + "  ".join(f"{self.patches[s]:>6}" for s in shown) + "    area",
        ]
        for name in self.order:
            row = self.methods.index(name)
            values = "  ".join(f"{self.mean[row, s]:>6.3f}" for s in shown)
            lines.append(f"{name:<{wide}}  {values}  {self.area[row]:>6.3f}")
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw the mean curves with their bands, as in the paper's figure 4."""
        figure, panel = axes((5.5, 3.6))
        for row, name in enumerate(self.methods):
            panel.plot(self.patches, self.mean[row], label=name)
            panel.fill_between(self.patches, self.band[row, 0], self.band[row, 1], alpha=0.2)
        panel.set_xlabel("patches put back" if self.mode == "insertion" else "patches replaced")
        panel.set_ylabel("probability of the class")
        panel.legend(fontsize=8)
        return figure


@documented
def degrading(
    net: Network,
    images: Any,
    methods: Methods | None = None,
    patch: int = 9,
    steps: int | None = None,
    mode: str = "degradation",
    fill: Fill = "grey",
    *,
    seed: int = 0,
    batch_size: int = 8,
    progress: bool = False,
) -> Generator[Degradation, None, None]:
    """Measure how fast a class's probability falls when what explanations call important goes.

    The picture is cut into patches that do not overlap, whole ones only, from the upper left corner on (224 pixels hold
    24 patches of 9; the paper does not state what becomes of the eight that are left). The attributions of a patch are
    summed over its pixels and channels, with their signs, and patches are taken in decreasing order, ties from the
    upper left. After each step the probability of the class is measured that was most probable for the clean picture.

    Parameters
    ----------
    net
    images
        Those that cannot be read are skipped and listed.
    methods : sequence of str, or mapping of str to (str, dict), optional
        Names of `methods(net)`, and "random" for patches in a random order; or methods with options under labels of
        your own: ``{"S_a": ("patternattribution", {"patterns": p, "estimator": "linear"})}``. Default: "random" and the
        attributions that the network supports by walks back.
    patch : int, default 9
        Side of a patch in pixels of the network's input.
    steps : int, optional
        In mode "degradation" one patch a step, at most as many as there are; in the others, all patches are gone after
        that many steps of nearly equal size. Default: 100; of "degradation", where there are fewer patches, as many.
    mode : {"degradation", "deletion", "insertion"}, default "degradation"
        "degradation": a patch is replaced by its own mean in each colour channel, as in the paper. "deletion": by the
        fill. "insertion": from the filled picture on, patches are put back.
    fill : str, colour or picture, default "grey"
        For "deletion" and "insertion"; what `Occlusion` takes, except "inpaint".
    seed : int, default 0
        Of random orders, and of methods that draw numbers, unless their options have a seed.
    batch_size, progress

    Yields
    ------
    Degradation
        The curves of the pictures so far, after each picture that could be read, and at the end. Closing the generator
        cancels.

    Raises
    ------
    ArgumentError
        When an argument is out of range, or the network does not support a method.
    ImageError
        When the pictures do not exist, or not one could be read.

    References
    ----------
    P.-J. Kindermans, K. T. Schütt, M. Alber, K.-R. Müller, D. Erhan, B. Kim, S. Dähne: Learning how to explain neural
    networks: PatternNet and PatternAttribution, ICLR 2018, section 5 and fig. 4. V. Petsiuk, A. Das, K. Saenko: RISE:
    Randomized Input Sampling for Explanation of Black-box Models, BMVC 2018, section 4 (deletion and insertion; there
    pixel by pixel).

    Examples
    --------
    >>> curves = cs.degradation(net, "imagenet/val", ["random", "gradient", "lrp"])
    >>> curves.order
    """
    require_choice("mode", mode, MODES)
    require_counts(patch=patch, batch_size=batch_size)
    require_counts(steps=100 if steps is None else steps)
    require_counts(0, seed=seed)
    size = net.input_shape[1:]
    rows, columns = size[0] // patch, size[1] // patch
    if not rows * columns:
        raise ArgumentError(f"Expected patches that fit into pictures of {size[0]}×{size[1]}, got a side of {patch}.")
    if steps is None:
        steps = min(100, rows * columns) if mode == "degradation" else 100
    if mode == "degradation" and steps > rows * columns:
        raise ArgumentError(
            f"Expected at most {rows * columns} steps, one for each patch of {patch} in {size[0]}×{size[1]}, got "
            f"{steps}. Give fewer steps or smaller patches."
        )
    if fill == "inpaint":
        raise ArgumentError("Expected a fill that is a picture by itself (a colour, 'mean', 'blur'...), got 'inpaint'.")
    words = "patch mean" if mode == "degradation" else fill_name(fill)
    chosen = _chosen(net, methods, seed)
    pictures = Images.of(images)
    if mode == "degradation":
        counts = np.arange(steps + 1)
    else:
        counts = np.rint(np.linspace(0, rows * columns, steps + 1)).astype(np.int64)
    job = _DegradationJob(
        net=net, batch_size=1, methods=chosen, patch=patch, counts=counts, mode=mode, fill=fill, words=words, seed=seed,
        forward=batch_size,
    )  # fmt: skip
    return _results(begin(job, pictures, Progress, progress=progress))


def _results(steps: Generator[Progress[Degradation], None, None]) -> Generator[Degradation, None, None]:
    """Give a result only where there is another picture in it, or where it is the last."""
    with closing(steps):
        before = 0
        for step in steps:
            if step.images > before or step.done == step.total:
                before = step.images
                yield step.result


degradation = completed(degrading, "degradation", Degradation, last)


def _chosen(net: Network, methods: Methods | None, seed: int) -> dict[str, tuple[str, dict[str, Any]]]:
    if methods is None:
        supported = [m.name for m in all_methods(net) if m.supported and m.group == "attribution"]
        methods = [_RANDOM, *(name for name in supported if isinstance(find(name), TableMethod))]
    if isinstance(methods, str):
        methods = [methods]
    if not isinstance(methods, Mapping):
        names = list(methods)
        if len({*names}) < len(names):
            raise ArgumentError(f"Expected different methods, got {names}. Give a mapping, with a label for each.")
        methods = {name: (name, {}) for name in names}
    if not methods:
        raise ArgumentError("Expected at least one method, got none.")
    chosen = {}
    for label, value in methods.items():
        pair: Any = value
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[1], Mapping)):
            raise ArgumentError(
                f"Expected (name of a method, options) for {label!r}, got {pair!r}. For example ({label!r}, {{}})."
            )
        name, options = pair[0], dict(pair[1])
        if name == _RANDOM:
            if options:
                raise ArgumentError(f"Expected no options of 'random', got {options}. Leave them out, and give seed.")
        else:
            method = find(name)
            if "seed" in method.options:
                options.setdefault("seed", seed)
            with net.lock:  # refuses what the network does not support, before pictures are read
                method.begin_scores(net, method.settings(options))
        chosen[label] = (name, options)
    return chosen


class _Curves:
    """The curves of each picture, one a method.

    Parameters
    ----------
    images, targets : list of int
        The pictures' numbers and classes.
    probability : list of Tensor (methods, steps + 1)
    """

    def __init__(self, images: list[int], targets: list[int], probability: list[Tensor]) -> None:
        self.images = images
        self.targets = targets
        self.probability = probability

    def merge(self, other: _Curves) -> None:
        """Take in the curves of other pictures."""
        self.images += other.images
        self.targets += other.targets
        self.probability += other.probability

    def copy(self) -> _Curves:
        """Return independent ones of the same pictures."""
        return _Curves(self.images[:], self.targets[:], self.probability[:])

    def state_dict(self) -> dict[str, Tensor]:
        """Return the state as plain CPU tensors."""
        probability = torch.stack(self.probability) if self.probability else torch.empty(0)
        return {
            "images": torch.tensor(self.images, dtype=torch.int64),
            "targets": torch.tensor(self.targets, dtype=torch.int64),
            "probability": probability,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Tensor]) -> _Curves:
        """Make curves of their `state_dict`."""
        return cls(state["images"].tolist(), state["targets"].tolist(), list(state["probability"]))


@dataclass(kw_only=True, eq=False, repr=False)
class _DegradationJob(Job[_Curves, Degradation]):
    """What is done with each picture: it is degraded in the order of every method's attributions."""

    kind = "degradation"

    methods: Mapping[str, tuple[str, dict[str, Any]]]
    patch: int
    counts: npt.NDArray[np.int64]
    mode: str
    fill: Fill
    words: str
    seed: int
    forward: int

    def empty(self, device: torch.device) -> _Curves:  # noqa: ARG002  curves are small
        return _Curves([], [], [])

    @classmethod
    def restored(cls, state: Mapping[str, Tensor]) -> _Curves:
        return _Curves.from_state(state)

    def add(self, part: _Curves, x: Tensor, images: Sequence[int], labels: Sequence[str | None]) -> None:  # noqa: ARG002
        height, width = self.net.input_shape[1:]
        grid = height // self.patch, width // self.patch
        for number, picture in zip(images, torch.split(x, 1), strict=True):
            target = self.net.predict(picture).index
            if self.mode == "degradation":
                other = _patch_means(picture, self.patch)
            else:
                filled = Occlusion(self.net, picture, self.fill, seed=self.seed).fill_image
                assert filled is not None
                other = filled
            start, end = (other, picture) if self.mode == "insertion" else (picture, other)
            rows = []
            for name, options in self.methods.values():
                order = _order(self.net, picture, name, options, target, self.patch, grid, (self.seed, number))
                rows.append(_curve(self.net, start, end, order, self.counts, self.patch, grid[1], target, self.forward))
            part.merge(_Curves([number], [target], [torch.from_numpy(np.stack(rows))]))

    def result(self, part: _Curves, images: Images, ledger: Ledger) -> Degradation:  # noqa: ARG002
        height, width = self.net.input_shape[1:]
        return Degradation(
            probability=torch.stack(part.probability, 1).numpy(),
            methods=tuple(self.methods),
            replaced=self.counts * self.patch * self.patch / (height * width),
            patches=self.counts,
            targets=np.array(part.targets),
            images=np.array(part.images),
            skipped=tuple((entry.image, entry.reason) for entry in ledger.skipped),
            patch=self.patch,
            mode=self.mode,
            fill=self.words,
            seed=self.seed,
            network=self.net.name,
            fingerprint=self.net.fingerprint,
        )


def _patch_means(x: Tensor, patch: int) -> Tensor:
    """The picture with each whole patch in its mean colour."""
    means = F.avg_pool2d(x, patch)
    whole = means.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    other = x.clone()
    other[:, :, : whole.shape[2], : whole.shape[3]] = whole
    return other


def _order(
    net: Network,
    x: Tensor,
    name: str,
    options: Mapping[str, Any],
    target: int,
    patch: int,
    grid: tuple[int, int],
    seed: tuple[int, int],
) -> npt.NDArray[np.int64]:
    """Numbers of the patches, the most important first."""
    if name == _RANDOM:
        return np.random.default_rng(seed).permutation(grid[0] * grid[1])
    found = attribute_tensor(net, x, name, target, **options)
    if found.heatmap.shape != tuple(x.shape[2:]):
        raise ArgumentError(f"Expected attributions of the picture's pixels, got {found.heatmap.shape} from {name}.")
    heat = found.heatmap.astype(np.float64)[: grid[0] * patch, : grid[1] * patch]
    sums = heat.reshape(grid[0], patch, grid[1], patch).sum((1, 3)).ravel()
    if not np.isfinite(sums).all():
        raise ArgumentError(f"Expected finite values of {name}, got NaN or infinite ones. Check the weights.")
    return np.argsort(-sums, kind="stable")


def _curve(
    net: Network,
    start: Tensor,
    end: Tensor,
    order: npt.NDArray[np.int64],
    counts: npt.NDArray[np.int64],
    patch: int,
    columns: int,
    target: int,
    batch_size: int,
) -> npt.NDArray[np.float32]:
    """Probabilities of a class on the way from one picture to another, patch by patch."""
    # When each pixel changes; what lies in no patch never does.
    turn = np.full(tuple(start.shape[2:]), len(order), np.int64)
    for place, number in enumerate(order):
        top, left = int(number) // columns * patch, int(number) % columns * patch
        turn[top : top + patch, left : left + patch] = place
    turns = torch.from_numpy(turn).to(start.device)

    def picture(count: int) -> Tensor:
        return torch.where(turns < count, end, start)

    def corners(steps: Sequence[int]) -> list[tuple[int, int]]:
        """Where the patches lie that these steps replace."""
        return [(int(order[s - 1]) // columns * patch, int(order[s - 1]) % columns * patch) for s in steps]

    if np.array_equal(np.diff(counts), np.ones(len(counts) - 1)) and _walk_pays(net, patch, corners([1])[0]):
        outputs = torch.cat(list(_in_groups(net, len(counts), picture, corners, patch)))
    else:
        parts = [counts[i : i + batch_size] for i in range(0, len(counts), batch_size)]
        outputs = torch.cat([net.forward(torch.cat([picture(int(c)) for c in part]))[0] for part in parts])
    found: npt.NDArray[np.float32] = net.probabilities(outputs)[:, target].float().cpu().numpy()
    return found


def _walk_pays(net: Network, patch: int, place: tuple[int, int]) -> bool:
    """Whether the region walk over one patch is much less work than a forward pass."""
    if net.device.type != "cpu":
        return False  # batches of whole pictures are what an accelerator is fast at
    known = net.__dict__.setdefault("_degradation_pays", {})
    if patch not in known:
        regions = net.regions(torch.zeros(1, *net.input_shape))
        known[patch] = regions.work((patch, patch), [place]).bound >= _PAYS
    return bool(known[patch])


def _in_groups(
    net: Network,
    count: int,
    picture: Callable[[int], Tensor],
    corners: Callable[[Sequence[int]], list[tuple[int, int]]],
    patch: int,
) -> Iterator[Tensor]:
    """Logits of steps 0 to count - 1: in each group the middle one is kept, and what differs from it is walked."""
    for first in range(0, count, _GROUP):
        steps = range(first, min(first + _GROUP, count))
        middle = steps[len(steps) // 2]
        regions = net.regions(picture(middle))
        others = [s for s in steps if s != middle]
        outputs = {middle: regions.output}
        if others:
            # The box round all patches in which a step differs from the middle one; the others hold their own pixels.
            boxes = [corners(range(min(s, middle) + 1, max(s, middle) + 1)) for s in others]
            tops, lefts = (
                np.array([[min(b[a] for b in box), max(b[a] for b in box)] for box in boxes]) for a in (0, 1)
            )
            height, width = (int(np.ptp(sides, axis=1).max()) + patch for sides in (tops, lefts))
            size = regions.graph.input.shape[1:]
            at = [
                (min(int(t), size[0] - height), min(int(l), size[1] - width))
                for t, l in zip(tops[:, 0], lefts[:, 0], strict=True)
            ]
            cut = [picture(s)[:, :, t : t + height, l : l + width] for s, (t, l) in zip(others, at, strict=True)]
            with net.lock:
                output, _ = regions(at, torch.cat(cut))
            outputs |= dict(zip(others, torch.split(output, 1), strict=True))
        yield from (outputs[s] for s in steps)

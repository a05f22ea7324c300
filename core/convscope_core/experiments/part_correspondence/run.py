"""The experiment: mask the same part in several pictures, and compare what changes."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import closing
from dataclasses import fields
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from convscope_core.arguments import require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.experiments.part_correspondence.masks import (
    Fitting,
    Mask,
    PartMasks,
    checked_objects,
    checked_parts,
    random_places,
)
from convscope_core.experiments.part_correspondence.result import CorrespondenceResult
from convscope_core.experiments.part_correspondence.signs import (
    Scoring,
    SignScores,
    change_signs,
    changed,
    differing,
)
from convscope_core.jobs import completed, documented, last
from convscope_core.jobs.forms import shown
from convscope_core.network import Layer, Network, listed_layers
from convscope_core.occlusion import Fill, Occlusion, fill_name

__all__ = ["Run", "checked_run", "chosen_layers", "corresponding", "correspondence"]


@documented
def corresponding(
    net: Network,
    images: Any,
    masks: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    objects: Any = None,
    *,
    size: int | None = None,
    fill: Fill = "grey",
    places: int = 50,
    permutations: int = 10_000,
    seed: int = 0,
    batch_size: int = 16,
    progress: bool = False,
) -> Generator[CorrespondenceResult, None, None]:
    """Measure how alike masking the same part acts on features, in one picture and another.

    With x the features of a picture at a layer and x' those of the picture with the part masked, let e = x - x'. The
    score is the mean over pairs of pictures of the share of entries at which sign(e) differs, a sign and none being
    different. If a network knows the part as such, masking it has alike effects wherever it is, and the score is below
    that of random places of the same area.

    The paper prints a sum of Hamming distances over all pairs; its numbers are those of a mean of shares. It masks
    eyes and noses of five dogs, at "layer 5" and "layer 7", without saying whether layer 5 is before or after its pool:
    here a layer's name says it.

    Parameters
    ----------
    net
    images
        At least two.
    masks : sequence of masks, or mapping of str to sequence of masks
        For one part or several by name, what it covers in each picture:

        - a bool array of the picture's own pixels, which is resized and cropped as the picture is
          (`Network.prepare_mask`); or of the network's input, where it has that size and the picture has another;
        - a point (row, column) of the network's input, as `Network.picture` shows it, about which a square of `size` is
          laid;
        - None, where the picture has no such part.
    layers
        By default the last one with maps and the last before the class scores, as in the paper.
    objects : sequence of bool array or None, optional
        The object in each picture, as masks are given: the middle of a random place lies on it. By default anywhere in
        the picture.
    size : int, optional
        Side in pixels of the squares about points; at a border they are moved inward.
    fill : str, colour or picture, default "grey"
        What masks show; what `Occlusion` takes, except "inpaint".
    places : int, default 50
        Random places in each picture: the part's own mask, moved, wholly inside the picture.
    permutations : int, default 10000
        Draws of one place a picture, for the band and for `p`: in each picture the part's place and the random ones
        are equally likely to be called the part's, if the part is nothing special.
    seed
    batch_size
    progress

    Yields
    ------
    CorrespondenceResult
        The scores so far, after each picture of a part from its second on. Closing the generator cancels.

    Raises
    ------
    ArgumentError
        When there are fewer than two pictures of a part, a mask is empty or of another size, or another argument is
        out of range.
    LayerError
        When there is no such layer.
    ImageError
        When a picture cannot be read.

    Notes
    -----
    A change of less than 32 units in the last place of the layer's largest value is rounding, and counts as none. For
    each part, 1 + `places` bytes are kept for every picture and entry of the layers.

    References
    ----------
    M. D. Zeiler, R. Fergus: Visualizing and Understanding Convolutional Networks, arXiv:1311.2901, section 4.3,
    table 1.

    Examples
    --------
    >>> shapes = cs.Shapes(classes=["cat"], count=5)
    >>> truths = [shapes.truth(i) for i in range(5)]
    >>> cs.correspondence(net, shapes, {"nose": [truth.parts["nose"] for truth in truths]})
    """
    steps = checked_run(
        net, images, masks, layers, objects, size, fill, places, permutations, seed, batch_size=batch_size
    ).steps()
    return _results(shown(steps, "correspondence", "picture", lambda step: step[:2]) if progress else steps)


def _results(steps: Generator[_Step, None, None]) -> Generator[CorrespondenceResult, None, None]:
    with closing(steps):
        for step in steps:
            if step.result is not None:
                yield step.result


correspondence = completed(corresponding, "correspondence", CorrespondenceResult, last)


def checked_run(
    net: Network,
    images: Any,
    masks: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    objects: Any = None,
    size: int | None = None,
    fill: Fill = "grey",
    places: int = 50,
    permutations: int = 10_000,
    seed: int = 0,
    *,
    batch_size: int = 16,
    memory: Memory | None = None,
) -> Run:
    """Check the arguments of `corresponding`, and raise what it raises.

    `memory` keeps what masking did to each picture from one run to the next, which has to be about the same network,
    pictures, layers, objects, fill, places and seed: then only pictures whose masks are new are computed.
    """
    require_counts(places=places, permutations=permutations, batch_size=batch_size)
    require_counts(0, seed=seed)
    if fill == "inpaint":
        raise ArgumentError("Expected a fill that is a picture by itself (a colour, 'mean', 'blur'...), got 'inpaint'.")
    pictures = Images.of(images)
    if len(pictures) < 2:
        raise ArgumentError(f"Expected at least two pictures, since scores compare pairs, got {len(pictures)}.")
    chosen, words, fitted = chosen_layers(net, layers), fill_name(fill), Fitting(net, pictures)
    return Run(
        net=net,
        images=pictures,
        parts=checked_parts(masks, fitted, size),
        objects=checked_objects(objects, fitted),
        layers=chosen,
        fill=fill,
        words=words,
        places=places,
        permutations=permutations,
        seed=seed,
        batch_size=batch_size,
        memory=memory,
    )


class _Step(NamedTuple):
    done: int
    total: int
    result: CorrespondenceResult | None


Memory: TypeAlias = dict[tuple[int, int, bytes], dict[str, Tensor]]
"""The signs of changes by layer, for the number of a part, a picture, and the mask."""


class Run(NamedTuple):
    """The arguments, checked."""

    net: Network
    images: Images
    parts: PartMasks
    objects: list[Mask]
    layers: tuple[str, ...]
    fill: Fill
    words: str
    places: int
    permutations: int
    seed: int
    batch_size: int
    memory: Memory | None

    def steps(self) -> Generator[_Step, None, None]:
        """Go through parts and pictures."""
        total, done = sum(map(len, self.parts.values())), 0
        rows: list[_Row] = []
        for number, (part, masks) in enumerate(self.parts.items()):
            tally = _Tally(self.layers, self.permutations)
            for picture in masks:
                draws = np.random.default_rng((self.seed, 1, number, picture))
                tally.add(self._signs(part, number, picture), draws)
                done += 1
                result = None
                if tally.pictures > 1:
                    parts = tuple(self.parts)[: number + 1]
                    result = self._result([*rows, tally.row()], parts, tally.pictures)
                yield _Step(done, total, result)
            rows.append(tally.row())

    def _signs(self, part: str, number: int, picture: int) -> dict[str, Tensor]:
        if self.memory is None:
            return self._computed(part, number, picture)
        key = number, picture, self.parts[part][picture].tobytes()
        if key not in self.memory:
            self.memory[key] = self._computed(part, number, picture)
        return self.memory[key]

    def _computed(self, part: str, number: int, picture: int) -> dict[str, Tensor]:
        occlusion = Occlusion(self.net, self.images[picture], self.fill, seed=self.seed)
        assert occlusion.fill_image is not None
        mask, generator = self.parts[part][picture], np.random.default_rng((self.seed, 0, number, picture))
        elsewhere = random_places(mask, self.objects[picture], self.places, generator, f"{part!r} in picture {picture}")
        places = np.concatenate([mask[None], elsewhere])
        return change_signs(self.net, occlusion.image, occlusion.fill_image, places, self.layers, self.batch_size)

    def _result(self, rows: list[_Row], parts: tuple[str, ...], seen: int) -> CorrespondenceResult:
        def scores(name: str) -> SignScores:
            return SignScores(
                **{
                    field.name: np.array([[cell[field.name] for cell in getattr(row, name)] for row in rows])
                    for field in fields(SignScores)
                }
            )

        pictures = [tuple(self.parts[part]) for part in parts]
        pictures[-1] = pictures[-1][:seen]
        return CorrespondenceResult(
            parts=parts,
            layers=self.layers,
            all_entries=scores("every"),
            changed_entries=scores("changed_both"),
            changed=np.array([row.changed for row in rows]),
            random_changed=np.array([row.random_changed for row in rows]),
            pictures=tuple(pictures),
            places=self.places,
            permutations=self.permutations,
            seed=self.seed,
            fill=self.words,
            network=self.net.name,
            fingerprint=self.net.fingerprint,
        )


class _Tally:
    """A part's scores at several layers, for a growing number of pictures."""

    def __init__(self, layers: tuple[str, ...], permutations: int) -> None:
        self._permutations = permutations
        self._signs: dict[str, list[Tensor]] = {layer: [] for layer in layers}
        self._every = {layer: Scoring(permutations) for layer in layers}
        self._both = {layer: Scoring(permutations) for layer in layers}
        self._null: list[npt.NDArray[np.int64]] = []
        self._band: list[npt.NDArray[np.int64]] = []

    @property
    def pictures(self) -> int:
        """How many there are."""
        return len(self._null)

    def add(self, signs: dict[str, Tensor], draws: np.random.Generator) -> None:
        """Take in the signs of a picture, by layer, and draw what place each permutation has in it."""
        places = len(next(iter(signs.values())))
        self._null.append(draws.integers(0, places, self._permutations))
        self._band.append(draws.integers(1, places, self._permutations))
        null, band = np.stack(self._null), np.stack(self._band)
        for layer, mine in signs.items():
            blocks = [differing(other, mine) for other in self._signs[layer]]
            if blocks:
                self._every[layer].add(np.stack([every for every, _ in blocks]), null, band)
                self._both[layer].add(np.stack([both for _, both in blocks]), null, band)
            self._signs[layer].append(mine)

    def row(self) -> _Row:
        """The scores so far."""
        shares = [np.stack([changed(signs) for signs in every]) for every in self._signs.values()]
        return _Row(
            [scoring.scores() for scoring in self._every.values()],
            [scoring.scores() for scoring in self._both.values()],
            [float(share[:, 0].mean()) for share in shares],
            [float(share[:, 1:].mean()) for share in shares],
        )


class _Row(NamedTuple):
    """A part's scores, one for each layer."""

    every: list[Any]
    changed_both: list[Any]
    changed: list[float]
    random_changed: list[float]


def chosen_layers(net: Network, layers: str | Layer | Iterable[str | Layer] | None) -> tuple[str, ...]:
    """Names of the layers; by default the last one with maps and the last before the class scores."""
    if layers is not None:
        given = listed_layers(layers)
        if not given:
            raise ArgumentError("Expected at least one layer, got none. Leave layers out for the last two.")
        return tuple(dict.fromkeys(net.layer(layer).name for layer in given))
    before = net.layers[:-1] or net.layers
    maps = [layer.name for layer in before if layer.size != (1, 1)]
    vectors = [layer.name for layer in before if layer.size == (1, 1)]
    return tuple(maps[-1:] + vectors[-1:])

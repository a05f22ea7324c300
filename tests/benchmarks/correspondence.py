"""Does a network know parts as such? The first paper's table 1, on pictures whose parts are known.

    python tests/benchmarks/correspondence.py [--net zfnet_shapes] [--weights DEFAULT] [--pictures 20] [--side 15]

Masks the same part in pictures of one class that training has not seen, with a square about the part's middle, and
prints docs/correspondence.md's tables: score of the part, score of random places of the same area on the object, p.
The last table follows one class through training. --plot PATH draws the first class.
"""

from __future__ import annotations

import argparse

import numpy as np
import numpy.typing as npt

from convscope_core.experiments import CorrespondenceResult, correspondence
from convscope_core.models import load
from convscope_core.network import Network
from convscope_core.shapes import Shapes, ShapesTruth

PARTS = {
    "cat": ("left eye", "right eye", "nose", "left ear", "right ear"),
    "car": ("rear wheel", "front wheel", "front window"),
    "bird": ("eye", "beak", "wing"),
}

FOLLOWED = "cat"
TWINS = ("cat", "bear")
"""Two classes that differ in their ears alone."""

LEAST = 12
"""Pixels of a part that have to be seen for a picture to be taken."""


def middle(net: Network, mask: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """The middle of a part as the network sees it; None where it hardly does."""
    rows, columns = np.nonzero(net.prepare_mask(mask))
    return (round(rows.mean()), round(columns.mean())) if len(rows) >= LEAST else None


def run(net: Network, name: str, given: argparse.Namespace) -> tuple[CorrespondenceResult, int]:
    """The scores of a class's parts, and how many of its pictures the network takes for what they are."""
    shapes = Shapes(40 * given.pictures, given.size, given.seed, [name], "test")
    images: list[int] = []
    truths: list[ShapesTruth] = []
    for i in range(len(shapes)):
        truth = shapes.truth(i)
        if all(middle(net, truth.parts[part]) for part in PARTS[name]):
            images.append(i)
            truths.append(truth)
        if len(images) == given.pictures:
            break
    pictures = [shapes[i][0] for i in images]
    right = sum(net.predict(picture).label == name for picture in pictures)
    points = {part: [middle(net, truth.parts[part]) for truth in truths] for part in PARTS[name]}
    layers = given.layers.split(",") if given.layers else None
    found = correspondence(
        net, pictures, points, layers, [truth.object for truth in truths], size=given.side, places=given.places
    )
    return found, right


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--net", default="zfnet_shapes")
    parser.add_argument("--weights", default="DEFAULT")
    parser.add_argument("--layers", default="")
    parser.add_argument("--over", default="EPOCH_1,EPOCH_5,EPOCH_10,EPOCH_20,EPOCH_30,EPOCH_40,EPOCH_64")
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--places", type=int, default=50)
    parser.add_argument("--side", type=int, default=15)
    parser.add_argument("--size", type=int, default=128, help="of the pictures, before the network's own crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot")
    given = parser.parse_args()
    report(load(given.net, given.weights), given)
    if given.over:
        follow([load(given.net, weights) for weights in given.over.split(",")], given)


def report(net: Network, given: argparse.Namespace) -> None:
    """Print a table for each layer."""
    tables: dict[str, list[str]] = {}
    for name in PARTS:
        found, right = run(net, name, given)
        print(f"{name}: {right} of {given.pictures} pictures are named")
        if given.plot and name == FOLLOWED:
            found.plot().savefig(given.plot, dpi=100)
        for j, layer in enumerate(found.layers):
            for i, part in enumerate(found.parts):
                cells = [f"{name}: {part}"]
                for scores in (found.all_entries, found.changed_entries):
                    cells += [
                        f"{scores.delta[i, j]:.3f} ± {scores.spread[i, j]:.3f}",
                        f"{scores.random[i, j]:.3f} ± {scores.random_spread[i, j]:.3f}",
                        f"{scores.p[i, j]:.2g}",
                    ]
                cells += [f"{found.changed[i, j]:.2f}", f"{found.random_changed[i, j]:.2f}"]
                tables.setdefault(layer, []).append(f"| {' | '.join(cells)} |")
    for layer, rows in tables.items():
        print(f"\n| {layer} | all entries | random | p | both changed | random | p | changed | random |")
        print("\n".join(["|---" * 9 + "|", *rows]))


def told_apart(net: Network, given: argparse.Namespace) -> float:
    """Share of the pictures of two classes that the network finds more like their own than like the other."""
    shapes = Shapes(10 * given.pictures, given.size, given.seed, TWINS, "test")
    one, other = (net.labels.index(name) for name in TWINS)
    right = 0
    for picture, label in shapes:
        probabilities = net.predict(picture).probabilities
        right += int((probabilities[other] > probabilities[one]) == bool(label))
    return right / len(shapes)


def follow(nets: list[Network], given: argparse.Namespace) -> None:
    """Print how the parts of a class come to correspond at the last layer, among entries that both change."""
    print(f"\n| weights | {' and '.join(TWINS)} told apart | random | {' | '.join(PARTS[FOLLOWED])} |")
    print("|---" * (3 + len(PARTS[FOLLOWED])) + "|")
    for net, weights in zip(nets, given.over.split(","), strict=True):
        scores = run(net, FOLLOWED, given)[0].changed_entries
        cells = [f"{d:.2f} (p {p:.2g})" for d, p in zip(scores.delta[:, -1], scores.p[:, -1], strict=True)]
        row = [weights, f"{told_apart(net, given):.0%}", f"{scores.random[:, -1].mean():.2f}", *cells]
        print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

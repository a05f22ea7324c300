"""Does a network know parts as such? The first paper's table 1, on pictures whose parts are known.

    python tests/benchmarks/correspondence.py [--net zfnet_shapes] [--weights DEFAULT] [--pictures 20] [--side 15]

Masks the same part in pictures of one class that training has not seen, with a square about the part's middle, and
prints docs/correspondence.md's tables: score of the part, score of random places of the same area on the object, p.
Also writes the figure, with --plot PATH.
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
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--places", type=int, default=50)
    parser.add_argument("--side", type=int, default=15)
    parser.add_argument("--size", type=int, default=128, help="of the pictures, before the network's own crop")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot")
    given = parser.parse_args()
    report(load(given.net, given.weights), given)


def report(net: Network, given: argparse.Namespace) -> None:
    """Print the tables."""
    for name in PARTS:
        found, right = run(net, name, given)
        print(f"\n{name}, {len(found.pictures[0])} pictures, of which {net.name} names {right}\n")
        for j, layer in enumerate(found.layers):
            print(f"| {layer} | all entries | random | p | both changed | random | p | changed | random |")
            print("|---|---|---|---|---|---|---|---|---|")
            for i, part in enumerate(found.parts):
                cells = [part]
                for scores in (found.all_entries, found.changed_entries):
                    cells += [
                        f"{scores.delta[i, j]:.3f} ± {scores.spread[i, j]:.3f}",
                        f"{scores.random[i, j]:.3f} ± {scores.random_spread[i, j]:.3f}",
                        f"{scores.p[i, j]:.2g}",
                    ]
                cells += [f"{found.changed[i, j]:.2f}", f"{found.random_changed[i, j]:.2f}"]
                print(f"| {' | '.join(cells)} |")
            print()
        if given.plot and name == next(iter(PARTS)):
            found.plot().savefig(given.plot, dpi=110)


if __name__ == "__main__":
    main()

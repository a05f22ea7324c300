"""Train one of the first paper's networks: ``python -m convscope_core.training --help``.

The networks that come with convscope were made by it; docs/training.md has the commands and what came of them.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError, ConvscopeError
from convscope_core.evolution import PAPER
from convscope_core.models import AlexNet2012, ZFNet, initialise
from convscope_core.models.zfnet import INITIALISATIONS
from convscope_core.training.loop import training
from convscope_core.training.pictures import LabelledPictures
from convscope_core.training.run import KeptEpochs, describe

_NETWORKS = {"zfnet": ZFNet, "alexnet": AlexNet2012}


class _Sets(NamedTuple):
    """Pictures to learn from, to choose the learning rate by, and to measure on; and what they are."""

    train: Any
    validation: Any
    test: Any
    classes: Sequence[str] | None
    described: str


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    asked = _parser().parse_args(given)
    try:
        _run(asked, f"python -m convscope_core.training {shlex.join(given)}")
    except ConvscopeError as error:
        raise SystemExit(str(error)) from error


def _run(asked: argparse.Namespace, command: str) -> None:
    if asked.threads:
        torch.set_num_threads(asked.threads)
    side = asked.resize or round(asked.size * 8 / 7)
    sets = _sets(asked, side)
    test = LabelledPictures(sets.test, side, sets.classes, not asked.no_cache)
    options = {
        "classes": len(test.classes),
        "input_size": asked.size,
        "width": asked.width,
        "units": asked.units,
        "without": sorted(asked.without),
        "dropout": asked.dropout,
    }
    module = _NETWORKS[asked.network](**options)
    initialise(module, asked.initialisation, seed=asked.seed)
    module.to(asked.device)
    folder = Path(asked.folder).expanduser()
    kept = KeptEpochs(folder, {epoch for epoch in asked.keep if epoch < asked.epochs} | {asked.epochs})
    checkpoint = folder / "checkpoint.safetensors"
    started = time.time()
    for progress in training(
        module,
        sets.train,
        asked.epochs,
        validation=sets.validation,
        classes=test.classes,
        standardise=asked.standardise,
        batch_size=asked.batch_size,
        rate=asked.rate,
        clip=asked.clip or None,
        patience=asked.patience,
        crops=asked.crops,
        precision=asked.precision,
        callbacks=[kept],
        checkpoint=checkpoint,
        cache=not asked.no_cache,
        seed=asked.seed,
    ):
        done = progress.result.history[-1]
        print(
            f"epoch {done.epoch:>3}  loss {done.loss:.4f}  accuracy {done.accuracy:.3f}  validation "
            f"{done.validation or 0:.3f}  rate {done.rate:.3g}  clipped {done.clipped}  {done.seconds:.1f} s",
            flush=True,
        )
    described = describe(
        kept,
        asked.name or folder.name,
        options,
        progress.result,
        test,
        {"command": command, "pictures": sets.described, "initialisation": asked.initialisation},
    )
    checkpoint.unlink()
    print(progress.result)
    print(f"{described} after {time.time() - started:.0f} s")


def _sets(asked: argparse.Namespace, side: int) -> _Sets:
    if asked.data == "shapes":
        from convscope_core.shapes import Shapes

        shapes = (
            Shapes(asked.count, side, seed=asked.seed),
            Shapes(max(asked.count // 20, 12), side, seed=asked.seed + 1, split="test"),
            Shapes(max(asked.count // 8, 12), side, seed=asked.seed, split="test"),
        )
        return _Sets(*shapes, shapes[0].classes, "to train, validate and test: " + "; ".join(map(str, shapes)))
    if asked.data == "cifar10":
        from torchvision.datasets import CIFAR10

        root = Path(asked.root).expanduser()
        every = CIFAR10(root, train=True, download=asked.download)
        last = CIFAR10(root, train=False, download=asked.download)
        held_out = range(9, len(every), 10)
        rest = sorted(set(range(len(every))) - set(held_out))
        return _Sets(
            torch.utils.data.Subset(every, rest),
            torch.utils.data.Subset(every, held_out),
            last,
            every.classes,
            "CIFAR-10; every tenth of its training pictures is for validation",
        )
    images = Images.of(asked.data)
    if len(images) < 10:
        raise ArgumentError(f"Expected at least 10 pictures in {asked.data!r}, got {len(images)}.")
    classes = LabelledPictures(images, 1, cache=False).classes
    train, validation, test = (
        images.only([i for i in range(len(images)) if i % 10 in chosen]) for chosen in (range(8), (8,), (9,))
    )
    return _Sets(train, validation, test, classes, f"{asked.data}; of every ten 8 to train, 1 to validate, 1 to test")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m convscope_core.training",
        description="Train one of the networks of Zeiler and Fergus (2013), keeping its weights after chosen epochs.",
        epilog="Stopped, the same command goes on where it was.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("data", help="shapes, cifar10, or a folder of class folders")
    add("folder", help="what is made: run.json, and a file of weights for each epoch that is kept")
    add("--name", help="of the network; default: the folder's")
    add("--network", choices=sorted(_NETWORKS), default="zfnet")
    add("--size", type=int, default=112, help="side of the network's input, in pixels")
    add("--resize", type=int, help="side that pictures are scaled to before they are cropped; default: 8/7 of the size")
    add("--width", type=float, default=1 / 6, help="feature maps, as a share of the paper's")
    add("--units", type=int, default=128, help="in layers 6 and 7")
    add("--without", type=_integers, default=(), help="layers to leave out, such as 3,4")
    add("--dropout", type=float, default=0.5)
    add("--initialisation", choices=INITIALISATIONS, default="kaiming")
    add("--epochs", type=int, default=64)
    add("--keep", type=_integers, default=PAPER, help="after which epochs weights are kept, beside the last")
    add("--batch-size", type=int, default=64)
    add("--rate", type=float, default=0.01)
    add("--clip", type=float, default=0.1, help="radius of the filters; 0: none")
    add("--patience", type=int, default=5)
    add("--crops", choices=("ten", "middle"), default="ten")
    add("--standardise", action="store_true", help="divide colours by their standard deviation")
    add("--precision", choices=("bfloat16", "float16"))
    add("--count", type=int, default=8000, help="of shapes")
    add("--root", default=".", help="where CIFAR-10 is")
    add("--download", action="store_true", help="CIFAR-10 where it is not there")
    add("--no-cache", action="store_true", help="read pictures when they are needed, instead of keeping all in memory")
    add("--device", default="cpu")
    add("--threads", type=int, help="of the processor; results are the same bits only with the same number")
    add("--seed", type=int, default=0)
    return parser


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(",") if part)


if __name__ == "__main__":
    main()

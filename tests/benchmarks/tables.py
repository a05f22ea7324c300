"""Tables 3 to 7 of the first paper in small: writes docs/tables.md.

    python tests/benchmarks/tables.py [--keep rows.json] [--write]

Zeiler and Fergus (2013) train their network and Krizhevsky's on ImageNet, without layers and with others, and take what
they learnt to Caltech and PASCAL. Here the networks have a sixth of the feature maps, are trained on Shapes by
`convscope_core.training`, and are taken to classes of Shapes that they have not seen. Rows that are kept in the file of
`--keep` are not computed again, so that it can be stopped; all take a quarter of an hour on a free core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope_core.experiments import probe
from convscope_core.models import AlexNet2012, MeanSubtraction, ZFNet, initialise
from convscope_core.network import Network
from convscope_core.shapes import Shapes
from convscope_core.training import LabelledPictures, train
from convscope_core.training.evaluation import class_probabilities, share_right

SIDE, COUNT, TEST = 128, 2400, 1200

#: Passes over the pictures: of each network in table 3, and of the one that is taken to new classes.
EPOCHS, BEFORE = 8, 12

WIDTH, UNITS = 1 / 6, 128

#: Classes that the transferred network has not seen.
NEW = ("bird", "bicycle", "boat", "cup")

#: Label, network, options; then the paper's errors in percent: training top 1, validation top 1, validation top 5.
TABLE_3: tuple[tuple[str, type[nn.Module], dict[str, Any], tuple[float, float, float]], ...] = (
    ("Krizhevsky et al.", AlexNet2012, {}, (35.1, 40.5, 18.1)),
    ("without layers 3, 4", AlexNet2012, {"without": (3, 4)}, (41.8, 45.4, 22.1)),
    ("without layer 7", AlexNet2012, {"without": (7,)}, (27.4, 40.0, 18.4)),
    ("without layers 6, 7", AlexNet2012, {"without": (6, 7)}, (27.4, 44.8, 22.4)),
    ("without layers 3, 4, 6, 7", AlexNet2012, {"without": (3, 4, 6, 7)}, (71.1, 71.3, 50.1)),
    ("layers 6, 7 half as wide", AlexNet2012, {"units": UNITS // 2}, (40.3, 41.7, 18.8)),
    ("layers 6, 7 twice as wide", AlexNet2012, {"units": UNITS * 2}, (26.8, 40.0, 18.1)),
    ("Zeiler and Fergus", ZFNet, {}, (33.1, 38.4, 16.5)),
    ("layers 6, 7 half as wide", ZFNet, {"units": UNITS // 2}, (38.2, 40.2, 17.6)),
    ("layers 6, 7 twice as wide", ZFNet, {"units": UNITS * 2}, (22.0, 38.8, 17.0)),
    ("layers 3, 4, 5: 512, 1024, 512 maps", ZFNet, {"maps": (96, 256, 512, 1024, 512)}, (18.8, 37.5, 16.0)),
    (
        "layers 6, 7 twice as wide, 512, 1024, 512 maps",
        ZFNet,
        {"units": UNITS * 2, "maps": (96, 256, 512, 1024, 512)},
        (10.0, 38.3, 16.9),
    ),
)

#: Pictures of each class, and the paper's accuracy on Caltech-256 with the network trained before, and from scratch.
TABLE_5 = {15: (65.7, 9.0), 30: (70.6, 22.5), 60: (74.2, 38.8)}

#: The paper's accuracy of linear probes, Caltech-101 (30 pictures a class) and Caltech-256 (60).
TABLE_7 = {
    "svm": {
        "conv1": (44.8, 24.6), "conv2": (66.2, 39.6), "conv3": (72.3, 46.0), "conv4": (76.6, 51.3),
        "conv5": (86.2, 65.6), "fc6": (None, None), "fc7": (85.5, 71.7),
    },
    "softmax": {"conv5": (82.9, 65.7), "fc7": (85.4, 72.6)},
}  # fmt: skip


def trained(module: nn.Module, shapes: Any, epochs: int, preprocess: MeanSubtraction | None = None) -> Any:
    initialise(module, "kaiming", seed=0)
    standardise = preprocess is None
    return train(module, shapes, epochs, preprocess=preprocess, standardise=standardise, batch_size=64, progress=False)


def made(network: type[nn.Module], classes: int, **options: Any) -> nn.Module:
    return network(classes, **{"input_size": 112, "width": WIDTH, "units": UNITS, "dropout": 0.2, **options})


def error(found: Any, pictures: LabelledPictures, crops: str, first: int = 1) -> float:
    p = class_probabilities(found.module, pictures, found.preprocess, crops)
    if first == 1:
        return 100 - 100 * share_right(p, pictures.labels)
    best = p.topk(first, 1).indices
    return 100 - 100 * float((best == pictures.labels[:, None]).any(1).double().mean())


@cache
def read(shapes: Shapes) -> LabelledPictures:
    return LabelledPictures(shapes, SIDE)


def table_3(row: int) -> dict[str, float]:
    """Errors of one network, trained from scratch."""
    _, network, options, _ = TABLE_3[row]
    data, test = read(Shapes(COUNT, SIDE)), read(Shapes(TEST, SIDE, split="test"))
    found = trained(made(network, 12, **options), data, EPOCHS)
    return {
        "train": error(found, data, "middle"),
        "test": error(found, test, "ten"),
        "test_two": error(found, test, "ten", 2),
        "parameters": sum(p.numel() for p in found.module.parameters()),
    }


def of_classes(classes: tuple[str, ...], count: int, split: str = "train") -> Shapes:
    return Shapes(count, SIDE, seed=5, classes=classes, split=split)


def transferred(folder: Path) -> Network:
    """A network that has learnt the other classes."""
    seen = tuple(name for name in Shapes().classes if name not in NEW)
    found = trained(made(ZFNet, len(seen)), of_classes(seen, COUNT), BEFORE)
    torch.save(found.module.state_dict(), folder / "transferred.pth")
    (folder / "transferred.json").write_text(json.dumps(vars(found.preprocess)))
    return found.network("transferred")


def reopened(folder: Path) -> Network:
    if not (folder / "transferred.json").is_file():
        return transferred(folder)
    module = made(ZFNet, 12 - len(NEW))
    module.load_state_dict(torch.load(folder / "transferred.pth", weights_only=True))
    preprocess = MeanSubtraction(**json.loads((folder / "transferred.json").read_text()))
    return Network(module.eval(), preprocess=preprocess, input_size=112, name="transferred")


def table_5(count: int, folder: Path) -> dict[str, float]:
    """Accuracy on new classes: a soft-max on layer 7 of what was learnt before, and a network trained on them alone."""
    net = reopened(folder)
    pool = of_classes(NEW, 4 * 110)
    kept = probe(net, pool, "fc7", per_class=count, held_out=50, classifier="softmax", penalty=10.0, progress=False)
    few = read(of_classes(NEW, 4 * count))
    module = made(ZFNet, len(NEW))
    mean, deviation = few.colours()
    scratch = trained(module, few, 3600 // count, MeanSubtraction(SIDE, 112, mean, deviation))
    test = read(of_classes(NEW, 400, "test"))
    return {"before": 100 * kept.accuracy.mean(), "scratch": 100 - error(scratch, test, "ten")}


def table_7(count: int, folder: Path) -> dict[str, Any]:
    """Accuracy of linear probes of each layer, on new classes."""
    net, pool = reopened(folder), of_classes(NEW, 4 * 110)
    found: dict[str, Any] = {}
    for classifier, layers in TABLE_7.items():
        each = probe(net, pool, list(layers), per_class=count, classifier=classifier, penalty=10.0, progress=False)
        for place, name in enumerate(each.layers):
            values = 100 * each.accuracy[place]
            found[f"{classifier} {name}"] = [values.mean(), values.std(ddof=1)]
    return found


PAGE = """\
# The first paper's tables 3 to 7, in small

Zeiler and Fergus (*Visualizing and Understanding Convolutional Networks*, 2013; tables are numbered as in the arXiv
version) ask which layers matter by training networks without them, and what layers are good for on other pictures by
fitting classifiers to them. `tests/benchmarks/tables.py` does the same in small: a sixth of the feature maps, {units}
units in layers 6 and 7, pictures of 112 pixels, {count:,} training pictures of `Shapes`, one seed, and short trainings:
{epochs} epochs in table 3, {before} in the others.

What to read here is which changes hurt and which do not. The paper's numbers beside are of another task, 1.3 million
photographs of 1,000 classes, and of networks that were trained to the end: these have not yet settled, and small
differences are of the seed. With {test:,} test pictures an error of 30% has a standard error of 1.3%.

## Table 3: layers and widths

Each row is trained from scratch. Errors in percent: of training pictures in one crop and without dropout, of test
pictures in ten. Top 2 of 12 classes stands where the paper has top 5 of 1,000.

| | parameters | train | test | test, top 2 | paper: train | val | val, top 5 |
|---|---|---|---|---|---|---|---|
{table_3}

Where the paper's networks, trained to the end, lose by most of these changes, after {epochs} epochs those without
layers are ahead of the whole one: they learn faster. What this says is how much is left to learn then, not what layers
are good for (the shipped networks, after 64 epochs with 6,000 pictures, have errors of 3 and 1%). Width is much of it,
too: layers 6 and 7 of half the width hurt, of twice the width they help, and so do more maps in layers 3 to 5. In the
paper wider layers 6 and 7 learn the training pictures better and others no better (38.8 after 38.4); here nothing is
learnt by heart yet, and both errors fall alike. Both changes together are no better than more maps alone, as in the
paper.

## Tables 4 to 6: what was learnt, taken to other classes

A network that has learnt {seen} classes of Shapes is taken to the other {new} ({names}):
its layers 1 to 7 stay as they are, and a soft-max is fitted to layer 7. Beside it a network that is trained on the few
pictures alone, each as often as makes 14,400 in all. Accuracy in percent; chance is {chance}.

| pictures a class | learnt before | from scratch | paper, Caltech-256: learnt before | from scratch |
|---|---|---|---|---|
{table_5}

With 15 pictures a class what was learnt before is ahead, as in the paper; from 30 on four classes of Shapes are learnt
better by themselves, which photographs are not.

## Table 7: linear probes of each layer

Of the same network on the same new classes: `cs.probe`, maps averaged over 3 × 3 cells, five draws. Accuracy in
percent, with the standard deviation over draws.

| | 30 a class | 60 a class | paper: Caltech-101, 30 a class | Caltech-256, 60 a class |
|---|---|---|---|---|
{table_7}

As in the paper, new classes are told apart better the higher the layer, here up to layers 4 and 5; layer 7, which has
learnt other classes, is no better than layer 5, as on Caltech-101 and unlike Caltech-256.
"""


def lined(*cells: Any) -> str:
    return f"| {' | '.join(f'{one:.1f}' if isinstance(one, float) else str(one) for one in cells)} |"


def text(rows: dict[str, Any]) -> str:
    three, five, seven = [], [], []
    for place, (label, network, _, paper) in enumerate(TABLE_3):
        row = rows.get(f"3/{place}")
        if row is None:
            continue
        whole = label in ("Krizhevsky et al.", "Zeiler and Fergus")
        name = f"**{network.__name__}** ({label})" if whole else f"{network.__name__}, {label}"
        three.append(lined(name, f"{row['parameters'] // 1000} k", row["train"], row["test"], row["test_two"], *paper))
    for count, paper in TABLE_5.items():
        five.append(lined(count, rows[f"5/{count}"]["before"], rows[f"5/{count}"]["scratch"], *paper))
    for classifier, layers in TABLE_7.items():
        for name, paper in layers.items():
            cells = [rows[f"7/{count}"][f"{classifier} {name}"] for count in (30, 60)]
            shown = [f"{mean:.1f} ± {spread:.1f}" for mean, spread in cells]
            told = ["-" if value is None else value for value in paper]
            seven.append(lined(f"{'SVM' if classifier == 'svm' else 'soft-max'}, {name}", *shown, *told))
    return PAGE.format(
        units=UNITS, count=COUNT, epochs=EPOCHS, before=BEFORE, test=TEST, seen=12 - len(NEW), new=len(NEW),
        names=", ".join(NEW),
        chance=100 // len(NEW), table_3="\n".join(three), table_5="\n".join(five), table_7="\n".join(seven),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keep", default="tables.json", help="file in which rows are kept; the network beside it")
    parser.add_argument("--write", action="store_true", help="write docs/tables.md")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    keep = Path(arguments.keep)
    rows: dict[str, Any] = json.loads(keep.read_text()) if keep.is_file() else {}
    folder = keep.resolve().parent
    work: dict[str, Callable[[], Any]] = {
        **{f"5/{count}": lambda count=count: table_5(count, folder) for count in TABLE_5},
        **{f"7/{count}": lambda count=count: table_7(count, folder) for count in (30, 60)},
        **{f"3/{row}": lambda row=row: table_3(row) for row in range(len(TABLE_3))},
    }
    for name, compute in work.items():
        if name not in rows:
            started = time.time()
            rows[name] = compute()
            keep.write_text(json.dumps(rows, default=float))
            print(f"{name:<6} {time.time() - started:6.0f} s  {rows[name]}", flush=True)
    page = text(rows)
    print(page)
    if arguments.write:
        (Path(__file__).parents[2] / "docs" / "tables.md").write_text(page)


if __name__ == "__main__":
    main()

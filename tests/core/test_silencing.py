"""Units that say nothing: networks without them, and what that does to the answers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from convscope_core.errors import ArgumentError, LayerError
from convscope_core.experiments import Ablation, ablating, ablation
from convscope_core.explain import attribute
from convscope_core.graph.forward import evaluated
from convscope_core.network import Network


class Branches(nn.Module):
    """A residual sum, a module that is used twice, a grouped transposed convolution, a folded batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.act = nn.ReLU()
        self.twice = nn.Conv2d(6, 6, 3, padding=1, groups=2)
        self.up = nn.ConvTranspose2d(6, 4, 2, stride=2, groups=2)
        self.hidden = nn.Linear(4, 5, bias=False)
        self.soft = nn.Sigmoid()
        self.gate = nn.Linear(5, 5)
        self.head = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.norm(self.stem(x)))
        x = x + self.twice(self.act(self.twice(x)))
        x = nn.functional.silu(self.up(x)).mean((2, 3))
        x = torch.relu(self.hidden(x))
        return self.head(self.soft(self.gate(x)))


@pytest.fixture(scope="module")
def module() -> Branches:
    torch.manual_seed(0)
    net = Branches()
    net.norm(torch.rand(4, 6, 2, 2))
    for p in net.parameters():
        p.data += 0.05 * torch.randn_like(p)
    return net.eval()


@pytest.fixture(scope="module")
def net(module: Branches) -> Network:
    return Network(module, input_size=8)


#: The module whose output holds a layer's values.
HOLDERS = {"stem": "norm", "up": "up", "hidden": "hidden"}


def zeroed(module: nn.Module, silent: dict[str, list[int]], x: torch.Tensor) -> torch.Tensor:
    """Compute with a hook that puts zeros where units are silent: all activations that follow are 0 at 0."""

    def hook(units: list[int]) -> Callable[..., torch.Tensor]:
        def zero(_: nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            output = output.clone()
            output[:, units] = 0
            return output

        return zero

    handles = [module.get_submodule(HOLDERS[name]).register_forward_hook(hook(units)) for name, units in silent.items()]
    try:
        with torch.no_grad():
            return module(x)
    finally:
        for handle in handles:
            handle.remove()


@given(
    stem=st.lists(st.integers(0, 5), unique=True), up=st.lists(st.integers(0, 3), unique=True),
    hidden=st.lists(st.integers(0, 4), unique=True),
)  # fmt: skip
def test_silent_units_are_zero_and_nothing_else_changes(
    module: Branches, net: Network, stem: list[int], up: list[int], hidden: list[int]
) -> None:
    silent = {"stem": stem, "up": up, "hidden": hidden}
    x = torch.rand(2, 3, 8, 8)
    other = net.silenced(silent)
    found, values = other.forward(x, silent)
    torch.testing.assert_close(found, zeroed(module, silent, x), rtol=1e-4, atol=1e-6)
    for name, units in silent.items():
        assert not values[name][:, units].any()
    plain, _ = net.forward(x)
    with torch.no_grad():
        torch.testing.assert_close(plain, module(x), rtol=1e-4, atol=1e-6)


def test_one_use_of_a_module_is_silenced_by_itself(net: Network) -> None:
    x = 4 * torch.rand(1, 3, 8, 8)
    uses = ("twice", "twice#2")
    _, plain = net.forward(x, uses)
    unit = next(unit for unit in range(6) if all(bool(plain[name][:, unit].any()) for name in uses))
    _, first = net.silenced({"twice": unit}).forward(x, uses)
    assert not first["twice"][:, unit].any()
    assert first["twice#2"][:, unit].any()
    _, second = net.silenced({"twice#2": unit}).forward(x, uses)
    assert torch.equal(second["twice"], plain["twice"])
    assert not second["twice#2"][:, unit].any()


def test_whole_layers_aliases_and_names(net: Network) -> None:
    other = net.silenced({"norm": None, "hidden": 2})
    assert other.name == "branches without stem hidden/2"
    _, values = other.forward(torch.rand(1, 3, 8, 8), ["stem"])
    assert not values["stem"].any()
    assert net.silenced({}, "same").fingerprint == net.fingerprint != other.fingerprint


def test_explanations_know_of_it(net: Network) -> None:
    x = torch.rand(1, 3, 8, 8)
    found = attribute(net.silenced({"stem": None}), x, "gradient", target=0)
    assert not found.values.any()
    assert attribute(net, x, "gradient", target=0).values.any()


def test_what_cannot_be_silenced(net: Network) -> None:
    with pytest.raises(LayerError, match="got 'stemm'"):
        net.silenced({"stemm": None})
    with pytest.raises(LayerError, match="0 to 5, got 6"):
        net.silenced({"stem": [6]})
    with pytest.raises(LayerError, match="by number, got 'eye'"):
        net.silenced({"stem": ["eye"]})  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match=r"got gate with sigmoid. Its units cannot be silenced"):
        net.silenced({"gate": [0]})
    add = next(layer.name for layer in net.layers if layer.kind == "add")
    with pytest.raises(ArgumentError, match=r"\(add\). Silence the layers that it is made of"):
        net.silenced({add: [0]})


# -- what it does to the answers --


class Labelled(torch.utils.data.Dataset[tuple[Any, int]]):
    classes = ("0", "1", "2")

    def __init__(self, count: int = 30) -> None:
        torch.manual_seed(7)
        self.x = 2 * torch.rand(count, 3, 8, 8)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        return self.x[index], (index * index) % 3  # 0 or 1: there is no picture of class 2


ROWS = {"some": {"stem": [0, 3], "hidden": [1]}, "all": {"up": None}}


def test_counts_are_those_of_a_plain_loop(net: Network) -> None:
    data = Labelled()
    found = ablation(net, data, ROWS, progress=False)
    assert found.labels == ("nothing", "some", "all")
    assert found.classes == ("0", "1")
    assert found.counts.tolist() == [10, 20]
    networks = [net, net.silenced(ROWS["some"]), net.silenced(ROWS["all"])]
    each = [[one.predict(x) for x, _ in data] for one in networks]
    labels = [label for _, label in data]
    for row, predictions in enumerate(each):
        right = [p.index == label for p, label in zip(predictions, labels, strict=True)]
        assert found.accuracy[row] == pytest.approx(np.mean(right))
        p = [p.probabilities[label] for p, label in zip(predictions, labels, strict=True)]
        assert found.mean_probability[row] == pytest.approx(np.mean(p), rel=1e-5)
        same = [p.index == q.index for p, q in zip(predictions, each[0], strict=True)]
        assert found.changed[row] == pytest.approx(1 - np.mean(same))
        for number in (0, 1):
            assert found.right[row, number] == sum(r for r, label in zip(right, labels, strict=True) if label == number)
    assert found.changed[0] == 0


@pytest.mark.parametrize("layers", [["gate"], ["add"], ["stem", "twice#2"], ["head"], ["norm", "gate", "hidden"]])
def test_any_layer_can_be_silent(module: Branches, net: Network, layers: list[str]) -> None:
    # sums and units that squash to a half at 0, too; here by hooks that set what is passed on
    names = [next(one.name for one in net.layers if one.kind == "add") if name == "add" else name for name in layers]
    found = ablation(net, Labelled(9), {"row": dict.fromkeys(names)}, progress=False)
    silent = Network(Silent(module, layers).eval(), input_size=8)
    p = [silent.predict(x).probabilities[label] for x, label in Labelled(9)]
    assert found.mean_probability[1] == pytest.approx(np.mean(p), rel=1e-4)


class Silent(nn.Module):
    """`Branches`, with nothing for some layers."""

    def __init__(self, module: Branches, layers: list[str]) -> None:
        super().__init__()
        self.module, self.layers = module, layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        m = self.module

        def of(name: str, value: torch.Tensor) -> torch.Tensor:
            return 0 * value if name in self.layers else value

        x = of("stem", of("norm", m.act(m.norm(m.stem(x)))))
        x = of("add", x + of("twice#2", m.twice(of("twice", m.act(m.twice(x))))))
        x = nn.functional.silu(m.up(x)).mean((2, 3))
        x = of("hidden", torch.relu(m.hidden(x)))
        return of("head", m.head(of("gate", m.soft(m.gate(x)))))


def test_only_what_depends_on_the_silent_is_computed_again(net: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    from convscope_core.experiments import ablation as module

    seen: list[str] = []

    def counted(node: Any, value: Any) -> Any:
        seen.append(node.kind)
        return evaluated(node, value)

    monkeypatch.setattr(sys.modules[module.__module__], "evaluated", counted)
    ablation(net, Labelled(3), "hidden", progress=False)
    assert seen.count("linear") == 2 * 5
    assert "conv" not in seen


def test_a_network_of_one_class_answers_yes_or_no() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1)).eval()
    x = torch.rand(11, 3, 8, 8)
    with torch.no_grad():
        module[4].bias.sub_(module(x).median())
    asking = Network(module, input_size=8, labels=["0"])
    found = ablation(
        asking,
        torch.utils.data.TensorDataset(x, torch.zeros(11, dtype=torch.int64)),
        {"one": {"0": [0, 1]}},
        progress=False,
    )
    yes = [
        [float(net.predict(one).probabilities[0]) >= 0.5 for one in x]
        for net in (asking, asking.silenced({"0": [0, 1]}))
    ]
    assert 0 < np.mean(yes[0]) < 1
    np.testing.assert_allclose(found.accuracy, np.mean(yes, 1))


def test_every_unit_of_a_layer_by_itself(net: Network, tmp_path: Path) -> None:
    store = tmp_path / "ablation.sqlite"
    found = ablation(net, Labelled(), "hidden", store=store, batch_size=4, shards=3, progress=False)
    assert found.labels == ("nothing", *(f"hidden/{i}" for i in range(5)))
    assert [step.total for step in ablating(net, Labelled(), "hidden", store=store, batch_size=4, shards=3)] == [0]
    by_row = ablation(net, Labelled(), {"it": {"hidden": [3]}}, progress=False)
    np.testing.assert_array_equal(by_row.right[1], found.right[4])
    lost = found.accuracies[0] - found.accuracies[4]
    assert found.worst("hidden/3", 1) == [(found.classes[lost.argmax()], lost.max())]
    with pytest.raises(ArgumentError, match="Close matches: hidden/3"):
        found.worst("hidden/33")


def test_ablations_print_are_drawn_and_kept(net: Network, tmp_path: Path) -> None:
    found = ablation(net, Labelled(), ROWS, progress=False)
    assert [line.split()[0] for line in repr(found).splitlines()] == ["Ablation", "silenced", "nothing", "some", "all"]
    read = Ablation.load(found.save(tmp_path / "ablation.safetensors"))
    assert repr(read) == repr(found)
    many = ablation(net, Labelled(6), {f"row {i}": {"hidden": [i % 5]} for i in range(24)}, progress=False)
    assert "and 12 that change less" in repr(many)
    pytest.importorskip("matplotlib")
    (panel,) = found.plot().axes
    np.testing.assert_allclose(panel.lines[0].get_ydata(), found.accuracy[1:])


def test_what_cannot_be_measured(net: Network) -> None:
    with pytest.raises(ArgumentError, match="something to silence, got nothing"):
        ablation(net, Labelled(), {}, progress=False)
    with pytest.raises(ArgumentError, match="as a mapping of layers to units, got 'stem'"):
        ablation(net, Labelled(), {"row": "stem"}, progress=False)  # type: ignore[dict-item]
    with pytest.raises(ArgumentError, match="got 'nothing', which is the whole network's"):
        ablation(net, Labelled(), {"nothing": {"stem": None}}, progress=False)
    with pytest.raises(ArgumentError, match="silenced in 'row' as a mapping of layers to units, got an empty one"):
        ablation(net, Labelled(), {"row": {}}, progress=False)
    with pytest.raises(LayerError, match="got 'stemm'"):
        ablation(net, Labelled(), "stemm", progress=False)
    with pytest.raises(ArgumentError, match="units to silence by layer, got 'stem'"):
        net.silenced("stem")  # type: ignore[arg-type]
    for units in (6, [-1], ["eye"], [True]):
        with pytest.raises(LayerError, match="units of stem, 0 to 5, got"):
            ablation(net, Labelled(), {"row": {"stem": units}}, progress=False)
    with pytest.raises(ArgumentError, match="pictures with labels, got picture 0 without"):
        ablation(net, [torch.rand(3, 8, 8)], "hidden", progress=False)
    strange = Labelled()
    strange.classes = ("0", "dog", "2")
    with pytest.raises(ArgumentError, match=r"got 'dog', as the label of picture 1"):
        ablation(net, strange, "hidden", progress=False)

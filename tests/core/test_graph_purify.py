"""Small networks, each with one habit that a graph must see through, and those that must be refused."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from convscope_core.errors import TraceError
from convscope_core.graph import Graph, Runner, trace
from convscope_core.graph.layers import find_layers

SHAPE = (3, 12, 10)


class Net(nn.Module):
    """Three operations with weights, and a forward that a test gives."""

    def __init__(self, body: Callable[[Any, torch.Tensor], torch.Tensor], channels: int = 3) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 6, 3, padding=1)
        self.b = nn.Conv2d(6, 6, 3, padding=1)
        self.bn = nn.BatchNorm2d(6)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.fc = nn.Linear(6, 4)
        self.register_buffer("count", torch.zeros(()))
        self.body = body
        with torch.no_grad():
            self.bn.running_mean.normal_()  # type: ignore[union-attr]
            self.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            self.bn.weight.normal_()
            self.bn.bias.normal_()
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body(self, x).mean((2, 3)))


def check(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> Graph:
    """Trace, and compare with the module on three batch sizes."""
    state = {k: v.clone() for k, v in module.state_dict().items()}
    graph = trace(module, shape)
    for k, v in module.state_dict().items():
        assert torch.equal(v, state[k]), k
    run = Runner(graph)
    for n in (1, 2, 5):
        x = torch.randn(n, *shape)
        with torch.no_grad():
            expected = module(x.clone())
            module.load_state_dict(state)  # some of these count their calls
            torch.testing.assert_close(run(x)[0], expected, rtol=1e-5, atol=1e-5)
    return graph


def kinds(graph: Graph) -> list[str]:
    return [n.kind for n in graph if n.kind not in ("input", "mean", "linear")]


HABITS: dict[str, tuple[Callable[[Any, torch.Tensor], torch.Tensor], list[str]]] = {
    "functional relu": (lambda m, x: F.relu(m.a(x)), ["conv", "relu"]),
    "functional in-place relu": (lambda m, x: F.relu(m.a(x), inplace=True), ["conv", "relu"]),
    "method relu_": (lambda m, x: m.a(x).relu_(), ["conv", "relu"]),
    "clamp as relu": (lambda m, x: m.a(x).clamp(min=0), ["conv", "relu"]),
    "clamp_min_ as relu": (lambda m, x: m.a(x).clamp_min_(0.0), ["conv", "relu"]),
    "threshold as relu": (lambda m, x: F.threshold(m.a(x), 0, 0), ["conv", "relu"]),
    "clamp as relu6": (lambda m, x: m.a(x).clamp(0, 6), ["conv", "relu6"]),
    "hardtanh as relu6": (lambda m, x: F.hardtanh(m.a(x), 0, 6), ["conv", "relu6"]),
    "clamp": (lambda m, x: m.a(x).clamp(-1, 1), ["conv", "clamp"]),
    "relu module used twice": (lambda m, x: m.relu(m.b(m.relu(m.a(x)))), ["conv", "relu", "conv", "relu"]),
    "residual": (lambda m, x: (h := m.relu(m.a(x))) + m.b(h), ["conv", "relu", "conv", "add"]),
    "conv module used twice": (lambda m, x: m.b(m.b(m.a(x))), ["conv", "conv", "conv"]),
    "in-place add": (lambda m, x: m.a(x).add_(1).mul_(2), ["conv", "shift", "scale"]),
    "batch norm after conv": (lambda m, x: m.relu(m.bn(m.a(x))), ["conv", "relu"]),
    "batch norm after two uses": (
        lambda m, x: m.bn(h := m.a(x)) + h,
        ["conv", "batch_norm", "add"],
    ),
    "batch norm first": (lambda m, x: m.b(m.relu(m.bn(m.a(x) * 1.5))), ["conv", "scale", "batch_norm", "relu", "conv"]),
    "batch norm used twice": (lambda m, x: m.bn(m.b(m.bn(m.a(x)))), ["conv", "conv"]),
    "dropout": (lambda m, x: m.drop(F.dropout2d(m.a(x), 0.3, training=False)), ["conv"]),
    "detach, clone, contiguous": (lambda m, x: m.a(x).detach().clone().contiguous(), ["conv"]),
    "full slice": (lambda m, x: m.a(x)[:, :, :], ["conv"]),
    "in-place relu seen by an alias": (lambda m, x: _alias(m, x), ["conv", "relu", "scale", "add"]),
    "in-place relu on a view": (lambda m, x: _view(m, x), None),  # type: ignore[dict-item]
    "in-place relu under a view": (lambda m, x: _under(m, x), None),  # type: ignore[dict-item]
    "in-place relu on a copy": (lambda m, x: _copy(m, x), None),  # type: ignore[dict-item]
    "assignment to a slice": (lambda m, x: _assign(m, x), None),  # type: ignore[dict-item]
    "list of pieces": (lambda m, x: torch.cat(m.a(x).chunk(3, 1)[::-1], 1), ["conv"] + ["slice"] * 3 + ["cat"]),
    "unbind": (lambda m, x: torch.stack(m.a(x).unbind(1)[::-1], 1), None),  # type: ignore[dict-item]
    "max of two": (lambda m, x: torch.maximum(m.a(x), m.b(m.a(x))), None),  # type: ignore[dict-item]
    "several results": (lambda m, x: m.a(x).topk(3, 1)[0].repeat(1, 2, 1, 1), None),  # type: ignore[dict-item]
    "buffer counted": (lambda m, x: _count(m, x), None),  # type: ignore[dict-item]
    "constant made of sizes": (
        lambda m, x: m.a(x) + torch.arange(x.shape[3], dtype=x.dtype) + x.new_zeros(x.shape[2], 1),
        ["conv", "shift", "shift"],
    ),
    "batch size in a view": (lambda m, x: m.a(x).view(x.size(0), 6, -1)[..., None], ["conv", "reshape", "reshape"]),
    "batch folded into channels": (
        lambda m, x: m.a(x).reshape(-1, 3, 12, 10).reshape(x.shape[0], 6, 12, 10),
        ["conv", "reshape", "reshape"],
    ),
    "response norm": (lambda m, x: F.local_response_norm(m.a(x), 5, 5e-4, 0.75, 2.0), ["conv", "local_response_norm"]),
}  # fmt: skip


def _alias(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    same = m.drop(h)  # in evaluation mode the very same tensor
    m.relu(h)
    return same * 2 + h


def _view(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    h[:, :3].relu_()
    return h


def _under(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    v = h.view(h.shape[0], 3, 2, 12, 10)
    m.relu(h)
    return v.sum(2).repeat(1, 2, 1, 1)


def _copy(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x)
    c = h.transpose(2, 3).contiguous()
    c.relu_()
    return c.transpose(2, 3) + h


def _assign(m: Any, x: torch.Tensor) -> torch.Tensor:
    h = m.a(x).clone()
    h[:, :, 0] = 0
    return h


def _count(m: Any, x: torch.Tensor) -> torch.Tensor:
    m.count += 1
    return m.a(x) * (m.count + 1)


@pytest.mark.parametrize("habit", HABITS)
def test_habit(habit: str) -> None:
    torch.manual_seed(1)
    body, expected = HABITS[habit]
    graph = check(Net(body))
    if expected is not None:
        assert kinds(graph) == expected


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular", "zeros"])
@pytest.mark.parametrize("padding", [1, "same", (2, 0)])
def test_padding_modes(mode: str, padding: Any) -> None:
    conv = nn.Conv2d(3, 4, (4, 3), padding=padding, padding_mode=mode)
    graph = check(_flat(conv))
    (node,) = (n for n in graph if n.kind == "conv")
    assert all(isinstance(p, int) for p in node["padding"])


def _flat(body: nn.Module) -> nn.Module:
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = body

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.body(x).flatten(1)
            return torch.stack([y.mean(1), y.std(1)], 1)

    return Flat().eval()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_is_folded_exactly(bias: bool, affine: bool) -> None:
    conv, norm = nn.Conv2d(3, 4, 3, groups=1, bias=bias), nn.BatchNorm2d(4, affine=affine)
    norm.running_mean.normal_()  # type: ignore[union-attr]
    norm.running_var.uniform_(0.1, 3)  # type: ignore[union-attr]
    graph = check(_flat(nn.Sequential(conv, norm)))
    (node,) = (n for n in graph if n.kind == "conv")
    gain = (norm.running_var.double() + norm.eps).rsqrt()  # type: ignore[union-attr]
    gain = gain * norm.weight.double() if affine else gain
    assert torch.equal(node["weight"], (conv.weight.double() * gain[:, None, None, None]).float())
    shift = (conv.bias.double() if bias else 0) - norm.running_mean.double()  # type: ignore[union-attr]
    shift = shift * gain + (norm.bias.double() if affine else 0)
    torch.testing.assert_close(node["bias"], shift.float(), rtol=1e-6, atol=1e-7)


def test_batch_norm_of_features_is_folded_into_linear() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(360, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)).eval()
    module[2].running_var.uniform_(0.5, 2)  # type: ignore[union-attr, operator]
    assert [n.kind for n in check(module)] == ["input", "flatten", "linear", "relu", "linear"]


def test_batch_norm_near_zero_variance_stays_unfolded_rather_than_wrong() -> None:
    module = _flat(nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, eps=1e-40)))
    norm = module.body[1]  # type: ignore[index, union-attr]
    conv = module.body[0]  # type: ignore[index, union-attr]
    # Weights that vanish against their bias: (w x + b - mean) / 1e-20 is all cancellation once folded in float32.
    with torch.no_grad():
        conv.weight.fill_(0)
        conv.bias.fill_(1 / 3)
        norm.running_mean.copy_(conv.bias)
        norm.running_var.fill_(1e-30)
    check(module)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_other_numbers_of_channels(channels: int) -> None:
    graph = check(Net(lambda m, x: m.relu(m.a(x)), channels), (channels, 12, 10))
    assert graph.input.shape == (channels, 12, 10)


def test_relu_is_told_apart_by_its_call() -> None:
    graph = check(Net(lambda m, x: m.relu(m.b(m.relu(m.a(x))))))
    assert [n.module for n in graph if n.kind == "relu"] == ["relu", "relu#2"]


def test_module_may_die() -> None:
    module = Net(lambda m, x: m.relu(m.a(x)))
    graph = trace(module, SHAPE)
    gone = weakref.ref(module)
    weight = weakref.ref(module.a.weight)
    del module
    gc.collect()
    assert gone() is None
    assert weight() is None
    assert Runner(graph)(torch.zeros(1, *SHAPE))[0].shape == (1, 4)


def test_graph_is_a_snapshot() -> None:
    module = Net(lambda m, x: m.a(x))
    run = Runner(trace(module, SHAPE))
    x = torch.randn(2, *SHAPE)
    before = run(x)[0].clone()
    with torch.no_grad():
        module.a.weight.zero_()
        module.fc.bias.add_(1)
    assert torch.equal(run(x)[0], before)


# -- refusals --


class Raises(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("no such thing")


REFUSED: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "not a module": (lambda: lambda x: x, ["torch.nn.Module", "function"]),
    "train mode": (lambda: Net(lambda m, x: m.a(x)).train(), ["train mode", "bn", ".eval()"]),
    "one submodule in train mode": (lambda: _train_drop(), ["train mode: drop.", ".eval()"]),
    "if on data": (
        lambda: Net(lambda m, x: m.a(x) if x.sum() > 0 else -m.a(x)),
        ["data-dependent control flow", "torch.where"],
    ),
    "float of data": (lambda: Net(lambda m, x: m.a(x) * float(x.max())), ["treat each picture by itself", "amin"]),
    "numpy": (lambda: Net(lambda m, x: torch.from_numpy(m.a(x).numpy())), ["torch.export", "NumPy"]),
    "fixed batch": (lambda: _fixed_batch(), ["batch of any size", "flatten(1)"]),
    "random": (lambda: Net(lambda m, x: m.a(x) + torch.randn(())), ["random numbers"]),
    "random of batch size": (lambda: Net(lambda m, x: m.a(x) + torch.randn(x.shape[0], 1, 1, 1)), ["random numbers"]),
    "functional dropout left on": (lambda: Net(lambda m, x: F.dropout(m.a(x))), ["random numbers"]),
    "depends on the batch": (
        lambda: Net(lambda m, x: m.a(x) - m.a(x).mean(0)), ["other pictures of the batch: mean", "keepdim=True"],
    ),
    "maps out": (lambda: nn.Conv2d(3, 4, 3).eval(), ["(2, classes)", "(2, 4, 10, 8)", ".flatten(1)"]),
    "two scores out": (lambda: _returns(lambda y: (y, y)), ["tuple of 0: (2, 3), 1: (2, 3)", "output=0"]),
    "nothing out": (lambda: _returns(lambda y: None), ["NoneType of no tensors", "Wrap"]),
    "wrong size": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(99, 3)).eval(), ["(2, 3, 12, 10)", "input_size"]),
    "wrong channels": (lambda: Net(lambda m, x: m.a(x), 4), ["input_size"]),
    "raises": (lambda: Raises().eval(), ["KeyError", "no such thing"]),
    "not finite": (lambda: Net(lambda m, x: m.a(x) / 0.0 * 0.0), ["finite", "NaN"]),
    "no dependence": (lambda: _constant(), ["does not depend on the input"]),
}  # fmt: skip


def _train_drop() -> nn.Module:
    net = Net(lambda m, x: m.drop(m.a(x)))
    net.drop.train()
    return net


def _fixed_batch() -> nn.Module:
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) if len(x) == 2 else x.amax((2, 3))

    return Fixed().eval()


def _constant() -> nn.Module:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.ones(2, 3)

    return Constant().eval()


def _returns(wrap: Callable[[torch.Tensor], Any]) -> nn.Module:
    class Wrapped(nn.Module):
        def forward(self, x: torch.Tensor) -> Any:
            return wrap(x.mean((2, 3)))

    return Wrapped().eval()


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_cause_and_cure(case: str, capfd: pytest.CaptureFixture[str]) -> None:
    make, words = REFUSED[case]
    module = make()
    rng = torch.random.get_rng_state()
    with pytest.raises(TraceError) as error:
        trace(module, SHAPE)
    message = str(error.value)
    assert message.startswith("Expected")
    for word in words:
        assert word in message, message
    assert torch.equal(rng, torch.random.get_rng_state())
    assert capfd.readouterr() == ("", "")  # the error says it all


def test_module_is_as_before_after_a_refusal() -> None:
    def fails(m: Any, x: torch.Tensor) -> torch.Tensor:
        m.count += 1
        m.register_buffer("extra", x)
        return m.a(x) if x.sum() > 0 else x

    module = Net(fails)
    with pytest.raises(TraceError):
        trace(module, SHAPE)
    assert module.count == 0
    assert [n for n, _ in module.named_buffers(recurse=False)] == ["count"]
    assert not any(m.training for m in module.modules())
    assert all(p.grad is None and p.requires_grad for p in module.parameters())


def test_softmax_and_logits_have_their_kinds() -> None:
    graph = check(nn.Sequential(nn.Flatten(), nn.Linear(360, 5), nn.Softmax(-1)).eval())
    assert graph.output.kind == "softmax"
    assert graph.output["dim"] == 1


# -- arguments in normal form --


def test_arguments_have_one_form() -> None:
    body = nn.Sequential(
        nn.Conv2d(3, 4, 3, stride=2, padding="valid"),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(4, 4, (1, 3), padding="same", dilation=(1, 2), groups=2),
        nn.AvgPool2d((1, 2)),
        nn.AdaptiveAvgPool2d((None, 1)),
    )
    graph = check(_flat(body))
    found = {n.kind: n for n in graph if n.kind in ("max_pool", "avg_pool", "adaptive_avg_pool")}
    first, second = (n for n in graph if n.kind == "conv")
    assert (first["stride"], first["padding"], first["dilation"], first["groups"]) == ((2, 2), (0, 0), (1, 1), 1)
    assert (second["stride"], second["padding"], second["dilation"], second["groups"]) == ((1, 1), (0, 2), (1, 2), 2)
    pool = found["max_pool"]
    assert (pool["kernel_size"], pool["stride"], pool["padding"], pool["ceil_mode"]) == ((2, 2), (2, 2), (0, 0), True)
    assert found["avg_pool"]["stride"] == (1, 2)
    assert found["adaptive_avg_pool"]["output_size"] == (3, 1)


def test_digest_tells_networks_apart() -> None:
    module = Net(lambda m, x: m.relu(m.a(x)))
    first = trace(module, SHAPE).digest()
    assert trace(module, SHAPE).digest() == first
    assert trace(Net(lambda m, x: m.relu(m.a(x))), SHAPE).digest() != first
    with torch.no_grad():
        module.fc.bias[0] += 1e-6
    assert trace(module, SHAPE).digest() != first
    other = Net(lambda m, x: F.silu(m.a(x)))
    other.load_state_dict(module.state_dict())
    assert trace(other, SHAPE).digest() != trace(module, SHAPE).digest()


def test_graph_prints_every_node() -> None:
    graph = trace(Net(lambda m, x: m.relu(m.a(x))), SHAPE)
    text = repr(graph)
    assert "conv(" in text
    assert text.count("\n") == len(graph) + 1
    assert find_layers(graph)[0].name == "a"

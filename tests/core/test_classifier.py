"""What people bring: wrappers, precisions, results and inputs of every form, and what must be refused with a reason."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections import OrderedDict, namedtuple
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim.swa_utils import AveragedModel

from convscope_core.errors import ArgumentError, TraceError
from convscope_core.evolution import EvolutionRecorder
from convscope_core.experiments import degradation
from convscope_core.explain import attribute, project
from convscope_core.graph.classifier import named_parts
from convscope_core.network import Network
from convscope_core.occlusion import occlusion_map
from convscope_core.patterns import fit_patterns
from convscope_core.survey import survey
from convscope_core.training import filter_sizes

SIZE = 16


class Small(nn.Module):
    """A convolution, a pool, a linear layer."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.a = nn.Conv2d(channels, 6, 3)
        self.bn = nn.BatchNorm2d(6)
        self.l = nn.Linear(6, 4)
        with torch.no_grad():
            self.bn.running_mean.normal_()  # type: ignore[union-attr]
            self.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.l(self.bn(self.a(x)).relu().mean((2, 3)))


class Around(nn.Module):
    """A forward pass that a test gives, round a small network."""

    def __init__(self, body: Callable[[nn.Module, Any], Any], inner: nn.Module | None = None) -> None:
        super().__init__()
        self.inner = Small() if inner is None else inner
        self.body = body
        self.eval()

    def forward(self, x: Any) -> Any:
        return self.body(self.inner, x)


def network(module: Any, **options: Any) -> Network:
    return Network(module, input_size=SIZE, **options)


def check(module: Any, expected: Callable[[Tensor], Tensor] | None = None, **options: Any) -> Network:
    """Make a network of it, and compare with it (or with another function) on one and on three pictures."""
    state = {k: v.clone() for k, v in module.state_dict().items()} if isinstance(module, nn.Module) else {}
    net = network(module, **options)
    for count in (1, 3):
        x = torch.randn(count, *net.input_shape, dtype=net.dtype)
        with torch.no_grad():
            wanted = (expected or module)(x.clone())
        torch.testing.assert_close(net.forward(x)[0], wanted.reshape(count, -1), rtol=1e-4, atol=1e-5)
    if isinstance(module, nn.Module):
        for k, v in module.state_dict().items():
            assert torch.equal(v, state[k]), k
    return net


# -- wrappers --


class Anything(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()
        self.eval()

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


WRAPPERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "DataParallel": (lambda: nn.DataParallel(Small()), "a"),
    "two of them": (lambda: nn.DataParallel(nn.DataParallel(Small())), "a"),
    "DataParallel that is in train mode itself": (lambda: _training(nn.DataParallel(Small())), "a"),
    "compiled": (lambda: torch.compile(Small()), "a"),  # type: ignore[dict-item, return-value]
    "compiled in place": (lambda: _compiled(Small()), "a"),
    "compiled DataParallel": (lambda: torch.compile(nn.DataParallel(Small())), "a"),  # type: ignore[dict-item, return-value]
    "averaged": (lambda: torch.optim.swa_utils.AveragedModel(Small()).eval(), "a"),
    "arguments of any kind": (Anything, "inner.a"),
    "DataParallel inside": (lambda: nn.Sequential(nn.Identity(), nn.DataParallel(Small())).eval(), "1.a"),
    "compiled inside": (lambda: nn.Sequential(nn.Identity(), torch.compile(Small())).eval(), "1.a"),
    "graph module": (lambda: torch.fx.symbolic_trace(Small()), "a"),
}


def _training(wrapper: nn.Module) -> nn.Module:
    wrapper.training = True
    return wrapper


def _compiled(module: nn.Module) -> nn.Module:
    module.compile()
    return module


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrappers_are_looked_into(wrapper: str) -> None:
    make, name = WRAPPERS[wrapper]
    module = make()
    # Compiling for real would take a minute and prove nothing: the module inside is compared with.
    inner = next(m for m in module.modules() if isinstance(m, Small)) if wrapper != "graph module" else module
    with torch.compiler.set_stance("force_eager"):
        net = check(module, inner)
    assert net.layers[0].name == name
    if "DataParallel" in wrapper and "inside" not in wrapper:
        assert net.name == "small"


class Holder(nn.Module):
    """Calls what it holds as PyTorch's wrappers do, and is none of them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return self.module(x)  # type: ignore[no-any-return]


DATA, COMPILED = nn.DataParallel, torch.compile


@pytest.mark.parametrize(
    "around",
    [
        [[COMPILED], [], []],
        [[DATA, COMPILED], [Holder], [AveragedModel]],
        [[Holder, COMPILED], [DATA, Holder], [Holder]],
        [[COMPILED, Holder], [AveragedModel, AveragedModel], [DATA, COMPILED]],
    ],
    ids=["part", "all", "beside others of the same name", "again and again"],
)
def test_a_layer_has_the_same_name_wherever_pytorch_wraps_it(around: list[list[Callable[[nn.Module], Any]]]) -> None:
    def built(wrap: bool) -> nn.Module:
        part: Any = nn.Conv2d(3, 4, 3)
        for wrappers, then in zip(around, ([nn.ReLU(), nn.Flatten()], [nn.Linear(784, 3)], []), strict=True):
            for make in wrappers:
                part = make(part) if wrap or make is Holder else part
            part = nn.Sequential(part, *then) if then else part
        return part.eval()  # type: ignore[no-any-return]

    plain, module = built(False), built(True)
    with torch.compiler.set_stance("force_eager"):
        net = network(module)
        recorder = EvolutionRecorder(module, at=[0], input_size=SIZE)
    assert [layer.name for layer in net.layers] == [layer.name for layer in network(plain).layers]
    named = [name for name, part in named_parts(module) if not list(part.children())]
    assert named == [name for name, part in plain.named_modules() if not list(part.children())]
    assert recorder.checkpoints[0].state().keys() == plain.state_dict().keys()
    assert filter_sizes(module).values.keys() == filter_sizes(plain).values.keys()


REGIONS: dict[str, Callable[[], Any]] = {
    "no_grad": torch.no_grad,
    "enable_grad": torch.enable_grad,
    "inference_mode": torch.inference_mode,
    "set_grad_enabled": lambda: torch.set_grad_enabled(True),
    "autocast off": lambda: torch.autocast("cpu", enabled=False),
    "autocast on": lambda: torch.autocast("cpu", torch.bfloat16),
    "autocast of another device": lambda: torch.autocast("cuda"),
    "two at once": lambda: _both(),
}


@contextlib.contextmanager
def _both() -> Any:
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        yield


@pytest.mark.parametrize("place", ["a part", "all", "in a region"])
@pytest.mark.parametrize("region", REGIONS)
def test_regions_have_no_effect(region: str, place: str) -> None:
    def forward(inner: Any, x: Tensor) -> Tensor:
        if place == "all":
            with REGIONS[region]():
                return inner(x)  # type: ignore[no-any-return]
        if place == "a part":
            with REGIONS[region]():
                h = inner.bn(inner.a(x)).relu()
        else:
            with torch.enable_grad():
                h = inner.a(x)
                with REGIONS[region]():
                    h = inner.bn(h).relu()
        return inner.l(h.float().mean((2, 3)))  # type: ignore[no-any-return]

    module = Around(forward)
    net = check(module, module.inner)
    assert [layer.name for layer in net.layers] == ["inner.a", "mean" if place != "all" else "inner.mean", "inner.l"]


def test_autocast_around_everything_has_no_effect_either() -> None:
    module = Small()
    with torch.autocast("cpu", torch.bfloat16):
        net = network(module)
    x = torch.randn(2, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-5, atol=1e-5)


# -- precision --


@pytest.mark.parametrize("have", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("want", [torch.float32, torch.float64])
def test_precision_is_as_asked(have: torch.dtype, want: torch.dtype) -> None:
    module = Small().to(have)
    before = {k: v.dtype for k, v in module.state_dict().items()}
    net = network(module, dtype=want)
    assert {k: v.dtype for k, v in module.state_dict().items()} == before
    twin = Small()
    twin.load_state_dict(module.state_dict())
    x = torch.randn(3, 3, SIZE, SIZE, dtype=want)
    outputs, values = net.forward(x, ["a"])
    assert outputs.dtype == values["a"].dtype == net.prepare(x[0].float()).dtype == want
    with torch.no_grad():
        expected = twin.to(want)(x)
    torch.testing.assert_close(outputs, expected, rtol=1e-12 if want == torch.float64 else 1e-5, atol=1e-6)


def test_weights_of_mixed_precision_become_one() -> None:
    module = Small()
    module.a.half()
    assert {t.dtype for t in network(module).graph.tensors()} == {torch.float32}
    with pytest.raises(ArgumentError, match=r"Expected dtype as torch\.float32 or torch\.float64, got torch\.float16"):
        network(Small(), dtype=torch.float16)


def test_all_that_is_computed_in_float64_is_as_in_float32() -> None:
    module = Small().double()
    single, double = network(module), network(module, dtype=torch.float64)
    images = [torch.randint(0, 256, (SIZE, SIZE, 3), dtype=torch.uint8).numpy() for _ in range(6)]
    computed: dict[str, Callable[[Network], Any]] = {
        "prediction": lambda net: net.predict(images[0]).probabilities,
        "map": lambda net: occlusion_map(net, images[0], size=4, stride=4, progress=False).probability,
        "gradient": lambda net: attribute(net, images[0], "gradient").values,
        "relevance": lambda net: attribute(net, images[0], "lrp").values,
        "survey": lambda net: [unit.value for unit in survey(net, images, progress=False, k=2).top("a", 0)],
        "projection": lambda net: project(net, images[0], "a", 1).values,
        "patterns": lambda net: (
            attribute(net, images[0], "patternnet", patterns=fit_patterns(net, images, progress=False)).values
        ),
        "degradation": lambda net: (
            degradation(net, images[:2], ["gradient"], patch=4, steps=3, progress=False).probability
        ),
    }
    for name, compute in computed.items():
        one, other = (torch.as_tensor(compute(net)).double() for net in (single, double))
        assert float((one - other).abs().max()) <= 1e-3 * float(other.abs().max()), name


# -- results --

Pair = namedtuple("Pair", ["features", "logits"])


@dataclasses.dataclass
class Output:
    logits: Tensor
    loss: Any = None


RESULTS: dict[str, tuple[Callable[[Tensor], Any], str | int | None]] = {
    "a dictionary with logits": (lambda y: {"features": 2 * y, "logits": y}, None),
    "an ordered one": (lambda y: OrderedDict(out=y), None),
    "a named tuple": (lambda y: Pair(2 * y, y), None),
    "a data class": (lambda y: Output(y), None),
    "a namespace": (lambda y: SimpleNamespace(logits=y, other=None), None),
    "a tuple of one": (lambda y: (y,), None),
    "a tuple with maps": (lambda y: (y[:, :, None, None].expand(-1, -1, 3, 3), y), None),
    "a list in a dictionary": (lambda y: {"heads": [y], "n": 3}, None),
    "the second of two": (lambda y: (2 * y, y), 1),
    "by key": (lambda y: {"one": 2 * y, "two": y}, "two"),
    "by path": (lambda y: {"heads": [2 * y, y]}, "heads.1"),
    "by attribute": (lambda y: Pair(y, 2 * y), "features"),
    "a flat vector": (lambda y: y[:, 0], None),
    "a map of one position": (lambda y: y[:, :, None, None], None),
}


@pytest.mark.parametrize("result", RESULTS)
def test_the_class_scores_are_picked_from_what_is_returned(result: str) -> None:
    wrap, output = RESULTS[result]
    module = Around(lambda inner, x: wrap(inner(x)))
    expected = (lambda x: module.inner(x)[:, :1]) if result == "a flat vector" else module.inner
    net = check(module, expected, output=output)
    assert net.layers[0].name == "inner.a"


@pytest.mark.parametrize("output", [2, "three", "0.0"])
def test_a_result_that_is_not_there(output: Any) -> None:
    module = Around(lambda inner, x: (inner(x), 2 * inner(x)))
    with pytest.raises(TraceError, match=r"Expected output as one of the results .* \(0: \(2, 4\), 1: \(2, 4\)\)"):
        network(module, output=output)


# -- input --


class KeywordOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Small()
        self.eval()

    def forward(self, *, pictures: Tensor) -> Tensor:
        return self.inner(pictures)  # type: ignore[no-any-return]


class AmongOthers(KeywordOnly):
    def forward(self, labels: Any = None, pixel_values: Any = None) -> Any:  # type: ignore[override]
        return {"loss": labels, "logits": self.inner(pixel_values)}


def _of_list(inner: nn.Module, xs: Sequence[Tensor]) -> Tensor:
    assert isinstance(xs, list)
    return inner(xs[0])  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [KeywordOnly, AmongOthers, lambda: Around(_of_list)])
def test_input_by_keyword_or_in_a_list(make: Callable[[], Any]) -> None:
    module = make()
    assert check(module, module.inner).layers[0].name == "inner.a"


STEMS: dict[str, tuple[Callable[[Any, Tensor], Tensor], int, int]] = {
    "colours": (lambda inner, x: inner(x), 3, 3),
    "grey": (lambda inner, x: inner(x), 1, 1),
    "five channels": (lambda inner, x: inner(x), 5, 5),
    "one of the colours": (lambda inner, x: inner(x[:, :1]), 1, 3),
    "mean of the colours": (lambda inner, x: inner(x.mean(1, keepdim=True)), 1, 3),
    "pixel-unshuffled": (lambda inner, x: inner(nn.functional.pixel_unshuffle(x, 4)), 48, 3),
    "pixel-unshuffled grey": (lambda inner, x: inner(nn.functional.pixel_unshuffle(x, 2)), 4, 1),
    "with its negative": (lambda inner, x: inner(torch.cat([x, -x], 1)), 6, 3),
    "with coordinates": (lambda inner, x: inner(torch.cat([x, _grid(x)], 1)), 5, 3),
    "grey made colour": (lambda inner, x: inner(x.repeat(1, 3, 1, 1)), 3, 1),
    "read as grey": (lambda inner, x: inner(x.view(-1, 1, SIZE, SIZE)), 1, 1),
    "two colours": (lambda inner, x: inner(x), 2, 2),
}


def _grid(x: Tensor) -> Tensor:
    rows = torch.linspace(-1, 1, SIZE)[:, None].expand(SIZE, SIZE)
    return torch.stack([rows, rows.T]).expand(x.shape[0], -1, -1, -1)


@pytest.mark.parametrize("stem", STEMS)
def test_channels_are_those_that_the_network_takes(stem: str) -> None:
    body, inside, channels = STEMS[stem]
    net = check(Around(body, Small(inside)))
    assert net.input_shape == (channels, SIZE, SIZE)
    assert network(Around(body, Small(inside))).input_shape == (channels, SIZE, SIZE)


def test_channels_of_a_convolution_that_is_listed_first_but_used_last() -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.late, self.early = nn.Conv2d(8, 5, 1), nn.Conv2d(1, 8, 3)
            self.eval()

        def forward(self, x: Tensor) -> Tensor:
            return self.late(self.early(x).relu()).mean((2, 3))

    assert check(Turned()).input_shape == (1, SIZE, SIZE)


HABITS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "keeps its features": lambda inner, x: _kept(inner, x),
    "custom function": lambda inner, x: inner(Swish.apply(x)),
    "checkpoint": lambda inner, x: torch.utils.checkpoint.checkpoint(inner, x, use_reentrant=False),
    "vmap": lambda inner, x: inner(torch.func.vmap(lambda one: one - one.mean())(x)),
    "profiler": lambda inner, x: _profiled(inner, x),
    "kernels a picture": lambda inner, x: inner(_own_kernels(x)),
    "casts": lambda inner, x: inner(x.double().to(x.dtype)).double(),
}


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return gradient * (x.sigmoid() * (1 + x * (1 - x.sigmoid())))


def _kept(inner: Any, x: Tensor) -> Tensor:
    inner.features = inner.a(x)
    return inner.l(inner.bn(inner.features).relu().mean((2, 3)))  # type: ignore[no-any-return]


def _profiled(inner: Any, x: Tensor) -> Tensor:
    with torch.profiler.record_function("forward"):
        return inner(x)  # type: ignore[no-any-return]


def _own_kernels(x: Tensor) -> Tensor:
    """Convolve each picture with a kernel of its own, as dynamic convolutions do: the batch as groups."""
    kernels = x.mean((2, 3))[:, :, None, None, None].expand(-1, -1, 3, 3, 3) + 0.1
    groups = x.reshape(1, -1, *x.shape[2:])
    found = nn.functional.conv2d(groups, kernels.reshape(-1, 3, 3, 3), padding=1, groups=x.shape[0])
    return found.reshape(x.shape)


@pytest.mark.parametrize("habit", HABITS)
def test_habits_of_forward_passes(habit: str) -> None:
    if habit == "vmap" and torch.__version__.startswith("2.6."):
        pytest.skip("PyTorch 2.6 does not export it: 'NYI: querying is_contiguous inside of vmap'")
    module = Around(HABITS[habit])
    net = check(module, lambda x: module(x).float())
    assert "inner.a" in [layer.name for layer in net.layers]


# -- weights that are computed, recurrent parts, exported programs --


WEIGHTS: dict[str, Callable[[nn.Conv2d], nn.Module]] = {
    "weight norm": parametrizations.weight_norm,
    "spectral norm": parametrizations.spectral_norm,
    "weight norm, the old way": lambda m: _old("weight_norm", m),
    "spectral norm, the old way": lambda m: _old("spectral_norm", m),
}


def _old(name: str, module: nn.Module) -> nn.Module:
    with pytest.warns(FutureWarning) if name == "weight_norm" else contextlib.nullcontext():
        return getattr(nn.utils, name)(module)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", WEIGHTS)
def test_weights_that_are_computed(kind: str) -> None:
    module = Small()
    module.a = WEIGHTS[kind](module.a)  # type: ignore[assignment]
    net = check(module.eval())
    assert [layer.kind for layer in net.layers] == ["conv", "pool", "linear"]


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3, 2, 1)
        self.r = kind(4 * SIZE // 2, 5, **options)
        self.l = nn.Linear(5 * (1 + bool(options.get("bidirectional"))), 4)
        self.first = bool(options.get("batch_first"))
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = self.a(x).relu().permute(0, 3, 1, 2).flatten(2)
        if self.first:
            return self.l(self.r(h)[0][:, -1])  # type: ignore[no-any-return]
        return self.l(self.r(h.transpose(0, 1))[0][-1])  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "options", [{"batch_first": True}, {}, {"bidirectional": True}, {"num_layers": 2, "dropout": 0.3}]
)
@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU, nn.RNN])
def test_recurrent_parts(kind: type[nn.RNNBase], options: dict[str, Any]) -> None:
    check(Recurrent(kind, **options))


def test_an_exported_program() -> None:
    module = Small()
    x = torch.zeros(2, 3, SIZE, SIZE)
    batch = ({0: torch.export.Dim("batch", max=1000)},)
    program = torch.export.export(module, (x,), dynamic_shapes=batch)
    net = Network(program, name="exported")
    x = torch.randn(3, 3, SIZE, SIZE)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-5, atol=1e-5)
    assert net.input_shape == (3, SIZE, SIZE)
    assert [layer.name for layer in net.layers] == ["a", "mean", "l"]
    heads = Around(lambda inner, x: {"a": inner(x).exp(), "logits": inner(x)})
    several = torch.export.export(heads, (torch.zeros(2, 3, SIZE, SIZE),), dynamic_shapes=batch)
    assert Network(several).scores == "logits"
    fixed = torch.export.export(module, (x,))
    with pytest.raises(TraceError, match=r"batch of any size, got one of 3\. Export it with dynamic_shapes"):
        Network(fixed)
    with pytest.raises(TraceError, match=r"weights in float64, got one in float32"):
        Network(program, dtype=torch.float64)


# -- refusals --


class Lazy(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.LazyConv2d(4, 3)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        return self.a(x).mean((2, 3))  # type: ignore[no-any-return]


def _quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(Small(), {nn.Linear})


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "scripted": (lambda: torch.jit.script(nn.Conv2d(3, 4, 3).eval()), r"TorchScript .*\. Give the module"),
    "traced": (
        lambda: torch.jit.trace(Small(), torch.zeros(1, 3, SIZE, SIZE)), r"TorchScript .*\. Give the module",
    ),
    "scripted inside": (
        lambda: nn.Sequential(torch.jit.script(nn.Conv2d(3, 4, 3).eval()), nn.Flatten()).eval(), "0 of Sequential is T",
    ),
    "quantised": (_quantised, r"Expected floating-point weights; l of Small is quantised \(Linear\)\. Give the module"),
    "lazy": (Lazy, r"a\.weight of Lazy is not initialised .* Call the module once"),
    "meta": (lambda: Small().to("meta"), "a.weight of Small is on the meta device. Load them first"),
    "maps of three numbers": (
        lambda: Around(lambda inner, x: x.mean((2, 3))[:, None].expand(-1, 2, -1)), r"of shape \(2, 2, 3\)\. Wrap it",
    ),
    "another device inside": (
        lambda: Around(lambda inner, x: inner(x.to("cuda"))), r"asks for another device .* use x\.device",
    ),
    "a loop over the pictures": (
        lambda: Around(lambda inner, x: torch.cat([inner(one[None]) for one in x])), "a loop over the pictures",
    ),
    "another size": (
        lambda: nn.Sequential(nn.Conv2d(5, 2, 3), nn.Flatten(), nn.Linear(7, 2)).eval(), r"shape \(2, 5, 16, 16\)",
    ),
    "in train mode": (lambda: Small().train(), r"evaluation mode.* Call \.eval\(\)"),
    "a class": (lambda: Small, r"Expected a torch.nn.Module, got type"),
    "a state dict": (lambda: Small().state_dict(), r"Expected a torch.nn.Module, got OrderedDict"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")
def test_refused_with_cause_and_cure(case: str) -> None:
    make, message = REFUSED[case]
    if case == "another device inside" and torch.cuda.is_available():
        pytest.skip("it is there")
    with pytest.raises(TraceError, match=message) as error:
        network(make())
    assert str(error.value).startswith("Expected")


@pytest.mark.parametrize("device", ["cuda", "cuda:7", "mps", "xpu", "meta"])
def test_a_device_that_is_not_there(device: str) -> None:
    if device in ("cuda", "mps", "xpu") and torch.accelerator.is_available():
        pytest.skip("there is an accelerator")
    with pytest.raises(ArgumentError, match=r"Expected a device that is available here \(cpu.*\), got '") as error:
        Network(Small(), input_size=SIZE, device=device)
    assert device in str(error.value)


@given(
    wrappers=st.lists(st.sampled_from(["DataParallel", "averaged", "results", "region", "half"]), max_size=3),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=10)
def test_forms_may_be_combined(wrappers: list[str], channels: int) -> None:
    inner = Small(channels)
    module: nn.Module = inner
    for wrapper in wrappers:
        if wrapper == "DataParallel":
            module = nn.DataParallel(module)
        elif wrapper == "averaged":
            module = torch.optim.swa_utils.AveragedModel(module)
        elif wrapper == "results":
            module = Around(lambda m, x: {"logits": r["logits"] if isinstance(r := m(x), dict) else r}, module)
        elif wrapper == "region":
            module = Around(lambda m, x: _graded(m, x), module)
        else:
            module = module.half()
    net = network(module.eval())
    assert net.input_shape == (channels, SIZE, SIZE)
    x = torch.randn(2, channels, SIZE, SIZE)
    twin = Small(channels)
    weights = {k: v for k, v in module.state_dict().items() if "n_averaged" not in k}
    twin.load_state_dict({re.sub(r".*(inner|module)\.", "", k): v.float() for k, v in weights.items()})
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], twin(x), rtol=1e-4, atol=1e-5)


def _graded(module: nn.Module, x: Tensor) -> Any:
    with torch.enable_grad():
        return module(x)


@pytest.mark.parametrize(
    ("cast", "dtype"), [(Tensor.half, torch.float32), (Tensor.double, torch.float32), (Tensor.float, torch.float64)]
)
def test_a_precision_that_the_forward_pass_insists_on_is_named(cast: Callable[[Tensor], Tensor], dtype: Any) -> None:
    class Casts(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(cast(x)).mean((2, 3))

    with pytest.raises(TraceError, match=r"another precision than float\d\d.*leave out \.float\(\)"):
        Network(Casts(3, 4, 3).eval(), input_size=8, dtype=dtype)

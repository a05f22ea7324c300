"""Real architectures as graphs: they compute what the modules compute, and leave the modules alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
import torchvision
from torch import nn

from convscope_core.graph import Graph, Runner, trace
from convscope_core.graph.layers import find_layers
from convscope_core.graph.ops import IDENTITIES

MODELS = {
    "alexnet": 71, "vgg16": 32, "vgg16_bn": 32, "resnet18": 64, "resnet50": 64, "squeezenet1_0": 64, "googlenet": 64,
    "inception_v3": 96, "densenet121": 64, "mobilenet_v2": 64, "mobilenet_v3_small": 64, "efficientnet_b0": 64,
    "mnasnet0_5": 64, "shufflenet_v2_x0_5": 64, "regnet_y_400mf": 64, "convnext_tiny": 64, "efficientnet_lite0": 64,
}  # fmt: skip

#: Large ones of families of which a smaller member stands in the quick tests, or whose parts do; and those that the
#: quick tests of regions look at.
SLOW = {
    "vgg16_bn", "resnet50", "inception_v3", "densenet121", "efficientnet_b0", "mobilenet_v3_small", "mobilenet_v2",
    "shufflenet_v2_x0_5", "efficientnet_lite0",
}  # fmt: skip


def build(name: str) -> nn.Module:
    """The architecture with random weights, and batch norm statistics that are not those of a new module."""
    torch.manual_seed(0)
    if name == "efficientnet_lite0":
        timm = pytest.importorskip("timm")
        module: nn.Module = timm.create_model("tf_efficientnet_lite0")
    elif name.startswith("vgg"):  # the published classifier has 120 million weights; its shape is what matters here
        config = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=name.endswith("bn"))
        module = torchvision.models.VGG(config, num_classes=10, init_weights=False)
        module.avgpool = nn.AdaptiveAvgPool2d(1)
        module.classifier[0] = nn.Linear(512, 64)
        module.classifier[3] = nn.Linear(64, 64)
        module.classifier[6] = nn.Linear(64, 10)
    else:
        extra: dict[str, Any] = {}
        if name in ("googlenet", "inception_v3"):
            extra = {"init_weights": False, "aux_logits": name == "googlenet"}
        module = torchvision.models.get_model(name, weights=None, **extra)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
            m.weight.data.uniform_(0.5, 1.5)
            m.bias.data.normal_(0, 0.1)
    return module.eval()


class Traced(NamedTuple):
    name: str
    module: nn.Module
    graph: Graph
    before: dict[str, Any]
    after: dict[str, Any]


def condition(module: nn.Module) -> dict[str, Any]:
    """Everything about a module that tracing must leave as it is."""
    return {
        "modes": {n: m.training for n, m in module.named_modules()},
        "hooks": {
            n: [len(v) for k, v in sorted(vars(m).items()) if k.endswith("_hooks") and v is not None]
            for n, m in module.named_modules()
        },
        "inplace": {n: getattr(m, "inplace", None) for n, m in module.named_modules()},
        "forwards": {n: vars(m).get("forward") for n, m in module.named_modules()},
        "grads": {n: (p.requires_grad, p.grad) for n, p in module.named_parameters()},
        "tensors": {n: (id(t), t._version, t.device) for n, t in module.state_dict(keep_vars=True).items()},
        "sums": {n: t.double().sum().item() for n, t in module.state_dict().items()},
        "random": torch.random.get_rng_state().sum().item(),
        "grad": torch.is_grad_enabled(),
    }


@pytest.fixture(scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] * (n in SLOW)) for n in MODELS])
def traced(request: pytest.FixtureRequest) -> Traced:
    name: str = request.param
    module = build(name)
    before = condition(module)
    graph = trace(module, (3, MODELS[name], MODELS[name]))
    return Traced(name, module, graph, before, condition(module))


def close(got: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> bool:
    assert got.shape == expected.shape
    return bool((got - expected).abs().max() <= tolerance * expected.abs().max())


def test_graph_computes_what_the_module_computes(traced: Traced) -> None:
    side = MODELS[traced.name]
    run = Runner(traced.graph)
    for batch in (3, 1):
        x = torch.randn(batch, 3, side, side)
        kept = x.clone()
        with torch.no_grad():
            assert close(run(x)[0], traced.module(x))
        assert torch.equal(x, kept)


def test_module_is_untouched(traced: Traced) -> None:
    assert traced.before == traced.after


def test_graph_is_pure(traced: Traced) -> None:
    nodes = traced.graph.nodes
    assert len({n.name for n in nodes}) == len(nodes)
    assert [n for n in nodes if n.kind == "input"] == [traced.graph.input]
    seen = set()
    for n in nodes:
        assert all(i in seen for i in n.inputs)
        seen.add(n)
        schema = getattr(n.op, "_schema", None)
        assert schema is None or not schema.is_mutable
        assert str(n.op) not in IDENTITIES
        if n.kind == "batch_norm":
            x = n["input"]
            assert not (x.kind == "conv" and traced.graph.consumers[x] == (n,))
    reached = {traced.graph.output}
    for n in reversed(nodes):
        assert n in reached
        reached.update(n.inputs)


def test_graph_owns_its_weights(traced: Traced) -> None:
    theirs = {t.untyped_storage().data_ptr() for t in traced.module.state_dict().values()}
    for t in traced.graph.tensors():
        assert t.untyped_storage().data_ptr() not in theirs
        assert not t.requires_grad


def test_layers_hold_what_the_modules_of_their_names_return(traced: Traced) -> None:
    side = MODELS[traced.name]
    layers = find_layers(traced.graph)
    names = [x.name for x in layers] + [a for x in layers for a in x.aliases]
    assert len(set(names)) == len(names)
    x = torch.randn(2, 3, side, side)
    returned: dict[str, torch.Tensor] = {}
    calls: dict[str, int] = {}

    def remember(path: str) -> Any:
        def hook(_m: nn.Module, _i: Any, out: Any) -> None:
            calls[path] = calls.get(path, 0) + 1
            if isinstance(out, torch.Tensor):
                returned[path if calls[path] == 1 else f"{path}#{calls[path]}"] = out.clone()

        return hook

    handles = [m.register_forward_hook(remember(n)) for n, m in traced.module.named_modules() if n]
    with torch.no_grad():
        traced.module(x)
    for h in handles:
        h.remove()
    _, values = Runner(traced.graph)(x, [layer.node for layer in layers])
    confirmed = 0
    for layer in layers:
        value = values[layer.node]
        candidates = [returned[n] for n in (layer.name, *layer.aliases) if n in returned]
        assert candidates or "." in layer.name or layer.kind in ("add", "cat", "pool"), layer.name
        if any(c.shape == value.shape and close(value, c, 1e-4) for c in candidates):
            confirmed += 1
        else:
            # Neither its own module nor the activation returns it: a function follows directly, as F.relu does.
            assert layer.activation is not None or not candidates, layer.name
    assert confirmed >= 0.6 * len(layers)


def test_conv_layers_follow_the_modules_in_order(traced: Traced) -> None:
    """Every convolution that is run is a layer of its own name (auxiliary heads are not run)."""
    ran: list[str] = []
    handles = [
        m.register_forward_hook(lambda _m, _i, _o, n=n: ran.append(n))
        for n, m in traced.module.named_modules()
        if isinstance(m, nn.Conv2d)
    ]
    with torch.no_grad():
        traced.module(torch.zeros(1, 3, MODELS[traced.name], MODELS[traced.name]))
    for h in handles:
        h.remove()
    assert [x.name for x in find_layers(traced.graph) if x.kind == "conv"] == ran

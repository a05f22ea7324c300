"""What a network's outputs are: every end that a classifier may have, and methods that start before it."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from convscope_core.errors import ArgumentError, NetworkError
from convscope_core.explain import attribute
from convscope_core.graph.scores import squashed
from convscope_core.network import Network
from convscope_core.occlusion import OcclusionResult, occlusion_map
from convscope_core.patterns.neurons import neurons_of

SHAPE = (3, 12, 12)
CLASSES = 4


class Ends(nn.Module):
    """A small classifier with an end of its own. Two heads, for ends that use both."""

    def __init__(self, end: Callable[[Tensor, Tensor], Tensor], classes: int = CLASSES) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 2)
        self.fc, self.other = nn.Linear(8, classes), nn.Linear(8, classes)
        self.end = end
        with torch.no_grad():
            for head in (self.fc, self.other):
                head.weight.mul_(6)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        h = self.conv(x).relu().mean((2, 3))
        return self.end(self.fc(h), self.other(h))


def ended(end: Callable[[Tensor, Tensor], Tensor], classes: int = CLASSES, **options: Any) -> tuple[Network, Ends]:
    module = Ends(end, classes)
    return Network(module, input_size=SHAPE[1], **options), module


def pictures() -> Tensor:
    return torch.randn(3, *SHAPE)


def logits_of(net: Network, x: Tensor) -> Tensor:
    with torch.no_grad():
        return net.values(x, [net.graph.logits])[net.graph.logits]


# -- ends whose logits are one head's --

SOFTMAXES: dict[str, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(1),
    "softmax of the last axis": lambda z: z.softmax(-1),
    "log_softmax().exp()": lambda z: z.log_softmax(1).exp(),
    "exp over its sum": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
}
SIGMOIDS: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": lambda z: z.sigmoid(),
    "log_sigmoid().exp()": lambda z: nn.functional.logsigmoid(z).exp(),
    "hard sigmoid": lambda z: nn.functional.hardsigmoid(z),
    "by hand": lambda z: 1 / (1 + (-z).exp()),
    "tanh": lambda z: (z.tanh() + 1) / 2,
}
EPS = torch.finfo(torch.float32).eps
AROUND: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "nothing": (lambda z: z, lambda p: p),
    "1x1 map, flatten": (lambda z: z[:, :, None, None], lambda p: p.flatten(1)),
    "1x1 map, squeeze": (lambda z: z[:, :, None, None], lambda p: p.squeeze(-1).squeeze(-1)),
    "1x1 map, mean": (lambda z: z[:, :, None, None], lambda p: p.mean((2, 3))),
    "1x1 map as it is": (lambda z: z[:, :, None, None], lambda p: p),
    "view": (lambda z: z, lambda p: p.reshape(-1, 2, 2).reshape(p.shape[0], -1)),
    "transposed and back": (lambda z: z[:, :, None], lambda p: p.transpose(1, 2).transpose(1, 2).squeeze(2)),
    "clamped": (lambda z: z, lambda p: p.clamp(1e-7, 1 - 1e-7)),
    "clamped below": (lambda z: z, lambda p: p.clamp(min=0.0)),
    "nan_to_num": (lambda z: z, torch.nan_to_num),
    "turned round": (lambda z: z.flip(1), lambda p: p.flip(1)),
    "picked": (lambda z: z, lambda p: p[:, [0, 1, 2, 3]]),
    "unbind and stack": (lambda z: z, lambda p: torch.stack(p.unbind(1), 1)),
    "in pieces": (lambda z: z, lambda p: torch.cat([p[:, :1], p[:, 1:]], 1)),
    "in double precision": (torch.Tensor.double, torch.Tensor.float),
    "largest of one position": (lambda z: z[:, :, None, None], lambda p: p.amax((2, 3))),
    "channels last": (lambda z: z[:, :, None, None], lambda p: p.permute(0, 2, 3, 1).reshape(p.shape[0], -1)),
}


@given(
    squash=st.sampled_from(sorted(SOFTMAXES) + sorted(SIGMOIDS)),
    around=st.sampled_from(sorted(AROUND)),
    bounded=st.booleans(),
    seed=st.integers(0, 99),
)
@settings(max_examples=25)
def test_squashed_outputs_are_squashed_once(squash: str, around: str, bounded: bool, seed: int) -> None:
    torch.manual_seed(seed)
    exclusive = squash in SOFTMAXES
    function = SOFTMAXES.get(squash) or SIGMOIDS[squash]
    before, after = AROUND[around]
    assume(squash != "softmax of the last axis" or before(torch.zeros(1, CLASSES)).dim() == 2)

    def end(z: Tensor, _: Tensor) -> Tensor:
        p = function(before(z))
        return after(p.clamp(0, 1) if bounded else p)

    net, module = ended(end)
    x = pictures()
    with torch.no_grad():
        expected = module(x).reshape(len(x), -1)
        z = module.fc(module.conv(x).relu().mean((2, 3)))
    outputs, _ = net.forward(x)
    assert net.scores == ("probabilities" if exclusive else "independent")
    torch.testing.assert_close(net.probabilities(outputs), expected, rtol=1e-5, atol=1e-6)
    if squash not in ("exp over its sum", "by hand", "tanh"):
        torch.testing.assert_close(logits_of(net, x), z, rtol=1e-4, atol=1e-5)
        assert net.squashing.of_logits == {"hard sigmoid": None}.get(squash, "softmax" if exclusive else "sigmoid")
    odds = net.gradients(x[:1], lambda scores, _: [net.squashing.log_odds(scores, 1)])[0]
    p = module.double()(x[:1].double()).detach().flatten()[1].double()
    if squash not in SOFTMAXES and net.squashing.of_logits is None:  # of what is squashed at 0 or 1 they are finite
        p = p.clamp(EPS, 1 - EPS)
    assert odds[0] == pytest.approx(float((p / (1 - p)).log()), rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("squash", ["softmax", "sigmoid"])
@pytest.mark.parametrize("rounded", [lambda p: p.round(decimals=2), lambda p: (100 * p).round() / 100])
def test_rounded_probabilities_are_probabilities(squash: str, rounded: Callable[[Tensor], Tensor]) -> None:
    function = (SOFTMAXES | SIGMOIDS)[squash]
    net, module = ended(lambda z, _: rounded(function(z)))
    x = pictures()
    with torch.no_grad():
        z = module.fc(module.conv(x).relu().mean((2, 3)))
        torch.testing.assert_close(net.probabilities(net.forward(x)[0]), module(x))
    assert net.scores == ("probabilities" if squash == "softmax" else "independent")
    assert net.squashing.of_logits == squash
    torch.testing.assert_close(logits_of(net, x), z, rtol=1e-4, atol=1e-5)


LOGITS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "linear": lambda z, _: z,
    "sum of two": lambda z, y: z + y,
    "log_softmax": lambda z, _: z.log_softmax(1),
    "log_softmax by hand": lambda z, _: z - z.logsumexp(1, keepdim=True),
    "log of softmax": lambda z, _: z.softmax(1).log(),
    "log of softmax, kept from zero": lambda z, _: (z.softmax(1) + 1e-8).log(),
    "mean of log-probabilities": lambda z, y: (z.log_softmax(1) + y.log_softmax(1)) / 2,
    "rectified": lambda z, _: z.relu(),
    "nothing but zeros": lambda z, _: (z.abs() + 1).neg().relu(),
    "gated": lambda z, y: z * y.sigmoid(),
    "softmax times something": lambda z, _: 10 * z.softmax(1),
    "tanh": lambda z, _: z.tanh(),
    "between soft-max and linear": lambda z, y: z.softmax(1) @ torch.eye(4) * 8 - 1,
}


@pytest.mark.parametrize("end", LOGITS)
def test_scores_are_softmaxed(end: str) -> None:
    net, module = ended(LOGITS[end])
    x = pictures()
    with torch.no_grad():
        expected = module(x).softmax(1)
    assert net.scores == "logits"
    torch.testing.assert_close(net.probabilities(net.forward(x)[0]), expected, rtol=1e-5, atol=1e-6)
    if end.startswith("log_softmax") and "hand" not in end:
        with torch.no_grad():
            torch.testing.assert_close(logits_of(net, x), module.fc(module.conv(x).relu().mean((2, 3))))


# -- ends of several heads --

SEVERAL: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str, Callable[[Tensor, Tensor], Tensor], str | None]] = {
    "mean of soft-maxes": (
        lambda z, y: (z.softmax(1) + y.softmax(1)) / 2, "probabilities", lambda z, y: (z + y) / 2, None,
    ),
    "mean of a stack": (
        lambda z, y: torch.stack([z.softmax(1), y.softmax(1)]).mean(0), "probabilities", lambda z, y: (z + y) / 2, None,
    ),
    "sum of a stack over its size": (
        lambda z, y: torch.stack([z.softmax(1), y.softmax(1)], 1).sum(1) / 2, "probabilities", lambda z, y: (z + y) / 2,
        None,
    ),
    "1 - p of two classes": (
        lambda z, _: 1 - z[:, :2].softmax(1), "probabilities", lambda z, _: -z[:, :2], "softmax",
    ),
    "a tree": (
        lambda z, y: torch.cat([z[:, :1].sigmoid() * y[:, :2].softmax(1), 1 - z[:, :1].sigmoid()], 1), "probabilities",
        lambda z, y: torch.cat([z[:, :1].sigmoid() * y[:, :2].softmax(1), 1 - z[:, :1].sigmoid()], 1), "none",
    ),
    "largest of two, independent": (
        lambda z, y: torch.stack([z.sigmoid(), y.sigmoid()]).amax(0), "independent", torch.maximum, "sigmoid",
    ),
    "a mean over positions": (
        lambda z, y: torch.stack([z, y], 2).softmax(1).mean(2), "probabilities", lambda z, y: (z + y) / 2, None,
    ),
    "weighted mean": (
        lambda z, y: 0.25 * z.softmax(1) + 0.75 * y.softmax(1), "probabilities", lambda z, y: z / 4 + 3 * y / 4, None,
    ),
    "mean of sigmoids": (
        lambda z, y: (z.sigmoid() + y.sigmoid()) / 2, "independent", lambda z, y: (z + y) / 2, None,
    ),
    "1 - p and p": (
        lambda z, _: torch.cat([1 - z[:, :1].sigmoid(), z[:, :1].sigmoid()], 1), "probabilities",
        lambda z, _: torch.cat([-z[:, :1], z[:, :1]], 1), "sigmoid",
    ),
    "p and 1 - p, stacked": (
        lambda z, _: torch.stack([z[:, 0].sigmoid(), 1 - z[:, 0].sigmoid()], 1), "probabilities",
        lambda z, _: torch.stack([z[:, 0], -z[:, 0]], 1), "sigmoid",
    ),
    "two questions": (
        lambda z, y: torch.cat([z.softmax(1), y.softmax(1)], 1), "independent", lambda z, y: torch.cat([z, y], 1), None,
    ),
    "product of probabilities": (
        lambda z, y: z.softmax(1) * y[:, :1].sigmoid(), "independent",
        lambda z, y: z.softmax(1) * y[:, :1].sigmoid(), "none",
    ),
    "mixed by a matrix": (
        lambda z, _: z.softmax(1) @ torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 1, 0]]), "probabilities",
        lambda z, _: z.softmax(1) @ torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [0, 0, 1], [0, 1, 0]]), "none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", SEVERAL)
def test_ends_of_several_heads(end: str) -> None:
    function, kind, scores, of_logits = SEVERAL[end]
    net, module = ended(function)
    x = pictures()
    with torch.no_grad():
        h = module.conv(x).relu().mean((2, 3))
        expected, z = module(x), scores(module.fc(h), module.other(h))
    assert net.scores == kind
    assert net.squashing.of_logits == of_logits
    torch.testing.assert_close(net.probabilities(net.forward(x)[0]), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(logits_of(net, x), z, rtol=1e-4, atol=1e-5)
    # The class that is explained by default is the most probable one, and what is explained is its score.
    prediction = net.predict(x[0])
    found = attribute(net, x[0], "gradient")
    assert found.target == prediction.index == int(expected[0].argmax())
    assert found.score == pytest.approx(float(z[0, prediction.index]), abs=1e-4)


# -- what is stated by hand --


def test_scores_by_hand() -> None:
    x = pictures()
    independent, module = ended(lambda z, _: z, scores="independent")
    with torch.no_grad():
        z = module(x)
    assert independent.scores == "independent"
    torch.testing.assert_close(independent.probabilities(z), z.sigmoid())
    assert "(independent)" in repr(independent)
    again = pickle.loads(pickle.dumps(independent))
    assert (again.scores, again.fingerprint) == ("independent", independent.fingerprint)
    plain = Network(module, input_size=SHAPE[1])
    assert plain.fingerprint != independent.fingerprint
    assert plain.fingerprint == Network(module, input_size=SHAPE[1], scores="logits").fingerprint
    # A soft-max's outputs that are to be squashed all the same, as a loss that took them for logits has it.
    twice, module = ended(lambda z, _: z.softmax(1), scores="logits")
    with torch.no_grad():
        torch.testing.assert_close(twice.probabilities(twice.forward(x)[0]), module(x).softmax(1))
    assert ended(lambda z, _: z.sigmoid(), scores="probabilities")[0].scores == "probabilities"
    with pytest.raises(NetworkError, match=r"Expected probabilities.*, got values.*Give scores=\"logits\""):
        ended(lambda z, _: z, scores="probabilities")
    with pytest.raises(ArgumentError, match="Expected scores as one of logits, probabilities, independent"):
        ended(lambda z, _: z, scores="softmax")


@pytest.mark.parametrize("end", ["logit", "sigmoid", "one number", "log_sigmoid"])
def test_a_single_output_is_yes_or_no(end: str) -> None:
    ends: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
        "logit": lambda z, _: z,
        "sigmoid": lambda z, _: z.sigmoid(),
        "one number": lambda z, _: z[:, 0],
        "log_sigmoid": lambda z, _: nn.functional.logsigmoid(z),
    }
    net, module = ended(ends[end], classes=1, labels=["cat"])
    x = pictures()
    with torch.no_grad():
        z = module.fc(module.conv(x).relu().mean((2, 3)))
    assert net.scores == "independent"
    torch.testing.assert_close(net.probabilities(net.forward(x)[0]), z.sigmoid())
    prediction = net.predict(x[0])
    assert prediction.top() == [("cat", pytest.approx(float(z[0].sigmoid()), abs=1e-6))]
    assert attribute(net, x[0], "gradient").score == pytest.approx(float(z[0]), abs=1e-5)
    assert Network(module, input_size=SHAPE[1]).labels == ("yes",)
    with pytest.raises(NetworkError, match=r"Expected 1 class name, .*, got 2\. .*torch\.cat"):
        Network(module, input_size=SHAPE[1], labels=["cat", "dog"])


# -- everything after the prediction --


@pytest.mark.parametrize("squash", ["sigmoid in the network", "sigmoid in the loss"])
def test_a_multi_label_network_everywhere(squash: str, tmp_path: Any) -> None:
    if squash == "sigmoid in the network":
        net, module = ended(lambda z, _: z.sigmoid())
    else:
        net, module = ended(lambda z, _: z, scores="independent")
    x = pictures()[:1]
    with torch.no_grad():
        z = module.fc(module.conv(x).relu().mean((2, 3)))
    prediction = net.predict(x[0])
    assert prediction.independent
    assert "independent" in repr(prediction)
    np.testing.assert_allclose(prediction.probabilities, z.sigmoid()[0], rtol=1e-5)
    # Methods start from the score, not from the probability.
    moved = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(module.fc(module.conv(moved).relu().mean((2, 3)))[0, 2], moved)
    np.testing.assert_allclose(attribute(net, x[0], "gradient", 2).values, expected[0], rtol=1e-4, atol=1e-6)
    assert neurons_of(net)[-1].gate == "output"
    # The map holds the probability of the class by itself, and its preview is the first step towards it.
    found = occlusion_map(net, x[0], size=4, stride=4, target=1, progress=False)
    painted = x.clone()
    painted[:, :, :4, :4] = net.to_network(torch.full((3, 1, 1), 0.5))
    with torch.no_grad():
        p = module.fc(module.conv(painted).relu().mean((2, 3))).sigmoid()
    assert found.probability[0, 0] == pytest.approx(float(p[0, 1]), abs=1e-5)
    assert found.clean.independent
    found.save(tmp_path / "map.safetensors")
    assert OcclusionResult.load(tmp_path / "map.safetensors").clean.independent


def test_logits_beside_the_way_to_the_output_are_no_layers() -> None:
    net, _ = ended(lambda z, y: (z.softmax(1) + y.softmax(1)) / 2)
    assert [layer.name for layer in net.layers] == ["conv", "mean", "fc", "other", "add"]
    squashed_once, _ = ended(lambda z, _: z.sigmoid().reshape(-1, 4, 1)[:, :, 0])
    assert [layer.name for layer in squashed_once.layers] == ["conv", "mean", "fc"]
    assert squashed_once.layers[-1].activation == "sigmoid"


def test_squashed() -> None:
    z = torch.randn(2, 3)
    assert torch.equal(squashed(z, "none"), z)
    for how, function in (("softmax", lambda v: v.softmax(1)), ("sigmoid", torch.sigmoid), ("exp", torch.exp)):
        assert torch.equal(squashed(z, how), function(z))

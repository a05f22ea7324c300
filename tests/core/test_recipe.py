"""A network with other weights is what `Network` makes of the module that has them: bit for bit, not traced again."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from convscope_core.errors import NetworkError
from convscope_core.network import Network

from .small_networks import FORMS, SHAPE, Small


class Standardised(nn.Module):
    """What is derived from weights alone is computed once for a graph: it has to be computed again for others."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = parametrizations.weight_norm(nn.Conv2d(3, 4, 3))
        self.kernel = nn.Parameter(torch.randn(4, 4, 3, 3))
        self.gain = nn.Parameter(torch.rand(()))
        self.register_buffer("table", torch.linspace(0.5, 1, 4), persistent=False)
        self.tied, self.head = nn.Linear(4, 4), nn.Linear(4, 4)
        self.head.weight = self.tied.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        kernel = (self.kernel - self.kernel.mean((1, 2, 3), keepdim=True)) * self.gain
        x = nn.functional.conv2d(self.conv(x).relu(), kernel).relu() * self.table[:, None, None]
        return self.head(self.tied(x.mean((2, 3))).relu())


def reset(module: nn.Module, seed: int) -> nn.Module:
    """Draw all weights and statistics, in float32, as far from where they begin as training takes them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                drawn = torch.randn(tensor.shape, generator=generator) * 0.3
                tensor.copy_(drawn.abs() + 0.1 if "var" in name or "original0" in name else drawn)
    return module.eval()


MAKERS: dict[str, Callable[[], nn.Module]] = {
    "derived": Standardised,
    **{
        name: (lambda name=name: Small(FORMS[name]))
        for name in ("residual", "assigned", "batch norm", "group norm", "attention", "excited", "swish", "windows")
    },
}


@pytest.mark.parametrize("name", MAKERS)
def test_it_equals_the_network_of_a_module_with_these_weights(name: str) -> None:
    first, other = reset(MAKERS[name](), 1), reset(MAKERS[name](), 2)
    net = Network(first, input_size=SHAPE)
    before = net.fingerprint
    made = net.with_weights(other.state_dict(), "other")
    expected = Network(other, input_size=SHAPE)
    assert made.fingerprint == expected.fingerprint != before
    assert net.fingerprint == before
    assert made.layers == expected.layers
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(made.forward(x)[0], other(x), rtol=1e-4, atol=1e-5)
    # What it was made of may change.
    for tensor in other.state_dict().values():
        tensor.zero_()
    assert made.graph.digest() == expected.graph.digest()


def test_names_are_found_behind_wrappers_and_in_half_precision() -> None:
    net = Network(reset(Small(FORMS["batch norm"]), 1), input_size=SHAPE)
    state = {k: v.half() if v.is_floating_point() else v for k, v in net_state(2).items()}
    expected = net.with_weights({k: v.float() for k, v in state.items()}, "x").fingerprint
    for prefix in ("", "module.", "_orig_mod.", "model.", "net.module."):
        assert net.with_weights({prefix + k: v for k, v in state.items()}, "x").fingerprint == expected
    without = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    assert net.with_weights(without, "x").fingerprint == expected


def net_state(seed: int) -> dict[str, torch.Tensor]:
    return dict(reset(Small(FORMS["batch norm"]), seed).state_dict())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda s: s.pop("c.weight"), r"missing: c\.weight"),
        (lambda s: s.update({"c.weight": torch.zeros(8, 8, 5, 5)}), r"c\.weight \(8, 8, 5, 5\) for \(8, 8, 3, 3\)"),
        (lambda s: s.update({"d.weight": torch.zeros(1)}), r"layers that it does not have: d\.weight"),
        (lambda s: s["c.weight"].view(-1)[:2].fill_(torch.nan), r"NaN or infinite values in c\.weight: 2 of 576"),
        (lambda s: s["bn.running_var"].fill_(torch.inf), r"in bn\.running_var: 8 of 8"),
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_by_name(
    change: Callable[[dict[str, torch.Tensor]], object], says: str
) -> None:
    net = Network(reset(Small(FORMS["batch norm"]), 1), input_size=SHAPE)
    state = net_state(2)
    change(state)
    with pytest.raises(NetworkError, match=f"checkpoint 'epoch 5'.*{says}"):
        net.with_weights(state, "x", what="checkpoint 'epoch 5'")


def test_a_network_from_another_process_says_that_it_cannot() -> None:
    import pickle

    net = pickle.loads(pickle.dumps(Network(reset(Small(FORMS["residual"]), 1), input_size=SHAPE)))
    with pytest.raises(NetworkError, match="was pickled"):
        net.with_weights({}, "x")

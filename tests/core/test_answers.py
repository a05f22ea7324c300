"""What a forward pass asks of its own numbers is answered; what it asks of a picture, or of chance, is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune
from torchvision.transforms import CenterCrop, Normalize, Resize, v2
from torchvision.transforms import functional as transforms

from convscope_core.errors import NetworkError, TraceError
from convscope_core.network import Network

SHAPE = (3, 12, 12)


class Asks(nn.Module):
    """A small classifier; what it asks, a test says."""

    def __init__(self, form: Callable[[Asks, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.head = nn.Linear(6, 4)
        self.temperature = nn.Parameter(torch.tensor(1.7))
        self.register_buffer("ready", torch.tensor(True))
        self.register_buffer("times", torch.tensor(3))
        self.register_buffer("order", torch.tensor([2, 0, 1]))
        self.form = form
        self.eval()

    def scores(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.form(self, x)


def _checked(n: Asks, x: Tensor) -> Tensor:
    if not n.ready:
        raise RuntimeError("not initialised")
    assert torch.isfinite(n.head.weight).all()
    return n.scores(x)


def _repeated(n: Asks, x: Tensor) -> Tensor:
    for _ in range(int(n.times)):
        x = 1.1 * x
    return n.scores(x)


def _masked(n: Asks, x: Tensor) -> Tensor:
    mask = torch.zeros(x.shape[2:])
    mask[:6] = 1
    return n.scores(x * mask.to(x) * (2 if mask.sum().item() > 10 else 3))


OWN: dict[str, Callable[[Asks, Tensor], Tensor]] = {
    "flag": _checked,
    "count": _repeated,
    "number": lambda n, x: n.scores(x) / n.temperature.item(),
    "list": lambda n, x: n.scores(x[:, n.order.tolist()]),
    "array": lambda n, x: n.scores(x) * float(abs(n.head.weight.detach().numpy()).max()),
    "mask": _masked,
    "comparison": lambda n, x: n.scores(x) if torch.equal(n.order, n.order.flip(0)) else 2 * n.scores(x),
    "member": lambda n, x: n.scores(x) if 2 in n.order else -n.scores(x),
    "normalisation": lambda n, x: n.scores(transforms.normalize(x, [0.4, 0.5, 0.6], [0.2, 0.3, 0.2])),
    "distances": lambda n, x: -torch.cdist(n.body(x), n.head.weight),
}  # fmt: skip


@pytest.mark.parametrize("form", OWN)
def test_questions_to_numbers_of_its_own_are_answered(form: str) -> None:
    module = Asks(OWN[form])
    net = Network(module, input_size=SHAPE)
    for count in (1, 3, 40):
        x = torch.randn(count, *SHAPE)
        with torch.no_grad():
            torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("transform", [Normalize, v2.Normalize])
def test_preprocessing_in_front_is_part_of_the_network(transform: type[nn.Module]) -> None:
    module = nn.Sequential(Resize(10), CenterCrop(8), transform([0.4] * 3, [0.2] * 3), Asks(Asks.scores)).eval()
    x = torch.rand(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(Network(module, input_size=SHAPE).forward(x)[0], module(x), rtol=1e-4, atol=1e-5)


REFUSED: dict[str, tuple[Callable[[Asks, Tensor], Tensor], str]] = {
    "a picture": (lambda n, x: n.scores(x) if x.sum() > 0 else -n.scores(x), "data-dependent control flow"),
    "both": (lambda n, x: n.scores(x) if n.ready and n.scores(x).sum() > 1e6 else 2 * _checked(n, x), "data-dependent"),
    "a picture, written to": (
        lambda n, x: n.scores(x) if torch.zeros(3, 2).copy_(x[0, :, 0, :2]).sum() > 1e6 else -n.scores(x),
        "data-dependent",
    ),
    "chance": (lambda n, x: n.scores(x) * float(torch.rand(1)), "fixed function of each picture"),
    "chance, seldom": (lambda n, x: n.scores(x) if torch.rand(1) < 2 else x, "data-dependent"),
    "the batch": (lambda n, x: n.scores(x) / x.mean().item(), "other pictures of the batch"),
}  # fmt: skip


@pytest.mark.parametrize("form", REFUSED)
def test_questions_to_pictures_and_to_chance_are_refused(form: str) -> None:
    function, message = REFUSED[form]
    with pytest.raises(TraceError, match=message):
        Network(Asks(function), input_size=SHAPE)


def test_other_weights_have_to_give_the_same_answers() -> None:
    net = Network(Asks(OWN["count"]), input_size=SHAPE)
    other = Asks(OWN["count"])
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        other.head.weight.mul_(2)
        expected = other(x)
    torch.testing.assert_close(net.with_weights(other.state_dict(), "other").forward(x)[0], expected)
    other.times.add_(1)
    with pytest.raises(NetworkError, match="the same times"):
        net.with_weights(other.state_dict(), "other")


# -- what else networks ask for, and leave behind --


def test_pruned_and_normed_weights_in_any_precision() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 4)).eval()
    prune.l1_unstructured(module[0], "weight", 0.4)
    nn.utils.weight_norm(module[4])
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        expected = module(x)
    for dtype in (torch.float32, torch.float64):
        got = Network(module, input_size=SHAPE, dtype=dtype).forward(x.to(dtype))[0]
        torch.testing.assert_close(got.float(), expected, rtol=1e-4, atol=1e-5)


def test_what_a_forward_pass_leaves_in_the_module_is_as_it_was() -> None:
    def form(n: Asks, x: Tensor) -> Tensor:
        n.last = n.body(x)
        n.seen.append(n.last)  # type: ignore[attr-defined, operator]
        n.by_name["features"] = n.last  # type: ignore[attr-defined, index]
        return n.head(n.last)

    module = Asks(form)
    module.seen, module.by_name = [], {"features": 1}  # type: ignore[assignment]
    Network(module, input_size=SHAPE)
    assert not hasattr(module, "last")
    assert module.seen == []
    assert module.by_name == {"features": 1}


def test_numbers_that_are_none_do_not_reach_operations_that_read_where_they_point() -> None:
    """A deformable convolution reads at its offsets: at not-a-number, beyond the memory, which ends the process."""
    ops = pytest.importorskip("torchvision.ops")

    class Deformed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.offsets, self.conv = nn.Conv2d(3, 18, 3, padding=1), ops.DeformConv2d(3, 5, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x, self.offsets(x)).relu().mean((2, 3))

    module = Deformed().eval()
    x = torch.randn(2, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(Network(module, input_size=SHAPE).forward(x)[0], module(x), rtol=1e-4, atol=1e-5)


#: No graph can hold these; none may end in an error of PyTorch's.
STRANGE: dict[str, tuple[Callable[[Asks, Tensor], Tensor], str]] = {
    "generator": (
        lambda n, x: n.scores(x * torch.randn(3, 1, 1, generator=torch.Generator().manual_seed(0))),
        "random numbers|Generator",
    ),
    "cond": (
        lambda n, x: torch.cond(x.shape[0] > 0, lambda h: 2 * h, lambda h: 1 * h, (n.scores(x),)), "cannot|data-dep",
    ),
    "pictures along a second axis": (
        lambda n, x: n.scores(x) + (n.scores(x) @ n.scores(x).T)[:, :1], "other pictures of the batch",
    ),
    "a picture along a second axis": (
        lambda n, x: n.scores(x) + (n.scores(x) @ n.scores(x).T)[:, 0, None], "other pictures of the batch",
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", STRANGE)
def test_what_no_graph_holds_is_refused(form: str) -> None:
    function, message = STRANGE[form]
    with pytest.raises(TraceError, match=message):
        Network(Asks(function), input_size=SHAPE)


@pytest.mark.parametrize("name", ["matrix_exp", "as_strided"])
def test_operations_that_go_by_the_layout_of_maps_get_theirs(name: str) -> None:
    def strided(n: Asks, x: Tensor) -> Tensor:
        h = F.conv2d(x, n.body[0].weight, padding=1)  # type: ignore[arg-type]
        return n.head(h.as_strided((x.shape[0], 6, 5, 12), (864, 144, 24, 1)).mean((2, 3)))

    forms: dict[str, Callable[[Asks, Tensor], Tensor]] = {
        "matrix_exp": lambda n, x: n.head(torch.matrix_exp(0.1 * n.body[0](x)).mean((2, 3))), "as_strided": strided,
    }  # fmt: skip
    module = Asks(forms[name])
    net = Network(module, input_size=SHAPE)
    x = torch.randn(3, *SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(net.forward(x)[0], module(x), rtol=1e-4, atol=1e-5)

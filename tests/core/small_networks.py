"""Small networks, one for each habit of writing a forward pass that a walk over the graph has to get right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (3, 12, 12)
Form = Callable[[Any, Tensor], Tensor]


class Small(nn.Module):
    """A convolution, a form that a test gives, another convolution, a mean and a linear layer."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.a, self.b = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c, self.l = nn.Conv2d(8, 8, 3, 2, 1), nn.Linear(8, 5)
        self.se, self.bn = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        h = self.form(self, self.a(x).relu())
        return self.l(self.c(h).relu().mean((2, 3)))


def _assigned(part: Callable[[Any, Tensor], None]) -> Form:
    def form(n: Any, x: Tensor) -> Tensor:
        x = x.clone()
        part(n, x)
        return x

    return form


def _first(n: Any, x: Tensor) -> None:
    x[:, :4] = n.b(x[:, :4])


def _added(n: Any, x: Tensor) -> None:
    x[:, :4] += n.b(x[:, :4])


def _erased(n: Any, x: Tensor) -> None:
    x[:, :, 2:6, 3:7] = 0


def _column(n: Any, x: Tensor) -> None:
    x[..., 0] = x[..., 1]


def _channel(n: Any, x: Tensor) -> None:
    x[:, 0] = x.mean(1)


def _spread(n: Any, x: Tensor) -> None:
    x[:, :4] = x[:, 4:5]


def _indexed(n: Any, x: Tensor) -> None:
    x[:, [0, 2]] = x[:, [1, 3]]


def _masked(n: Any, x: Tensor) -> None:
    x[x < 0.1] = 0


def _filled(n: Any, x: Tensor) -> None:
    x[:, 1].fill_(0.5)


def _interleaved(n: Any, x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    y[:, ::2], y[:, 1::2] = x[:, ::2], 2 * x[:, 1::2]
    return y


def _shifted(n: Any, x: Tensor) -> Tensor:
    y = x.new_zeros(x.shape)
    y[:, :, :-1] = x[:, :, 1:]
    return y


def _copied(n: Any, x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    y.copy_(2 * x)
    return y


def _windows(n: Any, x: Tensor) -> Tensor:
    """Windows as pictures of the batch, convolved and put back."""
    b = x.shape[0]
    w = x.reshape(b, 8, 3, 4, 3, 4).permute(0, 2, 4, 1, 3, 5).reshape(-1, 8, 4, 4)
    w = n.c(w).relu().repeat(1, 1, 2, 2)
    return w.reshape(b, 3, 3, 8, 4, 4).permute(0, 3, 1, 4, 2, 5).reshape(b, 8, 12, 12)


def _halves(n: Any, x: Tensor) -> Tensor:
    w = x.reshape(2 * x.shape[0], 4, 12, 12)
    return F.max_pool2d(n.b(w), 3, 1, 1).reshape(x.shape[0], 8, 12, 12)


def _attention(n: Any, x: Tensor) -> Tensor:
    t = x.flatten(2).transpose(1, 2)
    return F.scaled_dot_product_attention(t, t, t).transpose(1, 2).reshape(x.shape)


def _spectrum(n: Any, x: Tensor) -> Tensor:
    phase = torch.polar(torch.ones(7), torch.linspace(0, 1, 7))
    return torch.fft.irfft2(torch.fft.rfft2(x) * phase.to(torch.complex64), s=x.shape[-2:])


def _mixed(n: Any, x: Tensor) -> Tensor:
    z = torch.fft.rfft2(x)
    return torch.fft.irfft2(torch.complex(n.se(z.real), z.imag), s=x.shape[-2:])


def _tokens(n: Any, x: Tensor) -> Tensor:
    z = torch.fft.fft2(x) + x
    z = z.reshape(z.shape[0], 8, -1).permute(0, 2, 1).reshape(-1, 8, 12, 12)
    return torch.fft.ifft2(z).abs()


def _rolled(n: Any, x: Tensor) -> Tensor:
    z = torch.fft.fft2(x)
    return torch.fft.ifft2(torch.cat([z[:, 4:], z[:, :4].flip(1)], 1).roll(1, 2)).real


def _pairs(n: Any, x: Tensor) -> Tensor:
    z = torch.view_as_complex(torch.stack([x, 2 * x], -1)) * (1 + 2j)
    return torch.view_as_real(z).sum(-1)


def _excited(n: Any, x: Tensor) -> Tensor:
    return x * n.se(x.mean((2, 3), keepdim=True)).sigmoid()


#: Copies and views; windows in the batch; complex values; operations whose derivative depends on the layout; others.
FORMS: dict[str, Form] = {
    "assigned": _assigned(_first), "added in place": _assigned(_added), "erased": _assigned(_erased),
    "column": _assigned(_column), "channel": _assigned(_channel), "spread": _assigned(_spread),
    "indexed": _assigned(_indexed), "masked": _assigned(_masked), "filled": _assigned(_filled),
    "interleaved": _interleaved, "shifted": _shifted, "copied": _copied,
    "windows": _windows, "halves": _halves, "attention": _attention,
    "spectrum": _spectrum, "mixed": _mixed, "tokens": _tokens, "rolled": _rolled, "pairs": _pairs,
    "real and imaginary": lambda n, x: (lambda z: z.real + z.imag / 2)(torch.fft.fft2(x)),
    "instance norm": lambda n, x: F.instance_norm(x), "group norm": lambda n, x: F.group_norm(x, 4),
    "layer norm": lambda n, x: F.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2),
    "response norm": lambda n, x: F.local_response_norm(x, 3), "batch norm": lambda n, x: n.bn(x).relu(),
    "normalised": lambda n, x: F.normalize(x, dim=1), "cumulated": lambda n, x: x.cumsum(1),
    "root": lambda n, x: x.sqrt(), "largest, spread": lambda n, x: x.max(3)[0][..., None] * torch.linspace(0.5, 1, 12),
    "sorted": lambda n, x: x.sort(1)[0], "strongest": lambda n, x: x.topk(4, 1)[0].repeat(1, 2, 1, 1),
    "rounded": lambda n, x: x + x.round(), "median": lambda n, x: x - x.median(1, keepdim=True)[0],
    "resized": lambda n, x: F.interpolate(x, scale_factor=1.5, mode="bicubic"),
    "unfolded": lambda n, x: F.fold(F.unfold(x, 3, padding=1), (12, 12), 3, padding=1),
    "shuffled": lambda n, x: F.pixel_unshuffle(x[:, :2], 2), "excited": _excited,
    "residual": lambda n, x: torch.cat([n.b(x[:, :4]).relu() + x[:, 4:], x[:, :4]], 1),
    "padded": lambda n, x: F.max_pool2d(F.pad(x, (1, 2, 0, 1)), 3, 2),
    "gelu": lambda n, x: F.gelu(n.se(x)), "swish": lambda n, x: (lambda h: h * h.sigmoid())(n.se(x)),
    "pooled": lambda n, x: F.lp_pool2d(x + 1, 2, 2), "adaptive": lambda n, x: F.adaptive_max_pool2d(x, 5),
}  # fmt: skip
if torch.__version__.startswith("2.6."):  # its export has no transform of real values for a batch of any size
    del FORMS["spectrum"], FORMS["mixed"]

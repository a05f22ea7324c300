"""The quality of signal estimators: how much a linear function of the distractor still tells of the output.

rho(S) = 1 - max over v of corr(w^T x, v^T (x - S(x))) (Kindermans et al. 2018, eq. 1). The paper finds v by gradient
descent, neuron by neuron, in a day for each estimator. Here it is in closed form: for all estimators considered, the
distractor is d = x - a_1 y_1 - ... with one or two vectors a and functions y of the output (the linear ones: a y; the
two-component one: a_+ y where the unit is active, a_- y elsewhere). So its covariance is that of x, which all units of
a layer share, and a correction of rank two or four, and one factorisation serves every unit and estimator (Woodbury).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from convscope_core.arguments import argument_kind, is_number, require_choice, require_counts
from convscope_core.datasets import Images
from convscope_core.errors import ArgumentError
from convscope_core.graph.node import Node
from convscope_core.jobs.forms import documented
from convscope_core.jobs.loading import loaded
from convscope_core.network import Layer, Network
from convscope_core.patterns.estimate import Patterns
from convscope_core.patterns.estimators import direction
from convscope_core.patterns.neurons import Neurons, neurons_of
from convscope_core.plots import axes, draws_figure
from convscope_core.precision import full_precision

__all__ = ["MEASURED", "SignalQuality", "signal_quality"]

#: The estimators whose quality can be measured. The identity has no distractor, and so none.
MEASURED = ("random", "filter", "linear", "two_component")


@argument_kind("Make one with signal_quality(net, patterns, images).")
@dataclass(frozen=True, eq=False, repr=False)
class SignalQuality:
    """The criterion rho of Kindermans et al. (2018, eq. 1) for units of every layer.

    1 where nothing linear about the output is left in what the estimator calls distractor, 0 where all is.

    Attributes
    ----------
    rho : mapping of (str, str) to float64 array (units,)
        By layer and estimator, in the order of `units`; NaN for a unit that has no signal direction (dead) or an output
        that does not vary.
    units : mapping of str to int64 array
        The units of each layer that were measured.
    estimators : tuple of str
        "random", "filter" (S_w), "linear" (S_a), "two_component" (S_a+-).
    target, regime : str
        See `signal_quality`.
    images : int
        Pictures: half of them to fit v, half to measure.
    network, fingerprint : str
    """

    rho: Mapping[tuple[str, str], npt.NDArray[np.float64]]
    units: Mapping[str, npt.NDArray[np.int64]]
    estimators: tuple[str, ...]
    target: str
    regime: str
    images: int
    network: str
    fingerprint: str

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers, in execution order."""
        return tuple(self.units)

    def mean(self, layer: str, estimator: str) -> float:
        """Return the mean over a layer's units, those that have none left out; NaN where none has."""
        found = self.rho[layer, estimator]
        return float(np.nanmean(found)) if np.isfinite(found).any() else float("nan")

    def __repr__(self) -> str:
        wide = max(map(len, self.layers), default=5)
        lines = [
            f"Signal quality of {self.network}, {self.images} pictures, target {self.target}, regime {self.regime}",
            f"{'layer':<{wide}}  " + "  ".join(f"{name:>13}" for name in self.estimators),
        ]
        for layer in self.layers:
            values = "  ".join(f"{self.mean(layer, name):>13.3f}" for name in self.estimators)
            lines.append(f"{layer:<{wide}}  {values}")
        return "\n".join(lines)

    @draws_figure
    def plot(self) -> Any:
        """Draw the mean quality of each estimator per layer, as in the paper's figure 3."""
        figure, panel = axes((max(4.0, 0.35 * len(self.layers) + 2), 3.2))
        for name in self.estimators:
            panel.plot([self.mean(layer, name) for layer in self.layers], marker="o", markersize=3, label=name)
        panel.set_xticks(range(len(self.layers)), self.layers, rotation=90, fontsize=7)
        panel.set_ylabel("quality ρ")
        panel.set_ylim(-0.02, 1.02)
        panel.legend(fontsize=8)
        return figure


@documented
def signal_quality(
    net: Network,
    patterns: Patterns | None,
    images: Any,
    layers: str | Layer | Iterable[str | Layer] | None = None,
    estimators: Sequence[str] | None = None,
    *,
    target: str = "pre",
    regime: str = "all",
    units: int = 64,
    samples: int = 2048,
    ridge: float = 1e-3,
    seed: int = 0,
    batch_size: int = 8,
    progress: bool = True,
) -> SignalQuality:
    """Measure how good signal estimators are, layer by layer (Kindermans et al. 2018, eq. 1 and fig. 3).

    Of the pictures, every second is used to find v and the others to measure the correlation, none of them to fit
    patterns: give pictures that `patterns` were not fitted on. A negative correlation on those counts as none.

    Taken literally (the defaults), the criterion cannot tell S_a from S_a+-: both leave a distractor that does not
    covary with the output, by construction, so that both are near 1 and what is missing is the error of having fitted
    on other pictures. The paper does not say which variant its figure 3 shows; with ``target="relu"`` or
    ``regime="positive"`` the two differ. Say which was used when quoting numbers.

    Parameters
    ----------
    net
    patterns : Patterns or None
        For "linear" (regime "all") and "two_component" (regimes "positive" and "negative").
    images
        At least four.
    layers
        Two-dimensional convolutions, transposed ones too, and linear layers; by default all of them. Sums and pools are
        not measured. A unit of a transposed convolution has a neuron for each phase of the stride; its quality is the
        mean over those.
    estimators : sequence of str, optional
        Of "random", "filter" (S_w), "linear" (S_a), "two_component" (S_a+-). Default: those that the patterns allow.
    target : {"pre", "relu"}, default "pre"
        What v^T d is to be correlated with: the output before the rectifier, as in the equation, or after it.
    regime : {"all", "positive"}, default "all"
        Over which samples: all, as in the equation, or those where the unit is active.
    units : int, default 64
        Units of each layer, drawn at random; fewer where it has fewer.
    samples : int, default 2048
        Positions of each layer, over all pictures of a half, drawn at random. A linear layer has one for each picture.
    ridge : float, default 1e-3
        What is added to the diagonal of the covariance, as a share of its mean: with fewer samples than inputs v is not
        determined otherwise.
    seed : int, default 0
        For units, positions and random directions.
    batch_size, progress

    Returns
    -------
    SignalQuality

    Raises
    ------
    ArgumentError
        When an argument is out of range, a layer that was asked for is of a kind that is not measured, the patterns
        belong to other weights or lack a layer or regime, or there are too few pictures.
    ImageError, LayerError
        When pictures or layers do not exist.
    """
    require_choice("target", target, ("pre", "relu"))
    require_choice("regime", regime, ("all", "positive"))
    require_counts(units=units, samples=samples, batch_size=batch_size)
    number: Any = ridge
    if not is_number(number) or not 0 < number < float("inf"):
        raise ArgumentError(f"Expected ridge as a number greater than 0, got {ridge!r}. For example 1e-3.")
    if patterns is not None:
        patterns.require(net)
    found = neurons_of(net, layers)
    kinds = ("conv", "conv_transpose")
    chosen = [n for n in found if n.kind == "linear" or (n.kind in kinds and n.weight.dim() == 4)]
    if layers is not None and len(chosen) < len(found):
        other = next(n for n in found if n not in chosen)
        raise ArgumentError(
            f"Expected two-dimensional convolutions and linear layers, got {other.name!r}, which is "
            f"{other.node.kind}. Their signal quality is not measured: leave it out, or leave out layers=."
        )
    if not chosen:
        raise ArgumentError("Expected at least one two-dimensional convolution or linear layer, got none.")
    names = _allowed(chosen, patterns) if estimators is None else tuple(estimators)
    for name in names:
        require_choice("estimators", name, MEASURED)
    pictures = Images.of(images)
    generator = torch.Generator().manual_seed(seed)
    drawn = {n.name: torch.randperm(n.outputs, generator=generator)[:units].sort().values for n in chosen}
    directions = {
        (n.name, name): [u.double() for u in _directions(n, name, patterns, seed)] for n in chosen for name in names
    }  # refused here, before anything is computed
    halves = [_Half(net, chosen, pictures[part::2], samples, generator) for part in (0, 1)]
    total = len(pictures)
    with tqdm(desc="signal quality", unit="image", total=total, disable=not progress) as bar:
        for half in halves:
            half.collect(batch_size, bar)
    rho: dict[tuple[str, str], npt.NDArray[np.float64]] = {}
    for n in chosen:
        phases = [
            _layer(n, taps, drawn[n.name], names, directions, [half.of(n, k) for half in halves], target, regime, ridge)
            for k, taps in enumerate(_phases(n))
            if all(half.has(n, k) for half in halves)
        ]
        rho |= {(n.name, name): _mean([values[name] for values in phases], len(drawn[n.name])) for name in names}
    return SignalQuality(
        rho=rho,
        units={n.name: drawn[n.name].numpy() for n in chosen},
        estimators=names,
        target=target,
        regime=regime,
        images=sum(half.images for half in halves),
        network=net.name,
        fingerprint=net.fingerprint,
    )


def _directions(n: Neurons, estimator: str, patterns: Patterns | None, seed: int) -> list[Tensor]:
    """The vectors of an estimator: one, or a_+ and a_-."""
    if estimator != "two_component":
        return [direction(n, estimator, patterns, seed)]
    found = [None if patterns is None else patterns.fitted(n.name, regime) for regime in ("positive", "negative")]
    if found[0] is None or found[1] is None:
        raise ArgumentError(
            f"Expected patterns of the regimes 'positive' and 'negative' of {n.name!r} for the quality of the "
            "two-component estimator. fit_patterns(net, images, regime=('positive', 'negative', 'all')) fits all."
        )
    return [found[0], found[1]]


def _allowed(layers: Sequence[Neurons], patterns: Patterns | None) -> tuple[str, ...]:
    found = []
    for name in MEASURED:
        try:
            for n in layers:
                _directions(n, name, patterns, 0)
        except ArgumentError:
            continue
        found.append(name)
    return tuple(found)


#: The taps of the kernel that an output reads, along rows and along columns.
_Taps: TypeAlias = tuple[Tensor, Tensor]


def _phases(n: Neurons) -> list[_Taps]:
    """Return the taps that the neurons of a unit have, by phase of the stride; all, where it has one neuron."""
    if n.kind != "conv_transpose":
        sizes = n.weight.shape[2:] if n.kind == "conv" else (1, 1)
        return [(torch.arange(sizes[0]), torch.arange(sizes[1]))]
    along = []
    for axis in (0, 1):
        places = torch.arange(n.weight.shape[2 + axis]) * n.node["dilation"][axis] - n.node["padding"][axis]
        stride = n.node["stride"][axis]
        along.append([(places % stride == first).nonzero().flatten() for first in range(stride)])
    return [(rows, columns) for rows in along[0] for columns in along[1]]


def _mean(found: Sequence[npt.NDArray[np.float64]], units: int) -> npt.NDArray[np.float64]:
    """Return the mean over phases, those without a quality left out; NaN where none has one."""
    if not found:
        return np.full(units, np.nan)
    known = np.isfinite(found)
    total = np.where(known, found, 0.0).sum(0)
    return np.where(known.any(0), total / np.maximum(known.sum(0), 1), np.nan)


class _Half:
    """Samples of every layer's inputs from one half of the pictures."""

    def __init__(
        self, net: Network, layers: Sequence[Neurons], images: Images, samples: int, generator: torch.Generator
    ) -> None:
        self.net = net
        self.layers = {n.node: n for n in layers}
        self.pictures = images
        self.each = -(-samples // max(1, len(images)))
        self.generator = generator
        self.images = 0
        self.rows: dict[tuple[str, int], list[Tensor]] = defaultdict(list)

    def collect(self, batch_size: int, bar: Any) -> None:
        def visit(node: Node, value: Tensor, inputs: Sequence[Tensor]) -> None:
            n = self.layers[node]
            if n.kind == "linear":
                self.rows[n.name, 0].append(inputs[0].reshape(-1, inputs[0].shape[-1]).cpu().clone())
                return
            for phase, taps in enumerate(_phases(n)):
                found = _patches(n, phase, taps, inputs[0], value.shape[2:], self.each, self.generator)
                if found is not None:
                    self.rows[n.name, phase].append(found.cpu())

        indices, done = range(len(self.pictures)), 0
        for batch in loaded(self.net.preprocessing, self.pictures, indices, batch_size, 0):
            if batch.x is not None:
                with full_precision(self.net.device):
                    self.net.visit_nodes(batch.x.to(self.net.device), self.layers, visit)
                self.images += len(batch.numbers)
            bar.update(batch.record.visited - done)
            done = batch.record.visited
        if self.images < 2:
            raise ArgumentError(
                f"Expected at least four pictures that can be read, two to find v and two to measure; a half has "
                f"{self.images}. The more the better: a linear layer has one sample a picture."
            )

    def has(self, n: Neurons, phase: int) -> bool:
        """Tell whether the neurons of a phase have inputs."""
        return (n.name, phase) in self.rows

    def of(self, n: Neurons, phase: int) -> Tensor:
        """(samples, channels, *taps), or (samples, inputs), float64."""
        return torch.cat(self.rows[n.name, phase]).double()


def _patches(
    n: Neurons, phase: int, taps: _Taps, x: Tensor, size: Sequence[int], each: int, generator: torch.Generator
) -> Tensor | None:
    """What neurons at random positions of each picture read: (pictures * each, channels, *taps); None for nothing."""
    node = n.node
    count = len(x) * each
    index = []
    around: list[int] = []
    for axis in (0, 1):
        padding, stride, dilation = (node[name][axis] for name in ("padding", "stride", "dilation"))
        transposed = n.kind == "conv_transpose"
        first = (phase % node["stride"][1] if axis else phase // node["stride"][1]) if transposed else 0
        outputs = len(range(first, size[axis], stride)) if transposed else size[axis]
        if not outputs or not len(taps[axis]):
            return None
        drawn = torch.randint(outputs, (count, 1), generator=generator) * stride + first
        read = taps[axis] * dilation
        places = (drawn + padding - read).div(stride, rounding_mode="floor") if transposed else drawn - padding + read
        before, after = max(0, -int(places.min())), max(0, int(places.max()) - x.shape[2 + axis] + 1)
        around = [before, after, *around]
        index.append((places + before).to(x.device))
    x = F.pad(x, around)
    which = torch.arange(len(x), device=x.device).repeat_interleave(each)
    found: Tensor = x[which[:, None, None], :, index[0][:, :, None], index[1][:, None, :]]
    return found.permute(0, 3, 1, 2).contiguous()


def _layer(
    n: Neurons,
    taps: _Taps,
    units: Tensor,
    names: Sequence[str],
    directions: Mapping[tuple[str, str], list[Tensor]],
    halves: Sequence[Tensor],
    target: str,
    regime: str,
    ridge: float,
) -> dict[str, npt.NDArray[np.float64]]:
    """Rho of the drawn units of one layer, of one phase of its stride, for each estimator."""

    def read(values: Tensor) -> Tensor:
        return (values if n.kind == "linear" else values[:, :, taps[0]][..., taps[1]]).flatten(1)

    found = {name: np.full(len(units), np.nan) for name in names}
    w, b = read(n.weight.detach().cpu().double()), n.bias.detach().cpu().double()
    each = n.outputs // n.groups
    for group in range(n.groups):
        places = (units // each == group).nonzero().flatten()
        if not len(places):
            continue
        mine = units[places]
        width = n.weight.shape[1]
        x = [h.flatten(1) if n.groups == 1 else h[:, group * width : (group + 1) * width].flatten(1) for h in halves]
        y = [rows @ w[mine].T for rows in x]
        gates = [_gates(n, v + b[mine], mine) for v in y]
        # With a regime the samples differ from unit to unit; otherwise all units share them, and the factorisation.
        together = [[i] for i in range(len(mine))] if regime == "positive" else [list(range(len(mine)))]
        for share in together:
            rows = [g[:, share[0]] if regime == "positive" else slice(None) for g in gates]
            parts = [(x[h][rows[h]], y[h][rows[h]][:, share], gates[h][rows[h]][:, share]) for h in (0, 1)]
            if min(len(p[0]) for p in parts) < 3:
                continue
            targets = [(v + b[mine[share]]) * g if target == "relu" else v for _, v, g in parts]
            if not bool((parts[0][0].var(0) > 0).any()):
                continue  # inputs that never vary: there is nothing to correlate
            solver = _Ridge(parts[0][0], ridge)
            for name in names:
                vectors = [read(u)[mine[share]] for u in directions[n.name, name]]
                found[name][places[share].numpy()] = _rho(solver, parts, targets, vectors)
    return found


def _gates(n: Neurons, z: Tensor, units: Tensor) -> Tensor:
    """Whether units are active, (samples, units), by their outputs."""
    if not n.through:
        return z > 0
    # A batch norm decides on the sign: it takes all channels.
    whole = torch.zeros(len(z), n.outputs)
    whole[:, units] = z.float()
    shape = whole if n.kind == "linear" else whole[:, :, None, None]
    return (n.gated(shape.to(n.weight.device)).reshape(len(z), -1)[:, units.to(n.weight.device)] > 0).cpu()


class _Ridge:
    """Solves (cov[x] + lambda) v = c for many c, by whichever of inputs and samples there are fewer."""

    def __init__(self, x: Tensor, ridge: float) -> None:
        self.mean = x.mean(0)
        self.x = x - self.mean
        samples, inputs = x.shape
        self.shade = ridge * float(self.x.square().sum() / samples / inputs)
        self.dual = samples < inputs
        gram = (self.x @ self.x.T if self.dual else self.x.T @ self.x) / samples
        gram.diagonal().add_(self.shade)
        self.factor = torch.linalg.cholesky(gram)

    def solve(self, c: Tensor) -> Tensor:
        """(inputs, k) -> (inputs, k)."""
        if not self.dual:
            return torch.cholesky_solve(c, self.factor)
        inner = torch.cholesky_solve(self.x @ c, self.factor)
        return (c - self.x.T @ inner / len(self.x)) / self.shade

    def covariance(self, y: Tensor) -> Tensor:
        """Covariance of x with functions y (samples, k) of the same samples: (inputs, k)."""
        return self.x.T @ (y - y.mean(0)) / len(y)


def _rho(
    solver: _Ridge,
    parts: Sequence[tuple[Tensor, Tensor, Tensor]],
    targets: Sequence[Tensor],
    vectors: Sequence[Tensor],
) -> npt.NDArray[np.float64]:
    """Rho of units (U) that share samples, for an estimator with r vectors (U, inputs)."""
    count, units = len(vectors), parts[0][1].shape[1]
    # The functions of the output that the vectors are multiplied by: y, or its active and its inactive part.
    outputs = [[y] if count == 1 else [y * g, y * ~g] for _, y, g in parts]
    a = torch.stack(list(vectors), -1)  # (U, inputs, r)
    flat = torch.stack(outputs[0], -1)  # (samples, U, r)
    g = solver.covariance(flat.flatten(1)).unflatten(1, (units, count)).permute(1, 0, 2)  # type: ignore[no-untyped-call]
    centred, aim = flat - flat.mean(0), targets[0] - targets[0].mean(0)
    inner = torch.einsum("sur,suq->urq", centred, centred) / len(flat)  # cov[y_r, y_q]
    beside = torch.einsum("sur,su->ur", centred, aim) / len(flat)  # cov[y_r, target]
    c = solver.covariance(targets[0]).T - torch.einsum("uir,ur->ui", a, beside)  # cov[d, target]
    # cov[d] = cov[x] + U N U^T with U = (a, g), N = ((inner, -1), (-1, 0)).
    u = torch.cat([a, g], -1)
    eye = torch.eye(count, dtype=u.dtype).expand(units, count, count)
    inverse = torch.cat([torch.cat([torch.zeros_like(eye), -eye], 2), torch.cat([-eye, -inner], 2)], 1)
    right = torch.cat([u, c[..., None]], -1)
    solved = solver.solve(right.permute(1, 0, 2).flatten(1)).unflatten(1, (units, -1)).permute(1, 0, 2)  # type: ignore[no-untyped-call]
    ku, kc = solved[..., :-1], solved[..., -1]
    small = inverse + u.transpose(1, 2) @ ku
    v = kc - (ku @ torch.linalg.solve(small, torch.einsum("uik,ui->uk", u, kc)[..., None]))[..., 0]
    rows = parts[1][0] - parts[1][0].mean(0)
    seen = rows @ v.T - torch.einsum("sur,ur->su", torch.stack(outputs[1], -1), torch.einsum("uir,ui->ur", a, v))
    rho = 1 - _correlation(seen, targets[1]).clamp(min=0)
    live = (a[..., 0] != 0).any(1)
    return torch.where(live, rho, float("nan")).numpy()


def _correlation(a: Tensor, b: Tensor) -> Tensor:
    """Of columns; NaN where b does not vary, 0 where a does not."""
    a, b = a - a.mean(0), b - b.mean(0)
    below = a.norm(dim=0) * b.norm(dim=0)
    found = torch.where(below > 0, (a * b).sum(0) / torch.where(below > 0, below, 1.0), 0.0)
    return torch.where(b.norm(dim=0) > 0, found, float("nan"))

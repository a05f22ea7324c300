"""What a transformation makes of a picture: pixels that move, in a margin; and colours that change."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from convscope_core.experiments.invariance.colours import recoloured
from convscope_core.experiments.invariance.frame import Frame
from convscope_core.experiments.invariance.moves import Move, middle, moved
from convscope_core.experiments.invariance.transforms import GEOMETRIC, KINDS
from convscope_core.network import Network

__all__ = ["Varied"]


class Varied:
    """Makes transformed pictures for a network.

    Normalisation is an affine map of each channel, and the weights of a resampling sum to one: so pixels are moved in
    network space, which is the same as before normalisation and leaves those that are not resampled as they are, to the
    bit. Colours are changed before normalisation.

    Parameters
    ----------
    net : Network
    fill : str
        See `frame.checked_fill`.
    margin : int
    seed : int
    """

    def __init__(self, net: Network, fill: str, margin: int, seed: int = 0) -> None:
        self.frame = Frame(net.preprocessing, fill, margin)
        self.size = net.input_shape[1:]
        self.seed = seed
        self._net = net
        black, white = (net.to_network(torch.full((net.input_shape[0], 1, 1), level)) for level in (0.0, 1.0))
        self._bounds = black, white

    def clean(self, canvas: Tensor) -> Tensor:
        """Return the picture (1, C, H, W) as it is."""
        return middle(canvas, self.size)

    def moved(self, canvas: Tensor, moves: Sequence[Move]) -> Tensor:
        """Move a picture (1, C, H + 2 m, W + 2 m): (moves, C, H, W)."""
        black, white = (bound.to(canvas) for bound in self._bounds)
        return moved(canvas, self.size, moves, (black, white))

    def __call__(self, canvas: Tensor, name: str, values: Sequence[float], image: int = 0) -> Tensor:
        """Transform a picture.

        Parameters
        ----------
        canvas : Tensor (1, C, H + 2 m, W + 2 m)
            See `Frame.prepare`.
        name : str
        values : sequence of float
        image : int
            The picture's number, which with the seed decides about noise.

        Returns
        -------
        Tensor (values, C, H, W)
            In network space; the picture itself, to the bit, for the value that changes nothing.
        """
        x = self.clean(canvas)
        places = [k for k, value in enumerate(values) if value != KINDS[name].identity]
        found = x.repeat(len(values), 1, 1, 1)
        if places:
            chosen = [float(values[k]) for k in places]
            if name in GEOMETRIC:
                made = self.moved(canvas, [_move(name, value) for value in chosen])
            else:
                colours = recoloured(self._net.to_rgb(x), name, chosen, (self.seed, image))
                made = self._net.to_network(colours).to(x)
            found[places] = made
        return found


def _move(name: str, value: float) -> Move:
    if name == "shift_y":
        return Move(down=value)
    if name == "shift_x":
        return Move(right=value)
    return Move(scale=value) if name == "scale" else Move(angle=value)

"""From a picture to the network's input and back: resize, crop, normalise each channel.

Any callable is taken as preprocessing. What it does to values is found by giving it black, white and grey
pictures; that makes it possible to show what the network sees, and to paint into its input in known colours.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import pickle
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from convscope_core.datasets import Picture
from convscope_core.errors import ConvscopeError, ImageError, NetworkError
from convscope_core.images import ImageLike, read_image

__all__ = ["Preprocess", "Preprocessing"]

Preprocess: TypeAlias = Callable[[PIL.Image.Image], Any]

#: Greatest departure from an affine map, relative to the range from black to white.
_TOLERANCE = 1e-3

#: Greatest difference, as a share of the range of values, between what prepares pictures alike...
_EXACT = 1e-5

#: ...and between machines, where its settings are the same.
_ROUNDED = 1.5 / 255

#: Width and height of a picture that is large, whatever the network takes.
_LARGE = (640, 480)


class Preprocessing:
    """What is done to a picture before the network gets it.

    Parameters
    ----------
    function : callable or None
        From a PIL picture (RGB, or grey where the network takes one channel) to a tensor (C, H, W). None:
        scale and centre-crop to the input size (bilinear), values between 0 and 1.
    shape : tuple of int
        (C, H, W) that the network takes.

    Attributes
    ----------
    mean, std : tensor
        (C, 1, 1) float32: network input = (colour - mean) / std with colours between 0 and 1.

    Raises
    ------
    NetworkError
        If the function fails, gives another shape, is not deterministic, or treats values otherwise.
    """

    def __init__(self, function: Preprocess | None, shape: tuple[int, int, int]) -> None:
        self.shape = shape
        self.function = function
        self.mode = "L" if shape[0] == 1 else "RGB"
        self.mean = torch.zeros(shape[0], 1, 1)
        self.std = torch.ones(shape[0], 1, 1)
        self._known: tuple[str | None, dict[str, Any]] | None = None
        if function is not None:
            with torch.random.fork_rng([]):
                self._probe()

    def prepare(self, image: ImageLike | Picture) -> torch.Tensor:
        """Return a picture, or a tensor in network space, as (1, C, H, W) float32.

        Raises
        ------
        ImageError
            See `convscope_core.images.read_image`; also for tensors of the wrong shape and values that are
            not finite.
        """
        source: ImageLike = image.image if isinstance(image, Picture) else image
        if isinstance(source, torch.Tensor) and source.is_floating_point():
            return self._checked(source).cpu()
        if self.function is None and self.shape[0] not in (1, 3):
            raise ImageError(
                f"Expected a float tensor {self.shape} for a network of {self.shape[0]} channels, got a "
                f"{type(source).__name__}. Give the network a preprocess function that makes one of a picture."
            )
        picture = read_image(source, self.mode)
        x = self._apply(picture)
        if x.shape != self.shape:
            raise ImageError(
                f"Expected the preprocessing to give shape {self.shape}, got {tuple(x.shape)} for this picture of "
                f"{picture.width}×{picture.height}. Let it crop to a fixed size (CenterCrop)."
            )
        return x.unsqueeze(0).cpu()

    def to_network(self, rgb: torch.Tensor) -> torch.Tensor:
        """Return (rgb - mean) / std."""
        return (rgb - self.mean.to(rgb.device)) / self.std.to(rgb.device)

    def to_rgb(self, x: torch.Tensor) -> torch.Tensor:
        """Return x * std + mean, clipped to between 0 and 1."""
        return (x * self.std.to(x.device) + self.mean.to(x.device)).clamp(0, 1)

    @property
    def identity(self) -> dict[str, Any]:
        """What it does to pictures, as JSON holds it; two of them are compared by `difference`.

        Its own description, a digest of its settings where it has some (of how it pickles), and what pictures that are
        full of detail become, at 256 places each: an oblong one, in which normalisation, resizing, cropping and
        interpolation all leave traces; and, at as many places together, an upright, a small and a large one.
        """
        settings: str | None = None
        with contextlib.suppress(Exception):
            settings = hashlib.blake2b(pickle.dumps(self.function, 4), digest_size=8).hexdigest()
        # Somebody may set what the function does while it is in use.
        if self._known is None or self._known[0] != settings:
            self._known = settings, self._identified(settings)
        return dict(self._known[1])

    def _identified(self, settings: str | None) -> dict[str, Any]:
        text = "scaled and cropped, 0 to 1" if self.function is None else repr(self.function)
        found = {
            "description": re.sub(r" at 0x\w+", "", " ".join(text.split()))[:2000],
            "settings": None if " at 0x" in text else settings,  # or it is a name in memory, which says nothing
        }
        if self.function is None and self.shape[0] not in (1, 3):
            return {**found, "values": [], "others": []}  # takes tensors only
        _, h, w = self.shape
        others: list[float] = []
        for size in ((2 * w + 16, 3 * h + 20), (w // 2 + 1, h // 2 + 2), _LARGE):
            x = self._prepared(size)  # zeros where it takes none of that size
            others += _sampled(torch.zeros(self.shape) if x is None else x, 64)
        return {**found, "values": _sampled(self._detailed(), 256), "others": others}

    def _prepared(self, size: tuple[int, int]) -> torch.Tensor | None:
        """Prepare a picture (width, height) that is full of detail; None where that cannot be."""
        rng = np.random.default_rng(0)
        coarse = rng.integers(0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, len(self.mode)), np.uint8)
        pixels = coarse.repeat(4, 0).repeat(4, 1)[: size[1], : size[0]]
        picture = PIL.Image.fromarray(pixels[..., 0] if self.mode == "L" else pixels)
        with contextlib.suppress(ImageError), torch.random.fork_rng([]):
            x = self._apply(picture)
            return x if x.shape == self.shape else None
        return None

    def _detailed(self) -> torch.Tensor:
        """Prepare a picture that is full of detail: oblong, or square where the function takes no other."""
        _, h, w = self.shape
        for size in ((3 * w + 20, 2 * h + 16), (2 * w + 16, 2 * h + 16)):
            x = self._prepared(size)
            if x is not None:
                return x
        raise NetworkError(
            f"Expected preprocess to give shape {self.shape} for a picture of {size[0]}×{size[1]}, got none. Let it "
            "crop to a fixed size (CenterCrop)."
        )

    @staticmethod
    def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
        """Say in words how two `identity` differ; None where they prepare pictures alike.

        Values that are equal to 1e-5 of their range are alike, whoever made them. Where both have the same settings
        they may differ by one and a half levels of 255, as processors and versions of libraries round.
        """
        # Earlier versions looked at one picture.
        names = [name for name in ("values", "others") if name in one and name in other]
        mine, theirs = (np.concatenate([np.array(each[name], np.float64) for name in names]) for each in (one, other))
        alike = one["settings"] is not None and one["settings"] == other["settings"]
        words = f"{one['description']} and {other['description']}"
        if mine.shape != theirs.shape:
            return words
        if not mine.size:
            return None
        gap = float(np.abs(mine - theirs).max() / max(float(np.ptp(mine)), 1e-12))
        if gap <= _EXACT or (alike and gap <= _ROUNDED):
            return None
        return f"{words}, by up to {gap:.2g} of the range of values"

    def _checked(self, t: torch.Tensor) -> torch.Tensor:
        x = t.detach()
        if x.dim() == 4 and x.shape[0] == 1:
            x = x[0]
        if tuple(x.shape) != self.shape:
            c, h, w = self.shape
            cure = (
                "Its channels are on the last axis: t.permute(2, 0, 1)."
                if tuple(x.shape) == (h, w, c)
                else "Give a batch to net.forward instead."
                if x.dim() == 4
                else "Resize and normalise it first, or give a picture (uint8, PIL or a path)."
            )
            raise ImageError(
                f"Expected a tensor ({c}, {h}, {w}) or (1, {c}, {h}, {w}) in network space, got "
                f"{tuple(t.shape)}. {cure}"
            )
        x = x.to(torch.float32)
        # Any value that is not finite makes the sum so, which takes a tenth of the time; a sum may also be too large.
        if not (math.isfinite(float(x.sum())) or bool(torch.isfinite(x).all())):
            raise ImageError("Expected finite values, got a tensor with NaN or infinity. Replace them first.")
        return x.unsqueeze(0).contiguous()

    def _apply(self, picture: PIL.Image.Image) -> torch.Tensor:
        if self.function is None:
            size = (self.shape[2], self.shape[1])
            if picture.size != size:
                picture = PIL.ImageOps.fit(picture, size, PIL.Image.Resampling.BILINEAR)
            values = torch.from_numpy(np.array(picture)).to(torch.float32) / 255
            return values.unsqueeze(0) if values.dim() == 2 else values.permute(2, 0, 1).contiguous()
        try:
            out = self.function(picture)
        except ConvscopeError:
            raise
        except Exception as e:
            raise ImageError(
                f"Expected preprocess to take a PIL picture ({picture.mode}, "
                f"{picture.width}×{picture.height}), got {type(e).__name__}: {e}. Try it by "
                f"itself: preprocess(PIL.Image.open(path))."
            ) from e
        if not isinstance(out, torch.Tensor) or not out.is_floating_point():
            kind = f"a {out.dtype} tensor" if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
            raise ImageError(
                f"Expected preprocess to return a floating-point tensor (C, H, W), got {kind}. Add "
                "torchvision.transforms.ToTensor() (or .v2.ToDtype(torch.float32, scale=True)) at its end."
            )
        x = out.detach().to("cpu", torch.float32)
        return (x[0] if x.dim() == 4 and x.shape[0] == 1 else x).contiguous()

    def _probe(self) -> None:
        """Find mean and std; refuse what is not an affine map of each channel."""
        _, h, w = self.shape
        size = (2 * w + 16, 2 * h + 16)  # larger than the input, so that cropping does not reach the border
        levels = {}
        for level in (0, 128, 255):
            try:
                x = self._apply(
                    PIL.Image.new(self.mode, size, (level,) * len(self.mode) if self.mode == "RGB" else level)
                )
            except ImageError as e:
                raise NetworkError(str(e)) from e
            if tuple(x.shape) != self.shape:
                cure = f"give input_size={tuple(x.shape)!r}" if x.dim() == 3 else "return one picture (C, H, W)"
                raise NetworkError(
                    f"Expected preprocess to give the shape that the network takes, {self.shape}, got "
                    f"{tuple(x.shape)}. If that is what the network was trained on, {cure}."
                )
            levels[level] = x
        black, grey, white = (levels[v].double().flatten(1) for v in (0, 128, 255))
        span = (white - black).mean(1, keepdim=True)
        slack = _TOLERANCE * span.abs().clamp_min(1e-12)
        flat = all(bool(((v - v.mean(1, keepdim=True)).abs() <= slack).all()) for v in (black, grey, white))
        affine = bool(((grey - (black + span * (128 / 255))).abs() <= slack).all())
        if not (flat and affine and bool((span != 0).all())):
            raise NetworkError(
                "Expected preprocess to normalise every channel by (value - mean) / std after resizing and cropping, "
                f"got {_levels(black)}, {_levels(grey)} and {_levels(white)} for black, grey and white pictures. Leave "
                "out random augmentation, colour and contrast changes (use the validation transform), or give tensors "
                "prepared by yourself with preprocess=None."
            )
        self._refuse_chance(size)
        self.std = (1 / span).float()[:, :, None]
        self.mean = (-black.mean(1, keepdim=True) / span).float()[:, :, None]

    def _refuse_chance(self, size: tuple[int, int]) -> None:
        ramp = torch.linspace(0, 255, size[0]).round().byte().expand(size[1], -1).contiguous()
        picture = PIL.Image.fromarray(ramp.numpy()).convert(self.mode)
        first = self._apply(picture)
        if any(not torch.equal(first, self._apply(picture)) for _ in range(3)):
            raise NetworkError(
                "Expected preprocess to give the same result for the same picture, got another each time. Leave out "
                "random crops, flips and other augmentation: use the transform for validation."
            )


def _sampled(x: torch.Tensor, count: int) -> list[float]:
    """Return the values at places that are drawn, the same for all of a size."""
    flat = x.flatten()
    places = torch.from_numpy(np.random.default_rng(0).integers(0, len(flat), count))
    return [round(v, 6) for v in flat[places].tolist()]


def _levels(x: torch.Tensor) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in x.mean(1).tolist()) + "]"

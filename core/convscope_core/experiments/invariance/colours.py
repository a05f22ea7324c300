"""Pictures whose pixels stay where they are: blurred, brighter, of other contrast or hue, noisy, compressed."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from convscope_core.occlusion.fills import blurred

__all__ = ["recoloured"]


def recoloured(rgb: Tensor, name: str, values: Sequence[float], seed: tuple[int, int]) -> Tensor:
    """Change a picture's colours.

    Parameters
    ----------
    rgb : Tensor (1, C, H, W)
        Between 0 and 1.
    name : str
        A transformation.
    values : sequence of float
    seed : pair of int
        Of noise, which is one draw a picture, scaled by each value.

    Returns
    -------
    Tensor (values, C, H, W)
        Between 0 and 1.
    """
    if name == "noise":
        drawn = np.random.default_rng(seed).standard_normal(rgb.shape, np.float32)
        noise = torch.from_numpy(drawn).to(rgb)
        return torch.cat([rgb + value * noise for value in values]).clamp(0, 1)
    return torch.cat([_changed(rgb, name, value) for value in values]).clamp(0, 1)


def _changed(rgb: Tensor, name: str, value: float) -> Tensor:
    if name == "blur":
        return blurred(rgb, value)
    if name == "brightness":
        return rgb * value
    if name == "contrast":
        grey = tv.rgb_to_grayscale(rgb) if rgb.shape[1] == 3 else rgb
        mean = grey.mean()
        return mean + value * (rgb - mean)
    if name == "hue":
        turned: Tensor = tv.adjust_hue(rgb, value / 360)
        return turned
    levels = (rgb[0] * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    file = io.BytesIO()
    PIL.Image.fromarray(levels if levels.shape[2] == 3 else levels[..., 0]).save(file, "JPEG", quality=round(value))
    decoded = np.array(PIL.Image.open(file)).reshape(levels.shape)
    return torch.from_numpy(decoded).permute(2, 0, 1)[None].to(rgb) / 255

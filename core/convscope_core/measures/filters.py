"""Measures of the weights of filters."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from convscope_core.errors import ArgumentError

__all__ = ["energy_profile", "patch_components", "root_mean_square"]


def root_mean_square(weight: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the root of the mean square of each filter's weights.

    Zeiler & Fergus (2014, sec. 3) bound it by 0.1 in every convolution while they train.

    Parameters
    ----------
    weight : array (filters, ...)

    Returns
    -------
    float64 array (filters,)
    """
    values = np.asarray(weight, np.float64)
    if values.ndim < 2:
        raise ArgumentError(f"Expected the weights of filters, (filters, ...), got shape {values.shape}.")
    return np.asarray(np.sqrt(np.square(values.reshape(len(values), -1)).mean(1)))


def patch_components(patches: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Find the principal components of patches of pictures.

    Parameters
    ----------
    patches : array (n, channels, height, width)
        As the network takes them; more than one.

    Returns
    -------
    components : float64 array (d, d)
        A column each, of length 1, the one along which patches vary most first; d = channels * height * width. The
        largest entry of each is positive.
    variances : float64 array (d,)
        Of the patches along each, descending.
    """
    x = np.asarray(patches, np.float64)
    if x.ndim != 4 or len(x) < 2 or not np.isfinite(x).all():
        raise ArgumentError(f"Expected at least two patches (n, C, h, w) of finite values, got shape {x.shape}.")
    flat = x.reshape(len(x), -1)
    flat = flat - flat.mean(0)
    variances, components = np.linalg.eigh(flat.T @ flat / len(flat))
    variances, components = variances[::-1].clip(min=0), components[:, ::-1]
    largest = np.take_along_axis(components, np.abs(components).argmax(0)[None], 0)
    return components * np.sign(largest), variances


def energy_profile(
    weight: npt.ArrayLike, components: npt.NDArray[np.float64], initial: npt.ArrayLike | None = None
) -> npt.NDArray[np.float64]:
    """Measure how much of what first-layer filters have learnt lies along each principal component of patches.

    Chowers & Weiss (What do CNNs Learn in the First Layer and Why?, ICML 2023): the change of the weights since they
    were drawn, projected on the components; the root of the sum of squares over the filters, divided by their number,
    scaled to 1 at its largest. It is alike across architectures and even for random labels, so a full coverage of
    frequencies says little about meaning.

    Parameters
    ----------
    weight : array (filters, channels, height, width)
    components : float64 array (d, d)
        See `patch_components`.
    initial : array like `weight`, optional
        The weights before training. Default: zeros.

    Returns
    -------
    float64 array (d,)
        0 to 1; all 0 where nothing has changed.
    """
    w = np.asarray(weight, np.float64)
    before = np.zeros_like(w) if initial is None else np.asarray(initial, np.float64)
    if w.ndim != 4 or before.shape != w.shape or components.shape[:1] != (w[0].size,):
        raise ArgumentError(
            f"Expected filters (n, C, h, w), initial ones of the same shape, and components of C * h * w numbers, got "
            f"shapes {w.shape}, {before.shape} and {components.shape}."
        )
    energy = np.sqrt(np.square((w - before).reshape(len(w), -1) @ components).sum(0)) / len(w)
    return np.asarray(energy / (energy.max() or 1.0))

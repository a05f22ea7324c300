"""Measures that experiments share: pure functions on arrays, each with its source."""

from __future__ import annotations

from convscope_core.measures.cka import Gram, cka, cka_matrix, gram
from convscope_core.measures.dormancy import dormant
from convscope_core.measures.extent import energy_box
from convscope_core.measures.filters import energy_profile, patch_components, root_mean_square
from convscope_core.measures.sets import jaccard
from convscope_core.measures.spectra import coverage, energy_above, frequencies, orientation, radial_spectrum

__all__ = [
    "Gram",
    "cka",
    "cka_matrix",
    "coverage",
    "dormant",
    "energy_above",
    "energy_box",
    "energy_profile",
    "frequencies",
    "gram",
    "jaccard",
    "orientation",
    "patch_components",
    "radial_spectrum",
    "root_mean_square",
]

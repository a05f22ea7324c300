"""Explanation methods, each a small table of rules on the reverse walk of the graph or a call into Captum."""

from __future__ import annotations

# Importing a method's file registers it.
from convscope_core.explain import deconvnet, gradient, guided_backprop, input_times_gradient  # noqa: F401
from convscope_core.explain.attribution import (
    Attribution,
    MethodInfo,
    MethodList,
    Target,
    attribute,
    attribute_tensor,
    methods,
)
from convscope_core.explain.control import randomised, similarity

__all__ = [
    "Attribution",
    "MethodInfo",
    "MethodList",
    "Target",
    "attribute",
    "attribute_tensor",
    "methods",
    "randomised",
    "similarity",
]

"""Explanation methods, each a small table of rules on the reverse walk of the graph or a call into Captum."""

from __future__ import annotations

# Importing a method's file registers it.
from convscope_core.explain import (  # noqa: F401
    deconvnet,
    deep_taylor,
    grad_cam,
    gradient,
    guided_backprop,
    input_times_gradient,
    integrated_gradients,
    lrp,
    patterned,
    smoothgrad,
)
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
from convscope_core.explain.effective import EffectiveField, effective_field
from convscope_core.explain.projection import Projection, Unit, project, project_many, projecting

__all__ = [
    "Attribution",
    "EffectiveField",
    "MethodInfo",
    "MethodList",
    "Projection",
    "Target",
    "Unit",
    "attribute",
    "attribute_tensor",
    "effective_field",
    "methods",
    "project",
    "project_many",
    "projecting",
    "randomised",
    "similarity",
]

"""Occlusion: what a network predicts for a picture of which a part is covered."""

from __future__ import annotations

from convscope_core.occlusion.box import Size, clip
from convscope_core.occlusion.fills import FILLS, Fill, fill_name
from convscope_core.occlusion.occluder import Occlusion
from convscope_core.occlusion.preview import Preview
from convscope_core.occlusion.result import OcclusionResult
from convscope_core.occlusion.shapes import SHAPES, Outline, Shape, box_mask, checked_shape, shape_name
from convscope_core.occlusion.sweep import occluding_map, occlusion_map

__all__ = [
    "FILLS",
    "SHAPES",
    "Fill",
    "Occlusion",
    "OcclusionResult",
    "Outline",
    "Preview",
    "Shape",
    "Size",
    "box_mask",
    "checked_shape",
    "clip",
    "fill_name",
    "occluding_map",
    "occlusion_map",
    "shape_name",
]

"""convscope: a microscope for convolutional networks, inside the notebook.

>>> import convscope as cs
>>> net = cs.load("efficientnet_lite0")         # doctest: +SKIP
>>> cs.Explorer(net, images="photos/")          # doctest: +SKIP
"""

from importlib.metadata import PackageNotFoundError, version

from convscope_core.datasets import Images, Picture, sample, sample_images
from convscope_core.errors import (
    ArgumentError,
    ConvscopeError,
    ExecutorError,
    ImageError,
    LayerError,
    NetworkError,
    StoreError,
    TraceError,
)
from convscope_core.evolution import (
    Checkpoint,
    Checkpoints,
    EvolutionRecorder,
    EvolutionResult,
    evolution,
    evolving,
)
from convscope_core.experiments import (
    Ablation,
    Comparison,
    ConsistencyResult,
    CorrespondenceResult,
    Degradation,
    FilterHealth,
    InvarianceResult,
    Probes,
    SignScores,
    ablating,
    ablation,
    compare,
    comparing,
    consistency,
    correspondence,
    corresponding,
    degradation,
    degrading,
    filter_health,
    invariance,
    measuring_consistency,
    measuring_filters,
    measuring_invariance,
    probe,
    probing,
)
from convscope_core.explain import (
    Attribution,
    EffectiveField,
    MethodInfo,
    Projection,
    Unit,
    attribute,
    effective_field,
    methods,
    project,
    project_many,
    projecting,
    randomised,
    similarity,
)
from convscope_core.images import read_image
from convscope_core.models import AlexNet2012, MeanSubtraction, ZFNet, initialise, load, shapes_checkpoints
from convscope_core.network import Layer, Network, Prediction
from convscope_core.occlusion import OcclusionResult, occluding_map, occlusion_map
from convscope_core.patterns import Patterns, SignalQuality, fit_patterns, fitting_patterns, signal_quality
from convscope_core.shapes import Shapes, ShapesTruth
from convscope_core.survey import Exemplar, HealthTable, Survey, layer_health, load_survey, survey, surveying
from convscope_core.training import (
    FilterSizes,
    LabelledPictures,
    Training,
    clip_filters,
    filter_sizes,
    lightning_callback,
    train,
    training,
)

from .charts import degradation_chart, quality_chart
from .compare_view import Compare
from .correspondence_view import Correspondence
from .evolution_view import Evolution
from .explorer import Explorer
from .filters import FilterGrid
from .gallery import Gallery
from .health_view import HealthView
from .invariance_view import Invariance
from .maps import OcclusionMap
from .occluder import Occluder
from .pattern_report import PatternReport
from .unit import UnitPanel

try:
    __version__ = version("convscope")
except PackageNotFoundError:  # pragma: no cover - a source tree that was never installed
    __version__ = "0+unknown"

__all__ = [
    "Ablation",
    "AlexNet2012",
    "ArgumentError",
    "Attribution",
    "Checkpoint",
    "Checkpoints",
    "Compare",
    "Comparison",
    "ConsistencyResult",
    "ConvscopeError",
    "Correspondence",
    "CorrespondenceResult",
    "Degradation",
    "Evolution",
    "EvolutionRecorder",
    "EffectiveField",
    "EvolutionResult",
    "ExecutorError",
    "Exemplar",
    "Explorer",
    "FilterGrid",
    "FilterHealth",
    "FilterSizes",
    "Gallery",
    "HealthTable",
    "HealthView",
    "ImageError",
    "Images",
    "Invariance",
    "InvarianceResult",
    "LabelledPictures",
    "Layer",
    "LayerError",
    "MeanSubtraction",
    "MethodInfo",
    "Network",
    "NetworkError",
    "Occluder",
    "OcclusionMap",
    "OcclusionResult",
    "PatternReport",
    "Patterns",
    "Picture",
    "Prediction",
    "Probes",
    "Projection",
    "Shapes",
    "ShapesTruth",
    "SignScores",
    "SignalQuality",
    "StoreError",
    "Survey",
    "TraceError",
    "Training",
    "Unit",
    "UnitPanel",
    "ZFNet",
    "ablating",
    "ablation",
    "attribute",
    "clip_filters",
    "compare",
    "comparing",
    "consistency",
    "correspondence",
    "corresponding",
    "degradation",
    "degradation_chart",
    "degrading",
    "effective_field",
    "evolution",
    "evolving",
    "filter_health",
    "filter_sizes",
    "fit_patterns",
    "fitting_patterns",
    "initialise",
    "invariance",
    "layer_health",
    "lightning_callback",
    "load",
    "load_survey",
    "measuring_consistency",
    "measuring_filters",
    "measuring_invariance",
    "methods",
    "occluding_map",
    "occlusion_map",
    "probe",
    "probing",
    "project",
    "project_many",
    "projecting",
    "quality_chart",
    "randomised",
    "read_image",
    "sample",
    "sample_images",
    "shapes_checkpoints",
    "signal_quality",
    "similarity",
    "survey",
    "surveying",
    "train",
    "training",
]

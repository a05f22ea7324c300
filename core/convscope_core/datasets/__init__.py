"""Pictures to look at: folders, lists, torch data sets, and the photographs that come with scikit-image."""

from typing import Any

from convscope_core.datasets._cropped import Crops
from convscope_core.datasets._sources import Chain, Chosen, Files, Given, natural
from convscope_core.datasets._torch_dataset import TorchDataset
from convscope_core.datasets.labels import WrittenLabel, described, find_classes
from convscope_core.datasets.picture import Picture
from convscope_core.datasets.samples import sample, sample_images
from convscope_core.datasets.sequence import Images

__all__ = ["Images", "Picture", "WrittenLabel", "described", "find_classes", "natural", "sample", "sample_images"]

#: By the names in pickles of `Images` from before this package: it was one module.
_FORMER = {
    "_Given": Given,
    "_Files": Files,
    "_Dataset": TorchDataset,
    "_Chosen": Chosen,
    "_Chain": Chain,
    "_Crops": Crops,
}


def __getattr__(name: str) -> Any:
    if name in _FORMER:
        return _FORMER[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

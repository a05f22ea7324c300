"""Pictures to look at: folders, lists, torch data sets, and the photographs that come with scikit-image."""

from convscope_core.datasets._sources import natural
from convscope_core.datasets.labels import WrittenLabel, described, find_classes
from convscope_core.datasets.picture import Picture
from convscope_core.datasets.samples import sample, sample_images
from convscope_core.datasets.sequence import Images

__all__ = ["Images", "Picture", "WrittenLabel", "described", "find_classes", "natural", "sample", "sample_images"]

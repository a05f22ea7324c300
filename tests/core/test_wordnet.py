"""Folders that have WordNet's ids for names."""

from __future__ import annotations

from importlib.resources import files

import pytest
import torch
from torch import nn

from convscope_core.datasets import Picture
from convscope_core.errors import ArgumentError
from convscope_core.network import Network
from convscope_core.survey import survey
from convscope_core.wordnet import class_name, class_names

IDS = ["n01440764", "n01824575", "n15075141"]


def test_ids_are_those_of_timm_in_the_order_of_the_outputs() -> None:
    info = pytest.importorskip("timm.data").ImageNetInfo()
    from torchvision.models import ResNet18_Weights

    names = ResNet18_Weights.DEFAULT.meta["categories"]
    ids = info.label_names()
    assert [class_name(one) for one in ids] == names
    assert (files("convscope_core") / "imagenet_ids.txt").read_text().split() == [one[1:] for one in ids]


def test_other_labels_stay_and_no_two_have_one_name() -> None:
    assert [class_name(one) for one in (*IDS, "n00000000", "n1", "coucal", "")] == [
        "tench", "coucal", "toilet tissue", "n00000000", "n1", "coucal", "",
    ]  # fmt: skip
    assert class_names(["n01824575", "coucal", "n01440764"]) == {
        "n01824575": "n01824575", "coucal": "coucal", "n01440764": "tench",
    }  # fmt: skip


def test_a_survey_and_a_network_take_the_id_and_say_the_name() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 2)).eval()
    net = Network(module, input_size=8, labels=["coucal", "tench"])
    pictures = [Picture(torch.rand(3, 8, 8), f"{n}", IDS[n % 2]) for n in range(12)]
    found = survey(net, pictures, progress=False)
    assert found.labels == ("tench", "coucal")
    assert [found.label(n) for n in range(2)] == ["tench", "coucal"]
    assert found.classes("0").labels == found.comparable == found.labels
    assert found.units("n01824575") == found.units("coucal") != []
    preferred = {one.label for channel in range(6) for one in found.preferences("0", channel)}
    assert preferred <= set(found.labels)
    assert found.images[0].label == IDS[0]  # what a picture is called is not changed, nor what identifies it
    assert [net.class_index(one) for one in ("n01824575", "coucal", "n01440764")] == [0, 0, 1]
    with pytest.raises(ArgumentError, match="'n15075141'"):
        net.class_index("n15075141")

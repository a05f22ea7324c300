"""What benchmarks share: the machine they ran on, how far runs went apart, networks with random weights."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import torch
import torchvision


def described() -> str:
    """Cores, processor, torch and its threads, in one line."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":")[1].strip() if models else name
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} cores of {name}, torch {torch.__version__}, {torch.get_num_threads()} threads, {device}"


def spread(values: Sequence[float], digits: int) -> str:
    """Median of some runs, with the lowest and the highest."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def random_network(name: str) -> torch.nn.Module:
    """Return a torchvision classifier with random weights and running statistics, the same each time."""
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None).eval()
    for m in module.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 1.5)
    return module

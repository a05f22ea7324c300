"""What every test shares: reproducible randomness, hypothesis profiles, the reference numbers."""

from __future__ import annotations

import gc
import os
import random
from pathlib import Path
from typing import Any

# The networks of the tests are small, and the tests run in as many processes as there are cores: threads would wait for
# one another longer than they compute. The variable is for the processes that tests start (kernels, pools, clusters).
os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings

from convscope_core import compiled

ROOT = Path(__file__).resolve().parent.parent

torch.set_num_threads(1)


def pytest_configure(config: pytest.Config) -> None:
    """Compile before there are several processes that would, each, while a test's time goes by."""
    if not hasattr(config, "workerinput"):
        for step in compiled.STEPS:
            compiled.of_use(step, torch.zeros(1))


settings.register_profile("dev", deadline=None, max_examples=50)
settings.register_profile(
    "ci",
    max_examples=50,
    deadline=None,  # the first call into a torch operator may take a second
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci" if os.environ.get("CI") else "dev"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each process a file at a time: the browser's first, for they take longest.

    A file is whole so that what its tests share is made once. xdist's own groups do nothing under pytest 9.2.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return nodeid.partition("::")[0]

    config.option.loadscopereorder = False  # in the order of collection, which begins with the browser's
    return Files(config, log)


def pytest_collection_finish() -> None:
    """Take what is there before the first test out of what Python looks through for garbage.

    The modules of PyTorch and thousands of tests are a million objects, and every collection would take half a second.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _reproducible() -> None:
    """Start every test from the same random state, whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  the legacy generator is the one that libraries draw from
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _global_state_of_torch_is_left_alone():
    """Fail a test after which torch computes differently for everybody else."""
    before = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    yield
    after = (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled())
    assert after == before, "the test or the code under test changed torch's threads, dtype or grad mode"


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def reference() -> Path:
    """Numbers that others computed or published; README.md there says who."""
    return ROOT / "tests" / "reference"

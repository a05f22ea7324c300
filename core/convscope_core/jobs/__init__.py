"""Long work over many pictures: cut into shards, computed anywhere, kept in memory or a file, merged in one order.

A new pass over pictures is a `Job`, which states what it accumulates and what it makes of that, and a function that
checks its arguments and returns `begin(job, ...)`; `completed` makes the form in one go of it.
"""

from __future__ import annotations

from convscope_core.jobs.forms import completed, documented, last
from convscope_core.jobs.job import Check, Job
from convscope_core.jobs.ledger import Ledger, Skipped
from convscope_core.jobs.parts import Part
from convscope_core.jobs.run import Progress, begin, load

__all__ = [
    "Check",
    "Job",
    "Ledger",
    "Part",
    "Progress",
    "Skipped",
    "begin",
    "completed",
    "documented",
    "last",
    "load",
]

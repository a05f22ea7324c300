"""Long work over many pictures: cut into shards, computed anywhere, kept in memory or a file, merged in one order."""

from __future__ import annotations

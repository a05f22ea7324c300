"""A network as a graph of operations, and the walks over it."""

from __future__ import annotations

from convscope_core.graph.forward import Runner
from convscope_core.graph.node import Graph, ModuleCall, Node
from convscope_core.graph.trace import trace

__all__ = ["Graph", "ModuleCall", "Node", "Runner", "trace"]

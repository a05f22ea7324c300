"""The columns of a gallery: which methods of explanation a network supports, and why not the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from convscope_core.errors import ArgumentError
from convscope_core.explain import methods as all_methods
from convscope_core.explain.method import GROUPS, Method, Plan, TableMethod, find
from convscope_core.graph.backward import EXTENSIONS
from convscope_core.network import Network

__all__ = ["arranged", "takes_many_passes"]

#: Methods shown by default.
COLUMNS = 8


def arranged(
    net: Network,
    names: Sequence[str] | None,
    extended: Collection[str],
    options: Mapping[str, Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Find out what a network supports.

    Parameters
    ----------
    net : Network
    names : sequence of str or None
        The methods asked for; None for all.
    extended : collection of str
        Methods to extend to operations that they have no rule for.
    options : mapping of str to mapping
        Options of methods.

    Returns
    -------
    columns, refused : list of dict
        What the front end knows of each method: those that are shown, and those that are not, with a "reason".
    """
    columns: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    every = [method.name for method in all_methods(net)]
    asked = every if names is None else names
    for name in sorted(asked, key=lambda name: GROUPS.index(find(name).group)):
        column = column_of(net, name, name in extended, options.get(name, {}))
        (refused if "reason" in column else columns).append(column)
    if names is None and len(columns) > COLUMNS:
        # Those that take long give way first.
        wanted = (*extended, *options)
        order = sorted(columns, key=lambda c: c["name"] not in wanted and takes_many_passes(find(c["name"])))
        for column in order[COLUMNS:]:
            columns.remove(column)
            refused.append(_not_shown(column))
    for name in every if names is not None else ():
        # What was not asked for and is possible can be added; why the rest is not was not asked.
        column = column_of(net, name, name in extended, options.get(name, {})) if name not in asked else {"reason": ""}
        if "reason" not in column:
            refused.append(_not_shown(column))
        elif column.get("kind") == "patterns":
            refused.append(column)
    return columns, refused


def _not_shown(column: Mapping[str, Any]) -> dict[str, Any]:
    reason = f"At most {COLUMNS} are shown by themselves; methods=[...] chooses."
    return {**column, "reason": reason, "extension": None, "kind": "more"}


def column_of(net: Network, name: str, extend: bool, options: Mapping[str, Any]) -> dict[str, Any]:
    """What the front end knows of a method; with a "reason" where the network does not support it."""
    method = find(name)
    settings = method.settings(options)
    column: dict[str, Any] = {"name": name, "group": method.group, "summary": method.source, "extended": None}
    try:
        plan = plan_of(net, method, settings)
    except (ArgumentError, ImportError) as error:
        extension = possible_extension(net, method, settings)
        if extension is None or not extend:
            lacking = "patterns" in method.options and settings.get("patterns") is None
            kind = "missing" if isinstance(error, ImportError) else "patterns" if lacking else "network"
            return {**column, "reason": str(error), "kind": kind, "extension": extension}
        settings = {**settings, "extension": extension}
        plan = plan_of(net, method, settings)
    if plan.extended:  # "how" is None where the method's own table has a rule that is not the paper's
        kinds = Counter(node.kind for node in plan.extended)
        where = ", ".join(f"{kind} (×{count})" if count > 1 else kind for kind, count in kinds.items())
        column["extended"] = {"how": settings["extension"], "where": where}
    return column


def plan_of(net: Network, method: Method, settings: Mapping[str, Any]) -> Plan:
    """A method's plan for the class scores of a network; `ArgumentError` where it has no rule."""
    return method.begin_scores(net, settings)


def possible_extension(net: Network, method: Method, settings: Mapping[str, Any]) -> str | None:
    """The first extension with which a method would be possible."""
    if settings.get("extension", "") is not None:
        return None
    for extension in EXTENSIONS:
        try:
            plan_of(net, method, {**settings, "extension": extension})
        except (ArgumentError, ImportError):
            continue
        return extension
    return None


def takes_many_passes(method: Method) -> bool:
    """Whether a method takes many passes through the network; a table of rules takes one there and one back."""
    return not isinstance(method, TableMethod)

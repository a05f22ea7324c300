"""The two forms of long work, step by step and in one go, written once; and the descriptions that all of it shares.

The definition is a function that returns a generator: `documented` fills its docstring in, `completed` derives from it
the form that runs to the end, with the same signature and docstring, and a progress bar.
"""

from __future__ import annotations

import inspect
import re
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Any, ParamSpec, TypeVar

from tqdm.auto import tqdm

from convscope_core.arguments import door

__all__ = ["SHARED", "completed", "documented", "last", "shown"]

Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
F = TypeVar("F", bound=Callable[..., Any])

SHARED = """
net : Network
image : path, bytes, PIL image, array or tensor
    What `Network.prepare` takes.
images : Images, or what `Images.of` takes
    The pictures.
layers : str, Layer or several of them
    By name, alias or object.
store : path
    A file in which every shard that is done is kept. If the process dies, the same call goes on where it stopped; when
    all is there, it only reads. Pictures that could not be read are tried again. It is refused for another network,
    preprocessing, pictures, labels or settings than it was made with. Several processes may share it.
executor : executor
    Computes the shards in other processes or on other machines: anything with the interface of
    `concurrent.futures.Executor` whose tasks are pickled (a process pool, MPI, submitit), or a dask client. Network
    and pictures go along; files have to be readable there under the same paths. A shard whose worker dies is
    tried again. Give each process its share of the cores (``torch.set_num_threads``) where several run on one
    machine.
shards : int
    In how many pieces the pictures are cut. A store keeps those that it was made with.
resume : bool
    Go on from a store that exists. False: refuse one that has results already.
batch_size : int
    Images a forward pass.
workers : int
    Processes that decode and prepare pictures (of `torch.utils.data.DataLoader`). 0: threads of this one.
seed : int
    Seed of all numbers that are drawn.
progress : bool
    Show a progress bar, with what is done a second and the time left.
"""
"""Parameters that mean the same in all long work, in numpydoc without defaults."""

_ORDER = ("", "Parameters", "Returns", "Yields", "Raises", "See Also", "Notes", "References", "Examples")


def documented(function: F) -> F:
    """Make a door of a function: with numbers of NumPy and torch as Python's, and its docstring filled in.

    That is with the parameters that all long work shares, and the defaults of those.

    In its section of parameters a name without a type, or several of them on a line, stands for the shared description;
    text below it is added to that.

    Raises
    ------
    LookupError
        When there is no shared description of such a name.
    """
    if function.__doc__ is not None:  # there is none under python -OO
        sections = _sections(inspect.cleandoc(function.__doc__))
        sections["Parameters"] = _filled(sections["Parameters"], inspect.signature(function))
        function.__doc__ = _joined(sections)
    return door(function)


def completed(
    steps: Callable[Q, Iterator[S]], name: str, returns: type[R], result: Callable[[Iterator[S]], R]
) -> Callable[Q, R]:
    """Derive the form in one go from the form step by step.

    Parameters
    ----------
    steps : callable
        Gives the steps; `documented`. If it has a parameter `progress`, the new form shows a progress bar by default.
    name : str
        Name of the new form, in the module of `steps`.
    returns : type
        What it returns.
    result : callable
        Makes that of the steps, such as ``lambda steps: last(steps).result``.

    Returns
    -------
    callable
        With the signature and the docstring of `steps`.
    """
    signature = inspect.signature(steps)

    def complete(*args: Q.args, **kwargs: Q.kwargs) -> R:
        if "progress" in signature.parameters:
            kwargs.setdefault("progress", True)
        try:
            begun = steps(*args, **kwargs)
        except TypeError:
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:  # that would speak of the other form
                raise TypeError(f"{name}() {error}") from None
            raise
        return result(begun)

    kind = re.sub(r"[\w.]+\.", "", inspect.formatannotation(returns))
    parameters = [p.replace(default=True) if p.name == "progress" else p for p in signature.parameters.values()]
    doc = steps.__doc__
    if doc is not None:
        sections = _sections(doc)
        sections.pop("Yields")
        sections["Returns"] = [kind]
        sections["See Also"] = [f"{steps.__name__} : The same step by step, to watch or to stop."]
        sections["Parameters"] = [line.replace(*_BAR) for line in sections["Parameters"]]
        doc = _joined(sections)
    complete.__name__ = complete.__qualname__ = name
    complete.__module__ = steps.__module__
    complete.__doc__ = doc
    complete.__annotations__ = {**steps.__annotations__, "return": kind}
    complete.__signature__ = signature.replace(parameters=parameters, return_annotation=kind)  # type: ignore[attr-defined]
    return complete


_BAR = ("progress : bool, default False", "progress : bool, default True")


def last(steps: Iterable[S]) -> S:
    """Return the last step; none before it is kept."""
    (step,) = deque(steps, maxlen=1)
    return step


def shown(
    steps: Generator[S, None, None], label: str, unit: str, reached: Callable[[S], tuple[int, int]]
) -> Generator[S, None, None]:
    """Show a progress bar while steps are taken.

    Parameters
    ----------
    steps : generator
    label, unit : str
        What is done, and what is counted.
    reached : callable
        How much is done after a step, and of how much.
    """
    with closing(steps), tqdm(desc=label, unit=unit) as bar:
        for step in steps:
            done, bar.total = reached(step)
            bar.update(done - bar.n)
            yield step


def _sections(doc: str) -> dict[str, list[str]]:
    """Split a numpydoc docstring into its sections; what is before the first has no title."""
    found: dict[str, list[str]] = {"": []}
    title, lines = "", doc.splitlines()
    for number, line in enumerate(lines):
        after = lines[number + 1] if number + 1 < len(lines) else ""
        if line and after == "-" * len(line):
            title = line
            found[title] = []
        elif not (title and not found[title] and line == "-" * len(title)):
            found[title].append(line)
    return {title: "\n".join(lines).strip("\n").splitlines() for title, lines in found.items()}


def _joined(sections: dict[str, list[str]]) -> str:
    titles = [*(title for title in _ORDER if title in sections), *(title for title in sections if title not in _ORDER)]
    return "\n\n".join("\n".join([*([title, "-" * len(title)] if title else []), *sections[title]]) for title in titles)


def _entries(lines: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Split a section of parameters into headers and the lines below each."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        if line and not line.startswith(" "):
            found.append((line, []))
        elif found:
            found[-1][1].append(line)
    return found


def _filled(lines: Iterable[str], signature: inspect.Signature) -> list[str]:
    filled = []
    for header, own in _entries(lines):
        if " : " in header or header.startswith("*"):
            filled += [header, *own]
            continue
        for name in header.split(", "):
            if name not in _SHARED:
                raise LookupError(
                    f"Expected the type of the parameter {name!r}, or one of those that all long work shares: "
                    f"{', '.join(_SHARED)}. Write '{name} : type', and a description below."
                )
            kind, text = _SHARED[name]
            default = signature.parameters[name].default
            if default is not inspect.Parameter.empty:
                kind += ", optional" if default is None else f", default {default!r}"
            filled += [f"{name} : {kind}", *text, *own]
    return filled


_SHARED = {
    name: (kind, text)
    for header, text in _entries(SHARED.strip().splitlines())
    for name, kind in [re.split(" : ", header, maxsplit=1)]
}

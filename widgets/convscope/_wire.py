"""The door for what comes over the wire and into traits: nothing behind it meets rubbish.

Three rules. A message's fields are those that its answer declares, or traits of the instrument, and have their types;
what is missing, or wrong, is an `ArgumentError` that says so. A trait that refuses a value keeps the old one, whoever
sets it, and however. And what only the kernel knows, the front end cannot set.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import numpy as np
import traitlets

from convscope_core.arguments import plain_number
from convscope_core.errors import ArgumentError

__all__ = ["Choice", "Message", "Real", "Value", "Whole", "fields", "plain", "refusing"]


# ---- traits


class Whole(traitlets.Int):
    """A whole number; unlike ``Int`` it takes no bool."""

    info_text = "a whole number"

    def validate(self, obj: Any, value: Any) -> int | None:
        """Refuse True and False, which Python counts as 1 and 0."""
        value = plain_number(value)
        if isinstance(value, bool):
            self.error(obj, value)
        return super().validate(obj, value)


class Real(traitlets.Float):
    """A finite number; unlike ``Float`` it takes no bool, and no NaN, which compares with no bound."""

    info_text = "a finite number"

    def validate(self, obj: Any, value: Any) -> float | None:
        """Refuse what is not finite."""
        value = plain_number(value)
        if isinstance(value, bool) or (isinstance(value, (int, float)) and not abs(value) <= sys.float_info.max):
            self.error(obj, value)
        return super().validate(obj, value)


class Choice(traitlets.Enum):
    """One of several words; unlike ``Enum`` it compares no arrays with them."""

    def validate(self, obj: Any, value: Any) -> str | None:
        """Refuse what is no text."""
        if not isinstance(value, str):
            self.error(obj, value)
        return super().validate(obj, value)


class Value(traitlets.TraitType):
    """Whatever its validator takes; unlike ``Any``, None is seen by that, too."""

    info_text = "a value"


@contextmanager
def refusing() -> Iterator[None]:
    """Make every error a `TraitError` as well, the one that makes traitlets put the old values back."""
    try:
        yield
    except traitlets.TraitError:
        raise
    except Exception as error:
        kind: type = type(error)
        raise _refusal(kind)(*error.args) from error


@cache
def _refusal(kind: type) -> type[Exception]:
    return type(kind.__name__, (kind, traitlets.TraitError), {"__module__": kind.__module__, "__doc__": kind.__doc__})


# ---- messages

Method = TypeVar("Method", bound=Callable[..., Any])


def fields(**declared: traitlets.TraitType[Any, Any]) -> Callable[[Method], Method]:
    """Declare the fields of a message, beside those that are traits of the instrument.

    >>> @fields(channel=Whole(min=0))
    ... def _answer_unit(self, content): ...
    """

    def declare(method: Method) -> Method:
        method.fields = declared  # type: ignore[attr-defined]
        return method

    return declare


class Message(Mapping[str, Any]):
    """The fields of a message, which have been checked.

    ``content[name]`` of a field that did not come is an `ArgumentError`, ``content.get(name)`` is None. A field that is
    null has come only where null is a value of it. Those that are neither declared nor traits cannot be asked for.

    Parameters
    ----------
    kind : str
        Of the message, for errors.
    content : mapping
        What came.
    declared : mapping of str to TraitType
        The fields that there may be.
    owner : HasTraits
        Whose message it is.
    """

    def __init__(
        self, kind: str, content: Mapping[str, Any], declared: Mapping[str, Any], owner: traitlets.HasTraits
    ) -> None:
        self._kind = kind
        self._known = declared
        self._fields: dict[str, Any] = {}
        for name, trait in self._known.items():
            value = content.get(name)
            if value is None and (name not in content or not trait.allow_none):
                continue
            self._fields[name] = self._checked(name, trait, value, owner)

    def _checked(self, name: str, trait: Any, value: Any, owner: traitlets.HasTraits) -> Any:
        if value is None:
            return None
        try:
            value = trait.metadata.get("from_json", lambda one, _: one)(value, owner)
            return trait.validate(owner, value) if hasattr(trait, "validate") else value
        except traitlets.TraitError:
            raise ArgumentError(
                f"Expected {name} in a {self._kind!r} message as {trait.info()}, got {value!r:.80}. Reload the page."
            ) from None

    def __getitem__(self, name: str) -> Any:
        if name not in self._known:
            raise LookupError(f"{name!r} of a {self._kind!r} message is not declared: @fields({name}=...)")
        if name not in self._fields:
            raise ArgumentError(f"Expected {name} in a {self._kind!r} message, got none. Reload the page.")
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def get(self, name: str, default: Any = None) -> Any:
        """The value of a field, or `default` where it did not come."""
        return self[name] if name in self._fields or name not in self._known else default

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def plain(value: Any) -> Any:
    """A value as JSON can say it: numbers that are not finite are None there."""
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return value

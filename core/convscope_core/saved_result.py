"""Results that are arrays and settings: said once what each is, from which they are saved, loaded and checked."""

from __future__ import annotations

import dataclasses
import inspect
import math
import types
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Union, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from convscope_core.saving import Damage, opened_result, save_result

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SavedResult", "Values", "require_values", "typed", "types_of"]


class Values(NamedTuple):
    """What an array of a result may hold.

    Attributes
    ----------
    dtype : str
    axes : str
        Names of its axes; of one name all arrays have the same size. A name that is a setting has its length, a number
        is a size itself.
    least, most : float
        Bounds of the values.
    unknown : bool
        Whether some may be NaN: not known.
    """

    dtype: str
    axes: str
    least: float = -math.inf
    most: float = math.inf
    unknown: bool = False


class SavedResult:
    """A frozen dataclass of arrays and settings, with files of its own.

    What is no array is a setting, whose type is the field's. A dotted name in `_arrays` is an array of a dataclass that
    is a field.
    """

    _form: ClassVar[str]
    """What its files are, and in which version."""

    _arrays: ClassVar[Mapping[str, Values]]

    def _sizes(self) -> Mapping[str, int]:
        """Sizes of axes that follow from the settings, beside their lengths."""
        return {}

    def save(self, path: str | Path) -> Path:
        """Write the result to a file (safetensors): all of it, or what was there before stays.

        Raises
        ------
        ArgumentError
            When that is no path of a file, or its folder does not exist.
        StoreError
            When it cannot be written.
        """
        arrays = {name: attrgetter(name)(self) for name in self._arrays}
        return save_result(path, self._form, arrays, {name: getattr(self, name) for name in self._settings()})

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        ArgumentError
            When there is no such file, or it holds something else.
        StoreError
            When it cannot be read, or is damaged.
        """
        with opened_result(path, f"{cls.__name__}.save", (cls._form,)) as (_, arrays, settings):
            hints = types_of(cls)
            wanted = cls._settings()
            if settings.keys() != set(wanted):
                raise Damage(f"settings {', '.join(settings)} where {', '.join(wanted)} are wanted")
            fields: dict[str, Any] = {name: typed(settings[name], hints[name], name) for name in wanted}
            inner: dict[str, dict[str, Any]] = {}
            for name, array in arrays.items():
                head, _, rest = name.partition(".")
                inner.setdefault(head, {})[rest] = array
            for head, group in inner.items():
                fields[head] = hints[head](**group) if "" not in group else group[""]
            found = cls(**fields)
            lengths = {name: len(value) for name, value in fields.items() if isinstance(value, tuple)}
            derived = found._sizes()
            if any(lengths.get(name, size) != size for name, size in derived.items()) or not all(
                size for name, size in lengths.items() if name != "skipped"
            ):
                raise Damage("settings that do not fit together")
            require_values(arrays, cls._arrays, {**lengths, **derived})
            return found

    @classmethod
    def _settings(cls) -> list[str]:
        heads = {name.partition(".")[0] for name in cls._arrays}
        fields: Any = cls
        return [field.name for field in dataclasses.fields(fields) if field.name not in heads]


def require_values(
    arrays: Mapping[str, npt.NDArray[Any]], wanted: Mapping[str, Values], sizes: Mapping[str, int]
) -> None:
    """Raise Damage unless arrays are those that are wanted, fit together, and hold what they may.

    What is not in `sizes` has at least one entry.
    """
    if arrays.keys() != wanted.keys():
        raise Damage(f"arrays {', '.join(arrays)} where {', '.join(wanted)} are wanted")
    known = dict(sizes)
    for name, (dtype, axes, least, most, unknown) in wanted.items():
        array = arrays[name]
        named = axes.split()
        if array.dtype != dtype or array.ndim != len(named):
            raise Damage(f"{name} of {array.dtype} {array.shape} where {dtype} ({axes}) is wanted")
        for axis, size in zip(named, array.shape, strict=True):
            if size != (int(axis) if axis.isdecimal() else known.setdefault(axis, size or -1)):
                raise Damage(f"{name} of {array.shape}, which does not fit the rest, for ({axes})")
        bounded = (array >= least) & (array <= most)
        if not (bounded | np.isnan(array) if unknown else bounded).all():
            raise Damage(f"values of {name} that no result has")


def typed(value: Any, hint: Any, name: str, *, unknown: bool = False) -> Any:
    """Return what JSON holds as what was written: lists as the tuples that they were; Damage where it is another type.

    Parameters
    ----------
    value : anything that JSON holds
    hint : type
        Whole numbers, numbers, text, truth values, tuples of such, named tuples, dataclasses, or None.
    name : str
        What it is, for the message.
    unknown : bool, default False
        Whether a number may be NaN: not known.
    """
    origin, inside = get_origin(hint), get_args(hint)
    made: Any = hint
    if origin in (Union, types.UnionType):
        if value is None and type(None) in inside:
            return None
        (hint,) = (one for one in inside if one is not type(None))
        return typed(value, hint, name, unknown=unknown)
    if isinstance(value, list) and origin is tuple:
        repeated = len(inside) == 2 and inside[1] is Ellipsis
        kinds = inside[:1] * len(value) if repeated else inside
        if len(kinds) == len(value):
            return tuple(typed(one, kind, name, unknown=unknown) for one, kind in zip(value, kinds, strict=True))
    elif isinstance(value, list) and hasattr(hint, "_fields") and len(value) == len(hint._fields):
        return made(**_members(dict(zip(hint._fields, value, strict=True)), hint, name, unknown))
    elif isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return made(**_members(value, hint, name, unknown))
    elif hint is float and type(value) in (int, float) and (math.isfinite(value) or (unknown and math.isnan(value))):
        return float(value)
    elif hint in (int, str, bool) and type(value) is hint:
        return value
    raise Damage(f"{name} that no result has: {value!r:.80}")


def types_of(kind: type) -> dict[str, Any]:
    """Return the type of each field of a dataclass, or of a named tuple, by name.

    Nothing else of the class is evaluated: Python 3.10 cannot evaluate a ``ClassVar`` without brackets, and no version
    a name that is imported for type checkers alone.
    """
    fields: Any = kind
    names = [field.name for field in dataclasses.fields(fields)] if dataclasses.is_dataclass(kind) else fields._fields
    found: dict[str, Any] = {}
    for owner in reversed(kind.__mro__):
        own = {name: hint for name, hint in inspect.get_annotations(owner).items() if name in names}
        found |= get_type_hints(type(owner.__name__, (), {"__annotations__": own, "__module__": owner.__module__}))
    return {name: found[name] for name in names}


def _members(values: Mapping[str, Any], hint: Any, name: str, unknown: bool) -> dict[str, Any]:
    hints = types_of(hint)
    if values.keys() != hints.keys():
        raise Damage(f"{name} that no result has: {', '.join(values)}")
    return {member: typed(values[member], kind, f"{name}.{member}", unknown=unknown) for member, kind in hints.items()}

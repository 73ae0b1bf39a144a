"""Values as plain data, and values from it: the inverse of `dataclasses.asdict`, after JSON. Pure.

In: a type and what JSON made of such a value. Out: the value. A field that the data lacks has its default,
so that what an older version wrote can be read. ValueError or TypeError for data that does not fit.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def value_of(kind: type[T], data: Any) -> T:
    """A value of this dataclass."""
    dataclass: Any = kind
    if not isinstance(data, Mapping):
        raise TypeError(f"{kind.__name__} is no object but {data!r}")
    hints, needed = _fields(dataclass)
    if unknown := data.keys() - hints.keys():
        raise TypeError(f"{kind.__name__} has no {', '.join(sorted(unknown))}")
    if missing := needed - data.keys():
        raise TypeError(f"{kind.__name__} needs {', '.join(sorted(missing))}")
    return kind(**{name: _value(hints[name], one) for name, one in data.items()})


def data_of(value: Any) -> Any:
    """Plain data that `value_of` reads: without what a field's default says, and what does not compare."""
    if is_dataclass(value):
        told = {}
        for one in fields(value):
            found = getattr(value, one.name)
            if one.compare and (one.default is MISSING or found != one.default):
                told[one.name] = data_of(found)
        return told
    return [data_of(one) for one in value] if isinstance(value, tuple) else value


@cache
def _fields(kind: Any) -> tuple[Mapping[str, Any], frozenset[str]]:
    """The types of its fields by name, and which of them have no default."""
    hints = get_type_hints(kind)
    known = {one.name: hints[one.name] for one in fields(kind)}
    needed = (one.name for one in fields(kind) if one.default is MISSING and one.default_factory is MISSING)
    return known, frozenset(needed)


def _value(hint: Any, data: Any) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{data!r} is none of {args}")
        return data
    if origin in (Union, UnionType):
        return _one_of(args, data)
    if origin is tuple:
        return _tuple(args, data)
    if is_dataclass(hint):
        return value_of(hint, data)  # type: ignore[arg-type]
    if hint is float and type(data) is int:
        return data
    if type(data) is not hint:
        raise TypeError(f"{data!r} is no {hint.__name__}")
    return data


def _one_of(kinds: tuple[Any, ...], data: Any) -> Any:
    """Of several types the first that fits: dataclasses are told apart by their fields."""
    if data is None and NoneType in kinds:
        return None
    problems = []
    for kind in kinds:
        try:
            return _value(kind, data)
        except (TypeError, ValueError) as error:
            problems.append(str(error))
    raise TypeError("; ".join(problems))


def _tuple(kinds: tuple[Any, ...], data: Any) -> tuple[Any, ...]:
    if not isinstance(data, list | tuple):
        raise TypeError(f"{data!r} is no list")
    if kinds[-1] is Ellipsis:
        return tuple(_value(kinds[0], one) for one in data)
    return tuple(_value(kind, one) for kind, one in zip(kinds, data, strict=True))

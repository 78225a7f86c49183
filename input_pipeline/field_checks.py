"""Checks of field values against the ranges in a part's signature."""

import dataclasses
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import annotated_types


def check_ranges(
    part: Callable,
    fields: Mapping[str, Any],
    where: str,
    error: type[ValueError] = ValueError,
) -> None:
    """Check values against the annotations of a class or a function.

    Args:
        part: Dataclass or function whose annotations hold ranges, as `Annotated[int,
            Interval(ge=1, le=8)]`, and choices, as `Literal["a", "b"]`.
        fields: Values by name; names without an annotation are ignored.
        where: Section that each line of the message begins with, such as "data"; "" for
            none.
        error: Class of the error.

    Raises:
        ValueError: At least one value is out of range; one line for each.
    """
    hints = typing.get_type_hints(part, include_extras=True)
    prefix = f"{where}." if where else ""
    faults = [
        f"{prefix}{name}: {fault}"
        for name, value in fields.items()
        if name in hints
        for fault in _faults(value, hints[name])
    ]
    if faults:
        raise error("\n".join(faults))


def field_names(part: Callable) -> list[str]:
    """Return the names of a dataclass's fields or of a function's keywords."""
    if dataclasses.is_dataclass(part):
        return [field.name for field in dataclasses.fields(part)]
    return list(part.__kwdefaults__)


def with_defaults(function: Callable, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields completed from a function's defaults; others are dropped."""
    defaults = function.__kwdefaults__
    return {name: fields.get(name, default) for name, default in defaults.items()}


def _faults(value: Any, hint: Any) -> Iterator[str]:
    """Yield "got X; expected Y" for a value that its annotation excludes."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        limits = list(_limits(hint.__metadata__))
        if not all(_holds(value, limit) for limit in limits):
            yield f"got {value!r}; expected {_describe_limits(limits)}"
        else:
            yield from _faults(value, arguments[0])
    elif origin is typing.Literal:
        if value not in arguments:
            yield f"got {value!r}; choices: {', '.join(map(repr, arguments))}"
    elif origin in (typing.Union, types.UnionType):
        faults = [list(_faults(value, argument)) for argument in arguments]
        if value is not None and all(faults):
            yield faults[0][0]
    elif origin is tuple:
        yield from _tuple_faults(value, arguments)


def _tuple_faults(value: Any, arguments: tuple) -> Iterator[str]:
    if not isinstance(value, tuple | list):
        yield f"got {value!r}; expected a tuple"
    elif arguments[-1] is Ellipsis:
        for item in value:
            yield from _faults(item, arguments[0])
    elif len(value) != len(arguments):
        yield f"got {value!r}; expected {len(arguments)} values"
    else:
        for item, argument in zip(value, arguments, strict=True):
            yield from _faults(item, argument)


def _limits(metadata: tuple) -> Iterator[Any]:
    """Yield the single limits of an annotation; an interval has two."""
    for limit in metadata:
        if isinstance(limit, annotated_types.GroupedMetadata):
            yield from limit
        else:
            yield limit


def _holds(value: Any, limit: Any) -> bool:
    try:
        match limit:
            case annotated_types.Gt(gt=bound):
                return value > bound
            case annotated_types.Ge(ge=bound):
                return value >= bound
            case annotated_types.Lt(lt=bound):
                return value < bound
            case annotated_types.Le(le=bound):
                return value <= bound
            case annotated_types.Predicate(func=function):
                return bool(function(value))
    except TypeError:  # a string where a number is expected
        return False
    return True


def _describe_limits(limits: list) -> str:
    match limits:
        case [annotated_types.Ge(ge=low), annotated_types.Le(le=high)]:
            return f"{low} to {high}"
    return " and ".join(_describe(limit) for limit in limits)


def _describe(limit: Any) -> str:
    match limit:
        case annotated_types.Gt(gt=bound):
            return f"more than {bound:g}"
        case annotated_types.Ge(ge=bound):
            return f"at least {bound:g}"
        case annotated_types.Lt(lt=bound):
            return f"less than {bound:g}"
        case annotated_types.Le(le=bound):
            return f"at most {bound:g}"
        case annotated_types.Predicate(func=function):
            return getattr(function, "__doc__", None) or function.__name__
    return str(limit)

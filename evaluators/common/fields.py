"""Config fields of evaluators: common types, and the check of their ranges."""

import dataclasses
import numbers
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import annotated_types
from annotated_types import Interval

SplitName = Literal["train", "validation"]
GalleryName = Literal["train", "validation", "all"]
CutOffs = tuple[Annotated[int, Interval(ge=1, le=65_536)], ...]
QueryCount = Annotated[int, Interval(ge=1, le=1_000_000)]

# Bound of annotated_types -> (symbol, whether a value keeps it).
_BOUNDS = {
    "gt": (">", lambda value, bound: value > bound),
    "ge": (">=", lambda value, bound: value >= bound),
    "lt": ("<", lambda value, bound: value < bound),
    "le": ("<=", lambda value, bound: value <= bound),
}


def check_fields(part: Any) -> None:
    """Raise ValueError if a field of a dataclass breaks its annotation.

    Checked are `Literal` choices, numeric types and the bounds of annotated-types, also
    within tuples.

    Args:
        part: Instance of a dataclass; a field named `context` is passed over.

    Raises:
        ValueError: Names the first such field, its value and what is expected.
    """
    hints = typing.get_type_hints(type(part), include_extras=True)
    for field in dataclasses.fields(part):
        if field.name == "context":
            continue
        value = getattr(part, field.name)
        for expected in _violations(value, hints[field.name]):
            raise ValueError(f"got {field.name}={value!r}; {expected}")


def _violations(value: Any, hint: Any) -> Iterator[str]:
    """Yield what a value should have been, where it breaks its annotation."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        yield from _violations(value, arguments[0])
        yield from _bound_violations(value, arguments)
    elif origin is Literal:
        if value not in arguments:
            yield f"choices: {', '.join(map(repr, arguments))}"
    elif origin is tuple:
        for item in value:
            yield from _violations(item, arguments[0])
    elif origin is None and hint in (int, float, bool, str):
        kinds = {int: numbers.Integral, float: numbers.Real}
        right = isinstance(value, kinds.get(hint, hint))
        if not right or (isinstance(value, bool) and hint is not bool):
            yield f"expected {_type_name(hint)}"
    elif origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            yield "expected a mapping"


def _bound_violations(value: Any, arguments: tuple) -> Iterator[str]:
    intervals = [a for a in arguments[1:] if isinstance(a, annotated_types.Interval)]
    singles = [a for a in arguments[1:] if not isinstance(a, annotated_types.Interval)]
    for constraint in (*(c for interval in intervals for c in interval), *singles):
        for name, (symbol, keeps) in _BOUNDS.items():
            bound = getattr(constraint, name, None)
            if bound is not None and not keeps(value, bound):
                kind = _type_name(arguments[0])
                yield f"expected {kind} {symbol} {bound}"


def _type_name(hint: Any) -> str:
    names = {int: "an integer", float: "a number", bool: "True or False", str: "text"}
    return names.get(hint, "a value")

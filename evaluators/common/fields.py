"""Config fields of evaluators: common types, and the check of their ranges."""

import dataclasses
import numbers
import operator
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import annotated_types
from annotated_types import Interval

SplitName = Literal["train", "validation"]
GalleryName = Literal["train", "validation", "all"]
CutOffs = tuple[Annotated[int, Interval(ge=1, le=65_536)], ...]
QueryCount = Annotated[int, Interval(ge=1, le=1_000_000)]

_BOUNDS = {
    "gt": (">", operator.gt),
    "ge": (">=", operator.ge),
    "lt": ("<", operator.lt),
    "le": ("<=", operator.le),
}
_TYPES = {
    int: (numbers.Integral, "an integer"),
    float: (numbers.Real, "a number"),
    bool: (bool, "True or False"),
    str: (str, "text"),
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
        wrong_type = list(_violations(value, arguments[0]))
        yield from wrong_type or _bound_violations(value, arguments)
    elif origin is Literal:
        if value not in arguments:
            yield f"choices: {', '.join(map(repr, arguments))}"
    elif origin is tuple:
        if not isinstance(value, tuple | list):
            yield "expected a tuple"
            return
        for item in value:
            yield from _violations(item, arguments[0])
    elif origin is None and hint in _TYPES:
        kind, noun = _TYPES[hint]
        is_bool = isinstance(value, bool) and hint is not bool
        if not isinstance(value, kind) or is_bool or value != value:
            yield f"expected {noun}"
    elif origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, Mapping):
            yield "expected a mapping"


def _bound_violations(value: Any, arguments: tuple[Any, ...]) -> Iterator[str]:
    """Yield the first bound of `Annotated[type, *bounds]` that a value breaks."""
    kind, bounds = arguments[0], []
    for metadata in arguments[1:]:
        is_group = isinstance(metadata, annotated_types.GroupedMetadata)
        bounds += list(metadata) if is_group else [metadata]
    for bound in bounds:
        for name, (symbol, holds) in _BOUNDS.items():
            limit = getattr(bound, name, None)
            if limit is not None and not holds(value, limit):
                yield f"expected {_TYPES[kind][1]} {symbol} {limit}"

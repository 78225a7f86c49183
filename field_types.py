"""Types of config fields: check values, read them from text, name near choices.

Ranges and choices stand in the signature of a part, as `Annotated[int, Interval(ge=1)]`
and `Literal["a", "b"]`.
"""

import ast
import collections.abc
import difflib
import math
import numbers
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import annotated_types as at
from ml_collections import ConfigDict

# An `ml_collections.ConfigDict`; type checkers do not know its fields.
Config: TypeAlias = Any
_WORDS = {"true": True, "false": False, "none": None}


def fault(value: Any, annotation: Any) -> str | None:
    """Return what is wrong with a value, `got ...; expected ...`, or None.

    Floats must be finite, also inside tuples; an int is accepted for a float.

    Args:
        value: Value of a field.
        annotation: Its type, with ranges as `Annotated` metadata.
    """
    if fits(value, annotation):
        return None
    return f"got {value!r}; expected {describe(annotation)}"


def check_ranges(
    part: Callable[..., Any],
    values: Mapping[str, Any],
    where: str = "",
    error: type[ValueError] = ValueError,
) -> None:
    """Check values against the ranges and choices in the signature of a part.

    Plain types are not checked, so that programs may pass a path for a string.

    Args:
        part: Class or function with annotations.
        values: Values by name; names without an annotation are ignored.
        where: Section that each line of the message begins with, "" for none.
        error: Class of the error.

    Raises:
        ValueError: Values are out of range, or no choice; one line for each.
    """
    annotations = typing.get_type_hints(part, include_extras=True)
    prefix = f"{where}." if where else ""
    faults = [
        f"{prefix}{name}: got {value!r}; expected {describe(annotations[name])}"
        for name, value in values.items()
        if name in annotations and not fits(value, annotations[name], types_too=False)
    ]
    if faults:
        raise error("\n".join(faults))


def fits(value: Any, annotation: Any, types_too: bool = True) -> bool:
    """Return whether a value has the type of a field and lies in its range.

    Args:
        value: Value of a field.
        annotation: Its type, with ranges as `Annotated` metadata.
        types_too: Check plain types such as `str`, and not ranges and choices alone.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return fits(value, annotation.__origin__) and all(
            _holds(value, rule) for rule in _rules(annotation.__metadata__)
        )
    if annotation is Any:
        return True
    if origin is Literal:
        return value in arguments and type(value) in map(type, arguments)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, argument, types_too) for argument in arguments)
    if annotation in (None, type(None)):
        return value is None
    kind = origin or annotation
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if kind is float:
        return is_number and math.isfinite(value)
    if kind is int:
        return is_number and isinstance(value, numbers.Integral)
    if kind in (bool, str):
        return type(value) is kind or not types_too
    if kind in (tuple, list, collections.abc.Sequence):
        return _fits_sequence(value, arguments, types_too)
    if isinstance(kind, type) and issubclass(kind, Mapping):
        if not isinstance(value, ConfigDict | Mapping):
            return False
        return not arguments or all(
            fits(v, arguments[1], types_too) for v in value.values()
        )
    return True


def _fits_sequence(value: Any, arguments: tuple, types_too: bool) -> bool:
    if not isinstance(value, tuple | list):
        return False
    if not arguments:
        return True
    if len(arguments) == 2 and arguments[1] is Ellipsis or len(arguments) == 1:
        return all(fits(item, arguments[0], types_too) for item in value)
    return len(value) == len(arguments) and all(
        fits(item, argument, types_too)
        for item, argument in zip(value, arguments, strict=True)
    )


def _rules(metadata: tuple) -> list:
    rules = []
    for rule in metadata:
        rules += list(rule) if isinstance(rule, at.GroupedMetadata) else [rule]
    return rules


def _holds(value: Any, rule: Any) -> bool:
    if value is None:
        return True
    tests = {
        at.Gt: lambda: value > rule.gt,
        at.Ge: lambda: value >= rule.ge,
        at.Lt: lambda: value < rule.lt,
        at.Le: lambda: value <= rule.le,
        at.MultipleOf: lambda: value % rule.multiple_of == 0,
        at.MinLen: lambda: len(value) >= rule.min_length,
        at.MaxLen: lambda: len(value) <= rule.max_length,
        at.Predicate: lambda: rule.func(value),
    }
    test = tests.get(type(rule))
    return test is None or bool(test())


def describe(annotation: Any) -> str:
    """Return a type and its range in words, "an int from 1 to 8"."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        words = describe(annotation.__origin__)
        limits = _limits(_rules(annotation.__metadata__))
        return f"{words} {limits}" if limits else words
    if origin is Literal:
        return "a choice of " + ", ".join(repr(choice) for choice in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if annotation in (None, type(None)):
        return "None"
    if origin in (tuple, list):
        items = [argument for argument in arguments if argument is not Ellipsis]
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return f"a tuple, each item {describe(items[0])}"
        if len(set(items)) == 1:
            return f"a tuple of {len(items)}, each {describe(items[0])}"
        each = ", ".join(describe(item) for item in items)
        return f"a tuple of {len(items)}: {each}" if items else "a tuple"
    name = getattr(annotation, "__name__", str(annotation))
    kind = origin or annotation
    if isinstance(kind, type) and issubclass(kind, Mapping):
        name = "section"
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _limits(rules: list) -> str:
    low = next((rule for rule in rules if isinstance(rule, at.Gt | at.Ge)), None)
    high = next((rule for rule in rules if isinstance(rule, at.Lt | at.Le)), None)
    if isinstance(low, at.Ge) and isinstance(high, at.Le):
        return f"from {_number(low.ge)} to {_number(high.le)}"
    words = []
    if isinstance(low, at.Gt):
        words.append(f"above {_number(low.gt)}")
    elif isinstance(low, at.Ge):
        words.append(f"of at least {_number(low.ge)}")
    if isinstance(high, at.Lt):
        words.append(f"below {_number(high.lt)}")
    elif isinstance(high, at.Le):
        words.append(f"{'' if words else 'of '}at most {_number(high.le)}")
    words += [
        f"of at least {rule.min_length} items"
        for rule in rules
        if isinstance(rule, at.MinLen) and rule.min_length
    ]
    return " and ".join(words)


def _number(value: Any) -> str:
    """Return a limit as people write it, without a trailing .0."""
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 1e15
    return str(int(value)) if whole else str(value)


def parse(text: str, annotation: Any, default: Any) -> tuple[Any, str | None]:
    """Read a value from text, such as the command line gives.

    Args:
        text: Text after `--config.name=`.
        annotation: Type of the field.
        default: Value that it replaces; decides where the type is not known.

    Returns:
        The value and None, or None and what is wrong.
    """
    kinds = _kinds(annotation)
    if kinds == {str} or (not kinds and isinstance(default, str)):
        problem = fault(text, annotation)
        return (None, problem) if problem else (text, None)
    value: Any = text
    if text.lower() in _WORDS:
        value = _WORDS[text.lower()]
    else:
        try:
            value = ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            value = text
    if tuple in kinds:
        if isinstance(value, str) and not fits(value, annotation):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        elif isinstance(value, list):
            value = tuple(value)
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = (value,) if not fits(value, annotation) else value
    if float in kinds and type(value) is int:
        value = float(value)
    if int in kinds and float not in kinds and type(value) is float:
        value = int(value) if value.is_integer() else value
    if not kinds and default is not None and annotation is Any:
        if type(value) is not type(default):
            name = type(default).__name__
            article = "an" if name == "int" else "a"
            return None, f"got {text!r}; expected {article} {name} such as {default!r}"
    if not fits(value, annotation):
        return None, f"got {text!r}; expected {describe(annotation)}"
    return value, None


def _kinds(annotation: Any) -> set[type]:
    """Return the plain types that a field may have."""
    if hasattr(annotation, "__metadata__"):
        return _kinds(annotation.__origin__)
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return {type(choice) for choice in arguments}
    if origin in (typing.Union, types.UnionType):
        return set().union(*(_kinds(argument) for argument in arguments))
    kind = origin or annotation
    return {kind} if kind in (int, float, bool, str, tuple) else set()


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `; did you mean 'x'?` for the nearest choice, or an empty string."""
    matches = difflib.get_close_matches(str(name), list(choices), n=1, cutoff=0.5)
    return f"; did you mean {matches[0]!r}?" if matches else ""


def hint(name: str, choices: Sequence[str]) -> str:
    """Return `nearest`, or all choices where none is near."""
    return nearest(name, choices) or f"; choices: {', '.join(choices)}"

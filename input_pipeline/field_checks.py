"""Names and defaults of the fields of a part."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


def field_names(part: Callable[..., Any]) -> list[str]:
    """Return the names of a dataclass's fields or of a function's keywords."""
    if dataclasses.is_dataclass(part):
        return [field.name for field in dataclasses.fields(part)]
    return list(part.__kwdefaults__)


def with_defaults(
    function: Callable[..., Any], fields: Mapping[str, Any]
) -> dict[str, Any]:
    """Return fields completed from a function's defaults; others are dropped."""
    defaults = function.__kwdefaults__
    return {name: fields.get(name, default) for name, default in defaults.items()}

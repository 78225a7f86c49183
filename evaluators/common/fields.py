"""Config fields of evaluators: common types, and the check of their ranges."""

import dataclasses
from typing import Annotated, Any, Literal

from annotated_types import Interval

import field_types

SplitName = Literal["train", "validation"]
GalleryName = Literal["train", "validation", "all"]
CutOffs = tuple[Annotated[int, Interval(ge=1, le=65_536)], ...]
QueryCount = Annotated[int, Interval(ge=1, le=1_000_000)]


def check_fields(part: Any) -> None:
    """Check the fields of a dataclass against the ranges in its signature.

    Args:
        part: Instance of a dataclass; a field named `context` is passed over.

    Raises:
        ValueError: Fields are out of range, or no choice.
    """
    values = {
        field.name: getattr(part, field.name) for field in dataclasses.fields(part)
    }
    values.pop("context", None)
    field_types.check_ranges(type(part), values)

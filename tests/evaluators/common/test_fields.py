"""Ranges of config fields that stand in annotations."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval

from evaluators.common.fields import check_fields


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    side: Literal["left", "right"] = "left"
    share: Annotated[float, Interval(gt=0, le=1)] = 0.5
    count: Annotated[int, Ge(1)] = 3
    sizes: tuple[Annotated[int, Gt(0)], ...] = (1, 2)
    values: Mapping[str, tuple[float, ...]] = dataclasses.field(default_factory=dict)
    squared: bool = False
    name: str = ""
    context: object = None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"side": "right", "share": 1, "count": 1, "sizes": ()},
        {"values": {"snr": (1.0, 2)}, "squared": True, "name": "a"},
    ],
)
def test_values_in_range_pass(fields):
    check_fields(Part(**fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"side": "top"}, "got side='top'; choices: 'left', 'right'"),
        ({"share": 0.0}, "got share=0.0; expected a number > 0"),
        ({"share": 1.5}, "got share=1.5; expected a number <= 1"),
        ({"count": 0}, "got count=0; expected an integer >= 1"),
        ({"count": 1.5}, "got count=1.5; expected an integer"),
        ({"count": True}, "got count=True; expected an integer"),
        ({"sizes": (2, 0)}, r"got sizes=\(2, 0\); expected an integer > 0"),
        ({"sizes": 2}, "got sizes=2; expected a tuple"),
        ({"share": "half"}, "got share='half'; expected a number"),
        ({"share": float("nan")}, "got share=nan; expected a number"),
        ({"values": (1,)}, "expected a mapping"),
        ({"squared": 1}, "got squared=1; expected True or False"),
    ],
)
def test_value_out_of_range_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        check_fields(Part(**fields))

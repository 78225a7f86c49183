"""Ranges and choices of config fields, in the annotations of a signature."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt, Interval

import field_types
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
        ({"side": "top"}, "side: got 'top'; expected a choice of 'left', 'right'"),
        ({"share": 0.0}, "share: got 0.0; expected a float above 0 and at most 1"),
        ({"share": 1.5}, "share: got 1.5; expected a float above 0 and at most 1"),
        ({"count": 0}, "count: got 0; expected an int of at least 1"),
        ({"count": 1.5}, "count: got 1.5; expected an int"),
        ({"count": True}, "count: got True; expected an int"),
        ({"sizes": (2, 0)}, r"sizes: got \(2, 0\); .* each item an int above 0"),
        ({"sizes": 2}, "sizes: got 2; expected a tuple"),
        ({"share": "half"}, "share: got 'half'; expected a float"),
        ({"share": float("nan")}, "share: got nan; expected a float"),
        ({"values": (1,)}, "values: got .*; expected a section"),
    ],
)
def test_value_out_of_range_is_named(fields, message):
    with pytest.raises(ValueError, match=message):
        check_fields(Part(**fields))


def test_plain_types_matter_to_config_alone():
    assert field_types.fault(1, bool) == "got 1; expected a bool"
    check_fields(Part(squared=1))


def test_all_faults_are_listed_under_their_section():
    with pytest.raises(ValueError, match=r"a\.share: .*\na\.count: "):
        field_types.check_ranges(Part, {"share": 2.0, "count": 0}, "a")

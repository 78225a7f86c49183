"""Types and ranges of the fields that several networks share."""

from typing import Annotated, Literal, TypeAlias

from annotated_types import Interval

# Of activations; parameters and batch statistics stay in float32.
Dtype: TypeAlias = Literal["float32", "bfloat16"]
# A factor of the number of channels or layers.
Multiplier: TypeAlias = Annotated[float, Interval(gt=0, le=16)]
Channels: TypeAlias = Annotated[int, Interval(ge=1, le=65536)]
# 0 leaves the layer out.
OptionalChannels: TypeAlias = Annotated[int, Interval(ge=0, le=65536)]
Depth: TypeAlias = Annotated[int, Interval(ge=1, le=200)]
Stride: TypeAlias = Annotated[int, Interval(ge=1, le=16)]
# Share of values or branches that is dropped in training.
DropRate: TypeAlias = Annotated[float, Interval(ge=0, lt=1)]
# Added to a variance or a mean square.
Epsilon: TypeAlias = Annotated[float, Interval(gt=0, le=1)]
# Share of the old value in a new running value.
Momentum: TypeAlias = Annotated[float, Interval(ge=0, le=1)]

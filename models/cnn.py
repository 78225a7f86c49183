"""A plain convolutional network."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.layers.batch_norm import BatchNorm
from models.layers.conv import Conv3x3
from models.layers.fields import (
    Channels,
    Depth,
    Dtype,
    Epsilon,
    Momentum,
    Multiplier,
    OptionalChannels,
    Stride,
)


class Model(nn.Module):
    """Stages of 3×3 convolution, BatchNorm and ReLU, their mean, one dense layer.

    At width 1 and depth 1, on 16 input channels, 458,432 parameters.

    Attributes:
        width: multiplies the channels of every stage, at least one channel each.
        depth: convolutions a stage; the first one has the stage's stride.
        channels: of each stage, before `width`.
        strides: of each stage.
        features: length of the projection; 0 leaves it out and gives the means.
        epsilon: BatchNorm's.
        momentum: BatchNorm's share of the old running value.
        axis_name: mapped axis over which BatchNorm's statistics are shared, or None.
        dtype: "float32" or "bfloat16", of activations; parameters and BatchNorm
            statistics stay in float32.
    """

    width: Multiplier = 1.0
    depth: Depth = 1
    channels: tuple[Channels, ...] = (32, 64, 128, 256)
    strides: tuple[Stride, ...] = (2, 2, 2, 2)
    features: OptionalChannels = 256
    epsilon: Epsilon = 1e-5
    momentum: Momentum = 0.9
    axis_name: str | None = None
    dtype: Dtype = "float32"

    def __post_init__(self):
        """Check fields against each other."""
        super().__post_init__()
        if not self.channels or len(self.strides) != len(self.channels):
            raise ValueError(
                f"got {len(self.strides)} strides for {len(self.channels)} stages; "
                "expected one stride for each stage, and one stage or more"
            )

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Features of scans.

        Args:
            x: `[n, h, w, c]`, any number of channels.
            train: use and update batch statistics.

        Returns:
            `[n, features]`, not normalized: a length is the objective's business.
        """
        x = x.astype(self.dtype)
        for stage, (channels, stride) in enumerate(
            zip(self.channels, self.strides, strict=True)
        ):
            for repeat in range(self.depth):
                x = Conv3x3(
                    max(1, round(channels * self.width)),
                    stride if repeat == 0 else 1,
                    self.dtype,
                    name=f"conv_{stage}_{repeat}",
                )(x)
                norm = BatchNorm(
                    self.momentum,
                    self.epsilon,
                    self.axis_name,
                    name=f"norm_{stage}_{repeat}",
                )
                x = nn.relu(norm(x, train))
        x = jnp.mean(x, axis=(1, 2))  # [n, c]
        if not self.features:
            return x
        return nn.Dense(self.features, dtype=self.dtype, name="projection")(x)

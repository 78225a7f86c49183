"""ResNet: 18, 34 and 50, and their narrower, shallower relatives."""

from typing import Literal

import jax
import jax.numpy as jnp
from flax import linen as nn

from models.layers import conv
from models.layers.batch_norm import BatchNorm
from models.layers.conv import Conv3x3
from models.layers.fields import (
    Depth,
    Dtype,
    Epsilon,
    Momentum,
    Multiplier,
    OptionalChannels,
)

BLOCKS = {"basic": 1, "bottleneck": 4}  # how much wider a block ends than it is inside

_KAIMING = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Model(nn.Module):
    """Stem, stages of blocks, mean, and perhaps one dense layer.

    At width 1, on three input channels and without the dense layer:

    | network | `layers` | `block` | parameters | features |
    |---|---|---|---|---|
    | ResNet-18 | (2, 2, 2, 2) | "basic" | 11,176,512 | 512 |
    | ResNet-34 | (3, 4, 6, 3) | "basic" | 21,284,672 | 512 |
    | ResNet-50 | (3, 4, 6, 3) | "bottleneck" | 23,508,032 | 2048 |

    Attributes:
        width: multiplies the channels of every stage, at least one channel each.
        layers: blocks a stage.
        block: "basic": two 3×3 convolutions; "bottleneck": 1×1, 3×3 and 1×1, the last
            four times as wide.
        stem: "imagenet": 7×7 convolution of stride 2 and a pooling of 3×3, stride 2;
            "small": 3×3 of stride 1, for pictures of some 32 pixels.
        features: length of the projection; 0 leaves it out and gives the means.
        zero_gamma: start each block as its skip connection.
        epsilon: BatchNorm's.
        momentum: BatchNorm's share of the old running value.
        axis_name: mapped axis over which BatchNorm's statistics are shared, or None.
        dtype: "float32" or "bfloat16", of activations; parameters and BatchNorm
            statistics stay in float32.
        convolution: How 3×3 convolutions are computed, see `layers.conv.conv3x3`.
            "auto" trains faster on a CPU than "direct", and compiles for longer.

    Source: He et al., "Deep residual learning for image recognition", arXiv 1512.03385,
    section 4.1; padding, and the stride in a bottleneck's 3×3, as in torchvision.
    """

    width: Multiplier = 1.0
    layers: tuple[Depth, ...] = (2, 2, 2, 2)
    block: Literal["basic", "bottleneck"] = "basic"
    stem: Literal["imagenet", "small"] = "imagenet"
    features: OptionalChannels = 0
    zero_gamma: bool = True
    epsilon: Epsilon = 1e-5
    momentum: Momentum = 0.9
    axis_name: str | None = None
    dtype: Dtype = "float32"
    convolution: conv.Implementation = "auto"

    def __post_init__(self):
        """Check fields against each other."""
        super().__post_init__()
        if not 1 <= len(self.layers) <= 8:
            raise ValueError(f"got layers {self.layers}; expected one to eight stages")

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Features of pictures or scans.

        Args:
            x: `[n, h, w, c]`, any number of channels.
            train: use and update batch statistics.

        Returns:
            `[n, features]`, or with `features` 0 `[n, 512 width]`, of bottlenecks
            `[n, 2048 width]`; not normalized.
        """
        x = self._stem(x.astype(self.dtype), train)
        for stage, blocks in enumerate(self.layers):
            channels = max(1, round(64 * 2**stage * self.width))
            for block in range(blocks):
                stride = 2 if stage and not block else 1
                x = self._block(x, train, channels, stride, f"block_{stage}_{block}")
        x = jnp.mean(x, axis=(1, 2))  # [n, c]
        if not self.features:
            return x
        return nn.Dense(self.features, dtype=self.dtype, name="projection")(x)

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        channels = max(1, round(64 * self.width))
        if self.stem == "small":
            x = self._conv3x3(channels, 1, "stem")(x)
            return nn.relu(self._norm("stem_norm")(x, train))
        x = self._conv(channels, 7, 2, "stem")(x)
        x = nn.relu(self._norm("stem_norm")(x, train))
        # Explicit padding: SAME would put the odd zero at the end.
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    def _block(
        self, x: jax.Array, train: bool, channels: int, stride: int, name: str
    ) -> jax.Array:
        """relu(x + BN(conv(relu(BN(conv(x)))))), x projected on a change of shape."""
        wide = channels * BLOCKS[self.block]
        if self.block == "basic":
            convolutions = (
                self._conv3x3(channels, stride, f"{name}_conv1"),
                self._conv3x3(channels, 1, f"{name}_conv2"),
            )
        else:
            convolutions = (
                self._conv(channels, 1, 1, f"{name}_conv1"),
                self._conv3x3(channels, stride, f"{name}_conv2"),
                self._conv(wide, 1, 1, f"{name}_conv3"),
            )
        y = x
        for number, convolution in enumerate(convolutions, 1):
            last = number == len(convolutions)
            y = convolution(y)
            y = self._norm(f"{name}_norm{number}", last and self.zero_gamma)(y, train)
            y = y if last else nn.relu(y)
        if x.shape != y.shape:
            x = self._conv(wide, 1, stride, f"{name}_skip")(x)
            x = self._norm(f"{name}_skip_norm")(x, train)
        return nn.relu(x + y)

    def _conv3x3(self, channels: int, stride: int, name: str) -> Conv3x3:
        return Conv3x3(channels, stride, self.dtype, self.convolution, name=name)

    def _conv(self, channels: int, size: int, stride: int, name: str) -> nn.Conv:
        return nn.Conv(
            channels,
            (size, size),
            strides=stride,
            padding=size // 2,
            use_bias=False,
            kernel_init=_KAIMING,
            dtype=self.dtype,
            name=name,
        )

    def _norm(self, name: str, zero: bool = False) -> BatchNorm:
        return BatchNorm(
            self.momentum, self.epsilon, self.axis_name, zero=zero, name=name
        )

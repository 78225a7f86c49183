"""ResNet with basic blocks: ResNet-18 and its narrower, shallower relatives."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from models._normalization import BatchNorm
from models.convolution import Conv3x3

_KAIMING = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class Model(nn.Module):
    """Stem, four stages of basic blocks, mean, and perhaps one dense layer.

    At width 1 and with `layers` (2, 2, 2, 2), ResNet-18: 11,176,512 parameters on three
    input channels without the dense layer, and 512 features.

    Attributes:
        width: multiplies the channels of every stage, at least one channel each.
        layers: blocks a stage.
        stem: "imagenet": 7×7 convolution of stride 2 and a pooling of 3×3, stride 2;
            "small": 3×3 of stride 1, for pictures of some 32 pixels.
        features: length of the projection; 0 leaves it out and gives the means.
        zero_gamma: start each block as its skip connection.
        epsilon: BatchNorm's.
        momentum: BatchNorm's share of the old running value.
        axis_name: mapped axis over which BatchNorm's statistics are shared, or None.
        dtype: "float32" or "bfloat16", of activations; parameters and BatchNorm
            statistics stay in float32.

    Source: He et al., "Deep residual learning for image recognition", arXiv 1512.03385,
    section 4.1; padding as in torchvision.
    """

    width: float = 1.0
    layers: tuple[int, ...] = (2, 2, 2, 2)
    stem: str = "imagenet"
    features: int = 0
    zero_gamma: bool = True
    epsilon: float = 1e-5
    momentum: float = 0.9
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Features of pictures or scans.

        Args:
            x: `[n, h, w, c]`, any number of channels.
            train: use and update batch statistics.

        Returns:
            `[n, features]`, or `[n, 512 width]` with `features` 0; not normalised.

        Raises:
            ValueError: an unknown stem or dtype, or no stage.
        """
        self._check()
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
            x = Conv3x3(channels, 1, self.dtype, name="stem")(x)
            return nn.relu(self._norm("stem_norm")(x, train))
        x = self._conv(channels, 7, 2, "stem")(x)
        x = nn.relu(self._norm("stem_norm")(x, train))
        # Explicit padding: SAME would put the odd zero at the end.
        return nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))

    def _block(
        self, x: jax.Array, train: bool, channels: int, stride: int, name: str
    ) -> jax.Array:
        """relu(x + BN(conv(relu(BN(conv(x)))))), x projected on a change of shape."""
        y = Conv3x3(channels, stride, self.dtype, name=f"{name}_conv1")(x)
        y = nn.relu(self._norm(f"{name}_norm1")(y, train))
        y = Conv3x3(channels, 1, self.dtype, name=f"{name}_conv2")(y)
        y = self._norm(f"{name}_norm2", self.zero_gamma)(y, train)
        if x.shape != y.shape:
            x = self._conv(channels, 1, stride, f"{name}_skip")(x)
            x = self._norm(f"{name}_skip_norm")(x, train)
        return nn.relu(x + y)

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

    def _check(self) -> None:
        if self.stem not in ("imagenet", "small"):
            raise ValueError(f"stem is {self.stem!r}, expected 'imagenet' or 'small'")
        if self.dtype not in ("float32", "bfloat16"):
            raise ValueError(
                f"dtype is {self.dtype!r}, expected 'float32' or 'bfloat16'"
            )
        if not self.layers or min(self.layers) < 1:
            raise ValueError(
                f"layers is {self.layers}, expected one block or more each"
            )

"""Projection and prediction heads on top of a backbone."""

import jax
from flax import linen as nn


class MLP(nn.Module):
    """Dense layers with BatchNorm and ReLU between them.

    Attributes:
        hidden: width of the hidden layers.
        features: width of the output.
        layers: number of dense layers, 1 or more.
        norm_last: put a BatchNorm without scale and shift on the output.
        bias_last: give the last dense layer a bias.
        momentum: BatchNorm's share of the old running value.
        epsilon: BatchNorm's.
        axis_name: mapped axis over which BatchNorm's statistics are shared, or None.
        dtype: "float32" or "bfloat16", of activations.
    """

    hidden: int
    features: int
    layers: int = 2
    norm_last: bool = False
    bias_last: bool = False
    momentum: float = 0.9
    epsilon: float = 1e-5
    axis_name: str | None = None
    dtype: str = "float32"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[n, c]` to `[n, features]`; `train` as in the backbones."""
        for index in range(self.layers - 1):
            x = nn.Dense(
                self.hidden, use_bias=False, dtype=self.dtype, name=f"dense_{index}"
            )(x)
            x = nn.relu(self._norm(train, f"norm_{index}", affine=True)(x))
        last = self.layers - 1
        x = nn.Dense(
            self.features,
            use_bias=self.bias_last,
            dtype=self.dtype,
            name=f"dense_{last}",
        )(x)
        if self.norm_last:
            x = self._norm(train, f"norm_{last}", affine=False)(x)
        return x  # [n, features]

    def _norm(self, train: bool, name: str, affine: bool) -> nn.BatchNorm:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            axis_name=self.axis_name,
            dtype=self.dtype,
            use_bias=affine,
            use_scale=affine,
            name=name,
        )


class Projector(MLP):
    """MoCo v3's projector for convolutional networks: c → 4096 → 256.

    Its output is normalized without scale and shift (Chen et al., 2021, arXiv
    2104.02057; the two-layer form belongs to its ResNets).
    """

    hidden: int = 4096
    features: int = 256
    norm_last: bool = True


class Predictor(MLP):
    """MoCo v3's predictor for convolutional networks: 256 → 4096 → 256, no last BN."""

    hidden: int = 4096
    features: int = 256

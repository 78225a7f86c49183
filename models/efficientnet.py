"""EfficientNet (Tan & Le, 2019, arXiv 1905.11946), without its classifier."""

import functools
import math
from typing import Annotated, Literal, NamedTuple, TypeAlias, get_args

import jax
import jax.numpy as jnp
from annotated_types import Interval
from flax import linen as nn

from models.layers import depthwise_conv as depthwise_lib
from models.layers.batch_norm import BatchNorm
from models.layers.fields import (
    Channels,
    DropRate,
    Dtype,
    Epsilon,
    Momentum,
    Multiplier,
    OptionalChannels,
    Stride,
)

Initialization: TypeAlias = Literal["torchvision", "timm", "identity"]


class Stage(NamedTuple):
    """One row of the paper's table 1: `repeats` blocks of one kernel and width."""

    expand: int
    kernel: int
    features: int
    repeats: int


B0 = (
    Stage(1, 3, 16, 1),
    Stage(6, 3, 24, 2),
    Stage(6, 5, 40, 2),
    Stage(6, 3, 80, 3),
    Stage(6, 5, 112, 3),
    Stage(6, 5, 192, 4),
    Stage(6, 3, 320, 1),
)


def round_features(features: float, multiple: int = 8) -> int:
    """The multiple of 8 nearest to `features`, but never less than 90 % of it."""
    rounded = max(multiple, int(features + multiple / 2) // multiple * multiple)
    return rounded + multiple if rounded < 0.9 * features else rounded


def drop_branch(x: jax.Array, rate: float, rng: jax.Array) -> jax.Array:
    """Zeroes records with probability `rate` and divides the others by 1 − rate."""
    kept = jax.random.bernoulli(rng, 1 - rate, (x.shape[0],) + (1,) * (x.ndim - 1))
    return x * (kept / (1 - rate)).astype(x.dtype)


def grid_means(x: jax.Array, side: int) -> jax.Array:
    """Means over the cells of a side x side grid, `[n, h, w, c] -> [n, side^2 c]`.

    Raises:
        ValueError: `side` does not divide height and width.
    """
    n, h, w, c = x.shape
    if h % side or w % side:
        raise ValueError(
            f"got a last feature map of {h} x {w} for pool = {side}; expected one that "
            "it divides: change the size of the views, or strides"
        )
    x = x.reshape(n, side, h // side, side, w // side, c)
    return x.mean((2, 4)).reshape(n, side * side * c)


def depthwise_init(name: str, stride: int) -> nn.initializers.Initializer:
    """How depthwise kernels `[k, k, 1, c]` start.

    "torchvision" and "timm" are normal noise; torch counts k²·c outputs for a grouped
    kernel, timm divides by the groups. "identity" adds to torchvision's noise a kernel
    that passes its input on (stride 1) or averages the cells that a stride would skip,
    so that an untrained network keeps what its input shows.

    Raises:
        ValueError: Unknown name.
    """
    if name not in get_args(Initialization):
        choices = ", ".join(get_args(Initialization))
        raise ValueError(f"got initialization {name!r}; choices: {choices}")
    fan = {"timm": "fan_in"}.get(name, "fan_out")
    noise = nn.initializers.variance_scaling(2.0, fan, "normal")
    if name != "identity":
        return noise

    def init(key, shape, dtype=jnp.float32):
        middle = shape[0] // 2
        side = slice(middle - (stride - 1), middle + stride)
        passed = jnp.zeros(shape, dtype).at[side, side].set((2 * stride - 1) ** -2.0)
        return noise(key, shape, dtype) + passed

    return init


class _Depthwise(nn.Module):
    """A depthwise convolution with its kernel `[k, k, 1, c]`."""

    kernel: int
    stride: int
    padding: str
    implementation: str
    initialization: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param(
            "kernel",
            depthwise_init(self.initialization, self.stride),
            (self.kernel, self.kernel, 1, x.shape[-1]),
        )
        return depthwise_lib.depthwise(
            x,
            kernel.astype(self.dtype),
            stride=self.stride,
            padding=self.padding,
            implementation=self.implementation,
        )


class Model(nn.Module):
    """EfficientNet up to the pooled features.

    Every 1×1 convolution is a `Dense`: on NHWC both are the same matrix product, and a
    published kernel `[1, 1, in, out]` loads by dropping its first two axes.

    Attributes:
        width: multiplies every stage's channels (1.0 is B0, 1.1 is B2).
        depth: multiplies every stage's number of blocks (1.0 is B0, 1.2 is B2).
        stem_stride: stride of the first convolution; 1 keeps small images large.
        strides: stride of each of the seven stages.
        stem_features: channels of the first convolution, before `width`.
        head_features: channels of the last 1×1 convolution, before `width`; 0 leaves
            that convolution out.
        pool: side p of the grid of cells that the last feature map is averaged over;
            1 is the usual mean, 2 keeps what is left from what is right.
        squeeze_excite: gate the channels of each block by their means.
        dropout: share of pooled features dropped in training, in [0, 1).
        stochastic_depth: rate r; block i of n is left out of a record with probability
            r·i/n (Huang et al., 2016, arXiv 1603.09382).
        padding: "torch" (symmetric) or "tf" (SAME), as the published weights need.
        epsilon: BatchNorm's; 1e-3 for weights that came from TensorFlow.
        momentum: BatchNorm's share of the old running value (torch's 0.1 is 0.9 here).
        axis_name: mapped axis over which BatchNorm's statistics are shared, or None.
        dtype: "float32" or "bfloat16", of activations; parameters and BatchNorm
            statistics stay in float32.
        zero_gamma: start the last BatchNorm of blocks with a skip at 0.
        depthwise: "auto", "lax" or "shifts", see `models.layers.depthwise_conv`.
        initialization: of depthwise kernels, "torchvision", "timm" or "identity"; see
            `depthwise_init`.
    """

    width: Multiplier = 1.0
    depth: Multiplier = 1.0
    stem_stride: Stride = 2
    strides: tuple[Stride, ...] = (1, 2, 2, 2, 1, 2, 1)
    stem_features: Channels = 32
    head_features: OptionalChannels = 1280
    pool: Annotated[int, Interval(ge=1, le=64)] = 1
    squeeze_excite: bool = True
    dropout: DropRate = 0.2
    stochastic_depth: DropRate = 0.2
    padding: depthwise_lib.Padding = "torch"
    epsilon: Epsilon = 1e-5
    momentum: Momentum = 0.9
    axis_name: str | None = None
    dtype: Dtype = "float32"
    zero_gamma: bool = False
    depthwise: depthwise_lib.Implementation = "auto"
    initialization: Initialization = "torchvision"

    def __post_init__(self):
        """Check fields against each other."""
        super().__post_init__()
        if len(self.strides) != len(B0):
            raise ValueError(
                f"got {len(self.strides)} strides for {len(B0)} stages; expected one "
                "stride for each stage"
            )

    @property
    def features(self) -> int:
        """Length of the pooled feature vector."""
        return self._channels * self.pool**2

    @property
    def _channels(self) -> int:
        return round_features((self.head_features or B0[-1].features) * self.width)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Features of images.

        Args:
            x: `[n, h, w, 3]`, normalized.
            train: use and update batch statistics, drop; needs the rng "dropout".

        Returns:
            `[n, features]`, means over the last feature map.

        Raises:
            ValueError: `pool` does not divide the last feature map.
        """
        x = x.astype(self.dtype)
        x = self._norm("stem_norm")(self._stem(x), train)
        repeats = [math.ceil(self.depth * stage.repeats) for stage in B0]
        total, index = sum(repeats), 0
        for stage, stride, count in zip(B0, self.strides, repeats, strict=True):
            for repeat in range(count):
                rate = self.stochastic_depth * index / total
                step = stride if repeat == 0 else 1
                x = self._block(x, stage, step, rate, train, f"block_{index:02d}")
                index += 1
        if self.head_features:
            x = self._pointwise(x, self._channels, "head")
            x = self._norm("head_norm")(x, train)
        x = grid_means(x, self.pool)  # [n, features]
        return nn.Dropout(self.dropout, deterministic=not train)(x)

    def _stem(self, x: jax.Array) -> jax.Array:
        return nn.Conv(
            round_features(self.stem_features * self.width),
            (3, 3),
            strides=self.stem_stride,
            padding=depthwise_lib.pads(x.shape[1:3], 3, self.stem_stride, self.padding),
            use_bias=False,
            kernel_init=_fan_out(),
            dtype=self.dtype,
            name="stem",
        )(x)

    def _block(
        self,
        x: jax.Array,
        stage: Stage,
        stride: int,
        rate: float,
        train: bool,
        name: str,
    ) -> jax.Array:
        """MBConv: expand, depthwise, squeeze and excite, project, add."""
        inputs, skip = x.shape[-1], x
        features = round_features(stage.features * self.width)
        residual = stride == 1 and inputs == features
        if stage.expand > 1:
            x = self._pointwise(x, inputs * stage.expand, f"{name}_expand")
            x = self._norm(f"{name}_expand_norm")(x, train)
        x = _Depthwise(
            stage.kernel,
            stride,
            self.padding,
            self.depthwise,
            self.initialization,
            jnp.dtype(self.dtype),
            name=f"{name}_depthwise",
        )(x)
        x = self._norm(f"{name}_depthwise_norm")(x, train)
        if self.squeeze_excite:
            x = x * self._gate(x, max(1, inputs // 4), name)
        x = self._pointwise(x, features, f"{name}_project")
        zero = self.zero_gamma and residual
        x = self._norm(f"{name}_project_norm", silu=False, zero=zero)(x, train)
        if not residual:
            return x
        if train and rate:
            x = drop_branch(x, rate, self.make_rng("dropout"))
        return skip + x

    def _gate(self, x: jax.Array, squeezed: int, name: str) -> jax.Array:
        means = jnp.mean(x, axis=(1, 2))  # [n, c]
        z = nn.silu(self._dense(squeezed, f"{name}_squeeze", bias=True)(means))
        gate = nn.sigmoid(self._dense(x.shape[-1], f"{name}_excite", bias=True)(z))
        return gate[:, None, None, :]

    def _pointwise(self, x: jax.Array, features: int, name: str) -> jax.Array:
        # On two axes the kernel's gradient is one matrix product; on four, XLA:CPU
        # first writes a transposed copy of the outputs' gradient, which takes longer.
        y = self._dense(features, name)(x.reshape(-1, x.shape[-1]))
        return y.reshape(*x.shape[:-1], features)

    def _dense(self, features: int, name: str, bias: bool = False) -> nn.Dense:
        return nn.Dense(
            features, use_bias=bias, kernel_init=_fan_out(), dtype=self.dtype, name=name
        )

    def _norm(self, name: str, silu: bool = True, zero: bool = False) -> BatchNorm:
        return BatchNorm(
            self.momentum, self.epsilon, self.axis_name, silu, zero, name=name
        )


_fan_out = functools.partial(nn.initializers.variance_scaling, 2.0, "fan_out", "normal")

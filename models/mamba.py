"""Mamba: a residual stack of selective state-space blocks over sequences of vectors."""

import math
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
from annotated_types import Interval
from flax import linen as nn

from models.layers import selective_scan
from models.layers.fields import Channels, Depth, Dtype, Epsilon, OptionalChannels

DT_RANGE = (1e-3, 1e-1)  # step sizes that a new network has
DT_LEAST = 1e-4


class State(NamedTuple):
    """What a layer remembers between vectors.

    Attributes:
      window: the last inputs of its convolution, [n, k - 1, e].
      h: of the recurrence, float32 [n, s, e].
    """

    window: jax.Array
    h: jax.Array


class Model(nn.Module):
    """Input projection, residual blocks, final norm, over `[n, l, d_in]`.

    At the defaults, with vectors of 768, `mamba_s`: 53,394,432 parameters.

    Attributes:
        width: d, of the residual stream.
        layers: blocks.
        states: s, of each channel.
        expand: e / d.
        kernel: k, taps of the causal convolution.
        rank: of the step size's projection; 0 for d / 16, rounded up.
        project: put a dense layer with bias before the blocks.
        epsilon: of RMSNorm.
        scan: how the recurrence runs, see `selective_scan`.
        chunk: of the chunked scan.
        dtype: "float32" or "bfloat16", of products; step sizes, A, the scan and the
            residual stream stay in float32.
        axis_name: No use here; nothing is normalized over a batch.

    Source: Gu and Dao, "Mamba", arXiv 2312.00752, section 3.4 and its implementation.
    """

    width: Channels = 768
    layers: Depth = 14
    states: Annotated[int, Interval(ge=1, le=4096)] = 16
    expand: Annotated[int, Interval(ge=1, le=64)] = 2
    kernel: Annotated[int, Interval(ge=1, le=1024)] = 4
    rank: OptionalChannels = 0
    project: bool = True
    epsilon: Epsilon = 1e-5
    scan: selective_scan.Implementation = "auto"
    chunk: Annotated[int, Interval(ge=1, le=65536)] = selective_scan.CHUNK
    dtype: Dtype = "float32"
    axis_name: str | None = None

    def setup(self):
        """Names the layers."""
        if self.project:
            self.input = nn.Dense(
                self.width,
                kernel_init=_torch_uniform(),
                bias_init=nn.initializers.zeros,
                dtype=self.dtype,
            )
        block = {
            "width": self.width,
            "states": self.states,
            "inner": self.expand * self.width,
            "kernel": self.kernel,
            "rank": self.rank or -(-self.width // 16),
            "scan": self.scan,
            "chunk": self.chunk,
            "out_scale": 1 / math.sqrt(self.layers),
            "dtype": self.dtype,
        }
        self.mixers = [Mixer(**block) for _ in range(self.layers)]
        self.norms = [nn.RMSNorm(self.epsilon) for _ in range(self.layers)]
        self.final = nn.RMSNorm(self.epsilon)

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        """Features of every position.

        Args:
            x: `[n, l, d_in]`; `d_in` is `width` where `project` is off.
            train: no use here; nothing differs in training.

        Returns:
            `[n, l, width]`, float32; position t has seen positions up to t.
        """
        del train
        h = self._enter(x)
        for norm, mixer in zip(self.norms, self.mixers, strict=True):
            h = h + mixer(norm(h)).astype(jnp.float32)
        return self.final(h)

    def start(self, n: int) -> list[State]:
        """The states of all layers before the first vector of `n` sequences."""
        inner = self.expand * self.width
        return [
            State(
                jnp.zeros((n, self.kernel - 1, inner), self.dtype),
                jnp.zeros((n, self.states, inner), jnp.float32),
            )
            for _ in range(self.layers)
        ]

    def step(self, states: list[State], x: jax.Array) -> tuple[list[State], jax.Array]:
        """Takes one vector of each sequence, in memory that does not grow.

        Args:
            states: of all layers, from `start` or the last step.
            x: `[n, d_in]`.

        Returns:
            The next states, and features `[n, width]`, those that `__call__` has there.
        """
        h, following = self._enter(x), []
        for norm, mixer, state in zip(self.norms, self.mixers, states, strict=True):
            state, y = mixer.step(state, norm(h))
            h = h + y.astype(jnp.float32)
            following.append(state)
        return following, self.final(h)

    def _enter(self, x: jax.Array) -> jax.Array:
        h = self.input(x) if self.project else x
        if h.shape[-1] != self.width:
            raise ValueError(
                f"got vectors of {h.shape[-1]} for a width of {self.width}; expected "
                "the same, or project=True"
            )
        return h.astype(jnp.float32)


class Mixer(nn.Module):
    """One block without its norm and skip.

    (x, z) = W_in u;  x = silu(conv(x));  (dt, B, C) = W_x x;  Δ = softplus(W_dt dt + b)
    y = (scan(x, Δ, A, B, C) + D x) silu(z);  output W_out y
    """

    width: int
    inner: int
    states: int
    kernel: int
    rank: int
    scan: str
    chunk: int
    out_scale: float
    dtype: str

    def setup(self):
        """Makes the parameters as the published network starts them."""
        plain = {"use_bias": False, "dtype": self.dtype}
        self.in_proj = nn.Dense(2 * self.inner, kernel_init=_torch_uniform(), **plain)
        self.x_proj = nn.Dense(
            self.rank + 2 * self.states, kernel_init=_torch_uniform(), **plain
        )
        self.out_proj = nn.Dense(
            self.width, kernel_init=_torch_uniform(self.out_scale), **plain
        )
        bound = self.rank**-0.5
        self.dt_kernel = self.param(
            "dt_kernel", _uniform(bound), (self.rank, self.inner)
        )
        self.dt_bias = self.param("dt_bias", _step_sizes, (self.inner,))
        taps = _uniform(self.kernel**-0.5)
        self.conv_kernel = self.param("conv_kernel", taps, (self.kernel, self.inner))
        self.conv_bias = self.param("conv_bias", taps, (self.inner,))
        self.a_log = self.param("a_log", _log_states, (self.inner, self.states))
        self.d = self.param("d", nn.initializers.ones, (self.inner,))

    def __call__(self, u: jax.Array) -> jax.Array:
        """`[n, l, width] -> [n, l, width]`."""
        x, z = jnp.split(self.in_proj(u), 2, -1)
        x = nn.silu(self._convolve(x))
        delta, b, c = self._select(x)
        y = selective_scan.selective_scan(
            x.astype(jnp.float32),
            delta,
            -jnp.exp(self.a_log),
            b,
            c,
            implementation=self.scan,
            chunk=self.chunk,
        )
        return self._leave(y, x, z)

    def step(self, state: State, u: jax.Array) -> tuple[State, jax.Array]:
        """`[n, width] -> [n, width]`, with the next state."""
        x, z = jnp.split(self.in_proj(u), 2, -1)
        window = jnp.concatenate([state.window, x[:, None]], 1)  # [n, k, e]
        kernel, bias = (p.astype(x.dtype) for p in (self.conv_kernel, self.conv_bias))
        x = nn.silu(jnp.sum(window * kernel[None], 1) + bias[None])
        delta, b, c = self._select(x)
        h, y = selective_scan.step(
            state.h, x.astype(jnp.float32), delta, -jnp.exp(self.a_log), b, c
        )
        return State(window[:, 1:], h), self._leave(y, x, z)

    def _convolve(self, x: jax.Array) -> jax.Array:
        """Causal, a channel by itself: shifted copies, which no CPU is slow at."""
        k, length = self.kernel, x.shape[1]
        kernel, bias = (p.astype(x.dtype) for p in (self.conv_kernel, self.conv_bias))
        padded = jnp.pad(x, ((0, 0), (k - 1, 0), (0, 0)))
        taps = (padded[:, i : i + length] * kernel[i][None, None] for i in range(k))
        return sum(taps) + bias[None, None]

    def _select(self, x: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Δ [..., e], B and C [..., s] of inputs, float32."""
        parts = self.x_proj(x).astype(jnp.float32)
        dt, b, c = jnp.split(parts, (self.rank, self.rank + self.states), -1)
        bias = self.dt_bias.reshape((1,) * (dt.ndim - 1) + (-1,))
        return nn.softplus(dt @ self.dt_kernel + bias), b, c

    def _leave(self, y: jax.Array, x: jax.Array, z: jax.Array) -> jax.Array:
        d = self.d.reshape((1,) * (y.ndim - 1) + (-1,))
        y = (y + d * x.astype(jnp.float32)).astype(z.dtype) * nn.silu(z)
        return self.out_proj(y)


def _uniform(bound: float):
    """Uniform in -bound .. bound."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _torch_uniform(scale: float = 1.0):
    """Uniform in ± scale / sqrt(inputs), as PyTorch starts its linear layers."""

    def init(key, shape, dtype=jnp.float32):
        return _uniform(scale / math.sqrt(shape[0]))(key, shape, dtype)

    return init


def _step_sizes(key, shape, dtype=jnp.float32):
    """Biases whose softplus is log-uniform in `DT_RANGE`."""
    low, high = (math.log(limit) for limit in DT_RANGE)
    dt = jnp.exp(jax.random.uniform(key, shape, dtype, low, high))
    dt = jnp.maximum(dt, DT_LEAST)
    return dt + jnp.log(-jnp.expm1(-dt))


def _log_states(key, shape, dtype=jnp.float32):
    """Logarithms of 1 .. s for every channel (S4D-real)."""
    del key
    return jnp.broadcast_to(jnp.log(jnp.arange(1, shape[1] + 1, dtype=dtype)), shape)

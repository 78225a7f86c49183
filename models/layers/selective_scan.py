"""The recurrence of a selective state space, three ways behind one function.

    h_t = exp(Δ_t A) h_{t-1} + Δ_t B_t u_t,   y_t = Σ_n C_t,n h_t,n

for every channel e and state n, h_0 = 0. Short sequences are unrolled, which XLA fuses;
long ones go chunk by chunk with a backward pass of their own, which keeps the states at
the chunks' ends and makes the others again; accelerators may take the associative scan,
which is parallel over time and keeps everything.
"""

import functools
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import lax

Implementation = Literal["auto", "unrolled", "chunked", "associative"]

SHORT = 16  # longest sequence that "auto" unrolls
CHUNK = 64


class Inputs(NamedTuple):
    """What a step of the recurrence is given; time first, float32.

    Attributes:
      u: input, [l, n, e].
      delta: Δ, [l, n, e], 0 or more.
      b: B, [l, n, s].
      c: C, [l, n, s].
    """

    u: jax.Array
    delta: jax.Array
    b: jax.Array
    c: jax.Array


def selective_scan(
    u: jax.Array,
    delta: jax.Array,
    a: jax.Array,
    b: jax.Array,
    c: jax.Array,
    *,
    implementation: Implementation = "auto",
    chunk: int = CHUNK,
) -> jax.Array:
    """Runs the recurrence over whole sequences, in float32.

    Args:
      u: `[n, l, e]` inputs.
      delta: `[n, l, e]` step sizes, 0 or more. A step of 0 leaves the state as it is,
        so such steps may pad a sequence.
      a: `[e, s]`, below 0.
      b: `[n, l, s]`.
      c: `[n, l, s]`.
      implementation: "unrolled" for short sequences; "chunked": memory for the states
        at the ends of chunks and within one; "associative": parallel over time, memory
        for all states several times; "auto": "unrolled" up to `SHORT` steps, else
        "chunked" on a CPU and "associative" elsewhere.
      chunk: steps of a chunk, 1 or more.

    Returns:
      `[n, l, e]`, of the dtype of `u`. The skip D u is not in it.

    Raises:
      ValueError: on shapes that do not fit, an unknown implementation, a chunk below 1.

    Source: Gu and Dao, "Mamba", arXiv 2312.00752, section 3.2, with the simplified
    discretisation of B of its implementation.
    """
    _check(u, delta, a, b, c, implementation, chunk)
    parts = (jnp.swapaxes(x.astype(jnp.float32), 0, 1) for x in (u, delta, b, c))
    inputs, a = Inputs(*parts), a.astype(jnp.float32).T  # [s, e]
    if implementation == "auto":
        implementation = _choose(u.shape[1])
    if implementation == "unrolled":
        y = _unrolled(inputs, a)
    elif implementation == "chunked":
        y = _chunked(inputs, a, min(chunk, u.shape[1]))
    else:
        y = _associative(inputs, a)
    return jnp.swapaxes(y, 0, 1).astype(u.dtype)


def step(
    h: jax.Array,
    u: jax.Array,
    delta: jax.Array,
    a: jax.Array,
    b: jax.Array,
    c: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Takes one step, for sequences that come a vector at a time.

    Args:
      h: `[n, s, e]` state, zeros at the start.
      u: `[n, e]`.
      delta: `[n, e]`.
      a: `[e, s]`.
      b: `[n, s]`.
      c: `[n, s]`.

    Returns:
      The next state, and y `[n, e]`.
    """
    parts = (x.astype(jnp.float32) for x in (u, delta, b, c))
    h, y = _step(h, Inputs(*parts), a.astype(jnp.float32).T)
    return h, y.astype(u.dtype)


def _choose(length: int) -> str:
    if length <= SHORT:
        return "unrolled"
    return "chunked" if jax.default_backend() == "cpu" else "associative"


def _decay(delta: jax.Array, a: jax.Array) -> jax.Array:
    """exp(Δ A), [..., s, e] of Δ [..., e]; channels last, where CPUs vectorise."""
    return jnp.exp(delta[..., None, :] * a.reshape((1,) * (delta.ndim - 1) + a.shape))


def _drive(x: Inputs) -> jax.Array:
    """Δ B u, [..., s, e]."""
    return (x.delta * x.u)[..., None, :] * x.b[..., :, None]


def _step(h: jax.Array, x: Inputs, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """One step; fields of `x` are [n, ...]."""
    h = _decay(x.delta, a) * h + _drive(x)  # [n, s, e]
    return h, jnp.sum(h * x.c[..., :, None], -2)


def _start(inputs: Inputs, a: jax.Array) -> jax.Array:
    return jnp.zeros((inputs.u.shape[1], *a.shape), jnp.float32)


def _unrolled(inputs: Inputs, a: jax.Array) -> jax.Array:
    h, outputs = _start(inputs, a), []
    for t in range(inputs.u.shape[0]):
        h, y = _step(h, Inputs(*(x[t] for x in inputs)), a)
        outputs.append(y)
    return jnp.stack(outputs)


def _associative(inputs: Inputs, a: jax.Array) -> jax.Array:
    def then(first, second):
        decay, drive = first
        later_decay, later_drive = second
        return decay * later_decay, later_decay * drive + later_drive

    pairs = _decay(inputs.delta, a), _drive(inputs)  # [l, n, s, e] each
    _, h = lax.associative_scan(then, pairs)
    return jnp.sum(h * inputs.c[..., :, None], -2)


def _chunked(inputs: Inputs, a: jax.Array, chunk: int) -> jax.Array:
    length = inputs.u.shape[0]
    chunks = -(-length // chunk)
    rest = chunks * chunk - length
    padded = Inputs(
        *(
            jnp.pad(x, ((0, rest), (0, 0), (0, 0))).reshape(chunks, chunk, *x.shape[1:])
            for x in inputs
        )
    )
    y = _over_chunks(padded, a)  # [chunks, chunk, n, e]
    return y.reshape(chunks * chunk, *y.shape[2:])[:length]


@jax.custom_vjp
def _over_chunks(chunks: Inputs, a: jax.Array) -> jax.Array:
    return _run_chunks(chunks, a)[0]


def _run_chunks(chunks: Inputs, a: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Outputs, and the state that each chunk begins with, [chunks, n, s, e]."""

    def run(h, part):
        end, y = lax.scan(functools.partial(_carry, a=a), h, part)
        return end, (y, h)

    first = Inputs(*(x[0] for x in chunks))
    _, (y, starts) = lax.scan(run, _start(first, a), chunks)
    return y, starts


def _carry(h, x, a):
    return _step(h, x, a)


def _forward(chunks, a):
    y, starts = _run_chunks(chunks, a)
    return y, (chunks, a, starts)


def _backward(residuals, grad):
    """λ_t = C_t g_t + exp(Δ_{t+1} A) λ_{t+1}, chunk by chunk from the last.

    λ is the gradient of the state; those of all inputs follow from it and from the
    states of the chunk, which are made again.
    """
    chunks, a, starts = residuals

    def one(carry, part):
        """One chunk, the last first: its states again, then their gradients."""
        later, grad_a = carry
        x, start, g = part

        def again(h, x):
            return _step(h, x, a)[0], h

        _, before = lax.scan(again, start, x)  # [t, n, s, e], the state before each

        def back(carry, item):
            """One step backwards in time."""
            later, grad_a = carry
            x, h, g = item
            decay = _decay(x.delta, a)
            now = decay * h + _drive(x)
            grad_c = jnp.sum(now * g[..., None, :], -1)
            state = later + x.c[..., :, None] * g[..., None, :]  # λ_t
            rate = state * decay * h  # gradient of Δ A
            grad_a += jnp.sum(rate * x.delta[..., None, :], 0)
            drive = jnp.sum(state * x.b[..., :, None], -2)  # gradient of Δ u
            one = (1,) * (rate.ndim - 2)
            grad_delta = jnp.sum(rate * a.reshape(one + a.shape), -2) + drive * x.u
            grad_b = jnp.sum(state * (x.delta * x.u)[..., None, :], -1)
            grads = Inputs(drive * x.delta, grad_delta, grad_b, grad_c)
            return (decay * state, grad_a), grads

        return lax.scan(back, (later, grad_a), (x, before, g), reverse=True)

    begin = jnp.zeros_like(starts[0]), jnp.zeros_like(a)
    (_, grad_a), grads = lax.scan(one, begin, (chunks, starts, grad), reverse=True)
    return grads, grad_a


_over_chunks.defvjp(_forward, _backward)


def _check(u, delta, a, b, c, implementation, chunk) -> None:
    if implementation not in get_args(Implementation):
        raise ValueError(
            f"got implementation {implementation!r}; choices: "
            f"{', '.join(get_args(Implementation))}"
        )
    if chunk < 1:
        raise ValueError(f"chunk is {chunk}; expected 1 or more")
    n, length, e = u.shape
    s = a.shape[-1]
    expected = {
        "delta": (delta, (n, length, e)),
        "a": (a, (e, s)),
        "b": (b, (n, length, s)),
        "c": (c, (n, length, s)),
    }
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"{name} must have shape {shape}, got {array.shape}")

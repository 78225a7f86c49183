"""Depthwise convolution, by whichever means the platform is fast at.

XLA:CPU runs a grouped convolution as one tiny convolution per channel. A depthwise
convolution is also a sum of k² shifted and scaled copies of its input, which XLA
turns into loops that are vectorised over channels; its two gradients are sums of
shifted copies as well, which is written out here because the transpose of a strided
slice, that automatic differentiation would use, writes a padded copy a tap.
"""

import functools
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from jax import lax

Implementation: TypeAlias = Literal["auto", "lax", "shifts"]
Padding: TypeAlias = Literal["torch", "tf"]
Pads: TypeAlias = tuple[tuple[int, int], tuple[int, int]]


def pads(shape: tuple[int, int], kernel: int, stride: int, padding: str) -> Pads:
    """Zeros to add before and after each of the two image axes.

    Args:
        shape: height and width of the input.
        kernel: kernel size k, odd.
        stride: 1 or more.
        padding: "torch" adds k//2 on every side; "tf" is TensorFlow's SAME, which
            under a stride puts the odd zero at the end.

    Returns:
        `((top, bottom), (left, right))`.

    Raises:
        ValueError: unknown padding.
    """
    if padding == "torch":
        return ((kernel // 2, kernel // 2),) * 2
    if padding == "tf":
        low, high = lax.padtype_to_pads(shape, (kernel,) * 2, (stride,) * 2, "SAME")
        return low, high
    raise ValueError(
        f"got padding {padding!r}; choices: {', '.join(get_args(Padding))}"
    )


def depthwise(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    padding: str = "torch",
    implementation: str = "auto",
) -> jax.Array:
    """Convolves each channel with its own k×k kernel (cross-correlation, no bias).

    y[n,i,j,c] = Σ_{a,b} w[a,b,0,c] · x̃[n, s·i+a, s·j+b, c], x̃ the padded input.

    Args:
        x: `[n, h, w, c]`.
        kernel: `[k, k, 1, c]`, of the dtype of `x`.
        stride: s, 1 or more.
        padding: "torch" or "tf", see `pads`.
        implementation: "lax" is XLA's grouped convolution, "shifts" the sum of k²
            shifted copies; "auto" takes "shifts" on a CPU and "lax" elsewhere.

    Returns:
        `[n, ⌈h/s⌉, ⌈w/s⌉, c]`.

    Raises:
        ValueError: unknown padding or implementation.
    """
    around = pads(x.shape[1:3], kernel.shape[0], stride, padding)
    if implementation == "auto":
        implementation = "shifts" if jax.default_backend() == "cpu" else "lax"
    if implementation == "shifts":
        return _shifts(x, kernel, stride, around)
    if implementation == "lax":
        return lax.conv_general_dilated(
            x,
            kernel,
            (stride, stride),
            around,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=x.shape[-1],
        )
    raise ValueError(
        f"got depthwise {implementation!r}; choices: "
        f"{', '.join(get_args(Implementation))}"
    )


def _correlate(padded: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    """The sum over taps of shifted, scaled copies of the padded input."""
    shape = _outputs(padded, kernel.shape[0], stride)
    # A sum that starts from its first tap: XLA fuses all of it into one loop.
    taps = (
        _window(padded, a, b, shape, stride) * kernel[a, b].reshape(1, 1, 1, -1)
        for a in range(kernel.shape[0])
        for b in range(kernel.shape[1])
    )
    return functools.reduce(jnp.add, taps)


def _kernel_gradient(padded: jax.Array, grad: jax.Array, size: int, stride: int):
    """The sum over n, i, j of x̃[n, s·i+a, s·j+b, c] · ∂y[n, i, j, c], for all taps.

    One reduction of many operands is one pass over `grad` for all of its taps, and
    nothing is written but the sums: 4 times faster on XLA:CPU than a reduction a tap.
    Only columns are summed in that pass; rows and records follow on the small result,
    which also keeps float32 sums short.
    """
    shape = grad.shape[1:3]
    grad = grad.astype(jnp.float32)
    products = [
        _window(padded, a, b, shape, stride).astype(jnp.float32) * grad
        for a in range(size)
        for b in range(size)
    ]
    # More accumulators than 9 at a time no longer stay in registers.
    group = 9 if size <= 3 else size
    sums = []
    for start in range(0, size * size, group):
        operands = tuple(products[start : start + group])
        zeros = (jnp.zeros((), jnp.float32),) * len(operands)
        sums += lax.reduce(operands, zeros, _add, (2,))  # [n, h, c] each
    taps = [jnp.sum(part, axis=(0, 1)) for part in sums]
    return jnp.stack(taps).reshape(size, size, 1, -1)


def _add(left: tuple[jax.Array, ...], right: tuple[jax.Array, ...]):
    return tuple(jnp.add(x, y) for x, y in zip(left, right, strict=True))


def _pad(x: jax.Array, around: Pads, interior: int = 0) -> jax.Array:
    config = ((0, 0, 0), *((*side, interior) for side in around), (0, 0, 0))
    # The barrier has the padded array written once, instead of padded in every tap.
    return lax.optimization_barrier(lax.pad(x, jnp.zeros((), x.dtype), config))


def _outputs(padded: jax.Array, size: int, stride: int) -> tuple[int, int]:
    high, wide = padded.shape[1:3]
    return (high - size) // stride + 1, (wide - size) // stride + 1


def _window(
    padded: jax.Array, a: int, b: int, shape: tuple[int, int], stride: int
) -> jax.Array:
    """The part of the padded input that tap (a, b) meets."""
    n, _, _, c = padded.shape
    last = [
        at + stride * (count - 1) + 1 for at, count in zip((a, b), shape, strict=True)
    ]
    return lax.slice(padded, (0, a, b, 0), (n, *last, c), (1, stride, stride, 1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifts(x: jax.Array, kernel: jax.Array, stride: int, around: Pads) -> jax.Array:
    return _correlate(_pad(x, around), kernel, stride)


def _shifts_forward(x, kernel, stride, around):
    padded = _pad(x, around)
    return _correlate(padded, kernel, stride), (padded, kernel)


def _shifts_backward(stride, around, residuals, grad):
    padded, kernel = residuals
    size = kernel.shape[0]
    grad_kernel = _kernel_gradient(padded, grad, size, stride).astype(kernel.dtype)
    # ∂x is the full correlation of the gradient, spread out by the stride, with the
    # kernel turned by 180°, cut to the input's place in the padded input.
    spread = tuple(
        (size - 1 - low, total - high - (stride * (count - 1) + 1))
        for (low, high), total, count in zip(
            around, padded.shape[1:3], grad.shape[1:3], strict=True
        )
    )
    full = _pad(grad, spread, interior=stride - 1)
    return _correlate(full, kernel[::-1, ::-1], 1), grad_kernel


_shifts.defvjp(_shifts_forward, _shifts_backward)

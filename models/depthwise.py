"""Depthwise convolution, by whichever means the platform is fast at.

XLA:CPU runs a grouped convolution as one tiny convolution per channel. A depthwise
convolution is also a sum of k² shifted and scaled copies of its input, which XLA
turns into loops that are vectorised over channels; its two gradients are sums of
shifted copies as well, which is written out here because the transpose of a strided
slice, that automatic differentiation would use, writes a padded copy a tap.
"""

import functools

import jax
import jax.numpy as jnp
from jax import lax

IMPLEMENTATIONS = ("auto", "lax", "shifts")
PADDINGS = ("torch", "tf")

Pads = tuple[tuple[int, int], tuple[int, int]]


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
    raise ValueError(f"padding is {padding!r}, expected one of {', '.join(PADDINGS)}")


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
        f"depthwise is {implementation!r}, expected one of {', '.join(IMPLEMENTATIONS)}"
    )


def _correlate(x: jax.Array, kernel: jax.Array, stride: int, around: Pads) -> jax.Array:
    """The sum over taps of shifted, scaled copies of the padded input."""
    size = kernel.shape[0]
    (top, bottom), (left, right) = around
    height = (x.shape[1] + top + bottom - size) // stride + 1
    width = (x.shape[2] + left + right - size) // stride + 1
    padded = _pad(x, around)
    out = 0.0
    for a in range(size):
        for b in range(size):
            tap = _window(padded, a, b, height, width, stride)
            out = out + tap * kernel[a, b].reshape(1, 1, 1, -1)
    return out


def _pad(x: jax.Array, around: Pads, interior: int = 0) -> jax.Array:
    config = ((0, 0, 0), *((*side, interior) for side in around), (0, 0, 0))
    return lax.pad(x, jnp.zeros((), x.dtype), config)


def _window(
    padded: jax.Array, a: int, b: int, height: int, width: int, stride: int
) -> jax.Array:
    n, _, _, c = padded.shape
    last = (n, a + stride * (height - 1) + 1, b + stride * (width - 1) + 1, c)
    return lax.slice(padded, (0, a, b, 0), last, (1, stride, stride, 1))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _shifts(x: jax.Array, kernel: jax.Array, stride: int, around: Pads) -> jax.Array:
    return _correlate(x, kernel, stride, around)


def _shifts_forward(x, kernel, stride, around):
    return _correlate(x, kernel, stride, around), (x, kernel)


def _shifts_backward(stride, around, residuals, grad):
    x, kernel = residuals
    size, height, width = kernel.shape[0], *x.shape[1:3]
    rows, columns = grad.shape[1:3]
    padded = _pad(x, around)
    taps = [
        jnp.sum(
            _window(padded, a, b, rows, columns, stride) * grad,
            axis=(0, 1, 2),
            dtype=jnp.float32,
        )
        for a in range(size)
        for b in range(size)
    ]
    grad_kernel = jnp.stack(taps).reshape(kernel.shape).astype(kernel.dtype)
    # ∂x is the full correlation of the gradient, spread out by the stride, with the
    # kernel turned by 180°, cut to the input's place in the padded input.
    spread = [
        (size - 1 - low, length + low - (stride * (count - 1) + 1))
        for (low, _), length, count in zip(
            around, (height, width), (rows, columns), strict=True
        )
    ]
    turned = kernel[::-1, ::-1]
    full = _pad(grad, spread, interior=stride - 1)
    grad_x = _correlate(full, turned, 1, ((0, 0), (0, 0)))
    return grad_x, grad_kernel


_shifts.defvjp(_shifts_forward, _shifts_backward)

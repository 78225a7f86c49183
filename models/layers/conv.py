"""Dense 3×3 convolution, by the method that is fast on the platform.

XLA:CPU computes the kernel's gradient of a convolution several times slower than a
matrix product of that size. In training, the 3×3 neighborhoods are therefore written
out once, and both the output and the kernel's gradient are products with them; the
input's gradient is a convolution, which is fast. With stride 1 and 16 channels or more,
Winograd's algorithm needs fewer products, but compiles for longer.
"""

import functools
from typing import Literal, TypeAlias, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from models.layers import winograd

Implementation: TypeAlias = Literal["auto", "direct", "lax", "patches", "winograd"]

# From this number of channels Winograd's additions cost less than they save.
_WINOGRAD = 16
_PADS = ((1, 1), (1, 1))
_DIMENSIONS = ("NHWC", "HWIO", "NHWC")


class Conv3x3(nn.Module):
    """3×3 convolution with one zero around the image, without bias.

    Attributes:
        features: Number of output channels.
        stride: Stride, 1 or more.
        dtype: Type of the computation; the kernel stays in float32.
        implementation: See `conv3x3`.
    """

    features: int
    stride: int = 1
    dtype: str = "float32"
    implementation: Implementation = "direct"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[n, h, w, c] -> [n, ⌈h/s⌉, ⌈w/s⌉, features]`."""
        shape = (3, 3, x.shape[-1], self.features)
        kernel = self.param("kernel", nn.initializers.he_normal(), shape)
        return conv3x3(
            x.astype(self.dtype),
            kernel.astype(self.dtype),
            stride=self.stride,
            implementation=self.implementation,
        )


def conv3x3(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int = 1,
    implementation: Implementation = "direct",
) -> jax.Array:
    """Return the correlation of images with 3×3 kernels.

    y[n,i,j,o] = Σ_{a,b,c} w[a,b,c,o] · x̃[n, s·i+a, s·j+b, c], x̃ the padded input.

    Args:
        x: `[n, h, w, c]`.
        kernel: `[3, 3, c, o]`, of the dtype of `x`.
        stride: s, 1 or more.
        implementation: "lax": XLA's convolution. "patches": the products above.
            "direct": "patches" on a CPU, "lax" elsewhere. "winograd": Winograd's
            algorithm where there are 16 channels or more, stride 1 and float32, else
            "direct". "auto": "winograd" on a CPU, "lax" elsewhere.

    Returns:
        `[n, ⌈h/s⌉, ⌈w/s⌉, o]`.

    Raises:
        ValueError: Unknown implementation.
    """
    on_cpu = jax.default_backend() == "cpu"
    if implementation == "auto":
        implementation = "winograd" if on_cpu else "lax"
    if implementation == "winograd":
        single = x.dtype == kernel.dtype == jnp.float32
        if single and stride == 1 and x.shape[-1] >= _WINOGRAD:
            return winograd.convolve(x, kernel)
        implementation = "direct"
    if implementation == "direct":
        implementation = "patches" if on_cpu else "lax"
    if implementation == "patches":
        return _by_patches(x, kernel, stride)
    if implementation == "lax":
        return _convolve(x, kernel, stride)
    raise ValueError(
        f"got convolution {implementation!r}; choices: "
        f"{', '.join(get_args(Implementation))}"
    )


def _convolve(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    return lax.conv_general_dilated(
        x, kernel, (stride, stride), _PADS, dimension_numbers=_DIMENSIONS
    )


def _patches(x: jax.Array, stride: int) -> jax.Array:
    """Return neighborhoods [n, h', w', 9 c], taps in the order of a kernel."""
    n, height, width, c = x.shape
    x = jnp.pad(x, ((0, 0), *_PADS, (0, 0)))
    last = [stride * ((side - 1) // stride) + 1 for side in (height, width)]
    taps = [
        lax.slice(
            x, (0, a, b, 0), (n, a + last[0], b + last[1], c), (1, stride, stride, 1)
        )
        for a in range(3)
        for b in range(3)
    ]
    return jnp.concatenate(taps, -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _by_patches(x: jax.Array, kernel: jax.Array, stride: int) -> jax.Array:
    # Without a gradient, writing the neighborhoods does not pay.
    return _convolve(x, kernel, stride)


def _forward(x, kernel, stride):
    # Without the barrier XLA would compute them again in the backward pass.
    patches = lax.optimization_barrier(_patches(x, stride))
    flat = kernel.reshape(-1, kernel.shape[-1])  # [9 c, o]
    return patches @ flat, (patches, x, kernel)


def _backward(stride, residuals, grad):
    patches, x, kernel = residuals
    rows = patches.reshape(-1, patches.shape[-1])  # [n h' w', 9 c]
    grad_kernel = lax.dot_general(
        rows,
        grad.reshape(-1, grad.shape[-1]),
        (((0,), (0,)), ((), ())),
        preferred_element_type=jnp.float32,
    )
    _, transpose = jax.vjp(lambda x: _convolve(x, kernel, stride), x)
    (grad_x,) = transpose(grad)
    return grad_x, grad_kernel.reshape(kernel.shape).astype(kernel.dtype)


_by_patches.defvjp(_forward, _backward)

"""3×3 convolution of stride 1 in float32, by Winograd's F(2×2, 3×3).

Two by two outputs take 16 products a channel instead of 36: Y = Aᵀ[(G g Gᵀ)(Bᵀ d B)]A,
d the 4×4 inputs of a tile and g the kernel. Both gradients are the same products
transposed. What is kept for them is the input's transform, 4 numbers a pixel, where
the 3×3 neighborhoods are 9.
"""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Grid = list[list[jax.Array]]

_B = ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1))  # Bᵀ
_G = ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1))
_A = ((1, 1, 1, 0), (0, 1, -1, -1))  # Aᵀ


@jax.custom_vjp
def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Return the correlation of images with 3×3 kernels, one zero around the image.

    Args:
        x: `[n, h, w, c]` float32.
        kernel: `[3, 3, c, o]` float32.

    Returns:
        `[n, h, w, o]`.

    Source: Lavin and Gray, "Fast algorithms for convolutional neural networks", arXiv
    1509.09308, section 4.1.
    """
    # Without a gradient, transforming the kernel does not pay.
    dimensions = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=dimensions
    )


def _forward(x, kernel):
    n, high, wide, c = x.shape
    rows, columns = -(-high // 2), -(-wide // 2)  # of tiles
    after = ((1, 2 * rows + 1 - high), (1, 2 * columns + 1 - wide))
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), *after, (0, 0))))
    padded = padded.reshape(n, rows + 1, 2, columns + 1, 2, c)
    d = [
        [
            padded[:, i // 2 :][:, :rows, i % 2, j // 2 :][:, :, :columns, j % 2]
            for j in range(4)
        ]
        for i in range(4)
    ]
    v = _each(lambda part: part.reshape(-1, c), _transform(_B, d))  # [n tiles, c]
    u = _transform(_G, [[kernel[i, j] for j in range(3)] for i in range(3)])  # [c, o]
    y = _transform(_A, _each(jnp.matmul, v, u))
    y = _interleave(_each(lambda part: part.reshape(n, rows, columns, -1), y))
    return y[:, :high, :wide], (v, u, x[:0])


def _backward(residuals, grad):
    v, u, empty = residuals
    n, high, wide, features = grad.shape
    rows, columns = -(-high // 2), -(-wide // 2)
    after = ((0, 2 * rows - high), (0, 2 * columns - wide))
    padded = jnp.pad(grad, ((0, 0), *after, (0, 0)))
    padded = padded.reshape(n, rows, 2, columns, 2, features)
    y = [[padded[:, :, i, :, j] for j in range(2)] for i in range(2)]
    m = _each(lambda part: part.reshape(-1, features), _transform(_turned(_A), y))
    m = lax.optimization_barrier(m)  # each is read by two products
    grad_u = _each(lambda v, m: _product(v, m, 0), v, m)
    grad_kernel = jnp.stack([jnp.stack(row) for row in _transform(_turned(_G), grad_u)])
    shape = (n, rows, columns, empty.shape[-1])
    grad_v = _each(lambda m, u: _product(m, u, 1).reshape(shape), m, u)
    grad_x = _overlapped(grad_v, rows, columns)[:, 1 : high + 1, 1 : wide + 1]
    return grad_x, grad_kernel


convolve.defvjp(_forward, _backward)


def _overlapped(grad_v: Grid, rows: int, columns: int) -> jax.Array:
    """B grad Bᵀ, summed where tiles overlap: [n, 2 rows + 2, 2 columns + 2, c].

    A pixel lies in its own tile and in the one before, along each axis.
    """
    around = ((0, 0), (1, 1), (1, 1), (0, 0))
    padded = lax.optimization_barrier(_each(lambda v: jnp.pad(v, around), grad_v))

    def along(parts, axis, size, parity):
        first = [lax.slice_in_dim(v, 1, size + 2, axis=axis) for v in parts]
        before = [lax.slice_in_dim(v, 0, size + 1, axis=axis) for v in parts]
        own = [row[parity] for row in _B] + [row[parity + 2] for row in _B]
        return _sum(own, first + before)

    half = [
        [along([padded[a][b] for a in range(4)], 1, rows, i) for b in range(4)]
        for i in range(2)
    ]
    half = lax.optimization_barrier(half)
    return _interleave(
        [[along(half[i], 2, columns, j) for j in range(2)] for i in range(2)]
    )


def _interleave(planes: Grid) -> jax.Array:
    """Four [n, h, w, c], of even and odd rows and columns, as [n, 2 h, 2 w, c]."""
    y = jnp.stack([jnp.stack(row, 3) for row in planes], 2)  # [n, h, 2, w, 2, c]
    n, high, _, wide, _, c = y.shape
    return y.reshape(n, 2 * high, 2 * wide, c)


def _transform(matrix: Sequence[Sequence[float]], grid: Grid) -> Grid:
    """M X Mᵀ of a square grid of arrays."""
    half = [[_sum(row, column) for column in zip(*grid, strict=True)] for row in matrix]
    return [[_sum(row, part) for row in matrix] for part in half]


def _sum(weights: Sequence[float], parts: Sequence[jax.Array]) -> jax.Array:
    """The weighted sum; parts of weight 0 are not read."""
    terms = [
        part if weight == 1 else weight * part
        for weight, part in zip(weights, parts, strict=True)
        if weight
    ]
    return functools.reduce(jnp.add, terms)


def _each(function, *grids: Grid) -> Grid:
    return [
        [function(*parts) for parts in zip(*lines, strict=True)]
        for lines in zip(*grids, strict=True)
    ]


def _turned(matrix):
    return tuple(zip(*matrix, strict=True))


def _product(a: jax.Array, b: jax.Array, axis: int) -> jax.Array:
    return lax.dot_general(a, b, (((axis,), (axis,)), ((), ())))

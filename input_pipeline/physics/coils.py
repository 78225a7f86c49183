"""Coil sensitivities and the Fourier transform of multi-coil scans; traced.

`to_shape` prepares scans on the host.

Images and k-space are complex64 [coils, height, width].
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

COILS = ("birdcage", "gaussian")
RADIUS = 1.5  # of the birdcage, in half widths of the image
MOST = 32


def fft2c(x: Any, xp: Any = jnp) -> Any:
    """Return the centered, unitary transform of the last two axes.

    The zero frequency lies at (h // 2, w // 2); energy is kept (Parseval).

    Args:
        x: [..., h, w].
        xp: Array module: jax.numpy in traced code, numpy for double precision.
    """
    axes = (-2, -1)
    x = xp.fft.fft2(xp.fft.ifftshift(x, axes), axes=axes, norm="ortho")
    return xp.fft.fftshift(x, axes)


def ifft2c(k: Any, xp: Any = jnp) -> Any:
    """Undo `fft2c`."""
    axes = (-2, -1)
    k = xp.fft.ifft2(xp.fft.ifftshift(k, axes), axes=axes, norm="ortho")
    return xp.fft.fftshift(k, axes)


def sensitivities(kind: str, coils: int, height: int, width: int) -> jax.Array:
    """Return coil sensitivities S, complex64 [coils, height, width].

    On [-1, 1]^2, coil c of C at the angle 2 pi c / C, at distance r_c(x) of x,

      birdcage: (1 / r_c) exp(i phi_c), phi_c the angle seen from the coil, turned by
        its own; coils lie at `RADIUS`
      gaussian: exp(-r_c^2 / 2) exp(i pi / 4), coils lie at 1

    each divided so that sum_c |S_c|^2 = 1 everywhere. The second has the same phase in
    every coil: easy for anything that looks at phases.

    Args:
        kind: One of `COILS`.
        coils: 1 to 32.
        height: Rows.
        width: Columns.

    Raises:
        ValueError: If the kind is unknown or the number of coils is out of range.

    Source: birdcage as in SigPy and ismrmrd-python-tools; the ring of Gaussians as in
    DIRECT (arXiv 2009.14248 repository, direct/data/sens.py).
    """
    if kind not in COILS:
        raise ValueError(f"got coils {kind!r}; choices: {', '.join(COILS)}")
    if not 1 <= coils <= MOST:
        raise ValueError(f"got {coils} coils; expected 1 to {MOST}")
    angle = (2 * jnp.pi * jnp.arange(coils) / coils)[:, None, None]
    radius = RADIUS if kind == "birdcage" else 1.0
    row, column = (jnp.linspace(-1, 1, n, endpoint=False) for n in (height, width))
    x = column[None, None, :] - radius * jnp.cos(angle)
    y = row[None, :, None] - radius * jnp.sin(angle)
    square = x**2 + y**2  # [coils, h, w]
    if kind == "birdcage":
        strength, phase = jax.lax.rsqrt(square), jnp.arctan2(x, -y) - angle
    else:
        strength, phase = jnp.exp(-square / 2), jnp.full_like(square, jnp.pi / 4)
    total = jnp.sqrt(jnp.sum(strength**2, 0, keepdims=True))
    return (strength / total) * jnp.exp(1j * phase)


def to_shape(k: np.ndarray, size: int, coils: int) -> tuple[np.ndarray, float]:
    """Bring the k-space of one slice to [coils, size, size].

    Args:
        k: complex [c, height, width], zero frequency in the middle.
        size: Lines each way.
        coils: Coils of the result.

    Returns:
        complex64 k-space, and the share of the energy that is left in its coils (1
        where none were combined).

    Source: coil compression by singular vectors, Buehrer et al., 2007, MRM 57:1131.
    """
    x = ifft2c(k.astype(np.complex128), np)
    side = max(x.shape[1:])
    k = fft2c(_about_the_middle(x, side, side), np)
    # Unitary transforms of another size: the same object keeps its intensity.
    k = _about_the_middle(k, size, size) * (size / side)
    c, kept = k.shape[0], 1.0
    if c > coils:
        flat = k.reshape(c, -1)
        values, vectors = np.linalg.eigh(flat @ flat.conj().T)
        kept = float(values[-coils:].sum() / max(values.sum(), 1e-300))
        k = (vectors[:, ::-1][:, :coils].conj().T @ flat).reshape(coils, size, size)
    elif c < coils:
        k = np.concatenate([k, np.zeros((coils - c, size, size))])
    return k.astype(np.complex64), kept


def _about_the_middle(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut or pads the last two axes, the element at n // 2 staying in the middle."""
    for axis, n in ((-2, height), (-1, width)):
        length = x.shape[axis]
        start = length // 2 - n // 2
        if start >= 0:
            x = np.take(x, range(start, start + n), axis)
        else:
            pad = [(0, 0)] * x.ndim
            pad[axis] = (-start, n - length + start)
            x = np.pad(x, pad)
    return x

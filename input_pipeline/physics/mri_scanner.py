"""A simulated scanner: moves objects, weighs them by coils and undersamples k-space.

Masks keep whole lines along the last axis, so that the transform along the other one
cancels, unitary as it is, and white noise stays white under it: it is left out in both
directions. Along the last axis only the lines that are kept are computed.
"""

import dataclasses
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from input_pipeline.physics import coils as coils_lib
from input_pipeline.physics import kspace_masks
from input_pipeline.physics import phantoms as phantom_physics


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scanner:
    """A scanner with the fields that both views of a scan share.

    Attributes:
        size: Side of the image, and number of lines in full.
        coils: Number of coils.
        sensitivities: Kind of simulated coils; see `coils.sensitivities`.
        combine: "channels" or "rss"; see `network_input`.
        mask: Kind of mask; see `kspace_masks.mask_table`.
        offset: First line of the comb; -1 draws it.
        snr: Root mean square of the object over the noise, per coil; 0 for no noise.
        rotate: Largest rotation in degrees.
        shift: Largest shift in pixels.
        contrast: c: exponents of the magnitude lie in 1 / (1 + c) .. 1 + c.
    """

    size: int
    coils: int
    sensitivities: str
    combine: str
    mask: str
    offset: int
    snr: float
    rotate: float
    shift: float
    contrast: float

    def masks(self, acceleration: float, center_fraction: float) -> np.ndarray:
        """Return the masks of a view, bool [offsets, size].

        Raises:
            ValueError: If the fields do not fit each other, or the comb has fewer
                offsets.
        """
        table = kspace_masks.mask_table(
            self.mask, self.size, float(acceleration), float(center_fraction)
        )
        if self.offset < 0:
            return table
        if self.offset >= len(table):
            raise ValueError(
                f"offset is {self.offset}; its comb has {len(table)} offsets"
            )
        return table[self.offset : self.offset + 1]

    def whole(self, batch: dict) -> jax.Array:
        """Return whole coil images, real and imaginary part, [n, coils, h, 2, w]."""
        n = batch["id"].shape[0]
        still = (jnp.zeros((n,)), jnp.zeros((n, 2)))
        x = self._coil_images(batch, still, moving=False)
        power = jnp.mean(jnp.sum(x * x, (1, 3)), (1, 2))  # [n]
        return x * _scale(power)[:, None, None, None, None]

    def measure(
        self, rng: jax.Array, batch: dict, index: int, table: np.ndarray, moving: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Return zero-filled coil images [n, coils, h, 2, w], and masks [n, w]."""
        rng = jax.random.fold_in(rng, index)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        keys = jax.vmap(jax.random.split)(keys)  # [n, 2]
        u = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys[:, 0])
        turn, move = 2 * u[:, 0] - 1, 2 * u[:, 1:3] - 1
        pose = turn * np.deg2rad(self.rotate), move * self.shift
        still = jax.tree.map(jnp.zeros_like, pose)
        x = self._coil_images(batch, pose if moving else still, moving)
        if moving and self.contrast:
            x = _with_contrast(x, (2 * u[:, 4] - 1) * np.log1p(self.contrast))
        row = jnp.int32(u[:, 3] * len(table))  # u < 1
        lines = _lines(table)
        flat = x.reshape(*x.shape[:3], -1)  # [n, c, h, 2 w]
        # Accelerators would round the transform's numbers to ten bits.
        product = functools.partial(jnp.einsum, precision=jax.lax.Precision.HIGHEST)
        k = product("nchw,nwl->nchl", flat, jnp.asarray(lines.forward)[row])
        if self.snr:
            power = jnp.mean(jnp.sum(x * x, (1, 3)), (1, 2))  # [n]
            shape = k.shape[1:]
            noise = jax.vmap(lambda key: jax.random.normal(key, shape))(keys[:, 1])
            size = jnp.sqrt(0.5 * power) / self.snr  # of either part
            is_line = jnp.asarray(lines.is_line)[row]  # [n, 2 l]
            k = k + noise * (size[:, None] * is_line)[:, None, None, :]
        # Parseval: what is measured has the power of the zero-filled image.
        power = jnp.sum(k * k, (1, 2, 3)) / self.size**2
        k = k * _scale(power)[:, None, None, None]
        x = product("nchl,nlw->nchw", k, jnp.asarray(lines.backward)[row])
        return x.reshape(*x.shape[:3], 2, -1), jnp.asarray(table)[row]

    def network_input(self, x: jax.Array) -> jax.Array:
        """Return coil images as channels, float32 [n, h, w, c]."""
        if self.combine == "rss":
            return _root(x)[..., None]
        n, c, h, _, w = x.shape
        return jnp.transpose(x, (0, 2, 4, 3, 1)).reshape(n, h, w, 2 * c)

    def _coil_images(self, batch: dict, pose, moving: bool) -> jax.Array:
        """Return the moved object as the coils measure it, [n, coils, h, 2, w]."""
        angle, shift = pose
        if "kspace" in batch:
            k = batch["kspace"]
            expected = (self.coils, self.size, self.size)
            if k.shape[1:] != expected:
                raise ValueError(
                    f"got scans [coils, height, width] of {list(k.shape[1:])}; "
                    f"expected {list(expected)}: let data.coils and data.size be "
                    "those of augment"
                )
            x = _parts(coils_lib.ifft2c(k))
            every = jax.vmap(jax.vmap(_move, (1, None, None), 1), (0, None, None))
            return jax.vmap(every)(x, angle, shift) if moving else x
        if "phantom" in batch:
            x = jax.vmap(self._phantom)(batch["phantom"], angle, shift)
        else:
            x = _gray(batch["image"], self.size)
            x = jax.vmap(_move)(x, angle, shift) if moving else x
        coils = coils_lib.sensitivities(
            self.sensitivities, self.coils, self.size, self.size
        )
        return x[:, None, :, None, :] * _parts(coils)[None]

    def _phantom(self, phantom: jax.Array, angle, shift) -> jax.Array:
        """Drawn where it stands after the move, so that nothing is interpolated."""
        key = jax.random.fold_in(jax.random.PRNGKey(phantom[0]), phantom[1])
        drawn = phantom_physics.draw_ellipses(key, phantom[2].astype(jnp.int32))
        return phantom_physics.render(
            drawn, self.size, self.size, angle, 2 * shift / self.size
        )


class _Lines(NamedTuple):
    """Matrices of the transform along the last axis to each mask's lines, and back.

    Real numbers in place of complex ones: [real, imaginary] side by side. Masks with
    fewer lines than others have columns of zeros.

    Attributes:
        forward: [offsets, 2 w, 2 l].
        backward: [offsets, 2 l, 2 w].
        is_line: 1 where a column is a line, [offsets, 2 l].
    """

    forward: np.ndarray
    backward: np.ndarray
    is_line: np.ndarray


def _lines(table: np.ndarray) -> _Lines:
    """Return the centered unitary transform at the lines of each mask."""
    width, most = table.shape[1], int(table.sum(1).max())
    place = np.arange(width) - width // 2
    full = np.exp(-2j * np.pi * np.outer(place, place) / width) / np.sqrt(width)
    forward = np.zeros((len(table), width, most), complex)
    is_line = np.zeros((len(table), most), np.float32)
    for offset, mask in enumerate(table):
        count = int(mask.sum())
        forward[offset, :, :count], is_line[offset, :count] = full[:, mask], 1
    backward = forward.conj().swapaxes(1, 2)
    return _Lines(_as_real(forward), _as_real(backward), np.tile(is_line, 2))


def _as_real(m: np.ndarray) -> np.ndarray:
    """Return the matrix that does to [real, imaginary] what `m` does to x."""
    return np.block([[m.real, m.imag], [-m.imag, m.real]]).astype(np.float32)


def _parts(x: jax.Array) -> jax.Array:
    """Return real and imaginary part, [..., h, w] -> [..., h, 2, w]."""
    return jnp.stack([x.real, x.imag], -2)


def _root(x: jax.Array) -> jax.Array:
    """Return the root of the sum of squares over coils, [n, h, w]."""
    square = jnp.sum(x * x, (1, 3))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _with_contrast(x: jax.Array, exponent: jax.Array) -> jax.Array:
    """Raise magnitudes r over their largest to r^exp(exponent), [n]; phases stay."""
    r = _root(x)  # [n, h, w]
    r = r / jnp.maximum(r.max((1, 2), keepdims=True), 1e-12)
    # What is nearly nothing stays so: low powers would lift its noise.
    gain = jnp.maximum(r, 1e-2) ** (jnp.exp(exponent) - 1)[:, None, None]
    return x * gain[:, None, :, None, :]


def _scale(power: jax.Array) -> jax.Array:
    """Return one over the root of the mean power; 0 stays 0."""
    return jax.lax.rsqrt(jnp.maximum(power, 1e-20))


def _gray(image: jax.Array, size: int) -> jax.Array:
    """Return magnitudes [n, size, size] in [0, 1] of images uint8 [n, S, S, 3]."""
    gray = image.astype(jnp.float32).mean(-1) / 255
    if gray.shape[1:] == (size, size):
        return gray
    return jax.image.resize(gray, (gray.shape[0], size, size), "linear")


def _move(x: jax.Array, angle: jax.Array, shift: jax.Array) -> jax.Array:
    """Turn an image [h, w] about its middle, then shifts it; linear, 0 outside."""
    h, w = x.shape
    row = jnp.arange(h, dtype=jnp.float32)[:, None] - (h - 1) / 2 - shift[0]
    column = jnp.arange(w, dtype=jnp.float32)[None, :] - (w - 1) / 2 - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source = [
        cos * row - sin * column + (h - 1) / 2,
        sin * row + cos * column + (w - 1) / 2,
    ]
    return map_coordinates(x, source, order=1)

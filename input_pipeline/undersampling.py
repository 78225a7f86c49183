"""Views of a multi-coil scan, as an undersampled measurement would show it.

A view is, in this order: move the object, see it through the coils, transform to
k-space, add noise, keep the lines of a mask, transform back, divide by one positive
number. A batch holds what is scanned: `phantom` uint32 [n, 3], drawn here; `kspace`
complex64 [n, coils, size, size], a measured scan with its own coils; or `image` uint8
[n, S, S, 3], a magnitude picture that is seen through simulated coils.

Masks keep whole lines along the last axis, so that the transform along the other one
cancels, unitary as it is, and white noise stays white under it: it is left out in both
directions. Along the last axis only the lines that are kept are computed.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates

from input_pipeline import _coils, _contract, _ellipses, _masks, kspace

VIEWS = ("view1", "view2")
VIEW_FIELDS = ("acceleration", "center_fraction")
# Zero-filled pictures: dark is nothing, and most of them are dark.
FLOOR = {"size": 64, "ground": 0.0}


def make_augment(
    *,
    size: int,
    coils: int,
    view1: Mapping,
    view2: Mapping,
    sensitivities: Literal["birdcage", "gaussian"] = "birdcage",
    combine: Literal["channels", "rss"] = "channels",
    mask: Literal["equispaced", "equispaced_fraction"] = "equispaced",
    offset: int = -1,
    snr: float = 40.0,
    rotate: float = 10.0,
    shift: float = 2.0,
    contrast: float = 0.0,
) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that adds two undersampled views to a batch.

    x = F^-1 M (F S (R o)^g + e) / s,  s^2 = mean over the picture of sum_c |x_c|^2

    o the object, R its rotation and shift, g its contrast, S the coils, F the unitary
    transform, M the mask, e complex Gaussian noise. R, g, M and e are drawn for each
    view by itself.

    Args:
      size: side of the picture, and lines in full.
      coils: 1 to 32; measured scans come with theirs.
      view1: `acceleration` and `center_fraction` of the first view's mask.
      view2: the same for the second view.
      sensitivities: of simulated coils.
      combine: "channels": real and imaginary part of each coil, [n, s, s, 2 coils];
        "rss": the root of the sum of squares, [n, s, s, 1], which knows no phase.
      mask: "equispaced" (middle added, so less than the acceleration asked for) or
        "equispaced_fraction" (comb widened until both are 1 / acceleration).
      offset: first line of the comb; -1 draws it.
      snr: root mean square of the object over the noise's standard deviation, a coil;
        0 adds no noise.
      rotate: degrees, uniform in both directions.
      shift: pixels, uniform in both directions, of rows and of columns.
      contrast: c, as of other pulse sequences: g lies in 1 / (1 + c) .. 1 + c, its
        logarithm uniform.

    Returns:
      `augment(rng, batch)`: the batch with `view1` and `view2`, float32, and in `diag`
      the mean acceleration of the masks drawn, `acceleration_1` and `_2`.

    Raises:
      ValueError: on a field that does not exist or a value out of range.

    Source: masks of fastMRI, arXiv 1811.08839, section 4.2.
    """
    scanner = _Scanner(
        size=size,
        coils=coils,
        sensitivities=sensitivities,
        combine=combine,
        mask=mask,
        offset=offset,
        snr=snr,
        rotate=rotate,
        shift=shift,
        contrast=contrast,
    )
    tables = [
        scanner.table(fields, name)
        for name, fields in zip(VIEWS, (view1, view2), strict=True)
    ]

    def augment(rng, batch):
        """Adds the two views to a batch."""
        made, diag = {}, {}
        for i, (name, table) in enumerate(zip(VIEWS, tables, strict=True)):
            x, drawn = scanner.measure(rng, batch, i, table, moving=True)
            made[name] = scanner.network_input(x)
            diag[f"acceleration_{i + 1}"] = jnp.mean(size / jnp.sum(drawn, 1))
        return {**batch, **made, "diag": diag}

    return augment


def make_center(*, size: int, coils: int, **fields) -> Callable[[dict], dict]:
    """Makes the function that turns scans into network input as they are.

    All lines, no noise added, nothing moved.

    Args:
      size: side of the picture.
      coils: 1 to 32.
      **fields: as in `make_augment`, of which only `sensitivities` and `combine` are
        looked at.

    Returns:
      `center(batch)`: the batch with `image`, float32 [n, size, size, channels].
    """
    scanner = _scanner(size, coils, fields)

    def center(batch):
        return {**batch, "image": scanner.network_input(scanner.whole(batch))}

    return center


def make_view(
    view: str, *, size: int, coils: int, **fields
) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that measures a batch by the mask of one view.

    Nothing is moved: that is for training.

    Args:
      view: "view1" or "view2".
      size: side of the picture.
      coils: 1 to 32.
      **fields: as in `make_augment`.

    Returns:
      `measure(rng, batch)`: the batch with `image`, float32 [n, size, size, channels].
    """
    measure, scanner = _measure(view, size, coils, fields)

    def see(rng, batch):
        return {**batch, "image": scanner.network_input(measure(rng, batch))}

    return see


def make_pictures(
    *, size: int, coils: int, **fields
) -> Callable[[dict, jax.Array | None], jax.Array]:
    """Makes the function that shows to people, and to floors, what the network sees.

    Args:
      size: side of the picture.
      coils: 1 to 32.
      **fields: as in `make_augment`.

    Returns:
      `pictures(batch, seen)`: roots of sums of squares of the input `seen`, or of the
      scans as they are where it is None, divided by their largest value, float32
      [n, size, size, 1] in [0, 1].
    """
    center = make_center(size=size, coils=coils, **fields)

    def pictures(batch, seen):
        seen = center(batch)["image"] if seen is None else seen
        shown = jnp.sqrt(jnp.sum(seen * seen, -1, keepdims=True))
        return shown / jnp.maximum(shown.max((1, 2, 3), keepdims=True), 1e-12)

    return pictures


def make_preview(
    *, size: int, coils: int, **fields
) -> tuple[list[str], Callable[[jax.Array, dict], list[jax.Array]]]:
    """Returns titles, and `preview(rng, batch)`: pictures of how views come about.

    The object; then for both views the mask, the logarithm of the energy of k-space on
    the mask (coils added), and the zero-filled picture, moved as in training.
    """
    scanner = _scanner(size, coils, fields)
    pictures = make_pictures(size=size, coils=coils, **fields)

    def preview(rng, batch):
        shown = [pictures(batch, None)]
        for i, view in enumerate(VIEWS):
            table = scanner.table(fields[view], view)
            x, drawn = scanner.measure(rng, batch, i, table, moving=True)
            n = x.shape[0]
            mask = drawn.astype(jnp.float32)
            k = _coils.fft2c(jax.lax.complex(x[:, :, :, 0], x[:, :, :, 1]))
            k = jnp.where(drawn[:, None, None, :], k, 0)
            energy = jnp.sum(k.real**2 + k.imag**2, 1)  # [n, h, w]
            energy = jnp.log10(jnp.maximum(energy, 1e-12))
            top = energy.max((1, 2), keepdims=True)
            shown += [
                jnp.broadcast_to(mask[:, None, :, None], (n, size, size, 1)),
                jnp.clip(1 + (energy - top) / 5, 0, 1)[..., None],
                pictures(batch, scanner.network_input(x)),
            ]
        return shown

    parts = [
        f"{what} {i + 1}"
        for i in range(len(VIEWS))
        for what in ("mask", "k-space", "zero-filled")
    ]
    return ["object", *parts], preview


def input_shape(
    *, size: int, coils: int, combine: str = "channels", **_
) -> tuple[int, int, int]:
    """Returns the shape of one view."""
    return size, size, 1 if combine == "rss" else 2 * coils


def facts(*, size: int, coils: int, **fields) -> dict[str, dict]:
    """Returns what acceleration was asked for and what the masks truly have."""
    scanner = _scanner(size, coils, fields)
    found = {}
    for name in VIEWS:
        true = _masks.achieved_acceleration(scanner.table(fields[name], name))
        found[f"acceleration_{name}"] = {
            "asked": float(fields[name]["acceleration"]),
            "center_fraction": float(fields[name]["center_fraction"]),
            "least": round(float(true.min()), 3),
            "largest": round(float(true.max()), 3),
        }
    return found


def read_records(
    path: str, data: Mapping, *, size: int, coils: int, **_
) -> tuple[_contract.Split, dict]:
    """Returns the scans of a folder or a file, and facts on them.

    Args:
      path: file or folder of k-space.
      data: fields of the dataset in training, of which `key`, `axes` and `cache` count.
      size: side of the picture.
      coils: 1 to 32.
      **_: the views' other fields, of no use here.

    Raises:
      DataError: if there is nothing that can be read.
    """
    known = {name: data[name] for name in ("key", "axes", "cache") if name in data}
    # A dataset of pictures has a key of its own, which is none of k-space.
    if "coils" not in data:
        known.pop("key", None)
    return kspace.read_records(path, size=size, coils=coils, **known)


def view_fields(view: Mapping, name: str) -> dict[str, float]:
    """Returns the fields of a view's mask.

    Raises:
      ValueError: if one is missing or unknown.
    """
    if set(view) != set(VIEW_FIELDS):
        raise ValueError(
            f"{name}: got fields {sorted(view)}; expected {', '.join(VIEW_FIELDS)}"
        )
    return {field: float(view[field]) for field in VIEW_FIELDS}


def _scanner(size: int, coils: int, fields: Mapping) -> "_Scanner":
    own = {k: v for k, v in fields.items() if k not in VIEWS}
    return _Scanner(size=size, coils=coils, **own)


def _measure(view: str, size: int, coils: int, fields: Mapping):
    if view not in VIEWS:
        raise ValueError(f"got view {view!r}; choices: {', '.join(VIEWS)}")
    scanner = _scanner(size, coils, fields)
    table = scanner.table(fields[view], view)
    index = VIEWS.index(view)

    def measure(rng, batch):
        return scanner.measure(rng, batch, index, table, moving=False)[0]

    return measure, scanner


class _Scanner:
    """Fields that both views share, checked, and what is done with them."""

    def __init__(
        self,
        *,
        size: int,
        coils: int,
        sensitivities: str = "birdcage",
        combine: str = "channels",
        mask: str = "equispaced",
        offset: int = -1,
        snr: float = 40.0,
        rotate: float = 10.0,
        shift: float = 2.0,
        contrast: float = 0.0,
    ):
        if size < 8:
            raise ValueError(f"size is {size}; expected 8 pixels or more")
        if combine not in ("channels", "rss"):
            raise ValueError(f"got combine {combine!r}; choices: channels, rss")
        numbers = {"snr": snr, "rotate": rotate, "shift": shift, "contrast": contrast}
        for name, value in numbers.items():
            if not value >= 0:
                raise ValueError(f"{name} is {value}; expected 0 or more")
        if offset < -1:
            raise ValueError(f"offset is {offset}; expected -1 (drawn) or a line")
        # Made when it is first traced: a config is checked without any device.
        jax.eval_shape(lambda: _coils.sensitivities(sensitivities, coils, size, size))
        self.size, self.coils, self.sensitivities = size, coils, sensitivities
        self.combine, self.mask, self.offset = combine, mask, offset
        self.snr, self.rotate, self.shift = snr, rotate, shift
        self.contrast = contrast

    def table(self, fields: Mapping, name: str) -> np.ndarray:
        """The masks of a view, bool [offsets, size]."""
        try:
            table = _masks.mask_table(self.mask, self.size, **view_fields(fields, name))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None
        if self.offset < 0:
            return table
        if self.offset >= len(table):
            raise ValueError(
                f"{name}: offset is {self.offset}; its comb has {len(table)} offsets"
            )
        return table[self.offset : self.offset + 1]

    def whole(self, batch: dict) -> jax.Array:
        """Coil pictures as they are, real and imaginary, [n, coils, h, 2, w]."""
        n = batch["id"].shape[0]
        still = (jnp.zeros((n,)), jnp.zeros((n, 2)))
        x = self._seen(batch, still, moving=False)
        power = jnp.mean(jnp.sum(x * x, (1, 3)), (1, 2))  # [n]
        return x * _scale(power)[:, None, None, None, None]

    def measure(
        self, rng, batch, index: int, table: np.ndarray, moving: bool
    ) -> tuple[jax.Array, jax.Array]:
        """Zero-filled coil pictures [n, coils, h, 2, w] of a view, its masks [n, w]."""
        rng = jax.random.fold_in(rng, index)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        keys = jax.vmap(jax.random.split)(keys)  # [n, 2]
        u = jax.vmap(lambda key: jax.random.uniform(key, (5,)))(keys[:, 0])
        turn, move = 2 * u[:, 0] - 1, 2 * u[:, 1:3] - 1
        pose = turn * np.deg2rad(self.rotate), move * self.shift
        still = jax.tree.map(jnp.zeros_like, pose)
        x = self._seen(batch, pose if moving else still, moving)
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
            there = jnp.asarray(lines.there)[row]  # [n, 2 l]
            k = k + noise * (size[:, None] * there)[:, None, None, :]
        # Parseval: what is measured has the power of the zero-filled picture.
        power = jnp.sum(k * k, (1, 2, 3)) / self.size**2
        k = k * _scale(power)[:, None, None, None]
        x = product("nchl,nlw->nchw", k, jnp.asarray(lines.backward)[row])
        return x.reshape(*x.shape[:3], 2, -1), jnp.asarray(table)[row]

    def network_input(self, x: jax.Array) -> jax.Array:
        """Channels last, float32 [n, h, w, c]."""
        if self.combine == "rss":
            return _root(x)[..., None]
        n, c, h, _, w = x.shape
        return jnp.transpose(x, (0, 2, 4, 3, 1)).reshape(n, h, w, 2 * c)

    def _seen(self, batch: dict, pose, moving: bool) -> jax.Array:
        """The moved object through its coils, [n, coils, h, 2, w]."""
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
            x = _parts(_coils.ifft2c(k))
            every = jax.vmap(jax.vmap(_move, (1, None, None), 1), (0, None, None))
            return jax.vmap(every)(x, angle, shift) if moving else x
        if "phantom" in batch:
            x = jax.vmap(self._phantom)(batch["phantom"], angle, shift)
        else:
            x = _grey(batch["image"], self.size)
            x = jax.vmap(_move)(x, angle, shift) if moving else x
        coils = _coils.sensitivities(
            self.sensitivities, self.coils, self.size, self.size
        )
        return x[:, None, :, None, :] * _parts(coils)[None]

    def _phantom(self, phantom: jax.Array, angle, shift) -> jax.Array:
        """Drawn where it stands after the move, so that nothing is interpolated."""
        key = jax.random.fold_in(jax.random.PRNGKey(phantom[0]), phantom[1])
        drawn = _ellipses.draw_ellipses(key, phantom[2].astype(jnp.int32))
        return _ellipses.render(
            drawn, self.size, self.size, angle, 2 * shift / self.size
        )


class _Lines(NamedTuple):
    """Transforms along the last axis to the lines of each mask and back, as matrices.

    Real numbers in place of complex ones: [real, imaginary] side by side. Masks with
    fewer lines than others have columns of zeros.

    Attributes:
      forward: [offsets, 2 w, 2 l].
      backward: [offsets, 2 l, 2 w].
      there: 1 where a column is a line, [offsets, 2 l].
    """

    forward: np.ndarray
    backward: np.ndarray
    there: np.ndarray


def _lines(table: np.ndarray) -> _Lines:
    """The unitary transform, centred, at the lines that each mask keeps."""
    width, most = table.shape[1], int(table.sum(1).max())
    place = np.arange(width) - width // 2
    full = np.exp(-2j * np.pi * np.outer(place, place) / width) / np.sqrt(width)
    forward = np.zeros((len(table), width, most), complex)
    there = np.zeros((len(table), most), np.float32)
    for offset, mask in enumerate(table):
        count = int(mask.sum())
        forward[offset, :, :count], there[offset, :count] = full[:, mask], 1
    backward = forward.conj().swapaxes(1, 2)
    return _Lines(_as_real(forward), _as_real(backward), np.tile(there, 2))


def _as_real(m: np.ndarray) -> np.ndarray:
    """The matrix that acts on [real, imaginary] rows as `m` does on complex ones."""
    return np.block([[m.real, m.imag], [-m.imag, m.real]]).astype(np.float32)


def _parts(x: jax.Array) -> jax.Array:
    """Real and imaginary part, [..., h, w] -> [..., h, 2, w]."""
    return jnp.stack([x.real, x.imag], -2)


def _root(x: jax.Array) -> jax.Array:
    """Root of the sum of squares [n, h, w] of coil pictures [n, c, h, 2, w]."""
    square = jnp.sum(x * x, (1, 3))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)


def _with_contrast(x: jax.Array, exponent: jax.Array) -> jax.Array:
    """Magnitudes r over their largest become r^exp(exponent), [n]; phases stay."""
    r = _root(x)  # [n, h, w]
    r = r / jnp.maximum(r.max((1, 2), keepdims=True), 1e-12)
    # What is nearly nothing stays so: low powers would lift its noise.
    gain = jnp.maximum(r, 1e-2) ** (jnp.exp(exponent) - 1)[:, None, None]
    return x * gain[:, None, :, None, :]


def _scale(power: jax.Array) -> jax.Array:
    """One over the root of the mean power; 0 stays 0."""
    return jax.lax.rsqrt(jnp.maximum(power, 1e-20))


def _grey(image: jax.Array, size: int) -> jax.Array:
    """Magnitudes [n, size, size] in [0, 1] of pictures uint8 [n, S, S, 3]."""
    grey = image.astype(jnp.float32).mean(-1) / 255
    if grey.shape[1:] == (size, size):
        return grey
    return jax.image.resize(grey, (grey.shape[0], size, size), "linear")


def _move(x: jax.Array, angle: jax.Array, shift: jax.Array) -> jax.Array:
    """Turns a picture [h, w] about its middle, then shifts it; linear, 0 outside."""
    h, w = x.shape
    row = jnp.arange(h, dtype=jnp.float32)[:, None] - (h - 1) / 2 - shift[0]
    column = jnp.arange(w, dtype=jnp.float32)[None, :] - (w - 1) / 2 - shift[1]
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    source = [
        cos * row - sin * column + (h - 1) / 2,
        sin * row + cos * column + (w - 1) / 2,
    ]
    return map_coordinates(x, source, order=1)

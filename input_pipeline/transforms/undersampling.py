"""Views of a multi-coil scan, as an undersampled measurement would show it.

A view is, in this order: move the object, see it through the coils, transform to
k-space, add noise, keep the lines of a mask, transform back, divide by one positive
number. A batch holds what is scanned: `phantom` uint32 [n, 3], drawn here; `kspace`
complex64 [n, coils, size, size], a measured scan with its own coils; or `image` uint8
[n, S, S, 3], a magnitude picture that is seen through simulated coils.

How that is computed stands in `_scanner.py`.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from input_pipeline import dataset
from input_pipeline.datasets import kspace
from input_pipeline.physics import coils as coils_lib
from input_pipeline.physics import kspace_masks, mri_scanner

VIEWS = ("view1", "view2")
# Zero-filled pictures: dark is nothing, and most of them are dark.
BASELINES = {"pixels": {"size": 64, "ground": 0.0}}
GALLERY_VIEW = ""  # records are found as they are


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
    scanner = mri_scanner.Scanner(
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
    scanner = _shared(size, coils, fields)

    def center(batch):
        """Returns the batch with fully sampled pictures."""
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
        """Returns the batch with pictures as one view measures them."""
        return {**batch, "image": scanner.network_input(measure(rng, batch))}

    return see


def make_pictures(
    *, size: int, coils: int, **fields
) -> Callable[[dict, jax.Array | None], jax.Array]:
    """Makes the function that shows to people, and to baselines, what the network sees.

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
        """Returns magnitudes to be shown, [n, size, size, 1]."""
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
    scanner = _shared(size, coils, fields)
    pictures = make_pictures(size=size, coils=coils, **fields)

    def preview(rng, batch):
        """Returns the columns of the sheet, from the object to both pictures."""
        shown = [pictures(batch, None)]
        for i, view in enumerate(VIEWS):
            table = scanner.table(fields[view], view)
            x, drawn = scanner.measure(rng, batch, i, table, moving=True)
            n = x.shape[0]
            mask = drawn.astype(jnp.float32)
            k = coils_lib.fft2c(jax.lax.complex(x[:, :, :, 0], x[:, :, :, 1]))
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
    scanner = _shared(size, coils, fields)
    found = {}
    for name in VIEWS:
        true = kspace_masks.achieved_acceleration(scanner.table(fields[name], name))
        found[f"acceleration_{name}"] = {
            "asked": float(fields[name]["acceleration"]),
            "center_fraction": float(fields[name]["center_fraction"]),
            "least": round(float(true.min()), 3),
            "largest": round(float(true.max()), 3),
        }
    return found


def read_records(
    path: str, data: Mapping, *, size: int, coils: int, **_
) -> tuple[dataset.Split, dict]:
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


def _shared(size: int, coils: int, fields: Mapping) -> mri_scanner.Scanner:
    own = {k: v for k, v in fields.items() if k not in VIEWS}
    return mri_scanner.Scanner(size=size, coils=coils, **own)


def _measure(view: str, size: int, coils: int, fields: Mapping):
    if view not in VIEWS:
        raise ValueError(f"got view {view!r}; choices: {', '.join(VIEWS)}")
    scanner = _shared(size, coils, fields)
    table = scanner.table(fields[view], view)
    index = VIEWS.index(view)

    def measure(rng, batch):
        return scanner.measure(rng, batch, index, table, moving=False)[0]

    return measure, scanner

"""Views of a multi-coil scan, as an undersampled measurement would show it.

A view applies, in this order: motion of the object, coil sensitivities, transform to
k-space, noise, the lines of a mask, transform back, division by one positive number. A
batch holds what is scanned: `phantom` uint32 [n, 3], drawn here; `kspace` complex64
[n, coils, size, size], a measured scan with its own coils; or `image` uint8
[n, S, S, 3], a magnitude image that is seen through simulated coils.

The simulation itself stands in `physics/mri_scanner.py`.
"""

import dataclasses
import functools
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from input_pipeline.physics import coils as coils_lib
from input_pipeline.physics import kspace_masks, mri_scanner
from input_pipeline.transforms.ops.transform import Batch, TransformBase

_VIEWS = ("view1", "view2")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MaskView:
    """The mask of one view.

    Attributes:
        acceleration: All lines over the lines asked for.
        center_fraction: Share of the lines, in the middle, that is always measured.
    """

    acceleration: Annotated[float, Interval(ge=1, le=256)]
    center_fraction: Annotated[float, Interval(gt=0, le=1)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(TransformBase):
    """Two undersampled views of each scan.

      x = F^-1 M (F S (R o)^g + e) / s,  s^2 = mean over the image of sum_c |x_c|^2

    where o is the object, R its rotation and shift, g its contrast, S the coils, F the
    unitary transform, M the mask, e complex Gaussian noise. R, g, M and e are drawn for
    each view separately.

    Args:
        size: Side of the image, and number of lines in full.
        coils: Coils; measured scans have their own.
        view1: Mask of the first view.
        view2: Mask of the second view.
        sensitivities: Model of the simulated coils.
        combine: "channels": real and imaginary part of each coil, [n, s, s, 2 coils];
            "rss": root of the sum of squares, [n, s, s, 1], which has no phase.
        mask: "equispaced" (center lines added, so less than the acceleration asked for)
            or "equispaced_fraction" (comb widened until both are 1 / acceleration).
        offset: First line of the comb; -1 draws it.
        snr: Root mean square of the object over the standard deviation of the noise,
            per coil; 0 adds no noise.
        rotate: Degrees, uniform in both directions.
        shift: Pixels, uniform in both directions, of rows and of columns.
        contrast: C, as of other pulse sequences: g in 1 / (1 + c) .. 1 + c, its
            logarithm uniform.

    Raises:
        ValueError: A field does not exist or is out of range.

    Source: masks of fastMRI, arXiv 1811.08839, section 4.2.
    """

    view_class: ClassVar = MaskView
    # Zero-filled images, most of them dark.
    baselines: ClassVar = {"pixels": {"size": 64, "background": 0.0}}
    preview_titles: ClassVar = (
        "object", "mask 1", "k-space 1", "zero-filled 1", "mask 2", "k-space 2",
        "zero-filled 2",
    )  # fmt: skip

    size: Annotated[int, Interval(ge=8, le=1024)]
    coils: Annotated[int, Interval(ge=1, le=32)]
    view1: MaskView = MaskView(acceleration=4.0, center_fraction=0.08)
    view2: MaskView = MaskView(acceleration=8.0, center_fraction=0.04)
    sensitivities: Literal["birdcage", "gaussian"] = "birdcage"
    combine: Literal["channels", "rss"] = "channels"
    mask: Literal["equispaced", "equispaced_fraction"] = "equispaced"
    offset: Annotated[int, Interval(ge=-1, le=255)] = -1
    snr: Annotated[float, Interval(ge=0, le=1e6)] = 40.0
    rotate: Annotated[float, Interval(ge=0, le=180)] = 10.0
    shift: Annotated[float, Interval(ge=0, le=1024)] = 2.0
    contrast: Annotated[float, Interval(ge=0, le=10)] = 0.0

    def __post_init__(self):
        super().__post_init__()
        for name in _VIEWS:
            self._masks(name)

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one view."""
        return self.size, self.size, 1 if self.combine == "rss" else 2 * self.coils

    def augment(self, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with both views.

        Args:
            rng: Key of the step.
            batch: Records, as described in the module.

        Returns:
            The batch with `view1` and `view2`, float32 [n, *input_shape], and, in
            `diag`, the mean acceleration of the masks, `acceleration_1` and `_2`.
        """
        views, diag = {}, {}
        for i, name in enumerate(_VIEWS):
            masks = self._masks(name)
            x, lines = self._scanner.measure(rng, batch, i, masks, moving=True)
            views[name] = self._scanner.network_input(x)
            diag[f"acceleration_{i + 1}"] = jnp.mean(self.size / jnp.sum(lines, 1))
        return {**batch, **views, "diag": diag}

    def center(self, batch: Batch) -> Batch:
        """Return the batch with `image`: all lines, no noise added, nothing moved.

        Args:
            batch: Records.

        Returns:
            The batch with `image` float32 [n, *input_shape].
        """
        scanner = self._scanner
        return {**batch, "image": scanner.network_input(scanner.whole(batch))}

    def view(self, name: str, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with `image`, measured by the mask of a view.

        The object is not moved; motion is for training.

        Args:
            name: "view1" or "view2".
            rng: Key of the draws.
            batch: Records.
        """
        self._check_view(name)
        scanner, masks = self._scanner, self._masks(name)
        x, _ = scanner.measure(rng, batch, _VIEWS.index(name), masks, moving=False)
        return {**batch, "image": scanner.network_input(x)}

    def images(self, batch: Batch, seen: jax.Array | None) -> jax.Array:
        """Return magnitudes for display and for the baseline of raw pixels.

        Args:
            batch: Records.
            seen: Network input float32 [n, *input_shape]; None for whole scans.

        Returns:
            Root of the sum of squares over its largest value, [n, size, size, 1].
        """
        seen = self.center(batch)["image"] if seen is None else seen
        magnitude = jnp.sqrt(jnp.sum(seen * seen, -1, keepdims=True))
        return magnitude / jnp.maximum(magnitude.max((1, 2, 3), keepdims=True), 1e-12)

    def preview(self, rng: jax.Array, batch: Batch) -> list[jax.Array]:
        """Return the steps from the object to both views, [n, size, size, 1] each.

        The object; then for both views the mask, the logarithm of the energy of k-space
        on the mask (summed over coils), and the zero-filled image, moved as in
        training.
        """
        columns = [self.images(batch, None)]
        for i, name in enumerate(_VIEWS):
            masks = self._masks(name)
            x, lines = self._scanner.measure(rng, batch, i, masks, moving=True)
            n = x.shape[0]
            mask = lines.astype(jnp.float32)
            k = coils_lib.fft2c(jax.lax.complex(x[:, :, :, 0], x[:, :, :, 1]))
            k = jnp.where(lines[:, None, None, :], k, 0)
            energy = jnp.sum(k.real**2 + k.imag**2, 1)  # [n, h, w]
            energy = jnp.log10(jnp.maximum(energy, 1e-12))
            top = energy.max((1, 2), keepdims=True)
            columns += [
                jnp.broadcast_to(mask[:, None, :, None], (n, self.size, self.size, 1)),
                jnp.clip(1 + (energy - top) / 5, 0, 1)[..., None],
                self.images(batch, self._scanner.network_input(x)),
            ]
        return columns

    def facts(self) -> dict[str, dict]:
        """Return the acceleration asked for and that of the masks, for each view."""
        facts = {}
        for name in _VIEWS:
            fields = getattr(self, name)
            true = kspace_masks.achieved_acceleration(self._masks(name))
            facts[f"acceleration_{name}"] = {
                "asked": float(fields.acceleration),
                "center_fraction": float(fields.center_fraction),
                "least": round(float(true.min()), 3),
                "largest": round(float(true.max()), 3),
            }
        return facts

    @functools.cached_property
    def _scanner(self) -> mri_scanner.Scanner:
        shared = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in _VIEWS
        }
        return mri_scanner.Scanner(**shared)

    def _masks(self, name: str) -> np.ndarray:
        """Return the masks of a view, bool [offsets, size]."""
        try:
            return self._scanner.masks(**vars(getattr(self, name)))
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from None

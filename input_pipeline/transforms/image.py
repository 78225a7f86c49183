"""Random views of a batch of images, computed on the device inside the step.

A view applies, in this order: crop and resize (with flip), rotation, channel
permutation, inversion, levels, color jitter, grayscale, blur, solarization,
normalization. Every operation is off by default. Differences from torchvision on Pillow
images: values are not rounded to 8 bits between operations, the mean of the contrast is
not rounded, and the blur is a true Gaussian where Pillow uses three box filters.
"""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from input_pipeline.transforms.ops import color, geometry
from input_pipeline.transforms.ops.image_view import ImageView
from input_pipeline.transforms.ops.transform import Batch, TransformBase

# One uniform number each. Every operation has its own number, whether it is on or off,
# so that turning one on does not change the draws of the others.
_DRAWS = (
    "flip rotate angle channel_permute order invert color_jitter brightness contrast "
    "saturation hue grayscale blur sigma solarize op0 op1 op2 op3 levels "
    "black0 black1 black2 white0 white1 white2"
).split()
_Share = Annotated[float, Interval(ge=0, le=1)]
_Deviation = Annotated[float, Interval(gt=0, le=1e6)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(TransformBase):
    """Two random views of each image.

    Batches hold `image` uint8 [n, S, S', 3] or, gray, [n, S, S', 1], and `id` int [n].
    They may hold `partner_image` like `image`, of which the second view is then made,
    and `next_image`, of which a third view is made with the fields of the second. A
    record's views depend on the key, its id and its images only.

    Args:
        size: Side of a view in pixels.
        mean: Mean of each channel in [0, 1], subtracted last.
        std: Standard deviation of each channel, above 0; the last division.
        view1: Fields of the first view.
        view2: Fields of the second view.

    Raises:
        ValueError: A field does not exist or is out of range.

    Source: Chen et al., "An empirical study of training self-supervised vision
    transformers", arXiv 2104.02057, with the augmentation of BYOL, arXiv 2006.07733.
    """

    view_class: ClassVar = ImageView
    # Images on white, compared by their ink.
    baselines: ClassVar = {"pixels": {"size": 32, "background": 1.0}}
    preview_titles: ClassVar = ("record", "view 1", "view 2")

    size: Annotated[int, Interval(ge=1, le=4096)]
    mean: tuple[_Share, _Share, _Share] = (0.485, 0.456, 0.406)
    std: tuple[_Deviation, _Deviation, _Deviation] = (0.229, 0.224, 0.225)
    view1: ImageView = ImageView()
    view2: ImageView = ImageView()

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one view."""
        return self.size, self.size, 3

    def augment(self, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with `view1`, `view2` and, of a next image, `view3`.

        Args:
            rng: Key of the step.
            batch: Records, as described in the class.

        Returns:
            The batch with views float32 [n, size, size, 3].
        """
        images = [batch["image"], batch.get("partner_image", batch["image"])]
        fields = self.view1, self.view2
        if "next_image" in batch:
            images, fields = [*images, batch["next_image"]], (*fields, self.view2)
        images = [_in_color(image) for image in images]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        drawn = [
            jax.vmap(lambda key, i=i: _draw(key, i))(keys) for i in range(len(images))
        ]
        matrices = [
            jax.vmap(lambda u, image, v=v: _sampling(v, self.size, u, image))(u, x)
            for v, u, x in zip(fields, drawn, images, strict=True)
        ]
        crops = _resample(images, matrices, shared="partner_image" not in batch)
        shift, scale = self._normalization()
        views = [
            _finish(view, u, x, shift, scale)
            for view, u, x in zip(fields, drawn, crops, strict=True)
        ]
        return {**batch, **{f"view{i + 1}": x for i, x in enumerate(views)}}

    def center(self, batch: Batch) -> Batch:
        """Return the batch with `image`: whole images, resized and normalized.

        Args:
            batch: Records; images are resized with antialiasing.

        Returns:
            The batch with `image` float32 [n, size, size, 3].
        """
        image = _in_color(batch["image"])
        high, wide = image.shape[1:3]
        matrices = [
            geometry.resampling_matrix(0.0, float(side), side, self.size)
            for side in (high, wide)
        ]
        crops = geometry.over_records(
            lambda image: geometry.resample(image, [matrices])[0], image
        )
        return {**batch, "image": _normalize(crops, *self._normalization())}

    def view(self, name: str, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with one random view a record as `image`.

        Args:
            name: "view1" or "view2".
            rng: Key of the draws.
            batch: Records.
        """
        self._check_view(name)
        return {**batch, "image": self.augment(rng, batch)[name]}

    def images(self, batch: Batch, seen: jax.Array | None) -> jax.Array:
        """Return images for display and for the baseline of raw pixels.

        Args:
            batch: Records.
            seen: Network input float32 [n, size, size, 3]; None for the records.

        Returns:
            The input in [0, 1], or the records' uint8 [n, S, S', c].
        """
        if seen is None:
            return batch["image"]
        shift, scale = self._normalization()
        channel = (1, 1, 1, 3)
        return jnp.clip(seen / scale.reshape(channel) + shift.reshape(channel), 0, 1)

    def preview(self, rng: jax.Array, batch: Batch) -> list[jax.Array]:
        """Return the columns records, first views and second views."""
        plain = dataclasses.replace(self, mean=(0.0,) * 3, std=(1.0,) * 3)
        views = plain.augment(rng, batch)
        return [batch["image"], views["view1"], views["view2"]]

    def _normalization(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean and one over the standard deviation, float32 [3] each."""
        return np.asarray(self.mean, np.float32), 1 / np.asarray(self.std, np.float32)


def _draw(key, index):
    """Return a record's uniform numbers for view `index`, by name."""
    count = 4 * geometry.TRIES
    u = jax.random.uniform(jax.random.fold_in(key, index), (count + len(_DRAWS),))
    crop = u[:count].reshape(4, geometry.TRIES)
    return {"crop": crop} | {name: u[count + i] for i, name in enumerate(_DRAWS)}


def _sampling(view, size, u, image):
    """Return the resampling matrices of one record's crop, flip included."""
    top, left, h, w = geometry.crop_box(
        u["crop"],
        image,
        scale=view.crop_scale,
        ratio=view.crop_ratio,
        min_content=view.min_content,
    )
    high, wide = image.shape[:2]
    rows = geometry.resampling_matrix(top, h, high, size)
    columns = geometry.resampling_matrix(left, w, wide, size)
    if view.flip:
        columns = jnp.where(u["flip"] < view.flip, columns[::-1], columns)
    return rows, columns


def _resample(images, matrices, shared):
    """Return the crops of both views, float32 [n, size, 3, size]."""
    both = []
    if shared:  # one pass over the image for the first two
        both = [*geometry.over_records(geometry.resample, images[0], matrices[:2])]
    return both + [
        geometry.over_records(lambda x, m: geometry.resample(x, [m])[0], image, m)
        for image, m in list(zip(images, matrices, strict=True))[len(both) :]
    ]


def _finish(view, u, x, shift, scale):
    """Do everything after the crop; x [n, size, 3, size] -> [n, size, size, 3]."""
    x = jax.vmap(lambda u, x: _recolor(view, u, x))(u, x)
    if view.blur:
        x = jax.vmap(lambda u, x: _blur(view, u, x))(u, x)
    if view.solarize:
        on = (u["solarize"] < view.solarize)[:, None, None, None]
        x = jnp.where(on, color.solarize(x, view.solarize_threshold), x)
    return _normalize(x, shift, scale)


def _recolor(view, u, x):
    """Rotation and all changes of color before the blur, for one record."""

    def on(name):
        return u[name] < getattr(view, name)

    if view.rotate:
        degrees = (2 * u["angle"] - 1) * view.rotate_degrees
        x = geometry.rotate(x, jnp.where(on("rotate"), degrees, 0.0))
    if view.channel_permute:
        permuted = color.permute_channels(x, u["order"])
        x = jnp.where(on("channel_permute"), permuted, x)
    if view.invert:
        x = jnp.where(on("invert"), 1 - x, x)
    if view.levels:
        black, white = (
            jnp.stack([u[f"{end}{channel}"] for channel in range(3)])
            for end in ("black", "white")
        )
        x = jnp.where(on("levels"), color.set_levels(x, black, white), x)
    if view.color_jitter:
        x = _jitter(view, u, x, on("color_jitter"))
    if view.grayscale:
        gate = on("grayscale").astype(x.dtype)
        x = color.blend(x, 1 - gate, gate, 0.0)
    return x


def _jitter(view, u, x, on):
    def factor(name):
        change = getattr(view, name)
        low, high = max(0.0, 1 - change), 1 + change
        return jnp.where(on, low + (high - low) * u[name], 1.0)

    names = ("brightness", "contrast", "saturation")
    hue = jnp.where(on, (2 * u["hue"] - 1) * view.hue, 0.0)
    ops = 4 if view.hue else 3  # an absent hue costs nothing
    order = jnp.argsort(jnp.stack([u[f"op{i}"] for i in range(ops)]))
    return color.jitter(x, order, *map(factor, names), hue)


def _blur(view, u, x):
    low, high = view.blur_sigma
    sigma = jnp.where(u["blur"] < view.blur, low + (high - low) * u["sigma"], 0.0)
    return geometry.blur(x, geometry.blur_kernel(sigma, high))


def _normalize(x, shift, scale):
    """Turn [n, columns, 3, rows] into normalized [n, rows, columns, 3]."""
    x = (x - shift[None, None, :, None]) * scale[None, None, :, None]
    return x.transpose(0, 3, 1, 2)


def _in_color(image):
    """Return images of three channels; gray ones have them alike."""
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[3] not in (1, 3):
        raise ValueError(
            f"images must be uint8 [n, S, S', 3] or [n, S, S', 1], got "
            f"{image.dtype} {image.shape}"
        )
    return jnp.broadcast_to(image, (*image.shape[:3], 3))

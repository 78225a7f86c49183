"""Random views of a batch of pictures, made on the device inside the step.

A view is, in this order: crop and resize (with flip), rotation, channel permutation,
inversion, levels, color jitter, grayscale, blur, solarization, normalization. Every
field of `_view.DEFAULTS` is off, so a recipe names all that it wants. Differences from
torchvision on Pillow images: values are not rounded to 8 bits between operations, the
mean of the contrast is not rounded, and the blur is a true Gaussian where Pillow takes
three box filters.
"""

import pathlib
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import dataset
from input_pipeline.datasets import cine, image_folder
from input_pipeline.transforms.ops import color, geometry, view_fields

# What needs no training, with its fields: pictures on white, compared by their ink.
BASELINES = {"pixels": {"size": 32, "ground": 1.0}}
GALLERY_VIEW = ""  # records are found as they are
# One uniform number each. Every operation has its own, whether it is on or not, so
# that turning one on leaves the others' draws as they were.
_DRAWS = (
    "flip rotate angle channel_permute order invert color_jitter brightness contrast "
    "saturation hue grayscale blur sigma solarize op0 op1 op2 op3 levels "
    "black0 black1 black2 white0 white1 white2"
).split()


def make_augment(
    *, size: int, mean, std, view1: Mapping, view2: Mapping
) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that adds two random views to a batch.

    Args:
      size: side of a view in pixels.
      mean: three numbers in [0, 1], subtracted last.
      std: three numbers above 0, divided by last.
      view1: fields of `_view.DEFAULTS` for the first view; absent ones are off.
      view2: the same for the second view.

    Returns:
      `augment(rng, batch)`. The batch holds `image` uint8 [n, S, S', 3], or gray with
      one channel, `id` int [n] and perhaps `partner_image` like `image`, from which the
      second view is then made, or `next_image`, of which there is a third, with the
      fields of the second. Returns the batch with `view1`, `view2` and perhaps `view3`,
      float32 [n, size, size, 3]. A record's views depend on rng, its id and its
      pictures, on nothing else.

    Raises:
      ValueError: on a field that does not exist or a value out of range.

    Source: Chen et al., "An empirical study of training self-supervised vision
    transformers", arXiv 2104.02057, with the augmentation of BYOL, arXiv 2006.07733.
    """
    _check_size(size)
    views = (view_fields.complete(view1, "view1"), view_fields.complete(view2, "view2"))
    shift, scale = _normalization(mean, std)

    def augment(rng, batch):
        """Adds the two views to a batch."""
        images = [batch["image"], batch.get("partner_image", batch["image"])]
        fields = views
        if "next_image" in batch:
            images, fields = [*images, batch["next_image"]], (*views, views[1])
        images = [_in_color(image) for image in images]
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        drawn = [
            jax.vmap(lambda key, i=i: _draw(key, i))(keys) for i in range(len(images))
        ]
        matrices = [
            jax.vmap(lambda u, image, view=view: _sampling(view, size, u, image))(u, x)
            for view, u, x in zip(fields, drawn, images, strict=True)
        ]
        crops = _resample(images, matrices, shared="partner_image" not in batch)
        made = [
            _finish(view, u, x, shift, scale)
            for view, u, x in zip(fields, drawn, crops, strict=True)
        ]
        return {**batch, **{f"view{i + 1}": x for i, x in enumerate(made)}}

    return augment


def make_center(*, size: int, mean, std, **_) -> Callable[[dict], dict]:
    """Makes the function that turns a batch's pictures into network input, unaltered.

    Args:
      size: side in pixels; the whole picture is resized to it, with antialiasing.
      mean: three numbers in [0, 1].
      std: three numbers above 0.
      **_: the views' fields, of no use here.

    Returns:
      `center(batch)`: the batch with `image` float32 [n, size, size, 3] in place of
      uint8 [n, S, S', 3].
    """
    _check_size(size)
    shift, scale = _normalization(mean, std)

    def center(batch):
        """Returns the batch with whole pictures, resized and normalized."""
        image = _in_color(batch["image"])
        high, wide = image.shape[1:3]
        matrices = [
            geometry.resampling_matrix(0.0, float(side), side, size)
            for side in (high, wide)
        ]
        crops = geometry.over_records(
            lambda image: geometry.resample(image, [matrices])[0], image
        )
        return {**batch, "image": _normalize(crops, shift, scale)}

    return center


def make_view(view: str, **fields) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that shows a batch as one training view does.

    Args:
      view: "view1" or "view2".
      **fields: as in `make_augment`.

    Returns:
      `see(rng, batch)`: the batch with that view as `image`.
    """
    augment = make_augment(**fields)

    def see(rng, batch):
        """Returns the batch with one random view a record."""
        return {**batch, "image": augment(rng, batch)[view]}

    return see


def make_pictures(*, mean, std, **_) -> Callable[[dict, jax.Array | None], jax.Array]:
    """Makes the function that shows to people, and to baselines, what the network sees.

    Args:
      mean: as in `make_augment`.
      std: as in `make_augment`.
      **_: its other fields, of no use here.

    Returns:
      `pictures(batch, seen)`: the input `seen` in [0, 1], float32 [n, s, s, 3], or
      uint8 [n, S, S', 3], the records as they are, where it is None.
    """
    shift, scale = _normalization(mean, std)

    def pictures(batch, seen):
        """Returns what is to be shown, [n, h, w, 3]."""
        if seen is None:
            return batch["image"]
        one = (1, 1, 1, 3)
        return jnp.clip(seen / scale.reshape(one) + shift.reshape(one), 0, 1)

    return pictures


def make_preview(
    **fields,
) -> tuple[list[str], Callable[[jax.Array, dict], list[jax.Array]]]:
    """Returns titles, and `preview(rng, batch)`: pictures [n, h, w, 3] for each."""
    augment = make_augment(**{**fields, "mean": (0.0,) * 3, "std": (1.0,) * 3})

    def preview(rng, batch):
        """Returns the columns of the sheet: records, first views, second views."""
        seen = augment(rng, batch)
        return [batch["image"], seen["view1"], seen["view2"]]

    return ["record", "view 1", "view 2"], preview


def input_shape(*, size: int, **_) -> tuple[int, int, int]:
    """Returns the shape of one view."""
    return size, size, 3


def facts(**_) -> dict:
    """Returns what is true of the views whatever they are drawn from: nothing here."""
    return {}


def read_records(path: str, data: Mapping, **_) -> tuple[dataset.Split, dict]:
    """Returns the pictures of a folder, or the one of a file, and facts on them.

    Args:
      path: file or folder.
      data: fields of the dataset in training: pictures are prepared to its `size`, and
        kept under its `cache`; frames are read as that dataset reads them.
      **_: the views' fields, of no use here.

    Raises:
      DataError: if there is nothing that can be read.
    """
    if "bmode" in data:
        return cine.read_records(path, **data)
    size = data["size"]
    if pathlib.Path(path).is_dir():
        found = image_folder.load(
            path=path,
            size=size,
            cache=data.get("cache", ""),
            seed=0,
            val_fraction=0.0,
            max_rejected=1.0,
        )
        return found.train, found.facts
    picture = image_folder.decode(path, size)
    return dataset.single({"image": picture}, pathlib.Path(path).name, path), {}


def _draw(key, index):
    """Returns a record's uniform numbers for view `index`, by name."""
    count = 4 * geometry.TRIES
    u = jax.random.uniform(jax.random.fold_in(key, index), (count + len(_DRAWS),))
    crop = u[:count].reshape(4, geometry.TRIES)
    return {"crop": crop} | {name: u[count + i] for i, name in enumerate(_DRAWS)}


def _sampling(view, size, u, image):
    """Returns the resampling matrices of one record's crop, flip included."""
    top, left, h, w = geometry.crop_box(
        u["crop"],
        image,
        scale=view["crop_scale"],
        ratio=view["crop_ratio"],
        min_content=view["min_content"],
    )
    high, wide = image.shape[:2]
    rows = geometry.resampling_matrix(top, h, high, size)
    columns = geometry.resampling_matrix(left, w, wide, size)
    if view["flip"]:
        columns = jnp.where(u["flip"] < view["flip"], columns[::-1], columns)
    return rows, columns


def _resample(images, matrices, shared):
    """Returns the crops of both views, float32 [n, size, 3, size]."""
    both = []
    if shared:  # one pass over the picture for the first two
        both = [*geometry.over_records(geometry.resample, images[0], matrices[:2])]
    return both + [
        geometry.over_records(lambda x, m: geometry.resample(x, [m])[0], image, m)
        for image, m in list(zip(images, matrices, strict=True))[len(both) :]
    ]


def _finish(view, u, x, shift, scale):
    """Does everything after the crop; x [n, size, 3, size] -> [n, size, size, 3]."""
    x = jax.vmap(lambda u, x: _recolor(view, u, x))(u, x)
    if view["blur"]:
        x = jax.vmap(lambda u, x: _blur(view, u, x))(u, x)
    if view["solarize"]:
        on = (u["solarize"] < view["solarize"])[:, None, None, None]
        x = jnp.where(on, color.solarize(x, view["solarize_threshold"]), x)
    return _normalize(x, shift, scale)


def _recolor(view, u, x):
    """Rotation and all changes of color before the blur, for one record."""

    def on(name):
        return u[name] < view[name]

    if view["rotate"]:
        degrees = (2 * u["angle"] - 1) * view["rotate_degrees"]
        x = geometry.rotate(x, jnp.where(on("rotate"), degrees, 0.0))
    if view["channel_permute"]:
        permuted = color.permute_channels(x, u["order"])
        x = jnp.where(on("channel_permute"), permuted, x)
    if view["invert"]:
        x = jnp.where(on("invert"), 1 - x, x)
    if view["levels"]:
        black, white = (
            jnp.stack([u[f"{end}{channel}"] for channel in range(3)])
            for end in ("black", "white")
        )
        x = jnp.where(on("levels"), color.set_levels(x, black, white), x)
    if view["color_jitter"]:
        x = _jitter(view, u, x, on("color_jitter"))
    if view["grayscale"]:
        gate = on("grayscale").astype(x.dtype)
        x = color.blend(x, 1 - gate, gate, 0.0)
    return x


def _jitter(view, u, x, on):
    def factor(name):
        low, high = max(0.0, 1 - view[name]), 1 + view[name]
        return jnp.where(on, low + (high - low) * u[name], 1.0)

    names = ("brightness", "contrast", "saturation")
    hue = jnp.where(on, (2 * u["hue"] - 1) * view["hue"], 0.0)
    ops = 4 if view["hue"] else 3  # an absent hue costs nothing
    order = jnp.argsort(jnp.stack([u[f"op{i}"] for i in range(ops)]))
    return color.jitter(x, order, *map(factor, names), hue)


def _blur(view, u, x):
    low, high = view["blur_sigma"]
    sigma = jnp.where(u["blur"] < view["blur"], low + (high - low) * u["sigma"], 0.0)
    return geometry.blur(x, geometry.blur_kernel(sigma, high))


def _normalize(x, shift, scale):
    """Turns [n, columns, 3, rows] into normalized [n, rows, columns, 3]."""
    x = (x - shift[None, None, :, None]) * scale[None, None, :, None]
    return x.transpose(0, 3, 1, 2)


def _normalization(mean, std):
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    if mean.shape != (3,) or std.shape != (3,) or not (std > 0).all():
        raise ValueError(
            f"mean and std: three numbers each, std > 0; got {mean}, {std}"
        )
    return mean, 1 / std


def _in_color(image):
    """Returns pictures of three channels; gray ones have them alike."""
    if image.dtype != np.uint8 or image.ndim != 4 or image.shape[3] not in (1, 3):
        raise ValueError(
            f"pictures must be uint8 [n, S, S', 3] or [n, S, S', 1], got "
            f"{image.dtype} {image.shape}"
        )
    return jnp.broadcast_to(image, (*image.shape[:3], 3))


def _check_size(size):
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")

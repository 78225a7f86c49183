"""Random views of B-mode frames, as another hold of the probe would show them.

A view is, in this order: move the picture (crop, rotation, shift, flip, one bilinear
sampling), contrast, gain, gamma, time gain, speckle, normalization. What lies outside
the frame is its edge again. Every field of `DEFAULTS` is off, so a recipe names all
that it wants. There is no color and no blur: hue means nothing here, and sharpness
belongs to depth.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline import dataset
from input_pipeline.datasets import cine
from input_pipeline.transforms.ops import geometry

VIEWS = ("view1", "view2", "moved")
# What needs no training, with its fields: gray pictures, most of them dark.
BASELINES = {"pixels": {"size": 32, "ground": 0.0}}
GALLERY_VIEW = ""  # records are found as they are
DEFAULTS = {
    "crop": 1.0,  # least share of each side that is kept, uniform up to 1
    "rotate": 0.0,  # degrees, uniform in both directions
    "shift": 0.0,  # share of a side, uniform in both directions, rows and columns
    "flip": 0.0,  # probability of left for right
    "contrast": 0.0,  # c: brightness times 1 - c .. 1 + c about its middle
    "gain": 0.0,  # added everywhere, uniform in both directions; 1 is black to white
    "gamma": 0.0,  # g: exponent 1 - g .. 1 + g
    "time_gain": 0.0,  # t: times 1 - t .. 1 + t at the bottom, the inverse sign on top
    "speckle": 0.0,  # standard deviation of noise that multiplies
}
_DRAWS = "crop angle row column flip contrast gain gamma time_gain".split()
_MOST = {"crop": 1.0, "flip": 1.0, "contrast": 1.0, "gamma": 1.0, "time_gain": 1.0}


def make_augment(
    *,
    size: tuple[int, int],
    channels: int = 1,
    mean: float = 0.0,
    std: float = 1.0,
    view1: Mapping,
    view2: Mapping,
    moved: Mapping,
) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that adds random views to a batch.

      v = (clip(g x'^gamma (1 + t (2 d - 1)) (1 + s e), 0, 1) - mean) / std

    x' the moved frame with its contrast and gain, d the depth from 0 to 1, e standard
    normal; gamma, t and the rest as in `DEFAULTS`.

    Args:
      size: height and width of a view in pixels; frames of another size are resized
        first, with antialiasing.
      channels: 1, or 3 alike for networks that come from color pictures.
      mean: subtracted last.
      std: divided by last, above 0.
      view1: fields of `DEFAULTS` for the first view; absent ones are off.
      view2: the same for the second view, and for the view of the next frame.
      moved: the same for the view in which frames are asked for in evaluation, the
        probe held otherwise; no training view.

    Returns:
      `augment(rng, batch)`. The batch holds `image` uint8 [n, h, w, 1], `id` int [n]
      and perhaps `next_image` like `image`. Returns the batch with `view1`, `view2`
      and, of the next frame, `view3`: float32 [n, height, width, channels]. A record's
      views depend on rng, its id and its frames, on nothing else.

    Raises:
      ValueError: on a field that does not exist or a value out of range.
    """
    look = _Look(size, channels, mean, std)
    views = [
        complete(fields, name)
        for name, fields in zip(VIEWS, (view1, view2, moved), strict=True)
    ]

    def augment(rng, batch):
        """Adds the views to a batch."""
        made = {
            "view1": look.random(rng, batch["id"], batch["image"], views[0], 0),
            "view2": look.random(rng, batch["id"], batch["image"], views[1], 1),
        }
        if "next_image" in batch:
            later = batch["next_image"]
            made["view3"] = look.random(rng, batch["id"], later, views[1], 2)
        return {**batch, **made}

    return augment


def make_center(
    *,
    size: tuple[int, int],
    channels: int = 1,
    mean: float = 0.0,
    std: float = 1.0,
    **_,
) -> Callable[[dict], dict]:
    """Makes the function that turns frames into network input, unaltered.

    Args:
      size: as in `make_augment`.
      channels: as in `make_augment`.
      mean: as in `make_augment`.
      std: as in `make_augment`.
      **_: the views' fields, of no use here.

    Returns:
      `center(batch)`: the batch with `image`, float32 [n, height, width, channels].
    """
    look = _Look(size, channels, mean, std)

    def center(batch):
        """Returns the batch with frames resized and normalized."""
        return {**batch, "image": look.input(look.resized(batch["image"]))}

    return center


def make_view(view: str, **fields) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that shows a batch as one view does.

    Args:
      view: "view1", "view2" or "moved".
      **fields: as in `make_augment`.

    Returns:
      `see(rng, batch)`: the batch with that view as `image`.

    Raises:
      ValueError: there is no such view.
    """
    if view not in VIEWS:
        raise ValueError(f"got view {view!r}; choices: {', '.join(VIEWS)}")
    own = complete(fields[view], view)
    shared = {name: value for name, value in fields.items() if name not in VIEWS}
    look, index = _Look(**shared), VIEWS.index(view)
    # The third key is that of the next frame's view.
    index += view == "moved"

    def see(rng, batch):
        """Returns the batch with one random view a record."""
        image = look.random(rng, batch["id"], batch["image"], own, index)
        return {**batch, "image": image}

    return see


def make_pictures(
    *, mean: float = 0.0, std: float = 1.0, **_
) -> Callable[[dict, jax.Array | None], jax.Array]:
    """Makes the function that shows to people, and to baselines, what the network sees.

    Args:
      mean: as in `make_augment`.
      std: as in `make_augment`.
      **_: its other fields, of no use here.

    Returns:
      `pictures(batch, seen)`: the input `seen` in [0, 1], float32 [n, h, w, 1], or
      uint8 [n, h, w, 1], the frames as they are, where it is None.
    """

    def pictures(batch, seen):
        """Returns what is to be shown, [n, h, w, 1]."""
        if seen is None:
            return batch["image"]
        return jnp.clip(seen[..., :1] * std + mean, 0, 1)

    return pictures


def make_preview(
    **fields,
) -> tuple[list[str], Callable[[jax.Array, dict], list[jax.Array]]]:
    """Returns titles, and `preview(rng, batch)`: frames, views, next frame, moved."""
    plain = {**fields, "channels": 1, "mean": 0.0, "std": 1.0}
    augment, moved = make_augment(**plain), make_view("moved", **plain)

    def preview(rng, batch):
        """Returns the columns of the sheet."""
        seen = augment(rng, batch)
        later = seen.get("view3", seen["view2"])
        return [
            batch["image"],
            seen["view1"],
            seen["view2"],
            later,
            moved(rng, batch)["image"],
        ]

    return ["frame", "view 1", "view 2", "next frame", "moved"], preview


def input_shape(
    *, size: tuple[int, int], channels: int = 1, **_
) -> tuple[int, int, int]:
    """Returns the shape of one view."""
    return *size, channels


def facts(*, moved: Mapping, **_) -> dict:
    """Returns how the probe is moved for the queries of evaluation."""
    on = complete(moved, "moved").items()
    return {"moved": {name: value for name, value in on if value != DEFAULTS[name]}}


def read_records(
    path: str, data: Mapping, *, size: tuple[int, int], **_
) -> tuple[dataset.Split, dict]:
    """Returns the frames of a cine, or one picture, and facts on them.

    Args:
      path: file or folder.
      data: fields of the dataset in training; those that say how to read a file count.
      size: height and width, where the dataset in training has none of its own.
      **_: the views' other fields, of no use here.

    Raises:
      DataError: if there is nothing that can be read.
    """
    return cine.read_records(path, **{"size": size, **data})


def complete(fields: Mapping, name: str) -> dict:
    """Returns the fields of a view, absent ones off.

    Raises:
      ValueError: on a field that does not exist or a value out of range.
    """
    if unknown := sorted(set(fields) - set(DEFAULTS)):
        raise ValueError(
            f"transform.{name}: got {', '.join(unknown)}; choices: {', '.join(DEFAULTS)}"
        )
    for field, value in fields.items():
        most = _MOST.get(field, np.inf)
        if not 0 <= value <= most or (field == "crop" and value == 0):
            raise ValueError(
                f"transform.{name}.{field}: got {value}; expected 0 to {most:g}"
            )
    return DEFAULTS | dict(fields)


class _Look:
    """What every view of a recipe has in common."""

    def __init__(self, size, channels=1, mean=0.0, std=1.0):
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"got size {size}; expected height and width in pixels")
        if channels not in (1, 3):
            raise ValueError(f"got channels {channels}; expected 1 or 3")
        if not std > 0:
            raise ValueError(f"got std {std}; expected a number above 0")
        self.size, self.channels, self.mean, self.std = tuple(size), channels, mean, std

    def resized(self, image):
        """Turns uint8 [n, h, w, 1] into float32 [n, height, width] in [0, 1]."""
        if image.dtype != np.uint8 or image.ndim != 4 or image.shape[3] != 1:
            raise ValueError(
                f"frames must be uint8 [n, h, w, 1], got {image.dtype} {image.shape}"
            )
        x = image[..., 0].astype(jnp.float32) / 255
        if x.shape[1:] == self.size:
            return x
        rows, columns = (
            geometry.resampling_matrix(0.0, float(source), source, side)
            for source, side in zip(x.shape[1:], self.size, strict=True)
        )
        return geometry.over_records(lambda x: rows @ x @ columns.T, x)

    def input(self, x):
        """Turns [n, height, width] into network input [n, height, width, channels]."""
        x = ((x - self.mean) / self.std)[..., None]
        return jnp.broadcast_to(x, (*x.shape[:3], self.channels))

    def random(self, rng, ids, image, view, index):
        """Returns one random view of frames, [n, height, width, channels]."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, ids)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, index)
        x = jax.vmap(lambda key, x: _altered(view, key, x))(keys, self.resized(image))
        return self.input(x)


def _altered(view, key, x):
    """Returns one frame [h, w] as a view has it."""
    numbers = jax.random.uniform(key, (len(_DRAWS),))
    u = {name: numbers[i] for i, name in enumerate(_DRAWS)}

    def between(name):  # uniform in both directions
        return (2 * u[name] - 1) * view[name]

    x = _moved(view, u, x)
    x = 0.5 + (x - 0.5) * (1 + between("contrast")) + between("gain")
    if view["gamma"]:
        # A slope of infinity at 0 is nothing that anybody asks for: views are inputs.
        x = jnp.clip(x, 0, 1) ** (1 + between("gamma"))
    if view["time_gain"]:
        depth = jnp.linspace(-1, 1, x.shape[0])[:, None]
        x = x * (1 + between("time_gain") * depth)
    if view["speckle"]:
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
        x = x * (1 + view["speckle"] * noise)
    return jnp.clip(x, 0, 1)


def _moved(view, u, x):
    """Crops, rotates, shifts and flips a frame [h, w] in one bilinear sampling."""
    if view["crop"] == 1 and not (view["rotate"] or view["shift"] or view["flip"]):
        return x
    h, w = x.shape
    keep = 1 - u["crop"] * (1 - view["crop"])
    angle = jnp.deg2rad((2 * u["angle"] - 1) * view["rotate"])
    cos, sin = keep * jnp.cos(angle), keep * jnp.sin(angle)
    # A crop lies anywhere in the frame; a shift moves it beyond the edge.
    room = (1 - keep) / 2
    down = (2 * u["row"] - 1) * (view["shift"] + room) * h
    across = (2 * u["column"] - 1) * (view["shift"] + room) * w
    mirror = jnp.where(u["flip"] < view["flip"], -1.0, 1.0)
    row = (jnp.arange(h, dtype=jnp.float32) - (h - 1) / 2)[:, None]
    column = mirror * (jnp.arange(w, dtype=jnp.float32) - (w - 1) / 2)[None, :]
    at_row = cos * row + sin * column + (h - 1) / 2 + down
    at_column = cos * column - sin * row + (w - 1) / 2 + across
    return _bilinear(x, at_row, at_column)


def _bilinear(x, row, column):
    """Samples [h, w] at places [h, w]; the edge goes on outside."""
    h, w = x.shape
    row, column = jnp.clip(row, 0, h - 1), jnp.clip(column, 0, w - 1)
    top, left = jnp.floor(row), jnp.floor(column)
    below, right = row - top, column - left
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    lower, farther = jnp.minimum(top + 1, h - 1), jnp.minimum(left + 1, w - 1)
    flat = x.ravel()

    def at(row, column):
        return flat[row * w + column]

    upper_line = (1 - right) * at(top, left) + right * at(top, farther)
    lower_line = (1 - right) * at(lower, left) + right * at(lower, farther)
    return (1 - below) * upper_line + below * lower_line

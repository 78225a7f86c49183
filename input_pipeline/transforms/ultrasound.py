"""Random views of B-mode frames, as another position of the probe would show them.

A view applies, in this order: motion (crop, rotation, shift, flip, one bilinear
sampling), contrast, gain, gamma, time gain, speckle, normalization. Outside the frame
its edge is repeated. Every operation is off by default. There is no color and no blur:
B-mode has no hue, and its sharpness depends on depth.
"""

import dataclasses
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval

from input_pipeline.transforms.ops import geometry
from input_pipeline.transforms.ops.transform import Batch, TransformBase

_DRAWS = "crop angle row column flip contrast gain gamma time_gain".split()
_Share = Annotated[float, Interval(ge=0, le=1)]
_Side = Annotated[int, Interval(ge=1, le=4096)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class UltrasoundView:
    """Fields of one view; by default every operation is off.

    Attributes:
        crop: Least share of each side that is kept, uniform up to 1.
        rotate: Degrees, uniform in both directions.
        shift: Share of a side, uniform in both directions, rows and columns.
        flip: Probability of a horizontal flip.
        contrast: C: brightness about its middle times 1 - c .. 1 + c.
        gain: Added everywhere, uniform in both directions; 1 is black to white.
        gamma: G: exponent 1 - g .. 1 + g.
        time_gain: T: factor 1 - t .. 1 + t at the bottom, the opposite at the top.
        speckle: Standard deviation of multiplicative noise.
    """

    crop: Annotated[float, Interval(gt=0, le=1)] = 1.0
    rotate: Annotated[float, Interval(ge=0, le=180)] = 0.0
    shift: Annotated[float, Interval(ge=0, le=10)] = 0.0
    flip: _Share = 0.0
    contrast: _Share = 0.0
    gain: Annotated[float, Interval(ge=0, le=10)] = 0.0
    gamma: _Share = 0.0
    time_gain: _Share = 0.0
    speckle: Annotated[float, Interval(ge=0, le=10)] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(TransformBase):
    """Random views of each frame.

      v = (clip(x'^gamma (1 + t (2 d - 1)) (1 + s e), 0, 1) - mean) / std

    where x' is the moved frame with its contrast and gain, d the depth from 0 to 1, e
    standard normal; gamma, t and s as in `UltrasoundView`. Batches hold `image` uint8
    [n, h, w, 1], `id` int [n] and perhaps `next_image` like `image`. A record's views
    depend on the key, its id and its frames only.

    Args:
        size: Height and width of a view in pixels; frames of another size are resized
            first, with antialiasing.
        channels: 1, or 3 equal ones for networks pretrained on color images.
        mean: Subtracted last.
        std: The last division, above 0.
        view1: Fields of the first view.
        view2: Fields of the second view, and of the view of the next frame.
        moved: Fields of the view of queries in evaluation, which shows another position
            of the probe; it is no training view.

    Raises:
        ValueError: A field does not exist or is out of range.
    """

    view_class: ClassVar = UltrasoundView
    view_names: ClassVar = ("view1", "view2", "moved")
    # Gray images, most of them dark.
    baselines: ClassVar = {"pixels": {"size": 32, "background": 0.0}}
    preview_titles: ClassVar = ("frame", "view 1", "view 2", "next frame", "moved")

    size: tuple[_Side, _Side]
    channels: Literal[1, 3] = 1
    mean: Annotated[float, Interval(ge=-1e6, le=1e6)] = 0.0
    std: Annotated[float, Interval(gt=0, le=1e6)] = 1.0
    view1: UltrasoundView = UltrasoundView()
    view2: UltrasoundView = UltrasoundView()
    moved: UltrasoundView = UltrasoundView()

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "size", tuple(self.size))

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Shape of one view."""
        return *self.size, self.channels

    def augment(self, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with `view1`, `view2` and, of a next frame, `view3`.

        Args:
            rng: Key of the step.
            batch: Records, as described in the class.

        Returns:
            The batch with views float32 [n, height, width, channels].
        """
        views = {
            "view1": self._random(rng, batch["id"], batch["image"], self.view1, 0),
            "view2": self._random(rng, batch["id"], batch["image"], self.view2, 1),
        }
        if "next_image" in batch:
            following = batch["next_image"]
            views["view3"] = self._random(rng, batch["id"], following, self.view2, 2)
        return {**batch, **views}

    def center(self, batch: Batch) -> Batch:
        """Return the batch with `image`: frames resized and normalized.

        Args:
            batch: Records.

        Returns:
            The batch with `image` float32 [n, height, width, channels].
        """
        return {**batch, "image": self._normalized(self._resized(batch["image"]))}

    def view(self, name: str, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with one random view a record as `image`.

        Args:
            name: "view1", "view2" or "moved".
            rng: Key of the draws.
            batch: Records.
        """
        self._check_view(name)
        # Draw 2 belongs to the view of the next frame.
        draw = {"view1": 0, "view2": 1, "moved": 3}[name]
        fields = getattr(self, name)
        image = self._random(rng, batch["id"], batch["image"], fields, draw)
        return {**batch, "image": image}

    def images(self, batch: Batch, seen: jax.Array | None) -> jax.Array:
        """Return frames for display and for the baseline of raw pixels.

        Args:
            batch: Records.
            seen: Network input float32 [n, h, w, channels]; None for the records.

        Returns:
            The input in [0, 1], float32 [n, h, w, 1], or the records' uint8.
        """
        if seen is None:
            return batch["image"]
        return jnp.clip(seen[..., :1] * self.std + self.mean, 0, 1)

    def preview(self, rng: jax.Array, batch: Batch) -> list[jax.Array]:
        """Return the columns frame, both views, next frame and moved frame."""
        plain = dataclasses.replace(self, channels=1, mean=0.0, std=1.0)
        views = plain.augment(rng, batch)
        following = views.get("view3", views["view2"])
        moved = plain.view("moved", rng, batch)["image"]
        return [batch["image"], views["view1"], views["view2"], following, moved]

    def facts(self) -> dict:
        """Return the fields by which the queries of evaluation are moved."""
        fields, off = vars(self.moved), vars(UltrasoundView())
        return {"moved": {name: x for name, x in fields.items() if x != off[name]}}

    def _resized(self, image: jax.Array) -> jax.Array:
        """Return uint8 [n, h, w, 1] as float32 [n, height, width] in [0, 1]."""
        if image.dtype != np.uint8 or image.ndim != 4 or image.shape[3] != 1:
            raise ValueError(
                f"got frames {image.dtype} {image.shape}; expected uint8 [n, h, w, 1]"
            )
        x = image[..., 0].astype(jnp.float32) / 255
        if x.shape[1:] == self.size:
            return x
        rows, columns = (
            geometry.resampling_matrix(0.0, float(source), source, side)
            for source, side in zip(x.shape[1:], self.size, strict=True)
        )
        return geometry.over_records(lambda x: rows @ x @ columns.T, x)

    def _normalized(self, x: jax.Array) -> jax.Array:
        """Return [n, height, width] as input [n, height, width, channels]."""
        x = ((x - self.mean) / self.std)[..., None]
        return jnp.broadcast_to(x, (*x.shape[:3], self.channels))

    def _random(self, rng, ids, image, view: UltrasoundView, draw: int) -> jax.Array:
        """Return one random view of frames, [n, height, width, channels]."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, ids)
        keys = jax.vmap(jax.random.fold_in, (0, None))(keys, draw)
        x = jax.vmap(lambda key, x: _altered(view, key, x))(keys, self._resized(image))
        return self._normalized(x)


def _altered(view, key, x):
    """Return one frame [h, w] as a view has it."""
    numbers = jax.random.uniform(key, (len(_DRAWS),))
    u = {name: numbers[i] for i, name in enumerate(_DRAWS)}

    def between(name):  # uniform in both directions
        return (2 * u[name] - 1) * getattr(view, name)

    x = _moved(view, u, x)
    x = 0.5 + (x - 0.5) * (1 + between("contrast")) + between("gain")
    if view.gamma:
        # The slope at 0 is infinite; views are inputs and have no gradient.
        x = jnp.clip(x, 0, 1) ** (1 + between("gamma"))
    if view.time_gain:
        depth = jnp.linspace(-1, 1, x.shape[0])[:, None]
        x = x * (1 + between("time_gain") * depth)
    if view.speckle:
        noise = jax.random.normal(jax.random.fold_in(key, 1), x.shape)
        x = x * (1 + view.speckle * noise)
    return jnp.clip(x, 0, 1)


def _moved(view, u, x):
    """Crop, rotates, shifts and flips a frame [h, w] in one bilinear sampling."""
    if view.crop == 1 and not (view.rotate or view.shift or view.flip):
        return x
    h, w = x.shape
    keep = 1 - u["crop"] * (1 - view.crop)
    angle = jnp.deg2rad((2 * u["angle"] - 1) * view.rotate)
    cos, sin = keep * jnp.cos(angle), keep * jnp.sin(angle)
    # A crop lies anywhere in the frame; a shift moves it beyond the edge.
    room = (1 - keep) / 2
    down = (2 * u["row"] - 1) * (view.shift + room) * h
    across = (2 * u["column"] - 1) * (view.shift + room) * w
    mirror = jnp.where(u["flip"] < view.flip, -1.0, 1.0)
    row = (jnp.arange(h, dtype=jnp.float32) - (h - 1) / 2)[:, None]
    column = mirror * (jnp.arange(w, dtype=jnp.float32) - (w - 1) / 2)[None, :]
    at_row = cos * row + sin * column + (h - 1) / 2 + down
    at_column = cos * column - sin * row + (w - 1) / 2 + across
    return _bilinear(x, at_row, at_column)


def _bilinear(x, row, column):
    """Sample [h, w] at places [h, w]; the edge goes on outside."""
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

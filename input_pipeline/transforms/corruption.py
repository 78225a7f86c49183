"""Views of a window of vectors: the corrupted context, and the vector that follows.

The last vectors of a context are zeroed (article dropout), or one is replaced by a
vector of another article (span corruption). The target is never changed.
"""

import dataclasses
from typing import Annotated, ClassVar

import jax
import jax.numpy as jnp
from annotated_types import Interval

from input_pipeline.transforms.ops.transform import Batch, TransformBase

_ROW = 8  # height in pixels of a vector in an image


@dataclasses.dataclass(frozen=True, kw_only=True)
class Transform(TransformBase):
    """The corrupted context as first view, the next vector as second view.

    Batches hold `context` float32 [n, l, d], `target` [n, d],
    `cross_article_negatives` [n, s, d] and `id` int [n]. A record's views depend on the
    key and on the record only.

    Args:
        context: L, vectors of a context.
        width: D, numbers of a vector.
        dropout: Probability that the last k vectors are zeroed, k uniform in 1 .. l -
            1, so that at least one remains.
        span: Probability that one of the remaining vectors is replaced by one of the
            record's `cross_article_negatives`.

    Raises:
        ValueError: A field is out of range.
    """

    baselines: ClassVar = {
        "persistence": {},
        "mean": {},
        "fitted_average": {},
        "exponential_average": {},
        "ridge": {},
        "best": {},
    }
    gallery_view: ClassVar = "view2"  # predictions are searched among vectors
    preview_titles: ClassVar = ("context", "corrupted", "next")

    context: Annotated[int, Interval(ge=1, le=65_536)]
    width: Annotated[int, Interval(ge=1, le=65_536)]
    dropout: Annotated[float, Interval(ge=0, le=1)] = 0.2
    span: Annotated[float, Interval(ge=0, le=1)] = 0.1

    @property
    def input_shape(self) -> tuple[int, int]:
        """Shape of a context."""
        return self.context, self.width

    def augment(self, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with the corrupted context and the target as views.

        Args:
            rng: Key of the step.
            batch: Records, as described in the class.

        Returns:
            The batch with `view1` [n, l, d], `view2` [n, d] and, in `diag`, the shares
            `dropped` and `replaced` of contexts and `zeroed`, the mean number of zeroed
            vectors.
        """
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        corrupted, zeroed, replaced = jax.vmap(
            lambda key, x, others: _corrupt(key, x, others, self.dropout, self.span)
        )(keys, batch["context"], batch["cross_article_negatives"])
        diag = {
            "dropped": jnp.mean(zeroed > 0),
            "replaced": jnp.mean(replaced),
            "zeroed": jnp.mean(zeroed.astype(jnp.float32)),
        }
        return {**batch, "view1": corrupted, "view2": batch["target"], "diag": diag}

    def center(self, batch: Batch) -> Batch:
        """Return the batch with `image`: whole contexts [n, l, d]."""
        return {**batch, "image": batch["context"]}

    def view(self, name: str, rng: jax.Array, batch: Batch) -> Batch:
        """Return the batch with one view a record as `image`.

        Args:
            name: "view1", the corrupted context [n, l, d], or "view2", the target [n,
                d], which is its own embedding.
            rng: Key of the draws.
            batch: Records.
        """
        self._check_view(name)
        if name == "view2":
            return {**batch, "image": batch["target"]}
        return {**batch, "image": self.augment(rng, batch)["view1"]}

    def images(self, batch: Batch, seen: jax.Array | None) -> jax.Array:
        """Return vectors as rows of gray, the newest at the bottom.

        Args:
            batch: Records.
            seen: Contexts [n, l, d] or vectors [n, d]; None for the records.

        Returns:
            Images [n, rows, d, 1] in [0, 1]; 0.5 stands for 0.
        """
        x = seen
        if x is None:
            x = batch["context"] if "context" in batch else batch["target"]
        x = x if x.ndim == 3 else x[:, None]
        top = jnp.maximum(jnp.abs(x).max((1, 2), keepdims=True), 1e-12)
        x = jnp.repeat(0.5 + 0.5 * x / top, _ROW, axis=1)
        return x[..., None]

    def preview(self, rng: jax.Array, batch: Batch) -> list[jax.Array]:
        """Return the columns contexts, corrupted contexts and targets."""
        views = self.augment(rng, batch)
        names = ("context", "view1", "view2")
        return [self.images(batch, views[name]) for name in names]


def _corrupt(key, x, cross_article_negatives, dropout, span):
    """One context [l, d]: corrupted, vectors zeroed, whether one was replaced."""
    length = x.shape[0]
    u = jax.random.uniform(key, (5,))
    count = 1 + jnp.floor(u[1] * (length - 1)).astype(jnp.int32)  # 1 .. l - 1
    zeroed = jnp.where((u[0] < dropout) & (length > 1), count, 0)
    kept = length - zeroed
    place = jnp.arange(length)
    replaced = (u[2] < span) & (cross_article_negatives.shape[0] > 0)
    if cross_article_negatives.shape[0]:
        other = cross_article_negatives[
            jnp.floor(u[4] * cross_article_negatives.shape[0]).astype(jnp.int32)
        ]
        at = jnp.floor(u[3] * kept).astype(jnp.int32)
        hit = ((place == at) & replaced)[:, None]
        x = jnp.where(hit, other[None, :], x)
    x = jnp.where((place < kept)[:, None], x, 0.0)
    return x, zeroed, replaced

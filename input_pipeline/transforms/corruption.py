"""Views of a window: the context as training corrupts it, and the vector that follows.

The last vectors of a context are zeroed (article dropout), or one is replaced by a
vector of another article (span corruption). What is searched for is never touched.
"""

from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from input_pipeline import dataset
from input_pipeline.datasets import articles

VIEWS = ("view1", "view2")
# What needs no training; evaluators/baselines/ has a file for each.
BASELINES = {
    "persistence": {},
    "mean": {},
    "fitted_average": {},
    "exponential_average": {},
    "ridge": {},
    "best": {},
}
GALLERY_VIEW = "view2"  # a prediction is looked for among vectors, not predictions

_ROW = 8  # pixels that a vector is high in a picture


def make_augment(
    *, context: int, width: int, dropout: float = 0.2, span: float = 0.1
) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that adds the corrupted context and the target to a batch.

    Args:
      context: l, vectors of a context.
      width: d, numbers of a vector.
      dropout: probability that the last k vectors are zeroed, k uniform in 1 .. l - 1,
        so that at least one stays.
      span: probability that one of those that stay is replaced by one of the record's
        `cross_article_negatives`.

    Returns:
      `augment(rng, batch)`. The batch holds `context` float32 [n, l, d], `target`
      [n, d], `cross_article_negatives` [n, s, d] and `id` int [n]. Returns it with
      `view1` [n, l, d],
      `view2` [n, d], and in `diag` the shares `dropped` and `replaced` of contexts and
      `zeroed`, the mean number of vectors zeroed. A record's views depend on rng and on
      the record alone.

    Raises:
      ValueError: on a value out of range.
    """
    _check(context, width, dropout, span)

    def augment(rng, batch):
        """Adds the two views to a batch."""
        keys = jax.vmap(jax.random.fold_in, (None, 0))(rng, batch["id"])
        made, zeroed, replaced = jax.vmap(
            lambda key, x, others: _corrupt(key, x, others, dropout, span)
        )(keys, batch["context"], batch["cross_article_negatives"])
        diag = {
            "dropped": jnp.mean(zeroed > 0),
            "replaced": jnp.mean(replaced),
            "zeroed": jnp.mean(zeroed.astype(jnp.float32)),
        }
        return {**batch, "view1": made, "view2": batch["target"], "diag": diag}

    return augment


def make_center(**_) -> Callable[[dict], dict]:
    """Makes the function that gives the network a batch's contexts as they are."""

    def center(batch):
        """Returns the batch with whole contexts."""
        return {**batch, "image": batch["context"]}

    return center


def make_view(view: str, **fields) -> Callable[[jax.Array, dict], dict]:
    """Makes the function that shows a batch as one training view does.

    Args:
      view: "view1", the corrupted context, or "view2", the target: a single vector,
        which is its own embedding.
      **fields: as in `make_augment`.
    """
    if view not in VIEWS:
        raise ValueError(f"got view {view!r}; choices: {', '.join(VIEWS)}")
    augment = make_augment(**fields)

    def see(rng, batch):
        """Returns the batch with one view a record."""
        if view == "view2":
            return {**batch, "image": batch["target"]}
        return {**batch, "image": augment(rng, batch)["view1"]}

    return see


def make_pictures(**_) -> Callable[[dict, jax.Array | None], jax.Array]:
    """Makes the function that shows vectors as rows of gray, the newest at the foot.

    Returns:
      `pictures(batch, seen)`: [n, rows, d, 1] in [0, 1]; .5 is 0.
    """

    def pictures(batch, seen):
        """Returns what is to be shown; targets are one row."""
        if seen is None:
            seen = batch["context"] if "context" in batch else batch["target"]
        x = seen if seen.ndim == 3 else seen[:, None]
        top = jnp.maximum(jnp.abs(x).max((1, 2), keepdims=True), 1e-12)
        x = jnp.repeat(0.5 + 0.5 * x / top, _ROW, axis=1)
        return x[..., None]

    return pictures


def make_preview(
    **fields,
) -> tuple[list[str], Callable[[jax.Array, dict], list[jax.Array]]]:
    """Returns titles, and `preview(rng, batch)`: pictures [n, h, w, 1] for each."""
    augment, pictures = make_augment(**fields), make_pictures()

    def preview(rng, batch):
        """Returns the columns of the sheet: contexts, corrupted ones, targets."""
        seen = augment(rng, batch)
        return [pictures(batch, seen[name]) for name in ("context", *VIEWS)]

    return ["context", "corrupted", "next"], preview


def input_shape(*, context: int, width: int, **_) -> tuple[int, int]:
    """Returns the shape of a context."""
    return context, width


def facts(**_) -> dict:
    """Returns what is true of the views whatever they are drawn from: nothing here."""
    return {}


def read_records(
    path: str, data: Mapping, *, context: int, width: int, **_
) -> tuple[dataset.Split, dict]:
    """Returns contexts of a file, and facts on them; see `articles.read_records`.

    Args:
      path: file.
      data: fields of the dataset in training.
      context: as in `make_augment`.
      width: as in `make_augment`.
      **_: the other fields, of no use here.

    Raises:
      DataError: if there is nothing that can be read.
    """
    own = {k: v for k, v in data.items() if k not in ("context", "width", "path")}
    return articles.read_records(path, context=context, width=width, **own)


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


def _check(context, width, dropout, span) -> None:
    for name, value in (("context", context), ("width", width)):
        if value < 1:
            raise ValueError(f"{name}: got {value}; expected 1 or more")
    for name, value in (("dropout", dropout), ("span", span)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name}: got {value}; expected a probability")

"""Batches that are processed in chunks, so that memory is that of one chunk."""

import dataclasses
from typing import Protocol

import jax
import numpy as np
from jax import lax

from objectives.common.objective import (
    Batch,
    Extra,
    LossOutput,
    MetricFacts,
    Objective,
    Params,
    Positives,
    Tree,
)


class Encode(Protocol):
    """A network in training mode, on some rows."""

    def __call__(self, x: jax.Array, rng: jax.Array, /) -> tuple[Tree, Tree]:
        """Return outputs with the rows of `x` as leading axis, and statistics."""
        ...


def in_chunks(
    encode: Encode,
    x: jax.Array,
    rng: jax.Array,
    chunks: int,
) -> tuple[Tree, Tree]:
    """Encode a batch chunk by chunk, with the loss and gradient of the full batch.

    The activations of a chunk are dropped and computed again for its gradient, with
    the same key, while the embeddings of all chunks stay: a loss over them is the loss
    of the full batch, and so is its gradient (GradCache, arXiv 2101.06983). Networks
    with BatchNorm normalize each chunk by its own statistics; the new running ones are
    the mean over chunks, so that they move once a step whatever the number of chunks.

    Args:
        encode: `(x [c, ...], rng) -> (outputs with leading axis c, statistics)`.
        x: `[n, ...]`.
        rng: Random key; each chunk draws from a key split from it.
        chunks: Number of chunks; must divide n.

    Returns:
        Outputs with leading axis n, and statistics.

    Raises:
        ValueError: `chunks` does not divide n.
    """
    if chunks == 1:
        return encode(x, rng)
    n = x.shape[0]
    if n % chunks:
        raise ValueError(f"got {n} rows on a device; expected a multiple of {chunks}")
    x = x.reshape(chunks, n // chunks, *x.shape[1:])  # [chunks, c, ...]

    def body(_, chunk):
        return None, encode(*chunk)

    keys = jax.random.split(rng, chunks)
    _, (outputs, stats) = lax.scan(jax.checkpoint(body), None, (x, keys))
    outputs = jax.tree.map(lambda y: y.reshape(n, *y.shape[2:]), outputs)
    return outputs, jax.tree.map(lambda s: s.mean(0), stats)


@dataclasses.dataclass(frozen=True)
class PerChunk:
    """An objective on each chunk of a batch by itself; see `separately`."""

    objective: Objective
    chunks: int

    @property
    def positives(self) -> Positives:
        """What makes two records a positive pair."""
        return self.objective.positives

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return initial parameters and state."""
        return self.objective.init(rng, batch)

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return the mean loss over chunks, and the state after the last one."""
        batch = jax.tree.map(lambda x: x.reshape(self.chunks, -1, *x.shape[1:]), batch)

        def body(extra, chunk):
            records, key = chunk
            value, (extra, metrics) = self.objective.loss(
                params, extra, records, key, step
            )
            return extra, (value, metrics)

        keys = jax.random.split(rng, self.chunks)
        extra, outputs = lax.scan(jax.checkpoint(body), extra, (batch, keys))
        value, metrics = jax.tree.map(lambda x: x.mean(0), outputs)
        return value, (extra, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings `[n, d]`."""
        return self.objective.embed(params, extra, batch)

    def chance(self, global_batch: int) -> float:
        """Return the chance level of one chunk."""
        return self.objective.chance(global_batch // self.chunks)

    def check_records(self, labels: np.ndarray) -> None:
        """Raise ValueError if the training records cannot be learned from."""
        self.objective.check_records(labels)

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        return self.objective.metric_facts()


def separately(objective: Objective, chunks: int) -> PerChunk:
    """Return the objective on each chunk of a batch by itself.

    `L = mean_c L(chunk c)`: the candidates of an anchor are those of its chunk, so that
    4 chunks of 256 have 256 candidates and not 1,024, and chance is that of a chunk.
    This is plain gradient accumulation, a reference for `in_chunks`, whose loss is that
    of the full batch.

    Args:
        objective: An objective whose context has `chunks` = 1.
        chunks: Number of chunks; must divide the rows of a device.

    Returns:
        The objective; state such as batch statistics passes from chunk to chunk.
    """
    return PerChunk(objective, chunks)

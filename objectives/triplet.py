"""Triplets: one view of a record nearer to its other view than to other records."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax

from losses import triplet as loss_lib
from objectives.common import diagnostics, pair_network
from objectives.common import objective as contract

Tree = Any


@dataclasses.dataclass(frozen=True)
class _Triplet(pair_network.PairNetwork):
    """The four functions of the objective, over the network and fields of `make`."""

    margin: float | None
    squared: bool
    mining: str
    false_negatives: str

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """First views as anchors, second views of all devices as keys."""
        del step
        q, k, extra = self.both(params, extra, batch, rng)
        keys = contract.gather(k, self.axis_name)  # [devices * n, d]
        value, aux = loss_lib.triplet(
            q,
            keys,
            self.columns(q.shape[0]),
            margin=self.margin,
            squared=self.squared,
            mining=self.mining,
            mask=None
            if self.false_negatives == "keep"
            else self.may_be_negative(batch),
            rng=jax.random.fold_in(rng, 2),
        )
        found = {
            "d_pos": aux.positive_distance,
            "d_neg": aux.negative_distance,
            "violations": aux.violations,
            "accuracy": aux.accuracy,
        }
        levels = loss_lib.mined_levels(
            q.shape[-1],
            max(keys.shape[0] - 1, 1),
            self.margin,
            self.squared,
            self.mining,
        )
        metrics = {
            **diagnostics.with_chance(
                {f"train/{n}": (x, levels[n]) for n, x in found.items()}
            ),
            "diag/candidates": aux.candidates,
            **self.spread(q),
        }
        return value, (extra, metrics)

    def chance(self, global_batch: int) -> float:
        """All embeddings alike: the margin, or ln 2, whatever the batch."""
        del global_batch
        return loss_lib.chance(self.margin)


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    margin: float = 0.2,
    soft_margin: bool = False,
    squared: bool = False,
    mining: Literal["random", "all", "semi_hard", "batch_hard"] = "batch_hard",
    false_negatives: Literal["keep", "mask"] = "keep",
    sync_batchnorm: bool = False,
) -> contract.Objective:
    """Builds the triplet objective on unit-norm embeddings.

    `L = mean_i f(d(q_i, k_i) - d(q_i, k_n))`, q the first views, k the second views, n
    a negative of i; f as in `losses.triplet`.

    Args:
        backbone: Network `(x, train) -> [n, d]`; its output is what is embedded.
        axis_name: Device axis over which keys are gathered, or None.
        total_steps: No use here; nothing is scheduled.
        chunks: Parts that the network runs in; the loss always sees the full batch.
        margin: Of distances, which lie in [0, 2]; squared ones in [0, 4].
        soft_margin: softplus in place of the margin, which is then ignored.
        squared: Squared distances.
        mining: Which negatives an anchor meets among the keys of all devices.
        false_negatives: "mask" takes keys with the anchor's label out of the negatives.
        sync_batchnorm: No use here; the network has been told.

    Returns:
        The objective. Its batches hold "view1" and "view2".

    Raises:
        ValueError: margin is not above 0.
    """
    del total_steps, sync_batchnorm
    if not margin > 0:
        raise ValueError(f"got margin {margin}; expected a number above 0")
    method = _Triplet(
        backbone=backbone,
        axis_name=axis_name,
        chunks=chunks,
        margin=None if soft_margin else margin,
        squared=squared,
        mining=mining,
        false_negatives=false_negatives,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)

"""InfoNCE in a batch: both views by one network, other records' views as negatives."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax

from losses import info_nce as nce
from objectives.common import diagnostics, pair_network
from objectives.common import objective as contract

Tree = Any


@dataclasses.dataclass(frozen=True)
class _InBatch(pair_network.PairNetwork):
    """The four functions of the objective, over the network and fields of `make`."""

    temperature: float
    false_negatives: str
    key_block_size: int

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """First views find second ones among those of all devices, and back."""
        del step
        q, k, extra = self.both(params, extra, batch, rng)
        mask = None if self.false_negatives == "keep" else self.may_be_negative(batch)
        found = [
            nce.info_nce(
                anchors,
                contract.gather(keys, self.axis_name),  # [devices * n, d]
                self.columns(q.shape[0]),
                temperature=self.temperature,
                mask=mask,
                key_block_size=self.key_block_size,
            )
            for anchors, keys in ((q, k), (k, q))
        ]
        metrics = {
            **diagnostics.contrast(found[0][1]),
            **self.spread(q),
        }
        return (found[0][0] + found[1][0]) / 2, (extra, metrics)

    def chance(self, global_batch: int) -> float:
        """`ln N`: all keys alike."""
        return nce.chance(global_batch)


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    temperature: float = 0.2,
    false_negatives: Literal["keep", "mask"] = "keep",
    key_block_size: int = 0,
    sync_batchnorm: bool = False,
) -> contract.Objective:
    """Builds the symmetric in-batch InfoNCE objective on unit-norm embeddings.

    `L = (NCE(q, k) + NCE(k, q)) / 2`, q the first views, k the second views, NCE as in
    `losses.info_nce`; the gradient reaches both. No head and no target network: what is
    embedded is what is compared.

    Args:
        backbone: Network `(x, train) -> [n, d]`; its output is what is embedded.
        axis_name: Device axis over which keys are gathered, or None.
        total_steps: No use here; nothing is scheduled.
        chunks: Parts that the network runs in; the loss always sees the full batch.
        temperature: tau, above 0.
        false_negatives: "mask" takes keys with the anchor's label out of the negatives.
        key_block_size: Keys taken at a time, 0 for all.
        sync_batchnorm: No use here; the network has been told.

    Returns:
        The objective. Its batches hold "view1" and "view2".

    Raises:
        ValueError: temperature is not above 0.

    Source: Chen et al., SimCLR, arXiv 2002.05709, less the negatives of its own view.
    """
    del total_steps, sync_batchnorm
    if not temperature > 0:
        raise ValueError(f"got temperature {temperature}; expected a number above 0")
    method = _InBatch(
        backbone=backbone,
        axis_name=axis_name,
        chunks=chunks,
        temperature=temperature,
        false_negatives=false_negatives,
        key_block_size=key_block_size,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)

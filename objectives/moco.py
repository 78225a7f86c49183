"""MoCo v3: contrast of two views against the keys of a slowly moving network."""

import dataclasses
import functools
import math
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from annotated_types import Interval
from jax import lax

from losses import info_nce as info_nce_lib
from losses.common.device_means import mean_over_devices
from losses.common.weighted_jaccard import weighted_jaccard
from models.layers.mlp import Predictor, Projector
from objectives.common import diagnostics
from objectives.common.accumulation import in_chunks
from objectives.common.collectives import gather
from objectives.common.networks import (
    Encoder,
    PredictingNetwork,
    apply_training,
    gathered_columns,
)
from objectives.common.objective import (
    Batch,
    Extra,
    LossOutput,
    MetricFacts,
    ObjectiveBase,
    Params,
    Tree,
)

_FACTS: dict[str, MetricFacts] = {
    "train/ema_momentum": {"kind": "diagnostic", "better": ""}
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """MoCo v3 (arXiv 2104.02057, Algorithm 1).

    `L = 2 tau [ctr(q1, k2) + ctr(q2, k1)]`, `q = predictor(projector(backbone(x)))`, k
    the projections of the target network. Its parameters are averaged towards the
    online ones before the keys are computed; its BatchNorm statistics are its own. The
    backbone is `(x, train) -> [n, f]`. Batches hold "view1" and "view2",
    `[n, h, w, 3]` float32.

    Attributes:
        temperature: tau.
        ema_momentum: m0, share of the old parameters in the target's new ones.
        ema_momentum_schedule: "cosine" from m0 to 1 over the run, or "constant". It
            ends where the learning rate's curve does: a run that goes on with
            `--extend=continue` keeps m = 1, a target that no longer moves.
        positives: "instance": the other view of the record. "codes": every key in
            proportion to the weighted Jaccard index of its codes and the anchor's.
        false_negatives: "mask" removes keys with the anchor's label from the negatives;
            only with `positives` "instance".
        hidden_dim: Width of the hidden layer of both heads.
        proj_dim: Width of projections.
        embed_from: Whose output is the embedding.
        key_block_size: Number of keys scored at a time, 0 for all.
    """

    temperature: Annotated[float, Interval(gt=0, le=100)] = 0.2
    ema_momentum: Annotated[float, Interval(ge=0, le=1)] = 0.99
    ema_momentum_schedule: Literal["cosine", "constant"] = "cosine"
    positives: Literal["instance", "codes"] = "instance"
    false_negatives: Literal["keep", "mask"] = "keep"
    hidden_dim: Annotated[int, Interval(ge=1, le=65536)] = 4096
    proj_dim: Annotated[int, Interval(ge=1, le=65536)] = 256
    embed_from: Literal["backbone", "projector"] = "backbone"
    key_block_size: Annotated[int, Interval(ge=0, le=2**24)] = 0

    @functools.cached_property
    def _network(self) -> PredictingNetwork:
        context = self.bound
        axis_name = context.axis_name if context.sync_batchnorm else None
        projector = Projector(self.hidden_dim, self.proj_dim, axis_name=axis_name)
        predictor = Predictor(self.hidden_dim, self.proj_dim, axis_name=axis_name)
        return PredictingNetwork(
            Encoder(context.backbone, projector),
            predictor,
            context.chunks,
            self.embed_from,
        )

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return initial parameters and state; the target is a copy of the encoder."""
        params, extra = self._network.init(rng, batch)
        target = params["encoder"], extra["batch_stats"]["encoder"]
        # Copies: a donated buffer must not be both a parameter and its target.
        target_params, target_stats = jax.tree.map(jnp.copy, target)
        return params, {
            **extra,
            "target_params": target_params,
            "target_batch_stats": target_stats,
        }

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return the loss of both directions, after the target's update."""
        axis_name = self.bound.axis_name
        rngs = jax.random.split(rng, 4)
        m = ema_momentum_at(
            step, self.ema_momentum, self.bound.total_steps, self.ema_momentum_schedule
        )
        target = jax.tree.map(
            lambda t, p: lax.stop_gradient(m * t + (1.0 - m) * p),
            extra["target_params"],
            params["encoder"],
        )
        views = batch["view1"], batch["view2"]
        # Each view has its own pass, so that BatchNorm never mixes them.
        online = extra["batch_stats"]
        (h1, z1, q1), online = self._network.predict(params, online, views[0], rngs[0])
        (_, _, q2), online = self._network.predict(params, online, views[1], rngs[1])
        target_stats = extra["target_batch_stats"]
        k1, target_stats = self._keys(target, target_stats, views[0], rngs[2])
        k2, target_stats = self._keys(target, target_stats, views[1], rngs[3])
        loss1, aux = self._contrast(q1, k2, batch)
        loss2, other = self._contrast(q2, k1, _swap_partners(batch))
        metrics = {
            **diagnostics.contrast(aux),
            "train/ema_momentum": m,
            **diagnostics.spread(self._network.embedded(h1, z1), axis_name),
        }
        if self.false_negatives == "mask":
            chance = 2.0 * self.temperature * (aux.chance + other.chance)
            metrics["train/loss_chance"] = chance
        online, target_stats = mean_over_devices((online, target_stats), axis_name)
        extra = {
            "batch_stats": online,
            "target_params": target,
            "target_batch_stats": target_stats,
        }
        return 2.0 * self.temperature * (loss1 + loss2), (extra, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm features or projections of `batch["image"]`."""
        return self._network.embed(params, extra, batch)

    def chance(self, global_batch: int) -> float:
        """Return `4 tau ln N`, the loss where all keys are alike."""
        return 4.0 * self.temperature * math.log(global_batch)

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        return diagnostics.CONTRAST | _FACTS | diagnostics.SPREAD

    def _keys(
        self, params: Params, stats: Tree, x: jax.Array, rng: jax.Array
    ) -> tuple[jax.Array, Tree]:
        """Return projections of the target network as constants, and statistics."""

        def encode(x, rng):
            (_, k), new = apply_training(self._network.encoder, params, stats, x, rng)
            return k, new

        k, stats = in_chunks(encode, x, rng, self.bound.chunks)
        return lax.stop_gradient(k), stats

    def _contrast(
        self, q: jax.Array, k: jax.Array, batch: Batch
    ) -> tuple[jax.Array, info_nce_lib.InfoNCEMetrics]:
        """Return InfoNCE of local queries against the keys of all devices."""
        axis_name = self.bound.axis_name
        pairs = self._pair_functions(batch)
        k = gather(k, axis_name)  # [devices * n, d]
        return info_nce_lib.info_nce(
            q,
            k,
            gathered_columns(q.shape[0], axis_name),
            temperature=self.temperature,
            key_block_size=self.key_block_size,
            axis_name=axis_name,
            **pairs,
        )

    def _pair_functions(self, batch: Batch) -> dict[str, info_nce_lib.Columns]:
        """Return soft positives or a mask for `info_nce`, by key columns."""
        axis_name = self.bound.axis_name
        if self.positives == "codes":
            # The keys are those of the partners, where records have one.
            prefix = "partner_" if "partner_codes" in batch else ""
            names = (f"{prefix}codes", f"{prefix}code_weights")
            codes, weights = gather(tuple(batch[k] for k in names), axis_name)
            anchors = batch["codes"][:, None], batch["code_weights"][:, None]
            return {
                "weights": lambda columns: weighted_jaccard(
                    *anchors, codes[columns][None], weights[columns][None]
                )  # [n, t]
            }
        if self.false_negatives == "mask":
            labels = gather(batch["label"], axis_name)

            def mask(columns: jax.Array) -> jax.Array:
                anchors, keys = batch["label"][:, None], labels[columns][None, :]
                return (anchors != keys) | (anchors < 0)

            return {"mask": mask}
        return {}


def ema_momentum_at(
    step: jax.Array | int, ema_momentum: float, total_steps: int, schedule: str
) -> jax.Array:
    """Return the momentum of the target network at a step.

    `m(s) = 1 - (1 - m0) (1 + cos(pi s / S)) / 2` for "cosine", m0 for "constant".

    Args:
        step: s.
        ema_momentum: m0.
        total_steps: S.
        schedule: "cosine" or "constant".
    """
    if schedule == "constant":
        return jnp.float32(ema_momentum)
    progress = jnp.clip(step / max(total_steps, 1), 0.0, 1.0)
    return 1.0 - (1.0 - ema_momentum) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def _swap_partners(batch: Batch) -> Batch:
    """Return the batch with records and partners exchanged."""
    names = [k.removeprefix("partner_") for k in batch if k.startswith("partner_")]
    swapped = {k: batch[f"partner_{k}"] for k in names}
    swapped |= {f"partner_{k}": batch[k] for k in names}
    return {**batch, **swapped}

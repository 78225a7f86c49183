"""MoCo v3: contrast of two views against the keys of a slowly moving network."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from losses import info_nce as nce
from models.layers.mlp import Predictor, Projector
from objectives.common import diagnostics
from objectives.common import objective as contract
from objectives.common.networks import Encoder, PredictingNetwork

Tree = Any


def momentum_at(
    step: jax.Array, ema_momentum: float, total_steps: int, kind: str
) -> jax.Array:
    """Momentum of the target network at a step.

    `m(s) = 1 - (1 - m0) (1 + cos(pi s / S)) / 2` for "cosine", m0 for "constant".
    """
    if kind == "constant":
        return jnp.float32(ema_momentum)
    progress = jnp.clip(step / max(total_steps, 1), 0.0, 1.0)
    return 1.0 - (1.0 - ema_momentum) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


def shared_code_weights(
    codes: jax.Array, weights: jax.Array, other: jax.Array, other_weights: jax.Array
) -> jax.Array:
    """Weighted Jaccard of two sets of codes: 1 the same set, 0 nothing shared.

    `s_ij = sum_{c in i and j} v_c / sum_{c in i or j} v_c`, v_c the code's weight, so a
    rare code says much and a common one little.

    Args:
        codes: int32 `[n, C]`, -1 where padded; weights: float32 `[n, C]`, 0 there.
        weights: See `codes`.
        other: int32 `[m, C]`.
        other_weights: float32 `[m, C]`.

    Returns:
        float32 `[n, m]`.
    """
    same = codes[:, None, :, None] == other[None, :, None, :]  # [n, m, C, C]
    same &= (codes >= 0)[:, None, :, None]
    both = jnp.where(same.any(-1), weights[:, None, :], 0.0).sum(-1)  # [n, m]
    either = weights.sum(-1)[:, None] + other_weights.sum(-1)[None, :] - both
    return jnp.where(both > 0, both / jnp.maximum(either, 1e-12), 0.0)


def _pair_functions(
    batch: dict, positives: str, false_negatives: str, axis_name: str | None
) -> dict[str, Callable]:
    """Soft positives or masks for `info_nce`, as functions of the key columns."""
    if positives == "codes":
        # The keys are those of the partners, where records have one.
        prefix = "partner_" if "partner_codes" in batch else ""
        names = (f"{prefix}codes", f"{prefix}code_weights")
        keys, values = contract.gather(tuple(batch[k] for k in names), axis_name)

        def weights(columns: jax.Array) -> jax.Array:
            own = batch["codes"], batch["code_weights"]
            return shared_code_weights(*own, keys[columns], values[columns])

        return {"weights": weights}
    if false_negatives == "mask":
        labels = contract.gather(batch["label"], axis_name)

        def mask(columns: jax.Array) -> jax.Array:
            own, theirs = batch["label"][:, None], labels[columns][None, :]
            return (own != theirs) | (own < 0)

        return {"mask": mask}
    return {}


@dataclasses.dataclass(frozen=True)
class _Moco(PredictingNetwork):
    """The four functions of the objective, over the networks and fields of `make`."""

    total_steps: int
    temperature: float
    ema_momentum: float
    ema_momentum_schedule: str
    positives: str
    false_negatives: str
    key_block_size: int

    def init(self, rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        """Parameters of encoder and predictor; the target starts as their copy."""
        params, extra = super().init(rng, batch)
        target = params["encoder"], extra["batch_stats"]["encoder"]
        # Copies: a donated buffer must not be both a parameter and its target.
        target_params, target_stats = jax.tree.map(jnp.copy, target)
        return params, {
            **extra,
            "target_params": target_params,
            "target_batch_stats": target_stats,
        }

    def keys(self, params: Tree, stats: Tree, x: jax.Array, rng: jax.Array):
        """Projections of the target network, constants to the gradient."""

        def encode(x, rng):
            (_, k), new = contract.apply_training(self.encoder, params, stats, x, rng)
            return k, new

        k, stats = contract.in_chunks(encode, x, rng, self.chunks)
        return lax.stop_gradient(k), stats

    def contrast(self, q: jax.Array, k: jax.Array, batch: dict):
        """InfoNCE of local queries against the keys of all devices."""
        n = q.shape[0]
        columns = contract.first_row(n, self.axis_name) + jnp.arange(n)
        pairs = _pair_functions(
            batch, self.positives, self.false_negatives, self.axis_name
        )
        k = contract.gather(k, self.axis_name)  # [devices * n, d]
        return nce.info_nce(
            q,
            k,
            columns,
            temperature=self.temperature,
            key_block_size=self.key_block_size,
            **pairs,
        )

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """Both directions, after the target has moved towards the online network."""
        rngs = jax.random.split(rng, 4)
        m = momentum_at(
            step, self.ema_momentum, self.total_steps, self.ema_momentum_schedule
        )
        target = jax.tree.map(
            lambda t, p: lax.stop_gradient(m * t + (1.0 - m) * p),
            extra["target_params"],
            params["encoder"],
        )
        views = batch["view1"], batch["view2"]
        # Each view has its own pass, so that BatchNorm never mixes them.
        online = extra["batch_stats"]
        (h1, z1, q1), online = self.predict(params, online, views[0], rngs[0])
        (_, _, q2), online = self.predict(params, online, views[1], rngs[1])
        slow = extra["target_batch_stats"]
        k1, slow = self.keys(target, slow, views[0], rngs[2])
        k2, slow = self.keys(target, slow, views[1], rngs[3])
        loss1, aux = self.contrast(q1, k2, batch)
        loss2, _ = self.contrast(q2, k1, _swapped(batch))
        metrics = {
            **diagnostics.contrast(aux),
            "train/ema_momentum": m,
            **self.spread(h1, z1),
        }
        online, slow = contract.mean_over_devices((online, slow), self.axis_name)
        extra = {
            "batch_stats": online,
            "target_params": target,
            "target_batch_stats": slow,
        }
        return 2.0 * self.temperature * (loss1 + loss2), (extra, metrics)

    def chance(self, global_batch: int) -> float:
        """`4 tau ln N`: all keys alike."""
        return 4.0 * self.temperature * math.log(global_batch)


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    temperature: float = 0.2,
    ema_momentum: float = 0.99,
    ema_momentum_schedule: Literal["cosine", "constant"] = "cosine",
    positives: Literal["instance", "codes"] = "instance",
    false_negatives: Literal["keep", "mask"] = "keep",
    features: int = 256,
    hidden: int = 4096,
    embed_from: Literal["backbone", "projector"] = "backbone",
    sync_batchnorm: bool = False,
    key_block_size: int = 0,
) -> contract.Objective:
    """Builds MoCo v3 (arXiv 2104.02057, Algorithm 1).

    `L = 2 tau [ctr(q1, k2) + ctr(q2, k1)]`, `q = predictor(projector(backbone(x)))`, k
    the projections of the target network. Its parameters are averaged towards the
    online ones before the keys are computed; its BatchNorm statistics are its own.

    Args:
        backbone: Network `(x, train) -> [n, f]`.
        axis_name: Device axis over which keys are gathered, or None.
        total_steps: Steps over which the cosine momentum rises to 1.
        chunks: Parts that the encoders run in; the loss always sees the full batch.
        temperature: tau, > 0.
        ema_momentum: m0 in [0, 1].
        ema_momentum_schedule: "cosine" from m0 to 1, or "constant".
        positives: "instance": the other view of the record. "codes": every key in
            proportion to the weighted Jaccard of its codes with the anchor's.
        false_negatives: "mask" takes keys with the anchor's label out of the negatives.
        features: Width of projections.
        hidden: Width of the hidden layer of both heads.
        embed_from: What is embedded after training: "backbone" features or "projector".
        sync_batchnorm: Heads normalize over all devices.
        key_block_size: Keys scored at a time; 0 for all at once.

    Returns:
        The objective. Its batches hold "view1" and "view2", `[n, h, w, 3]` float32.
    """
    if not 0.0 <= ema_momentum <= 1.0:
        raise ValueError(f"got ema_momentum {ema_momentum}; expected a value in [0, 1]")
    head = {
        "hidden": hidden,
        "features": features,
        "axis_name": axis_name if sync_batchnorm else None,
    }
    method = _Moco(
        encoder=Encoder(backbone, Projector(**head)),
        predictor=Predictor(**head),
        axis_name=axis_name,
        total_steps=total_steps,
        chunks=chunks,
        temperature=temperature,
        ema_momentum=ema_momentum,
        ema_momentum_schedule=ema_momentum_schedule,
        positives=positives,
        false_negatives=false_negatives,
        embed_from=embed_from,
        key_block_size=key_block_size,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)


def _swapped(batch: dict) -> dict:
    """The batch with records and partners exchanged, for the second term."""
    names = [k.removeprefix("partner_") for k in batch if k.startswith("partner_")]
    swapped = {k: batch[f"partner_{k}"] for k in names}
    swapped |= {f"partner_{k}": batch[k] for k in names}
    return batch | swapped

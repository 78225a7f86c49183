"""MoCo v3: contrast of two views against the keys of a slowly moving network."""

import math
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from losses import info_nce as nce
from models.heads import Predictor, Projector
from objectives import _contract as contract

Tree = Any


class Encoder(nn.Module):
    """Backbone and projector: what the target network is a slow copy of."""

    backbone: nn.Module
    projector: nn.Module

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps images `[n, h, w, 3]` to features `[n, f]` and projections `[n, d]`."""
        features = self.backbone(x, train=train)
        return features, self.projector(features, train=train)


def momentum_at(
    step: jax.Array, momentum: float, total_steps: int, kind: str
) -> jax.Array:
    """Momentum of the target network at a step.

    `m(s) = 1 - (1 - m0) (1 + cos(pi s / S)) / 2` for "cosine", m0 for "constant".
    """
    if kind == "constant":
        return jnp.float32(momentum)
    progress = jnp.clip(step / max(total_steps, 1), 0.0, 1.0)
    return 1.0 - (1.0 - momentum) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))


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
    batch: dict, other: str, positives: str, false_negatives: str, axis_name: str | None
) -> dict[str, Callable]:
    """Soft positives or masks for `info_nce`, as functions of the key columns."""
    if positives == "codes":
        names = (f"{other}codes", f"{other}code_weights")
        names = names if names[0] in batch else ("codes", "code_weights")
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


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    temperature: float = 0.2,
    momentum: float = 0.99,
    momentum_schedule: Literal["cosine", "constant"] = "cosine",
    positives: Literal["instance", "codes"] = "instance",
    false_negatives: Literal["keep", "mask"] = "keep",
    features: int = 256,
    hidden: int = 4096,
    layer: Literal["backbone", "projector"] = "backbone",
    sync_batchnorm: bool = False,
    tile: int = 0,
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
        momentum: m0 in [0, 1].
        momentum_schedule: "cosine" from m0 to 1, or "constant".
        positives: "instance": the other view of the record. "codes": every key in
            proportion to the weighted Jaccard of its codes with the anchor's.
        false_negatives: "mask" takes keys with the anchor's label out of the negatives.
        features: Width of projections.
        hidden: Width of the hidden layer of both heads.
        layer: What is embedded after training: "backbone" features or "projector".
        sync_batchnorm: Heads normalise over all devices.
        tile: Keys scored at a time; 0 for all at once.

    Returns:
        The objective. Its batches hold "view1" and "view2", `[n, h, w, 3]` float32.
    """
    if not 0.0 <= momentum <= 1.0:
        raise ValueError(f"got momentum {momentum}; expected a value in [0, 1]")
    head = {"axis_name": axis_name if sync_batchnorm else None}
    encoder = Encoder(backbone, Projector(hidden=hidden, features=features, **head))
    predictor = Predictor(hidden=hidden, features=features, **head)

    def init(rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        keys = dict(zip(("params", "dropout"), jax.random.split(rng), strict=True))
        x = batch["view1"]
        online = encoder.init(keys, x, train=False)
        z = jnp.zeros((x.shape[0], features))
        head_keys = {"params": jax.random.fold_in(rng, 2)}
        heads = predictor.init(head_keys, z, train=False)
        params = {"encoder": online["params"], "predictor": heads["params"]}
        stats = online["batch_stats"]
        return params, {
            "batch_stats": {"encoder": stats, "predictor": heads["batch_stats"]},
            # Copies: a donated buffer must not be both a parameter and its target.
            "target_params": jax.tree.map(jnp.copy, online["params"]),
            "target_batch_stats": jax.tree.map(jnp.copy, stats),
        }

    def run(module, params, stats, x, rng):
        return module.apply(
            {"params": params, "batch_stats": stats},
            x,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": rng},
        )

    def queries(params, stats, x, rng):
        def encode(x, rng):
            (h, z), new = run(encoder, params["encoder"], stats["encoder"], x, rng)
            q, head = run(predictor, params["predictor"], stats["predictor"], z, rng)
            return (h, z, q), {
                "encoder": new["batch_stats"],
                "predictor": head["batch_stats"],
            }

        return contract.in_chunks(encode, x, rng, chunks)

    def keys(params, stats, x, rng):
        def encode(x, rng):
            (_, k), new = run(encoder, params, stats, x, rng)
            return k, new["batch_stats"]

        k, stats = contract.in_chunks(encode, x, rng, chunks)
        return lax.stop_gradient(k), stats

    def contrast(q, k, batch, other):
        n = q.shape[0]
        columns = contract.first_row(n, axis_name) + jnp.arange(n)
        pairs = _pair_functions(batch, other, positives, false_negatives, axis_name)
        k = contract.gather(k, axis_name)  # [devices * n, d]
        return nce.info_nce(q, k, columns, temperature=temperature, tile=tile, **pairs)

    def loss(params, extra, batch, rng, step):
        rngs = jax.random.split(rng, 4)
        m = momentum_at(step, momentum, total_steps, momentum_schedule)
        target = jax.tree.map(
            lambda t, p: lax.stop_gradient(m * t + (1.0 - m) * p),
            extra["target_params"],
            params["encoder"],
        )
        views = batch["view1"], batch["view2"]
        # Each view has its own pass, so that BatchNorm never mixes them.
        (h1, z1, q1), stats = queries(params, extra["batch_stats"], views[0], rngs[0])
        (_, _, q2), stats = queries(params, stats, views[1], rngs[1])
        k1, target_stats = keys(target, extra["target_batch_stats"], views[0], rngs[2])
        k2, target_stats = keys(target, target_stats, views[1], rngs[3])
        loss1, aux = contrast(q1, k2, batch, "partner_")
        loss2, _ = contrast(q2, k1, _swapped(batch), "partner_")
        embedded = h1 if layer == "backbone" else z1
        metrics = {
            "train/accuracy": aux.accuracy,
            "diag/candidates": aux.candidates,
            "diag/embedding_std": contract.embedding_std(embedded, axis_name),
            "diag/embedding_std_chance": jnp.float32(embedded.shape[-1] ** -0.5),
            "train/target_momentum": m,
        }
        stats = contract.mean_over_devices((stats, target_stats), axis_name)
        extra = {
            "batch_stats": stats[0],
            "target_params": target,
            "target_batch_stats": stats[1],
        }
        return 2.0 * temperature * (loss1 + loss2), (extra, metrics)

    def embed(params, extra, batch):
        variables = {
            "params": params["encoder"],
            "batch_stats": extra["batch_stats"]["encoder"],
        }
        h, z = encoder.apply(variables, batch["image"], train=False)
        return contract.unit_norm(h if layer == "backbone" else z)

    def chance(global_batch: int) -> float:
        return 4.0 * temperature * math.log(global_batch)

    return contract.Objective(init, loss, embed, chance)


def _swapped(batch: dict) -> dict:
    """The batch with records and partners exchanged, for the second term."""
    names = [k.removeprefix("partner_") for k in batch if k.startswith("partner_")]
    swapped = {k: batch[f"partner_{k}"] for k in names}
    swapped |= {f"partner_{k}": batch[k] for k in names}
    return batch | swapped

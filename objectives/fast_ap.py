"""FastAP: frames of a label rank before all others, in the list of every frame."""

import collections
import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.scipy.special import digamma

from losses import fast_ap as loss_lib
from models.layers.mlp import MLP
from objectives.common import diagnostics
from objectives.common import objective as contract

Tree = Any
PARTS = ("backbone", "projector")


@dataclasses.dataclass(frozen=True)
class _FastAP:
    """The four functions of the objective, over the networks and fields of `make`."""

    networks: dict[str, nn.Module]
    frozen: tuple[str, ...]
    axis_name: str | None
    chunks: int
    relevance: str
    bins: int
    pulse: str
    sigma: float

    def init(self, rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        """Parameters that are trained, and batch statistics with those that are not."""
        x, params, stats = batch["view1"], {}, {}
        for i, (name, network) in enumerate(self.networks.items()):
            keys = jax.random.split(jax.random.fold_in(rng, i))
            keys = dict(zip(("params", "dropout"), keys, strict=True))
            x, variables = network.init_with_output(keys, x, train=False)
            params[name] = variables["params"]
            stats[name] = variables.get("batch_stats", {})
        # What no gradient trains is no parameter: an optimizer would still decay it.
        still = {name: params.pop(name) for name in self.frozen}
        return params, {"batch_stats": stats, "frozen": still}

    def encode(self, params: Tree, extra: Tree, x: jax.Array, rng: jax.Array):
        """Unit-norm embeddings [n, d] of a view, with new statistics."""

        def part(x, rng):
            stats = dict(extra["batch_stats"])
            for name, network in self.networks.items():
                if name in self.frozen:
                    x = lax.stop_gradient(self._still(name, params, extra, x))
                else:
                    x, stats[name] = contract.apply_training(
                        network, params[name], stats[name], x, rng
                    )
            return contract.unit_norm(x), stats

        return contract.in_chunks(part, x, rng, self.chunks)

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """Both views of every record, each a query in the list of all others."""
        del step
        rngs = jax.random.split(rng)
        # Each view has its own pass, so that BatchNorm never mixes them.
        z1, stats = self.encode(params, extra, batch["view1"], rngs[0])  # [n, d]
        extra = {**extra, "batch_stats": stats}
        z2, stats = self.encode(params, extra, batch["view2"], rngs[1])
        n = z1.shape[0]
        row = contract.first_row(n, self.axis_name) + jnp.arange(n)
        label = batch["label"] if self.relevance == "label" else row
        x, labels = jnp.concatenate([z1, z2]), jnp.tile(label, 2)  # [2 n, d], [2 n]
        keys, key_labels = contract.gather((x, labels), self.axis_name)
        columns = contract.first_row(2 * n, self.axis_name) + jnp.arange(2 * n)
        same = labels[:, None] == key_labels[None, :]  # [2 n, devices * 2 n]
        own = jnp.where(labels >= 0, jnp.sum(same, 1) - 1, 0).astype(jnp.float32)
        # Means over devices, so that the mean of their losses is that of all queries.
        found = jnp.sum(own), jnp.sum(own > 0).astype(jnp.float32)
        total, valid = contract.mean_over_devices(found, self.axis_name)
        positives = total / jnp.maximum(valid, 1.0)
        value, aux = loss_lib.fast_ap(
            x,
            keys,
            labels,
            key_labels,
            columns,
            bins=self.bins,
            pulse=self.pulse,
            sigma=self.sigma,
            count=valid,
        )
        labeled = jnp.sum(key_labels >= 0).astype(jnp.float32)
        metrics = {
            "train/loss_chance": chance_at_hand(positives, labeled - 1),
            **diagnostics.similarities(
                aux.positive_similarity, aux.negative_similarity
            ),
            "diag/positives": positives,
            "diag/queries_with_positive": aux.valid,
            "diag/candidates": aux.candidates,
            "diag/embedding_std": contract.embedding_std(z1, self.axis_name),
            "diag/embedding_std_chance": jnp.float32(z1.shape[-1] ** -0.5),
        }
        stats = contract.mean_over_devices(stats, self.axis_name)
        return value, ({**extra, "batch_stats": lax.stop_gradient(stats)}, metrics)

    def embed(self, params: Tree, extra: Tree, batch: dict) -> jax.Array:
        """Unit-norm embeddings by running statistics."""
        x = batch["image"]
        for name in self.networks:
            x = self._still(name, params, extra, x)
        return contract.unit_norm(x)

    def chance(self, global_batch: int) -> float:
        """Of a random list with one positive, the other view; labels have more."""
        return loss_lib.chance(2 * global_batch - 1, 1)

    def _still(self, name: str, params: Tree, extra: Tree, x: jax.Array) -> jax.Array:
        variables = {
            "params": (extra["frozen"] if name in self.frozen else params)[name],
            "batch_stats": extra["batch_stats"][name],
        }
        return self.networks[name].apply(variables, x, train=False)


def check_records(label: Any, *, relevance: str = "label", **_: Any) -> None:
    """Raises ValueError if no record has a positive.

    Args:
        label: int `[n]` of the training records, negative for none.
        relevance: As in `make`.
        **_: Its other fields, of no use here.
    """
    if relevance != "label":
        return
    known = [x for x in label.tolist() if x >= 0]
    counts = collections.Counter(known)
    if not any(count > 1 for count in counts.values()):
        raise ValueError(
            f"got {len(label)} training records of which {len(known)} have a label, "
            "and none shares it with another: there are no positives to rank first. "
            "Set data.label, or objective.relevance=views"
        )


def chance_at_hand(positives: jax.Array, candidates: jax.Array) -> jax.Array:
    """1 - E[AP] of random lists, from the mean number of positives R a query has.

    `E[AP] = ((R - 1) / (M - 1) (M - H_M) + H_M) / M`, linear in R, so that its mean
    over queries is that of the mean; 1 where nothing has a positive.

    Args:
        positives: R, mean over the queries that have one.
        candidates: M of each query.
    """
    m = jnp.maximum(candidates, 1.0)
    harmonic = digamma(m + 1) + jnp.euler_gamma
    rest = (positives - 1) / jnp.maximum(m - 1, 1.0) * (m - harmonic)
    return jnp.where(positives > 0, 1 - (rest + harmonic) / m, 1.0)


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    relevance: Literal["label", "views"] = "label",
    bins: int = 10,
    pulse: loss_lib.Pulse = "triangular",
    sigma: float = 0.05,
    hidden: int = 512,
    features: int = 2048,
    embedding: int = 256,
    frozen: tuple[str, ...] = (),
    sync_batchnorm: bool = False,
) -> contract.Objective:
    """Builds FastAP on the embeddings of both views of a batch.

    `L = mean_i (1 - FastAP_i)`, i over 2 n views that have a positive, z = unit(head(
    projector(backbone(x)))); the projector is SimSiam's, so that it can start from one.

    Args:
        backbone: Network `(x, train) -> [n, f]`.
        axis_name: Device axis over which keys are gathered, or None.
        total_steps: No use here; nothing is scheduled.
        chunks: Parts that the networks run in; the loss always sees the full batch.
        relevance: "label": views of records with the same label, those without one
            left out; "views": the two views of a record.
        bins: Of the histogram of distances.
        pulse: As in `losses.fast_ap`.
        sigma: As in `losses.fast_ap`.
        hidden: Width of the projector's two hidden layers.
        features: Width of projections; 0 leaves the projector out.
        embedding: d, what is embedded.
        frozen: Parts that stay as they begin, "backbone", "projector"; their BatchNorm
            uses its running statistics.
        sync_batchnorm: Share the heads' batch statistics over devices.

    Returns:
        The objective. Its batches hold "view1", "view2" and "label".

    Raises:
        ValueError: a part that is not there is to be frozen.

    Source: Cakir et al., "Deep metric learning to rank", CVPR 2019.
    """
    del total_steps
    axis = axis_name if sync_batchnorm else None
    networks = {"backbone": backbone}
    if features:
        networks["projector"] = MLP(
            hidden, features, layers=3, norm_last=True, axis_name=axis
        )
    networks["head"] = MLP(0, embedding, layers=1, bias_last=True)
    parts = [name for name in PARTS if name in networks]
    if wrong := sorted(set(frozen) - set(parts)):
        raise ValueError(f"got frozen {', '.join(wrong)}; choices: {', '.join(parts)}")
    method = _FastAP(
        networks=networks,
        frozen=tuple(frozen),
        axis_name=axis_name,
        chunks=chunks,
        relevance=relevance,
        bins=bins,
        pulse=pulse,
        sigma=sigma,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)

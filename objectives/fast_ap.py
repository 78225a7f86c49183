"""FastAP: every view ranks the views of its label before all others."""

import collections
import dataclasses
import functools
from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Interval
from jax import lax

from losses import fast_ap as fast_ap_lib
from losses.common.device_means import mean_over_devices
from losses.common.normalize import unit_norm
from models.layers.mlp import MLP
from objectives.common import diagnostics
from objectives.common.accumulation import in_chunks
from objectives.common.collectives import gather
from objectives.common.networks import (
    apply_inference,
    apply_training,
    gathered_columns,
    init_keys,
)
from objectives.common.objective import (
    Batch,
    Extra,
    LossOutput,
    MetricFacts,
    ObjectiveBase,
    Params,
    Positives,
    Tree,
)

_FACTS: dict[str, MetricFacts] = {
    "diag/positives": {"kind": "diagnostic", "better": ""},
    "diag/queries_with_positive": {"kind": "diagnostic", "better": ""},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """FastAP on the embeddings of both views of a batch.

    `L = mean_i (1 - FastAP_i)`, i over the 2 n views that have a positive, `z =
    unit(head(projector(backbone(x))))`. The projector has SimSiam's shape, so that its
    weights can be loaded from a SimSiam run. The backbone is `(x, train) -> [n, f]`.
    Batches hold "view1", "view2" and "label".

    Attributes:
        relevance: "label": views of records of one label are positives, records without
            a label are left out. "views": the two views of a record.
        bins: Number of bins of the histogram of distances.
        pulse: How a pair is shared between bins, as in `losses.fast_ap`.
        sigma: Width of the Gaussian pulse, in units of the cosine.
        hidden_dim: Width of the projector's two hidden layers.
        proj_dim: Width of projections; 0 leaves the projector out.
        embed_dim: Width of the embeddings.
        frozen: Networks that are not trained, "backbone" or "projector"; their
            BatchNorm uses its running statistics.

    Raises:
        ValueError: `frozen` names a network that there is not.

    Source: Cakir et al., "Deep metric learning to rank", CVPR 2019.
    """

    relevance: Literal["label", "views"] = "label"
    bins: Annotated[int, Interval(ge=1, le=4096)] = 10
    pulse: fast_ap_lib.Pulse = "triangular"
    sigma: Annotated[float, Interval(gt=0, le=2)] = 0.05
    hidden_dim: Annotated[int, Interval(ge=1, le=65536)] = 512
    proj_dim: Annotated[int, Interval(ge=0, le=65536)] = 2048
    embed_dim: Annotated[int, Interval(ge=1, le=65536)] = 256
    frozen: tuple[Literal["backbone", "projector"], ...] = ()

    def __post_init__(self):
        """Check fields against each other."""
        choices = ("backbone", "projector") if self.proj_dim else ("backbone",)
        if wrong := sorted(set(self.frozen) - set(choices)):
            raise ValueError(
                f"got frozen {', '.join(wrong)}; choices: {', '.join(choices)}"
            )

    @property
    def positives(self) -> Positives:
        """What makes two records a positive pair."""
        return "label" if self.relevance == "label" else "instance"

    @functools.cached_property
    def _networks(self) -> dict[str, nn.Module]:
        """Networks by name, in the order in which they are applied."""
        context = self.bound
        axis_name = context.axis_name if context.sync_batchnorm else None
        networks: dict[str, nn.Module] = {"backbone": context.backbone}
        if self.proj_dim:
            networks["projector"] = MLP(
                self.hidden_dim,
                self.proj_dim,
                layers=3,
                norm_last=True,
                axis_name=axis_name,
            )
        networks["head"] = MLP(0, self.embed_dim, layers=1, bias_last=True)
        return networks

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return trained parameters, and batch statistics with frozen parameters."""
        x, params, stats = batch["view1"], {}, {}
        for i, (name, network) in enumerate(self._networks.items()):
            keys = init_keys(jax.random.fold_in(rng, i))
            x, variables = network.init_with_output(keys, x, train=False)
            params[name] = variables["params"]
            stats[name] = variables.get("batch_stats", {})
        # Not among the parameters: an optimizer would still decay their weights.
        frozen = {name: params.pop(name) for name in self.frozen}
        return params, {"batch_stats": stats, "frozen": frozen}

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return the loss of both views of every record against all other views."""
        del step
        axis_name = self.bound.axis_name
        rngs = jax.random.split(rng)
        # Each view has its own pass, so that BatchNorm never mixes them.
        z1, stats = self._encode(params, extra, batch["view1"], rngs[0])  # [n, d]
        extra = {**extra, "batch_stats": stats}
        z2, stats = self._encode(params, extra, batch["view2"], rngs[1])
        n = z1.shape[0]
        record = gathered_columns(n, axis_name)
        label = batch["label"] if self.relevance == "label" else record
        x, labels = jnp.concatenate([z1, z2]), jnp.tile(label, 2)  # [2 n, d], [2 n]
        keys, key_labels = gather((x, labels), axis_name)
        positives, valid = _count_positives(labels, key_labels, axis_name)
        value, aux = fast_ap_lib.fast_ap(
            x,
            keys,
            labels,
            key_labels,
            gathered_columns(2 * n, axis_name),
            bins=self.bins,
            pulse=self.pulse,
            sigma=self.sigma,
            count=valid,
            axis_name=axis_name,
        )
        labeled = jnp.sum(key_labels >= 0).astype(jnp.float32)
        metrics = {
            "train/loss_chance": fast_ap_lib.batch_chance(positives, labeled - 1),
            **diagnostics.similarities(
                aux.positive_similarity, aux.negative_similarity
            ),
            "diag/positives": positives,
            "diag/queries_with_positive": aux.valid,
            "diag/candidates": aux.candidates,
            **diagnostics.spread(z1, axis_name),
        }
        stats = mean_over_devices(stats, axis_name)
        return value, ({**extra, "batch_stats": lax.stop_gradient(stats)}, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings of `batch["image"]`."""
        x = batch["image"]
        for name in self._networks:
            x = self._apply_running(name, params, extra, x)
        return unit_norm(x)

    def chance(self, global_batch: int) -> float:
        """Return 1 - E[AP] of a random ranking with one positive, the other view.

        With `relevance` "label" queries have more positives; `loss` then logs the
        chance level of each batch.
        """
        return fast_ap_lib.chance(2 * global_batch - 1, 1)

    def check_records(self, labels: np.ndarray) -> None:
        """Raise ValueError if no record has a positive, or all have the same.

        Args:
            labels: int `[n]` of the training records, negative for none.
        """
        if self.relevance != "label":
            return
        labeled = [label for label in labels.tolist() if label >= 0]
        counts = collections.Counter(labeled)
        alone = not any(count > 1 for count in counts.values())
        if len(counts) > 1 and not alone:
            return
        reason = (
            "all of them the same: every record is a positive, and no ranking is wrong"
            if len(counts) == 1 and not alone
            else "and none shares it with another: there are no positives to rank first"
        )
        raise ValueError(
            f"got {len(labels)} training records of which {len(labeled)} have a label, "
            f"{reason}. Set data.label to a column whose values some records share and "
            "others do not, with data.bins for a column of numbers, or "
            "objective.relevance=views"
        )

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        shared = diagnostics.SIMILARITIES | diagnostics.CANDIDATES | diagnostics.SPREAD
        return _FACTS | shared

    def _encode(
        self, params: Params, extra: Extra, x: jax.Array, rng: jax.Array
    ) -> tuple[jax.Array, Tree]:
        """Return unit-norm embeddings `[n, d]` of a view, and new statistics."""

        def encode(x, rng):
            stats = dict(extra["batch_stats"])
            for name, network in self._networks.items():
                if name in self.frozen:
                    x = lax.stop_gradient(self._apply_running(name, params, extra, x))
                else:
                    x, stats[name] = apply_training(
                        network, params[name], stats[name], x, rng
                    )
            return unit_norm(x), stats

        return in_chunks(encode, x, rng, self.bound.chunks)

    def _apply_running(
        self, name: str, params: Params, extra: Extra, x: jax.Array
    ) -> jax.Array:
        """Return the output of a network that uses its running statistics."""
        weights = (extra["frozen"] if name in self.frozen else params)[name]
        stats = extra["batch_stats"][name]
        return apply_inference(self._networks[name], weights, stats, x)


def _count_positives(
    labels: jax.Array, key_labels: jax.Array, axis_name: str | None
) -> tuple[jax.Array, jax.Array]:
    """Return the mean number of positives of a query, and the number of valid queries.

    A query is valid if it has a positive. Both are means over devices, so that the mean
    of the devices' losses is that of all queries.

    Args:
        labels: int `[q]` of this device's queries, negative for none.
        key_labels: int `[m]` of the keys of all devices, the queries among them.
        axis_name: Device axis, or None.
    """
    same = labels[:, None] == key_labels[None, :]  # [q, m]
    positives = jnp.where(labels >= 0, jnp.sum(same, 1) - 1, 0).astype(jnp.float32)
    sums = jnp.sum(positives), jnp.sum(positives > 0).astype(jnp.float32)
    total, valid = mean_over_devices(sums, axis_name)
    return total / jnp.maximum(valid, 1.0), valid

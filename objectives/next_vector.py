"""Next-vector prediction: find the vector that follows a context, and point at it."""

import dataclasses
from typing import Annotated, Literal, cast

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Interval
from jax import lax

from losses import info_nce as info_nce_lib
from losses.common.normalize import unit_norm
from objectives.common import diagnostics
from objectives.common.accumulation import in_chunks
from objectives.common.collectives import gather
from objectives.common.networks import (
    apply_inference,
    differing_labels,
    gathered_columns,
)
from objectives.common.objective import (
    Batch,
    Extra,
    LossOutput,
    MetricFacts,
    ObjectiveBase,
    Params,
)

_FACTS: dict[str, MetricFacts] = {
    "train/info_nce": {"kind": "loss", "better": "lower"},
    "train/cosine": {"kind": "score", "better": "higher"},
}
_FADE = 1.2  # c of a new mixture


class _Head(nn.Module):
    """Projection in which vectors are compared: dense layers with GELU between."""

    widths: tuple[int, ...]

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[..., d] -> [..., widths[-1]]`."""
        for i, width in enumerate(self.widths):
            x = nn.Dense(width)(nn.gelu(x) if i else x)
        return x


class _Predictor(nn.Module):
    """A network over contexts, a dense layer at its last position, perhaps a skip.

    `p = r + W h_l + b`, r what the prediction is the residual_from of, W and b 0 at
    first. The mixture is `r = sum_j w_j x_j`, `w = softmax_j(a_j - c (l - 1 - j))`, a_j
    a number that the network gives each position, 0 at first, and c learned, e^-c = .3
    at first. With a rank, `p = r + U V r + b`, for little data.
    """

    backbone: nn.Module
    width: int
    residual_from: str
    rank: int

    def setup(self):
        """Names the layers."""
        zeros, plain = nn.initializers.zeros, nn.linear.default_kernel_init
        start = plain if self.residual_from == "none" else zeros
        self.out = nn.Dense(self.width, kernel_init=start)
        if self.rank:
            self.down = nn.Dense(self.rank, use_bias=False)
        if self.residual_from == "mixture":
            self.weight = nn.Dense(1, kernel_init=zeros, use_bias=False)
            self.fade = self.param("fade", nn.initializers.constant(_FADE), (1,))

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """`[n, l, d] -> [n, d]`."""
        h = self.backbone(x, train)  # [n, l, w]
        if self.residual_from == "none":
            return self.out(h[:, -1])
        if self.residual_from == "last":
            start = last_vector(x)
        else:
            start = self._mixture(x, self.weight(h)[..., 0])
        return start + self.out(self.down(start) if self.rank else h[:, -1])

    def _mixture(self, x: jax.Array, given: jax.Array) -> jax.Array:
        age = jnp.arange(x.shape[1] - 1, -1, -1, dtype=jnp.float32)  # [l]
        logits = given - (self.fade * age)[None, :]
        logits = jnp.where(jnp.any(x != 0, -1), logits, -jnp.inf)
        return jnp.einsum("nl,nld->nd", nn.softmax(logits, -1), x)


def last_vector(x: jax.Array) -> jax.Array:
    """The last vector of each context [n, l, d] that is not zeros, [n, d]."""
    there = jnp.any(x != 0, -1)  # [n, l]
    at = x.shape[1] - 1 - jnp.argmax(there[:, ::-1], 1)
    return jnp.take_along_axis(x, at[:, None, None], 1)[:, 0]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Objective(ObjectiveBase):
    """Prediction of the vector that follows a context.

    `L = lambda_con NCE(h(p), h(t)) + lambda_ar mean_i (1 - cos(p_i, t_i))`

    p the prediction, t the target, h the head (the identity without one), NCE as in
    `losses.info_nce` with the targets of all devices as candidates. With a head the
    first term constrains the space of the head, not the space that is searched; no
    gradient goes through h(t). The backbone is causal, `([n, l, d], train) ->
    [n, l, w]`.

    Batches hold "view1", contexts, "view2", targets, and "place", the position of a
    target among all vectors; with `same_article_negatives` also these and
    "same_article_places"; "label" to mask.

    Attributes:
        temperature: tau.
        infonce_weight: lambda_con.
        cosine_weight: lambda_ar; not 0 where lambda_con is 0.
        head: Widths of the head's layers; () for no head.
        residual_from: "none": predict the vector itself. "last", "mixture": predict
            what is added to the last vector of the context, or to a weighted mean of
            the context with learned weights.
        rank: 0 to add a function of the network's output; else the rank of a linear map
            of the mixture that is added, while the network only weights the context.
        false_negatives: "mask" removes targets of the anchor's article from the
            candidates, which is easier than the search among all.
        own_context: "mask" removes the vectors of the anchor's own context from the
            candidates, as the search does. Kept, they push a prediction away from the
            latest vectors of its article.
        same_article_negatives: Number of further vectors of each window's article that
            are candidates of all anchors, so that candidates are as similar as in a
            collection of whole articles; the data must bring as many.
        key_block_size: Number of candidates scored at a time, 0 for all.

    Raises:
        ValueError: `rank` without a mixture, or both weights are 0.

    Source: van den Oord et al., arXiv 1807.03748, with a single step ahead.
    """

    temperature: Annotated[float, Interval(gt=0, le=100)] = 0.07
    infonce_weight: Annotated[float, Interval(ge=0, le=1000)] = 0.85
    cosine_weight: Annotated[float, Interval(ge=0, le=1000)] = 0.15
    head: tuple[Annotated[int, Interval(ge=1, le=65536)], ...] = ()
    residual_from: Literal["none", "last", "mixture"] = "last"
    rank: Annotated[int, Interval(ge=0, le=65536)] = 0
    false_negatives: Literal["keep", "mask"] = "keep"
    own_context: Literal["keep", "mask"] = "mask"
    same_article_negatives: Annotated[int, Interval(ge=0, le=4096)] = 0
    key_block_size: Annotated[int, Interval(ge=0, le=2**24)] = 0

    def __post_init__(self):
        """Check fields against each other."""
        if self.rank and self.residual_from != "mixture":
            raise ValueError(
                f"got rank {self.rank} with residual_from {self.residual_from!r}, "
                "where the network has no effect; expected residual_from 'mixture'"
            )
        if not self.infonce_weight and not self.cosine_weight:
            raise ValueError(
                f"got infonce_weight {self.infonce_weight} and cosine_weight "
                f"{self.cosine_weight}; expected not both 0"
            )

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return parameters of the network and, where there is one, of the head."""
        x, rngs = batch["view1"], jax.random.split(rng)
        width = x.shape[-1]
        params = self._predictor(width).init(rngs[0], x, train=False)["params"]
        params = {"predictor": params}
        if self.head:
            params["head"] = _Head(tuple(self.head)).init(rngs[1], x[:, 0])["params"]
        return params, {}

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return the loss of predictions against the targets of all devices."""
        del step
        axis_name = self.bound.axis_name
        target = unit_norm(batch["view2"])  # [n, d]
        p = self._predict(params, batch["view1"], rng, target.shape[-1])  # [n, d]
        cosine = jnp.sum(unit_norm(p) * target, -1)  # [n]
        keys = self._keys(batch, target)  # [m, d]
        q, k = unit_norm(p), keys
        if self.head:
            q = unit_norm(self._project(params, p))
            k = lax.stop_gradient(unit_norm(self._project(params, keys)))
        infonce, aux = info_nce_lib.info_nce(
            q,
            k,
            gathered_columns(q.shape[0], axis_name),
            temperature=self.temperature,
            mask=self._mask(batch),
            key_block_size=self.key_block_size,
            axis_name=axis_name,
        )
        metrics = {
            **diagnostics.with_chance(
                {
                    "train/info_nce": (infonce, aux.chance),
                    "train/cosine": (jnp.mean(cosine), 0.0),
                }
            ),
            "train/loss_chance": self.infonce_weight * aux.chance + self.cosine_weight,
            **diagnostics.contrast(aux),
            **diagnostics.spread(p, axis_name),
        }
        distance = jnp.mean(1 - cosine)
        value = self.infonce_weight * infonce + self.cosine_weight * distance
        return value, (extra, metrics)

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm predictions or vectors.

        `batch["image"]` is either contexts `[n, l, d]`, whose embeddings are the
        predictions, or vectors `[n, d]`, which are their own embeddings.
        """
        del extra
        x = batch["image"]
        if x.ndim == 2:
            return unit_norm(x)
        predictor = self._predictor(x.shape[-1])
        return unit_norm(apply_inference(predictor, params["predictor"], {}, x))

    def chance(self, global_batch: int) -> float:
        """Return `lambda_con ln m + lambda_ar`: equal candidates and a cosine of 0.

        An anchor's own context is no candidate; `loss` logs the level of each batch.
        """
        candidates = global_batch * (1 + self.same_article_negatives)
        return self.infonce_weight * info_nce_lib.chance(candidates) + (
            self.cosine_weight
        )

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        return _FACTS | diagnostics.CONTRAST | diagnostics.SPREAD

    def _predictor(self, width: int) -> _Predictor:
        return _Predictor(self.bound.backbone, width, self.residual_from, self.rank)

    def _predict(
        self, params: Params, contexts: jax.Array, rng: jax.Array, width: int
    ) -> jax.Array:
        """Return predictions `[n, d]` of contexts `[n, l, d]` in training mode."""
        predictor = self._predictor(width)

        def encode(x, rng):
            p = predictor.apply(
                {"params": params["predictor"]}, x, train=True, rngs={"dropout": rng}
            )
            return p, {}

        return in_chunks(encode, contexts, rng, self.bound.chunks)[0]

    def _project(self, params: Params, x: jax.Array) -> jax.Array:
        """Return the output of the head, `[n, d] -> [n, head[-1]]`."""
        head = _Head(tuple(self.head))
        return cast(jax.Array, head.apply({"params": params["head"]}, x))

    def _keys(self, batch: Batch, target: jax.Array) -> jax.Array:
        """Return targets, then negatives, of all devices, `[devices n (1 + b), d]`."""
        axis_name = self.bound.axis_name
        keys = gather(target, axis_name)
        if not self.same_article_negatives:
            return keys
        negatives = gather(batch["same_article_negatives"], axis_name)
        negatives = negatives[:, : self.same_article_negatives]
        negatives = negatives.reshape(-1, keys.shape[1])
        return jnp.concatenate([keys, unit_norm(negatives)])

    def _mask(self, batch: Batch) -> jax.Array:
        """Return which keys are candidates of an anchor, bool `[n, m]`."""
        axis_name = self.bound.axis_name
        places = gather(batch["place"], axis_name)
        if self.same_article_negatives:
            negatives = gather(batch["same_article_places"], axis_name)
            negatives = negatives[:, : self.same_article_negatives]
            places = jnp.concatenate([places, negatives.ravel()])
        # A negative of another window of the article may be this very target, or stand
        # in this context.
        steps_back = batch["place"][:, None] - places[None, :]
        mask = steps_back != 0
        if self.own_context == "mask":
            mask &= (steps_back < 0) | (steps_back > batch["view1"].shape[1])
        if self.false_negatives == "mask":
            other = differing_labels(batch, axis_name)
            other = jnp.concatenate(
                [other, jnp.repeat(other, self.same_article_negatives, 1)], 1
            )
            mask &= other
        return mask

"""Next-vector prediction: find the vector that follows a context, and point at it."""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from losses import info_nce as nce
from objectives.common import diagnostics, pair_network
from objectives.common import objective as contract

Tree = Any
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


@dataclasses.dataclass(frozen=True)
class _NextVector(pair_network.PairNetwork):
    """The four functions of the objective, over the network and fields of `make`."""

    temperature: float
    infonce_weight: float
    cosine_weight: float
    head: tuple[int, ...]
    residual_from: str
    rank: int
    false_negatives: str
    own_context: str
    same_article_negatives: int
    key_block_size: int

    def _predictor(self, width: int) -> _Predictor:
        return _Predictor(self.backbone, width, self.residual_from, self.rank)

    def init(self, rng: jax.Array, batch: dict) -> tuple[Tree, Tree]:
        """Parameters of the network and, where there is one, of the head."""
        x, rngs = batch["view1"], jax.random.split(rng)
        width = x.shape[-1]
        params = self._predictor(width).init(rngs[0], x, train=False)["params"]
        params = {"predictor": params}
        if self.head:
            params["head"] = _Head(self.head).init(rngs[1], x[:, 0])["params"]
        return params, {}

    def loss(self, params: Tree, extra: Tree, batch: dict, rng: jax.Array, step):
        """Predictions find their targets among those of all devices."""
        del step
        target = contract.unit_norm(batch["view2"])  # [n, d]
        predictor = self._predictor(target.shape[-1])

        def encode(x, rng):
            p = predictor.apply(
                {"params": params["predictor"]}, x, train=True, rngs={"dropout": rng}
            )
            return p, {}

        p, _ = contract.in_chunks(encode, batch["view1"], rng, self.chunks)  # [n, d]
        cosine = jnp.sum(contract.unit_norm(p) * target, -1)  # [n]
        keys = self._keys(batch, target)  # [m, d]
        q, k = contract.unit_norm(p), keys
        if self.head:
            project = {"params": params["head"]}
            head = _Head(self.head)
            q = contract.unit_norm(head.apply(project, p))
            k = lax.stop_gradient(contract.unit_norm(head.apply(project, keys)))
        found, aux = nce.info_nce(
            q,
            k,
            self.columns(q.shape[0]),
            temperature=self.temperature,
            mask=self._mask(batch),
            key_block_size=self.key_block_size,
        )
        metrics = {
            **diagnostics.with_chance(
                {
                    "train/info_nce": (found, nce.chance(keys.shape[0])),
                    "train/cosine": (jnp.mean(cosine), 0.0),
                }
            ),
            **diagnostics.contrast(aux),
            **self.spread(p),
        }
        value = self.infonce_weight * found + self.cosine_weight * jnp.mean(1 - cosine)
        return value, (extra, metrics)

    def _keys(self, batch: dict, target: jax.Array) -> jax.Array:
        """Targets, then negatives of the articles, of all devices, [D n (1 + b), d]."""
        keys = contract.gather(target, self.axis_name)
        if not self.same_article_negatives:
            return keys
        same_article_negatives = contract.gather(
            batch["same_article_negatives"], self.axis_name
        )
        same_article_negatives = same_article_negatives[
            :, : self.same_article_negatives
        ].reshape(-1, keys.shape[1])
        return jnp.concatenate([keys, contract.unit_norm(same_article_negatives)])

    def _mask(self, batch: dict) -> jax.Array:
        """False where a key is no candidate of an anchor, bool [n, m]."""
        places = contract.gather(batch["place"], self.axis_name)
        if self.same_article_negatives:
            more = contract.gather(batch["same_article_places"], self.axis_name)
            places = jnp.concatenate(
                [places, more[:, : self.same_article_negatives].ravel()]
            )
        # A negative of another window of the article may be this very target, or stand
        # in this context.
        back = batch["place"][:, None] - places[None, :]
        mask = back != 0
        if self.own_context == "mask":
            mask &= (back < 0) | (back > batch["view1"].shape[1])
        if self.false_negatives == "mask":
            other = self.may_be_negative(batch)
            other = jnp.concatenate(
                [other, jnp.repeat(other, self.same_article_negatives, 1)], 1
            )
            mask &= other
        return mask

    def embed(self, params: Tree, extra: Tree, batch: dict) -> jax.Array:
        """Predictions for contexts [n, l, d]; vectors [n, d] are what they are."""
        del extra
        x = batch["image"]
        if x.ndim == 2:
            return contract.unit_norm(x)
        p = self._predictor(x.shape[-1]).apply(
            {"params": params["predictor"]}, x, train=False
        )
        return contract.unit_norm(p)

    def chance(self, global_batch: int) -> float:
        """`lambda_con ln m + lambda_ar`: all candidates alike, a cosine of 0."""
        candidates = global_batch * (1 + self.same_article_negatives)
        return self.infonce_weight * nce.chance(candidates) + self.cosine_weight


def make(
    *,
    backbone: nn.Module,
    axis_name: str | None,
    total_steps: int,
    chunks: int = 1,
    temperature: float = 0.07,
    infonce_weight: float = 0.85,
    cosine_weight: float = 0.15,
    head: tuple[int, ...] = (),
    residual_from: Literal["none", "last", "mixture"] = "last",
    rank: int = 0,
    false_negatives: Literal["keep", "mask"] = "keep",
    own_context: Literal["keep", "mask"] = "mask",
    same_article_negatives: int = 0,
    key_block_size: int = 0,
    sync_batchnorm: bool = False,
) -> contract.Objective:
    """Builds the objective of predicting the vector that follows a context.

    `L = lambda_con NCE(h(p), h(t)) + lambda_ar mean_i (1 - cos(p_i, t_i))`

    p the prediction, t the target, h the head (the identity without one), NCE as in
    `losses.info_nce` with the targets of all devices as candidates. With a head the
    first term no longer says anything about the space that is searched; no gradient
    goes through h(t), as in the report that tried it.

    Args:
        backbone: Network `([n, l, d], train) -> [n, l, w]`, causal.
        axis_name: Device axis over which candidates are gathered, or None.
        total_steps: No use here; nothing is scheduled.
        chunks: Parts that the network runs in; the loss always sees the full batch.
        temperature: tau, above 0.
        infonce_weight: lambda_con, 0 or more.
        cosine_weight: lambda_ar, 0 or more.
        head: Widths of the head's layers; () for one space.
        residual_from: Predict the vector itself, or what is added to the last vector of
            the context, or to a weighted mean of the context whose weights are learned.
        rank: 0 to add what the network makes of the context; else the rank of a linear
            map that is added, while the network only weighs the context.
        false_negatives: "mask" takes targets of the anchor's article out of the
            candidates, which is an easier task than to search all of them.
        own_context: "mask" takes the vectors of the anchor's own context out of the
            candidates, as the pool that is searched leaves them out; kept, they teach
            a prediction to stay away from where the article just was.
        same_article_negatives: Further vectors of each window's article that are
            candidates of all anchors, so that candidates are as much alike as in a pool
            of whole articles; the data must bring as many.
        key_block_size: Candidates taken at a time, 0 for all.
        sync_batchnorm: No use here; the network has been told.

    Returns:
        The objective. Its batches hold "view1", contexts, "view2", targets, and
        "place", where a target stands among all vectors; with same_article_negatives
        these and "same_article_places".

    Raises:
        ValueError: On a value out of range.

    Source: van den Oord et al., arXiv 1807.03748, with a single step ahead.
    """
    del total_steps, sync_batchnorm
    if not temperature > 0:
        raise ValueError(f"got temperature {temperature}; expected a number above 0")
    for name, number in (
        ("same_article_negatives", same_article_negatives),
        ("rank", rank),
    ):
        if number < 0:
            raise ValueError(f"got {name} {number}; expected 0 or more")
    if rank and residual_from != "mixture":
        raise ValueError(
            f"got rank {rank} with residual_from {residual_from!r}, where the network "
            "would have no part; expected residual_from 'mixture'"
        )
    if min(infonce_weight, cosine_weight) < 0 or infonce_weight + cosine_weight <= 0:
        raise ValueError(
            f"got infonce_weight {infonce_weight} and cosine_weight {cosine_weight}; "
            "expected 0 or more each, not both 0"
        )
    method = _NextVector(
        backbone=backbone,
        axis_name=axis_name,
        chunks=chunks,
        temperature=temperature,
        infonce_weight=infonce_weight,
        cosine_weight=cosine_weight,
        head=tuple(head),
        residual_from=residual_from,
        rank=rank,
        false_negatives=false_negatives,
        own_context=own_context,
        same_article_negatives=same_article_negatives,
        key_block_size=key_block_size,
    )
    return contract.Objective(method.init, method.loss, method.embed, method.chance)

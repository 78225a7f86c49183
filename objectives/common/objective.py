"""The contract between a training method and the trainer."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypedDict

import flax.linen as nn
import jax
import numpy as np

Tree: TypeAlias = Any  # a pytree of arrays
Params: TypeAlias = Mapping[str, Any]  # what the gradient trains
Extra: TypeAlias = Mapping[str, Any]  # all other state, such as batch statistics
Batch: TypeAlias = Mapping[str, jax.Array]
Metrics: TypeAlias = dict[str, jax.Array]
LossOutput: TypeAlias = tuple[jax.Array, tuple[Extra, Metrics]]
Positives: TypeAlias = Literal["instance", "codes", "label"]
# A Linen module `(x, train) -> features`. `FunctionalBackbone` makes one of any pair
# of functions, so that networks of other libraries fit.
Backbone: TypeAlias = nn.Module


class MetricFacts(TypedDict):
    """What is true of a metric whatever its value.

    Attributes:
        kind: What the number is.
        better: The direction of improvement, "" where there is none.
    """

    kind: Literal["score", "error", "loss", "distance", "diagnostic"]
    better: Literal["higher", "lower", ""]


@dataclasses.dataclass(frozen=True)
class Context:
    """What the trainer gives an objective; no config sets it.

    Attributes:
        backbone: The network that is trained.
        axis_name: Device axis over which keys are gathered and statistics averaged,
            or None on a single device.
        total_steps: Step at which schedules of the objective end, which is where the
            curve of the learning rate ends: with `--extend=continue` the old length.
        chunks: Number of chunks in which the networks process a batch, 1 or more.
        sync_batchnorm: Average batch statistics of the heads over devices.
    """

    backbone: Backbone
    axis_name: str | None = None
    total_steps: int = 1
    chunks: int = 1
    sync_batchnorm: bool = False


class Objective(Protocol):
    """A training method as the trainer sees it."""

    @property
    def positives(self) -> Positives:
        """What makes two records a positive pair."""
        ...

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Params, Extra]:
        """Return initial parameters and state for records such as those of `batch`."""
        ...

    def loss(
        self,
        params: Params,
        extra: Extra,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array | int,
    ) -> LossOutput:
        """Return `(loss, (new extra, metrics))` of this device's rows.

        The mean of the loss over devices is the loss of the global batch.
        """
        ...

    def embed(self, params: Params, extra: Extra, batch: Batch) -> jax.Array:
        """Return unit-norm embeddings `[n, d]` of `batch["image"]`."""
        ...

    def chance(self, global_batch: int) -> float:
        """Return the loss of embeddings without information."""
        ...

    def check_records(self, labels: np.ndarray) -> None:
        """Raise ValueError if the training records cannot be learned from."""
        ...

    def metric_facts(self) -> dict[str, MetricFacts]:
        """Return kind and direction of the metrics that `loss` returns, by tag."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class ObjectiveBase:
    """Fields and defaults that every objective shares.

    A subclass adds its config fields and defines `init`, `loss`, `embed`, `chance` and
    `metric_facts`.

    Attributes:
        context: What the trainer gives; None where only the fields are to be checked.
    """

    context: Context | None = None

    @property
    def positives(self) -> Positives:
        """What makes two records a positive pair.

        "instance": two views of one record. "codes": records that share a code; the
        sampler adds the fields of a partner. "label": records of one label.
        """
        return "instance"

    @property
    def bound(self) -> Context:
        """The context.

        Raises:
            ValueError: There is none.
        """
        if self.context is None:
            raise ValueError("got no context; expected Context(backbone=...)")
        return self.context

    def check_records(self, labels: np.ndarray) -> None:
        """Raise ValueError if the training records cannot be learned from.

        Args:
            labels: int `[n]`, negative for none.
        """
        del labels


class InitFunction(Protocol):
    """Initial weights of a network."""

    def __call__(self, rng: jax.Array, x: jax.Array, /) -> tuple[Tree, Tree]:
        """Return parameters and state for inputs such as `x`."""
        ...


class ApplyFunction(Protocol):
    """A network as a function."""

    def __call__(
        self,
        params: Tree,
        state: Tree,
        x: jax.Array,
        train: bool,
        rng: jax.Array | None,
        /,
    ) -> tuple[jax.Array, Tree]:
        """Return features of `x`, and the new state."""
        ...


class FunctionalBackbone(nn.Module):
    """A backbone of two plain functions, such as a network in NNX or Equinox has.

    Attributes:
        init_fn: `(rng, x) -> (params, state)`, both pytrees of arrays.
        apply_fn: `(params, state, x, train, rng) -> (features, state)`; `rng` is None
            where nothing is drawn.
    """

    init_fn: InitFunction
    apply_fn: ApplyFunction

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return features of `x`; in training, update the state."""
        initial: tuple[Tree, Tree] | None = None
        if self.is_initializing():
            initial = self.init_fn(self.make_rng("params"), x)
        params = self.param("network", lambda rng: initial[0] if initial else None)
        state = self.variable("batch_stats", "network", lambda: initial and initial[1])
        rng = self.make_rng("dropout") if train and self.has_rng("dropout") else None
        features, new_state = self.apply_fn(params, state.value, x, train, rng)
        if train and not self.is_initializing():
            state.value = new_state
        return features

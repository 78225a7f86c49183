"""The contract of evaluators, and what they share."""

import abc
import dataclasses
from collections.abc import Callable
from typing import NamedTuple

from evaluators.common.fields import check_fields
from evaluators.common.metric import Metrics
from evaluators.common.protocols import Data, Embed

# (count) -> up to so many queries with their neighbors; see `Evaluation`.
Examples = Callable[[int], list[dict]]


@dataclasses.dataclass(frozen=True)
class Context:
    """What the trainer gives an evaluator, and no config.

    Attributes:
        data: The dataset.
        prefix: Start of every tag, as in "eval/brand".
        seed: Random seed of sampled queries and of intervals.
    """

    data: Data
    prefix: str
    seed: int


class LackingData(ValueError):
    """The data has not what an evaluator needs."""


class Evaluation(NamedTuple):
    """What one run of an evaluator returns.

    Attributes:
        metrics: By full tag, as in "eval/brand/recall@1"; those that need a view are
            missing where the embed function has none.
        examples: (count) -> up to so many queries with their neighbors, right and wrong
            ones by turns: `{"query": id, "neighbors": [{"id", "score", "relevant"}],
            "right": bool}` each; right means that the first neighbor is relevant.
    """

    metrics: Metrics
    examples: Examples


def no_examples(count: int) -> list[dict]:
    """Return no examples, for evaluators that retrieve nothing."""
    del count
    return []


@dataclasses.dataclass(frozen=True, kw_only=True)
class EvaluatorBase(abc.ABC):
    """An evaluator: its fields are its config fields.

    Without `context` an instance checks its fields and names its tags; with one it can
    run. Runs leave nothing behind: each depends on the embed function alone.

    Attributes:
        optional: Whether the set is left out, with its gates, where the data lacks what
            it needs; otherwise that is an error.
        context: Dataset, prefix of tags and random seed.

    Raises:
        ValueError: A field is outside its range, or fields do not fit each other.
        LackingData: The data has not what the fields ask for.
    """

    optional: bool = False
    context: Context | None = dataclasses.field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the fields and, with a context, the data."""
        check_fields(self)
        self._check_fields()
        if self.context is not None:
            try:
                self._check_data(self.context.data)
            except ValueError as error:
                raise LackingData(str(error)) from None

    def choices(self) -> list[str]:
        """Return sentences on what was decided by the data, for log and report."""
        return []

    @abc.abstractmethod
    def tags(self) -> list[str]:
        """Return the tags of `run`, relative to the set: "recall@1"."""

    def run(self, embed: Embed) -> Evaluation:
        """Embed records and measure.

        Args:
            embed: Embed function of a network or a baseline.

        Returns:
            Metrics and examples.

        Raises:
            ValueError: There is no context, or embeddings are not finite.
        """
        prefix = self._bound.prefix
        metrics, examples = self._measure(embed)
        metrics = {f"{prefix}/{name}": metric for name, metric in metrics.items()}
        return Evaluation(metrics, examples)

    @abc.abstractmethod
    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        """Return metrics by relative tag, and examples."""

    def _check_fields(self) -> None:  # noqa: B027
        """Raise ValueError where fields do not fit each other."""

    def _check_data(self, data: Data) -> None:  # noqa: B027
        """Raise ValueError where the data has not what the fields ask for."""

    @property
    def _bound(self) -> Context:
        if self.context is None:
            raise ValueError(
                f"got {type(self).__module__}.Evaluator without a context; expected "
                "context=Context(data, prefix, seed) to run it"
            )
        return self.context

    @property
    def _data(self) -> Data:
        return self._bound.data

    @property
    def _seed(self) -> int:
        return self._bound.seed


def check_cut_offs(k: tuple[int, ...]) -> None:
    """Raise ValueError if there is no cut-off."""
    if not k:
        raise ValueError("got k=(); expected one or more integers >= 1, as in (1, 10)")


def sorted_cut_offs(k: tuple[int, ...]) -> tuple[int, ...]:
    """Return distinct cut-offs, rising."""
    return tuple(sorted({int(cut_off) for cut_off in k}))

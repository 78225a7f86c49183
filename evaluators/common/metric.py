"""A measured figure together with what is needed to judge it."""

from typing import Literal, NamedTuple

Kind = Literal["score", "error", "loss", "distance", "diagnostic"]
Better = Literal["higher", "lower", ""]


class MetricType(NamedTuple):
    """What holds for every value of a metric.

    Attributes:
        kind: "score" (a share of a ranking or of queries: 0 worst, 1 perfect), "error",
            "loss", "distance" (or similarity, of pairs), or "diagnostic" (describes
            embeddings or queries, not how well they retrieve).
        better: Direction of improvement; "" where neither end is better.
        headline: Whether the metric speaks for its whole set.
    """

    kind: Kind = "diagnostic"
    better: Better = ""
    headline: bool = False


SCORE = MetricType("score", "higher")
HEADLINE = MetricType("score", "higher", headline=True)
ERROR = MetricType("error", "lower")
LOSS = MetricType("loss", "lower")
DISTANCE = MetricType("distance", "lower")
SIMILARITY = MetricType("distance", "higher")
DIAGNOSTIC = MetricType()


class Metric(NamedTuple):
    """A figure with sample size, chance level, 95 % interval and type.

    Attributes:
        value: The measured figure; nan where there was nothing to measure.
        n: Number of queries (or records) behind it.
        chance: Expected value of a random ranking; nan where that has no meaning.
        low: Lower end of the 95 % interval.
        high: Upper end of the 95 % interval.
        kind: Kind of figure, see `MetricType`.
        better: Direction, "higher", "lower" or "".
        headline: Whether it is shown first and compared with baselines.
    """

    value: float
    n: int
    chance: float
    low: float
    high: float
    kind: Kind = "diagnostic"
    better: Better = ""
    headline: bool = False


Metrics = dict[str, Metric]

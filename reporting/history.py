"""What a run measured: its events in order, indexed by tag and kind."""

import bisect
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeGuard, TypeVar

import pandas as pd

# One line of metrics.jsonl: kind, step, epoch, time, metrics, and fields of its kind.
Event = Mapping[str, Any]
# A measured value as a dict: PARTS, and "baselines" where it is the latest of its tag.
Metric = dict[str, Any]

# Kinds of event that measure the network in training.
LIVE = ("train", "eval")
PARTS = ("value", "n", "chance", "low", "high")
# Epochs are fractions of steps; two that differ by less are the same.
EPOCH_TOLERANCE = 1e-9


class Facts(NamedTuple):
    """Facts of a metric.

    Attributes:
        kind: "score" in [0, 1], "error", "loss", "distance" or "diagnostic".
        better: "higher", "lower", or "" where neither is better.
        headline: Whether it speaks for its set.
    """

    kind: str = "diagnostic"
    better: str = ""
    headline: bool = False


def facts_of(value: Any) -> Facts | None:
    """Return the facts that a metric carries, or None."""
    if not isinstance(value, Mapping) or "kind" not in value:
        return None
    return Facts(
        str(value["kind"]), str(value.get("better", "")), bool(value.get("headline"))
    )


class Measurement(NamedTuple):
    """One value of a tag; `chance` may be one that was logged as `<tag>_chance`."""

    step: int
    epoch: float
    value: float | None
    n: float | None
    chance: float | None
    low: float | None
    high: float | None


class Fold(Protocol):
    """A summary of all measurements of a tag that takes them one at a time."""

    def add(self, point: Measurement) -> None:
        """Take one measurement, in the order in which they were made."""


AnyFold = TypeVar("AnyFold", bound=Fold)


def survives(past: Mapping[str, Any], resume: Mapping[str, Any]) -> bool:
    """Return whether an event still holds after a `resume` that came later.

    Events beyond its step describe lost work. A start from step 0 (`why` "start") keeps
    baselines alone, and no start keeps those that were `measured_on` something else.
    """
    if past["kind"] == "baseline":
        return resume.get("measured_on") in (None, past.get("measured_on"))
    return past["step"] <= resume["step"] and resume.get("why") != "start"


class History:
    """A run's events, indexed by tag and kind while they are appended.

    What a log point appends and asks costs the same after 100,000 events as after 100.

    Args:
        events: Events in order.
        facts: Facts of tags that are logged as plain numbers.
    """

    def __init__(
        self,
        events: Iterable[Event] = (),
        facts: Mapping[str, Facts] | None = None,
    ):
        self._facts = dict(facts or {})
        self._clear()
        for event in events:
            self.append(event)

    def _clear(self) -> None:
        self.events: list[Event] = []  # in order
        self._by_kind: dict[str, list[Event]] = {}
        # (kind, tag) to events that measured the tag; kind None stands for all of LIVE.
        self._by_tag: dict[tuple[str | None, str], list[Event]] = {}
        self._first_not_finite: dict[str, Event] = {}
        self.all_baselines: dict[str, dict[str, Metric]] = {}
        self._furthest: tuple[int, float] = (0, 0.0)
        self._last_trained = -1
        self._folds: dict[Hashable, _Folding] = {}
        self._metrics: dict[str, Metric] | None = None

    def append(self, event: Event) -> None:
        """Append an event; a resume drops what no longer holds (`survives`)."""
        kind, step = event["kind"], event["step"]
        if kind == "resume":
            kept = [past for past in self.events if survives(past, event)]
            self._clear()
            for past in kept:
                self.append(past)
        self._metrics = None
        if not self.events or step > self._furthest[0]:
            self._furthest = step, event["epoch"]
        self.events.append(event)
        self._by_kind.setdefault(kind, []).append(event)
        if kind == "baseline":
            name, ceiling = event.get("baseline", ""), bool(event.get("ceiling"))
            shown = {"label": event.get("label") or name, "ceiling": ceiling}
            for tag, value in event["metrics"].items():
                level = as_metric(value) | shown
                self.all_baselines.setdefault(tag, {})[name] = level
        if kind not in LIVE:
            return
        for tag, value in event["metrics"].items():
            self._by_tag.setdefault((None, tag), []).append(event)
            self._by_tag.setdefault((kind, tag), []).append(event)
            if kind == "train" and not is_finite(value):
                self._first_not_finite.setdefault(tag, event)
        if kind == "train":
            self._last_trained = max(self._last_trained, step)

    def of_kind(self, kind: str) -> list[Event]:
        """Return the events of a kind in order."""
        return self._by_kind.get(kind, [])

    def last(self, kind: str) -> Event | None:
        """Return the latest event of a kind, or None."""
        events = self.of_kind(kind)
        return events[-1] if events else None

    @property
    def step(self) -> int:
        """Step of the furthest event; 0 without events."""
        return self._furthest[0]

    @property
    def epoch(self) -> float:
        """Epoch of the furthest event; 0 without events."""
        return self._furthest[1]

    @property
    def finished(self) -> bool:
        """Whether the final evaluation is there and no training came after it."""
        last = self.last("eval")
        if last is None or not last.get("final"):
            return False
        return self._last_trained <= last["step"]

    @property
    def tags(self) -> list[str]:
        """Measured tags, in the order in which they were first measured."""
        return [tag for kind, tag in self._by_tag if kind is None]

    @property
    def batch_tags(self) -> list[str]:
        """Tags that training logged, in the order in which they were first logged."""
        return [tag for kind, tag in self._by_tag if kind == "train"]

    def named(self, *names: str) -> list[str]:
        """Return measured tags whose last part is a name, in the order of the names."""
        tags = sorted(self.tags)
        return [t for name in names for t in tags if t.rpartition("/")[2] == name]

    def points(
        self, tag: str, kind: str | None = None, last: int | None = None
    ) -> list[Measurement]:
        """Return the measurements of a tag in order.

        Args:
            tag: What was measured.
            kind: "train" or "eval" for one of them only.
            last: Where given, no more than so many, the latest.
        """
        events = self._by_tag.get((kind, tag), [])
        start = 0 if last is None else max(len(events) - last, 0)
        return list(_measurements(events[start:], tag))

    def first(self, tag: str, kind: str | None = None) -> Measurement | None:
        """Return the first measurement of a tag that has a value, or None."""
        events = self._by_tag.get((kind, tag), [])
        points = _measurements(events, tag)
        return next((point for point in points if is_number(point.value)), None)

    def series(
        self, tag: str, kind: str | None = None, last: int | None = None
    ) -> pd.DataFrame:
        """Return `points` as a table: columns step, epoch and `PARTS`, a row each."""
        columns = pd.Index(["step", "epoch", *PARTS])
        return pd.DataFrame(self.points(tag, kind, last), columns=columns, dtype=float)

    def first_at(self, tag: str, epoch: float) -> float | None:
        """Return the epoch of the first measurement at or after an epoch, or None."""
        events, epoch = self._by_tag.get((None, tag), []), epoch - EPOCH_TOLERANCE
        where = bisect.bisect_left(events, epoch, key=lambda event: event["epoch"])
        return events[where]["epoch"] if where < len(events) else None

    def until(self, tag: str, epoch: float, last: int) -> list[Measurement]:
        """Return the latest `last` measurements of a tag, none after an epoch."""
        events = self._by_tag.get((None, tag), [])
        end = bisect.bisect_right(
            events, epoch + EPOCH_TOLERANCE, key=lambda event: event["epoch"]
        )
        return list(_measurements(events[max(end - last, 0) : end], tag))

    def around(
        self, tag: str, step: int
    ) -> tuple[Measurement | None, Measurement | None]:
        """Return the last measurement in training up to a step, and the first after."""
        events = self._by_tag.get(("train", tag), [])
        where = bisect.bisect_right(events, step, key=lambda event: event["step"])
        before = list(_measurements(events[max(where - 1, 0) : where], tag))
        after = list(_measurements(events[where : where + 1], tag))
        return (before[0] if before else None), (after[0] if after else None)

    def first_not_finite(self, tag: str) -> Measurement | None:
        """Return the first value in training that is NaN or infinite, or None."""
        event = self._first_not_finite.get(tag)
        return None if event is None else next(_measurements([event], tag))

    def fold(self, tag: str, kind: str | None, fold: AnyFold) -> AnyFold:
        """Return a summary of all measurements of a tag.

        Only the measurements since the last call are added to it.

        Args:
            tag: What was measured.
            kind: "train" or "eval" for one of them only.
            fold: A summary of nothing, which two calls recognize by its `repr`.
        """
        key = tag, kind, type(fold), repr(fold)
        folding = self._folds.setdefault(key, _Folding(fold))
        folding.add_all(self._by_tag.get((kind, tag), []), tag)
        return folding.fold  # type: ignore[return-value]

    def facts(self, tag: str) -> Facts:
        """Return the facts that a tag carries, else those that the run lists."""
        events = self._by_tag.get((None, tag))
        carried = facts_of(events[-1]["metrics"][tag]) if events else None
        return carried or self._facts.get(tag) or Facts()

    def baselines(self, tag: str) -> dict[str, Metric]:
        """Return the latest measurement of every baseline of a tag, by its name.

        Returns:
            `{name: {value, n, chance, low, high, label, ceiling}}`: `label` is the name
            in reports, `ceiling` whether it is the best that is possible.
        """
        return self.all_baselines.get(tag, {})

    def latest(self, tag: str) -> Metric | None:
        """Return the latest measurement of a tag, as in `metrics`, or None."""
        events = self._by_tag.get((None, tag))
        if not events:
            return None
        metric = as_metric(events[-1]["metrics"][tag])
        metric |= self.facts(tag)._asdict()
        metric["baselines"] = self.baselines(tag)
        if metric["chance"] is None:
            beside = self._by_tag.get((None, f"{tag}_chance"))
            if beside:
                level = as_metric(beside[-1]["metrics"][f"{tag}_chance"])
                metric["chance"] = level["value"]
        return metric

    def metrics(self) -> dict[str, Metric]:
        """Return the latest measurement of every tag.

        A tag that has no chance level of its own has the one logged as `<tag>_chance`.

        Returns:
            `{tag: {value, n, chance, low, high, kind, better, headline, baselines:
            {name: {value, n, ...}}}}`.
        """
        if self._metrics is None:
            self._metrics = {tag: self.latest(tag) or {} for tag in self.tags}
        return self._metrics


class _Folding:
    """A fold with the number of events that it has taken."""

    def __init__(self, fold: Fold):
        self.fold, self._taken = fold, 0
        self._chance: float | None = None

    def add_all(self, events: list[Event], tag: str) -> None:
        new = events[self._taken :]
        self._taken = len(events)
        for point in _measurements(new, tag, self._chance):
            self.fold.add(point)
            self._chance = point.chance


def _measurements(
    events: Iterable[Event], tag: str, chance: float | None = None
) -> Iterator[Measurement]:
    """Yield the values of a tag; a chance logged beside it holds until the next."""
    for event in events:
        metrics = event["metrics"]
        metric = as_metric(metrics[tag])
        beside = metrics.get(f"{tag}_chance")
        chance = chance if beside is None else beside
        level = chance if metric["chance"] is None else metric["chance"]
        yield Measurement(
            event["step"],
            event["epoch"],
            metric["value"],
            metric["n"],
            level,
            metric["low"],
            metric["high"],
        )


def as_metric(value: Mapping[str, Any] | float | None) -> Metric:
    """Return a dict with all of `PARTS`; what is absent or has no meaning is None."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(PARTS) | {"value": value}
    metric = {part: value.get(part) for part in PARTS}
    for part in ("chance", "low", "high"):
        metric[part] = metric[part] if is_finite(metric[part]) else None
    return metric


def is_finite(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a number, infinite ones among them, and not NaN."""
    return isinstance(value, int | float) and not math.isnan(value)

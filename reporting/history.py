"""What a run measured, read out of its events: one value a tag, and curves."""

import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from reporting import files, run_dir

# Kinds of event that measure the network in training.
LIVE = ("train", "eval")
PARTS = ("value", "n", "chance", "low", "high")
# Last parts of tags that describe embeddings and not how well they retrieve.
SPREAD = ("embedding_std", "embedding_std_ratio", "effective_rank")
GEOMETRY = (*SPREAD, "alignment", "uniformity")
# Shares of a ranking or of queries: 0 is worst and 1 perfect.
SCORE = re.compile(r"^(recall|precision|map|mrr|ndcg|hit|accuracy|p@|r@)", re.I)
# What speaks for a set: one figure is enough, and R@100 is easy nearly everywhere.
HEADLINES = ("recall@1", "accuracy", "map")
# Baselines that are the most there is: to stay below them is no fault.
CEILINGS = ("best",)
EVENT_COLUMNS = ["kind", "baseline", "step", "epoch", "time"]
LOSS, LOSS_CHANCE = "train/loss", "train/loss_chance"
# A step's loss of records trained on and of as many held out, and what lies between.
LOSS_TRAINED, LOSS_HELD_BACK, LOSS_GAP = LOSS_SIDES = (
    "eval/loss/train", "eval/loss/held_out", "eval/loss/gap",
)  # fmt: skip
TREND, LEAST_TREND = 5, 3  # measurements that a straight line is laid through


def as_metric(value: Mapping | float | None) -> dict:
    """A dict with all of `PARTS`; what is not there or has no meaning is None."""
    if not isinstance(value, Mapping):
        return dict.fromkeys(PARTS) | {"value": value}
    metric = {part: value.get(part) for part in PARTS}
    for part in ("chance", "low", "high"):
        metric[part] = metric[part] if is_finite(metric[part]) else None
    return metric


def measure(events: Iterable[dict], until: float | None = None) -> dict[str, dict]:
    """The latest measurement of every tag, with its chance level and its baselines.

    A tag that has no chance level of its own has the one logged as `<tag>_chance`.

    Args:
      events: a run's history.
      until: where given, nothing after this epoch counts.

    Returns:
      `{tag: {value, n, chance, low, high, baselines: {name: {value, n, ...}}}}`.
    """
    events = [e for e in events if until is None or e["epoch"] <= until + 1e-9]
    known = baselines(events)
    raw: dict[str, Mapping | float] = {}
    for event in events:
        if event["kind"] in LIVE:
            raw.update(event["metrics"])
    latest = {tag: as_metric(value) for tag, value in raw.items()}
    for tag, metric in latest.items():
        metric["baselines"] = known.get(tag, {})
        if metric["chance"] is None and f"{tag}_chance" in latest:
            metric["chance"] = latest[f"{tag}_chance"]["value"]
    return latest


def baselines(events: Iterable[dict]) -> dict[str, dict[str, dict]]:
    """`{tag: {baseline: metric}}`, the latest measurement of each baseline."""
    found: dict[str, dict[str, dict]] = {}
    for event in events:
        if event["kind"] == "baseline":
            for tag, value in event["metrics"].items():
                found.setdefault(tag, {})[event.get("baseline")] = as_metric(value)
    return found


def tags(events: Iterable[dict], *endings: str) -> list[str]:
    """Measured tags whose last part is one of `endings`, in the order of those."""
    live = {tag for e in events if e["kind"] in LIVE for tag in e["metrics"]}
    return [t for end in endings for t in sorted(live) if t.rpartition("/")[2] == end]


def finished(events: list[dict]) -> bool:
    """Whether the final evaluation is there and no training came after it."""
    last = next((e for e in reversed(events) if e["kind"] == "eval"), None)
    if last is None or not last.get("final"):
        return False
    return all(e["step"] <= last["step"] for e in events if e["kind"] == "train")


def reached(events: list[dict]) -> tuple[int, float]:
    """Step and epoch of the furthest event."""
    furthest = max(events, key=lambda event: event["step"], default=None)
    return (furthest["step"], furthest["epoch"]) if furthest else (0, 0.0)


def series(
    events: list[dict], tag: str, kind: str | None = None, last: int | None = None
) -> pd.DataFrame:
    """One tag over the run: columns step, epoch and `PARTS`, one row a measurement.

    Chance levels that are logged beside the tag, as `<tag>_chance`, fill its column.

    Args:
      events: a run's history.
      tag: what was measured.
      kind: "train" or "eval" for one of them only.
      last: where given, no more than so many measurements, the latest.
    """
    kinds, rows = (kind,) if kind else LIVE, []
    for event in reversed(events):
        metrics = event["metrics"]
        if event["kind"] in kinds and tag in metrics:
            parts = as_metric(metrics[tag]).values()
            beside = metrics.get(f"{tag}_chance")
            rows.append((event["step"], event["epoch"], *parts, beside))
            if len(rows) == last:
                break
    columns = ["step", "epoch", *PARTS, "beside"]
    frame = pd.DataFrame(rows[::-1], columns=columns, dtype=float)
    chance = frame["chance"].fillna(frame.pop("beside").ffill())
    return frame.assign(chance=chance)


def trend(events: list[dict], tag: str, epoch: float) -> dict | None:
    """Where a straight line through the last measurements of a tag is at an epoch.

    Args:
      events: a run's history.
      tag: what was measured.
      epoch: when to look; scores stay in [0, 1].

    Returns:
      `{value, points, last}`, or None for fewer than three measurements.
    """
    frame = series(events, tag, last=TREND)
    frame = frame[np.isfinite(frame["value"])]
    x, y = frame["epoch"].to_numpy(), frame["value"].to_numpy()
    if len(x) < LEAST_TREND or np.ptp(x) <= 0:
        return None
    slope, offset = np.polyfit(x - x[-1], y, 1)
    value = float(offset + slope * (epoch - x[-1]))
    if is_score(tag):
        value = min(max(value, 0.0), 1.0)
    return {"value": value, "points": len(x), "last": float(y[-1])}


def curves(events: list[dict]) -> pd.DataFrame:
    """A row an event of training, evaluation or baseline; a column a tag.

    A `Metric` fills its tag's column with the value and, where known, `<tag>.n`,
    `<tag>.chance`, `<tag>.low` and `<tag>.high`.
    """
    rows = []
    for event in events:
        if event["kind"] not in ("train", "eval", "baseline"):
            continue
        row = {key: event.get(key) for key in EVENT_COLUMNS}
        for tag, value in event["metrics"].items():
            metric = as_metric(value)
            row[tag] = metric["value"]
            parts = {f"{tag}.{part}": metric[part] for part in PARTS[1:]}
            row.update({key: part for key, part in parts.items() if part is not None})
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else EVENT_COLUMNS)
    return frame[EVENT_COLUMNS + sorted(set(frame.columns) - set(EVENT_COLUMNS))]


def write(folder: Path | str, events: list[dict]) -> None:
    """Writes `history.json`, {tag: {step, epoch, value...}}, and `curves.csv`."""
    history = {}
    for tag in sorted({t for e in events if e["kind"] in LIVE for t in e["metrics"]}):
        frame = series(events, tag).dropna(axis="columns", how="all")
        columns = {name: frame[name].tolist() for name in frame}
        history[tag] = columns | {"step": [int(step) for step in frame["step"]]}
    files.write_json(Path(folder) / run_dir.HISTORY, history)
    text = curves(events).to_csv(index=False, lineterminator="\n", na_rep="")
    files.write_text(Path(folder) / run_dir.CURVES, text)


def is_finite(value: float | None) -> bool:
    """Whether a number is there and finite."""
    return isinstance(value, int | float) and math.isfinite(value)


def is_score(tag: str) -> bool:
    """Whether a tag is an evaluator's score, where more is better and 1 is perfect."""
    return tag.startswith("eval/") and bool(SCORE.match(tag.rpartition("/")[2]))


def headlines(tags: Iterable[str]) -> list[str]:
    """One score for each `eval/<set>`; the parts of a set are not among them."""
    return [found[0] for found in headlines_by_set(tags).values()]


def headlines_by_set(tags: Iterable[str]) -> dict[str, list[str]]:
    """The scores that speak for each set, the most telling first."""
    scores = [tag for tag in tags if is_score(tag)]
    found = {}
    for name in dict.fromkeys(tag.split("/")[1] for tag in scores):
        wanted = [f"eval/{name}/{headline}" for headline in HEADLINES]
        if there := [tag for tag in wanted if tag in scores]:
            found[name] = there
    return found

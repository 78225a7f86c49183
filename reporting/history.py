"""What a run measured, read out of its events: one value a tag, and curves."""

import math
from collections.abc import Iterable, Mapping
from pathlib import Path

import pandas as pd

from reporting import workdir as files

PARTS = ("value", "n", "chance", "low", "high")
EVENT_COLUMNS = ["kind", "floor", "step", "epoch", "time"]
LOSS, LOSS_CHANCE = "train/loss", "train/loss_chance"


def as_metric(value: Mapping | float) -> dict:
    """A dict with all of `PARTS`; what a plain number does not have is None."""
    if isinstance(value, Mapping):
        return {part: value.get(part) for part in PARTS}
    return dict.fromkeys(PARTS) | {"value": value}


def measure(events: Iterable[dict], until: float | None = None) -> dict[str, dict]:
    """The latest measurement of every tag, with its chance level and its floors.

    A train tag has the chance level that is logged beside it as `<tag>_chance`.

    Args:
      events: a run's history.
      until: where given, nothing after this epoch counts.

    Returns:
      `{tag: {value, n, chance, low, high, floors: {name: {value, n, ...}}}}`.
    """
    latest: dict[str, dict] = {}
    floors: dict[str, dict[str, dict]] = {}
    for event in events:
        if until is not None and event["epoch"] > until + 1e-9:
            continue
        for tag, value in event["metrics"].items():
            if event["kind"] == "floor":
                floors.setdefault(tag, {})[event.get("floor")] = as_metric(value)
            elif event["kind"] in ("train", "eval"):
                latest[tag] = as_metric(value)
    for tag, metric in latest.items():
        metric["floors"] = floors.get(tag, {})
        if metric["chance"] is None and f"{tag}_chance" in latest:
            metric["chance"] = latest[f"{tag}_chance"]["value"]
    return latest


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


def series(events: list[dict], tag: str, kind: str | None = None) -> pd.DataFrame:
    """One tag over the run: columns step, epoch and `PARTS`, one row a measurement.

    Chance levels that are logged beside the tag, as `<tag>_chance`, fill its column.
    """
    kinds = (kind,) if kind else ("train", "eval")
    rows, beside = [], []
    for event in events:
        if event["kind"] in kinds and tag in event["metrics"]:
            metric = as_metric(event["metrics"][tag])
            rows.append({"step": event["step"], "epoch": event["epoch"], **metric})
            beside.append(event["metrics"].get(f"{tag}_chance"))
    columns = ["step", "epoch", *PARTS]
    frame = pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns, float))
    beside = pd.Series(beside, index=frame.index, dtype=float).ffill()
    return frame.assign(chance=frame["chance"].fillna(beside))


def curves(events: list[dict]) -> pd.DataFrame:
    """A row an event of training, evaluation or floor; a column a tag.

    A `Metric` fills its tag's column with the value and, where known, `<tag>.n`,
    `<tag>.chance`, `<tag>.low` and `<tag>.high`.
    """
    rows = []
    for event in events:
        if event["kind"] not in ("train", "eval", "floor"):
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


def write(workdir: Path | str, events: list[dict]) -> None:
    """Writes `history.json`, {tag: {step, epoch, value...}}, and `curves.csv`."""
    tags = {t for e in events if e["kind"] in ("train", "eval") for t in e["metrics"]}
    history = {}
    for tag in sorted(tags):
        frame = series(events, tag).dropna(axis="columns", how="all")
        columns = {name: frame[name].tolist() for name in frame}
        history[tag] = columns | {"step": [int(step) for step in frame["step"]]}
    files.write_json(Path(workdir) / files.HISTORY, history)
    text = curves(events).to_csv(index=False, lineterminator="\n", na_rep="")
    files.write_text(Path(workdir) / files.CURVES, text)


def is_finite(value: float | None) -> bool:
    """Whether a number is there and finite."""
    return isinstance(value, int | float) and math.isfinite(value)

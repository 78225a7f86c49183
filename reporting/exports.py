"""A history as files for other programs: `history.json` and `curves.csv`."""

from pathlib import Path

import pandas as pd

from reporting import files, run_dir
from reporting.history import PARTS, History, as_metric

EVENT_COLUMNS = ["kind", "baseline", "step", "epoch", "time"]


def curves(history: History) -> pd.DataFrame:
    """Return a row an event of training, evaluation or baseline; a column a tag.

    A `Metric` fills its tag's column with the value and, where known, `<tag>.n`,
    `<tag>.chance`, `<tag>.low` and `<tag>.high`.
    """
    rows = []
    for event in history.events:
        if event["kind"] not in ("train", "eval", "baseline"):
            continue
        row = {key: event.get(key) for key in EVENT_COLUMNS}
        for tag, value in event["metrics"].items():
            metric = as_metric(value)
            row[tag] = metric["value"]
            parts = {f"{tag}.{part}": metric[part] for part in PARTS[1:]}
            row.update({key: part for key, part in parts.items() if part is not None})
        rows.append(row)
    frame = pd.DataFrame(rows, columns=None if rows else pd.Index(EVENT_COLUMNS))
    columns = EVENT_COLUMNS + sorted(set(frame.columns) - set(EVENT_COLUMNS))
    return frame.reindex(columns=columns)


def write(folder: Path | str, history: History) -> None:
    """Write `history.json`, {tag: {step, epoch, value...}}, and `curves.csv`."""
    series = {}
    for tag in sorted(history.tags):
        frame = history.series(tag).dropna(axis="columns", how="all")
        columns = {name: frame[name].tolist() for name in frame}
        steps = [point.step for point in history.points(tag)]
        series[tag] = columns | {"step": steps}
    files.write_json(Path(folder) / run_dir.HISTORY, series)
    text = curves(history).to_csv(index=False, lineterminator="\n", na_rep="")
    files.write_text(Path(folder) / run_dir.CURVES, text)

"""Text, JSON and event files that survive a kill.

Everything is UTF-8. JSON is strict: what is not finite is written as the words `nan`,
`inf` and `-inf`, which `decoded` turns back into floats.
"""

import json
import math
import os
import time as time_lib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from absl import logging

METRICS, FIGURES = "metrics.jsonl", "figures"
KINDS = ("train", "eval", "baseline", "resume", "alarm", "gate")

_WORDS = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """Return a value as dicts, lists, strings, numbers and None."""
    for convert in ("_asdict", "to_dict"):  # a NamedTuple, a ConfigDict
        if hasattr(value, convert):
            value = getattr(value, convert)()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(item) for item in value]
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    if not isinstance(value, float) and hasattr(value, "tolist"):  # numpy, jax
        return plain(value.tolist())
    if isinstance(value, float):
        if math.isfinite(value):
            return value
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    raise TypeError(f"{type(value).__name__} has no place in a JSON file: {value!r}")


def write_text(path: Path | str, text: str) -> None:
    """Replace a file in one move; a reader or a kill never sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(draft, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as JSON, in one move."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path | str, default: Any = None) -> Any:
    """Read a JSON file; the default where it is missing, empty or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return default
    except (ValueError, OSError) as error:
        logging.warning("%s cannot be read and is taken as absent: %s", path, error)
        return default


def as_line(value: Any) -> str:
    """Return a value as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False)


def append_line(path: Path | str, value: Any) -> None:
    """Append one JSON line; an unfinished last line stays a line of its own."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    line = as_line(value) + "\n"
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode("utf-8"))


def read_lines(path: Path | str) -> Iterator[dict]:
    """Yield the JSON objects of a file of lines, passing over unfinished ones."""
    try:
        raw = Path(path).read_bytes()
    except FileNotFoundError:
        return
    for index, line in enumerate(raw.split(b"\n")):
        try:
            value = json.loads(line) if line.strip() else None
        except ValueError:  # also UnicodeDecodeError: a cut within a character
            logging.warning("%s: line %d is incomplete, left out", path, index + 1)
            continue
        if isinstance(value, dict):
            yield value


def decoded(value: Any) -> Any:
    """Return a value with the words `nan`, `inf` and `-inf` as floats."""
    if isinstance(value, dict):
        return {key: decoded(item) for key, item in value.items()}
    if isinstance(value, str):
        return _WORDS.get(value, value)
    return value


def append_event(
    workdir: Path | str,
    kind: str,
    *,
    step: int,
    epoch: float,
    metrics: Mapping | None = None,
    time: float | None = None,
    **fields: Any,
) -> dict:
    """Append one line to `metrics.jsonl`.

    Args:
        workdir: The run's directory.
        kind: One of `KINDS`.
        step: Steps done when the line was written; for `resume`, the step resumed from.
        epoch: Epochs done, fractional.
        metrics: Tag to number or to `Metric`.
        time: Seconds since 1970; now by default.
        **fields: What the kind carries besides: `baseline="pixels"`, `final=True`, an
            alarm's `name`, `severity`, `message`, `tag`.

    Returns:
        The event, as `read_events` will give it back.
    """
    if kind not in KINDS:
        raise ValueError(f"got event kind {kind!r}, expected one of {', '.join(KINDS)}")
    event = {
        "kind": kind,
        "step": int(step),
        "epoch": float(epoch),
        "time": time_lib.time() if time is None else float(time),
        **fields,
        "metrics": dict(metrics or {}),
    }
    append_line(Path(workdir) / METRICS, event)
    return _decoded(plain(event))


def read_events(workdir: Path | str) -> list[dict]:
    """Return the events that hold, in order.

    After a `resume` line at step k, earlier lines beyond step k describe work that was
    lost and done again, so they are dropped; the `resume` line itself stays.
    """
    events: list[dict] = []
    for event in read_lines(Path(workdir) / METRICS):
        if event.get("kind") not in KINDS or not isinstance(event.get("step"), int):
            continue
        if event["kind"] == "resume":
            events = [past for past in events if past["step"] <= event["step"]]
        events.append(_decoded(event))
    return events


def _decoded(event: dict) -> dict:
    metrics = event.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    return {**event, "metrics": decoded(metrics)}

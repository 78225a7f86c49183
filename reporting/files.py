"""Text, JSON and event files that survive a kill.

Everything is UTF-8. JSON is strict: what is not finite is written as the words `nan`,
`inf` and `-inf`, which `decoded` turns back into floats. A line of JSON ends with the
CRC-32 of what comes before it, so that a damaged line is told from a whole one.
"""

import contextlib
import json
import math
import os
import re
import time as time_lib
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from absl import logging

METRICS, FIGURES = "metrics.jsonl", "figures"
EXAMPLES, THUMBNAILS = "examples.json", "thumbnails.npz"
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


def draft_of(path: Path) -> Path:
    """Return the name under which this process writes a file before it moves it."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Write a file under its draft's name, then move it; a failure leaves no draft."""
    draft = draft_of(path)
    try:
        yield draft
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path | str) -> None:
    """Remove the drafts that killed processes left in a folder.

    Only for the process that holds the lock of the workdir. The draft of a process
    that is alive stays: a report may be written while a run trains.
    """
    for draft in Path(folder).glob(".*.tmp"):
        match = re.fullmatch(r"\..+\.(\d+)\.tmp", draft.name)
        if match and not is_alive(int(match[1])):
            draft.unlink(missing_ok=True)


def is_alive(pid: int | None) -> bool:
    """Return whether a process of this machine is there."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path | str, text: str) -> None:
    """Replace a file in one move; a reader or a kill never sees half of it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        replacing(path) as draft,
        open(draft, "w", encoding="utf-8", newline="\n") as file,
    ):
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def write_json(path: Path | str, value: Any) -> None:
    """Write a value as JSON, in one move."""
    text = json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def read_json(path: Path | str, default: Any = None) -> Any:
    """Read a JSON file; the default where it is missing, empty or broken."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return default
    except (ValueError, OSError) as error:
        logging.warning("%s cannot be read and is taken as absent: %s", path, error)
        return default


def as_line(value: Mapping[str, Any]) -> str:
    """Return a mapping as one line of JSON, `crc` last."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False)
    separator = ", " if value else ""
    return f'{text[:-1]}{separator}"crc": "{_crc(text)}"}}'


def crc(value: Mapping[str, Any]) -> str:
    """Return the CRC-32 of a mapping of plain values, whatever their order."""
    return _crc(json.dumps(plain(value), sort_keys=True, allow_nan=False))


def _crc(text: str) -> str:
    return f"{zlib.crc32(text.encode('utf-8', 'surrogatepass')):08x}"


class Line(NamedTuple):
    """A line of JSON: its value, None where it is no object, and whether it is whole.

    A line that differs from what was written is not whole. A line without `crc` is
    taken as whole: other programs write such lines.
    """

    value: dict | None
    whole: bool


def parse_line(line: bytes) -> Line:
    """Return what `as_line` wrote, without `crc`."""
    try:
        text = line.decode("utf-8")
        value = json.loads(text)
    except ValueError:  # also UnicodeDecodeError: a cut within a character
        return Line(None, False)
    if not isinstance(value, dict):
        return Line(None, False)
    if "crc" not in value:
        return Line(value, True)
    written = value.pop("crc")
    body, _, _ = text.rstrip().rpartition('"crc"')
    return Line(value, written == _crc(body.rstrip(", ") + "}"))


def drop_damaged_lines(path: Path | str) -> int:
    """Rewrite a file of lines without those that are not whole; return their number.

    Only for the process that holds the lock of the workdir. What the lines said is
    measured again where that is possible. The file as it was stays in `broken/`.
    """
    path = Path(path)
    lines = _raw_lines(path)
    unfinished = bool(lines) and bool(lines.pop())  # a kill leaves one
    kept = [line for line in lines if not line.strip() or parse_line(line).whole]
    damaged = len(lines) - len(kept)
    if damaged:
        aside = path.parent / "broken" / f"{path.name}.{time_lib.time_ns()}"
        aside.parent.mkdir(exist_ok=True)
        aside.write_bytes(path.read_bytes())
        logging.warning(
            "%s: %d damaged lines are left out; the file as it was is %s",
            path, damaged, aside,
        )  # fmt: skip
    if damaged or unfinished:
        with replacing(path) as draft:
            draft.write_bytes(b"".join(line + b"\n" for line in kept))
    return damaged


def _raw_lines(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []


def append_line(path: Path | str, value: Mapping[str, Any]) -> None:
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
    for index, raw in enumerate(_raw_lines(Path(path))):
        if not raw.strip():
            continue
        line = parse_line(raw)
        if line.value is None:
            logging.warning("%s: line %d is incomplete, left out", path, index + 1)
            continue
        if not line.whole:
            logging.warning("%s: line %d is not as it was written", path, index + 1)
        yield line.value


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


def read_all_events(workdir: Path | str) -> Iterator[dict]:
    """Yield the events of `metrics.jsonl`, also those that hold no more."""
    for event in read_lines(Path(workdir) / METRICS):
        if event.get("kind") in KINDS and isinstance(event.get("step"), int):
            yield _decoded(event)


def _decoded(event: dict) -> dict:
    metrics = event.get("metrics")
    metrics = metrics if isinstance(metrics, dict) else {}
    return {**event, "metrics": decoded(metrics)}

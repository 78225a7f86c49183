"""The files of a workdir: their names, how they are written, how they are read."""

import os
import socket
import time as clock
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from reporting import files
from reporting.files import (
    append_event,
    append_line,
    decoded,
    read_events,
    read_json,
    read_lines,
    write_json,
)
from reporting.history import Event, Facts, History, facts_of

# What else writes and reads a workdir, so that one import is enough.
METRICS, FIGURES, KINDS = files.METRICS, files.FIGURES, files.KINDS
plain = files.plain

CONFIG = "config.json"
DATA = "data.json"
AUDIT = "label_audit.json"
ENVIRONMENT = "environment.json"
METRIC_FACTS = "metric_facts.json"
RESUMES = "resumes.jsonl"
REFUSALS = "refusals.jsonl"
HEARTBEAT = "heartbeat.json"
EXAMPLES = "examples.json"
THUMBNAILS = "thumbnails.npz"
CHECKPOINTS = "checkpoints"
HISTORY = "history.json"
CURVES = "curves.csv"
REPORT = "report"

FORMAT = 2  # of the files of a workdir; other formats are refused

# What a run can be doing, or how it ended; in `heartbeat.json` under "state".
LIVE_STATES = ("starting", "training", "evaluating", "saving", "reporting")
FINAL_STATES = (
    "finished", "stopped", "preempted", "diverged", "collapsed", "failed",
)  # fmt: skip


class FormatError(ValueError):
    """A workdir that another version of this code has written."""


class RunDir:
    """A run's files, each read once and again only where it has changed.

    Args:
        path: The workdir.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        self._kept: dict[str, tuple[tuple, Any]] = {}
        self._history: History | None = None

    @property
    def history(self) -> History:
        """The run's events; read from the file once, then kept by `append_event`."""
        if self._history is None:
            self._history = History(read_events(self.path), self.metric_facts)
        return self._history

    def append_event(
        self,
        kind: str,
        *,
        step: int,
        epoch: float,
        metrics: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> Event:
        """Append an event to the file and to the history; return it."""
        history = self.history  # read before the file has the new line
        event = append_event(
            self.path, kind, step=step, epoch=epoch, metrics=metrics, **fields
        )
        history.append(event)
        return event

    @property
    def description(self) -> dict[str, Any]:
        """`config.json` as a whole."""
        return self._read(CONFIG, read_config)

    @property
    def config(self) -> dict[str, Any]:
        """The config as plain values."""
        return self.description.get("config") or {}

    @property
    def data(self) -> dict[str, Any]:
        """`data.json`."""
        return self._read(DATA, read_data)

    @property
    def audit(self) -> dict[str, Any]:
        """`label_audit.json`."""
        return self._read(AUDIT, read_audit)

    @property
    def environment(self) -> dict[str, Any]:
        """`environment.json`."""
        return self._read(ENVIRONMENT, read_environment)

    @property
    def segments(self) -> list[dict]:
        """The starts and resumes, in order."""
        return self._read(RESUMES, read_resumes)

    @property
    def refusals(self) -> list[dict]:
        """The starts that were refused, in order."""
        return self._read(REFUSALS, read_refusals)

    @property
    def standing_refusals(self) -> list[dict]:
        """Starts that were refused since the last start that was not."""
        starts = [segment.get("time") or 0.0 for segment in self.segments]
        last = max(starts, default=0.0)
        return [refusal for refusal in self.refusals if refusal["time"] > last]

    @property
    def heartbeat(self) -> dict[str, Any]:
        """The last heartbeat; {} without one."""
        return self._read(HEARTBEAT, read_heartbeat) or {}

    @property
    def queries(self) -> list[dict]:
        """The example queries with their neighbors, without images."""
        return self._read(EXAMPLES, read_queries)

    @property
    def metric_facts(self) -> dict[str, Facts]:
        """Facts of the tags that training logs."""
        return self._read(METRIC_FACTS, read_metric_facts)

    def facts(self, tag: str) -> Facts:
        """Return kind, direction and headline of a tag."""
        return self.history.facts(tag)

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        """Return what a file holds, from memory where it has not changed."""
        try:
            status = os.stat(self.path / name)
            stamp = status.st_ino, status.st_mtime_ns, status.st_size
        except OSError:
            stamp = ()
        stamped = self._kept.get(name)
        if stamped is None or stamped[0] != stamp:
            stamped = self._kept[name] = stamp, read(self.path)
        return stamped[1]


def write_metric_facts(
    workdir: Path | str, facts: Mapping[str, Mapping[str, Any]]
) -> None:
    """Write `metric_facts.json`: tag to `{kind, better, headline}`."""
    write_json(Path(workdir) / METRIC_FACTS, facts)


def read_metric_facts(workdir: Path | str) -> dict[str, Facts]:
    """Return `metric_facts.json`: facts of the tags that training logs."""
    written = read_json(Path(workdir) / METRIC_FACTS, {}) or {}
    carried = {tag: facts_of(value) for tag, value in written.items()}
    return {tag: facts for tag, facts in carried.items() if facts is not None}


def read_resumes(workdir: Path | str) -> list[dict]:
    """Return the segments of the run, one a start or resume, in order.

    Each has `why`, `time`, `from_step`, `total_steps`, `horizon` [start, end],
    `learning_rate_before` and `learning_rate_after`, `unreadable_checkpoints`.
    """
    return [decoded(line) for line in read_lines(Path(workdir) / RESUMES)]


def append_refusal(workdir: Path | str, faults: list[str]) -> None:
    """Append a refused start with its faults to `refusals.jsonl`."""
    line = {"time": clock.time(), "faults": faults}
    append_line(Path(workdir) / REFUSALS, line)


def read_refusals(workdir: Path | str) -> list[dict]:
    """Return starts that were refused, each with `time` and `faults`, in order."""
    return list(read_lines(Path(workdir) / REFUSALS))


def write_heartbeat(workdir: Path | str, state: str, **fields: Any) -> None:
    """Write the state and the progress of the process.

    Args:
        workdir: The run's directory.
        state: One of `LIVE_STATES` or `FINAL_STATES`.
        **fields: `step`, `total_steps`, `epoch`, `eta_seconds`, `examples_per_sec`.
    """
    if state not in LIVE_STATES + FINAL_STATES:
        choices = ", ".join(LIVE_STATES + FINAL_STATES)
        raise ValueError(f"got state {state!r}, expected one of {choices}")
    beat = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "time": clock.time(),
        "state": state,
        **fields,
    }
    write_json(Path(workdir) / HEARTBEAT, beat)


def read_heartbeat(workdir: Path | str) -> dict | None:
    """Return the last heartbeat, or None."""
    beat = read_json(Path(workdir) / HEARTBEAT)
    return decoded(beat) if isinstance(beat, dict) else None


def write_config(workdir: Path | str, described: Mapping[str, Any]) -> None:
    """Write `config.json` with the format of the workdir."""
    write_json(Path(workdir) / CONFIG, {"format": FORMAT} | dict(described))


def read_config(workdir: Path | str) -> dict:
    """Return `config.json`: `config`, `recipe`, `difference` {name: [default, here]}.

    Raises:
        FormatError: The workdir is of another format.
    """
    described = read_json(Path(workdir) / CONFIG, {}) or {}
    if described and described.get("format") != FORMAT:
        raise FormatError(
            f"got {workdir}, a workdir of format {described.get('format', 1)}; "
            f"expected {FORMAT}; start a new one with --workdir"
        )
    return described


def read_data(workdir: Path | str) -> dict:
    """Return `data.json`: facts of the dataset."""
    return read_json(Path(workdir) / DATA, {}) or {}


def read_audit(workdir: Path | str) -> dict:
    """Return `label_audit.json`: what labels can teach; {} without labels."""
    return read_json(Path(workdir) / AUDIT, {}) or {}


def read_environment(workdir: Path | str) -> dict:
    """Return `environment.json`: versions and devices."""
    return read_json(Path(workdir) / ENVIRONMENT, {}) or {}


def write_examples(
    workdir: Path | str, queries: list[dict], images: Mapping[int, np.ndarray]
) -> None:
    """Write `examples.json` and `thumbnails.npz`.

    Args:
        workdir: The run's directory.
        queries: What an evaluator's `examples` returns.
        images: Uint8 [s, s, 3] by record id, for every id that the queries name.
    """
    folder = Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".{THUMBNAILS}.{os.getpid()}.tmp"
    with open(draft, "wb") as file:
        arrays: dict[str, Any] = {str(int(k)): v for k, v in images.items()}
        np.savez_compressed(file, **arrays)
    os.replace(draft, folder / THUMBNAILS)
    write_json(folder / EXAMPLES, queries)


def read_queries(workdir: Path | str) -> list[dict]:
    """Return the example queries with their neighbors, without images."""
    return read_json(Path(workdir) / EXAMPLES, []) or []


def read_examples(workdir: Path | str) -> tuple[list[dict], dict[int, np.ndarray]]:
    """Return queries with their neighbors, and images uint8 [s, s, 3] by record id."""
    queries = read_queries(workdir)
    try:
        with np.load(Path(workdir) / THUMBNAILS, allow_pickle=False) as archive:
            images = {int(key): archive[key] for key in archive.files}
    except FileNotFoundError:
        images = {}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        logging.warning("%s cannot be read: %s", THUMBNAILS, error)
        images = {}
    return queries, images


def checkpoint_steps(workdir: Path | str) -> list[int]:
    """Steps that have a checkpoint directory, ascending."""
    folder = Path(workdir) / CHECKPOINTS
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())

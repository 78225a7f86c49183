"""The files of a workdir: their names, how they are written, how they are read."""

import json
import os
import socket
import time as clock
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reporting import files
from reporting.files import (
    append_event,
    append_line,
    decoded,
    read_json,
    read_lines,
    write_json,
)
from reporting.history import Event, Facts, History, facts_of

# What else writes and reads a workdir, so that one import is enough.
METRICS, FIGURES, KINDS = files.METRICS, files.FIGURES, files.KINDS
plain, remove_drafts = files.plain, files.remove_drafts
drop_damaged_lines = files.drop_damaged_lines
EXAMPLES, THUMBNAILS = files.EXAMPLES, files.THUMBNAILS

CONFIG = "config.json"
DATA = "data.json"
AUDIT = "label_audit.json"
ENVIRONMENT = "environment.json"
METRIC_FACTS = "metric_facts.json"
RESUMES = "resumes.jsonl"
REFUSALS = "refusals.jsonl"
HEARTBEAT = "heartbeat.json"
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
    """A folder that is no workdir, or one that another version of this code wrote."""


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
            self._history = History(files.read_all_events(self.path), self.metric_facts)
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


def read_events(workdir: Path | str) -> list[Event]:
    """Return the events that hold, in order."""
    return History(files.read_all_events(workdir)).events


def read_queries(workdir: Path | str) -> list[dict]:
    """Return the example queries with their neighbors, without images."""
    return read_json(Path(workdir) / EXAMPLES, []) or []


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


def append_resume(workdir: Path | str, segment: Mapping[str, Any]) -> None:
    """Append a start or resume to `resumes.jsonl`."""
    append_line(Path(workdir) / RESUMES, segment)


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
    path = Path(workdir) / HEARTBEAT
    try:
        write_json(path, beat)
    except OSError:
        if not path.is_file():
            raise
        _overwrite(path, beat)


def _overwrite(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON into the blocks that a file has: a full disk has no other room."""
    text = json.dumps(plain(value), allow_nan=False) + "\n"
    with open(path, "r+b") as file:
        file.write(text.encode("utf-8"))
        file.truncate()


def read_heartbeat(workdir: Path | str) -> dict | None:
    """Return the last heartbeat, or None."""
    beat = read_json(Path(workdir) / HEARTBEAT)
    return decoded(beat) if isinstance(beat, dict) else None


def write_config(workdir: Path | str, described: Mapping[str, Any]) -> None:
    """Write `config.json` with the format of the workdir."""
    write_json(Path(workdir) / CONFIG, {"format": FORMAT} | dict(described))


def read_config(workdir: Path | str) -> dict:
    """Return `config.json`: `config`, `recipe`, `difference` {name: [default, here]}.

    Returns:
        Its content; {} where the file is missing or damaged.

    Raises:
        FormatError: The file is not of a run, or of a workdir of another format.
    """
    described = read_json(Path(workdir) / CONFIG, {}) or {}
    if not described:
        return {}
    if not isinstance(described, dict) or not isinstance(described.get("config"), dict):
        raise FormatError(
            f"got {workdir}, whose {CONFIG} is not of a run ({_content(described)}); "
            "expected the --workdir of a run"
        )
    if described.get("format") != FORMAT:
        raise FormatError(
            f"got {workdir}, a workdir of format {described.get('format', 1)}; "
            f"expected {FORMAT}; start a new one with --workdir"
        )
    return described


def _content(described: Any) -> str:
    """Return what a file of JSON that is no run's seems to be."""
    if not isinstance(described, dict):
        return f"it holds a {type(described).__name__}"
    if "model_type" in described or "architectures" in described:
        return f"it describes a model of transformers, {described.get('model_type')!r}"
    names = ", ".join(map(str, list(described)[:5]))
    return f"it has {names}"


def check_run(workdir: Path | str) -> None:
    """Refuse a folder in which no run was ever started, nor refused.

    Raises:
        FileNotFoundError: There is no such directory.
        FormatError: It holds no run.
    """
    folder = Path(workdir)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no directory; expected a run's workdir")
    traces = (METRICS, RESUMES, REFUSALS, HEARTBEAT, CHECKPOINTS, DATA)
    if read_config(folder) or any((folder / name).exists() for name in traces):
        return
    # An empty folder is a new workdir, and a damaged config that of a run.
    if any(folder.iterdir()) and not (folder / CONFIG).is_file():
        runs = sorted(path.parent.name for path in folder.glob(f"*/{CONFIG}"))
        inside = f"; there are runs inside it: {', '.join(runs)}" if runs else ""
        raise FormatError(
            f"got {folder}, which holds no run; expected the --workdir of one{inside}"
        )


def read_data(workdir: Path | str) -> dict:
    """Return `data.json`: facts of the dataset."""
    return read_json(Path(workdir) / DATA, {}) or {}


def write_audit(workdir: Path | str, audit: Mapping[str, Any]) -> None:
    """Write `label_audit.json` with a checksum: a run takes a loss's bound from it."""
    write_json(Path(workdir) / AUDIT, dict(audit) | {"crc": files.crc(audit)})


def read_audit(workdir: Path | str) -> dict[str, Any]:
    """Return `label_audit.json`: what labels can teach; {} without labels."""
    audit = read_json(Path(workdir) / AUDIT, {}) or {}
    if not isinstance(audit, dict):
        return {}
    crc = audit.pop("crc", None)
    return audit if crc in (None, files.crc(audit)) else {}


def read_environment(workdir: Path | str) -> dict:
    """Return `environment.json`: versions and devices."""
    return read_json(Path(workdir) / ENVIRONMENT, {}) or {}


def checkpoint_steps(workdir: Path | str) -> list[int]:
    """Steps that have a checkpoint directory, ascending."""
    folder = Path(workdir) / CHECKPOINTS
    if not folder.is_dir():
        return []
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdigit())

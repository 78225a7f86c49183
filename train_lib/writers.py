"""Write metrics.jsonl, TensorBoard files, log lines and the heartbeat."""

import contextlib
import pathlib
import sys
import threading
from collections.abc import Mapping
from typing import Any

from absl import logging
from tqdm import tqdm

from reporting import formatting
from reporting import run_dir as files
from reporting.gates import decisions
from reporting.history import Event, History
from train_lib.event_files import Board, open_board

HEARTBEAT_SECONDS = 10


class Writer:
    """Context manager that writes the events of one run.

    On a terminal there is a progress bar with the time left, elsewhere a line of text
    at every log step. The heartbeat goes on from a thread of its own, also while an
    evaluation or a compilation takes minutes.
    """

    def __init__(self, workdir: pathlib.Path, total_steps: int, step: int):
        self.workdir, self.total_steps = workdir, total_steps
        self._beat: dict[str, Any] = {
            "step": step,
            "total_steps": total_steps,
            "epoch": 0.0,
            "eta_seconds": None,
            "examples_per_sec": None,
        }
        self._state = "starting"
        self._boards: dict[str, Board] = {}
        self.run_dir = files.RunDir(workdir)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._bar = tqdm(
            total=total_steps,
            initial=step,
            unit="step",
            disable=not sys.stderr.isatty(),
            dynamic_ncols=True,
        )

    @property
    def history(self) -> History:
        """The run's events as the file has them."""
        return self.run_dir.history

    def __enter__(self) -> "Writer":
        self.state("starting")
        threading.Thread(target=self._keep_beating, daemon=True).start()
        return self

    def __exit__(self, kind, error, trace):
        self._stopped.set()
        # On a full disk more than one of these fails; the first error is the one told.
        failed = contextlib.suppress(Exception) if kind else contextlib.nullcontext()
        if kind is not None and self._state in files.LIVE_STATES:
            with failed:
                self.state("failed")
        for closing in (self._bar, *self._boards.values()):
            with failed:
                closing.close()

    def state(self, state: str, **fields: Any):
        """Set what the process is doing, or how it ended."""
        with self._lock:
            self._state = state
            self._beat.update(fields)
            files.write_heartbeat(self.workdir, state, **self._beat)

    def _keep_beating(self):
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            with self._lock:
                if self._stopped.is_set():
                    return
                try:
                    files.write_heartbeat(self.workdir, self._state, **self._beat)
                except OSError as error:  # the loop meets the same, and says so
                    logging.warning("no heartbeat: %s", error)

    def event(
        self, kind: str, step: int, epoch: float, metrics: Mapping, **fields: Any
    ) -> Event:
        """Append an event; train and eval events also go to TensorBoard."""
        event = self.run_dir.append_event(
            kind, step=step, epoch=epoch, metrics=metrics, **fields
        )
        if kind in ("train", "eval"):
            scalars = {k: _value(v) for k, v in event["metrics"].items()}
            self._board(kind).write_scalars(step, scalars)
        return event

    def _board(self, kind: str) -> Board:
        if kind not in self._boards:
            self._boards[kind] = open_board(self.workdir / kind)
        return self._boards[kind]

    def trained(self, step: int, epoch: float, metrics: Mapping, eta: float):
        """Log a window of training."""
        speed = metrics["perf/examples_per_sec"]
        self._beat.update(
            step=step, epoch=epoch, eta_seconds=eta, examples_per_sec=speed
        )
        self.event("train", step, epoch, metrics)
        loss, chance = metrics["train/loss"], metrics["train/loss_chance"]
        line = (
            f"loss {formatting.number(loss)} (chance {formatting.number(chance)}), "
            f"lr {formatting.number(metrics['train/lr'])}, "
            f"{formatting.number(speed)} records/s"
        )
        if self._bar.disable:
            logging.info(
                "step %d of %d, epoch %.1f: %s, %s left",
                step, self.total_steps, epoch, line, formatting.duration(eta),
            )  # fmt: skip
        else:
            self._bar.update(step - self._bar.n)
            self._bar.set_postfix_str(line)

    def tell(self, text: str, *values: Any):
        """Log a sentence above the progress bar."""
        with self._bar.external_write_mode():
            logging.info(text, *values)

    def gate(self, judged: Mapping):
        """Append the judgment of a gate and log it."""
        reserved = ("kind", "step", "epoch", "metrics")
        fields = {name: v for name, v in judged.items() if name not in reserved}
        self.event("gate", judged["step"], judged["epoch"], {}, **fields)
        self.tell("%s", decisions.tell(judged))

    def alarm(self, alarm: Mapping, epoch: float):
        """Append an alarm and log it."""
        fields = {k: v for k, v in alarm.items() if k != "step"}
        self.event("alarm", int(alarm["step"]), epoch, {}, **fields)
        with self._bar.external_write_mode():
            logging.warning("ALARM %s: %s", alarm["name"], alarm["message"])


def _value(metric: Any) -> float:
    value = metric["value"] if isinstance(metric, Mapping) else metric
    return float("nan") if value is None else float(value)

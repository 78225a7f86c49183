"""Log metrics, raise alarms, judge gates."""

import dataclasses
import math
import time

import jax
import numpy as np

from reporting import budget
from reporting import run_dir as files
from reporting.alarms import loss as loss_alarms
from reporting.alarms.common import check as alarm_check
from reporting.gates import decisions
from train_lib.run import Run
from train_lib.writers import Writer

FORECAST_AFTER = 50  # steps of a start


class StopTraining(Exception):
    """Raised to end training; `state` is how the run ended."""

    def __init__(self, state: str, message: str):
        self.state = state
        super().__init__(message)


@dataclasses.dataclass
class LogWindow:
    """Steps since the last log line."""

    pending: list[tuple[int, dict[str, jax.Array]]]
    began: float
    waited: float = 0.0


def log(run: Run, interval: LogWindow, writer: Writer) -> None:
    """Fetch the metrics of a window, check them, and write their means.

    Raises:
        StopTraining: A loss or gradient is not finite, or an alarm says to stop.
    """
    if not interval.pending:
        return
    steps, fetched = zip(*interval.pending, strict=True)
    fetched = jax.device_get(fetched)
    seconds = time.perf_counter() - interval.began
    _check_finite(run, steps, fetched, writer)
    step, count = steps[-1], len(steps)
    means = {
        tag: float(np.mean([m[tag] for m in fetched], dtype=np.float64))
        for tag in fetched[0]
    }
    batch_size = run.config.train.batch_size
    scale = run.progress.lr_scale
    # A loss whose chance level depends on what is in the batch has logged it itself.
    means.setdefault("train/loss_chance", run.objective.chance(batch_size))
    if run.loss_lower_bound is not None:
        means["train/loss_lower_bound"] = run.loss_lower_bound
    means |= {
        "train/lr": float(run.schedule(step - 1)) * scale,
        "perf/examples_per_sec": count * batch_size / max(seconds, 1e-9),
        "perf/input_wait": interval.waited / max(seconds, 1e-9),
    }
    eta = (run.total_steps - step) * seconds / count
    writer.trained(step, run.epoch(step), means, eta)
    raise_alarms(run, writer, step)


def forecast(run: Run, writer: Writer) -> str:
    """Log how fast the run is, what bounds it, and when it ends."""
    forecast_text = budget.sentence(
        budget.of_run(
            writer.history,
            files.plain(run.config),
            total_steps=run.total_steps,
            epoch_steps=run.epoch_steps,
            segments=writer.run_dir.segments,
        )
    )
    writer.tell("%s", forecast_text)
    return forecast_text


def _check_finite(run: Run, steps, fetched, writer: Writer) -> None:
    for step, metrics in zip(steps, fetched, strict=True):
        for tag in loss_alarms.CHECKED:
            if math.isfinite(metrics[tag]):
                continue
            kept = max(run.checkpoints.steps(), default=None)
            where = f"step {kept}" if kept is not None else "none was saved yet"
            finding = loss_alarms.describe_not_finite(
                tag,
                float(metrics[tag]),
                step,
                f"The last good checkpoint is kept ({where}).",
            )
            alarm = alarm_check.RULES["not_finite"].describe(finding, stops=True)
            writer.alarm(alarm, run.epoch(step))
            raise StopTraining("diverged", alarm["message"])


def raise_alarms(run: Run, writer: Writer, step: int) -> None:
    """Emit new alarms; raise StopTraining for alarms of severity "stop"."""
    alarms = alarm_check.check_run(writer.run_dir)
    for alarm in alarm_check.unseen(alarms, writer.history):
        writer.alarm(alarm, run.epoch(step))
    for alarm in alarms:
        if alarm["severity"] == "stop":
            raise StopTraining("collapsed", alarm["message"])


def judge_gates(run: Run, writer: Writer) -> decisions.Decision | None:
    """Judge the gates that are due; return what ends the run, if anything does."""
    epochs = run.config.train.epochs
    for judged in decisions.judge_due(run.gates, writer.history, epochs=epochs):
        writer.gate(judged)
    return decisions.standing(run.gates, writer.history, run.total_steps)

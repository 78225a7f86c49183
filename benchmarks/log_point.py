"""Measure what a log point costs early and late in a run.

    python -m benchmarks.log_point

Builds two runs of events such as real ones write, of 100 and of 100,000 log points,
with gates, alarms and evaluations. Alternately on each: append an event of training,
raise alarms, judge gates. Prints the median costs and their ratio; exits with 1 where
the ratio is above 1.2. The heartbeat is left out: it is of one size, and a thread
writes it every ten seconds.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator

from reporting import files, run_dir
from reporting.alarms.common import check
from reporting.gates import decisions, judgment
from reporting.history import Event
from reporting.run_dir import RunDir

POINTS = 100, 100_000
EPOCH_STEPS = 100
LOG_EVERY, EVALUATE_EVERY = 10, 200  # steps
SCORES = ("recall@1", "recall@10", "recall@100", "map", "nar", "near_ties")
GEOMETRY = ("embedding_std", "effective_rank", "alignment", "uniformity", "gap")
GATES = {
    "learned": {"metric": "train/loss", "op": "<=", "value": "chance", "times": 0.7},
    "early": {"metric": "eval/brand/recall@1", "value": 0.2, "at": 2},
    "brand": {
        "metric": "eval/brand/recall@1",
        "value": "baseline:pixels",
        "outside_interval": True,
    },
}
MOST = 1.2  # ratio of the costs


def training(step: int) -> dict[str, float]:
    """Return the metrics of a log point; the loss falls and rises again."""
    return {
        "train/loss": 2.0 + 1.0 / (1 + step) + 1e-7 * step,
        "train/loss_chance": 4.4,
        "train/loss_lower_bound": 0.3,
        "train/lr": 1e-3,
        "train/grad_norm": 1.0,
        "train/accuracy": 0.5,
        "train/accuracy_chance": 0.004,
        "train/positive_similarity": 0.6,
        "train/negative_similarity": 0.1,
        "diag/candidates": 255.0,
        "diag/queries_with_positive": 1.0,
        "diag/embedding_std": 0.03,
        "diag/embedding_std_chance": 0.088,
        "perf/examples_per_sec": 1500.0,
        "perf/input_wait": 0.05,
    }


def evaluation(value: float) -> dict[str, dict]:
    """Return the metrics of an evaluation of two sets."""
    metric = {"value": value, "n": 400, "chance": 0.01}
    metric |= {"low": value - 0.04, "high": value + 0.04}
    score = metric | {"kind": "score", "better": "higher", "headline": True}
    metrics = {f"eval/brand/{name}": score for name in SCORES}
    return metrics | {f"eval/geometry/{name}": metric for name in GEOMETRY}


def write_run(folder: pathlib.Path, points: int) -> int:
    """Write a run of so many log points; return its last step."""
    steps = points * LOG_EVERY
    config = {
        "gates": GATES,
        "alarms": {"stop": ["not_finite"], "ignore": []},
        "train": {"batch_size": 256},
        "schedule": {"name": "cosine"},
    }
    run_dir.write_config(folder, {"config": config})
    files.write_json(folder / run_dir.DATA, {"name": "logos"})
    segment = {"why": "start", "time": 0.0, "from_step": 0, "total_steps": 2 * steps}
    segment["horizon"] = [0, 2 * steps]
    files.append_line(folder / run_dir.RESUMES, segment)
    with open(folder / run_dir.METRICS, "w", encoding="utf-8") as file:
        for event in events(steps):
            file.write(f"{files.as_line(event)}\n")
    return steps


def events(steps: int) -> Iterator[Event]:
    """Yield a baseline, log points, and an evaluation every two epochs."""
    baseline = evaluation(0.3)
    yield event("baseline", 0, baseline) | {"baseline": "pixels"}
    for step in range(LOG_EVERY, steps + 1, LOG_EVERY):
        yield event("train", step, training(step))
        if step % EVALUATE_EVERY == 0:
            yield event("eval", step, evaluation(0.5))


def event(kind: str, step: int, metrics: dict) -> dict:
    """Return an event of a run that takes a second a step."""
    return {
        "kind": kind,
        "step": step,
        "epoch": step / EPOCH_STEPS,
        "time": float(step),
        "metrics": metrics,
    }


class Loop:
    """The part of a training loop that writes a log point."""

    def __init__(self, folder: pathlib.Path, step: int):
        self.run, self.step = RunDir(folder), step
        self.gates = judgment.of_config(self.run.config)
        self.log_point()  # reads the files, raises alarms for the first time

    def log_point(self) -> float:
        """Write one log point; return its seconds."""
        self.step += LOG_EVERY
        epoch, history = self.step / EPOCH_STEPS, self.run.history
        began = time.perf_counter()
        metrics = training(self.step)
        self.run.append_event("train", step=self.step, epoch=epoch, metrics=metrics)
        for alarm in check.unseen(check.check_run(self.run), history):
            fields = {name: v for name, v in alarm.items() if name != "step"}
            self.run.append_event("alarm", step=alarm["step"], epoch=epoch, **fields)
        for judged in decisions.judge_due(self.gates, history, epochs=1e6):
            common = ("kind", "step", "epoch", "metrics")
            fields = {name: v for name, v in judged.items() if name not in common}
            self.run.append_event("gate", step=self.step, epoch=epoch, **fields)
        decisions.standing(self.gates, history, 10**9)
        return time.perf_counter() - began


def main(arguments: list[str]) -> int:
    """Print the costs of log points; return 1 where the late one is dearer."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=200)
    rounds = parser.parse_args(arguments).rounds
    with tempfile.TemporaryDirectory() as name:
        loops = []
        for points in POINTS:
            folder = pathlib.Path(name) / str(points)
            folder.mkdir()
            loops.append(Loop(folder, write_run(folder, points)))
        costs: list[list[float]] = [[] for _ in loops]
        for _ in range(rounds):
            for loop, seconds in zip(loops, costs, strict=True):
                seconds.append(loop.log_point())
    medians = [statistics.median(seconds) for seconds in costs]
    for points, median in zip(POINTS, medians, strict=True):
        print(f"{points:>7,} log points: {1e3 * median:.2f} ms")
    ratio = medians[-1] / medians[0]
    print(f"ratio: {ratio:.3f}, at most {MOST}")
    return int(ratio > MOST)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

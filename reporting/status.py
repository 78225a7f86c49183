"""Is a run alive, where is it, and when will it end: read from its workdir alone."""

import socket
import time as clock
from collections.abc import Mapping
from pathlib import Path

from reporting import budget, headlines, run_dir, timeline
from reporting.alarms.common import check as alarm_check
from reporting.files import is_alive
from reporting.formatting import ABSENT, count, duration, measured, number
from reporting.gates import judgment
from reporting.history import History, is_finite
from reporting.loop_tags import LOSS
from reporting.run_dir import RunDir

SILENT_AFTER = 300.0  # seconds; compiling a large network takes a minute or two


def liveness(beat: Mapping | None, now: float | None = None) -> str:
    """Return whether the process of a heartbeat is alive.

    Args:
        beat: What `workdir.read_heartbeat` gives.
        now: Seconds since 1970; the present by default.

    Returns:
        "absent": none was ever written; "ended": the run said that it ended; "alive";
        "silent": the process is there but has said nothing for `SILENT_AFTER` seconds;
        "stale": the process is gone, or is on another host and silent.
    """
    if not beat:
        return "absent"
    if beat.get("state") in run_dir.FINAL_STATES:
        return "ended"
    # The clock of another machine may be ahead of this one.
    age = abs((clock.time() if now is None else now) - (beat.get("time") or 0.0))
    if beat.get("host") != socket.gethostname():
        return "alive" if age <= SILENT_AFTER else "stale"
    if not is_alive(beat.get("pid")):
        return "stale"
    return "alive" if age <= SILENT_AFTER else "silent"


def describe(folder: Path | str, now: float | None = None) -> dict:
    """Return the state of a run as plain values, for `--json`.

    Args:
        folder: The workdir.
        now: Seconds since 1970; the present by default.

    Raises:
        FileNotFoundError: If there is no such directory.
    """
    folder = Path(folder)
    run_dir.check_run(folder)
    now = clock.time() if now is None else now
    run = RunDir(folder)
    beat, history = run.heartbeat, run.history
    step = max(history.step, beat.get("step") or 0)
    epoch = max(history.epoch, beat.get("epoch") or 0.0)
    total, eta = beat.get("total_steps"), beat.get("eta_seconds")
    life = liveness(beat, now)
    age = now - beat["time"] if beat.get("time") else None
    metrics = history.metrics()
    judged = judgment.judge_run(judgment.of_config(run.config), history)
    forecast = budget.of_run(
        history,
        run.config,
        total_steps=total,
        epoch_steps=run.data.get("steps_per_epoch"),
        gates=judged,
        segments=run.segments,
    )
    if (
        forecast["hours_left"] is not None
    ):  # with evaluations, which a heartbeat leaves out
        eta = 3600 * forecast["hours_left"]
    eta = max(eta - age, 0.0) if life == "alive" and eta is not None else None
    saved = run_dir.checkpoint_steps(folder)
    return {
        "liveness": life,
        "state": beat.get("state"),
        "pid": beat.get("pid"),
        "host": beat.get("host"),
        "heartbeat_age": age,
        "step": step,
        "total_steps": total,
        "epoch": epoch,
        "total_epochs": epoch * total / step if total and step else None,
        "eta_seconds": eta,
        "examples_per_sec": beat.get("examples_per_sec"),
        "loss": metrics.get(LOSS),
        "evaluation": {tag: metrics[tag] for tag in headlines.scores(metrics)},
        "gates": judged,
        "budget": forecast,
        "next_gate": _next_gate(history, judged, forecast, epoch),
        "alarms": alarm_check.check_run(run),
        "refusals": run.standing_refusals,
        "checkpoint": saved[-1] if saved else None,
    }


def status(folder: Path | str, now: float | None = None) -> str:
    """Return the state of a run in a few lines of text."""
    return render(describe(folder, now))


def render(state: Mapping) -> str:
    """Return the text of a run's state."""
    rows = [("run", _life(state)), ("progress", _progress(state))]
    if (loss := state["loss"]) is not None:
        versus = (
            f", chance {number(loss['chance'])}" if loss["chance"] is not None else ""
        )
        rows.append(("loss", number(loss["value"]) + versus))
    for tag in headlines.headlines(state["evaluation"]):
        metric = state["evaluation"][tag]
        rows.append((tag.removeprefix("eval/"), _with_levels(metric)))
    rows.append(("next gate", _gate(state)))
    if state["liveness"] == "alive" and (sentence := budget.sentence(state["budget"])):
        rows.append(("forecast", sentence))
    saved = state["checkpoint"]
    rows.append(("checkpoint", "none yet" if saved is None else f"step {count(saved)}"))
    rows += [("refused", fault) for one in state["refusals"] for fault in one["faults"]]
    rows += [("alarm", alarm["message"]) for alarm in state["alarms"]]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _life(state: Mapping) -> str:
    who = f"process {state['pid']} on {state['host']}"
    age = state["heartbeat_age"] or 0.0
    ago = f"last heartbeat {duration(abs(age))} ago"
    if age < 0:
        ago = f"last heartbeat {duration(-age)} ahead of this machine's clock"
    return {
        "absent": "no heartbeat: nothing has been started in this workdir",
        "ended": f"ended: {state['state']}, {ago}",
        "alive": f"alive: {state['state']}, {who}, {ago}",
        "silent": f"SILENT: {who} is there, {ago}",
        "stale": f"STALE: {who} is gone, {ago}; the same command resumes",
    }[state["liveness"]]


def _progress(state: Mapping) -> str:
    text = f"step {count(state['step'])}"
    if state["total_steps"]:
        text += f" of {count(state['total_steps'])}"
    text += f", epoch {number(state['epoch'])}"
    if state["total_epochs"]:
        text += f" of {number(state['total_epochs'])}"
    if state["examples_per_sec"]:
        text += f", {number(state['examples_per_sec'])} examples/s"
    if state["eta_seconds"] is not None:
        text += f", {duration(state['eta_seconds'])} left"
    return text


def _with_levels(metric: Mapping) -> str:
    levels = {"chance": metric["chance"]}
    levels |= {
        name: baseline["value"] for name, baseline in metric["baselines"].items()
    }
    shown = [f"{k} {number(v)}" for k, v in levels.items() if is_finite(v)]
    return "; ".join([measured(metric), *shown])


def _next_gate(
    history: History, judged: Mapping, forecast: Mapping, epoch: float
) -> dict | None:
    """Return when the next gate is judged, and its metric's trend until then."""
    waiting = []
    for name, gate in judged.items():
        due = forecast["gates"].get(name, {})
        if gate["passed"] is None:
            at = due.get("epoch")
            waiting.append((float("inf") if at is None else at, name, due))
    if not waiting:
        return None
    at, name, due = min(waiting, key=lambda one: one[:2])
    ahead = at if at != float("inf") else epoch
    return {
        "name": name,
        "seconds": None if due["hours_left"] is None else 3600 * due["hours_left"],
        "cost": due["cost"],
        "trend": timeline.trend(history, judged[name]["metric"], ahead),
    }


def _gate(state: Mapping) -> str:
    """Return when the next gate is judged, and a guess at what it will find."""
    if (due := state["next_gate"]) is None:
        return ABSENT
    text = f"{due['name']}: {state['gates'][due['name']]['note']}"
    if due["seconds"] is not None and state["liveness"] == "alive":
        left = duration(max(due["seconds"] - state["heartbeat_age"], 0.0))
        cost = "" if due["cost"] is None else f", at a cost of {number(due['cost'])}"
        text += f" (in {left}{cost})"
    if (trend := due["trend"]) is not None:
        text += (
            f"; now {number(trend['last'])}, and a straight line through the last "
            f"{count(trend['points'])} would be at {number(trend['value'])} (a guess)"
        )
    return text

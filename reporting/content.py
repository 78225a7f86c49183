"""The content of `report.json`: everything in a report as plain values."""

from collections.abc import Mapping

from reporting import budget, timeline
from reporting.alarms.common import check as alarming
from reporting.gates import decisions, judgment
from reporting.history import is_finite
from reporting.page import verdict
from reporting.run_dir import RunDir


def assemble(run: RunDir) -> dict:
    """Return the content of `report.json`: everything in the report as plain values."""
    history = run.history
    standing, cleared = _alarms(run)
    judged = judgment.judge_run(judgment.of_config(run.config), history)
    decision = decisions.of_run(run)
    word, reason, code = verdict.decide(
        history,
        judged,
        standing,
        run.heartbeat,
        decision=decision,
        refusals=run.standing_refusals,
    )
    return {
        "verdict": f"{word}: {reason}",
        "outcome": word,
        "reason": reason,
        "exit_code": code,
        "finished": history.finished,
        "step": history.step,
        "epoch": history.epoch,
        "recipe": run.description.get("recipe") or "",
        "gates": judged,
        "next": decision.config if decision else "",
        "refusals": run.refusals,
        "metrics": _metrics(run),
        "alarms": standing,
        "alarms_cleared": cleared,
        "throughput": timeline.throughput(history, _batch_size(run.config)),
        "budget": _budget(run, judged),
        "data": run.data,
        "difference": run.description.get("difference") or {},
        "resumes": run.segments,
        "versions": run.environment,
    }


def lift(metric: Mapping) -> float | None:
    """Return a metric over its highest baseline, or over chance without one."""
    levels = [
        baseline["value"]
        for baseline in metric["baselines"].values()
        if not baseline["ceiling"]
    ]
    levels = [v for v in levels if is_finite(v)] or [metric["chance"]]
    best = max((v for v in levels if is_finite(v)), default=0.0)
    if best <= 0 or not is_finite(metric["value"]):
        return None
    return metric["value"] / best


def _metrics(run: RunDir) -> dict[str, dict]:
    return {
        tag: metric | {"lift": lift(metric) if metric["kind"] == "score" else None}
        for tag, metric in run.history.metrics().items()
    }


def _alarms(run: RunDir) -> tuple[list[dict], list[dict]]:
    """Return the alarms that stand at the end, and earlier ones that do not."""
    standing = alarming.check_run(run)
    trained = run.history.of_kind("train")
    last_step = max((event["step"] for event in trained), default=0)
    keys = ("name", "severity", "tag", "step", "seen", "advice", "message")
    raised = {(alarm["name"], alarm["tag"]) for alarm in standing}
    cleared = []
    for event in run.history.of_kind("alarm"):
        if (event.get("name"), event.get("tag")) in raised:
            continue
        raised.add((event.get("name"), event.get("tag")))
        alarm = {key: event.get(key) for key in keys}
        # What stopped the run stands, though no rule here may know of it.
        ended = alarm["severity"] == "stop" and event["step"] >= last_step
        (standing if ended else cleared).append(alarm)
    return standing, cleared


def _budget(run: RunDir, judged: Mapping) -> dict:
    segments, total = run.segments, run.heartbeat.get("total_steps")
    return budget.of_run(
        run.history,
        run.config,
        total_steps=total or (segments[-1].get("total_steps") if segments else None),
        epoch_steps=run.data.get("steps_per_epoch"),
        gates=judged,
        segments=segments,
    )


def _batch_size(fields: Mapping) -> int | None:
    return (fields.get("train") or {}).get("batch_size")

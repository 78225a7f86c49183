"""Checking a run for alarms: what a loss curve alone does not show.

An alarm is a dict `{name, severity, tag, step, seen, advice, message}`; severity "stop"
means that going on is pointless.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reporting.alarms.common.rule import Run, rules
from reporting.history import Event, History
from reporting.run_dir import RunDir

Alarm = dict[str, Any]

RULES = rules()
NAMES = tuple(RULES)
# Alarms that end a run unless `config.alarms.stop` says otherwise.
STOPS = tuple(name for name, rule in RULES.items() if rule.severity == "stop")


def check(
    history: History | Iterable[Event],
    *,
    stop: Sequence[str] = STOPS,
    ignore: Sequence[str] = (),
    limits: Mapping[str, Mapping[str, float]] | None = None,
    **context: Any,
) -> list[Alarm]:
    """Find every alarm that stands at the end of a history.

    Args:
        history: A run's history.
        stop: Names of the alarms that end a run; the others warn.
        ignore: Names of the alarms that are not looked for.
        limits: Alarm to its limits that differ from the defaults.
        **context: What is known of the run besides, fields of `Run`; a rule that needs
            a field that is absent finds nothing.

    Returns:
        Alarms, those that should stop the run first.
    """
    if not isinstance(history, History):
        history = History(history)
    run, limits = Run(history, **context), limits or {}
    alarms = [
        rule.describe(finding, rule.name in stop)
        for rule in RULES.values()
        if rule.name not in ignore
        for finding in rule.find(run, **limits.get(rule.name, {}))
    ]
    return sorted(alarms, key=lambda alarm: alarm["severity"] != "stop")


def check_run(run: RunDir) -> list[Alarm]:
    """Find every alarm that stands in a workdir."""
    return check(run.history, **context(run))


def context(run: RunDir) -> dict[str, Any]:
    """Return what `check` asks of a run beside its history, from its files."""
    config, segments = run.config, run.segments
    last = segments[-1] if segments else {}
    cosine = (config.get("schedule") or {}).get("name") == "cosine"
    return {
        "batch_size": (config.get("train") or {}).get("batch_size"),
        "total_steps": last.get("total_steps"),
        "horizon": last["horizon"][1] if cosine and "horizon" in last else None,
        "segments": segments,
        "data": run.data,
        "audit": run.audit,
        "examples": run.queries,
        **(config.get("alarms") or {}),
    }


def unseen(alarms: Iterable[Alarm], history: History) -> list[Alarm]:
    """Return the alarms that the history does not hold yet, by name and tag."""
    raised = {(e.get("name"), e.get("tag")) for e in history.of_kind("alarm")}
    return [alarm for alarm in alarms if (alarm["name"], alarm["tag"]) not in raised]

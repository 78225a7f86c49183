"""Alarms: what a loss curve alone does not say, found in a run's events.

Each rule is a pure function of the history. An alarm is a dict `{name, severity, tag,
step, seen, advice, message}`; severity `"stop"` means that going on is pointless.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from reporting import run_dir
from reporting.alarms import data as data_alarms
from reporting.alarms import evaluation as evaluation_alarms
from reporting.alarms import training as training_alarms
from reporting.alarms.common.rule import Run

RULES: tuple[Callable[[Run], list[dict]], ...] = (
    training_alarms.not_finite,
    training_alarms.collapse,
    training_alarms.near_chance,
    training_alarms.rising,
    training_alarms.low_rank,
    training_alarms.schedule_horizon,
    training_alarms.few_candidates,
    training_alarms.no_positives,
    training_alarms.spike,
    training_alarms.lr_jump,
    training_alarms.reversed_pairs,
    training_alarms.gate_changed,
    evaluation_alarms.not_above_baseline,
    evaluation_alarms.saturated,
    evaluation_alarms.below_chance,
    evaluation_alarms.low_uniformity,
    evaluation_alarms.views_not_aligned,
    evaluation_alarms.zero_recall,
    evaluation_alarms.few_queries,
    evaluation_alarms.near_ties,
    evaluation_alarms.ssim_at_chance,
    evaluation_alarms.duplicates,
    evaluation_alarms.gap,
    training_alarms.input_bound,
    data_alarms.weak_labels,
    data_alarms.label_ceiling,
    data_alarms.leaking_split,
    data_alarms.duplicate_records,
    data_alarms.self_match,
)

# What ends a run unless `config.alarms.stop` says otherwise.
STOPS = ("not_finite", "collapse", "no_positives")
NAMES = (
    "not_finite",
    "collapse", "partial_collapse", "near_chance", "loss_rising", "low_rank",
    "schedule_horizon", "few_candidates", "no_positives", "few_positives", "loss_spike",
    "lr_jump", "reversed_pairs", "gate_changed", "not_above_baseline", "saturated",
    "below_chance", "low_uniformity", "views_not_aligned", "zero_recall", "few_queries",
    "near_ties",
    "ssim_at_chance", "duplicates", "generalization_gap", "input_bound", "weak_labels",
    "label_ceiling", "leaking_split", "duplicate_records", "self_match",
)  # fmt: skip


def check(
    events: list[dict],
    *,
    stop: Sequence[str] = STOPS,
    ignore: Sequence[str] = (),
    **given: Any,
) -> list[dict]:
    """Finds every alarm that stands at the end of a history.

    Args:
      events: a run's history, as `workdir.read_events` gives it.
      stop: names of the alarms that end a run; the others warn.
      ignore: names of the alarms that are not asked for.
      **given: what is known of the run besides, fields of `_alarm.Run`; a rule that
        needs what is not known is silent.

    Returns:
      Alarms, those that should stop the run first.
    """
    run = Run(events, **given)
    found = [
        alarm | {"severity": "stop" if alarm["name"] in stop else "warn"}
        for rule in RULES
        for alarm in rule(run)
        if alarm["name"] not in ignore
    ]
    return sorted(found, key=lambda alarm: alarm["severity"] != "stop")


def facts(folder: Path | str) -> dict[str, Any]:
    """What `check` asks of a run beside its history, from the files in its workdir."""
    fields = run_dir.read_config(folder).get("config") or {}
    segments = run_dir.read_resumes(folder)
    last = segments[-1] if segments else {}
    cosine = (fields.get("schedule") or {}).get("name") == "cosine"
    return {
        "batch_size": (fields.get("train") or {}).get("batch_size"),
        "total_steps": last.get("total_steps"),
        "horizon": last["horizon"][1] if cosine and "horizon" in last else None,
        "segments": segments,
        "data": run_dir.read_data(folder),
        "audit": run_dir.read_audit(folder),
        "examples": run_dir.read_queries(folder),
        **(fields.get("alarms") or {}),
    }


def unseen(alarms: Iterable[dict], events: Iterable[dict]) -> list[dict]:
    """The alarms that the history does not hold yet, by name and tag."""
    known = {(e.get("name"), e.get("tag")) for e in events if e["kind"] == "alarm"}
    return [alarm for alarm in alarms if (alarm["name"], alarm["tag"]) not in known]

"""Alarms: what a loss curve alone does not say, found in a run's events.

Each rule is a pure function of the history. An alarm is a dict `{name, severity, tag,
step, message}`; severity `"stop"` means that going on is pointless.
"""

from collections.abc import Callable, Iterable

from reporting import alarms_evaluation, alarms_training
from reporting._alarm import Limits, Run

RULES: tuple[Callable[[Run], list[dict]], ...] = (
    alarms_training.not_finite,
    alarms_training.collapse,
    alarms_training.near_chance,
    alarms_training.rising,
    alarms_training.low_rank,
    alarms_training.schedule_horizon,
    alarms_training.few_candidates,
    alarms_training.no_positives,
    alarms_training.spike,
    alarms_training.rate_jump,
    alarms_evaluation.under_floor,
    alarms_evaluation.saturated,
    alarms_evaluation.no_hits,
    alarms_evaluation.few_queries,
    alarms_evaluation.near_ties,
    alarms_evaluation.resemblance,
    alarms_evaluation.duplicates,
    alarms_evaluation.gap,
    alarms_training.input_bound,
)


def check(
    events: list[dict],
    *,
    batch_size: int | None = None,
    total_steps: int | None = None,
    horizon: int | None = None,
    limits: Limits | None = None,
) -> list[dict]:
    """Finds every alarm that stands at the end of a history.

    Args:
      events: a run's history, as `workdir.read_events` gives it.
      batch_size: records a step, over all devices; None skips the rule on candidates.
      total_steps: length of the run; None judges what is there as if it were all.
      horizon: step at which the learning-rate schedule ends; None skips that rule.
      limits: when a rule speaks up.

    Returns:
      Alarms, those that should stop the run first.
    """
    run = Run(events, batch_size, total_steps, horizon, limits or Limits())
    found = [alarm for rule in RULES for alarm in rule(run)]
    return sorted(found, key=lambda alarm: alarm["severity"] != "stop")


def unseen(alarms: Iterable[dict], events: Iterable[dict]) -> list[dict]:
    """The alarms that the history does not hold yet, by name and tag."""
    known = {(e.get("name"), e.get("tag")) for e in events if e["kind"] == "alarm"}
    return [alarm for alarm in alarms if (alarm["name"], alarm["tag"]) not in known]

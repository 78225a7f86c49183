"""The one sentence that a run ends with, and the exit code that goes with it."""

from collections.abc import Mapping, Sequence

from reporting import history
from reporting.formatting import count, number, plural
from reporting.gates import judgment as gating
from reporting.gates.decisions import Decision

PASS, FAIL, DIVERGED, UNFINISHED = "PASS", "FAIL", "DIVERGED", "UNFINISHED"
REFUSED = "REFUSED"
EXIT_CODES = {PASS: 0, REFUSED: 2, FAIL: 3, DIVERGED: 4, UNFINISHED: 75}
FAULT = 1


def decide(
    events: list[dict],
    judged: Mapping[str, dict],
    alarms: Sequence[dict],
    heartbeat: Mapping | None,
    *,
    decision: Decision | None = None,
    refusals: Sequence[Mapping] = (),
) -> tuple[str, str, int]:
    """Judges a run.

    Args:
      events: its history.
      judged: its gates, as `gates.judge_run` gives them.
      alarms: the alarms that stand at its end.
      heartbeat: its last sign of life, or None.
      decision: what a gate has led to, or None.
      refusals: starts that were refused; they decide where nothing else is there.

    Returns:
      The word, the reason as a sentence, and the exit code.
    """
    if refusals and not events:
        said = "Nothing was started. " + "; ".join(refusals[-1]["faults"])
        return REFUSED, said, EXIT_CODES[REFUSED]
    state = (heartbeat or {}).get("state")
    stops = [alarm for alarm in alarms if alarm["severity"] == "stop"]
    if stops or state in ("diverged", "collapsed"):
        said = stops[0]["message"] if stops else f"The run stopped as {state}."
        return DIVERGED, said, EXIT_CODES[DIVERGED]
    if not history.finished(events):
        code = FAULT if state == "failed" else EXIT_CODES[UNFINISHED]
        return UNFINISHED, _unfinished(events, heartbeat), code
    failures = gating.required_failures(judged)
    if failures:
        missed = "; ".join(f"{name}: {judged[name]['note']}" for name in failures)
        word = plural(len(failures), "required gate")
        said = f"{word} failed. {missed}.{_followed(events, decision)}"
        return FAIL, said, EXIT_CODES[FAIL]
    said = _passed(events, judged) + _followed(events, decision)
    return PASS, said, EXIT_CODES[PASS]


def _followed(events: list[dict], decision: Decision | None) -> str:
    if decision is None:
        return ""
    if decision.passed:
        return f" What follows is {decision.config}."
    _, epoch = history.reached(events)
    what = f"{decision.config} follows" if decision.config else "the run ended there"
    return f" Gate {decision.gate} decided at epoch {number(epoch)}: {what}."


def _unfinished(events: list[dict], heartbeat: Mapping | None) -> str:
    step, epoch = history.reached(events)
    state = (heartbeat or {}).get("state")
    total = (heartbeat or {}).get("total_steps")
    ways = {
        "preempted": "The run was preempted and saved",
        "failed": "The run ended with an error",
    }
    lead = ways.get(state, "There is no final evaluation")
    of = f" of {count(total)}" if total else ""
    return (
        f"{lead}, at step {count(step)}{of} (epoch {number(epoch)}). What follows is "
        "what is known so far; the same command on the same workdir goes on from the "
        "last checkpoint."
    )


def _passed(events: list[dict], judged: Mapping[str, dict]) -> str:
    step, epoch = history.reached(events)
    lead = f"Finished at step {count(step)}, epoch {number(epoch)}; "
    required = sum(gate["required"] for gate in judged.values())
    if not required:
        return lead + "no gate was required of it."
    missed = [n for n, gate in judged.items() if not gate["passed"]]
    advisory = f" Advisory and not passed: {', '.join(missed)}." if missed else ""
    which = "its required gate" if required == 1 else f"all {required} required gates"
    return f"{lead}{which} passed.{advisory}"

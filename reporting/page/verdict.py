"""The one sentence that a run ends with, and the exit code that goes with it."""

from collections.abc import Mapping, Sequence

from reporting.formatting import count, number, plural
from reporting.gates import judgment as gating
from reporting.gates.judgment import Decision
from reporting.history import History

PASS, FAIL, DIVERGED, UNFINISHED = "PASS", "FAIL", "DIVERGED", "UNFINISHED"
REFUSED = "REFUSED"
EXIT_CODES = {PASS: 0, REFUSED: 2, FAIL: 3, DIVERGED: 4, UNFINISHED: 75}
FAULT = 1


def decide(
    history: History,
    judged: Mapping[str, dict],
    alarms: Sequence[dict],
    heartbeat: Mapping | None,
    *,
    decision: Decision | None = None,
    refusals: Sequence[Mapping] = (),
) -> tuple[str, str, int]:
    """Judge a run.

    Args:
        history: Its events.
        judged: Its gates, as `gates.judge_run` gives them.
        alarms: The alarms that stand at its end.
        heartbeat: Its last sign of life, or None.
        decision: What a gate has led to, or None.
        refusals: Starts since the last that began which were refused, or that a fault
            of the input has ended; they decide where nothing else is there.

    Returns:
        The word, the reason as a sentence, and the exit code.
    """
    if refusals and not history.events:
        sentence = "Nothing was started. " + "; ".join(refusals[-1]["faults"])
        return REFUSED, sentence, EXIT_CODES[REFUSED]
    state = (heartbeat or {}).get("state")
    stops = [alarm for alarm in alarms if alarm["severity"] == "stop"]
    if stops or state in ("diverged", "collapsed"):
        sentence = stops[0]["message"] if stops else f"The run stopped as {state}."
        return DIVERGED, sentence, EXIT_CODES[DIVERGED]
    if not history.finished:
        sentence, code = _unfinished(history, heartbeat), EXIT_CODES[UNFINISHED]
        if state == "failed":
            code = EXIT_CODES[REFUSED] if refusals else FAULT
        if refusals:
            sentence += f" The last start ended: {'; '.join(refusals[-1]['faults'])}"
        return UNFINISHED, sentence, code
    failures = gating.required_failures(judged)
    if failures:
        missed = "; ".join(f"{name}: {judged[name]['note']}" for name in failures)
        word = plural(len(failures), "required gate")
        sentence = f"{word} failed. {missed}.{_followed(history, decision)}"
        return FAIL, sentence, EXIT_CODES[FAIL]
    sentence = _passed(history, judged) + _followed(history, decision)
    return PASS, sentence, EXIT_CODES[PASS]


def _followed(history: History, decision: Decision | None) -> str:
    if decision is None:
        return ""
    if decision.passed:
        return f" What follows is {decision.config}."
    what = f"{decision.config} follows" if decision.config else "the run ended there"
    return f" Gate {decision.gate} decided at epoch {number(history.epoch)}: {what}."


def _unfinished(history: History, heartbeat: Mapping | None) -> str:
    beat = heartbeat or {}
    state, total = beat.get("state") or "", beat.get("total_steps")
    saved = beat.get("saved", history.step)  # heartbeats of older versions lack it
    ways = {
        "preempted": "The run was preempted and saved"
        if saved
        else "The run was preempted before its first checkpoint",
        "failed": "The run ended with an error",
    }
    lead = ways.get(state, "There is no final evaluation")
    of = f" of {count(total)}" if total else ""
    return (
        f"{lead}, at step {count(history.step)}{of} (epoch {number(history.epoch)}). "
        "What follows is what is known so far; the same command on the same workdir "
        f"{'goes on from the last checkpoint' if saved else 'starts again'}."
    )


def _passed(history: History, judged: Mapping[str, dict]) -> str:
    lead = f"Finished at step {count(history.step)}, epoch {number(history.epoch)}; "
    required = sum(gate["required"] for gate in judged.values())
    if not required:
        return lead + "no gate was required of it."
    missed = [n for n, gate in judged.items() if not gate["passed"]]
    advisory = f" Advisory and not passed: {', '.join(missed)}." if missed else ""
    which = "its required gate" if required == 1 else f"all {required} required gates"
    return f"{lead}{which} passed.{advisory}"

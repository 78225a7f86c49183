"""What follows from a gate: the decision tree of a config, read from its gates.

`otherwise` says what a missed gate leads to, tried from left to right:

  "extend:N"        judged again N epochs later, while the metric is near and improves
  "stop"            the run ends here
  "switch:CONFIG"   the run ends here, and another recipe begins

`then="switch:CONFIG"` says what a run whose gates all passed is followed by.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from reporting.formatting import number
from reporting.gates import judgment as gating
from reporting.gates.judgment import Decision
from reporting.history import EPOCH_TOLERANCE, History, is_finite
from reporting.run_dir import RunDir

FORMS = "'stop', 'extend:EPOCHS', 'switch:configs/x.py', or several joined by '; '"


class Action(NamedTuple):
    """One thing that can follow: `epochs` of an extension, `config` of a switch."""

    kind: str
    epochs: float = 0.0
    config: str = ""


def parse(text: str) -> list[Action]:
    """Read what follows from a gate.

    Raises:
        ValueError: If it is none of the forms that there are.
    """
    actions = []
    for part in filter(None, (p.strip() for p in text.split(";"))):
        kind, _, rest = part.partition(":")
        if kind == "stop" and not rest:
            actions.append(Action(kind))
        elif kind == "switch" and rest:
            actions.append(Action(kind, config=rest))
        elif kind == "extend" and _epochs(rest) > 0:
            actions.append(Action(kind, _epochs(rest)))
        else:
            raise ValueError(f"got {part!r}; expected {FORMS}")
    return actions


def judge_due(
    gates: Mapping[str, Mapping],
    history: History,
    *,
    epochs: float,
) -> list[dict]:
    """Judge the gates that are due and have not been judged, and what follows.

    Args:
        gates: Gates by name, from `judgment.of_config`.
        history: The run's events.
        epochs: The run's length without extensions; they add no more than that again.

    Returns:
        An event of kind "gate" for each, to be appended to the history.
    """
    step, epoch, over = history.step, history.epoch, history.finished
    # Before the end most gates are not due.
    asked_now = gates if over else _due_by(gates, history)
    judged = gating.judge_run(asked_now, history)
    failed = gating.required_failures(judged)
    events = []
    for name, spec in asked_now.items():
        judgment = judged[name]
        if judgment["passed"] is None or not _pending(spec, judgment, history):
            continue
        action = Action("")
        if not judgment["passed"]:
            action = _otherwise(spec, judgment, history, epochs)
        elif spec["then"] and over and not failed:
            action = parse(spec["then"])[0]
        fields = {k: judgment[k] for k in ("passed", "value", "bound", "note", "at")}
        events.append(
            fields
            | {
                "kind": "gate",
                "step": step,
                "epoch": epoch,
                "name": name,
                "action": action.kind,
                "config": action.config,
                "epochs": action.epochs,
                "until": epoch + action.epochs if action.epochs else None,
                "asked": asked(spec),
                "metrics": {},
            }
        )
    return events


def standing(
    gates: Mapping[str, Mapping], history: History, total_steps: int | None
) -> Decision | None:
    """Return the decision that ended the run or follows it, or None.

    A decision stands as long as its gate asks for what it asked for then, and what was
    decided at the end as long as that is the end. A miss counts before what a passed
    gate leads to.

    Args:
        gates: Gates by name, from `judgment.of_config`.
        history: The run's events.
        total_steps: Its length as it is now.
    """
    decisions = []
    for event in history.of_kind("gate"):
        if event.get("action") not in ("stop", "switch"):
            continue
        if event.get("at") == "end" and event["step"] < (total_steps or 0):
            continue
        spec = gates.get(event.get("name", ""))
        if spec is not None and asked(spec) == event.get("asked"):
            decisions.append(
                Decision(
                    event["name"], event["action"], event.get("config") or "",
                    bool(event["passed"]), event["note"],
                )
            )  # fmt: skip
    return min(decisions, key=lambda d: d.passed, default=None)


def of_run(run: RunDir) -> Decision | None:
    """Return `standing`, read from the files in a workdir."""
    total = run.segments[-1].get("total_steps") if run.segments else None
    return standing(gating.of_config(run.config), run.history, total)


def granted(history: History) -> float:
    """Epochs that gates of the end have added to the run."""
    return sum(
        event.get("epochs") or 0.0
        for event in history.of_kind("gate")
        if event.get("action") == "extend" and event.get("at") == "end"
    )


def asked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a gate that two versions of it are compared by."""
    return {key: spec[key] for key in (*gating.NEEDED, *gating.DEFAULTS)}


def _due_by(gates: Mapping[str, Mapping], history: History) -> dict[str, Mapping]:
    """Return the gates of an epoch that has come, less those that are settled."""
    last = {event["name"]: event for event in history.of_kind("gate")}
    due = {}
    for name, spec in gates.items():
        past, when = last.get(name), spec["epoch"]
        if past is not None:
            if past.get("action") != "extend":
                continue
            when = past["until"]
        if when != "end" and history.epoch >= when - EPOCH_TOLERANCE:
            due[name] = spec
    return due


def _pending(spec: Mapping, judgment: Mapping, history: History) -> bool:
    """Return whether a gate has not been judged on the present measurements."""
    past = judgment["history"]
    if spec["epoch"] == "end":
        # A longer run has another end.
        return history.finished and (not past or past[-1]["step"] < history.step)
    return not past or past[-1]["action"] == "extend"


def _otherwise(
    spec: Mapping, judgment: Mapping, history: History, epochs: float
) -> Action:
    """Return the first listed action that applies; without one, stop."""
    actions = parse(spec["otherwise"])
    for action in actions:
        if action.kind != "extend":
            return action
        most = 2 * epochs if spec["epoch"] == "end" else epochs
        room = most - history.epoch
        near = _near(spec, judgment["value"])
        if near and _improves(spec, judgment, history) and room > 0:
            return action._replace(epochs=min(action.epochs, room))
    return Action("stop") if actions else Action("")


def _near(spec: Mapping, value: float | None) -> bool:
    if not is_finite(value):
        return False
    return spec["near"] is None or gating.OPERATORS[spec["op"]](value, spec["near"])


def _improves(spec: Mapping, judgment: Mapping, history: History) -> bool:
    """Return whether a metric is better than when it was last judged or measured."""
    value, past = judgment["value"], judgment["history"]
    if past:
        before = past[-1]["value"]
    else:
        points = history.points(spec["metric"], last=2)
        before = points[0].value if len(points) > 1 else None
    if not is_finite(before):
        return True
    return value > before if spec["op"].startswith(">") else value < before


def _epochs(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def tell(event: Mapping) -> str:
    """Return a judgment as a sentence for the log."""
    word = "passed" if event["passed"] else "missed"
    what = {
        "": "",
        "stop": " The run ends here.",
        "extend": f" Judged again after {number(event['epochs'])} more epochs.",
        "switch": f" What follows is {event['config']}.",
    }[event["action"]]
    return f"Gate {event['name']} {word}: {event['note']}.{what}"

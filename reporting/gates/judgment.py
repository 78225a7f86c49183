"""Gates: what a run must reach, written in its config and judged when it is due.

A gate is `dict(metric=..., op=">=", value=..., at="end", required=True)`. Its value is
a number or names a level: one measured in the same run, `"chance"`,
`"baseline:pixels"`, or by another, `"run:DIR"`. `docs/reporting.md` has all keys and
examples;
`decisions.py` carries out what follows from a gate.
"""

import operator
from collections.abc import Mapping
from typing import Any, NamedTuple

from reporting import files
from reporting import history as history_lib
from reporting.formatting import count, interval, number, plural
from reporting.history import History, is_finite

OPERATORS = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
}
# What may be left out, and what then holds.
DEFAULTS = {
    "op": ">=",
    "at": "end",
    "required": True,
    "times": 1.0,
    "plus": 0.0,
    "outside_interval": False,
    "stable": 1,
    "near": None,
    "otherwise": "",
    "then": "",
}
NEEDED = ("metric", "value")
ROUNDING = 1e-6  # a part of a value that computing in float32 may add or take
RUN = "run:"


class Decision(NamedTuple):
    """What a run does because of a gate.

    Attributes:
        gate: Its name.
        kind: "stop" or "switch".
        config: The recipe that follows, with its variant; "" for none.
        passed: Whether the gate was passed.
        note: Its judgment in words.
    """

    gate: str
    kind: str
    config: str
    passed: bool
    note: str


def of_config(fields: Mapping[str, Any]) -> dict[str, dict]:
    """Return the gates of a config as plain dicts with all keys.

    Args:
        fields: The config as plain values.

    Returns:
        Name to gate; `epoch` says when it is due as a number, or "end".
    """
    warmup = (fields.get("schedule") or {}).get("warmup_epochs") or 0.0
    gates = {}
    for name, spec in (fields.get("gates") or {}).items():
        spec = complete(spec)
        gates[name] = spec | {"epoch": warmup if spec["at"] == "warmup" else spec["at"]}
    return gates


def complete(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a gate with all keys."""
    spec = DEFAULTS | dict(spec.items())
    return {"epoch": spec["at"]} | spec


def judge_run(gates: Mapping[str, Any], history: History) -> dict[str, dict]:
    """Judge gates on a run's history, each with what was known when it was due.

    Args:
        gates: Gates by name, from `of_config`.
        history: The run's events; what was decided of a gate before is in it.

    Returns:
        `{name: {passed, required, metric, op, value, low, high, n, bound, at, note,
        epoch, step, history, action}}`: what was measured with its interval and sample
        size, the number it had to reach, and the judgment in words; `passed` is None if
        the time has not come. `epoch` and `step` are of the judgment, `history` has all
        judgments so far, `action` is what followed from the last.
    """
    judged, over = {}, history.finished
    for name, spec in gates.items():
        spec = complete(spec)
        past = decided(history, name)
        moment = due(spec, history, past)
        measured = _measurements(history, spec, moment)
        judgment = _judge_one(spec, measured or [], over or moment is not None)
        if judgment["passed"] is not None and measured:
            judgment |= {key: measured[-1][key] for key in ("epoch", "step")}
        judged[name] = judgment | {
            "history": past,
            "action": past[-1]["action"] if past else "",
        }
    return judged


def decided(history: History, name: str) -> list[dict]:
    """Return the judgments of a gate that are in a history, in order."""
    kept = ("step", "epoch", "passed", "value", "bound", "note", "action", "until")
    return [
        {key: event.get(key) for key in kept}
        for event in history.of_kind("gate")
        if event.get("name") == name
    ]


def due(spec: Mapping[str, Any], history: History, past: list[dict]) -> float | None:
    """Return the epoch of the measurement that a gate is judged by, or None.

    A gate of the end has None too: it is judged when the run is over.

    Args:
        spec: The gate.
        history: The run's events.
        past: Its judgments so far, which may have put it off.
    """
    epoch = spec["epoch"]
    if epoch == "end":
        return None
    put_off = [judgment["until"] for judgment in past if judgment["until"]]
    epoch = put_off[-1] if put_off else epoch
    return history.first_at(spec["metric"], epoch)


def required_failures(judged: Mapping[str, dict]) -> list[str]:
    """Return names of required gates that were judged and not passed."""
    return [n for n, gate in judged.items() if gate["required"] and not gate["passed"]]


def _measurements(
    history: History, spec: Mapping[str, Any], until: float | None
) -> list[dict]:
    """Return the last `stable` measurements of a gate's metric."""
    tag = spec["metric"]
    if until is None:
        points = history.points(tag, last=spec["stable"])
    else:
        points = history.until(tag, until, spec["stable"])
    if not points:
        return []
    latest = points[-1]._asdict() | {"baselines": history.baselines(tag)}
    return [
        latest | {"value": point.value, "epoch": point.epoch, "step": point.step}
        for point in points
    ]


def _judge_one(spec: dict, measured: list[dict], ready: bool) -> dict:
    """Judge a gate by its last measurements, the latest at the end."""
    tag, op = spec["metric"], spec["op"]
    last = measured[-1] if measured else history_lib.as_metric(None)
    value, level = last["value"], _level(spec, last)
    bound = None if level is None else level["value"] * spec["times"] + spec["plus"]
    result = {"passed": None, "required": bool(spec["required"]), "metric": tag}
    result |= {"op": op, "value": value}
    result |= {part: last.get(part) for part in ("low", "high", "n")}
    result |= {"bound": bound, "at": spec["at"]}
    words = _words(spec, bound)
    if not ready:
        return result | {"note": f"waits until {_when(spec)}: {tag} {words}"}
    result["passed"] = False
    if not is_finite(value):
        value_text = "was not measured" if value is None else f"is {number(value)}"
        return result | {"note": f"{tag} {value_text}; it had to be {words}"}
    if level is None or not is_finite(bound):
        return result | {"note": f"{spec['value']!r} was not measured for {tag}"}
    relative = isinstance(spec["value"], str)
    scaled = relative and spec["times"] != 1 and not spec["plus"]
    if scaled and abs(level["value"]) <= ROUNDING:
        note = (
            f"{number(spec['times'])} × {_level_name(spec['value'])} asks for nothing: "
            f"that level of {tag} is {number(level['value'])}"
        )
        return result | {"note": note}
    held = [
        is_finite(m["value"]) and _reaches(op, m["value"], bound, relative)
        for m in measured
    ]
    reached = all(held)
    note = f"{number(value)} is {'' if held[-1] else 'not '}{words}"
    if spec["stable"] > 1:
        reached &= len(held) == spec["stable"]
        wanted = plural(spec["stable"], "measurement")
        note += f"; it held in {count(sum(held))} of the last {wanted}"
    apart = not spec["outside_interval"] or _apart(op, last, level)
    if spec["outside_interval"]:
        extent = interval(last.get("low"), last.get("high"))
        other = interval(level["low"], level["high"])
        joint = "; its interval" if apart or not reached else ", but its interval"
        relation = "does not overlap with" if apart else "overlaps with"
        note += f"{joint} {extent} {relation} {other}"
    return result | {"passed": reached and apart, "note": note}


def _reaches(op: str, value: float, bound: float, relative: bool) -> bool:
    """Return whether a value reaches a bound.

    Above or below a level that was measured means by more than rounding.
    """
    if not OPERATORS[op](value, bound):
        return False
    if not relative or op in (">=", "<="):
        return True
    return abs(value - bound) > ROUNDING * max(1.0, abs(value), abs(bound))


def _level(spec: Mapping[str, Any], measured: Mapping[str, Any]) -> dict | None:
    """Return the level of a gate's value; one without an interval is a point."""
    value = spec["value"]
    if value == "chance":
        level = history_lib.as_metric(measured.get("chance"))
    elif isinstance(value, str) and value.startswith(RUN):
        other = History(files.read_all_events(value.removeprefix(RUN)))
        level = history_lib.as_metric(other.latest(spec["metric"]))
    elif isinstance(value, str):
        baseline = (measured.get("baselines") or {}).get(
            value.removeprefix("baseline:")
        )
        level = history_lib.as_metric(baseline)
    else:
        level = history_lib.as_metric(value)
    if level["value"] is None:
        return None
    for side in ("low", "high"):
        if not is_finite(level[side]):
            level[side] = level["value"]
    return level


def _apart(op: str, measured: Mapping[str, Any], level: Mapping[str, float]) -> bool:
    low, high = measured.get("low"), measured.get("high")
    if op in (">=", ">"):
        return is_finite(low) and low > level["high"]
    return is_finite(high) and high < level["low"]


def _words(spec: Mapping[str, Any], bound: float | None) -> str:
    words, value = f"{spec['op']} {number(bound)}", spec["value"]
    if isinstance(value, str):
        times = "" if spec["times"] == 1 else f"{number(spec['times'])} × "
        plus = f" {spec['plus']:+g}" if spec["plus"] else ""
        words += f" ({times}{_level_name(value)}{plus})"
    return words


def _level_name(value: str) -> str:
    level = value.replace("baseline:", "baseline of ")
    return level.replace(RUN, "what was reached in ")


def _when(spec: Mapping[str, Any]) -> str:
    epoch = spec["epoch"]
    if epoch == "end":
        return "the end"
    lead = "the warm-up ends, " if spec["at"] == "warmup" else ""
    return f"{lead}epoch {number(epoch)}"

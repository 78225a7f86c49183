"""Gates: what a run must reach, written in its config and judged when it ends.

A gate is `dict(metric=..., op=">=", value=..., at="end", required=True)`. Its value is
a number or names a level measured in the same run: `"chance"`, `"floor:pixels"`,
`"floor:untrained"`. `docs/reporting.md` has examples.
"""

import difflib
import math
import operator
from collections.abc import Iterable, Mapping
from typing import Any

from reporting import history
from reporting.formatting import interval, number

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
    "outside_interval": False,
}
NEEDED = ("metric", "value")


def check_specs(
    gates: Mapping[str, Any],
    tags: Iterable[str],
    *,
    epochs: float | None = None,
    floors: Iterable[str],
) -> list[str]:
    """Finds every fault in the gates of a config, before any data is read.

    Args:
      gates: name to gate, as in `config.gates`.
      tags: what the evaluators promise and the loop writes.
      epochs: the run's length; a gate may not come after it.
      floors: the floors that the run will measure.

    Returns:
      One line a fault, `name.key: what is wrong`; empty where all is well.
    """
    tags, floors, faults = list(tags), list(floors), []
    for name, spec in gates.items():
        if not hasattr(spec, "items"):
            faults.append(
                f"{name}: got {spec!r}, expected dict(metric=..., op=..., value=...)"
            )
            continue
        spec = dict(spec.items())
        faults += [f"{name}: {fault}" for fault in _key_faults(spec)]
        faults += [f"{name}.{fault}" for fault in _type_faults(spec, epochs)]
        if isinstance(metric := spec.get("metric"), str):
            if metric not in tags:
                faults.append(
                    f"{name}.metric: nothing in this run measures {metric!r}"
                    f"{_nearest(metric, tags)}"
                )
            else:
                faults += [
                    f"{name}.value: {fault}"
                    for fault in _level_faults(spec.get("value"), metric, tags, floors)
                ]
    return faults


def judge(
    gates: Mapping[str, Any],
    metrics: Mapping[str, Any],
    over: bool = True,
) -> dict[str, dict]:
    """Judges gates on measured values.

    Args:
      gates: name to gate, free of faults.
      metrics: tag to `{value, chance, low, high, floors}`, as `history.measure` gives.
      over: whether the gates' time has come; before that they are neither passed nor
        failed.

    Returns:
      `{name: {passed, required, metric, op, value, bound, at, note}}`, where `value` is
      what was measured, `bound` the number it had to reach, `note` the judgement in
      words, and `passed` None where the gate's time has not come.
    """
    return {
        name: _judge_one(DEFAULTS | dict(spec.items()), metrics, over)
        for name, spec in gates.items()
    }


def judge_run(gates: Mapping[str, Any], events: list[dict]) -> dict[str, dict]:
    """Judges gates on a run's history, each with what was known at its epoch."""
    judged, over = {}, history.finished(events)
    for name, spec in gates.items():
        spec = DEFAULTS | dict(spec.items())
        moment = _moment(events, spec["metric"], spec["at"])
        due = over or moment is not None
        judged |= judge({name: spec}, history.measure(events, moment), due)
    return judged


def required_failures(judged: Mapping[str, dict]) -> list[str]:
    """Names of required gates that were judged and not passed."""
    return [n for n, gate in judged.items() if gate["required"] and not gate["passed"]]


def _judge_one(spec: dict, metrics: Mapping[str, Any], due: bool) -> dict:
    tag, op = spec["metric"], spec["op"]
    measured = metrics.get(tag) or history.as_metric(None)
    value = measured["value"]
    level = _level(spec["value"], measured)
    bound = None if level is None else level["value"] * spec["times"]
    result = {
        "passed": None,
        "required": bool(spec["required"]),
        "metric": tag,
        "op": op,
        "value": value,
        "bound": bound,
        "at": spec["at"],
    }
    words = _words(spec, bound)
    if not due:
        return result | {"note": f"waits until {_when(spec['at'])}: {tag} {words}"}
    result["passed"] = False
    if not history.is_finite(value):
        said = "was not measured" if value is None else f"is {number(value)}"
        return result | {"note": f"{tag} {said}; it had to be {words}"}
    if not history.is_finite(bound):
        return result | {"note": f"{spec['value']!r} was not measured for {tag}"}
    reached = OPERATORS[op](value, bound)
    apart = not spec["outside_interval"] or _apart(op, measured, level)
    note = f"{number(value)} is {'' if reached else 'not '}{words}"
    if spec["outside_interval"]:
        own = interval(measured.get("low"), measured.get("high"))
        other = interval(level["low"], level["high"])
        note += f"; {own} lies {'' if apart else 'not '}clear of {other}"
    return result | {"passed": reached and apart, "note": note}


def _level(value: float | str, measured: Mapping[str, Any]) -> dict | None:
    """What a gate's value stands for; a level without an interval is a point."""
    if value == "chance":
        level = history.as_metric(measured.get("chance"))
    elif isinstance(value, str):
        floor = (measured.get("floors") or {}).get(value.removeprefix("floor:"))
        level = history.as_metric(floor)
    else:
        level = history.as_metric(value)
    if level["value"] is None:
        return None
    for side in ("low", "high"):
        if not history.is_finite(level[side]):
            level[side] = level["value"]
    return level


def _apart(op: str, measured: Mapping[str, Any], level: Mapping[str, float]) -> bool:
    low, high = measured.get("low"), measured.get("high")
    if op in (">=", ">"):
        return history.is_finite(low) and low > level["high"]
    return history.is_finite(high) and high < level["low"]


def _moment(events: list[dict], tag: str, at: float | str) -> float | None:
    """The epoch at which a tag was first measured at or after epoch `at`."""
    if at == "end":
        return None
    return min(
        (
            e["epoch"]
            for e in events
            if e["kind"] in ("train", "eval")
            and tag in e["metrics"]
            and e["epoch"] >= at - 1e-9
        ),
        default=None,
    )


def _words(spec: Mapping[str, Any], bound: float | None) -> str:
    words = f"{spec['op']} {number(bound)}"
    if isinstance(spec["value"], str):
        times = "" if spec["times"] == 1 else f"{number(spec['times'])} × "
        words += f" ({times}{spec['value'].replace('floor:', 'floor of ')})"
    return words


def _when(at: float | str) -> str:
    return "the end" if at == "end" else f"epoch {number(at)}"


def _key_faults(spec: Mapping[str, Any]) -> list[str]:
    known = [*NEEDED, *DEFAULTS]
    faults = [f"needs {key!r}" for key in NEEDED if spec.get(key) is None]
    for key in spec:
        if key not in known:
            faults.append(f"unknown key {key!r}{_nearest(key, known)}")
    return faults


def _type_faults(spec: Mapping[str, Any], epochs: float | None) -> list[str]:
    faults = []
    if "metric" in spec and not isinstance(spec["metric"], str):
        faults.append(f"metric: got {spec['metric']!r}, expected a tag")
    if spec.get("op", ">=") not in list(OPERATORS):
        faults.append(f"op: got {spec['op']!r}, choices: {', '.join(OPERATORS)}")
    for key in ("required", "outside_interval"):
        if not isinstance(spec.get(key, True), bool):
            faults.append(f"{key}: got {spec[key]!r}, expected True or False")
    if not _is_number(spec.get("times", 1.0)):
        faults.append(f"times: got {spec['times']!r}, expected a number")
    at = spec.get("at", "end")
    if at != "end" and not (_is_number(at) and at > 0):
        faults.append(f"at: got {at!r}, expected 'end' or an epoch above 0")
    elif at != "end" and epochs is not None and at > epochs:
        faults.append(
            f"at: epoch {number(at)} lies beyond the run's {number(epochs)} epochs"
        )
    return faults


def _level_faults(
    value: Any, tag: str, tags: list[str], floors: list[str]
) -> list[str]:
    """Whether there will be such a level for this metric; evaluators have them all."""
    evaluated = tag.startswith("eval/")
    if value is None or _is_number(value):
        return []
    if value == "chance":
        if evaluated or f"{tag}_chance" in tags:
            return []
        return [f"{tag} has no chance level; nothing measures {tag + '_chance'!r}"]
    names = [f"floor:{floor}" for floor in floors]
    if value not in names:
        choices = ", ".join(["a number", "'chance'", *map(repr, names)])
        return [f"got {value!r}, choices: {choices}"]
    if not evaluated:
        return [f"{tag} has no floor; floors are measured for 'eval/' tags only"]
    return []


def _is_number(value: Any) -> bool:
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    return number_like and math.isfinite(value)


def _nearest(word: str, choices: list[str]) -> str:
    near = difflib.get_close_matches(word, choices, n=3, cutoff=0.5)
    if near:
        return f"; did you mean {' or '.join(map(repr, near))}?"
    return f"; choices: {', '.join(choices)}"

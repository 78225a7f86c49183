"""Faults in the gates of a config, found before any data is read."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from field_types import hint
from reporting.formatting import number
from reporting.gates import decisions
from reporting.gates.judgment import DEFAULTS, NEEDED, OPERATORS, RUN, complete
from reporting.run_dir import RunDir


def check(
    gates: Mapping[str, Any],
    tags: Iterable[str],
    *,
    epochs: float | None = None,
    warmup: float = 0.0,
    baselines: Iterable[str],
) -> list[str]:
    """Find every fault in the gates of a config, before any data is read.

    Args:
        gates: Name to gate, as in `config.gates`.
        tags: What the evaluators promise and the loop writes.
        epochs: The run's length; a gate may not come after it.
        warmup: Epochs in which the learning rate rises; no gate may lie in them.
        baselines: The baselines that the run will measure.

    Returns:
        One line a fault, `name.key: what is wrong`; empty where all is well.
    """
    tags, baselines, faults = list(tags), list(baselines), []
    for name, spec in gates.items():
        if not hasattr(spec, "items"):
            faults.append(
                f"{name}: got {spec!r}, expected dict(metric=..., op=..., value=...)"
            )
            continue
        spec = dict(spec.items())
        faults += [f"{name}: {fault}" for fault in _key_faults(spec)]
        faults += [f"{name}.{fault}" for fault in _type_faults(spec)]
        faults += [f"{name}.{fault}" for fault in _moment_faults(spec, epochs, warmup)]
        faults += [f"{name}.{fault}" for fault in _action_faults(spec)]
        if isinstance(metric := spec.get("metric"), str):
            if metric not in tags:
                faults.append(
                    f"{name}.metric: nothing in this run measures {metric!r}"
                    f"{hint(metric, tags)}"
                )
            else:
                faults += [
                    f"{name}.value: {fault}"
                    for fault in _level_faults(
                        spec.get("value"), metric, tags, baselines
                    )
                ]
    return [*faults, *_double_faults(gates)]


def _key_faults(spec: Mapping[str, Any]) -> list[str]:
    keys = [*NEEDED, *DEFAULTS]
    faults = [f"needs {key!r}" for key in NEEDED if spec.get(key) is None]
    for key in spec:
        if key not in keys:
            faults.append(f"unknown key {key!r}{hint(key, keys)}")
    return faults


def _type_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    if "metric" in spec and not isinstance(spec["metric"], str):
        yield f"metric: got {spec['metric']!r}, expected a tag"
    if spec.get("op", ">=") not in list(OPERATORS):
        yield f"op: got {spec['op']!r}, choices: {', '.join(OPERATORS)}"
    for key in ("required", "outside_interval"):
        if not isinstance(spec.get(key, True), bool):
            yield f"{key}: got {spec[key]!r}, expected True or False"
    for key in ("times", "plus"):
        if not _is_number(spec.get(key, 1.0)):
            yield f"{key}: got {spec[key]!r}, expected a number"
    stable = spec.get("stable", 1)
    if not isinstance(stable, int) or isinstance(stable, bool) or stable < 1:
        yield f"stable: got {stable!r}, expected how many measurements, 1 or more"


def _moment_faults(
    spec: Mapping[str, Any], epochs: float | None, warmup: float
) -> Iterator[str]:
    at = spec.get("at", "end")
    if at in ("end", "warmup"):
        return
    if not (_is_number(at) and at > 0):
        yield f"at: got {at!r}, expected 'end', 'warmup' or an epoch above 0"
    elif epochs is not None and at > epochs:
        yield f"at: epoch {number(at)} lies beyond the run's {number(epochs)} epochs"
    elif at < warmup:
        yield (
            f"at: epoch {number(at)} lies inside the warm-up of {number(warmup)} "
            "epochs, when no rate is what it should be; expected a later one, or "
            "'warmup' for the first measurement after it"
        )


def _action_faults(spec: Mapping[str, Any]) -> Iterator[str]:
    near, otherwise, then = (spec.get(k) for k in ("near", "otherwise", "then"))
    for key, text in (("otherwise", otherwise), ("then", then)):
        try:
            actions = decisions.parse(text or "")
        except ValueError as error:
            yield f"{key}: {error}"
            continue
        for action in actions:
            if key == "then" and action.kind != "switch":
                yield f"then: got {text!r}; what is passed can be followed by a switch"
            if action.config and not Path(action.config.partition(":")[0]).is_file():
                yield f"{key}: {action.config} is no file; expected a recipe"
    if otherwise and spec.get("required", True) is False:
        yield "otherwise: an advisory gate decides nothing; expected required=True"
    if then and spec.get("at", "end") != "end":
        yield f"then: got at={spec['at']!r}; a run is followed at its end alone"
    if near is None:
        return
    if not _is_number(near):
        yield f"near: got {near!r}, expected a number that is nearly enough"
    elif "extend" not in (otherwise or ""):
        yield "near: nothing follows from it; expected otherwise='extend:N'"
    elif _is_number(spec.get("value")) and spec.get("op", ">=") in OPERATORS:
        if OPERATORS[spec.get("op", ">=")](near, spec["value"]):
            yield f"near: {number(near)} passes {number(spec['value'])} already"


def _double_faults(gates: Mapping[str, Any]) -> Iterator[str]:
    """Required bounds that ask for the same thing twice, one of them in vain."""
    known: dict[tuple, tuple[str, float]] = {}
    for name, spec in gates.items():
        if not hasattr(spec, "items") or not _is_number(spec.get("value")):
            continue
        spec = complete(spec)
        if not spec["required"]:
            continue
        key = str(spec.get("metric")), str(spec["op"])[:1], str(spec["at"])
        other, value = known.setdefault(key, (name, spec["value"]))
        if value != spec["value"]:
            yield (
                f"{name}.value: got {spec['op']} {number(spec['value'])} where "
                f"{other} has {number(value)}: one criterion with two thresholds; "
                "expected one, or required=False for what is only wished for"
            )


def _level_faults(
    value: Any, tag: str, tags: list[str], baselines: list[str]
) -> list[str]:
    """Return faults of a level: evaluated metrics have all levels."""
    evaluated = tag.startswith("eval/")
    if value is None or _is_number(value):
        return []
    if value == "chance":
        if evaluated or f"{tag}_chance" in tags:
            return []
        return [f"{tag} has no chance level; nothing measures {tag + '_chance'!r}"]
    names = [f"baseline:{baseline}" for baseline in baselines]
    if isinstance(value, str) and value.startswith(RUN):
        return _run_faults(value.removeprefix(RUN), tag)
    if value not in names:
        choices = ", ".join(["a number", "'chance'", *map(repr, names), "'run:DIR'"])
        return [f"got {value!r}, choices: {choices}"]
    if not evaluated:
        return [f"{tag} has no baseline; baselines are measured for 'eval/' tags only"]
    return []


def _run_faults(folder: str, tag: str) -> list[str]:
    """Return a fault if another run has not measured this metric."""
    metrics = RunDir(folder).history.metrics()
    if not metrics:
        return [f"{folder} holds no run; expected the --workdir of one"]
    if tag not in metrics:
        return [f"the run in {folder} has not measured {tag}{hint(tag, [*metrics])}"]
    return []


def _is_number(value: Any) -> bool:
    number_like = isinstance(value, int | float) and not isinstance(value, bool)
    return number_like and math.isfinite(value)

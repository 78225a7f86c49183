"""The tables of a comparison, for the terminal and for the page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reporting.formatting import ABSENT, count, duration, interval, number
from reporting.page.parts import Table


def tables(comparison: Mapping[str, Any]) -> dict[str, Table]:
    """Return the tables "Runs", "Config", "Gates" and "Metrics" of a comparison.

    Args:
        comparison: What `compare` gives.
    """
    names = short_names(comparison)
    rows = [
        [
            name,
            run["recipe"],
            run["verdict"],
            str(run["exit_code"]),
            count(run["step"]),
            duration(run["seconds"]),
        ]
        for name, run in zip(names, comparison["runs"], strict=True)
    ]
    header = ["run", "recipe", "verdict", "exit", "step", "time"]
    parts = {"Runs": Table(header, rows, cards=True)}
    if comparison["config"]:
        rows = [[field, *map(_said, v)] for field, v in comparison["config"].items()]
        parts["Config"] = Table(["config", *names], rows, cards=True)
    if comparison["gates"]:
        rows = [
            [name, *map(_gate, gates)] for name, gates in comparison["gates"].items()
        ]
        parts["Gates"] = Table(["gate", *names], rows, cards=True)
    if comparison["metrics"]:
        firsts = [metrics[0] or {} for metrics in comparison["metrics"].values()]
        baselines = {
            name: baseline["label"]
            for metric in firsts
            for name, baseline in metric.get("baselines", {}).items()
        }
        rows = [
            [
                tag.removeprefix("eval/"),
                *map(_metric, metrics),
                *(_baseline(metrics[0], name) for name in baselines),
            ]
            for tag, metrics in comparison["metrics"].items()
        ]
        header = ["metric", *names, *baselines.values()]
        parts["Metrics"] = Table(header, rows, cards=True)
    return parts


def star(comparison: Mapping[str, Any]) -> str:
    """Return the meaning of the star in the metrics."""
    first = short_names(comparison)[0]
    return (
        f"A star: the 95 % interval does not touch that of {first}, whose baselines "
        "these are."
    )


def short_names(comparison: Mapping[str, Any]) -> list[str]:
    """Return the last parts of the runs' paths, or whole paths if those are equal."""
    names = [run["name"] for run in comparison["runs"]]
    last = [Path(name).resolve().name for name in names]
    return last if len(set(last)) == len(names) else names


def disagreements(comparison: Mapping[str, Any]) -> list[str]:
    """Return a sentence for each gate whose threshold is not the same in all runs."""
    names = short_names(comparison)
    return [
        f"One criterion with different thresholds: {gate} is "
        + ", ".join(f"{t} in {n}" for n, t in zip(names, words, strict=True) if t)
        for gate, words in comparison["thresholds"].items()
    ]


def _said(value: Any) -> str:
    return ABSENT if value is None else str(value)


def _gate(gate: Mapping | None) -> str:
    if gate is None:
        return ABSENT
    word = {True: "passed", False: "FAILED", None: "waits"}[gate["passed"]]
    return f"{word}: {number(gate['value'])} {gate['op']} {number(gate['bound'])}"


def _metric(metric: Mapping | None) -> str:
    if metric is None:
        return ABSENT
    extent = interval(metric["low"], metric["high"])
    extent = "" if extent == ABSENT else f" ({extent})"
    return f"{number(metric['value'])}{extent}{' *' if metric['apart'] else ''}"


def _baseline(metric: Mapping | None, name: str) -> str:
    return number((metric or {}).get("baselines", {}).get(name, {}).get("value"))

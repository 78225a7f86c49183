"""Runs side by side: what was set, which gates passed, what was measured."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tabulate import tabulate

from reporting import content
from reporting.formatting import number
from reporting.gates.judgment import DEFAULTS
from reporting.history import is_finite
from reporting.page import comparison_tables
from reporting.run_dir import RunDir

Columns = Sequence[Mapping[str, Any]]


def compare(folders: Sequence[Path | str]) -> dict[str, Any]:
    """Return a comparison of runs as plain values.

    Args:
        folders: Two workdirs or more; the first is what the others are held against.

    Returns:
        `runs`: name, verdict, exit code, step, seconds and recipe of each; `config`:
        `{field: [value a run]}` where any differs; `gates`: `{name: [gate or None]}`;
        `thresholds`: `{name: [words or None]}` of gates that ask for different things;
        `metrics`: `{tag: [metric or None]}` of evaluated tags, each with `apart`,
        whether its 95 % interval does not touch the first run's.

    Raises:
        ValueError: If there are fewer than two.
        FileNotFoundError: If a directory is missing or holds no run.
    """
    if len(folders) < 2:
        raise ValueError(f"got {len(folders)} runs; expected two or more to compare")
    reports, configs = [], []
    for folder in map(Path, folders):
        run = RunDir(folder)
        if not run.description:
            raise FileNotFoundError(
                f"got {folder}, which holds no run; expected a --workdir of one"
            )
        configs.append(_flat(run.config))
        reports.append(content.assemble(run))
    runs = [
        {
            "name": str(folder),
            "recipe": entry["recipe"],
            "verdict": entry["verdict"],
            "exit_code": entry["exit_code"],
            "step": entry["step"],
            "seconds": entry["throughput"]["seconds"],
        }
        for folder, entry in zip(folders, reports, strict=True)
    ]
    fields = dict.fromkeys(name for config in configs for name in config)
    values = {name: [config.get(name) for config in configs] for name in fields}
    gates = dict.fromkeys(name for entry in reports for name in entry["gates"])
    tags = dict.fromkeys(
        tag
        for entry in reports
        for tag, metric in entry["metrics"].items()
        if metric["n"] is not None
    )
    return {
        "runs": runs,
        "config": {k: v for k, v in values.items() if any(x != v[0] for x in v[1:])},
        "gates": {
            name: [entry["gates"].get(name) for entry in reports] for name in gates
        },
        "thresholds": _thresholds(gates, configs),
        "metrics": {
            tag: _held_against([entry["metrics"].get(tag) for entry in reports])
            for tag in tags
        },
    }


def table(comparison: Mapping[str, Any]) -> str:
    """Return a comparison as Markdown tables."""
    parts = [
        _grid(entry.header, entry.rows)
        for entry in comparison_tables.tables(comparison).values()
    ]
    parts += [
        f"{threshold}." for threshold in comparison_tables.disagreements(comparison)
    ]
    if comparison["metrics"]:
        parts.append(comparison_tables.star(comparison))
    return "\n\n".join(parts)


def _thresholds(
    names: Iterable[str], configs: Sequence[Mapping[str, Any]]
) -> dict[str, list[str | None]]:
    """Return the gates whose thresholds differ between runs."""
    differ = {}
    for name in names:
        asked = [_asked(name, config) for config in configs]
        if len({words for words in asked if words is not None}) > 1:
            differ[name] = asked
    return differ


def _asked(name: str, config: Mapping[str, Any]) -> str | None:
    """Return the threshold of a config's gate in words."""
    value = config.get(f"gates.{name}.value")
    if value is None:
        return None
    op, times = (
        config.get(f"gates.{name}.{key}", DEFAULTS[key]) for key in ("op", "times")
    )
    threshold = value if isinstance(value, str) else number(value)
    factor = "" if times == 1 else f"{number(times)} × "
    apart = config.get(f"gates.{name}.outside_interval")
    return f"{op} {factor}{threshold}{' outside its interval' if apart else ''}"


def _held_against(metrics: list[dict | None]) -> list[dict | None]:
    """Return metrics with `apart`, against the first of them."""
    first, marked = metrics[0], []
    for metric in metrics:
        if metric is None:
            marked.append(None)
            continue
        marked.append(metric | {"apart": first is not None and _apart(first, metric)})
    return marked


def _apart(first: Mapping[str, Any], metric: Mapping[str, Any]) -> bool:
    """Return whether two intervals are known and do not touch."""
    (low, high), (other_low, other_high) = (
        [m.get(end) for end in ("low", "high")] for m in (first, metric)
    )
    if not (is_finite(low) and is_finite(high)):
        return False
    if not (is_finite(other_low) and is_finite(other_high)):
        return False
    return other_high < low or other_low > high


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _grid(header: list[str], rows: list[list]) -> str:
    return tabulate(rows, header, tablefmt="pipe", disable_numparse=True)

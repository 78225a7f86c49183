"""What was found in the data and what a run will measure, in a few lines."""

from collections.abc import Iterable, Mapping
from typing import Any

from reporting.formatting import count, plural
from reporting.page.data_sections import tell_split

_NAMED = 5  # labels, sources and gates that a line names


def describe_setup(
    data: Mapping[str, Any], config: Mapping[str, Any], tags: Iterable[str]
) -> list[str]:
    """Return what was found, what will be measured, and how to change it.

    Args:
        data: Content of `data.json`.
        config: The config, fitted to the data, as plain values.
        tags: What the evaluators will measure.
    """
    lines = [_found(data, config), tell_split(data), _measured(config, tags)]
    lines += data.get("changes") or []
    return [*lines, _gates(config), _advice(config)]


def _found(data: Mapping, config: Mapping) -> str:
    path = config["data"].get("path")
    where = f" in {path}" if path else ""
    line = (
        f"Data ({config['data']['name']}{where}): "
        f"{plural(data['training_records'], 'record')} to train on, "
        f"{count(data['validation_records'])} held out"
    )
    labeling = data["labeling"]["train"]
    known = []
    if labeling["labeled"]:
        known.append(plural(labeling["classes"], "label"))
    if labeling["coded"]:
        known.append(plural(labeling["codes"], "code"))
    line += f"; {' and '.join(known) or 'no labels'}"
    sources = [name for name in data.get("per_source") or {} if name]
    if sources:
        line += f"; {plural(len(sources), 'source')} ({_some(sources)})"
    for key, what in (("rejected_total", "rejected"), ("ignored_total", "ignored")):
        if data.get(key):
            line += f"; {plural(data[key], 'file')} {what}"
    return line + "."


def _measured(config: Mapping, tags: Iterable[str]) -> str:
    by_set: dict[str, list[str]] = {}
    for tag in tags:
        _, name, figure = tag.split("/", 2)
        by_set.setdefault(name, []).append(figure)
    sets = ", ".join(f"{name} ({figures[0]} …)" for name, figures in by_set.items())
    baselines = ", ".join(config["evaluate"]["baselines"])
    return (
        f"Measured: {sets}; beside them {baselines or 'no baselines'}; the best "
        f"checkpoint is that of {config['train']['monitor']}."
    )


def _gates(config: Mapping) -> str:
    required, advisory = (
        [name for name, gate in config["gates"].items() if gate["required"] is wanted]
        for wanted in (True, False)
    )
    line = f"Gates: {_some(required) or 'none'} required"
    return line + (f"; {_some(advisory)} advisory." if advisory else ".")


def _advice(config: Mapping) -> str:
    name = next(iter(config["evaluate"]["sets"]), "NAME")
    return (
        f"To change it: --config.data.*, --config.evaluate.sets.{name}.*, "
        "--config.gates.*; docs/configuration.md lists all fields, and "
        "`python main.py check` shows the data without training."
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED])
    return shown + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")

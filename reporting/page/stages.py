"""One report of runs that follow one another: report.md, .html and .json."""

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reporting import examples, run_dir
from reporting.files import decoded, read_json, write_json
from reporting.formatting import ABSENT, count, duration, number, plural
from reporting.history import is_finite
from reporting.loop_tags import LOSS, LOSS_CHANCE
from reporting.page import render, sections
from reporting.page.parts import Section, Table, as_text, flat

SETTINGS = ("model", "objective", "optimizer", "schedule", "train")
PREPARED = ("data", "transform")
MOST_EPOCHS = 200  # rows of a history
EXAMPLES = 4  # queries listed


def write(folder: Path | str, stages: Sequence[Path | str]) -> dict:
    """Write the report of stages into a folder, after those of the stages themselves.

    It has what a reader of one report needs: settings side by side, every stage's
    history by epoch, metrics with their baselines, examples, data and preparation.

    Args:
        folder: Where to write.
        stages: Workdirs that have a report, in order.

    Returns:
        The content of `report.json`: `verdict`, `exit_code`, and the stages' reports.
    """
    folder, stages = Path(folder), [Path(stage) for stage in stages]
    reports = [decoded(read_json(stage / f"{run_dir.REPORT}.json")) for stage in stages]
    names = [stage.name for stage in stages]
    failed = [
        f"{name}: {report['reason']}"
        for name, report in zip(names, reports, strict=True)
        if report["exit_code"]
    ]
    last = reports[-1]
    done = plural(len(stages), "stage", "stages")
    whole = {
        "outcome": next((r["outcome"] for r in reports if r["exit_code"]), "PASS"),
        "reason": "; ".join(failed) or f"{done} finished: {last['reason']}",
        "exit_code": next((r["exit_code"] for r in reports if r["exit_code"]), 0),
        "stages": dict(zip(names, reports, strict=True)),
    }
    whole["verdict"] = f"{whole['outcome']}: {whole['reason']}"
    parts = [_overview(names, reports)]
    configs = [run_dir.read_config(stage).get("config") or {} for stage in stages]
    parts.append(_settings("Config", names, configs, SETTINGS))
    for stage, report in zip(stages, reports, strict=True):
        parts.append(_history(stage))
        for section in (
            sections.about_gates(report["gates"]),
            sections.about_metrics(report["metrics"]),
        ):
            section.title = f"{stage.name}: {section.title.lower()}"
            parts.append(section)
    parts += [
        _examples(folder, stages[-1]),
        _data(last["data"]),
        _settings("Preprocessing and views", names, configs, PREPARED),
    ]
    if pseudo_labels := last["data"].get("pseudo_labels"):
        motion = _copied(folder, stages[-1], "motion.svg")
        images = {"motion": motion} if motion else {}
        parts.append(sections.about_pseudo_labels(pseudo_labels, images))
    page = {
        "report": whole,
        "title": " then ".join(names),
        "folder": folder.resolve().name,
        "sections": parts,
    }
    render.render(folder, page)
    write_json(folder / f"{run_dir.REPORT}.json", whole)
    return whole


def _overview(names: list[str], reports: list[dict]) -> Section:
    rows = [
        [
            name,
            entry["recipe"],
            entry["verdict"],
            count(entry["step"]),
            duration(entry["throughput"]["seconds"]),
            f"{name}/{run_dir.REPORT}.html",
        ]
        for name, entry in zip(names, reports, strict=True)
    ]
    header = ["stage", "recipe", "verdict", "steps", "time", "own report"]
    tones = ["bad" if entry["exit_code"] else "good" for entry in reports]
    return Section("Stages", tables=[Table(header, rows, tones)])


def _settings(
    title: str, names: list[str], configs: list[dict], parts: Sequence[str]
) -> Section:
    """Return a table of the config fields of all stages."""
    settings = [dict(flat({p: c[p] for p in parts if p in c})) for c in configs]
    fields = list(dict.fromkeys(name for config in settings for name in config))
    rows = [[name, *(config.get(name, "") for config in settings)] for name in fields]
    return Section(title, tables=[Table(["field", *names], rows)])


def _history(stage: Path) -> Section:
    """Return a table of epochs: mean loss, chance level, learning rate, seconds."""
    events = run_dir.read_events(stage)
    rows: dict[int, dict[str, Any]] = {}
    # A clock that starts with the run; evaluation and stops are nobody's epoch.
    before = next((e["time"] for e in events if e["kind"] == "train"), 0.0)
    for event in events:
        if event["kind"] != "train":
            before = event["time"]
            continue
        epoch = max(1, math.ceil(event["epoch"] - 1e-6))
        row = rows.setdefault(epoch, {"loss": [], "chance": [], "seconds": 0.0})
        metrics = event["metrics"]
        row["loss"].append(metrics.get(LOSS))
        row["chance"].append(metrics.get(LOSS_CHANCE))
        row["rate"] = metrics.get("train/lr")
        row["seconds"] += max(event["time"] - before, 0.0)
        before = event["time"]
    title = f"{stage.name}: training history"
    if not rows:
        return Section(title, ["Nothing has been logged."])
    means = {epoch: _mean(row["loss"]) for epoch, row in rows.items()}
    finite = [loss for loss in means.values() if is_finite(loss)]
    every = max(1, -(-len(rows) // MOST_EPOCHS))
    table = [
        [
            count(epoch),
            number(means[epoch]),
            number(_mean(row["chance"])),
            number(row["rate"]),
            number(row["seconds"]),
        ]
        for epoch, row in rows.items()
        if epoch % every == 0 or epoch in (1, max(rows))
    ]
    total = sum(row["seconds"] for row in rows.values())
    text = [
        f"{plural(len(rows), 'epoch', 'epochs')} logged; last loss "
        f"{number(means[max(rows)])}, best {number(min(finite, default=None))}; "
        f"{duration(total)} of training."
    ]
    header = ["epoch", "loss", "chance", "learning rate", "time (s)"]
    return Section(title, text, tables=[Table(header, table)])


def _mean(values: list) -> float | None:
    finite = [value for value in values if is_finite(value)]
    return sum(finite) / len(finite) if finite else None


def _examples(folder: Path, stage: Path) -> Section:
    """Return a section on queries with their neighbors."""
    queries, _ = examples.read(stage)
    section = Section("Retrieval examples")
    words = {True: "right", False: "wrong", None: ABSENT}
    for query in [q for q in queries if q.get("neighbors")][:EXAMPLES]:
        name = as_text(query.get("name") or query["query"])
        rows = [
            [
                count(rank),
                as_text(near.get("name") or near["id"]),
                number(near["score"]),
                words[near.get("relevant")],
            ]
            for rank, near in enumerate(query["neighbors"], 1)
        ]
        header = ["rank", f"neighbor of {name}", "score", "by label or column"]
        section.tables.append(Table(header, rows))
    if sheet := _copied(folder, stage, "examples.png"):
        section.figures.append(("Queries on the left, neighbors by rank.", sheet))
    if not section.tables:
        section.text.append("The last stage has left no examples.")
    return section


def _copied(folder: Path, stage: Path, name: str) -> list[Path]:
    """Copy a figure of a stage next to the report of all stages."""
    theirs = stage / run_dir.FIGURES / name
    if not theirs.is_file():
        return []
    copy = folder / run_dir.FIGURES / f"{stage.name}-{name}"
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(theirs, copy)
    return [copy]


def _data(given: Mapping[str, Any]) -> Section:
    rest = {name: fact for name, fact in given.items() if name != "pseudo_labels"}
    return sections.about_data(rest)

"""Pictures of a run: curves with their chance levels and baselines, and the gallery."""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from reporting import run_dir, timeline
from reporting.figures import style
from reporting.figures import training as training_figures
from reporting.figures.style import (
    BASELINE_STYLES,
    BLUE,
    COLUMNS,
    GRAY,
    PANELS,
    grid,
    mark_baselines,
    mark_level,
    save,
)
from reporting.history import History, Metric, is_finite

# Kinds of metric that are drawn, and their order where there are many.
KINDS = ("score", "error", "distance", "diagnostic")


def write(folder: Path | str, history: History) -> dict[str, Path]:
    """Draws every figure that the history has something for.

    Args:
      folder: the workdir.
      history: its events.

    Returns:
      Name to PNG, in the order in which a reader wants them: `loss`, `training`, one
      `retrieval-<set>` a set, `conditions-<set>` where a set was measured under other
      conditions, `embeddings`, `throughput`. Each is also drawn for narrow screens.
    """
    segments = run_dir.read_resumes(folder)
    steps = [segment.get("from_step") for segment in segments]
    starts = dict(zip(steps, timeline.starts(segments), strict=True))
    save(folder, _draw(history, starts, columns=1), slim=True)
    return save(folder, _draw(history, starts))


def _draw(
    history: History, starts: dict[int, str], columns: int = COLUMNS
) -> Iterable[tuple[str, Figure]]:
    if (figure := training_figures.loss(history, starts, columns)) is not None:
        yield "loss", figure
    if (figure := training_figures.training(history, columns)) is not None:
        yield "training", figure
    for name, tags in evaluation_sets(history).items():
        figure = retrieval(history, name, tags, columns)
        yield f"retrieval-{name.replace(', ', '-')}", figure
    for name, fields in condition_sets(history).items():
        yield f"conditions-{name}", conditions(history, fields, columns)
    speeds = [t for t in (timeline.SPEED, timeline.INPUT_WAIT) if t in history.tags]
    figures = {"embeddings": embedding_tags(history), "throughput": speeds}
    for name, tags in figures.items():
        if tags:
            yield name, panels(history, tags[:PANELS], columns)


def retrieval(
    history: History, name: str, tags: Sequence[str], columns: int = COLUMNS
) -> Figure:
    """Metrics of one set over epochs, with intervals, chance level and baselines."""
    figure, axes = grid(len(tags), columns)
    figure.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
    for axis, tag in zip(axes, tags, strict=True):
        frame = history.series(tag, "eval")
        axis.set_title(tag.split("/", 2)[2])
        axis.fill_between(
            frame["epoch"], frame["low"], frame["high"], color=BLUE, alpha=0.18, lw=0
        )
        axis.plot(frame["epoch"], frame["value"], "o-", ms=3.5, color=BLUE, lw=1.6)
        mark_baselines(axis, history.baselines(tag))
        if frame["chance"].notna().any():
            mark_level(axis, frame["chance"].dropna().iloc[-1], "chance", GRAY, ":")
        axis.margins(x=0.08)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best", fontsize=7, handlelength=1.8)
    for axis in axes[-columns:]:
        axis.set_xlabel("epoch")
    return figure


def condition_sets(history: History) -> dict[str, dict[str, list[tuple]]]:
    """`{set: {field: [(value, tag)]}}` of scores measured under other conditions.

    Their tags are `eval/<set>/<field>_<value>/<score>`.
    """
    found: dict[str, dict[str, list[tuple]]] = {}
    for tag, metric in history.metrics().items():
        parts = tag.split("/")
        if len(parts) != 4 or metric["kind"] != "score":
            continue
        field, _, value = parts[2].rpartition("_")
        if field not in ("", "in") and re.fullmatch(r"\d+(\.\d+)?", value):
            fields = found.setdefault(parts[1], {})
            fields.setdefault(field, []).append((float(value), tag))
    return {
        name: {field: sorted(values) for field, values in fields.items()}
        for name, fields in found.items()
    }


def conditions(
    history: History, fields: dict[str, list[tuple]], columns: int = COLUMNS
) -> Figure:
    """A score against each condition, with intervals and baselines under the same."""
    latest = history.metrics()
    figure, axes = grid(len(fields), columns)
    for axis, (field, values) in zip(axes, fields.items(), strict=True):
        x = [value for value, _ in values]
        measured = [latest[tag] for _, tag in values]
        low, high = ([m[end] for m in measured] for end in ("low", "high"))
        if all(is_finite(v) for v in (*low, *high)):
            axis.fill_between(x, low, high, color=BLUE, alpha=0.18, lw=0)
        y = [m["value"] for m in measured]
        axis.plot(x, y, "o-", ms=3.5, color=BLUE, lw=1.6, label="trained")
        labels = {k: b["label"] for m in measured for k, b in m["baselines"].items()}
        for name in sorted(labels):
            color, dash = BASELINE_STYLES.get(name, (GRAY, "--"))
            level = [m["baselines"].get(name, {}).get("value") for m in measured]
            axis.plot(x, level, ls=dash, color=color, lw=1.3, label=labels[name])
        chance = [m["chance"] for m in measured]
        if all(is_finite(level) for level in chance):
            axis.plot(x, chance, linestyle=":", color=GRAY, lw=1.3, label="chance")
        axis.set_title(f"{values[0][1].rpartition('/')[2]} against {field}")
        axis.set_xlabel(field)
        axis.set_ylim(-0.03, 1.03)
        axis.legend(loc="best", fontsize=7, handlelength=1.8)
    return figure


def panels(history: History, tags: Sequence[str], columns: int = COLUMNS) -> Figure:
    """One small curve a tag over steps, with its chance level and baselines."""
    figure, axes = grid(len(tags), columns)
    style.panels(axes, history, tags)
    return figure


def evaluation_sets(history: History) -> dict[str, list[str]]:
    """Return `{set: tags}` of the metrics to draw, the most telling first.

    Metrics of which one direction is better are drawn. Parts of a set,
    `eval/<set>/<part>/<metric>`, are a set of their own. Sets of diagnostics alone are
    drawn by `embedding_tags`.
    """
    metrics, sets = history.metrics(), {}
    for tag, metric in metrics.items():
        place = tag.split("/")
        if place[0] == "eval" and metric["better"] and metric["kind"] in KINDS:
            name = f"{place[1]}, parts" if len(place) > 3 else place[1]
            sets.setdefault(name, []).append(tag)
    return {
        name: _most_telling(metrics, tags)[:PANELS]
        for name, tags in sets.items()
        if any(metrics[tag]["kind"] != "diagnostic" for tag in tags)
    }


def _most_telling(metrics: Mapping[str, Metric], tags: Sequence[str]) -> list[str]:
    """Sort tags: headlines, the first of every kind, the second of every kind, ..."""
    places: dict[str, int] = {}
    ranks = {}
    for tag in tags:
        kind = metrics[tag]["kind"]
        place = places[kind] = places.get(kind, -1) + 1
        ranks[tag] = not metrics[tag]["headline"], place, KINDS.index(kind)
    return sorted(tags, key=lambda tag: ranks[tag])


def embedding_tags(history: History) -> list[str]:
    """Return the diagnostics of training, and of sets that have nothing else."""
    metrics = history.metrics()
    sets: dict[str, list[str]] = {}
    for tag, metric in metrics.items():
        place = tag.split("/")
        if place[0] == "diag" and metric["chance"] is not None:
            sets.setdefault("", []).append(tag)
        if place[0] == "eval" and metric["better"]:
            sets.setdefault(place[1], []).append(tag)
    return [
        tag
        for tags in sets.values()
        if all(metrics[tag]["kind"] == "diagnostic" for tag in tags)
        for tag in tags
    ]

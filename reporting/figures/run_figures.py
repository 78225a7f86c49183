"""Figures of a run: curves with their chance levels and baselines."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from reporting import loop_tags, run_dir, timeline
from reporting.figures import style
from reporting.figures import training as training_figures
from reporting.figures.style import BLUE, GRAY, PANELS, Figures
from reporting.history import History, Metric, is_finite

# Kinds of metric that are drawn, and their order where there are many.
KINDS = ("score", "error", "loss", "distance", "diagnostic")


def write(folder: Path | str, history: History) -> Figures:
    """Draw every figure that the history has something for.

    Args:
        folder: The workdir.
        history: Its events.

    Returns:
        Name to the SVG files of its panels, in the order in which a reader wants them:
        `loss`, `training`, one `retrieval-<set>` a set, `conditions-<set>` where a set
        was measured under other conditions, `embeddings`, `throughput`.
    """
    segments = run_dir.read_resumes(folder)
    steps = [segment.get("from_step") for segment in segments]
    words = zip(steps, timeline.starts(segments), strict=True)
    starts = {step: word for step, word in words if step is not None}
    return style.save(folder, _draw(history, starts))


def _draw(
    history: History, starts: Mapping[int, str]
) -> Iterator[tuple[str, list[Figure]]]:
    if panels := training_figures.loss(history, starts):
        yield "loss", panels
    if panels := training_figures.training(history):
        yield "training", panels
    for name, tags in evaluation_sets(history).items():
        stem = f"retrieval-{name.replace(', ', '-')}"
        yield stem, [retrieval(history, tag) for tag in tags]
    for name, fields in condition_sets(history).items():
        yield f"conditions-{name}", conditions(history, fields)
    if tags := embedding_tags(history)[:PANELS]:
        yield "embeddings", [style.metric_panel(history, tag) for tag in tags]
    limits = {loop_tags.SPEED: None, loop_tags.INPUT_WAIT: timeline.INPUT_BOUND}
    speeds = [
        style.metric_panel(history, tag, limit)
        for tag, limit in limits.items()
        if history.latest(tag)
    ]
    if speeds:
        yield "throughput", speeds


def retrieval(history: History, tag: str) -> Figure:
    """Return a metric over epochs, with intervals, chance level and baselines."""
    frame = history.series(tag, "eval")
    figure, (axis,) = style.panel(tag.removeprefix("eval/"))
    axis.fill_between(
        frame["epoch"], frame["low"], frame["high"], color=BLUE, alpha=0.18, lw=0
    )
    axis.plot(frame["epoch"], frame["value"], "o-", ms=3.5, color=BLUE, lw=1.6)
    style.mark_baselines(axis, history.baselines(tag))
    style.mark_chance(axis, frame)
    axis.margins(x=0.08)
    axis.set_xlabel("epoch")
    style.legend(axis)
    return figure


def condition_sets(history: History) -> dict[str, dict[str, list[tuple]]]:
    """Return `{set: {field: [(value, tag)]}}` of scores under other conditions.

    Their tags are `eval/<set>/<field>_<value>/<score>`.
    """
    fields_by_set: dict[str, dict[str, list[tuple]]] = {}
    for tag, metric in history.metrics().items():
        parts = tag.split("/")
        if len(parts) != 4 or metric["kind"] != "score":
            continue
        field, _, value = parts[2].rpartition("_")
        if field not in ("", "in") and re.fullmatch(r"\d+(\.\d+)?", value):
            fields = fields_by_set.setdefault(parts[1], {})
            fields.setdefault(field, []).append((float(value), tag))
    return {
        name: {field: sorted(values) for field, values in fields.items()}
        for name, fields in fields_by_set.items()
    }


def conditions(
    history: History, fields: Mapping[str, Sequence[tuple[float, str]]]
) -> list[Figure]:
    """Return a score against each condition, with baselines under the same."""
    latest = history.metrics()
    return [
        _condition(field, values, [latest[tag] for _, tag in values])
        for field, values in fields.items()
    ]


def _condition(
    field: str, values: Sequence[tuple[float, str]], metrics: Sequence[Metric]
) -> Figure:
    """Return a panel of metrics over the values of a field."""
    x = [value for value, _ in values]
    figure, (axis,) = style.panel(f"{values[0][1].rpartition('/')[2]} against {field}")
    low, high = ([metric[end] for metric in metrics] for end in ("low", "high"))
    if all(is_finite(level) for level in (*low, *high)):
        axis.fill_between(x, low, high, color=BLUE, alpha=0.18, lw=0)
    y = [metric["value"] for metric in metrics]
    axis.plot(x, y, "o-", ms=3.5, color=BLUE, lw=1.6, label="trained")
    baselines = {k: b for metric in metrics for k, b in metric["baselines"].items()}
    for name, (color, dash) in style.baseline_styles(baselines).items():
        levels = [m["baselines"].get(name, {}).get("value") for m in metrics]
        label = baselines[name]["label"]
        axis.plot(x, levels, ls=dash, color=color, lw=1.3, label=label)
    chance = [metric["chance"] for metric in metrics]
    if all(is_finite(level) for level in chance):
        axis.plot(x, chance, linestyle=":", color=GRAY, lw=1.3, label="chance")
    axis.set_xlabel(field)
    axis.set_ylim(-0.03, 1.03)
    style.legend(axis)
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
    """Return the directed metrics of sets that have nothing but diagnostics."""
    metrics = history.metrics()
    sets: dict[str, list[str]] = {}
    for tag, metric in metrics.items():
        place = tag.split("/")
        if place[0] == "eval" and metric["better"]:
            sets.setdefault(place[1], []).append(tag)
    return [
        tag
        for tags in sets.values()
        if all(metrics[tag]["kind"] == "diagnostic" for tag in tags)
        for tag in tags
    ]

"""Pictures of a run: curves with their chance levels and baselines, and the gallery."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from reporting import history, run_dir, timeline
from reporting.figures import style
from reporting.figures import training as training_figures
from reporting.figures.style import (
    BASELINE_NAMES,
    BLUE,
    COLUMNS,
    FLOOR_STYLES,
    GRAY,
    PANELS,
    grid,
    mark_baselines,
    mark_level,
    save,
)

TELLING = ("cosine", "error", "recall", "map", "ssim", "nar", "ndcg")
SHOWN = ("/nar", "/cosine", "/error")  # beside scores


def write(folder: Path | str, events: list[dict]) -> dict[str, Path]:
    """Draws every figure that the history has something for.

    Args:
      folder: the workdir.
      events: its history.

    Returns:
      Name to PNG, in the order in which a reader wants them: `loss`, `training`, one
      `retrieval-<set>` a set, `conditions-<set>` where a set was measured under other
      conditions, `embeddings`, `throughput`. Each is also drawn for narrow screens.
    """
    segments = run_dir.read_resumes(folder)
    steps = [segment.get("from_step") for segment in segments]
    starts = dict(zip(steps, timeline.starts(segments), strict=True))
    save(folder, _draw(events, starts, columns=1), slim=True)
    return save(folder, _draw(events, starts))


def _draw(
    events: list[dict], starts: dict[int, str], columns: int = COLUMNS
) -> Iterable[tuple[str, Figure]]:
    if (figure := training_figures.loss(events, starts, columns)) is not None:
        yield "loss", figure
    if (figure := training_figures.training(events, columns)) is not None:
        yield "training", figure
    for name, tags in evaluation_sets(events).items():
        figure = retrieval(events, name, tags, columns)
        yield f"retrieval-{name.replace(', ', '-')}", figure
    for name, parts in condition_sets(events).items():
        yield f"conditions-{name}", conditions(events, parts, columns)
    for name, endings in (
        ("embeddings", history.GEOMETRY),
        ("throughput", ("examples_per_sec", "input_wait")),
    ):
        tags = history.tags(events, *endings)
        if tags:
            yield name, panels(events, tags[:PANELS], columns)


def retrieval(
    events: list[dict], name: str, tags: Sequence[str], columns: int = COLUMNS
) -> Figure:
    """Metrics of one set over epochs, with intervals, chance level and baselines."""
    baselines = history.baselines(events)
    figure, axes = grid(len(tags), columns)
    figure.suptitle(name, fontsize=11, fontweight="bold", x=0.01, ha="left")
    for axis, tag in zip(axes, tags, strict=True):
        frame = history.series(events, tag, "eval")
        axis.set_title(tag.split("/", 2)[2])
        axis.fill_between(
            frame["epoch"], frame["low"], frame["high"], color=BLUE, alpha=0.18, lw=0
        )
        axis.plot(frame["epoch"], frame["value"], "o-", ms=3.5, color=BLUE, lw=1.6)
        mark_baselines(axis, baselines.get(tag, {}))
        if frame["chance"].notna().any():
            mark_level(axis, frame["chance"].dropna().iloc[-1], "chance", GRAY, ":")
        axis.margins(x=0.08)
        if axis.get_legend_handles_labels()[1]:
            axis.legend(loc="best", fontsize=7, handlelength=1.8)
    for axis in axes[-columns:]:
        axis.set_xlabel("epoch")
    return figure


def condition_sets(events: list[dict]) -> dict[str, dict[str, list[tuple]]]:
    """`{set: {field: [(value, tag)]}}` of scores measured under other conditions.

    Their tags are `eval/<set>/<field>_<value>/<score>`.
    """
    found: dict[str, dict[str, list[tuple]]] = {}
    for tag in history.measure(events):
        parts = tag.split("/")
        if len(parts) != 4 or not history.is_score(tag):
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
    events: list[dict], fields: dict[str, list[tuple]], columns: int = COLUMNS
) -> Figure:
    """A score against each condition, with intervals and baselines under the same."""
    latest = history.measure(events)
    figure, axes = grid(len(fields), columns)
    for axis, (field, values) in zip(axes, fields.items(), strict=True):
        x = [value for value, _ in values]
        measured = [latest[tag] for _, tag in values]
        low, high = ([m[end] for m in measured] for end in ("low", "high"))
        if all(history.is_finite(v) for v in (*low, *high)):
            axis.fill_between(x, low, high, color=BLUE, alpha=0.18, lw=0)
        y = [m["value"] for m in measured]
        axis.plot(x, y, "o-", ms=3.5, color=BLUE, lw=1.6, label="trained")
        for name in sorted({name for m in measured for name in m["baselines"]}):
            color, dash = FLOOR_STYLES.get(name, (GRAY, "--"))
            level = [m["baselines"].get(name, {}).get("value") for m in measured]
            label = BASELINE_NAMES.get(name, name)
            axis.plot(x, level, linestyle=dash, color=color, lw=1.3, label=label)
        chance = [m["chance"] for m in measured]
        if all(history.is_finite(level) for level in chance):
            axis.plot(x, chance, linestyle=":", color=GRAY, lw=1.3, label="chance")
        axis.set_title(f"{values[0][1].rpartition('/')[2]} against {field}")
        axis.set_xlabel(field)
        axis.set_ylim(-0.03, 1.03)
        axis.legend(loc="best", fontsize=7, handlelength=1.8)
    return figure


def panels(events: list[dict], tags: Sequence[str], columns: int = COLUMNS) -> Figure:
    """One small curve a tag over steps, with its chance level and baselines."""
    figure, axes = grid(len(tags), columns)
    style.panels(axes, events, tags)
    return figure


def evaluation_sets(events: list[dict]) -> dict[str, list[str]]:
    """`{set: tags}` of the retrieval metrics, the most telling first.

    Parts of a set, `eval/<set>/<part>/<metric>`, come as a set of their own.
    """
    found: dict[str, list[str]] = {}
    for tag in history.measure(events):
        _, name, *rest = [*tag.split("/"), ""]
        evaluated = tag.startswith("eval/")
        told = tag.endswith(SHOWN) or "/ssim@" in tag
        if history.is_score(tag) or evaluated and told:
            found.setdefault(f"{name}, parts" if len(rest) > 2 else name, []).append(
                tag
            )

    def rank(tag: str) -> int:
        last = tag.rpartition("/")[2]
        telling = (i for i, start in enumerate(TELLING) if last.startswith(start))
        return next(telling, len(TELLING))

    return {name: sorted(tags, key=rank)[:PANELS] for name, tags in found.items()}

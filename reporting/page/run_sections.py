"""Sections on how a run went: candidates, time and cost, segments, and its command."""

import datetime
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from reporting import timeline
from reporting.formatting import ABSENT, count, duration, number, percent, plural
from reporting.history import History, is_finite
from reporting.loop_tags import LOSS_CHANCE
from reporting.page.parts import Section, Table, as_text, facts

SEED = "seed"


def about_candidates(metrics: Mapping[str, dict], config: Mapping) -> Section:
    """Return a section on the number of candidates of an anchor."""
    train = config.get("train") or {}
    size, chunks = train.get("batch_size"), train.get("chunks") or 1
    candidates = metrics.get("diag/candidates")
    section = Section("Candidates")
    if candidates is None:
        holds = f" A step holds {plural(size, 'record')}." if size else ""
        sentence = "This method compares no anchor with candidates, or logged none."
        section.text.append(sentence + holds)
        return section
    text = (
        f"Each anchor was compared with {count(round(candidates['value']))} candidates"
    )
    if size:
        text += f"; a step holds {plural(size, 'record')}"
        if chunks > 1:
            way = train.get("negatives") or "exact"
            text += f" in {count(chunks)} chunks, accumulated in the {way} way"
    section.text.append(text + ".")
    chance = metrics.get(LOSS_CHANCE)
    if chance is not None:
        section.text.append(
            f"Random embeddings have a loss of {number(chance['value'])} among so many."
        )
    return section


def about_time(
    forecast: Mapping[str, Any],
    speed: Mapping[str, Any],
    history: History,
    segments: Sequence[Mapping],
) -> Section:
    """Return a section on time and cost, and on when each gate is due.

    Args:
        forecast: What `budget.forecast` gives.
        speed: What `plan.throughput` gives.
        history: The run's events.
        segments: Its starts.
    """
    price = forecast["price_per_hour"]
    evaluations = len(history.of_kind("eval"))
    rows = [
        ["time spent", _hours(forecast["hours_spent"])],
        ["time to the end", _hours(forecast["hours_left"])],
        ["the whole run", _hours(forecast["hours_total"])],
        ["steps made", count(speed["steps"])],
        ["examples seen", count(speed["examples"])],
        [f"{forecast['unit']} a second (median)", number(forecast["examples_per_sec"])],
        ["seconds a step", number(forecast["seconds_per_step"])],
        ["bound by", forecast["bound"] or ABSENT],
        ["share of time waiting for data", percent(forecast["input_wait"])],
        ["evaluations", count(evaluations)],
        ["seconds an evaluation", number(forecast["evaluation_seconds"])],
    ]
    if price:
        rows += [
            ["price of an hour", number(price)],
            ["cost so far", number(forecast["cost_spent"])],
            ["cost of the whole run", number(forecast["cost_total"])],
        ]
    section = Section("Time and cost", tables=[Table(["", "value"], rows)])
    if len(segments) > 1:
        section.text.append("Speeds are those since the last start.")
    if not price:
        section.text.append(
            "No price is known: `--config.train.price_per_hour` gives one."
        )
    if forecast["gates"]:
        header = ["gate", "epoch", "time from the start", "cost", "state"]
        rows = [
            [
                name,
                number(gate["epoch"]),
                _hours(gate["hours"]),
                number(gate["cost"]),
                "judged" if gate["judged"] else "forecast",
            ]
            for name, gate in forecast["gates"].items()
        ]
        section.tables.append(Table(header, rows, cards=True))
    return section


def about_config(recipe: str, difference: Mapping[str, list]) -> Section:
    """Return a section on the fields that differ from the recipe's default."""
    lead = f"Recipe `{recipe}`." if recipe else "The recipe is not known."
    if not difference:
        return Section("Config", [f"{lead} Nothing was changed from its default."])
    rows = [[name, *map(as_text, pair)] for name, pair in _pairs(difference)]
    differ = plural(len(rows), "field differs", "fields differ")
    text = f"{lead} {differ} from its default; all are in `config.json`."
    table = Table(["field", "default", "here"], rows, cards=True)
    return Section("Config", [text], tables=[table])


def about_segments(segments: Sequence[Mapping]) -> Section:
    """Return a section on starts and resumes."""
    if not segments:
        return Section("Segments", ["No ledger of starts and resumes was kept."])
    rows = [
        [
            why or ABSENT,
            count(segment.get("from_step")),
            count(segment.get("total_steps")),
            as_text(segment.get("horizon", ABSENT)),
            number(segment.get("learning_rate_before")),
            number(segment.get("learning_rate_after")),
            _moment(segment.get("time")),
        ]
        for why, segment in zip(timeline.starts(segments), segments, strict=True)
    ]
    header = ["why", "from step", "to step", "schedule from, to", "rate before"]
    table = Table([*header, "rate after", "time"], rows, cards=True)
    section = Section("Segments", tables=[table])
    for segment in segments:
        for sentence in segment.get("unreadable_checkpoints") or []:
            section.items.append(("wait", f"A checkpoint was passed over: {sentence}"))
    return section


def about_environment(versions: Mapping[str, Any]) -> Section:
    """Return a section on versions and devices."""
    return facts("Environment", versions, "It was not noted.")


def about_reproduction(
    report: Mapping, described: Mapping[str, Any], folder: str
) -> Section:
    """Return a section on how to repeat the run.

    Args:
        report: What `content.assemble` gives.
        described: `config.json`.
        folder: What the workdir is called.
    """
    section = Section("How to reproduce")
    if not report["recipe"]:
        section.text.append("The recipe is not known: `config.json` is missing.")
        return section
    section.code = command(described, folder)
    versions, data = report["versions"], report["data"]
    seed = (described.get("config") or {}).get(SEED)
    device = versions.get("device")
    rows = [
        ["seed", as_text(seed) if seed is not None else ABSENT],
        ["commit", versions.get("commit") or "not known"],
        ["data", _data(data)],
        ["machine", f"{as_text(versions.get('devices', 1))} × {device}"]
        if device
        else ["machine", "not noted"],
        ["versions", f"python {versions.get('python', ABSENT)}, and see Environment"],
    ]
    section.tables.append(Table(["", "value"], rows))
    extended = [why for why in timeline.starts(report["resumes"]) if "extended" in why]
    if extended:
        ways = "; ".join(extended)
        section.text.append(
            f"The run was extended on its way ({ways}): the command alone makes one "
            "of its last length, without the rates that it had before."
        )
    if str(versions.get("commit") or "").endswith("-dirty"):
        section.text.append("The checkout had changes that no commit holds.")
    return section


def command(described: Mapping[str, Any], folder: str) -> str:
    """Return the command line of a run, a field a line.

    Args:
        described: `config.json`; without what the command line set in it, every field
            that differs from the recipe's default is set.
        folder: What the workdir is called.
    """
    recipe = str(described.get("recipe"))
    changed = described.get("overrides")
    if changed is None:
        changed = described.get("difference") or {}
    words = ["python main.py", f"--config={shlex.quote(recipe)}"]
    for name, (_, here) in _pairs(changed):
        if here is not None and not isinstance(here, Mapping):
            words.append(shlex.quote(f"--config.{name}={here}"))
    return " \\\n  ".join([*words, f"--workdir={shlex.quote(f'runs/{folder}')}"])


def _pairs(difference: Mapping[str, Any]) -> list[tuple[str, list]]:
    return [
        (name, pair if isinstance(pair, list) and len(pair) == 2 else [None, pair])
        for name, pair in difference.items()
    ]


def _data(data: Mapping[str, Any]) -> str:
    name = as_text(data.get("dataset") or data.get("name") or "a dataset")
    hashed = data.get("content_hash")
    return f"{name}, content {hashed}" if hashed else name


def _hours(hours: float | None) -> str:
    return ABSENT if hours is None else duration(3600 * hours)


def _moment(seconds: float | None) -> str:
    if not is_finite(seconds):
        return ABSENT
    moment = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
    return moment.strftime("%Y-%m-%d %H:%M UTC")

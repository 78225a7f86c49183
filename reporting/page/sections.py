"""What a report says, in order: titles, sentences, tables and images as text."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from reporting.figures import result_sheet
from reporting.figures.style import Figures
from reporting.formatting import ABSENT, count, interval, number, percent
from reporting.history import LIVE, as_metric, is_finite
from reporting.loop_tags import LOSS, LOSS_HELD_OUT
from reporting.page import data_sections, run_sections
from reporting.page.parts import Section, Table, as_text, facts
from reporting.run_dir import RunDir

MOST_ROWS = 40  # evaluations in the report

RULES = (
    "A record never retrieves itself: it is removed from its own ranking by id. "
    "Another rendition of it, with an id of its own, stays.",
    "Queries without a relevant record are left out of every mean; n is what is left.",
    "R@k (recall@k) is the share of queries with at least one relevant record among "
    "the first k, also called hit rate or CMC@k.",
    "Ties are broken by score, then by id.",
    "Chance is what a ranking in random order would score on the same queries. "
    "Baselines come from the same evaluation with raw pixels, and with the network "
    "before training, in place of the embeddings.",
    "Intervals are 95 % intervals. Queries of one group, as of a label or a clip, are "
    "not independent: the variance comes from leaving out groups, and few groups give "
    "wide intervals, one group none.",
    "NAR, the normalized average rank, is 0 for a perfect ranking and .5 for a random "
    "one; ties count against it.",
)


def build(
    run: RunDir,
    report: Mapping,
    images: Figures,
) -> list[Section]:
    """Return the sections of a report, without its verdict.

    Args:
        run: The workdir.
        report: What `content.assemble` gives.
        images: Name to PNG; the sheet of results under "examples".
    """
    data = dict(report["data"])
    pseudo_labels = data.pop("pseudo_labels", None)
    metrics, segments = report["metrics"], report["resumes"]
    return [
        about_gates(report["gates"]),
        _alarms(report),
        _curves(images),
        about_metrics(metrics),
        _evaluations(run, report["gates"]),
        _examples(run.path, images),
        about_data(data),
        *data_sections.about_labels(run.audit, data),
        *([about_pseudo_labels(pseudo_labels, images)] if pseudo_labels else []),
        run_sections.about_candidates(metrics, run.config),
        run_sections.about_time(
            report["budget"], report["throughput"], run.history, segments
        ),
        run_sections.about_config(report["recipe"], report["difference"]),
        run_sections.about_segments(segments),
        Section("Rules", items=[("", rule) for rule in RULES]),
        run_sections.about_environment(report["versions"]),
        run_sections.about_reproduction(
            report, run.description, run.path.resolve().name
        ),
    ]


def about_gates(judged: Mapping[str, dict]) -> Section:
    """Return a section on the gates of a run."""
    if not judged:
        return Section("Gates", ["The config has no gates."])
    words = {
        True: ("passed", "good"),
        False: ("FAILED", "bad"),
        None: ("waits", "wait"),
    }
    rows, notes = [], {}
    for name, gate in judged.items():
        extent = interval(gate.get("low"), gate.get("high"))
        extent = "" if extent == ABSENT else f" ({extent})"
        rows.append(
            [
                words[gate["passed"]][0],
                name,
                gate["metric"],
                number(gate["value"]) + extent,
                count(gate.get("n")),
                f"{gate['op']} {number(gate['bound'])}",
                _moment(gate),
                "yes" if gate["required"] else "advisory",
                gate["note"],
            ]
        )
        if sentences := _past(name, gate):
            notes[len(rows) - 1] = sentences
    tones = [words[gate["passed"]][1] for gate in judged.values()]
    header = ["status", "gate", "metric", "value (95 %)", "n", "bound"]
    header += ["judged at", "required", "why"]
    table = Table(header, rows, tones, cards=True, notes=notes)
    return Section("Gates", tables=[table])


def _moment(gate: Mapping) -> str:
    """Return the epoch at which a gate was judged, or when it will be."""
    if is_finite(gate.get("epoch")):
        return f"epoch {number(gate['epoch'])}"
    return f"epoch {number(at)}" if is_finite(at := gate["at"]) else str(at)


def _past(name: str, gate: Mapping) -> list[str]:
    """Return all judgments of a gate if there are several or one had a consequence."""
    past, action = gate.get("history") or [], gate.get("action")
    if len(past) < 2 and not action:
        return []
    words = {True: "passed", False: "not passed", None: "waited"}
    sentences = [
        f"epoch {number(entry.get('epoch'))} {number(entry.get('value'))}, "
        f"{words[entry.get('passed')]}{_followed(entry)}"
        for entry in past
    ]
    if not past:
        sentences = [as_text(action)]
    return [f"{name}, judged so far: {'; '.join(sentences)}."]


def _followed(judgment: Mapping) -> str:
    if not judgment.get("action"):
        return ""
    until = judgment.get("until")
    when = f" to epoch {number(until)}" if until else ""
    return f" → {as_text(judgment['action'])}{when}"


def _alarms(report: Mapping) -> Section:
    section = Section("Alarms")
    if not report["alarms"]:
        section.text.append("None stands.")
    for alarm in report["alarms"]:
        tone = "bad" if alarm["severity"] == "stop" else "wait"
        seen, advice = alarm.get("seen"), alarm.get("advice")
        sentences = (seen, advice) if seen and advice else (alarm["message"],)
        section.items.append((tone, *sentences))
    if cleared := report["alarms_cleared"]:
        sentences = ", ".join(
            f"{a['name']} ({a['tag']}, step {count(a['step'])})" for a in cleared
        )
        section.text.append(f"Raised on the way, and no longer true: {sentences}.")
    for refusal in report.get("refusals") or []:
        for fault in refusal.get("faults") or []:
            section.items.append(("wait", f"A start was refused: {fault}"))
    return section


def about_metrics(metrics: Mapping[str, dict]) -> Section:
    """Return the latest measurements with intervals, chance levels and baselines."""
    section = Section("Metrics")
    evaluated = {tag: m for tag, m in metrics.items() if m["n"] is not None}
    judged = {tag: m for tag, m in evaluated.items() if m["better"]}
    if judged:
        section.tables.append(_metric_table(judged))
        section.text.append(
            "Lift is a score over its higher baseline, or over chance without one."
        )
    else:
        section.text.append("No evaluation has been made yet.")
    counts = [
        [tag.removeprefix("eval/"), number(m["value"]), count(m["n"])]
        for tag, m in evaluated.items()
        if tag not in judged
    ]
    if counts:
        header = ["of queries and records", "value", "n"]
        section.tables.append(Table(header, counts))
    levels = {f"{tag}_chance" for tag in metrics}
    logged = [
        [tag, number(m["value"]), number(m["chance"])]
        for tag, m in metrics.items()
        if tag not in evaluated and tag not in levels
    ]
    if logged:
        section.tables.append(Table(["last logged", "value", "chance"], logged))
    return section


def _metric_table(metrics: Mapping[str, dict]) -> Table:
    """Return a row a metric; a column a baseline."""
    labels = {
        name: baseline["label"]
        for metric in metrics.values()
        for name, baseline in metric["baselines"].items()
    }
    names = sorted(labels)
    header = ["metric", "value", "95 % interval", "n", "chance"]
    header += [labels[name] for name in names] + ["lift"]
    rows = [_metric_row(tag, metric, names) for tag, metric in metrics.items()]
    return Table(header, rows, cards=True)


def _metric_row(tag: str, metric: Mapping, baselines: Iterable[str]) -> list[str]:
    lower = " (lower is better)" if metric["better"] == "lower" else ""
    row = [
        tag.removeprefix("eval/") + lower,
        number(metric["value"]),
        interval(metric["low"], metric["high"]),
        count(metric["n"]),
        number(metric["chance"]),
    ]
    for name in baselines:
        baseline = metric["baselines"].get(name, {})
        extent = interval(baseline.get("low"), baseline.get("high"))
        extent = "" if extent == ABSENT else f" ({extent})"
        row.append(number(baseline.get("value")) + extent)
    times = metric["lift"]
    return [*row, ABSENT if times is None else f"{number(times)} ×"]


def _curves(images: Figures) -> Section:
    captions = {
        "loss": "Loss with its chance level; resumes dotted.",
        "training": "Loss of records trained on and of as many held out, with 95 % "
        "intervals of batches, and what batches of training showed beside it.",
        "embeddings": "Spread of the embeddings.",
        "throughput": "Speed, and the share of time spent waiting for data.",
    }
    shown = [
        (captions.get(name, _caption(name)), paths)
        for name, paths in images.items()
        if name not in ("examples", "motion")
    ]
    text = [] if shown else ["Nothing has been logged yet."]
    return Section("Curves", text, figures=shown)


def _caption(name: str) -> str:
    if name.startswith("conditions-"):
        return "Queries measured under other conditions than training's."
    what = name.removeprefix("retrieval-").replace("-parts", ", its parts")
    return f"Retrieval, {what}: bands are 95 % intervals."


def _evaluations(run: RunDir, judged: Mapping[str, dict]) -> Section:
    """Return a table of evaluations: losses, learning rate, metrics of gates."""
    asked = (gate["metric"] for gate in judged.values())
    held = [t for t in (LOSS_HELD_OUT,) if t in run.history.tags]
    columns = list(dict.fromkeys([LOSS, *held, "train/lr", *asked]))
    rows, last = [], {}
    for event in run.history.events:
        if event["kind"] not in LIVE:
            continue
        last |= {tag: as_metric(v)["value"] for tag, v in event["metrics"].items()}
        if event["kind"] == "eval":
            cells = [number(last.get(tag)) for tag in columns]
            rows.append([number(event["epoch"]), count(event["step"]), *cells])
    if not rows:
        return Section("Evaluations", ["None has been made yet."])
    text = []
    if len(rows) > MOST_ROWS:
        text = [f"The last {MOST_ROWS} of {len(rows)}; `curves.csv` has all."]
    header = ["epoch", "step", *(tag.removeprefix("eval/") for tag in columns)]
    return Section("Evaluations", text, tables=[Table(header, rows[-MOST_ROWS:])])


def _examples(folder: Path | str, images: Figures) -> Section:
    if "examples" not in images:
        return Section("Examples", ["The run has left no examples."])
    caption = "Queries on the left, neighbors by rank: right in blue, wrong in orange."
    section = Section("Examples", figures=[(caption, images["examples"])])
    if sentences := result_sheet.summary(folder):
        section.text.append(sentences)
    return section


def about_data(given: Mapping[str, Any]) -> Section:
    """Return a section on the data."""
    left = data_sections.without_told(given)
    section = facts("Data", left, "data.json is missing: no data was read.")
    section.text += data_sections.about_split(given)
    return section


def about_pseudo_labels(motion: Mapping[str, Any], images: Figures) -> Section:
    """Return a section on labels made from motion."""
    segments = [last - first + 1 for _, first, last in motion["segments"]]
    still = f"percentile {number(motion['percentile'])}"
    rows = [
        [
            "frames, clips",
            f"{count(motion['frames'])}, {count(motion['clips'])}",
        ],
        ["frames averaged for the motion", count(motion["window"])],
        [
            f"motion of a still frame, at most ({still})",
            number(motion["threshold"]),
        ],
        [
            f"still segments, {motion['least']} frames or more",
            count(len(segments)),
        ],
        ["frames in them", count(sum(segments))],
        ["labels", count(motion["labels"])],
        ["share of frames with a label", percent(motion["labeled"])],
        ["share of those with a positive", percent(motion["positives"])],
    ]
    if motion["reference_percentile"] is not None:
        similar = f"the most similar {number(motion['reference_percentile'])} %"
        value = number(motion["similarity_threshold"])
        rows.insert(5, [f"SSIM with the reference, at least ({similar})", value])
    section = Section("Pseudo-labels", tables=[Table(["", "value"], rows)])
    if not motion["positives"]:
        sentences = (
            "No frame has another of its label: a loss of labels has no positive."
        )
        section.items.append(("bad", sentences))
    if "motion" in images:
        caption = (
            "Motion between frames; still segments shaded, clips end at the lines."
        )
        section.figures.append((caption, images["motion"]))
    return section

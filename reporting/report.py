"""The report of a run, from the files in its workdir: report.md, .html and .json."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from reporting import budget, history, run_dir, timeline
from reporting.alarms.common import check as alarming
from reporting.figures import motion as motion_figures
from reporting.figures import result_sheet, run_figures, style
from reporting.files import write_json, write_text
from reporting.gates import decisions, judgment
from reporting.page import sections, verdict

_TEMPLATES = Path(__file__).parent / "page" / "templates"


def write(folder: Path | str) -> dict:
    """Writes the report, the figures, `history.json` and `curves.csv`.

    Works on whatever a workdir holds: a run that was killed, diverged or has only begun
    gets a report that says so.

    Args:
      folder: the workdir.

    Returns:
      The content of `report.json`.

    Raises:
      FileNotFoundError: If there is no such directory.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no directory; expected a run's workdir")
    events = run_dir.read_events(folder)
    report = assemble(folder, events)
    history.write(folder, events)
    pictures = run_figures.write(folder, events)
    pictures |= motion_figures.write(folder, report["data"])
    if (path := result_sheet.write(folder)) is not None:
        pictures["examples"] = path
    page = {
        "report": report,
        "title": report["recipe"] or folder.resolve().name,
        "folder": folder.resolve().name,
        "sections": sections.build(folder, report, events, pictures),
    }
    render(folder, page)
    write_json(folder / f"{run_dir.REPORT}.json", report)
    return report


def render(folder: Path, page: Mapping, name: str = run_dir.REPORT) -> None:
    """Writes `<name>.md` and `<name>.html`.

    Args:
      folder: where to.
      page: `title` and `sections`; for a report also `report` with its outcome and
        reason, and `folder`.
      name: "report" or "compare".
    """
    environment = _environment()
    for kind in ("md", "html"):
        text = environment.get_template(f"{name}.{kind}.j2").render(page)
        write_text(folder / f"{name}.{kind}", text)


def assemble(folder: Path | str, events: list[dict]) -> dict:
    """The content of `report.json`: everything that the report says, as plain values.

    Args:
      folder: the workdir.
      events: its history.
    """
    config = run_dir.read_config(folder)
    fields = config.get("config") or {}
    heartbeat = run_dir.read_heartbeat(folder)
    standing, cleared = _alarms(folder, events)
    judged = judgment.judge_run(judgment.of_config(fields), events)
    refusals = run_dir.read_refusals(folder)
    decision = decisions.of_workdir(folder)
    word, reason, code = verdict.decide(
        events, judged, standing, heartbeat, decision=decision, refusals=refusals
    )
    step, epoch = history.reached(events)
    return {
        "verdict": f"{word}: {reason}",
        "outcome": word,
        "reason": reason,
        "exit_code": code,
        "finished": history.finished(events),
        "step": step,
        "epoch": epoch,
        "recipe": config.get("recipe") or "",
        "gates": judged,
        "next": decision.config if decision else "",
        "refusals": refusals,
        "metrics": _metrics(events),
        "alarms": standing,
        "alarms_cleared": cleared,
        "throughput": timeline.throughput(events, _batch_size(fields)),
        "budget": _budget(folder, events, fields, judged),
        "data": run_dir.read_data(folder),
        "difference": config.get("difference") or {},
        "resumes": run_dir.read_resumes(folder),
        "versions": run_dir.read_environment(folder),
    }


def exit_code(report: Mapping) -> int:
    """The exit code that a run's report asks for: 0, 1, 3, 4 or 75."""
    return int(report["exit_code"])


def lift(metric: Mapping) -> float | None:
    """A metric as a multiple of its higher baseline, or of chance where it has none."""
    levels = [
        baseline["value"]
        for name, baseline in metric["baselines"].items()
        if name not in history.CEILINGS
    ]
    levels = [v for v in levels if history.is_finite(v)] or [metric["chance"]]
    best = max((v for v in levels if history.is_finite(v)), default=0.0)
    if best <= 0 or not history.is_finite(metric["value"]):
        return None
    return metric["value"] / best


def _metrics(events: list[dict]) -> dict[str, dict]:
    return {
        tag: metric | {"lift": lift(metric) if history.is_score(tag) else None}
        for tag, metric in history.measure(events).items()
    }


def _alarms(folder: Path | str, events: list[dict]) -> tuple[list[dict], list[dict]]:
    """Alarms that stand at the end, and those raised on the way that no longer do."""
    standing = alarming.check(events, **alarming.facts(folder))
    last_step = max((e["step"] for e in events if e["kind"] == "train"), default=0)
    keys = ("name", "severity", "tag", "step", "seen", "advice", "message")
    known = {(alarm["name"], alarm["tag"]) for alarm in standing}
    cleared = []
    for event in events:
        if event["kind"] != "alarm" or (event.get("name"), event.get("tag")) in known:
            continue
        known.add((event.get("name"), event.get("tag")))
        alarm = {key: event.get(key) for key in keys}
        # What stopped the run stands, though no rule here may know of it.
        ended = alarm["severity"] == "stop" and event["step"] >= last_step
        (standing if ended else cleared).append(alarm)
    return standing, cleared


def _budget(
    folder: Path | str, events: list[dict], fields: Mapping, judged: Mapping
) -> dict:
    segments = run_dir.read_resumes(folder)
    total = (run_dir.read_heartbeat(folder) or {}).get("total_steps")
    return budget.of_run(
        events,
        fields,
        total_steps=total or (segments[-1].get("total_steps") if segments else None),
        epoch_steps=run_dir.read_data(folder).get("steps_per_epoch"),
        gates=judged,
        segments=segments,
    )


def _batch_size(fields: Mapping) -> int | None:
    return (fields.get("train") or {}).get("batch_size")


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES, encoding="utf-8"),
        # Names of files and labels come from outside.
        autoescape=jinja2.select_autoescape(["html", "html.j2"]),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _cell
    environment.filters["base64"] = _base64
    environment.filters["narrow"] = _narrow
    environment.filters["prose"] = _prose
    return environment


def _cell(text: object) -> str:
    """Text as a cell of a Markdown table."""
    flat = " ".join(str(text).split())
    flat = flat.replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", flat)


def _prose(text: object) -> str:
    """Text for HTML, with what stands in backticks as code."""
    escaped = jinja2.utils.markupsafe.escape(text)
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escaped))
    return jinja2.utils.markupsafe.Markup(marked)


def _narrow(path: Path) -> Path | None:
    """The drawing of a figure for narrow screens, where there is one."""
    slim = style.narrow(Path(path))
    return slim if slim.is_file() else None


def _base64(path: Path) -> str:
    return base64.b64encode(Path(path).read_bytes()).decode("ascii")

"""The report of a run, from the files in its workdir: report.md, .html and .json."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2

from reporting import budget, exports, run_dir, timeline
from reporting.alarms.common import check as alarming
from reporting.figures import motion as motion_figures
from reporting.figures import result_sheet, run_figures
from reporting.files import write_json, write_text
from reporting.gates import decisions, judgment
from reporting.history import is_finite
from reporting.page import sections, verdict
from reporting.run_dir import RunDir

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
    run = RunDir(folder)
    report = assemble(run)
    exports.write(folder, run.history)
    pictures = run_figures.write(folder, run.history)
    pictures |= motion_figures.write(folder, report["data"])
    if (path := result_sheet.write(folder)) is not None:
        pictures["examples"] = [path]
    page = {
        "report": report,
        "title": report["recipe"] or folder.resolve().name,
        "folder": folder.resolve().name,
        "sections": sections.build(run, report, pictures),
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


def assemble(run: RunDir) -> dict:
    """Return the content of `report.json`: everything in the report as plain values."""
    history = run.history
    standing, cleared = _alarms(run)
    judged = judgment.judge_run(judgment.of_config(run.config), history)
    decision = decisions.of_run(run)
    word, reason, code = verdict.decide(
        history,
        judged,
        standing,
        run.heartbeat,
        decision=decision,
        refusals=run.refusals,
    )
    return {
        "verdict": f"{word}: {reason}",
        "outcome": word,
        "reason": reason,
        "exit_code": code,
        "finished": history.finished,
        "step": history.step,
        "epoch": history.epoch,
        "recipe": run.description.get("recipe") or "",
        "gates": judged,
        "next": decision.config if decision else "",
        "refusals": run.refusals,
        "metrics": _metrics(run),
        "alarms": standing,
        "alarms_cleared": cleared,
        "throughput": timeline.throughput(history, _batch_size(run.config)),
        "budget": _budget(run, judged),
        "data": run.data,
        "difference": run.description.get("difference") or {},
        "resumes": run.segments,
        "versions": run.environment,
    }


def exit_code(report: Mapping) -> int:
    """The exit code that a run's report asks for: 0, 1, 3, 4 or 75."""
    return int(report["exit_code"])


def lift(metric: Mapping) -> float | None:
    """A metric as a multiple of its higher baseline, or of chance where it has none."""
    levels = [
        baseline["value"]
        for baseline in metric["baselines"].values()
        if not baseline["ceiling"]
    ]
    levels = [v for v in levels if is_finite(v)] or [metric["chance"]]
    best = max((v for v in levels if is_finite(v)), default=0.0)
    if best <= 0 or not is_finite(metric["value"]):
        return None
    return metric["value"] / best


def _metrics(run: RunDir) -> dict[str, dict]:
    return {
        tag: metric | {"lift": lift(metric) if metric["kind"] == "score" else None}
        for tag, metric in run.history.metrics().items()
    }


def _alarms(run: RunDir) -> tuple[list[dict], list[dict]]:
    """Alarms that stand at the end, and those raised on the way that no longer do."""
    standing = alarming.check_run(run)
    trained = run.history.of_kind("train")
    last_step = max((event["step"] for event in trained), default=0)
    keys = ("name", "severity", "tag", "step", "seen", "advice", "message")
    known = {(alarm["name"], alarm["tag"]) for alarm in standing}
    cleared = []
    for event in run.history.of_kind("alarm"):
        if (event.get("name"), event.get("tag")) in known:
            continue
        known.add((event.get("name"), event.get("tag")))
        alarm = {key: event.get(key) for key in keys}
        # What stopped the run stands, though no rule here may know of it.
        ended = alarm["severity"] == "stop" and event["step"] >= last_step
        (standing if ended else cleared).append(alarm)
    return standing, cleared


def _budget(run: RunDir, judged: Mapping) -> dict:
    segments, total = run.segments, run.heartbeat.get("total_steps")
    return budget.of_run(
        run.history,
        run.config,
        total_steps=total or (segments[-1].get("total_steps") if segments else None),
        epoch_steps=run.data.get("steps_per_epoch"),
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
    environment.filters["data_uri"] = _data_uri
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


def _data_uri(path: Path) -> str:
    """Return an image as the source of an <img>, so that the page is one file."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    code = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{kind};base64,{code}"

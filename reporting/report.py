"""The report of a run, from the files in its workdir: report.md, .html and .json."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reporting import content, exports, run_dir
from reporting.figures import motion as motion_figures
from reporting.figures import result_sheet, run_figures
from reporting.files import write_json
from reporting.page import render, sections
from reporting.run_dir import RunDir


def write(folder: Path | str) -> dict:
    """Write the report, the figures, `history.json` and `curves.csv`.

    Works on whatever a workdir holds: a run that was killed, diverged or has only begun
    gets a report that says so.

    Args:
        folder: The workdir.

    Returns:
        The content of `report.json`.

    Raises:
        FileNotFoundError: If there is no such directory.
        FormatError: It holds no run; nothing is written.
    """
    folder = Path(folder)
    run_dir.check_run(folder)
    run = RunDir(folder)
    report = content.assemble(run)
    exports.write(folder, run.history)
    images = run_figures.write(folder, run.history)
    images |= motion_figures.write(folder, report["data"])
    if (path := result_sheet.write(folder)) is not None:
        images["examples"] = [path]
    page = {
        "report": report,
        "title": report["recipe"] or folder.resolve().name,
        "folder": folder.resolve().name,
        "sections": sections.build(run, report, images),
    }
    render.render(folder, page)
    write_json(folder / f"{run_dir.REPORT}.json", report)
    return report


def exit_code(report: Mapping[str, Any]) -> int:
    """Return the exit code that a run's report asks for: 0, 1, 3, 4 or 75."""
    return int(report["exit_code"])

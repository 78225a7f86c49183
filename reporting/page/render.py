"""Writing pages: sections as Markdown and as one file of HTML."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

import jinja2
import markupsafe

from reporting.files import write_text

REPORT = "report"

_TEMPLATES = Path(__file__).parent / "templates"


def render(folder: Path, page: Mapping, name: str = REPORT) -> None:
    """Write `<name>.md` and `<name>.html`.

    Args:
        folder: Where to.
        page: `title` and `sections`; for a report also `report` with its outcome and
            reason, and `folder`.
        name: "report" or "compare".
    """
    environment = _environment()
    for kind in ("md", "html"):
        text = environment.get_template(f"{name}.{kind}.j2").render(page)
        write_text(folder / f"{name}.{kind}", text)


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
    """Return text as a cell of a Markdown table."""
    flat = " ".join(str(text).split())
    flat = flat.replace("\\", "\\\\").replace("|", "\\|")
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", flat)


def _prose(text: object) -> str:
    """Return text for HTML, with what stands in backticks as code."""
    escaped = markupsafe.escape(text)
    marked = re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escaped))
    return markupsafe.Markup(marked)


def _data_uri(path: Path) -> str:
    """Return an image as the source of an <img>, so that the page is one file."""
    kind = {".svg": "image/svg+xml", ".png": "image/png"}[path.suffix]
    code = base64.b64encode(path.read_bytes()).decode("ascii")
    return f"data:{kind};base64,{code}"

"""What a report is made of: sections, tables, and facts as rows of text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reporting.formatting import count, number

LISTED = 8  # names shown of a long list


@dataclass
class Table:
    """Cells of text; `tones` colors rows: "good", "bad", "wait" or "".

    On a narrow screen a table of `cards` shows each row as a card of its own; others
    are scrolled sideways. `notes` are sentences below a row, by its index.
    """

    header: list[str]
    rows: list[list[str]]
    tones: list[str] = field(default_factory=list)
    cards: bool = False
    notes: dict[int, list[str]] = field(default_factory=dict)

    def __post_init__(self):
        self.tones = self.tones or [""] * len(self.rows)


@dataclass
class Section:
    """A part of the report."""

    title: str
    text: list[str] = field(default_factory=list)
    # (tone, sentence), perhaps with (…, a further sentence of less weight)
    items: list[tuple[str, ...]] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    # (caption, its images)
    figures: list[tuple[str, list[Path]]] = field(default_factory=list)
    code: str = ""  # a command to be copied

    @property
    def slug(self) -> str:
        """The section's name in a link."""
        return self.title.lower().replace(" ", "-")


def facts(title: str, given: Mapping[str, Any], missing: str) -> Section:
    """Return a section that lists facts by name, or a sentence where there are none."""
    if not given:
        return Section(title, [missing])
    rows = [[name, text] for name, text in flat(given)]
    return Section(title, tables=[Table(["", "value"], rows)])


def flat(given: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Yield dotted names with their values as text."""
    for key, item in given.items():
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) and item:
            yield from flat(item, f"{name}.")
        else:
            yield name, as_text(item)


def as_text(value: Any) -> str:
    """Return a plain value as a cell of a table."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return str(value)
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, list | tuple):
        shown = ", ".join(as_text(item) for item in value[:LISTED])
        more = len(value) - LISTED
        return f"{shown}, and {count(more)} more" if more > 0 else shown or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {as_text(v)}" for k, v in value.items()) or "none"
    return str(value)

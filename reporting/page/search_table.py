"""Search results as a table, as JSON, and as an image."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tabulate import tabulate

from reporting.files import plain
from reporting.formatting import number

COLUMNS = ("rank", "score", "id", "filename", "name", "codes")
WIDEST = 40  # characters of a cell


def table(results: Sequence[Mapping], *, query: str, tied: int = 0) -> str:
    """Return the results of one query as text, best first.

    Args:
        results: One dict a neighbor with the keys `COLUMNS`; of these `score` is a
            cosine, `codes` a list of code names, and all but rank, score and id may be
            missing or empty.
        query: What was searched for, for the heading.
        tied: How many of the first scores are too close to be ranked by.

    Returns:
        A table with a heading, and a note where the order means little.
    """
    if not results:
        return f"{query}: nothing found."
    results = plain(results)  # a table of records hands out lists as arrays
    columns = [c for c in COLUMNS if any(_filled(r.get(c)) for r in results)]
    rows = [[_cell(c, result.get(c)) for c in columns] for result in results]
    align = ["right" if c in ("rank", "score", "id") else "left" for c in columns]
    text = tabulate(rows, columns, "simple", colalign=align, disable_numparse=True)
    note = tie_note([result["score"] for result in results], tied)
    return "\n".join(filter(None, [query, text, note]))


def as_json(results: Sequence[Mapping], *, query: str, tied: int = 0) -> str:
    """Return the same as one JSON object: `query`, `results`, `note`, `nearly_tied`.

    `nearly_tied` is true where all the scores are too close to be ranked by.
    """
    rows = [{c: result.get(c) for c in COLUMNS} for result in results]
    result = {
        "query": query,
        "results": plain(rows),
        "note": tie_note([result["score"] for result in results], tied),
        "nearly_tied": 1 < len(results) == tied,
    }
    return json.dumps(result, ensure_ascii=False, indent=2)


def tie_note(scores: Sequence[float], tied: int) -> str | None:
    """Return a sentence where the best scores lie too close to be ranked by, else None.

    Args:
        scores: Cosines, best first.
        tied: How many of the first do.
    """
    if tied < 2:
        return None
    which = "The" if tied == len(scores) else "The first"
    best, last = scores[0], scores[tied - 1]
    return (
        f"{which} {tied} scores lie within {number(best - last)} of each other "
        f"({number(best)} to {number(last)}): their order says little."
    )


def _filled(value: object) -> bool:
    return value not in (None, "", "nan", [])


def _cell(column: str, value: Any) -> str:
    if not _filled(value):
        return ""
    if column == "score":
        return number(value)
    if column == "codes" and not isinstance(value, str):
        value = ", ".join(map(str, value))
    # A file name may hold line breaks or control characters of a
    # user's choice.
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= WIDEST else f"{text[: WIDEST - 1]}…"

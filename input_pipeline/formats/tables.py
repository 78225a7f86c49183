"""The one reader of tables: CSV, TSV, JSON lines and parquet, every cell as text.

No type is guessed: "001" stays "001", and an empty cell is None, never a value. A
column of numbers is parsed by whoever needs numbers, with `parse_numbers`.
"""

import csv
import io
import json
import math
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from absl import logging

from input_pipeline import dataset

SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")
_DELIMITERS = (",", ";", "\t", "|")
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
# Texts by which other programs mean an empty cell; here they are text.
_MISSING_WORDS = {"na", "n/a", "nan", "null", "none", "<na>", "nil"}
_LISTED = 10
_EXACT = 2.0**53  # up to here floats hold every whole number


class _Lines(tuple[int, ...]):
    """Line numbers that pandas does not copy one by one with a table's attributes."""

    __slots__ = ()

    def __deepcopy__(self, memo: dict) -> "_Lines":
        return self


def read_table(
    path: pathlib.Path | str,
    *,
    required: Sequence[str] = (),
    optional: Sequence[str] = (),
    field: str = "",
    content: bytes | None = None,
) -> pd.DataFrame:
    """Read a table as text.

    CSV may be separated by commas, semicolons, tabs or "|" (the one by which the first
    line has most of the asked columns, and else most columns), in UTF-8 with or without
    a byte-order mark. Cells are stripped. Lists in JSON lines and parquet become text
    joined by ";".

    Args:
        path: `.jsonl` or `.ndjson`, `.parquet`; any other ending is read as CSV.
        required: Columns that have to be there. A column that differs in capitals only
            gets the name as it is here.
        optional: Further columns whose capitals do not matter.
        field: Config field that named the file, such as "data.table", for messages.
        content: Bytes of the file where they are at hand.

    Returns:
        Columns of dtype object that hold str, or None where a cell is empty. `row_name`
        says where a row stands in the file.

    Raises:
        DataError: If the file cannot be read, is not UTF-8, has rows of another length
            than its first line, or lacks a required column.
    """
    file = pathlib.Path(path)
    where = f"{field}: {file}" if field else f"got {file}"
    if content is None:
        try:
            content = file.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise dataset.DataError(f"{where} cannot be read ({reason})") from None
    suffix = file.suffix.lower()
    delimiter = ""
    if suffix == ".parquet":
        columns, lines = _parquet(content, where), "row"
    elif suffix in (".jsonl", ".ndjson"):
        columns, lines = _json_lines(_decode(content, where), where)
    else:
        text = _decode(content, where)
        delimiter = _delimiter(text, (*required, *optional))
        columns, lines = _csv(text, delimiter, where)
    table = pd.DataFrame(columns, dtype=object)
    table = _with_spelling(table, (*required, *optional))
    missing = [name for name in required if name not in table]
    if missing:
        raise dataset.DataError(
            f"{where} has no column {', '.join(map(repr, missing))}; choices: "
            f"{', '.join(map(str, table.columns)) or 'none'}"
        )
    _tell_missing_words(table, file)
    table.attrs = {"where": where, "lines": lines, "decimal_comma": delimiter == ";"}
    return table


def row_name(table: pd.DataFrame, row: int) -> str:
    """Return where a row of `read_table` stands in its file: "line 7", "row 5"."""
    kind = "row" if table.attrs["lines"] == "row" else "line"
    return f"{kind} {row_numbers(table)[row]}"


def row_numbers(table: pd.DataFrame) -> Sequence[int]:
    """Return the line of each row of `read_table`; of parquet, the row from 0."""
    lines = table.attrs["lines"]
    return range(len(table)) if lines == "row" else lines


def parse_numbers(
    table: pd.DataFrame, column: str, *, whole: bool = False, missing: bool = False
) -> np.ndarray:
    """Return a column of `read_table` as numbers.

    A table separated by semicolons may write 1,5 for 1.5.

    Args:
        table: What `read_table` returned.
        column: Name of the column.
        whole: Whether the numbers have to be whole; "3.0" is.
        missing: Whether cells may be empty; they become NaN.

    Returns:
        float64 [n]; int64 where `whole` and not `missing`.

    Raises:
        DataError: If a cell is no finite number, or empty; names the first.
    """
    text = table[column]
    if table.attrs["decimal_comma"]:
        text = text.str.replace(",", ".")
    numbers = np.asarray(pd.to_numeric(text, errors="coerce"), np.float64)
    empty = text.isna().to_numpy()
    bad = ~np.isfinite(numbers) & ~(empty & missing)
    if whole:
        bad |= np.isfinite(numbers) & (numbers != np.floor(numbers))
    if bad.any():
        row = int(np.argmax(bad))
        cell = "nothing" if empty[row] else repr(text.iloc[row])
        raise dataset.DataError(
            f"{table.attrs['where']} has {cell} in column {column!r}, "
            f"{row_name(table, row)} ({int(bad.sum())} such rows); expected "
            f"{'whole numbers' if whole else 'numbers'}"
        )
    if not whole or missing:
        return numbers
    try:
        return np.array([int(cell) for cell in text], np.int64)  # beyond 2^53, too
    except (ValueError, OverflowError):
        return numbers.astype(np.int64)


def to_text(values: Iterable[Any]) -> list[str | None]:
    """Return values of any kind as text; None, NaN and empty text become None.

    A whole number has no ".0", whatever its type: pandas makes floats of whole numbers
    where one is missing.
    """
    return [_text(value) for value in values]


def _text_of_bytes(value: bytes) -> str | None:
    """Return bytes as text where they are UTF-8, else their hexadecimal digits."""
    try:
        text = value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.hex()
    return text or None if text.isprintable() else value.hex()


def _text(value: Any) -> str | None:
    if value is None or value is pd.NaT:
        return None
    if isinstance(value, str):
        return value.strip() or None
    if isinstance(value, bytes):
        return _text_of_bytes(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        if math.isnan(value):
            return None
        whole = value.is_integer() and abs(value) < _EXACT
        return str(int(value)) if whole else repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple, np.ndarray)):
        return ";".join(text for text in to_text(value) if text) or None
    if isinstance(value, Mapping):
        return json.dumps(value, default=str)
    return str(value).strip() or None


def _decode(content: bytes, where: str) -> str:
    encoding = _BOMS.get(content[:2])
    if encoding:
        raise dataset.DataError(
            f"{where}, which is {encoding}, not UTF-8; expected UTF-8, so save it as "
            "that"
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise dataset.DataError(
            f"{where}, line {line}, which is not UTF-8 (byte "
            f"0x{content[error.start]:02x}); expected UTF-8, so save it as that"
        ) from None


def _csv(
    text: str, delimiter: str, where: str
) -> tuple[dict[str, list], Sequence[int]]:
    """Return the columns of a CSV text, and the line of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    rows, lines = [], []
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(reader.line_num)
    except csv.Error as error:
        raise dataset.DataError(
            f"{where}, line {reader.line_num}, which is no CSV ({error})"
        ) from None
    if not rows:
        raise dataset.DataError(
            f"{where}, which is empty; expected a line of column names"
        )
    names = [name.strip() for name in rows.pop(0)]
    while rows and not any(cell.strip() for cell in rows[-1]):
        rows.pop()  # spreadsheets leave such rows at the end
    lines = lines[1 : len(rows) + 1]
    while len(names) > 1 and not names[-1] and not any(map(_last_cell(names), rows)):
        names.pop()
        rows = [row[: len(names)] for row in rows]
    broken = [n for row, n in zip(rows, lines, strict=True) if len(row) != len(names)]
    if broken:
        raise dataset.DataError(
            f"{where}, where {len(broken)} rows have more or fewer than {len(names)} "
            f"fields, in lines {_some(broken)}; expected quotes around text that has "
            f"{delimiter!r} in it"
        )
    names = [name or f"column {k + 1}" for k, name in enumerate(names)]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise dataset.DataError(f"{where}, which has the columns {repeated} twice")
    cells = zip(*rows, strict=True) if rows else [()] * len(names)
    columns = {
        name: [cell.strip() or None for cell in column]
        for name, column in zip(names, cells, strict=True)
    }
    return columns, _Lines(lines)


def _last_cell(names: list[str]):
    """Return a function that says whether a row has text beyond all other columns."""
    last = len(names) - 1
    return lambda row: len(row) > last and any(cell.strip() for cell in row[last:])


def _delimiter(text: str, names: Sequence[str]) -> str:
    """Return the character between the columns, by the first line.

    Args:
        text: Content of the file.
        names: Columns that are asked for.
    """
    first = next((line for line in text.splitlines() if line.strip()), "")
    asked = {name.casefold() for name in names}

    def score(delimiter: str) -> tuple[int, int]:
        try:
            row = next(csv.reader([first], delimiter=delimiter), [])
        except csv.Error:
            return 0, 0
        return len(asked & {cell.strip().casefold() for cell in row}), len(row)

    return max(_DELIMITERS, key=score)


def _json_lines(text: str, where: str) -> tuple[dict[str, list], Sequence[int]]:
    rows, lines = [], []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise dataset.DataError(
                f"{where}, line {number}, which is no JSON ({error})"
            ) from None
        if not isinstance(row, dict):
            raise dataset.DataError(
                f"{where}, line {number}, which holds {type(row).__name__}; expected "
                "an object with the columns of a row"
            )
        rows.append(row)
        lines.append(number)
    names = dict.fromkeys(name.strip() for row in rows for name in row)
    columns = {name: to_text(row.get(name) for row in rows) for name in names}
    return columns, _Lines(lines)


def _parquet(content: bytes, where: str) -> dict[str, list]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise dataset.DataError(
            f"{where}, which is no parquet file that can be read ({error})"
        ) from None
    return {name: to_text(table[name].to_pylist()) for name in table.column_names}


def _with_spelling(table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Return the table with columns spelled as in `names`, where that is clear."""
    spelled = {}
    for name in names:
        same = [c for c in table.columns if c.casefold() == name.casefold()]
        if name not in table and len(same) == 1:
            spelled[same[0]] = name
    return table.rename(columns=spelled)


def _tell_missing_words(table: pd.DataFrame, file: pathlib.Path) -> None:
    for column in table:
        words = Counter(
            text
            for text in table[column]
            if text and len(text) <= 4 and text.casefold() in _MISSING_WORDS
        )
        for text, count in words.items():
            logging.warning(
                "%s: %d cells of column %r read %r, which is taken as text; leave "
                "cells empty where nothing is known",
                file, count, column, text,
            )  # fmt: skip


def _some(values: list) -> str:
    return ", ".join(map(str, values[:_LISTED])) + (
        ", ..." if len(values) > _LISTED else ""
    )

"""Columns that come with an array of records: in an npz, a parquet file or a table.

Only columns that are asked for are read, so that others may hold anything.
"""

import abc
import pathlib
import zipfile
import zlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from input_pipeline import dataset
from input_pipeline.formats import npy_headers, tables

_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)
TABLES = (".csv", ".tsv", ".jsonl", ".parquet")  # beside an .npy file


class Columns(abc.ABC):
    """Columns of a file, one row a record.

    Attributes:
        names: Columns that there are.
        rows: Number of rows.
    """

    names: list[str]
    rows: int

    @abc.abstractmethod
    def text(self, name: str) -> list[str | None]:
        """Return a column as text, None where there is nothing.

        Raises:
            DataError: The column cannot be read.
        """

    @abc.abstractmethod
    def numbers(self, name: str) -> np.ndarray:
        """Return a column as numbers, int64 or float64 [rows]; times are numbers, too.

        Raises:
            DataError: A cell is empty or no number; names the first.
        """

    def row_name(self, row: int) -> str:
        """Return where a row stands in the file."""
        return f"row {row}"


def open_columns(file: pathlib.Path, rows: int, key: str) -> Columns:
    """Return the columns of a file of vectors.

    Args:
        file: `.npz`, `.parquet`, or `.npy` with a table of the same name.
        rows: Number of vectors.
        key: Array of an npz that holds the vectors and is no column.

    Raises:
        DataError: There is no table, there are several, or it has other rows.
    """
    if file.suffix.lower() == ".npz":
        return ArchiveColumns(file, rows, key)
    if file.suffix.lower() == ".parquet":
        return ParquetColumns(file)
    beside = table_beside(file)
    if beside is None:
        raise dataset.DataError(
            f"data.path: {file} has no table; expected {file.with_suffix('.csv')} with "
            "a row for each vector and columns for article and position"
        )
    table = tables.read_table(beside, field="data.path")
    if len(table) != rows:
        raise dataset.DataError(
            f"data.path: {beside} has {len(table)} rows for {rows} vectors; expected "
            "one each"
        )
    return TableColumns(table)


def table_beside(file: pathlib.Path) -> pathlib.Path | None:
    """Return the table that has the name of an `.npy` file, or None.

    Raises:
        DataError: There are several.
    """
    existing = [file.with_suffix(suffix) for suffix in TABLES]
    existing = [path for path in existing if path.is_file()]
    if len(existing) > 1:
        names = ", ".join(path.name for path in existing)
        raise dataset.DataError(
            f"data.path: {names} lie beside {file}; expected one of them"
        )
    return existing[0] if existing else None


class TableColumns(Columns):
    """Columns of a table beside the records.

    Args:
        table: Table from `tables.read_table`.
    """

    def __init__(self, table: pd.DataFrame):
        self._table, self.names, self.rows = table, list(table.columns), len(table)

    def text(self, name: str) -> list[str | None]:
        """Return a column as text."""
        return self._table[name].tolist()

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as numbers."""
        numbers = tables.parse_numbers(self._table, name)
        whole = (numbers == np.floor(numbers)).all()
        return tables.parse_numbers(self._table, name, whole=True) if whole else numbers

    def row_name(self, row: int) -> str:
        """Return where a row stands in the file."""
        return tables.row_name(self._table, row)


class ArchiveColumns(Columns):
    """Arrays of an npz file, [rows] or [rows, 1] each.

    Args:
        path: The file.
        rows: Number of records.
        key: Array that is no column.
    """

    def __init__(self, path: pathlib.Path, rows: int, key: str):
        self._path, self.rows = path, rows
        headers = npy_headers.read_headers(path)
        self.names = [
            name
            for name, (shape, _) in headers.items()
            if name != key and shape in ((rows,), (rows, 1))
        ]
        self._headers = headers

    def holds_objects(self, name: str) -> bool:
        """Return whether an array holds Python objects, which are not read."""
        return self._headers[name][1].hasobject

    def text(self, name: str) -> list[str | None]:
        """Return an array as text."""
        return tables.to_text(self._read(name).tolist())

    def numbers(self, name: str) -> np.ndarray:
        """Return an array as numbers."""
        values = self._read(name)
        if values.dtype.kind in "SU":
            return _parsed(tables.to_text(values.tolist()), self._path, name)
        if values.dtype.kind in "mM":
            missing = np.isnat(values)
            return _complete(values.astype(np.int64), missing, self._path, name)
        return _complete(values, None, self._path, name)

    def _read(self, name: str) -> np.ndarray:
        if self._headers[name][1].hasobject:
            raise dataset.DataError(npy_headers.object_message(self._path, name))
        try:
            with np.load(self._path, allow_pickle=False) as archive:
                return archive[name].reshape(self.rows)
        except _UNREADABLE as error:
            raise _damaged(self._path, name, error) from None


class ParquetColumns(Columns):
    """Columns of a parquet file, but for lists.

    Args:
        path: The file.
    """

    def __init__(self, path: pathlib.Path):
        self._path = path
        file = pq.ParquetFile(path)
        self.rows = file.metadata.num_rows
        self.names = [
            field.name
            for field in file.schema_arrow
            if not pa.types.is_nested(field.type)
        ]

    def text(self, name: str) -> list[str | None]:
        """Return a column as text, categories by their names."""
        return tables.to_text(self._read(name).to_pylist())

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as numbers."""
        column = self._read(name)
        kind = column.type
        if pa.types.is_temporal(kind):
            wide = pa.types.is_date32(kind) or pa.types.is_time32(kind)
            column = column.cast(pa.int32() if wide else pa.int64())
            kind = column.type
        if pa.types.is_integer(kind):
            missing = column.is_null().to_numpy()
            return _complete(column.fill_null(0).to_numpy(), missing, self._path, name)
        if pa.types.is_floating(kind):
            return _complete(column.to_numpy(), None, self._path, name)
        return _parsed(tables.to_text(column.to_pylist()), self._path, name)

    def _read(self, name: str) -> pa.ChunkedArray:
        try:
            column = pq.read_table(self._path, columns=[name])[name]
        except (OSError, ValueError, pa.ArrowException) as error:
            raise _damaged(self._path, name, error) from None
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column


def _damaged(path: pathlib.Path, name: str, error: Exception) -> dataset.DataError:
    return dataset.DataError(
        f"{path}: {name!r} cannot be read ({error}); copy the file again"
    )


def _parsed(text: Sequence[str | None], path: pathlib.Path, name: str) -> np.ndarray:
    """Return text as numbers."""
    table = pd.DataFrame({name: list(text)}, dtype=object)
    table.attrs = {"where": str(path), "lines": "row", "decimal_comma": False}
    return TableColumns(table).numbers(name)


def _complete(
    values: np.ndarray, missing: np.ndarray | None, path: pathlib.Path, name: str
) -> np.ndarray:
    """Return numbers as int64 or float64, after a check that none is missing."""
    if values.dtype.kind not in "iuf":
        raise dataset.DataError(
            f"{path} has {values.dtype} in {name!r}; expected numbers"
        )
    if missing is None:
        missing = ~np.isfinite(values)
    if missing.any():
        row = int(np.argmax(missing))
        raise dataset.DataError(
            f"{path} has nothing in column {name!r}, row {row} ({int(missing.sum())} "
            "such rows); expected numbers"
        )
    return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)

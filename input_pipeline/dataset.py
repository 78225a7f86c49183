"""The contract of datasets: random access to records, and a table of their columns."""

import dataclasses
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

RECORD_COLUMNS = ("id", "label", "codes", "code_weights")
MISSING = -1


class DataError(ValueError):
    """The input data is at fault; the message says where and what to do."""


# Row numbers, or one bool a record.
Rows: TypeAlias = Sequence[int] | np.ndarray


@dataclasses.dataclass(frozen=True)
class Split:
    """Records of one split: their columns in memory, their fields read when asked for.

    Attributes:
        source: Random access, `source[i] -> {field: array}`, the same fields and shapes
            for every record; picklable. An image is `image` uint8 [S, S, 3].
            `source.read(rows)`, where there is one, returns many records at once.
        table: One row a record. `id` int64 [n] is unique over all splits of a dataset
            and fits int32; `label` int32 [n], -1 for none; `codes` int32 [n, C], padded
            with -1; `code_weights` float32 [n, C], 0 where padded; `name`, `filename`,
            `source` and further columns: list[str].
        label_names: The name of each label.
        code_names: The name of each code.
    """

    source: Sequence
    table: dict[str, Any]
    label_names: list[str]
    code_names: list[str]

    def __post_init__(self):
        lengths = {name: len(column) for name, column in self.table.items()}
        if set(lengths.values()) != {len(self.source)}:
            raise ValueError(
                f"got columns of lengths {lengths} for {len(self.source)} records; "
                "expected one row a record"
            )

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        record = dict(self.source[row])
        record.update({name: self.table[name][row] for name in RECORD_COLUMNS})
        return record

    def read(self, rows: Rows) -> dict[str, np.ndarray]:
        """Return the fields of `rows`, [m, ...] each, in that order."""
        return read_fields(self.source, np.asarray(rows, np.int64))

    def take(self, rows: Rows) -> "Split":
        """Return the split of `rows`, in that order, reading from the same files."""
        index = np.asarray(rows)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        index = index.astype(np.int64)
        table = {}
        for name, column in self.table.items():
            if isinstance(column, np.ndarray):
                table[name] = column[index]
            else:
                table[name] = [column[row] for row in index]
        return dataclasses.replace(self, source=_Rows(self.source, index), table=table)


class Data(NamedTuple):
    """What `load` returns.

    Attributes:
        train: Records to learn from.
        validation: Records held out, disjoint by group.
        facts: JSON values for the report.
        extra: Further splits by name, for evaluators that ask for them: galleries to be
            lost in, near-duplicates.
        grouped_by: Column whose values have to be on one side only; "" where both sides
            hold the same things on purpose.
    """

    train: Split
    validation: Split
    facts: dict
    extra: Mapping[str, Split] = MappingProxyType({})
    grouped_by: str = "label"


def columns_without_codes(
    ids: np.ndarray, labels: np.ndarray | None = None
) -> dict[str, Any]:
    """Return the columns that every table has, for records without codes.

    Args:
        ids: Int [n].
        labels: Int [n]; None for records without labels.
    """
    n = len(ids)
    return {
        "id": np.asarray(ids, np.int64),
        "label": np.full(n, MISSING, np.int32)
        if labels is None
        else np.asarray(labels, np.int32),
        "codes": np.full((n, 1), MISSING, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
    }


def single(fields: Mapping[str, np.ndarray], name: str, path: str) -> Split:
    """Return a split of one record that has no label and no code."""
    table = columns_without_codes(np.zeros(1)) | {"name": [name], "path": [path]}
    return Split([dict(fields)], table, [], [])


def concatenate(a: Split, b: Split) -> Split:
    """Return the records of `a` followed by those of `b`, of the same dataset.

    Columns that only one of them has are dropped; ids stay as they are.

    Raises:
        ValueError: If labels or codes are named differently, so that their numbers
            would mean different things.
    """
    if a.label_names != b.label_names or a.code_names != b.code_names:
        raise ValueError(
            "got two splits whose labels or codes are named differently; "
            "expected splits of one dataset"
        )
    table = {}
    for name in [name for name in a.table if name in b.table]:
        first, second = a.table[name], b.table[name]
        if not isinstance(first, np.ndarray):
            table[name] = list(first) + list(second)
            continue
        if first.ndim == 2:
            width = max(first.shape[1], second.shape[1])
            empty = MISSING if name == "codes" else 0
            first, second = _widen(first, width, empty), _widen(second, width, empty)
        table[name] = np.concatenate([first, second])
    return Split(_Chain(a.source, b.source), table, a.label_names, a.code_names)


def read_fields(source: Sequence, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the fields of `rows`, [m, ...] each; at once where it can."""
    if hasattr(source, "read"):
        return source.read(rows)
    if not len(rows):
        first = source[0] if len(source) else {}
        return {name: np.asarray(value)[None][:0] for name, value in first.items()}
    records = [source[int(row)] for row in rows]
    return {name: np.stack([r[name] for r in records]) for name in records[0]}


def _widen(column: np.ndarray, width: int, empty: int) -> np.ndarray:
    pad = ((0, 0), (0, width - column.shape[1]))
    return np.pad(column, pad, constant_values=empty)


class _Rows:
    """Some rows of a source, in the order asked for."""

    def __init__(self, source: Sequence, rows: np.ndarray):
        if isinstance(source, _Rows):
            source, rows = source._source, source._rows[rows]
        if rows.size and (rows.min() < 0 or rows.max() >= len(source)):
            raise IndexError(f"got rows outside 0..{len(source) - 1}")
        self._source, self._rows = source, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> dict:
        return self._source[int(self._rows[row])]

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Read many records at once."""
        return read_fields(self._source, self._rows[rows])


class _Chain:
    """Two sources one after the other."""

    def __init__(self, first: Sequence, second: Sequence):
        self._first, self._second = first, second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, row: int) -> dict:
        row = range(len(self))[row]
        if row < len(self._first):
            return self._first[row]
        return self._second[row - len(self._first)]

    def read(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Read many records at once, from whichever source holds them."""
        late = rows >= len(self._first)
        if not late.any():
            return read_fields(self._first, rows)
        second = read_fields(self._second, rows[late] - len(self._first))
        if late.all():
            return second
        first = read_fields(self._first, rows[~late])
        joined = {}
        for name, values in first.items():
            joined[name] = np.empty((len(rows), *values.shape[1:]), values.dtype)
            joined[name][~late], joined[name][late] = values, second[name]
        return joined

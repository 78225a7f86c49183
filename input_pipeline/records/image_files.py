"""The files of a folder that are records, their labels, and rejected files."""

import pathlib
import posixpath
from collections import Counter
from typing import NamedTuple

import numpy as np

from input_pipeline import dataset, splits
from input_pipeline.formats import label_table
from input_pipeline.records import columns as columns_lib

_UNLABELED = label_table.Label(0, "", (), {})
_RESERVED = {"id", "label", "codes", "code_weights", "filename", "image"}


class Index(NamedTuple):
    """Files before any is opened; an id is a position in `paths`."""

    paths: list[str]
    labels: dict[str, label_table.Label]
    extra: list[str]
    groups: list[str]
    rejected: list[tuple[str, str]]
    ignored: list[str]

    @property
    def total(self) -> int:
        """Number of files and of labels without one."""
        return len(self.paths) + len(self.rejected)

    def columns(self, ids: np.ndarray) -> columns_lib.Columns:
        """Return the table of the records `ids`."""
        rows = [self.labels.get(path, _UNLABELED) for path in self.paths]
        label_names = sorted({row.codes[-1] for row in rows if row.codes})
        code_names = sorted({code for row in rows for code in row.codes})
        label_of = {name: k for k, name in enumerate(label_names)}
        code_of = {name: k for k, name in enumerate(code_names)}
        paths = [self.paths[k] for k in ids.tolist()]
        rows = [rows[k] for k in ids.tolist()]
        labels = [label_of[row.codes[-1]] if row.codes else -1 for row in rows]
        table = {
            "id": ids,
            "label": np.array(labels, np.int32),
            "codes": columns_lib.pad_codes(
                [[code_of[code] for code in dict.fromkeys(row.codes)] for row in rows]
            ),
            "filename": [label_table.shown(path) for path in paths],
            "name": [
                row.extra.get("name") or label_table.shown(posixpath.basename(path))
                for row, path in zip(rows, paths, strict=True)
            ],
            "source": [row.extra.get("source", "") for row in rows],
        }
        for name in self.extra:
            column = f"labels_{name}" if name in _RESERVED else name
            if column not in table:
                table[column] = [row.extra.get(name, "") for row in rows]
        return columns_lib.Columns(table, label_names, code_names)


class Tally:
    """Counts what is left out and refuses too much of it."""

    def __init__(self, total: int, limit: float):
        self.total = total
        self._limit = int(limit) if limit > 1 else int(limit * total)
        self._shown: list = []
        self._count = 0

    def add(self, rejected: list, count: int | None = None) -> None:
        """Add (file, reason) pairs, of which there may be more than are listed.

        Raises:
            DataError: If more than the limit have been added.
        """
        self._shown += rejected[: 10 - len(self._shown)]
        self._count += len(rejected) if count is None else count
        if self._count <= self._limit:
            return
        raise dataset.DataError(
            f"got {self._count} files of {self.total} that cannot be used, more than "
            f"the {self._limit} that data.max_rejected allows"
            + self.listing(self._shown)
            + "\nMend or remove them, or raise data.max_rejected (a share up to 1, or "
            "a number of files above 1)"
        )

    @staticmethod
    def listing(rejected: list) -> str:
        """Return lines that name the first ten files with their reasons."""
        if not rejected:
            return ""
        lines = [f"\n  {name}: {reason}" for name, reason in rejected[:10]]
        return "; the first left out are:" + "".join(lines)


def build(root: pathlib.Path, files: label_table.Files, content: bytes | None) -> Index:
    """Return the files that may be records, with their labels."""
    labels, extra, rejected, ignored = {}, [], list(files.rejected), []
    paths = files.paths
    if content is not None:
        rows, extra = label_table.read_labels(root / label_table.LABELS, content)
        labels, lost = label_table.match(files, rows)
        rejected += lost
        # Unlisted non-image files next to labels.csv are ignored, not counted as
        # rejected.
        ignored = [p for p in paths if p not in labels and not label_table.is_image(p)]
        skipped = set(ignored)
        paths = [path for path in paths if path not in skipped]
    if not paths:
        kinds = Counter(posixpath.splitext(path)[1] or "(none)" for path in files.paths)
        raise dataset.DataError(
            f"got {root} with {len(files.paths)} files (endings: "
            f"{dict(kinds.most_common(5))}) and no image; expected images in it or "
            "in its sub-folders" + Tally.listing(rejected)
        )
    rejected = [(label_table.shown(name), reason) for name, reason in rejected]
    groups = [
        f"code {labels[path].codes[-1]}"
        if path in labels and labels[path].codes
        else f"file {path}"
        for path in paths
    ]
    return Index(paths, labels, extra, groups, rejected, ignored)


def held_out_files(groups: list[str], val_fraction: float, seed: int) -> np.ndarray:
    """Return which files are held out, bool [n], whole groups at a time.

    Args:
        groups: Group of each file.
        val_fraction: Share of the groups.
        seed: Random seed of the split.
    """
    names, number = np.unique(np.array(groups, object), return_inverse=True)
    order = splits.hashed_order(names, seed)
    return splits.held_out_groups(order, val_fraction)[number]

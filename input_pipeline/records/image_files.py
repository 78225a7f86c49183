"""The files of a folder that are records, their labels, and rejected files."""

import pathlib
import posixpath
from collections import Counter
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from input_pipeline import dataset, splits
from input_pipeline.formats import image as image_format
from input_pipeline.formats import label_table
from input_pipeline.records import columns as columns_lib

LabelSource: TypeAlias = Literal["auto", "table", "folder", "none"]
SplitBy: TypeAlias = Literal["auto", "code", "file"]
_UNLABELED = label_table.Label(0, "", (), {})
_FEWEST_CODES = 20  # held out as wholes; of fewer, files are
_RESERVED = {"id", "label", "codes", "code_weights", "filename", "image"}


class Index(NamedTuple):
    """Files before any is opened; an id is a position in `paths`.

    Attributes:
        paths: Paths below the root.
        labels: What is known of an image, by path.
        labels_from: Name of the table, "sub-folders" or "none".
        extra: Further columns of the table.
        groups: Group of each path; all files of a group are on one side of the split.
        split_by: "code" or "file".
        rejected: (path or row, reason) of what cannot be used.
        ignored: Files that are no images.
    """

    paths: list[str]
    labels: dict[str, label_table.Label]
    labels_from: str
    extra: list[str]
    groups: list[str]
    split_by: str
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
        share = max(int(limit * total), 1) if limit > 0 else 0
        self._limit = int(limit) if limit > 1 else share
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


def build(
    root: pathlib.Path,
    files: label_table.Files,
    table: pathlib.Path | None,
    content: bytes,
    labels: LabelSource,
    split_by: SplitBy,
) -> Index:
    """Return the files that may be records, with their labels.

    Args:
        root: The folder.
        files: What lies in it.
        table: Its table of labels, if there is one and it is to be read.
        content: Bytes of the table.
        labels: Where labels come from; "auto": the table if there is one, else
            sub-folders that look like classes.
        split_by: What is held out; "auto": codes if there are at least 20.
    """
    rows, extra, rejected, labels_from = {}, [], list(files.rejected), "none"
    if table is not None:
        read, extra = label_table.read_labels(table, content)
        rows, unmatched = label_table.match(root, files, read, table.name)
        rejected += unmatched
        labels_from = table.name
    paths = [
        p for p in files.paths if p in rows or image_format.is_image_file(root / p)
    ]
    if not paths:
        kinds = Counter(posixpath.splitext(path)[1] or "(none)" for path in files.paths)
        raise dataset.DataError(
            f"got {root} with {len(files.paths)} files (endings: "
            f"{dict(kinds.most_common(5))}) and no image; expected images in it or "
            "in its sub-folders" + Tally.listing(rejected)
        )
    if table is None and labels in ("auto", "folder"):
        by_folder = label_table.folder_labels(paths)
        if labels == "folder" or label_table.looks_labeled(paths, by_folder):
            rows, labels_from = by_folder, "sub-folders"
    codes = {path: row.codes[-1] for path, row in rows.items() if row.codes}
    if split_by == "auto":
        split_by = "code" if len(set(codes.values())) >= _FEWEST_CODES else "file"
    groups = [f"file {path}" for path in paths]
    if split_by == "code":
        groups = [
            f"code {codes[path]}" if path in codes else group
            for path, group in zip(paths, groups, strict=True)
        ]
    kept = set(paths)
    return Index(
        paths=paths,
        labels=rows,
        labels_from=labels_from,
        extra=extra,
        groups=groups,
        split_by=split_by,
        rejected=[(label_table.shown(name), reason) for name, reason in rejected],
        ignored=[path for path in files.paths if path not in kept],
    )


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

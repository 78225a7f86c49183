"""The files of a folder that are records, their labels, and facts on them."""

import pathlib
import posixpath
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from input_pipeline import dataset, splits
from input_pipeline.formats import label_table
from input_pipeline.records import columns as columns_lib
from input_pipeline.records import tally

LabelSource: TypeAlias = Literal["auto", "table", "folder", "none"]
SplitBy: TypeAlias = Literal["auto", "code", "file"]
_UNLABELED = label_table.Label(0, "", (), {})
_LISTED = 100
_FEWEST_CODES = 20  # held out as wholes; of fewer, files are
_RESERVED = {"id", "label", "codes", "code_weights", "filename", "image"}


class Table(NamedTuple):
    """A table of labels: its path, its rows as text, and the line of each."""

    path: pathlib.Path
    rows: pd.DataFrame
    lines: Sequence[int]


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


def build(
    root: pathlib.Path,
    files: label_table.Files,
    table: Table | None,
    labels: LabelSource,
    split_by: SplitBy,
    is_image: Callable[[pathlib.Path], bool],
) -> Index:
    """Return the files that may be records, with their labels.

    Args:
        root: The folder.
        files: What lies in it.
        table: Its table of labels, if there is one and it is to be read.
        labels: Where labels come from; "auto": the table if there is one, else
            sub-folders that look like classes.
        split_by: What is held out; "auto": codes if there are at least 20.
        is_image: Whether a file is an image, good or damaged.
    """
    rows, extra, rejected, labels_from = {}, [], list(files.rejected), "none"
    if table is not None:
        read, extra = label_table.read_labels(table.path, table.rows, table.lines)
        labels_from = table.path.name
        rows, unmatched = label_table.match(root, files, read, labels_from)
        rejected += unmatched
    paths = [p for p in files.paths if p in rows or is_image(root / p)]
    if not paths:
        kinds = Counter(posixpath.splitext(path)[1] or "(none)" for path in files.paths)
        raise dataset.DataError(
            f"got {root} with {len(files.paths)} files (endings: "
            f"{dict(kinds.most_common(5))}) and no image; expected images in it or "
            "in its sub-folders" + tally.Tally.listing(rejected)
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


def describe(
    reports: list[dict],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    index: Index,
    root: pathlib.Path,
) -> dict[str, Any]:
    """Return facts on a folder.

    Args:
        reports: Reports of the blocks that were decoded.
        train: Ids of training.
        validation: Ids held out.
        index: The files.
        root: The folder, for messages.

    Raises:
        DataError: There is no record.
    """
    rejected = index.rejected + [tuple(r) for part in reports for r in part["rejected"]]
    sizes = np.array([size for part in reports for size in part["sizes"]])
    records = len(train) + len(validation)
    if not records:
        raise dataset.DataError(
            f"got {root} without one image that can be read; expected some"
            + tally.Tally.listing(rejected)
        )
    ids = np.concatenate([train, validation])
    rows = [index.labels.get(index.paths[k]) for k in ids.tolist()]
    sources = Counter(row.extra.get("source", "") for row in rows if row)
    deep = [bits for part in reports for bits in part["deep"]]
    from_table = index.labels_from not in ("none", "sub-folders")
    return {
        "files": index.total,
        "groups": {
            "train": len({index.groups[k] for k in train.tolist()}),
            "validation": len({index.groups[k] for k in validation.tolist()}),
        },
        "labels_from": index.labels_from,
        "labels": len({row.codes[-1] for row in rows if row and row.codes}),
        "split_by": index.split_by,
        "without_codes": sum(not (row and row.codes) for row in rows),
        "not_listed": rows.count(None) if from_table else 0,
        "per_source": dict(sources),
        "deep": {"images": len(deep), "bits": max(deep, default=0)},
        "gray_share": sum(part["gray"] for part in reports) / records,
        "image_sizes": {
            "min": sizes.min(0).tolist(),
            "median": np.median(sizes, axis=0).tolist(),
            "max": sizes.max(0).tolist(),
        },
        **_duplicates(reports),
        **_left_out(rejected, index.ignored),
    }


def _duplicates(reports: list[dict]) -> dict:
    """Count images that are pixel for pixel one that came before."""
    train, validation = (
        Counter(content for part in reports for content in part[split])
        for split in ("train", "validation")
    )
    return {
        "duplicates": (train + validation).total() - len(train | validation),
        "duplicates_across_splits": sum(
            validation[k] for k in validation if k in train
        ),
    }


def _left_out(rejected: list[tuple[str, str]], ignored: list[str]) -> dict:
    reasons = Counter(reason.split(" (")[0].split(":")[0] for _, reason in rejected)
    return {
        "rejected_total": len(rejected),
        "rejected_by_reason": dict(reasons.most_common()),
        "rejected": rejected[:_LISTED],
        "ignored_total": len(ignored),
        "ignored": [label_table.shown(path) for path in ignored[:_LISTED]],
    }

"""The files of a folder of images, and its labels: a table, or its sub-folders."""

import hashlib
import os
import pathlib
import posixpath
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from input_pipeline import dataset

LABELS = "labels.csv"
_TABLES = (LABELS, "labels.tsv", "labels.jsonl", "labels.parquet")
# Names of a column, the first that is there counts.
_FILENAME = ("filename", "file_name", "file", "path", "image")
_CLASS = ("codes", "label", "class", "category")
COLUMNS = (*_FILENAME, *_CLASS)
# Folders that divide a data set and name no class.
_SIDES = {"train", "training", "val", "valid", "validation", "test", "testing"}
_MOST_AT_ROOT = 0.05  # share of images that may lie beside the folders of classes
# What file managers and archives leave behind.
_IGNORED = {"thumbs.db", "desktop.ini", "@eadir", "__macosx", "$recycle.bin"}


class Files(NamedTuple):
    """What lies under a folder.

    Attributes:
        paths: Paths relative to the root, with "/", sorted.
        sizes: In bytes.
        times: Time of the last change in ns.
        rejected: (path, reason) of what is no candidate at all.
    """

    paths: list[str]
    sizes: list[int]
    times: list[int]
    rejected: list[tuple[str, str]]


class Label(NamedTuple):
    """What is known of one image: a row of the table, or its sub-folder.

    Attributes:
        line: Line number in the file; number of the row in a parquet file.
        filename: File name as written.
        codes: From coarse to fine; may be empty.
        extra: All other columns, "name" among them; "" for an empty cell.
    """

    line: int
    filename: str
    codes: tuple[str, ...]
    extra: dict[str, str]


def scan(root: pathlib.Path) -> Files:
    """List every file under `root`, without following links out of it.

    Hidden files, the table of labels and the caches of file managers are passed over.

    Raises:
        DataError: If there is no such folder.
    """
    if not root.is_dir():
        kind = "a file" if root.exists() else "nothing"
        raise dataset.DataError(
            f"got data.path={str(root)!r}, where there is {kind}; expected a folder "
            "with images in it"
        )
    top = os.path.realpath(root)
    entries, rejected, folders = [], [], [""]
    while folders:
        folder = folders.pop()
        try:
            with os.scandir(os.path.join(top, folder)) as listing:
                inside = list(listing)
        except OSError as error:
            rejected.append((folder + "/", f"folder cannot be read ({error.strerror})"))
            continue
        for entry in inside:
            path = posixpath.join(folder, entry.name)
            if entry.name.startswith(".") or entry.name.lower() in _IGNORED:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(path)
            elif reason := _bad_link(entry, top):
                rejected.append((path, reason))
            elif path not in _TABLES:
                status = entry.stat()
                entries.append((path, status.st_size, status.st_mtime_ns))
    entries.sort()
    columns = [[entry[k] for entry in entries] for k in range(3)]
    return Files(*columns, sorted(rejected))


def _bad_link(entry: os.DirEntry, top: str) -> str:
    if not entry.is_symlink():
        return ""
    target = os.path.realpath(entry.path)
    if not target.startswith(top + os.sep):
        return "link that leaves the folder"
    if not os.path.exists(target):
        return "link to nothing"
    return "link to a folder" if os.path.isdir(target) else ""


def digest(files: Files, labels: bytes | None) -> str:
    """Return a hash of the names, sizes and times of files and of the labels."""
    total = hashlib.sha256(b"" if labels is None else b"labels\n" + labels)
    for path, size, time in zip(files.paths, files.sizes, files.times, strict=True):
        total.update(f"\n{path}\0{size}\0{time}".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def find_table(root: pathlib.Path) -> pathlib.Path | None:
    """Return labels.csv of a folder, or .tsv, .jsonl, .parquet; None without one.

    Raises:
        DataError: If there are several.
    """
    existing = [root / name for name in _TABLES if (root / name).is_file()]
    if len(existing) > 1:
        names = ", ".join(path.name for path in existing)
        raise dataset.DataError(f"got {root} with {names}; expected one of them")
    return existing[0] if existing else None


def read_labels(
    path: pathlib.Path, table: pd.DataFrame, lines: Sequence[int]
) -> tuple[list[Label], list[str]]:
    """Return the rows of a table of labels.

    Args:
        path: Path of the file, for messages.
        table: Columns of text, None for an empty cell.
        lines: Line number of each row.

    Returns:
        The rows, and the names of the further columns.

    Raises:
        DataError: If there is no column of file names.
    """
    columns = list(table.columns)
    filename = next((name for name in _FILENAME if name in table), None)
    if filename is None:
        raise dataset.DataError(
            f"got {path} with columns {columns}; expected filename and, where there "
            "are any, codes or label, source, name"
        )
    classes = next((name for name in _CLASS if name in table), None)
    extra = [name for name in columns if name not in (filename, classes)]
    rows = []
    for line, cells in zip(lines, table.to_dict("records"), strict=True):
        if not any(cells.values()):
            continue
        text = (cells[classes] if classes else None) or ""
        parts = text.split(";") if classes == "codes" else [text]
        codes = tuple(part.strip() for part in parts if part.strip())
        more = {name: cells[name] or "" for name in extra}
        rows.append(Label(line, cells[filename] or "", codes, more))
    return rows, extra


def folder_labels(paths: list[str]) -> dict[str, Label]:
    """Return the sub-folder of each image as its code, as torchvision's ImageFolder.

    The sub-folder is the one directly below the root; one level deeper where all of
    those are called train, val, test or alike. Images above have no label.
    """
    parts = [path.split("/") for path in paths]
    level = int(all(p[0].lower() in _SIDES for p in parts if len(p) > 1))
    return {
        path: Label(0, path, (p[level],), {})
        for path, p in zip(paths, parts, strict=True)
        if len(p) > level + 1
    }


def looks_labeled(paths: list[str], labels: dict[str, Label]) -> bool:
    """Return whether sub-folders look like classes.

    They do if there are at least two, and almost all images lie in them.
    """
    classes = {label.codes for label in labels.values()}
    bare = len(paths) - len(labels)
    return len(classes) > 1 and bare <= _MOST_AT_ROOT * len(paths)


def match(
    root: pathlib.Path, files: Files, rows: list[Label], table: str = LABELS
) -> tuple[dict[str, Label], list[tuple[str, str]]]:
    """Find the file of each row.

    By its path below the folder; else with the end of the folder's own path in front,
    or an absolute path into the folder; else by a path that ends with it, so that
    labels.csv may stand above the folder with the images; else by a path without its
    extension. Where that fails, capitals and the two ways to encode accents are treated
    as equal.

    Args:
        root: The folder.
        files: Files of the folder.
        rows: Rows of the table.
        table: Its name, for messages.

    Returns:
        The row of each path that has one, and (filename, reason) for the rows without a
        file of their own.
    """
    index = _PathIndex(root, files.paths, table)
    labels, rejected = {}, []
    for row in rows:
        labeled_path, reason = index.find(row.filename)
        if labeled_path in labels:
            lines = f"{labels[labeled_path].line}, {row.line}"
            reason = f"named twice in {table}, lines {lines}"
        if reason:
            rejected.append((row.filename or f"{table}, line {row.line}", reason))
        else:
            labels[labeled_path] = row
    return labels, rejected


class _PathIndex:
    """Finds files of a folder by what a table calls them."""

    def __init__(self, root: pathlib.Path, paths: list[str], table: str):
        self._paths, self._table = set(paths), table
        self._root = os.path.realpath(root)
        self._by_name, self._by_stem = defaultdict(list), defaultdict(list)
        for path in paths:
            name = _key(posixpath.basename(path))
            self._by_name[name].append(path)
            self._by_stem[posixpath.splitext(name)[0]].append(path)

    def find(self, filename: str) -> tuple[str, str]:
        """Return (path, "") or ("", reason)."""
        if not filename:
            return "", "no filename"
        if filename in self._paths:
            return filename, ""
        path = posixpath.normpath(filename.replace("\\", "/"))
        path = self._below_root(path)
        if posixpath.isabs(path) or path.split("/")[0] == ".." or path[1:2] == ":":
            return "", "path that leaves the folder"
        candidates = self._without_prefixes(path)
        for candidate in candidates:
            if candidate in self._paths:
                return candidate, ""
        for candidate in candidates:
            matches = self._ends_with(candidate)
            if len(matches) == 1:
                return matches[0], ""
            if matches:
                return "", f"more than one file of that name: {_some(matches)}"
        stem = _key(posixpath.splitext(posixpath.basename(path))[0])
        similar = self._by_stem.get(stem, ())
        hint = f"; there is {_some(similar)}" if similar else ""
        return "", f"listed in {self._table}, but not there{hint}"

    def _below_root(self, path: str) -> str:
        """Return an absolute path into the folder as a path below it."""
        if not posixpath.isabs(path):
            return path
        folder, name = posixpath.split(path)
        for place in (path, os.path.join(os.path.realpath(folder), name)):
            if place.startswith(self._root + "/"):
                return place[len(self._root) + 1 :]
        return path

    def _without_prefixes(self, path: str) -> list[str]:
        """Return `path`, and without what the folder's own path ends with."""
        parts, ends = path.split("/"), self._root.split("/")
        prefixes = range(1, min(len(parts), len(ends)))
        shorter = [
            "/".join(parts[k:]) for k in prefixes if parts[:k] == ends[len(ends) - k :]
        ]
        return [path, *shorter]

    def _ends_with(self, path: str) -> list[str]:
        """Return the files whose path ends with `path`, with extension or without."""
        name = _key(posixpath.basename(path))
        for index, cut in ((self._by_name, str), (self._by_stem, _without_extension)):
            places = index.get(name, ())
            for same in (str, _key):
                ending = same("/" + path)
                ends = [p for p in places if same("/" + cut(p)).endswith(ending)]
                if ends:
                    return ends
        return []


def _without_extension(path: str) -> str:
    return posixpath.splitext(path)[0]


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def shown(path: str) -> str:
    """Return `path` as text that can be printed and stored whatever its bytes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _some(values: list) -> str:
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")

"""The files of a folder of images, and its labels.csv."""

import csv
import hashlib
import io
import os
import pathlib
import posixpath
import unicodedata
from collections import defaultdict
from typing import NamedTuple

from PIL import Image

from input_pipeline import dataset

LABELS = "labels.csv"
_REQUIRED = ("filename", "codes")
_IGNORED = {"thumbs.db", "desktop.ini"}


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
    """One row of labels.csv.

    Attributes:
        line: Line number in the file.
        filename: File name as written.
        codes: From coarse to fine; may be empty.
        extra: All other columns, "name" among them.
    """

    line: int
    filename: str
    codes: tuple[str, ...]
    extra: dict[str, str]


def scan(root: pathlib.Path) -> Files:
    """List every file under `root`, without following links out of it.

    Hidden files, labels.csv and the caches of file managers are passed over.

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
            elif path != LABELS:
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


def read_labels(path: pathlib.Path, content: bytes) -> tuple[list[Label], list[str]]:
    """Parse labels.csv.

    Args:
        path: Path of the file, for messages.
        content: The file's bytes; UTF-8, with or without a byte-order mark.

    Returns:
        The rows, and the names of the further columns.

    Raises:
        DataError: If it is not UTF-8, lacks a column or has broken rows.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise dataset.DataError(
            f"got {path}, line {line}, which is not UTF-8 (byte "
            f"0x{content[error.start]:02x}); expected UTF-8, so save it as that"
        ) from None
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = [name.strip() for name in reader.fieldnames or []]
        _check_columns(path, columns)
        reader.fieldnames = columns
        rows, broken = [], []
        for row in reader:
            if None in row or None in row.values():
                broken.append(reader.line_num)
                continue
            codes = tuple(c.strip() for c in row["codes"].split(";") if c.strip())
            extra = {k: v for k, v in row.items() if k not in _REQUIRED}
            name = row["filename"].strip()
            rows.append(Label(reader.line_num, name, codes, extra))
    except csv.Error as error:
        raise dataset.DataError(
            f"got {path}, line {reader.line_num}, which is no CSV ({error})"
        ) from None
    if broken:
        raise dataset.DataError(
            f"got {len(broken)} rows of {path} with more or fewer than {len(columns)} "
            f"fields, in lines {_some(broken)}; expected quotes around text with commas"
        )
    return rows, [name for name in columns if name not in _REQUIRED]


def _check_columns(path: pathlib.Path, columns: list[str]) -> None:
    missing = [name for name in _REQUIRED if name not in columns]
    if missing:
        hint = ""
        if len(columns) == 1 and ";" in columns[0]:
            hint = "; columns are separated by commas, codes by ';'"
        raise dataset.DataError(
            f"got {path} with columns {columns}; expected {', '.join(_REQUIRED)} and, "
            f"where there is one, name{hint}"
        )
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise dataset.DataError(f"got {path} with the columns {twice} twice")


def match(
    files: Files, rows: list[Label]
) -> tuple[dict[str, Label], list[tuple[str, str]]]:
    """Find the file of each row: by its path, else by a path that ends with it.

    So labels.csv may stand above the folder with the images. Where that fails,
    capitals and the two ways to encode accents are treated as equal.

    Args:
        files: Files of the folder.
        rows: Rows of labels.csv.

    Returns:
        The row of each path that has one, and (filename, reason) for the rows without a
        file of their own.
    """
    known_paths, tails = set(files.paths), defaultdict(list)
    for path in files.paths:
        tails[_key(posixpath.basename(path))].append(path)
    labels, rejected = {}, []
    for row in rows:
        labeled_path, reason = _find(row.filename, known_paths, tails)
        if labeled_path in labels:
            lines = f"{labels[labeled_path].line}, {row.line}"
            reason = f"named twice in {LABELS}, lines {lines}"
        if reason:
            rejected.append((row.filename or f"{LABELS}, line {row.line}", reason))
        else:
            labels[labeled_path] = row
    return labels, rejected


def _find(filename: str, known_paths: set[str], tails: dict) -> tuple[str, str]:
    """Return (path, "") or ("", reason)."""
    if not filename:
        return "", "no filename"
    normalized = posixpath.normpath(filename.replace("\\", "/"))
    if filename in known_paths:
        return filename, ""
    if (
        posixpath.isabs(normalized)
        or normalized.split("/")[0] in ("..",)
        or normalized[1:2] == ":"
    ):
        return "", "path that leaves the folder"
    if normalized in known_paths:
        return normalized, ""
    places = tails.get(_key(posixpath.basename(normalized)), ())
    for same in (str, _key):
        ends = [p for p in places if same("/" + p).endswith(same("/" + normalized))]
        if len(ends) == 1:
            return ends[0], ""
        if ends:
            return "", f"more than one file of that name: {_some(ends)}"
    return "", f"listed in {LABELS}, but not there"


def _key(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def is_image(path: str) -> bool:
    """Whether the name ends as Pillow's formats do."""
    return posixpath.splitext(path)[1].lower() in Image.registered_extensions()


def shown(path: str) -> str:
    """Return `path` as text that can be printed and stored whatever its bytes."""
    return path.encode("utf-8", "backslashreplace").decode("utf-8")


def _some(values: list) -> str:
    return ", ".join(map(str, values[:10])) + (", ..." if len(values) > 10 else "")

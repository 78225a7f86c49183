"""A folder of pictures, with or without a labels.csv.

`docs/data.md` says how to arrange one.
"""

import functools
import hashlib
import os
import pathlib
import posixpath
from collections import Counter
from typing import NamedTuple

import numpy as np

from input_pipeline import _blocks, _contract, _decode, _folder, _prepare, _table

VERSION = 1  # raised whenever a pixel or a column changes, since data is kept
_BLOCK_BYTES = 32 * 2**20
_BLOCK_FILES = 1024
_LISTED = 100


def load(
    *,
    path: str,
    size: int = 64,
    cache: str | None = None,
    seed: int = 0,
    holdout: float = 0.2,
    max_rejected: float = 0.05,
    max_pixels: int = 64_000_000,
    rarity: float = 1.0,
    memory_mb: int = 512,
    workers: int | None = None,
    progress: bool = True,
) -> _contract.Data:
    """Prepares a folder of pictures once and returns it split by concept.

    Args:
      path: the folder; sub-folders belong to it.
      size: side of the prepared pictures in pixels, 16..1024.
      cache: folder for prepared data; None for $AKIN_CACHE or ~/.cache/akin.
      seed: of the split.
      holdout: share of groups held back for validation, 0 <= holdout < 1. A group is
        the files with the same finest code; a file without codes is its own group.
      max_rejected: files that may be left out: a share if at most 1, else a number.
      max_pixels: larger pictures are left out.
      rarity: exponent of the code weights n_c^-rarity.
      memory_mb: decoded pictures are kept in memory if they all fit into this.
      workers: processes that decode; 1 for this one, None for one a CPU core where
        there is enough work.
      progress: show a progress bar.

    Returns:
      Train and validation splits, label = finest code, and the facts.

    Raises:
      DataError: if there is nothing to read, too much is rejected, or labels.csv is
        at fault.
    """
    _check_fields(path, size, holdout, max_rejected, max_pixels)
    root = pathlib.Path(path).expanduser().resolve()
    files = _folder.scan(root)
    labels_path = root / _folder.LABELS
    content = labels_path.read_bytes() if labels_path.is_file() else None
    spec = {
        "dataset": "image_folder",
        "version": VERSION,
        "size": size,
        "seed": seed,
        "holdout": holdout,
        "max_pixels": max_pixels,
        "content": _folder.digest(files, content),
    }

    def plan() -> _prepare.Work:
        index = _index(root, files, content)
        tally = _Tally(index.total, max_rejected)
        tally.add(index.rejected)
        return _prepare.Work(
            blocks=_cut(index.paths, hold_back(index.groups, holdout, seed), size),
            make=functools.partial(
                _block, root=str(root), size=size, max_pixels=max_pixels
            ),
            columns=index.columns,
            facts=functools.partial(_facts, index=index, root=root),
            watch=lambda report: tally.add(report["rejected"]),
        )

    data = _prepare.load(
        spec,
        plan,
        cache=cache,
        rarity=rarity,
        memory_mb=memory_mb,
        progress=progress,
        workers=workers,
    )
    # The limit may be stricter now than when the data was prepared.
    _Tally(data.facts["files"], max_rejected).add(
        data.facts["rejected"], data.facts["rejected_total"]
    )
    for split in (data.train, data.validation):
        split.table["path"] = [str(root / name) for name in split.table["filename"]]
    return data._replace(facts={**data.facts, "path": str(root)})


def decode(path: str, size: int, max_pixels: int = 64_000_000) -> np.ndarray:
    """Returns one picture prepared as `load` does it, uint8 [size, size, 3].

    Raises:
      DataError: if the file cannot be used.
    """
    try:
        return _decode.decode(path, size, max_pixels).pixels
    except _decode.Rejected as reason:
        raise _contract.DataError(
            f"got {path}, which cannot be used: {reason}; expected a picture"
        ) from None


class _Index(NamedTuple):
    """What is known of the files before any is opened; an id is a position in it."""

    paths: list[str]
    labels: dict[str, _folder.Label]
    extra: list[str]
    groups: list[str]
    rejected: list[tuple[str, str]]
    ignored: list[str]

    @property
    def total(self) -> int:
        """Number of files and of labels without one."""
        return len(self.paths) + len(self.rejected)

    def columns(self, ids: np.ndarray) -> _prepare.Columns:
        """Returns the table of the records `ids`."""
        rows = [self.labels.get(path, _UNLABELLED) for path in self.paths]
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
            "codes": _table.pad_codes(
                [[code_of[code] for code in dict.fromkeys(row.codes)] for row in rows]
            ),
            "filename": [_folder.shown(path) for path in paths],
            "name": [
                row.extra.get("name") or _folder.shown(posixpath.basename(path))
                for row, path in zip(rows, paths, strict=True)
            ],
            "source": [row.extra.get("source", "") for row in rows],
        }
        for name in self.extra:
            column = f"labels_{name}" if name in _RESERVED else name
            if column not in table:
                table[column] = [row.extra.get(name, "") for row in rows]
        return _prepare.Columns(table, label_names, code_names)


class _Tally:
    """Counts what is left out and refuses too much of it."""

    def __init__(self, total: int, limit: float):
        self.total = total
        self._limit = int(limit) if limit > 1 else int(limit * total)
        self._shown: list = []
        self._count = 0

    def add(self, rejected: list, count: int | None = None) -> None:
        """Adds (file, reason) pairs, of which there may be more than are listed.

        Raises:
          DataError: if more than the limit have been added.
        """
        self._shown += rejected[: 10 - len(self._shown)]
        self._count += len(rejected) if count is None else count
        if self._count <= self._limit:
            return
        raise _contract.DataError(
            f"got {self._count} files of {self.total} that cannot be used, more than "
            f"the {self._limit} that data.max_rejected allows"
            + self.listing(self._shown)
            + "\n"
            "Mend or remove them, or raise data.max_rejected (a share up to 1, or a "
            "number of files above 1)"
        )

    @staticmethod
    def listing(rejected: list) -> str:
        """Returns lines that name the first ten files with their reasons."""
        if not rejected:
            return ""
        lines = [f"\n  {name}: {reason}" for name, reason in rejected[:10]]
        return "; the first left out are:" + "".join(lines)


_UNLABELLED = _folder.Label(0, "", (), {})
_RESERVED = {"id", "label", "codes", "code_weights", "filename", "image", "partner"}


def _check_fields(path, size, holdout, max_rejected, max_pixels) -> None:
    faults = []
    if not path:
        faults.append("data.path: got none; expected the folder with the pictures")
    if not 16 <= size <= 1024:
        faults.append(f"data.size: got {size}; expected 16..1024")
    if not 0 <= holdout < 1:
        faults.append(f"data.holdout: got {holdout}; expected 0 <= holdout < 1")
    if max_rejected < 0:
        faults.append(f"data.max_rejected: got {max_rejected}; expected 0 or more")
    if max_pixels < 1:
        faults.append(f"data.max_pixels: got {max_pixels}; expected 1 or more")
    if faults:
        raise _contract.DataError("\n".join(faults))


def _index(root: pathlib.Path, files: _folder.Files, content: bytes | None) -> _Index:
    """Decides which files are candidates, and what is known of them."""
    labels, extra, rejected, ignored = {}, [], list(files.rejected), []
    paths = files.paths
    if content is not None:
        rows, extra = _folder.read_labels(root / _folder.LABELS, content)
        labels, lost = _folder.match(files, rows)
        rejected += lost
        # Papers that lie beside a labelled collection are no pictures gone bad.
        ignored = [p for p in paths if p not in labels and not _folder.is_picture(p)]
        skipped = set(ignored)
        paths = [path for path in paths if path not in skipped]
    if not paths:
        kinds = Counter(posixpath.splitext(path)[1] or "(none)" for path in files.paths)
        raise _contract.DataError(
            f"got {root} with {len(files.paths)} files (endings: "
            f"{dict(kinds.most_common(5))}) and no picture; expected pictures in it or "
            "in its sub-folders" + _Tally.listing(rejected)
        )
    rejected = [(_folder.shown(name), reason) for name, reason in rejected]
    groups = [
        f"code {labels[path].codes[-1]}"
        if path in labels and labels[path].codes
        else f"file {path}"
        for path in paths
    ]
    return _Index(paths, labels, extra, groups, rejected, ignored)


def hold_back(groups: list[str], holdout: float, seed: int) -> np.ndarray:
    """Returns which records are held back, bool [n], whole groups at a time.

    Groups are ranked by a hash of seed and name, so that a group tends to stay on its
    side when others are added.

    Args:
      groups: the group of each record.
      holdout: share of groups; at least one is held back and one is not, where
        there are two and the share is not 0.
      seed: of the ranking.
    """
    ranked = sorted(
        set(groups),
        key=lambda name: hashlib.sha256(
            f"{seed} {name}".encode("utf-8", "surrogateescape")
        ).digest(),
    )
    count = round(holdout * len(ranked))
    if holdout and len(ranked) > 1:
        count = min(max(count, 1), len(ranked) - 1)
    chosen = set(ranked[:count])
    return np.array([group in chosen for group in groups], bool)


def _cut(paths: list[str], held: np.ndarray, size: int) -> list[tuple]:
    """Cuts the files into blocks whose pictures fit into some 32 MiB."""
    length = min(max(_BLOCK_BYTES // (3 * size * size), 16), _BLOCK_FILES)
    return [
        (start, paths[start : start + length], held[start : start + length])
        for start in range(0, len(paths), length)
    ]


def _block(item: tuple, *, root: str, size: int, max_pixels: int) -> _blocks.Block:
    start, paths, held = item
    pixels, ids, rejected, sizes, grey = [], [], [], [], 0
    for offset, path in enumerate(paths):
        try:
            picture = _decode.decode(os.path.join(root, path), size, max_pixels)
        except _decode.Rejected as reason:
            rejected.append((_folder.shown(path), str(reason)))
            continue
        pixels.append(picture.pixels)
        ids.append(start + offset)
        sizes.append((picture.width, picture.height))
        grey += picture.grey
    images = np.stack(pixels) if pixels else np.zeros((0, size, size, 3), np.uint8)
    ids = np.array(ids, np.int64)
    report = {"rejected": rejected, "sizes": sizes, "grey": grey}
    return _blocks.Block(images, ids, held[ids - start], report)


def _facts(reports, train, validation, *, index: _Index, root: pathlib.Path) -> dict:
    rejected = index.rejected + [tuple(r) for part in reports for r in part["rejected"]]
    sizes = np.array([size for part in reports for size in part["sizes"]])
    records = len(train) + len(validation)
    if not records:
        raise _contract.DataError(
            f"got {root} without one picture that can be read; expected some"
            + _Tally.listing(rejected)
        )
    reasons = Counter(reason.split(" (")[0].split(":")[0] for _, reason in rejected)
    ids = np.concatenate([train, validation])
    rows = [index.labels.get(index.paths[k], _UNLABELLED) for k in ids.tolist()]
    summary = {
        "min": sizes.min(0).tolist(),
        "median": np.median(sizes, axis=0).tolist(),
        "max": sizes.max(0).tolist(),
    }
    return {
        "files": index.total,
        "groups": {
            "train": len({index.groups[k] for k in train.tolist()}),
            "validation": len({index.groups[k] for k in validation.tolist()}),
        },
        "without_codes": sum(not row.codes for row in rows),
        "not_listed": sum(row is _UNLABELLED for row in rows) if index.labels else 0,
        "per_source": dict(Counter(row.extra.get("source", "") for row in rows)),
        "grey_share": sum(part["grey"] for part in reports) / records,
        "picture_sizes": summary,
        "rejected_total": len(rejected),
        "rejected_by_reason": dict(reasons.most_common()),
        "rejected": rejected[:_LISTED],
        "ignored_total": len(index.ignored),
        "ignored": [_folder.shown(path) for path in index.ignored[:_LISTED]],
    }

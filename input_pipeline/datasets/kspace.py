"""Measured multi-coil scans: HDF5 (fastMRI), npy, BART and MATLAB files of k-space.

Scans differ in matrix size and coils; all are brought to [coils, size, size], and the
facts describe how: the image is padded to a square, its k-space cropped or padded to
the central lines; more coils are combined into `coils` virtual coils by singular
vectors, fewer are followed by empty coils. Intensities are not scaled, so that phase
and proportions are kept.
"""

import os
import pathlib
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from absl import logging
from annotated_types import Interval
from tqdm import auto as tqdm

import field_types
from input_pipeline import dataset, field_checks, splits
from input_pipeline.cache import mapped_array
from input_pipeline.cache.root import cache_root
from input_pipeline.formats import kspace as kspace_format
from input_pipeline.physics import coils as coils_lib
from input_pipeline.records import phantoms

VERSION = 2  # of what is prepared
_LISTED = 30


def load(
    *,
    path: str = "",
    size: Annotated[int, Interval(ge=8, le=1024)] = 128,
    coils: Annotated[int, Interval(ge=1, le=32)] = 8,
    key: str = "kspace",
    axes: str = "",
    val_fraction: Annotated[float, Interval(ge=0, le=1)] = 0.2,
    train_on: Literal["rest", "phantoms", "all"] = "rest",
    phantom_records: Annotated[int, Interval(ge=0, le=10**7)] = 800,
    distractors: Annotated[int, Interval(ge=0, le=10**7)] = 1000,
    max_rejected: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    cache: str = "",
    seed: int = 0,
    progress: bool = True,
) -> dataset.Data:
    """Return scans as records, a slice each.

    Args:
        path: Folder, looked through with all that is in it.
        size: Side of the image, and lines in full.
        coils: Coils of every record.
        key: Where k-space lies in HDF5 and MATLAB files, as "group/name".
        axes: Order of a file's axes, such as "hwc" or, with pairs of real and
            imaginary, "schwr"; "" is what the format says, or else [slice,] [coil,]
            height, width. What was taken is logged.
        val_fraction: Share of the files that is held out for validation, if "rest".
        train_on: "rest": the files that are not held out; "phantoms": random phantoms,
            so that every scan is held out; "all": every scan, also those that are
            searched: the archive that is searched is trained on.
        phantom_records: Phantoms to train on, if so.
        distractors: Random phantoms among which scans are to be found:
            `extra["distractors"]`.
        max_rejected: Share of the files that may be left out for their faults.
        cache: Folder for prepared scans.
        seed: Random seed of the held-out files and of all phantoms.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If there is no scan, or more than max_rejected cannot be read; names
            each.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    check(val_fraction=val_fraction, train_on=train_on, phantom_records=phantom_records)
    files = _files(path, cache)
    scans, facts = _read(
        files, size, coils, key, axes, max_rejected, cache, progress=progress
    )
    index = np.arange(phantom_records + distractors)
    extra = {}
    if distractors:
        extra["distractors"] = phantoms.split(
            index[phantom_records:], seed=seed, first_id=phantoms.FIRST_ID_BESIDE_SCANS
        )
    if train_on == "phantoms":
        train = phantoms.split(
            index[:phantom_records], seed=seed, first_id=phantoms.FIRST_ID_BESIDE_SCANS
        )
        facts["training"] = f"{phantom_records} random phantoms, no scan"
        return dataset.Data(train, scans, facts, extra)
    if train_on == "all":
        facts["training"] = f"all {len(scans)} scans, which are searched, too"
        return dataset.Data(scans, scans, facts, extra, grouped_by="")
    label = scans.table["label"]
    order = splits.random_order(int(label.max()) + 1, seed)
    held = splits.held_out_groups(order, val_fraction)[label]
    if held.all() or not held.any():
        raise dataset.DataError(
            f"data.path: got {len(scans.label_names)} readable files in {path}; "
            "expected 2 or more to hold some out, or data.train_on=phantoms"
        )
    return dataset.Data(scans.take(~held), scans.take(held), facts, extra)


def check(**fields: Any) -> None:
    """Check constraints between the fields of `load`, without touching data.

    Raises:
        DataError: No files would be held out, or no phantoms trained on.
    """
    given = field_checks.with_defaults(load, fields)
    val_fraction, phantom_records = given["val_fraction"], given["phantom_records"]
    if not 0 < val_fraction < 1 and given["train_on"] == "rest":
        raise dataset.DataError(
            f"data.val_fraction: got {val_fraction}; expected a share in (0, 1)"
        )
    if phantom_records < 1 and given["train_on"] == "phantoms":
        raise dataset.DataError(
            f"data.phantom_records: got {phantom_records}; expected 1 or more"
        )


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any
) -> tuple[dataset.Split, dict]:
    """Return the scans of a folder or of one file, and facts on them.

    A file at fault is left out of a folder and counted; alone it is an error.

    Args:
        path: File or folder of k-space.
        data: Fields of the dataset in training, of which `key`, `axes` and `cache`
            count.
        transform: Transform of scans, whose `size` and `coils` count.

    Raises:
        DataError: Nothing can be read.
    """
    given = field_checks.with_defaults(load, data)
    return _read(
        _files(path, given["cache"]),
        transform.size,
        transform.coils,
        given["key"],
        given["axes"],
        1.0,
        given["cache"],
        progress=False,
    )


class _Prepared:
    """Random access to prepared scans; each file is mapped when it is first read."""

    def __init__(self, places: list[tuple[str, int]]):
        self._places, self._maps = places, {}

    def __getstate__(self) -> dict:
        return {"_places": self._places, "_maps": {}}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, row: int) -> dict[str, np.ndarray]:
        path, index = self._places[row]
        if path not in self._maps:
            self._maps[path] = np.load(path, mmap_mode="r", allow_pickle=False)
        return {"kspace": np.array(self._maps[path][index])}


def _files(path: str, cache: str) -> list[pathlib.Path]:
    if not path:
        raise dataset.DataError(
            "data.path: got none; expected the folder with the scans"
        )
    root = pathlib.Path(path).expanduser().resolve()
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise dataset.DataError(f"data.path: got {path}, which does not exist")
    # A cache inside the folder holds prepared scans, which are not read again.
    prepared = cache_root(cache).resolve()
    inside = [p for p in root.rglob("*") if p.is_file() and prepared not in p.parents]
    files = sorted(p for p in inside if p.suffix.lower() in kspace_format.READERS)
    if not files:
        other = sorted({p.suffix or p.name for p in inside})
        raise dataset.DataError(
            f"data.path: got {path} without a scan (it has: "
            f"{', '.join(other[:8]) or 'nothing'}); expected files that end in "
            f"{', '.join(sorted(kspace_format.READERS))}"
        )
    return files


def _read(
    files: list[pathlib.Path],
    size: int,
    coils: int,
    key: str,
    axes: str,
    max_rejected: float,
    cache: str,
    progress: bool,
) -> tuple[dataset.Split, dict]:
    """All records of some files, and facts on how they were brought to one shape."""
    root = files[0].parent if len(files) == 1 else _common(files)
    described, faults = [], []
    for file in tqdm.tqdm(files, desc="reading scans", disable=not progress):
        try:
            described.append(_prepared(file, cache, size, coils, key, axes))
        except kspace_format.ScanError as fault:
            faults.append((str(file.relative_to(root)), str(fault)))
    if len(faults) > max_rejected * len(files) or not described:
        listed = "\n  ".join(f"{name}: {why}" for name, why in faults[:_LISTED])
        more = len(faults) - _LISTED
        raise dataset.DataError(
            f"{len(faults)} of {len(files)} files in {root} hold no scan that can be "
            f"read (data.max_rejected = {max_rejected:g} of them may be left out):\n  "
            + listed
            + (f"\n  and {more} more" if more > 0 else "")
        )
    facts = _facts(described, faults, size, coils)
    for text in facts["axes"]:
        logging.info("k-space: %s", text)
    return _split(described, root), facts


def _prepared(
    file: pathlib.Path, cache: str, size: int, coils: int, key: str, axes: str
) -> dict:
    """Return the note on a file's scans; prepare them unless that is done."""

    def write(draft: pathlib.Path) -> dict:
        k, told = kspace_format.read_scan(file, key=key, axes=axes)
        shaped = [coils_lib.to_shape(scan, size, coils) for scan in k]
        np.save(draft, np.stack([scan for scan, _ in shaped]))
        return {
            "file": str(file),
            "shape": list(k.shape),
            "axes": told,
            "energy_kept": min(kept for _, kept in shaped),
            "zero_share": float(np.mean(k == 0)),
        }

    spec = [VERSION, *mapped_array.stamp(file), size, coils, key, axes]
    array, note = mapped_array.cached("kspace", spec, cache, write)
    return {**note, "array": str(array)}


def _split(described: list[dict], root: pathlib.Path) -> dataset.Split:
    columns: dict[str, list] = {
        name: []
        for name in ("filename", "path", "slice", "name", "coils", "height", "width")
    }
    places, labels = [], []
    for label, scan in enumerate(described):
        slices, coils, height, width = scan["shape"]
        filename = str(pathlib.Path(scan["file"]).relative_to(root))
        for index in range(slices):
            title = filename if slices == 1 else f"{filename}, slice {index}"
            row = (filename, scan["file"], index, title, coils, height, width)
            for column, value in zip(columns.values(), row, strict=True):
                column.append(value)
            places.append((scan["array"], index))
            labels.append(label)
    table = {
        **dataset.columns_without_codes(np.arange(len(places)), labels),
        **columns,
    }
    names = [str(pathlib.Path(scan["file"]).relative_to(root)) for scan in described]
    return dataset.Split(_Prepared(places), table, names, [])


def _facts(described: list[dict], faults: list[tuple], size: int, coils: int) -> dict:
    shapes = [scan["shape"] for scan in described]
    more = [scan for scan in described if scan["shape"][1] > coils]
    fewer = sum(shape[1] < coils for shape in shapes)
    kept = min((scan["energy_kept"] for scan in more), default=1.0)
    matrices = sorted({f"{h} x {w}" for *_, h, w in shapes})
    return {
        "dataset": "kspace",
        "files": len(described) + len(faults),
        "scans": sum(shape[0] for shape in shapes),
        "matrices": matrices,
        "axes": _axes(described),
        "coils": sorted({shape[1] for shape in shapes}),
        "brought_to": f"{coils} coils, {size} x {size}: images padded to a square, "
        f"k-space cut or padded to {size} lines each way",
        "coils_combined": f"{len(more)} files, at least {kept:.4g} of the energy kept",
        "coils_empty": f"{fewer} files have fewer than {coils} coils; the rest is 0",
        "undersampled_already": [
            f"{pathlib.Path(scan['file']).name}: "
            f"{scan['zero_share']:.0%} of k-space is 0"
            for scan in described
            if scan["zero_share"] > 0.01
        ],
        "rejected": faults,
        "rejected_total": len(faults),
    }


def _axes(described: list[dict]) -> list[str]:
    """Return what axes were taken for, each way once with the number of files."""
    files = Counter(scan["axes"] for scan in described)
    texts = [
        f"{text} ({count} files)" if count > 1 else text
        for text, count in files.most_common(_LISTED)
    ]
    more = len(files) - len(texts)
    return [*texts, f"and {more} other shapes"] if more else texts


def _common(files: list[pathlib.Path]) -> pathlib.Path:
    return pathlib.Path(os.path.commonpath([file.parent for file in files]))

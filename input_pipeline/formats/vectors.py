"""Files of vectors with a table: .npz, .npy with a CSV file of the same name, parquet.

Vectors end up in a `.npy` file that can be mapped: in the file itself, or in a copy in
the cache that is written once, piece by piece, so that memory stays bounded.
"""

import pathlib
import shutil
import zipfile
import zlib
from typing import NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet
import tqdm

from input_pipeline import dataset
from input_pipeline.cache import mapped_array

VERSION = 1
SUFFIXES = (".npz", ".npy", ".parquet")
_ROWS = 8192  # of a parquet file at a time
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    pa.ArrowException,
)


class Read(NamedTuple):
    """What a file holds.

    Attributes:
        path: `.npy` file of the vectors [v, d].
        table: A row for each vector.
        other_length: Rows whose vector has another length than `width`; they are NaN in
            the file.
    """

    path: pathlib.Path
    table: pd.DataFrame
    other_length: list[int]


def open_vectors(
    path: str, *, key: str, width: int, cache: str = "", progress: bool = False
) -> Read:
    """Open a file of vectors.

    Args:
        path: The file.
        key: Array of an `.npz`, or column of a parquet file, that holds the vectors.
        width: D, numbers of a vector.
        cache: Folder for copies.
        progress: Whether to show a progress bar.

    Raises:
        DataError: If there is no such file or no such key, or it holds something else.
    """
    file = pathlib.Path(path).expanduser()
    if not path or not file.is_file() or file.suffix.lower() not in SUFFIXES:
        raise dataset.DataError(
            f"data.path: got {path!r}; expected a file of vectors that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    try:
        return _READERS[file.suffix.lower()](file, key, width, cache, progress)
    except dataset.DataError:
        raise
    except _UNREADABLE as error:
        raise dataset.DataError(
            f"data.path: {file} cannot be read ({error}); copy it again"
        ) from None


def _npz(file, key, width, cache, progress) -> Read:
    with np.load(file, allow_pickle=False) as archive:
        names = archive.files
        if key not in names:
            raise dataset.DataError(
                f"data.key: {file} has no {key!r}; choices: {', '.join(names)}"
            )

        def write(draft: pathlib.Path) -> list[int]:
            """Copy the member of the archive."""
            with zipfile.ZipFile(file) as zipped, open(draft, "wb") as out:
                with zipped.open(f"{key}.npy") as member:
                    shutil.copyfileobj(member, out, 2**20)
            return []

        spec = [VERSION, *mapped_array.stamp(file), key]
        stored, other_length = mapped_array.cached("vectors", spec, cache, write)
        rows = _check_shape(stored, file, width)
        columns = {}
        for name in names:
            if name == key:
                continue
            column = archive[name]
            if column.shape == (rows,):
                columns[name] = column
    return Read(stored, pd.DataFrame(columns, index=range(rows)), other_length)


def _npy(file, key, width, cache, progress) -> Read:
    del key, cache, progress
    rows = _check_shape(file, file, width)
    beside = file.with_suffix(".csv")
    if not beside.is_file():
        raise dataset.DataError(
            f"data.path: {file} has no table; expected {beside} with a row for each "
            "vector and columns for article and position"
        )
    table = pd.read_csv(beside)
    if len(table) != rows:
        raise dataset.DataError(
            f"data.path: {beside} has {len(table)} rows for {rows} vectors; expected "
            "one each"
        )
    return Read(file, table, [])


def _parquet(file, key, width, cache, progress) -> Read:
    parquet = pyarrow.parquet.ParquetFile(file)
    fields = {field.name: field.type for field in parquet.schema_arrow}
    if key not in fields or not hasattr(fields[key], "value_type"):
        lists = [name for name, kind in fields.items() if hasattr(kind, "value_type")]
        raise dataset.DataError(
            f"data.key: {file} has no column of lists {key!r}; choices: "
            f"{', '.join(lists) or 'none'}"
        )
    kind = fields[key].value_type.to_pandas_dtype()
    rows = parquet.metadata.num_rows

    def write(draft: pathlib.Path) -> list[int]:
        """Write the column block by block; returns the rows of another length."""
        out = np.lib.format.open_memmap(draft, "w+", kind, (rows, width))
        other_length, start = [], 0
        bar = tqdm.tqdm(total=rows, desc="reading vectors", disable=not progress)
        for batch in parquet.iter_batches(_ROWS, columns=[key]):
            column = batch.column(0)
            lengths = pa.compute.list_value_length(column).to_numpy(False)
            fits = lengths == width
            block = np.full((len(column), width), np.nan, kind)
            if fits.any():
                flat = column.filter(pa.array(fits)).flatten()
                block[fits] = flat.to_numpy(False).reshape(-1, width)
            other_length += (start + np.flatnonzero(~fits)).tolist()
            out[start : start + len(column)] = block
            start += len(column)
            bar.update(len(column))
        bar.close()
        out.flush()
        return other_length

    spec = [VERSION, *mapped_array.stamp(file), key, width]
    stored, other_length = mapped_array.cached("vectors", spec, cache, write)
    if len(other_length) == rows:
        raise dataset.DataError(
            f"data.path: no vector of {file} has {width} numbers; set data.width"
        )
    others = [n for n, kind in fields.items() if not hasattr(kind, "value_type")]
    return Read(stored, parquet.read(columns=others).to_pandas(), other_length)


_READERS = {".npz": _npz, ".npy": _npy, ".parquet": _parquet}


def _check_shape(stored: pathlib.Path, file: pathlib.Path, width: int) -> int:
    """Rows of an array file, if it holds vectors of `width` numbers."""
    array = np.load(stored, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise dataset.DataError(
            f"data.path: {file} holds {array.dtype} {list(array.shape)}; expected "
            "vectors, float16 or float32 [v, d]"
        )
    if array.shape[1] != width:
        raise dataset.DataError(
            f"data.path: {file} holds vectors of {array.shape[1]} numbers; expected "
            f"data.width = {width}: set --config.transform.width={array.shape[1]}"
        )
    return len(array)

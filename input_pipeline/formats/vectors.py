"""Vectors in files: .npz, .npy with a table of the same name, parquet.

Vectors end up in a `.npy` file that can be mapped: in the file itself, or in a copy in
the cache that is written once, piece by piece, so that memory stays bounded.
"""

import pathlib
import shutil
import zipfile
import zlib
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tqdm

from input_pipeline import dataset
from input_pipeline.cache import mapped_array
from input_pipeline.formats import npy_headers

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
        rows: Number of vectors.
        other_length: Rows whose vector has another length than `width`; they are NaN in
            the file.
    """

    path: pathlib.Path
    rows: int
    other_length: list[int]


def open_vectors(
    path: str, *, key: str, width: int, cache: str = "", progress: bool = False
) -> Read:
    """Open a file of vectors.

    Args:
        path: The file.
        key: Array of an `.npz`, or column of a parquet file, that holds the vectors.
        width: D, numbers of a vector; 0 for as many as the file has, of a parquet file
            its first vector.
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
    headers = npy_headers.read_headers(file)
    if key not in headers:
        raise dataset.DataError(
            f"data.key: {file} has no {key!r}; choices: {', '.join(headers)}"
        )
    if headers[key][1].hasobject:
        raise dataset.DataError(
            f"data.key: {npy_headers.object_message(file, key)}, vectors as "
            "np.stack(vectors).astype(np.float32)"
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
    return Read(stored, rows, other_length)


def _npy(file, key, width, cache, progress) -> Read:
    del key, cache, progress
    if _is_object(file):
        raise dataset.DataError(
            f"data.path: {npy_headers.object_message(file, file.stem)}, vectors as "
            "np.stack(vectors).astype(np.float32)"
        )
    rows = _check_shape(file, file, width)
    return Read(file, rows, [])


def _is_object(file: pathlib.Path) -> bool:
    with open(file, "rb") as content:
        return npy_headers.read_header(content)[1].hasobject


def _parquet(file, key, width, cache, progress) -> Read:
    parquet = pq.ParquetFile(file)
    fields = {field.name: _storage(field.type) for field in parquet.schema_arrow}
    if key not in fields or not _is_list(fields[key]):
        lists = [name for name, kind in fields.items() if _is_list(kind)]
        raise dataset.DataError(
            f"data.key: {file} has no column of lists {key!r}; choices: "
            f"{', '.join(lists) or 'none'}"
        )
    if not pa.types.is_floating(fields[key].value_type):
        raise dataset.DataError(
            f"data.key: {file} holds lists of {fields[key].value_type} in {key!r}; "
            "expected lists of float16, float32 or float64"
        )
    kind = fields[key].value_type.to_pandas_dtype()
    rows = parquet.metadata.num_rows
    width = width or _first_width(parquet, key)

    def write(draft: pathlib.Path) -> list[int]:
        """Write the column block by block; returns the rows of another length."""
        out = np.lib.format.open_memmap(draft, "w+", kind, (rows, width))
        other_length, start = [], 0
        bar = tqdm.tqdm(total=rows, desc="reading vectors", disable=not progress)
        for batch in parquet.iter_batches(_ROWS, columns=[key]):
            column = batch.column(0)
            if isinstance(column, pa.ExtensionArray):
                column = column.storage
            lengths = pc.list_value_length(column).to_numpy(False)
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
    return Read(stored, rows, other_length)


def _first_width(parquet: pq.ParquetFile, key: str) -> int:
    """Return the length of the first vector that is no null."""
    for batch in parquet.iter_batches(_ROWS, columns=[key]):
        column = batch.column(0)
        if isinstance(column, pa.ExtensionArray):
            column = column.storage
        lengths = pc.drop_null(pc.list_value_length(column))
        if len(lengths):
            return lengths[0].as_py()
    return 0


def _storage(kind: pa.DataType) -> pa.DataType:
    """Return the type in which values of an extension, such as tensors, are stored."""
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _is_list(kind: pa.DataType) -> bool:
    return (
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
    )


_READERS = {".npz": _npz, ".npy": _npy, ".parquet": _parquet}


def _check_shape(stored: pathlib.Path, file: pathlib.Path, width: int) -> int:
    """Return the rows of an array file, if it holds vectors of `width` numbers."""
    array = np.load(stored, mmap_mode="r", allow_pickle=False)
    if array.ndim != 2 or array.dtype.kind != "f" or not array.size:
        raise dataset.DataError(
            f"data.path: {file} holds {array.dtype} {list(array.shape)}; expected "
            "vectors, float16 or float32 [v, d]"
        )
    if width and array.shape[1] != width:
        raise dataset.DataError(
            f"data.path: {file} holds vectors of {array.shape[1]} numbers; expected "
            f"data.width = {width}: set --config.data.width={array.shape[1]}"
        )
    return len(array)

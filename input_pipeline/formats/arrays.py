"""Arrays in HDF5, MATLAB, npz and npy files, read piece by piece.

Objects are never unpickled, and links to other files are not followed.
"""

import contextlib
import math
import pathlib
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import h5py
import numpy as np
import scipy.io

from input_pipeline import dataset
from input_pipeline.formats import matlab, npy_headers
from input_pipeline.formats import stored as stored_lib
from input_pipeline.formats.stored import ArrayError, Stored

SUFFIXES = (".h5", ".hdf5", ".mat", ".npy", ".npz")
_MOST_SQUEEZED = 1100  # deflate makes no value smaller than a 1032nd
_MATLAB = b"MATLAB 7.3"
_COMPLEX = (("real", "imag"), ("r", "i"))
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


@contextlib.contextmanager
def open_array(path: pathlib.Path, key: str, scratch: pathlib.Path) -> Iterator[Stored]:
    """Open an array of a file.

    Memory stays bounded by what is read, but for MATLAB 5, whose arrays have 2 GiB at
    most and are held as a whole. An array of an npz is unpacked into `scratch`.

    Args:
        path: A file that ends in one of `SUFFIXES`.
        key: Where the array lies, parts joined by "/"; "" for the only one that can be
            frames.
        scratch: A file that may be written; left to the caller to remove.

    Raises:
        ArrayError: If there is no such array.
    """
    if not path.is_file():
        raise ArrayError("there is no such file")
    if not path.stat().st_size:
        raise ArrayError("the file is empty (0 bytes); copy it again")
    suffix = path.suffix.lower()
    if suffix == ".npy":
        yield stored_lib.open_npy(path, path.name)
    elif suffix == ".npz":
        yield _npz(path, key, scratch)
    elif suffix == ".mat" and not h5py.is_hdf5(path):
        yield _matlab5(path, key)
    else:
        with open(path, "rb") as file:
            by_matlab = file.read(len(_MATLAB)) == _MATLAB
        with _open_hdf5(path) as file:
            yield _hdf5(file, key, by_matlab)


def _npz(path: pathlib.Path, key: str, scratch: pathlib.Path) -> Stored:
    try:
        with zipfile.ZipFile(path) as zipped:
            contents = {}
            for info in zipped.infolist():
                if info.filename.endswith(".npy"):
                    with zipped.open(info) as member:
                        contents[info.filename[:-4]] = npy_headers.read_header(member)
            name = stored_lib.choose(contents, key)
            # No more than this is unpacked, whatever is packed.
            size = zipped.getinfo(f"{name}.npy").file_size
            stored_lib.check_room(scratch.parent, size)
            with zipped.open(f"{name}.npy") as member, open(scratch, "wb") as out:
                shutil.copyfileobj(member, out, 2**20)
    except dataset.DataError:
        raise
    except (RuntimeError, NotImplementedError) as error:  # a password, a rare packing
        raise ArrayError(f"the npz file cannot be unpacked ({error})") from None
    except _UNREADABLE as error:
        raise ArrayError(
            f"the npz file is cut off, damaged or none ({error}); copy it again"
        ) from None
    return stored_lib.open_npy(scratch, name)


def _matlab5(path: pathlib.Path, key: str) -> Stored:
    top = key.strip("/").split("/")[0]
    others = {}
    try:
        content = scipy.io.loadmat(path, variable_names=[top] if top else None)
        if top and top not in content:
            others = {name: (n, kind) for name, n, kind in scipy.io.whosmat(path)}
    except NotImplementedError:
        raise ArrayError(
            "the MATLAB file says version 7.3, but its content is cut off; copy it "
            "again"
        ) from None
    except Exception as error:  # loadmat raises many kinds on damaged content
        raise ArrayError(
            f"the MATLAB file is cut off, damaged or none ({type(error).__name__}: "
            f"{error}); copy it again"
        ) from None
    arrays = dict(matlab.flatten({k: v for k, v in content.items() if k[:2] != "__"}))
    for name, value in arrays.items():
        if isinstance(value, matlab.Cells) and not value.fault:
            arrays[name] = np.stack(value.elements, -1)
    contents = others | {
        k: v if isinstance(v, matlab.Cells) else (v.shape, v.dtype)
        for k, v in arrays.items()
    }
    name = stored_lib.choose(contents, key)
    array = arrays[name].T  # MATLAB's first axis is the fastest
    return Stored(
        name, array.shape, array.dtype, array.__getitem__, flipped=True, matlab=True
    )


def _open_hdf5(path: pathlib.Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ArrayError(
            f"the HDF5 file is cut off, damaged or none ({error}); copy it again"
        ) from None


def _hdf5(file: h5py.File, key: str, by_matlab: bool) -> Stored:
    contents: dict[str, Any] = {}
    cell_arrays: dict[str, matlab.Cells] = {}

    def note(name: str, item: Any) -> None:
        # What MATLAB keeps of its cells is found in "#refs#".
        if not isinstance(item, h5py.Dataset) or name.startswith("#"):
            return
        contents[name] = item.shape or (), _complex_dtype(item.dtype)
        if matlab.is_reference(item):
            cells = contents[name] = matlab.referenced(file, item)
            if not cells.fault:
                cell_arrays[name] = cells
                contents[name] = cells.shape, _complex_dtype(cells.elements[0].dtype)

    try:
        file.visititems(note)  # follows no link out of the file
        name = stored_lib.choose(contents, key)
        cells = cell_arrays.get(name)
        pieces = cells.elements if cells else [file[name]]
        if any(piece.external or piece.is_virtual for piece in pieces):
            raise ArrayError(
                f"the values of {name!r} lie in other files, which are not read; "
                "write them into this one"
            )
        stored = sum(piece.id.get_storage_size() for piece in pieces)
    except (OSError, RuntimeError, KeyError) as error:
        raise ArrayError(f"the HDF5 file is damaged ({error}); copy it again") from None
    shape, dtype = contents[name]
    size = math.prod(shape) * dtype.itemsize
    if size > _MOST_SQUEEZED * stored:
        raise ArrayError(
            f"{name!r} has the shape {list(shape)}, {size:,} bytes, of which "
            f"{stored:,} were written; write the whole array"
        )

    def read_piece(piece: h5py.Dataset, index: Any) -> np.ndarray:
        try:
            x = np.asarray(piece[index])
        except (OSError, RuntimeError) as error:
            raise ArrayError(
                f"the values of {name!r} cannot be read ({error}); copy the file again"
            ) from None
        if x.dtype.names:
            real, imag = next(p for p in _COMPLEX if set(p) == set(x.dtype.names))
            return x[real] + 1j * x[imag]
        return x

    def read(index: Any) -> np.ndarray:
        return read_piece(pieces[0], index)

    if cells:
        read = stored_lib.one_by_one(lambda k: read_piece(pieces[k], ()), len(pieces))
    return Stored(
        name,
        shape,
        dtype,
        read,
        None if cells else pieces[0].chunks,
        flipped=by_matlab,
        certain=False,
        matlab=by_matlab,
    )


def _complex_dtype(dtype: np.dtype) -> np.dtype:
    """Return the complex kind of pairs such as MATLAB's (real, imag)."""
    if any(set(pair) == set(dtype.names or ()) for pair in _COMPLEX):
        return np.result_type(dtype[0], np.complex64)
    return dtype

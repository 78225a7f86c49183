"""Arrays in HDF5, MATLAB, npz and npy files, read piece by piece.

Objects are never unpickled, and links to other files are not followed.
"""

import contextlib
import math
import pathlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from input_pipeline import dataset

SUFFIXES = (".h5", ".hdf5", ".mat", ".npy", ".npz")
SHORTEST = 8  # side of an image
_LISTED = 12
_MOST_SQUEEZED = 1100  # deflate makes no value smaller than a 1032nd
_MATLAB = b"MATLAB 7.3"
_COMPLEX = (("real", "imag"), ("r", "i"))
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)


class ArrayError(dataset.DataError):
    """A file holds no such array; the message says what was found and what to do."""


class Stored(NamedTuple):
    """An array in an open file, with its axes in the order of the file, slowest first.

    Attributes:
        name: Path of the array in the file.
        shape: Shape of the array.
        dtype: Type of the values; complex where they are pairs.
        read: Index -> values; ints and slices, as for an array.
        chunks: Shape of the pieces in the file, or None.
        flipped: Whether the program that wrote the file has the axes in reverse order.
        certain: Whether `flipped` is certain, not only likely.
        matlab: Whether MATLAB wrote it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], np.ndarray]
    chunks: tuple[int, ...] | None = None
    flipped: bool = False
    certain: bool = True
    matlab: bool = False


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
        yield open_npy(path, path.name)
    elif suffix == ".npz":
        yield _npz(path, key, scratch)
    elif suffix == ".mat" and not h5py.is_hdf5(path):
        yield _matlab5(path, key)
    else:
        with open(path, "rb") as file:
            matlab = file.read(len(_MATLAB)) == _MATLAB
        with _open_hdf5(path) as file:
            yield _hdf5(file, key, matlab)


def tiles(stored: Stored, limit: int) -> Iterator[tuple[tuple[int, ...], slice]]:
    """Yield indices of leading axes and a slice of the next, `limit` bytes a piece."""
    shape = stored.shape
    item = stored.dtype.itemsize
    size = [math.prod(shape[k + 1 :]) * item for k in range(len(shape))]
    axis = next(k for k, n in enumerate(size) if n <= limit or k == len(shape) - 1)
    step = max(1, limit // max(1, size[axis]))
    if stored.chunks and step < shape[axis]:
        # A piece of the file that two tiles share would be unpacked twice.
        whole = stored.chunks[axis]
        if step >= whole:
            step -= step % whole
        elif whole * size[axis] <= 4 * limit:
            step = whole
    for prefix in np.ndindex(shape[:axis]):
        for start in range(0, shape[axis], step):
            yield prefix, slice(start, min(start + step, shape[axis]))


def _choose(contents: dict[str, tuple], key: str) -> str:
    """Return the name of the array that is meant; `there`: name -> shape and dtype."""
    key = key.strip("/")
    if key:
        if key not in contents:
            inside = {k: v for k, v in contents.items() if k.startswith(f"{key}/")}
            what = "is a group, not an array" if inside else "is not there"
            raise ArrayError(
                f"{key!r} {what}; choices: {_listed(inside or contents)}; set data.key"
            )
        if contents[key][1].kind not in "cfiub":
            raise ArrayError(
                f"{key!r} holds {contents[key][1]}, no numbers; choices: "
                f"{_listed(contents)}. Python objects are not read, because they can "
                "run code"
            )
        return key
    sides = {
        name: sum(n >= SHORTEST for n in shape)
        for name, (shape, dtype) in contents.items()
        if dtype.kind in "cfiub"
    }
    able = [name for name, n in sides.items() if n >= 2]
    able = [name for name in able if len(contents[name][0]) > 2] or able
    if len(able) != 1:
        raise ArrayError(
            f"{len(able) or 'none'} of the arrays can be frames; set data.key to one "
            f"of: {_listed(contents)}"
        )
    return able[0]


def _listed(contents: dict[str, tuple]) -> str:
    descriptions = [
        f"{name} {dtype} {list(shape)}" for name, (shape, dtype) in contents.items()
    ]
    more = (
        f" and {len(descriptions) - _LISTED} more"
        if len(descriptions) > _LISTED
        else ""
    )
    return (", ".join(descriptions[:_LISTED]) or "none, it is empty") + more


def open_npy(path: pathlib.Path, name: str) -> Stored:
    """Read a `.npy` file through a map that is let go, so that memory stays free."""
    with open(path, "rb") as file:
        magic = file.read(6)
    if magic != b"\x93NUMPY":
        raise ArrayError(
            f"the content is not npy (it begins with {magic!r}); expected what "
            "numpy.save writes"
        )
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        if "object" in str(error).lower():
            raise ArrayError(
                "the array holds Python objects, which are not read because they can "
                "run code; save plain numbers"
            ) from None
        raise ArrayError(
            f"the file is cut off or its header is damaged ({error}); copy it again"
        ) from None
    except (EOFError, OSError, SyntaxError) as error:
        raise ArrayError(f"the header is damaged ({error}); copy it again") from None
    _choose({name: (array.shape, array.dtype)}, name)
    flipped = array.flags.f_contiguous and not array.flags.c_contiguous
    shape = array.shape[::-1] if flipped else array.shape
    dtype = array.dtype
    del array

    def read(index: Any) -> np.ndarray:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array((x.T if flipped else x)[index])

    return Stored(name, shape, dtype, read, flipped=flipped)


def _npz(path: pathlib.Path, key: str, scratch: pathlib.Path) -> Stored:
    try:
        with zipfile.ZipFile(path) as zipped:
            contents = {}
            for info in zipped.infolist():
                if info.filename.endswith(".npy"):
                    with zipped.open(info) as member:
                        contents[info.filename[:-4]] = _npy_header(member)
            name = _choose(contents, key)
            # No more than this is unpacked, whatever is packed.
            size = zipped.getinfo(f"{name}.npy").file_size
            check_room(scratch.parent, size)
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
    return open_npy(scratch, name)


def _npy_header(member: Any) -> tuple[tuple[int, ...], np.dtype]:
    version = np.lib.format.read_magic(member)
    read = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0)
        else np.lib.format.read_array_header_2_0
    )
    shape, _, dtype = read(member)
    return shape, dtype


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
    arrays = dict(_flat({k: v for k, v in content.items() if k[:2] != "__"}))
    contents = others | {k: (v.shape, v.dtype) for k, v in arrays.items()}
    name = _choose(contents, key)
    array = arrays[name].T  # MATLAB's first axis is the fastest
    return Stored(
        name, array.shape, array.dtype, array.__getitem__, flipped=True, matlab=True
    )


def _flat(fields: dict[str, Any], above: str = "") -> Iterator[tuple[str, np.ndarray]]:
    """Yield all arrays in structs of one element, as struct/field."""
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            continue
        if value.dtype.names and value.size == 1:
            inside = {field: value[field].flat[0] for field in value.dtype.names}
            yield from _flat(inside, f"{above}{name}/")
        else:
            yield above + name, value


def _open_hdf5(path: pathlib.Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ArrayError(
            f"the HDF5 file is cut off, damaged or none ({error}); copy it again"
        ) from None


def _hdf5(file: h5py.File, key: str, matlab: bool) -> Stored:
    contents: dict[str, tuple] = {}

    def note(name: str, item: Any) -> None:
        # What MATLAB keeps of its cells is found in "#refs#".
        if isinstance(item, h5py.Dataset) and not name.startswith("#"):
            contents[name] = item.shape or (), _complex_dtype(item.dtype)

    try:
        file.visititems(note)  # follows no link out of the file
        name = _choose(contents, key)
        stored_dataset = file[name]
        if stored_dataset.external or stored_dataset.is_virtual:
            raise ArrayError(
                f"the values of {name!r} lie in other files, which are not read; "
                "write them into this one"
            )
        stored = stored_dataset.id.get_storage_size()
    except (OSError, RuntimeError, KeyError) as error:
        raise ArrayError(f"the HDF5 file is damaged ({error}); copy it again") from None
    dtype = contents[name][1]
    size = math.prod(stored_dataset.shape) * dtype.itemsize
    if size > _MOST_SQUEEZED * stored:
        raise ArrayError(
            f"{name!r} has the shape {list(stored_dataset.shape)}, {size:,} bytes, of "
            f"which {stored:,} were written; write the whole array"
        )

    def read(index: Any) -> np.ndarray:
        try:
            x = np.asarray(stored_dataset[index])
        except (OSError, RuntimeError) as error:
            raise ArrayError(
                f"the values of {name!r} cannot be read ({error}); copy the file again"
            ) from None
        if x.dtype.names:
            real, imag = next(p for p in _COMPLEX if set(p) == set(x.dtype.names))
            return x[real] + 1j * x[imag]
        return x

    return Stored(
        name,
        stored_dataset.shape,
        dtype,
        read,
        stored_dataset.chunks,
        flipped=matlab,
        certain=False,
        matlab=matlab,
    )


def _complex_dtype(dtype: np.dtype) -> np.dtype:
    """Return the complex kind of pairs such as MATLAB's (real, imag)."""
    if any(set(pair) == set(dtype.names or ()) for pair in _COMPLEX):
        return np.result_type(dtype[0], np.complex64)
    return dtype


def check_room(folder: pathlib.Path, size: int) -> None:
    """Check that `size` bytes are free: a map of a full disk kills the process.

    Raises:
        DataError: If they are not.
    """
    free = shutil.disk_usage(folder).free
    if size > free:
        raise dataset.DataError(
            f"data.cache: {size:,} bytes are to be written to {folder}, where {free:,} "
            "are free; choose another with data.cache or AKIN_CACHE"
        )

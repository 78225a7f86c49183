"""Readers of k-space files: HDF5, npy, BART and MATLAB.

Every reader gives an array with the axes of the file; `read_scan` orders them as
[slice, coil, height, width] and checks the values.
"""

import math
import pathlib
from collections.abc import Callable
from typing import Any

import h5py
import numpy as np
import scipy.io

AXES = "schw"  # slice, coil, height, width
BY_RANK = {2: "hw", 3: "chw", 4: "schw"}
MOST_COILS = 128
_BART_COILS, _BART_PHASE2, _BART_DIMS = 3, 2, 16
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NPY_MAGIC = b"\x93NUMPY"


class ScanError(ValueError):
    """A file is no scan; the message says what was found, expected, and what to do."""


def read_scan(
    path: str | pathlib.Path, *, key: str = "kspace", axes: str = ""
) -> np.ndarray:
    """Return the k-space of a file, complex64 [slices, coils, height, width].

    Args:
        path: `.h5`, `.hdf5`, `.npy`, `.cfl` (with its `.hdr`), `.mat` (5 or 7.3).
        key: Where the array lies in HDF5 and MATLAB files, parts joined by "/".
        axes: Order of the file's axes by the letters s, c, h, w, such as "hwc"; "" is
            hw, chw or schw by their number, for BART its own order.

    Raises:
        ScanError: If the file holds no k-space.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() not in READERS:
        raise ScanError(
            f"got a file that ends in {path.suffix or 'nothing'!r}; expected "
            f"{', '.join(sorted(READERS))}"
        )
    if not path.is_file():
        raise ScanError("there is no such file")
    if not path.stat().st_size:
        raise ScanError("the file is empty (0 bytes); copy it again")
    array, order = READERS[path.suffix.lower()](path, key)
    return _checked(_ordered(array, axes or order))


def _ordered(array: np.ndarray, axes: str) -> np.ndarray:
    """Return the array as [slice, coil, height, width]."""
    rank = array.ndim
    axes = axes or BY_RANK.get(rank, "")
    if not axes:
        raise ScanError(
            f"got an array of {rank} axes, {list(array.shape)}; expected 2 to 4: "
            "height and width, before them coils, before them slices; say another "
            "order with data.axes"
        )
    if len(axes) != rank or len(set(axes)) != rank or not {"h", "w"} <= set(axes):
        raise ScanError(
            f"got axes={axes!r} for an array of {rank} axes, {list(array.shape)}; "
            "expected a letter for each: h, w, and perhaps c and s"
        )
    if unknown := set(axes) - set(AXES):
        raise ScanError(
            f"got axes={axes!r} with {', '.join(sorted(unknown))}; choices: s, c, h, w"
        )
    axes_present = [axis for axis in AXES if axis in axes]
    array = np.transpose(array, [axes.index(axis) for axis in axes_present])
    missing = [i for i, axis in enumerate(AXES) if axis not in axes]
    return np.expand_dims(array, missing)


def _checked(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "c":
        raise ScanError(
            f"got {array.dtype} values; expected complex k-space. A magnitude image "
            "has lost its phase: read it with data.name=slices"
        )
    shape = dict(zip(("slices", "coils", "height", "width"), array.shape, strict=True))
    if empty := [name for name, n in shape.items() if not n]:
        raise ScanError(
            f"got no {' and no '.join(empty)} ({_said(shape)}); expected one or more "
            "of each: export the scan again"
        )
    if min(array.shape[2:]) < 8:
        raise ScanError(f"got {_said(shape)}; expected 8 lines or more each way")
    if array.shape[1] > min(MOST_COILS, *array.shape[2:]):
        raise ScanError(
            f"got {_said(shape)}; expected no more than {MOST_COILS} coils, nor than "
            "lines: another axis was taken for coils, say the order with data.axes"
        )
    array = np.ascontiguousarray(array, np.complex64)
    finite = np.isfinite(array.real) & np.isfinite(array.imag)
    if bad := array.size - int(np.count_nonzero(finite)):
        where = np.argwhere(~finite)[0].tolist()
        nan = int(np.count_nonzero(np.isnan(array)))
        raise ScanError(
            f"of {array.size} values {nan} are NaN and {bad - nan} infinite, the first "
            f"at [slice, coil, row, column] = {where}; export the scan again"
        )
    if dark := [i for i, scan_slice in enumerate(array) if not scan_slice.any()]:
        raise ScanError(
            f"slices {', '.join(map(str, dark[:5]))} hold nothing but zeros; leave "
            "them out or export the scan again"
        )
    return array


def _said(shape: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in shape.items())


def _read_npy(path: pathlib.Path, key: str) -> tuple[np.ndarray, str]:
    del key
    with open(path, "rb") as file:
        magic = file.read(len(_NPY_MAGIC))
    if magic != _NPY_MAGIC:
        raise ScanError(
            f"the content is not npy (it begins with {magic!r}); expected what "
            "numpy.save writes"
        )
    try:
        # By the map, a file that is too short fails before anything is read.
        return np.load(path, mmap_mode="r", allow_pickle=False), ""
    except ValueError as error:
        if "Python object" in str(error) or "pickle" in str(error):
            raise ScanError(
                "the array holds Python objects, which are not read because they can "
                "run code; save a plain complex64 array"
            ) from None
        raise ScanError(
            f"the file is cut off or its header is damaged ({error}); copy it again"
        ) from None
    except (EOFError, OSError, SyntaxError) as error:
        raise ScanError(f"the header is damaged ({error}); copy it again") from None


def _read_hdf5(path: pathlib.Path, key: str) -> tuple[np.ndarray, str]:
    with _open_hdf5(path) as file:
        array = _hdf5_array(file, key)
        # fastMRI's single-coil files have slices where others have coils.
        single = array.ndim == 3 and "reconstruction_esc" in file
        return array, "shw" if single else ""


def _open_hdf5(path: pathlib.Path) -> h5py.File:
    with open(path, "rb") as file:
        magic = file.read(len(_HDF5_MAGIC))
    if path.suffix.lower() != ".mat" and magic != _HDF5_MAGIC:
        raise ScanError(
            f"the content is not HDF5 (it begins with {magic!r}); expected the file "
            "that the scanner's converter wrote"
        )
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ScanError(
            f"the HDF5 file is cut off or damaged ({error}); copy it again"
        ) from None


def _hdf5_array(file: h5py.File, key: str) -> np.ndarray:
    try:
        names = _names(file)
    except (OSError, RuntimeError) as error:
        raise ScanError(f"the HDF5 file is damaged ({error}); copy it again") from None
    stored = file.get(key) if key else None
    if stored is None:
        raise ScanError(
            f"there is no {key!r}; choices: {', '.join(names) or 'none, it is empty'}; "
            "set data.key"
        )
    if not isinstance(stored, h5py.Dataset):
        inside = [name for name in names if name.startswith(f"{key}/")]
        raise ScanError(
            f"{key!r} is a group, not an array; choices: "
            f"{', '.join(inside) or 'none'}; set data.key"
        )
    # A link or a table of segments may point at any file of this machine.
    if stored.external or stored.is_virtual or stored.file.filename != file.filename:
        raise ScanError(f"the values of {key!r} lie in other files, which are not read")
    try:
        array = stored[()]
    except (OSError, RuntimeError) as error:
        raise ScanError(
            f"the values of {key!r} cannot be read ({error}); copy the file again"
        ) from None
    return _complex(np.asarray(array))


def _names(file: h5py.File) -> list[str]:
    names = []

    def note(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            names.append(name)

    file.visititems(note)
    return names


def _complex(array: np.ndarray) -> np.ndarray:
    """Return complex values of pairs such as MATLAB's (real, imag)."""
    names = array.dtype.names or ()
    for pair in (("real", "imag"), ("r", "i")):
        if set(pair) == set(names):
            return array[pair[0]] + 1j * array[pair[1]]
    return array


def _read_mat(path: pathlib.Path, key: str) -> tuple[np.ndarray, str]:
    if h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            # Version 7.3 lists MATLAB's axes last to first.
            return _hdf5_array(file, key).T, ""
    try:
        content = scipy.io.loadmat(path, struct_as_record=True, squeeze_me=False)
    except NotImplementedError:
        raise ScanError(
            "the MATLAB file says version 7.3, but its content is cut off; copy it "
            "again"
        ) from None
    except Exception as error:  # loadmat raises many kinds on damaged content
        raise ScanError(
            f"the MATLAB file is cut off or damaged ({type(error).__name__}: {error}); "
            "copy it again"
        ) from None
    names = [name for name in content if not name.startswith("__")]
    field: Any = content
    for depth, part in enumerate(key.split("/")):
        if isinstance(field, np.ndarray) and field.dtype.names:
            choices = list(field.dtype.names)
            field = {name: field[name].flat[0] for name in choices}
        choices = names if not depth else list(field) if isinstance(field, dict) else []
        if part not in choices:
            raise ScanError(
                f"there is no {key!r}; choices at "
                f"{'/'.join(key.split('/')[:depth]) or 'the top'}: "
                f"{', '.join(choices) or 'none'}; set data.key"
            )
        field = field[part]
    if not isinstance(field, np.ndarray) or field.dtype.kind not in "cfiub":
        kind = getattr(field, "dtype", type(field).__name__)
        raise ScanError(
            f"{key!r} is {kind}, not an array of numbers; set data.key to one, a field "
            "of a struct as struct/field"
        )
    return field, ""


def _read_cfl(path: pathlib.Path, key: str) -> tuple[np.ndarray, str]:
    del key
    header = path.with_suffix(".hdr")
    if not header.is_file():
        raise ScanError(f"its header {header.name} is missing; copy both files")
    dims = _bart_dims(header)
    expected, size = 8 * math.prod(dims), path.stat().st_size
    if size != expected:
        raise ScanError(
            f"got {size} bytes; {header.name} says {dims}, which are {expected}: the "
            "file is cut off or the header belongs to another"
        )
    if dims[_BART_PHASE2] != 1:
        raise ScanError(
            f"got a three-dimensional scan ({dims[_BART_PHASE2]} partitions); expected "
            "slices: transform along the third axis first (bart fft -i 4)"
        )
    array = np.fromfile(path, np.complex64).reshape(dims, order="F")
    # [read, phase, 1, coils, others...] -> [others, coils, read, phase]
    array = np.moveaxis(array, _BART_COILS, 0).reshape(dims[3], *dims[:2], -1)
    return np.moveaxis(array, -1, 0), AXES


def _bart_dims(header: pathlib.Path) -> list[int]:
    lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    for title, line in zip(lines, lines[1:], strict=False):
        if title.strip() != "# Dimensions":
            continue
        try:
            dims = [int(word) for word in line.split()]
        except ValueError:
            dims = []
        if 2 <= len(dims) <= _BART_DIMS and min(dims) > 0:
            return dims + [1] * (_BART_DIMS - len(dims))
        raise ScanError(
            f"the dimensions in {header.name} are {line.strip()!r}; expected 2 to "
            f"{_BART_DIMS} whole numbers above 0"
        )
    raise ScanError(
        f"{header.name} has no line '# Dimensions' with numbers after it; expected a "
        "BART header"
    )


READERS: dict[str, Callable[[pathlib.Path, str], tuple[np.ndarray, str]]] = {
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".npy": _read_npy,
    ".mat": _read_mat,
    ".cfl": _read_cfl,
}

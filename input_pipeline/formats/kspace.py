"""Readers of k-space files: HDF5, npy, BART and MATLAB.

Every reader gives an array and what the format says of its axes; `read_scan` orders
them as [slice, coil, height, width] and checks the values.
"""

import pathlib
from collections.abc import Callable
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io

from input_pipeline.formats import bart, matlab
from input_pipeline.formats.kspace_axes import ScanError, order_axes

MOST_COILS = 128
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_NPY_MAGIC = b"\x93NUMPY"
_PAIRS = (("_real", "_imag"), ("_re", "_im"), ("/real", "/imag"), ("_r", "_i"))


class Read(NamedTuple):
    """What a reader found.

    Attributes:
        array: Values with the axes of the file.
        axes: Order of the axes where the format says it, "" where it does not.
        why: Why the axes are these.
    """

    array: np.ndarray
    axes: str = ""
    why: str = ""


class Scan(NamedTuple):
    """The k-space of a file.

    Attributes:
        kspace: complex64 [slices, coils, height, width].
        axes: Sentence on what the axes of the file were taken for.
    """

    kspace: np.ndarray
    axes: str


def read_scan(path: str | pathlib.Path, *, key: str = "kspace", axes: str = "") -> Scan:
    """Return the k-space of a file.

    Args:
        path: `.h5`, `.hdf5`, `.npy`, `.cfl` (with its `.hdr`), `.mat` (5 or 7.3).
        key: Where the array lies in HDF5 and MATLAB files, parts joined by "/".
        axes: Order of the file's axes by the letters s, c, h, w, and r for pairs of
            real and imaginary, such as "hwc" or "schwr"; s may stand for several. "" is
            what the format says, or else hw, chw or schw by their number.

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
    read = READERS[path.suffix.lower()](path, key)
    array, told = order_axes(read.array, axes, read.axes, read.why)
    return Scan(_checked(array), told)


def _checked(array: np.ndarray) -> np.ndarray:
    shape = dict(zip(("slices", "coils", "height", "width"), array.shape, strict=True))
    if empty := [name for name, n in shape.items() if not n]:
        raise ScanError(
            f"got no {' and no '.join(empty)} ({_shape_text(shape)}); expected one or "
            "more of each: export the scan again"
        )
    if min(array.shape[2:]) < 8:
        raise ScanError(f"got {_shape_text(shape)}; expected 8 lines or more each way")
    if array.shape[1] > min(MOST_COILS, *array.shape[2:]):
        raise ScanError(
            f"got {_shape_text(shape)}; expected no more than {MOST_COILS} coils, nor "
            "than lines: another axis was taken for coils, say the order with data.axes"
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


def _shape_text(shape: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in shape.items())


def _read_npy(path: pathlib.Path, key: str) -> Read:
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
        return Read(np.load(path, mmap_mode="r", allow_pickle=False))
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


def _read_hdf5(path: pathlib.Path, key: str) -> Read:
    with _open_hdf5(path) as file:
        array, name = _hdf5_array(file, key)
        if array.ndim == 3 and name == "kspace" and (why := _single_coil(file)):
            return Read(array, "shw", why)
        return Read(array)


def _single_coil(file: h5py.File) -> str:
    """Return why a file is one of fastMRI's of a single coil, "" if it is not.

    These have slices where files of other programs have coils.
    """
    if "reconstruction_esc" in file:
        return "reconstruction_esc marks a fastMRI file of a single coil"
    if "ismrmrd_header" in file:
        return "a fastMRI file (ismrmrd_header) of three axes is of a single coil"
    if "mask" in file and "acquisition" in file.attrs:
        return "a fastMRI file (mask, acquisition) of three axes is of a single coil"
    return ""


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


def _hdf5_array(file: h5py.File, key: str) -> tuple[np.ndarray, str]:
    """Return an array and its name; two arrays, real and imaginary, become one."""
    try:
        names = _names(file)
    except (OSError, RuntimeError) as error:
        raise ScanError(f"the HDF5 file is damaged ({error}); copy it again") from None
    if pair := _pair(key, names):
        real, imaginary = (_hdf5_values(file, name) for name in pair)
        return _joined(real, imaginary, pair), key
    stored = file.get(key) if key else None
    if stored is None:
        raise ScanError(_no_such(key, names))
    if not isinstance(stored, h5py.Dataset):
        inside = [name for name in names if name.startswith(f"{key}/")]
        raise ScanError(
            f"{key!r} is a group, not an array; choices: "
            f"{', '.join(inside) or 'none'}; set data.key"
        )
    return _hdf5_values(file, key), key


def _hdf5_values(file: h5py.File, key: str) -> np.ndarray:
    stored = file[key]
    if matlab.is_reference(stored):
        cells = matlab.referenced(file, stored)
        if cells.fault:
            raise ScanError(matlab.advice(key, cells))
        # Version 7.3 lists MATLAB's axes last to first.
        values = [_complex(np.asarray(element[()])) for element in cells.elements]
        return np.stack(values, -1)
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


def _pair(key: str, names: list[str]) -> tuple[str, str] | None:
    """Return the names of real and imaginary part where they lie apart."""
    if key in names:
        return None
    pairs = [(key + real, key + imaginary) for real, imaginary in _PAIRS]
    return next((pair for pair in [*pairs, ("real", "imag")]
                 if set(pair) <= set(names)), None)  # fmt: skip


def _joined(
    real: np.ndarray, imaginary: np.ndarray, pair: tuple[str, str]
) -> np.ndarray:
    if real.shape != imaginary.shape:
        raise ScanError(
            f"{pair[0]} is {list(real.shape)} and {pair[1]} {list(imaginary.shape)}; "
            "expected two arrays of one shape"
        )
    return real + 1j * imaginary


def _no_such(key: str, names: list[str]) -> str:
    return (
        f"there is no {key!r}; choices: {', '.join(names) or 'none, it is empty'}; "
        "set data.key"
    )


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


def _read_mat(path: pathlib.Path, key: str) -> Read:
    if h5py.is_hdf5(path):
        with _open_hdf5(path) as file:
            # Version 7.3 lists MATLAB's axes last to first.
            return Read(_hdf5_array(file, key)[0].T)
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
    arrays = dict(matlab.flatten({k: v for k, v in content.items() if k[:2] != "__"}))
    if pair := _pair(key, list(arrays)):
        real, imaginary = (_matlab_values(name, arrays[name]) for name in pair)
        return Read(_joined(real, imaginary, pair))
    if key not in arrays:
        raise ScanError(_no_such_field(key, list(arrays)))
    return Read(_matlab_values(key, arrays[key]))


def _no_such_field(key: str, names: list[str]) -> str:
    """Return what there is at the struct that the key leads into."""
    above = key.split("/")
    while above and not any(n.startswith("/".join(above) + "/") for n in names):
        above.pop()
    start = "".join(f"{part}/" for part in above)
    inside = [n.removeprefix(start).split("/")[0] for n in names if n.startswith(start)]
    return (
        f"there is no {key!r}; choices at {'/'.join(above) or 'the top'}: "
        f"{', '.join(dict.fromkeys(inside)) or 'none'}; set data.key"
    )


def _matlab_values(name: str, value: np.ndarray | matlab.Cells) -> np.ndarray:
    if isinstance(value, matlab.Cells):
        if value.fault:
            raise ScanError(matlab.advice(name, value))
        return np.stack(value.elements)
    if value.dtype.kind not in matlab.NUMBERS:
        raise ScanError(
            f"{name!r} is {value.dtype}, not an array of numbers; set data.key to one, "
            "a field of a struct as struct/field"
        )
    return value


def _read_cfl(path: pathlib.Path, key: str) -> Read:
    del key
    return Read(bart.read(path), "schw", "BART's own order")


READERS: dict[str, Callable[[pathlib.Path, str], Read]] = {
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".npy": _read_npy,
    ".mat": _read_mat,
    ".cfl": _read_cfl,
}

"""An array in an open file that is read piece by piece."""

import math
import pathlib
import shutil
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from input_pipeline import dataset
from input_pipeline.formats import matlab

SHORTEST = 8  # side of an image
_LISTED = 12


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
        names: Names of the axes where the format says them, else empty.
        images: Whether the format says that the values are brightness.
        white: Value of white where the format says it.
        seconds: Time of each frame where the format says it, else empty.
        details: Further JSON values for the report, by name.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[Any], np.ndarray]
    chunks: tuple[int, ...] | None = None
    flipped: bool = False
    certain: bool = True
    matlab: bool = False
    names: tuple[str, ...] = ()
    images: bool = False
    white: float | None = None
    seconds: tuple[float, ...] = ()
    details: Mapping[str, Any] = MappingProxyType({})


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


def one_by_one(read_frame: Callable[[int], np.ndarray], frames: int) -> Callable:
    """Return a `read` for an array whose first axis is read a frame at a time."""

    def read(index: Any) -> np.ndarray:
        first, *rest = index if isinstance(index, tuple) else (index,)
        if not isinstance(first, slice):
            return read_frame(int(first))[tuple(rest)]
        chosen = range(*first.indices(frames))
        return np.stack([read_frame(k)[tuple(rest)] for k in chosen])

    return read


def choose(contents: Mapping[str, tuple], key: str) -> str:
    """Return the name of the array that is meant.

    Args:
        contents: Name -> shape and dtype, or name -> `matlab.Cells` with a fault.
        key: The name as it was asked for; "" for the only one that can be frames.

    Raises:
        ArrayError: If there is no such array; lists the choices.
    """
    key = key.strip("/")
    broken = {k: v for k, v in contents.items() if isinstance(v, matlab.Cells)}
    contents = {k: v for k, v in contents.items() if k not in broken}
    if key:
        if key in broken:
            raise ArrayError(matlab.advice(key, broken[key]))
        if key not in contents:
            inside = {k: v for k, v in contents.items() if k.startswith(f"{key}/")}
            what = "is a group, not an array" if inside else "is not there"
            raise ArrayError(
                f"{key!r} {what}; choices: {listed(inside or contents)}; set data.key"
            )
        if contents[key][1].kind not in matlab.NUMBERS:
            raise ArrayError(
                f"{key!r} holds {contents[key][1]}, no numbers; choices: "
                f"{listed(_numeric(contents))}. Python objects are not read, because "
                "they can run code: write numpy.stack of equal arrays"
            )
        return key
    sides = {
        name: sum(n >= SHORTEST for n in shape)
        for name, (shape, dtype) in _numeric(contents).items()
    }
    able = [name for name, n in sides.items() if n >= 2]
    able = [name for name in able if len(contents[name][0]) > 2] or able
    if len(able) > 1:
        choices = {name: contents[name] for name in able}
        raise ArrayError(
            f"{len(able)} of the arrays can be frames; set data.key to one of: "
            f"{listed(choices)}"
        )
    if able:
        return able[0]
    if broken:
        name, faulty = max(broken.items(), key=lambda item: len(item[1].elements))
        raise ArrayError(matlab.advice(name, faulty))
    raise ArrayError(
        "none of the arrays can be frames, which need two axes of "
        f"{SHORTEST} or more; there are: {listed(contents)}"
    )


def _numeric(contents: Mapping[str, tuple]) -> dict[str, tuple]:
    return {k: v for k, v in contents.items() if v[1].kind in matlab.NUMBERS}


def listed(contents: Mapping[str, tuple]) -> str:
    """Return names, types and shapes for a message."""
    descriptions = [
        f"{name} {dtype} {list(shape)}" for name, (shape, dtype) in contents.items()
    ]
    more = (
        f" and {len(descriptions) - _LISTED} more"
        if len(descriptions) > _LISTED
        else ""
    )
    return (", ".join(descriptions[:_LISTED]) or "none") + more


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
    choose({name: (array.shape, array.dtype)}, name)
    flipped = array.flags.f_contiguous and not array.flags.c_contiguous
    shape = array.shape[::-1] if flipped else array.shape
    dtype = array.dtype
    del array

    def read(index: Any) -> np.ndarray:
        x = np.load(path, mmap_mode="r", allow_pickle=False)
        return np.array((x.T if flipped else x)[index])

    return Stored(name, shape, dtype, read, flipped=flipped)


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

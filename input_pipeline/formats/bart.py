"""BART's pairs of files: `.cfl` with values, `.hdr` with dimensions."""

import math
import pathlib

import numpy as np

from input_pipeline.formats.kspace_axes import ScanError

_COILS, _PHASE2, _DIMS = 3, 2, 16


def read(path: pathlib.Path) -> np.ndarray:
    """Return the values of a `.cfl` file, [slice, coil, height, width].

    Raises:
        ScanError: If header and file do not fit.
    """
    header = path.with_suffix(".hdr")
    if not header.is_file():
        raise ScanError(f"its header {header.name} is missing; copy both files")
    dims = _dimensions(header)
    expected, size = 8 * math.prod(dims), path.stat().st_size
    if size != expected:
        raise ScanError(
            f"got {size} bytes; {header.name} says {dims}, which are {expected}: the "
            "file is cut off or the header belongs to another"
        )
    if dims[_PHASE2] != 1:
        raise ScanError(
            f"got a three-dimensional scan ({dims[_PHASE2]} partitions); expected "
            "slices: transform along the third axis first (bart fft -i 4)"
        )
    array = np.fromfile(path, np.complex64).reshape(dims, order="F")
    # [read, phase, 1, coils, others...] -> [others, coils, read, phase]
    array = np.moveaxis(array, _COILS, 0).reshape(dims[3], *dims[:2], -1)
    return np.moveaxis(array, -1, 0)


def _dimensions(header: pathlib.Path) -> list[int]:
    lines = header.read_text(encoding="utf-8", errors="replace").splitlines()
    for title, line in zip(lines, lines[1:], strict=False):
        if title.strip() != "# Dimensions":
            continue
        try:
            dims = [int(word) for word in line.split()]
        except ValueError:
            dims = []
        if 2 <= len(dims) <= _DIMS and min(dims) > 0:
            return dims + [1] * (_DIMS - len(dims))
        raise ScanError(
            f"the dimensions in {header.name} are {line.strip()!r}; expected 2 to "
            f"{_DIMS} whole numbers above 0"
        )
    raise ScanError(
        f"{header.name} has no line '# Dimensions' with numbers after it; expected a "
        "BART header"
    )

"""What MATLAB's files hold besides arrays: structs, cells, and structs in arrays."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import h5py
import numpy as np

NUMBERS = "cfiub"  # kinds of dtypes that hold numbers
_SIZES = 3  # sizes named in a message


class Cells(NamedTuple):
    """A cell array, or the values of one field of a struct array.

    Attributes:
        elements: What it holds, column by column; arrays or HDF5 datasets.
        fault: Why the elements are not one array, "" if they are.
    """

    elements: list[Any]
    fault: str

    @property
    def shape(self) -> tuple[int, ...]:
        """Number of elements and shape of each."""
        if self.fault:
            return (len(self.elements),)
        return (len(self.elements), *self.elements[0].shape)


def flatten(fields: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all arrays and cells in what `scipy.io.loadmat` returns, as struct/field.

    Args:
        fields: Names and values.
        above: What names begin with.
    """
    for name, value in fields.items():
        if not isinstance(value, np.ndarray):
            continue
        elements = list(value.ravel(order="F"))
        if value.dtype.names and value.size == 1:
            yield from flatten(_fields(value), f"{above}{name}/")
        elif value.dtype.names:
            for field in value.dtype.names:
                column = [element[field] for element in elements]
                yield f"{above}{name}/{field}", cells(column)
        elif elements and all(_is_struct(element) for element in elements):
            shared = [
                field
                for field in elements[0].dtype.names
                if all(field in element.dtype.names for element in elements)
            ]
            for field in shared:
                column = [element[field].flat[0] for element in elements]
                yield f"{above}{name}/{field}", cells(column)
        elif value.dtype == object:
            yield above + name, cells(elements)
        else:
            yield above + name, value


def referenced(file: h5py.File, dataset: h5py.Dataset) -> Cells:
    """Return the elements of a cell array of version 7.3, which holds references."""
    found = [file[reference] for reference in np.ravel(dataset[()]) if reference]
    if len(found) < dataset.size:
        return Cells(found, "some elements are missing")
    return cells(found)


def is_reference(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset of an HDF5 file holds references, as cells do."""
    return h5py.check_ref_dtype(dataset.dtype) is h5py.Reference


def cells(elements: list[Any]) -> Cells:
    """Return elements with the reason why they are not one array."""
    if not elements:
        return Cells(elements, "it is empty")
    kinds = [getattr(getattr(e, "dtype", None), "kind", "O") for e in elements]
    pairs = [bool(getattr(getattr(e, "dtype", None), "names", None)) for e in elements]
    texts = [getattr(e, "attrs", {}).get("MATLAB_class") == b"char" for e in elements]
    if any(
        text or kind not in NUMBERS and not pair
        for kind, pair, text in zip(kinds, pairs, texts, strict=True)
    ):
        return Cells(elements, "not all elements are arrays of numbers")
    sizes = list(dict.fromkeys(tuple(e.shape) for e in elements))
    if len(sizes) > 1:
        listed = ", ".join(" x ".join(map(str, size)) for size in sizes[:_SIZES])
        more = ", ..." if len(sizes) > _SIZES else ""
        return Cells(elements, f"its elements have different sizes ({listed}{more})")
    if len({(kind, pair) for kind, pair in zip(kinds, pairs, strict=True)}) > 1:
        return Cells(elements, "its elements have different types")
    return Cells(elements, "")


def advice(name: str, cells: Cells) -> str:
    """Return a sentence on cells that are not one array, and what to write instead."""
    variable = name.rpartition("/")[2]
    return (
        f"{name!r} is a cell array or a field of a struct array, and {cells.fault}; "
        f"expected arrays of one size: write {variable} = cat(3, {variable}{{:}}) in "
        f"MATLAB (of a struct array S, cat(3, S.{variable})), or pad them to one size"
    )


def _fields(value: np.ndarray) -> dict[str, Any]:
    return {field: value[field].flat[0] for field in value.dtype.names or ()}


def _is_struct(element: Any) -> bool:
    return (
        isinstance(element, np.ndarray)
        and bool(element.dtype.names)
        and element.size == 1
    )

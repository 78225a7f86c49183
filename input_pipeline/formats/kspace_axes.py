"""Which axis of an array of k-space is which, and pairs of real and imaginary."""

import numpy as np

LETTERS = {
    "s": "slices", "c": "coils", "h": "height", "w": "width",
    "r": "pairs of real and imaginary",
}  # fmt: skip
_ORDER = "schw"
_BY_RANK = {2: "hw", 3: "chw", 4: "schw"}


class ScanError(ValueError):
    """A file is no scan; the message says what was found, expected, and what to do."""


def order_axes(
    array: np.ndarray, asked: str, by_format: str, why: str
) -> tuple[np.ndarray, str]:
    """Return an array as complex [slice, coil, height, width], and a sentence on it.

    Args:
        array: Values with the axes of the file.
        asked: Letters of the axes, s, c, h, w and r; "" for what the format says, or
            else by their number.
        by_format: Order that the format says, "" if it does not.
        why: Why the format says so.

    Raises:
        ScanError: If letters and axes do not fit, or the values are real.
    """
    shape, axes = array.shape, "".join(asked.split(","))
    reason = "as data.axes says" if axes else why
    if axes:
        _check_letters(axes, shape)
    else:
        axes = by_format
        pair = _pair_axis(array)
        rank = array.ndim - (pair is not None)
        if not axes:
            axes, reason = (
                _by_rank(rank, array),
                "by their number, data.axes names others",
            )
        if pair is not None:
            axes = axes[:pair] + "r" + axes[pair:]
            reason += ", the axis of 2 being real and imaginary"
    told = ", ".join(f"{LETTERS[a]} {n}" for a, n in zip(axes, shape, strict=True))
    if "r" in axes:
        array, axes = joined_pairs(array, axes.index("r")), axes.replace("r", "")
    if array.dtype.kind != "c":
        raise ScanError(
            f"got {array.dtype} values, {list(shape)}; expected complex k-space, or "
            f"real and imaginary as an axis of 2{_pairs_advice(shape)}. A magnitude "
            "image has lost its phase: read it with configs/triplet_mri.py:slices"
        )
    return _transposed(array, axes), f"{list(shape)} taken as {told}: {reason}"


def joined_pairs(array: np.ndarray, axis: int) -> np.ndarray:
    """Return complex values of an axis of 2, real and imaginary."""
    if array.shape[axis] != 2:
        raise ScanError(
            f"got {array.shape[axis]} values along axis {axis} of {list(array.shape)}; "
            "expected 2, real and imaginary (r in data.axes)"
        )
    real, imaginary = (np.take(array, k, axis) for k in (0, 1))
    return real + 1j * imaginary


def _check_letters(axes: str, shape: tuple[int, ...]) -> None:
    if unknown := set(axes) - set(LETTERS):
        raise ScanError(
            f"got axes={axes!r} with {', '.join(sorted(unknown))}; choices: "
            f"{', '.join(LETTERS)}"
        )
    once = axes.replace("s", "")
    if (
        len(axes) != len(shape)
        or len(set(once)) < len(once)
        or not {"h", "w"} <= set(axes)
    ):
        raise ScanError(
            f"got axes={axes!r} for an array of {len(shape)} axes, {list(shape)}; "
            "expected a letter for each: h, w, and perhaps c, s (of which there may be "
            "several) and r (real and imaginary)"
        )


def _pair_axis(array: np.ndarray) -> int | None:
    """Return the axis of real and imaginary: the last, first or only axis of 2.

    Two images of three axes, or values that are never negative, are no pairs unless
    the axis is the last.
    """
    if array.dtype.kind not in "fi":
        return None
    axes = [axis for axis, n in enumerate(array.shape) if n == 2]
    last = array.ndim - 1
    if last in axes and array.ndim > 2:
        return last
    if array.ndim < 4 or not (0 in axes or len(axes) == 1) or not array.min() < 0:
        return None
    return axes[0]


def _pairs_advice(shape: tuple[int, ...]) -> str:
    """Return how to name an axis of 2, where there is one."""
    if 2 not in shape or not 3 <= len(shape) <= 5:
        return ""
    letters = list(_BY_RANK[len(shape) - 1])
    letters.insert(shape.index(2), "r")
    return f" (data.axes={''.join(letters)})"


def _by_rank(rank: int, array: np.ndarray) -> str:
    if rank in _BY_RANK:
        return _BY_RANK[rank]
    more = "s" * max(rank - 3, 0) + "chw"
    raise ScanError(
        f"got an array of {array.ndim} axes, {list(array.shape)}; expected 2 to 4: "
        "height and width, before them coils, before them slices; say another order "
        f"with data.axes, such as {more!r}, s for each axis that counts images"
    )


def _transposed(array: np.ndarray, axes: str) -> np.ndarray:
    """Return [slice, coil, height, width]; several axes of slices become one."""
    order = sorted(range(len(axes)), key=lambda k: _ORDER.index(axes[k]))
    array = np.transpose(array, order)
    slices = axes.count("s")
    if slices > 1:
        array = array.reshape(-1, *array.shape[slices:])
    missing = [i for i, axis in enumerate(_ORDER) if axis not in axes]
    return np.expand_dims(array, missing)

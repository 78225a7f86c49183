"""Which lines of k-space a scan measures: equispaced masks, and their true rate.

A mask keeps whole lines along the last axis. Its random part, the offset of the first
line, has few values, so that all masks of a setting are one small table; tables are
made in double precision on the host and indexed in traced code.
"""

import numpy as np

KINDS = ("equispaced", "equispaced_fraction")


def mask_table(
    kind: str, width: int, acceleration: float, center_fraction: float
) -> np.ndarray:
    """Return the masks of every offset, bool [offsets, width].

    With n = round(width * center_fraction) lines in the middle always kept,

      equispaced:           i = o, o + R, o + 2R, ...        o in 0 .. R - 1
      equispaced_fraction:  i = round(o + j a),  a = R (n - W) / (n R - W)

    The first adds the middle to the comb, and so measures more than W / R lines; the
    second widens the comb until both together are W / R lines, on average.

    Args:
        kind: One of `KINDS`.
        width: W, lines in full, at least 2.
        acceleration: R, at least 1; a whole number for "equispaced".
        center_fraction: Share of lines in the middle, in (0, 1]; at least one is kept.

    Raises:
        ValueError: If the kind is unknown, a value is out of range, or the middle alone
            is W / R lines or more and leaves nothing for the comb.

    Source: fastMRI (arXiv 1811.08839, section 4.2); `EquiSpacedMaskFunc` and
    `EquispacedMaskFractionFunc` of facebookresearch/fastMRI.
    """
    center = _center_lines(width, center_fraction)
    if kind == "equispaced":
        if acceleration < 1 or acceleration != int(acceleration):
            raise ValueError(
                f"equispaced: acceleration is {acceleration}; expected a whole number "
                "from 1"
            )
        step, offsets = float(acceleration), int(acceleration)
    elif kind == "equispaced_fraction":
        step = _adjusted(width, acceleration, len(center))
        offsets = max(1, round(step))
    else:
        raise ValueError(f"got mask {kind!r}; choices: {', '.join(KINDS)}")
    table = np.zeros((offsets, width), bool)
    table[:, center] = True
    for offset in range(offsets):
        # As published, a stretched comb ends before the last line.
        end = width if kind == "equispaced" else width - 1
        lines = np.around(np.arange(offset, end, step)).astype(int)
        table[offset, lines] = True
    return table


def achieved_acceleration(table: np.ndarray) -> np.ndarray:
    """Return all lines over measured lines, float64 [offsets]."""
    return table.shape[1] / table.sum(1)


def _center_lines(width: int, fraction: float) -> np.ndarray:
    if width < 2:
        raise ValueError(f"width is {width}; expected 2 lines or more")
    if not 0 < fraction <= 1:
        raise ValueError(f"center_fraction is {fraction}; expected a share in (0, 1]")
    count = max(1, round(width * fraction))
    start = (width - count + 1) // 2
    return np.arange(start, start + count)


def _adjusted(width: int, acceleration: float, center: int) -> float:
    if acceleration < 1:
        raise ValueError(f"acceleration is {acceleration}; expected 1 or more")
    if acceleration == 1:
        return 1.0
    if center * acceleration >= width:
        raise ValueError(
            f"{center} lines in the middle of {width} are an acceleration of "
            f"{width / center:.3g} or less already; expected more than the "
            f"{acceleration:g} asked for: lower center_fraction or acceleration"
        )
    return acceleration * (center - width) / (center * acceleration - width)

"""Which axis of an array is which: by name, or by the lengths."""

from typing import NamedTuple

from input_pipeline.formats.stored import SHORTEST, ArrayError, Stored

AXES = ("clip", "frame", "channel", "depth", "line")
_LONG = 3  # a line has so many times more samples than a frame has lines
# Orders that are tried where none is named, as Python's users and MATLAB's know them.
_PYTHON = {
    2: ("depth line", "line depth"),
    3: ("frame depth line", "frame line depth"),
    4: (
        "frame channel depth line",
        "frame channel line depth",
        "frame depth line channel",
        "frame line depth channel",
        "line depth channel frame",
        "depth line channel frame",
    ),
}
_MATLAB = {
    2: ("depth line", "line depth"),
    3: ("depth line frame", "line depth frame"),
    4: (
        "depth line channel frame",
        "line depth channel frame",
        "frame channel depth line",
        "frame channel line depth",
    ),
}


class Named(NamedTuple):
    """What the axes of a stored array are.

    Attributes:
        names: Name of each axis as stored.
        backwards: Those of depth and line that run the other way.
        description: Sentence on the array and the meaning of its axes.
    """

    names: tuple[str, ...]
    backwards: frozenset[str]
    description: str


def name_axes(stored: Stored, axes: str) -> Named:
    """Return the names of a stored array's axes.

    MATLAB 7.3 stores axes last to first, and other writers of HDF5 do not: which it was
    is told by the lengths. The order as named and its reverse are both tried; an order
    fits if no axis but clip or frame is shorter than the channels and a frame has not 3
    times more lines than samples. If both fit, or none, it is the rule of the format
    that counts.

    Args:
        stored: The array.
        axes: Names joined by commas, of frame, channel, depth, line and clip, in the
            order of the program that wrote the file; with "=" before all, in the order
            that Python reads; "-depth" runs towards the probe, "-line" from right to
            left. "" guesses.

    Raises:
        ArrayError: If the names do not fit the array.
    """
    text = "".join(axes.split())
    if not text and stored.names:
        named = Named(stored.names, frozenset(), "as the format says")
    elif not text:
        named = _guessed(stored)
    else:
        exact = text.startswith("=")
        parts = text.removeprefix("=").split(",")
        names = tuple(part.removeprefix("-") for part in parts)
        backwards = frozenset(p[1:] for p in parts if p.startswith("-"))
        _check(stored, axes, names, backwards)
        names, why = _ordered(stored, names, exact)
        named = Named(names, backwards, why)
    lengths = dict(zip(named.names, stored.shape, strict=True))
    lengths_text = ", ".join(f"{name} {n}" for name, n in lengths.items())
    if empty := [name for name, n in lengths.items() if not n]:
        raise ArrayError(
            f"got no {' and no '.join(empty)} ({lengths_text}); export it again"
        )
    if min(lengths["depth"], lengths["line"]) < SHORTEST:
        raise ArrayError(
            f"got {lengths_text} ({named.description}); expected {SHORTEST} samples "
            "and lines or more: set data.axes"
        )
    description = (
        f"{stored.name} {stored.shape} as stored, taken as {lengths_text}: "
        f"{named.description}"
    )
    if lengths["depth"] == lengths["line"]:
        description += (
            "; depth and line are equally long, so that their order is a guess"
        )
    return named._replace(description=description)


def _check(stored: Stored, axes: str, names: tuple, backwards: frozenset) -> None:
    if unknown := [name for name in names if name not in AXES]:
        raise ArrayError(
            f"got data.axes={axes!r} with {', '.join(map(repr, unknown))}; choices: "
            f"{', '.join(AXES)}"
        )
    twice = len(set(names)) < len(names)
    if len(names) != len(stored.shape) or twice or not {"depth", "line"} <= set(names):
        raise ArrayError(
            f"got data.axes={axes!r} for {stored.name} of {len(stored.shape)} axes, "
            f"{stored.shape}; expected a name for each: depth, line, and perhaps "
            "frame, channel and clip. MATLAB drops axes of length 1 at the end"
        )
    if not backwards <= {"depth", "line"}:
        raise ArrayError(
            f"got data.axes={axes!r}; only depth and line may run backwards"
        )


def _ordered(stored: Stored, names: tuple, exact: bool) -> tuple[tuple, str]:
    """Return names as stored, and why."""
    if stored.certain:
        return _stored_order(stored, names), "as named"
    if exact:
        return names, "as named, in the order that Python reads"
    rule, other = (names[::-1], names) if stored.flipped else (names, names[::-1])
    which = {names: "as named", names[::-1]: "reversed, as MATLAB stores it"}
    fit = [order for order in (rule, other) if _fits(stored, order)]
    if len(fit) == 1:
        return fit[0], f"{which[fit[0]]}, the only order that fits the lengths"
    both = "both orders fit" if fit else "no order fits"
    return rule, (
        f"{which[rule]}, the rule of the format; {both} the lengths, '=' before "
        "data.axes takes the order that Python reads"
    )


def _stored_order(stored: Stored, names: tuple) -> tuple:
    return names[::-1] if stored.flipped else names


def _guessed(stored: Stored) -> Named:
    orders = (_MATLAB if stored.matlab else _PYTHON).get(len(stored.shape), ())
    for order in orders:
        names = _stored_order(stored, tuple(order.split()))
        channels = dict(zip(names, stored.shape, strict=True)).get("channel", 1)
        if channels <= 4 and _fits(stored, names):
            return Named(names, frozenset(), "guessed by the lengths, set data.axes")
    raise ArrayError(
        f"{stored.name} has the shape {stored.shape}, whose axes cannot be guessed; "
        "set data.axes, such as 'frame,channel,depth,line'"
    )


def _fits(stored: Stored, names: tuple) -> bool:
    n = dict(zip(names, stored.shape, strict=True))
    # An image may be as wide as it likes.
    long = stored.dtype.kind in "ub" or n["line"] < _LONG * n["depth"]
    return long and n.get("channel", 1) <= min(n["depth"], n["line"])

"""Numbers as people read them: three significant digits, and never `0.0000`."""

import math
from collections.abc import Mapping

ABSENT = "–"


def number(value: float | None) -> str:
    """Return a number with three significant digits.

    Args:
        value: Any real number, or None where nothing was measured.

    Returns:
        `"0.175"`, `"4.70e-05"`, `"12,346"`; what is not finite as a word, None as a
        dash.
    """
    if value is None:
        return ABSENT
    value = float(value)
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return "infinity" if value > 0 else "minus infinity"
    if value == 0:
        return "0"
    # The exponent of the rounded number: 9.996 is printed as 10.0, not as 10.00.
    exponent = int(f"{value:.2e}".partition("e")[2])
    if exponent < -3 or exponent >= 6:
        return f"{value:.2e}"
    return f"{value:,.{max(2 - exponent, 0)}f}"


def count(value: int | None) -> str:
    """Return a count with thousands separated: `538,000`."""
    return ABSENT if value is None else f"{int(value):,}"


def percent(share: float | None) -> str:
    """Return a share in [0, 1] as a percentage: `.024` is `2.40 %`."""
    if share is None or not math.isfinite(share):
        return number(share)
    return f"{number(100 * share)} %"


def interval(low: float | None, high: float | None) -> str:
    """Return a 95 % interval as `low … high`, or a dash where there is none."""
    if low is None or high is None or math.isnan(low) or math.isnan(high):
        return ABSENT
    return f"{number(low)} … {number(high)}"


def measured(metric: Mapping | float | None) -> str:
    """Return a metric with its interval and its sample size, as far as it has them."""
    if not isinstance(metric, Mapping):
        return number(metric)
    text = number(metric.get("value"))
    extent = interval(metric.get("low"), metric.get("high"))
    if extent != ABSENT:
        text += f" ({extent})"
    if metric.get("n"):
        text += f", n {count(metric['n'])}"
    return text


def duration(seconds: float | None) -> str:
    """Return seconds in the two largest units that matter: `1 h 05 min`."""
    if seconds is None or not math.isfinite(seconds):
        return number(seconds)
    if seconds < 0:
        return f"minus {duration(-seconds)}"
    if seconds < 59.5:
        return f"{number(seconds)} s"
    whole = round(seconds)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    if days:
        return f"{days} d {hour} h"
    if hours:
        return f"{hours} h {minute:02d} min"
    return f"{minutes} min {second:02d} s"


def plural(n: int, noun: str, many: str | None = None) -> str:
    """Return a counted noun: `1 alarm`, `2 alarms`."""
    return f"{count(n)} {noun if n == 1 else many or noun + 's'}"

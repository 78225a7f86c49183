"""Alarms on what a run is given: its labels, its split, its records."""

from collections.abc import Iterable, Mapping

from reporting import history
from reporting._alarm import Run, alarm
from reporting.formatting import count, number, percent, plural
from reporting.sections_data import ENCODERS

_LABELS = (
    "Take the record's other view as its positive (objective.positives=instance), drop "
    "codes that say little, or weigh rare ones more (data.rarity)."
)


def weak_labels(run: Run) -> list[dict]:
    """Positives made from codes that say little of what a record looks like."""
    found = list(_weak(run))
    if not found:
        return []
    text = "; ".join(found)
    return [
        alarm("weak_labels", history.LOSS, 0, f"{text[0].upper()}{text[1:]}.", _LABELS)
    ]


def _weak(run: Run) -> Iterable[str]:
    audit, limits = run.audit, run.limits
    if audit.get("positives") != "codes":
        return
    if (lowest := audit["lowest"])["share"] > limits.weak_loss:
        yield (
            f"whatever is learned, shared codes leave {number(lowest['soft'])} of "
            f"{number(lowest['chance'])} nats open: the loss cannot fall below "
            f"{percent(lowest['share'])} of chance"
        )
    if (common := audit["common"])["value"] > limits.common_only:
        named = ", ".join(
            f"{code['name']} in {percent(code['records'])} of the records"
            for code in common["codes"]
        )
        yield (
            f"{percent(common['value'])} of the positive pairs share only codes that "
            f"more than {percent(common['above'])} of the records carry ({named})"
        )
    nearer = audit["nearer"]
    if nearer and all(one["high"] < limits.nearer for one in nearer.values()):
        said = ", ".join(
            f"{percent(one['value'])} by {ENCODERS.get(name, name)}"
            for name, one in nearer.items()
        )
        yield (
            "positives look hardly more alike than records drawn at random: nearer in "
            f"{said}, chance 50 %"
        )


def label_ceiling(run: Run) -> list[dict]:
    """A loss that has come to the lowest that its labels allow."""
    lowest = run.audit.get("lowest") or {}
    if not lowest.get("share", 0.0) > run.limits.high_floor:
        return []
    points = run.limits.points
    loss = history.series(run.events, history.LOSS, "train", points)
    floor = history.series(run.events, "train/loss_floor", "train", points)["value"]
    if len(loss) < points or len(floor) < points:
        return []
    reach = loss["chance"] - floor
    if not (loss["value"] - floor <= run.limits.near_floor * reach).all():
        return []
    last = loss.iloc[-1]
    return [
        alarm(
            "label_ceiling",
            history.LOSS,
            last["step"],
            f"The loss ({number(last['value'])}) has come to the lowest that shared "
            f"codes allow ({number(floor.iloc[-1])}, chance "
            f"{number(last['chance'])}) and has stayed there for {points} points: "
            "these labels have no more to teach.",
            "Another learning rate or a longer run does not help; take other "
            "positives (objective.positives=instance), or finer codes.",
        )
    ]


def leaking_split(run: Run) -> list[dict]:
    """Records held back that training has seen, as they are or nearly so."""
    leaks = run.data.get("leaks")
    found = list(_leaks(leaks, run.limits.duplicates)) if leaks else []
    if not found:
        return []
    return [
        alarm(
            "leaking_split",
            "data/leaks",
            0,
            f"The split leaks: {'; '.join(found)}. What is scored was seen before.",
            "Hold back whole groups: labels, articles, clips, and copies of a record "
            "with it. Scores of this run say nothing of new records.",
        )
    ]


def _leaks(leaks: Mapping, most: float) -> Iterable[str]:
    if leaks["groups"]:
        named = ", ".join(leaks["groups_named"])
        more = ", …" if leaks["groups"] > len(leaks["groups_named"]) else ""
        yield (
            f"{plural(leaks['groups'], 'group')} by {leaks['grouped_by']} "
            f"({named}{more}) on both sides, with {percent(leaks['records'])} of the "
            "records held back"
        )
    if leaks["ids"]:
        yield f"{plural(leaks['ids'], 'id')} on both sides"
    if leaks.get("windows"):
        yield (
            f"{percent(leaks['windows'])} of the windows held back overlap with a "
            "window of training"
        )
    if leaks.get("content", 0.0) > most:
        _, held = leaks["content_looked_at"]
        yield (
            f"{percent(leaks['content'])} of {plural(held, 'record')} held back equal "
            "a record of training"
        )


def duplicate_records(run: Run) -> list[dict]:
    """Training records that are there more than once."""
    repeats = run.data.get("repeats") or {}
    if not repeats.get("share", 0.0) > run.limits.duplicates:
        return []
    return [
        alarm(
            "duplicate_records",
            "data/repeats",
            0,
            f"{percent(repeats['share'])} of {count(repeats['looked_at'])} records "
            "equal another to the last bit.",
            "Keep one of each: copies are each other's negatives, and easy hits.",
        )
    ]

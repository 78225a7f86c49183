"""Alarms on what a run is given: its labels, its split, its records."""

from collections.abc import Iterable, Mapping

from reporting import history
from reporting.alarms.common.rule import Run, alarm
from reporting.formatting import count, number, percent, plural
from reporting.page.data_sections import ENCODERS

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
    """A loss that no longer falls, near the lowest that weak labels allow."""
    lowest, limits = run.audit.get("lowest") or {}, run.limits
    if not lowest.get("share", 0.0) > limits.high_baseline:
        return []
    loss = history.series(run.events, history.LOSS, "train", 2 * limits.points)
    baseline = history.series(run.events, "train/loss_lower_bound", "train", 1)["value"]
    if len(loss) < 2 * limits.points or baseline.empty:
        return []
    before, now = (
        part["value"].mean() for part in (loss[: limits.points], loss[limits.points :])
    )
    last, least = loss.iloc[-1], baseline.iloc[-1]
    reach = last["chance"] - least
    if (
        now - least > limits.near_lower_bound * reach
        or before - now > limits.flat * reach
    ):
        return []
    return [
        alarm(
            "label_ceiling",
            history.LOSS,
            last["step"],
            f"The loss ({number(now)}) no longer falls, and the lowest that shared "
            f"codes allow is {number(least)} (chance {number(last['chance'])}): these "
            "labels have no more to teach.",
            "Another learning rate or a longer run does not help; take other "
            "positives (objective.positives=instance), or finer codes.",
        )
    ]


def leaking_split(run: Run) -> list[dict]:
    """Records held out that training has seen, as they are or nearly so."""
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
            "records held out"
        )
    if leaks["ids"]:
        yield f"{plural(leaks['ids'], 'id')} on both sides"
    if leaks.get("windows"):
        yield (
            f"{percent(leaks['windows'])} of the windows held out overlap with a "
            "window of training"
        )
    if leaks.get("content", 0.0) > most:
        _, held = leaks["content_looked_at"]
        yield (
            f"{percent(leaks['content'])} of {plural(held, 'record')} held out equal "
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


def self_match(run: Run) -> list[dict]:
    """Queries that are in their own list of neighbors.

    Where a record is looked for in another view, its id is the right answer, and its
    score is less than that of the same picture.
    """
    own = [
        query
        for query in run.examples
        if any(
            near["id"] == query["query"] and near["score"] >= run.limits.same
            for near in query.get("neighbors") or []
        )
    ]
    if not own:
        return []
    named = ", ".join(str(query.get("name") or query["query"]) for query in own[:3])
    return [
        alarm(
            "self_match",
            "examples",
            history.reached(run.events)[0],
            f"{count(len(own))} of {plural(len(run.examples), 'query', 'queries')} "
            f"found themselves ({named}): a hit that says nothing.",
            "Take a record out of its own ranking by id, and count from the next one.",
        )
    ]

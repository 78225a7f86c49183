"""Alarms on the data of a run: its labels, its split, its records."""

from collections.abc import Iterable, Mapping
from typing import Any

from reporting import loop_tags
from reporting.alarms.common.rule import POINTS, Finding, Findings, Run, alarm
from reporting.formatting import count, number, percent, plural
from reporting.page.data_sections import ENCODERS

_LABEL_ADVICE = (
    "Take the record's other view as its positive (objective.positives=instance), drop "
    "codes that many records share, or weigh rare ones more (data.rarity)."
)


@alarm(shows="shared codes or labels do not tell which records look alike")
def weak_labels(
    run: Run,
    *,
    lowest_loss: float = 0.6,
    common_only: float = 0.5,
    nearer: float = 0.6,
) -> Findings:
    """Find positives made from codes that do not tell what a record looks like.

    Args:
        run: The run.
        lowest_loss: Lowest loss that labels allow, as a share of chance.
        common_only: Share of positive pairs that share only common codes.
        nearer: How often a positive is nearer than another record.
    """
    audit = run.audit
    if audit.get("positives") != "codes":
        return
    reasons = []
    if (lowest := audit["lowest"])["share"] > lowest_loss:
        reasons.append(
            f"whatever is learned, shared codes leave {number(lowest['soft'])} of "
            f"{number(lowest['chance'])} nats open: the loss cannot fall below "
            f"{percent(lowest['share'])} of chance"
        )
    if (common := audit["common"])["value"] > common_only:
        named = ", ".join(
            f"{code['name']} in {percent(code['records'])} of the records"
            for code in common["codes"]
        )
        reasons.append(
            f"{percent(common['value'])} of the positive pairs share only codes that "
            f"more than {percent(common['above'])} of the records carry ({named})"
        )
    encoders = audit["nearer"]
    if encoders and all(level["high"] < nearer for level in encoders.values()):
        shares = ", ".join(
            f"{percent(level['value'])} by {ENCODERS.get(name, name)}"
            for name, level in encoders.items()
        )
        reasons.append(
            "positives look hardly more alike than records drawn at random: nearer in "
            f"{shares}, chance 50 %"
        )
    if reasons:
        text = "; ".join(reasons)
        seen = f"{text[0].upper()}{text[1:]}."
        yield Finding(loop_tags.LOSS, 0, seen, _LABEL_ADVICE)


@alarm(shows="the loss no longer falls and is near the lowest that its labels allow")
def label_ceiling(
    run: Run,
    *,
    lowest_loss: float = 0.5,
    near: float = 0.5,
    flat: float = 0.15,
    points: int = POINTS,
) -> Findings:
    """Find a loss that no longer falls, near the lowest that weak labels allow.

    Args:
        run: The run.
        lowest_loss: Lowest loss that labels allow, as a share of chance.
        near: Distance to it, as a share of the reach from chance.
        flat: Fall between two means, as a share of the reach.
        points: Logged points of a mean.
    """
    lowest = run.audit.get("lowest") or {}
    if not lowest.get("share", 0.0) > lowest_loss:
        return
    losses = run.history.points(loop_tags.LOSS, "train", 2 * points)
    bounds = run.history.points(loop_tags.LOSS_LOWER_BOUND, "train", 1)
    if len(losses) < 2 * points or not bounds:
        return
    values = [float(point.value or 0.0) for point in losses]
    before, now = sum(values[:points]) / points, sum(values[points:]) / points
    last, least = losses[-1], float(bounds[0].value or 0.0)
    if last.chance is None:
        return
    reach = last.chance - least
    if now - least > near * reach or before - now > flat * reach:
        return
    yield Finding(
        loop_tags.LOSS,
        last.step,
        f"The loss ({number(now)}) no longer falls, and the lowest that shared codes "
        f"allow is {number(least)} (chance {number(last.chance)}): these labels have "
        "no more to teach.",
        "Another learning rate or a longer run does not help; take other positives "
        "(objective.positives=instance), or finer codes.",
    )


@alarm(shows="held-out records, or parts of them, are in the training split")
def leaking_split(run: Run, *, duplicates: float = 0.01) -> Findings:
    """Find held-out records that training has seen, identical or nearly so.

    Args:
        run: The run.
        duplicates: Share of held-out records that may equal a training record.
    """
    leaks = run.data.get("leaks")
    reasons = list(_leaks(leaks, duplicates)) if leaks else []
    if reasons:
        yield Finding(
            "data/leaks",
            0,
            f"The split leaks: {'; '.join(reasons)}. What is scored was seen before.",
            "Hold out whole groups: labels, articles, clips, and copies of a record "
            "with it. Scores of this run say nothing of new records.",
        )


def _leaks(leaks: Mapping[str, Any], duplicates: float) -> Iterable[str]:
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
    if leaks.get("content", 0.0) > duplicates:
        _, held_out = leaks["content_looked_at"]
        yield (
            f"{percent(leaks['content'])} of {plural(held_out, 'record')} held out "
            "equal a record of training"
        )


@alarm(shows="training records equal one another to the last bit")
def duplicate_records(run: Run, *, share: float = 0.01) -> Findings:
    """Find training records that are there more than once.

    Args:
        run: The run.
        share: Share of records that may equal another.
    """
    repeats = run.data.get("repeats") or {}
    if repeats.get("share", 0.0) > share:
        yield Finding(
            "data/repeats",
            0,
            f"{percent(repeats['share'])} of {count(repeats['looked_at'])} records "
            "equal another to the last bit.",
            "Keep one of each: copies are each other's negatives, and easy hits.",
        )


@alarm(shows="a query is in its own list of neighbors")
def self_match(run: Run, *, cosine: float = 1 - 1e-6) -> Findings:
    """Find queries that are in their own list of neighbors.

    Where a record is looked for in another view, its id is the right answer, and its
    score is less than that of the same image.

    Args:
        run: The run.
        cosine: Score from which a neighbor is the query itself.
    """
    matched = [
        query
        for query in run.examples
        if any(
            near["id"] == query["query"] and near["score"] >= cosine
            for near in query.get("neighbors") or []
        )
    ]
    if matched:
        named = ", ".join(str(q.get("name") or q["query"]) for q in matched[:3])
        yield Finding(
            "examples",
            run.history.step,
            f"{count(len(matched))} of "
            f"{plural(len(run.examples), 'query', 'queries')} "
            f"found themselves ({named}): a hit that says nothing.",
            "Take a record out of its own ranking by id, and count from the next one.",
        )

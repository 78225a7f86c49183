"""Alarms on how embeddings spread."""

from collections.abc import Iterator

from reporting import history
from reporting.alarms.common.rule import (
    JUDGING,
    SETTLING,
    Finding,
    Findings,
    Run,
    alarm,
)
from reporting.formatting import number, percent

COLLAPSED, COLLAPSED_POINTS = 0.05, 3  # of 1/√d, and for how many logged points


@alarm(severity="stop", shows="all embeddings are nearly the same")
def collapse(
    run: Run,
    *,
    spread: float = COLLAPSED,
    points: int = COLLAPSED_POINTS,
    settling: float = SETTLING,
) -> Findings:
    """Find embeddings that are all nearly the same.

    Args:
        run: The run.
        spread: Standard deviation of an embedding's entries, of 1/√d.
        points: Logged points for which it has to last.
        settling: Share of the run in which embeddings are not judged.
    """
    for tag, step, ratios in _spreads(run, points, settling):
        if len(ratios) == points and max(ratios) < spread:
            yield Finding(
                tag,
                step,
                "Embeddings have collapsed: their standard deviation is "
                f"{percent(ratios[-1])} of 1/√d, and all records look the same to the "
                "network.",
                "Lower the learning rate, and check the predictor, the stopped "
                "gradient and BatchNorm.",
            )


@alarm(shows="embeddings use little of the sphere")
def partial_collapse(
    run: Run,
    *,
    spread: float = 0.5,
    collapsed: float = COLLAPSED,
    points: int = COLLAPSED_POINTS,
    settling: float = SETTLING,
) -> Findings:
    """Find embeddings that spread over less of the sphere than they should.

    Args:
        run: The run.
        spread: Standard deviation of an embedding's entries, of 1/√d.
        collapsed: Standard deviation below which they have collapsed.
        points: Logged points after which they have.
        settling: Share of the run in which embeddings are not judged.
    """
    for tag, step, ratios in _spreads(run, points, settling):
        if ratios[-1] >= spread:
            continue
        if len(ratios) == points and max(ratios) < collapsed:
            continue
        yield Finding(
            tag,
            step,
            "Embeddings use little of the sphere: their standard deviation is "
            f"{percent(ratios[-1])} of 1/√d; below {percent(collapsed)} they have "
            "collapsed.",
            "Take more negatives or a lower temperature, and look at how positives are "
            "made: views that hardly differ teach nothing.",
        )


def _spreads(
    run: Run, points: int, settling: float
) -> Iterator[tuple[str, int, list[float]]]:
    """Yield tag, step and latest standard deviations of embeddings, of 1/√d."""
    if run.progress < settling:
        return
    divided = run.history.named("embedding_std_ratio")
    whole = [
        t for t in run.history.named("embedding_std") if f"{t}_ratio" not in divided
    ]
    for tag in [*whole, *divided]:
        rows = run.history.points(tag, last=points)
        # 1/√d, the spread of random directions, is the metric's chance level.
        units = [1.0 if tag in divided else row.chance for row in rows]
        ratios = [
            row.value / unit
            for row, unit in zip(rows, units, strict=True)
            if unit and history.is_number(row.value)
        ]
        if ratios:
            yield tag, rows[-1].step, ratios


@alarm(shows="embeddings lie in very few dimensions")
def low_rank(run: Run, *, rank: float = 4.0, settling: float = SETTLING) -> Findings:
    """Find embeddings that lie in very few dimensions.

    Args:
        run: The run.
        rank: Effective rank below which they do.
        settling: Share of the run in which embeddings are not judged.
    """
    if run.progress < settling:
        return
    for tag in run.history.named("effective_rank"):
        (last,) = run.history.points(tag, last=1)
        if history.is_number(last.value) and last.value < rank:
            yield Finding(
                tag,
                last.step,
                f"The embeddings' effective rank is {number(last.value)}: all that "
                "tells records apart lies in that many directions.",
                "More negatives, a lower temperature or stronger augmentation spread "
                "it.",
            )


@alarm(shows="directions of embeddings are far from evenly spread")
def low_uniformity(
    run: Run, *, share: float = 0.2, settling: float = SETTLING
) -> Findings:
    """Find embeddings that are all near each other, even where their spread is normal.

    Args:
        run: The run.
        share: Share of the uniformity of directions spread evenly.
        settling: Share of the run in which embeddings are not judged.
    """
    if run.progress < settling:
        return
    for tag, metric in run.evaluated("uniformity"):
        even = metric["chance"]  # of directions spread evenly, negative
        if even is None or metric["value"] <= share * even:
            continue
        yield Finding(
            tag,
            run.evaluated_at,
            f"Embeddings are concentrated: {tag} is {number(metric['value'])} where "
            f"directions spread evenly have {number(even)} and one point has 0.",
            "Take more negatives, a lower temperature or a lower learning rate.",
        )


@alarm(shows="a record is as far from its view as from random records")
def views_not_aligned(
    run: Run, *, share: float = 0.9, judging: float = JUDGING
) -> Findings:
    """Find views of a record that lie no nearer to it than random records do.

    Args:
        run: The run.
        share: Share of the distance of random records.
        judging: Share of the run after which views are judged.
    """
    if run.progress < judging:
        return
    for tag, metric in run.evaluated("alignment"):
        distance = metric["chance"]
        if not distance or metric["value"] < share * distance:
            continue
        yield Finding(
            tag,
            run.evaluated_at,
            f"A record and its view are {number(metric['value'])} apart ({tag}), "
            f"random records {number(distance)}: the views are not recognized.",
            "Look at the views with `preview`; weaker augmentation may be needed.",
        )


@alarm(shows="records have the embedding of another record")
def duplicates(run: Run, *, share: float = 0.01) -> Findings:
    """Find records whose embedding is that of another.

    Args:
        run: The run.
        share: Share of records that may have one.
    """
    for tag, metric in run.evaluated("duplicates"):
        if metric["value"] > share:
            yield Finding(
                tag,
                run.evaluated_at,
                f"{percent(metric['value'])} of the records have the embedding of "
                "another: the data holds duplicates, which are found without having "
                "learned anything.",
                "Take them out.",
            )

"""Alarms on the batches of training: candidates, positives, pairs."""

from collections.abc import Iterator

from reporting import history
from reporting.alarms.common.rule import (
    POINTS,
    SETTLING,
    Finding,
    Findings,
    Run,
    alarm,
)
from reporting.formatting import count, number, percent

EMPTY_POINTS = 3  # logged points without a positive that are no accident
_POSITIVES_ADVICE = (
    "Set data.label, or draw several records of a label: train.samples_per_class."
)


@alarm(shows="the loss sees fewer candidates than the batch has records")
def few_candidates(run: Run) -> Findings:
    """Find a loss that sees fewer candidates than the batch has records."""
    tag = "diag/candidates"
    rows = run.history.points(tag, last=1)
    # One less is no fault: losses that leave the record itself out have it so.
    candidates = rows[0].value if rows else None
    if not run.batch_size or not history.is_number(candidates):
        return
    if candidates < run.batch_size - 1:
        yield Finding(
            tag,
            rows[0].step,
            f"Each anchor is compared with {count(int(candidates))} candidates, though "
            f"a step holds {count(run.batch_size)} records: the loss and its chance "
            "level are those of the smaller batch.",
            "Gather keys over devices, and accumulate with train.grad_cache_chunks "
            "and train.negatives=global, which keeps all candidates.",
        )


@alarm(severity="stop", shows="no query of a batch has a positive")
def no_positives(run: Run, *, points: int = EMPTY_POINTS) -> Findings:
    """Find batches in which no query has a positive.

    Args:
        run: The run.
        points: Logged points for which it has to last.
    """
    for tag, step, shares in _with_positive(run, points):
        if len(shares) == points and not any(shares):
            seen = "No query of a batch has a positive: nothing can be learned."
            yield Finding(tag, step, seen, _POSITIVES_ADVICE)


@alarm(shows="few queries of a batch have a positive")
def few_positives(
    run: Run, *, share: float = 0.5, points: int = EMPTY_POINTS
) -> Findings:
    """Find batches in which few queries have a positive.

    Args:
        run: The run.
        share: Share of queries that should have one.
        points: Logged points after which none having one is `no_positives`.
    """
    for tag, step, shares in _with_positive(run, points):
        if shares[-1] < share and (len(shares) < points or any(shares)):
            seen = f"{percent(shares[-1])} of the queries of a batch have a positive."
            yield Finding(tag, step, seen, _POSITIVES_ADVICE)


def _with_positive(run: Run, points: int) -> Iterator[tuple[str, int, list[float]]]:
    """Yield tag, step and latest shares of queries with a positive."""
    for tag in run.history.named("queries_with_positive"):
        rows = run.history.points(tag, last=points)
        shares = [float(r.value) for r in rows if history.is_number(r.value)]
        if shares:
            yield tag, rows[-1].step, shares


@alarm(shows="positives are farther apart than negatives")
def reversed_pairs(
    run: Run, *, points: int = POINTS, settling: float = SETTLING
) -> Findings:
    """Find positives that lie farther apart than negatives.

    Args:
        run: The run.
        points: Logged points for which it has to last.
        settling: Share of the run in which embeddings are not judged.
    """
    tags = "train/positive_similarity", "train/negative_similarity"
    near, far = (run.history.points(tag, "train", points) for tag in tags)
    if run.progress < settling or len(near) < points or len(near) != len(far):
        return
    pairs = zip(near, far, strict=True)
    if not all(_is_less(a.value, b.value) for a, b in pairs):
        return
    yield Finding(
        tags[0],
        near[-1].step,
        f"Positives have a mean cosine of {number(near[-1].value)}, negatives one of "
        f"{number(far[-1].value)}: training drives apart what belongs together.",
        "A loss over ranks has to start at the nearest key.",
    )


def _is_less(value: float | None, other: float | None) -> bool:
    return history.is_number(value) and history.is_number(other) and value < other

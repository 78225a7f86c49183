"""Alarms on what an evaluation found: baselines, ceilings and zeros."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from reporting import headlines, history, loop_tags
from reporting.alarms.common.rule import (
    FEW_QUERIES,
    JUDGING,
    Finding,
    Findings,
    Run,
    alarm,
)
from reporting.formatting import count, measured, number, percent
from reporting.history import Metric

# The baseline that a prediction is held against by its cosine.
COPY = "persistence"


@alarm(shows="no baseline's interval lies below the headline scores of a set")
def not_above_baseline(run: Run, *, judging: float = JUDGING) -> Findings:
    """Find scores that raw pixels or the untrained network reach as well.

    A set is judged by all of its headlines: the one that a baseline does not reach
    counts. A prediction is also held against a copy of what it was made from, by its
    cosine.

    Args:
        run: The run.
        judging: Share of the run after which baselines have to be beaten.
    """
    if run.progress < judging:
        return
    metrics = {tag: m for tag, m in run.history.metrics().items() if _has_value(m)}
    sets = [(tags, ()) for tags in headlines.headlines_by_set(metrics).values()]
    sets += [([tag], (COPY,)) for tag, _ in run.evaluated("cosine")]
    for tags, only in sets:
        unbeaten = _unbeaten([metrics[tag] for tag in tags], only)
        if unbeaten:
            yield Finding(
                tags[0],
                run.evaluated_at,
                f"{tags[0]} is {number(metrics[tags[0]]['value'])}, not above the "
                f"interval of {' or '.join(unbeaten)}: for this task training has "
                "added nothing yet.",
                "Train longer, or choose positives that are nearer to the task.",
            )


def _unbeaten(metrics: Sequence[Metric], only: Sequence[str]) -> list[str]:
    """Return the baselines of the first metric that no metric lies above, in words."""
    return [
        f"{baseline['label']} ({measured(baseline)})"
        for name, baseline in metrics[0]["baselines"].items()
        if not baseline["ceiling"]
        and name in (only or metrics[0]["baselines"])
        and not any(_beats(metric, name) for metric in metrics)
    ]


@alarm(shows="a headline score is perfect at once, or where a baseline nearly is too")
def saturated(run: Run, *, perfect: float = 0.999, solved: float = 0.97) -> Findings:
    """Find metrics that do not tell good embeddings from bad ones.

    They are perfect from the first evaluation on, or perfect where what needs no
    training nearly is too; and the run asks nothing harder, which no baseline solves.

    Args:
        run: The run.
        perfect: Score from which a metric is perfect.
        solved: Score that a baseline reaches where a task needs no training.
    """
    for tag, metric in _headlines(run):
        if metric["value"] < perfect:
            continue
        first = run.history.first(tag, "eval")
        # A single evaluation is also the last, and baselines have then to decide.
        alone = len(run.history.of_kind("eval")) == 1 and metric["baselines"]
        at_once = first is not None and (first.value or 0.0) >= perfect and not alone
        easy = [
            f"{baseline['label']} {number(baseline['value'])}"
            for baseline in metric["baselines"].values()
            if not baseline["ceiling"] and _reaches(baseline, solved)
        ]
        if (not easy and not at_once) or _asks_harder(run, tag, solved):
            continue
        seen = f"{tag} is {percent(metric['value'])}"
        seen += " from the first evaluation on" if at_once else ""
        seen += f", and without training: {', '.join(easy)}" if easy else ""
        yield Finding(
            tag,
            run.evaluated_at,
            f"{seen}: the task is too easy to tell good embeddings from bad ones.",
            "Use a larger gallery or harder queries.",
        )


@alarm(shows="a score is worse than that of a random ranking, most likely reversed")
def below_chance(
    run: Run, *, judging: float = JUDGING, few: int = FEW_QUERIES
) -> Findings:
    """Find rankings that are worse than random ones: most likely they are reversed.

    Args:
        run: The run.
        judging: Share of the run after which scores are judged.
        few: Queries below which a score is not judged.
    """
    if run.progress < judging:
        return
    for tag, metric in _scores(run):
        high, chance = metric["high"], metric["chance"]
        if not history.is_finite(high) or not history.is_finite(chance):
            continue
        # A zero has an alarm of its own.
        if high >= chance or not metric["value"] or metric["n"] < few:
            continue
        yield Finding(
            tag,
            run.evaluated_at,
            f"{tag} is {measured(metric)}, below its chance level {number(chance)}: "
            "most likely the ranking is reversed.",
            "Check the sign of similarities, and that a loss over ranks starts at the "
            "nearest key.",
        )


@alarm(shows="a score is 0, and how much that proves for so many queries")
def zero_recall(run: Run, *, few: int = FEW_QUERIES) -> Findings:
    """Find scores of zero.

    Args:
        run: The run.
        few: Queries below which a zero proves little.
    """
    for tag, metric in _scores(run):
        n = metric["n"]
        if metric["value"] != 0 or not n or not history.is_finite(metric["high"]):
            continue
        # Under the hardest of several conditions a zero is an expected result.
        if tag.count("/") > 2:
            continue
        yield Finding(
            tag,
            run.evaluated_at,
            f"{tag} is 0 in {count(n)} queries: with 95 % confidence the true value is "
            f"below {number(metric['high'])} (chance {number(metric['chance'])}).",
            "So few queries say little; evaluate on more."
            if n < few
            else "The embeddings do not find what these labels ask for.",
        )


@alarm(shows="a headline score rests on few queries")
def few_queries(run: Run, *, few: int = FEW_QUERIES) -> Findings:
    """Find scores of so few queries that they say little.

    Args:
        run: The run.
        few: Queries below which a score says little.
    """
    for tag, metric in _headlines(run):
        n = metric["n"]
        if n and n < few and metric["value"]:
            yield Finding(
                tag,
                run.evaluated_at,
                f"{tag} is {measured(metric)}: so few queries say little.",
                "Hold out more records, or do not report the score as a result.",
            )


@alarm(shows="the scores of neighbors hardly differ")
def near_ties(run: Run, *, share: float = 0.9) -> Findings:
    """Find neighbors whose scores hardly differ.

    Args:
        run: The run.
        share: Share of queries that may have such neighbors.
    """
    for tag, metric in run.evaluated("near_ties"):
        if metric["value"] > share:
            level = metric["chance"]
            even = (
                f" (of directions spread evenly {percent(level)})"
                if level is not None
                else ""
            )
            yield Finding(
                tag,
                run.evaluated_at,
                f"{percent(metric['value'])} of the queries have neighbors whose "
                f"scores are nearly tied{even}: their order says little.",
                "Train longer, or look at how the embeddings spread.",
            )


@alarm(shows="neighbors look hardly more alike than random pairs")
def ssim_at_chance(run: Run, *, above: float = 0.05) -> Findings:
    """Find neighbors that look hardly more alike than pairs drawn at random.

    A set that has scores or errors as well is judged by those instead.

    Args:
        run: The run.
        above: SSIM above that of random pairs.
    """
    judged = {
        tag.rpartition("/")[0]
        for tag, metric in run.history.metrics().items()
        if metric["kind"] in ("score", "error") and _has_value(metric)
    }
    for tag, metric in run.evaluated("ssim@1"):
        chance = metric["chance"]
        if chance is None or metric["value"] - chance >= above:
            continue
        if tag.rpartition("/")[0] in judged:
            continue
        yield Finding(
            tag,
            run.evaluated_at,
            f"{tag} is {number(metric['value'])} where random pairs have "
            f"{number(chance)}: an SSIM so near to theirs says nothing of the "
            "embeddings.",
            "Judge by a column or by labels.",
        )


@alarm(shows="training records are better than as many held-out ones")
def generalization_gap(run: Run, *, gap: float = 0.1) -> Findings:
    """Find a network that is better on its training records than on others.

    A gap whose interval reaches 0 is not reported.

    Args:
        run: The run.
        gap: Difference between training and evaluation.
    """
    for tag, metric in run.evaluated("gap"):
        low = metric["low"] if metric["low"] is not None else metric["value"]
        if metric["value"] <= gap or low <= 0:
            continue
        unit = " of the loss's chance level" if tag == loop_tags.LOSS_GAP else ""
        yield Finding(
            tag,
            run.evaluated_at,
            f"{tag} is {measured(metric)}: training records are so much{unit} "
            "better than as many held-out ones.",
            "Stop earlier, take a smaller network, stronger augmentation or more data, "
            "and check that both sides are prepared alike.",
        )


def _has_value(metric: Mapping[str, Any]) -> bool:
    return history.is_finite(metric["value"])


def _scores(run: Run) -> Iterator[tuple[str, Metric]]:
    """Yield evaluated scores with a value."""
    for tag, metric in run.history.metrics().items():
        if tag.startswith("eval/") and metric["kind"] == "score" and _has_value(metric):
            yield tag, metric


def _headlines(run: Run) -> list[tuple[str, Metric]]:
    """Return a headline score for each set."""
    scores = dict(_scores(run))
    return [(tag, scores[tag]) for tag in headlines.headlines(scores)]


def _asks_harder(run: Run, tag: str, solved: float) -> bool:
    """Return whether no baseline solves another measurement of the same score."""
    score = tag.rpartition("/")[2]
    return any(
        other != tag
        and other.rpartition("/")[2] == score
        and not any(_reaches(baseline, solved) for baseline in baselines.values())
        for other, baselines in run.history.all_baselines.items()
    )


def _reaches(baseline: Mapping[str, Any], bound: float) -> bool:
    """Return whether a baseline may be as high as a bound, given its interval."""
    top = baseline["high"] if history.is_finite(baseline["high"]) else baseline["value"]
    return history.is_finite(top) and top >= bound


def _beats(metric: Mapping[str, Any], name: str) -> bool:
    """Return whether a metric lies above the interval of a baseline that it has."""
    baseline = metric["baselines"].get(name)
    if baseline is None:
        return False
    top = baseline["high"] if baseline["high"] is not None else baseline["value"]
    return not history.is_finite(top) or metric["value"] > top

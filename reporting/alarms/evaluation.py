"""Alarms on what an evaluation found: baselines, ceilings and zeros."""

from collections.abc import Iterable

from reporting import history
from reporting.alarms.common.rule import Run, alarm
from reporting.formatting import count, measured, number, percent

FLOOR_WORDS = {
    "pixels": "raw pixels",
    "untrained": "the untrained network",
    "start": "what it started from",
    "persistence": "a copy of the last vector",
    "mean": "the mean of the context",
    "fitted_average": "a weighted mean of the context",
    "exponential_average": "a mean that fades",
    "ridge": "ridge regression",
}


def saturated(run: Run) -> list[dict]:
    """A metric that tells good embeddings from bad ones no more.

    It is perfect from the first evaluation on, or perfect where what needs no training
    nearly is too; and the run asks nothing harder, which no baseline solves.
    """
    found, limits = [], run.limits
    for tag, metric, step in _headlines(run):
        if metric["value"] < limits.saturated:
            continue
        first = history.series(run.events, tag, "eval")["value"].dropna().iloc[0]
        # One evaluation alone is also the last, and baselines have then to tell.
        alone = len(_evaluations(run)) == 1 and metric["baselines"]
        at_once = first >= limits.saturated and not alone
        easy = [
            f"{FLOOR_WORDS.get(name, name)} {number(baseline['value'])}"
            for name, baseline in metric["baselines"].items()
            if name not in history.CEILINGS and _reaches(baseline, limits.solved)
        ]
        if (not easy and not at_once) or _asks_harder(run, tag):
            continue
        seen = f"{tag} is {percent(metric['value'])}"
        seen += " from the first evaluation on" if at_once else ""
        seen += f", and without training: {', '.join(easy)}" if easy else ""
        advice = "Use a larger gallery or harder queries."
        said = f"{seen}: the task is too easy to tell good embeddings from bad ones."
        found.append(alarm("saturated", tag, step, said, advice))
    return found


def not_above_baseline(run: Run) -> list[dict]:
    """Scores that raw pixels or the untrained network reach as well.

    A set is judged by all of its headlines: the one that a baseline does not reach
    counts. A prediction is also held against a copy of what it was made from, by its
    cosine.
    """
    found = []
    if run.progress < run.limits.judging:
        return found
    known = {tag: (metric, step) for tag, metric, step in _scores(run)}
    sets = [(tags, ()) for tags in history.headlines_by_set(known).values()]
    for tag, metric, step in _last(run, "cosine"):
        known[tag] = metric, step
        sets.append(([tag], ("persistence",)))
    for tags, only in sets:
        metric, step = known[tags[0]]
        unbeaten = [
            f"{FLOOR_WORDS.get(name, name)} ({measured(baseline)})"
            for name, baseline in metric["baselines"].items()
            if name in (only or metric["baselines"])
            and name not in history.CEILINGS
            and not any(_beats(known[tag][0], name) for tag in tags)
        ]
        if not unbeaten:
            continue
        seen = (
            f"{tags[0]} is {number(metric['value'])}, not above the interval of "
            f"{' or '.join(unbeaten)}: for this task training has added nothing yet."
        )
        advice = "Train longer, or choose positives that are nearer to the task."
        found.append(alarm("not_above_baseline", tags[0], step, seen, advice))
    return found


def below_chance(run: Run) -> list[dict]:
    """A ranking that is worse than a random one: most likely it is reversed."""
    found = []
    if run.progress < run.limits.judging:
        return found
    for tag, metric, step in _scores(run):
        high, chance = metric["high"], metric["chance"]
        if not history.is_finite(high) or not history.is_finite(chance):
            continue
        # A zero has an alarm of its own.
        if high >= chance or not metric["value"] or metric["n"] < run.limits.few:
            continue
        seen = (
            f"{tag} is {measured(metric)}, below its chance level {number(chance)}: a "
            "ranking can only be so bad where likeness is measured the wrong way round."
        )
        advice = (
            "Check the sign of similarities, and that a loss over ranks walks from "
            "the nearest to the farthest."
        )
        found.append(alarm("below_chance", tag, step, seen, advice))
    return found


def low_uniformity(run: Run) -> list[dict]:
    """Embeddings that are all near each other, though their spread may look fair."""
    found = []
    if run.progress < run.limits.settling:
        return found
    for tag, metric, step in _last(run, "uniformity"):
        even = metric["chance"]  # of directions spread evenly, negative
        if even is None or metric["value"] <= run.limits.low_uniformity * even:
            continue
        seen = (
            f"Embeddings crowd together: {tag} is {number(metric['value'])} where "
            f"directions spread evenly have {number(even)} and one point has 0."
        )
        advice = "Take more negatives, a lower temperature or a lower learning rate."
        found.append(alarm("low_uniformity", tag, step, seen, advice))
    return found


def views_not_aligned(run: Run) -> list[dict]:
    """Views of a record that lie no nearer to it than random records do."""
    found = []
    if run.progress < run.limits.judging:
        return found
    for tag, metric, step in _last(run, "alignment"):
        random_distance = metric["chance"]
        if (
            not random_distance
            or metric["value"] < run.limits.views_not_aligned * random_distance
        ):
            continue
        seen = (
            f"A record and its view are {number(metric['value'])} apart ({tag}), "
            f"random records {number(random_distance)}: the views are not recognized."
        )
        advice = "Look at the views with `preview`; weaker augmentation may be needed."
        found.append(alarm("views_not_aligned", tag, step, seen, advice))
    return found


def zero_recall(run: Run) -> list[dict]:
    """A zero, and how much it says."""
    found = []
    for tag, metric, step in _scores(run):
        n = metric["n"]
        if metric["value"] != 0 or not n or not history.is_finite(metric["high"]):
            continue
        # Under a condition that is as hard as can be, a zero is what was to be shown.
        if tag.count("/") > 2:
            continue
        small = n < run.limits.few
        advice = (
            "So few queries say little; evaluate on more."
            if small
            else "The embeddings do not find what these labels ask for."
        )
        seen = (
            f"{tag} is 0 in {count(n)} queries: with 95 % confidence the true value is "
            f"below {number(metric['high'])} (chance {number(metric['chance'])})."
        )
        found.append(alarm("zero_recall", tag, step, seen, advice))
    return found


def few_queries(run: Run) -> list[dict]:
    """A score of so few queries that it says little."""
    found = []
    for tag, metric, step in _headlines(run):
        n = metric["n"]
        if not n or n >= run.limits.few or not metric["value"]:
            continue
        seen = f"{tag} is {measured(metric)}: so few queries say little."
        advice = "Hold back more records, or call it an impression and not a result."
        found.append(alarm("few_queries", tag, step, seen, advice))
    return found


def near_ties(run: Run) -> list[dict]:
    """Neighbors whose scores hardly differ."""
    found = []
    for tag, metric, step in _last(run, "near_ties"):
        if metric["value"] > run.limits.near_ties:
            seen = (
                f"{percent(metric['value'])} of the queries have neighbors whose "
                f"scores are nearly tied{_by_chance(metric)}: their order says little."
            )
            advice = "Train longer, or look at how the embeddings spread."
            found.append(alarm("near_ties", tag, step, seen, advice))
    return found


def ssim_at_chance(run: Run) -> list[dict]:
    """Neighbors that look hardly more alike than pairs drawn at random.

    Where a set has scores or errors as well, those speak for it, and not the looks.
    """
    found = []
    judged = {
        tag.rpartition("/")[0] for tag, *_ in (*_scores(run), *_last(run, "error"))
    }
    for tag, metric, step in _last(run, "ssim@1"):
        chance = metric["chance"]
        if chance is None or metric["value"] - chance >= run.limits.ssim_at_chance:
            continue
        if tag.rpartition("/")[0] in judged:
            continue
        seen = (
            f"{tag} is {number(metric['value'])} where random pairs have "
            f"{number(chance)}: an SSIM so near to theirs says nothing of the "
            "embeddings."
        )
        advice = "Judge by a column or by labels."
        found.append(alarm("ssim_at_chance", tag, step, seen, advice))
    return found


def duplicates(run: Run) -> list[dict]:
    """Records whose embedding is that of another."""
    found = []
    for tag, metric, step in _last(run, "duplicates"):
        if metric["value"] > run.limits.duplicates:
            seen = (
                f"{percent(metric['value'])} of the records have the embedding of "
                "another: the data holds duplicates, which are found without having "
                "learned anything."
            )
            found.append(alarm("duplicates", tag, step, seen, "Take them out."))
    return found


def gap(run: Run) -> list[dict]:
    """A network that knows its training records better than others.

    A gap that may be none, by its interval, is not spoken of.
    """
    found = []
    for tag, metric, step in _last(run, "gap"):
        low = metric["low"] if metric["low"] is not None else metric["value"]
        if metric["value"] <= run.limits.gap or low <= 0:
            continue
        unit = " of the loss's chance level" if tag == history.LOSS_GAP else ""
        seen = (
            f"{tag} is {measured(metric)}: records trained on are so much{unit} "
            "better than as many held out."
        )
        advice = (
            "Stop earlier, take a smaller network, stronger augmentation or more data, "
            "and check that both sides are prepared alike."
        )
        found.append(alarm("generalization_gap", tag, step, seen, advice))
    return found


def _by_chance(metric: dict) -> str:
    level = metric["chance"]
    return "" if level is None else f" (of directions spread evenly {percent(level)})"


def _last(run: Run, ending: str) -> Iterable[tuple[str, dict, int]]:
    """Evaluated tags with an ending, their latest metric and its step."""
    step = max((e["step"] for e in run.events if e["kind"] == "eval"), default=0)
    known = history.measure(run.events)
    for tag in history.tags(run.events, ending):
        if tag.startswith("eval/") and history.is_finite(known[tag]["value"]):
            yield tag, known[tag], step


def _evaluations(run: Run) -> list[dict]:
    return [event for event in run.events if event["kind"] == "eval"]


def _asks_harder(run: Run, tag: str) -> bool:
    """Whether another measurement of the same score is one that no baseline solves."""
    score, limits = tag.rpartition("/")[2], run.limits
    return any(
        other != tag
        and other.rpartition("/")[2] == score
        and not any(_reaches(baseline, limits.solved) for baseline in named.values())
        for other, named in history.baselines(run.events).items()
    )


def _reaches(baseline: dict, bound: float) -> bool:
    """Whether a baseline may be as high as a bound, given its interval."""
    top = baseline["high"] if history.is_finite(baseline["high"]) else baseline["value"]
    return history.is_finite(top) and top >= bound


def _beats(metric: dict, name: str) -> bool:
    """Whether a metric lies above the interval of a baseline that it has."""
    baseline = metric["baselines"].get(name)
    return baseline is not None and _above(metric["value"], baseline)


def _above(value: float, baseline: dict) -> bool:
    top = baseline["high"] if baseline["high"] is not None else baseline["value"]
    return not history.is_finite(top) or value > top


def _headlines(run: Run) -> list[tuple[str, dict, int]]:
    scores = {tag: (tag, metric, step) for tag, metric, step in _scores(run)}
    return [scores[tag] for tag in history.headlines(scores)]


def _scores(run: Run) -> Iterable[tuple[str, dict, int]]:
    step = max((e["step"] for e in run.events if e["kind"] == "eval"), default=0)
    for tag, metric in history.measure(run.events).items():
        if history.is_score(tag) and history.is_finite(metric["value"]):
            yield tag, metric, step

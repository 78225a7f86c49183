"""Alarms on what an evaluation found: on its fault, and on no healthy one."""

import math

import pytest

from reporting.alarms.common import check as alarm_check
from tests.reporting import fake
from tests.reporting.histories import evaluated, event, events, names


def test_to_stay_below_best_there_is_is_no_fault():
    history = evaluated(0.53, pixels=fake.metric(0.1, 500))
    tag = "eval/brand/recall@1"
    best = event("baseline", 0, {tag: fake.metric(0.9, 500)}, baseline="best")
    assert names([best, *history]) == []


def test_saturated_alarm_has_score_of_pixels():
    (alarm,) = alarm_check.check(evaluated(1.0, pixels=fake.metric(0.93)))
    assert alarm["name"] == "saturated"
    assert "raw pixels 0.930" in alarm["message"]
    assert names(evaluated(0.99)) == []
    assert names(evaluated(1.0, name="recall@100")) == []
    assert names(evaluated(1.0, name="map")) == ["saturated"]
    assert names(evaluated(1.0, name="noto_to_twemoji/recall@1")) == []


def test_perfect_score_that_raw_pixels_reach():
    found = names(evaluated(1.0, pixels=fake.metric(1.0)))
    assert found == ["not_above_baseline", "saturated"]


def test_metric_within_its_baselines():
    pixels, untrained = fake.metric(0.5), fake.metric(0.2)  # ± .04
    assert names(evaluated(0.55, pixels, untrained)) == []
    assert names(evaluated(0.53, pixels, untrained)) == ["not_above_baseline"]
    (alarm,) = alarm_check.check(evaluated(0.2, pixels, untrained))
    assert "raw pixels (0.500 (0.460 … 0.540), n 400) or un" in alarm["message"]
    bare = {"value": 0.5}  # a baseline without an interval
    assert names(evaluated(0.5, bare)) == ["not_above_baseline"]
    assert names(evaluated(0.51, bare)) == []


def test_baselines_are_compared_in_second_half_of_run_only():
    history = evaluated(0.2, fake.metric(0.5))
    history[-1] = {key: v for key, v in history[-1].items() if key != "final"}
    assert names(history, total_steps=200) == []
    assert names(history, total_steps=100) == ["not_above_baseline"]


def test_zero_hits_in_few_queries():
    # 0 of 10: the upper end of a Wilson interval is z²/(n + z²) = .278.
    (alarm,) = alarm_check.check(evaluated(0.0, n=10, low=0.0, high=0.278))
    assert alarm["name"] == "zero_recall"
    assert "0 in 10 queries" in alarm["message"]
    assert "below 0.278" in alarm["message"]
    assert "evaluate on more" in alarm["message"]
    (alarm,) = alarm_check.check(evaluated(0.0, n=5000, low=0.0, high=0.001))
    assert "do not find" in alarm["message"]
    nothing = evaluated(math.nan, n=0, low=math.nan, high=math.nan)
    assert names(nothing) == []


def test_score_of_few_queries_is_impression():
    assert names(evaluated(0.4, n=99)) == ["few_queries"]
    assert names(evaluated(0.4, n=100)) == []
    # A zero has an alarm of its own.
    assert names(evaluated(0.0, n=10, high=0.3)) == ["zero_recall"]


@pytest.mark.parametrize(
    ("ending", "alarm", "bad", "good", "beside"),
    [
        ("near_ties", "near_ties", 0.95, 0.85, {}),
        ("duplicates", "duplicates", 0.02, 0.005, {}),
        ("gap", "generalization_gap", 0.2, 0.05, {}),
        ("ssim@1", "ssim_at_chance", 0.95, 0.99, {"chance": 0.93}),
    ],
)
def test_evaluation_alarms_read_diagnostics_of_evaluation(
    ending, alarm, bad, good, beside
):
    def told(value):
        metric = fake.metric(value, 500) | {"chance": math.nan} | beside
        return names([event("eval", 50, {f"eval/x/{ending}": metric}, final=True)])

    assert told(bad) == [alarm]
    assert told(good) == []


def test_ranking_below_chance_is_taken_for_reversed_one():
    def ranked(value, **fields):
        return names(evaluated(value, name="map", chance=0.2, **fields))

    assert ranked(0.05) == ["below_chance"]  # .01 to .09
    assert ranked(0.17) == []  # .13 to .21: chance is inside
    assert ranked(0.5) == []
    assert ranked(0.05, n=99) == ["few_queries"]


def test_crowded_and_unaligned_embeddings():
    def geometry(name, value, chance):
        metric = fake.metric(value, chance=chance)
        return events(tag=f"eval/geometry/{name}", values=[metric], kind="eval")

    assert names(geometry("uniformity", -0.5, -3.9)) == ["low_uniformity"]
    assert names(geometry("uniformity", -1.5, -3.9)) == []
    assert names(geometry("alignment", 1.9, 2.0)) == ["views_not_aligned"]
    assert names(geometry("alignment", 0.5, 2.0)) == []


def test_perfect_from_first_evaluation_on():
    def history(*values):
        tag = "eval/brand/recall@1"
        metrics = [fake.metric(value, chance=0.01) for value in values]
        return events(tag=tag, values=metrics, kind="eval")

    assert names(history(1.0, 1.0)) == ["saturated"]
    assert names(history(0.5, 1.0)) == []


def both_baselines(values, baselines, name="pixels"):
    """A final evaluation of several tags of a set, and a baseline of each."""
    tags = [f"eval/clean/{tag}" for tag in values]
    measured = dict(zip(tags, map(fake.metric, values.values()), strict=True))
    low = {f"eval/clean/{tag}": fake.metric(baselines[tag]) for tag in baselines}
    return [
        event("baseline", 0, low, baseline=name),
        event("eval", 50, measured, final=True),
    ]


def test_one_headline_above_baseline_is_enough():
    baselines = {"recall@1": 0.28, "map": 0.2}
    assert names(both_baselines({"recall@1": 0.3, "map": 0.3}, baselines)) == []
    assert names(both_baselines({"recall@1": 0.3, "map": 0.22}, baselines)) == [
        "not_above_baseline"
    ]


def test_cosine_is_held_against_copy_of_last_vector():
    level, value = {"cosine": 0.4713}, {"cosine": 0.4719}
    (alarm,) = alarm_check.check(both_baselines(value, level, "persistence"))
    assert alarm["name"] == "not_above_baseline"
    assert "copy of the last vector (0.471" in alarm["seen"]
    assert names(both_baselines({"cosine": 0.6}, level, "persistence")) == []
    assert names(both_baselines(value, level, "ridge")) == []


def test_looks_do_not_speak_where_labels_do():
    alike = {"ssim@1": fake.metric(0.95, chance=0.93)}
    tags = {f"eval/clean/{name}": metric for name, metric in alike.items()}
    alone = [event("eval", 50, tags, final=True)]
    assert names(alone) == ["ssim_at_chance"]
    judged = tags | {"eval/clean/map": fake.metric(0.6, chance=0.1)}
    assert names([event("eval", 50, judged, final=True)]) == []


def test_easy_set_beside_harder_one_is_no_fault():
    easy = evaluated(1.0, pixels=fake.metric(0.99))
    assert "saturated" in names(easy)
    baseline = easy[0]["metrics"]
    for harder, excused in ((0.7, True), (0.98, False)):
        more = {"eval/hard/in_10000/recall@1": fake.metric(harder, 500)}
        history = [event("baseline", 0, baseline | more, baseline="pixels"), easy[-1]]
        assert ("saturated" not in names(history)) == excused


def test_zero_under_condition_is_no_fault():
    none = fake.metric(0.0, 200) | {"low": 0.0, "high": 0.019}
    for tag, found in (
        ("codes/recall@1", ["zero_recall"]),
        ("hard/snr_2/recall@1", []),
    ):
        assert names([event("eval", 50, {f"eval/{tag}": none}, final=True)]) == found

"""Every alarm fires on the history it is for, and on no healthy one."""

import math

import pytest

from reporting import run_dir
from reporting.alarms.common import check as alarm_check
from reporting.alarms.common import rule as rule_lib
from reporting.history import History
from tests.reporting import fake
from tests.reporting.histories import CHANCE, event, events, names


def test_healthy_run_raises_nothing(tmp_path):
    folder = fake.make(tmp_path)
    history = run_dir.read_events(folder)
    assert (
        alarm_check.check(history, batch_size=256, total_steps=100, horizon=100) == []
    )
    assert alarm_check.check([]) == []


def test_loss_at_chance_for_long_enough():
    stuck = [CHANCE * 0.99] * 10
    (alarm,) = alarm_check.check(events(stuck))
    assert alarm["name"] == "near_chance"
    assert alarm["severity"] == "warn"
    assert alarm["step"] == 100
    assert "from step 10 to 100" in alarm["message"]
    assert "5.49" in alarm["message"]
    assert "5.55" in alarm["message"]
    assert names(events(stuck[:9])) == []
    assert names(events([*stuck[:9], CHANCE * 0.94])) == []
    assert names(events([CHANCE * 0.5, *stuck])) == ["near_chance"]


def test_loss_near_lower_bound_is_judged_by_its_range():
    # At τ 1 the loss cannot fall below 93 % of chance: 2 % down is a quarter of that.
    history = events([CHANCE * 0.98] * 10)
    for e in history:
        e["metrics"]["train/loss_lower_bound"] = CHANCE * 0.93
    assert names(history) == []


def test_chance_of_zero():
    history = [
        event("train", i, {"train/loss": x, "train/loss_chance": 0.0})
        for i, x in enumerate([-0.01] * 10)
    ]
    assert names(history) == ["near_chance"]
    for e in history:
        e["metrics"]["train/loss"] = -0.5
    assert names(history) == []


def test_loss_that_rises_after_falling_is_alarm():
    # The second phase of a real log: 7.00 at its best, then 7.22.
    falling = [CHANCE * (0.9 - 0.02 * i) for i in range(15)]
    risen = [*falling, *[CHANCE * 0.75] * 12]
    assert "loss_rising" in names(events(risen))
    assert names(events(falling)) == []
    assert names(events([*falling, *[falling[-1]] * 12])) == []


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_not_finite_stops(value):
    (alarm,) = alarm_check.check(events([1.0, 1.0, value]))
    assert alarm["name"] == "not_finite"
    assert alarm["severity"] == "stop"
    assert alarm["step"] == 30
    history = events(tag="train/grad_norm", values=[1.0, value])
    assert names(history) == ["not_finite"]


def spread(ratios, d=256):
    unit = 1 / math.sqrt(d)
    tag = "diag/embedding_std"
    values = [ratio * unit for ratio in ratios]
    return events(tag=tag, values=values, **{f"{tag}_chance": unit})


def test_collapse_stops_and_thin_spread_warns():
    (alarm,) = alarm_check.check(spread([1.0, 0.04, 0.03, 0.0]))
    assert (alarm["name"], alarm["severity"]) == ("collapse", "stop")
    (alarm,) = alarm_check.check(spread([1.0, 0.6, 0.4]))
    assert (alarm["name"], alarm["severity"]) == ("partial_collapse", "warn")
    assert "40.0 %" in alarm["message"]
    assert names(spread([0.04, 0.03])) == [
        "partial_collapse"
    ]  # two points are no proof
    assert names(spread([0.0, 0.0, 0.0, 0.9])) == []
    # Embeddings of a network that has hardly begun may well lie close together.
    assert names(spread([0.04] * 4), total_steps=1000) == []
    assert names(spread([0.04] * 4), total_steps=400) == ["collapse"]


def test_spread_as_ratio_and_as_metric():
    ratio = events(tag="eval/g/embedding_std_ratio", values=[0.01] * 3, kind="eval")
    assert names(ratio) == ["collapse"]
    low = {"value": 0.001, "chance": 1 / 16, "n": 100}
    metric = events(tag="eval/g/embedding_std", values=[low] * 3, kind="eval")
    assert names(metric) == ["collapse"]
    bare = events(tag="diag/embedding_std", values=[0.001] * 3)
    assert names(bare) == []  # without 1/√d nothing can be said


def test_low_rank():
    tag = "eval/g/effective_rank"
    assert names(events(tag=tag, values=[20.0, 2.0], kind="eval")) == ["low_rank"]
    assert names(events(tag=tag, values=[2.0, 20.0], kind="eval")) == []


def test_schedule_that_does_not_end_with_run():
    (alarm,) = alarm_check.check([], total_steps=1000, horizon=10000)
    # ½ (1 - cos(π/10)) = 2.447 %
    assert "fallen by 2.45 %" in alarm["message"]
    (alarm,) = alarm_check.check([], total_steps=1000, horizon=800)
    assert "last 20.0 %" in alarm["message"]
    assert names([], total_steps=1000, horizon=1000) == []


def test_waiting_for_data():
    tag = "perf/input_wait"
    assert names(events(tag=tag, values=[0.1, 0.5, 0.5, 0.4])) == ["input_bound"]
    assert names(events(tag=tag, values=[0.9, 0.1, 0.1])) == []
    assert names(events(tag=tag, values=[0.9])) == []


def test_fewer_candidates_than_batch_claims():
    history = events(tag="diag/candidates", values=[256.0])
    assert names(history, batch_size=1024) == ["few_candidates"]
    assert names(history, batch_size=256) == []
    assert names(history, batch_size=257) == []  # the record itself left out
    assert names(history) == []


def test_stops_come_first_and_limits_can_be_set():
    history = [*events([CHANCE] * 10), *spread([0.0] * 3)]
    assert names(history) == ["collapse", "near_chance"]
    patient = {
        "near_chance": {"points": 11},
        "collapse": {"points": 9},
        "partial_collapse": {"points": 9},
    }
    assert names(history, limits=patient) == ["partial_collapse"]


def test_each_alarm_is_new_once():
    history = events([CHANCE] * 10)
    found = alarm_check.check(history)
    (alarm,) = alarm_check.unseen(found, History(history))
    said = {key: alarm[key] for key in ("name", "severity", "tag", "message")}
    history.append(event("alarm", alarm["step"], {}, **said))
    assert alarm_check.unseen(alarm_check.check(history), History(history)) == []


def test_batches_without_positives_stop_run_and_few_are_alarm():
    tag = "diag/queries_with_positive"
    none = alarm_check.check(events(tag=tag, values=[0.0] * 3))
    assert [(a["name"], a["severity"]) for a in none] == [("no_positives", "stop")]
    assert "train.samples_per_class" in none[0]["message"]
    # One batch may be unlucky.
    assert names(events(tag=tag, values=[0.0, 0.9, 0.0])) == ["few_positives"]
    assert names(events(tag=tag, values=[0.0, 0.3])) == ["few_positives"]
    assert names(events(tag=tag, values=[0.0, 0.0, 0.5])) == []


def test_loss_jump_is_alarm_with_previous_value():
    falling = [CHANCE * 0.98**i for i in range(20)]
    assert names(events(falling)) == []
    [found] = alarm_check.check(events([*falling, 1.1 * CHANCE, *falling[10:]]))
    assert found["name"] == "loss_spike"
    assert found["step"] == 210
    assert "6.10" in found["message"]
    assert names(events([*falling, 0.8 * CHANCE])) == []


def test_learning_rate_jump_at_resume_is_alarm():
    def resumed(after):
        history = events(tag="train/lr", values=[0.1, 0.05, 0.01])
        history.append(event("resume", 30, {}))
        return [*history, event("train", 40, {"train/lr": after})]

    [found] = alarm_check.check(resumed(0.06))
    assert found["name"] == "lr_jump"
    assert "0.0600" in found["message"]
    assert "0.0100" in found["message"]
    assert names(resumed(0.004)) == ["lr_jump"]
    assert names(resumed(0.009)) == []
    assert names(events(tag="train/lr", values=[0.1, 0.01])) == []


def test_alarms_are_functions_of_folder():
    assert set(alarm_check.STOPS) == {"not_finite", "collapse", "no_positives"}
    for name, rule in rule_lib.rules().items():
        assert rule.find.__name__ == name
        assert rule.shows
        assert f"| `{name}` | {rule.shows} |" in rule_lib.docs_table()
    assert alarm_check.RULES["near_chance"].limits == {"share": 0.05, "points": 10}


def test_severity_is_configs_choice():
    stuck = events([CHANCE * 0.99] * 10)
    (alarm,) = alarm_check.check(stuck)
    assert alarm["severity"] == "warn"
    assert alarm["message"] == f"{alarm['seen']} {alarm['advice']}"
    (alarm,) = alarm_check.check(stuck, stop=("near_chance",))
    assert alarm["severity"] == "stop"
    assert alarm_check.check(stuck, ignore=("near_chance",)) == []


def test_positives_farther_than_negatives():
    def history(near, far):
        found = events([CHANCE * 0.5] * 10)
        for one in found:
            one["metrics"]["train/positive_similarity"] = near
            one["metrics"]["train/negative_similarity"] = far
        return found

    assert names(history(0.1, 0.3)) == ["reversed_pairs"]
    assert names(history(0.3, 0.1)) == []
    assert names(history(0.1, 0.3)[:9]) == []


def test_bound_that_moved_between_segments():
    changed = {"gates.viol.value": [0.01, 0.015], "train.epochs": [1.0, 2.0]}
    segments = [{"from_step": 0, "changed": {}}, {"from_step": 80, "changed": changed}]
    (alarm,) = alarm_check.check(events([CHANCE * 0.5]), segments=segments)
    assert (alarm["name"], alarm["tag"]) == ("gate_changed", "gates.viol.value")
    assert "0.0100" in alarm["seen"]
    assert "0.0150" in alarm["seen"]
    assert alarm_check.check(events([CHANCE * 0.5]), segments=segments[:1]) == []

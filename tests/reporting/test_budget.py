"""Forecasts of time and money against sums made by hand."""

import pytest

from reporting import budget, timeline
from reporting.history import History

BATCH, EPOCH, TOTAL = 32, 10, 100
SECONDS = 2.0  # a step
SPEED = BATCH / SECONDS
RECALL = "eval/brand/recall@1"


def run(steps, *, every=20, evaluation=7.0, wait=0.05, first=9.0, final=False, at=0.0):
    """Events of a run that logs every 10 steps, and the clock after them."""
    events, now = [], at + 3.0
    common = {"metrics": {}, "step": 0, "epoch": 0.0}
    events.append(common | {"kind": "baseline", "baseline": "untrained", "time": now})
    for step in range(10, steps + 1, 10):
        seconds = 10 * (first if step == 10 else SECONDS)
        now += seconds
        tags = {
            "train/loss": 1.0,
            "perf/examples_per_sec": 10 * BATCH / seconds,
            "perf/input_wait": 0.9 if step == 10 else wait,
        }
        stamp = {"step": step, "epoch": step / EPOCH}
        events.append(stamp | {"kind": "train", "time": now, "metrics": tags})
        ends = final and step == steps
        if step % every == 0 or ends:
            now += evaluation
            facts = {"kind": "score", "better": "higher"}
            scores = {RECALL: {"value": step / 200} | facts}
            last = {"final": True} if ends else {}
            stamp |= {"kind": "eval", "time": now, "metrics": scores}
            events.append(stamp | last)
    return events, now


def forecast(events, **more):
    fields = {
        "batch_size": BATCH,
        "total_steps": TOTAL,
        "epoch_steps": EPOCH,
        "evaluate_epochs": 2.0,
        "began": 0.0,
    }
    return budget.forecast(History(events), **fields | more)


def test_hours_and_cost_are_those_of_sum_by_hand():
    events, now = run(40)
    told = forecast(events, price_per_hour=1.8)
    assert told["examples_per_sec"] == SPEED  # without the first point, of compilation
    assert told["seconds_per_step"] == SECONDS
    assert (told["bound"], told["input_wait"]) == ("compute", 0.05)
    # 60 steps to come, evaluations at 60, 80 and 100.
    assert told["evaluations_left"] == 3
    left = 60 * SECONDS + 3 * 7.0
    assert told["hours_left"] == pytest.approx(left / 3600)
    assert told["hours_total"] == pytest.approx((now + left) / 3600)
    assert told["cost_left"] == pytest.approx(left / 2000)
    assert told["cost_total"] == pytest.approx((now + left) / 2000)


def test_forecast_comes_true():
    events, _ = run(40)
    _, end = run(TOTAL, final=True)
    assert forecast(events)["hours_total"] == pytest.approx(end / 3600)


@pytest.mark.parametrize(("wait", "word"), [(0.2, "compute"), (0.21, "input")])
def test_bound_is_input_where_run_waits_for_data(wait, word):
    assert forecast(run(30, wait=wait)[0])["bound"] == word


def test_each_gate_has_its_hour():
    events, now = run(50)
    gates = {
        "past": {"metric": RECALL, "value": 0.1, "at": 3},  # measured at epoch 4
        "next": {"metric": RECALL, "value": 0.1, "at": 5.5},  # at epoch 6
        "loss": {"metric": "train/loss", "value": 0.1, "at": 5.5},
        "warm": {"metric": "train/loss", "value": 0.1, "at": "warmup"},
        "twice": {"metric": RECALL, "value": 0.1, "at": 5.5, "stable": 2},
        "off": {"metric": RECALL, "at": 4, "history": [{"until": 7.5}], "passed": None},
        "last": {"metric": RECALL, "value": 0.1},
    }
    told = forecast(events, gates=gates, warmup_epochs=1.0, price_per_hour=3600.0)
    when = told["gates"]
    past = next(e for e in events if e["kind"] == "eval" and e["step"] == 40)
    assert when["past"] == {
        "judged": True,
        "epoch": 4.0,
        "hours": pytest.approx(past["time"] / 3600),
        "hours_left": 0.0,
        "cost": pytest.approx(past["time"]),
    }
    assert when["warm"]["judged"]
    assert when["warm"]["epoch"] == 1.0
    assert when["next"]["epoch"] == 6.0
    assert when["next"]["cost"] == pytest.approx(now + 10 * SECONDS + 7.0)
    assert when["loss"]["cost"] == pytest.approx(now + 5 * SECONDS)
    assert when["twice"]["cost"] == pytest.approx(now + 30 * SECONDS + 2 * 7.0)
    assert when["off"]["epoch"] == 8.0  # put off by an extension
    assert when["last"]["hours"] == told["hours_total"]


def test_time_between_stop_and_resume_costs_nothing():
    events, now = run(40)
    stamp = {"step": 40, "epoch": 4.0, "metrics": {}}
    events.append(stamp | {"kind": "resume", "time": now + 5000})
    for i, (seconds, step) in enumerate([(40.0, 50), (10.0, 60), (10.0, 70)], 1):
        tags = {"perf/examples_per_sec": 10 * BATCH / seconds}
        time = now + 5000 + 50 * i
        stamp = {"step": step, "epoch": step / EPOCH, "metrics": tags}
        events.append(stamp | {"kind": "train", "time": time})
    told = forecast(events)
    assert told["seconds_per_step"] == 1.0
    assert told["hours_spent"] == pytest.approx((now + 150) / 3600)


def test_finished_run_has_nothing_left():
    events, end = run(60, final=True)
    told = forecast(events)  # stopped early: 60 of 100 steps
    assert (told["hours_left"], told["evaluations_left"]) == (0.0, 0)
    assert told["hours_total"] == pytest.approx(end / 3600)


def test_evaluation_time_is_guessed_from_baselines():
    assert forecast(run(10)[0])["evaluation_seconds"] == 3.0
    assert forecast(run(10)[0][1:], began=None)["evaluation_seconds"] is None


def test_sentence():
    said = budget.sentence(forecast(run(40)[0], price_per_hour=1.8, unit="images"))
    assert said == (
        "16.0 images/s, compute-bound (5.00 % of the time goes by waiting for data); "
        "2 min 21 s to the end at step 100, which costs 0.0705 at 1.80 an hour"
    )
    said = budget.sentence(forecast(run(10, wait=0.5)[0]))
    assert "compilation included" in said
    assert "input-bound" in said
    assert "cost" not in said
    assert budget.sentence(forecast([])) == ""


def test_fields_come_from_config():
    events, _ = run(40)
    config = {
        "train": {"batch_size": BATCH, "price_per_hour": 1.8},
        "evaluate": {"every_epochs": 2.0},
        "transform": {"name": "image"},
        "gates": {"last": {"metric": RECALL, "value": 0.1}},
    }
    segments = [{"time": 0.0}, {"time": 99.0}]
    told = budget.of_run(History(events), config, total_steps=TOTAL, segments=segments)
    expected = forecast(
        events, price_per_hour=1.8, unit="images", gates=config["gates"]
    )
    assert told == expected
    assert budget.of_run(History(), {}, total_steps=None)["hours_left"] is None


def test_trend_is_straight_line_of_last_measurements():
    events, _ = run(60)
    guess = timeline.trend(History(events), RECALL, 10.0)
    assert guess == {"value": pytest.approx(0.5), "points": 3, "last": 0.3}
    assert (
        timeline.trend(History(events), RECALL, 100.0)["value"] == 1.0
    )  # a score is no more
    assert timeline.trend(History(run(40)[0]), RECALL, 10.0) is None


def test_throughput_of_nothing():
    assert timeline.throughput(History())["seconds"] == 0.0

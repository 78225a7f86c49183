"""Gates: faults in their specs, and judgements on both sides of each bound."""

import math

import pytest
from ml_collections import ConfigDict

from reporting import gates, workdir
from tests.reporting import fake

TAGS = ["train/loss", "train/loss_chance", "train/lr", "eval/brand/recall@1"]
FLOORS = ("pixels", "untrained")


def faults(spec, **fields):
    return gates.check_specs({"g": spec}, TAGS, **({"floors": FLOORS} | fields))


def one_fault(spec, **fields):
    (fault,) = faults(spec, **fields)
    return fault


@pytest.mark.parametrize(
    "spec",
    [
        {"metric": "train/loss", "op": "<", "value": 1},
        {"metric": "train/loss", "op": "<=", "value": "chance", "times": 0.7},
        {"metric": "eval/brand/recall@1", "value": "chance", "times": 10},
        {
            "metric": "eval/brand/recall@1",
            "op": ">",
            "value": "floor:untrained",
            "outside_interval": True,
        },
        {"metric": "eval/brand/recall@1", "value": 0.5, "at": 2, "required": False},
    ],
)
def test_good_specs_have_no_fault_as_dicts_and_in_a_config(spec):
    assert faults(spec) == []
    assert gates.check_specs(ConfigDict({"g": spec}).lock(), TAGS, floors=FLOORS) == []
    assert len(fake.GATES) == len(gates.judge(ConfigDict(fake.GATES), {}))


def test_faults_name_the_field_and_what_there_is():
    assert "g: got 3" in one_fault(3)
    assert one_fault({"value": 1}) == "g: needs 'metric'"
    assert one_fault({"metric": "train/loss"}) == "g: needs 'value'"
    typo = one_fault({"metric": "train/loss", "value": 1, "requierd": True})
    assert typo == "g: unknown key 'requierd'; did you mean 'required'?"
    assert ">=, >, <=, <" in one_fault({"metric": "train/loss", "value": 1, "op": "=>"})
    unknown = one_fault({"metric": "eval/brand/recal@1", "value": 1})
    assert "did you mean 'eval/brand/recall@1'" in unknown
    far = one_fault({"metric": "zzzz", "value": 1})
    assert "choices: train/loss," in far
    for key, bad in (("required", "yes"), ("times", "x"), ("times", math.nan)):
        spec = {"metric": "train/loss", "value": 1, key: bad}
        assert one_fault(spec).startswith(f"g.{key}: got {bad!r}")
    for bad in (0, -1, "never", True):
        spec = {"metric": "train/loss", "value": 1, "at": bad}
        assert one_fault(spec).startswith("g.at: got")
    late = {"metric": "train/loss", "value": 1, "at": 11}
    assert faults(late) == []
    assert "beyond the run's 10.0 epochs" in one_fault(late, epochs=10)


def test_levels_must_exist_for_the_metric():
    recall, loss = "eval/brand/recall@1", "train/loss"
    lr = one_fault({"metric": "train/lr", "value": "chance"})
    assert "nothing measures 'train/lr_chance'" in lr
    pixel = one_fault({"metric": recall, "value": "floor:pixel"})
    assert "got 'floor:pixel', choices: a number, 'chance', 'floor:pixels'" in pixel
    assert "floors are measured for" in one_fault(
        {"metric": loss, "value": "floor:pixels"}
    )
    spec = {"metric": recall, "value": "floor:untrained"}
    assert "choices" in one_fault(spec, floors=["pixels"])


def test_all_faults_of_all_gates_are_found_at_once():
    specs = {
        "a": {"metric": "nope", "op": "~", "at": -1, "valeu": 3},
        "b": {"metric": "train/lr", "value": "chance"},
    }
    found = gates.check_specs(specs, TAGS, floors=FLOORS)
    assert [fault.split(":")[0] for fault in found] == [
        "a", "a", "a.op", "a.at", "a.metric", "b.value",
    ]  # fmt: skip


def measured(value, low=None, high=None, chance=0.1, pixels=(0.3, 0.25, 0.35)):
    floor = dict(zip(("value", "low", "high"), pixels, strict=True))
    return {
        "m": {
            "value": value,
            "low": low,
            "high": high,
            "chance": chance,
            "floors": {"pixels": floor},
        }
    }


def passed(value, op=">=", metric=None, **spec):
    spec = {"metric": "m", "op": op, "value": value} | spec
    return gates.judge({"g": spec}, metric or measured(0.5))["g"]["passed"]


def test_operators_at_their_bound():
    verdicts = [passed(0.5, op) for op in (">=", ">", "<=", "<")]
    assert verdicts == [True, False, True, False]
    assert [passed(0.4, op) for op in (">=", ">", "<=", "<")] == [True, True] + [
        False
    ] * 2


def test_levels_and_multiples():
    assert passed("chance", times=5.0)
    assert not passed("chance", times=5.1)
    assert passed("floor:pixels", times=1.6)
    assert not passed("floor:pixels", times=1.7)
    assert not passed("floor:untrained")  # never measured


def test_outside_interval_asks_for_intervals_that_do_not_touch():
    def outside(low, high, op=">", value="floor:pixels", **spec):
        metric = measured((low + high) / 2, low, high)
        return passed(value, op, metric, outside_interval=True, **spec)

    assert outside(0.36, 0.6)
    assert not outside(0.35, 0.6)  # touches the floor's .35
    assert not outside(0.34, 0.6)
    assert outside(0.1, 0.24, "<")
    assert not outside(0.1, 0.26, "<")
    assert outside(0.2, 0.4, value=0.19)  # a number is an interval of one point
    assert not outside(0.2, 0.4, value=0.2)
    # `times` scales the bound, not the interval.
    assert outside(0.36, 0.6, times=1.3)
    assert not outside(0.36, 0.4, times=1.3)
    assert not passed("floor:pixels", ">", measured(0.9), outside_interval=True)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_does_not_pass(value):
    gate = gates.judge({"g": {"metric": "m", "value": 0.1}}, measured(value))["g"]
    assert gate["passed"] is False
    assert "had to be >= 0.100" in gate["note"]
    absent = gates.judge({"g": {"metric": "other", "value": 0.1}}, {})["g"]
    assert absent["passed"] is False
    assert "was not measured" in absent["note"]


def test_judgement_holds_what_the_report_shows():
    spec = {"metric": "m", "op": "<=", "value": "chance", "times": 0.7}
    gate = gates.judge({"g": spec}, measured(0.06))["g"]
    assert gate == {
        "passed": True,
        "required": True,
        "metric": "m",
        "op": "<=",
        "value": 0.06,
        "bound": pytest.approx(0.07),
        "at": "end",
        "note": "0.0600 is <= 0.0700 (0.700 × chance)",
    }


def test_a_gate_is_judged_at_its_epoch_and_waits_before(tmp_path):
    folder = fake.make(tmp_path, epochs=4, final=False)
    specs = {
        "now": {"metric": "eval/brand/recall@1", "op": "<", "value": 0.7, "at": 1},
        "late": {"metric": "eval/brand/recall@1", "value": 0.7, "at": 6},
        "end": {"metric": "eval/brand/recall@1", "value": 0.7},
    }
    events = workdir.read_events(folder)
    judged = gates.judge_run(specs, events)
    # Evaluated at epochs 2 (.6) and 4 (.9): the first at or after epoch 1 counts.
    assert judged["now"]["value"] == pytest.approx(0.6)
    assert [judged[name]["passed"] for name in specs] == [True, None, None]
    fake.evaluation(folder, "eval", 40, 0.9, final=True)
    judged = gates.judge_run(specs, workdir.read_events(folder))
    assert [judged[name]["passed"] for name in specs] == [True, True, True]


def test_required_failures():
    judged = {
        "a": {"required": True, "passed": False},
        "b": {"required": False, "passed": False},
        "c": {"required": True, "passed": True},
    }
    assert gates.required_failures(judged) == ["a"]

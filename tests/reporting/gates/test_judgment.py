"""Gates: faults in their specs, and judgments on both sides of each bound."""

import math

import pytest
from ml_collections import ConfigDict

from reporting import run_dir
from reporting.gates import judgment
from reporting.gates import validation as gate_validation
from reporting.history import History
from tests.reporting import fake

TAGS = ["train/loss", "train/loss_chance", "train/lr", "eval/brand/recall@1"]
BASELINES = ("pixels", "untrained")


def faults(spec, **fields):
    return gate_validation.check(
        {"g": spec}, TAGS, **({"baselines": BASELINES} | fields)
    )


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
            "value": "baseline:untrained",
            "outside_interval": True,
        },
        {"metric": "eval/brand/recall@1", "value": 0.5, "at": 2, "required": False},
    ],
)
def test_good_specs_have_no_fault_as_dicts_and_in_config(spec):
    assert faults(spec) == []
    assert (
        gate_validation.check(ConfigDict({"g": spec}).lock(), TAGS, baselines=BASELINES)
        == []
    )
    assert len(fake.GATES) == len(judgment.judge_run(ConfigDict(fake.GATES), History()))


def test_faults_name_field_and_what_there_is():
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


def test_levels_must_exist_for_metric():
    recall, loss = "eval/brand/recall@1", "train/loss"
    lr = one_fault({"metric": "train/lr", "value": "chance"})
    assert "nothing measures 'train/lr_chance'" in lr
    pixel = one_fault({"metric": recall, "value": "baseline:pixel"})
    assert (
        "got 'baseline:pixel', choices: a number, 'chance', 'baseline:pixels'" in pixel
    )
    assert "baselines are measured for" in one_fault(
        {"metric": loss, "value": "baseline:pixels"}
    )
    spec = {"metric": recall, "value": "baseline:untrained"}
    assert "choices" in one_fault(spec, baselines=["pixels"])


def test_all_faults_of_all_gates_are_found_at_once():
    specs = {
        "a": {"metric": "nope", "op": "~", "at": -1, "valeu": 3},
        "b": {"metric": "train/lr", "value": "chance"},
    }
    found = gate_validation.check(specs, TAGS, baselines=BASELINES)
    assert [fault.split(":")[0] for fault in found] == [
        "a", "a", "a.op", "a.at", "a.metric", "b.value",
    ]  # fmt: skip


def measured(value, low=None, high=None, chance=0.1, pixels=(0.3, 0.25, 0.35)):
    baseline = dict(zip(("value", "low", "high"), pixels, strict=True))
    return {
        "m": {
            "value": value,
            "low": low,
            "high": high,
            "chance": chance,
            "baselines": {"pixels": baseline},
        }
    }


def judge(spec, metrics):
    """A gate as it is judged at the end of a run that measured these metrics."""
    stamp = {"step": 10, "epoch": 1.0, "time": 0.0}
    levels = {tag: metric["baselines"]["pixels"] for tag, metric in metrics.items()}
    events = [
        stamp | {"kind": "baseline", "baseline": "pixels", "metrics": levels},
        stamp | {"kind": "eval", "final": True, "metrics": metrics},
    ]
    return judgment.judge_run({"g": spec}, History(events))["g"]


def passed(value, op=">=", metric=None, **spec):
    spec = {"metric": "m", "op": op, "value": value} | spec
    return judge(spec, metric or measured(0.5))["passed"]


def test_operators_at_their_bound():
    verdicts = [passed(0.5, op) for op in (">=", ">", "<=", "<")]
    assert verdicts == [True, False, True, False]
    assert [passed(0.4, op) for op in (">=", ">", "<=", "<")] == [True, True] + [
        False
    ] * 2


def test_levels_and_multiples():
    assert passed("chance", times=5.0)
    assert not passed("chance", times=5.1)
    assert passed("baseline:pixels", times=1.6)
    assert not passed("baseline:pixels", times=1.7)
    assert not passed("baseline:untrained")  # never measured


@pytest.mark.parametrize("op", ["<", "<=", ">", ">="])
@pytest.mark.parametrize("value", [-6.52e-9, 0.0, 6.52e-9])
def test_multiple_of_level_of_zero_cannot_pass(op, value):
    metric = measured(value, chance=0.0, pixels=(0.0, 0.0, 0.0))
    for level in ("chance", "baseline:pixels"):
        spec = {"metric": "m", "op": op, "value": level, "times": 0.7}
        gate = judge(spec, metric)
        assert gate["passed"] is False
        assert "asks for nothing: that level of m is 0" in gate["note"]
    # What is added gives the bound a meaning.
    assert passed("chance", "<", metric, times=0.7, plus=0.1)


def test_level_is_not_passed_by_rounding():
    metric = measured(-6.52e-9, chance=0.0, pixels=(1000.0, 1000.0, 1000.0))
    assert not passed("chance", "<", metric)
    assert passed("chance", "<=", metric)
    assert passed("chance", "<", measured(-1e-3, chance=0.0))
    assert passed(0.0, "<", metric)  # a number is what it is
    near = measured(1000.0005, pixels=(1000.0, 1000.0, 1000.0))
    assert not passed("baseline:pixels", ">", near)
    assert passed("baseline:pixels", ">", measured(1001.0, pixels=(1000.0,) * 3))


def test_outside_interval_asks_for_intervals_that_do_not_touch():
    def outside(low, high, op=">", value="baseline:pixels", **spec):
        metric = measured((low + high) / 2, low, high)
        return passed(value, op, metric, outside_interval=True, **spec)

    assert outside(0.36, 0.6)
    assert not outside(0.35, 0.6)  # touches the baseline's .35
    assert not outside(0.34, 0.6)
    assert outside(0.1, 0.24, "<")
    assert not outside(0.1, 0.26, "<")
    assert outside(0.2, 0.4, value=0.19)  # a number is an interval of one point
    assert not outside(0.2, 0.4, value=0.2)
    # `times` scales the bound, not the interval.
    assert outside(0.36, 0.6, times=1.3)
    assert not outside(0.36, 0.4, times=1.3)
    assert not passed("baseline:pixels", ">", measured(0.9), outside_interval=True)


@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_gate_on_unmeasured_metric_does_not_pass(value):
    gate = judge({"metric": "m", "value": 0.1}, measured(value))
    assert gate["passed"] is False
    assert "had to be >= 0.100" in gate["note"]
    absent = judge({"metric": "other", "value": 0.1}, {})
    assert absent["passed"] is False
    assert "was not measured" in absent["note"]


def test_judgment_holds_what_report_shows():
    spec = {"metric": "m", "op": "<=", "value": "chance", "times": 0.7}
    gate = judge(spec, measured(0.06))
    assert gate == {
        "epoch": 1.0,
        "step": 10,
        "history": [],
        "action": "",
        "passed": True,
        "required": True,
        "metric": "m",
        "op": "<=",
        "value": 0.06,
        "low": None,
        "high": None,
        "n": None,
        "bound": pytest.approx(0.07),
        "at": "end",
        "note": "0.0600 is <= 0.0700 (0.700 × chance)",
    }


def test_gate_is_judged_at_its_epoch_and_waits_before(tmp_path):
    folder = fake.make(tmp_path, epochs=4, final=False)
    specs = {
        "now": {"metric": "eval/brand/recall@1", "op": "<", "value": 0.7, "at": 1},
        "late": {"metric": "eval/brand/recall@1", "value": 0.7, "at": 6},
        "end": {"metric": "eval/brand/recall@1", "value": 0.7},
    }
    judged = judgment.judge_run(specs, run_dir.RunDir(folder).history)
    # Evaluated at epochs 2 (.6) and 4 (.9): the first at or after epoch 1 counts.
    assert judged["now"]["value"] == pytest.approx(0.6)
    assert [judged[name]["passed"] for name in specs] == [True, None, None]
    fake.evaluation(folder, "eval", 40, 0.9, final=True)
    judged = judgment.judge_run(specs, run_dir.RunDir(folder).history)
    assert [judged[name]["passed"] for name in specs] == [True, True, True]


def test_required_failures():
    judged = {
        "a": {"required": True, "passed": False},
        "b": {"required": False, "passed": False},
        "c": {"required": True, "passed": True},
    }
    assert judgment.required_failures(judged) == ["a"]


def history(*values, tag="eval/brand/recall@1", final=True, every=1.0):
    """An evaluation an epoch, the last one final."""
    return [
        {
            "kind": "eval",
            "step": 10 * (i + 1),
            "epoch": every * (i + 1),
            "time": float(i),
            "metrics": {tag: fake.metric(value)},
            **({"final": True} if final and i + 1 == len(values) else {}),
        }
        for i, value in enumerate(values)
    ]


def run_of(spec, events, **fields):
    spec = {"metric": "eval/brand/recall@1", **spec}
    config = {"gates": {"g": spec}, "schedule": {"warmup_epochs": 1.5} | fields}
    return judgment.judge_run(judgment.of_config(config), History(events))["g"]


def test_after_warm_up_is_first_measurement_then():
    gate = run_of({"value": 0.5, "at": "warmup"}, history(0.9, 0.6, 0.1))
    assert gate["passed"]
    assert (gate["value"], gate["epoch"], gate["step"]) == (0.6, 2.0, 20)
    waits = run_of({"value": 0.5, "at": "warmup"}, history(0.9, final=False))
    assert waits["passed"] is None
    assert "waits until the warm-up ends, epoch 1.50" in waits["note"]


def test_stable_asks_for_last_measurements_in_row():
    spec = {"value": 0.5, "stable": 3}
    assert run_of(spec, history(0.1, 0.6, 0.7, 0.6))["passed"]
    shaky = run_of(spec, history(0.9, 0.4, 0.7, 0.6))
    assert not shaky["passed"]
    assert "it held in 2 of the last 3 measurements" in shaky["note"]
    few = run_of(spec, history(0.9, 0.9))
    assert not few["passed"]
    assert "it held in 2 of the last 3" in few["note"]


def test_change_against_level_and_against_another_run(tmp_path):
    metric = measured(0.35, pixels=(0.2, 0.1, 0.3))
    spec = {"metric": "m", "value": "baseline:pixels", "plus": 0.1}
    gate = judge(spec, metric)
    assert gate["passed"]
    assert gate["bound"] == pytest.approx(0.3)
    assert gate["note"] == "0.350 is >= 0.300 (baseline of pixels +0.1)"
    other = fake.make(tmp_path / "other", brand=0.6)
    spec = {"metric": "eval/brand/recall@1", "value": f"run:{other}", "plus": 0.05}
    better = history(0.66)
    assert run_of(spec, better)["passed"]
    assert run_of(spec, better)["bound"] == pytest.approx(0.65)
    assert not run_of(spec, history(0.64))["passed"]
    assert faults(spec) == []
    (fault,) = faults(spec | {"value": f"run:{tmp_path}"})
    assert "holds no run" in fault


def test_faults_of_at_value_and_otherwise_are_named():
    base = {"metric": "train/loss", "value": 1.0, "op": "<="}
    (fault,) = faults(base | {"at": 2.0}, epochs=10, warmup=3.2)
    assert fault.startswith("g.at: epoch 2.00 lies inside the warm-up of 3.20 epochs")
    assert faults(base | {"at": "warmup"}, epochs=10, warmup=3.2) == []
    assert one_fault(base | {"stable": 0}).startswith("g.stable: got 0")
    assert one_fault(base | {"near": 2.0}).startswith("g.near: nothing follows")
    good = base | {"near": 2.0, "otherwise": "extend:2; stop"}
    assert faults(good) == []
    assert one_fault(good | {"near": 0.5}) == "g.near: 0.500 passes 1.00 already"
    assert "'stop', 'extend:EPOCHS'" in one_fault(base | {"otherwise": "extend"})
    missing = base | {"otherwise": "switch:configs/none.py"}
    assert "configs/none.py is no file" in one_fault(missing)
    assert "advisory" in one_fault(base | {"otherwise": "stop", "required": False})
    early = base | {"then": "switch:main.py", "at": 3}
    assert one_fault(early).startswith("g.then: got at=3")
    assert "can be followed by a switch" in one_fault(base | {"then": "stop"})


def test_gates_on_one_metric_with_two_thresholds_are_reported():
    strict = {"metric": "train/loss", "op": "<=", "value": 0.01}
    lax = strict | {"value": 0.015}
    (fault,) = gate_validation.check({"a": strict, "b": lax}, TAGS, baselines=())
    assert fault.startswith("b.value: got <= 0.0150 where a has 0.0100")
    assert "one criterion with two thresholds" in fault
    for other in (lax | {"required": False}, lax | {"op": ">"}, lax | {"at": 3}):
        assert (
            gate_validation.check({"a": strict, "b": other}, TAGS, baselines=()) == []
        )

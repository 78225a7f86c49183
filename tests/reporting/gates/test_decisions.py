"""Decisions: what follows from a gate, each branch of a tree."""

import pytest

from reporting.gates import decisions, judgment
from reporting.history import History
from tests.reporting.gates.test_judgment import history

# The tree of a report on articles: at epoch 2 go on from .50, two more epochs from .40
# while it improves, else another recipe; in the end on to the next phase from .10.
TREE = {
    "early": {
        "metric": "eval/next/cosine",
        "value": 0.5,
        "at": 2.0,
        "near": 0.4,
        "otherwise": "extend:2; switch:configs/infonce_mamba.py:v1",
    },
    "final": {
        "metric": "eval/next/recall@5",
        "value": 0.1,
        "op": ">",
        "otherwise": "switch:configs/infonce_mamba.py:v1",
        "then": "switch:configs/infonce_mamba.py:real",
    },
}


def judged(cosines, recalls=None, epochs=6.0, tree=TREE, past=()):
    """What is decided after each evaluation in turn; the history with it."""
    specs, events = judgment.of_config({"gates": tree}), list(past)
    recalls = recalls or [0.0] * len(cosines)
    for event in history(*cosines, tag="eval/next/cosine", final=False):
        i = round(event["epoch"]) - 1
        event["metrics"]["eval/next/recall@5"] = recalls[i]
        if event["epoch"] == epochs:
            event["final"] = True
        events.append(event)
        events += decisions.judge_due(specs, History(events), epochs=epochs)
        if decisions.standing(specs, History(events), 10 * round(epochs)) is not None:
            break
    made = [e for e in events if e["kind"] == "gate"]
    return [(e["name"], e["passed"], e["action"], e["epoch"]) for e in made], events


def standing(tree, events, total_steps):
    specs = judgment.of_config({"gates": tree})
    return decisions.standing(specs, History(events), total_steps)


def test_good_at_once_goes_on_to_end_and_to_next_phase():
    made, events = judged([0.3, 0.52, 0.5, 0.5, 0.5, 0.6], [0, 0, 0, 0, 0, 0.25])
    assert made == [("early", True, "", 2.0), ("final", True, "switch", 6.0)]
    decision = decisions.standing(
        judgment.of_config({"gates": TREE}), History(events), 60
    )
    assert decision.config == "configs/infonce_mamba.py:real"
    assert decision.passed


def test_no_retrieval_at_end_leads_to_other_recipe():
    made, events = judged([0.3, 0.52, 0.5, 0.5, 0.5, 0.6])
    assert made[-1] == ("final", False, "switch", 6.0)
    decision = decisions.standing(
        judgment.of_config({"gates": TREE}), History(events), 60
    )
    assert decision.config == "configs/infonce_mamba.py:v1"
    assert not decision.passed


def test_near_and_improving_has_two_more_epochs():
    made, _ = judged([0.3, 0.45, 0.48, 0.51, 0.5, 0.6], [0.2] * 6)
    assert made == [
        ("early", False, "extend", 2.0),
        ("early", True, "", 4.0),
        ("final", True, "switch", 6.0),
    ]


def test_near_but_no_longer_improving_leads_away():
    made, _ = judged([0.3, 0.45, 0.46, 0.44, 0.6, 0.6])
    assert made == [("early", False, "extend", 2.0), ("early", False, "switch", 4.0)]
    falling, _ = judged([0.47, 0.45, 0.9])
    assert falling == [("early", False, "switch", 2.0)]


def test_improving_for_long_is_put_off_until_run_ends():
    made, _ = judged([0.3, 0.41, 0.42, 0.43, 0.44, 0.45], [0.2] * 6)
    assert [action for _, _, action, _ in made] == ["extend", "extend", "switch", ""]
    assert [epoch for *_, epoch in made] == [2.0, 4.0, 6.0, 6.0]


def test_far_off_ends_run_there():
    made, _ = judged([0.1, 0.2, 0.9])
    assert made == [("early", False, "switch", 2.0)]
    plain = {"early": TREE["early"] | {"otherwise": "extend:2"}}
    made, _ = judged([0.1, 0.2, 0.9], tree=plain)
    assert made == [("early", False, "stop", 2.0)]


def test_missed_gate_without_consequence_waits_for_end():
    plain = {"early": {"metric": "eval/next/cosine", "value": 0.5, "at": 2.0}}
    made, events = judged([0.1, 0.2, 0.9], epochs=3.0, tree=plain)
    assert made == [("early", False, "", 2.0)]
    specs = judgment.of_config({"gates": plain})
    assert decisions.standing(specs, History(events), 30) is None
    gate = judgment.judge_run(specs, History(events))["early"]
    assert (gate["passed"], gate["value"], gate["epoch"]) == (False, 0.2, 2.0)


def test_end_gate_extends_run_while_metric_is_near():
    end = {
        "g": {
            "metric": "eval/next/cosine",
            "value": 0.5,
            "near": 0.4,
            "otherwise": "extend:2",
        }
    }
    made, events = judged([0.3, 0.42], epochs=2.0, tree=end)
    assert made == [("g", False, "extend", 2.0)]
    assert decisions.granted(History(events)) == 2.0
    specs = judgment.of_config({"gates": end})
    # Longer by as much again as it was, and no more.
    events += history(0, 0, 0.44, 0.46, tag="eval/next/cosine")[2:]
    (again,) = decisions.judge_due(specs, History(events), epochs=2.0)
    assert (again["passed"], again["action"]) == (False, "stop")
    assert decisions.judge_due(specs, History([*events, again]), epochs=2.0) == []
    judgments = judgment.judge_run(specs, History([*events, again]))["g"]["history"]
    assert [j["epoch"] for j in judgments] == [2.0, 4.0]


def test_decision_holds_while_its_gate_asks_for_same():
    _, events = judged([0.1, 0.2, 0.9])
    specs = judgment.of_config({"gates": TREE})
    assert decisions.standing(specs, History(events), 60).gate == "early"
    laxer = TREE | {"early": TREE["early"] | {"value": 0.1}}
    assert standing(laxer, events, 60) is None
    assert decisions.standing({}, History(events), 60) is None


def test_decision_at_end_does_not_bind_longer_run():
    _, events = judged([0.3, 0.52, 0.5, 0.5, 0.5, 0.6])
    specs = judgment.of_config({"gates": TREE})
    assert decisions.standing(specs, History(events), 60) is not None
    assert decisions.standing(specs, History(events), 90) is None


@pytest.mark.parametrize("text", ["go", "stop:now", "extend", "extend:-1", "switch:"])
def test_unknown_consequences_name_forms(text):
    with pytest.raises(ValueError, match="expected 'stop', 'extend:EPOCHS'"):
        decisions.parse(text)
    assert decisions.parse("") == []

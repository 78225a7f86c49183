"""Alarms on labels, splits and records: each on its fault, none on a healthy run."""

import json

import numpy as np
import pytest

from reporting import run_dir
from reporting.alarms.common import check as alarm_check
from reporting.page import data_sections
from tests.reporting import fake

CHANCE = 5.0


def nearness(value, n=1000):
    half = 0.03 if n >= 1000 else 0.3
    return {
        "value": value,
        "n": n,
        "chance": 0.5,
        "low": value - half,
        "high": value + half,
        "positive": 0.6,
        "random": 0.5,
    }


def audit(*, share=0.11, common=0.005, pixels=0.76, untrained=0.77, n=1000):
    """As it was measured on marks by three artists, which train well."""
    lowest = {
        "candidates": 128,
        "chance": 4.85,
        "soft": 4.85 * share,
        "density_ratio": 0.24,
        "information": 4.61,
        "share": share,
    }
    code = {"name": "27.05", "pairs": 0.4, "records": 0.3}
    return {
        "positives": "codes",
        "records": 4121,
        "pairs": 4121,
        "alone": 0.0,
        "nearer": {
            "pixels": nearness(pixels, n),
            "untrained": nearness(untrained, n),
        },
        "common": {"value": common, "n": 4121, "above": 0.05, "codes": [code]},
        "lowest": lowest,
        "loss_chance": CHANCE,
        "loss_lower_bound": CHANCE * share,
    }


def leaks(**changed):
    none = {
        "grouped_by": "label",
        "groups": 0,
        "groups_named": [],
        "records": 0.0,
        "ids": 0,
        "windows": None,
        "content": 0.0,
        "content_looked_at": [2000, 1000],
    }
    return {"leaks": none | changed, "repeats": {"share": 0.0, "looked_at": 2000}}


def losses(values, baseline, every=10):
    return [
        {
            "kind": "train",
            "step": (i + 1) * every,
            "epoch": float(i),
            "time": float(i),
            "metrics": {
                "train/loss": value,
                "train/loss_chance": CHANCE,
                "train/loss_lower_bound": baseline,
            },
        }
        for i, value in enumerate(values)
    ]


def names(events=(), **fields):
    return [alarm["name"] for alarm in alarm_check.check(list(events), **fields)]


def test_labels_that_train_well_are_not_accused():
    assert names(audit=audit()) == []
    assert names(audit=audit(pixels=0.52)) == []  # the network sees more
    assert names(audit=audit(pixels=0.55, untrained=0.55, n=10)) == []  # nobody knows
    labels = audit(pixels=0.5, untrained=0.5) | {"positives": "label"}
    assert names(audit=labels) == []
    assert names(losses([1.2] * 20, 0.55), audit=audit()) == []


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"share": 0.75}, "cannot fall below 75.0 % of chance"),
        ({"common": 0.8}, "80.0 % of the positive pairs share only codes"),
        ({"pixels": 0.51, "untrained": 0.53}, "51.0 % by raw pixels"),
    ],
)
def test_weak_labels_are_named_before_first_step(fields, said):
    (alarm,) = alarm_check.check([], audit=audit(**fields))
    assert alarm["name"] == "weak_labels"
    assert (alarm["severity"], alarm["step"]) == ("warn", 0)
    assert said in alarm["seen"]
    assert "objective.positives=instance" in alarm["advice"]


def test_loss_at_ceiling_of_its_labels():
    baseline = 0.7 * CHANCE
    near = baseline + 0.4 * (CHANCE - baseline)
    known = {"audit": audit(share=0.7), "ignore": ("weak_labels",)}
    (alarm,) = alarm_check.check(losses([near] * 20, baseline), **known)
    assert alarm["name"] == "label_ceiling"
    assert alarm["step"] == 200
    assert "3.50" in alarm["seen"]
    assert "Another learning rate" in alarm["advice"]
    assert names(losses([near] * 19, baseline), **known) == []
    # It still falls, or is as far from its baseline as from chance.
    falling = np.linspace(near, baseline, 20).tolist()
    assert names(losses(falling, baseline), **known) == []
    far = baseline + 0.6 * (CHANCE - baseline)
    assert names(losses([far] * 20, baseline), **known) == []
    # To come to a low baseline is to have learned all.
    low = losses([0.11 * CHANCE] * 20, 0.11 * CHANCE)
    assert names(low, audit=audit()) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {"groups": 5, "groups_named": ["lion", "cat", "dog"], "records": 0.4},
            "5 groups by label (lion, cat, dog, …) on both sides, with 40.0 %",
        ),
        ({"windows": 0.915}, "91.5 % of the windows held out overlap"),
        ({"ids": 1}, "1 id on both sides"),
        ({"content": 0.02}, "2.00 % of 1,000 records held out equal"),
    ],
)
def test_leaks_are_named(changed, said):
    (alarm,) = alarm_check.check([], data=leaks(**changed))
    assert (alarm["name"], alarm["severity"]) == ("leaking_split", "warn")
    assert said in alarm["seen"]
    (alarm,) = alarm_check.check([], data=leaks(**changed), stop=("leaking_split",))
    assert alarm["severity"] == "stop"


def test_clean_splits_are_not_accused():
    on_purpose = {"grouped_by": "", "groups": 0, "ids": 0, "records": 0.0}
    few = leaks(content=0.005, windows=0.0)
    few["repeats"]["share"] = 0.009
    for data in ({}, {"name": "logos"}, leaks(), few, {"leaks": on_purpose}):
        assert names(data=data) == []


def test_records_that_are_there_twice():
    data = leaks()
    data["repeats"]["share"] = 0.25
    (alarm,) = alarm_check.check([], data=data)
    assert alarm["name"] == "duplicate_records"
    assert "25.0 % of 2,000 records" in alarm["seen"]


def test_every_name_of_rule_can_be_chosen():
    data = leaks(ids=1)
    data["repeats"]["share"] = 1.0
    found = alarm_check.check([], data=data, audit=audit(share=0.9))
    assert {alarm["name"] for alarm in found} <= set(alarm_check.NAMES)


def test_alarms_are_judged_from_files_of_workdir(tmp_path):
    folder = fake.make(tmp_path)
    run_dir.write_json(folder / run_dir.AUDIT, audit(share=0.9))
    data = run_dir.read_data(folder)
    run_dir.write_json(folder / run_dir.DATA, data | leaks(ids=3))
    found = alarm_check.check_run(run_dir.RunDir(folder))
    assert {"weak_labels", "leaking_split"} <= {alarm["name"] for alarm in found}


def test_label_audit_sentences():
    sides = {
        side: {
            "records": 10,
            "classes": 3,
            "labeled": 0.5,
            "with_another_of_the_label": 0.4,
            "codes": 2,
            "coded": 0.3,
            "with_another_of_a_code": 0.2,
        }
        for side in ("train", "validation")
    }
    (section,) = data_sections.about_labels(audit(), {"labeling": sides})
    assert section.tables[0].rows[0] == [
        "training", "10", "3", "50.0 %", "40.0 %", "2", "30.0 %", "20.0 %",
    ]  # fmt: skip
    text = json.dumps([section.text, [table.rows for table in section.tables]])
    for said in ("76.0 %", "11.0 % of chance", "0.550 in its own unit", "27.05"):
        assert said in text
    # Labels without codes have neither a lowest loss nor common codes.
    label = {k: audit()[k] for k in ("records", "pairs", "alone", "nearer")}
    (section,) = data_sections.about_labels(label | {"positives": "label"}, {})
    assert "the same label" in section.text[0]
    assert data_sections.about_labels({}, {}) == []


def test_split_sentences():
    said = data_sections.tell_split(leaks(windows=0.0))
    assert "0 groups by label" in said
    assert "equal to one of 2,000" in said
    data = {"leaks": {"grouped_by": ""}, "repeats": {}}
    assert "on purpose" in data_sections.tell_split(data)
    assert data_sections.about_split({}) == []
    assert data_sections.without_told(leaks() | {"size": 3}) == {"size": 3}


def test_query_in_its_own_neighbors_is_alarm():
    def gallery(*ids):
        near = [{"id": i, "score": 1.0} for i in ids]
        return [{"query": 7, "name": "frame 7", "neighbors": near}]

    (alarm,) = alarm_check.check([], examples=gallery(7, 3))
    assert alarm["name"] == "self_match"
    assert "1 of 1 query found themselves (frame 7)" in alarm["seen"]
    assert alarm_check.check([], examples=gallery(3, 4)) == []
    # Another view of the record is what was looked for.
    (other,) = gallery(7)
    other["neighbors"][0]["score"] = 0.98
    assert alarm_check.check([], examples=[other]) == []

"""Healthy runs of all recipes, recorded: no alarm of the seed faults accuses them."""

import pathlib

import pytest

from reporting import run_dir as files
from reporting.alarms.common import check as alarm_check

ROOT = pathlib.Path(__file__).parents[1]
RECORDED = pathlib.Path(__file__).parent / "recorded"
# Alarms of tests/test_seed_faults.py: none of them may accuse a healthy run.
ACCUSED = (
    "weak_labels", "label_ceiling", "near_chance", "schedule_horizon", "lr_jump",
    "few_candidates", "not_above_baseline", "leaking_split", "reversed_pairs",
    "below_chance",
    "no_positives", "self_match", "duplicate_records", "ssim_at_chance", "zero_recall",
    "few_queries", "saturated", "gate_changed", "input_bound",
)  # fmt: skip
# Tags that tell how a run went, not what it learned: they have no chance level.
DESCRIBING = (
    "/lr", "/grad_norm", "/ema_momentum", "/examples_per_sec", "/input_wait",
    "/candidates", "/positives", "/queries_with_positive", "/has_next", "/dropped",
    "/replaced", "/zeroed", "/acceleration_1", "/acceleration_2", "/left_out",
    "/error_left_out",
)  # fmt: skip


@pytest.mark.parametrize("run", sorted(p.name for p in RECORDED.iterdir()))
def test_healthy_runs_raise_no_alarm(run):
    """At no moment of it; histories of the five recipes as they ran."""
    folder = RECORDED / run
    events = [e for e in files.read_events(folder) if e["kind"] != "alarm"]
    given = alarm_check.context(files.RunDir(folder))
    assert len(events) > 20
    for i, event in enumerate(events):
        if event["kind"] not in ("train", "eval"):
            continue
        at_the_end = {} if event.get("final") else {"examples": ()}
        found = alarm_check.check(events[: i + 1], **given | at_the_end)
        accused = [a["message"] for a in found if a["name"] in ACCUSED]
        assert not accused, f"step {event['step']}: {accused}"


@pytest.mark.parametrize("run", sorted(p.name for p in RECORDED.iterdir()))
def test_every_tag_of_recorded_runs_has_chance_or_is_listed_without(run):
    measured = files.RunDir(RECORDED / run).history.metrics()
    assert measured["eval/loss/held_out"]["n"] > 0
    for tag, metric in measured.items():
        plain = tag.endswith("_chance") or tag.endswith(DESCRIBING)
        assert (metric["chance"] is None) == plain, tag


def test_all_recipes_are_among_healthy_runs():
    recipes = {path.stem for path in (ROOT / "configs").glob("*_*.py")}
    assert {path.name for path in RECORDED.iterdir()} == recipes

"""Scores against the conditions that they were measured under."""

import numpy as np
from matplotlib.colors import to_hex

from reporting import figures
from tests.reporting import fake


def metric(value, **more):
    return {"value": value, "n": 9, "chance": 0.1, "low": value, "high": value} | more


def events():
    tags = {
        "eval/hard/snr_20/recall@1": 0.9,
        "eval/hard/snr_2.5/recall@1": 0.2,
        "eval/hard/snr_5/recall@1": 0.5,
        "eval/hard/acceleration_4/recall@1": 0.8,
        "eval/hard/in_1000/recall@1": 0.7,  # a gallery, no condition
        "eval/hard/recall@1": 0.9,
        "eval/concept/a_to_b/recall@1": 0.3,
        "eval/hard/snr_5/d_pos": 0.1,  # no score
    }
    common = {"step": 5, "epoch": 1.0, "time": 0.0}
    live = {tag: metric(value) for tag, value in tags.items()}
    floor = {tag: metric(value / 2) for tag, value in tags.items()}
    return [
        common | {"kind": "floor", "floor": "pixels", "metrics": floor},
        common | {"kind": "eval", "metrics": live},
    ]


def test_conditions_are_sorted_by_value_and_galleries_are_none():
    found = figures.condition_sets(events())
    assert set(found) == {"hard"}
    assert set(found["hard"]) == {"snr", "acceleration"}
    assert [value for value, _ in found["hard"]["snr"]] == [2.5, 5, 20]


def test_curves_are_the_scores_and_those_of_the_floors():
    figure = figures.conditions(events(), figures.condition_sets(events())["hard"])
    axis = next(a for a in figure.axes if a.get_xlabel() == "snr")
    lines = {line.get_label(): line for line in axis.get_lines()}
    np.testing.assert_allclose(lines["trained"].get_xdata(), [2.5, 5, 20])
    np.testing.assert_allclose(lines["trained"].get_ydata(), [0.2, 0.5, 0.9])
    np.testing.assert_allclose(lines["raw pixels"].get_ydata(), [0.1, 0.25, 0.45])
    assert to_hex(lines["trained"].get_color()) != to_hex(
        lines["raw pixels"].get_color()
    )


def test_runs_without_conditions_have_no_such_figure():
    assert figures.condition_sets([]) == {}


def test_the_cosine_of_an_evaluation_is_drawn_and_that_of_training_is_not():
    common = {"epoch": 1.0, "time": 0.0, "step": 1}
    events = [
        common | {"kind": "train", "metrics": {"train/cosine": 0.4}},
        common | {"kind": "eval", "metrics": {"eval/next/cosine": fake.metric(0.5)}},
    ]
    assert figures.evaluation_sets(events) == {"next": ["eval/next/cosine"]}

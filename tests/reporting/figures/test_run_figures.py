"""Scores against their conditions, and the motion that pseudo-labels come from."""

import numpy as np
from matplotlib.colors import to_hex

from reporting import content as content_lib
from reporting import report, run_dir
from reporting.figures import motion as motion_figures
from reporting.figures import run_figures
from reporting.history import History
from reporting.page import sections
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
    live = fake.typed({tag: metric(value) for tag, value in tags.items()})
    baseline = fake.typed({tag: metric(value / 2) for tag, value in tags.items()})
    return History(
        [
            common | {"kind": "baseline", "metrics": baseline} | fake.shown("pixels"),
            common | {"kind": "eval", "metrics": live},
        ]
    )


def test_conditions_are_sorted_by_value_and_galleries_are_none():
    found = run_figures.condition_sets(events())
    assert set(found) == {"hard"}
    assert set(found["hard"]) == {"snr", "acceleration"}
    assert [value for value, _ in found["hard"]["snr"]] == [2.5, 5, 20]


def test_curves_are_scores_and_those_of_baselines():
    figures = run_figures.conditions(
        events(), run_figures.condition_sets(events())["hard"]
    )
    axis = next(f.axes[0] for f in figures if f.axes[0].get_xlabel() == "snr")
    lines = {line.get_label(): line for line in axis.get_lines()}
    np.testing.assert_allclose(lines["trained"].get_xdata(), [2.5, 5, 20])
    np.testing.assert_allclose(lines["trained"].get_ydata(), [0.2, 0.5, 0.9])
    np.testing.assert_allclose(lines["raw pixels"].get_ydata(), [0.1, 0.25, 0.45])
    assert to_hex(lines["trained"].get_color()) != to_hex(
        lines["raw pixels"].get_color()
    )


def test_runs_without_conditions_have_no_such_figure():
    assert run_figures.condition_sets(History()) == {}


def test_cosine_of_evaluation_is_drawn_and_that_of_training_is_not():
    common = {"epoch": 1.0, "time": 0.0, "step": 1}
    tags = {f"eval/next/{name}": fake.metric(0.5) for name in ("cosine", "recall@1")}
    events = [
        common | {"kind": "train", "metrics": {"train/cosine": 0.4}},
        common | {"kind": "eval", "metrics": fake.typed(tags)},
    ]
    sets = run_figures.evaluation_sets(History(events))
    assert sets == {"next": ["eval/next/recall@1", "eval/next/cosine"]}


def pseudo_labels(**more):
    """What a dataset says of pseudo-labels: clips of 6 and 4 frames."""
    motion = {
        "row": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "value": [0.1, 0.1, 0.1, 0.4, 0.5, 0.4, 0.3, 0.1, 0.1, 0.1],
    }
    found = {
        "window": 5,
        "percentile": 20.0,
        "least": 3,
        "reference_percentile": None,
        "frames": 10,
        "clips": 2,
        "labels": 2,
        "frames_a_label": {"fewest": 3, "most": 3},
        "labeled": 0.6,
        "positives": 1.0,
        "threshold": 0.2,
        "similarity_threshold": None,
        "segments": [[0, 0, 2], [1, 7, 9]],
        "clip_starts": [0, 6],
        "curves": {"motion": motion},
    }
    return found | more


def with_reference():
    motion = pseudo_labels()["curves"]["motion"]
    similarity = {"row": [0, 1, 2, 7, 8, 9], "value": [0.2, 0.3, 0.1, 0.8, 0.9, 0.7]}
    return pseudo_labels(
        reference_percentile=30.0,
        similarity_threshold=0.75,
        curves={"motion": motion, "similarity": similarity},
    )


def labeled(axis):
    return {line.get_label(): line for line in axis.get_lines()}


def test_motion_is_drawn_with_its_threshold_and_segments():
    figure = motion_figures.motion(pseudo_labels())
    (axis,) = figure.axes
    curve = axis.get_lines()[0]
    # A gap where a clip ends, so that no line leads into the next.
    np.testing.assert_array_equal(
        curve.get_xdata(), [0, 1, 2, 3, 4, 5, np.nan, 6, 7, 8, 9]
    )
    assert np.isnan(curve.get_ydata()[6])
    assert labeled(axis)["still up to 0.200"].get_ydata()[0] == 0.2
    shaded = [c for c in axis.collections if c.get_label() == "still segment"]
    extents = [path.get_extents() for path in shaded[0].get_paths()]
    assert [(e.x0, e.x1) for e in extents] == [(-0.5, 2.5), (6.5, 9.5)]
    lines = next(c for c in axis.collections if c is not shaded[0])
    assert [segment[0][0] for segment in lines.get_segments()] == [5.5]


def test_similarity_has_panel_of_its_own():
    figure = motion_figures.motion(with_reference())
    _, axis = figure.axes
    other, like, threshold = axis.get_lines()
    np.testing.assert_array_equal(other.get_xdata(), [0, 1, 2, 9])
    np.testing.assert_array_equal(like.get_xdata(), [7, 8])
    assert threshold.get_label() == "like the reference from 0.750"


def test_motion_without_segment_or_value_is_drawn():
    empty = {"row": [], "value": []}
    found = pseudo_labels(
        segments=[], threshold=None, clip_starts=[0], curves={"motion": empty}
    )
    (axis,) = motion_figures.motion(found).axes
    assert not axis.get_legend()
    found["curves"]["similarity"] = empty
    assert len(motion_figures.motion(found).axes) == 2


def test_report_shows_pseudo_labels_beside_data(tmp_path):
    folder = fake.make(tmp_path)
    facts = run_dir.read_data(folder) | {"pseudo_labels": with_reference()}
    run_dir.write_json(folder / run_dir.DATA, facts)
    report.write(folder)
    assert (folder / "figures" / "motion.svg").is_file()
    text = (folder / "report.md").read_text("utf-8")
    curves, _, rest = text.partition("## Pseudo-labels")
    section = rest.partition("\n## ")[0]
    assert "motion.svg" not in curves
    assert "curves.motion" not in text
    for row in (
        "| still segments, 3 frames or more | 2 |",
        "| frames in them | 6 |",
        "| share of frames with a label | 60.0 % |",
        "| share of those with a positive | 100 % |",
        "| motion of a still frame, at most (percentile 20.0) | 0.200 |",
        "| SSIM with the reference, at least (the most similar 30.0 %) | 0.750 |",
        "](figures/motion.svg)",
    ):
        assert row in section
    assert "**Stop.**" not in section


def test_report_says_that_no_label_has_positive(tmp_path):
    found = pseudo_labels(positives=0.0, labeled=0.0, segments=[], labels=0)
    run = run_dir.RunDir(tmp_path)
    content = content_lib.assemble(run) | {"data": {"pseudo_labels": found}}
    built = sections.build(run, content, {})
    section = next(s for s in built if s.title == "Pseudo-labels")
    assert [tone for tone, _ in section.items] == ["bad"]
    assert "has no positive" in section.items[0][1]
    assert ["share of those with a positive", "0 %"] in section.tables[0].rows
    assert section.figures == []


def test_runs_without_pseudo_labels_have_no_such_figure(tmp_path):
    assert motion_figures.write(tmp_path, {"name": "logos"}) == {}
    run = run_dir.RunDir(tmp_path)
    built = sections.build(run, content_lib.assemble(run), {})
    assert "Pseudo-labels" not in [section.title for section in built]

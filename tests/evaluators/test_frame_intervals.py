"""Intervals of the frames evaluator leave clips out of queries and gallery."""

import numpy as np
import pytest

from evaluators import frames
from evaluators.common import frame_figures
from evaluators.metrics.intervals import interval
from input_pipeline.dataset import Data
from tests.evaluators.clips import clips
from tests.evaluators.small_data import build, unit
from tests.evaluators.test_frames import embed_by_id

FIELDS = {
    "window": -1.0, "labels": True, "column": "phase", "period": 1.0, "ssim": 0,
    "k": (1, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def split():
    return clips(np.random.default_rng(0), (12, 9, 11, 10), labels=3)


def test_figures_without_a_clip_are_those_of_the_data_without_it(split, monkeypatch):
    z = unit(np.random.default_rng(1).standard_normal((len(split), 5)))
    means = []

    def remember(*arguments):
        means.append(frame_figures_searched(*arguments))
        return means[-1]

    frame_figures_searched = frame_figures.searched_mean
    monkeypatch.setattr(frame_figures, "searched_mean", remember)
    data = Data(split, split, {}, grouped_by="clip")
    found = build(frames, data, **FIELDS).run(embed_by_id(z)).metrics
    names = ("error", "error_mean", "recall@1", "recall@3", "map", "near_ties")
    kept = dict(zip(names, list(means), strict=True))
    assert kept["map"].value == pytest.approx(found["e/map"].value)
    # A fold holds one clip here; which one, its size says.
    clip = np.array(split.table["clip"])
    values = {}
    for name in np.unique(clip):
        rest = split.take(clip != name)
        smaller = Data(rest, rest, {}, grouped_by="clip")
        metrics = build(frames, smaller, **FIELDS).run(embed_by_id(z)).metrics
        values[(clip == name).sum()] = metrics
    for name in ("error_mean", "recall@3", "map", "near_ties"):
        both = zip(kept["near_ties"].sizes, kept[name].without, strict=True)
        for size, without in both:
            assert without == pytest.approx(values[size][f"e/{name}"].value), name


def test_gallery_of_other_clips_keeps_its_frames(split):
    other = clips(np.random.default_rng(2), (9, 8, 9), first_id=100, prefix="d")
    groups, folds, gallery_folds = frame_figures.deal_clips(
        *({k: np.asarray(s.table[k]) for k in ("id", "clip", "time")}
          for s in (split, other)), 0
    )  # fmt: skip
    assert len(np.unique(groups)) == len(np.unique(folds)) == 4
    assert (gallery_folds == -1).all()


def test_interval_of_a_searched_mean_is_wider_than_that_of_its_rows(split):
    z = unit(np.random.default_rng(1).standard_normal((len(split), 5)))
    data = Data(split, split, {}, grouped_by="clip")
    found = build(frames, data, **FIELDS).run(embed_by_id(z)).metrics["e/error_mean"]
    assert found.low < found.value < found.high
    rows = frame_figures.searched_mean(
        np.arange(8.0), np.arange(8), np.arange(8), [np.arange(8.0)] * 8
    )
    moved = [np.arange(8.0) + fold for fold in range(8)]
    searched = frame_figures.searched_mean(
        np.arange(8.0), np.arange(8), np.arange(8), moved
    )
    widths = [np.ptp(interval(mean)) for mean in (rows, searched)]
    assert widths[1] > widths[0]

"""Pseudo-labels against plain loops, and cine whose still phases are known."""

import json

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from input_pipeline import dataset
from input_pipeline.records import pseudo_labels

SIDE = 8


def noise(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, SIDE, SIDE), np.uint8)


def phases(*lengths, seed=0):
    """Still and moving phases by turns, the first still; moving frames are noise."""
    frames = []
    for k, length in enumerate(lengths):
        image = noise(length, 100 * seed + k)
        frames.append(np.repeat(image[:1], length, 0) if k % 2 == 0 else image)
    return np.concatenate(frames)


def motion_by_loop(frames, clip, window):
    """The curve in float64, a frame and a clip at a time."""
    x, half = frames.astype(np.float64) / 255, window // 2
    m = np.full(len(x), np.nan)
    for c in sorted(set(clip.tolist())):
        rows = [t for t in range(len(x)) if clip[t] == c]
        if len(rows) == 1:
            continue
        d = {t: np.abs(x[t] - x[t - 1]).mean() for t in rows[1:]}
        d[rows[0]] = d[rows[1]]
        for t in rows:
            m[t] = np.mean([d[s] for s in range(t - half, t + half + 1) if s in d])
    return m


def segments_by_loop(m, clip, threshold, least):
    segments, run = [], []
    for t in range(len(m) + 1):
        still = t < len(m) and m[t] <= threshold
        if run and (not still or clip[t] != clip[run[0]]):
            if len(run) >= least:
                segments.append((int(clip[run[0]]), run[0], run[-1]))
            run = []
        if still:
            run.append(t)
    return segments


def mixed():
    """Frames that change by little and much, in clips of many lengths."""
    rng = np.random.default_rng(3)
    steps = rng.choice([1, 4, 60], (70, 1, 1)) * rng.normal(size=(70, SIDE, SIDE))
    frames = np.clip(128 + np.cumsum(steps, 0) % 100, 0, 255).astype(np.uint8)
    return frames, np.repeat([0, 2, 3, 5, 9], [20, 1, 2, 31, 16])


@pytest.mark.parametrize("window", [1, 3, 5, 41])
@pytest.mark.parametrize("block", [1, 3 * SIDE**2, 2**24])
def test_motion_matches_loop(window, block, monkeypatch):
    monkeypatch.setattr(pseudo_labels, "_BLOCK", block)
    frames, clip = mixed()
    found = pseudo_labels.label(frames, clip, window=window, least=2)
    assert found.motion.dtype == np.float32
    np.testing.assert_allclose(
        found.motion, motion_by_loop(frames, clip, window), rtol=1e-6
    )


@pytest.mark.parametrize(("percentile", "least"), [(20.0, 3), (50.0, 2), (70.0, 5)])
def test_segments_and_labels_match_loop(percentile, least):
    frames, clip = mixed()
    found = pseudo_labels.label(frames, clip, percentile=percentile, least=least)
    measured = np.sort(found.motion[np.isfinite(found.motion)].astype(np.float64))
    place = percentile / 100 * (len(measured) - 1)
    low = int(place)
    expected = measured[low] + (place - low) * (measured[low + 1] - measured[low])
    assert found.threshold == pytest.approx(expected, rel=1e-12)
    expected = segments_by_loop(found.motion, clip, found.threshold, least)
    assert found.segments == expected
    assert len(expected) > 1
    labels = np.full(len(clip), -1)
    for k, (_, first, last) in enumerate(expected):
        labels[first : last + 1] = k
    np.testing.assert_array_equal(found.labels, labels)
    assert found.labels.dtype == np.int32
    assert len(found.names) == len(expected)
    assert found.labeled == np.mean(labels >= 0)
    assert found.positives == 1.0


def test_still_phases_are_found_to_frame():
    frames = np.concatenate([phases(6, 10, 5, 9), phases(4, 12, seed=1)])
    clip = np.repeat([0, 1], [30, 16])
    # Unsmoothed, the motion of a still phase is 0 from its second frame on, and from
    # its first where a clip begins.
    found = pseudo_labels.label(frames, clip, window=1)
    assert found.segments == [(0, 0, 5), (0, 17, 20), (1, 30, 33)]
    assert found.threshold == 0
    assert found.names == [
        "clip 0, frames 0 to 5",
        "clip 0, frames 17 to 20",
        "clip 1, frames 0 to 3",
    ]
    # A window of 3 takes a frame from each end that moves.
    found = pseudo_labels.label(frames, clip, window=3, percentile=15)
    assert found.segments == [(0, 0, 4), (1, 30, 32)]
    found = pseudo_labels.label(frames, clip, window=3, percentile=15, least=2)
    assert found.segments == [(0, 0, 4), (0, 18, 19), (1, 30, 32)]


def test_smoothing_window_does_not_cross_clips():
    still, moving = np.repeat(noise(1), 10, 0), noise(10, 1)
    frames, clip = np.concatenate([still, moving, still]), np.repeat([0, 1, 2], 10)
    found = pseudo_labels.label(frames, clip, percentile=60)
    np.testing.assert_array_equal(found.motion[:10], 0)
    np.testing.assert_array_equal(found.motion[20:], 0)
    alone = pseudo_labels.label(moving, clip[:10])
    np.testing.assert_array_equal(found.motion[10:20], alone.motion)
    assert found.segments[0] == (0, 0, 9)
    assert found.segments[-1] == (2, 20, 29)


def test_runs_end_with_their_clip():
    frames = np.repeat(noise(1), 12, 0)
    found = pseudo_labels.label(frames, np.repeat([4, 7], 6))
    assert found.segments == [(4, 0, 5), (7, 6, 11)]
    np.testing.assert_array_equal(found.labels, np.repeat([0, 1], 6))


def test_ties_at_motion_threshold_are_still():
    # The same change everywhere: means of 3, 4 and 5 equal numbers are one number.
    frames = np.full((20, SIDE, SIDE), 100, np.uint8)
    frames[1::2, :3, :3] += 7
    found = pseudo_labels.label(frames, np.repeat([0, 1], [9, 11]))
    assert found.segments == [(0, 0, 8), (1, 9, 19)]


def reference_case():
    """Four still phases of two images, each a little further from the first."""
    frames = phases(5, 6, 5, 6, 5, 6, 5)
    near = noise(1)[0]
    rng = np.random.default_rng(5)
    for k, start in enumerate((0, 11, 22, 33)):
        blurred = near + rng.normal(0, 5 + 30 * k, (SIDE, SIDE))
        frames[start : start + 5] = np.clip(blurred, 0, 255).astype(np.uint8)
    return frames, np.zeros(len(frames), int), near


def test_frames_like_reference_are_label_one():
    frames, clip, reference = reference_case()
    found = pseudo_labels.label(
        frames, clip, window=1, percentile=42, reference=reference
    )
    in_segments = np.concatenate([np.arange(a, b + 1) for _, a, b in found.segments])
    assert len(found.segments) == 4
    assert set(np.flatnonzero(np.isfinite(found.similarity))) == set(in_segments)
    for row in in_segments:
        expected = structural_similarity(frames[row], reference, data_range=255)
        assert found.similarity[row] == pytest.approx(expected, rel=1e-6)
    ordered = np.sort(found.similarity[in_segments])
    place = 0.7 * (len(ordered) - 1)
    low = int(place)
    expected = ordered[low] + (place - low) * (ordered[low + 1] - ordered[low])
    assert found.similarity_threshold == pytest.approx(expected, rel=1e-6)
    for row in range(len(frames)):
        known = row in in_segments
        like = known and found.similarity[row] >= found.similarity_threshold
        assert found.labels[row] == (int(like) if known else -1)
    # The first phase is the reference with the least noise.
    assert set(found.labels[:5]) == {1}
    assert set(found.labels[34:38]) == {0}
    assert len(found.names) == 2
    assert found.positives == 1.0


def test_smaller_share_of_reference_labels_fewer_frames():
    frames, clip, reference = reference_case()
    fields = {"window": 1, "percentile": 42, "reference": reference}
    few, many = (
        pseudo_labels.label(frames, clip, reference_percentile=share, **fields).labels
        for share in (10, 80)
    )
    assert 0 < (few == 1).sum() < (many == 1).sum() < (many >= 0).sum()


def test_segments_of_equal_similarity_have_one_label():
    frames = np.concatenate([phases(6, 8), phases(6, 8)])
    found = pseudo_labels.label(
        frames, np.repeat([0, 1], 14), window=1, reference=frames[0]
    )
    assert found.similarity_threshold == pytest.approx(1)
    assert set(found.labels[:6]) == set(found.labels[14:20]) == {1}


def test_thresholds_are_those_of_training_frames():
    quiet = np.clip(128 + np.cumsum(noise(40) % 3, 0), 0, 255).astype(np.uint8)
    frames, clip = np.concatenate([quiet, noise(40)]), np.repeat([0, 1], 40)
    train = clip == 1
    found = pseudo_labels.label(frames, clip, train=train, reference=frames[-1])
    assert found.threshold == pytest.approx(np.percentile(found.motion[train], 20))
    assert found.threshold > found.motion[~train].max()
    assert found.segments[0] == (0, 0, 39)
    known = train & np.isfinite(found.similarity)
    assert known.any()
    assert found.similarity_threshold == pytest.approx(
        np.percentile(found.similarity[known], 70)
    )


def test_without_still_training_frame_reference_labels_nothing():
    frames = np.concatenate([phases(8), noise(3)])
    clip = np.repeat([0, 1], [8, 3])
    found = pseudo_labels.label(
        frames, clip, train=clip == 1, least=4, window=1, reference=frames[0]
    )
    assert found.segments == [(0, 0, 7)]
    assert np.isnan(found.similarity_threshold)
    assert set(found.labels) == {-1}
    assert pseudo_labels.facts(found)["similarity_threshold"] is None


def test_clips_of_one_frame_have_no_motion_and_no_label():
    found = pseudo_labels.label(noise(5), np.arange(5))
    assert np.isnan(found.motion).all()
    assert np.isnan(found.threshold)
    assert found.segments == []
    assert set(found.labels) == {-1}
    assert (found.positives, found.labeled) == (0.0, 0.0)


@pytest.mark.parametrize("reference", [None, noise(1)[0]])
def test_no_segments_give_no_labels_and_no_positives(reference):
    found = pseudo_labels.label(
        noise(20), np.zeros(20, int), window=1, least=15, reference=reference
    )
    assert found.segments == []
    assert set(found.labels) == {-1}
    assert (found.positives, found.labeled) == (0.0, 0.0)
    assert (found.similarity is None) == (reference is None)
    json.dumps(pseudo_labels.facts(found), allow_nan=False)


def test_no_frames_give_no_labels():
    found = pseudo_labels.label(noise(0), np.zeros(0, int))
    assert len(found.labels) == len(found.motion) == 0
    assert (found.positives, found.labeled) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("labels", "share"),
    [([0, 0, 1, -1, -1], 2 / 3), ([3, 1, 2], 0), ([-1, -1], 0), ([5, 5], 1), ([], 0)],
)
def test_positive_share_is_of_labeled_frames(labels, share):
    assert pseudo_labels.positive_share(np.array(labels, int)) == share


def test_mapped_frames_are_labeled_as_those_in_memory(tmp_path):
    frames, clip = mixed()
    np.save(tmp_path / "frames.npy", frames)
    mapped = np.load(tmp_path / "frames.npy", mmap_mode="r")
    for reference in (None, frames[0]):
        a = pseudo_labels.label(frames, clip, reference=reference)
        b = pseudo_labels.label(mapped, clip, reference=reference)
        np.testing.assert_array_equal(a.labels, b.labels)


def test_facts_are_json_with_fields_and_every_segment():
    frames, clip = mixed()
    found = pseudo_labels.label(frames, clip, reference=frames[0])
    facts = json.loads(json.dumps(pseudo_labels.facts(found), allow_nan=False))
    assert facts["window"] == 5
    assert facts["percentile"] == 20.0
    assert facts["least"] == 3
    assert facts["reference_percentile"] == 30.0
    assert facts["clips"] == 5
    assert facts["clip_starts"] == [0, 20, 21, 23, 54]
    assert [tuple(s) for s in facts["segments"]] == found.segments
    for name, values in (("motion", found.motion), ("similarity", found.similarity)):
        curve = facts["curves"][name]
        assert curve["row"] == np.flatnonzero(np.isfinite(values)).tolist()
        np.testing.assert_array_equal(curve["value"], values[curve["row"]])
    counts = [int((found.labels == k).sum()) for k in (0, 1)]
    assert facts["frames_a_label"] == {"fewest": min(counts), "most": max(counts)}


def test_long_curves_keep_their_peaks(monkeypatch):
    monkeypatch.setattr(pseudo_labels, "MOST_POINTS", 10)
    frames, clip = mixed()
    found = pseudo_labels.label(frames, clip, window=1)
    curve = pseudo_labels.facts(found)["curves"]["motion"]
    assert 5 <= len(curve["row"]) <= 10
    assert curve["row"] == sorted(curve["row"])
    np.testing.assert_array_equal(curve["value"], found.motion[curve["row"]])
    assert np.nanmax(found.motion) in curve["value"]
    assert np.nanmin(found.motion) in curve["value"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"window": 4}, "data.pseudo.window: got 4"),
        ({"window": 0}, "data.pseudo.window: got 0"),
        ({"window": -1}, "data.pseudo.window: got -1"),
        ({"percentile": 0}, "data.pseudo.percentile: got 0"),
        ({"percentile": 100.0}, "data.pseudo.percentile: got 100.0"),
        ({"percentile": float("nan")}, "data.pseudo.percentile: got nan"),
        ({"reference_percentile": 100}, "data.pseudo.reference_percentile: got 100"),
        ({"least": 1}, "data.pseudo.least: got 1"),
        ({"reference": noise(1)[0, 1:]}, r"shape \(7, 8\); expected uint8 of shape"),
        ({"reference": noise(1)[0] / 255}, "got float64"),
    ],
)
def test_fields_out_of_range_are_refused_by_name(fields, said):
    with pytest.raises(dataset.DataError, match=said):
        pseudo_labels.label(noise(6), np.zeros(6, int), **fields)


def test_frames_too_small_for_window_of_ssim_are_refused():
    frames = noise(6)[:, :5]
    with pytest.raises(dataset.DataError, match="sides of 7 or more"):
        pseudo_labels.label(frames, np.zeros(6, int), reference=frames[0])

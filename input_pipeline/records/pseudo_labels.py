"""Labels for cine without any: frames in which nothing moves.

A frame is labeled if nothing moves in it; see `label` for the rule.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
from skimage.metrics import structural_similarity

from input_pipeline import dataset

REFERENCE_NAMES = ["other still frames", "like the reference"]
MOST_POINTS = 2000  # of a curve in the facts
SMALLEST = 7  # side of an image that the window of SSIM fits into
_BLOCK = 2**24  # pixels compared at once


class Found(NamedTuple):
    """What `label` returns.

    Attributes:
        labels: int32 [n], -1 for none.
        names: Name of each label.
        motion: float32 [n], the smoothed curve, in 0..1; NaN in clips of one frame.
        threshold: Frames up to it are still; NaN where no motion could be measured.
        segments: (clip, first, last) of each still segment, as rows of the n frames.
        similarity: float32 [n], SSIM with the reference, NaN outside of segments; None
            without a reference.
        similarity_threshold: Frames from it on are like the reference, or None.
        positives: Share of the labeled frames that have another of their label.
        labeled: Share of the frames that have a label.
        clip: int [n], as given.
        fields: Window, percentile, least, reference_percentile, as given.
    """

    labels: np.ndarray
    names: list[str]
    motion: np.ndarray
    threshold: float
    segments: list[tuple[int, int, int]]
    similarity: np.ndarray | None
    similarity_threshold: float | None
    positives: float
    labeled: float
    clip: np.ndarray
    fields: dict[str, Any]


def label(
    frames: np.ndarray,
    clip: np.ndarray,
    *,
    window: int = 5,
    percentile: float = 20.0,
    least: int = 3,
    reference: np.ndarray | None = None,
    reference_percentile: float = 30.0,
    train: np.ndarray | None = None,
) -> Found:
    """Return labels of the frames that lie in still segments.

      d_t = mean |x_t - x_{t-1}| / 255,  m_t = mean of d over t - w // 2 .. t + w // 2

    both within a clip: its first frame takes the d of the second, and at its ends m is
    the mean of what there is. A frame is still if m_t is at most the percentile of m,
    so that of equal values all are; a segment is a run of at least `least` still frames
    of one clip.

    Without a reference each segment is a label of its own. Segments that show the same
    are not joined, in other clips or in the same, and count as negatives of each other.

    With a reference, label 1 has the frames in segments whose SSIM with it reaches the
    (100 - reference_percentile)-th percentile over frames in segments: with 30, the
    most similar 30 %. Label 0 has the others in segments, whatever they show. That is
    our reading of the report, which gives numbers and no rule. The code published with
    it takes that percentile over all frames, measures runs among the similar frames,
    gives label 0 to every other frame, also where it moves, and starts from d_0 = 0.

    Args:
        frames: uint8 [n, h, w], mapped or in memory; in the order of time in each clip.
        clip: int [n], the clip of each frame, never falling.
        window: W, frames averaged, odd.
        percentile: Percentile of the smoothed motion, in (0, 100).
        least: Frames of a segment, 2 or more.
        reference: uint8 [h, w].
        reference_percentile: Share of the frames in segments that is like the
            reference, in (0, 100), in percent.
        train: bool [n], the frames that set both thresholds; all by default. Where none
            of them lies in a segment, a reference labels nothing.

    Raises:
        DataError: If a field is out of range or the reference has another shape.

    Source: SSIM, Wang et al. 2004, as in
    scikit-image with its 7 x 7 window.
    """
    clip = np.asarray(clip)
    assert not np.any(np.diff(clip) < 0)
    _check(window, percentile, least, reference_percentile)
    if reference is not None:
        _check_reference(reference, frames.shape[1:])
    train = np.ones(len(clip), bool) if train is None else np.asarray(train, bool)
    motion = smoothed_motion(frames, clip, window)
    threshold = _percentile(motion[train], percentile)
    segments = _segments(motion <= threshold, clip, least)
    labels = np.full(len(clip), dataset.MISSING, np.int32)
    for k, (_, first, last) in enumerate(segments):
        labels[first : last + 1] = k
    names, similarity, similar = _segment_names(segments, clip), None, None
    if reference is not None:
        similarity = _similarity(frames, np.flatnonzero(labels >= 0), reference)
        similar = _percentile(similarity[train], 100 - reference_percentile)
        names = list(REFERENCE_NAMES)
        labels[:] = dataset.MISSING
        if np.isfinite(similar):
            labels[similarity < similar] = 0
            labels[similarity >= similar] = 1
    return Found(
        labels=labels,
        names=names,
        motion=motion,
        threshold=threshold,
        segments=segments,
        similarity=similarity,
        similarity_threshold=similar,
        positives=positive_share(labels),
        labeled=float(np.mean(labels >= 0)) if len(labels) else 0.0,
        clip=clip,
        fields={
            "window": window,
            "percentile": percentile,
            "least": least,
            "reference_percentile": None if reference is None else reference_percentile,
        },
    )


def smoothed_motion(frames: np.ndarray, clip: np.ndarray, window: int) -> np.ndarray:
    """Return m of `label`, float32 [n]; NaN in clips of one frame."""
    n, area = len(clip), int(np.prod(frames.shape[1:]))
    # Whole numbers, so that equal motion gives equal means whatever it is summed with.
    change = np.zeros(n, np.int64)
    step = max(1, _BLOCK // area)
    for start in range(1, n, step):
        now = frames[start : start + step]
        before = frames[start - 1 : start - 1 + len(now)]
        difference = np.maximum(now, before) - np.minimum(now, before)
        change[start : start + step] = difference.sum((1, 2), dtype=np.int64)
    begin = np.searchsorted(clip, clip, "left")
    end = np.searchsorted(clip, clip, "right")
    lone = end - begin == 1
    first = np.flatnonzero((begin == np.arange(n)) & ~lone)
    change[first] = change[first + 1]
    low = np.maximum(begin, np.arange(n) - window // 2)
    high = np.minimum(end, np.arange(n) + window // 2 + 1)
    total = np.concatenate([[0], np.cumsum(change)])
    motion = (total[high] - total[low]) / ((high - low) * area * 255)
    return np.where(lone, np.nan, motion).astype(np.float32)


def positive_share(labels: np.ndarray) -> float:
    """Return the share of labeled records that have another of their label.

    0 where nothing is labeled.

    Args:
        labels: int [n], below 0 for none.
    """
    labeled = labels[labels >= 0]
    if not len(labeled):
        return 0.0
    return float(np.mean(np.bincount(labeled)[labeled] > 1))


def facts(result: Found) -> dict[str, Any]:
    """Return the findings as JSON values for the report; None for what is not finite.

    Curves are `{"row": [...], "value": [...]}` of at most `MOST_POINTS`, which keep the
    highest and lowest values; `clip_starts` are rows, too.
    """
    clips, starts = np.unique(result.clip, return_index=True)
    curves = {"motion": _points(result.motion)}
    if result.similarity is not None:
        curves["similarity"] = _points(result.similarity)
    counts = np.bincount(result.labels[result.labels >= 0], minlength=len(result.names))
    counts = counts.tolist() or [0]
    return {
        **result.fields,
        "frames": len(result.labels),
        "clips": len(clips),
        "labels": len(result.names),
        "frames_a_label": {"fewest": min(counts), "most": max(counts)},
        "labeled": result.labeled,
        "positives": result.positives,
        "threshold": _finite(result.threshold),
        "similarity_threshold": _finite(result.similarity_threshold),
        "segments": [list(segment) for segment in result.segments],
        "clip_starts": starts.tolist(),
        "curves": curves,
    }


def _check(
    window: int, percentile: float, least: int, reference_percentile: float
) -> None:
    def refuse(name: str, value: float, expected: str):
        raise dataset.DataError(
            f"data.pseudo.{name}: got {value!r}; expected {expected}"
        )

    if window < 1 or window % 2 == 0:
        refuse("window", window, "an odd number of frames, 1 or more")
    for name, value in (
        ("percentile", percentile),
        ("reference_percentile", reference_percentile),
    ):
        if not 0 < value < 100:
            refuse(name, value, "a percentage in (0, 100)")
    if least < 2:
        refuse("least", least, "2 frames or more: one alone has no positive")


def _check_reference(reference: np.ndarray, shape: tuple[int, ...]) -> None:
    if reference.shape != shape or reference.dtype != np.uint8:
        raise dataset.DataError(
            f"data.pseudo.reference: got {reference.dtype} of shape {reference.shape}; "
            f"expected uint8 of shape {shape}, that of the frames"
        )
    if min(shape) < SMALLEST:
        raise dataset.DataError(
            f"data.pseudo.reference: frames are {shape[0]} x {shape[1]}; SSIM needs "
            f"sides of {SMALLEST} or more: raise data.size"
        )


def _percentile(values: np.ndarray, q: float) -> float:
    # A float64 of NumPy: curves of float32 are then compared with all its digits.
    values = values[np.isfinite(values)].astype(np.float64)
    return np.percentile(values, q) if len(values) else np.float64(np.nan)


def _segments(
    still: np.ndarray, clip: np.ndarray, least: int
) -> list[tuple[int, int, int]]:
    change = np.flatnonzero((np.diff(still) != 0) | (np.diff(clip) != 0)) + 1
    ends = [0, *change.tolist(), len(still)]
    return [
        (int(clip[a]), a, b - 1)
        for a, b in itertools.pairwise(ends)
        if b - a >= least and still[a]
    ]


def _segment_names(segments: list[tuple[int, int, int]], clip: np.ndarray) -> list[str]:
    start = {c: int(np.searchsorted(clip, c)) for c, _, _ in segments}
    return [
        f"clip {c}, frames {first - start[c]} to {last - start[c]}"
        for c, first, last in segments
    ]


def _similarity(
    frames: np.ndarray, rows: np.ndarray, reference: np.ndarray
) -> np.ndarray:
    similarity = np.full(len(frames), np.nan, np.float32)
    for row in rows.tolist():
        similarity[row] = structural_similarity(
            np.asarray(frames[row]), reference, data_range=255
        )
    return similarity


def _points(values: np.ndarray) -> dict[str, list]:
    rows = np.flatnonzero(np.isfinite(values))
    if len(rows) > MOST_POINTS:
        parts = np.array_split(rows, MOST_POINTS // 2)
        ends = [(p[values[p].argmin()], p[values[p].argmax()]) for p in parts]
        rows = np.unique(ends)
    return {"row": rows.tolist(), "value": values[rows].tolist()}


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)

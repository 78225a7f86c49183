"""Clips of random frames, as datasets of cine files have them."""

import numpy as np

from input_pipeline.dataset import Split

RATE = 25  # frames a second


def clips(rng, lengths, *, first_id=0, prefix="c", labels=4, side=9, **columns):
    """Clips of random frames, ids in no order, some without label or angle."""
    n = sum(lengths)
    clip = np.repeat(np.arange(len(lengths)), lengths)
    frame = np.concatenate([np.arange(length) for length in lengths])
    angle = rng.uniform(-20, 20, n)
    angle[rng.random(n) < 0.15] = np.nan
    table = {
        "id": rng.permutation(n).astype(np.int64) + first_id,
        "label": rng.integers(-1, labels, n).astype(np.int32),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
        "name": [f"clip {c}, frame {f}" for c, f in zip(clip, frame, strict=True)],
        "clip": [f"{prefix}{c}" for c in clip],
        "frame": frame.astype(np.int64),
        "time": frame / RATE,
        "condition": ["slow" if c % 2 else "fast" for c in clip],
        "trial": (clip % 3).astype(np.float64),
        "angle": angle,
        "phase": rng.random(n),
    }
    source = [
        {"image": rng.integers(0, 256, (side, side + 3, 1), dtype=np.uint8)}
        for _ in range(n)
    ]
    return Split(source, table | columns, ["a", "b", "c", "d"], [])

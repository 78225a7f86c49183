"""Reference for the frames evaluator: loops over queries and sorted lists."""

import numpy as np
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score

from tests.evaluators.clips import RATE


def metrics_by_loops(
    data,
    queries,
    gallery,
    z,
    k,
    *,
    window=0.0,
    apart="",
    column_="angle",
    period=0.0,
    keep=lambda split, row: True,
):
    """Values of every figure, a list over queries each."""
    candidates = [
        (split, row)
        for split in gallery
        for row in range(len(split))
        if keep(split, row)
    ]
    values = {"error": [], "errors": [], "ap": [], "n": [], "r": [], "tied": []}
    values |= {f"recall@{at}": [] for at in k} | {"ssim": {}}
    for row in range(len(queries)):
        if not keep(queries, row):
            continue
        query = {name: queries.table[name][row] for name in queries.table}
        near = ranked_candidates(query, candidates, z, window, apart)
        if not near:
            continue
        values["n"].append(len(near))
        scores = [-item[0] for item in near]
        gap = scores[0] - scores[: k[-1]][-1]
        values["tied"].append(len(near) > 1 and gap <= 0.5)
        image = queries.source[row]["image"][..., 0]
        values["ssim"][query["id"]] = [
            structural_similarity(image, item[3], data_range=255)
            for item in near[: k[-1]]
        ]
        errors = [abs(item[2][column_] - query[column_]) for item in near]
        errors = [min(e % period, -e % period) if period else e for e in errors]
        errors = [e for e in errors if np.isfinite(e)]
        if errors:
            values["error"].append(errors[0])
            values["errors"].append(errors)
        relevant = [item[2]["label"] == query["label"] >= 0 for item in near]
        if any(relevant):
            values["r"].append((len(near), sum(relevant)))
            values["ap"].append(average_precision_score(relevant, scores))
            for at in k:
                values[f"recall@{at}"].append(any(relevant[:at]))
    return values


def ranked_candidates(query, candidates, z, window, apart):
    """Tuples (-score, id, columns, image) of what a query may find, best first."""
    near = []
    for split, row in candidates:
        frame = {name: split.table[name][row] for name in split.table}
        if frame["id"] == query["id"] or apart and frame[apart] == query[apart]:
            continue
        distance = abs(frame["frame"] - query["frame"])
        in_window = window == -1 or distance <= window * RATE
        if frame["clip"] == query["clip"] and in_window:
            continue
        score = np.float32(z[query["id"]].astype(float) @ z[frame["id"]])
        image = split.source[row]["image"][..., 0]
        near.append((-score, frame["id"], frame, image))
    return sorted(near, key=lambda item: item[:2])

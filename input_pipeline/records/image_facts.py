"""Facts on a folder of images, for the report and the log."""

import os
import pathlib
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from absl import logging

from input_pipeline import dataset
from input_pipeline.formats import label_table
from input_pipeline.records import image_files

_LISTED = 100


def describe(
    reports: list[dict],
    train: np.ndarray,
    validation: np.ndarray,
    *,
    index: image_files.Index,
    root: pathlib.Path,
) -> dict[str, Any]:
    """Return facts on a folder.

    Args:
        reports: Of the blocks that were decoded.
        train: Ids of training.
        validation: Ids held out.
        index: The files.
        root: The folder, for messages.

    Raises:
        DataError: There is no record.
    """
    rejected = index.rejected + [tuple(r) for part in reports for r in part["rejected"]]
    sizes = np.array([size for part in reports for size in part["sizes"]])
    records = len(train) + len(validation)
    if not records:
        raise dataset.DataError(
            f"got {root} without one image that can be read; expected some"
            + image_files.Tally.listing(rejected)
        )
    ids = np.concatenate([train, validation])
    rows = [index.labels.get(index.paths[k]) for k in ids.tolist()]
    sources = Counter(row.extra.get("source", "") for row in rows if row)
    deep = [bits for part in reports for bits in part["deep"]]
    from_table = index.labels_from not in ("none", "sub-folders")
    return {
        "files": index.total,
        "groups": {
            "train": len({index.groups[k] for k in train.tolist()}),
            "validation": len({index.groups[k] for k in validation.tolist()}),
        },
        "labels_from": index.labels_from,
        "labels": len({row.codes[-1] for row in rows if row and row.codes}),
        "split_by": index.split_by,
        "without_codes": sum(not (row and row.codes) for row in rows),
        "not_listed": rows.count(None) if from_table else 0,
        "per_source": dict(sources),
        "deep": {"images": len(deep), "bits": max(deep, default=0)},
        "gray_share": sum(part["gray"] for part in reports) / records,
        "image_sizes": {
            "min": sizes.min(0).tolist(),
            "median": np.median(sizes, axis=0).tolist(),
            "max": sizes.max(0).tolist(),
        },
        **_duplicates(reports),
        **_left_out(rejected, index.ignored),
    }


def _duplicates(reports: list[dict]) -> dict:
    """Count images that are pixel for pixel one that came before."""
    train, validation = (
        Counter(content for part in reports for content in part[split])
        for split in ("train", "validation")
    )
    return {
        "duplicates": (train + validation).total() - len(train | validation),
        "duplicates_across_splits": sum(
            validation[k] for k in validation if k in train
        ),
    }


def _left_out(rejected: list[tuple[str, str]], ignored: list[str]) -> dict:
    reasons = Counter(reason.split(" (")[0].split(":")[0] for _, reason in rejected)
    return {
        "rejected_total": len(rejected),
        "rejected_by_reason": dict(reasons.most_common()),
        "rejected": rejected[:_LISTED],
        "ignored_total": len(ignored),
        "ignored": [label_table.shown(path) for path in ignored[:_LISTED]],
    }


def tell(facts: Mapping[str, Any], labels: str) -> None:
    """Log what a folder holds: where labels come from, and what was passed over.

    Args:
        facts: Facts of `load`.
        labels: The field `labels`.
    """
    text = f"{sum(facts['records'].values())} images, "
    if facts["labels_from"] == "none":
        text += "no labels"
    else:
        text += f"{facts['labels']} labels from {facts['labels_from']}"
    if labels == "auto" and facts["labels_from"] == "sub-folders":
        text += " (data.labels=none for none)"
    logging.info("%s; held out by %s", text, facts["split_by"])
    if facts["ignored_total"]:
        kinds = Counter(os.path.splitext(p)[1] or p for p in facts["ignored"])
        logging.info(
            "%d files that are no images are passed over (%s)",
            facts["ignored_total"],
            ", ".join(f"{kind} {n}" for kind, n in kinds.most_common(5)),
        )
    deep = facts["deep"]
    if deep["images"] and deep["bits"] < 16:
        logging.warning(
            "%d images have 16 bits a channel, of which %d are used; they are scaled "
            "by these %d bits",
            deep["images"], deep["bits"], deep["bits"],
        )  # fmt: skip

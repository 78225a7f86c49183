"""Reading windows of articles, and predictions from their contexts."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from evaluators.common.embeddings import TARGET_VIEW, unit_rows
from evaluators.common.protocols import Embed, Split

BLOCK_ROWS = 4096  # windows read at a time

Predict = Callable[[np.ndarray], np.ndarray]  # [n, l, d] -> [n, d]


def read_blocks(
    split: Split, rows: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield contexts [n, l, d] and targets [n, d] of windows, block by block."""
    for start in range(0, len(rows), BLOCK_ROWS):
        fields = split.read(rows[start : start + BLOCK_ROWS])
        yield fields["context"], fields["target"]


def predicted_by(predict: Predict) -> Embed:
    """Return the embed function of a prediction from contexts.

    A single vector (view "view2") is its own embedding, as in the objective.
    """

    def embed(
        split: Split, rows: np.ndarray, view: str | None = None, **changes: Any
    ) -> np.ndarray:
        del changes
        fields = split.read(rows)
        if view == TARGET_VIEW:
            return unit_rows(fields["target"])
        return unit_rows(predict(fields["context"])).astype(np.float32)

    return embed

"""Accuracy of the majority label among the k nearest training records."""

import dataclasses
from typing import Annotated

import numpy as np
from annotated_types import Interval

from evaluators.common.evaluator import EvaluatorBase, no_examples
from evaluators.common.metric import Metric
from evaluators.metrics.intervals import wilson


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """kNN classification of held-out records.

    Attributes:
        k: Number of neighbors that vote.
    """

    k: Annotated[int, Interval(ge=1, le=1000)] = 5

    def tags(self):
        """Return the tag of the accuracy."""
        return ["votes_right"]

    def _measure(self, embed):
        train, held_out = self._data.train, self._data.validation
        z = embed(train, np.arange(len(train)))
        queries = embed(held_out, np.arange(len(held_out)))
        nearest = np.argsort(-queries @ z.T, axis=1)[:, : self.k]
        labels = np.asarray(train.table["label"])
        right = [
            np.bincount(labels[rows]).argmax() == label
            for rows, label in zip(nearest, held_out.table["label"], strict=True)
        ]
        share, n = float(np.mean(right)), len(right)
        chance = 1 / len(np.unique(labels))
        metric = Metric(share, n, chance, *wilson(share, n), "score", "higher", True)
        return {"votes_right": metric}, no_examples

"""Prediction by a weighted mean, fitted by least squares."""

import dataclasses
from typing import ClassVar

import numpy as np

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.baselines.common.windows import predicted_by, read_blocks
from evaluators.common.protocols import Embed, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """Weighted mean of a context, one weight a place, fitted on the training split.

    w = argmin sum_i |t_i - sum_j w_j x_ij|^2
    """

    label: ClassVar[str] = "fitted average"

    def fit(self, context: Context) -> Embed:
        """Return the embed function with weights fitted on the training split."""
        w = fit_weights(context.data.train)
        return predicted_by(lambda x: np.einsum("l,nld->nd", w, x))


def fit_weights(split: Split) -> np.ndarray:
    """Return the weights [l] by least squares, in double precision."""
    gram, cross = 0.0, 0.0
    for x, t in read_blocks(split, np.arange(len(split))):
        x, t = x.astype(np.float64), t.astype(np.float64)
        gram = gram + np.einsum("nld,nmd->lm", x, x)
        cross = cross + np.einsum("nld,nd->l", x, t)
    return np.linalg.lstsq(gram, cross, rcond=None)[0]

"""The best possible prediction, where the data has it."""

import dataclasses
from typing import Any, ClassVar

import numpy as np

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.common.embeddings import TARGET_VIEW, unit_rows
from evaluators.common.protocols import Embed, Split


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """The expected next vector of simulated data, which no prediction can exceed."""

    label: ClassVar[str] = "best possible"
    ceiling: ClassVar[bool] = True

    def fit(self, context: Context) -> Embed:
        """Return the embed function; it raises ValueError without the column `best`."""
        del context
        return _embed


def _embed(
    split: Split, rows: np.ndarray, view: str | None = None, **changes: Any
) -> np.ndarray:
    del changes
    name = "target" if view == TARGET_VIEW else "best"
    fields = split.read(rows)
    if name not in fields:
        raise ValueError(
            "got baseline 'best' with data that does not know its best prediction; "
            "choices: persistence, mean, fitted_average, ridge, untrained"
        )
    return unit_rows(fields[name])

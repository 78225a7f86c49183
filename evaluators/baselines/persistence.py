"""Prediction of the last vector again."""

import dataclasses
from typing import ClassVar

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.baselines.common.windows import predicted_by
from evaluators.common.protocols import Embed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """The last vector of a context, predicted again."""

    label: ClassVar[str] = "persistence"

    def fit(self, context: Context) -> Embed:
        """Return the embed function; nothing is fitted."""
        del context
        return predicted_by(lambda x: x[:, -1])

"""The weights that a run started from."""

import dataclasses
from typing import ClassVar

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.common.protocols import Embed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """Embeddings of the weights that the run started from, such as pretrained ones."""

    label: ClassVar[str] = "starting weights"

    def fit(self, context: Context) -> Embed:
        """Return the embed function of the starting weights."""
        return context.start

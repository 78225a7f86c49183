"""The network with random weights."""

import dataclasses
from typing import ClassVar

from evaluators.baselines.common.baseline import BaselineBase, Context
from evaluators.common.protocols import Embed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Baseline(BaselineBase):
    """Embeddings of the network before any training."""

    label: ClassVar[str] = "untrained network"

    def fit(self, context: Context) -> Embed:
        """Return the embed function of the untrained network."""
        return context.untrained

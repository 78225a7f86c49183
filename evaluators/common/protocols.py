"""What evaluators need of a dataset and of an embed function."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np


class Split(Protocol):
    """Records with a table of columns."""

    @property
    def table(self) -> Mapping[str, Any]:
        """Columns by name, one row a record."""
        ...

    def __len__(self) -> int:
        """Return the number of records."""
        ...

    def read(self, rows: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return the stored fields of chosen records, [m, ...] each."""
        ...


class Data(Protocol):
    """Splits of a dataset."""

    @property
    def train(self) -> Split:
        """Records of training."""
        ...

    @property
    def validation(self) -> Split:
        """Held-out records."""
        ...

    @property
    def extra(self) -> Mapping[str, Split]:
        """Further splits by name, such as "distractors"."""
        ...

    @property
    def grouped_by(self) -> str:
        """Column whose values are on one side of the split only; "" for none."""
        ...


class Embed(Protocol):
    """Embed function of a network or a baseline."""

    def __call__(
        self,
        split: Any,
        rows: np.ndarray,
        view: str | None = None,
        /,
        **changes: Any,
    ) -> np.ndarray | None:
        """Return embeddings of chosen records.

        Args:
            split: A `Split`.
            rows: int [m].
            view: Name of a training view; None for records as they are.
            **changes: Fields of the transform with other values than in training.

        Returns:
            float32 [m, d], unit norm; None where the view is not defined.
        """
        ...

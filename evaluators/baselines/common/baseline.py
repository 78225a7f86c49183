"""The contract of baselines: embeddings that no training of this run went into."""

import abc
import dataclasses
from typing import ClassVar, Protocol

import numpy as np

from evaluators.common.fields import check_fields
from evaluators.common.protocols import Data, Embed, Split


class Images(Protocol):
    """Function that shows what is embedded of records."""

    def __call__(
        self, split: Split, rows: np.ndarray, view: str | None = None, **changes: object
    ) -> np.ndarray:
        """Return images [m, h, w, c], uint8 or float in 0..1; arguments of `Embed`."""
        ...


@dataclasses.dataclass(frozen=True)
class Context:
    """What a run gives a baseline.

    Attributes:
        data: The dataset; baselines are fitted on its training split.
        images: What is embedded of records, to look at.
        untrained: Embed function of a network with random weights.
        start: Embed function of the weights that the run started from.
    """

    data: Data
    images: Images
    untrained: Embed
    start: Embed


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineBase(abc.ABC):
    """A baseline: its fields are the values that a transform gives it.

    Attributes:
        label: Display name, in figures, tables and alarms.
        ceiling: Whether it is the best possible, so that not to reach it is no fault.
    """

    label: ClassVar[str]
    ceiling: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the fields."""
        check_fields(self)

    @abc.abstractmethod
    def fit(self, context: Context) -> Embed:
        """Return the embed function, fitted on the training split where it fits."""

"""A linear layer on patches, and their mean."""

from typing import Annotated

import flax.linen as nn
import jax
from annotated_types import Interval


class Model(nn.Module):
    """Mean of linear patch embeddings.

    Attributes:
        features: Length of the embedding.
        patch: Side of a patch in pixels.
        axis_name: Not used; the network has no batch statistics.
    """

    features: Annotated[int, Interval(ge=1, le=4096)] = 16
    patch: Annotated[int, Interval(ge=1, le=64)] = 4
    axis_name: str | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Return `[n, h, w, c] -> [n, features]`."""
        size = (self.patch, self.patch)
        x = nn.relu(nn.Conv(self.features, size, size)(x))
        return nn.Dense(self.features)(x.mean((1, 2)))

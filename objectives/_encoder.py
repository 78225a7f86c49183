"""A backbone with a projector: what methods with heads train."""

import flax.linen as nn
import jax


class Encoder(nn.Module):
    """Backbone and projector in one tree."""

    backbone: nn.Module
    projector: nn.Module

    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Maps images `[n, h, w, c]` to features `[n, f]` and projections `[n, d]`."""
        features = self.backbone(x, train=train)
        return features, self.projector(features, train=train)

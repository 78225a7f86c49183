"""A network small enough to compile in a second, with BatchNorm like the large ones."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np


class TinyNet(nn.Module):
    """One convolution, BatchNorm, mean over the picture, one dense layer."""

    axis_name: str | None = None
    features: int = 12
    norm: bool = True

    @nn.compact
    def __call__(self, x, train):
        x = nn.Conv(6, (3, 3), (2, 2))(x)
        if self.norm:
            x = nn.BatchNorm(
                use_running_average=not train, momentum=0.9, axis_name=self.axis_name
            )(x)
        return nn.Dense(self.features)(nn.relu(x).mean((1, 2)))


def batch(n: int = 16, size: int = 8, seed: int = 0) -> dict[str, np.ndarray]:
    """Two views of n records with ids, labels and codes."""
    rng = np.random.default_rng(seed)
    views = rng.normal(size=(2, n, size, size, 3)).astype(np.float32)
    codes = np.stack([np.arange(n) % 2, 2 + np.arange(n) % 4, -np.ones(n)], 1)
    weights = np.where(codes < 0, 0.0, np.where(codes < 2, 0.125, 0.25))
    return {
        "view1": views[0],
        "view2": views[0] + 0.3 * views[1],
        "id": np.arange(n, dtype=np.int32),
        "label": (np.arange(n) % 4).astype(np.int32),
        "codes": codes.astype(np.int32),
        "code_weights": weights.astype(np.float32),
    }


def keep_views(rng, batch):
    """An augmentation for batches that come with their views."""
    del rng
    return {k: jnp.asarray(v) for k, v in batch.items()}

"""Our side of the step benchmark on images: EfficientNet-B0, views, MoCo v3."""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks.akin_side.common import VERSION, forward_backward, start, whole_step
from benchmarks.common.worker import RECIPE
from input_pipeline.transforms import image
from models import efficientnet
from objectives import moco
from train_lib import parallel

__all__ = ["VERSION", "gradient", "start", "step"]


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of EfficientNet-B0 in training mode."""
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    return forward_backward(efficientnet.Model(), x)


def step(size: int, batch: int) -> Callable[[], None]:
    """One MoCo v3 step: two views, queries, target, keys, loss, gradient, AdamW."""
    first, second = RECIPE["views"]
    augment = image.Transform(
        size=size, mean=RECIPE["mean"], std=RECIPE["std"], view1=first, view2=second
    ).augment
    objective = moco.make(
        backbone=efficientnet.Model(),
        axis_name=parallel.AXIS,
        total_steps=10_000,
        temperature=RECIPE["temperature"],
        ema_momentum=RECIPE["momentum"],
        hidden_dim=RECIPE["hidden"],
        proj_dim=RECIPE["features"],
    )
    shape = (batch, 2 * size, 2 * size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    records = {"image": images, "id": np.arange(batch, dtype=np.int32)}
    return whole_step(objective, augment, records, (size, size, 3), RECIPE)

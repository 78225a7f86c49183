"""Our side of the step benchmark on images: ResNet-18, views, SimSiam."""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks.akin_side.common import VERSION, forward_backward, start, whole_step
from benchmarks.common.worker import SIMSIAM
from input_pipeline.transforms import image
from models import resnet
from objectives import simsiam
from train_lib import parallel

__all__ = ["VERSION", "gradient", "start", "step"]

NETWORK = resnet.Model()


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of ResNet-18 in training mode."""
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    return forward_backward(NETWORK, x)


def step(size: int, batch: int) -> Callable[[], None]:
    """One SimSiam step: two views, encoder and predictor on each, gradient, SGD."""
    first, second = SIMSIAM["views"]
    augment = image.Transform(
        size=size, mean=SIMSIAM["mean"], std=SIMSIAM["std"], view1=first, view2=second
    ).augment
    objective = simsiam.make(
        backbone=NETWORK,
        axis_name=parallel.AXIS,
        total_steps=10_000,
        hidden=SIMSIAM["hidden"],
        features=SIMSIAM["features"],
        bottleneck=SIMSIAM["bottleneck"],
    )
    shape = (batch, 2 * size, 2 * size, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    records = {"image": images, "id": np.arange(batch, dtype=np.int32)}
    return whole_step(objective, augment, records, (size, size, 3), SIMSIAM)

"""Our side of the step benchmark on sequences: mamba_s, corruption, next vector."""

from collections.abc import Callable

import jax
import numpy as np

from benchmarks.akin_side.common import VERSION, forward_backward, start, whole_step
from benchmarks.common.worker import MAMBA
from input_pipeline.transforms import corruption
from models import mamba
from objectives import next_vector
from objectives.common.objective import Context
from train_lib import parallel

__all__ = ["VERSION", "gradient", "start", "step"]


def gradient(length: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network."""
    x = jax.random.normal(jax.random.key(0), (batch, length, MAMBA["width"]))
    return forward_backward(mamba.Model(), x)


def step(length: int, batch: int) -> Callable[[], None]:
    """One step: corruption, prediction, InfoNCE and cosine, AdamW."""
    width = MAMBA["width"]
    objective = next_vector.Objective(
        context=Context(mamba.Model(), axis_name=parallel.AXIS, total_steps=10_000),
        temperature=MAMBA["temperature"],
        infonce_weight=MAMBA["infonce_weight"],
        cosine_weight=MAMBA["cosine_weight"],
    )
    augment = corruption.Transform(
        context=length, width=width, dropout=MAMBA["dropout"], span=MAMBA["span"]
    ).augment
    rng = np.random.default_rng(0)
    shapes = {
        "context": (batch, length, width),
        "target": (batch, width),
        "cross_article_negatives": (batch, 1, width),
    }
    records = {k: rng.standard_normal(s, np.float32) for k, s in shapes.items()}
    records["id"] = np.arange(batch, dtype=np.int32)
    records["place"] = 2 * length * records["id"]  # no target in another's context
    return whole_step(objective, augment, records, (length, width), MAMBA)

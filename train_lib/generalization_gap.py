"""Loss of held-out records, and of as many training records."""

import itertools
import math
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from absl import logging
from jax.sharding import Mesh
from scipy import stats

from evaluators.common.metric import LOSS, Metric, MetricType
from input_pipeline.dataset import Data, Split
from objectives.common.objective import Objective
from reporting import loop_tags
from train_lib import parallel, train_step
from train_lib.errors import InputError
from train_lib.experiment import Experiment
from train_lib.parallel import AXIS
from train_lib.train_step import TrainState

HeldOutLoss: TypeAlias = Callable[[TrainState], dict[str, Metric]]
GAP = MetricType("diagnostic", "lower")


def held_out_loss(
    experiment: Experiment, data: Data, objective: Objective, mesh: Mesh
) -> HeldOutLoss:
    """Return the function that measures the loss of held-out records and its gap.

    The function returns nothing if too few records are held out for a batch.

    Raises:
        InputError: Too few are held out, and the best step depends on their loss.
    """
    config = experiment.config
    batches = config.evaluate.loss_batches
    if not batches:
        return lambda state: {}
    sides = alike(data, config.seed)
    chunks, largest = (
        config.train.grad_cache_chunks,
        config.train.batch_size,
    )
    records = min(map(len, sides))
    size = batch_size(records, largest, mesh.size * chunks)
    if size < 2:
        reason = (
            f"{records} records are held out, too few for a batch of {mesh.size} "
            f"devices x {chunks} chunks: their loss is not measured"
        )
        monitor = config.train.monitor
        if monitor in loop_tags.LOSS_SIDES:
            raise InputError(f"config.train.monitor: {reason}; expected another tag")
        logging.warning("%s", reason)
        return lambda state: {}
    return make(
        train_step.make_measure(objective, experiment.transform.augment, AXIS),
        mesh,
        sides,
        experiment.batches,
        objective.chance,
        size=size,
        batches=batches,
    )


def make(
    measure: train_step.Measure,
    mesh: Mesh,
    sides: tuple[Split, Split],
    read: Callable[[Split, int], Any],
    chance: Callable[[int], float],
    *,
    size: int,
    batches: int,
) -> HeldOutLoss:
    """Build the function that measures the loss of both sides, and their gap.

      train, held_out  mean loss of some batches of a side, as a step computes it
      gap               held_out / chance - train / chance, of each its own chance

    Where chance is 0 losses are not divided. Batches, views and masks are the same at
    every evaluation. With two batches or more the intervals are Student's, of batches:
    they cover which records share a batch, and not which groups were held out.

    Args:
        measure: `(state, batch) -> metrics`, as `train_step.make_measure` builds it.
        mesh: Devices.
        sides: Records trained on and held out, as `alike` gives them.
        read: `(split, size)` to an iterator of batches.
        chance: Chance level of the objective, by the size of a batch.
        size: Records of a batch.
        batches: Of each side, no more than its records allow.

    Returns:
        The function; it gives nan where a batch has no positive.
    """
    measure = parallel.parallel_measure(measure, mesh)
    batches = min(batches, *(len(split) // size for split in sides))

    def of_side(state: TrainState, split: Split) -> tuple[np.ndarray, np.ndarray]:
        found = []
        for batch in itertools.islice(read(split, size), batches):
            metrics = measure(state, parallel.put_batch(batch, mesh))
            share_with_positive = metrics.get("diag/queries_with_positive", 1.0)
            loss = float(metrics["train/loss"]) if share_with_positive > 0 else math.nan
            found.append((loss, float(metrics.get("train/loss_chance", chance(size)))))
        losses, chances = np.array(found, np.float64).T
        return losses, chances

    def held_out(state: TrainState) -> dict[str, Metric]:
        train, validation = (of_side(state, split) for split in sides)
        return summarize(train, validation, size * batches)

    return held_out


def summarize(
    train: tuple[np.ndarray, np.ndarray],
    held_out: tuple[np.ndarray, np.ndarray],
    n: int,
) -> dict[str, Metric]:
    """Return the metrics of both sides and of their gap, with intervals of batches.

    Args:
        train: Losses and chance levels of the batches trained on, [b] each.
        held_out: The same of the held-out ones.
        n: Records of a side.
    """
    gap = _reach(*held_out) - _reach(*train)
    metrics = (
        _metric(train[0], float(train[1].mean()), n, LOSS),
        _metric(held_out[0], float(held_out[1].mean()), n, LOSS),
        _metric(gap, 0.0, n, GAP),
    )
    return dict(zip(loop_tags.LOSS_SIDES, metrics, strict=True))


def alike(data: Data, seed: int) -> tuple[Split, Split]:
    """Return as many training records as are held out, and the held-out ones.

    They come in whole groups, such as all windows of an article: a batch of few
    articles is harder than one of many, whether it was trained on or not.
    """
    train, validation_loss = data.train, data.validation
    most = min(len(train), len(validation_loss))
    group = np.arange(len(train))
    if data.grouped_by in train.table:
        column = np.asarray(train.table[data.grouped_by])
        if column.dtype.kind in "iu":  # negative: none, so that each is its own
            column = np.where(column < 0, -1 - group, column)
        group = np.unique(column, return_inverse=True)[1]
    turn = np.random.default_rng([seed, 6]).permutation(group.max() + 1)
    rows = np.argsort(turn[group], kind="stable")[:most]
    return train.take(np.sort(rows)), validation_loss


def batch_size(records: int, most: int, unit: int) -> int:
    """Return the size of a batch: as in training, or smaller if few are held out.

    Args:
        records: Number of records of the smaller side.
        most: Records of a training batch.
        unit: What a batch is a multiple of.

    Returns:
        The size; 0 where there are too few.
    """
    return min(most, records) // unit * unit


def _reach(loss: np.ndarray, chance: np.ndarray) -> np.ndarray:
    return loss / np.where(chance == 0, 1.0, np.abs(chance))


def _metric(
    values: np.ndarray, chance: float, n: int, metric_type: MetricType
) -> Metric:
    mean, m = float(values.mean()), len(values)
    if m < 2:
        return Metric(mean, n, chance, math.nan, math.nan, *metric_type)
    half = stats.t.ppf(0.975, m - 1) * float(values.std(ddof=1)) / math.sqrt(m)
    return Metric(mean, n, chance, float(mean - half), float(mean + half), *metric_type)

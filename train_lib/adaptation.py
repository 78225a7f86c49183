"""Fit a config to its data: leave out what cannot be measured, bound the batch."""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from evaluators.common.evaluator import Context, EvaluatorBase, LackingData
from field_types import Config
from input_pipeline.dataset import Data, Split
from train_lib.errors import InputError
from train_lib.experiment import Experiment, make_evaluator, make_transform

# Fields that are counted in epochs; a longer run stretches them all.
IN_EPOCHS = (
    ("train", "epochs"), ("train", "checkpoint_every_epochs"),
    ("schedule", "epochs"), ("schedule", "warmup_epochs"),
    ("evaluate", "every_epochs"),
)  # fmt: skip
LEAST_BATCH = 2  # one positive pair and one negative


class Fitted(NamedTuple):
    """An experiment that suits its data.

    Attributes:
        experiment: The experiment, its config changed where it had to be.
        evaluators: Its evaluators, by the name of their set.
        changes: What was changed and why, one sentence each.
    """

    experiment: Experiment
    evaluators: dict[str, EvaluatorBase]
    changes: list[str]


def fit(experiment: Experiment, data: Data) -> Fitted:
    """Return the experiment as its data allows it.

    Sets of evaluators that are `optional` and whose data is lacking are left out, with
    the gates on what they measure; `train.monitor` and `evaluate.examples` then turn
    to the first set that remains. A batch is at most the training records; a run is at
    least `train.least_steps` long. Positives that share a code become views of one
    record where no code tells records apart. Fields that the data implies, such as the
    width of its vectors, are set.

    Args:
        experiment: Parts of the run.
        data: The dataset.

    Raises:
        InputError: The method cannot learn from the records, the data lacks what a set
            that is not optional needs, nothing is left to monitor, or there are fewer
            than two records to train on.
    """
    experiment.check_records(data.train)
    config: Config = ConfigDict(experiment.config.to_dict())
    evaluators, reasons = _split_sets(experiment, data)
    changes = [
        *_imply(config, data.facts.get("implies", {})),
        *_pair_instances(config, experiment.positives, data.train),
        *_bound_batch(config, len(data.train)),
        *_lengthen(config, len(data.train)),
        *_leave_out(config, reasons, evaluators),
    ]
    if changes:
        experiment = dataclasses.replace(
            experiment, config=config.lock(), transform=make_transform(config)
        )
    for name, evaluator in evaluators.items():
        changes += [f"eval/{name}: {choice}" for choice in evaluator.choices()]
    return Fitted(experiment, evaluators, changes)


def _split_sets(
    experiment: Experiment, data: Data
) -> tuple[dict[str, EvaluatorBase], dict[str, str]]:
    """Return the evaluators that the data allows, and why it does not allow others."""
    config = experiment.config
    evaluators: dict[str, EvaluatorBase] = {}
    reasons: dict[str, str] = {}
    for name, values in config.evaluate.sets.items():
        context = Context(data, f"eval/{name}", config.seed)
        try:
            evaluators[name] = make_evaluator(config, name, context)
        except LackingData as error:
            if not values.optional:
                raise InputError(
                    f"config.evaluate.sets.{name}: {error}; or set "
                    f"config.evaluate.sets.{name}.optional=True to leave it out"
                ) from None
            reasons[name] = str(error)
        except ValueError as error:
            raise InputError(f"config.evaluate.sets.{name}: {error}") from None
    return evaluators, reasons


def _imply(config: Config, implied: Mapping[str, Any]) -> Iterable[str]:
    """Set fields that follow from the data; yield what was changed.

    Args:
        config: Changed in place.
        implied: Dotted names of fields and their values, such as "transform.width".
    """
    for name, value in implied.items():
        section, _, field = name.rpartition(".")
        node = config
        for part in filter(None, section.split(".")):
            node = node[part]
        if (former := node[field]) != value:
            node[field] = value
            yield f"{name} is {value} instead of {former}, as the data has it."


def _pair_instances(config: Config, positives: str, train: Split) -> Iterable[str]:
    """Make views of a record positives where codes say nothing; yield the change."""
    codes = np.asarray(train.table["codes"])
    counts = np.bincount(codes[codes >= 0], minlength=1)
    tell_apart = (counts > 1) & (counts < len(train))
    if positives != "codes" or tell_apart.any() or "positives" not in config.objective:
        return
    config.objective.positives = "instance"
    yield (
        "objective.positives is instance instead of codes, since no code is on several "
        "training records, but not on all."
    )


def _bound_batch(config: Config, records: int) -> Iterable[str]:
    """Make the batch as small as the training records; yield what was changed."""
    batch = config.train.batch_size
    if records >= batch:
        return
    unit = jax.device_count() * config.train.grad_cache_chunks
    unit *= max(config.train.samples_per_class, 1)
    largest = records // unit * unit
    if largest < LEAST_BATCH:
        least = unit * -(-LEAST_BATCH // unit)
        raise InputError(
            f"got {records} training records; expected at least {least}: add records, "
            "or lower config.data.val_fraction, config.train.grad_cache_chunks or "
            "config.train.samples_per_class where they are above their least"
        )
    config.train.batch_size = largest
    yield (
        f"train.batch_size is {largest} instead of {batch}, since there are {records} "
        "training records."
    )


def _lengthen(config: Config, records: int) -> Iterable[str]:
    """Make the run as long as `train.least_steps`; yield what was changed."""
    before, least = config.train.epochs, config.train.least_steps
    epoch_steps = records // config.train.batch_size
    if before * epoch_steps >= least:
        return
    factor = math.ceil(least / epoch_steps) / before
    for section, field in IN_EPOCHS:
        config[section][field] = config[section][field] * factor
    for fields in config.gates.values():
        if not isinstance(fields.at, str):
            fields.at = float(fields.at * factor)
    yield (
        f"train.epochs is {config.train.epochs:g} instead of {before:g}, since "
        f"train.least_steps = {least}; all that is counted in epochs is {factor:.3g} "
        "times as long."
    )


def _leave_out(
    config: Config, reasons: dict[str, str], evaluators: dict[str, EvaluatorBase]
) -> Iterable[str]:
    """Take sets out of a config; yield what was changed."""
    for name, reason in reasons.items():
        del config.evaluate.sets[name]
        gates = [
            gate
            for gate, fields in config.gates.items()
            if any(
                str(fields.get(key, "")).startswith(f"eval/{name}/")
                for key in ("metric", "value")
            )
        ]
        for gate in gates:
            del config.gates[gate]
        without = f", nor gate {', '.join(gates)}" if gates else ""
        yield f"eval/{name} is not measured{without}: {reason}."
    final_sets = config.evaluate.final_sets
    config.evaluate.final_sets = tuple(n for n in final_sets if n not in reasons)
    if config.evaluate.examples in reasons:
        config.evaluate.examples = next(
            (n for n, e in evaluators.items() if "recall@1" in e.tags()), ""
        )
    monitor = re.match(r"eval/([^/]+)/(.+)", config.train.monitor)
    if monitor and monitor[1] in reasons:
        tag = _next_monitor(config, monitor[2], evaluators)
        config.train.monitor = tag
        yield f"train.monitor is {tag}."


def _next_monitor(
    config: Config, figure: str, evaluators: dict[str, EvaluatorBase]
) -> str:
    """Return the tag of a figure in the first set that measures it on the way."""
    for name, evaluator in evaluators.items():
        if name not in config.evaluate.final_sets and figure in evaluator.tags():
            return f"eval/{name}/{figure}"
    tags = [f"eval/{n}/{tag}" for n, e in evaluators.items() for tag in e.tags()]
    raise InputError(
        f"config.train.monitor: got {config.train.monitor!r}, which this data does not "
        f"allow to measure; choices: {', '.join(tags)}"
    )

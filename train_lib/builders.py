"""From config to parts: the only place that reads a config and knows all folders."""

import importlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import optax
from jax.sharding import Mesh
from ml_collections import ConfigDict

from input_pipeline import augment as augment_lib
from objectives._contract import Objective
from train_lib import evaluation, optimizers, schedules
from train_lib.config import nearest
from train_lib.errors import InputError
from train_lib.parallel import AXIS
from train_lib.schedules import Horizon

# What a folder's files must export to be a choice in a config.
EXPORTS = {
    "models": "Model",
    "objectives": "make",
    "input_pipeline": "load",
    "evaluators": "Evaluator",
}
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def choices(folder: str) -> list[str]:
    """Names that a config may use for a folder: the files that export its part."""
    exported = EXPORTS[folder]
    return sorted(
        path.stem
        for path in (_ROOT / folder).glob("[!_]*.py")
        if any(
            line.startswith((f"class {exported}(", f"class {exported}:"))
            or line.startswith(f"def {exported}(")
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    )


def find(folder: str, name: str) -> Callable:
    """The part that `folder/name.py` exports.

    Raises:
        ValueError: There is no such file; lists the files there are.
    """
    if name not in (names := choices(folder)):
        raise ValueError(
            f"got {name!r}; choices: {', '.join(names)}{nearest(name, names)}"
        )
    return getattr(importlib.import_module(f"{folder}.{name}"), EXPORTS[folder])


def fields(section: ConfigDict, *without: str) -> dict[str, Any]:
    """A section as keyword arguments, less `name` and what else is not the part's."""
    plain = section.to_dict() if isinstance(section, ConfigDict) else dict(section)
    return {k: v for k, v in plain.items() if k not in ("name", *without)}


def load_data(config: ConfigDict, progress: bool = True) -> Any:
    """The dataset's splits; prepares them first where that has not been done."""
    load = find("input_pipeline", config.data.name)
    return load(**fields(config.data), seed=config.seed, progress=progress)


def steps_per_epoch(config: ConfigDict, records: int) -> int:
    """Full batches in an epoch.

    Raises:
        InputError: The split is smaller than one batch.
    """
    if records < config.train.batch_size:
        raise InputError(
            f"got {records} training records; expected at least one batch of "
            f"train.batch_size = {config.train.batch_size}"
        )
    return records // config.train.batch_size


def make_objective(
    config: ConfigDict, total_steps: int, axis_name: str | None = AXIS
) -> Objective:
    """The method with its network; `total_steps` is where its own schedules end."""
    synced = config.model.sync_batchnorm
    backbone = find("models", config.model.name)(
        **fields(config.model, "sync_batchnorm"),
        axis_name=axis_name if synced else None,
    )
    return find("objectives", config.objective.name)(
        backbone=backbone,
        axis_name=axis_name,
        total_steps=total_steps,
        chunks=config.train.chunks,
        sync_batchnorm=synced,
        **fields(config.objective),
    )


def peak_learning_rate(config: ConfigDict) -> float:
    """The linear rule: `optimizer.learning_rate` is for 256 records."""
    return config.optimizer.learning_rate * config.train.batch_size / 256


def make_schedule(
    config: ConfigDict, epoch_steps: int, horizon: Horizon
) -> schedules.Schedule:
    """The learning rate over a horizon."""
    own = fields(config.schedule, "epochs", "warmup_epochs", "patience")
    return schedules.make_schedule(
        name=config.schedule.name,
        peak=peak_learning_rate(config),
        horizon=horizon,
        warmup_steps=round(config.schedule.warmup_epochs * epoch_steps),
        **own,
    )


def make_optimizer(
    config: ConfigDict, schedule: schedules.Schedule
) -> optax.GradientTransformation:
    """The optimiser with a learning rate."""
    own = fields(config.optimizer, "learning_rate")
    return optimizers.make_optimizer(
        name=config.optimizer.name, schedule=schedule, **own
    )


def make_augment(config: ConfigDict) -> Callable:
    """`augment(rng, batch)`, the training views."""
    return augment_lib.make_augment(**fields(config.augment))


def make_embed(config: ConfigDict, objective: Objective, mesh: Mesh) -> Callable:
    """`bind(params, extra) -> embed(split, rows, augmented)`."""
    center = augment_lib.make_center(**fields(config.augment, "view1", "view2"))
    view = _first_view(fields(config.augment))
    return evaluation.make_embed(objective, center, view, mesh, **_reading(config))


def make_query_pictures(config: ConfigDict) -> Callable:
    """`(split, rows)`: what `make_embed` augments, as pictures in 0..1."""
    plain = fields(config.augment) | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    return evaluation.make_pictures(_first_view(plain), **_reading(config))


def _reading(config: ConfigDict) -> dict[str, int]:
    return {
        "seed": config.seed,
        "batch_size": config.evaluate.batch_size,
        "threads": config.train.threads,
    }


def _first_view(augment_fields: dict) -> Callable:
    augment = augment_lib.make_augment(**augment_fields)

    def view(rng: jax.Array, batch: dict) -> dict:
        return batch | {"image": augment(rng, batch)["view1"]}

    return view


def make_evaluators(config: ConfigDict, data: Any) -> dict[str, Any]:
    """Evaluators by the name of their set."""
    return {
        name: find("evaluators", spec.name)(
            data, prefix=f"eval/{name}", seed=config.seed, **fields(spec)
        )
        for name, spec in config.evaluate.sets.items()
    }


LOOP_TAGS = (
    "train/loss",
    "train/loss_chance",
    "train/lr",
    "train/grad_norm",
    "perf/examples_per_sec",
    "perf/input_wait",
)


def promised_tags(config: ConfigDict) -> list[str]:
    """Tags that the loop and the evaluators of a config will write."""
    tags = list(LOOP_TAGS)
    for name, spec in config.evaluate.sets.items():
        evaluator = find("evaluators", spec.name)
        tags += evaluator.promises(f"eval/{name}", **fields(spec))
    return tags

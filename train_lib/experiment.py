"""From config to parts: the only place that reads a config and knows all folders."""

import importlib
import pathlib
import types
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from absl import logging
from jax.sharding import Mesh
from ml_collections import ConfigDict

from evaluators.baselines.common.baseline import BaselineBase
from evaluators.common.evaluator import Context, EvaluatorBase
from input_pipeline import loader
from objectives.common.accumulation import separately
from objectives.common.objective import Context, Objective, Positives
from train_lib import evaluation, generalization_gap, optimizers, schedules, train_step
from train_lib.config import nearest
from train_lib.errors import InputError
from train_lib.parallel import AXIS
from train_lib.schedules import Horizon

# Kind of part -> the folder it lies in, and what a file must export to be a choice.
PARTS = {
    "models": ("models", "Model"),
    "objectives": ("objectives", "Objective"),
    "datasets": ("input_pipeline/datasets", "load"),
    "views": ("input_pipeline/transforms", "Transform"),
    "evaluators": ("evaluators", "Evaluator"),
    "baselines": ("evaluators/baselines", "Baseline"),
}
_ROOT = pathlib.Path(__file__).resolve().parent.parent


def choices(kind: str) -> list[str]:
    """Names that a config may use for a kind of part: the files that export it."""
    folder, exported = PARTS[kind]
    return sorted(
        path.stem
        for path in (_ROOT / folder).glob("[!_]*.py")
        if any(
            line.startswith((f"class {exported}(", f"class {exported}:"))
            or line.startswith(f"def {exported}(")
            for line in path.read_text(encoding="utf-8").splitlines()
        )
    )


def find(kind: str, name: str) -> Callable:
    """The part that the file `name.py` of a kind exports.

    Raises:
        ValueError: There is no such file; lists the files there are.
    """
    return getattr(_module(kind, name), PARTS[kind][1])


def _module(kind: str, name: str) -> types.ModuleType:
    if name not in (names := choices(kind)):
        raise ValueError(
            f"got {name!r}; choices: {', '.join(names)}{nearest(name, names)}"
        )
    return importlib.import_module(f"{PARTS[kind][0]}/{name}".replace("/", "."))


def fields(section: ConfigDict, *without: str) -> dict[str, Any]:
    """A section as keyword arguments, less `name` and what else is not the part's."""
    plain = section.to_dict() if isinstance(section, ConfigDict) else dict(section)
    return {k: v for k, v in plain.items() if k not in ("name", *without)}


def load_data(config: ConfigDict, progress: bool = True) -> Any:
    """The dataset's splits; prepares them first where that has not been done."""
    load = find("datasets", config.data.name)
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


def make_batches(config: ConfigDict, split: Any, batch_size: int) -> Any:
    """Endless training batches of a split, this process's share of each."""
    return loader.train_batches(
        split,
        batch_size=batch_size,
        seed=config.seed,
        positives="codes" if positives_of(config) == "codes" else "instance",
        samples_per_class=config.train.samples_per_class,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        threads=config.train.threads,
        prefetch=config.train.prefetch,
    )


def make_objective(
    config: ConfigDict, total_steps: int, axis_name: str | None = AXIS
) -> Objective:
    """The method with its network; `total_steps` is where its own schedules end."""
    synced, chunks = config.model.sync_batchnorm, config.train.grad_cache_chunks
    separate = config.train.negatives == "per_chunk"
    context = Context(
        backbone=make_network(config, axis_name if synced else None),
        axis_name=axis_name,
        total_steps=total_steps,
        chunks=1 if separate else chunks,
        sync_batchnorm=synced,
    )
    objective = objective_fields(config, context)
    return separately(objective, chunks) if separate else objective


def objective_fields(config: ConfigDict, context: Context | None = None) -> Objective:
    """Build the method of a config; without a context to read its fields alone.

    Raises:
        ValueError: Fields do not fit each other.
    """
    build = find("objectives", config.objective.name)
    return build(**fields(config.objective), context=context)


def positives_of(config: ConfigDict) -> Positives:
    """Return what makes two records a positive pair for the method of a config."""
    return objective_fields(config).positives


def check_records(config: ConfigDict, split: Any) -> None:
    """Refuses training records that the method cannot learn from, before any step.

    Raises:
        InputError: They are such.
    """
    try:
        objective_fields(config).check_records(split.table["label"])
    except ValueError as error:
        raise InputError(f"config.objective: {error}") from None


def make_network(config: ConfigDict, axis_name: str | None = None) -> nn.Module:
    """The network; `axis_name` is of its synchronized BatchNorm."""
    return find("models", config.model.name)(
        **fields(config.model, "sync_batchnorm", "init_from"), axis_name=axis_name
    )


def network_variables(config: ConfigDict) -> dict[str, Any]:
    """Collections of the network as it starts at random, on the host."""
    network, x = make_network(config), example_batch(config)["view1"]
    return dict(jax.jit(lambda: network.init(jax.random.key(0), x, train=False))())


def network_shapes(config: ConfigDict) -> dict[str, Any]:
    """Shapes of `network_variables`, without computing anything."""
    return jax.eval_shape(lambda: network_variables(config))


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
        epoch_steps=epoch_steps,
        **own,
    )


def make_optimizer(
    config: ConfigDict, schedule: schedules.Schedule
) -> optax.GradientTransformation:
    """The optimizer with a learning rate."""
    own = fields(config.optimizer, "learning_rate")
    return optimizers.make_optimizer(
        name=config.optimizer.name,
        schedule=schedule,
        steady=peak_learning_rate(config),
        **own,
    )


def make_transform(config: ConfigDict) -> Any:
    """The transform that a config names."""
    return find("views", config.transform.name)(**fields(config.transform))


def example_batch(config: ConfigDict) -> dict[str, jax.Array]:
    """Two records' views of zeros, to build a network by."""
    return {"view1": jnp.zeros((2, *make_transform(config).input_shape))}


def make_seen(config: ConfigDict, mesh: Mesh) -> evaluation.Seen:
    """`seen(batch, view=None, **changes)`: what the network sees of records."""
    transform = make_transform(config)

    def see(view: str | None, changes: dict) -> Callable:
        changed = transform.changed(view, **changes)
        if view is None:
            return lambda rng, batch: changed.center(batch)
        return lambda rng, batch: changed.view(view, rng, batch)

    return evaluation.Seen(see, mesh, config.seed)


def make_embed(config: ConfigDict, objective: Objective, seen: Any) -> Callable:
    """`bind(params, extra) -> embed(split, rows, view=None, **changes)`."""
    return evaluation.make_embed(objective, seen, **_reading(config))


def make_pictures(config: ConfigDict, seen: Any) -> Callable:
    """`pictures(split, rows, view=None, **changes)`: what is embedded, to look at."""
    show = make_transform(config).images
    return evaluation.make_pictures(show, seen, **_reading(config))


def baseline_names(config: ConfigDict) -> tuple[str, ...]:
    """Baselines that a run may name: those of its transform, and initial networks."""
    baselines = find("views", config.transform.name).baselines
    return (*baselines, "untrained", "start")


def make_baseline(config: ConfigDict, name: str) -> BaselineBase:
    """A baseline with the fields that the transform gives it."""
    return find("baselines", name)(**views_of(config).BASELINES.get(name, {}))


def gallery_view(config: ConfigDict) -> str:
    """The view in which records are searched, "" for as they are."""
    return find("views", config.transform.name).gallery_view


def read_records(config: ConfigDict, path: str) -> tuple[Any, dict]:
    """Records of a file or a folder such as the views are made from, and facts."""
    module = _module("datasets", config.data.name)
    return module.read_records(
        path, data=fields(config.data), transform=make_transform(config)
    )


def _reading(config: ConfigDict) -> dict[str, int]:
    return {
        "batch_size": config.evaluate.batch_size,
        "threads": config.train.threads,
    }


def make_evaluators(config: ConfigDict, data: Any) -> dict[str, EvaluatorBase]:
    """Evaluators by the name of their set.

    Raises:
        InputError: The data is not such as a set needs.
    """
    evaluators = {}
    for name, spec in config.evaluate.sets.items():
        context = Context(data=data, prefix=f"eval/{name}", seed=config.seed)
        try:
            evaluators[name] = find("evaluators", spec.name)(
                **fields(spec), context=context
            )
        except ValueError as error:
            raise InputError(f"config.evaluate.sets.{name}: {error}") from None
    return evaluators


def make_held_out(
    config: ConfigDict, data: Any, objective: Objective, mesh: Mesh
) -> Callable:
    """`held_out(state) -> metrics`: the loss of records held out, and its gap.

    Nothing is measured where so few are held out that they make no batch.

    Raises:
        InputError: So few are held out, and the best step is chosen by their loss.
    """
    batches = config.evaluate.loss_batches
    if not batches:
        return lambda state: {}
    sides = generalization_gap.alike(data, config.seed)
    unit = mesh.size * config.train.grad_cache_chunks
    records = min(map(len, sides))
    size = generalization_gap.batch_size(records, config.train.batch_size, unit)
    if size < 2:
        said = (
            f"{records} records are held out, too few for a batch of {mesh.size} "
            f"devices x {config.train.grad_cache_chunks} chunks: "
            "their loss is not measured"
        )
        if config.train.monitor in generalization_gap.promises(batches):
            raise InputError(f"config.train.monitor: {said}; expected another tag")
        logging.warning("%s", said)
        return lambda state: {}
    return generalization_gap.make(
        train_step.make_measure(objective, make_transform(config).augment, AXIS),
        mesh,
        sides,
        lambda split, size: make_batches(config, split, size),
        objective.chance,
        size=size,
        batches=batches,
    )


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
    tags = [*LOOP_TAGS, *generalization_gap.promises(config.evaluate.loss_batches)]
    for name, spec in config.evaluate.sets.items():
        evaluator = find("evaluators", spec.name)(**fields(spec))
        tags += [f"eval/{name}/{tag}" for tag in evaluator.tags()]
    return tags

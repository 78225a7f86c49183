"""Build the parts of a run from its config; the only reader of the config's sections.

Names are resolved once, in `Experiment.from_config`. Tests and programs pass parts of
their own with `dataclasses.replace(experiment, model=...)`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from ml_collections import ConfigDict

from evaluators.baselines.common.baseline import BaselineBase
from evaluators.common.evaluator import Context as EvaluatorContext
from evaluators.common.evaluator import EvaluatorBase
from field_types import Config
from input_pipeline import loader
from input_pipeline.dataset import Data, Split
from objectives.common.accumulation import separately
from objectives.common.objective import Context, Objective, Positives, Tree
from reporting import loop_tags
from train_lib import optimizers, parts, schedules
from train_lib.errors import InputError
from train_lib.parallel import AXIS
from train_lib.schedules import Horizon

# Tags that the loop writes, with kind and direction; see `Objective.metric_facts`.
LOOP_TAGS: dict[str, Mapping[str, object]] = {
    "train/loss": {"kind": "loss", "better": "lower"},
    "train/loss_chance": {"kind": "diagnostic", "better": ""},
    "train/lr": {"kind": "diagnostic", "better": ""},
    "train/grad_norm": {"kind": "diagnostic", "better": ""},
    "perf/examples_per_sec": {"kind": "diagnostic", "better": "higher"},
    "perf/input_wait": {"kind": "diagnostic", "better": "lower"},
}
# Baselines that every transform allows: networks before training.
INITIAL_NETWORKS = ("untrained", "start")


class MakeModel(Protocol):
    """Function or class that builds a network from the fields of `config.model`."""

    def __call__(self, *, axis_name: str | None, **fields: Any) -> nn.Module:
        """Return the network; `axis_name` is the axis of synchronized BatchNorm."""
        ...


class ReadRecords(Protocol):
    """Function that reads files such as the dataset's, for queries and `embed`."""

    def __call__(
        self, path: str, *, data: Mapping[str, Any], transform: Any
    ) -> tuple[Split, dict[str, Any]]:
        """Return records and facts about them."""
        ...


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A config with its parts.

    Attributes:
        config: Config without faults.
        model: Builds the network.
        objective_class: Builds the method.
        load: Loads the dataset.
        records: Reads files such as the dataset's; None if it reads none.
        transform: Makes views of records.
        build: Builds the parts of another run, such as the one that this run starts
            from; None for the parts that its config names.
    """

    config: Config
    model: MakeModel
    objective_class: Callable[..., Objective]
    load: Callable[..., Data]
    records: ReadRecords | None
    transform: Any
    build: "Build | None" = None

    @classmethod
    def from_config(cls, config: Config) -> "Experiment":
        """Find the parts that a config names.

        Raises:
            ValueError: There is no such part, or its fields do not fit each other.
        """
        dataset = parts.find_module("data", config.data.name)
        return cls(
            config=config,
            model=parts.find("model", config.model.name),
            objective_class=parts.find("objective", config.objective.name),
            load=dataset.load,
            records=getattr(dataset, "read_records", None),
            transform=make_transform(config),
        )

    # Data

    def load_data(self, progress: bool = True) -> Data:
        """Return the dataset's splits; prepare them first if that is not done."""
        seed = self.config.seed
        return self.load(**fields(self.config.data), seed=seed, progress=progress)

    def read_records(self, path: str) -> tuple[Split, dict[str, Any]]:
        """Return the records of a file or folder, and facts about them.

        Raises:
            InputError: The dataset reads no files.
        """
        if self.records is None:
            raise InputError(
                f"got {path}; data.name = {self.config.data.name!r} reads no files, "
                "expected id:N"
            )
        data = fields(self.config.data)
        return self.records(path, data=data, transform=self.transform)

    def steps_per_epoch(self, records: int) -> int:
        """Return the number of full batches in an epoch.

        Raises:
            InputError: There are fewer records than a batch has.
        """
        if records < self.config.train.batch_size:
            raise InputError(
                f"got {records} training records; expected at least one batch of "
                f"train.batch_size = {self.config.train.batch_size}"
            )
        return records // self.config.train.batch_size

    def batches(self, split: Split, batch_size: int) -> Any:
        """Return endless training batches of a split, this process's share of each."""
        return loader.train_batches(
            split,
            batch_size=batch_size,
            seed=self.config.seed,
            positives="codes" if self.positives == "codes" else "instance",
            samples_per_class=self.config.train.samples_per_class,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            threads=self.config.train.threads,
            prefetch=self.config.train.prefetch,
        )

    def example_batch(self) -> dict[str, jax.Array]:
        """Return a batch of two views of zeros, which gives a network its shapes."""
        return {"view1": jnp.zeros((2, *self.transform.input_shape))}

    # Network and method

    def network(self, axis_name: str | None = None) -> nn.Module:
        """Return the network; `axis_name` is the axis of synchronized BatchNorm."""
        model_fields = fields(self.config.model, "sync_batchnorm", "init_from")
        return self.model(**model_fields, axis_name=axis_name)

    def network_variables(self) -> dict[str, Tree]:
        """Return the collections of the network at random initialization."""
        network, x = self.network(), self.example_batch()["view1"]
        return dict(jax.jit(lambda: network.init(jax.random.key(0), x, train=False))())

    def network_shapes(self) -> dict[str, Tree]:
        """Return the shapes of `network_variables` without computing them."""
        return jax.eval_shape(self.network_variables)

    def objective(self, total_steps: int, axis_name: str | None = AXIS) -> Objective:
        """Return the method with its network.

        Args:
            total_steps: Step at which schedules of the method end.
            axis_name: Device axis, or None outside a mesh.
        """
        synced = self.config.model.sync_batchnorm
        chunks = self.config.train.grad_cache_chunks
        per_chunk = self.config.train.negatives == "per_chunk"
        context = Context(
            backbone=self.network(axis_name if synced else None),
            axis_name=axis_name,
            total_steps=total_steps,
            chunks=1 if per_chunk else chunks,
            sync_batchnorm=synced,
        )
        objective = self.objective_class(
            **fields(self.config.objective), context=context
        )
        return separately(objective, chunks) if per_chunk else objective

    @property
    def positives(self) -> Positives:
        """What makes two records a positive pair for the method."""
        return self.objective_class(**fields(self.config.objective)).positives

    def check_records(self, split: Split) -> None:
        """Refuse training records that the method cannot learn from.

        Raises:
            InputError: The records have no positives, for example.
        """
        objective = self.objective_class(**fields(self.config.objective))
        try:
            objective.check_records(split.table["label"])
        except ValueError as error:
            raise InputError(f"config.objective: {error}") from None

    # Optimizer

    @property
    def peak_learning_rate(self) -> float:
        """Peak learning rate: `optimizer.learning_rate` is the rate for 256 records."""
        return peak_learning_rate(self.config)

    def schedule(self, epoch_steps: int, horizon: Horizon) -> schedules.Schedule:
        """Return the learning rate over a horizon."""
        section = self.config.schedule
        return schedules.make_schedule(
            name=section.name,
            peak=self.peak_learning_rate,
            horizon=horizon,
            warmup_steps=round(section.warmup_epochs * epoch_steps),
            epoch_steps=epoch_steps,
            **fields(section, "epochs", "warmup_epochs", "patience"),
        )

    def optimizer(self, schedule: schedules.Schedule) -> optax.GradientTransformation:
        """Return the optimizer with a learning rate."""
        return optimizers.make_optimizer(
            name=self.config.optimizer.name,
            schedule=schedule,
            steady=self.peak_learning_rate,
            **fields(self.config.optimizer, "learning_rate"),
        )

    # Evaluation

    def baseline(self, name: str) -> BaselineBase:
        """Return a baseline with the fields that the transform gives it."""
        return parts.find("baseline", name)(**self.transform.baselines.get(name, {}))

    @property
    def baseline_names(self) -> tuple[str, ...]:
        """Names of the baselines that suit the transform."""
        return baseline_names(self.transform)

    def metric_facts(self) -> dict[str, Mapping[str, object]]:
        """Return kind and direction of what the loop and the method log, by tag."""
        objective = self.objective_class(**fields(self.config.objective))
        return {
            **LOOP_TAGS,
            **{tag: dict(v) for tag, v in objective.metric_facts().items()},
        }


Build: TypeAlias = Callable[[Config], Experiment]


def fields(section: Mapping[str, Any], *excluded: str) -> dict[str, Any]:
    """Return a section as keyword arguments, without `name` and other exclusions."""
    plain = section.to_dict() if isinstance(section, ConfigDict) else dict(section)
    return {k: v for k, v in plain.items() if k not in ("name", *excluded)}


def peak_learning_rate(config: Config) -> float:
    """Return the peak learning rate by the linear rule, for 256 records as given."""
    return config.optimizer.learning_rate * config.train.batch_size / 256


def make_transform(config: Config) -> Any:
    """Return the transform of a config.

    Raises:
        ValueError: There is no such transform, or its fields do not fit each other.
    """
    return parts.find("transform", config.transform.name)(**fields(config.transform))


def make_evaluator(
    config: Config, name: str, context: EvaluatorContext | None = None
) -> EvaluatorBase:
    """Return the evaluator of a set; without a context to check its fields alone.

    Raises:
        ValueError: There is no such evaluator, or its fields do not fit each other.
    """
    section = config.evaluate.sets[name]
    return parts.find("evaluator", section.name)(**fields(section), context=context)


def baseline_names(transform: Any) -> tuple[str, ...]:
    """Return the names of the baselines that suit a transform."""
    return (*transform.baselines, *INITIAL_NETWORKS)


def check_part(config: Config, section: str) -> None:
    """Check the fields of a part against each other, without data.

    Args:
        config: Config whose section has known fields of the right types.
        section: "objective", "transform" or "data".

    Raises:
        ValueError: Fields do not fit each other.
    """
    values = config[section]
    if section == "data":
        check = getattr(parts.find_module("data", values.name), "check", None)
        if check is not None:
            check(**fields(values))
        return
    parts.find(section, values.name)(**fields(values))


def promised_tags(config: Config) -> list[str]:
    """Return the tags that the loop and the evaluators of a config will write."""
    tags = list(LOOP_TAGS)
    if config.evaluate.loss_batches:
        tags += loop_tags.LOSS_SIDES
    return tags + [tag for _, tag in evaluator_tags(config)]


def evaluator_tags(config: Config) -> Iterator[tuple[str, str]]:
    """Yield set and tag of everything that the evaluators of a config measure.

    Raises:
        ValueError: The fields of a set do not fit each other.
    """
    for name in config.evaluate.sets:
        for tag in make_evaluator(config, name).tags():
            yield name, f"eval/{name}/{tag}"

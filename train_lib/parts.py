"""Find the parts that a config names, and read their fields from their signatures.

A part is a file in a folder that exports one class or function. The name in the config
is the file's name; the parameters of what it exports are the fields of its section,
with their types, ranges and defaults.
"""

import dataclasses
import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from annotated_types import Interval

from field_types import nearest
from reporting.alarms.common import check as alarm_check


class Kind(NamedTuple):
    """A kind of part.

    Attributes:
        package: Folder of its files, as a module name.
        export: Name of the class or function that each file exports.
        given: Parameters that the trainer supplies and no config sets.
    """

    package: str
    export: str
    given: frozenset[str]


KINDS = {
    "model": Kind("models", "Model", frozenset({"parent", "name", "axis_name"})),
    "objective": Kind("objectives", "Objective", frozenset({"context"})),
    "data": Kind("input_pipeline.datasets", "load", frozenset({"seed", "progress"})),
    "transform": Kind("input_pipeline.transforms", "Transform", frozenset()),
    "evaluator": Kind("evaluators", "Evaluator", frozenset({"context"})),
    "baseline": Kind("evaluators.baselines", "Baseline", frozenset({"context"})),
}


class Field(NamedTuple):
    """A config field.

    Attributes:
        annotation: Its type, with ranges as `Annotated` metadata.
        default: Its default; `REQUIRED` if it has none.
    """

    annotation: Any
    default: Any


# A section of the config: an `ml_collections.ConfigDict` or a mapping.
Section: TypeAlias = Any
REQUIRED = inspect.Parameter.empty


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelExtras:
    """Fields of `config.model` that the trainer reads, whatever the network.

    Attributes:
        sync_batchnorm: Share batch statistics between devices.
        init_from: What the network starts from: workdir of a run, file of weights, or
            Hugging Face's folder with model.safetensors; "" for none.
    """

    sync_batchnorm: bool = False
    init_from: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OptimizerExtras:
    """Fields of `config.optimizer` that the trainer reads.

    Attributes:
        name: Optimizer.
        learning_rate: Peak learning rate for 256 records; scaled with the batch size.
    """

    name: Literal["adamw", "lars", "sgd"] = "adamw"
    learning_rate: Annotated[float, Interval(ge=0, le=1e4)] = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScheduleExtras:
    """Fields of `config.schedule` that the trainer reads.

    Attributes:
        name: Curve of the learning rate.
        epochs: Length of the curve; must equal `train.epochs`.
        warmup_epochs: Epochs in which the rate rises from 0.
        patience: Evaluations without improvement that "plateau" waits for; the next
            one lowers the rate, as in PyTorch's `ReduceLROnPlateau`.
    """

    name: Literal["cosine", "step", "plateau", "constant"] = "cosine"
    epochs: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    warmup_epochs: Annotated[float, Interval(ge=0, le=1e6)] = 0.0
    patience: Annotated[int, Interval(ge=0, le=10_000)] = 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Train:
    """Fields of `config.train`.

    Attributes:
        batch_size: Records a step, over all devices.
        samples_per_class: Records of a label that lie together in a batch.
        epochs: Length of the run.
        least_steps: Least number of steps: where the data is small, the run gets longer
            for it, in all that is counted in epochs. Becomes 0 where the command line
            sets `train.epochs`.
        grad_cache_chunks: Chunks in which a batch is encoded to save memory.
        negatives: "global" compares a record with the whole batch, "per_chunk" with
            its own chunk.
        log_every_steps: Steps between two lines of the log.
        checkpoint_every_epochs: Epochs between two checkpoints.
        keep_checkpoints: Newest checkpoints to keep, beside the best.
        monitor: Tag that decides which checkpoint is the best.
        monitor_mode: Whether a high or a low value is better.
        patience: Evaluations without improvement before the run ends; 0 for never.
        threads: Threads that read data.
        prefetch: Batches prepared in advance.
        price_per_hour: Price of the machine in any currency; 0 if unknown.
    """

    batch_size: Annotated[int, Interval(ge=2, le=2**22)] = 128
    samples_per_class: Annotated[int, Interval(ge=1, le=2**16)] = 1
    epochs: Annotated[float, Interval(gt=0, le=1e6)] = 10.0
    least_steps: Annotated[int, Interval(ge=0, le=10**9)] = 0
    grad_cache_chunks: Annotated[int, Interval(ge=1, le=2**16)] = 1
    negatives: Literal["global", "per_chunk"] = "global"
    log_every_steps: Annotated[int, Interval(ge=1, le=10**9)] = 10
    checkpoint_every_epochs: Annotated[float, Interval(gt=0, le=1e6)] = 1.0
    keep_checkpoints: Annotated[int, Interval(ge=1, le=10_000)] = 2
    monitor: str = ""
    monitor_mode: Literal["max", "min"] = "max"
    patience: Annotated[int, Interval(ge=0, le=10**6)] = 0
    threads: Annotated[int, Interval(ge=0, le=256)] = 1
    prefetch: Annotated[int, Interval(ge=0, le=4096)] = 4
    price_per_hour: Annotated[float, Interval(ge=0, le=1e6)] = 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluate:
    """Fields of `config.evaluate`.

    Attributes:
        every_epochs: Epochs between two evaluations; the end is always evaluated.
        batch_size: Records embedded at a time.
        loss_batches: Batches of held-out and of training records whose loss is
            compared; 0 for none.
        final_sets: Evaluators that run for baselines and at the end only.
        baselines: Embeddings without training, measured on the same queries.
        examples: Evaluator whose queries are shown with their neighbors, "" for none.
        example_queries: Number of queries shown.
        sets: Evaluators by the name of their set.
    """

    every_epochs: Annotated[float, Interval(gt=0, le=1e6)] = 1.0
    batch_size: Annotated[int, Interval(ge=1, le=2**20)] = 256
    loss_batches: Annotated[int, Interval(ge=0, le=10_000)] = 4
    final_sets: tuple[str, ...] = ()
    baselines: tuple[str, ...] = ("pixels", "untrained")
    examples: str = ""
    example_queries: Annotated[int, Interval(ge=0, le=1000)] = 12
    sets: Mapping = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Alarms:
    """Fields of `config.alarms`.

    Attributes:
        stop: Names of the alarms that end a run.
        ignore: Names of the alarms that are not raised.
    """

    stop: tuple[str, ...] = alarm_check.STOPS
    ignore: tuple[str, ...] = ()


SECTIONS = (
    "seed", "model", "objective", "data", "transform", "optimizer", "schedule", "train",
    "evaluate", "gates", "alarms",
)  # fmt: skip
FIXED = {"train": Train, "evaluate": Evaluate, "alarms": Alarms}
SEED = Field(Annotated[int, Interval(ge=0, le=2**31 - 1)], 0)


def choices(kind: str) -> list[str]:
    """Return the names that a config may use for a kind of part, sorted.

    Args:
        kind: Key of `KINDS`.
    """
    package, export, _ = KINDS[kind]
    paths = importlib.import_module(package).__path__
    return sorted(
        info.name
        for info in pkgutil.iter_modules(paths)
        if not info.ispkg and hasattr(load_module(package, info.name), export)
    )


def load_module(package: str, name: str) -> types.ModuleType:
    """Import a module of a package by its name."""
    return importlib.import_module(f"{package}.{name}")


def find_module(kind: str, name: str) -> types.ModuleType:
    """Return the module of a part.

    Raises:
        ValueError: No file of that kind has that name; lists the choices.
    """
    package, export, _ = KINDS[kind]
    paths = importlib.import_module(package).__path__
    names = {info.name for info in pkgutil.iter_modules(paths) if not info.ispkg}
    if name in names:
        module = load_module(package, name)
        if hasattr(module, export):
            return module
    names = choices(kind)
    raise ValueError(
        f"got {name!r}; choices: {', '.join(names)}{nearest(str(name), names)}"
    )


def find(kind: str, name: str) -> Callable[..., Any]:
    """Return the class or function that the file of a part exports.

    Raises:
        ValueError: No file of that kind has that name; lists the choices.
    """
    return getattr(find_module(kind, name), KINDS[kind].export)


def part_fields(kind: str, name: str) -> dict[str, Field]:
    """Return the config fields of a part, `name` and the trainer's fields included.

    Raises:
        ValueError: No file of that kind has that name.
    """
    fields = signature_fields(find(kind, name), KINDS[kind].given)
    fields["name"] = Field(str, REQUIRED)
    if kind == "model":
        fields |= signature_fields(ModelExtras)
    return fields


def section_fields(section: str, values: Section) -> dict[str, Field]:
    """Return the fields of a section of the config.

    Args:
        section: Dotted name, such as "model" or "evaluate.sets.brand".
        values: What the section holds; its `name` decides which fields there are.

    Raises:
        ValueError: The section names a part that does not exist.
    """
    if section in FIXED:
        return signature_fields(FIXED[section])
    if section == "optimizer":
        given = frozenset({"schedule", "steady", "name"})
        make = load_module("train_lib", "optimizers").make_optimizer
        return signature_fields(make, given) | signature_fields(OptimizerExtras)
    if section == "schedule":
        given = frozenset({"peak", "horizon", "warmup_steps", "epoch_steps", "name"})
        make = load_module("train_lib", "schedules").make_schedule
        return signature_fields(make, given) | signature_fields(ScheduleExtras)
    kind = "evaluator" if section.startswith("evaluate.sets.") else section
    return part_fields(kind, values.get("name", ""))


def signature_fields(
    part: Callable[..., Any], given: frozenset[str] = frozenset()
) -> dict[str, Field]:
    """Return the parameters of a dataclass, Linen module or function as fields.

    Args:
        part: Class or function.
        given: Parameters that no config sets.
    """
    hints = typing.get_type_hints(part, include_extras=True)
    fields = {}
    if dataclasses.is_dataclass(part):
        for field in dataclasses.fields(part):
            if field.name in given or not field.init:
                continue
            default = field.default
            if field.default_factory is not dataclasses.MISSING:
                default = field.default_factory()
            elif default is dataclasses.MISSING:
                default = REQUIRED
            fields[field.name] = Field(hints.get(field.name, Any), default)
        return fields
    for name, parameter in inspect.signature(part).parameters.items():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if name not in given and not variadic:
            fields[name] = Field(hints.get(name, Any), parameter.default)
    return fields


def nested_section(annotation: Any) -> type | None:
    """Return the dataclass of a field that is a section of its own, else None.

    Args:
        annotation: Type of the field: a dataclass, or a union with one.
    """
    candidates = (annotation, *typing.get_args(annotation))
    return next(
        (c for c in candidates if isinstance(c, type) and dataclasses.is_dataclass(c)),
        None,
    )


def fields_below(annotation: Any, key: str) -> dict[str, Field]:
    """Return the fields of a field that is a section, as far as they are declared.

    Args:
        annotation: Type of the field: a dataclass, or a mapping from any key to values
            of one type.
        key: Name of the field below that is asked for.
    """
    if (nested := nested_section(annotation)) is not None:
        return signature_fields(nested)
    arguments = typing.get_args(annotation)
    if typing.get_origin(annotation) is Mapping and len(arguments) == 2:
        return {key: Field(arguments[1], REQUIRED)}
    return {}

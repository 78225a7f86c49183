"""Finding every fault of a config at once, before any data is touched."""

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Literal

import jax
from ml_collections import ConfigDict

from reporting.alarms.common import check as alarm_check
from reporting.gates import validation as gate_validation
from train_lib import experiment, generalization_gap, optimizers, schedules
from train_lib.config import ConfigError, Recipe, nearest

# Keyword arguments that the builders supply and no config sets.
SUPPLIED = {
    "axis_name", "backbone", "total_steps", "chunks", "seed", "progress", "schedule",
    "steady", "peak", "horizon", "warmup_steps",
    "epoch_steps", "data", "prefix", "self", "parent",
}  # fmt: skip


@dataclasses.dataclass
class _Train:
    """Fields of `config.train`, their types and least values."""

    batch_size: int
    samples_per_class: int
    epochs: float
    grad_cache_chunks: int
    negatives: Literal["global", "per_chunk"]
    log_every_steps: int
    checkpoint_every_epochs: float
    keep_checkpoints: int
    monitor: str
    monitor_mode: Literal["max", "min"]
    patience: int
    threads: int
    prefetch: int
    price_per_hour: float


@dataclasses.dataclass
class _Evaluate:
    """Fields of `config.evaluate`."""

    every_epochs: float
    batch_size: int
    loss_batches: int
    final_sets: tuple
    baselines: tuple
    examples: str
    example_queries: int
    sets: dict


@dataclasses.dataclass
class _Alarms:
    """Fields of `config.alarms`: which alarms end a run, and which nobody asks for."""

    stop: tuple
    ignore: tuple


@dataclasses.dataclass
class _Loop:
    """What the builders themselves read, beside the fields of the part."""

    name: str = ""
    learning_rate: float = 0.0
    epochs: float = 0.0
    warmup_epochs: float = 0.0
    patience: int = 0
    sync_batchnorm: bool = False
    init_from: str = ""


SECTIONS = (
    "seed", "model", "objective", "data", "transform", "optimizer", "schedule", "train",
    "evaluate", "gates", "alarms",
)  # fmt: skip
LEAST = {
    "train.batch_size": 2,
    "train.samples_per_class": 1,
    "train.grad_cache_chunks": 1,
    "train.log_every_steps": 1,
    "train.keep_checkpoints": 1,
    "train.threads": 0,
    "train.prefetch": 0,
    "train.price_per_hour": 0,
    "evaluate.batch_size": 1,
    "evaluate.loss_batches": 0,
    "schedule.warmup_epochs": 0,
    "optimizer.weight_decay": 0,
}


def check(recipe: Recipe, devices: int) -> None:
    """Raises one error with every fault of a recipe.

    Args:
        recipe: Config, with what could not be set in it.
        devices: Devices of all processes.

    Raises:
        ConfigError: There is at least one fault.
    """
    config, faults = recipe.config, list(recipe.faults)
    missing = [name for name in SECTIONS if name not in config]
    faults += [f"config.{name} is missing; every recipe has it" for name in missing]
    faults += [
        f"unknown section config.{name}{nearest(name, SECTIONS)}"
        for name in config
        if name not in SECTIONS
    ]
    if not missing:
        faults += _section_faults(config)
        for rule in RULES:
            try:
                faults += rule(config, devices)
            except (AttributeError, KeyError, TypeError):
                # The rule tripped over a field that is reported already.
                if not faults:
                    raise
    if not faults:
        faults += _network_faults(config)
    if faults:
        raise ConfigError(faults)


def _network_faults(config: ConfigDict) -> Iterator[str]:
    """What only the network itself can say, found without computing anything."""
    try:
        experiment.objective_fields(config)
    except ValueError as error:
        yield f"config.objective: {error}"
        return
    batch = experiment.example_batch(config)
    try:
        objective = experiment.make_objective(config, 1, axis_name=None)
        jax.eval_shape(objective.init, jax.random.PRNGKey(0), batch)
    except ValueError as error:
        yield f"config.model: {str(error).splitlines()[0]}"


def _section_faults(config: ConfigDict) -> Iterator[str]:
    loop = {"train": _Train, "evaluate": _Evaluate, "alarms": _Alarms}
    for name, kind in loop.items():
        hints = typing.get_type_hints(kind)
        yield from _fields(name, config[name], hints)
        for field in hints.keys() - config[name].keys():
            yield f"config.{name}.{field} is missing"
    yield from _fields(
        "optimizer",
        config.optimizer,
        _hints(optimizers.make_optimizer) | _picked("name", "learning_rate"),
    )
    yield from _fields(
        "schedule",
        config.schedule,
        _hints(schedules.make_schedule)
        | _picked("epochs", "warmup_epochs", "patience"),
    )
    parts = {
        "model": "models",
        "objective": "objectives",
        "data": "datasets",
        "transform": "views",
    }
    for section, folder in parts.items():
        yield from _part(section, folder, config[section])
    for name, spec in config.evaluate.sets.items():
        yield from _part(f"evaluate.sets.{name}", "evaluators", spec)


def _part(where: str, folder: str, section: ConfigDict) -> Iterator[str]:
    """Faults of a section that names a file: the name, then its fields."""
    try:
        part = experiment.find(folder, section.get("name", ""))
    except ValueError as error:
        yield f"config.{where}.name: {error}"
        return
    own = ("sync_batchnorm", "init_from") if folder == "models" else ()
    hints = _hints(part) | _picked("name", *own)
    if folder in ("objectives", "evaluators"):
        hints.pop("context", None)  # what the trainer gives, not the config
    yield from _fields(where, section, hints)


def _picked(*names: str) -> dict[str, Any]:
    hints = typing.get_type_hints(_Loop)
    return {name: hints[name] for name in names}


def _hints(part: Callable) -> dict[str, Any]:
    """Fields of a part and their types: its signature is the schema."""
    is_module = dataclasses.is_dataclass(part)
    call = part if is_module or inspect.isfunction(part) else part.__init__
    hints = typing.get_type_hints(call)
    if is_module:
        names = [f.name for f in dataclasses.fields(part)]
    else:
        names = list(inspect.signature(call).parameters)
    return {
        n: hints.get(n, Any) for n in names if n not in SUPPLIED and n != "name"
    } | ({"name": hints["name"]} if "name" in hints and not is_module else {})


def _fields(where: str, section: ConfigDict, hints: dict[str, Any]) -> Iterator[str]:
    for name, value in section.items():
        if name not in hints:
            hint = nearest(name, hints) or f"; choices: {', '.join(sorted(hints))}"
            yield f"unknown field config.{where}.{name}{hint}"
        elif not _fits(value, hints[name]):
            expected = _describe(hints[name])
            yield f"config.{where}.{name}: got {value!r}; expected {expected}"
        elif isinstance(value, (int, float)) and f"{where}.{name}" in LEAST:
            least = LEAST[f"{where}.{name}"]
            if value < least:
                yield f"config.{where}.{name}: got {value}; expected at least {least}"


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or hint is inspect.Parameter.empty:
        return True
    if origin is Literal:
        return value in arguments
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, a) for a in arguments)
    if hint is type(None) or hint is None:
        return value is None
    kind = origin or hint
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (int, bool, str):
        return type(value) is kind
    if kind is tuple:
        inner = [a for a in arguments if a is not Ellipsis]
        fits = not inner or all(_fits(v, inner[0]) for v in value)
        return isinstance(value, tuple | list) and fits
    if isinstance(kind, type) and issubclass(kind, typing.Mapping):
        return isinstance(value, ConfigDict | dict)
    return True


def _describe(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return "a choice of " + ", ".join(repr(a) for a in typing.get_args(hint))
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return " or ".join(_describe(a) for a in typing.get_args(hint))
    name = getattr(hint, "__name__", str(hint))
    return "nothing" if name == "NoneType" else f"a {name}"


def _batch_faults(config: ConfigDict, devices: int) -> Iterator[str]:
    batch, chunks = config.train.batch_size, config.train.grad_cache_chunks
    if batch % (devices * chunks):
        yield (
            f"config.train.batch_size: got {batch}; expected a multiple of "
            f"{devices} devices x {chunks} chunks = {devices * chunks}"
        )
    if config.evaluate.batch_size % devices:
        yield (
            f"config.evaluate.batch_size: got {config.evaluate.batch_size}; expected a "
            f"multiple of {devices} devices"
        )


def _length_faults(config: ConfigDict, devices: int) -> Iterator[str]:
    del devices
    epochs, horizon = config.train.epochs, config.schedule.epochs
    if not epochs > 0:
        yield f"config.train.epochs: got {epochs}; expected more than 0"
    if horizon != epochs:
        yield (
            f"config.schedule.epochs: got a horizon of {horizon:g} epochs for a run of "
            f"{epochs:g}; expected the same, or the learning rate reaches its final "
            "value too early or never"
        )
    if config.schedule.warmup_epochs >= epochs > 0:
        yield (
            f"config.schedule.warmup_epochs: got {config.schedule.warmup_epochs:g}; "
            f"expected less than the run's {epochs:g} epochs"
        )


def _view_faults(config: ConfigDict, devices: int) -> Iterator[str]:
    del devices
    try:
        experiment.make_augment(config)
    except ValueError as error:
        known = experiment.choices("views")
        if config.transform.get("name") in known:  # else it is reported already
            yield f"config.transform: {error}"


def _metric_faults(config: ConfigDict, devices: int) -> Iterator[str]:
    del devices
    try:
        tags = experiment.promised_tags(config)
    except ValueError as error:
        yield f"config.evaluate.sets: {error}"
        return
    baselines = tuple(config.evaluate.baselines)
    choices = experiment.baseline_names(config)
    for name in set(baselines) - set(choices):
        known = ", ".join(choices)
        yield f"config.evaluate.baselines: got {name!r}; choices: {known}"
    if (tag := config.train.monitor) not in tags:
        yield (
            f"config.train.monitor: got {tag!r}, which nobody emits{nearest(tag, tags)}"
        )
    sets = list(config.evaluate.sets)
    if generalization_gap.SET in sets:
        yield (
            f"config.evaluate.sets.{generalization_gap.SET}: the name is taken by what "
            "evaluate.loss_batches measures; expected another"
        )
    for name in set(config.evaluate.final_sets) - set(sets):
        yield (f"config.evaluate.final_sets: got {name!r}; choices: {', '.join(sets)}")
    if tag.startswith(tuple(f"eval/{n}/" for n in config.evaluate.final_sets)):
        yield (
            f"config.train.monitor: got {tag!r}, a set of evaluate.final_sets, which "
            "is measured at the end alone; expected one that every evaluation measures"
        )
    if config.evaluate.examples not in ["", *sets]:
        yield (
            f"config.evaluate.examples: got {config.evaluate.examples!r}; choices: "
            f"{', '.join(sets)}, or '' for none"
        )
    specs = config.gates.to_dict()
    yield from (
        f"config.gates.{fault}"
        for fault in gate_validation.check(
            specs,
            tags,
            epochs=config.train.epochs,
            warmup=config.schedule.warmup_epochs,
            baselines=baselines,
        )
    )


def _alarm_faults(config: ConfigDict, devices: int) -> Iterator[str]:
    del devices
    for field in ("stop", "ignore"):
        for name in config.alarms[field]:
            if name not in alarm_check.NAMES:
                known = nearest(name, alarm_check.NAMES) or "; " + ", ".join(
                    alarm_check.NAMES
                )
                yield f"config.alarms.{field}: got {name!r}, which is no alarm{known}"


RULES = (
    _batch_faults,
    _length_faults,
    _view_faults,
    _metric_faults,
    _alarm_faults,
)

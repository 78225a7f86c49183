"""Find every fault of a config at once, before any data is touched."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

import field_types
from field_types import Config, nearest
from objectives.common.objective import Tree
from reporting import loop_tags
from reporting.alarms.common import check as alarm_check
from reporting.gates import validation as gate_validation
from train_lib import experiment, optimizers, parts
from train_lib.config import ConfigError, Recipe
from train_lib.experiment import Build, Experiment

# Name of the held-out loss, which no set of evaluators may have.
LOSS_SET = loop_tags.LOSS_GAP.split("/")[1]


class Rule(NamedTuple):
    """A check between fields.

    Attributes:
        fields: Fields or sections it reads; it is skipped if one has a fault already.
        check: `(config, devices) -> faults`.
    """

    fields: tuple[str, ...]
    check: Callable[[Config, int], Iterable[str]]


def check(recipe: Recipe, devices: int, build: Build = Experiment.from_config) -> None:
    """Raise one error with every fault of a recipe.

    Args:
        recipe: Config, with what could not be set in it.
        devices: Number of devices of all processes.
        build: Builds the parts whose network is checked.

    Raises:
        ConfigError: There is at least one fault.
    """
    if faults := find_faults(recipe, devices, build):
        raise ConfigError(faults)


def find_faults(
    recipe: Recipe, devices: int, build: Build = Experiment.from_config
) -> list[str]:
    """Return every fault of a recipe, one sentence each."""
    config = recipe.config
    faults = [
        f"config.{name} is missing; every recipe has it"
        for name in parts.SECTIONS
        if name not in config
    ]
    faults += [
        f"unknown section config.{name}{nearest(name, parts.SECTIONS)}"
        for name in config
        if name not in parts.SECTIONS
    ]
    faults += _field_faults(config)
    # What could not be set keeps its value, so that other checks can go on with it.
    for rule in RULES:
        if not any(_concerns(fault, rule.fields) for fault in faults):
            faults += rule.check(config, devices)
    if not any(
        _concerns(fault, ("model", "objective", "transform")) for fault in faults
    ):
        faults += _network_faults(build(config))
    return list(dict.fromkeys([*recipe.faults, *faults]))


def _concerns(fault: str, names: tuple[str, ...]) -> bool:
    """Return whether a fault is about one of some fields or sections.

    An unknown field matters to what reads its section as a whole.
    """
    return any(
        re.match(rf"config\.{re.escape(name)}\b", fault)
        or re.match(rf"unknown field config\.{re.escape(name)}\.", fault)
        for name in names
    )


def _field_faults(config: Config) -> Iterator[str]:
    """Yield unknown fields, wrong types and values out of range, of all sections."""
    if "seed" in config and (
        problem := field_types.fault(config.seed, parts.SEED.annotation)
    ):
        yield f"config.seed: {problem}"
    names = [name for name in parts.SECTIONS if name not in ("seed", "gates")]
    for section in names:
        if section in config:
            yield from _section_faults(section, config[section])
    sets = config.get("evaluate", {})
    sets = sets.get("sets", {}) if isinstance(sets, ConfigDict) else {}
    for name, values in sets.items() if isinstance(sets, ConfigDict) else ():
        yield from _section_faults(f"evaluate.sets.{name}", values)


def _section_faults(section: str, values: Any) -> Iterator[str]:
    if not isinstance(values, ConfigDict):
        yield f"config.{section}: got {values!r}; expected a section"
        return
    try:
        fields = parts.section_fields(section, values)
    except ValueError as error:
        yield f"config.{section}.name: {error}"
        return
    yield from _value_faults(section, values, fields)


def _value_faults(
    section: str, values: Config, fields: Mapping[str, parts.Field]
) -> Iterator[str]:
    for name in fields.keys() - values.keys():
        if fields[name].default is parts.REQUIRED:
            yield f"config.{section}.{name} is missing"
    for name, value in values.items():
        if name not in fields:
            hint = nearest(name, fields) or f"; choices: {', '.join(sorted(fields))}"
            yield f"unknown field config.{section}.{name}{hint}"
            continue
        nested = parts.nested_section(fields[name].annotation)
        if nested is not None and isinstance(value, ConfigDict):
            nested_fields = parts.signature_fields(nested)
            yield from _value_faults(f"{section}.{name}", value, nested_fields)
        elif nested is None and (
            problem := field_types.fault(value, fields[name].annotation)
        ):
            yield f"config.{section}.{name}: {problem}"


def _batch_faults(config: Config, devices: int) -> Iterator[str]:
    batch, chunks = config.train.batch_size, config.train.grad_cache_chunks
    if batch % (devices * chunks):
        yield (
            f"config.train.batch_size: got {batch}; expected a multiple of "
            f"{devices} devices x {chunks} chunks = {devices * chunks}"
        )
    if config.train.samples_per_class > batch:
        yield (
            f"config.train.samples_per_class: got {config.train.samples_per_class}; "
            f"expected at most train.batch_size = {batch}"
        )


def _evaluation_batch_faults(config: Config, devices: int) -> Iterator[str]:
    if config.evaluate.batch_size % devices:
        yield (
            f"config.evaluate.batch_size: got {config.evaluate.batch_size}; expected a "
            f"multiple of {devices} devices"
        )


def _length_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    epochs, horizon = config.train.epochs, config.schedule.epochs
    if horizon != epochs:
        yield (
            f"config.schedule.epochs: got a horizon of {horizon:g} epochs for a run of "
            f"{epochs:g}; expected the same, or the learning rate reaches its final "
            "value too early or never"
        )
    if config.schedule.warmup_epochs >= epochs:
        yield (
            f"config.schedule.warmup_epochs: got {config.schedule.warmup_epochs:g}; "
            f"expected less than the run's {epochs:g} epochs"
        )


def _optimizer_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    for field in ("no_decay", "constant"):
        for pattern in config.optimizer.get(field, ()):
            try:
                re.compile(pattern)
            except re.error as error:
                yield (
                    f"config.optimizer.{field}: got {pattern!r}; expected a regular "
                    f"expression ({error})"
                )
    if config.optimizer.name == "lars" and config.optimizer.constant:
        yield "config.optimizer.constant: got lars; expected sgd or adamw"


def _construction_faults(section: str) -> Callable[[Config, int], Iterator[str]]:
    """Return a rule that builds a part without data, to hear its own complaints."""

    def rule(config: Config, devices: int) -> Iterator[str]:
        del devices
        try:
            experiment.check_part(config, section)
        except ValueError as error:
            yield f"config.{section}: {error}"

    return rule


def _evaluator_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    for name in config.evaluate.sets:
        try:
            experiment.make_evaluator(config, name)
        except ValueError as error:
            yield f"config.evaluate.sets.{name}: {error}"


def _evaluate_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    sets = list(config.evaluate.sets)
    if LOSS_SET in sets:
        yield (
            f"config.evaluate.sets.{LOSS_SET}: the name is taken by what "
            "evaluate.loss_batches measures; expected another"
        )
    for name in set(config.evaluate.final_sets) - set(sets):
        yield f"config.evaluate.final_sets: got {name!r}; choices: {', '.join(sets)}"
    if config.evaluate.examples not in ["", *sets]:
        yield (
            f"config.evaluate.examples: got {config.evaluate.examples!r}; choices: "
            f"{', '.join(sets)}, or '' for none"
        )


def _baseline_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    choices = experiment.baseline_names(experiment.make_transform(config))
    for name in dict.fromkeys(config.evaluate.baselines):
        if name not in choices:
            yield (
                f"config.evaluate.baselines: got {name!r}; choices: "
                f"{', '.join(choices)}{nearest(name, choices)}"
            )


def _view_name_faults(config: Config, devices: int) -> Iterator[str]:
    """Yield views that an evaluator asks for and the transform does not have."""
    del devices
    names = experiment.make_transform(config).view_names
    for name, values in config.evaluate.sets.items():
        for field in ("view", "query_view", "gallery_view"):
            if (view := values.get(field, "")) and view not in names:
                yield (
                    f"config.evaluate.sets.{name}.{field}: got {view!r}; choices: "
                    f"{', '.join(names)}, or '' for records as they are"
                )


def _monitor_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    tags, tag = experiment.promised_tags(config), config.train.monitor
    if tag not in tags:
        yield (
            f"config.train.monitor: got {tag!r}, which nothing emits"
            f"{nearest(tag, tags)}"
        )
    if tag.startswith(tuple(f"eval/{n}/" for n in config.evaluate.final_sets)):
        yield (
            f"config.train.monitor: got {tag!r}, a set of evaluate.final_sets, which "
            "is measured at the end alone; expected one that every evaluation measures"
        )


def _gate_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    for fault in gate_validation.check(
        config.gates.to_dict(),
        experiment.promised_tags(config),
        epochs=config.train.epochs,
        warmup=config.schedule.warmup_epochs,
        baselines=tuple(config.evaluate.baselines),
    ):
        yield f"config.gates.{fault}"


def _alarm_faults(config: Config, devices: int) -> Iterator[str]:
    del devices
    for field in ("stop", "ignore"):
        for name in config.alarms[field]:
            if name not in alarm_check.NAMES:
                hint = nearest(name, alarm_check.NAMES)
                hint = hint or f"; choices: {', '.join(alarm_check.NAMES)}"
                yield f"config.alarms.{field}: got {name!r}, which is no alarm{hint}"


def _network_faults(built: Experiment) -> Iterator[str]:
    """Yield what only the network itself can say, found without computing anything."""
    batch = built.example_batch()
    try:
        objective = built.objective(1, axis_name=None)
        params, _ = jax.eval_shape(objective.init, jax.random.PRNGKey(0), batch)
    except (ValueError, TypeError, ZeroDivisionError) as error:
        yield f"config.model: {str(error).splitlines()[0]}"
        return
    yield from _pattern_faults(built.config.optimizer, params)


def _pattern_faults(section: Config, params: Tree) -> Iterator[str]:
    """Yield patterns of the optimizer that no parameter's name matches."""
    for field in ("no_decay", "constant"):
        for pattern in section[field]:
            try:
                matched = any(jax.tree.leaves(optimizers.named(params, (pattern,))))
            except re.error:
                continue  # _optimizer_faults says so
            if not matched:
                names = [
                    "/".join(str(key.key) for key in path)
                    for path, _ in jax.tree_util.tree_leaves_with_path(params)
                ]
                yield (
                    f"config.optimizer.{field}: got {pattern!r}, which no parameter's "
                    f"name matches; parameters are {', '.join(names[:3])}, …"
                )


_EVALUATIONS = ("evaluate.sets", "evaluate.final_sets")
RULES = (
    Rule(
        ("train.batch_size", "train.grad_cache_chunks", "train.samples_per_class"),
        _batch_faults,
    ),
    Rule(("evaluate.batch_size",), _evaluation_batch_faults),
    Rule(("train.epochs", "schedule.epochs", "schedule.warmup_epochs"), _length_faults),
    Rule(
        ("optimizer.name", "optimizer.no_decay", "optimizer.constant"),
        _optimizer_faults,
    ),
    Rule(("objective",), _construction_faults("objective")),
    Rule(("transform",), _construction_faults("transform")),
    Rule(("data",), _construction_faults("data")),
    Rule(("evaluate.sets",), _evaluator_faults),
    Rule((*_EVALUATIONS, "evaluate.examples"), _evaluate_faults),
    Rule(("evaluate.baselines", "transform"), _baseline_faults),
    Rule(("evaluate.sets", "transform"), _view_name_faults),
    Rule((*_EVALUATIONS, "train.monitor"), _monitor_faults),
    Rule(
        (*_EVALUATIONS, "train.epochs", "schedule.warmup_epochs", "gates"),
        _gate_faults,
    ),
    Rule(("alarms",), _alarm_faults),
)

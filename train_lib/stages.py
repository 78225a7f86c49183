"""Train runs that follow one another: stages, and recipes that a gate names."""

import pathlib
from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import jax
from absl import logging

from reporting.gates import decisions
from reporting.page import stages as reporting
from reporting.run_dir import RunDir
from train_lib import claim, validation
from train_lib.config import ConfigError, Recipe, flatten, load_recipe
from train_lib.experiment import Build, Experiment

# Trains one recipe in a workdir; returns the exit code.
TrainRun: TypeAlias = Callable[[Recipe, pathlib.Path, str | None, Build], int]
PASSED, FAILED = 0, 3


class _Ran(NamedTuple):
    """Exit code and folder of the last of several runs."""

    code: int
    folder: pathlib.Path


def train_recipe(
    sources: list[str],
    overrides: dict[str, str],
    workdir: pathlib.Path,
    train_run: TrainRun,
    extend: str | None = None,
    build: Build = Experiment.from_config,
) -> int:
    """Train one recipe, then what its gates name in `workdir/then-<recipe>`.

    A recipe that a missed gate leads to begins anew; one that a passed gate leads to
    begins with the network that was trained. Fields set on the command line hold there
    too, where the recipe has them.

    Args:
        sources: The recipe, alone.
        overrides: Fields to set.
        workdir: Directory of the run.
        train_run: `trainer.train`.
        extend: How the learning rate goes on in a longer run, see `trainer.train`.
        build: Builds the parts from a config.

    Returns:
        The exit code of the last run.

    Raises:
        ConfigError: A recipe is at fault.
    """
    (source,) = sources
    recipe = load_recipe(source, overrides)
    if later := _find_later_faults(recipe, overrides, build, (source,)):
        own = validation.find_faults(recipe, jax.device_count(), build)
        raise ConfigError([*own, *later])
    return _train_recipe(recipe, overrides, workdir, train_run, extend, build).code


def _train_recipe(
    recipe: Recipe,
    overrides: dict[str, str],
    folder: pathlib.Path,
    train_run: TrainRun,
    extend: str | None,
    build: Build,
) -> _Ran:
    ran = [recipe.source]
    while True:
        code = train_run(recipe, folder, extend, build)
        decision = (
            decisions.of_run(RunDir(folder)) if code in (PASSED, FAILED) else None
        )
        if decision is None or not decision.config:
            return _Ran(code, folder)
        source = decision.config
        if source in ran:
            logging.warning("%s has run already; what follows is up to you", source)
            return _Ran(code, folder)
        own_overrides = _own_overrides(source, overrides)
        if decision.passed:
            own_overrides["model.init_from"] = str(folder)
        stem = pathlib.Path(source.partition(":")[0]).stem
        folder, extend = folder / f"then-{stem}", None
        logging.info("Gate %s leads to %s, in %s", decision.gate, source, folder)
        recipe = load_recipe(source, own_overrides)
        ran.append(source)


def train(
    sources: list[str],
    overrides: dict[str, str],
    workdir: pathlib.Path,
    train_run: TrainRun,
    extend: str | None = None,
    build: Build = Experiment.from_config,
) -> int:
    """Train stage after stage in `workdir/1-<recipe>`, `workdir/2-<recipe>`, ...

    A stage that does not pass ends it: what would go on from it has no ground to stand
    on. The same command goes on where it stopped; stages that are finished stay so.

    Args:
        sources: Recipes, in order.
        overrides: Fields to set in every stage that has them; "2.train.epochs" is of
            the second alone.
        workdir: Directory of all stages, and of the report on all.
        train_run: `trainer.train`.
        extend: How the learning rate goes on in a longer run, see `trainer.train`.
        build: Builds the parts from a config.

    Returns:
        The exit code of the last stage that ran.

    Raises:
        ConfigError: A recipe is at fault, or a field is in none of them.
    """
    plans = _plans(sources, overrides)
    _check(plans, build, workdir)
    ran: list[_Ran] = []
    for i, (source, own_overrides) in enumerate(plans, 1):
        folder = _folder(workdir, i, source)
        if ran:
            own_overrides["model.init_from"] = str(ran[-1].folder)
        logging.info("Stage %d of %d: %s", i, len(plans), folder)
        recipe = load_recipe(source, own_overrides)
        ran.append(
            _train_recipe(recipe, own_overrides, folder, train_run, extend, build)
        )
        summary = reporting.write(workdir, [stage.folder for stage in ran])
        if ran[-1].code != PASSED:
            if left := sources[i:]:
                logging.info("Not begun, since this stage failed: %s", ", ".join(left))
            break
    logging.info("%s", summary["verdict"])
    logging.info("Report on all stages: %s", workdir / "report.html")
    return ran[-1].code


def _plans(
    sources: list[str], overrides: dict[str, str]
) -> list[tuple[str, dict[str, str]]]:
    """Return the recipes, each with the fields to set in it."""
    stage_fields = [set(flatten(load_recipe(source, {}).config)) for source in sources]
    own_overrides = [dict[str, str]() for _ in sources]
    for name, text in overrides.items():
        number, _, field = name.partition(".")
        if number.isdigit():
            if not 1 <= int(number) <= len(sources):
                raise ConfigError(
                    [f"config.{name}: got stage {number}; expected 1 to {len(sources)}"]
                )
            own_overrides[int(number) - 1][field] = text
            continue
        # A field that no stage has is reported by the first.
        having = [i for i, fields in enumerate(stage_fields) if name in fields] or [0]
        for i in having:
            own_overrides[i].setdefault(name, text)
    return list(zip(sources, own_overrides, strict=True))


def _check(
    stages: list[tuple[str, dict[str, str]]], build: Build, workdir: pathlib.Path
) -> None:
    """Raise one error with the faults of all stages, before the first begins.

    Raises:
        ConfigError: A config is at fault, or the folder of a stage is another run's.
    """
    faults = []
    for number, (source, overrides) in enumerate(stages, 1):
        if number > 1:
            before = _folder(workdir, number - 1, stages[number - 2][0])
            overrides = overrides | {"model.init_from": str(before)}
        recipe = load_recipe(source, overrides)
        found = validation.find_faults(recipe, jax.device_count(), build)
        if not found:
            try:
                claim.compare(recipe, _folder(workdir, number, source))
            except ConfigError as error:
                found = error.faults
        found = found or _find_later_faults(recipe, overrides, build, (source,))
        faults += [f"stage {number}, {source}: {fault}" for fault in found]
    if faults:
        raise ConfigError(faults)


def _folder(workdir: pathlib.Path, number: int, source: str) -> pathlib.Path:
    """Return the folder of a stage."""
    return workdir / f"{number}-{pathlib.Path(source.partition(':')[0]).stem}"


def _own_overrides(source: str, overrides: dict[str, str]) -> dict[str, str]:
    """Return those fields of the command line that a recipe has."""
    fields = set(flatten(load_recipe(source, {}).config))
    return {name: text for name, text in overrides.items() if name in fields}


def _find_later_faults(
    recipe: Recipe, overrides: dict[str, str], build: Build, before: tuple[str, ...]
) -> list[str]:
    """Return the faults of recipes that gates lead to, before anything is trained.

    Args:
        recipe: Recipe whose gates are asked. What is wrong with it is found elsewhere.
        overrides: Fields of the command line.
        build: Builds the parts from a config.
        before: Recipes on the way to this one, which do not follow again.
    """
    faults = []
    for gate, source in _followers(recipe):
        if source in before:
            continue
        try:
            own_overrides = _own_overrides(source, overrides)
            later = load_recipe(source, own_overrides)
            found = validation.find_faults(later, jax.device_count(), build)
            found = found or _find_later_faults(
                later, own_overrides, build, (*before, source)
            )
        except ConfigError as error:
            found = error.faults
        faults += [f"gate {gate} leads to {source}: {fault}" for fault in found]
    return faults


def _followers(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the recipes that gates may lead to, each with its gate."""
    followers = []
    for gate, fields in recipe.config.get("gates", {}).items():
        for text in (fields.get("otherwise", ""), fields.get("then", "")):
            try:
                actions = decisions.parse(text)
            except (ValueError, AttributeError):  # a fault that validation reports
                continue
            followers += [(gate, action.config) for action in actions if action.config]
    return followers

"""Check a config and its data without training: counts, faults, memory and time."""

import os
import pathlib
import statistics
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax

from input_pipeline.dataset import Data
from reporting.formatting import count, duration, number, percent
from train_lib import adaptation, parallel, preview, run_setup, train_step, validation
from train_lib.config import Recipe
from train_lib.experiment import Build, Experiment
from train_lib.schedules import Horizon

TIMED_STEPS = 3
LONGEST_STEP = 60.0  # seconds of a step that is still tried
_SLOW_FLOPS = 2e9  # a second and device, of a slow core; decides what is tried


class Forecast(NamedTuple):
    """What a step costs.

    Attributes:
        flops: Floating-point operations of a step and device.
        memory: Bytes of a step and device: state, batch, and what XLA puts aside.
        seconds: Median time of a step; None where it was not tried.
    """

    flops: float
    memory: int
    seconds: float | None


def check(
    recipe: Recipe,
    output: pathlib.Path,
    shown: int,
    build: Build = Experiment.from_config,
) -> str:
    """Return what a run on this config and data would be, and write sheets of views.

    Args:
        recipe: Config; all its faults are raised at once.
        output: Directory for `preview.png` and an image a record.
        shown: Number of records on the sheets.
        build: Builds the parts.

    Raises:
        ConfigError: The config is at fault; no data was touched.
        InputError: The data is at fault, or does not suit the config.
    """
    validation.check(recipe, jax.device_count(), build)
    experiment = build(recipe.config)
    data = experiment.load_data()
    fitted = adaptation.fit(experiment, data)
    described = run_setup.describe_data(fitted, data)
    lines = run_setup.tell_setup(fitted, described)
    lines += tell_ranges(described["ranges"])
    lines.append(preview.write_sheets(fitted.experiment, data.train, output, shown))
    forecast = forecast_step(fitted.experiment, data)
    lines += _tell_forecast(forecast, fitted.experiment.config.train, described)
    return "\n".join(lines)


def tell_ranges(ranges: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the values of each field, and what is suspicious about them.

    Args:
        ranges: Ranges by field, from `data_checks.describe`.
    """
    lines = []
    for name, values in ranges.items():
        if values["records"] == 0:
            continue
        line = (
            f"Values of {name}: {values['min']:.6g} to {values['max']:.6g} in "
            f"{count(values['records'])} training records"
        )
        suspicions = []
        if values["constant"]:
            suspicions.append(f"{percent(values['constant'])} have one value only")
        if values["not_finite"]:
            suspicions.append(f"{percent(values['not_finite'])} have values not finite")
        whole = {"uint8": 255, "uint16": 65535}.get(values["dtype"])
        if whole and values["max"] <= whole / 8:
            suspicions.append(f"no more than {values['max']:.0f} of {whole} is used")
        if suspicions:
            line += f"; suspicious: {', '.join(suspicions)}"
        lines.append(line + ".")
    return lines


def forecast_step(experiment: Experiment, data: Data) -> Forecast:
    """Compile a training step, and time it where that does not take minutes."""
    mesh = parallel.make_mesh()
    epoch_steps = experiment.steps_per_epoch(len(data.train))
    total = max(round(experiment.config.train.epochs * epoch_steps), 1)
    optimizer = experiment.optimizer(
        experiment.schedule(epoch_steps, Horizon(0, total))
    )
    step = parallel.parallel_step(
        train_step.make_train_step(
            experiment.objective(total),
            optimizer,
            experiment.transform.augment,
            parallel.AXIS,
        ),
        mesh,
    )
    init = jax.jit(
        lambda: train_step.init_state(
            experiment.objective(total, axis_name=None),
            optimizer,
            experiment.config.seed,
            experiment.example_batch(),
        )
    )
    batches = experiment.batches(data.train, experiment.config.train.batch_size)
    batch = parallel.put_batch(next(batches), mesh)
    shapes = jax.eval_shape(init)
    compiled = step.lower(shapes, batch).compile()
    memory = compiled.memory_analysis()
    costs = compiled.cost_analysis() or {}
    flops = float(costs.get("flops", 0.0))
    assert memory is not None, "XLA compiled without an analysis of memory"
    needed = (
        memory.argument_size_in_bytes
        + memory.output_size_in_bytes
        + memory.temp_size_in_bytes
        - memory.alias_size_in_bytes
    )
    seconds = None
    if flops / _SLOW_FLOPS / 4 < LONGEST_STEP:
        state, times = parallel.put_state(init(), mesh), []
        for _ in range(1 + TIMED_STEPS):
            began = time.perf_counter()
            state, metrics = compiled(state, batch)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - began)
        seconds = statistics.median(times[1:])
    return Forecast(flops, int(needed), seconds)


def _tell_forecast(
    forecast: Forecast, train: Any, described: Mapping[str, Any]
) -> list[str]:
    steps = max(round(train.epochs * described["steps_per_epoch"]), 1)
    line = (
        f"A step of {train.batch_size} records: {number(forecast.flops / 1e9)} GFLOP "
        f"and {number(forecast.memory / 2**20)} MiB a device"
    )
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    else:
        installed = (device.memory_stats() or {}).get("bytes_limit", 0)
    if 0 < installed < forecast.memory:
        line += (
            f", more than the {number(installed / 2**20)} MiB there are: lower "
            "config.train.batch_size or raise config.train.grad_cache_chunks"
        )
    ending = f"{count(steps)} steps"
    if forecast.seconds is None:
        return [f"{line}; {ending}. A step is too long here to be timed."]
    return [
        f"{line}, {number(forecast.seconds)} s here; {ending} take "
        f"{duration(steps * forecast.seconds)}, without evaluations."
    ]

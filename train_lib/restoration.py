"""Read a run from its workdir: its parts and a checkpoint."""

import pathlib
from typing import Any

import jax
from ml_collections import ConfigDict

from field_types import Config
from objectives.common.objective import Objective
from reporting import run_dir as files
from train_lib import train_step
from train_lib.checkpoints import Checkpoints, Restored
from train_lib.config_fields import merge
from train_lib.errors import InputError
from train_lib.experiment import Build, Experiment
from train_lib.schedules import Horizon


def read_run(
    workdir: str, checkpoint: str, build: Build
) -> tuple[Experiment, Objective, Restored]:
    """Return the parts, the method and a checkpoint of a run; change nothing there.

    Args:
        workdir: Workdir of the run.
        checkpoint: "latest", "best" (of the monitored metric) or a step.
        build: Builds the parts from the config of the run.

    Raises:
        InputError: No run, or no such checkpoint.
    """
    folder = pathlib.Path(workdir)
    checkpoints = Checkpoints(folder / files.CHECKPOINTS, read_only=True)
    described = files.read_config(folder).get("config")
    _, host = checkpoints.read_host() or (0, {})
    fields = merge(host.get("config"), described)
    if fields is None:
        raise InputError(
            f"got {workdir} without a {files.CONFIG}; expected the workdir of a run"
        )
    config = _tuples(ConfigDict(fields))
    experiment = build(config)
    objective = experiment.objective(1, axis_name=None)
    tx = experiment.optimizer(experiment.schedule(1, Horizon(0, 1)))
    batch = experiment.example_batch()
    shapes = jax.eval_shape(
        lambda: train_step.init_state(objective, tx, config.seed, batch)
    )
    found = checkpoints.restore(shapes, _step(checkpoints, shapes, checkpoint))
    if found is None:
        raise InputError(f"got {workdir}, which has no checkpoint yet; train first")
    return experiment, objective, found


def _tuples(config: Config) -> Config:
    """Return a config whose lists are tuples, which JSON does not have."""
    with config.ignore_type():
        for key, value in config.items():
            if isinstance(value, ConfigDict):
                _tuples(value)
            elif isinstance(value, list):
                config[key] = tuple(value)
    return config


def _step(checkpoints: Checkpoints, shapes: Any, wanted: str) -> int | None:
    steps = checkpoints.steps()
    if wanted == "latest":
        return None
    if wanted == "best" and steps:
        newest = checkpoints.restore(shapes)
        host = newest.host if newest else {}
        best = host.get("progress", host).get("best_step")
        return best if best in steps else None
    if not (wanted.isascii() and wanted.isdecimal()) or int(wanted) not in steps:
        raise InputError(
            f"got --checkpoint={wanted}; choices: latest, best, "
            f"{', '.join(map(str, steps))}"
        )
    return int(wanted)

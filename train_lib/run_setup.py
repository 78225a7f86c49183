"""Set up a run: its parts, its first state, and where it goes on."""

import pathlib
import platform
import subprocess
import time
from importlib import metadata
from typing import Any

import jax
import numpy as np
from absl import logging
from jax.sharding import Mesh

from input_pipeline import data_checks
from input_pipeline.dataset import Data
from reporting import examples as example_files
from reporting import run_dir as files
from reporting import setup
from reporting.formatting import number
from reporting.gates import decisions, judgment
from reporting.history import History
from train_lib import (
    adaptation,
    claim,
    evaluation,
    generalization_gap,
    parallel,
    schedules,
    train_step,
)
from train_lib.checkpoints import Checkpoints
from train_lib.config import ConfigError, Recipe, difference
from train_lib.experiment import Experiment, peak_learning_rate
from train_lib.progress import Progress
from train_lib.run import RestoredRun, Run
from train_lib.schedules import Horizon

PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "tensorflow-datasets", "ml-collections", "clu",
)  # fmt: skip


def write_description(recipe: Recipe, run: Run) -> None:
    """Write what a start knows of its run: config, data, environment, metric facts.

    Only once the first state is there: a start that is refused before leaves the files
    as they were.
    """
    write_config(recipe, run)
    files.write_json(run.workdir / files.DATA, run.facts)
    write_environment(run.workdir, run.mesh)
    files.write_metric_facts(run.workdir, run.experiment.metric_facts())


def describe_identity(recipe: Recipe, run: Run, segment: dict) -> dict[str, Any]:
    """Return what a checkpoint says of its run; `claim` reads it at the next start."""
    return {
        "config": files.plain(run.config),
        "requested": files.plain(recipe.config),
        "content_hash": run.facts["content_hash"],
        "segment": segment,
    }


def write_config(recipe: Recipe, run: Run) -> None:
    """Write config.json: the config as it was fitted to the data, and as requested."""
    described = {
        "config": files.plain(run.config),
        "requested": files.plain(recipe.config),
        "recipe": recipe.source,
        "difference": difference(recipe.config, recipe.default),
        "overrides": difference(recipe.config, recipe.variant),
        "learning_rate": peak_learning_rate(run.config),
    }
    files.write_config(run.workdir, described)


def write_environment(workdir: pathlib.Path, mesh: Mesh) -> None:
    """Write versions and devices."""
    device = mesh.devices.flat[0]
    described = {
        "python": platform.python_version(),
        "machine": platform.platform(),
        "device": device.device_kind,
        "platform": device.platform,
        "devices": mesh.size,
        "processes": jax.process_count(),
        "commit": _commit(),
        **{name: metadata.version(name) for name in PACKAGES},
    }
    files.write_json(workdir / files.ENVIRONMENT, described)


def _commit() -> str | None:
    """Return the commit of the checkout of this code, or None."""
    root = pathlib.Path(__file__).parents[1]
    if not (root / ".git").exists():
        return None
    command = ["git", "describe", "--always", "--dirty"]
    try:
        output = subprocess.run(
            command, cwd=root, capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return output.stdout.strip() or None


def open_run(experiment: Experiment, workdir: pathlib.Path, extend: str | None) -> Run:
    """Build all parts of a run and load its data; write nothing into the workdir.

    Raises:
        ConfigError: The run is longer or shorter than before without being told how.
        ValueError: The data is too small, or another than before.
    """
    data = experiment.load_data()
    fitted = adaptation.fit(experiment, data)
    experiment, config = fitted.experiment, fitted.experiment.config
    mesh = parallel.make_mesh()
    epoch_steps = experiment.steps_per_epoch(len(data.train))
    checkpoints = Checkpoints(
        workdir / files.CHECKPOINTS, config.train.keep_checkpoints
    )
    # Without a checkpoint it starts again, and what gates have granted is void.
    granted = 0.0
    if checkpoints.steps():
        granted = decisions.granted(files.RunDir(workdir).history)
    total = round((config.train.epochs + granted) * epoch_steps)
    if total < 1:
        raise ConfigError(
            [
                f"config.train.epochs: got {config.train.epochs:g} epochs of "
                f"{epoch_steps} steps, which is no step; expected at least "
                f"{1 / epoch_steps:.6g}"
            ]
        )
    facts = describe_data(fitted, data) | {"total_steps": total}
    claim.check_data(workdir, facts["content_hash"])
    for line in tell_setup(fitted, facts):
        logging.info("%s", line)
    horizon = find_horizon(workdir, total, extend, granted)
    schedule = experiment.schedule(epoch_steps, horizon)
    objective = experiment.objective(horizon.end)
    step = train_step.make_train_step(
        objective,
        experiment.optimizer(schedule),
        experiment.transform.augment,
        parallel.AXIS,
    )
    network_input = evaluation.network_input(experiment, mesh)
    return Run(
        experiment=experiment,
        workdir=workdir,
        data=data,
        facts=facts,
        measured_on=claim.measured_on(config, facts["content_hash"]),
        mesh=mesh,
        epoch_steps=epoch_steps,
        total_steps=total,
        granted=granted,
        gates=judgment.of_config(files.plain(config)),
        objective=objective,
        schedule=schedule,
        step=parallel.parallel_step(step, mesh),
        embed=evaluation.make_embed(experiment, objective, network_input),
        images=evaluation.make_images(experiment, network_input),
        evaluators=fitted.evaluators,
        held_out=generalization_gap.held_out_loss(experiment, data, objective, mesh),
        checkpoints=checkpoints,
        progress=Progress(horizon.start, horizon.end),
    )


def describe_data(fitted: adaptation.Fitted, data: Data) -> dict[str, Any]:
    """Return the facts of `data.json`: of the dataset, its checks, the transform."""
    experiment = fitted.experiment
    return (
        data.facts
        | data_checks.describe(data)
        | experiment.transform.facts()
        | {
            "training_records": len(data.train),
            "validation_records": len(data.validation),
            "steps_per_epoch": experiment.steps_per_epoch(len(data.train)),
            "changes": [*data.facts.get("choices", []), *fitted.changes],
        }
    )


def tell_setup(fitted: adaptation.Fitted, described: dict[str, Any]) -> list[str]:
    """Return what was found and what will be measured, a sentence each."""
    tags = [
        f"eval/{name}/{tag}"
        for name, evaluator in fitted.evaluators.items()
        for tag in evaluator.tags()
    ]
    return setup.describe_setup(described, files.plain(fitted.experiment.config), tags)


def find_horizon(
    workdir: pathlib.Path, total: int, extend: str | None, granted: float = 0.0
) -> Horizon:
    """Return the steps that the learning rate spans.

    Epochs that a gate has granted stretch the curve without being told.

    Raises:
        ConfigError: The length changed and `extend` does not say what that means.
    """
    step = max(files.checkpoint_steps(workdir), default=0)
    if not step:
        return Horizon(0, total)
    last = _last_segment(workdir)
    if last is None:
        return Horizon(0, total)
    old = Horizon(*last["horizon"])
    if last["total_steps"] == total:
        return old
    if total < step:
        raise ConfigError(
            [
                f"config.train.epochs: got a run of {total} steps in a workdir that "
                f"is at step {step}; expected more"
            ]
        )
    if extend is None and granted > last.get("granted", 0.0):
        extend = "rescale"
    if extend is None:
        raise ConfigError(
            [
                f"config.train.epochs: got a run of {total} steps in a workdir whose "
                f"learning rate ends at step {old.end}; say how it goes on: "
                "--extend=rescale (the curve stretched over the new length), "
                "--extend=continue (the old curve, then its final rate) or "
                "--extend=restart (a new warm-up and curve from here)"
            ]
        )
    return schedules.extended(extend, old, step, total)


def _last_segment(workdir: pathlib.Path) -> dict | None:
    """Return the last start; from the newest checkpoint where its line is damaged."""
    if segments := files.read_resumes(workdir):
        return segments[-1]
    _, host = Checkpoints(workdir / files.CHECKPOINTS, read_only=True).read_host() or (
        0, {}
    )  # fmt: skip
    return host.get("segment")


def random_state(run: Run) -> train_step.TrainState:
    """Return a randomly initialized state, on the host."""
    config = run.config
    batch = run.experiment.example_batch()
    # The optimizer's state depends on shapes alone, so any schedule will do.
    tx = run.experiment.optimizer(run.schedule)
    # Outside the mesh no axis has a name.
    objective = run.experiment.objective(run.total_steps, axis_name=None)
    init = jax.jit(
        lambda: train_step.init_state(objective, tx, config.seed, batch),
        # It runs once: optimizing the code takes longer than running it.
        compiler_options={"xla_backend_optimization_level": 0},
    )
    return init()


def start(run: Run, fresh: train_step.TrainState, changed: dict) -> RestoredRun:
    """Restore the newest readable checkpoint, or begin with `fresh`.

    Raises:
        InputError: There are checkpoints, none of which can be read, or the disk has no
            room for one.
    """
    config, progress = run.config, run.progress
    batches = run.experiment.batches(run.data.train, config.train.batch_size)
    restored = run.checkpoints.restore(fresh)
    horizon = Horizon(progress.horizon_start, progress.horizon_end)
    if restored is None:
        state, step, why, skipped = fresh, 0, "start", []
    else:
        batches.set_state(restored.data)
        # Checkpoints of older versions hold the progress alone.
        progress = restored.host.get("progress", restored.host)
        run.progress = Progress.from_json(progress)
        run.progress.horizon_start, run.progress.horizon_end = horizon
        state = restored.state.replace(lr_scale=np.float32(run.progress.lr_scale))
        step, skipped = restored.step, restored.skipped
        why = "extended" if "train.epochs" in changed else "resumed"
    run.checkpoints.tidy()
    if step < run.total_steps:
        run.checkpoints.check_room(state)
    segment = describe_segment(run, step, why, changed, skipped)
    return RestoredRun(parallel.put_state(state, run.mesh), batches, step, why, segment)


def describe_segment(
    run: Run, step: int, why: str, changed: dict, skipped: list[str]
) -> dict:
    """Return a line of resumes.jsonl: steps, horizon, the rate before and after."""
    past = files.read_resumes(run.workdir)
    old = Horizon(*past[-1]["horizon"]) if past and why != "start" else None
    now = Horizon(run.progress.horizon_start, run.progress.horizon_end)
    before = run.experiment.schedule(run.epoch_steps, old) if old else run.schedule
    scale = run.progress.lr_scale
    return {
        "segment": len(past),
        "why": why,
        "time": time.time(),
        "from_step": step,
        "total_steps": run.total_steps,
        "granted": run.granted,
        "horizon": list(now),
        "learning_rate_before": float(before(step)) * scale,
        "learning_rate_after": float(run.schedule(step)) * scale,
        "changed": changed,
        "unreadable_checkpoints": skipped,
    }


def clear_lost_attempt(run: Run, history: History) -> None:
    """Remove what a start from step 0 finds of attempts before it, and say so."""
    example_files.remove(run.workdir)
    last = max((event["step"] for event in history.events), default=0)
    if last:
        logging.warning(
            "An earlier attempt came to step %d and left no checkpoint: its history is "
            "void, the run starts again",
            last,
        )


def tell_start(segment: dict) -> str:
    """Return a sentence on where a run starts or goes on."""
    if segment["why"] == "start":
        return f"Starting a run of {segment['total_steps']} steps"
    before, after = segment["learning_rate_before"], segment["learning_rate_after"]
    text = (
        f"{segment['why'].capitalize()} at step {segment['from_step']} of "
        f"{segment['total_steps']}; learning rate {number(before)} before, "
        f"{number(after)} now, horizon {segment['horizon'][1]}"
    )
    if segment["unreadable_checkpoints"]:
        text += "; passed over: " + "; ".join(segment["unreadable_checkpoints"])
    return text

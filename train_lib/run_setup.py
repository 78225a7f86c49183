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
from ml_collections import ConfigDict

from input_pipeline import data_checks
from input_pipeline.dataset import Data
from reporting import run_dir as files
from reporting import setup
from reporting.formatting import number
from reporting.gates import decisions, judgment
from train_lib import (
    adaptation,
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

# What may change between two starts on a workdir: none of it alters the steps made.
FREE = (
    "train.epochs", "train.least_steps", "schedule.epochs", "train.log_every_steps",
    "train.threads",
    "train.checkpoint_every_epochs", "train.keep_checkpoints", "train.prefetch",
    "train.patience", "train.price_per_hour", "evaluate.", "gates.", "alarms.",
    "data.path", "data.cache",
)  # fmt: skip
PACKAGES = (
    "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "tensorflow-datasets", "ml-collections", "clu",
)  # fmt: skip


def compare(recipe: Recipe, workdir: pathlib.Path) -> dict[str, list]:
    """Return what changed since the workdir's last start: name -> [then, now].

    Raises:
        ConfigError: Something changed that would make it another run.
    """
    described = files.read_config(workdir)
    old = described.get("requested") or described.get("config")
    new = files.plain(recipe.config)
    changed = difference(ConfigDict(new), ConfigDict(old)) if old else {}
    wrong = {k: v for k, v in changed.items() if not k.startswith(FREE)}
    if wrong:
        raise ConfigError(
            [
                f"config.{name}: got {now!r} in a workdir started with {then!r}; "
                "expected the same, or another --workdir"
                for name, (then, now) in wrong.items()
            ]
        )
    return changed


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
    """Build all parts of a run and load its data.

    Raises:
        ConfigError: The run is longer or shorter than before without being told how.
        ValueError: The data is too small, or no checkpoint can be read.
    """
    data = experiment.load_data()
    fitted = adaptation.fit(experiment, data)
    experiment, config = fitted.experiment, fitted.experiment.config
    mesh = parallel.make_mesh()
    epoch_steps = experiment.steps_per_epoch(len(data.train))
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
    described = describe_data(fitted, data) | {"total_steps": total}
    files.write_json(workdir / files.DATA, described)
    for line in tell_setup(fitted, described):
        logging.info("%s", line)
    write_environment(workdir, mesh)
    horizon = find_horizon(workdir, total, extend, granted)
    schedule = experiment.schedule(epoch_steps, horizon)
    objective = experiment.objective(horizon.end)
    files.write_metric_facts(workdir, experiment.metric_facts())
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
        checkpoints=Checkpoints(
            workdir / files.CHECKPOINTS, config.train.keep_checkpoints
        ),
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
    segments = files.read_resumes(workdir)
    if not segments:
        return Horizon(0, total)
    last = segments[-1]
    old = Horizon(*last["horizon"])
    if last["total_steps"] == total:
        return old
    step = max(files.checkpoint_steps(workdir), default=0)
    if not step:
        return Horizon(0, total)
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
    """Restore the newest readable checkpoint, or begin with `fresh`."""
    config, progress = run.config, run.progress
    batches = run.experiment.batches(run.data.train, config.train.batch_size)
    restored = run.checkpoints.restore(fresh)
    horizon = Horizon(progress.horizon_start, progress.horizon_end)
    if restored is None:
        state, step, why, skipped = fresh, 0, "start", []
    else:
        batches.set_state(restored.data)
        run.progress = Progress.from_json(restored.host)
        run.progress.horizon_start, run.progress.horizon_end = horizon
        state = restored.state.replace(lr_scale=np.float32(run.progress.lr_scale))
        step, skipped = restored.step, restored.skipped
        why = "extended" if "train.epochs" in changed else "resumed"
    describe_segment(run, step, why, changed, skipped)
    return RestoredRun(parallel.put_state(state, run.mesh), batches, step, why)


def describe_segment(
    run: Run, step: int, why: str, changed: dict, skipped: list[str]
) -> dict:
    """Append a line to resumes.jsonl: steps, horizon, the rate before and after."""
    past = files.read_resumes(run.workdir)
    old = Horizon(*past[-1]["horizon"]) if past else None
    now = Horizon(run.progress.horizon_start, run.progress.horizon_end)
    before = run.experiment.schedule(run.epoch_steps, old) if old else run.schedule
    scale = run.progress.lr_scale
    segment = {
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
    files.append_line(run.workdir / files.RESUMES, segment)
    return segment


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

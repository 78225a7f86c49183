"""The training loop: steps, logging, evaluation, checkpoints."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from evaluators.baselines.common.baseline import Context
from evaluators.common.evaluator import Evaluation
from evaluators.common.protocols import Embed
from reporting import examples as example_files
from reporting import report
from reporting import run_dir as files
from reporting.gates import decisions
from train_lib import (
    claim,
    evaluation,
    label_audit,
    lock,
    monitoring,
    parallel,
    pretrained,
    run_setup,
    validation,
)
from train_lib.cadence import due
from train_lib.config import Recipe
from train_lib.experiment import Build, Experiment
from train_lib.run import RestoredRun, Run
from train_lib.signals import EXIT_PREEMPTED, Preempted, StopSignal
from train_lib.train_step import TrainState
from train_lib.writers import Writer

# Seconds after a signal to end an evaluation, before the process ends all the same.
PATIENCE = 5.0


def train(
    recipe: Recipe,
    workdir: pathlib.Path,
    extend: str | None = None,
    build: Build = Experiment.from_config,
) -> int:
    """Train, evaluate and report; resume if the workdir has a checkpoint.

    Args:
        recipe: Config with its faults not yet raised.
        workdir: Directory of the run.
        extend: "rescale", "continue" or "restart", where the run got longer.
        build: Builds the parts from the config, for programs with parts of their own.

    Returns:
        The exit code: 0, 3, 4 or 75.

    Raises:
        ConfigError: The config is at fault; nothing was touched.
        FormatError: The workdir belongs to another program, or to another version.
        ValueError: Data or workdir are at fault.
    """
    files.read_config(workdir)  # of another program or version, perhaps
    validation.check(recipe, jax.device_count(), build)
    pretrained.check_path(recipe.config)
    with lock.hold(workdir), StopSignal.get() as stop:
        files.remove_drafts(workdir)
        for name in (files.METRICS, files.RESUMES, files.REFUSALS):
            files.drop_damaged_lines(workdir / name)
        if stop.received:  # at the end of the stage before
            return EXIT_PREEMPTED
        stop.at_exit = functools.partial(_note_preempted, workdir)
        summary = _segment(recipe, workdir, extend, stop, build)
        while summary["finished"] and _longer(workdir) and not stop.received:
            summary = _segment(recipe, workdir, "rescale", stop, build)
        stop.at_exit = lambda: None
    logging.info("%s", summary["verdict"])
    logging.info("Report: %s", workdir / "report.html")
    return report.exit_code(summary)


def _segment(
    recipe: Recipe,
    workdir: pathlib.Path,
    extend: str | None,
    stop: StopSignal,
    build: Build,
) -> dict:
    """Run from a start to the end or a stop; return the content of the report."""
    changed = claim.compare(recipe, workdir)
    run = run_setup.open_run(build(recipe.config), workdir, extend)
    fresh = _first_state(run)
    begin = run_setup.start(run, fresh, changed)
    run.identity = run_setup.describe_identity(recipe, run, begin.segment)
    run_setup.write_description(recipe, run)
    files.append_resume(workdir, begin.segment)
    with Writer(workdir, run.total_steps, begin.step) as writer:
        writer.tell("%s", run_setup.tell_start(begin.segment))
        state = _run(run, begin, fresh, writer, stop)
        with stop.deferred("writing the report, then stopping"):
            run.checkpoints.close()
            writer.state(state, saved=max(run.checkpoints.steps(), default=None))
            return report.write(workdir)


def _note_preempted(workdir: pathlib.Path) -> None:
    """Write that a signal has ended the process outside of the loop."""
    beat = files.read_heartbeat(workdir) or {}
    saved = max(files.checkpoint_steps(workdir), default=None)
    fields = {"step": saved or 0, "total_steps": beat.get("total_steps")}
    files.write_heartbeat(workdir, "preempted", saved=saved, **fields)


def _longer(workdir: pathlib.Path) -> bool:
    """Return whether a gate of the end has granted epochs that were not run."""
    segment = files.read_resumes(workdir)[-1]
    return decisions.granted(files.RunDir(workdir).history) > segment["granted"]


def _run(
    run: Run, begin: RestoredRun, fresh: TrainState, writer: Writer, stop: StopSignal
) -> str:
    """Run baselines, loop and last evaluation; return how the run ended."""
    if begin.why == "start":
        run_setup.clear_lost_attempt(run, writer.history)
    if begin.why != "start" or writer.history.events:
        fields = {"why": begin.why, "measured_on": run.measured_on}
        writer.event("resume", begin.step, run.epoch(begin.step), {}, **fields)
    stop.patience = PATIENCE
    try:
        _measure_baselines(run, fresh, writer, stop)
        label_audit.measure(run, _start_embed(run, fresh), writer)
        if not begin.step:  # what data and labels say needs no step
            monitoring.raise_alarms(run, writer, 0)
        stop.check()
        with stop.deferred("saving when this step is done, then stopping"):
            state = _loop(run, begin, writer, stop)
            run.checkpoints.wait()
        stop.check()
        if not _has_final(run, writer, int(state.step)):
            _evaluate(run, state, writer, final=True)
        monitoring.raise_alarms(run, writer, int(state.step))
        monitoring.judge_gates(run, writer)
    except monitoring.StopTraining as end:
        writer.tell("%s", end)
        return end.state
    except Preempted as end:
        saved = max(run.checkpoints.steps(), default=None)
        stands = "nothing was saved yet" if saved is None else f"step {saved} is saved"
        writer.tell("%s: stopped; %s", end, stands)
        return "preempted"
    early = int(state.step) < run.total_steps and not _exhausted(run)
    return "stopped" if early else "finished"


def _has_final(run: Run, writer: Writer, step: int) -> bool:
    """Return whether the last evaluation is there, and its examples as it wrote them.

    Evaluations of older versions do not say on what they were made.
    """
    last = writer.history.last("eval")
    if not last or not last.get("final") or last["step"] != step:
        return False
    if last.get("measured_on", run.measured_on) != run.measured_on:
        return False
    if not run.config.evaluate.examples:
        return True
    digest = example_files.digest(run.workdir)
    return bool(digest) and last.get("examples", digest) == digest


def _exhausted(run: Run) -> bool:
    return 0 < run.config.train.patience <= run.progress.waited


def _measure_baselines(
    run: Run, fresh: TrainState, writer: Writer, stop: StopSignal
) -> None:
    """Evaluate the baselines, once a workdir and again where they would differ.

    Raises:
        Preempted: A signal came; baselines that were measured stay.
    """
    known = {event.get("baseline") for event in writer.history.of_kind("baseline")}
    missing = [name for name in run.config.evaluate.baselines if name not in known]
    if not missing:
        return
    writer.state("evaluating")
    # A network that starts from another's weights has not begun untrained.
    began = run.config.model.init_from
    untrained = run_setup.random_state(run) if began else fresh
    context = Context(
        data=run.data,
        images=run.images,
        untrained=_embed_of(run, untrained),
        start=_start_embed(run, fresh),
    )
    for name in missing:
        stop.check()
        baseline = run.experiment.baseline(name)
        evaluations = evaluation.evaluate(run.evaluators, baseline.fit(context))
        metrics = evaluation.joined_metrics(evaluations)
        shown = {"label": baseline.label, "ceiling": baseline.ceiling}
        shown["measured_on"] = run.measured_on
        writer.event("baseline", 0, 0.0, metrics, baseline=name, **shown)


def _first_state(run: Run) -> TrainState:
    """Return the state before the first step, on the host."""
    state = run_setup.random_state(run)
    params, extra = pretrained.start_from(run.experiment, state.params, state.extra)
    return dataclasses.replace(state, params=params, extra=extra)


def _start_embed(run: Run, fresh: TrainState) -> Embed:
    """Return the embed function of what the run starts from."""
    return pretrained.other_embed(run.experiment) or _embed_of(run, fresh)


def _embed_of(run: Run, state: TrainState) -> Embed:
    return run.embed(*parallel.put_state((state.params, state.extra), run.mesh))


def _loop(run: Run, begin: RestoredRun, writer: Writer, stop: StopSignal) -> TrainState:
    """Train to the end; return the last state."""
    config, total = run.config.train, run.total_steps
    evaluate_every = round(run.config.evaluate.every_epochs * run.epoch_steps)
    save_every = round(config.checkpoint_every_epochs * run.epoch_steps)
    state, step = begin.state, begin.step
    interval = monitoring.LogWindow([], time.perf_counter())
    writer.state("training", step=step, epoch=run.epoch(step))
    ended = decisions.standing(run.gates, writer.history, total)
    forecast = ""
    while step < total and not _exhausted(run) and ended is None:
        if stop.received:
            monitoring.log(run, interval, writer)
            _save(run, state, begin.batches)
            raise monitoring.StopTraining(
                "preempted", f"{stop.received} at step {step}: saved"
            )
        asked = time.perf_counter()
        batch = next(begin.batches)
        interval.waited += time.perf_counter() - asked
        if interval.pending:
            # One step ahead of the device and no more, so that waiting means waiting.
            jax.block_until_ready(interval.pending[-1][1])
        state, metrics = run.step(state, parallel.put_batch(batch, run.mesh))
        step += 1
        interval.pending.append((step, metrics))
        evaluating = due(step, evaluate_every, total, last=False)
        saving = due(step, save_every, total)
        logging_now = due(step, config.log_every_steps, total)
        if logging_now or evaluating or saving:
            monitoring.log(run, interval, writer)
            interval = monitoring.LogWindow([], time.perf_counter())
            if not forecast and step - begin.step >= monitoring.FORECAST_AFTER:
                forecast = monitoring.forecast(run, writer)
        if evaluating:
            state = _evaluate(run, state, writer)
        if logging_now or evaluating or saving:
            ended = monitoring.judge_gates(run, writer)
        if saving or evaluating or ended is not None:
            _save(run, state, begin.batches)
        if evaluating or saving:
            interval.began = time.perf_counter()
            writer.state("training")
    return state


def _evaluate(
    run: Run, state: TrainState, writer: Writer, final: bool = False
) -> TrainState:
    """Evaluate, record the best step, lower the rate on a plateau; return the state."""
    writer.state("evaluating")
    step, config, progress = int(state.step), run.config, run.progress
    embed = run.embed(state.params, state.extra)
    late = config.evaluate.final_sets
    evaluations = evaluation.evaluate(run.evaluators, embed, () if final else late)
    metrics = evaluation.joined_metrics(evaluations) | run.held_out(state)
    monitored = metrics[config.train.monitor].value
    progress.observe(monitored, step, config.train.monitor_mode)
    if _exhausted(run) and not final:
        final = True
        for name in late:
            evaluations[name] = run.evaluators[name].run(embed)
            metrics |= evaluations[name].metrics
        writer.tell(
            "%s has not improved for %d evaluations: stopping at step %d",
            config.train.monitor, progress.waited, step,
        )  # fmt: skip
    last: dict[str, Any] = {}
    if final:  # written last, so that a run with this line is complete
        last = {"final": True, "measured_on": run.measured_on}
        last["examples"] = _write_examples(run, evaluations)
    writer.event("eval", step, run.epoch(step), metrics, **last)
    monitoring.raise_alarms(run, writer, step)
    if config.schedule.name == "plateau" and progress.lower_rate(
        config.schedule.patience, config.schedule.factor
    ):
        writer.tell(
            "%s has not improved: learning rate times %.3g",
            config.train.monitor, progress.lr_scale,
        )  # fmt: skip
        scale = np.float32(progress.lr_scale)
        state = dataclasses.replace(state, lr_scale=parallel.put_state(scale, run.mesh))
    return state


def _write_examples(run: Run, evaluations: Mapping[str, Evaluation]) -> str:
    """Write the example queries, if any are wanted; return the digest of the files."""
    name = run.config.evaluate.examples
    if not name:
        return ""
    examples = evaluations[name].examples(run.config.evaluate.example_queries)
    evaluation.write_examples(run.workdir, examples, run.data, run.images)
    return example_files.digest(run.workdir)


def _save(run: Run, state: TrainState, batches: Any) -> None:
    step = int(state.step)
    run.checkpoints.save(
        step,
        jax.device_get(state),
        batches.get_state(),
        {"progress": run.progress.to_json(), **run.identity},
        run.progress.best_step,
    )

"""Runs from start to verdict: resume, extend, stop, diverge, refuse."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

import main
from reporting import run_dir as files
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from train_lib import trainer
from train_lib.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).parents[2]
STEPS = 12


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """TinyNet in place of EfficientNet, data prepared in a folder of the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        cache = tmp_path_factory.mktemp("cache")
        patch.setenv("AKIN_CACHE", str(cache))
        # Processes of their own find there what was compiled in this one.
        (cache / "xla").symlink_to(jax.config.jax_compilation_cache_dir)
        patch.setattr(main, "_prepare_jax", lambda: None)
        yield


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):
    """A run that nothing disturbed."""
    workdir = tmp_path_factory.mktemp("whole")
    assert main.main(tiny_run.arguments(workdir), build=tiny_run.build) == 0
    # One run has its figures drawn. In all others that would be half of the work.
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.setattr(run_figures, "write", lambda folder, events: {})
    yield workdir
    monkeypatch.undo()


def parameters(workdir):
    """Leaves of the newest checkpoint as saved, with its loader position."""
    folder = workdir / files.CHECKPOINTS
    step = max(files.checkpoint_steps(workdir))
    import orbax.checkpoint as ocp

    with ocp.CheckpointManager(folder) as manager:
        found = manager.restore(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(), data=ocp.args.JsonRestore()
            ),
        )
    return step, jax.tree.leaves(found.state), found.data


def assert_same_bits(a, b):
    (step_a, leaves_a, data_a), (step_b, leaves_b, data_b) = (
        parameters(a),
        parameters(b),
    )
    assert step_a == step_b
    assert data_a == data_b
    assert len(leaves_a) == len(leaves_b) > 10
    for x, y in zip(leaves_a, leaves_b, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def test_finished_run_leaves_documented_files(whole):
    for name in (
        files.CONFIG, files.METRICS, files.RESUMES, files.HEARTBEAT, files.DATA,
        files.ENVIRONMENT, files.HISTORY, files.CURVES, files.EXAMPLES,
        files.THUMBNAILS,
        "report.md", "report.html", "report.json",
    ):  # fmt: skip
        assert (whole / name).stat().st_size > 0, name
    assert list((whole / "train").glob("events*"))
    assert list((whole / "eval").glob("events*"))
    report = json.loads((whole / "report.json").read_text(encoding="utf-8"))
    assert report["finished"]
    assert report["step"] == STEPS
    brand = report["metrics"]["eval/brand/recall@1"]
    assert brand["n"] > 0
    assert 0 < brand["chance"] < 1
    assert set(brand["baselines"]) == {"pixels", "untrained"}
    assert report["gates"]["instance"]["passed"] is False
    assert not report["gates"]["instance"]["required"]


def test_running_again_changes_nothing(whole, tiny):
    before = parameters(whole)[1]
    events = len(files.read_events(whole))
    assert main.main(tiny_run.arguments(whole), build=tiny_run.build) == 0
    after = parameters(whole)[1]
    for x, y in zip(before, after, strict=True):
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))
    assert len(files.read_events(whole)) <= events + 1  # the resume line


def test_stopped_and_resumed_equals_never_stopped(whole, tmp_path, monkeypatch):
    real, calls = trainer._save, []

    def save_then_stop(run, state, batches):
        real(run, state, batches)
        calls.append(int(state.step))
        if len(calls) == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(trainer, "_save", save_then_stop)
    assert main.main(tiny_run.arguments(tmp_path), build=tiny_run.build) == 75
    beat = files.read_heartbeat(tmp_path)
    assert beat["state"] == "preempted"
    assert 0 < beat["step"] < STEPS
    monkeypatch.setattr(trainer, "_save", real)
    assert main.main(tiny_run.arguments(tmp_path), build=tiny_run.build) == 0
    assert_same_bits(whole, tmp_path)
    segments = files.read_resumes(tmp_path)
    assert [s["why"] for s in segments] == ["start", "resumed"]


def test_longer_runs_have_to_say_how_rate_goes_on(whole, tiny, tmp_path, capsys):
    import shutil

    workdir = tmp_path / "copy"
    shutil.copytree(whole, workdir)
    longer = tiny_run.arguments(workdir, train__epochs=3)
    assert main.main(longer, build=tiny_run.build) == 2
    assert "--extend=rescale" in capsys.readouterr().err
    assert main.main([*longer, "--extend=rescale"], build=tiny_run.build) == 0
    last = files.read_resumes(workdir)[-1]
    assert (last["why"], last["from_step"], last["horizon"]) == (
        "extended",
        12,
        [0, 18],
    )
    assert last["learning_rate_after"] > last["learning_rate_before"]
    assert max(files.checkpoint_steps(workdir)) == 18


def test_another_config_in_same_workdir_is_refused(whole, tiny, capsys):
    assert (
        main.main(
            tiny_run.arguments(whole, objective__temperature=0.5), build=tiny_run.build
        )
        == 2
    )
    told = capsys.readouterr().err
    assert "config.objective.temperature: got 0.5" in told
    assert "started with 0.1" in told


def test_loss_that_is_not_finite_stops_with_4_and_keeps_last_good(
    tiny, tmp_path, monkeypatch
):
    real = trainer.parallel.parallel_step

    def poisoned(step, mesh):
        compiled = real(step, mesh)

        def run(state, batch):
            fail = int(state.step) == 8
            state, metrics = compiled(state, batch)
            if fail:
                metrics = metrics | {"train/grad_norm": metrics["train/loss"] * np.nan}
            return state, metrics

        return run

    monkeypatch.setattr("train_lib.parallel.parallel_step", poisoned)
    assert main.main(tiny_run.arguments(tmp_path), build=tiny_run.build) == 4
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert any("train/grad_norm" in a["message"] for a in report["alarms"])
    assert any("at step 9" in a["message"] for a in report["alarms"])
    assert 0 < max(files.checkpoint_steps(tmp_path)) <= 8


def test_broken_newest_checkpoint_falls_back_to_same_end(whole, tmp_path, tiny):
    import shutil

    workdir = tmp_path / "copy"
    shutil.copytree(whole, workdir)
    shutil.rmtree(workdir / files.CHECKPOINTS / str(STEPS) / "state")
    assert main.main(tiny_run.arguments(workdir), build=tiny_run.build) == 0
    assert_same_bits(whole, workdir)
    last = files.read_resumes(workdir)[-1]
    assert f"step {STEPS}" in last["unreadable_checkpoints"][0]


def test_early_stopping_ends_with_verdict(tiny, tmp_path):
    fields = {"train__epochs": 8, "evaluate__every_epochs": 0.5, "train__patience": 1}
    code = main.main(tiny_run.arguments(tmp_path, **fields), build=tiny_run.build)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert code == 0
    assert report["finished"]
    assert report["step"] < 48


def test_search_finds_query_itself(whole, tiny, tmp_path, capsys):
    from PIL import Image

    pictures = tmp_path / "pictures"
    pictures.mkdir()
    rng = np.random.default_rng(0)
    for i in range(5):
        pixels = rng.integers(0, 255, (20, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(pictures / f"p{i}.png")
    out = tmp_path / "emb"
    command = [f"--workdir={whole}", f"--input={pictures}", f"--output={out}"]
    assert main.main(["embed", *command], build=tiny_run.build) == 0
    z = np.load(out / "embeddings.npy")
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1.0, rtol=1e-5)
    query = [f"--workdir={whole}", f"--query={pictures / 'p3.png'}", "--top=3"]
    capsys.readouterr()
    assert (
        main.main(
            ["search", *query, f"--gallery={out}", "--json"], build=tiny_run.build
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["results"][0]["filename"] == "p3.png"
    assert found["results"][0]["score"] == pytest.approx(1.0, abs=1e-5)
    assert main.main(["search", *query], build=tiny_run.build) == 0
    assert main.main(["status", f"--workdir={whole}"]) == 0


def test_killed_with_9_at_three_moments_and_restarted_ends_same(whole, tmp_path):
    script = [sys.executable, str(ROOT / "tests/train_lib/tiny_run.py")]
    command = script + tiny_run.arguments(tmp_path)
    for moment in ("before a save", "in a step", "in a save"):
        kill_at(moment, command, tmp_path)
        assert files.read_heartbeat(tmp_path)["state"] in files.LIVE_STATES
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_bits(whole, tmp_path)


def kill_at(moment, command, workdir):
    """Starts a run and kills it as soon as it is where `moment` says."""

    def lines():
        file = workdir / files.METRICS
        return len(file.read_bytes().splitlines()) if file.is_file() else 0

    before, give_up = lines(), time.time() + 240
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    checkpoints = workdir / files.CHECKPOINTS
    while process.poll() is None and time.time() < give_up:
        # What an earlier kill left behind is cleared away before the first line.
        began = lines() > before
        names = [p.name for p in checkpoints.glob("*")] if checkpoints.is_dir() else []
        saving = began and any("tmp" in name for name in names)
        saved = began and any(name.isdigit() for name in names)
        if {"before a save": began, "in a step": saved, "in a save": saving}[moment]:
            assert moment != "before a save" or not saved
            process.send_signal(signal.SIGKILL)
            break
        time.sleep(0.002)
    process.wait()
    assert process.returncode == -signal.SIGKILL


def test_live_workdir_is_refused_to_second_process(whole, tiny, capsys):
    import fcntl

    with open(whole / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert main.main(tiny_run.arguments(whole), build=tiny_run.build) == 2
    assert "is at work" in capsys.readouterr().err


def test_restores_best_step(whole):
    steps = Checkpoints(whole / files.CHECKPOINTS, 1).steps()
    best = max(
        (e for e in files.read_events(whole) if e["kind"] == "eval"),
        key=lambda e: e["metrics"]["eval/brand/recall@1"]["value"],
    )
    assert STEPS in steps
    assert best["step"] in steps

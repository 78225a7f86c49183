"""What a workdir remembers, who may change it, and what a start makes of damage."""

import dataclasses
import fcntl
import json
import os
import shutil
import time

import numpy as np
import pytest

import main
from reporting import files as line_files
from reporting import run_dir as files
from reporting.figures import run_figures
from tests.train_lib import tiny_run
from tests.train_lib.test_trainer import (  # noqa: F401
    STEPS,
    assert_same_bits,
    tiny,
)
from train_lib import claim, lock
from train_lib.checkpoints import Checkpoints
from train_lib.config import load_recipe
from train_lib.errors import InputError


def train(workdir, *more, build=tiny_run.build, **fields):
    return main.main([*tiny_run.arguments(workdir, **fields), *more], build=build)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory):  # noqa: F811
    """A run that nothing disturbed, without figures."""
    workdir = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_figures, "write", lambda folder, history: {})
        assert train(workdir) == 0
        yield workdir


@pytest.fixture
def copy(whole, tmp_path):
    """A copy of a finished run, to be damaged."""
    return shutil.copytree(whole, tmp_path / "copy")


def content(folder):
    """Every file below a folder: its bytes and its time."""
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def scores(workdir):
    report = json.loads((workdir / "report.json").read_text("utf-8"))
    return {
        tag: (metric["value"], metric["baselines"])
        for tag, metric in report["metrics"].items()
        if tag.startswith("eval/")
    }


def test_readers_change_nothing_and_read_past_damage(copy, whole, tmp_path, capsys):
    half = copy / files.CHECKPOINTS / "13.orbax-checkpoint-tmp"
    half.mkdir()
    (half / "x").write_text("being saved by the run that trains")
    newest = copy / files.CHECKPOINTS / str(STEPS) / "state" / "manifest.ocdbt"
    newest.write_bytes(newest.read_bytes()[:20])
    before, folder = content(copy), f"--workdir={copy}"
    out = f"--output={tmp_path / 'emb'}"
    image = copy / "figures" / "examples.png"
    for command in (
        ["search", folder, "--query=id:3"],
        ["embed", folder, f"--input={image}", out],
        ["status", folder],
        ["compare", folder, f"--with={whole}"],
    ):
        assert main.main(command, build=_build(command)) == 0, command
    assert content(copy) == before
    assert "record" in capsys.readouterr().out


def _build(command):
    return tiny_run.build if command[0] in ("search", "embed") else None


def test_run_without_its_checkpoints_begins_again_and_ends(copy, whole, capsys):
    shutil.rmtree(copy / files.CHECKPOINTS)
    lines = len((copy / files.METRICS).read_text("utf-8").splitlines())
    assert train(copy) == 0
    assert_same_bits(copy, whole)
    assert scores(copy) == scores(whole)
    history = files.RunDir(copy).history
    assert history.finished
    assert [e["step"] for e in history.of_kind("train")] == list(range(1, STEPS + 1))
    # The baselines stand: config and data are what they were.
    text = (copy / files.METRICS).read_text("utf-8")
    assert text.count('"kind": "baseline"') == 2
    assert len(text.splitlines()) > lines


def test_run_killed_after_its_final_line_gets_what_is_missing(copy, whole):
    lines = (copy / files.METRICS).read_text("utf-8").splitlines(keepends=True)
    final = next(i for i, line in enumerate(lines) if '"final": true' in line)
    kept = [line for line in lines[: final + 1] if '"kind": "alarm"' not in line]
    (copy / files.METRICS).write_text("".join(kept), "utf-8")
    (copy / files.EXAMPLES).unlink()
    assert train(copy) == 0
    assert (copy / files.EXAMPLES).read_bytes() == (whole / files.EXAMPLES).read_bytes()
    report = json.loads((whole / "report.json").read_text("utf-8"))
    standing = {alarm["name"] for alarm in report["alarms"]}
    events = files.RunDir(copy).history.of_kind("alarm")
    assert standing
    assert {event["name"] for event in events} == standing


def test_damaged_config_is_taken_from_checkpoint(copy, whole, capsys):
    config = copy / files.CONFIG
    config.write_bytes(config.read_bytes()[:400])
    assert train(copy, seed=5) == 2
    assert "config.seed: got 5 in a workdir started with 0" in capsys.readouterr().err
    # One that is still JSON is not believed either.
    described = json.loads((whole / files.CONFIG).read_text("utf-8"))
    described["requested"]["seed"] = 5
    config.write_text(json.dumps(described))
    assert train(copy, seed=5) == 2
    assert train(copy) == 0
    restored = json.loads(config.read_text("utf-8"))
    assert restored["requested"]["seed"] == 0


def test_workdir_whose_config_is_lost_everywhere_is_refused(copy):
    (copy / files.CONFIG).write_text("{")
    for step in files.checkpoint_steps(copy):
        (copy / files.CHECKPOINTS / str(step) / "host" / "metadata").write_text("{")
    with pytest.raises(InputError, match="config.json is damaged .*another --workdir"):
        claim.remember(copy)


def change_an_image(data):
    """The same number of records, one of them with other pixels."""
    fields = data.train.read(np.arange(len(data.train)))
    fields["image"] = 255 - fields["image"]
    rows = [{k: v[i] for k, v in fields.items()} for i in range(len(data.train))]
    return data._replace(train=dataclasses.replace(data.train, source=rows))


def test_other_data_is_refused_and_advice_works(copy, tmp_path, capsys):
    described = (copy / files.DATA).read_bytes()
    other = tiny_run.build_with_data(change_an_image)
    assert train(copy, build=other) == 2
    told = capsys.readouterr().err
    assert "content hash" in told
    assert f"--config.model.init_from={copy}" in told
    assert (copy / files.DATA).read_bytes() == described
    fields = {"train__epochs": 0.2, "schedule__warmup_epochs": 0}
    advice = f"--config.model.init_from={copy}"
    assert train(tmp_path / "new", advice, build=other, **fields) == 0
    assert train(copy) == 0  # and with the data as it was


def test_refused_start_claims_nothing(tmp_path, capsys):
    workdir = tmp_path / "run"
    assert train(workdir, "--config.model.init_from=runs/typo") == 2
    assert "config.model.init_from: got 'runs/typo'" in capsys.readouterr().err
    assert not (workdir / files.CONFIG).exists()
    report = json.loads((workdir / "report.json").read_text("utf-8"))
    assert report["exit_code"] == 2
    assert len(files.read_refusals(workdir)) == 1
    assert claim.remember(workdir) is None


def test_run_that_crashed_before_checkpoint_claims_nothing(tmp_path):
    files.write_config(tmp_path, {"config": {"seed": 1}})
    files.append_event(tmp_path, "train", step=3, epoch=0.5, metrics={"train/loss": 1})
    recipe = load_recipe(str(tiny_run.ROOT / "configs/moco_effnet.py"), {"seed": "2"})
    assert claim.compare(recipe, tmp_path) == {}


@pytest.mark.parametrize("content", ["bert", "list"])
@pytest.mark.parametrize("command", ["report", "status", "search", "compare", "train"])
def test_config_that_is_not_of_run_is_named(tmp_path, capsys, content, command):
    described = {"bert": {"model_type": "bert", "hidden_size": 4}, "list": [1]}
    (tmp_path / "config.json").write_text(json.dumps(described[content]))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    more = {
        "search": ["--query=id:1"],
        "compare": [f"--with={tmp_path}"],
        "train": ["--config=configs/moco_effnet.py:smoke"],
    }
    words = [command, f"--workdir={tmp_path}", *more.get(command, [])]
    os.chdir(tiny_run.ROOT)
    assert main.main(words, build=_build([command])) == 2
    told = capsys.readouterr().err
    assert "config.json is not of a run" in told
    assert content == "list" or "transformers, 'bert'" in told
    names = {path.name for path in tmp_path.iterdir()} - {".lock"}
    assert names == {"config.json", "model.safetensors"}


def beat(workdir, age, state="training", host="elsewhere"):
    value = {"pid": 1, "host": host, "time": time.time() - age, "state": state}
    files.write_json(workdir / files.HEARTBEAT, value)


def test_clock_that_is_ahead_does_not_lock_workdir(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(lock, "WATCH_SECONDS", 0)
    beat(tmp_path, age=-86400)
    with lock.hold(tmp_path):
        assert "ahead" in caplog.text
    for age in (-30, 30):
        beat(tmp_path, age=age)
        with pytest.raises(lock.WorkdirBusy, match="30 s ago by its clock"):
            lock.hold(tmp_path).__enter__()
    # Ahead, and it goes on: it is at work.
    beat(tmp_path, age=-86400)
    monkeypatch.setattr(time, "sleep", lambda _: beat(tmp_path, age=-86500))
    with pytest.raises(lock.WorkdirBusy):
        lock.hold(tmp_path).__enter__()


def test_only_start_tidies_what_kills_have_left(tmp_path):
    mine = tmp_path / f".report.html.{os.getpid()}.tmp"
    dead = tmp_path / ".report.html.999999999.tmp"
    for path in (mine, dead):
        path.write_text("half")
    line_files.remove_drafts(tmp_path)
    assert mine.exists()
    assert not dead.exists()


def test_refusal_leaves_workdir_alone_in_which_another_process_trains(copy, capsys):
    before = content(copy)
    with open(copy / ".lock", "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert train(copy, "--config.train.bogus=1") == 2
    assert "no report" in capsys.readouterr().err
    assert content(copy) == before


def test_checkpoint_whose_numbers_changed_is_not_believed(copy):
    checkpoints = Checkpoints(copy / files.CHECKPOINTS, read_only=True)
    step, host = checkpoints.read_host()
    assert (step, host["requested"]["seed"]) == (STEPS, 0)
    path = copy / files.CHECKPOINTS / str(step) / "host" / "metadata"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 3'))
    assert checkpoints.read_host()[0] < STEPS

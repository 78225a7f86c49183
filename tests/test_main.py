"""The command line: what it understands, and what it says when it does not."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

import main
from tests.reporting import fake

ROOT = pathlib.Path(__file__).parents[1]


def test_no_subcommand_means_train():
    arguments, overrides = main.parse(
        ["--config=a.py", "--workdir=w", "--config.train.epochs=5", "--noconfig.x.y"]
    )
    assert (arguments.command, arguments.config, arguments.workdir) == (
        "train", ["a.py"], "w",
    )  # fmt: skip
    assert overrides == {"train.epochs": "5", "x.y": "False"}


def test_configs_given_twice_are_stages_in_order():
    arguments, _ = main.parse(["--config=a.py", "--config=b.py:x", "--workdir=w"])
    assert arguments.config == ["a.py", "b.py:x"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--config=a.py", "--workdir=w", "train.epochs=5"], "--config.train.epochs=5"),
        (["--config=a.py"], "--workdir"),
        (["status", "--workdir=w", "--config.seed=1"], "reads the config"),
        (["--config=a.py", "--workdir=w", "--extend=more"], "rescale"),
        (["search", "--workdir=w"], "--query"),
        (["serach", "--workdir=w"], "did you mean 'search'"),
        (["search", "--workdir=w", "--query=q", "--top=-1"], "expected a number from"),
        (["search", "--workdir=w", "--query=q", "--top=0"], "expected a number from 1"),
        (["search", "--workdir=w", "--query=q", "--top=²"], "expected a number from 1"),
        (["search", "--workdir=w", "--query=q", "--checkpoint=²"], "latest, best, a"),
        (["preview", "--config=a.py", "--output=o", "--count=0"], "number from 1"),
        (["status", "--workdir=gs://bucket/run"], "a path on this machine"),
        (["--config=a.py", "--workdir=w", "--config.data.path=s3://b/x"], "s3://b/x"),
    ],
)
def test_wrong_arguments_exit_with_2_and_say_what_is_right(argv, told, capsys):
    with pytest.raises(SystemExit) as ended:
        main.main(argv)
    assert ended.value.code == 2
    assert told in capsys.readouterr().err


def test_config_with_five_faults_lists_them_and_exits_with_2(tmp_path):
    began = time.perf_counter()
    done = subprocess.run(
        [
            sys.executable,
            "main.py",
            "--config=configs/moco_effnet.py",
            f"--workdir={tmp_path / 'run'}",
            "--config.train.batchsize=64",
            "--config.optimizer.learning_rate=fast",
            "--config.train.batch_size=33",
            "--config.train.grad_cache_chunks=2",
            "--config.schedule.epochs=100",
            "--config.train.monitor=eval/brand/recal@1",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert "5 faults" in done.stderr
    assert "Traceback" not in done.stderr
    # Nothing was started, and the report says why.
    found = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert found["outcome"] == "REFUSED"
    assert found["exit_code"] == 2
    assert len(found["refusals"][0]["faults"]) == 5
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
    assert time.perf_counter() - began < 60


@pytest.mark.parametrize("command", ["status", "report"])
def test_workdir_that_does_not_exist_is_input_error(command, tmp_path, capsys):
    assert main.main([command, f"--workdir={tmp_path / 'none'}"]) == 2
    assert "no directory" in capsys.readouterr().err


def test_output_that_cannot_be_written_is_input_error(tmp_path, capsys):
    one, two = (fake.make(tmp_path / name) for name in "ab")
    command = ["compare", f"--workdir={one}", f"--with={two}", "--output=/dev/null/y"]
    assert main.main(command) == 2
    assert "Not a directory" in capsys.readouterr().err

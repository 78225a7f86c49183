"""Runs are set up from their config and data."""

import re

import main
from tests.train_lib import tiny_run


def test_run_of_no_step_is_refused_with_the_least_number_of_epochs(tmp_path, capsys):
    words = tiny_run.arguments(
        tmp_path / "run", train__epochs=0.001, schedule__warmup_epochs=0
    )
    assert main.main(words, tiny_run.build) == main.EXIT_INPUT
    error = capsys.readouterr().err
    epochs, steps, least = re.search(
        r"config\.train\.epochs: got (\S+) epochs of (\d+) steps, which is no step; "
        r"expected at least (\S+)",
        error,
    ).groups()
    assert float(epochs) == 0.001
    assert round(float(least) * int(steps)) == 1

"""A few of the storms of `benchmarks.storm`, in a process of its own."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[1]
FEW = ("--kills=3", "--damages=4", "--signals=0", "--full=0", "--read-only=0",
       "--reads=1")  # fmt: skip


def test_disturbed_runs_find_what_undisturbed_runs_find():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.storm", *FEW, "--seed=1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-3000:]
    rows = re.findall(r"^(kill|damage|read) +(\d+) +0 +0 +0$", done.stdout, re.M)
    tried = {kind: int(count) for kind, count in rows}
    assert tried["kill"] == 3
    assert tried["damage"] == 4
    assert tried["read"] >= 1

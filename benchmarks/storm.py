"""Disturb runs in every way that happens, and compare what they find.

    python -m benchmarks.storm [--kills=63] [--damages=104] [--seed=0]

Kills runs at random moments (preparing, in steps, while saving, evaluating, reporting);
sends them signals, alone and as a group; fills their disk, where mounting is allowed;
takes away the right to write; damages each file of a workdir and of the prepared data;
reads a run while it trains. After each, the same command runs to its end, and the last
state, scores, baselines and gates are compared bit for bit with an undisturbed run.
After damage, what single steps logged is not compared: a damaged line is lost, and said
to be. Compiled programs are left alone: they are jax's.

Prints for each kind how many were tried, how many runs had different figures or were
lost, and how many commands printed a traceback. Exit code 1 unless all but the first
are zero. Runs of a few steps on logos that it draws itself, with a network of one
convolution; two at a time.
"""

import argparse
import functools
import json
import os
import pathlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks.common import storms, tiny_runs

WORKERS = 2
COUNTS = ("tried", "different", "lost", "traceback")
Storm = Callable[[], storms.Outcome]


def list_storms(calm: storms.Calm, arguments: argparse.Namespace) -> list[Storm]:
    """Return all storms but those that read, in an order that mixes them."""
    chains = -(-arguments.kills // storms.KILLS_A_CHAIN)
    rounds = -(-arguments.signals // len(storms.SIGNALS))
    kinds: list[tuple[str, int, Callable]] = [
        ("kill", chains, storms.kill),
        ("damage", arguments.damages, storms.damage),
        ("signal", rounds, storms.ask_to_end),
        ("full", arguments.full, storms.fill_disk),
        ("read-only", arguments.read_only, storms.read_only),
    ]
    todo: list[Storm] = []
    for kind, count, function in kinds:
        for i in range(count):
            rng = random.Random(f"{arguments.seed} {kind} {i}")
            given = (calm, rng, f"{kind}-{i}", i)
            todo.append(functools.partial(function, *given))
    random.Random(arguments.seed).shuffle(todo)
    return todo


def work(
    calm: storms.Calm, arguments: argparse.Namespace, worker: int, output: pathlib.Path
) -> None:
    """Go through this worker's share of the storms; write a line on each."""
    with open(output, "a", encoding="utf-8") as file:

        def note(outcome: storms.Outcome) -> None:
            file.write(json.dumps(outcome) + "\n")
            file.flush()

        for storm in list_storms(calm, arguments)[worker::WORKERS]:
            note(storm())
        reads, left = 0, arguments.reads / WORKERS
        while reads < left:
            rng = random.Random(f"{arguments.seed} read {worker} {reads}")
            name = f"read-{worker}-{reads}"
            outcome = storms.read_while_training(calm, rng, name)
            reads += outcome.tried
            note(outcome)


def summarize(outcomes: list[storms.Outcome]) -> int:
    """Print a table of all kinds; return the exit code."""
    print(f"{'':<10}" + "".join(f"{name:>11}" for name in COUNTS))
    wrong = 0
    for kind in dict.fromkeys(outcome.kind for outcome in outcomes):
        same = [outcome for outcome in outcomes if outcome.kind == kind]
        sums = [sum(getattr(outcome, name) for outcome in same) for name in COUNTS]
        wrong += sum(sums[1:])
        skipped = " (skipped: mount is not allowed here)" if not sums[0] else ""
        print(f"{kind:<10}" + "".join(f"{value:>11}" for value in sums) + skipped)
    return int(wrong > 0)


def main(argv: list[str]) -> int:
    """Run all storms; return 1 if anything was different, lost or a traceback."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=63)
    parser.add_argument("--damages", type=int, default=104)
    parser.add_argument("--signals", type=int, default=16)
    parser.add_argument("--full", type=int, default=12, help="full disks")
    parser.add_argument("--read-only", type=int, default=1)
    parser.add_argument("--reads", type=int, default=200, help="while it trains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", default="", help="folder that keeps what failed")
    arguments = parser.parse_args(argv)
    began = time.monotonic()
    tiny_runs.prepare()
    folder = pathlib.Path(arguments.keep or tempfile.mkdtemp(prefix="storm-"))
    folder.mkdir(parents=True, exist_ok=True)
    calm = storms.make_calm(folder)
    print(f"an undisturbed run takes {calm.seconds:.1f} s", flush=True)
    output = folder / "outcomes.jsonl"
    workers = []
    for worker in range(WORKERS):
        pid = os.fork()
        if not pid:
            code = 1
            try:
                work(calm, arguments, worker, output)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        workers.append(pid)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in workers]
    lines = output.read_text("utf-8").splitlines() if output.exists() else []
    outcomes = [storms.Outcome(*json.loads(line)) for line in lines]
    for note in (note for outcome in outcomes for note in outcome.notes):
        print(note)
    code = summarize(outcomes) or int(any(codes))
    print(f"{time.monotonic() - began:.0f} s, seed {arguments.seed}")
    if not arguments.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

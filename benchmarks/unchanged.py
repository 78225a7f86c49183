"""Compare the metrics of short runs before and after a change, to the last bit.

    python -m benchmarks.unchanged record --checkout=BEFORE --output=before.json
    python -m benchmarks.unchanged record --output=after.json
    python -m benchmarks.unchanged compare before.json after.json

`record` trains the smoke variant of every recipe and the first 100 steps of the default
recipe in a checkout, with the current interpreter, and keeps all logged metrics but
timings. `compare` exits with 1 if any value differs in any bit. Both recordings must
come from one machine and one environment.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFAULT, STEPS = "moco_effnet", 100
# Parts of tags that older checkouts spell differently; the longest come first.
RENAMES = {
    "train/loss_floor": "train/loss_lower_bound",
    "train/target_momentum": "train/ema_momentum",
    "eval/loss/held_back": "eval/loss/held_out",
    "twins": "near_duplicates",
    "floor": "baseline",
}
FIELDS = {"value", "n", "chance", "low", "high"}
RUNS = {
    f"{recipe}:smoke": [f"--config=configs/{recipe}.py:smoke"]
    for recipe in (
        "moco_effnet",
        "triplet_mri",
        "simsiam_resnet",
        "fastap_resnet",
        "infonce_mamba",
    )
}


def main() -> int:
    """Run a command; return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record")
    record.add_argument("--checkout", default=str(ROOT))
    record.add_argument("--output", required=True)
    record.add_argument(
        "--run", action="append", default=[], help="NAME=ARGUMENTS of another run"
    )
    compare = commands.add_parser("compare")
    compare.add_argument("before")
    compare.add_argument("after")
    compare.add_argument("--tags", default="", help="JSON of old to new parts of tags")
    arguments = parser.parse_args()
    if arguments.command == "record":
        return _record(arguments)
    return _compare(arguments)


def _record(arguments: argparse.Namespace) -> int:
    runs = dict(RUNS)
    for spec in arguments.run:
        name, _, words = spec.partition("=")
        runs[name] = words.split()
    recorded = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, words in runs.items():
            workdir = pathlib.Path(folder) / name.replace(":", "-").replace(",", "-")
            code = _train(arguments.checkout, words, workdir)
            recorded[name] = {"exit_code": code, "events": _events(workdir)}
            print(name, code, len(recorded[name]["events"]), flush=True)
        workdir = pathlib.Path(folder) / "first-steps"
        _train_first_steps(arguments.checkout, workdir)
        events = [e for e in _events(workdir) if e["step"] <= STEPS]
        recorded[f"{DEFAULT}, first {STEPS} steps"] = {"events": events}
    pathlib.Path(arguments.output).write_text(json.dumps(recorded, indent=1))
    return 0


def _command(words: list[str], workdir: pathlib.Path) -> list[str]:
    return [sys.executable, "main.py", *words, f"--workdir={workdir}"]


def _train(checkout: str, words: list[str], workdir: pathlib.Path) -> int:
    with open(f"{workdir}.log", "w") as log:
        done = subprocess.run(
            _command(words, workdir), cwd=checkout, stdout=log, stderr=log, check=False
        )
    if done.returncode:
        print(pathlib.Path(f"{workdir}.log").read_text()[-2000:])
    return done.returncode


def _train_first_steps(checkout: str, workdir: pathlib.Path) -> None:
    words = [f"--config=configs/{DEFAULT}.py", "--config.train.log_every_steps=1"]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        _command(words, workdir),
        cwd=checkout,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            time.sleep(1)
            if any(e["step"] > STEPS for e in _events(workdir)):
                process.send_signal(signal.SIGKILL)


def _events(workdir: pathlib.Path) -> list[dict]:
    path = workdir / "metrics.jsonl"
    if not path.is_file():
        return []
    lines = path.read_text().splitlines(keepends=True)
    events = [json.loads(line) for line in lines if line.endswith("\n")]
    return [
        {
            "kind": event["kind"],
            "step": event["step"],
            "metrics": {
                tag: value
                for tag, value in event["metrics"].items()
                if not tag.startswith("perf/")
            },
        }
        for event in events
        if event["kind"] in ("train", "eval", "floor", "baseline")
    ]


def _compare(arguments: argparse.Namespace) -> int:
    before, after = (
        json.loads(pathlib.Path(path).read_text())
        for path in (arguments.before, arguments.after)
    )
    renames = dict(RENAMES)
    if arguments.tags:
        more = json.loads(pathlib.Path(arguments.tags).read_text())
        renames = more | renames
    differing, values = [], 0
    for name in sorted(before.keys() | after.keys()):
        sides = [_flat(side.get(name), renames) for side in (before, after)]
        values += len(sides[0])
        for key in sorted(sides[0].keys() | sides[1].keys(), key=str):
            if sides[0].get(key) != sides[1].get(key):
                differing.append((name, key, sides[0].get(key), sides[1].get(key)))
    for row in differing[:40]:
        print("differs:", *row)
    print(f"{values} values compared, {len(differing)} differ")
    return 1 if differing or not values else 0


def _flat(run: dict | None, renames: dict[str, str]) -> dict[tuple, str]:
    """Return every number of a run under its place, tags by their new names."""
    flat: dict[tuple, str] = {}
    counts: dict[tuple, int] = {}
    for event in (run or {"events": []})["events"]:
        kind = renames.get(event["kind"], event["kind"])
        nth = counts[kind, event["step"]] = counts.get((kind, event["step"]), -1) + 1
        for tag, value in event["metrics"].items():
            for old, new in renames.items():
                tag = tag.replace(old, new)
            fields = value if isinstance(value, dict) else {"value": value}
            for field in FIELDS & fields.keys():
                number = fields[field]
                if isinstance(number, int | float):
                    place = (kind, event["step"], nth, tag, field)
                    flat[place] = float(number).hex()
    return flat


if __name__ == "__main__":
    sys.exit(main())

"""What can happen to a run: kills, signals, full disks, damage; and what follows."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from benchmarks.common import tiny_runs
from benchmarks.common.tiny_runs import Done, Place

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
PREEMPTED, INPUT = 75, 2
DAMAGES = ("truncate", "flip", "delete", "garbage")
KILLS_A_CHAIN = 3


class Outcome(NamedTuple):
    """What one storm led to; a word on each thing that should not have been.

    Attributes:
        kind: Kind of the storm.
        tried: Number of disturbances.
        different: Runs whose figures differ from those of an undisturbed run.
        lost: Runs that the same command did not finish, or answered wrongly.
        traceback: Commands that printed a traceback.
        notes: What happened, for the terminal.
    """

    kind: str
    tried: int
    different: int = 0
    lost: int = 0
    traceback: int = 0
    notes: tuple[str, ...] = ()


class Calm(NamedTuple):
    """An undisturbed run, and the same run stopped half way, to compare with.

    Attributes:
        folder: Where storms make their folders.
        finished: The run at its end.
        stopped: The run half way.
        seconds: What it takes from an empty cache.
        figures: What it found.
        lasting: The same without what single steps logged.
    """

    folder: pathlib.Path
    finished: Place
    stopped: Place
    seconds: float
    figures: dict[str, Any]
    lasting: dict[str, Any]

    def make_place(self, name: str) -> Place:
        """Return empty folders for a run."""
        return tiny_runs.make_place(self.folder / name)


def make_calm(folder: pathlib.Path) -> Calm:
    """Make the undisturbed run; where nothing is compiled yet, one before it.

    Raises:
        RuntimeError: It fails.
    """
    finished, seconds = None, 0.0
    names = ("calm",) if tiny_runs.is_compiled() else ("compiling", "calm")
    for name in names:
        finished = tiny_runs.make_place(folder / name)
        began = time.monotonic()
        done = tiny_runs.run(finished, tiny_runs.training(finished))
        seconds = time.monotonic() - began
        if done.code:
            raise RuntimeError(f"an undisturbed run ends with {done.code}:\n{done.log}")
    assert finished is not None
    stopped = tiny_runs.make_place(folder / "stopped")
    pid = tiny_runs.start(stopped, tiny_runs.training(stopped))
    checkpoints = stopped.workdir / "checkpoints"
    while not (checkpoints / "4").is_dir():
        time.sleep(0.001)
    os.kill(pid, signal.SIGTERM)
    done = tiny_runs.finish(stopped, pid)
    if done.code not in (PREEMPTED, 0):
        raise RuntimeError(f"a stopped run ends with {done.code}:\n{done.log}")
    both = [tiny_runs.read_figures(finished, steps) for steps in (True, False)]
    return Calm(folder, finished, stopped, seconds, *both)


def judge(calm: Calm, place: Place, done: Done, with_training: bool = True) -> dict:
    """Return `different`, `lost`, `traceback` and `notes` of a run at its end."""
    counts: dict[str, Any] = {"traceback": int(done.traceback)}
    if done.traceback:
        told = done.log[done.log.index("Traceback") :]
        return counts | {"notes": (f"{place.workdir}: {told[:3000]}",)}
    if done.code:
        note = f"{place.workdir}: exit {done.code}: {done.log[-600:]}"
        return counts | {"lost": 1, "notes": (note,)}
    found = tiny_runs.read_figures(place, with_training)
    expected = calm.figures if with_training else calm.lasting
    differ = [k for k in expected if found.get(k) != expected[k]]
    if differ:
        pairs = "; ".join(f"{k}: {found.get(k)} != {expected[k]}" for k in differ)
        return counts | {"different": 1, "notes": (f"{place.workdir}: {pairs}",)}
    shutil.rmtree(place.workdir.parent)
    return counts


def kill(calm: Calm, rng: random.Random, name: str, index: int = 0) -> Outcome:
    """Kill a run at three random moments, from the first on, then run it to its end."""
    del index
    place = calm.make_place(name)
    command = tiny_runs.training(place)
    for _ in range(KILLS_A_CHAIN):
        moment = rng.uniform(0, calm.seconds)
        tiny_runs.interrupt(place, command, moment, signal.SIGKILL, group=True)
    done = tiny_runs.run(place, command)
    return Outcome("kill", KILLS_A_CHAIN, **judge(calm, place, done))


def ask_to_end(calm: Calm, rng: random.Random, name: str, index: int = 0) -> Outcome:
    """Send a run each signal that asks it to end, then run it to its end."""
    del index
    place = calm.make_place(name)
    command, notes, tracebacks, wrong = tiny_runs.training(place), [], 0, 0
    for number in SIGNALS:
        moment, group = rng.uniform(0, 0.7 * calm.seconds), rng.random() < 0.5
        done = tiny_runs.interrupt(place, command, moment, number, group)
        tracebacks += done.traceback
        if done.code not in (0, PREEMPTED):
            # Before the handlers are there, in the first milliseconds of a fork.
            if done.code == -number and moment < 0.2:
                continue
            wrong += 1
            notes.append(f"{number.name} after {moment:.2f} s: exit {done.code}")
    judged = judge(calm, place, tiny_runs.run(place, command))
    judged["traceback"] += tracebacks
    judged["lost"] = judged.get("lost", 0) + wrong
    judged["notes"] = (*notes, *judged.get("notes", ()))
    return Outcome("signal", len(SIGNALS), **judged)


def damage(calm: Calm, rng: random.Random, name: str, index: int) -> Outcome:
    """Damage one file of a run, finished or half way, or of its cache; run it again."""
    source = (calm.finished, calm.stopped)[index % 2]
    place = tiny_runs.copy_place(source, calm.folder / name)
    files = sorted(damageable(place))
    # Each file has its turn; which way it is damaged changes from turn to turn.
    turn, position = divmod(index // 2, len(files))
    kind = DAMAGES[(turn + position + index % 2) % len(DAMAGES)]
    path = files[position]
    spoil(path, kind, rng)
    done = tiny_runs.run(place, tiny_runs.training(place))
    judged = judge(calm, place, done, with_training=False)
    shown = path.relative_to(place.workdir.parent)
    if judged.get("notes"):
        judged["notes"] = (f"{kind} {shown}", *judged["notes"])
    return Outcome("damage", 1, **judged)


def damageable(place: Place) -> Iterator[pathlib.Path]:
    """Yield every file of a run and of its cache but locks and compiled programs."""
    for folder in (place.workdir, place.cache):
        for path in folder.rglob("*"):
            inside = path.relative_to(folder).parts
            if path.is_file() and inside[0] != "xla" and path.suffix != ".lock":
                if path.name != ".lock":
                    yield path


def spoil(path: pathlib.Path, kind: str, rng: random.Random) -> None:
    """Damage a file: "truncate", "flip" a bit, "delete", or write "garbage"."""
    content = bytearray(path.read_bytes())
    if kind == "delete":
        path.unlink()
    elif kind == "truncate":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "flip" and content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)
    else:
        path.write_bytes(rng.randbytes(max(len(content), 16)))


def mount(folder: pathlib.Path, size: str) -> bool:
    """Mount a small file system in memory; return whether that is allowed here."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def remount(folder: pathlib.Path, options: str) -> None:
    """Change the options of a file system."""
    command = ["mount", "-o", f"remount,{options}", str(folder)]
    subprocess.run(command, capture_output=True, check=True)


def unmount(folder: pathlib.Path) -> None:
    """Unmount a file system."""
    subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)


def fill_disk(calm: Calm, rng: random.Random, name: str, index: int = 0) -> Outcome:
    """Run on a disk that is too small, of the workdir or of the cache; enlarge it."""
    del index
    place = calm.make_place(name)
    small = rng.choice((place.workdir, place.cache / "logos"))
    most = 2_500 if small == place.workdir else 60
    if not mount(small, f"{rng.randrange(8, most)}k"):
        return Outcome("full disk", 0, notes=("skipped: mount is not allowed here",))
    try:
        command = tiny_runs.training(place)
        first = tiny_runs.run(place, command)
        wrong = first.code not in (0, INPUT)
        wrong |= first.code == INPUT and "no space left" not in first.log.lower()
        notes = (f"full disk: exit {first.code}: {first.log[-600:]}",) if wrong else ()
        remount(small, "size=64m")
        judged = _judge_mounted(calm, place, command)
    finally:
        unmount(small)
    judged["traceback"] += int(first.traceback)
    judged["lost"] = judged.get("lost", 0) + int(wrong)
    judged["notes"] = (*notes, *judged.get("notes", ()))
    return Outcome("full disk", 1, **judged)


def _judge_mounted(calm: Calm, place: Place, command: list[str]) -> dict:
    done = tiny_runs.run(place, command)
    counts: dict[str, Any] = {"traceback": int(done.traceback)}
    if done.code:
        return counts | {"lost": 1, "notes": (f"exit {done.code}: {done.log[-600:]}",)}
    found = tiny_runs.read_figures(place)
    return counts | {"different": int(found != calm.figures)}


def read_only(calm: Calm, rng: random.Random, name: str, index: int = 0) -> Outcome:
    """Use a run whose workdir cannot be written: readers answer, training says why."""
    del rng, index
    place = calm.make_place(name)
    if not mount(place.workdir, "64m"):
        return Outcome("read-only", 0, notes=("skipped: mount is not allowed here",))
    try:
        shutil.copytree(calm.finished.workdir, place.workdir, dirs_exist_ok=True)
        remount(place.workdir, "ro")
        workdir = f"--workdir={place.workdir}"
        commands = {
            "train": (tiny_runs.training(place), INPUT),
            "report": (["report", workdir], INPUT),
            "search": (["search", workdir, "--query=id:3"], 0),
            "status": (["status", workdir], 0),
            "compare": (["compare", workdir, f"--with={calm.finished.workdir}"], 0),
        }
        notes, tracebacks = [], 0
        for word, (command, expected) in commands.items():
            done = tiny_runs.run(place, command)
            tracebacks += done.traceback
            if done.code != expected:
                notes.append(f"read-only {word}: exit {done.code}: {done.log[-600:]}")
    finally:
        unmount(place.workdir)
    return Outcome("read-only", len(commands), 0, len(notes), tracebacks, tuple(notes))


def read_while_training(calm: Calm, rng: random.Random, name: str) -> Outcome:
    """Read a run again and again from its first checkpoint to its end."""
    place = calm.make_place(name)
    command = tiny_runs.training(place)
    reader = place._replace(log=place.log.with_name("reader"))
    notes, tracebacks, reads = [], 0, 0
    pid, began = tiny_runs.start(place, command), time.monotonic()
    while not list((place.workdir / "checkpoints").glob("[0-9]*")):
        if time.monotonic() - began > 60:
            break
        time.sleep(0.001)
    workdir = f"--workdir={place.workdir}"
    alive = True
    while alive:
        words = rng.choice(
            (
                ["search", workdir, "--query=id:3"],
                ["search", workdir, "--query=id:4", "--json"],
                ["status", workdir],
                ["compare", workdir, f"--with={calm.finished.workdir}"],
            )
        )
        done = tiny_runs.run(reader, words)
        reads, tracebacks = reads + 1, tracebacks + done.traceback
        if done.code:
            notes.append(f"{words[0]}: exit {done.code}: {done.log[-600:]}")
        alive = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    judged = judge(calm, place, tiny_runs.finish(place, pid))
    judged["traceback"] += tracebacks
    judged["lost"] = judged.get("lost", 0) + len(notes)
    judged["notes"] = (*notes, *judged.get("notes", ()))
    return Outcome("read", reads, **judged)

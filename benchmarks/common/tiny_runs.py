"""Runs of fifteen steps in processes of their own that start in no time.

One process imports jax and all else that takes seconds, and every command is a fork of
it, so that hundreds of them can be killed in minutes. It computes nothing itself: a
process in which jax has started cannot be forked.
"""

import json
import os
import pathlib
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from importlib import metadata
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parents[2]
PARTS = ("value", "n", "chance", "low", "high")

RECIPE = '''"""Fifteen steps on twenty brands of logos."""

from configs import moco_effnet


def get_config(arg=""):
    """Return the recipe."""
    config = moco_effnet.get_config("smoke").unlock()
    config.data.update(brands=20, val_fraction=0.2, size=16)
    config.transform.size = 16
    config.train.update(
        batch_size=16, log_every_steps=1, checkpoint_every_epochs=0.4, epochs=3.0
    )
    config.evaluate.update(
        batch_size=32, every_epochs=1.0, loss_batches=0, baselines=("pixels",)
    )
    del config.evaluate.sets["codes"]
    del config.gates["brand_above_untrained"]
    return config.lock()
'''


class Done(NamedTuple):
    """How a command ended: its exit code, minus the signal if killed, and its log."""

    code: int
    log: str

    @property
    def traceback(self) -> bool:
        """Whether it has printed a traceback."""
        return "Traceback (most recent" in self.log


class Place(NamedTuple):
    """Folders of a run: its workdir, its cache, and the log of its commands."""

    workdir: pathlib.Path
    cache: pathlib.Path
    log: pathlib.Path


def prepare() -> None:
    """Import what a run needs; call once, before the first command."""
    os.environ["XLA_FLAGS"] = "--xla_backend_optimization_level=0"
    if metadata.version("jaxlib").startswith("0.10."):  # compiles in two thirds
        os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.chdir(ROOT)
    # Of forks, which are made before jax computes anything.
    warnings.filterwarnings("ignore", message="os.fork", category=RuntimeWarning)
    import jax

    import main
    from train_lib import event_files, inference, stages, trainer  # noqa: F401

    main._prepare_jax()
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)
    # The event files of TensorFlow take a second to begin and are no part of this.
    event_files.open_board = event_files.EventFile


def compiled_programs() -> pathlib.Path:
    """Return the folder of compiled programs, which all runs share."""
    from input_pipeline.cache.root import cache_root

    return cache_root() / "xla-storm"


def is_compiled() -> bool:
    """Return whether runs were compiled before, perhaps by another version."""
    return compiled_programs().is_dir() and any(compiled_programs().iterdir())


def make_place(folder: pathlib.Path) -> Place:
    """Return folders for a run; compiled programs are shared with other runs."""
    place = Place(folder / "run", folder / "cache", folder / "log")
    place.cache.mkdir(parents=True)
    compiled = compiled_programs()
    compiled.mkdir(parents=True, exist_ok=True)
    (place.cache / "xla").symlink_to(compiled)
    recipe = folder.parent / "recipe.py"
    if not recipe.exists():
        recipe.write_text(RECIPE, "utf-8")
    return place


def copy_place(place: Place, folder: pathlib.Path) -> Place:
    """Return a copy of a run with its cache."""
    shutil.copytree(place.workdir.parent, folder, symlinks=True)
    return Place(folder / "run", folder / "cache", folder / "log")


def training(place: Place, *more: str) -> list[str]:
    """Return the command that trains."""
    recipe = place.workdir.parent.parent / "recipe.py"
    return [f"--config={recipe}", f"--workdir={place.workdir}", *more]


def start(place: Place, command: list[str]) -> int:
    """Start a command in a process group of its own; return its id."""

    def run() -> int:
        import main
        from tests.train_lib import tiny_run

        return main.main(command, build=tiny_run.build)

    return _fork(place, run)


def finish(place: Place, pid: int, began: int = 0) -> Done:
    """Wait for a command; return how it ended, with what it has logged."""
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Done(code, place.log.read_text("utf-8", "replace")[began:])


def run(place: Place, command: list[str]) -> Done:
    """Run a command to its end."""
    began = place.log.stat().st_size if place.log.exists() else 0
    return finish(place, start(place, command), began)


def interrupt(
    place: Place, command: list[str], seconds: float, number: int, group: bool
) -> Done:
    """Start a command and send it a signal after so many seconds."""
    began = place.log.stat().st_size if place.log.exists() else 0
    pid = start(place, command)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            log = place.log.read_text("utf-8", "replace")[began:]
            return Done(os.waitstatus_to_exitcode(status), log)
        time.sleep(0.002)
    (os.killpg if group else os.kill)(pid, number)
    return finish(place, pid, began)


def read_figures(place: Place, with_training: bool = True) -> dict[str, Any]:
    """Return what a run found: last state, scores, baselines and gates.

    Args:
        place: The run, at its end.
        with_training: Whether with what single steps logged. A damaged line of the
            history is lost, though the steps are not.
    """
    target = place.log.with_name("figures.json")

    def write() -> int:
        target.write_text(json.dumps(_figures(place, with_training)), "utf-8")
        return 0

    done = finish(place, _fork(place, write))
    if done.code:
        return {"unreadable": done.log[-2000:]}
    return json.loads(target.read_text("utf-8"))


def _figures(place: Place, with_training: bool) -> dict[str, Any]:
    import orbax.checkpoint as ocp

    from reporting import run_dir
    from train_lib.checkpoints import checksum

    report = json.loads((place.workdir / "report.json").read_text("utf-8"))
    step = max(run_dir.checkpoint_steps(place.workdir))
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
        items: Any = reader.restore(
            place.workdir / run_dir.CHECKPOINTS / str(step),
            args=ocp.args.Composite(
                state=ocp.args.StandardRestore(), data=ocp.args.JsonRestore()
            ),
        )
    left_out = ("perf/",) if with_training else ("perf/", "train/", "diag/")
    metrics = {
        tag: [metric[part] for part in PARTS]
        + sorted([n, level["value"]] for n, level in metric["baselines"].items())
        for tag, metric in report["metrics"].items()
        if not tag.startswith(left_out)
    }
    gates = {
        name: [gate["passed"], gate["value"]]
        for name, gate in report["gates"].items()
        if not gate["metric"].startswith(left_out)
    }
    figures = {"step": step, "state": checksum(items.state), "data": items.data}
    return figures | {"verdict": report["outcome"], "metrics": metrics, "gates": gates}


def _fork(place: Place, function: Callable[[], int]) -> int:
    """Run a function in a process of its own, which writes into the log."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        log = os.open(place.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ["AKIN_CACHE"] = str(place.cache)
        import jax

        jax.config.update("jax_compilation_cache_dir", str(place.cache / "xla"))
        code = function()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

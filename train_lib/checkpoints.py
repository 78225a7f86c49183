"""Save checkpoints in the background; keep the newest and the best; read them."""

import functools
import json
import pathlib
import shutil
import sys
import zlib
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from reporting.files import plain
from train_lib.errors import InputError, free_bytes, full_disk_message

_policies = ocp.checkpoint_managers
# A reader starts again where the run has removed what it was about to read.
_TRIES = 5
_ROOM = 2**20  # bytes that a checkpoint takes beside its arrays


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        state: Tree of numpy arrays with the structure of the template.
        data: Position of the loader.
        host: State of the loop, and what the run is.
        step: Step it was saved at.
        skipped: Newer checkpoints that could not be read, with the reason.
    """

    state: Any
    data: dict
    host: dict
    step: int
    skipped: list[str]


class _LatestAndBest:
    """Policy that preserves the newest steps and the best step."""

    def __init__(self, keep: int):
        self.keep = keep
        self.best: int | None = None

    def should_preserve(self, checkpoints, *, context):
        """Return for each checkpoint whether it stays (an interface of orbax)."""
        del context
        newest = {c.step for c in checkpoints[-self.keep :]}
        return [c.step in newest or c.step == self.best for c in checkpoints]


class Checkpoints:
    """The checkpoints of a workdir, each one directory of `state`, `data` and `host`.

    State is handed over as host copies: saving goes on in the background while the step
    donates the buffers, and what was saved restores on any number of devices. Every
    checkpoint holds a checksum of its content, so that a damaged one is never believed.

    Args:
        directory: Folder of the checkpoints.
        keep: Newest checkpoints that stay.
        best: Step that stays besides.
        read_only: For a process that does not hold the lock of the workdir: it neither
            writes nor moves nor removes anything, and reads while a run saves.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        keep: int = 1,
        best: int | None = None,
        read_only: bool = False,
    ):
        self.directory = pathlib.Path(directory).absolute()
        self.read_only = read_only
        self._policy = _LatestAndBest(keep)
        self._policy.best = best
        self._manager = None

    def _open(self) -> ocp.CheckpointManager:
        assert not self.read_only
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._policy, cleanup_tmp_directories=True
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def steps(self) -> list[int]:
        """Return the steps with a complete checkpoint, ascending."""
        if not self.directory.is_dir():
            return []
        names = [path.name for path in self.directory.iterdir()]
        return sorted(int(n) for n in names if n.isascii() and n.isdecimal())

    def tidy(self):
        """Remove what a killed process has left half written."""
        if self.directory.is_dir():
            self._open()

    def save(self, step: int, state: Any, data: dict, host: dict, best: int | None):
        """Save a checkpoint in the background; `best` is the step never to delete.

        Raises:
            InputError: The disk has no room for it.
        """
        self._policy.best = best
        if step in self._open().all_steps():
            return
        self.check_room(state)
        state = jax.tree.map(lambda x: np.array(x, copy=True), state)
        host = plain(host)
        self._open().save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=ocp.args.JsonSave(data),
                host=ocp.args.JsonSave(
                    {
                        "host": host,
                        "host_crc": _crc((), None, host),
                        "crc": _crc(state, data, host),
                    }
                ),
            ),
        )

    def check_room(self, state: Any):
        """Refuse to begin a checkpoint for which there is no room.

        Raises:
            InputError: The disk has less room than the arrays take.
        """
        needed = _ROOM + sum(np.asarray(x).nbytes for x in jax.tree.leaves(state))
        if free_bytes(self.directory) < needed:
            saved = max(self.steps(), default=None)
            kept = "No checkpoint was saved" if saved is None else f"Step {saved} is"
            raise InputError(
                f"{full_disk_message(self.directory, needed)}. {kept} "
                f"{'yet' if saved is None else 'the newest checkpoint'}; with room, "
                "the same command goes on from there"
            )

    def restore(self, template: Any, step: int | None = None) -> Restored | None:
        """Restore a step, or the newest that can be read; None if there is none.

        The process that writes moves a checkpoint that cannot be read to
        `broken/<step>`, so that the run can save at that step again.

        Args:
            template: Tree with the structure, shapes and types of the state.
            step: A step, or None for the newest.

        Raises:
            InputError: No readable checkpoint, though there are some.
        """
        self.wait()  # what is still being saved may be the newest
        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        skipped = []
        for _ in range(_TRIES):
            steps = [step] if step is not None else self.steps()[::-1]
            skipped, vanished = [], False
            for candidate in steps:
                try:
                    restored = self._read(candidate, template)
                # Whatever a damaged file makes orbax raise, others may be whole.
                except Exception as error:
                    vanished |= not self._path(candidate).is_dir()
                    reason = str(error).strip().split("\n")[0][:200]
                    skipped.append(
                        f"step {candidate}: {type(error).__name__}: {reason}"
                    )
                    continue
                for reason in skipped:
                    logging.warning("Checkpoint %s cannot be read", reason)
                self._set_aside([s for s in steps if s > candidate])
                return restored._replace(skipped=skipped)
            if not vanished:
                break
        if skipped:
            raise InputError(
                f"got no readable checkpoint in {self.directory} "
                f"({'; '.join(skipped)}); expected at least one. Was model, objective "
                "or optimizer changed? Then train in a new workdir"
            )
        return None

    def read_host(self) -> tuple[int, dict] | None:
        """Return step and `host` of the newest checkpoint that has one, or None."""
        for step in self.steps()[::-1]:
            path = self._path(step) / "host" / "metadata"
            try:
                return step, _host(json.loads(path.read_text("utf-8")))[0]
            except (OSError, ValueError) as error:
                logging.warning("%s cannot be read: %s", path, error)
        return None

    def _path(self, step: int) -> pathlib.Path:
        return self.directory / str(step)

    def _read(self, step: int, template: Any) -> Restored:
        """Read one checkpoint; whatever is wrong with it raises."""
        _ignore_late_answers()
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
            items: Any = checkpointer.restore(
                self._path(step),
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(template),
                    data=ocp.args.JsonRestore(),
                    host=ocp.args.JsonRestore(),
                ),
            )
        host, crc = _host(items.host)
        if crc is not None and crc != _crc(items.state, items.data, host):
            raise ValueError("its content is not what was saved (checksum)")
        return Restored(items.state, items.data, host, step, [])

    def _set_aside(self, steps: list[int]):
        if not steps or self.read_only:
            return
        self.close()
        for step in steps:
            target = self.directory.parent / "broken" / str(step)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            shutil.move(self._path(step), target)

    def wait(self):
        """Wait until everything is on disk."""
        if self._manager is not None:
            self._manager.wait_until_finished()

    def close(self):
        """Wait, and free the manager; it opens again when needed."""
        if self._manager is not None:
            self.wait()
            self._manager.close()
            self._manager = None


@functools.cache
def _ignore_late_answers() -> None:
    """Print nothing of reads that end after the first of them has failed.

    The threads of tensorstore then call an event loop that is closed, and Python prints
    a traceback for each.
    """
    hook = sys.unraisablehook

    def ignore(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            hook(unraisable)

    sys.unraisablehook = ignore


def _host(saved: Any) -> tuple[dict, str | None]:
    """Return the state of the loop and the checksum of the checkpoint.

    Raises:
        ValueError: The file does not hold them.
    """
    if not isinstance(saved, dict):
        raise ValueError("its host state is no JSON object")
    if "crc" not in saved:  # saved before checkpoints had one
        return saved, None
    host = saved.get("host")
    if not isinstance(host, dict) or saved.get("host_crc") != _crc((), None, host):
        raise ValueError("its host state is damaged (checksum)")
    return host, saved["crc"]


def checksum(state: Any, crc: int = 0) -> str:
    """Return the CRC-32 of all arrays of a tree, their shapes and types."""
    for leaf in jax.tree.leaves(state):
        array = np.ascontiguousarray(leaf)
        crc = zlib.crc32(f"{array.dtype}{array.shape}".encode(), crc)
        crc = zlib.crc32(array.reshape(-1).view(np.uint8).data, crc)
    return f"{crc:08x}"


def _crc(state: Any, data: Any, host: Any) -> str:
    """Return the checksum of all arrays and of the JSON values of a checkpoint."""
    text = json.dumps([data, host], sort_keys=True)
    return checksum(state, zlib.crc32(text.encode()))

"""Save checkpoints in the background; keep the newest and the best."""

import pathlib
import shutil
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging

from train_lib.errors import InputError

_policies = ocp.checkpoint_managers


class Restored(NamedTuple):
    """A checkpoint that was read.

    Attributes:
        state: Tree of numpy arrays with the structure of the template.
        data: Position of the loader.
        host: State of the loop.
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
    donates the buffers, and what was saved restores on any number of devices.
    """

    def __init__(self, directory: pathlib.Path, keep: int, best: int | None = None):
        self.directory = pathlib.Path(directory).absolute()
        self._policy = _LatestAndBest(keep)
        self._policy.best = best
        self._manager = None

    def _open(self) -> ocp.CheckpointManager:
        if self._manager is None:
            options = ocp.CheckpointManagerOptions(
                preservation_policy=self._policy, cleanup_tmp_directories=True
            )
            self._manager = ocp.CheckpointManager(self.directory, options=options)
        return self._manager

    def steps(self) -> list[int]:
        """Return the steps with a complete checkpoint, ascending."""
        return sorted(self._open().all_steps())

    def save(self, step: int, state: Any, data: dict, host: dict, best: int | None):
        """Save a checkpoint in the background; `best` is the step never to delete."""
        self._policy.best = best
        if step in self._open().all_steps():
            return
        state = jax.tree.map(lambda x: np.array(x, copy=True), state)
        self._open().save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                data=ocp.args.JsonSave(data),
                host=ocp.args.JsonSave(host),
            ),
        )

    def restore(self, template: Any, step: int | None = None) -> Restored | None:
        """Restore a step, or the newest that can be read; None if there is none.

        A checkpoint that cannot be read is moved aside to `broken-<step>`, so that the
        run can save at that step again.

        Args:
            template: Tree with the structure, shapes and types of the state.
            step: A step, or None for the newest.

        Raises:
            InputError: No readable checkpoint, though there are some.
        """
        self.wait()  # what is still being saved may be the newest
        template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), template)
        skipped = []
        steps = [step] if step is not None else self.steps()[::-1]
        for candidate in steps:
            try:
                restored_items: Any = self._open().restore(
                    candidate,
                    args=ocp.args.Composite(
                        state=ocp.args.StandardRestore(template),
                        data=ocp.args.JsonRestore(),
                        host=ocp.args.JsonRestore(),
                    ),
                )
            # Whatever a damaged file makes orbax raise, the one before may be whole.
            except Exception as error:
                reason = str(error).strip().split("\n")[0][:200]
                skipped.append(f"step {candidate}: {type(error).__name__}: {reason}")
                logging.warning("Checkpoint %s cannot be read", skipped[-1])
                continue
            self._set_aside([s for s in steps if s > candidate])
            return Restored(
                restored_items.state,
                restored_items.data,
                restored_items.host,
                candidate,
                skipped,
            )
        if skipped:
            raise InputError(
                f"got no readable checkpoint in {self.directory} "
                f"({'; '.join(skipped)}); expected at least one. Was model, objective "
                "or optimizer changed? Then train in a new workdir"
            )
        return None

    def _set_aside(self, steps: list[int]):
        if not steps:
            return
        self.close()
        for step in steps:
            target = self.directory.parent / "broken" / str(step)
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            shutil.move(self.directory / str(step), target)

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

"""Work in blocks: each is written completely or not at all, so that it resumes."""

import json
import multiprocessing
import multiprocessing.connection
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from input_pipeline import dataset
from input_pipeline.cache import manifest, shard_files, worker_processes


class Block(NamedTuple):
    """What one block of work yields.

    Attributes:
        images: uint8 [m, S, S, 3].
        ids: int64 [m], unique in the dataset and below 2^31.
        held: bool [m], true where the record belongs to the validation split.
        report: JSON values, kept with the block for the dataset's facts.
    """

    images: np.ndarray
    ids: np.ndarray
    held: np.ndarray
    report: dict


def make(
    items: Sequence[Any],
    paths: Sequence[pathlib.Path],
    function: Callable[[Any], Block],
    workers: int,
) -> Iterator[pathlib.Path]:
    """Make the blocks that are not there yet and yields every path once it is.

    Args:
        items: One a block.
        paths: Folder of each item's block.
        function: Item -> Block; picklable if `workers` is above 1.
        workers: Processes; 1 for this one.

    Raises:
        DataError: If a process dies.
    """
    todo = [k for k, path in enumerate(paths) if not _is_whole(path)]
    yield from (paths[k] for k in sorted(set(range(len(paths))) - set(todo)))
    if min(workers, len(todo)) <= 1:
        for k in todo:
            yield _run(function, items[k], paths[k])
        return
    # Spawned, not forked: the fork of a process in which jax runs threads may hang.
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(
        min(workers, len(todo)),
        mp_context=context,
        initializer=worker_processes.end_with_parent,
    ) as pool:
        try:
            waiting: set[futures.Future] = set()
            for k in todo:
                # The first submission starts all processes.
                with (
                    worker_processes.blocked_signals(),
                    worker_processes.without_script(function),
                ):
                    waiting.add(pool.submit(_run, function, items[k], paths[k]))
                if len(waiting) > 2 * workers:  # so that arguments do not pile up
                    done, waiting = futures.wait(waiting, None, "FIRST_COMPLETED")
                    yield from (future.result() for future in done)
            yield from (future.result() for future in futures.as_completed(waiting))
        except futures.process.BrokenProcessPool as error:
            raise dataset.DataError(
                "a process that decodes images died: killed for want of memory, a "
                "crash in an image library, or a script without `if __name__ == "
                "'__main__'`; finished blocks are kept, data.workers=1 prepares "
                "without further processes"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _is_whole(path: pathlib.Path) -> bool:
    """Return whether a block is there; remove one that is damaged."""
    if not path.exists():
        return False
    if fault := manifest.find_fault(path):
        logging.warning("Prepared data: %s; the block is prepared again", fault)
        shutil.rmtree(path)
    return fault is None


def _run(
    function: Callable[[Any], Block], item: Any, path: pathlib.Path
) -> pathlib.Path:
    """Make one block in a draft folder, then rename it to `path`."""
    block = function(item)
    draft = path.with_name(f"{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for split, rows in (("train", ~block.held), ("validation", block.held)):
        np.save(draft / f"{split}.npy", block.ids[rows].astype(np.int64))
        if rows.any():
            shard_files.write(shard(draft, split), block.images[rows], block.ids[rows])
    (draft / "report.json").write_text(json.dumps(block.report))
    manifest.write(draft)
    os.rename(draft, path)
    return path


def shard(path: pathlib.Path, split: str) -> pathlib.Path:
    """Return the ArrayRecord file of a block; there is none without records."""
    return path / f"{split}.array_record"


def ids(path: pathlib.Path, split: str) -> np.ndarray:
    """Return the ids of a block's records, int64 [m]."""
    return np.load(path / f"{split}.npy", allow_pickle=False)


def report(path: pathlib.Path) -> dict:
    """Return the report of a block."""
    return json.loads((path / "report.json").read_text())

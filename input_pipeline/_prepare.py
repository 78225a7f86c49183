"""Prepares a dataset once, block by block, and opens what was prepared."""

import contextlib
import fcntl
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from tqdm import auto as tqdm

from input_pipeline import _builder, _contract

_IMAGES = "images"


class Block(NamedTuple):
    """What one block of work yields.

    Attributes:
      images: uint8 [m, S, S, 3].
      ids: int64 [m], unique in the dataset and below 2^31.
      held: bool [m], true where the record belongs to the validation split.
      report: JSON values, kept beside the block for `Preparation.facts`.
    """

    images: np.ndarray
    ids: np.ndarray
    held: np.ndarray
    report: dict


class Columns(NamedTuple):
    """The table of one split, without weights, and the names of labels and codes."""

    table: dict[str, Any]
    label_names: list[str]
    code_names: list[str]


class Preparation(NamedTuple):
    """What to prepare.

    Attributes:
      name: the dataset's name; a folder in the cache.
      size: side of the prepared images in pixels.
      spec: JSON values that decide every pixel and column; their hash is the
        fingerprint under which the result is kept.
      blocks: work items, picklable.
      make: item -> Block; picklable, called in other processes.
      columns: ids int64 [n] -> Columns.
      facts: (reports, train ids, validation ids) -> JSON values; may raise DataError.
    """

    name: str
    size: int
    spec: dict
    blocks: Sequence[Any]
    make: Callable[[Any], Block]
    columns: Callable[[np.ndarray], Columns]
    facts: Callable[[list[dict], np.ndarray, np.ndarray], dict]


def cache_root(cache: str | os.PathLike | None) -> pathlib.Path:
    """Returns `cache`, else $AKIN_CACHE, else ~/.cache/akin."""
    root = cache or os.environ.get("AKIN_CACHE") or "~/.cache/akin"
    return pathlib.Path(root).expanduser().absolute()


def fingerprint(spec: dict) -> str:
    """Returns 16 hexadecimal digits of the hash of `spec`."""
    text = json.dumps(spec, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(
    plan: Preparation,
    *,
    cache: str | os.PathLike | None,
    rarity: float,
    progress: bool,
    workers: int | None = None,
) -> _contract.Data:
    """Prepares `plan` unless that was done before, and opens it.

    Interrupted at any time, the next call goes on with the first block that is not
    complete. Of two processes that prepare the same, the second waits.

    Args:
      plan: what to prepare.
      cache: folder for prepared data; see `cache_root`.
      rarity: exponent of the code weights n_c^-rarity.
      progress: show a progress bar.
      workers: processes that make blocks; None for one a CPU core, 1 for this one.

    Returns:
      The two splits and the facts.

    Raises:
      DataError: if `plan.facts` refuses the data, or the cache cannot be written.
    """
    mark = fingerprint(plan.spec)
    final = cache_root(cache) / plan.name / mark
    if not final.exists():
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with _lock(final.with_suffix(".lock")):
                if not final.exists():
                    _prepare(plan, final, progress, workers)
        except OSError as error:
            raise _contract.DataError(
                f"got '{error}' while preparing data in {final.parent}; expected a "
                "folder that can be written, with space left; choose another with "
                "data.cache or AKIN_CACHE, finished blocks are kept"
            ) from error
    return _open(final, plan.size, rarity)


def _prepare(plan, final: pathlib.Path, progress: bool, workers: int | None) -> None:
    work = final.with_suffix(".work")
    blocks = work / "blocks"
    blocks.mkdir(parents=True, exist_ok=True)
    paths = [blocks / f"{index:06d}" for index in range(len(plan.blocks))]
    _make_blocks(plan, paths, progress, workers)

    reports = [json.loads((path / "report.json").read_text()) for path in paths]
    ids = {
        split: np.concatenate(
            [np.zeros(0, np.int64), *(_block_ids(path, split) for path in paths)]
        )
        for split in _builder.SPLITS
    }
    facts = plan.facts(reports, ids["train"], ids["validation"])
    ready = work / "ready"
    shutil.rmtree(ready, ignore_errors=True)
    shards = {
        split: [
            (path / f"{split}.array_record", len(_block_ids(path, split)))
            for path in paths
            if len(_block_ids(path, split))
        ]
        for split in _builder.SPLITS
    }
    builder = _tfds_builder(plan.name, plan.size, shards, ready)
    builder.download_and_prepare()
    for split in _builder.SPLITS:
        columns = plan.columns(ids[split])
        _write_table(ready / f"{split}.npz", columns.table)
    names = {"labels": columns.label_names, "codes": columns.code_names}
    (ready / "names.json").write_text(json.dumps(names))
    facts = {"name": plan.name, "fingerprint": final.name, **facts}
    facts["builder_version"] = str(_builder.ShardBuilder.VERSION)
    (ready / "facts.json").write_text(json.dumps(facts, indent=1))
    os.rename(ready, final)
    shutil.rmtree(work)


def _tfds_builder(name: str, size: int, shards: dict, root: pathlib.Path):
    kind = type(
        "".join(part.title() for part in name.split("_")),
        (_builder.ShardBuilder,),
        {"name": name, "__module__": __name__},
        skip_registration=True,
    )
    return kind(
        size=size,
        shards=shards,
        description=f"{name}, {size} x {size} pixels",
        data_dir=os.fspath(root / _IMAGES),
    )


def _make_blocks(plan, paths, progress: bool, workers: int | None) -> None:
    todo = [index for index, path in enumerate(paths) if not path.exists()]
    bar = tqdm.tqdm(
        total=len(paths),
        initial=len(paths) - len(todo),
        desc=f"preparing {plan.name}",
        unit="block",
        disable=not progress,
    )
    workers = min(workers or os.cpu_count() or 1, len(todo))
    with bar:
        if workers <= 1:
            for index in todo:
                _run_block(plan.make, plan.blocks[index], paths[index])
                bar.update()
            return
        # Spawned, not forked: a fork of a process where jax runs threads may hang.
        context = multiprocessing.get_context("spawn")
        with futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
            waiting = set()
            for index in todo:
                waiting.add(
                    pool.submit(_run_block, plan.make, plan.blocks[index], paths[index])
                )
                if len(waiting) > 2 * workers:  # so that arguments do not pile up
                    done, waiting = futures.wait(waiting, None, "FIRST_COMPLETED")
                    bar.update(_settle(done))
            bar.update(_settle(futures.wait(waiting).done))


def _settle(done: set[futures.Future]) -> int:
    for future in done:
        future.result()
    return len(done)


def _run_block(make: Callable, item: Any, path: pathlib.Path) -> None:
    """Makes one block in a folder beside `path`, then gives it its name."""
    block = make(item)
    draft = path.with_name(f"{path.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    for split, rows in (("train", ~block.held), ("validation", block.held)):
        np.save(draft / f"{split}.npy", block.ids[rows].astype(np.int64))
        if rows.any():
            _builder.write_shard(
                draft / f"{split}.array_record", block.images[rows], block.ids[rows]
            )
    (draft / "report.json").write_text(json.dumps(block.report))
    os.rename(draft, path)


def _block_ids(path: pathlib.Path, split: str) -> np.ndarray:
    return np.load(path / f"{split}.npy", allow_pickle=False)


def _write_table(path: pathlib.Path, table: dict[str, Any]) -> None:
    """Saves columns; texts as one run of bytes each, for numpy pads them otherwise."""
    arrays = {}
    for name, column in table.items():
        if isinstance(column, np.ndarray):
            arrays[f"array/{name}"] = column
        else:
            text = "\0".join(column).encode("utf-8", "surrogateescape")
            arrays[f"text/{name}"] = np.frombuffer(text, np.uint8)
    np.savez(path, **arrays)


def _read_table(path: pathlib.Path) -> dict[str, Any]:
    table = {}
    with np.load(path, allow_pickle=False) as arrays:
        for key in arrays.files:
            kind, name = key.split("/", 1)
            table[name] = arrays[key]
            if kind == "text":
                text = table[name].tobytes().decode("utf-8", "surrogateescape")
                table[name] = text.split("\0") if len(arrays["array/id"]) else []
    return table


def _open(final: pathlib.Path, size: int, rarity: float) -> _contract.Data:
    names = json.loads((final / "names.json").read_text())
    facts = json.loads((final / "facts.json").read_text())
    tables = {split: _read_table(final / f"{split}.npz") for split in _builder.SPLITS}
    counts = code_counts(tables["train"]["codes"], len(names["codes"]))
    splits = {}
    for split, table in tables.items():
        table["code_weights"] = code_weights(table["codes"], counts, rarity)
        paths = sorted((final / _IMAGES).glob(f"*/*/*-{split}.array_record-*"))
        splits[split] = _contract.Split(
            _builder.Images(paths, size), table, names["labels"], names["codes"]
        )
    return _contract.Data(**splits, facts={**facts, "prepared_in": str(final)})


def code_counts(codes: np.ndarray, total: int) -> np.ndarray:
    """Returns the number of records that carry each code, int64 [total]."""
    return np.bincount(codes[codes >= 0].ravel(), minlength=total)


def code_weights(codes: np.ndarray, counts: np.ndarray, rarity: float) -> np.ndarray:
    """Returns n_c^-rarity for each code of each record, 0 where padded.

    Args:
      codes: int32 [n, C], padded with -1.
      counts: [number of codes], n_c in the training split; 0 counts as 1.
      rarity: exponent, >= 0.

    Returns:
      float32 [n, C].
    """
    if not len(counts):
        return np.zeros(codes.shape, np.float32)
    weights = np.maximum(counts, 1.0) ** -rarity
    return np.where(codes >= 0, weights[codes], 0.0).astype(np.float32)


@contextlib.contextmanager
def _lock(path: pathlib.Path) -> Iterator[None]:
    """Holds `path` for this process; the kernel lets go when the process dies."""
    with open(path, "a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            logging.warning(
                "waiting for process %s, which prepares the same data (%s)",
                file.read().strip() or "(unknown)",
                path,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def pad_codes(codes: Sequence[Sequence[int]]) -> np.ndarray:
    """Returns lists of code numbers as int32 [n, C], padded with -1; C >= 1."""
    width = max([1, *(len(row) for row in codes)])
    padded = np.full((len(codes), width), _contract.MISSING, np.int32)
    for row, numbers in zip(padded, codes, strict=True):
        row[: len(numbers)] = numbers
    return padded

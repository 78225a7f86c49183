"""Datasets that are prepared once, block by block, and then opened."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from absl import logging
from tqdm import auto as tqdm

from input_pipeline import dataset
from input_pipeline.cache import array_records, file_lock, manifest
from input_pipeline.cache import blocks as blocks_lib
from input_pipeline.cache.root import cache_root
from input_pipeline.records import columns as columns_lib

_IMAGES = "images"
_FEW_BLOCKS = 4


class Work(NamedTuple):
    """How to prepare a dataset.

    Attributes:
        blocks: Work items, picklable.
        make: Item -> blocks.Block; picklable, called in other processes.
        columns: Ids int64 [n] -> Columns.
        facts: (reports, train ids, validation ids) -> JSON values; may raise DataError.
        watch: Called with the report of each finished block; may raise DataError.
    """

    blocks: Sequence[Any]
    make: Callable[[Any], blocks_lib.Block]
    columns: Callable[[np.ndarray], columns_lib.Columns]
    facts: Callable[[list[dict], np.ndarray, np.ndarray], dict]
    watch: Callable[[dict], None] = lambda report: None


def fingerprint(spec: dict) -> str:
    """Return 16 hexadecimal digits of the hash of `spec`."""
    text = json.dumps(spec, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def load(
    spec: dict,
    plan: Callable[[], Work],
    *,
    cache: str | os.PathLike | None,
    rarity: float,
    memory_mb: int,
    progress: bool,
    workers: int | None,
) -> dataset.Data:
    """Prepare a dataset unless that was done before, and opens it.

    Interrupted at any time, the next call goes on with the first block that is not
    complete. Of two processes that prepare the same, the second waits. Damaged data
    is prepared again, and said to be.

    Args:
        spec: JSON values that decide every pixel and column, "dataset" and "size" among
            them; their hash is the fingerprint under which the result is kept.
        plan: Returns the work; called only if the data is not prepared yet.
        cache: Folder for prepared data; see `cache_root`.
        rarity: Exponent of the code weights n_c^-rarity, 0 or more.
        memory_mb: Decoded images are kept if a split's fit into so many MiB.
        progress: Whether to show a progress bar.
        workers: Processes that make blocks; 1 for this one, None for one a CPU core
            where there is enough work.

    Returns:
        The two splits and the facts.

    Raises:
        DataError: If the plan refuses the data, or the cache cannot be written.
    """
    if rarity < 0:
        raise dataset.DataError(f"got data.rarity={rarity}; expected 0 or more")
    final = cache_root(cache) / spec["dataset"] / fingerprint(spec)
    work = final.with_suffix(".work")
    fault = manifest.find_fault(final)
    if fault or work.exists() or not final.exists():
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with file_lock.wait_for(final.with_suffix(".lock")):
                if fault := manifest.find_fault(final):
                    logging.warning("Prepared data: %s; it is prepared again", fault)
                    shutil.rmtree(final)
                if not final.exists():
                    _prepare(spec, plan(), work, final, progress, workers)
                shutil.rmtree(work, ignore_errors=True)
        except OSError as error:
            raise dataset.DataError(_tell_not_written(error, final, fault)) from error
    return _open(final, spec["size"], rarity, memory_mb * 2**20)


def _tell_not_written(
    error: OSError, final: pathlib.Path, fault: str | None = None
) -> str:
    damaged = f"{fault}, and it cannot be prepared again: " if fault else ""
    place = final.parent
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free / 1e6
    return (
        f"{damaged}got '{error}' while preparing data in {final.parent}, with "
        f"{free:,.0f} MB free; expected a folder that can be written, with room for "
        "twice the images as they are prepared (records x size x size x 3 bytes at "
        "most); choose another with data.cache or AKIN_CACHE, finished blocks are kept"
    )


def _prepare(
    spec: dict,
    plan: Work,
    work: pathlib.Path,
    final: pathlib.Path,
    progress: bool,
    workers: int | None,
) -> None:
    """Make the blocks in `work` and puts them together into `final`."""
    name, size = spec["dataset"], spec["size"]
    blocks, ready = work / "blocks", work / "ready"
    blocks.mkdir(parents=True, exist_ok=True)
    paths = [blocks / f"{index:06d}" for index in range(len(plan.blocks))]
    # To start processes takes longer than to make a few blocks.
    few = len(paths) < _FEW_BLOCKS
    workers = workers or (1 if few else os.cpu_count() or 1)
    finished = blocks_lib.make(plan.blocks, paths, plan.make, workers)
    for path in tqdm.tqdm(
        finished,
        total=len(paths),
        desc=f"preparing {name}",
        unit="block",
        disable=not progress,
    ):
        plan.watch(blocks_lib.report(path))

    shutil.rmtree(ready, ignore_errors=True)
    tables, shards = {}, {}
    for split in array_records.SPLITS:
        per_block = [blocks_lib.ids(path, split) for path in paths]
        shards[split] = [
            blocks_lib.shard(path, split)
            for path, ids in zip(paths, per_block, strict=True)
            if len(ids)
        ]
        tables[split] = plan.columns(np.concatenate(per_block))
    facts = {
        "name": name,
        "fingerprint": final.name,
        "builder_version": str(array_records.ImageBuilder.VERSION),
        "size": size,
        **_table_facts({split: columns.table for split, columns in tables.items()}),
        **plan.facts(
            [blocks_lib.report(path) for path in paths],
            *(tables[split].table["id"] for split in array_records.SPLITS),
        ),
    }
    _builder_of(name)(
        size=size, blocks=shards, data_dir=os.fspath(ready / _IMAGES)
    ).download_and_prepare()
    for split, columns in tables.items():
        columns_lib.write(ready / f"{split}.npz", columns.table)
    names = {"labels": columns.label_names, "codes": columns.code_names}
    (ready / "names.json").write_text(json.dumps(names))
    (ready / "facts.json").write_text(json.dumps(facts, indent=1))
    manifest.write(ready)
    os.rename(ready, final)


def _builder_of(name: str) -> type[array_records.ImageBuilder]:
    """Return the TFDS builder class of a dataset: image_folder -> ImageFolder."""
    return type(
        "".join(part.title() for part in name.split("_")),
        (array_records.ImageBuilder,),
        {"name": name, "__module__": __name__},
        skip_registration=True,
    )


def _table_facts(tables: dict[str, dict]) -> dict:
    """Count records, codes, and records that share no code with another."""
    facts: dict[str, Any] = {"records": {}, "codes": {}, "without_partner": {}}
    for split, table in tables.items():
        codes = table["codes"]
        counts = columns_lib.code_counts(codes, codes.max(initial=0) + 1)
        shared = (codes >= 0) & (counts[codes] > 1)
        facts["records"][split] = len(codes)
        facts["codes"][split] = int((counts > 0).sum())
        facts["without_partner"][split] = int((~shared.any(1)).sum())
    return facts


def _open(final: pathlib.Path, size: int, rarity: float, memory: int) -> dataset.Data:
    names = json.loads((final / "names.json").read_text())
    facts = json.loads((final / "facts.json").read_text())
    tables = {
        split: columns_lib.read(final / f"{split}.npz")
        for split in array_records.SPLITS
    }
    counts = columns_lib.code_counts(tables["train"]["codes"], len(names["codes"]))
    splits = {}
    for split, table in tables.items():
        table["code_weights"] = columns_lib.code_weights(table["codes"], counts, rarity)
        paths = sorted((final / _IMAGES).glob(f"*/*/*-{split}.array_record-*"))
        splits[split] = dataset.Split(
            array_records.Images(paths, size, memory),
            table,
            names["labels"],
            names["codes"],
        )
    return dataset.Data(**splits, facts={**facts, "prepared_in": str(final)})

"""Galleries on disk: embeddings, and a table of the records that they are of."""

import hashlib
import pathlib
import tempfile
from typing import NamedTuple

import numpy as np
import pandas as pd
from absl import logging

from evaluators.baselines.common.baseline import Images
from input_pipeline.cache.root import cache_root
from input_pipeline.dataset import Split
from reporting.files import replacing
from train_lib import evaluation
from train_lib.errors import InputError
from train_lib.experiment import Experiment

EMBEDDINGS, RECORDS = "embeddings.npy", "records.parquet"


class Network(NamedTuple):
    """A trained network with what it was trained on.

    Attributes:
        experiment: Parts of its run.
        workdir: Workdir of its run.
        step: Step of the checkpoint.
        embed: `(split, rows, view=None, **changes) -> [m, d]`.
        images: The same records, for display.
        weights: Checksum of the parameters.
    """

    experiment: Experiment
    workdir: pathlib.Path
    step: int
    embed: evaluation.Embed
    images: Images
    weights: str = ""


def write(network: Network, splits: list, folder: pathlib.Path, view: str = "") -> int:
    """Write `embeddings.npy` and `records.parquet`; return the number of rows."""
    z = []
    for split in splits:
        part = network.embed(split, np.arange(len(split)), view or None)
        if part is None:
            raise InputError(f"got view {view!r}, which this network does not embed")
        z.append(part)
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.concat([_frame(split) for split in splits], ignore_index=True)
    frame.attrs = {"workdir": str(network.workdir), "checkpoint": network.step}
    with replacing(folder / EMBEDDINGS) as draft, open(draft, "wb") as file:
        np.save(file, np.concatenate(z))
    # The table last: a gallery that has it is complete.
    with replacing(folder / RECORDS) as draft:
        frame.to_parquet(draft)
    return len(frame)


def check_own(folder: pathlib.Path) -> None:
    """Refuse to overwrite files that `embed` did not write.

    Raises:
        InputError: There are such files.
    """
    embeddings, records = folder / EMBEDDINGS, folder / RECORDS
    if not embeddings.exists() and not records.exists():
        return
    try:
        ours = "checkpoint" in pd.read_parquet(records).attrs
    except (OSError, ValueError):
        ours = False
    if not ours:
        raise InputError(
            f"got --output={folder}, which has an {EMBEDDINGS} that embed did not "
            "write; expected another folder, or --overwrite"
        )


def _frame(split: Split) -> pd.DataFrame:
    columns = {k: list(v) for k, v in split.table.items() if k != "code_weights"}
    columns["codes"] = [
        [split.code_names[c] for c in codes if c >= 0] for codes in split.table["codes"]
    ]
    columns["label_name"] = [
        split.label_names[i] if i >= 0 else "" for i in split.table["label"]
    ]
    return pd.DataFrame(columns)


def read(folder: pathlib.Path) -> tuple[np.ndarray, pd.DataFrame]:
    """Return what `_write` wrote: embeddings [n, d] and their records.

    Raises:
        InputError: It is not there, or damaged.
    """
    expected = "expected the --output of `main.py embed`"
    if not (folder / EMBEDDINGS).is_file():
        raise InputError(f"got --gallery={folder}, without {EMBEDDINGS}; {expected}")
    try:
        z = np.load(folder / EMBEDDINGS, mmap_mode="r", allow_pickle=False)
        frame = pd.read_parquet(folder / RECORDS)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"got --gallery={folder}, which cannot be read ({error}); {expected}, "
            "which writes it again"
        ) from None
    if z.ndim != 2 or len(z) != len(frame) or "id" not in frame:
        raise InputError(
            f"got --gallery={folder} with embeddings {list(z.shape)} and a table of "
            f"{len(frame)} records ({', '.join(map(str, frame.columns))}); {expected}"
        )
    return z, frame


def own(network: Network) -> tuple[np.ndarray, pd.DataFrame]:
    """Return the embeddings of the run's records, which the cache keeps if it can.

    They are those of the network, so that a run with other weights has others.
    """
    folder = kept_in(network) / "embeddings" / str(network.step)
    splits = own_splits(network)
    if (folder / RECORDS).is_file():
        try:
            z, frame = read(folder)
            ids = np.concatenate([split.table["id"] for split in splits])
            if np.array_equal(frame["id"], ids):
                return z, frame
        except InputError as error:
            logging.warning("The records are embedded again: %s", error)
    view = network.experiment.transform.gallery_view
    try:
        write(network, splits, folder, view)
    except OSError as error:
        logging.warning("The cache cannot keep the embeddings: %s", error)
        with tempfile.TemporaryDirectory() as name:
            write(network, splits, pathlib.Path(name), view)
            z, frame = read(pathlib.Path(name))
            return np.array(z), frame
    return read(folder)


def own_splits(network: Network) -> list[Split]:
    """Return the splits that the network was trained and evaluated on."""
    data = network.experiment.load_data()
    return [data.train, data.validation]


def kept_in(network: Network) -> pathlib.Path:
    """Return the folder of the cache for what is computed with a network.

    Its name changes with the workdir and with the weights.
    """
    name = f"{network.workdir.resolve()}\0{network.weights}"
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    cache = network.experiment.config.data.get("cache")
    return cache_root(cache) / "networks" / digest

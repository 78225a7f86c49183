"""A trained network at work: embedding folders, searching for one record."""

import pathlib
from typing import NamedTuple

import numpy as np
import pandas as pd

from evaluators.baselines.common.baseline import Images
from evaluators.metrics import ties
from evaluators.search import exact as exact_search
from input_pipeline import dataset as records
from reporting.figures import result_sheet as drawing
from reporting.page import search_table
from train_lib import evaluation, parallel, restoration
from train_lib.errors import InputError
from train_lib.experiment import Build, Experiment

LISTED = 20  # files named that were left out
OWN = "id:"  # of a query that is a record of the run


class Network(NamedTuple):
    """A trained network with what it was trained on.

    Attributes:
        experiment: Parts of its run.
        workdir: Of its run.
        step: Step of the checkpoint.
        embed: `(split, rows, view=None, **changes) -> [m, d]`.
        images: The same records, for display.
    """

    experiment: Experiment
    workdir: pathlib.Path
    step: int
    embed: evaluation.Embed
    images: Images


def restore(
    workdir: str, checkpoint: str = "latest", build: Build = Experiment.from_config
) -> Network:
    """Restores a run's network.

    Args:
        workdir: Of the run.
        checkpoint: "latest", "best" (of the monitored metric) or a step.
        build: Builds the parts from the config of the run.

    Raises:
        InputError: No run, or no such checkpoint.
    """
    experiment, objective, found = restoration.read_run(workdir, checkpoint, build)
    mesh = parallel.make_mesh()
    network_input = evaluation.network_input(experiment, mesh)
    bind = evaluation.make_embed(experiment, objective, network_input)
    variables = parallel.put_state((found.state.params, found.state.extra), mesh)
    images = evaluation.make_images(experiment, network_input)
    folder = pathlib.Path(workdir)
    return Network(experiment, folder, found.step, bind(*variables), images)


def _write(network: Network, splits: list, folder: pathlib.Path, view: str = "") -> int:
    """Writes `embeddings.npy` and `records.parquet`, row for row; returns the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    z = [network.embed(split, np.arange(len(split)), view or None) for split in splits]
    np.save(folder / "embeddings.npy", np.concatenate(z))
    frame = pd.concat([_frame(split) for split in splits], ignore_index=True)
    frame.attrs = {"workdir": str(network.workdir), "checkpoint": network.step}
    frame.to_parquet(folder / "records.parquet")
    return len(frame)


def _frame(split: records.Split) -> pd.DataFrame:
    columns = {k: list(v) for k, v in split.table.items() if k != "code_weights"}
    columns["codes"] = [
        [split.code_names[c] for c in codes if c >= 0] for codes in split.table["codes"]
    ]
    columns["label_name"] = [
        split.label_names[i] if i >= 0 else "" for i in split.table["label"]
    ]
    return pd.DataFrame(columns)


def embed_folder(network: Network, source: str, output: str, view: str = "") -> str:
    """Embeds every record under a directory; returns a sentence on what was written.

    Args:
        network: What embeds them.
        source: Directory, or one file.
        output: Directory to write.
        view: Training view in which records are seen, "" as they are.
    """
    split, facts = network.experiment.read_records(source)
    folder = pathlib.Path(output)
    written = _write(network, [split], folder, view)
    rejected = facts.get("rejected", [])
    named = "".join(f"\n  {name}: {why}" for name, why in rejected[:LISTED])
    return (
        f"{written} records embedded with checkpoint {network.step} into "
        f"{folder / 'embeddings.npy'} and {folder / 'records.parquet'}; "
        f"{facts.get('rejected_total', 0)} files left out{named}"
    )


def search(
    network: Network, query: str, *, top: int, gallery: str, as_json: bool
) -> str:
    """Finds the records most like one; writes a picture of them.

    Args:
        network: What embeds the query.
        query: A file; of several records in it, the middle one. "id:17" is a record of
            the run, which does not find itself.
        top: How many records.
        gallery: Directory that `embed_folder` wrote, or "" for the run's own records,
            which are embedded once a checkpoint and kept in the workdir.
        as_json: Return JSON rather than a table.
    """
    own = query.startswith(OWN)
    if own:
        asked = _own_record(network, query)
    else:
        asked, _ = network.experiment.read_records(query)
    middle = np.array([len(asked) // 2])
    folder = pathlib.Path(gallery) if gallery else _own_gallery(network)
    if not (folder / "embeddings.npy").is_file():
        raise InputError(
            f"got --gallery={gallery}, which has no embeddings.npy; expected the "
            "--output of `main.py embed`"
        )
    z = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    frame = pd.read_parquet(folder / "records.parquet")
    q = network.embed(asked, middle)
    if q.shape[1] != z.shape[1]:
        raise InputError(
            f"got a gallery of {z.shape[1]}-d embeddings for a network of "
            f"{q.shape[1]}; expected one that this network wrote"
        )
    itself = {}
    if own and not gallery:  # ids of another folder are of other records
        itself = {"query_ids": asked.table["id"], "gallery_ids": frame["id"].to_numpy()}
    scores, rows = exact_search.top_k(q, z, min(top, len(z)), **itself)
    scores, rows = scores[:, rows[0] >= 0], rows[0][rows[0] >= 0]
    found = frame.iloc[rows].to_dict("records")
    results = [
        {**record, "rank": rank, "score": float(score)}
        for rank, (record, score) in enumerate(zip(found, scores[0], strict=True), 1)
    ]
    pictures = _pictures(network, found, gallery)
    shown = {int(r["id"]): p for r, p in zip(found, pictures, strict=True)}
    shown[-1] = evaluation.as_rgb(network.images(asked, middle))[0]
    name = query.replace(":", "_") if own else pathlib.Path(query).stem
    path = network.workdir / "search" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    row = {"query": -1, "name": "query", "neighbors": results}
    drawing.draw([row], shown).save(path)
    said = {"query": query, "tied": int(ties.leading(scores)[0])}
    if as_json:
        return search_table.as_json(results, **said)
    return f"{search_table.table(results, **said)}\n{path}"


def _own_record(network: Network, query: str) -> records.Split:
    """The record that "id:17" names, as a split of one."""
    word = query.removeprefix(OWN)
    wanted = int(word) if word.isdecimal() else -1
    splits = _own_splits(network)
    for split in splits:
        row = np.flatnonzero(split.table["id"] == wanted)
        if row.size:
            return split.take(row)
    ids = np.concatenate([split.table["id"] for split in splits])
    raise InputError(
        f"got --query={query}; expected {OWN} and the id of one of the run's "
        f"{len(ids)} records, {ids.min()} to {ids.max()}"
    )


def _own_gallery(network: Network) -> pathlib.Path:
    folder = network.workdir / "embeddings" / str(network.step)
    if not (folder / "records.parquet").is_file():
        view = network.experiment.transform.gallery_view
        _write(network, _own_splits(network), folder, view)
    return folder


def _own_splits(network: Network) -> list[records.Split]:
    data = network.experiment.load_data()
    return [data.train, data.validation]


def _pictures(network: Network, found: list[dict], gallery: str) -> list[np.ndarray]:
    """Pictures of found records: from the files themselves, or from the run's data."""
    places = []
    if gallery:
        for record in found:
            split, _ = network.experiment.read_records(record["path"])
            names = split.table["name"]
            name = record.get("name")
            places.append((split, names.index(name) if name in names else 0))
    else:
        row_of = {
            int(id_): (split, row)
            for split in _own_splits(network)
            for row, id_ in enumerate(split.table["id"])
        }
        places = [row_of[int(record["id"])] for record in found]
    drawn = [network.images(split, np.array([row])) for split, row in places]
    return [evaluation.as_rgb(picture)[0] for picture in drawn]

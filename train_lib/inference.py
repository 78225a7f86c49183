"""Use a trained network: embed folders, search for one record."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from evaluators.baselines.common.baseline import Images
from evaluators.metrics import ties
from evaluators.search import exact as exact_search
from input_pipeline import dataset as records
from reporting.figures import result_sheet
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
        workdir: Workdir of its run.
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
    """Restore the network of a run.

    Args:
        workdir: Workdir of the run.
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
    """Write `embeddings.npy` and `records.parquet`; return the number of rows."""
    folder.mkdir(parents=True, exist_ok=True)
    z = []
    for split in splits:
        part = network.embed(split, np.arange(len(split)), view or None)
        if part is None:
            raise InputError(f"got view {view!r}, which this network does not embed")
        z.append(part)
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
    """Embed every record under a directory; return a sentence on what was written.

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


class Neighbors(NamedTuple):
    """Records of a gallery, ranked for one query.

    Attributes:
        results: Columns of each record, with `rank` from 1 and `score`, a cosine.
        tied: Number of leading records whose scores are too close to be ranked.
    """

    results: list[dict[str, Any]]
    tied: int


def search(
    network: Network, query: str, *, top: int, gallery: str, as_json: bool
) -> str:
    """Return the records most like a query as text; write an image of them.

    Args:
        network: Network that embeds the query.
        query: A file; of several records in it, the middle one. "id:17" is a record of
            the run, which does not find itself.
        top: Number of records.
        gallery: Directory that `embed_folder` wrote, or "" for the run's own records,
            which are embedded once a checkpoint and kept in the workdir.
        as_json: Return JSON rather than a table.
    """
    own = query.startswith(OWN)
    if own:
        records_of_query = own_record(network, query)
    else:
        records_of_query, _ = network.experiment.read_records(query)
    middle = np.array([len(records_of_query) // 2])
    asked = records_of_query.take(middle)
    neighbors = find_neighbors(network, asked, top, gallery, exclude_itself=own)
    name = query.replace(":", "_") if own else pathlib.Path(query).stem
    path = _draw_results(network, asked, neighbors.results, gallery, name)
    shown = {"query": query, "tied": neighbors.tied}
    if as_json:
        return search_table.as_json(neighbors.results, **shown)
    return f"{search_table.table(neighbors.results, **shown)}\n{path}"


def find_neighbors(
    network: Network,
    query: records.Split,
    top: int,
    gallery: str = "",
    exclude_itself: bool = False,
) -> Neighbors:
    """Return the records of a gallery that are most like a query.

    Args:
        network: Network that embeds the query.
        query: A split of one record.
        top: Number of records, 1 or more.
        gallery: As in `search`.
        exclude_itself: Leave out the record of the run that has the query's id.

    Raises:
        InputError: There is no such gallery, or another network wrote it.
    """
    if top < 1:
        raise InputError(f"got top={top}; expected 1 or more")
    folder = pathlib.Path(gallery) if gallery else _own_gallery(network)
    if not (folder / "embeddings.npy").is_file():
        raise InputError(
            f"got --gallery={gallery}, which has no embeddings.npy; expected the "
            "--output of `main.py embed`"
        )
    z = np.load(folder / "embeddings.npy", mmap_mode="r", allow_pickle=False)
    frame = pd.read_parquet(folder / "records.parquet")
    q = network.embed(query, np.array([0]))
    if q is None or q.shape[1] != z.shape[1]:
        raise InputError(
            f"got a gallery of {z.shape[1]}-d embeddings for a network of "
            f"{None if q is None else q.shape[1]}; expected one that this network wrote"
        )
    ids = {}
    if exclude_itself and not gallery:  # ids of another folder are of other records
        ids = {"query_ids": query.table["id"], "gallery_ids": frame["id"].to_numpy()}
    scores, rows = exact_search.top_k(q, z, min(top, len(z)), **ids)
    scores, rows = scores[:, rows[0] >= 0], rows[0][rows[0] >= 0]
    hits = frame.iloc[rows].to_dict("records")
    results = [
        {**hit, "rank": rank, "score": float(score)}
        for rank, (hit, score) in enumerate(zip(hits, scores[0], strict=True), 1)
    ]
    return Neighbors(results, int(ties.leading(scores)[0]))


def _draw_results(
    network: Network, query: records.Split, results: list[dict], gallery: str, name: str
) -> pathlib.Path:
    """Draw a query and its neighbors into the workdir; return the file."""
    images = _images_of(network, results, gallery)
    shown = {int(r["id"]): x for r, x in zip(results, images, strict=True)}
    shown[-1] = evaluation.as_rgb(network.images(query, np.array([0])))[0]
    path = network.workdir / "search" / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    row = {"query": -1, "name": "query", "neighbors": results}
    result_sheet.draw([row], shown).save(path)
    return path


def own_record(network: Network, query: str) -> records.Split:
    """Return the record that "id:17" names, as a split of one.

    Raises:
        InputError: The run has no such record.
    """
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


def _images_of(network: Network, results: list[dict], gallery: str) -> list[np.ndarray]:
    """Return images of results: of their files, or of the run's data."""
    places = []
    if gallery:
        for record in results:
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
        places = [row_of[int(record["id"])] for record in results]
    images = [network.images(split, np.array([row])) for split, row in places]
    return [evaluation.as_rgb(image)[0] for image in images]

"""Use a trained network: embed folders, search for one record."""

import pathlib
from typing import Any, NamedTuple

import numpy as np
from absl import logging

from evaluators.metrics import ties
from evaluators.search import exact as exact_search
from input_pipeline import dataset as records
from reporting.figures import result_sheet
from reporting.page import search_table
from train_lib import evaluation, parallel, restoration
from train_lib import gallery as gallery_files
from train_lib.checkpoints import checksum
from train_lib.errors import InputError
from train_lib.experiment import Build, Experiment
from train_lib.gallery import Network, kept_in, own_splits

LISTED = 20  # files named that were left out
OWN = "id:"  # of a query that is a record of the run


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
    weights = checksum((found.state.params, found.state.extra))
    return Network(experiment, folder, found.step, bind(*variables), images, weights)


def embed_folder(
    network: Network, source: str, output: str, view: str = "", overwrite: bool = False
) -> str:
    """Embed every record under a directory; return a sentence on what was written.

    Args:
        network: What embeds them.
        source: Directory, or one file.
        output: Directory to write.
        view: Training view in which records are seen, "" as they are.
        overwrite: Whether files there that `embed` did not write are replaced.

    Raises:
        InputError: There are such files.
    """
    folder = pathlib.Path(output)
    if not overwrite:
        gallery_files.check_own(folder)
    split, facts = network.experiment.read_records(source)
    written = gallery_files.write(network, [split], folder, view)
    rejected = facts.get("rejected", [])
    named = "".join(f"\n  {name}: {why}" for name, why in rejected[:LISTED])
    return (
        f"{written} records embedded with checkpoint {network.step} into "
        f"{folder / gallery_files.EMBEDDINGS} and {folder / gallery_files.RECORDS}; "
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
    network: Network,
    query: str,
    *,
    top: int,
    gallery: str,
    as_json: bool,
    output: str = "",
) -> str:
    """Return the records most like a query as text; write an image of them.

    The workdir stays as it is. Where images are missing or cannot be written, the
    answer says so.

    Args:
        network: Network that embeds the query.
        query: A file; of several records in it, the middle one. "id:17" is a record of
            the run, which does not find itself.
        top: Number of records.
        gallery: Directory that `embed_folder` wrote, or "" for the run's own records,
            which are embedded once a checkpoint and kept in the cache.
        as_json: Return JSON rather than a table.
        output: Directory for the image; "" for a folder of the run in the cache.
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
    folder = pathlib.Path(output) if output else kept_in(network) / "search"
    try:
        drawn = str(
            _draw_results(network, asked, neighbors.results, gallery, folder / name)
        )
    except (OSError, ValueError) as error:
        drawn = f"No image of them was written: {error}"
        logging.warning("%s", drawn)
    shown = {"query": query, "tied": neighbors.tied}
    if as_json:
        return search_table.as_json(neighbors.results, **shown)
    return f"{search_table.table(neighbors.results, **shown)}\n{drawn}"


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
        gallery: Folder written by `embed`; "" for the run's records.
        exclude_itself: Leave out the record of the run that has the query's id.

    Raises:
        InputError: There is no such gallery, or another network wrote it.
    """
    if top < 1:
        raise InputError(f"got top={top}; expected 1 or more")
    if gallery:
        z, frame = gallery_files.read(pathlib.Path(gallery))
    else:
        z, frame = gallery_files.own(network)
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
    network: Network,
    query: records.Split,
    results: list[dict],
    gallery: str,
    stem: pathlib.Path,
) -> pathlib.Path:
    """Draw a query and its neighbors; return the file."""
    images = _images_of(network, results, gallery)
    shown = {int(r["id"]): x for r, x in zip(results, images, strict=True)}
    shown[-1] = evaluation.as_rgb(network.images(query, np.array([0])))[0]
    path = stem.with_name(f"{stem.name}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
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
    splits = own_splits(network)
    for split in splits:
        row = np.flatnonzero(split.table["id"] == wanted)
        if row.size:
            return split.take(row)
    ids = np.concatenate([split.table["id"] for split in splits])
    raise InputError(
        f"got --query={query}; expected {OWN} and the id of one of the run's "
        f"{len(ids)} records, {ids.min()} to {ids.max()}"
    )


def _images_of(network: Network, results: list[dict], gallery: str) -> list[np.ndarray]:
    """Return images of results: of their files, or of the run's data."""
    places = []
    if gallery:
        for record in results:
            # Names of a table that was moved with its images lead nowhere.
            split, _ = network.experiment.read_records(record["path"])
            names = split.table["name"]
            name = record.get("name")
            places.append((split, names.index(name) if name in names else 0))
    else:
        row_of = {
            int(id_): (split, row)
            for split in own_splits(network)
            for row, id_ in enumerate(split.table["id"])
        }
        places = [row_of[int(record["id"])] for record in results]
    images = [network.images(split, np.array([row])) for split, row in places]
    return [evaluation.as_rgb(image)[0] for image in images]

"""Evaluating a network: embeddings of records, evaluators, floors, the gallery."""

import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from evaluators import floors
from input_pipeline import loader
from objectives._contract import Objective
from reporting import workdir as files
from train_lib import parallel

Embed = Callable[..., np.ndarray]
# Queries are drawn with a key of their own, so that every evaluation sees the same.
QUERY_KEY = 2**30


def make_embed(
    objective: Objective,
    center: Callable,
    query_view: Callable,
    mesh: Mesh,
    *,
    seed: int,
    batch_size: int,
    threads: int,
) -> Callable[[Any, Any], Embed]:
    """Builds `bind(params, extra) -> embed`, where `embed(split, rows, augmented)`.

    Args:
        objective: Method whose `embed` is used.
        center: `(batch) -> batch`, the whole picture.
        query_view: `(rng, batch) -> batch`, a training view in its place.
        mesh: Devices.
        seed: Of the augmented queries.
        batch_size: Records at a time; the last batch is padded.
        threads: Of the reader.

    Returns:
        `bind`; compiled once, however often it is bound.
    """
    key = jax.random.fold_in(jax.random.PRNGKey(seed), QUERY_KEY)

    def clean(variables, batch):
        return objective.embed(*variables, center(batch))

    def augmented(variables, batch):
        return objective.embed(*variables, query_view(key, batch))

    compiled = {
        False: parallel.parallel_embed(clean, mesh),
        True: parallel.parallel_embed(augmented, mesh),
    }

    def bind(params: Any, extra: Any) -> Embed:
        def embed(split, rows: np.ndarray, augmented: bool = False) -> np.ndarray:
            function, parts = compiled[bool(augmented)], []
            batches = loader.read_batches(
                split.take(rows), batch_size=batch_size, threads=threads
            )
            for batch, valid in batches:
                arrays = {k: batch[k] for k in ("image", "id")}
                z = function((params, extra), parallel.put_batch(arrays, mesh))
                parts.append(np.asarray(z, np.float32)[valid])
            return np.concatenate(parts)

        return embed

    return bind


def evaluate(evaluators: Mapping[str, Any], embed: Embed) -> dict[str, Any]:
    """Runs all evaluators: tag -> Metric."""
    metrics = {}
    for evaluator in evaluators.values():
        metrics |= evaluator.run(embed)
    return metrics


def floor_embeds(names: tuple[str, ...], untrained: Embed) -> dict[str, Embed]:
    """The embeddings that a trained network has to beat, by name."""
    known = {"pixels": floors.pixels, "untrained": lambda: untrained}
    return {name: known[name]() for name in names}


def write_gallery(
    workdir: pathlib.Path, evaluator: Any, data: Any, queries: int
) -> None:
    """Writes an evaluator's examples with the pictures of all records in them."""
    examples = evaluator.examples(queries)
    wanted = {e["query"] for e in examples}
    wanted |= {n["id"] for e in examples for n in e["neighbours"]}
    pictures, names = {}, {}
    for split in (data.train, data.validation):
        rows = np.flatnonzero(np.isin(split.table["id"], list(wanted)))
        if not rows.size:
            continue
        shown = zip(rows, split.read(rows), strict=True)
        for row, image in shown:
            record = int(split.table["id"][row])
            pictures[record], names[record] = image, split.table["name"][row]
    for example in examples:
        example["name"] = names.get(example["query"], "")
        for neighbour in example["neighbours"]:
            neighbour["name"] = names.get(neighbour["id"], "")
    files.write_gallery(workdir, examples, pictures)

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
            def encode(batch):
                placed = parallel.put_batch(batch, mesh)
                return compiled[bool(augmented)]((params, extra), placed)

            return _over_batches(encode, split, rows, batch_size, threads)

        return embed

    return bind


def make_pictures(
    query_view: Callable, *, seed: int, batch_size: int, threads: int
) -> Callable[..., np.ndarray]:
    """Builds `(split, rows) -> [m, s, s, 3]`, the augmented queries as pictures.

    The same views as `make_embed` embeds, if `query_view` draws them from the same key.
    """
    key = jax.random.fold_in(jax.random.PRNGKey(seed), QUERY_KEY)
    draw = jax.jit(lambda batch: query_view(key, batch)["image"])

    def pictures(split, rows: np.ndarray) -> np.ndarray:
        return _over_batches(draw, split, rows, batch_size, threads)

    return pictures


def _over_batches(
    function: Callable, split: Any, rows: np.ndarray, batch_size: int, threads: int
) -> np.ndarray:
    """What a function of batches gives for some rows of a split, in their order."""
    parts = []
    batches = loader.read_batches(
        split.take(rows), batch_size=batch_size, threads=threads
    )
    for batch, valid in batches:
        arrays = {
            "image": batch["image"],
            "id": batch["id"].astype(np.int32),
        }
        parts.append(np.asarray(function(arrays), np.float32)[valid])
    return np.concatenate(parts)


def evaluate(evaluators: Mapping[str, Any], embed: Embed) -> dict[str, Any]:
    """Runs all evaluators: tag -> Metric."""
    metrics = {}
    for evaluator in evaluators.values():
        metrics |= evaluator.run(embed)
    return metrics


def floor_embeds(
    names: tuple[str, ...], untrained: Embed, pictures: Callable
) -> dict[str, Embed]:
    """The embeddings that a trained network has to beat, by name."""
    known = {"pixels": floors.pixels(view=pictures), "untrained": untrained}
    return {name: known[name] for name in names}


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

"""Evaluating a network: embeddings of records, evaluators, baselines, the gallery."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from evaluators.baselines.common.baseline import Images
from evaluators.common.evaluator import Evaluation, EvaluatorBase
from evaluators.common.metric import Metrics
from evaluators.common.protocols import Embed
from input_pipeline import loader
from objectives.common.objective import Objective
from reporting import run_dir as files
from train_lib import parallel

# Columns that no view and no network looks at.
UNSEEN = ("label", "codes", "code_weights")
# Queries are drawn with a key of their own, so that every evaluation sees the same.
QUERY_KEY = 2**30


class NetworkInput:
    """What the network sees of records, a view and its changes compiled once.

    Args:
        see: `(view, changes) -> (rng, batch) -> batch` with the network's input as
            `image`; view None for records as they are.
        mesh: Devices.
        seed: Of what is random in the views; the same for every evaluation.
    """

    def __init__(self, see: Callable, mesh: Mesh, seed: int):
        self.mesh, self._see, self._compiled = mesh, see, {}
        self._key = jax.random.fold_in(jax.random.PRNGKey(seed), QUERY_KEY)

    def __call__(self, batch: dict, view: str | None = None, **changes: Any):
        """The input [n, ...] of a batch on devices."""
        name = view, tuple(sorted(changes.items()))
        if name not in self._compiled:
            see = self._see(view, changes)
            self._compiled[name] = parallel.parallel_embed(
                lambda key, batch: see(key, batch)["image"], self.mesh
            )
        return self._compiled[name](self._key, batch)


def make_embed(
    objective: Objective, network_input: NetworkInput, *, batch_size: int, threads: int
) -> Callable[[Any, Any], Embed]:
    """Builds `bind(params, extra) -> embed(split, rows, view, **changes)`.

    Args:
        objective: Method whose `embed` is used.
        network_input: What the network sees of a batch.
        batch_size: Records at a time; the last batch is padded.
        threads: Of the reader.

    Returns:
        `bind`; the network is compiled once, however often it is bound.
    """

    def encode(variables, image):
        return objective.embed(*variables, {"image": image})

    compiled = parallel.parallel_embed(encode, network_input.mesh)

    def bind(params: Any, extra: Any) -> Embed:
        def embed(split, rows: np.ndarray, view: str | None = None, **changes):
            def of_batch(batch):
                placed = parallel.put_batch(batch, network_input.mesh)
                return compiled((params, extra), network_input(placed, view, **changes))

            return _over_batches(of_batch, split, rows, batch_size, threads)

        return embed

    return bind


def make_images(
    show: Callable, network_input: NetworkInput, *, batch_size: int, threads: int
) -> Images:
    """Builds `(split, rows, view, **changes) -> [m, s, s, c]`, what people can look at.

    Args:
        show: `(batch, input or None) -> pictures`; None for records as they are.
        network_input: As in `make_embed`, so that what is shown is what is embedded.
        batch_size: Records at a time.
        threads: Of the reader.
    """
    show = jax.jit(show)

    def images(split, rows: np.ndarray, view: str | None = None, **changes):
        def of_batch(batch):
            placed = parallel.put_batch(batch, network_input.mesh)
            return show(
                placed, None if view is None else network_input(placed, view, **changes)
            )

        return _over_batches(of_batch, split, rows, batch_size, threads)

    return images


def _over_batches(
    function: Callable, split: Any, rows: np.ndarray, batch_size: int, threads: int
) -> np.ndarray:
    """What a function of batches gives for some rows of a split, in their order."""
    parts = []
    batches = loader.read_batches(
        split.take(rows), batch_size=batch_size, threads=threads
    )
    for batch, valid in batches:
        needed = {k: v for k, v in batch.items() if k not in UNSEEN}
        parts.append(np.asarray(function(needed))[valid])
    return np.concatenate(parts)


def evaluate(
    evaluators: Mapping[str, EvaluatorBase], embed: Embed, skip: Sequence[str] = ()
) -> dict[str, Evaluation]:
    """Run all evaluators but those to skip: name of the set -> its evaluation."""
    return {
        name: evaluator.run(embed)
        for name, evaluator in evaluators.items()
        if name not in skip
    }


def joined_metrics(evaluations: Mapping[str, Evaluation]) -> Metrics:
    """Return the metrics of all sets: tag -> Metric."""
    metrics: Metrics = {}
    for evaluation in evaluations.values():
        metrics |= evaluation.metrics
    return metrics


def write_examples(
    workdir: pathlib.Path, examples: list[dict], data: Any, images: Images
) -> None:
    """Write the examples of an evaluation with the pictures of all records in them.

    Args:
        workdir: Of the run.
        examples: As `Evaluation.examples` returns them.
        data: All its splits are searched for the records.
        images: As `make_images` builds it.
    """
    wanted = {e["query"] for e in examples}
    wanted |= {n["id"] for e in examples for n in e["neighbors"]}
    shown, names = {}, {}
    for split in (data.train, data.validation, *data.extra.values()):
        rows = np.flatnonzero(np.isin(split.table["id"], list(wanted)))
        if not rows.size:
            continue
        for row, image in zip(rows, as_rgb(images(split, rows)), strict=True):
            record = int(split.table["id"][row])
            shown[record], names[record] = image, split.table["name"][row]
    for example in examples:
        example["name"] = names.get(example["query"], "")
        for neighbor in example["neighbors"]:
            neighbor["name"] = names.get(neighbor["id"], "")
    files.write_examples(workdir, examples, shown)


def as_rgb(pictures: np.ndarray) -> np.ndarray:
    """Pictures uint8 [m, h, w, 3] of such, or of floats in 0..1, gray or in color."""
    if pictures.dtype != np.uint8:
        pictures = np.uint8(np.clip(pictures * 255 + 0.5, 0, 255))
    return np.broadcast_to(pictures, (*pictures.shape[:3], 3))

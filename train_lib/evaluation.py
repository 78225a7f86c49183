"""Evaluate a network: embeddings, evaluators, baselines and examples."""

import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
from jax.sharding import Mesh

from evaluators.baselines.common.baseline import Images
from evaluators.common.evaluator import Evaluation, EvaluatorBase
from evaluators.common.metric import Metrics
from evaluators.common.protocols import Embed
from field_types import Config
from input_pipeline import loader
from input_pipeline.dataset import Split
from objectives.common.objective import Objective, Tree
from reporting import examples as example_files
from train_lib import parallel
from train_lib.experiment import Experiment
from train_lib.train_step import Augment

BindEmbed: TypeAlias = Callable[[Tree, Tree], Embed]
# `(view, changes) -> (rng, batch) -> batch` with the network's input as `image`.
Select: TypeAlias = Callable[[str | None, Mapping[str, Any]], Augment]
# Columns that no view and no network looks at.
UNSEEN = ("label", "codes", "code_weights")
# Queries are drawn with a key of their own, so that every evaluation sees the same.
QUERY_KEY = 2**30


class NetworkInput:
    """Function from batches to network input, compiled once a view and its changes.

    Args:
        select: Function of a view and changes of its fields; view None for records as
            they are.
        mesh: Devices.
        seed: Of what is random in the views; the same for every evaluation.
    """

    def __init__(self, select: Select, mesh: Mesh, seed: int):
        self.mesh, self._select, self._compiled = mesh, select, {}
        self._key = jax.random.fold_in(jax.random.PRNGKey(seed), QUERY_KEY)

    def __call__(self, batch: dict, view: str | None = None, **changes: Any):
        """Return the network input [n, ...] of a batch on devices."""
        name = view, tuple(sorted(changes.items()))
        if name not in self._compiled:
            select = self._select(view, changes)
            self._compiled[name] = parallel.parallel_embed(
                lambda key, batch: select(key, batch)["image"], self.mesh
            )
        return self._compiled[name](self._key, batch)


def network_input(experiment: Experiment, mesh: Mesh) -> NetworkInput:
    """Return the function from batches to what the network sees of them."""

    def select(view: str | None, changes: Mapping[str, Any]) -> Augment:
        changed = experiment.transform.changed(view, **changes)
        if view is None:
            return lambda rng, batch: changed.center(batch)
        return lambda rng, batch: changed.view(view, rng, batch)

    return NetworkInput(select, mesh, experiment.config.seed)


def make_embed(
    experiment: Experiment, objective: Objective, network_input: NetworkInput
) -> BindEmbed:
    """Return `bind(params, extra)`, which returns an embed function.

    Args:
        experiment: Parts of the run.
        objective: Method whose `embed` is used.
        network_input: What the network sees of a batch.

    Returns:
        The function; the network is compiled once, however often it is bound.
    """

    def encode(variables: tuple[Tree, Tree], image: jax.Array) -> jax.Array:
        params, extra = variables
        return objective.embed(params, extra, {"image": image})

    compiled = parallel.parallel_embed(encode, network_input.mesh)

    def bind(params: Any, extra: Any) -> Embed:
        def embed(split, rows: np.ndarray, view: str | None = None, **changes):
            def of_batch(batch):
                placed = parallel.put_batch(batch, network_input.mesh)
                return compiled((params, extra), network_input(placed, view, **changes))

            return _over_batches(experiment.config, of_batch, split, rows)

        return embed

    return bind


def make_images(experiment: Experiment, network_input: NetworkInput) -> Images:
    """Return the function that shows what is embedded of records.

    Args:
        experiment: Parts of the run.
        network_input: The function that `make_embed` got, so that what is shown is
            what is embedded.

    Returns:
        `images(split, rows, view=None, **changes)`, [m, s, s, c] uint8 or in 0..1.
    """
    show = jax.jit(experiment.transform.images)

    def images(split, rows: np.ndarray, view: str | None = None, **changes):
        def of_batch(batch):
            placed = parallel.put_batch(batch, network_input.mesh)
            return show(
                placed, None if view is None else network_input(placed, view, **changes)
            )

        return _over_batches(experiment.config, of_batch, split, rows)

    return images


def _over_batches(
    config: Config,
    function: Callable[[dict], jax.Array],
    split: Split,
    rows: np.ndarray,
) -> np.ndarray:
    """Return what a function of batches gives for rows of a split, in their order."""
    parts = []
    batches = loader.read_batches(
        split.take(rows),
        batch_size=config.evaluate.batch_size,
        threads=config.train.threads,
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
    """Write the examples of an evaluation with the images of all records in them.

    Args:
        workdir: Workdir of the run.
        examples: Examples from `Evaluation.examples`.
        data: All its splits are searched for the records.
        images: Function from `make_images`.
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
    example_files.write(workdir, examples, shown)


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Return images as uint8 [m, h, w, 3].

    Args:
        images: uint8, or floats in 0..1, [m, h, w, c] with one or three channels.
    """
    if images.dtype != np.uint8:
        images = np.clip(images * 255 + 0.5, 0, 255).astype(np.uint8)
    return np.broadcast_to(images, (*images.shape[:3], 3))

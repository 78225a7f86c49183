"""Initialize networks from another run or from a file of weights."""

import importlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from absl import logging

from evaluators.common.protocols import Embed
from field_types import Config
from reporting import run_dir as files
from train_lib import evaluation, parallel, restoration
from train_lib.errors import InputError
from train_lib.experiment import Build, Experiment

Tree = Any
PROJECTOR = "projector"
# Files of weights in a folder as Hugging Face's `save_pretrained` writes it.
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_EXPECTED = (
    f"the workdir of a run, a file of weights or a folder with {' or '.join(WEIGHTS)}"
)


def check_path(config: Config) -> None:
    """Refuse a `model.init_from` that is not there, before any data is read.

    Raises:
        InputError: It is neither a file, nor a folder with a file of weights, nor the
            workdir of a run with a checkpoint.
    """
    path = config.model.init_from
    if not path:
        return
    if not os.path.exists(path):
        raise InputError(
            f"config.model.init_from: got {path!r}, which does not exist; expected "
            f"{_EXPECTED}"
        )
    if _weights_file(path):
        return
    try:
        trained = files.read_config(path) and files.checkpoint_steps(path)
    except files.FormatError as error:
        raise InputError(f"config.model.init_from: {error}") from None
    if not trained:
        raise InputError(
            f"config.model.init_from: got {path!r}, which has no checkpoint of a run; "
            f"expected {_EXPECTED}"
        )


def start_from(experiment: Experiment, params: Tree, extra: Tree) -> tuple[Tree, Tree]:
    """Return parameters and other state with the network of `model.init_from`.

    Every copy of the network is replaced, so that a target network starts as the online
    one does. A projector comes along where both have one of the same shapes; other
    heads stay as they are.

    Args:
        experiment: Parts of the new run. `model.init_from` is the workdir of a run with
            the same network, a file that `models/pretrained/<name>.py` reads, a folder
            with such a file as Hugging Face writes it, or "".
        params: Parameters of the first state.
        extra: Other state of the first state.

    Raises:
        InputError: Nothing is there, or it does not fit; names what does not.
    """
    config = experiment.config
    path = config.model.init_from
    if not path:
        return params, extra
    shapes = experiment.network_shapes()
    weights = _weights_file(path)
    if weights:
        new = _of_file(experiment, weights, shapes)
    else:
        other, _, restored = restoration.read_run(path, "latest", _builder(experiment))
        state = restored.state
        new = _of_run(config, path, shapes, other.config, state)
        theirs = {"params": state.params, "extra": state.extra}
        params, extra = (_with_projector(tree, theirs) for tree in (params, extra))
    for kind, template in shapes.items():
        if jax.tree.leaves(template):
            params = _replaced(params, template, new[kind])
            extra = _replaced(extra, template, new[kind])
    return params, extra


def other_embed(experiment: Experiment) -> Embed | None:
    """Return the embed function of the run that a run starts from.

    Args:
        experiment: Parts of the new run.

    Returns:
        The function, or None if `model.init_from` is no workdir.
    """
    path = experiment.config.model.init_from
    if not path or _weights_file(path):
        return None
    build = _builder(experiment)
    other, objective, restored = restoration.read_run(path, "latest", build)
    mesh = parallel.make_mesh()
    network_input = evaluation.network_input(other, mesh)
    bind = evaluation.make_embed(other, objective, network_input)
    state = restored.state
    return bind(*parallel.put_state((state.params, state.extra), mesh))


def _weights_file(path: str) -> str:
    """Return the file of weights that a path means; "" for the workdir of a run.

    Raises:
        InputError: A folder is neither a workdir nor has weights in one file.
    """
    folder = pathlib.Path(path).expanduser()
    if not folder.is_dir():
        return str(folder)
    for name in WEIGHTS:
        if (folder / name).is_file():
            return str(folder / name)
    for name in WEIGHTS:
        if (folder / f"{name}.index.json").is_file():
            raise InputError(
                f"config.model.init_from: {path} holds weights in several files; "
                "expected one, as save_pretrained(folder, max_shard_size='100GB') "
                "writes it"
            )
    if not (folder / files.CHECKPOINTS).is_dir():
        raise InputError(
            f"config.model.init_from: got {path!r}, a folder without "
            f"{files.CHECKPOINTS} and weights; expected {_EXPECTED}"
        )
    return ""


def _builder(experiment: Experiment) -> Build:
    return experiment.build or Experiment.from_config


def _of_run(
    config: Config, path: str, shapes: Mapping, other: Config, state: Any
) -> dict[str, Tree]:
    """Return the collections of the network in another run's state."""
    collections = {}
    for kind, template in shapes.items():
        if not jax.tree.leaves(template):
            continue
        copies = [*_copies(state.params, template), *_copies(state.extra, template)]
        if not copies:
            differ = [
                f"{name} = {value} there and {config.model[name]} here"
                for name, value in other.model.items()
                if name in config.model and config.model[name] != value
            ]
            raise InputError(
                f"config.model.init_from: the run in {path} has another network than "
                f"config.model ({'; '.join(differ) or other.model.name})"
            )
        collections[kind] = copies[0]
    return collections


def _of_file(experiment: Experiment, path: str, shapes: Mapping) -> dict[str, Tree]:
    """Return the collections of the network in a file of weights."""
    config = experiment.config
    name = config.model.name
    folder = pathlib.Path(__file__).resolve().parents[1] / "models" / "pretrained"
    if not pathlib.Path(path).is_file():
        raise InputError(f"config.model.init_from: got {path!r}; expected {_EXPECTED}")
    if not (folder / f"{name}.py").is_file():
        importers = sorted(file.stem for file in folder.glob("*.py"))
        raise InputError(
            f"config.model.init_from: got a file for {config.model.name!r}, which "
            "starts from a run's workdir alone; files are read for "
            f"{', '.join(importers)}"
        )
    start = experiment.network_variables()
    try:
        return importlib.import_module(f"models.pretrained.{name}").load(path, start)
    except ValueError as error:
        raise InputError(f"config.model.init_from: {error}") from None


def _with_projector(tree: Tree, theirs: Tree) -> Tree:
    """Return a tree with the projectors of another run, where shapes agree."""
    if not isinstance(tree, Mapping):
        return tree
    new = {name: _with_projector(part, theirs) for name, part in tree.items()}
    if jax.tree.leaves(new.get(PROJECTOR)):
        copies = _copies(theirs, new[PROJECTOR])
        if copies:
            logging.info("a projector starts as in the other run")
            new[PROJECTOR] = _replaced(new[PROJECTOR], new[PROJECTOR], copies[0])
    return new


def _is_copy(tree: Tree, template: Tree) -> bool:
    if jax.tree.structure(tree) != jax.tree.structure(template):
        return False
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(template), strict=True)
    return all(np.shape(x) == y.shape for x, y in pairs)


def _copies(tree: Tree, template: Tree) -> list[Tree]:
    """Return the subtrees with the structure and shapes of a template."""
    if _is_copy(tree, template):
        return [tree]
    parts = tree.values() if isinstance(tree, Mapping) else ()
    return [copy for part in parts for copy in _copies(part, template)]


def _replaced(tree: Tree, template: Tree, new: Tree) -> Tree:
    if _is_copy(tree, template):
        return jax.tree.map(lambda old, x: np.asarray(x, old.dtype), tree, new)
    if isinstance(tree, Mapping):
        return {name: _replaced(part, template, new) for name, part in tree.items()}
    return tree

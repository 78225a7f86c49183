"""Weights of a Mamba in the layout of Hugging Face's MambaModel."""

from typing import Any

import numpy as np

from models.pretrained.common import assign as assign_lib

Tree = Any

HEADS = ("embeddings", "embedding", "lm_head")

_MIXER = {
    "in_proj": "in_proj.weight",
    "x_proj": "x_proj.weight",
    "out_proj": "out_proj.weight",
    "dt_kernel": "dt_proj.weight",
    "dt_bias": "dt_proj.bias",
    "conv_kernel": "conv1d.weight",
    "conv_bias": "conv1d.bias",
    "a_log": "A_log",
    "d": "D",
}


def load(path: str, variables: Tree) -> Tree:
    """Variables of `mamba.Model` with the weights of a file.

    Args:
        path: What `assign.read` reads, of a MambaModel, or of a MambaForCausalLM, whose
            vocabulary is left.
        variables: Variables of the model; its input projection, where there is one,
            stays.

    Raises:
        ValueError: The file cannot be read, or tensors do not fit; names them.
    """
    params = {"params": variables["params"]}
    return assign_lib.assign_published(params, assign_lib.read(path), [_source], HEADS)


def _source(path: tuple[str, ...]) -> assign_lib.Source | None:
    _, part, *rest = path
    if part == "input":
        return None
    if part == "final":
        return assign_lib.Source("norm_f.weight")
    kind, number = part.rsplit("_", 1)
    if kind == "norms":
        return assign_lib.Source(f"layers.{number}.norm.weight")
    change = {
        "in_proj": np.transpose,
        "x_proj": np.transpose,
        "out_proj": np.transpose,
        "dt_kernel": np.transpose,
        "conv_kernel": lambda w: w[:, 0].T,  # [e, 1, k] -> [k, e]
    }.get(rest[0], np.asarray)
    return assign_lib.Source(f"layers.{number}.mixer.{_MIXER[rest[0]]}", change)

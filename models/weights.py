"""Weights made elsewhere, put into our trees: each tensor fits, or is named."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

Tree = Any
LISTED = 10  # names of each kind in an error


class Source(NamedTuple):
    """Where a parameter comes from.

    Attributes:
        name: Of the tensor in the file.
        change: From the file's axes to ours.
    """

    name: str
    change: Callable[[np.ndarray], np.ndarray] = np.asarray


def read(path: str) -> dict[str, np.ndarray]:
    """Tensors of a safetensors file, by name; no code in it can run.

    Raises:
        ValueError: It is no such file.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}); expected a file such as "
            "model.safetensors"
        ) from None


def assign(
    params: Tree,
    tensors: Mapping[str, np.ndarray],
    source_of: Callable[[tuple[str, ...]], Source | None],
    spare: Callable[[str], bool] = lambda name: False,
) -> Tree:
    """Parameters with values from a file.

    Args:
        params: Tree with the shapes that are wanted.
        tensors: By name.
        source_of: From the path of a parameter to its tensor; None keeps the parameter.
        spare: Whether a tensor that nobody wants may be left over.

    Returns:
        The tree, float32 as in `params`.

    Raises:
        ValueError: Tensors are missing, left over or of another shape; names all.
    """
    missing, misshapen, used = [], [], set()

    def pick(path, old):
        """The tensor of one parameter, or what it was where nothing is its source."""
        source = source_of(tuple(str(key.key) for key in path))
        if source is None:
            return old
        if source.name not in tensors:
            missing.append(source.name)
            return old
        used.add(source.name)
        new = source.change(np.asarray(tensors[source.name], np.float32))
        if new.shape != old.shape:
            shapes = f"{list(new.shape)}, expected {list(old.shape)}"
            misshapen.append(f"{source.name} (got {shapes})")
            return old
        return new.astype(old.dtype)

    new = jax.tree_util.tree_map_with_path(pick, params)
    extra = [name for name in tensors if name not in used and not spare(name)]
    kinds = {"missing": missing, "left over": extra, "of another shape": misshapen}
    if faults := [
        f"{kind}: {_listed(names)}" for kind, names in kinds.items() if names
    ]:
        raise ValueError("tensors do not fit the network; " + "; ".join(faults))
    return new


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more

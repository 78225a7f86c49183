"""Weights made elsewhere, put into our trees: each tensor fits, or is named."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from models.pretrained.common import torch_checkpoint

Tree = Any
LISTED = 10  # names of each kind in an error
# What may stand before the names of a network that was part of something larger.
OWNERS = (
    "module", "_orig_mod", "model", "backbone", "encoder", "encoder_q", "base_encoder",
    "resnet", "efficientnet",
)  # fmt: skip

_OF_TORCH = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}


class Source(NamedTuple):
    """Where a parameter comes from.

    Attributes:
        name: Name of the tensor in the file.
        change: From the file's axes to ours.
    """

    name: str
    change: Callable[[np.ndarray], np.ndarray] = np.asarray


Layout = Callable[[tuple[str, ...]], Source | None]  # of the path of a leaf


def read(path: str) -> dict[str, np.ndarray]:
    """Tensors of a file, by name; no code in it can run.

    Args:
        path: Of safetensors, or of what `torch.save` of torch 1.6 or newer made of a
            state dict (`.pth`, `.pt`, `.bin`), told apart by their first bytes.

    Raises:
        ValueError: It is no such file.
    """
    try:
        with open(path, "rb") as file:
            start = file.read(4)
        if start == torch_checkpoint.ZIP:
            return torch_checkpoint.read(path)
        if start == torch_checkpoint.LEGACY:
            raise ValueError(
                f"{path} has the format of torch before 1.6; save it again: "
                "torch.save(torch.load(path, weights_only=True), path)"
            )
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(
            f"{path} cannot be read as safetensors ({error}); expected a file such as "
            "model.safetensors or model.pth"
        ) from None


def convolution(weight: np.ndarray) -> np.ndarray:
    """A kernel `[out, in, h, w]` of torch as `[h, w, in, out]`."""
    return weight.transpose(2, 3, 1, 0)


def gray_convolution(weight: np.ndarray) -> np.ndarray:
    """A kernel over red, green and blue as one over gray, their sum.

    A gray picture x gives what (x, x, x) gave: Σ_c w_c x = (Σ_c w_c) x.
    """
    return convolution(weight.sum(1, keepdims=True) if weight.shape[1] == 3 else weight)


def pointwise(weight: np.ndarray) -> np.ndarray:
    """A kernel `[out, in, 1, 1]` of torch as that of a dense layer, `[in, out]`."""
    return weight.squeeze((2, 3)).T


def of_torch(
    module: str, leaf: str, kernel: Callable[[np.ndarray], np.ndarray] = convolution
) -> Source:
    """Source of a leaf of a convolution or BatchNorm in a module of torch."""
    change = kernel if leaf == "kernel" else np.asarray
    return Source(f"{module}.{_OF_TORCH[leaf]}", change)


def assign_published(
    variables: Tree,
    tensors: Mapping[str, np.ndarray],
    layouts: Sequence[Layout],
    heads: tuple[str, ...],
) -> Tree:
    """Variables with values from a file, in whichever layout names most of its tensors.

    Names may begin with some of `OWNERS`, as in "module.encoder.conv1.weight"; tensors
    that do not then belong to other parts and are left, as are heads and BatchNorm's
    counters.

    Args:
        variables: Collections with the shapes that are wanted.
        tensors: By name.
        layouts: Each from the path of a leaf, its collection first, to its tensor.
        heads: First parts of names that may be left over.

    Raises:
        ValueError: Tensors are missing, left over or of another shape, names all; or
            the network is there more than once.
    """
    paths = [_path(path) for path, _ in jax.tree_util.tree_leaves_with_path(variables)]
    counts = {}
    for prefix in {p for name in tensors for p in _prefixes(name)}:
        for layout in layouts:
            sources = filter(None, map(layout, paths))
            counts[prefix, layout] = sum(prefix + s.name in tensors for s in sources)
    most = max(counts.values(), default=0)
    best = [choice for choice, count in counts.items() if count == most]
    if most and len(best) > 1:
        places = _listed([prefix + "*" for prefix, _ in best])
        raise ValueError(f"the network is there more than once: {places}; expected one")
    prefix, layout = best[0] if most else ("", layouts[0])

    def source_of(path):
        source = layout(path)
        return source and Source(prefix + source.name, source.change)

    def spare(name):
        own = name.removeprefix(prefix)
        return (
            not name.startswith(prefix)
            or own.startswith(tuple(f"{head}." for head in heads))
            or own.endswith("num_batches_tracked")
        )

    return assign(variables, tensors, source_of, spare)


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
        source = source_of(_path(path))
        if source is None:
            return old
        if source.name not in tensors:
            missing.append(source.name)
            return old
        used.add(source.name)
        new = np.asarray(tensors[source.name], np.float32)
        try:
            new = source.change(new)
        except (ValueError, IndexError):  # other axes than it has: named below
            pass
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


def _path(keys: tuple) -> tuple[str, ...]:
    return tuple(str(key.key) for key in keys)


def _prefixes(name: str) -> Iterator[str]:
    """Beginnings of a name that `OWNERS` may have put there, "" among them."""
    prefix = ""
    yield prefix
    for part in name.split("."):
        if part not in OWNERS:
            return
        prefix += f"{part}."
        yield prefix


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(sorted(names)[:LISTED]) + more

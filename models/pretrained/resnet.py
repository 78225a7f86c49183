"""Weights of a ResNet as torchvision, timm and Hugging Face name them."""

import functools
from collections.abc import Callable
from typing import Any

from models.pretrained.common import assign

Tree = Any

HEADS = ("fc", "classifier")


def load(path: str, variables: Tree) -> Tree:
    """Variables of `resnet.Model` with the weights of a file.

    ResNet-18 and 34 have `block` "basic", ResNet-50 "bottleneck"; `stem` is "imagenet",
    padding and ε = 1e-5 are those of all three libraries. The classifier of the file is
    left, the projection of the model stays. Where the model has one input channel and
    the file three, the kernels of the stem are summed over the channels, as timm does:
    a gray picture then gives what three equal channels gave.

    Args:
        path: What `assign.read` reads, of torchvision's or timm's ResNet or of Hugging
            Face's ResNetModel or ResNetForImageClassification.
        variables: Variables of the model.

    Raises:
        ValueError: The file cannot be read, or tensors do not fit; names them.
    """
    gray = variables["params"]["stem"]["kernel"].shape[2] == 1
    layouts = [
        functools.partial(_source, module, gray)
        for module in (_torchvision, _transformers)
    ]
    return assign.assign_published(variables, assign.read(path), layouts, HEADS)


def _source(
    module: Callable[[str], str], gray: bool, path: tuple[str, ...]
) -> assign.Source | None:
    _, part, leaf = path
    if part == "projection":
        return None
    summed = gray and part == "stem"
    kernel = assign.gray_convolution if summed else assign.convolution
    return assign.of_torch(module(part), leaf, kernel)


def _torchvision(part: str) -> str:
    """The module of one of our layers, as in torchvision and timm."""
    if not part.startswith("block"):
        return {"stem": "conv1", "stem_norm": "bn1"}[part]
    _, stage, block, layer = part.split("_", 3)
    layer = {"skip": "downsample.0", "skip_norm": "downsample.1"}.get(layer, layer)
    return f"layer{int(stage) + 1}.{block}.{layer.replace('norm', 'bn')}"


def _transformers(part: str) -> str:
    """The module of one of our layers, as in Hugging Face's transformers."""
    kind = "normalization" if "norm" in part else "convolution"
    if not part.startswith("block"):
        return f"embedder.embedder.{kind}"
    _, stage, block, layer = part.split("_", 3)
    within = "shortcut" if "skip" in layer else f"layer.{int(layer[-1]) - 1}"
    return f"encoder.stages.{stage}.layers.{block}.{within}.{kind}"

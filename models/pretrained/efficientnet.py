"""Weights of an EfficientNet as torchvision, timm and Hugging Face name them."""

import functools
import itertools
from collections.abc import Mapping
from typing import Any, NamedTuple

from models.efficientnet import B0
from models.pretrained.common import assign

Tree = Any

HEADS = ("classifier",)

_POINTWISE = ("expand", "squeeze", "excite", "project", "head")


class _Names(NamedTuple):
    """How a library calls our layers.

    Attributes:
        ends: What stands before and after the blocks.
        place: Position of a layer in a block; the stem is at position 0.
        first: Layers of a block that does not expand.
        block: Layers of the other blocks.
    """

    ends: Mapping[str, str]
    place: str
    first: Mapping[str, str]
    block: Mapping[str, str]


_TORCHVISION = _Names(
    ends={
        "stem": "features.0.0",
        "stem_norm": "features.0.1",
        "head": "features.8.0",
        "head_norm": "features.8.1",
    },
    place="features.{position}.{repeat}.block.{layer}",
    first={
        "depthwise": "0.0",
        "depthwise_norm": "0.1",
        "squeeze": "1.fc1",
        "excite": "1.fc2",
        "project": "2.0",
        "project_norm": "2.1",
    },
    block={
        "expand": "0.0",
        "expand_norm": "0.1",
        "depthwise": "1.0",
        "depthwise_norm": "1.1",
        "squeeze": "2.fc1",
        "excite": "2.fc2",
        "project": "3.0",
        "project_norm": "3.1",
    },
)
_TIMM = _Names(
    ends={
        "stem": "conv_stem",
        "stem_norm": "bn1",
        "head": "conv_head",
        "head_norm": "bn2",
    },
    place="blocks.{stage}.{repeat}.{layer}",
    first={
        "depthwise": "conv_dw",
        "depthwise_norm": "bn1",
        "squeeze": "se.conv_reduce",
        "excite": "se.conv_expand",
        "project": "conv_pw",
        "project_norm": "bn2",
    },
    block={
        "expand": "conv_pw",
        "expand_norm": "bn1",
        "depthwise": "conv_dw",
        "depthwise_norm": "bn2",
        "squeeze": "se.conv_reduce",
        "excite": "se.conv_expand",
        "project": "conv_pwl",
        "project_norm": "bn3",
    },
)
_TRANSFORMERS_BLOCK = {
    "expand": "expansion.expand_conv",
    "expand_norm": "expansion.expand_bn",
    "depthwise": "depthwise_conv.depthwise_conv",
    "depthwise_norm": "depthwise_conv.depthwise_norm",
    "squeeze": "squeeze_excite.reduce",
    "excite": "squeeze_excite.expand",
    "project": "projection.project_conv",
    "project_norm": "projection.project_bn",
}
_TRANSFORMERS = _Names(
    ends={
        "stem": "embeddings.convolution",
        "stem_norm": "embeddings.batchnorm",
        "head": "encoder.top_conv",
        "head_norm": "encoder.top_bn",
    },
    place="encoder.blocks.{index}.{layer}",
    first=_TRANSFORMERS_BLOCK,
    block=_TRANSFORMERS_BLOCK,
)


def load(path: str, variables: Tree) -> Tree:
    """Variables of `efficientnet.Model` with the weights of a file.

    Names do not say how a network pads. Weights trained in torch, as torchvision's and
    timm's `efficientnet_*`, need `padding` "torch" and ε = 1e-5; weights that came from
    TensorFlow, as Hugging Face's and timm's `tf_efficientnet_*`, need "tf" and 1e-3.
    The classifier of the file is left. Where the model has one input channel and the
    file three, the kernels of the stem are summed over the channels, as timm does: a
    gray picture then gives what three equal channels gave.

    Args:
        path: What `assign.read` reads, of torchvision's or timm's EfficientNet or of
            Hugging Face's EfficientNetModel or EfficientNetForImageClassification.
        variables: Variables of the model, of any width and depth.

    Raises:
        ValueError: The file cannot be read, or tensors do not fit; names them.
    """
    params = variables["params"]
    gray = params["stem"]["kernel"].shape[2] == 1
    places = _places(sum(part.endswith("_project") for part in params))
    layouts = [
        functools.partial(_source, names, places, gray)
        for names in (_TORCHVISION, _TIMM, _TRANSFORMERS)
    ]
    return assign.assign_published(variables, assign.read(path), layouts, HEADS)


def _places(blocks: int) -> list[tuple[int, int]]:
    """Stage and repeat of each block of a network with so many.

    A stage of r blocks has ⌈depth r⌉ of them and r is 1 to 4, so that the twelfths meet
    every network of the family.
    """
    depths = ([-(-n * s.repeats // 12) for s in B0] for n in itertools.count(1))
    repeats = next(repeats for repeats in depths if sum(repeats) >= blocks)
    return [(stage, i) for stage, n in enumerate(repeats) for i in range(n)]


def _source(
    names: _Names, places: list[tuple[int, int]], gray: bool, path: tuple[str, ...]
) -> assign.Source:
    _, part, leaf = path
    if part in names.ends:
        module = names.ends[part]
    else:
        _, index, part = part.split("_", 2)
        stage, repeat = places[int(index)]
        layer = (names.first if B0[stage].expand == 1 else names.block)[part]
        module = names.place.format(
            index=int(index),
            stage=stage,
            position=stage + 1,
            repeat=repeat,
            layer=layer,
        )
    kernel = assign.pointwise if part in _POINTWISE else assign.convolution
    if part == "stem" and gray:
        kernel = assign.gray_convolution
    return assign.of_torch(module, leaf, kernel)

"""The same network and the same MoCo v3 step in PyTorch, to be timed beside ours."""

import copy
import math

import torch
from torch import nn
from torch.nn import functional

STAGES = (  # expand, kernel, stride, features, repeats
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def convolution(inputs: int, features: int, kernel: int = 1, **fields) -> nn.Sequential:
    """Convolution, BatchNorm and, unless `act=False`, SiLU."""
    act = fields.pop("act", True)
    layers = [
        nn.Conv2d(inputs, features, kernel, padding=kernel // 2, bias=False, **fields),
        nn.BatchNorm2d(features),
    ]
    return nn.Sequential(*layers, *([nn.SiLU(inplace=True)] if act else []))


class SqueezeExcite(nn.Module):
    """Gates the channels by their means."""

    def __init__(self, features: int, squeezed: int):
        super().__init__()
        self.squeeze = nn.Conv2d(features, squeezed, 1)
        self.excite = nn.Conv2d(squeezed, features, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = functional.silu(self.squeeze(x.mean((2, 3), keepdim=True)), inplace=True)
        return x * torch.sigmoid(self.excite(z))


class Block(nn.Module):
    """MBConv with stochastic depth a record."""

    def __init__(self, expand, kernel, stride, inputs, features, rate):
        super().__init__()
        wide = inputs * expand
        self.residual = stride == 1 and inputs == features
        self.rate = rate
        self.branch = nn.Sequential(
            *([convolution(inputs, wide)] if expand > 1 else []),
            convolution(wide, wide, kernel, stride=stride, groups=wide),
            SqueezeExcite(wide, inputs // 4),
            convolution(wide, features, act=False),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.branch(x)
        if not self.residual:
            return y
        if self.training and self.rate:
            keep = torch.empty(len(x), 1, 1, 1).bernoulli_(1 - self.rate)
            y = y * keep.div_(1 - self.rate)
        return x + y


class EfficientNetB0(nn.Module):
    """EfficientNet-B0 up to the pooled features, in channels_last."""

    def __init__(self, stochastic_depth: float = 0.2, dropout: float = 0.2):
        super().__init__()
        blocks, inputs, total = [], 32, sum(stage[-1] for stage in STAGES)
        for expand, kernel, stride, features, repeats in STAGES:
            for repeat in range(repeats):
                rate = stochastic_depth * len(blocks) / total
                step = stride if repeat == 0 else 1
                blocks.append(Block(expand, kernel, step, inputs, features, rate))
                inputs = features
        self.stem = convolution(3, 32, 3, stride=2)
        self.blocks = nn.Sequential(*blocks)
        self.head = convolution(inputs, 1280)
        self.dropout = nn.Dropout(dropout)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.dropout(x.mean((2, 3)))

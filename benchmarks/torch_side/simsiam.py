"""The same network and the same SimSiam step in PyTorch, to be timed beside ours."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.common.worker import SIMSIAM
from benchmarks.torch_side.moco import VERSION, start
from benchmarks.torch_side.views import make_views

__all__ = ["VERSION", "gradient", "start", "step"]


def convolution(inputs: int, features: int, kernel: int, stride: int) -> nn.Sequential:
    """Convolution and BatchNorm."""
    return nn.Sequential(
        nn.Conv2d(inputs, features, kernel, stride, kernel // 2, bias=False),
        nn.BatchNorm2d(features),
    )


class Block(nn.Module):
    """Two 3×3 convolutions beside a skip connection, which they start without."""

    def __init__(self, inputs: int, features: int, stride: int):
        super().__init__()
        self.branch = nn.Sequential(
            convolution(inputs, features, 3, stride),
            nn.ReLU(inplace=True),
            convolution(features, features, 3, 1),
        )
        nn.init.zeros_(self.branch[-1][-1].weight)
        same = stride == 1 and inputs == features
        self.skip = None if same else convolution(inputs, features, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """relu(x + branch), x projected on a change of shape."""
        y = self.branch(x)
        y += x if self.skip is None else self.skip(x)
        return functional.relu(y, inplace=True)


class ResNet18(nn.Module):
    """ResNet-18 up to the pooled features, in channels_last."""

    def __init__(self):
        super().__init__()
        blocks, inputs = [], 64
        for features in (64, 128, 256, 512):
            blocks.append(Block(inputs, features, 1 if features == 64 else 2))
            blocks.append(Block(features, features, 1))
            inputs = features
        self.stem = nn.Sequential(
            convolution(3, 64, 7, 2), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
        )
        self.blocks = nn.Sequential(*blocks)
        self.to(memory_format=torch.channels_last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps `[n, 3, h, w]` to features `[n, 512]`."""
        return self.blocks(self.stem(x)).mean((2, 3))


class SimSiam(nn.Module):
    """Encoder and predictor."""

    def __init__(self, hidden: int, features: int, bottleneck: int):
        super().__init__()
        self.encoder = nn.Sequential(
            ResNet18(),
            *_hidden(512, hidden),
            *_hidden(hidden, hidden),
            nn.Linear(hidden, features, bias=False),
            nn.BatchNorm1d(features, affine=False),
        )
        self.predictor = nn.Sequential(
            *_hidden(features, bottleneck), nn.Linear(bottleneck, features)
        )

    def forward(self, views: list[torch.Tensor]) -> torch.Tensor:
        """The loss of both directions; each view has its own pass."""
        z1, z2 = (self.encoder(x) for x in views)
        there = functional.cosine_similarity(self.predictor(z1), z2.detach()).mean()
        back = functional.cosine_similarity(self.predictor(z2), z1.detach()).mean()
        return -(there + back) / 2


def _hidden(inputs: int, features: int) -> tuple[nn.Module, ...]:
    linear = nn.Linear(inputs, features, bias=False)
    return linear, nn.BatchNorm1d(features), nn.ReLU(inplace=True)


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of ResNet-18 in training mode."""
    model = ResNet18()
    x = torch.randn(batch, 3, size, size)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return once


def step(size: int, batch: int) -> Callable[[], None]:
    """One SimSiam step: two views, encoder and predictor on each, gradient, SGD."""
    model = SimSiam(SIMSIAM["hidden"], SIMSIAM["features"], SIMSIAM["bottleneck"])
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=SIMSIAM["learning_rate"],
        momentum=SIMSIAM["momentum"],
        weight_decay=SIMSIAM["weight_decay"],
        fused=True,
    )
    images = torch.randint(0, 256, (batch, 2 * size, 2 * size, 3), dtype=torch.uint8)

    def once() -> None:
        loss = model(make_views(images, size, SIMSIAM))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return once

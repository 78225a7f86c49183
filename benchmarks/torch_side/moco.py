"""The same network and the same MoCo v3 step in PyTorch, to be timed beside ours."""

import copy
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.common.worker import RECIPE
from benchmarks.torch_side.views import make_views

VERSION = f"torch {torch.__version__}"

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
        """Scales the channels of `[n, c, h, w]`."""
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
        """Adds the branch, or on a stride or change of width replaces x by it."""
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
        """Maps `[n, 3, h, w]` to features `[n, 1280]`."""
        x = self.head(self.blocks(self.stem(x)))
        return self.dropout(x.mean((2, 3)))


class MoCo(nn.Module):
    """Online encoder with predictor, and the target that follows it."""

    def __init__(self, hidden: int, features: int):
        super().__init__()
        self.encoder = nn.Sequential(
            EfficientNetB0(),
            nn.Linear(1280, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, features, bias=False),
            nn.BatchNorm1d(features, affine=False),
        )
        self.target = copy.deepcopy(self.encoder).requires_grad_(False)
        self.predictor = nn.Sequential(
            nn.Linear(features, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, features, bias=False),
        )

    def forward(self, views, momentum: float, temperature: float) -> torch.Tensor:
        """The symmetrised loss, after the target has been moved."""
        queries = [self.predictor(self.encoder(x)) for x in views]
        with torch.no_grad():
            pairs = (list(net.parameters()) for net in (self.target, self.encoder))
            torch._foreach_lerp_(*pairs, 1 - momentum)
            keys = [self.target(x) for x in views]
        labels = torch.arange(len(keys[0]))
        losses = (
            functional.cross_entropy(
                functional.normalize(q) @ functional.normalize(k).T / temperature,
                labels,
            )
            for q, k in zip(queries, reversed(keys), strict=True)
        )
        return 2 * temperature * sum(losses)


def start(threads: int) -> None:
    """Sets the threads, and flushes denormal numbers as XLA does."""
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of EfficientNet-B0 in training mode."""
    model = EfficientNetB0()
    x = torch.randn(batch, 3, size, size)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return once


def step(size: int, batch: int) -> Callable[[], None]:
    """One MoCo v3 step: two views, queries, target, keys, loss, gradient, AdamW."""
    model = MoCo(RECIPE["hidden"], RECIPE["features"])
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(
        trained,
        lr=RECIPE["learning_rate"],
        weight_decay=RECIPE["weight_decay"],
        fused=True,
    )
    images = torch.randint(0, 256, (batch, 2 * size, 2 * size, 3), dtype=torch.uint8)

    def once() -> None:
        views = make_views(images, size, RECIPE)
        loss = model(views, RECIPE["momentum"], RECIPE["temperature"])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return once

"""The same step on scans in PyTorch: simulation, network, triplets, AdamW.

The simulation is written as the field's libraries do it, whole batches at a time: coil
images, two-dimensional transform, noise on all of k-space, mask, transform back.
"""

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.common.worker import MRI
from benchmarks.torch_side.moco import VERSION, start

__all__ = ["VERSION", "gradient", "start", "step", "views"]

ELLIPSES = 11


def network(coils: int) -> nn.Module:
    """Four stages of convolution, BatchNorm and ReLU, their mean, one dense layer."""
    layers, inputs = [], 2 * coils
    for features in (32, 64, 128, 256):
        layers += [
            nn.Conv2d(inputs, features, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(features),
            nn.ReLU(inplace=True),
        ]
        inputs = features
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 256)]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def _coil_maps(coils: int, size: int) -> torch.Tensor:
    angle = (2 * math.pi * torch.arange(coils) / coils)[:, None, None]
    at = torch.linspace(-1, 1, size + 1)[:-1]
    x = at[None, None, :] - 1.5 * angle.cos()
    y = at[None, :, None] - 1.5 * angle.sin()
    strength = (x**2 + y**2).rsqrt()
    strength = strength / (strength**2).sum(0, keepdim=True).sqrt()
    return torch.polar(strength, torch.atan2(x, -y) - angle)


def _masks(size: int, acceleration: float, center: float) -> torch.Tensor:
    """The mask of every offset, [offsets, size]."""
    step, lines = int(acceleration), max(1, round(size * center))
    table = torch.zeros(step, size, dtype=torch.bool)
    first = (size - lines + 1) // 2
    table[:, first : first + lines] = True
    for offset in range(step):
        table[offset, offset::step] = True
    return table


class Simulation:
    """Random ellipses through coils, undersampled."""

    def __init__(self, size: int):
        self.size, self.maps = size, _coil_maps(MRI["coils"], size)
        self.tables = [_masks(size, *view) for view in MRI["views"]]
        at = (2 * torch.arange(size) + 1) / size - 1
        self.grid = torch.stack(torch.meshgrid(at, at, indexing="ij"))  # [2, h, w]

    def _heads(self, u: torch.Tensor) -> torch.Tensor:
        """Pictures [n, h, w] of ellipses, painted one over another."""
        n = len(u)
        turn = (2 * torch.rand(n, 1, 1) - 1) * math.radians(MRI["rotate"])
        shift = (2 * torch.rand(n, 2, 1, 1) - 1) * 2 * MRI["shift"] / self.size
        row, column = self.grid[0] - shift[:, 0], self.grid[1] - shift[:, 1]
        cos, sin = turn.cos(), turn.sin()
        row, column = cos * row - sin * column, sin * row + cos * column
        image = u[:, 0, 0, None, None].expand(n, self.size, self.size) * 0.1
        for i in range(ELLIPSES):
            y, x, a, b, angle, value = (u[:, i, j, None, None] for j in range(6))
            y, x = row - 0.6 * (y - 0.5), column - 0.6 * (x - 0.5)
            cos, sin = (math.pi * angle).cos(), (math.pi * angle).sin()
            a, b = 0.1 + 0.4 * a, 0.1 + 0.4 * b
            radius = torch.hypot((cos * y - sin * x) / a, (sin * y + cos * x) / b)
            cover = ((1 - radius) * torch.minimum(a, b) * self.size / 2 + 0.5).clamp(
                0, 1
            )
            image = torch.lerp(image, value.expand_as(image), cover)
        return image

    @torch.no_grad()
    def __call__(self, n: int) -> list[torch.Tensor]:
        """Both views of n heads, [n, 2 coils, h, w], channels last."""
        u, axes, made = torch.rand(n, ELLIPSES, 6), (-2, -1), []
        for table in self.tables:
            heads = self._heads(u)
            x = heads[:, None] * self.maps  # [n, c, h, w]
            k = torch.fft.fft2(torch.fft.ifftshift(x, axes), norm="ortho")
            k = torch.fft.fftshift(k, axes)
            sigma = heads.square().mean((1, 2)).sqrt() / MRI["snr"]
            k = k + torch.randn_like(k) * sigma[:, None, None, None]
            drawn = table[torch.randint(len(table), (n,))]
            k = k * drawn[:, None, None, :]
            x = torch.fft.ifft2(torch.fft.ifftshift(k, axes), norm="ortho")
            x = torch.fft.fftshift(x, axes)
            power = torch.view_as_real(x).square().sum((1, 4)).mean((1, 2))
            x = x * power.rsqrt()[:, None, None, None]
            x = torch.cat([x.real, x.imag], 1)
            made.append(x.contiguous(memory_format=torch.channels_last))
        return made


def views(size: int, batch: int) -> Callable[[], None]:
    """The simulation alone: both views of a batch of heads."""
    simulate = Simulation(size)
    return lambda: simulate(batch) and None


def gradient(size: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network in training mode, one view."""
    model = network(MRI["coils"])
    x = torch.randn(batch, 2 * MRI["coils"], size, size)
    x = x.contiguous(memory_format=torch.channels_last)

    def once() -> None:
        model.zero_grad(set_to_none=True)
        model(x).square().mean().backward()

    return once


def step(size: int, batch: int) -> Callable[[], None]:
    """One step: two simulated views, the network on both, triplets, AdamW."""
    model, simulate = network(MRI["coils"]), Simulation(size)
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=MRI["learning_rate"],
        weight_decay=MRI["weight_decay"],
        fused=True,
    )
    own = torch.eye(batch, dtype=torch.bool)

    def once() -> None:
        q, k = (functional.normalize(model(x)) for x in simulate(batch))
        d = torch.cdist(q, k)
        nearest = d.masked_fill(own, math.inf).amin(1)
        loss = functional.relu(d.diagonal() - nearest + MRI["margin"]).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return once

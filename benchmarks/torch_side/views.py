"""The two views in PyTorch, whole batches at a time, with no gradient."""

import math

import torch

LUMA = torch.tensor([0.299, 0.587, 0.114])


@torch.no_grad()
def make_views(images: torch.Tensor, size: int, recipe: dict) -> list[torch.Tensor]:
    """Two views `[n, 3, size, size]`, channels last, of uint8 `[n, s, s, 3]`.

    The operations are those of the image transform. What eager PyTorch can do for less
    it does: one order of the color operations serves the whole batch, and blur runs
    only on the records that drew it.
    """
    pixels = images.permute(0, 3, 1, 2).float().div_(255)  # [n, 3, s, s]
    views = [_view(pixels, size, fields) for fields in recipe["views"]]
    shape = (1, 3, 1, 1)
    mean, std = (torch.tensor(recipe[key]).view(shape) for key in ("mean", "std"))
    return [
        x.sub_(mean).div_(std).contiguous(memory_format=torch.channels_last)
        for x in views
    ]


def _view(pixels: torch.Tensor, size: int, fields: dict) -> torch.Tensor:
    n, source = len(pixels), pixels.shape[-1]
    rows, columns = _crops(n, source, size, fields)
    x = rows[:, None] @ pixels @ columns[:, None].mT  # [n, 3, size, size]
    x = _jitter(x, fields)
    gray = (torch.rand(n, 1, 1, 1) < fields["grayscale"]).float()
    x = torch.lerp(x, _gray(x).expand_as(x), gray)
    chosen = (torch.rand(n) < fields["blur"]).nonzero()[:, 0]
    if len(chosen):
        matrix = _blur_matrices(len(chosen), size, fields["blur_sigma"])[:, None]
        x[chosen] = matrix @ x[chosen] @ matrix.mT
    if "solarize" in fields:
        chosen = torch.rand(n, 1, 1, 1) < fields["solarize"]
        x = torch.where(chosen & (x >= 0.5), 1 - x, x)
    return x


def _crops(n: int, source: int, size: int, fields: dict):
    """Matrices `[n, size, source]` that crop and resize, bilinear with antialiasing."""
    low, high = fields["crop_ratio"]
    ratio = torch.empty(n).uniform_(math.log(low), math.log(high)).exp()
    area = torch.empty(n).uniform_(*fields["crop_scale"]) * source**2
    high = (area / ratio).sqrt().clamp(max=source)
    wide = (area * ratio).sqrt().clamp(max=source)
    rows, columns = (
        _resampling(torch.rand(n) * (source - length), length, source, size)
        for length in (high, wide)
    )
    if "flip" in fields:
        turned = torch.rand(n, 1, 1) < fields["flip"]
        columns = torch.where(turned, columns.flip(1), columns)
    return rows, columns


def _resampling(start, length, source: int, size: int) -> torch.Tensor:
    scale = (length / size)[:, None, None]
    center = (torch.arange(size) + 0.5)[None, :, None] * scale + start[:, None, None]
    distance = (torch.arange(source) + 0.5)[None, None] - center
    weight = (1 - distance.abs() / scale.clamp(min=1)).clamp_(min=0)
    return weight / weight.sum(-1, keepdim=True)


def _gray(x: torch.Tensor) -> torch.Tensor:
    return torch.einsum("nchw,c->nhw", x, LUMA)[:, None]


def _jitter(x: torch.Tensor, fields: dict) -> torch.Tensor:
    on = (torch.rand(len(x), 1, 1, 1) < fields["color_jitter"]).float()
    names = ("brightness", "contrast", "saturation")
    for index in torch.randperm(3).tolist():
        strength = fields[names[index]]
        factor = 1 + on * torch.empty_like(on).uniform_(-strength, strength)
        if names[index] == "brightness":
            x = x * factor
        elif names[index] == "contrast":
            x = torch.lerp(_gray(x).mean((1, 2, 3), keepdim=True), x, factor)
        else:
            x = torch.lerp(_gray(x).expand_as(x), x, factor)
        x = x.clamp_(0, 1)
    return x


def _blur_matrices(n: int, size: int, sigma: tuple[float, float]) -> torch.Tensor:
    width = torch.empty(n, 1, 1).uniform_(*sigma)
    at = torch.arange(size)
    weight = torch.exp(-((at[:, None] - at[None])[None] ** 2) / (2 * width**2))
    return weight / weight.sum(-1, keepdim=True)

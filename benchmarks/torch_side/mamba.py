"""The same step on sequences in PyTorch: Hugging Face's MambaModel, AdamW."""

from collections.abc import Callable

import torch
import transformers
from torch import nn
from torch.nn import functional

from benchmarks.common.worker import MAMBA
from benchmarks.torch_side.moco import start

__all__ = ["VERSION", "gradient", "start", "step"]

VERSION = f"torch {torch.__version__}, transformers {transformers.__version__}"


class Network(nn.Module):
    """Input projection, MambaModel without its vocabulary, output layer with skip."""

    def __init__(self):
        super().__init__()
        width = MAMBA["width"]
        config = transformers.MambaConfig(
            vocab_size=1,
            hidden_size=width,
            state_size=MAMBA["states"],
            num_hidden_layers=MAMBA["layers"],
            use_cache=False,
        )
        self.enter = nn.Linear(width, width)
        self.mamba = transformers.MambaModel(config)
        self.leave = nn.Linear(width, width)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """`[n, l, d] -> [n, l, d]`."""
        return self.mamba(inputs_embeds=self.enter(x)).last_hidden_state

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """`[n, l, d] -> [n, d]`."""
        return self.leave(self.features(x)[:, -1]) + x[:, -1]


def gradient(length: int, batch: int) -> Callable[[], None]:
    """Forward and backward of the network."""
    model = Network().train()
    x = torch.randn(batch, length, MAMBA["width"])

    def once() -> None:
        model.zero_grad(set_to_none=True)
        model.features(x).square().mean().backward()

    return once


def _corrupt(x: torch.Tensor, cross_article_negatives: torch.Tensor) -> torch.Tensor:
    n, length, _ = x.shape
    count = torch.randint(1, length, (n,)) * (torch.rand(n) < MAMBA["dropout"])
    kept = length - count
    at = (torch.rand(n) * kept).long()
    hit = torch.rand(n) < MAMBA["span"]
    place = torch.arange(length)[None, :]
    x = torch.where(
        ((place == at[:, None]) & hit[:, None])[..., None],
        cross_article_negatives[:, None],
        x,
    )
    return x * (place < kept[:, None])[..., None]


def step(length: int, batch: int) -> Callable[[], None]:
    """One step: corruption, prediction, InfoNCE and cosine, AdamW."""
    model = Network().train()
    optimizer = torch.optim.AdamW(
        model.parameters(),
        lr=MAMBA["learning_rate"],
        weight_decay=MAMBA["weight_decay"],
        fused=True,
    )
    width = MAMBA["width"]
    context, target = torch.randn(batch, length, width), torch.randn(batch, width)
    cross_article_negatives, own = torch.randn(batch, width), torch.arange(batch)

    def once() -> None:
        q = functional.normalize(model(_corrupt(context, cross_article_negatives)))
        k = functional.normalize(target)
        contrast = functional.cross_entropy(q @ k.T / MAMBA["temperature"], own)
        loss = MAMBA["infonce_weight"] * contrast
        loss = loss + MAMBA["cosine_weight"] * (1 - (q * k).sum(1)).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return once

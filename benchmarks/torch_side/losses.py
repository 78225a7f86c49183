"""The peer of the loss benchmark: pytorch-metric-learning, or PyTorch itself.

Triplets and InfoNCE are written as its users write them: distances of the batch, the
hardest negative, cross-entropy of cosines.
"""

from collections.abc import Callable
from importlib import metadata

import torch
import torch.nn.functional as F
from pytorch_metric_learning import losses

from benchmarks.common.worker import LOSSES

VERSION = (
    f"torch {torch.__version__}, "
    f"pytorch-metric-learning {metadata.version('pytorch-metric-learning')}"
)


def start(threads: int) -> None:
    """Sets the number of threads."""
    torch.set_num_threads(threads)


def fast_ap(size: int, batch: int) -> Callable[[], None]:
    """FastAPLoss of records of a class."""
    criterion = losses.FastAPLoss(num_bins=LOSSES["bins"])
    labels = torch.arange(batch) // LOSSES["samples_per_class"]
    return _prepared(lambda x: criterion(x, labels), _draw(0, size, batch))


def triplet(size: int, batch: int) -> Callable[[], None]:
    """Triplets with the nearest negative of the batch."""
    own = torch.eye(batch, dtype=torch.bool)

    def loss(q, k):
        d = torch.cdist(q, k)
        nearest = d.masked_fill(own, torch.inf).amin(1)
        return F.relu(d.diagonal() - nearest + LOSSES["margin"]).mean()

    return _prepared(loss, _draw(0, size, batch), _draw(1, size, batch))


def info_nce(size: int, batch: int) -> Callable[[], None]:
    """InfoNCE of two views."""
    own = torch.arange(batch)

    def loss(q, k):
        q, k = F.normalize(q), F.normalize(k)
        return F.cross_entropy(q @ k.T / LOSSES["temperature"], own)

    return _prepared(loss, _draw(0, size, batch), _draw(1, size, batch))


def simsiam(size: int, batch: int) -> Callable[[], None]:
    """Negative cosine with constant targets."""

    def loss(p, z):
        return -F.cosine_similarity(p, z.detach()).mean()

    return _prepared(loss, _draw(0, size, batch), _draw(1, size, batch))


def _draw(seed: int, size: int, batch: int) -> torch.Tensor:
    x = torch.randn(batch, size, generator=torch.Generator().manual_seed(seed))
    return F.normalize(x)


def _prepared(loss: Callable, *x: torch.Tensor) -> Callable[[], None]:
    for part in x:
        part.requires_grad_()

    def run() -> None:
        for part in x:
            part.grad = None
        loss(*x).backward()

    return run

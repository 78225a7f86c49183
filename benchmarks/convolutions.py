"""Ways to compute 3×3 convolutions: `python -m benchmarks.convolutions`.

Forward and backward pass of ResNet-18, by each value of `model.convolution`, in one
process and by turns. Exit code 1 if "auto", the default, is not the fastest.
"""

import argparse
import datetime
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from benchmarks.common.machine import machine
from models import resnet
from train_lib.allocator import keep_large_buffers

WAYS = ("direct", "lax", "auto")


def main() -> int:
    """Measure, print a table, and return 1 if the default is not the fastest."""
    keep_large_buffers()  # as main.py does
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 224])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    print(f"{machine()}, JAX {jax.__version__}, {datetime.date.today()}")
    print("| side, px | way | first call, s | s a step (quartiles) | ratio to auto |")
    print("|---|---|---|---|---|")
    slower = False
    for size in args.sizes:
        steps, first = {}, {}
        for way in WAYS:
            steps[way], first[way] = _prepare(way, size, args.batch)
        times: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(args.rounds):
            for way, step in steps.items():
                began = time.perf_counter()
                step()
                times[way].append(time.perf_counter() - began)
        for way in WAYS:
            low, middle, high = statistics.quantiles(times[way], n=4)
            pairs = zip(times[way], times["auto"], strict=True)
            ratio = statistics.median(other / auto for other, auto in pairs)
            slower |= ratio < 0.97
            print(
                f"| {size} | {way} | {first[way]:.0f} "
                f"| {middle:.3f} ({low:.3f}–{high:.3f}) | {ratio:.2f} |",
                flush=True,
            )
    return 1 if slower else 0


def _prepare(way: str, size: int, batch: int) -> tuple[Callable[[], None], float]:
    """Return a compiled step and the seconds of its first call."""
    model = resnet.Model(convolution=way)
    x = jax.random.normal(jax.random.key(0), (batch, size, size, 3))
    variables = jax.jit(lambda x: model.init(jax.random.key(1), x, train=False))(x)

    @jax.jit
    def gradient(variables, x):
        def loss(params):
            y, state = model.apply(
                variables | {"params": params}, x, train=True, mutable=["batch_stats"]
            )
            return jnp.mean(y**2), state

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    def step() -> None:
        jax.block_until_ready(gradient(variables, x))

    began = time.perf_counter()
    step()
    return step, time.perf_counter() - began


if __name__ == "__main__":
    raise SystemExit(main())

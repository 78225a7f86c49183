"""Memory of the recurrence's gradient: `python -m benchmarks.scan_memory`.

For each way to run the scan, what the compiled gradient needs beside its inputs and
outputs, as the compiler plans it.
"""

import argparse
import datetime

import jax
import jax.numpy as jnp

from models.layers.selective_scan import selective_scan

REQUIRED = 0.25  # of the associative scan's, for the chunked one


def main() -> int:
    """Compile, print, and return 0 if the chunked scan is small enough."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--channels", type=int, default=1536)
    parser.add_argument("--states", type=int, default=16)
    args = parser.parse_args()
    ways = ("chunked", "associative")
    found = {way: planned(way, args) for way in ways}
    print(
        f"{datetime.date.today()}, jax {jax.__version__} on {jax.default_backend()}, "
        f"[n, l, e, s] = [{args.batch}, {args.length}, {args.channels}, {args.states}]"
    )
    for way, size in found.items():
        print(f"{way:12}{size / 2**20:10.1f} MiB")
    ratio = found["chunked"] / found["associative"]
    print(f"ratio       {ratio:10.3f}; required {REQUIRED:g} at the most")
    return 0 if ratio <= REQUIRED else 1


def planned(way: str, args: argparse.Namespace) -> int:
    """Bytes of temporary memory of value and gradient."""
    n, length, e, s = args.batch, args.length, args.channels, args.states
    x = jax.ShapeDtypeStruct((n, length, e), jnp.float32)
    b = jax.ShapeDtypeStruct((n, length, s), jnp.float32)
    a = jax.ShapeDtypeStruct((e, s), jnp.float32)

    def loss(u, delta, a, b, c):
        return jnp.sum(selective_scan(u, delta, a, b, c, implementation=way) ** 2)

    gradient = jax.jit(jax.grad(loss, argnums=(0, 1, 2, 3, 4)))
    compiled = gradient.lower(x, x, a, b, b).compile()
    return compiled.memory_analysis().temp_size_in_bytes


if __name__ == "__main__":
    raise SystemExit(main())

"""Preparing a cine and reading it again: `python -m benchmarks.cine --input=FILE.mat`.

The file, such as `benchmarks.write_cine` writes, is prepared in an empty cache: time
and the most memory that this process ever had. Then frames are read from the cache in
batches, each with the one that follows, through the loader that training has.
"""

import argparse
import resource
import tempfile
import time

from benchmarks.common.machine import machine
from input_pipeline import loader
from input_pipeline.datasets import cine

BATCH = 64
MOST_MEMORY = 2e9  # bytes
LEAST_RATE = 500  # frames a second


def main() -> int:
    """Measure, print, and return 0 if memory and rate are as required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", required=True)
    parser.add_argument("--key", default="Acq/Amp")
    parser.add_argument("--axes", default="frame,channel,depth,line")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seconds", type=float, default=10.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        began = time.perf_counter()
        data = cine.load(
            path=args.input,
            key=args.key,
            axes=args.axes,
            size=(args.size, args.size),
            split="time",
            cache=cache,
            progress=True,
        )
        prepared = time.perf_counter() - began
        peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        rate = _rate(data.train, args.seconds)
    facts = data.facts
    print(
        f"{machine()}: {facts['frames']} frames prepared in {prepared:.1f} s with at "
        f"most {peak / 2**20:.0f} MiB; {rate:,.0f} frames a second from the cache at "
        f"{args.size} px, each with its next; {facts['axes']}"
    )
    return 0 if peak < MOST_MEMORY and rate >= LEAST_RATE else 1


def _rate(split, seconds: float) -> float:
    """Frames a second that training batches hold, the first batch left out."""
    batches = loader.train_batches(
        split,
        batch_size=BATCH,
        seed=0,
        positives="instance",
        samples_per_class=1,
        process_index=0,
        process_count=1,
        threads=1,
        prefetch=4,
    )
    next(batches)
    began, count = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        next(batches)
        count += BATCH
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    raise SystemExit(main())

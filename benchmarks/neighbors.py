"""Exact search against faiss: `python -m benchmarks.neighbors`.

Both search the same random unit vectors in one process, by turns, with as many threads;
the ratio is faiss's time over ours, so above 1 we are the faster. Results are compared
too: faiss sums in float32, so a few neighbors whose scores differ in the last bit
change places.
"""

import argparse
import os
import statistics
import time

import faiss
import numpy as np

from evaluators.search import exact as exact_search
from train_lib.allocator import keep_large_buffers


def main() -> int:
    """Measure, print, and return 0 if the ratio is at least what is required."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--queries", type=int, default=1_000)
    parser.add_argument("--gallery", type=int, default=100_000)
    parser.add_argument("--dimension", type=int, default=256)
    parser.add_argument("--k", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument(
        "--gallery_block", type=int, default=exact_search.TOP_K_GALLERY_BLOCK
    )
    parser.add_argument("--required", type=float, default=0.8)
    args = parser.parse_args()

    keep_large_buffers()  # as main.py does; both allocate here
    threads = len(os.sched_getaffinity(0))
    faiss.omp_set_num_threads(threads)
    rng = np.random.default_rng(0)
    queries, gallery = (
        _unit(rng, n, args.dimension) for n in (args.queries, args.gallery)
    )
    index = faiss.IndexFlatIP(args.dimension)
    index.add(gallery)

    def ours():
        return exact_search.top_k(
            queries, gallery, args.k, gallery_block=args.gallery_block
        )

    def theirs():
        return index.search(queries, args.k)

    (scores, rows), (their_scores, their_rows) = ours(), theirs()  # and compile
    times = [(_seconds(ours), _seconds(theirs)) for _ in range(args.rounds)]
    ratio = statistics.median(b / a for a, b in times)
    print(
        f"top {args.k} of {args.queries} queries over {args.gallery} x "
        f"{args.dimension}, {threads} threads, median (least) of {args.rounds} rounds"
    )
    for name, column in zip(
        ("akin", "faiss flat"), zip(*times, strict=True), strict=True
    ):
        print(f"{name:12}{statistics.median(column):8.3f} s ({min(column):.3f} s)")
    print(f"ratio       {ratio:8.2f}   (required {args.required})")
    print(
        f"same rows   {(rows == their_rows).mean():8.4%}   "
        f"largest difference of scores {np.abs(scores - their_scores).max():.1e}"
    )
    return 0 if ratio >= args.required else 3


def _unit(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    x = rng.standard_normal((n, d), dtype=np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def _seconds(call) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    raise SystemExit(main())

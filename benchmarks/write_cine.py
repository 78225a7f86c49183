"""Writes a procedural cine: `python -m benchmarks.write_cine --output=FILE.mat`.

A MATLAB v7.3 file of amplitudes with 445 frames of 3319 x 256 samples, 1.5 GB, and
beside it a CSV that gives the phase of each frame.
"""

import argparse
import pathlib

from input_pipeline import dataset
from input_pipeline.datasets import speckle


def main() -> int:
    """Write both files and say where; 2 if they cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, required=True)
    parser.add_argument("--frames", type=int, default=445)
    parser.add_argument("--depth", type=int, default=3319)
    parser.add_argument("--lines", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    try:
        table = speckle.write_mat(
            args.output,
            frames=args.frames,
            depth=args.depth,
            lines=args.lines,
            seed=args.seed,
        )
    except dataset.DataError as error:
        print(error)
        return 2
    labels = args.output.with_suffix(".csv")
    table.to_csv(labels, index=False)
    print(
        f"{args.output}: Acq/Amp ({args.frames}, 1, {args.depth}, {args.lines}), "
        f"{args.output.stat().st_size / 1e9:.3g} GB; {labels}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""README's commands on one's own data: `python -m benchmarks.own_data`.

Each command that README gives under "Your own data" runs on inputs such as people have:
a plain folder of images, one clip in MATLAB's cells, TIFF stacks, one fastMRI file of a
single coil, 12-bit slices without a table, a parquet file with categories. A command
must end with 0 (passed) or 3 (a gate was missed) and leave a report. The variant
`smoke` shortens all but `--full`.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

from benchmarks.common import own_files
from benchmarks.common.machine import machine

ROOT = pathlib.Path(__file__).parents[1]
# Recipe of a command -> name and writer of its inputs.
INPUTS: dict[str, dict[str, Callable[[pathlib.Path], pathlib.Path]]] = {
    "configs/moco_effnet.py:marks": {"images": own_files.write_images},
    "configs/triplet_mri.py:scans": {"file1000.h5": own_files.write_scan},
    "configs/triplet_mri.py:slices": {"slices": own_files.write_slices},
    "configs/infonce_mamba.py:real": {"articles.parquet": own_files.write_articles},
    "configs/simsiam_resnet.py:real": {
        "clip.mat": own_files.write_clip,
        "stacks": own_files.write_stacks,
    },
}
_COMMAND = re.compile(r"^python main\.py --config=(\S+) --config\.data\.path=/", re.M)
_FINISHED = (0, 3)


def main() -> int:
    """Run all commands; return 0 if each has finished with a report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=pathlib.Path, help="keep inputs and runs here")
    parser.add_argument("--full", action="store_true", help="whole runs")
    arguments = parser.parse_args()
    recipes = read_commands((ROOT / "README.md").read_text("utf-8"))
    print(f"{machine()}; {len(recipes)} commands", flush=True)
    if missing := sorted(set(recipes) ^ set(INPUTS)):
        print(f"README and INPUTS differ in {', '.join(missing)}")
        return 1
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.output or pathlib.Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        results = [
            _run(recipe, name, write, folder, arguments.full)
            for recipe in recipes
            for name, write in INPUTS[recipe].items()
        ]
    return 0 if all(results) else 1


def read_commands(text: str) -> list[str]:
    """Return the recipes of the commands that read data, in their order.

    Args:
        text: README.md.
    """
    section = text.partition("## Your own data")[2].partition("\n## ")[0]
    return list(dict.fromkeys(_COMMAND.findall(section)))


def _run(
    recipe: str,
    name: str,
    write: Callable[[pathlib.Path], pathlib.Path],
    folder: pathlib.Path,
    full: bool,
) -> bool:
    """Run a command on one input, print a line, and return whether it finished."""
    source, workdir = folder / name, folder / f"run-{name}"
    if not source.exists():
        write(source)
    command = [
        sys.executable,
        "main.py",
        f"--config={recipe}{'' if full else ',smoke'}",
        f"--config.data.path={source}",
        f"--workdir={workdir}",
    ]
    began = time.perf_counter()
    environment = os.environ | {"AKIN_CACHE": str(folder / "cache")}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    finished = done.returncode in _FINISHED
    finished &= (workdir / "report.json").is_file()
    lines = [line for line in done.stderr.splitlines() if line.strip()] or [""]
    verdict = [line for line in lines if re.search(r"\b(PASS|FAIL):", line)]
    last = (verdict or [line for line in lines if "main.py:" in line] or lines)[-1]
    print(
        f"{'held  ' if finished else 'FAILED'} {recipe} on {name}: exit "
        f"{done.returncode} after {time.perf_counter() - began:.0f} s; {last[:200]}",
        flush=True,
    )
    return finished


if __name__ == "__main__":
    sys.exit(main())

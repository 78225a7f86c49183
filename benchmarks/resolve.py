"""Look up whether the requirements can be had on machines that are not here.

    python -m benchmarks.resolve
    python -m benchmarks.resolve --requirements=requirements-dev.txt

uv resolves a requirements file for each platform and Python version, with the markers
of that platform, and installs nothing. Everything must have a wheel there, but for
`SOURCE`. Prints a table; exits with 1 if a combination has no solution.

That a wheel exists is all that this shows: none of it has been run there.
"""

import argparse
import os
import pathlib
import re
import subprocess
import sys

import uv

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLATFORMS = {
    "Linux x86-64": "x86_64-manylinux_2_28",
    "Linux ARM": "aarch64-manylinux_2_28",
    "macOS arm64": "aarch64-apple-darwin",
}
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
# Plain Python that its authors publish as source alone; tensorflow-datasets needs it.
SOURCE = ("promise",)
COLUMNS = (
    "jax", "jaxlib", "flax", "orbax-checkpoint", "grain", "array-record",
    "tensorflow-cpu", "tensorboard",
)  # fmt: skip


def main() -> int:
    """Print the table; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--requirements", default=str(ROOT / "requirements.txt"))
    arguments = parser.parse_args()
    print("platform | Python | " + " | ".join(COLUMNS) + " | packages")
    print(" | ".join(["---"] * (len(COLUMNS) + 3)), flush=True)
    reasons = []
    for platform, target in PLATFORMS.items():
        for python in PYTHONS:
            versions, why = resolve(arguments.requirements, target, python)
            cells = [versions.get(name, "-") for name in COLUMNS]
            cells.append("none found" if why else str(len(versions)))
            print(f"{platform} | {python} | " + " | ".join(cells), flush=True)
            if why:
                reasons.append(f"{platform}, Python {python}: {why}")
    print("", *reasons, sep="\n")
    return int(bool(reasons))


def resolve(requirements: str, target: str, python: str) -> tuple[dict[str, str], str]:
    """Returns the versions found, by name, and why there is no solution if so."""
    command = [
        uv.find_uv_bin(), "pip", "compile", requirements, "--no-header",
        "--no-annotate", f"--python-platform={target}", f"--python-version={python}",
        f"--python={sys.executable}", "--only-binary=:all:",
        *(f"--no-binary={name}" for name in SOURCE),
    ]  # fmt: skip
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"UV_PYTHON_DOWNLOADS": "never"},
    )
    if done.returncode:
        _, _, why = done.stderr.rpartition("error: ")
        return {}, " ".join(why.split())
    return dict(re.findall(r"^([\w.-]+)==(\S+)", done.stdout, re.MULTILINE)), ""


if __name__ == "__main__":
    sys.exit(main())

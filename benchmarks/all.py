"""Run the measurements that show what the project claims.

    python -m benchmarks.all            the fast ones, minutes, no peers needed
    python -m benchmarks.all --peers    also those against PyTorch and faiss
    python -m benchmarks.all --slow     also those that take up to 20 minutes

Each is a command of its own, `python -m benchmarks.NAME`; exit code 1 if one fails. The
peers need requirements-benchmarks.txt.
"""

import argparse
import subprocess
import sys
import time

FAST = {
    "interval_coverage": "95 % intervals cover the true value in 93 to 98 % of cases",
    "log_point": "a log point costs the same after 100 and 100,000 events",
    "own_data": "README's commands read what people have and end with a report",
    "resolve": "requirements.txt installs on Linux x86-64 and ARM, and on macOS",
    "scan_memory": "memory of the selective scan's gradient",
}
SLOW = {
    "storm": "kills, signals, full disks and damage change no figure and lose no run",
}
PEERS = {
    "losses": "losses against PyTorch",
    "neighbors": "exact search against faiss",
    "augment": "views of images against Pillow",
    "convolutions": "the default convolution against the other ways",
    "train_step": "a training step against PyTorch",
}


def main() -> int:
    """Run the benchmarks; return 1 if one has failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also against peers")
    parser.add_argument("--slow", action="store_true", help="also slow ones")
    arguments = parser.parse_args()
    names = FAST | (PEERS if arguments.peers else {}) | (SLOW if arguments.slow else {})
    failed = []
    for name, claim in names.items():
        print(f"== benchmarks.{name}: {claim}", flush=True)
        began = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{name}"]
        code = subprocess.run(command, check=False).returncode
        print(f"== exit {code} after {time.perf_counter() - began:.0f} s", flush=True)
        failed += [name] if code else []
    print(f"{len(names) - len(failed)} of {len(names)} hold", *failed)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a measurement ran on."""

import os
import pathlib


def machine() -> str:
    """Name of the processor and number of its cores."""
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    name = next((line for line in lines if line.startswith("model name")), "unknown")
    return f"{name.split(':')[-1].strip()}, {os.cpu_count()} cores"

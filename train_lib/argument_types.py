"""Types of command-line arguments: what is wrong is said before anything is read."""

import argparse
import re
from collections.abc import Mapping

# Arguments that are paths, of all commands.
PATHS = ("workdir", "output", "input", "query", "gallery", "others", "config")


def count(text: str) -> int:
    """Return a count of records from the command line."""
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}; expected a number from 1")
    return int(text)


def checkpoint(text: str) -> str:
    """Return which checkpoint is wanted: "latest", "best" or a step."""
    if text in ("latest", "best") or (text.isascii() and text.isdecimal()):
        return text
    raise argparse.ArgumentTypeError(f"got {text}; choices: latest, best, a step")


def find_address(
    arguments: argparse.Namespace, overrides: Mapping[str, str]
) -> str | None:
    """Return what is wrong where an object store stands for a path, None if nothing.

    A path such as gs://bucket/x would become a local folder `gs:`.
    """
    values = [getattr(arguments, name, None) or [] for name in PATHS]
    paths = [p for v in values for p in ([v] if isinstance(v, str) else v)]
    for path in (*paths, *overrides.values()):
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", path):
            return (
                f"got {path}; expected a path on this machine. Copy the files, or "
                "mount the store (gcsfuse, s3fs) and give the path of the mount"
            )
    return None

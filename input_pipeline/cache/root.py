"""The folder in which prepared data and compiled programs are kept."""

import os
import pathlib


def cache_root(cache: str | os.PathLike | None = None) -> pathlib.Path:
    """Return `cache`, else $AKIN_CACHE, else ~/.cache/akin, as an absolute path."""
    root = cache or os.environ.get("AKIN_CACHE") or "~/.cache/akin"
    return pathlib.Path(root).expanduser().absolute()

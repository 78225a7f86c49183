"""What lies at a path: files and folders that are clips, and what is passed over."""

import os
import pathlib
import re
from collections import Counter
from collections.abc import Callable
from typing import Literal, NamedTuple

from input_pipeline import dataset
from input_pipeline.cache.root import cache_root
from input_pipeline.formats import label_table

# "array": frames in an array; "movie": an image or video file of several frames;
# "image" and "still": one frame of the clip that its folder is, "still" for DICOM.
Kind = Literal["array", "movie", "image", "still", ""]
_LISTED = 8
_TABLES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".parquet")


class Source(NamedTuple):
    """One clip or one file of clips.

    Attributes:
        clip: Name of the clip.
        files: The file, or images in the order of frames.
        kind: What the files are.
    """

    clip: str
    files: list[pathlib.Path]
    kind: Kind


class Listing(NamedTuple):
    """What lies at a path.

    Attributes:
        sources: What there is to read, in natural order.
        unread: (path, reason) of what cannot be followed.
        passed_over: Sentences on files that are no clip.
    """

    sources: list[Source]
    unread: list[tuple[str, str]]
    passed_over: list[str]


def find(
    path: pathlib.Path,
    *,
    kind_of: Callable[[pathlib.Path], Kind],
    expected: str,
    cache: str,
) -> Listing:
    """Return the clips of a file or folder.

    In a folder each array and each movie is a clip, and so are the images of each
    folder together, unless an array or a movie lies beside them.

    Args:
        path: File or folder.
        kind_of: Returns the kind of a file.
        expected: What is read, for messages.
        cache: Folder of the cache, which is not looked through.

    Raises:
        DataError: If there is nothing to read.
    """
    if path.is_file():
        kind = kind_of(path)
        if not kind:
            raise dataset.DataError(
                f"data.path: got {path}, which ends in {path.suffix or 'nothing'!r}; "
                f"expected {expected}"
            )
        return Listing([Source(path.stem, [path], kind)], [], [])
    if not path.is_dir():
        raise dataset.DataError(
            f"data.path: got {path}, which does not exist; expected {expected}"
        )
    listing = label_table.scan(path)
    # A cache inside the folder holds prepared frames, which are not read again.
    prepared, top = cache_root(cache).resolve(), path.resolve()
    names = [
        name
        for name in sorted(listing.paths, key=natural)
        if prepared not in (top / name).parents
    ]
    kinds = {name: kind_of(top / name) for name in names}
    sources, over = _clips(top, kinds)
    if not sources:
        endings = Counter(pathlib.Path(name).suffix or name for name in names)
        there = ", ".join(f"{n} {end}" for end, n in endings.most_common(_LISTED))
        raise dataset.DataError(
            f"data.path: got {path}, where no file can be frames (there: "
            f"{there or 'nothing'}); expected {expected}"
        )
    return Listing(sources, list(listing.rejected), over)


def natural(name: str) -> list:
    """Sort frame 10 after frame 9, and files of a folder before folders in it."""
    folder, _, file = name.rpartition("/")
    return [_numbers(part) for part in (folder, file)]


def _clips(top: pathlib.Path, kinds: dict[str, Kind]) -> tuple[list[Source], list[str]]:
    whole = [name for name, kind in kinds.items() if kind in ("array", "movie")]
    with_whole = {os.path.dirname(name) for name in whole}
    clips: dict[str, tuple[list[str], Kind]] = {}
    beside, other = [], []
    for name, kind in kinds.items():
        folder, ending = os.path.dirname(name), os.path.splitext(name)[1].lower()
        if not kind:
            other += [] if ending in _TABLES else [name]
        elif kind in ("array", "movie"):
            stem = os.path.splitext(name)[0]
            several = sum(os.path.splitext(w)[0] == stem for w in whole) > 1
            clips[name if several or stem in clips else stem] = [name], kind
        elif folder in with_whole:
            beside.append(name)
        else:
            clip = folder or top.name
            clip = f"{clip} ({kind})" if clips.get(clip, (0, kind))[1] != kind else clip
            clips.setdefault(clip, ([], kind))[0].append(name)
    over = [_told(beside, "single images beside arrays or movies")] if beside else []
    over += [_told(other, "files that are no frames")] if other else []
    sources = [
        Source(label_table.shown(clip), [top / name for name in files], kind)
        for clip, (files, kind) in clips.items()
    ]
    return sources, over


def _told(names: list[str], what: str) -> str:
    named = ", ".join(label_table.shown(name) for name in names[:_LISTED])
    more = ", ..." if len(names) > _LISTED else ""
    return f"{len(names)} {what}: {named}{more}"


def _numbers(text: str) -> list:
    parts = re.split(r"(\d+)", text)
    return [int(part) if k % 2 else part.casefold() for k, part in enumerate(parts)]

"""Errors of input, which end the process with exit code 2 and no traceback."""

import errno
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Sequence

from input_pipeline.dataset import DataError
from reporting.run_dir import FormatError


class InputError(ValueError):
    """A configuration, a file or a workdir is at fault; the message says what to do."""


_FULL = (errno.ENOSPC, errno.EDQUOT)
# What libraries in C++ say of these two, in errors of classes of their own.
_FULL_WORDS = ("No space left on device", "Disk quota exceeded")
# An OSError without a file is of the storage, or is a fault of the program.
_STORAGE = (errno.EIO, errno.EROFS, errno.EFBIG, errno.ESTALE)
_NAMED = (FileNotFoundError, NotADirectoryError, PermissionError, FileExistsError)
_CODE = pathlib.Path(__file__).resolve().parents[1]
_SCARCE = 2**26  # bytes; where less is free, the disk is called full


def describe_fault(error: BaseException, folders: Sequence[str]) -> str | None:
    """Return the message for an error that input has caused, None for any other.

    This is the one rule which exceptions are input: an `InputError`, `DataError` or
    `FormatError`; a full disk, whoever noticed it; and every `OSError` of a path
    outside of this program, or of the storage that a path lies on.

    Args:
        error: What was raised.
        folders: Folders that the command writes, to look for the full one.
    """
    if isinstance(error, InputError | DataError | FormatError):
        return str(error)
    if is_full_disk(error):
        return _tell_full(error, folders)
    if not isinstance(error, OSError):
        return None
    if error.errno is None and type(error) in _NAMED:
        return str(error)  # raised by this program, which names the path
    if error.filename is None or isinstance(error.filename, int):
        if error.errno not in _STORAGE:
            return None
        return f"got '{error.strerror}' from {_listed(folders)}"
    path = os.fsdecode(error.filename)
    if _is_code(path):
        return None
    if error.errno == errno.EEXIST:
        return f"got {path}, which is a file; expected a folder, or one that is new"
    second = f" or {os.fsdecode(error.filename2)}" if error.filename2 else ""
    return (
        f"got {path}{second}: {error.strerror or error}; expected a path that can be "
        "used"
    )


def is_full_disk(error: BaseException) -> bool:
    """Return whether a full disk has caused an error, directly or not."""
    return any(
        (isinstance(one, OSError) and one.errno in _FULL)
        or any(words in str(one) for words in _FULL_WORDS)
        for one in _chain(error)
    )


def full_disk_message(folder: str | os.PathLike, needed: int | None = None) -> str:
    """Return a sentence on a folder without room, and on how much is needed.

    Args:
        folder: Folder, which need not exist yet.
        needed: Bytes; None where they are not known.
    """
    path = os.path.abspath(folder)
    free = free_bytes(path)
    expected = "more" if needed is None else f"{megabytes(needed)}"
    return (
        f"got no space left on device for {path}: {megabytes(free)} free; expected "
        f"{expected}. Free space there, or choose another folder"
    )


def megabytes(size: int) -> str:
    """Return bytes as megabytes, rounded up where little is left of them."""
    return f"{size / 1e6:,.1f} MB" if size < 1e8 else f"{size / 1e6:,.0f} MB"


def _tell_full(error: BaseException, folders: Sequence[str]) -> str:
    names = [one.filename for one in _chain(error) if isinstance(one, OSError)]
    files = [os.fsdecode(n) for n in names if isinstance(n, str | bytes)]
    places = [os.path.dirname(os.path.abspath(file)) for file in files]
    places += [folder for folder in folders if free_bytes(folder) < _SCARCE]
    return full_disk_message((places or list(folders) or [os.getcwd()])[0], _SCARCE)


def free_bytes(folder: str | os.PathLike) -> int:
    """Return the room on the disk of a folder, which need not exist yet."""
    path = pathlib.Path(os.path.abspath(folder))
    place = next(p for p in (path, *path.parents) if os.path.exists(p))
    return shutil.disk_usage(place).free


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and those that it came from."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _is_code(path: str) -> bool:
    """Return whether a path is of this program or of the libraries that it uses."""
    place = pathlib.Path(os.path.abspath(path))
    libraries = pathlib.Path(sys.prefix).resolve()
    if libraries in place.parents:
        return True
    return _CODE in place.parents and place.suffix in (".py", ".j2")


def _listed(folders: Sequence[str]) -> str:
    return " or ".join(folders) or "the file system"

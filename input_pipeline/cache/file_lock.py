"""Locks on files, which the kernel releases when their process ends."""

import contextlib
import fcntl
import os
import pathlib
import socket
from collections.abc import Iterator
from typing import IO

from absl import logging


def try_lock(file: IO) -> bool:
    """Lock an open file for this process; return whether no other process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def wait_for(path: pathlib.Path) -> Iterator[None]:
    """Hold a lock file, which names its process; wait while another one holds it."""
    with open(path, "a+") as file:
        if not try_lock(file):
            file.seek(0)
            logging.warning(
                "waiting for process %s, which prepares the same data (%s)",
                file.read().strip() or "(unknown)",
                path,
            )
            fcntl.flock(file, fcntl.LOCK_EX)
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield


def is_alive(pid: int) -> bool:
    """Return whether a process of this machine is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

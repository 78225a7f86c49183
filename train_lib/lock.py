"""Lock of a workdir: one process at a time."""

import contextlib
import pathlib
import socket
import time
from collections.abc import Iterator

from input_pipeline.cache import file_lock
from reporting import run_dir as files
from train_lib.errors import InputError


class WorkdirBusy(InputError):
    """Another process is at work in the workdir."""


# A heartbeat is written every ten seconds; on another machine's file system it is the
# only sign of life.
FRESH_SECONDS = 60


@contextlib.contextmanager
def hold(workdir: pathlib.Path) -> Iterator[None]:
    """Hold the workdir for this process; the system releases it when the process ends.

    Raises:
        WorkdirBusy: A process on this machine holds it, or one elsewhere has given a
            sign of life within the last minute.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    beat = files.read_heartbeat(workdir) or {}
    who = f"process {beat.get('pid')} on {beat.get('host')}"
    with open(workdir / ".lock", "a", encoding="utf-8") as file:
        if not file_lock.try_lock(file):
            raise WorkdirBusy(
                f"got {workdir}, where {who} is at work; expected a free one. "
                "Wait for it, stop it, or choose another --workdir"
            )
        elsewhere = beat.get("host") not in (None, socket.gethostname())
        fresh = time.time() - beat.get("time", 0) < FRESH_SECONDS
        if elsewhere and fresh and beat.get("state") in files.LIVE_STATES:
            raise WorkdirBusy(
                f"got {workdir}, where {who} was at work "
                f"{time.time() - beat['time']:.0f} s ago; expected a workdir that no "
                f"other machine uses. If it is gone, try again in {FRESH_SECONDS} s"
            )
        yield

"""Lock of a workdir: one process at a time."""

import contextlib
import pathlib
import socket
import time
from collections.abc import Iterator

from absl import logging

from input_pipeline.cache import file_lock
from reporting import run_dir as files
from train_lib.errors import InputError


class WorkdirBusy(InputError):
    """Another process is at work in the workdir."""


# A heartbeat is written every ten seconds; on another machine's file system it is the
# only sign of life.
FRESH_SECONDS = 60
WATCH_SECONDS = 15  # longer than a heartbeat takes to follow the one before


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
        if _works_elsewhere(workdir, beat):
            raise WorkdirBusy(
                f"got {workdir}, where {who} was at work "
                f"{abs(time.time() - beat['time']):.0f} s ago by its clock; expected a "
                "workdir that no other machine uses. If it is gone, try again in "
                f"{FRESH_SECONDS} s"
            )
        yield


def _works_elsewhere(workdir: pathlib.Path, beat: dict) -> bool:
    """Return whether a process on another machine is at work.

    A heartbeat from the future comes from a clock that is ahead: what it says of the
    time means nothing, so it counts whether another one follows.
    """
    if beat.get("host") in (None, socket.gethostname()):
        return False
    if beat.get("state") not in files.LIVE_STATES:
        return False
    age = time.time() - beat.get("time", 0)
    if age >= -FRESH_SECONDS:
        return abs(age) < FRESH_SECONDS
    logging.warning(
        "The clock of %s is %.0f s ahead: waiting %d s for its next heartbeat",
        beat["host"], -age, WATCH_SECONDS,
    )  # fmt: skip
    time.sleep(WATCH_SECONDS)
    return files.read_heartbeat(workdir) != beat

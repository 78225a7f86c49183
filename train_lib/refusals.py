"""Note in a workdir why a start was refused."""

import os
import pathlib
import sys

from reporting import report
from reporting import run_dir as files
from train_lib import lock


def note(workdir: str, fault: str, error: Exception) -> None:
    """Write the reason into the workdir, and a report that begins with it.

    Only with the workdir's lock: where another process trains, all stays as it is. So
    does a folder that belongs to another program.

    Args:
        workdir: Where the start was refused; made if it is not there.
        fault: The reason.
        error: What was raised; its `faults`, if it has some, are noted one by one.
    """
    if isinstance(error, lock.WorkdirBusy | files.FormatError):
        return
    if os.path.exists(workdir) and not os.path.isdir(workdir):
        return
    try:
        with lock.hold(pathlib.Path(workdir)):
            files.append_refusal(workdir, getattr(error, "faults", None) or [fault])
            report.write(workdir)
    except lock.WorkdirBusy as busy:
        print(f"main.py: no report: {busy}", file=sys.stderr)
    except (OSError, files.FormatError) as other:
        print(f"main.py: no report in {workdir}: {other}", file=sys.stderr)

"""Processes that prepare data: they answer no signal and end with their parent."""

import contextlib
import functools
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def blocked_signals() -> Iterator[None]:
    """Block what asks the command to end, for processes that start meanwhile.

    A process group is sent a signal as a whole. Only the process that leads decides
    what follows; the others end when it says so, or with it.
    """
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def without_script(function: Callable[..., Any]) -> Iterator[None]:
    """Keep the script that runs from running again in processes that start meanwhile.

    A spawned process imports the script of its parent. One that does not ask for
    `__name__ == "__main__"` would do all its work again, and wait for its parent.

    Args:
        function: What the processes will call; if it is of the script, the script is
            imported as ever.
    """
    script = sys.modules["__main__"]
    called = function.func if isinstance(function, functools.partial) else function
    path = getattr(script, "__file__", None)
    if path is None or getattr(called, "__module__", "") == "__main__":
        yield
        return
    del script.__file__
    try:
        yield
    finally:
        script.__file__ = path


def end_with_parent() -> None:
    """End this process when the one that started it is gone, however it went."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

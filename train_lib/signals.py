"""Signals that ask a run to end: answered at once, obeyed where nothing is lost.

Imports nothing but the standard library, so that it can be in place before anything
that takes seconds to import. No exception is raised out of a signal handler: raised
within the import of an extension or within XLA, one ends in a crash or a traceback.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

EXIT_PREEMPTED = 75
# A closed terminal sends SIGHUP, `sbatch --signal=USR1` sends SIGUSR1.
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# A process group may get one signal twice, from the terminal and from a launcher.
_SAME_SECONDS = 1.0


class Preempted(Exception):
    """A signal asked the process to end; raised by `StopSignal.check` alone."""


class StopSignal:
    """Receiver of the signals in `NUMBERS`; context manager.

    A thread answers a signal at once, also while the main thread imports or compiles.
    Inside of `deferred` the signal is noted in `received`, for a loop that saves before
    it ends. Outside, the thread ends the process: what is under way then survives a
    kill, and is done again. A second signal ends the process in any case.

    Attributes:
        received: Name of the first signal, "" before.
        patience: Seconds that the main thread gets to come to `check`, before the
            thread ends the process.
        at_exit: Called before the thread ends the process.
    """

    _active: "StopSignal | None" = None

    def __init__(self):
        self.received = ""
        self.patience = 0.0
        self.at_exit: Callable[[], object] = lambda: None
        self._what = ""  # what happens on a signal, while it is deferred
        self._depth = 0  # `main` has entered it, and the trainer enters it again

    @classmethod
    def get(cls) -> "StopSignal":
        """Return the receiver that is in place, or one to be entered."""
        return cls._active or cls()

    def __enter__(self) -> "StopSignal":
        self._depth += 1
        if self._depth > 1:
            return self
        self._before = {}
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        StopSignal._active = self
        threading.Thread(target=self._answer, daemon=True).start()
        # Last, for a signal that came before the pipe would be lost.
        for number in NUMBERS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:
                continue  # `nohup`
            # The handler does nothing; the number comes through the pipe.
            self._before[number] = before
            signal.signal(number, lambda *_: None)
        return self

    def __exit__(self, *_):
        self._depth -= 1
        if self._depth:
            return
        StopSignal._active = None
        for number, handler in self._before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)  # ends the thread

    @contextlib.contextmanager
    def deferred(self, what: str) -> Iterator[None]:
        """Note signals and go on; `what` says to the user what follows on one."""
        self._what, before = what, self._what
        try:
            yield
        finally:
            self._what = before

    def check(self):
        """Raise `Preempted` if a signal came; call where the process may end."""
        if self.received:
            raise Preempted(self.received)

    def _answer(self):
        """Tell what a signal leads to; end the process where that loses nothing."""
        first = 0.0
        while True:
            numbers = os.read(self._reader, 1)
            if not numbers:
                os.close(self._reader)
                return
            if numbers[0] not in self._before:
                continue
            name = signal.Signals(numbers[0]).name
            if numbers[0] == signal.SIGHUP:
                _leave_terminal()
            now = time.monotonic()
            if not first:
                first, self.received = now, name
                if self._what:
                    _say(f"{name}: {self._what}. Again to stop at once")
                    continue
                _say(f"{name}: stopping; there is nothing to save")
                threading.Thread(target=self._end_late, daemon=True).start()
            elif now - first > _SAME_SECONDS:
                _say(f"{name}: stopping at once; what was not saved is done again")
                self._end()

    def _end_late(self):
        """End the process if it does not do so by itself."""
        until = time.monotonic() + self.patience
        while time.monotonic() < until and not self._what:
            time.sleep(0.05)
        if StopSignal._active is self and not self._what:
            self._end()

    def _end(self):
        with contextlib.suppress(Exception):
            self.at_exit()
        os._exit(EXIT_PREEMPTED)


def ignore() -> None:
    """Ignore further signals: the command is done, the interpreter ends."""
    for number in NUMBERS:
        signal.signal(number, signal.SIG_IGN)


def _say(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def _leave_terminal() -> None:
    """Point what writes to a terminal that was closed to nowhere."""
    for stream in (1, 2):
        with contextlib.suppress(OSError):
            if os.isatty(stream):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream)
                os.close(nowhere)

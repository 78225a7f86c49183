"""Signals that ask a run to end: answered at once, obeyed where nothing is lost.

Imports nothing but the standard library, so that it can be in place before anything
that takes seconds to import.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator

EXIT_PREEMPTED = 75
# A closed terminal sends SIGHUP, `sbatch --signal=USR1` sends SIGUSR1.
NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
# A process group may get one signal twice, from the terminal and from a launcher.
_SAME_SECONDS = 1.0
_GRACE_SECONDS = 5.0  # to react to a second signal, which a compilation cannot


class Preempted(KeyboardInterrupt):
    """A signal asked the process to end where it had nothing to save.

    Args:
        name: The signal.
        at_once: Whether it was the second, which does not wait for anything.
    """

    def __init__(self, name: str, at_once: bool = False):
        super().__init__(name)
        self.at_once = at_once


class StopSignal:
    """Receiver of the signals in `NUMBERS`; context manager.

    Outside of `deferred` the first signal raises `Preempted` in the main thread. Inside
    of it, it is noted in `received`, for a loop that saves before it ends. A thread
    answers every signal at once, also while the main thread compiles. A second signal
    stops at once, and ends the process if the main thread cannot react.
    """

    _active: "StopSignal | None" = None

    def __init__(self):
        self.received = ""
        self._what = ""  # what happens on a signal, while it is deferred
        self._first = 0.0
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
        for number in NUMBERS:
            before = signal.getsignal(number)
            if number == signal.SIGHUP and before == signal.SIG_IGN:
                continue  # `nohup`
            self._before[number] = signal.signal(number, self._handle)
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        self._wakeup = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        threading.Thread(target=self._answer, daemon=True).start()
        StopSignal._active = self
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
        """Obey a signal that came while it was deferred, or in a destructor."""
        if self.received and not self._what:
            raise Preempted(self.received)

    def _handle(self, number, frame):
        del frame
        name = signal.Signals(number).name
        if not self.received:
            self.received, self._first = name, time.monotonic()
            if not self._what:
                raise Preempted(name)
        elif self._again() and self._what:
            self._what = ""
            raise Preempted(name, at_once=True)

    def _again(self) -> bool:
        return time.monotonic() - self._first > _SAME_SECONDS

    def _answer(self):
        """Tell what a signal leads to; end the process if it does not obey."""
        answered = 0.0
        while True:
            try:
                numbers = os.read(self._reader, 1)
            except OSError:
                return
            if not numbers:
                os.close(self._reader)
                return
            if numbers[0] not in NUMBERS:
                continue
            name = signal.Signals(numbers[0]).name
            if numbers[0] == signal.SIGHUP:
                _leave_terminal()
            now = time.monotonic()
            if not answered:
                answered = now
                what = self._what or "stopping; there is nothing to save yet"
                _say(f"{name}: {what}. Again to stop at once")
            elif now - answered > _SAME_SECONDS:
                _say(f"{name}: stopping at once; what was not saved is done again")
                time.sleep(_GRACE_SECONDS)
                if StopSignal._active is self:
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

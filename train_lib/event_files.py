"""TensorBoard event files, with TensorFlow or without."""

import os
import time
from collections.abc import Mapping
from typing import Protocol


class Board(Protocol):
    """Receiver of scalars, such as clu's writers."""

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars of a step."""

    def close(self) -> None:
        """Write what is left and close the file."""


def open_board(folder: str | os.PathLike) -> Board:
    """Begin an event file in a folder.

    clu writes through TensorFlow, which has no wheels for some machines. There
    tensorboard itself writes, and a reader sees no difference.
    """
    try:
        # Takes seconds, so not before it is needed.
        from clu import metric_writers
    except ImportError:
        return EventFile(folder)
    return metric_writers.SummaryWriter(os.fspath(folder))


class EventFile:
    """An event file that tensorboard writes by itself."""

    def __init__(self, folder: str | os.PathLike):
        from tensorboard.summary.writer import event_file_writer

        self._file = event_file_writer.EventFileWriter(os.fspath(folder))

    def write_scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        """Write scalars of a step."""
        from tensorboard.compat.proto import event_pb2
        from tensorboard.plugins.scalar import summary_v2

        for tag, value in scalars.items():
            summary = summary_v2.scalar_pb(tag, value)
            event = event_pb2.Event(  # pyright: ignore[reportAttributeAccessIssue]
                wall_time=time.time(), step=step, summary=summary
            )
            self._file.add_event(event)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._file.close()

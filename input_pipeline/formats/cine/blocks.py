"""Frames of a stored array in order, whatever the order of its axes."""

import math
import pathlib
from collections.abc import Iterator

import numpy as np
from tqdm import auto as tqdm

from input_pipeline.cache import mapped_array
from input_pipeline.formats import arrays as array_format
from input_pipeline.formats.arrays import ArrayError, Stored
from input_pipeline.formats.cine import axes as cine_axes

BLOCK = 2**26  # bytes read at once
MOST_BYTES = 2**29  # of a frame
_COUNTED = ("clip", "frame")
_PICTURE = ("channel", "depth", "line")


class Frames:
    """Frames of an array, read block by block.

    Attributes:
      clips: how many there are; 1 where no axis is named so.
      frames: of each clip.
      channels: of each frame.
      dtype: of the values.
      pictures: whether they are of a type that pictures have.
    """

    def __init__(
        self,
        stored: Stored,
        named: cine_axes.Named,
        scratch: pathlib.Path,
        progress: bool,
    ):
        """Puts the axes of frames first; an array where they are not is copied.

        Args:
          stored: the array.
          named: its axes.
          scratch: file for the copy; left to the caller to remove.
          progress: show it.

        Raises:
          ArrayError: if a frame is too large to be one.
        """
        lengths = dict(zip(named.names, stored.shape, strict=True))
        self.clips, self.frames = (lengths.get(name, 1) for name in _COUNTED)
        self.channels = lengths.get("channel", 1)
        self.dtype = stored.dtype
        self.pictures = stored.dtype.kind == "b" or stored.dtype == np.uint8
        frame = math.prod(lengths.get(name, 1) for name in _PICTURE)
        self._frame_bytes = frame * stored.dtype.itemsize
        if self._frame_bytes > MOST_BYTES:
            raise ArrayError(
                f"a frame would have {self._frame_bytes:,} bytes ({named.said}); "
                f"expected up to {MOST_BYTES:,}: set data.axes"
            )
        counted = [name for name in _COUNTED if name in lengths]
        self._rest = [name for name in named.names if name in _PICTURE]
        self._backwards = named.backwards
        # Axes of length 1 may lie anywhere.
        long = [name for name in named.names if lengths[name] > 1]
        wanted = [name for name in counted + self._rest if lengths[name] > 1]
        names = list(named.names)
        if long != wanted:
            permutation = [names.index(name) for name in counted + self._rest]
            stored = _turn(stored, permutation, scratch, progress)
            names = counted + self._rest
        self._stored, self._shape = stored, [lengths[name] for name in self._rest]
        self._leading = max((names.index(name) + 1 for name in counted), default=0)

    def __len__(self) -> int:
        return self.clips * self.frames

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """Yields the number of the first frame, and [m, channel, depth, line]."""
        first = 0
        limit = max(BLOCK, self._frame_bytes)
        for prefix, part in array_format.tiles(self._stored, limit):
            block = self._pictures(self._stored.read((*prefix, part)))
            yield first, block
            first += len(block)

    def middle(self) -> np.ndarray:
        """Returns the frame in the middle, [channel, depth, line]."""
        index = tuple(n // 2 for n in self._stored.shape[: self._leading])
        return self._pictures(self._stored.read(index))[0]

    def _pictures(self, block: np.ndarray) -> np.ndarray:
        block = block.reshape(-1, *self._shape)
        there = [name for name in _PICTURE if name in self._rest]
        block = block.transpose(0, *(1 + self._rest.index(name) for name in there))
        for axis, name in ((-2, "depth"), (-1, "line")):
            if name in self._backwards:
                block = np.flip(block, axis)
        return block if "channel" in there else block[:, None]


def _turn(
    stored: Stored, permutation: list[int], path: pathlib.Path, progress: bool
) -> Stored:
    """Copies an array with its axes in another order."""
    shape = tuple(stored.shape[axis] for axis in permutation)
    mapped_array.check_room(path.parent, math.prod(shape) * stored.dtype.itemsize)
    np.lib.format.open_memmap(path, "w+", stored.dtype, shape).flush()
    back = np.argsort(permutation)
    pieces = list(array_format.tiles(stored, BLOCK))
    for prefix, part in tqdm.tqdm(pieces, "ordering frames", disable=not progress):
        # Mapped anew for each piece: pages that are mapped count as memory.
        array = np.load(path, mmap_mode="r+", allow_pickle=False)
        array.transpose(back)[(*prefix, part)] = stored.read((*prefix, part))
        del array
    return array_format.open_npy(path, stored.name)

"""PNG files written byte by byte: 16 bits a channel, and chunks that Pillow refuses."""

import struct
import zlib

import numpy as np

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by channels


def chunk(kind, data, damage=False):
    """Return a chunk; `damage` spoils its checksum."""
    checksum = zlib.crc32(kind + data) ^ damage
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)


def write_png(path, values, chunks=()):
    """Write uint8 or uint16 [h, w] or [h, w, 2..4]; chunks come before the pixels."""
    values = np.asarray(values)
    height, width = values.shape[:2]
    channels = values.shape[2] if values.ndim == 3 else 1
    depth = 8 * values.dtype.itemsize
    rows = values.astype(values.dtype.newbyteorder(">")).reshape(height, -1)
    header = struct.pack(
        ">IIBBBBB", width, height, depth, _COLOR_TYPES[channels], 0, 0, 0
    )
    pixels = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    parts = [
        chunk(b"IHDR", header), *chunks, chunk(b"IDAT", pixels), chunk(b"IEND", b"")
    ]  # fmt: skip
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path

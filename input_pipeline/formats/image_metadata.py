"""Image files without their metadata, so that damaged metadata decides on nothing."""

import struct

SIGNATURE = 12  # bytes that tell the formats apart
_PNG = b"\x89PNG\r\n\x1a\n"
# What decides on the pixels of the first frame; all else is left out.
_PNG_CHUNKS = {b"IHDR", b"PLTE", b"tRNS", b"sBIT", b"IDAT", b"IEND"}
_WEBP_METADATA = {b"EXIF", b"XMP ", b"ICCP"}
_JPEG_METADATA = {*range(0xE1, 0xEE), 0xEF, 0xFE}  # APP1 .. APP13, APP15, comments
_JPEG_SCAN = 0xDA


def is_readable(start: bytes) -> bool:
    """Return whether a file that begins so can be read without its metadata."""
    webp = start[:4] == b"RIFF" and start[8:12] == b"WEBP"
    return webp or start.startswith((_PNG, b"\xff\xd8"))


def without_metadata(content: bytes) -> bytes | None:
    """Return the bytes of a PNG, JPEG or WebP file without its metadata.

    Args:
        content: Bytes of the file.

    Returns:
        Bytes with the same pixels; None for other formats, and where nothing was left
        out.
    """
    if content.startswith(_PNG):
        kept = _png(content)
    elif content.startswith(b"\xff\xd8"):
        kept = _jpeg(content)
    elif content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        kept = _webp(content)
    else:
        return None
    return kept if len(kept) < len(content) else None


def significant_bits(content: bytes) -> int:
    """Return the most bits that a PNG file says are used (sBIT), 0 where it does not.

    Args:
        content: First bytes of the file; sBIT comes before the pixels.
    """
    if not content.startswith(_PNG):
        return 0
    for kind, start, end in _chunks(content, len(_PNG), ">I", kind_first=False):
        if kind == b"sBIT":
            return max(content[start + 8 : end - 4], default=0)
        if kind == b"IDAT":
            break
    return 0


def _png(content: bytes) -> bytes:
    chunks = _chunks(content, len(_PNG), ">I", kind_first=False)
    kept = [content[start:end] for kind, start, end in chunks if kind in _PNG_CHUNKS]
    return _PNG + b"".join(kept)


def _webp(content: bytes) -> bytes:
    chunks = _chunks(content, 12, "<I", kind_first=True)
    kept = [
        content[start:end] for kind, start, end in chunks if kind not in _WEBP_METADATA
    ]
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _jpeg(content: bytes) -> bytes:
    kept, at = [content[:2]], 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == _JPEG_SCAN:
            break
        end = at + 2 + struct.unpack_from(">H", content, at + 2)[0]
        if marker not in _JPEG_METADATA:
            kept.append(content[at:end])
        at = end
    return b"".join([*kept, content[at:]])


def _chunks(content: bytes, at: int, length: str, *, kind_first: bool):
    """Yield kind, start and end of the chunks of a PNG or RIFF file."""
    while at + 8 <= len(content):
        kind = content[at : at + 4] if kind_first else content[at + 4 : at + 8]
        size = struct.unpack_from(length, content, at + 4 * kind_first)[0]
        end = at + 8 + (size + size % 2 if kind_first else size + 4)
        yield kind, at, min(end, len(content))
        at = end

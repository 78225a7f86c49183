"""B-mode images of the echoes along the lines of a scanner.

Frames have the last two axes [depth, line].
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy.fft
import scipy.signal
from PIL import Image

Envelope = Literal["auto", "hilbert", "abs", "iq", "iq_lines"]
ENVELOPES = get_args(Envelope)
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601
_SIGNED = 0.1


class Recipe(NamedTuple):
    """How amplitudes become images.

    Attributes:
        size: (h, w) of the images.
        bmode: "auto", "sequence", "frame" or "none".
        db: Dynamic range in decibels.
        envelope: One of `ENVELOPES`.
    """

    size: tuple[int, int]
    bmode: str
    db: float
    envelope: str


def kind_of_envelope(x: np.ndarray) -> str:
    """Return "hilbert" for echoes that swing about zero, else "abs"."""
    if np.iscomplexobj(x) or x.dtype.kind in "ub":
        return "abs"
    values = x[np.isfinite(x) & (x != 0)]
    return "hilbert" if values.size and np.mean(values < 0) > _SIGNED else "abs"


def envelope(x: np.ndarray, kind: str) -> np.ndarray:
    """Return the amplitude A of echoes.

      abs       A = |x|, of amplitudes and of complex values
      hilbert   A = |x + i H(x)|, of real echoes; H along depth
      iq        A = sqrt(I^2 + Q^2), samples of a line are I, Q, I, Q, ...
      iq_lines  A = sqrt(I^2 + Q^2), lines are I, Q, I, Q, ...

    Args:
        x: [..., depth, line].
        kind: One of the above.

    Returns:
        float32 [..., depth, line], half as deep for "iq", half as wide for "iq_lines".
    """
    if np.iscomplexobj(x):
        return np.abs(x).astype(np.float32, copy=False)
    x = x.astype(np.float32, copy=False)
    if kind == "abs":
        return np.abs(x)
    if kind == "hilbert":
        depth = x.shape[-2]
        # The offset of a converter is no echo.
        x = x - x.mean(-2, keepdims=True)
        length = scipy.fft.next_fast_len(depth, real=True)
        return np.abs(scipy.signal.hilbert(x, length, axis=-2)[..., :depth, :])
    if kind == "iq":
        pairs = x.shape[-2] // 2
        return np.hypot(x[..., 0 : 2 * pairs : 2, :], x[..., 1 : 2 * pairs : 2, :])
    if kind == "iq_lines":
        pairs = x.shape[-1] // 2
        return np.hypot(x[..., 0 : 2 * pairs : 2], x[..., 1 : 2 * pairs : 2])
    raise ValueError(f"got envelope {kind!r}; choices: {', '.join(ENVELOPES)}")


def root_sum_of_squares(amplitude: np.ndarray) -> np.ndarray:
    """Return sqrt(sum_c A_c^2) of channels [channel, ...]."""
    if len(amplitude) == 1:
        return amplitude[0]
    return np.sqrt(np.einsum("c...,c...->...", amplitude, amplitude))


def luminance(channels: np.ndarray) -> np.ndarray:
    """Return gray float32 of [channel, ...]: gray, RGB, or RGB with transparency."""
    if len(channels) == 1:
        return channels[0].astype(np.float32)
    return np.tensordot(_LUMINANCE, channels[:3].astype(np.float32), 1)


def log_compress(amplitude: np.ndarray, largest: float, db: float = 60.0) -> np.ndarray:
    """Return the brightness of amplitudes, in 0..1.

      I = 20 log10(A / A_max), clipped to -db..0;  brightness = (I + db) / db

    Args:
        amplitude: A, float32, 0 or more.
        largest: A_max, above 0: of the sequence, or of the frame.
        db: Dynamic range in decibels, above 0.
    """
    # What is least must come out as 0 exactly, however a CPU rounds logarithms; only
    # zero itself, which has none, is kept from them.
    x = np.clip(amplitude / np.float32(largest), np.finfo(np.float32).tiny, 1)
    return np.clip(np.log10(x) * np.float32(20 / db) + 1, 0, 1)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return float32 [h, w] of an image [depth, line].

    Bilinear; where it shrinks, the triangle is as wide as a new pixel on each side, so
    that speckle averages and does not alias.
    """
    image = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(image.resize(size[::-1], Image.Resampling.BILINEAR))


def to_uint8(brightness: np.ndarray) -> np.ndarray:
    """Return 0..1 as 0..255."""
    return np.uint8(np.rint(np.clip(brightness, 0, 1) * 255))


def value_fault(image: np.ndarray) -> str:
    """Return what is wrong with an image's values, "" if nothing is."""
    low, high = image.min(), image.max()  # NaN where there is one
    if not (np.isfinite(low) and np.isfinite(high)):
        bad = int(np.count_nonzero(~np.isfinite(image)))
        return f"{bad:,} of {image.size:,} values are NaN or infinite"
    return "" if low or high else "nothing but zeros"

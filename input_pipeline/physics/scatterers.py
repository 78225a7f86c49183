"""Muscle under a probe: scatterers that move through cycles, and the echo they give.

Positions are in mm, depth first. A tissue is fat, two muscles with fascicles, the
aponeurosis between them, and bone. That aponeurosis goes round an ellipse once a cycle
and takes along what lies between its neighbors, which stay:

    u(X) = f(X) (A sin 2 pi phi, B cos 2 pi phi)

f is 1 on it and falls linearly to 0 at both neighbors. The thickness of the muscles
follows the sine and the angle of their fascicles the cosine, so that one frame shows
the phase, rising or falling.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy import ndimage

FIELD = (32.0, 40.0)  # mm that are seen, depth and width
# Standard deviations in mm of the pulse along depth and of the beam across; coarse, so
# that speckle shows in 64 pixels.
SIGMA = (0.4, 0.7)
WAVELENGTH = 0.44  # mm: 3.5 MHz at 1540 m/s
RATE = 25.0  # frames/s
DENSITY = 5.0  # scatterers/mm^2, some 18 in a resolution cell

_CELL = 0.25  # mm, of the grid that scatterers are put on
_MARGIN = 3.0  # mm of that grid beyond what is seen
_REACH = 10.0  # mm of tissue on both sides, to be drawn into view
_PER_MM = 12  # scatterers of an interface
_CREEP = 0.035  # mm/s, of each scatterer
_WOBBLE = 0.03  # cycles by which a clip is ahead or behind
_FLOOR = -62.0  # dB, of the receiver's noise
_SHADOW = 0.6  # mm in which the echo falls by e below the bone

_FAT = (3.0, 6.5)  # mm
_MUSCLE = (17.0, 21.0)  # mm, both
_UPPER = (0.44, 0.48)  # of the muscle, what lies above the aponeurosis
_STRETCH = (0.27, 0.33)  # A, of the upper muscle
_SHEAR = (0.7, 0.85)  # B, of the upper muscle
_PENNATION = (27.0, 33.0)  # degrees
_FASCICLE = (0.9, 12.0)  # mm, across and along
_FASCICLE_DB = 8.0  # standard deviation


class Tissue(NamedTuple):
    """Scatterers at rest.

    Attributes:
        rest: Depth and width in mm, [n, 2].
        amplitude: complex [n].
        follows: F, [n] in [0, 1].
        creep: Mm/s by which a scatterer sinks by itself, [n]; speckle of one phase is
            another in the next cycle.
        swing: A and B in mm.
        loss: DB/mm that the receiver leaves uncorrected.
        contact: DB that is lost at 5 places from left to right, [5].
    """

    rest: np.ndarray
    amplitude: np.ndarray
    follows: np.ndarray
    creep: np.ndarray
    swing: tuple[float, float]
    loss: float
    contact: np.ndarray


def draw_tissue(rng: np.random.Generator) -> Tissue:
    """Draw one tissue.

    The variance of amplitudes is the echogenicity of the place; an interface echoes in
    phase along its length, as a smooth surface across the beam does.

    Args:
        rng: Generator of the tissue.
    """
    fat, muscle = rng.uniform(*_FAT), rng.uniform(*_MUSCLE)
    upper = muscle * rng.uniform(*_UPPER)
    tilt = rng.uniform(-0.06, 0.06)
    # Skin, superficial aponeurosis, deep aponeurosis, bone.
    depths = np.array([0.8, fat, fat + upper, fat + muscle])
    shapes = np.stack(
        [depths, [0, tilt, tilt, tilt], [0, *rng.uniform(-0.002, 0.002, 3)]]
    )  # [3, 4]: depth, slope, curvature

    low, high = -_REACH, FIELD[1] + _REACH
    soft, amplitude = scattered(rng, (0.0, low), (FIELD[0], high))
    level = _levels(rng, soft, _interfaces(shapes, soft[:, 1]))
    amplitude = 10 ** (level / 20) * amplitude

    m = round(_PER_MM * (high - low))
    width = np.tile(np.linspace(low, high, m), 4)
    lines = np.stack([_interfaces(shapes, width[:m]).ravel(), width], 1)
    patches = np.linspace(low, high, 16)
    level = np.concatenate(
        [
            np.interp(width[:m], patches, mean + rng.normal(0, 3, len(patches)))
            for mean in rng.uniform(-4, 0, 4) + [-8, -2, -4, 3]
        ]
    )
    # So many amplitudes add up on an interface, and so many in speckle of 0 dB.
    scale = np.sqrt(DENSITY * SIGMA[0] / SIGMA[1] / 2) / _PER_MM
    bright = scale * 10 ** (level / 20) * (1 + 0.3 * rng.standard_normal(4 * m))
    in_phase = np.exp(4j * np.pi * lines[:, 0] / WAVELENGTH)

    rest = np.concatenate([soft, lines])
    _, above, between, below = _interfaces(shapes, rest[:, 1])
    down, up = rest[:, 0] - above, below - rest[:, 0]
    follows = np.minimum(down / (between - above), up / (below - between))
    return Tissue(
        rest=rest,
        amplitude=np.concatenate([amplitude, bright * in_phase]),
        follows=follows.clip(0, 1),
        creep=np.append(_CREEP * rng.standard_normal(len(soft)), np.zeros(4 * m)),
        swing=(upper * rng.uniform(*_STRETCH), upper * rng.uniform(*_SHEAR)),
        loss=rng.uniform(0, 0.4),
        contact=rng.uniform(0, 8, 5),
    )


def scattered(
    rng: np.random.Generator, low: tuple[float, float], high: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw scatterers of echogenicity 1 in a rectangle.

    There is one at random in each cell of a lattice: evenly spread, and with complex
    normal amplitudes, they make speckle that is fully developed at a density at which
    scatterers anywhere would not.

    Args:
        rng: Generator of positions and amplitudes.
        low: Least depth and width in mm.
        high: Greatest depth and width in mm.

    Returns:
        Depth and width, [n, 2]; amplitudes of variance 1, complex [n].
    """
    extent = np.subtract(high, low)
    cells = np.rint(np.sqrt(DENSITY) * extent).astype(int)
    cell = np.stack(np.indices(cells), -1).reshape(-1, 2)
    place = low + (cell + rng.random(cell.shape)) * extent / cells
    real, imaginary = rng.standard_normal((2, len(cell))) / np.sqrt(2)
    return place, real + 1j * imaginary


def draw_course(rng: np.random.Generator, frames: int, cycles: float) -> np.ndarray:
    """Draw how a clip goes through its cycles.

    Args:
        rng: Generator of start, rate and irregularity.
        frames: N.
        cycles: Mean number of cycles; a clip has 0.8 to 1.25 times as many.

    Returns:
        Float64 [n], rising; the phase phi is what follows the point.
    """
    start, late = rng.random(2)
    turned = cycles * rng.uniform(0.8, 1.25) * np.arange(frames) / frames
    return start + turned + _WOBBLE * np.sin(2 * np.pi * (0.37 * turned + late))


def displaced(tissue: Tissue, phase: float, time: float) -> np.ndarray:
    """Return where the scatterers are, [n, 2]: X + u(X), and what they crept.

    Args:
        tissue: Scatterers at rest.
        phase: Phi, cycles.
        time: Seconds since the clip began.
    """
    turn, (a, b) = 2 * np.pi * phase, tissue.swing
    ellipse = np.array([a * np.sin(turn), b * np.cos(turn)])
    position = tissue.rest + tissue.follows[:, None] * ellipse
    position[:, 0] += tissue.creep * time
    return position


class Probe:
    """Hears scatterers at `height` x `width` points of the field.

    The echo at (z, x), after demodulation, is

        sum_k a_k exp(-4 pi i z_k / lambda) g((z - z_k) / s_z) g((x - x_k) / s_x),

    g(t) = exp(-t^2 / 2), over sqrt(pi s_z s_x DENSITY), so that speckle of
    echogenicity 1 has a mean power of 1. Scatterers are shared out among four points
    of a grid, their phases taken before that.

    Args:
        height: Samples along depth.
        width: Lines.

    Source: the convolution model of Bamber and Dickinson, Phys. Med. Biol. 25 (1980).
    """

    def __init__(self, height: int, width: int):
        self.shape = (height, width)
        self.places = [
            (np.arange(n) + 0.5) * length / n
            for n, length in zip(self.shape, FIELD, strict=True)
        ]
        self._grid = [round((length + 2 * _MARGIN) / _CELL) + 1 for length in FIELD]
        self._down, self._across = (
            _gaussian(place, n, sigma)
            for place, n, sigma in zip(self.places, self._grid, SIGMA, strict=True)
        )

    def echo(self, position: np.ndarray, amplitude: np.ndarray) -> np.ndarray:
        """Return real and imaginary part of the echo, float32 [2, height, width].

        Args:
            position: Depth and width in mm, [n, 2].
            amplitude: complex [n].
        """
        angle = (4 * np.pi / WAVELENGTH * position[:, 0]).astype(np.float32)
        cos, sin = np.cos(angle), np.sin(angle)
        real = amplitude.real * cos + amplitude.imag * sin
        imaginary = amplitude.imag * cos - amplitude.real * sin
        grid = _shared_out(position, (real, imaginary), self._grid)
        return self._down @ (grid @ self._across.T)


def amplitudes(
    tissue: Tissue, course: np.ndarray, probe: Probe, rng: np.random.Generator
) -> Iterator[np.ndarray]:
    """Yield the envelope |A| of one frame after another, float32 [height, width].

    Args:
        tissue: Tissue in the image.
        course: Cycles of each frame, [n]; frames follow one another at `RATE`.
        probe: Probe that records the image.
        rng: Generator of the receiver's noise.
    """
    z, x = probe.places
    contact = np.interp(
        x, np.linspace(0, FIELD[1], len(tissue.contact)), tissue.contact
    )
    lost = tissue.loss * z[:, None] + contact[None, :]
    gain = (10 ** (-lost / 20)).astype(np.float32)
    for frame, phase in enumerate(course.tolist()):
        position = displaced(tissue, phase, frame / RATE)
        noise = rng.standard_normal((2, *probe.shape), np.float32)
        heard = gain * probe.echo(position, tissue.amplitude)
        heard += np.float32(10 ** (_FLOOR / 20) / np.sqrt(2)) * noise
        yield np.hypot(*heard)


def _levels(rng, at: np.ndarray, interfaces: np.ndarray) -> np.ndarray:
    """Echogenicity in dB at points [n, 2], between interfaces [4, n]."""
    z, x = at.T
    _, above, between, below = interfaces
    muscle, fat = rng.uniform(-40, -32), rng.uniform(-26, -18)
    angles = np.deg2rad(rng.uniform(*_PENNATION, 2)) * [1, -1]
    upper = muscle + _FASCICLE_DB * _streaks(rng, z - above, x, angles[0])
    lower = muscle + _FASCICLE_DB * _streaks(rng, z - between, x, angles[1])
    layers = fat + 3 * _streaks(rng, z, x, 0.0)
    level = np.where(z < above, layers, np.where(z < between, upper, lower))
    return level - 20 * np.log10(np.e) * np.maximum(z - below, 0) / _SHADOW


def _streaks(rng, z: np.ndarray, x: np.ndarray, angle: float) -> np.ndarray:
    """Noise of unit variance in streaks at an angle, [n]."""
    noise = rng.standard_normal((97, 97))
    cos, sin = np.cos(angle), np.sin(angle)
    at = np.stack([cos * z - sin * x, cos * x + sin * z]) / np.array([_FASCICLE]).T
    return 1.5 * ndimage.map_coordinates(noise, at, order=1, mode="grid-wrap")


def _interfaces(shapes: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Depths of the interfaces at x [n], [4, n]."""
    return np.polynomial.polynomial.polyval(x - FIELD[1] / 2, shapes)


def _shared_out(position: np.ndarray, values, shape: list[int]) -> np.ndarray:
    """Sum of values [n] on a grid, bilinearly, float32 [len(values), *shape].

    Scatterers outside are moved to the border, where `_gaussian` hides them.
    """
    rows, columns = shape
    at = (position.T + _MARGIN) / _CELL
    corner = at.astype(np.int32).clip(0, [[rows - 2], [columns - 2]])
    dz, dx = at - corner
    index = corner[0] * columns + corner[1]
    shares = {
        0: (1 - dz) * (1 - dx),
        1: (1 - dz) * dx,
        columns: dz * (1 - dx),
        columns + 1: dz * dx,
    }
    grid = np.zeros((len(values), rows * columns))
    for sums, value in zip(grid, values, strict=True):
        for ahead, share in shares.items():
            counted = np.bincount(index, share * value, rows * columns)
            sums[ahead:] += counted[: len(counted) - ahead]
    return grid.astype(np.float32).reshape(-1, rows, columns)


def _gaussian(place: np.ndarray, points: int, sigma: float) -> np.ndarray:
    """Weights of the points of the grid at each place, float32 [n, points]."""
    grid = np.arange(points) * _CELL - _MARGIN
    weight = np.exp(-0.5 * ((place[:, None] - grid[None, :]) / sigma) ** 2)
    weight[:, [0, 1, -2, -1]] = 0
    return (weight / np.sqrt(np.sqrt(DENSITY * np.pi) * sigma)).astype(np.float32)

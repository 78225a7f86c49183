"""Inputs such as people have: images, cine, scans, slices, articles; drawn by seed."""

import pathlib

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.io
import scipy.ndimage
import tifffile
from PIL import Image


def texture(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return smooth noise of 0 to 1."""
    x = scipy.ndimage.gaussian_filter(rng.standard_normal(shape), 2)
    return (x - x.min()) / np.ptp(x)


def write_images(folder: pathlib.Path) -> pathlib.Path:
    """Write 96 PNG files and a note, without labels."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(96):
        colors = rng.uniform(0.3, 1, 3)
        pixels = np.uint8(255 * texture(rng, 48, 64)[..., None] * colors)
        Image.fromarray(pixels).save(folder / f"{k:03d}.png")
    (folder / "README.txt").write_text("scanned in spring\n")
    return folder


def _moving(frames: int, seed: int) -> np.ndarray:
    """Return a texture that moves to and fro, uint8 [n, h, w] from 1 to 255."""
    ground = texture(np.random.default_rng(seed), 120, 96)
    shifts = np.rint(20 + 18 * np.sin(np.arange(frames) / 5)).astype(int)
    return np.stack([np.uint8(1 + 254 * ground[s : s + 72]) for s in shifts])


def write_clip(file: pathlib.Path) -> pathlib.Path:
    """Write one clip as a cell array of MATLAB, a frame in each cell."""
    frames = _moving(64, 0)
    cells = np.empty((1, len(frames)), object)
    for k, frame in enumerate(frames):
        cells[0, k] = frame
    scipy.io.savemat(file, {"frames": cells})
    return file


def write_stacks(folder: pathlib.Path) -> pathlib.Path:
    """Write three TIFF stacks of 24 pages and 12 bits in 16."""
    folder.mkdir()
    for seed in range(3):
        pages = np.uint16(_moving(24, seed)) * 16
        tifffile.imwrite(folder / f"{seed}.tif", pages, photometric="minisblack")
    return folder


def write_scan(file: pathlib.Path) -> pathlib.Path:
    """Write a test file of fastMRI with one coil: 20 slices, undersampled."""
    rng = np.random.default_rng(0)
    images = np.stack([texture(rng, 96, 64) for _ in range(20)])
    axes = (-2, -1)
    k = np.fft.fftshift(np.fft.fft2(images, axes=axes), axes).astype(np.complex64)
    mask = np.arange(64) % 4 == 0
    mask[29:35] = True
    with h5py.File(file, "w") as scan:
        scan["kspace"], scan["mask"] = k * mask, mask
        scan["ismrmrd_header"] = b"<ismrmrdHeader/>"
    return file


def write_slices(folder: pathlib.Path) -> pathlib.Path:
    """Write 24 slices as PNG and TIFF of 12 bits in 16, without a table."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(24):
        pixels = np.uint16(4095 * texture(rng, 80, 64))
        ending = "png" if k % 2 else "tif"
        Image.fromarray(pixels).save(folder / f"slice{k:02d}.{ending}")
    return folder


def write_articles(file: pathlib.Path) -> pathlib.Path:
    """Write 60 articles of 14 vectors as pandas does, titles as categories."""
    rng = np.random.default_rng(0)
    topics = rng.standard_normal((60, 1, 384))
    vectors = topics + 0.7 * np.cumsum(rng.standard_normal((60, 14, 384)), 1)
    names = [f"article {k}" for k in range(60)]
    article = pa.array(np.repeat(names, 14)).dictionary_encode()
    table = {
        "embedding": pa.array(vectors.reshape(-1, 384).astype(np.float32).tolist()),
        "article": article,
        "position": pa.array(np.tile(np.arange(14), 60).astype(str)),
        "title": article,
    }
    pq.write_table(pa.table(table), file)
    return file

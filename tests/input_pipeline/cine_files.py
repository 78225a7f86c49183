"""Cine in every format, and files that are at fault in every way."""

import os
import pickle
import struct
import zlib

import h5py
import numpy as np
import scipy.io
from PIL import Image

from input_pipeline.datasets import cine
from input_pipeline.physics import bmode

FRAMES, DEPTH, LINES = 20, 40, 12
SIZE = (DEPTH, LINES)  # nothing is resized


def amplitudes(frames=FRAMES, depth=DEPTH, lines=LINES, seed=0):
    """Speckle, float32 [frame, depth, line] above 0, over three decades."""
    rng = np.random.default_rng(seed)
    x = rng.rayleigh(size=(frames, depth, lines)) * 10 ** rng.uniform(
        -3, 0, (frames, depth, lines)
    )
    return x.astype(np.float32)


def expected(a, db=60.0, per_frame=False):
    """The formula of the B-mode in float64, uint8."""
    a = np.abs(a.astype(np.complex128))
    top = a.max((1, 2), keepdims=True) if per_frame else a.max()
    with np.errstate(divide="ignore"):
        level = np.clip(20 * np.log10(a / top), -db, 0)
    return np.rint(255 * (level + db) / db).astype(np.uint8)


def write_mat73(path, arrays):
    """What MATLAB writes as version 7.3; `arrays` have the axes that h5py reads."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, array in arrays.items():
            if np.iscomplexobj(array):
                pairs = np.zeros(array.shape, [("real", "f4"), ("imag", "f4")])
                pairs["real"], pairs["imag"] = array.real, array.imag
                array = pairs
            file[key] = array
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_good(folder):
    """One file a format; returns file name -> (fields of the reader, amplitudes)."""
    made = {}
    named = {"axes": "frame,channel,depth,line"}

    def new(name, fields):
        a = amplitudes(seed=len(made))
        made[name] = fields, a
        return folder / name, a

    path, a = new("seven.mat", {"key": "Acq/Amp", **named})
    write_mat73(path, {"Acq/Amp": a[:, None].T, "Acq/fs": np.ones((1, 1))})
    path, a = new("as_read.mat", {"key": "Acq/Amp", **named})
    write_mat73(path, {"Acq/Amp": a[:, None]})
    path, a = new("usual.mat", {})  # [depth, line, frame] in MATLAB
    write_mat73(path, {"Amp": a.transpose(0, 2, 1)})
    path, a = new("complex.mat", named)
    a = a * np.exp(1j * np.arange(LINES)).astype(np.complex64)
    made["complex.mat"] = named, a
    write_mat73(path, {"iq": a[:, None].T})
    path, a = new("five.mat", {"key": "Acq/Amp", **named})
    scipy.io.savemat(path, {"Acq": {"Amp": a[:, None], "fs": 2.0}})
    path, a = new("five_usual.mat", {})
    scipy.io.savemat(path, {"Amp": a.transpose(1, 2, 0)})
    path, a = new("plain.h5", {"axes": "frame,depth,line"})
    with h5py.File(path, "w") as file:
        file.create_dataset("rf/a", data=a, chunks=(3, 16, 5), compression="gzip")
    path, a = new("forced.h5", {"axes": "=line,depth,frame"})
    with h5py.File(path, "w") as file:
        file["a"] = a.T
    path, a = new("beside_others.npz", {})
    np.savez_compressed(path, data=a, pose=np.zeros((FRAMES, 4, 4)), time=np.arange(9))
    path, a = new("doubles.npy", {"axes": "frame, depth, line"})
    np.save(path, a.astype(np.float64))
    path, a = new("fortran.npy", {"axes": "frame,line,depth"})
    np.save(path, np.asfortranarray(a.transpose(0, 2, 1)))
    path, a = new("middle.npy", {"axes": "depth,frame,line"})
    np.save(path, a.transpose(1, 0, 2))
    path, a = new("backwards.npy", {"axes": "frame,-depth,-line"})
    np.save(path, a[:, ::-1, ::-1])
    return made


def write_bad(folder):
    """One file a fault; returns file name -> (fields, what its message must say)."""
    a = amplitudes()
    said = {}

    def put(name, message, **fields):
        said[name] = fields, message
        return folder / name

    put("empty.mat", "the file is empty").touch()
    put("text.mat", "cut off, damaged or none").write_text("frame,label\n1,2\n")
    put("text.h5", "HDF5 file is cut off").write_text("no")
    put("text.npy", "content is not npy").write_text("no")
    put("text.npz", "npz file is cut off").write_text("no")
    put("pickle.npy", "content is not npy").write_bytes(pickle.dumps(a))
    np.save(put("objects.npy", "Python objects"), np.array([{}, None]))
    np.savez(
        put("objects.npz", "'a' holds object, no numbers", key="a"),
        a=np.array([{}, None]),
    )
    np.savez(put("words.npz", "none of the arrays can be frames"), a=np.array("text"))
    np.savez(put("two.npz", "2 of the arrays can be frames.*a float32"), a=a, b=a)
    np.savez(put("key.npz", "'c' is not there; choices: a", key="c"), a=a)
    np.savez(folder / "cut.npz", a=a)
    content = (folder / "cut.npz").read_bytes()
    put("cut.npz", "npz file is cut off").write_bytes(content[: len(content) // 2])
    np.savez(folder / "flipped.npz", a=a)
    content = bytearray((folder / "flipped.npz").read_bytes())
    content[5000] ^= 255
    put("flipped.npz", "CRC").write_bytes(content)
    np.save(folder / "cut.npy", a)
    content = (folder / "cut.npy").read_bytes()
    put("cut.npy", "cut off or its header").write_bytes(content[:-9])
    write_mat73(folder / "cut.mat", {"Amp": a})
    content = (folder / "cut.mat").read_bytes()
    put("cut.mat", "cut off, damaged").write_bytes(content[: len(content) // 2])
    put("phantom.mat", "says version 7.3").write_bytes(content[:200])
    write_mat73(put("group.mat", "is a group.*Acq/Amp", key="Acq"), {"Acq/Amp": a})
    write_mat73(
        put("no_key.mat", "'Acq/Env' is not there; choices: Acq/Amp", key="Acq/Env"),
        {"Acq/Amp": a},
    )
    scipy.io.savemat(
        put("five.mat", "choices: Acq/Amp", key="Acq/Env"), {"Acq": {"Amp": a}}
    )
    scipy.io.savemat(put("top.mat", "choices: Acq", key="Env"), {"Acq": {"Amp": a}})
    with h5py.File(put("outside.h5", "lie in other files"), "w") as file:
        raw = folder / "secret.raw"
        raw.write_bytes(bytes(a.nbytes))
        file.create_dataset(
            "a", a.shape, np.float32, external=[(os.fspath(raw), 0, a.nbytes)]
        )
    with h5py.File(folder / "other.hdf", "w") as file:
        file["a"] = a
    with h5py.File(put("link.h5", "'a' is not there", key="a"), "w") as file:
        file["a"] = h5py.ExternalLink(os.fspath(folder / "other.hdf"), "a")
    with h5py.File(put("unwritten.h5", "of which 0 were written"), "w") as file:
        file.create_dataset("a", (10**6, 500, 500), np.float32, chunks=(1, 500, 500))
    holes = np.full_like(a, np.nan)
    np.save(put("nan.npy", "all frames are at fault.*480 of 480 values"), holes)
    np.save(put("zeros.npy", "nothing but zeros"), np.zeros_like(a))
    np.save(put("few_axes.npy", "of 2 axes", axes="frame,depth,line"), a[0])
    np.save(
        put("vectors.npy", "samples and lines", axes="frame,depth,line"), a[..., :3]
    )
    np.save(put("rank1.npy", "axes cannot be guessed"), a.ravel())
    np.save(put("rank5.npy", "axes cannot be guessed"), a[None, None])
    np.save(put("channels.npy", "axes cannot be guessed"), np.ones((9, 40, 30, 9)))
    np.save(put("name.npy", "'width'; choices", axes="frame,depth,width"), a)
    np.save(put("twice.npy", "expected a name for each", axes="frame,depth,depth"), a)
    np.save(put("minus.npy", "only depth and line", axes="-frame,depth,line"), a)
    np.save(put("none.npy", "got no frame"), a[:0])
    np.save(put("decibels.npy", "look like decibels"), -np.abs(a))
    np.save(put("signed.npy", "expected images", bmode="none"), a - 1)
    np.save(put("bright.npy", "expected images", bmode="none"), 1000 * a)
    np.save(put("iq.npy", "no images", bmode="none"), a.astype(np.complex64))
    np.save(
        put("two.npy", "2 channels", bmode="none", axes="channel,depth,line"), a[:2]
    )
    return said


def write_images(folder, frames, names=None, shape=(DEPTH, LINES)):
    """Gray PNG files; returns their pixels uint8 [n, h, w]."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(frames).integers(1, 256, (frames, *shape), np.uint8)
    names = names or [f"frame {number}.png" for number in range(frames)]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    return pixels


def write_bomb(path, side=100_000):
    """A PNG of a few bytes that says it has side x side pixels."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
        for kind, body in chunks:
            crc = struct.pack(">I", zlib.crc32(kind + body))
            file.write(struct.pack(">I", len(body)) + kind + body + crc)


def prepare(path, cache, *, size=SIZE, max_rejected=0.0, key="", axes="", **recipe):
    """Prepare a file or folder of frames with defaults."""
    recipe = {"bmode": "auto", "db": 60.0, "envelope": "auto"} | recipe
    return cine.prepare(
        path,
        key=key,
        axes=axes,
        recipe=bmode.Recipe(size, **recipe),
        max_rejected=max_rejected,
        cache=str(cache),
        progress=False,
    )


def frames(*args, **fields):
    """Prepare and return the frames."""
    return np.load(prepare(*args, **fields).frames)


def assert_same(found, expected):
    """Equal but for values that lie on the edge between two levels."""
    assert found.shape == expected.shape
    assert found.dtype == np.uint8
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert np.mean(found != expected) < 1e-3

"""Scans in every format, and files that are at fault in every way."""

import pickle

import h5py
import numpy as np
import scipy.io


def k_space(*shape, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *shape))
    return (x[0] + 1j * x[1]).astype(np.complex64)


def write_cfl(path, array, dims=None):
    """A BART pair; `array` has BART's axes."""
    dims = dims or array.shape
    path.with_suffix(".hdr").write_text(f"# Dimensions\n{' '.join(map(str, dims))}\n")
    array.astype(np.complex64).ravel(order="F").tofile(path.with_suffix(".cfl"))


def write_mat73(path, array, key="kspace"):
    """What MATLAB writes as version 7.3: axes last to first, (real, imag) pairs."""
    with h5py.File(path, "w", userblock_size=512) as file:
        pairs = np.zeros(array.T.shape, [("real", "f4"), ("imag", "f4")])
        pairs["real"], pairs["imag"] = array.T.real, array.T.imag
        file[key] = pairs
    with open(path, "r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write_good(folder):
    """One file a format; returns file name -> what must be read from it."""
    scans = {}
    with h5py.File(folder / "fastmri.h5", "w") as file:
        scans["fastmri.h5"] = k_space(2, 3, 16, 12)
        file["kspace"] = scans["fastmri.h5"]
    with h5py.File(folder / "single_coil.h5", "w") as file:
        scans["single_coil.h5"] = k_space(3, 1, 16, 12, seed=6)
        file["kspace"] = scans["single_coil.h5"][:, 0]
        file["reconstruction_esc"] = np.zeros((3, 12, 12), np.float32)
    scans["coils.npy"] = k_space(1, 5, 16, 16, seed=1)
    np.save(folder / "coils.npy", scans["coils.npy"][0])
    scans["single.npy"] = k_space(1, 1, 10, 20, seed=2)
    np.save(folder / "single.npy", scans["single.npy"][0, 0].astype(np.complex128))
    scans["bart.cfl"] = k_space(2, 4, 16, 14, seed=3)
    bart = np.zeros((16, 14, 1, 4, 1, 2), np.complex64)
    bart[:, :, 0, :, 0, :] = np.moveaxis(scans["bart.cfl"], (0, 1), (3, 2))
    write_cfl(folder / "bart.cfl", bart)
    scans["five.mat"] = k_space(1, 2, 16, 12, seed=4)
    scipy.io.savemat(folder / "five.mat", {"kspace": scans["five.mat"][0]})
    scans["seven.mat"] = k_space(1, 2, 16, 12, seed=5)
    write_mat73(folder / "seven.mat", scans["seven.mat"][0])
    return scans


def write_bad(folder):
    """One file a fault; returns file name -> what its message must say."""
    good = k_space(2, 16, 16)
    said = {}

    def put(name, message):
        said[name] = message
        return folder / name

    put("empty.npy", "the file is empty").touch()
    np.save(folder / "whole.npy", good)
    content = (folder / "whole.npy").read_bytes()
    (folder / "whole.npy").unlink()
    put("truncated.npy", "cut off").write_bytes(content[:-100])
    put("header.npy", "damaged").write_bytes(content[:9])
    put("text.npy", "is not npy").write_text("height,width\n1,2\n")
    np.save(put("objects.npy", "Python objects"), np.array([{}, None]))
    put("pickle.npy", "is not npy").write_bytes(pickle.dumps(good))
    np.save(put("real.npy", "expected complex"), good.real)
    np.save(put("whole_numbers.npy", "got int16 values"), np.zeros((16, 16), np.int16))
    np.save(put("line.npy", "array of 1 axes"), good[0, 0])
    np.save(put("rank5.npy", "array of 5 axes"), good[None, None])
    np.save(put("no_coil.npy", "no coils"), good[:0])
    np.save(put("thin.npy", "8 lines or more"), good[:, :, :4])
    np.save(
        put("swapped.npy", "another axis was taken"), np.zeros((40, 36, 8), complex)
    )
    holes = good.copy()
    holes[1, 3, 4] = np.nan
    np.save(put("nan.npy", "of 512 values 1 are NaN"), holes)
    holes[1, 3, 4] = np.inf
    np.save(put("infinite.npy", r"first at \[slice"), holes)
    np.save(put("zeros.npy", "nothing but zeros"), np.zeros((2, 16, 16), complex))
    with h5py.File(put("no_key.h5", "choices: data/raw, reconstruction"), "w") as file:
        file["reconstruction"] = good.real
        file["data/raw"] = good
    with h5py.File(put("group.h5", "is a group.*kspace/first"), "w") as file:
        file["kspace/first"] = good
    with h5py.File(folder / "cut.h5", "w") as file:
        file["kspace"] = np.tile(good, (8, 1, 1))
    content = (folder / "cut.h5").read_bytes()
    put("cut.h5", "cut off or damaged").write_bytes(content[: len(content) // 2])
    put("text.h5", "is not HDF5").write_text("no")
    write_cfl(put("short.cfl", "cut off or the header"), good[0], (16, 16, 1, 2))
    put("alone.cfl", "header alone.hdr is missing").write_bytes(b"12345678")
    write_cfl(put("words.cfl", "expected 2 to 16 whole numbers"), good[0], ("a", "b"))
    write_cfl(put("volume.cfl", "three-dimensional scan"), k_space(16, 16, 4, 2))
    put("untitled.cfl", "no line '# Dimensions'").write_bytes(b"12345678")
    (folder / "untitled.hdr").write_text("16 16\n")
    scipy.io.savemat(put("other.mat", "choices at the top: image"), {"image": good})
    scipy.io.savemat(put("words.mat", "not an array of numbers"), {"kspace": "text"})
    put("cut.mat", "cut off or damaged").write_bytes(
        b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM" + b"\x0e\x00\x00\x00" * 3
    )
    return said

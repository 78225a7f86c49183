"""Axes of k-space files, pairs of real and imaginary, and MATLAB's cells."""

import re

import h5py
import numpy as np
import pytest
import scipy.io

from input_pipeline.datasets import kspace
from input_pipeline.formats import kspace as kspace_format
from tests.input_pipeline import scan_files


def pairs(k, axis):
    return np.stack([k.real, k.imag], axis)


@pytest.mark.parametrize(
    ("shape", "axis", "axes", "letters"),
    [
        ((3, 2, 16, 12), -1, "", "schwr"),
        ((3, 4, 16, 12), 0, "", "rschw"),
        ((3, 4, 16, 12), 2, "", "scrhw"),
        ((4, 16, 12), -1, "", "chwr"),
        ((4, 16, 12), 0, "", "rchw"),
        ((16, 12), -1, "", "hwr"),
        ((16, 12), 0, "rhw", "rhw"),
        ((2, 16, 12), 0, "rshw", "rshw"),
    ],
)
def test_real_and_imaginary_may_be_axis_of_2(tmp_path, shape, axis, axes, letters):
    k = scan_files.k_space(*shape)
    np.save(tmp_path / "a.npy", pairs(k, axis))
    found = kspace_format.read_scan(tmp_path / "a.npy", axes=axes)
    wanted = k.reshape(*(1,) * (4 - k.ndim), *k.shape)
    if "s" in letters and k.ndim == 3:
        wanted = k[:, None]
    np.testing.assert_array_equal(found.kspace, wanted)
    told = kspace_format.read_scan(tmp_path / "a.npy", axes=letters)
    np.testing.assert_array_equal(told.kspace, wanted)
    assert "pairs of real and imaginary 2" in found.axes


def test_real_and_imaginary_may_be_two_arrays(tmp_path):
    k = scan_files.k_space(4, 16, 12)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace_real"], file["kspace_imag"] = k.real, k.imag
    scipy.io.savemat(tmp_path / "a.mat", {"kspace": {"real": k.real, "imag": k.imag}})
    for name in ("a.h5", "a.mat"):
        found = kspace_format.read_scan(tmp_path / name).kspace
        np.testing.assert_array_equal(found[0], k)


def test_advice_on_axis_of_2_works(tmp_path):
    k = scan_files.k_space(16, 12)
    np.save(tmp_path / "a.npy", pairs(k, 0))
    with pytest.raises(kspace_format.ScanError, match=r"data.axes=(\w+)\)") as caught:
        kspace_format.read_scan(tmp_path / "a.npy")
    axes = re.search(r"data.axes=(\w+)", str(caught.value))[1]
    found = kspace_format.read_scan(tmp_path / "a.npy", axes=axes).kspace
    np.testing.assert_array_equal(found[0, 0], k)
    np.save(tmp_path / "b.npy", scan_files.k_space(2, 3, 4, 16, 12))
    with pytest.raises(kspace_format.ScanError, match="data.axes, such as") as caught:
        kspace_format.read_scan(tmp_path / "b.npy")
    axes = re.search(r"such as '(\w+)'", str(caught.value))[1]
    found = kspace_format.read_scan(tmp_path / "b.npy", axes=axes).kspace
    assert found.shape == (6, 4, 16, 12)
    np.testing.assert_array_equal(found[4], np.load(tmp_path / "b.npy")[1, 1])


def test_slices_of_fastmri_files_of_one_coil_are_no_coils(tmp_path):
    k = scan_files.k_space(20, 64, 48)
    with h5py.File(tmp_path / "test.h5", "w") as file:
        file["kspace"] = k
        file["mask"] = np.arange(48) % 4 == 0
        file["ismrmrd_header"] = b"<ismrmrdHeader/>"
        file.attrs["patient_id"] = "e1b2c3"
    found = kspace_format.read_scan(tmp_path / "test.h5")
    np.testing.assert_array_equal(found.kspace, k[:, None])
    assert "slices 20, height 64, width 48: a fastMRI file" in found.axes
    data = kspace.load(
        path=str(tmp_path / "test.h5"), size=16, coils=2, train_on="all",
        cache=str(tmp_path / "cache"), progress=False, distractors=0,
    )  # fmt: skip
    assert len(data.train) == 20
    assert data.facts["axes"] == [found.axes]
    assert "e1b2c3" not in str(data.facts) + str(data.train.table)


def test_cells_of_matlab_are_scans_or_named(tmp_path):
    k = scan_files.k_space(5, 16, 12)
    cells = np.empty((1, 5), object)
    for i in range(5):
        cells[0, i] = k[i]
    scipy.io.savemat(tmp_path / "a.mat", {"kspace": cells})
    found = kspace_format.read_scan(tmp_path / "a.mat")
    np.testing.assert_array_equal(found.kspace[0], k)
    cells[0, 3] = k[3, :10]
    scipy.io.savemat(tmp_path / "b.mat", {"kspace": cells})
    with pytest.raises(kspace_format.ScanError, match=r"write kspace = cat\(3, kspa"):
        kspace_format.read_scan(tmp_path / "b.mat")

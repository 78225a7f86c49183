"""README's commands on the scans and slices that people have."""

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.input_pipeline import movie_files, scan_files
from tests.input_pipeline.movie_files import moving
from tests.own_data import fitted
from tests.train_lib import tiny_run

SLICES = "configs/triplet_mri.py:slices,smoke"


@pytest.fixture(autouse=True)
def _at_root(monkeypatch, tmp_path):
    monkeypatch.chdir(tiny_run.ROOT)
    monkeypatch.setenv("AKIN_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("kind", ["multi-coil", "single-coil", "bart", "pairs"])
def test_scans_of_any_kind_are_fitted(tmp_path, kind):
    k = scan_files.k_space(8, 4, 32, 32)  # a record for each device of the tests
    root = tmp_path / "scans"
    root.mkdir()
    if kind == "bart":
        for i, scan in enumerate(k):
            scan_files.write_cfl(
                root / f"{i}.cfl", np.moveaxis(scan, 0, -1)[:, :, None]
            )
    elif kind == "pairs":
        np.save(root / "a.npy", np.stack([k.real, k.imag], -1))
    else:
        with h5py.File(root / "a.h5", "w") as file:
            file["kspace"] = k if kind == "multi-coil" else k[:, 0]
            file["mask"] = np.ones(32, bool)
            file["ismrmrd_header"] = b"<ismrmrdHeader/>"
    path = root if kind == "bart" else next(root.iterdir())
    data, fit = fitted("configs/triplet_mri.py:scans,smoke", path)
    assert len(data.train) == len(data.validation) == 8
    assert data.facts["coils"] == [1 if kind == "single-coil" else 4]
    assert fit.experiment.config.train.batch_size == 8
    assert set(fit.evaluators) == {"geometry", "hard", "pairs"}


def test_slices_without_pairs_are_judged_by_their_masks(tmp_path):
    (tmp_path / "in").mkdir()
    for k, image in enumerate(moving(8)):
        Image.fromarray(np.uint16(image) * 16).save(tmp_path / "in" / f"{k}.png")
    movie_files.write_stack(tmp_path / "a.tif", moving(8))
    for path in (tmp_path / "in", tmp_path / "a.tif"):
        data, fit = fitted(SLICES, path)
        assert len(data.train) == 8
        assert set(fit.evaluators) == {"geometry", "pairs"}
        assert set(fit.experiment.config.gates) == {"masks"}
        assert fit.experiment.config.evaluate.examples == "pairs"


def test_slices_with_pairs_are_judged_across_contrasts(tmp_path):
    np.savez(tmp_path / "a.npz", images=moving(8))
    rows = [("a", k, contrast) for contrast in ("t1", "t2") for k in range(4)]
    table = pd.DataFrame(rows, columns=["subject", "slice", "contrast"])
    table.to_csv(tmp_path / "a.csv", index=False)
    _, fit = fitted(SLICES, tmp_path / "a.npz")
    assert set(fit.evaluators) == {"contrast", "geometry", "pairs"}
    assert set(fit.experiment.config.gates) == {"found", "masks"}

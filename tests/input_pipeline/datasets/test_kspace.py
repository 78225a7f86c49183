"""Scans of all formats, brought to one shape, and a clear word on each bad file."""

import jax
import numpy as np
import pytest
import scipy.io

import main
from input_pipeline import dataset
from input_pipeline.datasets import kspace
from input_pipeline.formats import kspace as kspace_format
from input_pipeline.physics import coils as coils_lib
from input_pipeline.transforms import undersampling
from tests.input_pipeline import scan_files

TRANSFORM = undersampling.Transform(size=16, coils=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scans")


@pytest.fixture(scope="module")
def good(folder):
    return scan_files.write_good(folder)


@pytest.fixture
def cache(tmp_path):
    return str(tmp_path / "cache")


@pytest.mark.parametrize(
    "name",
    [
        "fastmri.h5",
        "single_coil.h5",
        "coils.npy",
        "single.npy",
        "bart.cfl",
        "five.mat",
        "seven.mat",
    ],
)
def test_each_format_is_read_as_it_was_written(folder, good, name):
    found = kspace_format.read_scan(folder / name).kspace
    assert found.dtype == np.complex64
    np.testing.assert_array_equal(found, good[name])


def test_axes_may_come_in_another_order(tmp_path):
    k = scan_files.k_space(3, 2, 16, 12)
    np.save(tmp_path / "a.npy", np.moveaxis(k, (0, 1, 2, 3), (3, 2, 0, 1)))
    np.testing.assert_array_equal(
        kspace_format.read_scan(tmp_path / "a.npy", axes="hwcs").kspace, k
    )
    for axes in ("hw", "hwcc", "hwcx", "schx"):
        with pytest.raises(kspace_format.ScanError, match="axes="):
            kspace_format.read_scan(tmp_path / "a.npy", axes=axes)


def test_key_leads_into_struct(tmp_path):
    k = scan_files.k_space(2, 16, 12)
    scipy.io.savemat(tmp_path / "s.mat", {"scan": {"raw": k, "te": 3.0}})
    found = kspace_format.read_scan(tmp_path / "s.mat", key="scan/raw").kspace
    np.testing.assert_array_equal(found[0], k)
    with pytest.raises(kspace_format.ScanError, match="choices at scan: raw, te"):
        kspace_format.read_scan(tmp_path / "s.mat", key="scan/image")


def transform(x):
    axes = (-2, -1)
    x = np.fft.fft2(np.fft.ifftshift(x, axes), axes=axes, norm="ortho")
    return np.fft.fftshift(x, axes)


def test_scan_of_right_shape_is_unchanged():
    k = scan_files.k_space(4, 16, 16)
    made, kept = coils_lib.to_shape(k, 16, 4)
    np.testing.assert_allclose(made, k, atol=1e-5)
    assert kept == 1


def test_fewer_lines_are_coarser_image_of_same_brightness():
    """A smooth object keeps its values where the pixels meet, and its phase."""
    at = {n: (np.arange(n) - n // 2) / n for n in (32, 64)}
    bump = {
        n: np.exp(-60 * (y[:, None] ** 2 + (y[None] - 0.1) ** 2))
        * np.exp(2j * np.pi * (2 * y[:, None] + y[None]))
        for n, y in at.items()
    }
    made, _ = coils_lib.to_shape(transform(bump[64])[None], 32, 1)
    np.testing.assert_allclose(made[0], transform(bump[32]), atol=1e-4 * 32)


def test_oblong_image_is_padded_and_keeps_its_proportions():
    rows, columns = np.mgrid[-8:8, -24:24]
    disc = (rows**2 + columns**2 < 36).astype(complex)
    made, _ = coils_lib.to_shape(transform(disc)[None], 48, 1)
    axes = (-2, -1)
    back = np.fft.fftshift(
        np.fft.ifft2(np.fft.ifftshift(made, axes), axes=axes, norm="ortho"), axes
    )
    expected = np.zeros((48, 48))
    expected[16:32] = disc.real
    np.testing.assert_allclose(np.abs(back[0]), expected, atol=1e-4)


def test_coils_are_combined_by_energy_or_followed_by_empty_ones():
    rng = np.random.default_rng(0)
    two = scan_files.k_space(2, 16, 16)
    mixed = np.einsum("oc,chw->ohw", rng.standard_normal((6, 2)), two)
    made, kept = coils_lib.to_shape(mixed, 16, 2)
    assert kept == pytest.approx(1, abs=1e-5)  # six coils of two kinds
    np.testing.assert_allclose(
        (np.abs(made) ** 2).sum(0), (np.abs(mixed) ** 2).sum(0), rtol=1e-4
    )
    _, kept = coils_lib.to_shape(scan_files.k_space(6, 16, 16), 16, 2)
    assert 1 / 3 < kept < 0.6
    made, _ = coils_lib.to_shape(two, 16, 5)
    np.testing.assert_allclose(made[:2], two, atol=1e-5)
    assert not made[2:].any()


def test_records_and_facts_of_folder(folder, good, cache):
    split, facts = kspace.read_records(
        str(folder), data={"cache": cache}, transform=TRANSFORM
    )
    assert len(split) == sum(len(k) for k in good.values()) == 11
    assert facts["coils"] == [1, 2, 3, 4, 5]
    assert facts["coils_combined"].startswith("1 files, at least 0.")
    assert facts["coils_empty"].startswith("5 files")
    assert "16 x 16" in facts["brought_to"]
    assert split.read([3, 0])["kspace"].shape == (2, 4, 16, 16)
    row = split.table["name"].index("coils.npy")
    made, _ = coils_lib.to_shape(good["coils.npy"][0], 16, 4)
    np.testing.assert_array_equal(split.read([row])["kspace"][0], made)
    batch = split.read(range(11)) | {"id": split.table["id"].astype(np.int32)}
    assert np.isfinite(TRANSFORM.view("view1", jax.random.key(0), batch)["image"]).all()


def test_prepared_scans_are_not_read_again(folder, good, cache, monkeypatch):
    first, _ = kspace.read_records(
        str(folder), data={"cache": cache}, transform=TRANSFORM
    )

    def never(*_, **__):
        raise AssertionError("read again")

    monkeypatch.setattr(kspace_format, "read_scan", never)
    second, _ = kspace.read_records(
        str(folder), data={"cache": cache}, transform=TRANSFORM
    )
    rows = np.arange(len(first))
    np.testing.assert_array_equal(
        first.read(rows)["kspace"], second.read(rows)["kspace"]
    )


def test_slices_of_file_are_never_on_both_sides(folder, good, cache):
    data = kspace.load(
        path=str(folder),
        size=16,
        coils=2,
        val_fraction=0.4,
        cache=cache,
        progress=False,
    )
    sides = [
        set(split.table["label"].tolist()) for split in (data.train, data.validation)
    ]
    assert not sides[0] & sides[1]
    assert len(sides[1]) == round(0.4 * len(good))
    assert len(data.train) + len(data.validation) == 11


def test_training_on_phantoms_holds_back_every_scan(folder, good, cache):
    data = kspace.load(
        path=str(folder), size=16, coils=2, train_on="phantoms", phantom_records=5,
        distractors=7, cache=cache, progress=False,
    )  # fmt: skip
    assert len(data.validation) == 11
    assert set(data.train.read([0])) == {"phantom"}
    indices = [
        s.table["phantom"].tolist() for s in (data.train, data.extra["distractors"])
    ]
    assert indices == [list(range(5)), list(range(5, 12))]
    ids = np.concatenate(
        [s.table["id"] for s in (data.train, data.validation, *data.extra.values())]
    )
    assert len(np.unique(ids)) == len(ids)


def test_train_on_all_uses_every_scan(folder, good, cache):
    data = kspace.load(
        path=str(folder), size=16, coils=2, train_on="all", cache=cache, progress=False
    )
    assert len(data.train) == len(data.validation) == 11
    assert "searched, too" in data.facts["training"]


def test_each_kind_of_bad_file_has_its_own_message(tmp_path, cache):
    said = scan_files.write_bad(tmp_path)
    assert len(said) >= 12
    messages = set()
    for name, expected in said.items():
        with pytest.raises(kspace_format.ScanError, match=expected) as caught:
            kspace_format.read_scan(tmp_path / name)
        messages.add(str(caught.value))
    assert len(messages) == len(said)
    with pytest.raises(dataset.DataError) as caught:
        kspace.load(path=str(tmp_path), cache=cache, progress=False)
    for name in said:
        assert name in str(caught.value)


def test_bad_files_may_be_left_out_up_to_share(folder, good, tmp_path, cache):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "broken.npy").touch()
    fields = {"path": str(tmp_path), "size": 16, "coils": 2, "cache": cache}
    data = kspace.load(**fields, max_rejected=0.2, progress=False)
    assert data.facts["rejected_total"] == 1
    assert "broken.npy" in data.facts["rejected"][0]
    with pytest.raises(dataset.DataError, match="1 of 8 files"):
        kspace.load(**fields, max_rejected=0.1, progress=False)


@pytest.mark.parametrize("name", ["nan.npy", "no_key.h5", "short.cfl", "other.mat"])
def test_command_line_ends_with_2_and_names_file(
    name, tmp_path, cache, capsys, monkeypatch
):
    monkeypatch.setattr(main, "_prepare_jax", lambda: None)
    said = scan_files.write_bad(tmp_path)
    for file in list(tmp_path.glob("*.*")):
        if file.stem != name.split(".")[0]:
            file.unlink()
    code = main.main(
        [
            "--config=configs/triplet_mri.py:scans,smoke",
            f"--workdir={tmp_path / 'run'}",
            f"--config.data.path={tmp_path}",
            f"--config.data.cache={cache}",
        ]
    )
    assert code == 2
    error = capsys.readouterr().err
    assert name in error
    assert said[name].split(" ")[0] in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: "", "data.path: got none"),
        (lambda path: str(path / "nowhere"), "does not exist"),
        (lambda path: str(path), "without a scan"),
    ],
)
def test_folder_without_scans_is_named(make, message, tmp_path, cache):
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(dataset.DataError, match=message):
        kspace.load(path=make(tmp_path), cache=cache, progress=False)

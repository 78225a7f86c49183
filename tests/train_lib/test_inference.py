"""Searching for one record, with embeddings that are given."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import DataError, Split
from train_lib import gallery, inference
from train_lib.errors import InputError

Z = np.array(
    [[1, 0], [0.8, 0.6], [0, 1], [0.96, 0.28], [-1, 0], [0.8, 0.6]], np.float32
)


def split(ids):
    n = len(ids)
    table = {
        "id": np.array(ids, np.int64),
        "label": np.full(n, -1, np.int32),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
        "name": [f"record {i}" for i in ids],
        "path": ["a.png"] * n,
    }
    source = [{"image": np.full((4, 4, 3), i, np.uint8)} for i in ids]
    return Split(source, table, [], [])


@pytest.fixture
def network(tmp_path, monkeypatch):
    splits = [split([40, 13, 12]), split([3, 25])]
    row = {40: 0, 13: 1, 12: 2, 3: 3, 25: 4, 0: 5}

    def embed(split, rows, view=None):
        return Z[[row[int(i)] for i in split.table["id"][rows]]]

    def images(split, rows, view=None):
        return split.read(rows)["image"]

    for module in (inference, gallery):
        monkeypatch.setattr(module, "own_splits", lambda network: splits)
    monkeypatch.setenv("AKIN_CACHE", str(tmp_path / "cache"))
    experiment = types.SimpleNamespace(
        transform=types.SimpleNamespace(gallery_view=""),
        read_records=lambda path: (split([0]), {}),
        config=types.SimpleNamespace(data={}),
    )
    workdir = tmp_path / "run"
    workdir.mkdir()
    return inference.Network(experiment, workdir, 7, embed, images)


def search(network, query, **changes):
    fields = {"top": 10, "gallery": "", "as_json": True} | changes
    return json.loads(inference.search(network, query, **fields))


@pytest.mark.parametrize("top", [2, 10])
def test_record_of_run_does_not_find_itself(network, top, tmp_path):
    found = search(network, "id:40", top=top)
    assert [r["id"] for r in found["results"]] == [3, 13, 12, 25][:top]
    np.testing.assert_allclose(
        [r["score"] for r in found["results"]], [0.96, 0.8, 0, -1][:top], atol=1e-6
    )
    assert [r["rank"] for r in found["results"]] == [1, 2, 3, 4][:top]
    assert found["nearly_tied"] is False
    picture = Image.open(drawn(tmp_path, "id_40"))
    assert picture.size[0] > 4
    assert list(network.workdir.iterdir()) == []


def drawn(folder, name):
    (path,) = folder.glob(f"cache/networks/*/search/{name}.png")
    return path


def test_file_finds_all(network, tmp_path):
    found = search(network, "some/mark.png", top=2)
    assert [r["id"] for r in found["results"]] == [13, 3]
    assert drawn(tmp_path, "mark").is_file()
    search(network, "some/mark.png", output=str(tmp_path / "here"))
    assert (tmp_path / "here" / "mark.png").is_file()


def test_table_is_printed_where_nothing_can_be_drawn(network, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    text = inference.search(
        network, "a.png", top=2, gallery="", as_json=False, output=str(blocked)
    )
    assert "record 13" in text
    assert "No image of them was written" in text


def test_gallery_whose_images_have_moved_still_answers(network, tmp_path):
    gallery.write(network, [split([40, 12])], tmp_path / "other")

    def read_records(path):
        if path == "a.png":  # of every record of the gallery
            raise DataError("got a.png, which does not exist")
        return split([0]), {}

    network.experiment.read_records = read_records
    found = search(network, "query.png", gallery=str(tmp_path / "other"))
    assert len(found["results"]) == 2


@pytest.mark.parametrize("name", ["embeddings.npy", "records.parquet"])
def test_damaged_gallery_is_named(network, tmp_path, name):
    folder = tmp_path / "other"
    gallery.write(network, [split([40, 12])], folder)
    (folder / name).write_bytes((folder / name).read_bytes()[:70])
    with pytest.raises(InputError, match="cannot be read .*`main.py embed`"):
        search(network, "query.png", gallery=str(folder))


def test_embeddings_of_another_program_are_not_overwritten(network, tmp_path):
    folder = tmp_path / "emb"
    inference.embed_folder(network, "x", str(folder))
    inference.embed_folder(network, "x", str(folder))  # its own
    (folder / "records.parquet").unlink()
    np.save(folder / "embeddings.npy", Z)
    with pytest.raises(InputError, match="--overwrite"):
        inference.embed_folder(network, "x", str(folder))
    np.testing.assert_array_equal(np.load(folder / "embeddings.npy"), Z)
    inference.embed_folder(network, "x", str(folder), overwrite=True)
    assert len(np.load(folder / "embeddings.npy")) == 1


def test_scores_close_to_each_other_are_said_to_be(network):
    same = network._replace(embed=lambda split, rows, view=None: Z[[0] * len(rows)])
    assert search(same, "id:25")["nearly_tied"] is True
    text = inference.search(same, "id:25", top=3, gallery="", as_json=False)
    assert "The 3 scores lie within 0 of each other" in text


def test_in_another_gallery_ids_are_of_other_records(network, tmp_path):
    gallery.write(network, [split([40, 12])], tmp_path / "other")
    found = search(network, "id:40", gallery=str(tmp_path / "other"))
    assert [r["id"] for r in found["results"]] == [40, 12]


@pytest.mark.parametrize("query", ["id:41", "id:", "id:-1", "id:4.0", "id:first"])
def test_unknown_ids_are_answered_with_range(network, query):
    with pytest.raises(InputError, match=f"{query}; .* 5 records, 3 to 40"):
        search(network, query)

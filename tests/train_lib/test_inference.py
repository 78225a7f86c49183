"""Searching for one record, with embeddings that are given."""

import json
import types

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import Split
from train_lib import inference
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

    monkeypatch.setattr(inference, "_own_splits", lambda network: splits)
    experiment = types.SimpleNamespace(
        transform=types.SimpleNamespace(gallery_view=""),
        read_records=lambda path: (split([0]), {}),
    )
    return inference.Network(experiment, tmp_path, 7, embed, images)


def search(network, query, **changes):
    fields = {"top": 10, "gallery": "", "as_json": True} | changes
    return json.loads(inference.search(network, query, **fields))


@pytest.mark.parametrize("top", [2, 10])
def test_a_record_of_the_run_does_not_find_itself(network, top):
    found = search(network, "id:40", top=top)
    assert [r["id"] for r in found["results"]] == [3, 13, 12, 25][:top]
    np.testing.assert_allclose(
        [r["score"] for r in found["results"]], [0.96, 0.8, 0, -1][:top], atol=1e-6
    )
    assert [r["rank"] for r in found["results"]] == [1, 2, 3, 4][:top]
    assert found["nearly_tied"] is False
    picture = Image.open(network.workdir / "search" / "id_40.png")
    assert picture.size[0] > 4


def test_a_file_finds_all(network):
    found = search(network, "some/mark.png", top=2)
    assert [r["id"] for r in found["results"]] == [13, 3]
    assert (network.workdir / "search" / "mark.png").is_file()


def test_scores_close_to_each_other_are_said_to_be(network):
    same = network._replace(embed=lambda split, rows, view=None: Z[[0] * len(rows)])
    assert search(same, "id:25")["nearly_tied"] is True
    text = inference.search(same, "id:25", top=3, gallery="", as_json=False)
    assert "The 3 scores lie within 0 of each other" in text


def test_in_another_gallery_ids_are_of_other_records(network, tmp_path):
    inference._write(network, [split([40, 12])], tmp_path / "other")
    found = search(network, "id:40", gallery=str(tmp_path / "other"))
    assert [r["id"] for r in found["results"]] == [40, 12]


@pytest.mark.parametrize("query", ["id:41", "id:", "id:-1", "id:4.0", "id:first"])
def test_unknown_ids_are_answered_with_the_range(network, query):
    with pytest.raises(InputError, match=f"{query}; .* 5 records, 3 to 40"):
        search(network, query)

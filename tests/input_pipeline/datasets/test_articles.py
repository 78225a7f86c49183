"""Files of articles: formats that say the same, and each way to be at fault."""

import pathlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from input_pipeline import dataset
from input_pipeline.datasets import articles
from input_pipeline.transforms import corruption
from tests.input_pipeline import sequences as given


@pytest.fixture
def loaded(tmp_path):
    def load(path, **fields):
        known = {
            "context": 3,
            "width": given.WIDTH,
            "val_fraction": 0.4,
            "cross_article_negatives": 2,
        }
        cache = str(tmp_path / "cache")
        return articles.load(path=str(path), cache=cache, **known | fields)

    return load


def write(folder, suffix, x, table):
    path = folder / f"vectors{suffix}"
    if suffix == ".npz":
        given.write_npz(path, x, table)
    elif suffix == ".npy":
        np.save(path, x)
        table.to_csv(path.with_suffix(".csv"), index=False)
    else:
        column = pa.array(list(x), pa.list_(pa.from_numpy_dtype(x.dtype)))
        content = pa.Table.from_pandas(table).append_column("embedding", column)
        pa.parquet.write_table(content, path)
    return path


def everything(data):
    return {
        (split.table["title"][i], int(split.table["position"][i])): split[i]["context"]
        for split in data[:2]
        for i in range(len(split))
    }


@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_all_formats_give_same_records(tmp_path, loaded, kind):
    x, table = given.articles()
    x = x.astype(kind)
    found = [
        everything(loaded(write(tmp_path, suffix, x, table)))
        for suffix in (".npz", ".npy", ".parquet")
    ]
    assert len(found[0]) == 6 + 1 + 9 + 4 + 7 + 5
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for key, context in found[0].items():
            np.testing.assert_array_equal(other[key], context)


def test_archives_are_unpacked_once_and_mapped(tmp_path, loaded, monkeypatch):
    path = write(tmp_path, ".npz", *given.articles())
    data = loaded(path)
    vectors = data.train.source._sequences.vectors
    assert isinstance(vectors.array, np.memmap)
    stored = pathlib.Path(vectors._source)
    before = stored.stat().st_mtime_ns
    loaded(path)
    assert stored.stat().st_mtime_ns == before
    assert not list(stored.parent.glob(".*"))


def test_vectors_at_fault_are_named_counted_and_left_out(tmp_path, loaded):
    x, table = given.articles()
    rows = [
        int(np.flatnonzero((table["article"] == a) & (table["position"] == p))[0])
        for a, p in ((102, 5), (104, 0))
    ]
    x[rows[0], 2] = np.nan
    x[rows[1]] = 0
    path = write(tmp_path, ".npz", x, table)
    with pytest.raises(dataset.DataError) as error:
        loaded(path, max_rejected=0.0)
    for said in (
        "2 of 50 vectors",
        f"row {rows[0]} (article 102, position 5): not finite",
        f"row {rows[1]} (article 104, position 0): only zeros",
    ):
        assert said in str(error.value)
    data = loaded(path, max_rejected=0.1)
    assert data.facts["rejected_total"] == 2
    windows = everything(data)
    # What holds position 5 is gone: targets 5 to 8 of 12.
    there = {p for title, p in windows if title == "title 2"}
    assert there == {3, 4, 9, 10, 11}
    assert ("title 4", 3) not in windows
    assert ("title 4", 4) in windows


def test_vectors_of_another_length_are_named(tmp_path, loaded):
    x, table = given.articles()
    rows = list(x)
    rows[7] = rows[7][:5]
    column = pa.array(rows, pa.list_(pa.float32()))
    content = pa.Table.from_pandas(table).append_column("embedding", column)
    pa.parquet.write_table(content, tmp_path / "mixed.parquet")
    with pytest.raises(dataset.DataError, match=r"row 7 \(article .*: not 8 numbers"):
        loaded(tmp_path / "mixed.parquet")
    data = loaded(tmp_path / "mixed.parquet", max_rejected=0.1)
    assert data.facts["rejected_total"] == 1


def spoiled(tmp_path, how):
    x, table = given.articles()
    path = tmp_path / "vectors.npz"
    if how == "missing":
        return tmp_path / "no.npz"
    if how == "suffix":
        path = tmp_path / "vectors.txt"
        path.write_text("1 2 3")
    elif how == "key":
        np.savez(path, vectors=x)
    elif how == "width":
        given.write_npz(path, x[:, :4], table)
    elif how == "rank":
        given.write_npz(path, x[:, :, None], table)
    elif how == "whole numbers":
        given.write_npz(path, np.int32(x), table)
    elif how == "truncated":
        given.write_npz(path, x, table)
        path.write_bytes(path.read_bytes()[:-300])
    elif how == "no article":
        given.write_npz(path, x, table.rename(columns={"article": "page"}))
    elif how == "twice":
        table.loc[1, ["article", "position"]] = table.loc[0, ["article", "position"]]
        given.write_npz(path, x, table)
    elif how == "no table":
        path = tmp_path / "vectors.npy"
        np.save(path, x)
    elif how == "short table":
        path = write(tmp_path, ".npy", x, table)
        table[:-1].to_csv(path.with_suffix(".csv"), index=False)
    elif how == "no lists":
        path = tmp_path / "vectors.parquet"
        table.to_parquet(path)
    return path


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "expected a file of vectors that ends in"),
        ("suffix", "expected a file of vectors that ends in"),
        ("key", "has no 'embedding'; choices: vectors"),
        ("width", r"vectors of 4 numbers; .* --config.data.width=4"),
        ("rank", r"holds float32 \[50, 8, 1\]"),
        ("whole numbers", r"holds int32 \[50, 8\]"),
        ("truncated", "cannot be read"),
        ("no article", "no column 'article'; choices: page, position, title"),
        ("twice", "has the article and position of another"),
        ("no table", "has no table; expected .*vectors.csv"),
        ("short table", "has 49 rows for 50 vectors"),
        ("no lists", "no column of lists 'embedding'"),
    ],
)
def test_each_fault_has_its_message(tmp_path, loaded, how, message):
    with pytest.raises(dataset.DataError, match=message):
        loaded(spoiled(tmp_path, how))


def test_without_positions_order_of_file_holds(tmp_path, loaded):
    x, table = given.articles()
    order = np.lexsort((table["position"], table["article"]))
    path = write(tmp_path, ".npz", x[order], table.iloc[order].drop(columns="position"))
    with_positions = loaded(write(tmp_path, ".npy", x, table))
    assert everything(loaded(path, position="")).keys() == (
        everything(with_positions).keys()
    )


def test_read_records_reads_single_context(tmp_path):
    x, table = given.articles()
    np.save(tmp_path / "context.npy", x[:7])
    transform = corruption.Transform(context=3, width=given.WIDTH)
    split, _ = articles.read_records(
        str(tmp_path / "context.npy"), data={}, transform=transform
    )
    expected = x[4:7] / np.linalg.norm(x[4:7], axis=1, keepdims=True)
    np.testing.assert_allclose(split.read([0])["context"][0], expected, rtol=1e-5)
    write(tmp_path, ".npz", x, table)
    split, facts = articles.read_records(
        str(tmp_path / "vectors.npz"),
        data={"val_fraction": 0.4, "cache": str(tmp_path / "cache")},
        transform=transform,
    )
    assert len(split) == 32
    assert facts["articles"] == 6
    assert isinstance(split.table["title"], list)
    assert pd.Series(split.table["id"]).is_unique


@pytest.mark.parametrize("suffix", [".npz", ".npy", ".parquet"])
def test_width_follows_from_file_unless_it_is_given(tmp_path, suffix):
    x, table = given.articles()
    data = articles.load(
        path=str(write(tmp_path, suffix, x[:, :6], table)),
        context=3,
        val_fraction=0.4,
        cross_article_negatives=2,
        cache=str(tmp_path / "cache"),
    )
    assert data.facts["implies"] == {"transform.width": 6}
    assert data.train.read(np.arange(1))["context"].shape == (1, 3, 6)


def test_titles_of_objects_are_passed_over_unless_they_are_asked_for(tmp_path):
    x, table = given.articles()
    path = tmp_path / "vectors.npz"
    arrays = {name: table[name].to_numpy() for name in ("article", "position")}
    titles = table["title"].to_numpy().astype(object)
    np.savez(path, embedding=x, **arrays, title=titles, name=titles)
    fields = {
        "path": str(path),
        "context": 3,
        "val_fraction": 0.4,
        "cross_article_negatives": 2,
        "cache": str(tmp_path / "cache"),
    }
    names = set(articles.load(**fields).train.table["name"])
    assert all(any(str(a) in name for a in arrays["article"]) for name in names)
    with pytest.raises(dataset.DataError, match=r"name\.astype\(str\)"):
        articles.load(**fields, title="name")

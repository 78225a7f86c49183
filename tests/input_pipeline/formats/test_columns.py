"""Columns beside vectors: whatever type they have, and whatever is wrong with them."""

import functools

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from input_pipeline import dataset
from input_pipeline.datasets import articles
from tests.input_pipeline import sequences as given

FIELDS = {
    "context": 3, "width": given.WIDTH, "val_fraction": 0.4,
    "cross_article_negatives": 2,
}  # fmt: skip


@pytest.fixture
def load(tmp_path):
    def load(path, **fields):
        return articles.load(
            path=str(path), cache=str(tmp_path / "cache"), **FIELDS | fields
        )

    return load


def windows_of(data):
    """Windows by title and position of their target."""
    return {
        (split.table["title"][i], int(split.table["position"][i])): split[i]["context"]
        for split in data[:2]
        for i in range(len(split))
    }


def write_parquet(path, x, table, kind=None):
    kind = kind or pa.list_(pa.float32())
    content = table if isinstance(table, pa.Table) else pa.Table.from_pandas(table)
    pq.write_table(content.append_column("embedding", pa.array(list(x), kind)), path)
    return path


def assert_same_windows(a, b):
    assert a.keys() == b.keys()
    for key, context in a.items():
        np.testing.assert_array_equal(context, b[key])


def test_arrays_of_objects_that_nobody_asks_for_are_passed_over(tmp_path, load):
    x, table = given.articles()
    plain = given.write_npz(tmp_path / "plain.npz", x, table)
    odd = np.array([{"a": 1}, None] * 25, object)
    path = given.write_npz(tmp_path / "odd.npz", x, table, tags=odd, note=np.array("x"))
    assert_same_windows(windows_of(load(path)), windows_of(load(plain)))


@pytest.mark.parametrize("name", ["headline", "article", "position", "embedding"])
def test_arrays_of_objects_are_named_and_advice_works(tmp_path, load, name):
    x, table = given.articles()
    columns = {k: table[k].to_numpy() for k in table} | {"embedding": x}
    columns["headline"] = columns.pop("title").astype(str)
    load = functools.partial(load, title="headline")
    right = columns[name]
    wrong = np.empty(len(x), object)
    wrong[:] = list(right)
    np.savez(tmp_path / "a.npz", **columns | {name: wrong})
    with pytest.raises(dataset.DataError, match=f"'{name}' holds Python obj") as error:
        load(tmp_path / "a.npz")
    assert "copy" not in str(error.value)
    text = {"headline": str, "article": str, "position": float}
    if name == "embedding":
        assert "np.stack(vectors).astype(np.float32)" in str(error.value)
        mended = np.stack(list(wrong)).astype(np.float32)
    else:
        assert f"{name}.astype({text[name].__name__})" in str(error.value)
        mended = wrong.astype(text[name])
    np.savez(tmp_path / "b.npz", **columns | {name: mended})
    np.savez(tmp_path / "c.npz", **columns)
    assert_same_windows(
        windows_of(load(tmp_path / "b.npz")), windows_of(load(tmp_path / "c.npz"))
    )


def test_titles_that_nobody_asked_for_are_passed_over(tmp_path, load, caplog):
    x, table = given.articles()
    columns = {k: table[k].to_numpy() for k in table}
    columns["title"] = columns["title"].astype(object)
    np.savez(tmp_path / "a.npz", embedding=x, **columns)
    data = load(tmp_path / "a.npz")
    assert set(data.train.table["title"]) <= {str(name) for name in table["article"]}
    assert "title.astype(str)" in caplog.text


def test_file_of_objects_is_no_damaged_file(tmp_path, load):
    x, table = given.articles()
    vectors = np.empty(len(x), object)
    vectors[:] = list(x)
    np.save(tmp_path / "a.npy", vectors)
    table.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(dataset.DataError, match=r"Python objects, .*np\.stack"):
        load(tmp_path / "a.npy")


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.astype({"article": "category", "title": "category"}),
        lambda t: t.set_index("article"),
        lambda t: t.set_index(["article", "position"]),
        lambda t: t.astype({"article": str, "position": str}),
        lambda t: t.astype({"article": float, "position": float}),
        lambda t: t.assign(position=pd.Timestamp(0) + pd.to_timedelta(t.position, "D")),
        lambda t: t.assign(tags=[["a"]] * len(t), more=[{"b": 1}] * len(t)),
    ],
    ids=["category", "index", "two", "text", "float", "time", "nested"],
)
def test_columns_of_parquet_are_seen_whatever_their_type(tmp_path, load, change):
    x, table = given.articles()
    plain = windows_of(load(write_parquet(tmp_path / "a.parquet", x, table)))
    found = windows_of(load(write_parquet(tmp_path / "b.parquet", x, change(table))))
    if len({position for _, position in found} & {3, 4, 5}) == 3:
        assert_same_windows(found, plain)
    else:  # positions are times, in the same order
        titles = [title for title, _ in sorted(found)]
        assert titles == [title for title, _ in sorted(plain)]
        for a, b in zip(sorted(found), sorted(plain), strict=True):
            np.testing.assert_array_equal(found[a], plain[b])


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float64()), pa.large_list(pa.float32()),
        pa.list_(pa.float32(), given.WIDTH), pa.list_(pa.float16()),
    ],
)  # fmt: skip
def test_lists_of_every_kind_are_vectors(tmp_path, load, kind):
    x, table = given.articles()
    x = x.astype(np.float16)
    path = write_parquet(tmp_path / "a.parquet", x, table, kind)
    expected = given.write_npz(tmp_path / "a.npz", x, table)
    assert_same_windows(windows_of(load(path)), windows_of(load(expected)))


def test_tensors_are_vectors(tmp_path, load):
    x, table = given.articles()
    storage = pa.array(list(x), pa.list_(pa.float32(), given.WIDTH))
    kind = pa.fixed_shape_tensor(pa.float32(), [given.WIDTH])
    tensors = pa.ExtensionArray.from_storage(kind, storage)
    content = pa.Table.from_pandas(table).append_column("embedding", tensors)
    pq.write_table(content, tmp_path / "a.parquet")
    expected = windows_of(load(given.write_npz(tmp_path / "a.npz", x, table)))
    assert_same_windows(windows_of(load(tmp_path / "a.parquet")), expected)
    assert_same_windows(windows_of(load(tmp_path / "a.parquet", width=0)), expected)


def test_lists_of_whole_numbers_are_refused(tmp_path, load):
    x, table = given.articles()
    kind = pa.list_(pa.int64())
    path = write_parquet(tmp_path / "a.parquet", np.int64(9 * x), table, kind)
    with pytest.raises(dataset.DataError, match="lists of int64 in 'embedding'"):
        load(path)


@pytest.mark.parametrize("suffix", [".npz", ".csv", ".jsonl", ".parquet"])
def test_positions_as_text_are_numbers(tmp_path, load, suffix):
    lengths = (14, 12, 13, 11, 15)
    x, table = given.articles(lengths)
    expected = windows_of(load(given.write_npz(tmp_path / "plain.npz", x, table)))
    table["position"] = table["position"].map(lambda p: f" {p:03d}"[p % 2 :])
    path = tmp_path / f"text{suffix}"
    if suffix == ".npz":
        table["position"] = table["position"].to_numpy().astype(str)
        given.write_npz(path, x, table.assign(position=list(table["position"])))
        columns = {k: table[k].to_numpy() for k in table}
        columns["title"], columns["position"] = (
            columns[k].astype(str) for k in ("title", "position")
        )
        np.savez(path, embedding=x, **columns)
    elif suffix == ".parquet":
        write_parquet(path, x, table)
    else:
        np.save(path.with_suffix(".npy"), x)
        if suffix == ".csv":
            table.to_csv(path, index=False)
        else:
            table.to_json(path, orient="records", lines=True)
        path = path.with_suffix(".npy")
    assert_same_windows(windows_of(load(path)), expected)


@pytest.mark.parametrize("value", [None, "x"])
@pytest.mark.parametrize("suffix", [".npz", ".csv", ".parquet"])
def test_positions_that_are_no_numbers_are_named(tmp_path, load, suffix, value):
    x, table = given.articles()
    path = tmp_path / f"a{suffix}"
    position = table["position"].astype(object)
    position[7] = value
    row = "line 9" if suffix == ".csv" else "row 7"
    if suffix == ".npz":
        cells = position.map(lambda p: "" if p is None else str(p)).to_numpy(str)
        columns = {k: table[k].to_numpy() for k in table} | {"position": cells}
        columns["title"] = columns["title"].astype(str)
        np.savez(path, embedding=x, **columns)
    elif suffix == ".csv":
        table.assign(position=position).to_csv(path, index=False)
        np.save(path.with_suffix(".npy"), x)
        path = path.with_suffix(".npy")
    else:
        text = position.map(lambda p: None if p is None else str(p))
        numbers = position.astype("Int64") if value is None else text
        write_parquet(path, x, table.assign(position=numbers))
    has = "nothing" if value is None else "'x'"
    with pytest.raises(
        dataset.DataError, match=f"data.position: .*has {has} .*{row} .*expected num"
    ):
        load(path)
    # As the file stands, its order is none: rows of an article are not in order.
    assert load(path, position="").facts["articles"] == 6


def test_missing_column_of_positions_has_way_out(tmp_path, load):
    x, table = given.articles()
    order = np.lexsort((table["position"], table["article"]))
    path = given.write_npz(
        tmp_path / "a.npz", x[order], table.iloc[order].drop(columns="position")
    )
    with pytest.raises(dataset.DataError, match=r"--config\.data\.position= for"):
        load(path)
    assert len(windows_of(load(path, position=""))) == 32


def test_missing_articles_are_named_and_missing_titles_are_not_there(tmp_path, load):
    x, table = given.articles()
    first = int(table.index[table["article"] == 103][0])
    table["title"] = table["title"].where(table["article"] != 104)
    table.loc[first, "title"] = None
    data = load(write_parquet(tmp_path / "a.parquet", x, table))
    titles = set(data.train.table["title"]) | set(data.validation.table["title"])
    assert "104" in titles
    assert "title 3" in titles
    table["article"] = table["article"].astype("Int64")
    table.loc[7, "article"] = None
    with pytest.raises(dataset.DataError, match="data.article: row 7 of .* has no"):
        load(write_parquet(tmp_path / "b.parquet", x, table))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("article,position\n1,caf\xe9\n".encode("latin-1"), r"a\.csv, line 2, .*UTF-8"),
        (b"article,position\n1,2\n1,2,3\n", r"a\.csv, .*fields, in lines 3"),
    ],
)
def test_faulty_table_is_named_and_not_vectors(tmp_path, load, content, message):
    np.save(tmp_path / "a.npy", given.articles()[0])
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(dataset.DataError, match=message) as error:
        load(tmp_path / "a.npy")
    assert "copy it again" not in str(error.value)
    (tmp_path / "a.jsonl").write_text("{}")
    with pytest.raises(dataset.DataError, match=r"a\.csv, a\.jsonl lie beside"):
        load(tmp_path / "a.npy")

"""Tables of every format read alike, as text, and each way to be at fault."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from input_pipeline import dataset
from input_pipeline.formats import tables

ROWS = [("001", "left", "1.5"), ("NA", None, "2"), ("1e5", "true", None)]
NAMES = ("clip", "view", "time")


def write(path):
    """Write `ROWS` in the format that the ending names."""
    columns = dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))
    if path.suffix == ".parquet":
        pq.write_table(pa.table({k: list(v) for k, v in columns.items()}), path)
    elif path.suffix == ".jsonl":
        lines = [json.dumps(dict(zip(NAMES, row, strict=True))) for row in ROWS]
        path.write_text("\n".join(lines))
    else:
        mark = "\t" if path.suffix == ".tsv" else ","
        lines = [mark.join(NAMES), *(mark.join(c or "" for c in row) for row in ROWS)]
        path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".jsonl", ".parquet"])
def test_every_format_gives_same_text(tmp_path, suffix):
    table = tables.read_table(write(tmp_path / f"t{suffix}"))
    assert tuple(table.columns) == NAMES
    assert [tuple(row) for row in table.itertuples(index=False)] == ROWS
    np.testing.assert_array_equal(
        tables.parse_numbers(table, "time", missing=True), [1.5, 2, np.nan]
    )


@pytest.mark.parametrize("mark", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_marks_between_columns_are_seen(tmp_path, mark, encoding):
    text = f'a{mark}b\r\n"x{mark}""y"""{mark}"p\nq"\r\n é {mark}\r\n'
    (tmp_path / "t.csv").write_text(text, encoding=encoding, newline="")
    table = tables.read_table(tmp_path / "t.csv", required=("b", "a"))
    assert table["a"].tolist() == [f'x{mark}"y"', "é"]
    assert table["b"].tolist() == ["p\nq", None]
    assert tables.row_name(table, 1) == "line 4"


def test_codes_with_semicolons_are_one_column(tmp_path):
    (tmp_path / "t.csv").write_text("filename,codes\na.png,x;x.y;x.y.z\n")
    table = tables.read_table(tmp_path / "t.csv")
    assert table["codes"].tolist() == ["x;x.y;x.y.z"]


def test_asked_columns_decide_on_mark(tmp_path):
    (tmp_path / "t.csv").write_text("name,size; width; height\nx,3; 4; 5\n")
    table = tables.read_table(tmp_path / "t.csv", optional=("name",))
    assert list(table) == ["name", "size; width; height"]
    assert table["name"].tolist() == ["x"]


def test_empty_rows_and_columns_of_spreadsheets_are_dropped(tmp_path):
    text = "clip,frame,\n1,2,\n,,\n3,4,\n,,\n,,\n"
    (tmp_path / "t.csv").write_text(text)
    table = tables.read_table(tmp_path / "t.csv")
    assert list(table.columns) == ["clip", "frame"]
    assert table["clip"].tolist() == ["1", None, "3"]
    (tmp_path / "index.csv").write_text(",label\n0,x\n1,y\n")
    assert list(tables.read_table(tmp_path / "index.csv")) == ["column 1", "label"]


def test_decimal_commas_between_semicolons(tmp_path):
    (tmp_path / "t.csv").write_text("clip;time\na;1,5\nb;2\n")
    table = tables.read_table(tmp_path / "t.csv")
    assert tables.parse_numbers(table, "time").tolist() == [1.5, 2.0]


def test_parquet_kinds_become_text(tmp_path):
    index = pd.Index(["p", "q", "r"], name="clip")
    frame = pd.DataFrame(
        {
            "view": pd.Categorical(["left", None, "left"]),
            "number": pd.array([1, None, 3], "Int64"),
            "floats": [1.0, None, 2.5],
            "codes": [["a", "a.b"], [], None],
        },
        index=index,
    )
    frame.to_parquet(tmp_path / "t.parquet")
    table = tables.read_table(tmp_path / "t.parquet")
    assert table["view"].tolist() == ["left", None, "left"]
    assert table["number"].tolist() == ["1", None, "3"]
    assert table["floats"].tolist() == ["1", None, "2.5"]
    assert table["codes"].tolist() == ["a;a.b", None, None]
    assert table["clip"].tolist() == ["p", "q", "r"]


def test_capitals_of_asked_columns_do_not_matter(tmp_path):
    (tmp_path / "t.csv").write_text("Clip,FRAME,View\na,1,left\n")
    table = tables.read_table(
        tmp_path / "t.csv", required=("clip",), optional=("frame", "time")
    )
    assert list(table.columns) == ["clip", "frame", "View"]
    (tmp_path / "two.csv").write_text("Clip,CLIP\na,b\n")
    with pytest.raises(dataset.DataError, match="has no column 'clip'; choices: Clip"):
        tables.read_table(tmp_path / "two.csv", required=("clip",))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,caf\xe9\n".encode("latin-1"), r"line 2, .*not UTF-8.*0xe9"),
        ("t.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16, not UTF-8"),
        ("t.csv", b"a,b\n1,2\n1,2,3\n1\n", "2 rows have more or fewer than 2.*3, 4"),
        ("t.csv", b"a,a,b\n1,2,3\n", r"the columns \['a'\] twice"),
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "is empty"),
        ("t.csv", b"b,c\n1,2\n", "no column 'a'; choices: b, c"),
        ("t.csv", b'a\n"' + b"x" * 200_000, "line .* no CSV"),
        ("t.jsonl", b'{"a": 1}\n{"a": \n', "line 2, which is no JSON"),
        ("t.jsonl", b"[1, 2]\n", "line 1, which holds list"),
        ("t.parquet", b"PAR1 and no more", "no parquet file"),
    ],
)
def test_faults_name_file_and_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(dataset.DataError, match=message) as error:
        tables.read_table(tmp_path / name, required=("a",), field="data.table")
    assert f"data.table: {tmp_path / name}" in str(error.value)


def test_no_such_file(tmp_path):
    with pytest.raises(dataset.DataError, match="No such file"):
        tables.read_table(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("cell", "whole", "message"),
    [
        ("x", False, "has 'x' in column 'n', line 3"),
        ("", False, "has nothing in column 'n', line 3"),
        ("nan", False, "'nan' in column 'n', line 3"),
        ("inf", False, "'inf' in column 'n', line 3"),
        ("1.5", True, "'1.5' in column 'n', line 3 .*expected whole"),
    ],
)
def test_cells_that_are_no_numbers_are_named(tmp_path, cell, whole, message):
    (tmp_path / "t.csv").write_text(f"n,m\n1,a\n{cell},b\n")
    table = tables.read_table(tmp_path / "t.csv")
    with pytest.raises(dataset.DataError, match=message):
        tables.parse_numbers(table, "n", whole=whole)


def test_whole_numbers_beyond_doubles(tmp_path):
    (tmp_path / "t.csv").write_text(f"n\n{2**60 + 1}\n{2**60}\n007\n")
    table = tables.read_table(tmp_path / "t.csv")
    numbers = tables.parse_numbers(table, "n", whole=True)
    assert numbers.tolist() == [2**60 + 1, 2**60, 7]


def test_words_for_missing_stay_text_and_are_told(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(
        tables.logging, "warning", lambda text, *values: told.append(text % values)
    )
    (tmp_path / "t.csv").write_text("view\nNA\nleft\nNA\n")
    assert tables.read_table(tmp_path / "t.csv")["view"].tolist() == [
        "NA", "left", "NA",
    ]  # fmt: skip
    assert len(told) == 1
    assert "2 cells of column 'view' read 'NA'" in told[0]


def test_bytes_that_are_no_text_become_hexadecimal_digits():
    ids = [bytes([0] * 15 + [n]) for n in (9, 10, 11, 32)]
    assert tables.to_text(ids) == [value.hex() for value in ids]
    assert tables.to_text([b" lion ", "caf\u00e9".encode(), b"\xff", b""]) == [
        "lion", "caf\u00e9", "ff", None,
    ]  # fmt: skip

"""The table of search results."""

import json

import pandas as pd

from reporting.page import search_table


def results(*scores, **fields):
    return [
        {
            "rank": i + 1,
            "score": score,
            "id": 100 + i,
            "filename": f"{i}.png",
            "name": f"mark {i}",
            "codes": ["26.1.1", "27.5"],
        }
        | fields
        for i, score in enumerate(scores)
    ]


def test_table_lists_results_in_order():
    text = search_table.table(results(0.91, 0.5, 0.00001), query="logo.png")
    lines = text.splitlines()
    assert lines[0] == "logo.png"
    assert lines[1].split() == ["rank", "score", "id", "filename", "name", "codes"]
    assert lines[3].split() == ["1", "0.910", "100", "0.png", "mark", "0"] + [
        "26.1.1,", "27.5",
    ]  # fmt: skip
    assert "1.00e-05" in lines[5]
    assert len(lines) == 6


def test_columns_without_content_are_left_out():
    text = search_table.table(results(0.9, 0.1, name="", codes=[]), query="q")
    assert text.splitlines()[1].split() == ["rank", "score", "id", "filename"]
    assert search_table.table([], query="q") == "q: nothing found."


def test_rows_of_pandas_table_will_do(tmp_path):
    frame = pd.DataFrame(results(0.9, 0.1)).assign(name=["", None])
    frame["score"] = frame["score"].astype("float32")
    frame.to_parquet(tmp_path / "records.parquet")
    rows = pd.read_parquet(tmp_path / "records.parquet").to_dict("records")
    text = search_table.table(rows, query="q")
    assert text.splitlines()[1].split() == ["rank", "score", "id", "filename", "codes"]
    assert "26.1.1, 27.5" in text
    read = json.loads(search_table.as_json(rows, query="q"))
    assert read["results"][0]["codes"] == ["26.1.1", "27.5"]


def test_near_ties_are_said():
    # Scores of a real report: ten of them within .0134.
    scores = [
        0.4460, 0.4459, 0.4448, 0.4443, 0.4412, 0.4410, 0.4396, 0.4331, 0.4329, 0.4326,
    ]  # fmt: skip
    text = search_table.table(results(*scores), query="q", tied=10)
    assert text.splitlines()[-1] == (
        "The 10 scores lie within 0.0134 of each other (0.446 to 0.433): their order "
        "says little."
    )
    text = search_table.table(results(0.9, 0.895, 0.5), query="q", tied=2)
    assert "The first 2 scores lie within 0.00500 of each other" in text
    assert (
        len(search_table.table(results(0.9, 0.8), query="q", tied=1).split("\n")) == 5
    )
    assert search_table.tie_note([0.9], 1) is None
    assert search_table.tie_note([], 0) is None


def test_numbers_in_names_stay_as_they_are_and_controls_do_not():
    odd = "0001\x1b[31m\n"
    text = search_table.table(results(0.9, filename=odd, name="x" * 99), query="q")
    assert "0001?[31m?" in text
    assert "x" * 39 + "…" in text


def test_json():
    found = results(0.9, 0.899)
    read = json.loads(search_table.as_json(found, query="標.png", tied=2))
    assert read["query"] == "標.png"
    assert read["results"][1]["codes"] == ["26.1.1", "27.5"]
    assert read["note"].startswith("The 2 scores")
    assert read["nearly_tied"] is True


def test_json_of_scores_that_are_not_all_tied():
    for scores, tied in (((0.9, 0.89, 0.1), 2), ((0.9,), 1), ((), 0)):
        said = search_table.as_json(results(*scores), query="q", tied=tied)
        assert json.loads(said)["nearly_tied"] is False

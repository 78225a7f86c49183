"""Articles as sequences of vectors, from files: which vector comes next?"""

import contextlib
import pathlib
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import numpy as np
import pandas as pd
from absl import logging
from annotated_types import Interval

import field_types
from input_pipeline import dataset, field_checks
from input_pipeline.formats import columns as columns_lib
from input_pipeline.formats import vectors as vector_format
from input_pipeline.records import windows
from input_pipeline.records.stored_array import StoredArray

LISTED = 20  # vectors named that were left out
_ROWS = 65_536  # looked through at a time


def load(
    *,
    path: str = "",
    key: str = "embedding",
    article: str = "article",
    position: str = "position",
    title: str = "title",
    context: Annotated[int, Interval(ge=1, le=65_536)] = 5,
    width: Annotated[int, Interval(ge=0, le=65_536)] = 0,
    val_fraction: Annotated[float, Interval(gt=0, lt=1)] = 0.2,
    cross_article_negatives: Annotated[int, Interval(ge=0, le=65_536)] = 4,
    same_article_negatives: Annotated[int, Interval(ge=0, le=65_536)] = 0,
    max_rejected: Annotated[float, Interval(ge=0, le=1)] = 0.01,
    cache: str = "",
    seed: int = 0,
    progress: bool = False,
) -> dataset.Data:
    """Return windows of articles as records.

    Args:
        path: `.npz`, `.npy` with a table of the same name (.csv, .tsv, .jsonl,
            .parquet), or parquet; float16 or float32.
        key: Array or column that holds the vectors.
        article: Column that says which article a vector belongs to.
        position: Column of its place there, numbers or times; "" for the order of the
            file.
        title: Column that names articles; the article itself where there is none.
        context: Vectors that are seen before the one that is asked for.
        width: Numbers of a vector; 0 for as many as the file has.
        val_fraction: Share of the articles held out.
        cross_article_negatives: Vectors of other articles that come with a window, for
            corruption.
        same_article_negatives: Vectors of the same article that do, as further
            candidates.
        max_rejected: Share of the vectors that may be at fault; they are left out, with
            the windows they are in.
        cache: Folder for copies that can be mapped.
        seed: Random seed of the split and of the negatives.
        progress: Whether to show a progress bar.

    Returns:
        As `windows.split` says.

    Raises:
        DataError: If the file does not hold such vectors, or too many are faulty.
    """
    field_types.check_ranges(load, locals(), "data", dataset.DataError)
    file = vector_format.open_vectors(
        path, key=key, width=width, cache=cache, progress=progress
    )
    columns = columns_lib.open_columns(pathlib.Path(path).expanduser(), file.rows, key)
    sequences, places = _sequences(file, columns, path, article, position, title)
    faults = _faults(file, sequences)
    rejected = sum(len(rows) for rows in faults.values())
    count = file.rows
    if rejected > max_rejected * count:
        listed = "\n  ".join(_listed(faults, places))
        raise dataset.DataError(
            f"{rejected} of {count} vectors in {path} are at fault "
            f"(data.max_rejected = {max_rejected:g} of them may be):\n  {listed}"
        )
    for rows in faults.values():
        sequences.good[np.isin(sequences.order, rows)] = False
    data = windows.split(
        sequences,
        context=context,
        val_fraction=val_fraction,
        cross_article_negatives=cross_article_negatives,
        same_article_negatives=same_article_negatives,
        seed=seed,
    )
    facts = {
        "dataset": "articles",
        "file": str(path),
        "dtype": str(sequences.vectors.array.dtype),
        "implies": {"transform.width": sequences.vectors.array.shape[1]},
        **data.facts,
        "rejected": _listed(faults, places),
        "rejected_total": rejected,
    }
    return data._replace(facts=facts)


def _sequences(
    file, columns, path, article, position, title
) -> tuple[windows.Sequences, pd.DataFrame]:
    """Return vectors in the order of their articles, all of them good so far.

    Also the places of the vectors in the order of the file: columns article and, where
    there is one, position.
    """
    for field, column in (("article", article), ("position", position)):
        if column and column not in columns.names:
            is_position = field == "position"
            raise dataset.DataError(
                f"data.{field}: {path} has no column {column!r}; choices: "
                f"{', '.join(columns.names) or 'none'}"
                + ("; --config.data.position= for the order of the file" * is_position)
            )
    with _named_field("article"):
        articles = columns.text(article)
    numbers, values = pd.factorize(np.array(articles, object))
    if (numbers < 0).any():
        row = columns.row_name(int(np.argmin(numbers)))
        raise dataset.DataError(f"data.article: {row} of {path} has no {article!r}")
    at, places = np.arange(columns.rows), pd.DataFrame({"article": articles})
    if position:
        with _named_field("position"):
            at = columns.numbers(position)
        places["position"] = at
    order = np.lexsort((at, numbers))
    numbers, at = numbers[order], at[order]
    twice = (numbers[1:] == numbers[:-1]) & (at[1:] == at[:-1])
    if twice.any():
        row = columns.row_name(int(order[1:][np.argmax(twice)]))
        raise dataset.DataError(
            f"data.position: {row} of {path} has the article and position of "
            f"another ({int(twice.sum())} such rows); expected one vector for each"
        )
    names = [str(value) for value in values]
    if (texts := _titles(columns, title)) is not None:
        titles = np.array(texts, object)[order]
        firsts = pd.Series(titles).groupby(numbers).first()
        named = zip(firsts, names, strict=True)
        names = [name if isinstance(name, str) else other for name, other in named]
    if not position:
        begins = np.searchsorted(numbers, numbers)
        at = np.arange(len(numbers)) - begins
    sequences = windows.Sequences(
        vectors=StoredArray(file.path),
        order=order,
        article=numbers,
        position=at,
        good=np.ones(len(order), bool),
        names=names,
    )
    return sequences, places


def _titles(columns: columns_lib.Columns, title: str) -> list[str | None] | None:
    """Return the titles of the articles; None without any.

    They are shown and no more: without having been asked for they may be unreadable.
    """
    if not title or title not in columns.names:
        return None
    try:
        with _named_field("title"):
            return columns.text(title)
    except dataset.DataError as error:
        if title != load.__kwdefaults__["title"]:
            raise
        logging.warning("%s; articles are shown by their id", error)
        return None


@contextlib.contextmanager
def _named_field(field: str) -> Iterator[None]:
    """Put the config field that named a column before what is wrong with it."""
    try:
        yield
    except dataset.DataError as error:
        raise dataset.DataError(f"data.{field}: {error}") from None


def _faults(file, sequences) -> dict[str, np.ndarray]:
    """Rows by what is wrong with them."""
    array = sequences.vectors.array
    rows_by_fault: dict[str, list] = {"not finite": [], "only zeros": []}
    other_length = np.array(file.other_length, np.int64)
    for start in range(0, len(array), _ROWS):
        block = np.asarray(array[start : start + _ROWS], np.float32)
        finite = np.isfinite(block).all(1)
        rows_by_fault["not finite"].append(start + np.flatnonzero(~finite))
        rows_by_fault["only zeros"].append(
            start + np.flatnonzero(finite & ~block.any(1))
        )
    faults = {why: np.concatenate(rows) for why, rows in rows_by_fault.items()}
    faults["not finite"] = np.setdiff1d(faults["not finite"], other_length)
    faults[f"not {array.shape[1]} numbers"] = other_length
    return {why: rows for why, rows in faults.items() if len(rows)}


def _listed(faults: dict[str, np.ndarray], places: pd.DataFrame) -> list[str]:
    """Return sentences on the first faulty vectors of each kind."""
    listed = []
    for why, rows in faults.items():
        for row in rows[:LISTED].tolist():
            where = ", ".join(f"{k} {v}" for k, v in places.iloc[row].items())
            listed.append(f"row {row} ({where}): {why}")
        if len(rows) > LISTED:
            listed.append(f"and {len(rows) - LISTED} more: {why}")
    return listed


def read_records(
    path: str, *, data: Mapping[str, Any], transform: Any
) -> tuple[dataset.Split, dict]:
    """Return the windows of a file with articles, or the one context of another.

    Args:
        path: File that `load` reads; or `.npy` without a table: a context [l, d], of
            which the last `transform.context` vectors are used.
        data: Fields of the dataset in training; those of `load` count.
        transform: Transform of sequences, whose `context` and `width` count.

    Raises:
        DataError: There is nothing that can be read.
    """
    context, width = transform.context, transform.width
    file = pathlib.Path(path).expanduser()
    if file.suffix.lower() == ".npy" and columns_lib.table_beside(file) is None:
        try:
            x = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise dataset.DataError(f"{file} cannot be read ({error})") from None
        split = windows.contexts(np.atleast_1d(x)[-context:], file.stem, str(file))
        if x.shape[1] != width:
            raise dataset.DataError(
                f"{file} holds vectors of {x.shape[1]} numbers; expected {width}"
            )
        return split, {}
    fields = field_checks.with_defaults(load, data)
    fields |= {"path": str(path), "context": context, "width": width}
    articles = load(**fields)
    both = dataset.concatenate(articles.train, articles.validation)
    both.table["path"] = [str(file)] * len(both)
    return both, articles.facts

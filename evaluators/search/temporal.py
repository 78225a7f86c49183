"""Frames of clips, and which of them are candidates of a query."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from evaluators.common import embeddings
from evaluators.common.protocols import Embed, Split
from evaluators.search.scores import GALLERY_BLOCK, inner_products

QUERY_BLOCK = 64  # queries whose scores with the whole gallery are in memory at once
ROUNDING = 1e-9  # seconds: times are multiples of 1 / rate only up to rounding
LISTED = 20  # values named in a message


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of some splits.

    Attributes:
        splits: Splits of one dataset.
        rows: int [m], rows of the joined splits.
        table: Columns of the frames, [m] each.
    """

    splits: Sequence[Split]
    rows: np.ndarray
    table: dict[str, np.ndarray]

    @classmethod
    def of(cls, splits: Sequence[Split], only: str, *columns: str) -> "Frames":
        """Return frames in order of their ids.

        Args:
            splits: Splits of one dataset.
            only: "column=value,value", the frames to keep; "" for all.
            columns: Names of further columns of the table; "" for none.

        Raises:
            ValueError: If a column is not there, or no frame is kept.
        """
        name, values = _parsed(only)
        names = dict.fromkeys(filter(None, ("clip", "time", name, *columns)))
        table = embeddings.columns(splits, *names)
        rows = np.argsort(table["id"], kind="stable")
        if only:
            rows = rows[np.isin(table[name], _values(table[name], values))[rows]]
        if not len(rows):
            raise ValueError(
                f"got only={only!r}, which no frame of the chosen splits matches; "
                f"choices: {_listed(table[name]) if only else 'none'}"
            )
        return cls(splits, rows, embeddings.take_rows(table, rows))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: np.ndarray) -> "Frames":
        """Return some of the frames, in that order."""
        table = embeddings.take_rows(self.table, places)
        return Frames(self.splits, self.rows[places], table)

    def embed(self, embed: Embed, view: str | None) -> np.ndarray | None:
        """Return their embeddings [m, d]; None where there is no such view."""
        rows = np.sort(self.rows)
        parts = [
            (split, rows[mask] - first) for split, first, mask in self._parts(rows)
        ]
        z = embeddings.embed_parts(embed, parts, view)
        if z is None or np.array_equal(rows, self.rows):
            return z
        return z[np.searchsorted(rows, self.rows)]

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return stored frames, uint8 [k, h, w].

        Args:
            places: int [k], positions in this object.
        """
        rows = self.rows[places]
        images: dict[int, np.ndarray] = {}
        for split, first, mask in self._parts(rows):
            stored = split.read(rows[mask] - first)["image"][..., 0]
            images |= zip(np.flatnonzero(mask).tolist(), stored, strict=True)
        return np.stack([images[i] for i in range(len(rows))])

    def _parts(self, rows: np.ndarray) -> Iterator[tuple[Split, int, np.ndarray]]:
        """Yield each split, its first row, and which of rows are in it, bool [k]."""
        first = 0
        for split in self.splits:
            mask = (rows >= first) & (rows < first + len(split))
            if mask.any():
                yield split, first, mask
            first += len(split)


class Candidates:
    """Which gallery frames are candidates of a query.

    Excluded are frames of its clip that are `window` seconds away or less, itself among
    them, or whose time is missing, and frames with its value in the column `apart`.

    Args:
        queries: Columns "clip" and "time" of the queries, and `apart`, [q].
        gallery: The same of the gallery, [n].
        window: Seconds, 0 or more; -1 for the whole clip.
        apart: Name of a column, or "".
    """

    def __init__(self, queries: dict, gallery: dict, window: float, apart: str):
        self._time = queries["time"], gallery["time"]
        self._clip = _numbered(queries["clip"], gallery["clip"])
        self._apart = _numbered(queries[apart], gallery[apart]) if apart else None
        self._window = window

    def blocks(self) -> Iterator[np.ndarray]:
        """Yield the queries in groups that are searched together, int [b]."""
        rows = np.arange(len(self._time[0]))
        yield from (rows[i : i + QUERY_BLOCK] for i in range(0, len(rows), QUERY_BLOCK))

    def mask(self, block: np.ndarray) -> np.ndarray:
        """Return whether each gallery frame is a candidate, bool [b, n]."""
        excluded = _equal(self._clip, block)
        if self._window >= 0:
            query_time, time = self._time[0][block, None], self._time[1][None, :]
            excluded &= ~(np.abs(query_time - time) > self._window + ROUNDING)
        if self._apart is not None:
            excluded |= _equal(self._apart, block)
        return ~excluded

    def counts(self) -> np.ndarray:
        """Return how many candidates each query has, int [q]."""
        return np.concatenate([self.mask(block).sum(1) for block in self.blocks()])

    def scores(
        self, z: np.ndarray, gallery: np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield queries [b] with their scores [b, n], -inf where not a candidate.

        Args:
            z: Embeddings of the queries, [q, d].
            gallery: [n, d].

        Raises:
            ValueError: If a value is not finite.
        """
        starts = range(0, len(gallery), GALLERY_BLOCK)
        for block in self.blocks():
            scores = np.concatenate(
                [
                    inner_products(z[block], gallery[start : start + GALLERY_BLOCK])
                    for start in starts
                ],
                axis=1,
            )
            if not np.isfinite(scores).all():
                raise ValueError("got embeddings with values that are not finite")
            yield block, np.where(self.mask(block), scores, -np.inf)


def with_candidates(
    queries: Frames, gallery: Frames, window: float, apart: str
) -> tuple[Frames, Candidates]:
    """Return the queries that have a candidate, and the candidates.

    Args:
        queries: Frames that are searched from.
        gallery: Frames that are searched.
        window: Window of `Candidates`, in seconds.
        apart: Column in which query and candidate must differ, "" for none.

    Raises:
        ValueError: If no query has one; names the field that excludes them.
    """
    fields = window, apart
    counts = Candidates(queries.table, gallery.table, *fields).counts()
    if not counts.any():
        raise ValueError(
            f"got window={window:g} and apart={apart!r}: none of {len(queries)} "
            f"queries has a candidate among {len(gallery)} frames; "
            f"{_at_fault(queries, gallery, *fields)}"
        )
    queries = queries.take(np.flatnonzero(counts))
    return queries, Candidates(queries.table, gallery.table, *fields)


def automatic_window(queries: Frames, gallery: Frames, apart: str) -> tuple[float, str]:
    """Return a window that suits the clips, and a sentence on it.

    It is the whole clip where every query then still has a candidate, in other clips.
    Else it is a tenth of the time that the frames of a clip span, but at least the time
    from one frame to the next; of several clips, the medians.

    Args:
        queries: Frames that are searched from.
        gallery: Frames that are searched.
        apart: Column in which query and candidate must differ, "" for none.
    """

    def counts(window: float) -> np.ndarray:
        return Candidates(queries.table, gallery.table, window, apart).counts()

    if ((counts(-1.0) > 0) >= (counts(0.0) > 0)).all():
        return -1.0, "Neighbors are frames of other clips (window=-1)."
    spans, steps = [], []
    for clip in np.unique(gallery.table["clip"]):
        time = np.sort(gallery.table["time"][gallery.table["clip"] == clip])
        if (between := np.diff(time)[np.diff(time) > 0]).size:
            spans.append(time[-1] - time[0])
            steps.append(np.median(between))
    tenth = float(np.median(spans)) / 10 if spans else 0.0
    step = float(np.median(steps)) if steps else 0.0
    window = next((w for w in (max(tenth, step), tenth) if counts(w).any()), 0.0)
    return window, (
        f"Neighbors are frames more than {window:.3g} s away in the clip, or of other "
        "clips (window, a tenth of what is searched of a clip; frames where no time is "
        "known)."
    )


def _at_fault(queries: Frames, gallery: Frames, window: float, apart: str) -> str:
    """Return a phrase on the field whose change alone would give a candidate."""
    changes = {
        "window leaves out all; set window=auto": (0.0, apart),
        "apart leaves out all; set apart= to another column, or to none": (window, ""),
        "window leaves out all, and so does apart; set window=auto and apart=": (
            0.0,
            "",
        ),
    }
    for phrase, fields in changes.items():
        if Candidates(queries.table, gallery.table, *fields).counts().any():
            return phrase
    return "there is none but the query itself"


def check_only(splits: Sequence[Split], only: str) -> None:
    """Raise ValueError unless each value that `only` names is in one of the splits."""
    name, words = _parsed(only)
    if not only:
        return
    column = embeddings.columns(splits, name)[name]
    for word, value in zip(words, _values(column, words), strict=True):
        if value not in column:
            raise ValueError(
                f"got only={only!r}, but no frame has {name} {word!r}; choices: "
                f"{_listed(column)}"
            )


def _parsed(only: str) -> tuple[str, list[str]]:
    name, equals, values = only.partition("=")
    if only and not (name and equals and values):
        raise ValueError(
            f"got only={only!r}; expected the name of a column and its values, for "
            "example 'condition=walk,run'"
        )
    return name, values.split(",")


def _values(column: np.ndarray, words: list[str]) -> list:
    """Return words as values of a column; nan, which equals none, for non-numbers."""
    if column.dtype.kind not in "fiu":
        return words
    return [_number(word) for word in words]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return np.nan


def _listed(column: np.ndarray) -> str:
    values = np.unique(column)
    more = ", …" if len(values) > LISTED else ""
    return ", ".join(str(value) for value in values[:LISTED].tolist()) + more


def _numbered(left: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two columns with each distinct value, a missing one too, as a number."""
    code = np.unique(np.concatenate([left, right]), return_inverse=True)[1]
    return code[: len(left)], code[len(left) :]


def _equal(column: tuple[np.ndarray, np.ndarray], block: np.ndarray) -> np.ndarray:
    return column[0][block, None] == column[1][None, :]

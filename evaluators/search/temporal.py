"""Frames of clips, and which of them a query may find."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from evaluators.common import embeddings
from evaluators.common.protocols import Embed
from evaluators.search.scores import GALLERY_BLOCK, inner_products

BLOCK = 64  # queries whose scores with the whole gallery are in memory at once
ROUNDING = 1e-9  # seconds: times are multiples of 1 / rate only up to rounding
LISTED = 20  # values named in a message


@dataclasses.dataclass(frozen=True)
class Frames:
    """Frames of some splits.

    Attributes:
        splits: Of one dataset.
        rows: int [m], of the splits one after another.
        table: Columns of the frames, [m] each.
    """

    splits: Sequence
    rows: np.ndarray
    table: dict[str, np.ndarray]

    @classmethod
    def of(cls, splits: Sequence, only: str, *columns: str) -> "Frames":
        """Return frames in order of their ids.

        Args:
            splits: Of one dataset.
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
                f"got only={only!r}, which no frame of a split is that is asked for; "
                f"choices there: {_listed(table[name]) if only else 'none'}"
            )
        return cls(splits, rows, embeddings.take(table, rows))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: np.ndarray) -> "Frames":
        """Return some of the frames, in that order."""
        table = embeddings.take(self.table, places)
        return Frames(self.splits, self.rows[places], table)

    def embed(self, embed: Embed, view: str | None) -> np.ndarray | None:
        """Return their embeddings [m, d]; None where embed cannot make views."""
        rows = np.sort(self.rows)
        parts = [(split, rows[own] - first) for split, first, own in self._parts(rows)]
        z = embeddings.embed_parts(embed, parts, view)
        if z is None or np.array_equal(rows, self.rows):
            return z
        return z[np.searchsorted(rows, self.rows)]

    def read(self, places: np.ndarray) -> np.ndarray:
        """Return stored frames, uint8 [k, h, w]."""
        rows = self.rows[places]
        found: dict[int, np.ndarray] = {}
        for split, first, own in self._parts(rows):
            frames = split.read(rows[own] - first)["image"][..., 0]
            found |= zip(np.flatnonzero(own).tolist(), frames, strict=True)
        return np.stack([found[i] for i in range(len(rows))])

    def _parts(self, rows: np.ndarray) -> Iterator[tuple]:
        """Yield each split, its first row, and which of rows are its, bool [k]."""
        first = 0
        for split in self.splits:
            own = (rows >= first) & (rows < first + len(split))
            if own.any():
                yield split, first, own
            first += len(split)


class Candidates:
    """Which gallery frames a query may find.

    None of its own clip that is `window` seconds away or less, such as itself, or whose
    distance in time is not known; and none with its value in the column `apart`.

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
        """Yield the queries in groups that are worked on together, int [b]."""
        rows = np.arange(len(self._time[0]))
        yield from (rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK))

    def mask(self, block: np.ndarray) -> np.ndarray:
        """Return whether each gallery frame is a candidate, bool [b, n]."""
        out = _equal(self._clip, block)
        if self._window >= 0:
            then, now = self._time[0][block, None], self._time[1][None, :]
            out &= ~(np.abs(then - now) > self._window + ROUNDING)
        if self._apart is not None:
            out |= _equal(self._apart, block)
        return ~out

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

    Raises:
        ValueError: If none has; says which field leaves them without.
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


def _at_fault(queries: Frames, gallery: Frames, window: float, apart: str) -> str:
    """Say which field, changed alone, would leave queries a candidate."""
    changed = {
        "window leaves out all": (0.0, apart),
        "apart leaves out all": (window, ""),
        "window leaves out all, and so does apart": (0.0, ""),
    }
    for said, fields in changed.items():
        if Candidates(queries.table, gallery.table, *fields).counts().any():
            return said
    return "there is none but the query itself"


def check_only(splits: Sequence, only: str) -> None:
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
    """Words as values of a column; nan, which no frame has, for what is no number."""
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
    """Two columns with each distinct value as a number; what is missing is one too."""
    code = np.unique(np.concatenate([left, right]), return_inverse=True)[1]
    return code[: len(left)], code[len(left) :]


def _equal(column: tuple[np.ndarray, np.ndarray], block: np.ndarray) -> np.ndarray:
    return column[0][block, None] == column[1][None, :]

"""Frames of clips: does a frame find others that look the same, or are posed the same?

A frame's neighbors in time are nearly the same picture, so that finding them proves
nothing: candidates are frames outside a window of time around the query. Their SSIM is
worth what it has above that of frames drawn at random, and of pixel neighbors, which
are a baseline.
"""

from typing import Any, Literal

import numpy as np

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.frame_measures import Errors, Figure, Labels, Likeness
from evaluators.common.metric import (
    SPLITS,
    Embed,
    Metric,
    check_choice,
    check_count,
    check_ranks,
)
from evaluators.metrics import column_error, ranking
from evaluators.metrics.ties import WITHIN, nearly_tied, tied_by_chance
from evaluators.search import exact as exact_search
from evaluators.search.temporal import Frames, check_only, with_candidates

GALLERIES = (*SPLITS, "all")
STRETCHES = 10  # of a single clip, for intervals
KNOWN = {
    "query_split": "validation",
    "gallery_split": "validation",
    "window": 0.0,
    "column": "",
    "period": 0.0,
    "labels": False,
    "k": (1, 5, 10),
    "ssim": 100,
    "ties": WITHIN,
    "max_queries": 1000,
}


class Evaluator:
    """Neighbors of frames, outside a window of time around each.

      ssim@k          mean SSIM of a query's stored frame with its k nearest
      error           median over queries of |column of the nearest - own|
      error_mean      mean of the same
      error_left_out  queries whose value, or that of every candidate, is missing
      recall@k, map   of candidates with the query's label
      near_ties       share of queries whose best max(k) scores lie within `ties`
      left_out        queries without a candidate; with `labels`, without a relevant one

    Chance is a random order of each query's candidates. Frames of one clip are not
    independent: intervals draw whole clips, and tenths of a single one.

    Args:
        data: The dataset, with the columns `clip` and `time`.
        prefix: What tags start with, as in "eval/posture".
        seed: Of the choice of queries and of the intervals.
        query_split: "train" or "validation".
        gallery_split: "train", "validation" or "all".
        query_view: Name of the training view in which queries are seen, "" as they are.
        gallery_view: The same for the gallery.
        window: Seconds, 0 or more: frames of the query's clip so near in time are no
            candidates. -1 leaves out its whole clip.
        apart: Name of a column in which candidates differ from the query; "" for none.
        only: "column=value,value", the frames to ask for and among; "" for all.
        column: Name of a column of numbers, such as an angle; "" for none.
        period: Of the column: 1 for a phase, 360 for a direction, 0 for no circle.
        labels: Whether to measure recall and mAP of labels.
        k: Cut-offs.
        ssim: Queries whose SSIM is measured, drawn by seed; 0 for none.
        ties: Cosine, 0 or more.
        max_queries: More are drawn from by seed.

    Raises:
        ValueError: If a field has a value that it cannot have, a column is missing or
            not of numbers, no query has a candidate, or none has a label.
    """

    def __init__(
        self,
        data: Any,
        *,
        prefix: str,
        seed: int,
        query_split: Literal["train", "validation"] = "validation",
        gallery_split: Literal["train", "validation", "all"] = "validation",
        query_view: str = "",
        gallery_view: str = "",
        window: float = 0.0,
        apart: str = "",
        only: str = "",
        column: str = "",
        period: float = 0.0,
        labels: bool = False,
        k: tuple[int, ...] = (1, 5, 10),
        ssim: int = 100,
        ties: float = WITHIN,
        max_queries: int = 1000,
    ):
        self.k = _checked(
            query_split, gallery_split, window, column, period, labels, k, ssim, ties,
            max_queries,
        )  # fmt: skip
        self.prefix, self.seed, self.ties = prefix, seed, ties
        self.views = query_view or None, gallery_view or None
        check_only((data.train, data.validation), only)
        names = SPLITS if gallery_split == "all" else (gallery_split,)
        queries, self.gallery = (
            Frames.of([getattr(data, name) for name in side], only, apart, column)
            for side in ((query_split,), names)
        )
        _check_numbers(queries.table, getattr(data, query_split).table, column)
        if labels and not (queries.table["label"] >= 0).any():
            raise ValueError(
                f"got labels=True, but no frame of the {query_split} split has a "
                "label; set data.label, or labels=False"
            )
        queries = queries.take(embeddings.some_rows(len(queries), max_queries, seed))
        self.asked = len(queries)
        self.queries, self.candidates = with_candidates(
            queries, self.gallery, window, apart
        )
        self.likeness = self.errors = self.labels = None
        sides = self.queries.table, self.gallery.table
        if ssim:
            chosen = embeddings.some_rows(len(self.queries), ssim, seed)
            self.likeness = Likeness(self.queries, self.gallery, self.k, chosen, seed)
        if column:
            self.errors = Errors(*(side[column] for side in sides), period)
        if labels:
            self.labels = Labels(*(side["label"] for side in sides), self.k)
        for block in self.candidates.blocks():
            mask = self.candidates.mask(block)
            for measure in self._measures():
                measure.expect(block, mask)
        self.groups = _groups(self.queries.table)
        self._found: list[summary.Found] = []

    @staticmethod
    def promises(prefix: str, **fields: Any) -> list[str]:
        """Return the tags of `run`."""
        known = KNOWN | {name: fields[name] for name in KNOWN if name in fields}
        ks = _checked(**known)
        names = [f"ssim@{k}" for k in ks if known["ssim"]]
        if known["column"]:
            names += ["error", "error_mean", "error_left_out"]
        if known["labels"]:
            names += [*(f"recall@{k}" for k in ks), "map"]
        return [f"{prefix}/{name}" for name in (*names, "near_ties", "left_out")]

    def run(self, embed: Embed) -> dict[str, Metric]:
        """Return a Metric for each tag; none if embed cannot make views."""
        gallery = self.gallery.embed(embed, self.views[1])  # [n, d]
        z = None if gallery is None else self._query_embeddings(embed, gallery)
        if z is None:
            return {}
        deep = min(max(self.k[-1], examples_lib.SHOWN), len(gallery))
        near = np.empty((len(z), deep), int)
        best = np.empty((len(z), deep), np.float32)
        for block, scores in self.candidates.scores(z, gallery):
            rows = exact_search.largest(scores, deep)
            best[block] = np.take_along_axis(scores, rows, axis=1)
            near[block] = np.where(np.isfinite(best[block]), rows, -1)
            for measure in self._measures():
                measure.rank(block, scores, near[block])
        self._keep_examples(near, best)
        depth = max(self.k[-1], 2)
        tied = nearly_tied(best[:, :depth], self.ties) * 1.0
        figures = {
            name: figure
            for measure in self._measures()
            for name, figure in measure.figures().items()
        }
        every = np.arange(len(z))
        chance = tied_by_chance(
            self.candidates.counts(), depth, z.shape[1], self.seed, self.ties
        )
        figures["near_ties"] = Figure(tied, chance, every, "share")
        found = {name: self._metric(figure) for name, figure in figures.items()}
        found["left_out"] = self._left_out(
            figures["map" if self.labels else "near_ties"]
        )
        if self.errors:
            found["error_left_out"] = self._left_out(figures["error"])
        return {f"{self.prefix}/{name}": metric for name, metric in found.items()}

    def examples(self, count: int) -> list[dict]:
        """Return queries with their neighbors; see `retrieval.Evaluator.examples`.

        Relevant is a frame with the query's label or, without `labels`, one that is
        less than half of chance off in `column`; None where there is neither.
        """
        return examples_lib.pick(self._found, count)

    def _measures(self) -> list:
        return [m for m in (self.likeness, self.errors, self.labels) if m]

    def _query_embeddings(self, embed: Embed, gallery: np.ndarray) -> np.ndarray | None:
        ids, wanted = self.gallery.table["id"], self.queries.table["id"]
        if self.views[0] == self.views[1] and np.isin(wanted, ids).all():
            return gallery[np.searchsorted(ids, wanted)]
        return self.queries.embed(embed, self.views[0])

    def _metric(self, figure: Figure) -> Metric:
        values, chance, queries, kind = figure
        groups = self.groups[queries]
        if kind == "median":
            return column_error.median(values, float(chance), groups, self.seed)
        strata = np.zeros(len(queries), int)
        return Metric(
            *ranking.summarize(
                values, chance, groups, strata, self.seed, share=kind == "share"
            )
        )

    def _left_out(self, figure: Figure) -> Metric:
        return summary.count(self.asked - len(figure.queries), self.asked)

    def _keep_examples(self, near: np.ndarray, scores: np.ndarray) -> None:
        """Keep queries with their gallery rows and scores, [q, k] each."""
        judge = self.labels or self.errors
        sides, ids = {True: [], False: []}, self.gallery.table["id"]
        for i in np.random.default_rng(self.seed).permutation(len(near)):
            rows = near[i][near[i] >= 0][: examples_lib.SHOWN]
            hits = judge.relevant(i, rows).tolist() if judge else [None] * len(rows)
            side = sides[bool(hits[0])]
            if len(side) == examples_lib.KEPT:
                continue
            shown = zip(ids[rows].tolist(), scores[i, : len(rows)], hits, strict=True)
            example = {
                "query": int(self.queries.table["id"][i]),
                "neighbors": [
                    {"id": id_, "score": float(score), "relevant": hit}
                    for id_, score, hit in shown
                ],
                "right": bool(hits[0]),
            }
            side.append(example)
        examples = sides[True], sides[False]
        self._found = [summary.Found("", {}, self.groups, 0, *examples)]


def _groups(table: dict[str, np.ndarray]) -> np.ndarray:
    """Frames that are not independent, int [q]: a clip, or a tenth of the only one."""
    clips = np.unique(table["clip"], return_inverse=True)[1]
    if clips.any():
        return clips
    place = np.argsort(np.lexsort((table["id"], table["time"])))
    return place * STRETCHES // len(place)


def _check_numbers(read: dict, table: dict, column: str) -> None:
    if column and read[column].dtype.kind not in "fiu":
        single = {name: np.asarray(c) for name, c in table.items() if np.ndim(c) == 1}
        numbers = [name for name, c in single.items() if c.dtype.kind in "fiu"]
        raise ValueError(
            f"got column={column!r}, which holds {str(read[column][0])!r}; expected "
            f"numbers; choices: {', '.join(numbers)}"
        )


def _checked(
    query_split, gallery_split, window, column, period, labels, k, ssim, ties,
    max_queries,
) -> tuple[int, ...]:  # fmt: skip
    check_choice("query_split", query_split, SPLITS)
    check_choice("gallery_split", gallery_split, GALLERIES)
    check_choice("labels", labels, (True, False))
    if not (window >= 0 or window == -1):
        raise ValueError(
            f"got window={window}; expected seconds, 0 or more, or -1 for the whole "
            "clip"
        )
    for name, value in (("period", period), ("ties", ties)):
        if not value >= 0:
            raise ValueError(f"got {name}={value}; expected 0 or more")
    if period and not column:
        raise ValueError(f"got period={period} without a column that it is of")
    check_count("ssim", ssim, least=0)
    check_count("max_queries", max_queries)
    return check_ranks("k", k)

"""Frames of clips: does a frame find others that look the same, or are posed the same?

A frame's neighbors in time are nearly the same image, so that finding them proves
nothing: candidates are frames outside a window of time around the query. The SSIM of
neighbors is to be compared with that of frames drawn at random, its chance level, and
of pixel neighbors, a baseline.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from annotated_types import Interval

from evaluators.common import embeddings, summary
from evaluators.common import examples as examples_lib
from evaluators.common.evaluator import (
    EvaluatorBase,
    Examples,
    check_cut_offs,
    no_examples,
    sorted_cut_offs,
)
from evaluators.common.fields import CutOffs, GalleryName, QueryCount, SplitName
from evaluators.common.frame_figures import Ranked, deal_clips
from evaluators.common.frame_measures import (
    ColumnErrors,
    LabelRanks,
    Likeness,
    Measure,
    NearTies,
    Values,
)
from evaluators.common.metric import Metrics
from evaluators.common.protocols import Data, Embed
from evaluators.metrics.ties import WITHIN
from evaluators.search.temporal import (
    Candidates,
    Frames,
    automatic_window,
    check_only,
    with_candidates,
)

Folds: TypeAlias = list[Values]  # with all clips, then without those of each fold
AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class _Sample:
    """Queries and gallery of a dataset.

    Attributes:
        count: Queries drawn, those without a candidate included.
        queries: Those with a candidate.
        gallery: Frames that are searched.
        candidates: Which gallery frames a query may retrieve.
        groups: int [q]; queries of one group are not independent.
        folds: int [q], 0..F-1, the fold in which a query is left out for intervals.
        gallery_folds: int [n], the same of gallery frames; -1 for those in none.
        measures: What is measured of ranked candidates, with its chance levels.
        choice: Sentence on the window that was chosen, "" for none.
    """

    count: int
    queries: Frames
    gallery: Frames
    candidates: Candidates
    groups: np.ndarray
    folds: np.ndarray
    gallery_folds: np.ndarray
    measures: list[Measure]
    choice: str

    def measured(self, measure: Measure, block: np.ndarray, ranked: Ranked) -> Folds:
        """Return values of queries [b] with all candidates, then without each fold."""
        values = [measure.rank(block, ranked)]
        for fold in range(self.folds.max() + 1):
            left_out = self.gallery_folds == fold
            values.append(measure.rank(block, ranked.without(left_out)))
        return values


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluator(EvaluatorBase):
    """Neighbors of frames, outside a window of time around each.

      ssim@k          mean SSIM of a query's stored frame with its k nearest
      error           median over queries of |value of the nearest - value of the query|
      error_mean      mean of the same
      error_left_out  queries whose value, or that of every candidate, is missing
      recall@k, map   of candidates with the query's label
      near_ties       share of queries whose best max(k) scores lie within `ties`
      left_out        queries without a candidate; with `labels`, without a relevant one

    Chance is a random order of each query's candidates. Frames of one clip are not
    independent: intervals leave out whole clips, from queries and gallery, and tenths
    of a single one. The data needs the columns `clip` and `time`. No metric where the
    embed function has no views.

    In the examples, relevant is a frame with the query's label or, without `labels`,
    one less than half of chance off in `column`; None where there is neither.

    Attributes:
        query_split: Split of the queries.
        gallery_split: Split of the gallery; "all" for both.
        query_view: Name of the training view in which queries are seen, "" as they are.
        gallery_view: The same for the gallery.
        window: Seconds: frames of the query's clip so near in time are no candidates;
            -1 leaves out its whole clip; "auto": that where other clips are left to
            search, else a tenth of what is searched of a clip.
        apart: Name of a column in which candidates differ from the query; "" for none.
        only: "column=value,value", the frames to search from and in; "" for all.
        column: Name of a column of numbers, such as an angle; "" for none.
        period: Period of the column: 1 for a phase, 360 for a direction, 0 for no
          circle.
        labels: Whether to measure recall and mAP of labels.
        k: Cut-offs.
        ssim: Queries whose SSIM is measured, drawn by seed; 0 for none.
        ties: Cosine; closer scores do not tell records apart.
        max_queries: Most queries; of more, a sample is drawn by seed.
    """

    query_split: SplitName = "validation"
    gallery_split: GalleryName = "validation"
    query_view: str = ""
    gallery_view: str = ""
    window: Annotated[float, Interval(ge=-1, le=1e9)] | Literal["auto"] = 0.0
    apart: str = ""
    only: str = ""
    column: str = ""
    period: Annotated[float, Interval(ge=0, le=1e9)] = 0.0
    labels: bool = False
    k: CutOffs = (1, 5, 10)
    ssim: Annotated[int, Interval(ge=0, le=100_000)] = 100
    ties: Annotated[float, Interval(ge=0, le=2)] = WITHIN
    max_queries: QueryCount = 1000

    def tags(self) -> list[str]:
        """Return the names of all figures that the fields ask for."""
        cut_offs = sorted_cut_offs(self.k)
        names = [f"ssim@{k}" for k in cut_offs if self.ssim]
        if self.column:
            names += ["error", "error_mean", "error_left_out"]
        if self.labels:
            names += [*(f"recall@{k}" for k in cut_offs), "map"]
        return [*names, "near_ties", "left_out"]

    def choices(self) -> list[str]:
        """Return a sentence on the window where it was chosen by the data."""
        return list(filter(None, [self._sample.choice]))

    def _check_fields(self) -> None:
        check_cut_offs(self.k)
        if self.window != AUTO and -1 < self.window < 0:
            raise ValueError(
                f"got window={self.window}; expected seconds, 0 or more, or -1 for the "
                "whole clip"
            )
        if self.period and not self.column:
            raise ValueError(f"got period={self.period} without a column that it is of")

    def _check_data(self, data: Data) -> None:
        check_only((data.train, data.validation), self.only)
        _ = self._sample

    @functools.cached_property
    def _sample(self) -> _Sample:
        data, seed = self._data, self._seed
        queries = self._frames(self.query_split)
        gallery = self._frames(self.gallery_split)
        if self.column:
            table = getattr(data, self.query_split).table
            _check_numbers(queries.table[self.column], self.column, table)
        if self.labels:
            _check_labels(queries.table["label"], self.query_split)
        queries = queries.take(
            embeddings.sample_rows(len(queries), self.max_queries, seed)
        )
        count = len(queries)
        window, choice = self.window, ""
        if window == AUTO:
            window, choice = automatic_window(queries, gallery, self.apart)
        queries, candidates = with_candidates(queries, gallery, window, self.apart)
        measures = self._measures(queries, gallery)
        for block in candidates.blocks():
            mask = candidates.mask(block)
            for measure in measures:
                measure.expect(block, mask)
        for measure in measures:
            measure.check()
        groups, folds, gallery_folds = deal_clips(queries.table, gallery.table, seed)
        return _Sample(
            count,
            queries,
            gallery,
            candidates,
            groups,
            folds,
            gallery_folds,
            measures,
            choice,
        )

    def _frames(self, name: GalleryName) -> Frames:
        splits = embeddings.named_splits(self._data, name)
        return Frames.of(splits, self.only, self.apart, self.column)

    def _measures(self, queries: Frames, gallery: Frames) -> list[Measure]:
        """Return what is measured, without its chance levels."""
        measures: list[Measure] = []
        cut_offs = sorted_cut_offs(self.k)
        if self.ssim:
            chosen = embeddings.sample_rows(len(queries), self.ssim, self._seed)
            measures.append(Likeness(queries, gallery, cut_offs, chosen, self._seed))
        if self.column:
            columns = queries.table[self.column], gallery.table[self.column]
            measures.append(ColumnErrors(*columns, self.period))
        if self.labels:
            columns = queries.table["label"], gallery.table["label"]
            measures.append(LabelRanks(*columns, cut_offs))
        return measures

    def _measure(self, embed: Embed) -> tuple[Metrics, Examples]:
        sample = self._sample
        gallery = sample.gallery.embed(embed, self.gallery_view or None)  # [n, d]
        if gallery is None:
            return {}, no_examples
        z = self._query_embeddings(embed, gallery)
        if z is None:
            return {}, no_examples
        k = max(self.k)
        deep = min(max(k, examples_lib.SHOWN), len(gallery))
        near = np.empty((len(z), deep), int)
        best = np.empty((len(z), deep), np.float32)
        ties = NearTies(sample.candidates, max(k, 2), z.shape[1], self.ties, self._seed)
        measures = [*sample.measures, ties]
        values: list[list[Folds]] = [[] for _ in measures]
        for block, scores in sample.candidates.scores(z, gallery):
            ranked = Ranked.of(scores)
            best[block], near[block] = ranked.scores[:, :deep], ranked.nearest(deep)
            for measure, parts in zip(measures, values, strict=True):
                parts.append(sample.measured(measure, block, ranked))
        metrics = {}
        for measure, parts in zip(measures, values, strict=True):
            metrics |= self._metrics(measure, parts)
        return metrics | self._counts(metrics), self._examples(near, best)

    def _query_embeddings(self, embed: Embed, gallery: np.ndarray) -> np.ndarray | None:
        queries = self._sample.queries
        ids, query_ids = self._sample.gallery.table["id"], queries.table["id"]
        if self.query_view == self.gallery_view and np.isin(query_ids, ids).all():
            return gallery[np.searchsorted(ids, query_ids)]
        return queries.embed(embed, self.query_view or None)

    def _metrics(self, measure: Measure, blocks: list[Folds]) -> Metrics:
        """Return the metrics of one measure from its values of blocks of queries."""
        all_values, *without = (
            {name: np.concatenate([v[name] for v in values]) for name in values[0]}
            for values in zip(*blocks, strict=True)
        )
        sample, folds = self._sample, self._sample.gallery_folds
        removed = None
        if (folds >= 0).any():
            removed = np.bincount(folds[folds >= 0], minlength=len(without))
        return {
            name: figure.metric(
                sample.groups,
                sample.folds,
                [values[name] for values in without],
                removed,
            )
            for name, figure in measure.figures(all_values).items()
        }

    def _counts(self, metrics: Metrics) -> Metrics:
        """Return how many queries were left out."""
        count = self._sample.count
        left_out = count - metrics["map" if self.labels else "near_ties"].n
        counts = {"left_out": summary.count_metric(left_out, count)}
        if self.column:
            left_out = count - metrics["error"].n
            counts["error_left_out"] = summary.count_metric(left_out, count)
        return counts

    def _examples(self, near: np.ndarray, scores: np.ndarray) -> Examples:
        """Return examples from gallery rows and scores of the nearest, [q, k] each."""
        sample = self._sample
        judge = next(
            (
                measure
                for kind in (LabelRanks, ColumnErrors)
                for measure in sample.measures
                if isinstance(measure, kind)
            ),
            None,
        )
        examples = examples_lib.ExampleLists([], [])
        query_ids, ids = sample.queries.table["id"], sample.gallery.table["id"]
        for i in np.random.default_rng(self._seed).permutation(len(near)):
            rows = near[i][near[i] >= 0][: examples_lib.SHOWN]
            hits: list[Any] = [None] * len(rows)
            if judge is not None:
                hits = judge.relevant(i, rows).tolist()
            side = examples.right if hits[0] else examples.wrong
            if len(side) == examples_lib.KEPT:
                continue
            shown = zip(ids[rows].tolist(), scores[i, : len(rows)], hits, strict=True)
            neighbors = [
                {"id": id_, "score": float(score), "relevant": hit}
                for id_, score, hit in shown
            ]
            query = int(query_ids[i])
            side.append(
                {"query": query, "neighbors": neighbors, "right": bool(hits[0])}
            )
        return functools.partial(examples_lib.pick, [examples])


def _check_labels(labels: np.ndarray, split: str) -> None:
    """Raise ValueError unless frames have two labels or more."""
    distinct = len(np.unique(labels[labels >= 0]))
    if distinct < 2:
        count = "only one label" if distinct else "no label"
        raise ValueError(
            f"got labels=True, but the frames of the {split} split have {count}; "
            "expected two or more: set data.label, or labels=False"
        )


def _check_numbers(values: np.ndarray, column: str, table: Mapping[str, Any]) -> None:
    """Raise ValueError if a column has no numbers; names the columns that have."""
    if values.dtype.kind not in "fiu":
        flat = {name: np.asarray(c) for name, c in table.items() if np.ndim(c) == 1}
        numeric = [name for name, c in flat.items() if c.dtype.kind in "fiu"]
        raise ValueError(
            f"got column={column!r}, which holds {str(values[0])!r}; expected numbers; "
            f"choices: {', '.join(numeric)}"
        )

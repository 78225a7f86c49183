import numpy as np
import pytest

from evaluators import frames
from evaluators.common import frame_figures, frame_measures
from evaluators.common.metric import ERROR
from evaluators.metrics import intervals
from evaluators.metrics import structural_similarity as similarity
from evaluators.search import temporal
from input_pipeline.dataset import Data
from tests.evaluators.clips import RATE, clips
from tests.evaluators.frame_loops import metrics_by_loops
from tests.evaluators.small_data import build, full_tags, unit


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    train = clips(rng, (9, 14), first_id=60, prefix="t")
    return Data(train, clips(rng, (20, 15, 7, 12)), {})


@pytest.fixture(scope="module")
def z():
    return unit(np.random.default_rng(1).standard_normal((83, 6)))  # by id


def embed_by_id(z):
    def embed(split, rows, view=None):
        noise = np.random.default_rng(0).standard_normal(z.shape)
        seen = z if view is None else unit(z + 0.3 * noise)
        return seen[split.table["id"][rows]]

    return embed


def column(splits, name):
    return np.concatenate([np.asarray(split.table[name]) for split in splits])


CASES = {
    "own id alone": {},
    "window": {"window": 3 / RATE},
    "other clips": {"window": -1},
    "apart": {"window": 2 / RATE, "apart": "condition"},
    "apart, numbers": {"apart": "trial"},
    "circle": {"window": 1.0, "column": "phase", "period": 1.0},
    "all": {"window": 0.2, "gallery_split": "all"},
    "from training": {"query_split": "train", "gallery_split": "all", "window": 0.3},
}


@pytest.mark.parametrize("case", CASES)
def test_metrics_match_loops(data, z, case):
    fields = {"column": "angle", "k": (1, 4), "labels": True, "ties": 0.5} | CASES[case]
    evaluator = build(frames, data, **fields)
    found = evaluator.run(embed_by_id(z)).metrics
    assert set(found) == full_tags(evaluator)
    queries = getattr(data, fields.get("query_split", "validation"))
    everything = "gallery_split" in fields
    out = metrics_by_loops(
        data, queries, [data.train, data.validation] if everything else [queries], z,
        fields["k"], window=fields.get("window", 0.0), apart=fields.get("apart", ""),
        column_=fields["column"], period=fields.get("period", 0.0),
    )  # fmt: skip
    asked = len(queries)
    for name, values in (
        ("error_mean", out["error"]),
        ("map", out["ap"]),
        ("recall@1", out["recall@1"]),
        ("recall@4", out["recall@4"]),
        ("near_ties", out["tied"]),
        *(
            (f"ssim@{k}", [np.mean(s[:k]) for s in out["ssim"].values()])
            for k in (1, 4)
        ),
    ):
        assert found[f"e/{name}"].value == pytest.approx(np.mean(values)), name
        assert found[f"e/{name}"].n == len(values), name
    assert found["e/error"].value == pytest.approx(np.median(out["error"]))
    assert found["e/left_out"].value == asked - len(out["ap"])
    assert found["e/error_left_out"].value == asked - len(out["error"])
    assert 0 < found["e/error_left_out"].value or fields["column"] == "phase"
    # Chance: all candidates in random order.
    off = [np.mean(errors) for errors in out["errors"]]
    assert found["e/error_mean"].chance == pytest.approx(np.mean(off))
    weights = np.concatenate([np.full(len(e), 1 / len(e)) for e in out["errors"]])
    off = np.concatenate(out["errors"])
    order = np.argsort(off)
    share = np.cumsum(weights[order]) / weights.sum()
    low, high = off[order][np.searchsorted(share, (0.495, 0.505))]
    assert low <= found["e/error"].chance <= high
    for tag, metric in found.items():
        assert metric.low <= metric.value <= metric.high, tag


def test_random_embeddings_score_at_chance(data):
    rng = np.random.default_rng(3)
    fields = {"column": "phase", "period": 1.0, "labels": True, "k": (1, 5)}
    evaluator = build(
        frames,
        data,
        prefix="e",
        seed=0,
        window=0.2,
        apart="condition",
        ssim=20,
        **fields,
    )
    off, runs = {}, 60
    for _ in range(runs):
        z = unit(rng.standard_normal((83, 5)))
        for tag, metric in evaluator.run(embed_by_id(z)).metrics.items():
            off.setdefault(tag, []).append(metric.value - metric.chance)
    for name in ("recall@1", "recall@5", "map", "error", "error_mean"):
        values = np.array(off[f"e/{name}"])
        assert abs(values.mean()) < 4 * values.std() / runs**0.5, name
    # Candidates of SSIM are drawn once, so that their own scatter counts too.
    assert abs(np.mean(off["e/ssim@5"])) < 0.01


@pytest.mark.parametrize("only", ["condition=slow", "trial=0,2", "clip=c0,c3"])
def test_only_restricts_queries_and_gallery(data, z, only):
    name, values = only.split("=")

    def keep(split, row):
        value = split.table[name][row]
        words = values.split(",")
        return value in (words if isinstance(value, str) else [float(w) for w in words])

    fields = {"only": only, "k": (1, 3), "column": "angle", "ssim": 0}
    found = build(frames, data, **fields).run(embed_by_id(z)).metrics
    split = data.validation
    out = metrics_by_loops(data, split, [split], z, (1, 3), keep=keep)
    assert found["e/error_mean"].value == pytest.approx(np.mean(out["error"]))
    assert found["e/near_ties"].n == len(out["n"])
    assert "e/ssim@1" not in found


def test_equal_embeddings_are_tied_and_ordered_by_id(data):
    same = np.ones((83, 3), np.float32) / np.float32(3**0.5)
    fields = {"column": "phase", "window": 0.1, "ssim": 0, "k": (1, 5)}
    evaluator = build(frames, data, **fields)
    found = evaluator.run(embed_by_id(same)).metrics
    assert found["e/near_ties"].value == 1
    for example in evaluator.run(embed_by_id(same)).examples(20):
        near = [neighbor["id"] for neighbor in example["neighbors"]]
        assert near == sorted(near)
        assert len(near) == 10
        assert example["query"] not in near


def test_queries_in_view_respect_apart(data, z):
    fields = {"query_view": "moved", "column": "angle", "apart": "condition"}
    evaluator = build(frames, data, **fields)
    seen = []

    def embed(split, rows, view=None):
        seen.append(view)
        return embed_by_id(z)(split, rows, view)

    examples = evaluator.run(embed).examples(30)
    assert seen == [None, "moved"]
    table = data.validation.table
    condition = dict(zip(table["id"].tolist(), table["condition"], strict=True))
    for example in examples:
        own = condition[example["query"]]
        assert all(condition[near["id"]] != own for near in example["neighbors"])
    assert evaluator.run(lambda split, rows, view: None).metrics == {}


def test_examples_are_judged_by_label_or_column(data, z):
    table = data.validation.table
    of = {
        name: dict(zip(table["id"].tolist(), table[name].tolist(), strict=True))
        for name in ("label", "angle")
    }
    for fields in ({"labels": True, "column": "angle"}, {"column": "angle"}, {}):
        evaluator = build(frames, data, ssim=0, **fields)
        metrics, examples_of = evaluator.run(embed_by_id(z))
        chance = metrics.get("e/error", [0, 0, 0])[2]
        examples = examples_of(12)
        assert len(examples) == 12
        for example in examples:
            own = example["query"]
            for near in example["neighbors"]:
                id_, relevant = near["id"], near["relevant"]
                if "labels" in fields:
                    assert relevant == (of["label"][own] == of["label"][id_] >= 0)
                elif fields:
                    off = abs(of["angle"][own] - of["angle"][id_])
                    assert relevant == (off < chance / 2)
                else:
                    assert relevant is None
            assert example["right"] == bool(example["neighbors"][0]["relevant"])
        assert len({e["right"] for e in examples}) == (2 if fields else 1)


def test_phase_embedding_has_small_error(data):
    rng = np.random.default_rng(0)
    split = clips(rng, (30, 30))
    turn = 2 * np.pi * split.table["phase"]
    z = np.empty((60, 2), np.float32)
    z[split.table["id"]] = np.stack([np.cos(turn), np.sin(turn)], 1)
    one = Data(split, split, {})
    fields = {"column": "phase", "period": 1.0, "window": -1, "ssim": 0}
    found = build(frames, one, **fields).run(embed_by_id(z)).metrics
    assert found["e/error"].high < 0.05
    assert found["e/error"].chance == pytest.approx(0.25, abs=0.02)


def test_fewer_candidates_than_k_and_sampled_queries(data, z):
    rng = np.random.default_rng(0)
    few = clips(rng, (2, 1), label=np.array([0, 1, 0], np.int32))
    one = Data(few, few, {})
    found = (
        build(
            frames,
            one,
            prefix="e",
            seed=0,
            window=-1,
            k=(1, 10),
            labels=True,
            column="phase",
        )
        .run(embed_by_id(z))
        .metrics
    )
    assert found["e/ssim@10"].n == 3
    assert found["e/near_ties"].n == 3
    drawn = build(frames, data, max_queries=7, ssim=3)
    found = drawn.run(embed_by_id(z)).metrics
    assert (found["e/near_ties"].n, found["e/ssim@1"].n) == (7, 3)
    assert found["e/left_out"][:2] == (0, 7)


def test_queries_without_candidate_are_left_out(z):
    rng = np.random.default_rng(0)
    queries = clips(rng, (4, 5), condition=["here"] * 4 + ["there"] * 5)
    gallery = clips(rng, (6,), first_id=9, prefix="t", condition=["here"] * 6)
    both, fields = Data(gallery, queries, {}), {"apart": "condition", "ssim": 0}
    evaluator = build(frames, both, gallery_split="train", **fields)
    found = evaluator.run(embed_by_id(z)).metrics
    assert found["e/left_out"][:2] == (4, 9)
    assert found["e/near_ties"].n == 5


def test_intervals_leave_out_whole_clips():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 40)
    errors = np.repeat(rng.normal(10, 3, 5), 40) + rng.normal(0, 0.1, 200)
    metric = intervals.median_metric(errors, 20.0, groups, ERROR)
    alone = intervals.median_metric(errors, 20.0, np.arange(200), ERROR)
    assert metric.value == pytest.approx(np.median(errors))
    assert metric.high - metric.low > 2 * (alone.high - alone.low)
    clip = {"clip": np.array(["x"] * 30), "id": np.arange(30), "time": np.arange(30.0)}
    queries, gallery = frame_figures._clip_groups(clip, clip)
    np.testing.assert_array_equal(queries, np.arange(30) // 3)
    np.testing.assert_array_equal(gallery, queries)
    others = clip | {"clip": np.array(["x"] * 10 + ["y"] * 20)}
    _, gallery = frame_figures._clip_groups(clip, others)
    np.testing.assert_array_equal(gallery[:10], np.arange(10) // 3)
    assert (gallery[10:] == -1).all()


def test_ssim_of_random_candidates_is_measured_once(data, z, monkeypatch):
    calls = []

    def count_calls(a, b):
        calls.append(1)
        return similarity.mean_ssim(a, b)

    monkeypatch.setattr(frame_measures, "mean_ssim", count_calls)
    evaluator = build(frames, data, ssim=5)
    assert len(calls) == 50
    first = evaluator.run(embed_by_id(z)).metrics
    count = len(calls)
    assert count > 50
    again = evaluator.run(embed_by_id(z)).metrics
    assert again["e/ssim@10"] == first["e/ssim@10"]
    assert len(calls) == count


def test_block_sizes_change_nothing(data, z, monkeypatch):
    fields = {"column": "angle", "labels": True, "window": 0.1, "ssim": 9}
    whole = build(frames, data, **fields).run(embed_by_id(z)).metrics
    monkeypatch.setattr(temporal, "QUERY_BLOCK", 5)
    monkeypatch.setattr(temporal, "GALLERY_BLOCK", 7)
    parts = build(frames, data, **fields).run(embed_by_id(z)).metrics
    for tag, metric in whole.items():
        np.testing.assert_allclose(metric[:5], parts[tag][:5], rtol=1e-12, err_msg=tag)
        assert metric[5:] == parts[tag][5:]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"window": -0.5}, "got window=-0.5"),
        ({"period": 1.0}, "without a column"),
        ({"period": -1.0, "column": "phase"}, "period: got -1.0"),
        ({"ties": -0.1}, "ties: got -0.1"),
        ({"k": (0,)}, "k: got "),
        ({"ssim": -1}, "ssim: got -1"),
        ({"gallery_split": "test"}, "expected a choice of 'train', 'validation'"),
        ({"column": "angel"}, "without a column 'angel'; choices: angle, clip"),
        ({"column": "condition"}, "choices: id, label, frame, time, trial, angle"),
        ({"apart": "side"}, "without a column 'side'"),
        ({"only": "slow"}, "expected the name of a column and its values"),
        ({"only": "condition=slow,run"}, "condition 'run'; choices: fast, slow"),
        ({"only": "trial=x"}, "no frame has trial 'x'; choices: 0.0, 1.0, 2.0"),
        ({"only": "clip=t0"}, "which no frame of the chosen splits"),
        ({"window": -1, "only": "clip=c1"}, "window leaves out all"),
        ({"apart": "condition", "only": "condition=slow"}, "apart leaves out all"),
        (
            {"apart": "clip", "only": "clip=c1", "window": 9},
            "window leaves out all, and so does apart",
        ),
    ],
)  # fmt: skip
def test_wrong_field_is_named_with_its_choices(data, fields, message):
    with pytest.raises(ValueError, match=message):
        build(frames, data, **fields)


def test_unsuitable_data_is_named(data):
    rng = np.random.default_rng(0)
    none = clips(rng, (5, 5), label=np.full(10, -1, np.int32))
    with pytest.raises(ValueError, match="frames of the validation split have no lab"):
        build(frames, Data(none, none, {}), labels=True)
    same = clips(rng, (5, 5), label=np.zeros(10, np.int32))
    with pytest.raises(ValueError, match="have only one label; expected two or more"):
        build(frames, Data(same, same, {}), labels=True)
    own = clips(rng, (5, 5), label=np.repeat([0, 1], 5).astype(np.int32))
    with pytest.raises(ValueError, match="no query has a candidate of its label"):
        build(frames, Data(own, own, {}), labels=True, window=-1)
    build(frames, Data(own, own, {}), labels=True, window=0)
    tiny = clips(rng, (5,), side=2)
    with pytest.raises(ValueError, match="frames of 2 x 5 pixels"):
        build(frames, Data(tiny, tiny, {}))
    single = clips(rng, (1,))
    with pytest.raises(ValueError, match="none but the query itself"):
        build(frames, Data(single, single, {}))
    evaluator = build(frames, data)
    with pytest.raises(ValueError, match="not finite"):
        evaluator.run(lambda split, rows, view: np.full((len(rows), 2), np.nan))

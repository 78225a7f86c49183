import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluators import geometry, instance
from tests.evaluators.stand_in import (
    Data,
    Split,
    build,
    embed,
    fit_baseline,
    full_tags,
    split,
    unit,
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Data(split(rng, 50), split(rng, 40, first_id=50), {})


def no_views(split, rows, view=None):
    return None if view else embed(split, rows)


def test_instance_equals_loops(data):
    evaluator = build(instance, data, prefix="i", seed=0, split="train")
    found = evaluator.run(embed).metrics
    z, g = embed(data.train, np.arange(50), "view1"), data.train.z
    scores = z.astype(float) @ g.astype(float).T
    ranks = [1 + sum(line > line[i]) for i, line in enumerate(scores)]
    assert 1 < np.mean(ranks) < 5
    for k in (1, 10):
        metric = found[f"i/recall@{k}"]
        assert metric.value == np.mean([r <= k for r in ranks])
        assert metric.chance == pytest.approx(k / 50)
    assert found["i/mean_rank"].value == np.mean(ranks)
    assert found["i/mean_rank"].chance == 25.5
    assert found["i/nar"].value == pytest.approx((np.mean(ranks) - 1) / 50)
    assert set(found) == full_tags(evaluator)


def test_instance_finds_itself(data):
    evaluator = build(instance, data, prefix="i", seed=0, max_queries=12)
    found = evaluator.run(lambda split, rows, view: split.z[rows])
    assert found.metrics["i/recall@1"].value == 1
    assert found.metrics["i/recall@1"].n == 12
    mean_rank = found.metrics["i/mean_rank"]
    assert tuple(mean_rank) == (1, 12, 20.5, 1, 1, "error", "lower", False)
    for example in found.examples(5):
        assert example["right"]
        near = example["neighbors"]
        assert near[0]["id"] == example["query"]
        assert [n["relevant"] for n in near] == [True] + [False] * 9


def test_without_views_there_is_no_instance_figure(data):
    assert build(instance, data, prefix="i", seed=0).run(no_views).metrics == {}
    evaluator = build(geometry, data, prefix="g")
    found = evaluator.run(no_views).metrics
    assert full_tags(evaluator) - set(found) == {"g/alignment"}


def test_embedding_std_of_even_and_of_collapsed_directions():
    rng = np.random.default_rng(0)
    for d in (16, 256):
        z = unit(rng.standard_normal((512, d)))
        assert 0.95 < geometry.embedding_std(z) * math.sqrt(d) < 1.05
        expected = np.mean([z[:, c].astype(float).std() for c in range(d)])
        assert geometry.embedding_std(z) == pytest.approx(expected, rel=1e-5)
    assert geometry.embedding_std(np.tile(z[:1], (50, 1))) < 1e-6


def test_effective_rank():
    rng = np.random.default_rng(0)
    z = unit(rng.standard_normal((300, 32)))
    s = np.linalg.svd(z - z.mean(axis=0).astype(float), compute_uv=False)
    p = s / s.sum()
    assert geometry.effective_rank(z) == pytest.approx(
        np.exp(-(p * np.log(p)).sum()), 1e-4
    )
    # Plus and minus three axes, equally often: three equal singular values.
    corners = np.tile(np.eye(16)[:3], (20, 1)) * np.repeat([1, -1], 30)[:, None]
    assert geometry.effective_rank(corners.astype(np.float32)) == pytest.approx(3, 1e-3)
    assert geometry.effective_rank(np.tile(z[:1], (50, 1))) == 0


def test_alignment_and_uniformity():
    rng = np.random.default_rng(0)
    z, other = (unit(rng.standard_normal((40, 8))) for _ in range(2))
    expected = [sum((a - b) ** 2) for a, b in zip(z, other, strict=True)]
    np.testing.assert_allclose(geometry.alignment(z, other), expected, rtol=1e-5)
    pairs = [
        np.exp(-2 * sum((z[i].astype(float) - z[j]) ** 2))
        for i in range(40)
        for j in range(40)
        if i != j
    ]
    assert geometry.uniformity(z) == pytest.approx(np.log(np.mean(pairs)), rel=1e-5)
    assert geometry.uniformity(np.tile(z[:1], (9, 1))) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("d", [2, 8, 64])
def test_uniformity_chance_by_drawing(d):
    rng = np.random.default_rng(0)
    z, other = (unit(rng.standard_normal((20_000, d))) for _ in range(2))
    drawn = np.exp(-2 * np.square(z.astype(float) - other).sum(axis=1))
    error = drawn.std() / drawn.mean() / math.sqrt(len(drawn))
    assert abs(math.log(drawn.mean()) - geometry.uniformity_chance(d)) < 4 * error


def test_functions_can_be_traced_and_differentiated():
    z = unit(np.random.default_rng(0).standard_normal((12, 4)))
    for function in (
        geometry.embedding_std,
        geometry.effective_rank,
        geometry.uniformity,
    ):
        np.testing.assert_allclose(jax.jit(function)(z), function(z), rtol=1e-5)
    for function in (geometry.embedding_std, geometry.uniformity):
        assert jnp.isfinite(jax.grad(function)(jnp.asarray(z))).all()


def test_geometry_of_a_split(data):
    one = dataclasses.replace(data.validation, z=data.validation.z.copy())
    one.z[7] = one.z[3]
    evaluator = build(geometry, Data(one, one, {}), prefix="g", seed=0)
    found = evaluator.run(embed).metrics
    assert set(found) == full_tags(evaluator)
    assert found["g/duplicates"].value == 2 / 40
    std, ratio = found["g/embedding_std"], found["g/embedding_std_ratio"]
    assert ratio.value == pytest.approx(std.value * math.sqrt(8))
    assert (std.chance, ratio.chance) == (pytest.approx(8**-0.5), 1.0)
    # These are even directions themselves, of 40 rows in 8 channels.
    rank = found["g/effective_rank"]
    assert rank.value == pytest.approx(rank.chance, rel=0.05)
    for tag, metric in found.items():
        assert metric.low <= metric.value <= metric.high, tag
    random_distance = np.mean(
        [sum((a - b) ** 2) for a in one.z for b in embed(one, np.arange(40), True)]
    )
    assert found["g/alignment"].chance == pytest.approx(random_distance, rel=1e-4)
    assert evaluator.run(embed).examples(3) == []


def test_rank_and_uniformity_of_wide_embeddings():
    rng = np.random.default_rng(0)
    wide = Split(unit(rng.standard_normal((25, 90))), {"id": np.arange(25)})
    found = build(geometry, Data(wide, wide, {}), prefix="g", seed=0).run(embed).metrics
    for name in ("effective_rank", "uniformity"):
        expected = getattr(geometry, name)(wide.z)
        assert found[f"g/{name}"].value == pytest.approx(float(expected), rel=1e-4)


def test_jackknife_interval_holds_the_truth():
    inside = 0
    for seed in range(40):
        z = unit(np.random.default_rng(seed).standard_normal((100, 8)))
        metric = geometry._measured(geometry.uniformity, z, seed)
        inside += metric.low <= geometry.uniformity_chance(8) <= metric.high
    assert inside >= 34  # 38 expected


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        (instance, {"split": "all"}, "'train', 'validation'"),
        (instance, {"k": (1.5,)}, "an integer"),
        (instance, {"max_queries": 0}, ">= 1"),
        (geometry, {"split": "test"}, "'train', 'validation'"),
        (geometry, {"max_records": 1}, ">= 2"),
    ],
)
def test_faults_name_the_choices(data, kind, fields, message):
    with pytest.raises(ValueError, match=message):
        build(kind, data, prefix="e", seed=0, **fields)
    with pytest.raises(ValueError, match=message):
        kind.Evaluator(**fields)


def pixel_embed(images, size, **fields):
    return fit_baseline("pixels", images=images, size=size, **fields)


def pictures(n=7, side=10):
    images = np.random.default_rng(0).integers(0, 256, (n, side, side, 3), np.uint8)
    return Split(np.zeros((n, 1)), {}, images)


def as_they_are(split, rows, view=None):
    assert view is None
    return split.images[rows]


@pytest.mark.parametrize("size", [1, 4, 5, 10])
def test_pixels_are_averages_of_equal_parts(size):
    split = pictures()
    z = pixel_embed(as_they_are, size)(split, np.array([2, 5]))
    fine = np.kron(split.images[[2, 5]], np.ones((1, size, size, 1)))  # parts of 10 px
    parts = fine.reshape(2, size, 10, size, 10, 3).mean(axis=(2, 4))
    expected = unit((1 - parts / 255).reshape(2, -1))
    np.testing.assert_allclose(z, expected, atol=1e-6)


def test_pixels_of_views_and_of_blank_paper():
    split = pictures()
    rows = np.arange(7)

    def flipped(split, rows, view=None):
        return split.images[rows, ::-1] / 255.0 if view else split.images[rows]

    z = pixel_embed(flipped, 5)(split, rows, "view1")
    other = dataclasses.replace(split, images=split.images[:, ::-1])
    plain = pixel_embed(as_they_are, 5)
    np.testing.assert_allclose(z, plain(other, rows), atol=1e-6)
    blank = dataclasses.replace(split, images=np.full_like(split.images, 255))
    assert not plain(blank, rows).any()
    dark = dataclasses.replace(split, images=np.zeros_like(split.images))
    assert not pixel_embed(as_they_are, 5, background=0.0)(dark, rows).any()

"""Geometry of embeddings against closed forms and loops."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from evaluators import geometry
from evaluators.common.evaluator import LackingData
from tests.evaluators.small_data import (
    Data,
    Split,
    build,
    embed,
    full_tags,
    split,
    unit,
)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    return Data(split(rng, 50), split(rng, 40, first_id=50), {})


def test_embedding_std_of_random_and_of_collapsed_directions():
    rng = np.random.default_rng(0)
    for d in (16, 256):
        z = unit(rng.standard_normal((512, d)))
        assert 0.95 < geometry.embedding_std(z) * math.sqrt(d) < 1.05
        expected = np.mean([z[:, c].astype(float).std() for c in range(d)])
        assert geometry.embedding_std(z) == pytest.approx(expected, rel=1e-5)
    assert geometry.embedding_std(np.tile(z[:1], (50, 1))) < 1e-6


def test_effective_rank_matches_numpy():
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


def test_alignment_and_uniformity_match_loops():
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
def test_uniformity_chance_matches_random_directions(d):
    rng = np.random.default_rng(0)
    z, other = (unit(rng.standard_normal((20_000, d))) for _ in range(2))
    drawn = np.exp(-2 * np.square(z.astype(float) - other).sum(axis=1))
    error = drawn.std() / drawn.mean() / math.sqrt(len(drawn))
    assert abs(math.log(drawn.mean()) - geometry.uniformity_chance(d)) < 4 * error


def test_functions_trace_and_differentiate():
    z = unit(np.random.default_rng(0).standard_normal((12, 4)))
    for function in (
        geometry.embedding_std,
        geometry.effective_rank,
        geometry.uniformity,
    ):
        np.testing.assert_allclose(jax.jit(function)(z), function(z), rtol=1e-5)
    for function in (geometry.embedding_std, geometry.uniformity):
        assert jnp.isfinite(jax.grad(function)(jnp.asarray(z))).all()


def test_metrics_of_split_have_types_chance_and_intervals(data):
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


def test_rank_and_uniformity_of_embeddings_wider_than_records():
    rng = np.random.default_rng(0)
    wide = Split(unit(rng.standard_normal((25, 90))), {"id": np.arange(25)})
    found = build(geometry, Data(wide, wide, {}), prefix="g", seed=0).run(embed).metrics
    for name in ("effective_rank", "uniformity"):
        expected = getattr(geometry, name)(wide.z)
        assert found[f"g/{name}"].value == pytest.approx(float(expected), rel=1e-4)


def test_embedding_without_views_has_no_alignment(data):
    evaluator = build(geometry, data)
    metrics = evaluator.run(
        lambda split, rows, view=None: None if view else embed(split, rows)
    ).metrics
    assert full_tags(evaluator) - set(metrics) == {"e/alignment"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"split": "test"}, "expected a choice of 'train', 'validation'"),
        ({"max_records": 1}, "from 2 to"),
    ],
)
def test_wrong_field_is_named_with_its_range(data, fields, message):
    with pytest.raises(ValueError, match=message):
        build(geometry, data, **fields)
    with pytest.raises(ValueError, match=message):
        geometry.Evaluator(**fields)


def test_few_held_out_records_are_measured_with_all_others():
    rng = np.random.default_rng(0)
    data = Data(split(rng, 12), split(rng, 3, first_id=12), {})
    evaluator = build(geometry, data, split="auto", max_records=14)
    assert evaluator.choices() == ["all records count, since few are held out."]
    found = evaluator.run(embed).metrics
    both = np.concatenate([data.train.z, data.validation.z])
    every = build(geometry, data, split="auto").run(embed).metrics["e/embedding_std"]
    assert every.value == pytest.approx(both.std(0).mean(), rel=1e-5)
    assert every.n == 15
    assert found["e/embedding_std"].n == 14
    large = Data(split(rng, 12), split(rng, 100, first_id=12), {})
    evaluator = build(geometry, large, split="auto")
    assert evaluator.choices() == []
    plain = build(geometry, large)
    assert str(evaluator.run(embed).metrics) == str(plain.run(embed).metrics)


def test_one_record_has_no_geometry():
    rng = np.random.default_rng(0)
    data = Data(split(rng, 12), split(rng, 1, first_id=12), {})
    with pytest.raises(LackingData, match="got 1 records in validation; expected 2"):
        build(geometry, data)

"""The loss of records held out against one by hand, and against a plain loop."""

import jax
import numpy as np
import pytest
from scipy import stats

from input_pipeline import dataset
from objectives import info_nce
from objectives.common.objective import Context
from reporting import loop_tags
from reporting.alarms.common import check as alarm_check
from reporting.figures import training as training_figures
from reporting.history import History
from tests import tiny
from tests.reporting.histories import event
from train_lib import (
    generalization_gap,
    optimizers,
    parallel,
    train_step,
    validation,
)
from train_lib.config import load_recipe
from train_lib.errors import InputError
from train_lib.experiment import Experiment

CHANCE = 2.0


def objective(axis_name=None):
    context = Context(tiny.TinyNet(axis_name=axis_name), axis_name=axis_name)
    return info_nce.Objective(context=context)


TX = optimizers.make_optimizer(name="sgd", schedule=lambda s: 0.5)


def split(label, first_id=0):
    """Records without content; `id` is what a batch of them holds."""
    n = len(label)
    table = {
        "id": np.arange(first_id, first_id + n),
        "label": np.asarray(label, np.int32),
        "codes": np.full((n, 1), -1, np.int32),
        "code_weights": np.zeros((n, 1), np.float32),
    }
    return dataset.Split([{}] * n, table, [], [])


def data(train, validation, grouped_by="label"):
    sides = split(train), split(validation, first_id=1000)
    return dataset.Data(*sides, facts={}, grouped_by=grouped_by)


def test_as_many_records_are_compared_in_whole_groups():
    train, held = generalization_gap.alike(
        data(np.arange(40) // 4, np.zeros(13)), seed=0
    )
    assert (len(train), len(held)) == (13, 13)
    _, counts = np.unique(train.table["label"], return_counts=True)
    assert sorted(counts) == [1, 4, 4, 4]
    again, _ = generalization_gap.alike(data(np.arange(40) // 4, np.zeros(13)), seed=0)
    other, _ = generalization_gap.alike(data(np.arange(40) // 4, np.zeros(13)), seed=1)
    assert train.table["id"].tolist() == again.table["id"].tolist()
    assert train.table["id"].tolist() != other.table["id"].tolist()


@pytest.mark.parametrize("grouped_by", ["label", ""])
def test_records_without_group_come_one_by_one(grouped_by):
    drawn = set()
    for seed in range(150):
        train, _ = generalization_gap.alike(data([-1] * 6, [-1, -1], grouped_by), seed)
        drawn.add(tuple(train.table["id"].tolist()))
    assert len(drawn) == 15  # pairs of six


def test_more_held_back_than_trained_on():
    train, held = generalization_gap.alike(data([0, 0, 1], np.zeros(9)), seed=0)
    assert (len(train), len(held)) == (3, 9)


def test_batch_is_as_in_training_or_as_large_as_can_be():
    assert generalization_gap.batch_size(1000, 128, 8) == 128
    assert generalization_gap.batch_size(100, 128, 8) == 96
    assert generalization_gap.batch_size(7, 128, 8) == 0


def measured(losses, batches=4, size=2, **beside):
    """Metrics where the loss of a record is looked up by its id."""
    sides = generalization_gap.alike(data(np.full(20, -1), np.full(8, -1)), seed=0)

    def measure(state, batch):
        del state
        found = {"train/loss": jax.numpy.asarray(losses)[batch["id"]].mean()}
        return found | {name: f(batch["id"]) for name, f in beside.items()}

    def read(split, size):
        rows = iter(range(0, 1000, size))
        while True:
            start = next(rows)
            yield {"id": split.table["id"][start : start + size].astype(np.int32)}

    mesh = parallel.make_mesh(jax.devices()[:1])
    made = generalization_gap.make(
        measure, mesh, sides, read, lambda n: CHANCE, size=size, batches=batches
    )
    return sides, made(None)


def test_both_sides_and_their_gap_with_intervals_of_batches():
    losses = np.random.default_rng(0).normal(1, 0.1, 1010).astype(np.float32)
    losses[1000:] += 0.5
    sides, found = measured(losses)
    assert list(found) == list(loop_tags.LOSS_SIDES)
    each = [
        losses[side.table["id"][:8]].astype(float).reshape(4, 2).mean(1)
        for side in sides
    ]
    values = each[0], each[1], each[1] / CHANCE - each[0] / CHANCE
    for metric, of_batch, chance in zip(
        found.values(), values, (CHANCE, CHANCE, 0.0), strict=True
    ):
        assert metric.value == pytest.approx(of_batch.mean(), rel=1e-5)
        assert (metric.n, metric.chance) == (8, chance)
        sem = stats.sem(of_batch)
        low, high = stats.t.interval(0.95, 3, loc=of_batch.mean(), scale=sem)
        assert (metric.low, metric.high) == pytest.approx((low, high), rel=1e-4)
    gap = found["eval/loss/gap"]
    assert gap.low > 0
    assert gap.value == pytest.approx(0.25, abs=0.05)


def test_one_batch_has_no_interval():
    _, found = measured(np.ones(1010, np.float32), batches=1)
    assert np.isnan([found["eval/loss/gap"].low, found["eval/loss/gap"].high]).all()
    assert found["eval/loss/gap"].value == 0


def test_no_more_batches_are_read_than_there_are():
    _, found = measured(np.ones(1010, np.float32), batches=99)
    assert found["eval/loss/train"].n == 8


def test_each_side_is_held_against_its_own_chance():
    # Lists of records held out have half the chance level, and both sides are at it.
    losses = np.where(np.arange(1010) < 1000, 1.0, 0.5).astype(np.float32)
    own = {"train/loss_chance": lambda ids: jax.numpy.where(ids[0] < 1000, 1.0, 0.5)}
    _, found = measured(losses, **own)
    assert found["eval/loss/held_out"].chance == 0.5
    assert found["eval/loss/gap"].value == 0


def test_side_without_positives_has_no_loss():
    share = {
        "diag/queries_with_positive": lambda ids: jax.numpy.where(ids[0] < 1000, 1.0, 0)
    }
    _, found = measured(np.zeros(1010, np.float32), **share)
    assert found["eval/loss/train"].value == 0
    assert np.isnan(found["eval/loss/held_out"].value)
    assert np.isnan(found["eval/loss/gap"].value)


def test_loss_is_that_of_step_and_changes_nothing():
    batch = tiny.batch(32)
    state = train_step.init_state(objective(), TX, 0, batch)
    before = jax.tree.map(np.array, state)
    measure = train_step.make_measure(objective(), tiny.keep_views, None)
    found = jax.jit(measure)(state, batch)
    net_key = jax.random.split(jax.random.fold_in(state.rng, train_step.MEASURE_KEY))[1]
    by_hand, _ = objective().loss(state.params, state.extra, batch, net_key, 0)
    np.testing.assert_allclose(found["train/loss"], by_hand, rtol=1e-5)
    sharded = train_step.make_measure(
        objective(parallel.AXIS), tiny.keep_views, parallel.AXIS
    )
    mesh = parallel.make_mesh(jax.devices()[:2])
    placed = parallel.put_state(before, mesh)
    compiled = parallel.parallel_measure(sharded, mesh)
    spread = compiled(placed, parallel.put_batch(batch, mesh))
    np.testing.assert_allclose(spread["train/loss"], by_hand, rtol=1e-4)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(placed), before)


def test_memorized_training_records_raise_gap_alarm():
    # Two views of sixteen records, and sixteen records that are all the same.
    known = tiny.batch(16)
    same = known | {v: np.repeat(known[v][:1], 16, 0) for v in ("view1", "view2")}
    state = train_step.init_state(objective(), TX, 0, known)
    step = jax.jit(train_step.make_train_step(objective(), TX, tiny.keep_views, None))
    for _ in range(40):
        state, _ = step(state, known)
    measure = train_step.make_measure(objective(), tiny.keep_views, None)
    found = generalization_gap.make(
        measure,
        parallel.make_mesh(jax.devices()[:1]),
        generalization_gap.alike(data(np.arange(16), np.arange(16)), seed=0),
        lambda split, _: iter([known if split.table["id"][0] < 1000 else same]),
        objective().chance,
        size=16,
        batches=1,
    )(state)
    train, held = (found[f"eval/loss/{side}"] for side in ("train", "held_out"))
    assert train.value < 0.9 * train.chance
    assert held.value > 0.95 * held.chance
    evaluated = {tag: metric._asdict() for tag, metric in found.items()}
    history = [event("eval", 40, evaluated, final=True)]
    (alarm,) = alarm_check.check(history)
    assert (alarm["name"], alarm["tag"]) == ("generalization_gap", "eval/loss/gap")
    assert "of the loss's chance level better than as many held-out" in alarm["seen"]
    (figure,) = training_figures.training(History(history))
    assert [axis.get_title() for axis in figure.axes] == ["loss, same batches"]
    labels = [line.get_label().split()[0] for line in figure.axes[0].get_lines()]
    assert labels == ["training", "held-out", "chance"]


def test_too_few_records_held_back_are_not_measured(caplog):
    config = load_recipe("configs/moco_effnet.py:smoke", {}).config
    mesh = parallel.make_mesh()
    experiment = Experiment.from_config(config)
    made = generalization_gap.held_out_loss(
        experiment, data([0] * 9, [1] * 7), None, mesh
    )
    assert made(None) == {}
    assert "7 records are held out, too few for a batch of 8 devices" in caplog.text
    with config.unlocked():
        config.train.monitor = "eval/loss/held_out"
    with pytest.raises(InputError, match=r"train\.monitor: 7 records are held out"):
        generalization_gap.held_out_loss(experiment, data([0] * 9, [1] * 7), None, mesh)


def test_no_set_of_evaluators_may_have_its_name():
    config = load_recipe("configs/moco_effnet.py:smoke", {}).config
    assert not list(validation._evaluate_faults(config, 1))
    with config.unlocked():
        config.evaluate.sets.loss = config.evaluate.sets.instance
    (fault,) = validation._evaluate_faults(config, 1)
    assert fault.startswith("config.evaluate.sets.loss: the name is taken")

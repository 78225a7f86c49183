"""Batches: shuffled anew each epoch, sharded, resumed exactly, with fair partners."""

import pickle

import numpy as np
import pytest

from input_pipeline import dataset, loader, samplers
from input_pipeline.records import columns


class Images:
    """Records whose pixels say which they are."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, row):
        return {"image": np.full((4, 4, 3), range(self.count)[row] % 251, np.uint8)}


def make_split(count=50, codes=None, rarity=1.0, offset=0):
    if codes is None:
        codes = [[k % 3, 3 + k % 7] for k in range(count)]
    codes = columns.pad_codes(codes)
    counts = columns.code_counts(codes, max(codes.max() + 1, 1))
    table = {
        "id": offset + 2 * np.arange(count),
        "label": (np.arange(count) % 5).astype(np.int32),
        "codes": codes,
        "code_weights": columns.code_weights(codes, counts, rarity),
        "name": [f"record {offset + k}" for k in range(count)],
    }
    names = [f"code {k}" for k in range(counts.size)]
    return dataset.Split(Images(count), table, [f"label {k}" for k in range(5)], names)


def batches(split, steps, **fields):
    fields = {"batch_size": 8, "seed": 3, "threads": 1, "prefetch": 2} | fields
    iterator = loader.train_batches(split, **fields)
    return [next(iterator) for _ in range(steps)]


def assert_same(a, b):
    for first, second in zip(a, b, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_batch_holds_records_that_it_names():
    split = make_split()
    (batch,) = batches(split, 1)
    rows = batch["id"] // 2
    assert batch["id"].dtype == np.int32
    assert batch["image"].shape == (8, 4, 4, 3)
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], rows)
    for name in ("label", "codes", "code_weights"):
        np.testing.assert_array_equal(batch[name], split.table[name][rows])


def test_epoch_visits_no_record_twice_and_next_has_another_order():
    epochs = [
        np.concatenate([batch["id"] for batch in part])
        for part in np.array_split(np.array(batches(make_split(), 12), object), 2)
    ]
    for ids in epochs:
        assert len(np.unique(ids)) == len(ids) == 48
    assert (epochs[0] != epochs[1]).any()
    # Which records the remainder drops changes too.
    assert set(epochs[0]) != set(epochs[1])


def test_seed_decides_order():
    first, again, other = (batches(make_split(), 4, seed=s) for s in (3, 3, 4))
    assert_same(first, again)
    assert (first[0]["id"] != other[0]["id"]).any()


@pytest.mark.parametrize("positives", ["instance", "codes"])
@pytest.mark.parametrize("step", [0, 1, 5, 6, 13])
def test_resuming_at_any_step_gives_same_batches(positives, step):
    fields = {"batch_size": 8, "seed": 3, "positives": positives}
    straight = loader.train_batches(make_split(), threads=4, prefetch=3, **fields)
    for _ in range(step):
        next(straight)
    state = pickle.loads(pickle.dumps(straight.get_state()))
    expected = [next(straight) for _ in range(9)]
    resumed = loader.train_batches(make_split(), threads=1, prefetch=1, **fields)
    next(resumed)
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(9)], expected)


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_batch_that_one_would_have(processes):
    whole = batches(make_split(), 9, positives="codes")
    shares = [
        batches(
            make_split(),
            9,
            positives="codes",
            process_index=p,
            process_count=processes,
        )
        for p in range(processes)
    ]
    for step, batch in enumerate(whole):
        for name in batch:
            woven = np.stack([share[step][name] for share in shares], 1)
            np.testing.assert_array_equal(
                woven.reshape(batch[name].shape), batch[name], err_msg=name
            )


def test_records_of_label_are_consecutive():
    split = make_split(50)  # ten records of each of five labels
    epochs = [
        np.concatenate([batch["id"] for batch in part])
        for part in np.array_split(
            np.array(batches(split, 12, samples_per_class=4), object), 2
        )
    ]
    assert (epochs[0] != epochs[1]).any()
    for ids in epochs:
        assert len(np.unique(ids)) == 48
        labels = np.append(ids // 2 % 5, -1)
        runs = np.diff(np.flatnonzero(np.diff(labels, prepend=-2) != 0))
        # Hands of 4, 4 and 2; two of one label may meet, and the end is dropped.
        assert 48 / len(runs) > 2.8
    assert_same(
        batches(split, 12, samples_per_class=4), batches(split, 12, samples_per_class=4)
    )


def test_m_per_class_order_holds_every_record_once():
    labels = np.array([0, 0, 0, -1, 1, 1, -1, 2, 0, 0])
    order = samplers.MPerClassSampler(labels, 2, seed=1, length=10)
    seen = set()
    for epoch in range(40):
        rows = order.rows(epoch)
        assert sorted(rows) == list(range(10))
        place = np.argsort(rows)
        # The two of label 1 are one hand; what has no label is a hand by itself.
        assert abs(place[4] - place[5]) == 1
        seen.add(abs(place[3] - place[6]))
        assert [order(10 * epoch + i, None) for i in range(10)] == rows.tolist()
    assert len(seen) > 3


@pytest.mark.parametrize("processes", [1, 2])
def test_resuming_with_samples_per_class_gives_same_batches(processes):
    fields = {
        "batch_size": 8,
        "seed": 3,
        "samples_per_class": 3,
        "process_count": processes,
    }
    straight = loader.train_batches(make_split(), threads=4, prefetch=3, **fields)
    for _ in range(5):
        next(straight)
    state = straight.get_state()
    expected = [next(straight) for _ in range(9)]
    resumed = loader.train_batches(make_split(), threads=1, prefetch=1, **fields)
    resumed.set_state(state)
    assert_same([next(resumed) for _ in range(9)], expected)


def expected_partners(codes, row, rarity):
    """Probability of every partner of `row`, by the definition and in float64."""
    count = len(codes)
    carriers = {}
    for k, own in enumerate(codes):
        for code in own:
            carriers.setdefault(code, []).append(k)
    shared = [c for c in codes[row] if len(carriers[c]) > 1]
    p = np.zeros(count)
    total = sum(len(carriers[c]) ** -rarity for c in shared)
    for code in shared:
        others = [k for k in carriers[code] if k != row]
        p[others] += len(carriers[code]) ** -rarity / total / len(others)
    if not shared:
        p[row] = 1
    return p


@pytest.mark.parametrize("rarity", [0.0, 1.0, 2.0])
def test_partners_follow_their_probabilities(rarity):
    # Code 0 is common, 1 rare, 2 carried by one record only; record 7 has none.
    codes = [[0, 1], [0, 1], [0], [0, 2], [0, 1, 3], [3], [0], [], [4]]
    split = make_split(len(codes), codes, rarity)
    partners = samplers.PositivePairSampler(split, seed=5)
    rows, draws = np.arange(len(codes)), 6000
    drawn = np.stack([partners.draw(rows, epoch) for epoch in range(draws)])
    for row in rows:
        seen = np.bincount(drawn[:, row], minlength=len(codes)) / draws
        p = expected_partners(codes, row, rarity)
        bound = 5 * np.sqrt(p * (1 - p) / draws)
        assert (np.abs(seen - p) <= bound).all(), (row, seen, p)
    np.testing.assert_array_equal(partners.alone, [0, 0, 0, 0, 0, 0, 0, 1, 1])


def test_partners_depend_on_seed_epoch_and_record_alone():
    split = make_split()
    partners = samplers.PositivePairSampler(split, seed=5)
    rows = np.arange(50)
    together = partners.draw(rows, 2)
    alone = [int(partners.draw(np.array([row]), 2)[0]) for row in rows[::-1]]
    np.testing.assert_array_equal(together, alone[::-1])
    assert (together != partners.draw(rows, 3)).any()
    assert (together != samplers.PositivePairSampler(split, seed=6).draw(rows, 2)).any()


def test_batch_carries_partners_that_were_drawn():
    split = make_split()
    partners = samplers.PositivePairSampler(split, seed=3)
    for step, batch in enumerate(batches(split, 14, positives="codes")):
        rows = partners.draw(batch["id"] // 2, step // 6)
        np.testing.assert_array_equal(batch["partner_image"][:, 0, 0, 0], rows)
        shared = batch["codes"][:, :, None] == split.table["codes"][rows][:, None]
        assert shared.any((1, 2)).all()
        assert (rows != batch["id"] // 2).all()


def test_records_without_codes_are_their_own_partners():
    split = make_split(9, [[]] * 9)
    (batch,) = batches(split, 1, positives="codes")
    np.testing.assert_array_equal(batch["partner_image"], batch["image"])


@pytest.mark.parametrize(("count", "size"), [(10, 4), (8, 4), (3, 4), (1, 1)])
def test_reading_in_order_pads_last_batch(count, size):
    split = make_split(count)
    read = list(loader.read_batches(split, batch_size=size, threads=2))
    assert len(read) == -(-count // size)
    valid = np.concatenate([v for _, v in read])
    ids = np.concatenate([batch["id"] for batch, _ in read])
    np.testing.assert_array_equal(ids[valid], split.table["id"])
    assert valid.sum() == count
    assert all(batch["image"].shape == (size, 4, 4, 3) for batch, _ in read)


def test_reading_nothing_yields_nothing():
    assert not list(loader.read_batches(make_split(5).take([]), batch_size=2))


def test_code_weights_are_powers_of_counts():
    codes = columns.pad_codes([[0, 1], [0], [0, 2], []])
    counts = columns.code_counts(codes, 4)
    np.testing.assert_array_equal(counts, [3, 1, 1, 0])
    weights = columns.code_weights(codes, counts, 0.5)
    expected = [[3**-0.5, 1], [3**-0.5, 0], [3**-0.5, 1], [0, 0]]
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32


def test_taking_and_joining_keep_rows_together():
    codes = [[k % 2, 2] for k in range(6)]
    a, b = make_split(6, codes), make_split(5, codes[:5], offset=100)
    joined = dataset.concatenate(a.take([4, 1]), b.take(np.arange(5) > 2))
    np.testing.assert_array_equal(joined.table["id"], [8, 2, 106, 108])
    assert joined.table["name"] == ["record 4", "record 1", "record 103", "record 104"]
    order = [3, 0, 2, 1, 0]
    np.testing.assert_array_equal(
        joined.read(order)["image"][:, 0, 0, 0], [4, 4, 3, 1, 4]
    )
    assert joined[2]["id"] == 106
    assert joined[-1]["image"][0, 0, 0] == 4
    twice = joined.take([3, 0]).take([1])
    np.testing.assert_array_equal(twice.read([0])["image"][0, 0, 0, 0], 4)
    same = pickle.loads(pickle.dumps(joined))
    np.testing.assert_array_equal(
        same.read(order)["image"], joined.read(order)["image"]
    )


def test_splits_of_other_names_are_not_joined():
    with pytest.raises(ValueError, match="named differently"):
        dataset.concatenate(make_split(4, [[0]] * 4), make_split(4, [[1]] * 4))


def test_columns_must_match_records():
    split = make_split(4)
    with pytest.raises(ValueError, match="one row a record"):
        dataset.Split(Images(5), split.table, [], [])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch_size": 51}, "51 for 50 records"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 8, "process_count": 3}, "3 processes"),
        ({"process_index": 2, "process_count": 2}, "process_index=2"),
        ({"positives": "labels"}, "'instance' or 'codes'"),
    ],
)
def test_impossible_batches_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        batches(make_split(), 1, **fields)


def test_ids_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="ids"):
        batches(make_split(offset=2**31), 1)

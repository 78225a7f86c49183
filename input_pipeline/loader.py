"""Batches from splits through Grain: shuffled and sharded, or in order."""

from collections.abc import Iterator

import grain
import numpy as np

from input_pipeline import dataset

_IDS = np.iinfo(np.int32)


def steps_per_epoch(split: dataset.Split, batch_size: int) -> int:
    """Returns the number of whole global batches in one pass over `split`."""
    return len(split) // batch_size


def train_batches(
    split: dataset.Split,
    *,
    batch_size: int,
    seed: int,
    positives: str = "instance",
    samples_per_class: int = 1,
    process_index: int = 0,
    process_count: int = 1,
    threads: int = 2,
    prefetch: int = 4,
) -> grain.DatasetIterator:
    """Returns endless batches, reshuffled every epoch.

    A batch never crosses an epoch, so that no record is in it twice; what is left of
    an epoch after the last whole batch is dropped. The global batch of a step does not
    depend on the number of processes: process p holds its rows p, p + P, p + 2P, ...

    Args:
      split: the records.
      batch_size: records of a global batch; each process yields its share of them.
      seed: decides order and partners; same seed, same batches.
      positives: "instance", or "codes": adds the fields of another record that shares a
        code (see `PositivePairSampler`), as "partner_image" and so on.
      samples_per_class: K, records of a label that stand side by side, so that a batch
        has about batch_size / K labels with K records each; 1 draws each by itself.
      process_index: of this process.
      process_count: number of processes.
      threads: threads that read ahead.
      prefetch: batches read ahead.

    Returns:
      An iterator with `get_state()` and `set_state(state)`, which yields dicts of
      numpy arrays [b, ...] with b = batch_size / process_count: the split's fields,
      such as "image" uint8 [b, S, S, 3], "id" int32, "label" int32, "codes" int32
      [b, C], "code_weights" float32 [b, C], and where asked for the partner's fields
      with its "partner_codes" and "partner_code_weights". After
      `set_state` the batches that follow equal those that followed `get_state`.

    Raises:
      ValueError: if the batch cannot be filled or divided.
    """
    _check(
        split, batch_size, positives, samples_per_class, process_index, process_count
    )
    steps = steps_per_epoch(split, batch_size)
    reader = _Reader(split, seed, steps, positives)
    if samples_per_class == 1:
        rows = grain.MapDataset.range(len(split)).shuffle(seed=seed % 2**32)
        rows = rows.slice(slice(0, steps * batch_size)).repeat()
    else:
        order = MPerClassSampler(
            split.table["label"], samples_per_class, seed, steps * batch_size
        )
        rows = grain.MapDataset.range(steps * batch_size).repeat()
        rows = rows.map_with_index(order)
    return iter(
        rows.slice(slice(process_index, None, process_count))
        .batch(batch_size // process_count, drop_remainder=True)
        .map_with_index(reader)
        .to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        )
    )


def read_batches(
    split: dataset.Split, *, batch_size: int, threads: int = 2
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Yields (batch, valid) over `split` once, in order.

    Args:
      split: the records.
      batch_size: rows of every batch; the last one repeats its last record.
      threads: threads that read ahead.

    Yields:
      The batch as in `train_batches`, and `valid` bool [batch_size], false where the
      row is padding.
    """
    if batch_size < 1:
        raise ValueError(f"got batch_size={batch_size}; expected 1 or more")
    if not len(split):
        return
    batches = (
        grain.MapDataset.range(-(-len(split) // batch_size))
        .map(_InOrder(split, batch_size))
        .to_iter_dataset(
            grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        )
    )
    yield from batches


class PositivePairSampler:
    """Draws for each record another one that shares a code with it.

    The code is drawn among the record's codes with probability proportional to its
    weight n_c^-rarity, the partner uniformly among the other records that carry it.
    Codes that no other record carries are left out; a record without any other code
    is its own partner. The draw is a function of (seed, epoch, row).

    Args:
      split: the records; weights are its "code_weights".
      seed: of the draws.
    """

    def __init__(self, split: dataset.Split, seed: int):
        codes = np.asarray(split.table["codes"])  # [n, C]
        rows, slots = np.nonzero(codes >= 0)
        carried = codes[rows, slots]
        order = np.argsort(carried, kind="stable")
        counts = np.bincount(carried, minlength=1)
        self._codes, self._seed = codes, seed
        self._carriers = rows[order]  # rows that carry code 0, then code 1, ...
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._counts = counts
        # Position of each record among the carriers of each of its codes.
        self._place = np.zeros(codes.shape, np.int64)
        within = np.arange(len(order)) - self._starts[carried[order]]
        self._place[rows[order], slots[order]] = within
        shared = (codes >= 0) & (counts[codes] > 1)
        weights = np.where(shared, split.table["code_weights"], 0.0).astype(np.float64)
        total = weights.sum(1, keepdims=True)
        self.alone = total[:, 0] <= 0  # bool [n]: no partner but itself
        share = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
        self._cumulative = np.cumsum(share, 1)
        self._last = codes.shape[1] - 1 - np.argmax(weights[:, ::-1] > 0, axis=1)

    def draw(self, rows: np.ndarray, epoch: int) -> np.ndarray:
        """Returns the partner of each of `rows`, int64 [m], for one epoch."""
        partners = np.array(rows, np.int64)
        social = ~self.alone[partners]
        rows = partners[social]
        pick, member = _uniform(self._seed, epoch, rows)
        slot = (pick[:, None] >= self._cumulative[rows]).sum(1)
        slot = np.minimum(slot, self._last[rows])  # rounding may leave the sum below 1
        code = self._codes[rows, slot]
        others = self._counts[code] - 1
        index = np.minimum((member * others).astype(np.int64), others - 1)
        index += index >= self._place[rows, slot]  # skip the record itself
        partners[social] = self._carriers[self._starts[code] + index]
        return partners


class MPerClassSampler:
    """An order of records in which those of a label stand in runs of K.

    Each epoch deals every label's records into hands of K, the last one smaller, and
    shuffles the hands: all records come once, and a batch of consecutive ones has a
    few labels with several records each. Records without a label stand alone. The
    order is a function of (seed, epoch).

    Args:
      labels: int [n]; negative for none.
      samples_per_class: K, 2 or more.
      seed: of the order.
      length: places of an epoch, n or fewer; what is left is dropped.
    """

    def __init__(
        self, labels: np.ndarray, samples_per_class: int, seed: int, length: int
    ):
        labels = np.asarray(labels, np.int64)
        alone = labels < 0
        top = labels.max(initial=-1) + 1
        self._labels = np.where(alone, top + np.cumsum(alone), labels)
        self._per_class, self._seed, self._length = samples_per_class, seed, length
        self._epoch: tuple[int, np.ndarray] | None = None

    def __call__(self, place: int, _) -> int:
        """Returns the record of a place, counted over all epochs."""
        epoch, within = divmod(place, self._length)
        known = self._epoch  # read once: another thread may replace it
        if known is None or known[0] != epoch:
            known = self._epoch = epoch, self.rows(epoch)
        return int(known[1][within])

    def rows(self, epoch: int) -> np.ndarray:
        """Returns the order of one epoch, int64 [n]."""
        rng = np.random.default_rng([self._seed % 2**32, epoch])
        rows = rng.permutation(len(self._labels))
        rows = rows[np.argsort(self._labels[rows], kind="stable")]
        labels = self._labels[rows]
        first = np.searchsorted(labels, labels)
        hand = (np.arange(len(rows)) - first) // self._per_class
        changes = (np.diff(labels, prepend=-1) != 0) | (np.diff(hand, prepend=-1) != 0)
        number = np.cumsum(changes) - 1
        turn = rng.permutation(number[-1] + 1)[number]
        return rows[np.argsort(turn, kind="stable")]


class _Reader:
    """Step and rows -> batch."""

    def __init__(self, split, seed: int, steps: int, positives: str):
        self._split, self._steps = split, steps
        self._partners = (
            PositivePairSampler(split, seed) if positives == "codes" else None
        )

    def __call__(self, step: int, rows: np.ndarray) -> dict[str, np.ndarray]:
        rows = np.asarray(rows)
        batch = read(self._split, rows)
        if self._partners is not None:
            partner = self._partners.draw(rows, step // self._steps)
            fields = self._split.read(partner)
            batch |= {f"partner_{name}": value for name, value in fields.items()}
            for name in ("codes", "code_weights"):
                batch[f"partner_{name}"] = self._split.table[name][partner]
        return batch


class _InOrder:
    """Number of a batch -> (batch, valid)."""

    def __init__(self, split, batch_size: int):
        self._split, self._size = split, batch_size

    def __call__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = index * self._size + np.arange(self._size)
        valid = rows < len(self._split)
        return read(self._split, np.minimum(rows, len(self._split) - 1)), valid


def read(split: dataset.Split, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the records of `rows` as one batch."""
    table = split.table
    return {
        **split.read(rows),
        "id": table["id"][rows].astype(np.int32),
        "label": table["label"][rows],
        "codes": table["codes"][rows],
        "code_weights": table["code_weights"][rows],
    }


def _uniform(seed: int, epoch: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns two numbers in [0, 1) a row, by splitmix64 of (seed, epoch, row)."""
    mask = 2**64 - 1
    start = _mix(np.array([(seed * 0x9E3779B97F4A7C15 + epoch) & mask], np.uint64))
    first = _mix(start + rows.astype(np.uint64))
    return tuple(
        (value >> 11).astype(np.float64) * 2.0**-53 for value in (first, _mix(first))
    )


def _mix(x: np.ndarray) -> np.ndarray:
    """The splitmix64 step, uint64 [m] (Steele, Lea, Flood 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _check(
    split, batch_size, positives, samples_per_class, process_index, process_count
) -> None:
    if samples_per_class < 1:
        raise ValueError(
            f"got samples_per_class={samples_per_class}; expected 1 or more"
        )
    if positives not in ("instance", "codes"):
        raise ValueError(f"got positives={positives!r}; expected 'instance' or 'codes'")
    if not 0 <= process_index < process_count:
        raise ValueError(
            f"got process_index={process_index} of {process_count}; expected 0 .. "
            f"{process_count - 1}"
        )
    if batch_size < 1 or batch_size % process_count:
        raise ValueError(
            f"got batch_size={batch_size} for {process_count} processes; expected a "
            "positive multiple"
        )
    if batch_size > len(split):
        raise ValueError(
            f"got batch_size={batch_size} for {len(split)} records; expected no more "
            "than there are"
        )
    ids = split.table["id"]
    if ids.min() < 0 or ids.max() > _IDS.max:
        raise ValueError(
            f"got ids {ids.min()} .. {ids.max()}; expected 0 .. {_IDS.max}"
        )

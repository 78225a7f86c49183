"""Batches from splits through Grain: shuffled and sharded, or in order."""

from collections.abc import Iterator

import grain
import numpy as np

from input_pipeline import dataset
from input_pipeline.samplers import MPerClassSampler, PositivePairSampler

_IDS = np.iinfo(np.int32)


def steps_per_epoch(split: dataset.Split, batch_size: int) -> int:
    """Return the number of whole global batches in one pass over `split`."""
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
    """Return endless batches, reshuffled every epoch.

    A batch never crosses an epoch, so that no record is in it twice; what is left of
    an epoch after the last whole batch is dropped. The global batch of a step does not
    depend on the number of processes: process p holds its rows p, p + P, p + 2P, ...

    Args:
        split: The records.
        batch_size: Records of a global batch; each process yields its share of them.
        seed: Random seed of order and partners.
        positives: "instance", or "codes": adds the fields of another record that shares
            a code (see `PositivePairSampler`), as "partner_image" and so on.
        samples_per_class: K, consecutive records of a label, so that a batch has about
            batch_size / K labels with K records each; 1 draws each by itself.
        process_index: Number of this process.
        process_count: Number of processes.
        threads: Threads that read ahead.
        prefetch: Batches read ahead.

    Returns:
        An iterator with `get_state()` and `set_state(state)`, which yields dicts of
        numpy arrays [b, ...] with b = batch_size / process_count: the split's fields,
        such as "image" uint8 [b, S, S, 3], "id" int32, "label" int32, "codes" int32 [b,
        C], "code_weights" float32 [b, C], and where asked for the partner's fields with
        its "partner_codes" and "partner_code_weights". After `set_state` the batches
        that follow equal those that followed `get_state`.

    Raises:
        ValueError: If the batch cannot be filled or divided.
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
    """Yield (batch, valid) over `split` once, in order.

    Args:
        split: The records.
        batch_size: Rows of every batch; the last one repeats its last record.
        threads: Threads that read ahead.

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


class _Reader:
    """Step and rows -> batch."""

    def __init__(self, split: dataset.Split, seed: int, steps: int, positives: str):
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

    def __init__(self, split: dataset.Split, batch_size: int):
        self._split, self._size = split, batch_size

    def __call__(self, index: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        rows = index * self._size + np.arange(self._size)
        valid = rows < len(self._split)
        return read(self._split, np.minimum(rows, len(self._split) - 1)), valid


def read(split: dataset.Split, rows: np.ndarray) -> dict[str, np.ndarray]:
    """Return the records of `rows` as one batch."""
    table = split.table
    return {
        **split.read(rows),
        "id": table["id"][rows].astype(np.int32),
        "label": table["label"][rows],
        "codes": table["codes"][rows],
        "code_weights": table["code_weights"][rows],
    }


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

"""Samplers: positive pairs that share a code, and classes of several records."""

import numpy as np

from input_pipeline import dataset


class PositivePairSampler:
    """Draws for each record another one that shares a code with it.

    The code is drawn among the record's codes with probability proportional to its
    weight n_c^-rarity, the partner uniformly among the other records that carry it.
    Codes that no other record carries are left out; a record without any other code
    is its own partner. The draw is a function of (seed, epoch, row).

    Args:
        split: The records; weights are its "code_weights".
        seed: Random seed of the draws.
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
        """Return the partner of each of `rows`, int64 [m], for one epoch."""
        partners = np.array(rows, np.int64)
        has_partner = ~self.alone[partners]
        rows = partners[has_partner]
        pick, member = _uniform(self._seed, epoch, rows)
        slot = (pick[:, None] >= self._cumulative[rows]).sum(1)
        slot = np.minimum(slot, self._last[rows])  # rounding may leave the sum below 1
        code = self._codes[rows, slot]
        others = self._counts[code] - 1
        index = np.minimum((member * others).astype(np.int64), others - 1)
        index += index >= self._place[rows, slot]  # skip the record itself
        partners[has_partner] = self._carriers[self._starts[code] + index]
        return partners


class MPerClassSampler:
    """An order of records with K consecutive records of each label.

    Each epoch groups the records of each label into chunks of K, the last one smaller,
    and shuffles the chunks: every record occurs once, and a batch of consecutive
    records has few labels with several records each. A record without a label is a
    chunk of its own. The order is a function of (seed, epoch).

    Args:
        labels: int [n]; negative for none.
        samples_per_class: K, 2 or more.
        seed: Random seed of the order.
        length: Places of an epoch, n or fewer; what is left is dropped.
    """

    def __init__(
        self, labels: np.ndarray, samples_per_class: int, seed: int, length: int
    ):
        labels = np.asarray(labels, np.int64)
        unlabeled = labels < 0
        top = labels.max(initial=-1) + 1
        self._labels = np.where(unlabeled, top + np.cumsum(unlabeled), labels)
        self._per_class, self._seed, self._length = samples_per_class, seed, length
        self._epoch: tuple[int, np.ndarray] | None = None

    def __call__(self, place: int, _) -> int:
        """Return the record of a place, counted over all epochs."""
        epoch, within = divmod(place, self._length)
        current = self._epoch  # read once: another thread may replace it
        if current is None or current[0] != epoch:
            current = self._epoch = epoch, self.rows(epoch)
        return int(current[1][within])

    def rows(self, epoch: int) -> np.ndarray:
        """Return the order of one epoch, int64 [n]."""
        rng = np.random.default_rng([self._seed % 2**32, epoch])
        rows = rng.permutation(len(self._labels))
        rows = rows[np.argsort(self._labels[rows], kind="stable")]
        labels = self._labels[rows]
        first = np.searchsorted(labels, labels)
        chunk = (np.arange(len(rows)) - first) // self._per_class
        changes = (np.diff(labels, prepend=-1) != 0) | (np.diff(chunk, prepend=-1) != 0)
        number = np.cumsum(changes) - 1
        position = rng.permutation(number[-1] + 1)[number]
        return rows[np.argsort(position, kind="stable")]


def _uniform(seed: int, epoch: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two numbers in [0, 1) a row, by splitmix64 of (seed, epoch, row)."""
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

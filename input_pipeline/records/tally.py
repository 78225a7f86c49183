"""Count of the files that are left out, and its limit."""

from input_pipeline import dataset


class Tally:
    """Counts what is left out and refuses too much of it."""

    def __init__(self, total: int, limit: float):
        self.total = total
        share = max(int(limit * total), 1) if limit > 0 else 0
        self._limit = int(limit) if limit > 1 else share
        self._shown: list = []
        self._count = 0

    def add(self, rejected: list, count: int | None = None) -> None:
        """Add (file, reason) pairs, of which there may be more than are listed.

        Raises:
            DataError: If more than the limit have been added.
        """
        self._shown += rejected[: 10 - len(self._shown)]
        self._count += len(rejected) if count is None else count
        if self._count <= self._limit:
            return
        raise dataset.DataError(
            f"got {self._count} files of {self.total} that cannot be used, more than "
            f"the {self._limit} that data.max_rejected allows"
            + self.listing(self._shown)
            + "\nMend or remove them, or raise data.max_rejected (a share up to 1, or "
            "a number of files above 1)"
        )

    @staticmethod
    def listing(rejected: list) -> str:
        """Return lines that name the first ten files with their reasons."""
        if not rejected:
            return ""
        lines = [f"\n  {name}: {reason}" for name, reason in rejected[:10]]
        return "; the first left out are:" + "".join(lines)

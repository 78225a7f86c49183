"""Python API of Akin: open a run, and embed and search with its network.

import akin
run = akin.open("runs/first")
print(run.metrics["eval/brand/recall@1"])
z = run.embed(["a.png", "b.png"])
for hit in run.search("a.png", top=10):
print(hit["rank"], hit["score"], hit["name"])
"""

import functools
import pathlib
import tempfile
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from PIL import Image

from input_pipeline import dataset
from reporting import content
from reporting.files import decoded, plain, read_json
from reporting.run_dir import RunDir, check_run
from train_lib import inference
from train_lib.errors import InputError
from train_lib.experiment import Build, Experiment

Source: TypeAlias = str | pathlib.Path | np.ndarray
__all__ = ["Run", "open"]


class Run:
    """A trained run.

    Attributes:
        workdir: Directory of the run.
        metrics: Tag -> value, n, chance, low, high and baselines of the last
            measurement.
        gates: Name -> passed, required, metric, op, value and bound.
        alarms: Alarms that stand, each with name, severity, seen and advice.
    """

    def __init__(
        self,
        workdir: str | pathlib.Path,
        checkpoint: str = "latest",
        build: Build = Experiment.from_config,
    ):
        self.workdir = pathlib.Path(workdir)
        self._checkpoint, self._build = checkpoint, build
        if not self.workdir.is_dir():
            raise InputError(f"got {workdir}, which is no directory; expected a run")

    def __repr__(self) -> str:
        return f"akin.Run({str(self.workdir)!r}: {self.verdict})"

    @property
    def verdict(self) -> str:
        """Sentence that the run ended with."""
        return self._report["verdict"]

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """Tag -> value, n, chance, low, high and baselines."""
        return self._report["metrics"]

    @property
    def gates(self) -> dict[str, dict[str, Any]]:
        """Name -> what was required, what was measured, and whether it passed."""
        return self._report["gates"]

    @property
    def alarms(self) -> list[dict[str, Any]]:
        """Alarms that stand, each with name, severity, seen and advice."""
        return self._report["alarms"]

    def embed(self, source: Source | Sequence[Source], view: str = "") -> np.ndarray:
        """Return the embeddings of files or images.

        Args:
            source: A file, a folder, an image uint8 [h, w, 3] or [h, w], or a sequence
                of these. Of other data than images, an array is written to a .npy file
                and read as one.
            view: Training view in which records are seen, "" for records as they are.

        Returns:
            float32 [n, d] of unit norm, in the order of the source.

        Raises:
            InputError: A file cannot be read.
        """
        split = self._read(source)
        z = self._network.embed(split, np.arange(len(split)), view or None)
        if z is None:
            raise InputError(f"got view={view!r}; this network embeds no such view")
        return z

    def search(
        self, query: Source, top: int = 10, gallery: str | pathlib.Path = ""
    ) -> list[dict[str, Any]]:
        """Return the records that are most like a query, best first.

        Args:
            query: A file, an image uint8 [h, w, 3], or "id:17" for a record of the
                run, which does not find itself.
            top: Number of records.
            gallery: Directory that `main.py embed` wrote; by default the records of
                the run, which are embedded once a checkpoint.

        Returns:
            One dict a record: `rank`, `score`, `id`, `name` and its other columns.
        """
        own = isinstance(query, str) and query.startswith(inference.OWN)
        if own:
            split = inference.own_record(self._network, str(query))
        else:
            split = self._read(query)
        middle = split.take(np.array([len(split) // 2]))
        neighbors = inference.find_neighbors(
            self._network, middle, top, str(gallery), exclude_itself=own
        )
        return neighbors.results

    @functools.cached_property
    def _report(self) -> dict[str, Any]:
        described = read_json(self.workdir / "report.json")
        if described:
            return decoded(described)
        check_run(self.workdir)
        return decoded(plain(content.assemble(RunDir(self.workdir))))

    @functools.cached_property
    def _network(self) -> inference.Network:
        return inference.restore(str(self.workdir), self._checkpoint, self._build)

    def _read(self, source: Source | Sequence[Source]) -> dataset.Split:
        if isinstance(source, str | pathlib.Path | np.ndarray):
            source = [source]
        splits = [self._read_one(item) for item in source]
        if not splits:
            raise InputError("got no images; expected one or more")
        return functools.reduce(dataset.concatenate, splits)

    def _read_one(self, source: Source) -> dataset.Split:
        if not isinstance(source, np.ndarray):
            return self._network.experiment.read_records(str(source))[0]
        with tempfile.TemporaryDirectory() as folder:
            if source.dtype == np.uint8 and source.ndim in (2, 3):
                path = pathlib.Path(folder) / "image.png"
                Image.fromarray(source).save(path)
            else:
                path = pathlib.Path(folder) / "array.npy"
                np.save(path, source)
            split, _ = self._network.experiment.read_records(str(path))
            # The file goes; what was read of it stays.
            rows = np.arange(len(split))
            fields = split.read(rows)
            stored = [{k: v[i] for k, v in fields.items()} for i in rows]
            return dataset.Split(
                stored, split.table, split.label_names, split.code_names
            )


def open(
    workdir: str | pathlib.Path,
    checkpoint: str = "latest",
    build: Build = Experiment.from_config,
) -> Run:
    """Open a run.

    Args:
        workdir: Directory of the run.
        checkpoint: "latest", "best" (of the monitored metric) or a step.
        build: Builds the parts of the run, for programs with parts of their own.

    Returns:
        The run; its network is restored when it is first needed.

    Raises:
        InputError: There is no such directory.
    """
    return Run(workdir, checkpoint, build)

"""ArrayRecord files of images: a TFDS builder that writes them, random access."""

import os
import pathlib
import types
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module
from tensorflow_datasets.core import dataset_builder

from input_pipeline import dataset
from input_pipeline.cache import shard_files

SPLITS = ("train", "validation")
_SHARD_BYTES = 512 * 2**20


class Images:
    """Random access to the images of one split; picklable.

    Args:
        paths: ArrayRecord files, in order.
        size: Side of the images in pixels.
        memory: Bytes; if all images fit into it, each is decoded once and kept.
    """

    def __init__(self, paths: Iterable[str | os.PathLike], size: int, memory: int = 0):
        self._paths = [os.fspath(path) for path in paths]
        self.size, self._memory = size, memory
        self._open()

    def _unreadable(self, error: Exception) -> dataset.DataError:
        """Return the error on shards that are damaged, and what to do."""
        folder = pathlib.Path(self._paths[0]).parents[3]  # of the dataset
        return dataset.DataError(
            f"got prepared data that cannot be read ({error}) from "
            f"{', '.join(self._paths)}; expected it as it was written. Delete {folder} "
            "and run the same command again, which prepares it anew"
        )

    def _open(self) -> None:
        self._records = []
        if self._paths:
            open_source = array_record_data_source.ArrayRecordDataSource
            try:
                self._records = open_source(self._paths)
            except Exception as error:  # of many classes, all mean one thing here
                raise self._unreadable(error) from error
        self._kept = None
        if len(self) * self.size**2 * 3 <= self._memory:
            self._kept = np.empty((len(self), self.size, self.size, 3), np.uint8)
            self._known = np.zeros(len(self), bool)

    def __getstate__(self) -> dict:
        return {name: getattr(self, name) for name in ("_paths", "size", "_memory")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> dict:
        return {"image": self.read([range(len(self))[row]])["image"][0]}

    def read(self, rows: Sequence[int]) -> dict[str, np.ndarray]:
        """Return `image` uint8 [m, S, S, 3] of `rows`."""
        rows = np.asarray(rows, np.int64)
        if self._kept is None:
            return {"image": self._decode(rows)}
        missing = np.unique(rows[~self._known[rows]])
        # Threads may decode the same record twice, which is harmless; a record is
        # called known only after its pixels are there.
        self._kept[missing] = self._decode(missing)
        self._known[missing] = True
        return {"image": self._kept[rows]}

    def _decode(self, rows: np.ndarray) -> np.ndarray:
        images = np.empty((len(rows), self.size, self.size, 3), np.uint8)
        if len(rows):
            spec = shard_files.features(self.size)
            try:
                records = self._records.__getitems__(rows.tolist())
                for image, record in zip(images, records, strict=True):
                    image[...] = spec.deserialize_example_np(record)["image"]
            except Exception as error:  # of many classes, all mean one thing here
                raise self._unreadable(error) from error
        return images


class ImageBuilder(dataset_builder.FileReaderBuilder, skip_registration=True):
    """A TFDS builder that gathers the files of finished blocks into shards.

    TFDS's own writer starts again from nothing after an interruption, and holds a
    whole dataset in memory when records must keep their order. Blocks resume, and
    are copied record by record; `tfds.builder_from_directory` reads the result.

    Args:
        size: Side of the images in pixels.
        blocks: Split -> ArrayRecord files, in order.
        **kwargs: Arguments of `tfds.core.DatasetBuilder`, such as `data_dir`.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, *, size: int, blocks: dict[str, list[pathlib.Path]], **kwargs):
        self._size, self._blocks = size, blocks
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{self.name}, {self._size} x {self._size} pixels",
            features=shard_files.features(self._size),
            disable_shuffling=True,
        )

    def _make_download_manager(self, **kwargs) -> types.SimpleNamespace:
        # Nothing is downloaded; the real one makes folders in the user's home.
        return types.SimpleNamespace(downloaded_size=0)

    def _log_download_bytes(self) -> None:
        pass  # TFDS would print to the terminal

    def _log_download_done(self) -> None:
        pass

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        del dl_manager, download_config
        infos = []
        for split, paths in self._blocks.items():
            if not paths:
                continue
            template = tfds.core.ShardedFileTemplate(
                dataset_name=self.name,
                data_dir=self.data_path,
                split=split,
                filetype_suffix="array_record",
            )
            lengths, total = _gather(paths, template)
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=lengths,
                    num_bytes=total,
                    filename_template=template,
                )
            )
        self.info.set_splits(tfds.core.splits.SplitDict(infos))


def _gather(
    paths: list[pathlib.Path], template: tfds.core.ShardedFileTemplate
) -> tuple[list[int], int]:
    """Copy records into shards of some 512 MiB; returns their lengths and bytes."""
    shards, current = [], []
    held = 0
    for path in paths:
        current.append(path)
        held += path.stat().st_size
        if held >= _SHARD_BYTES or path is paths[-1]:
            shards.append(current)
            current, held = [], 0
    lengths, total = [], 0
    for index, files in enumerate(shards):
        target = template.sharded_filepath(shard_index=index, num_shards=len(shards))
        writer = array_record_module.ArrayRecordWriter(
            os.fspath(target), shard_files.OPTIONS
        )
        count = 0
        for path in files:
            source = array_record_data_source.ArrayRecordDataSource([os.fspath(path)])
            for start in range(0, len(source), 256):
                rows = range(start, min(start + 256, len(source)))
                for record in source.__getitems__(rows):
                    writer.write(record)
            count += len(source)
        writer.close()
        lengths.append(count)
        total += os.path.getsize(target)
    return lengths, total

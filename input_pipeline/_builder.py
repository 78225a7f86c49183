"""TFDS builder over ready ArrayRecord shards, and random access to their images."""

import functools
import os
import pathlib
import shutil
import types
from collections.abc import Iterable, Sequence

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_data_source, array_record_module
from tensorflow_datasets.core import dataset_builder, example_serializer

SPLITS = ("train", "validation")


@functools.cache
def features(size: int) -> tfds.features.FeaturesDict:
    """Returns what one record holds: its image as raw bytes, and its id."""
    image = tfds.features.Tensor(
        shape=(size, size, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    return tfds.features.FeaturesDict(
        {"image": image, "id": tfds.features.Scalar(np.int64)}
    )


def write_shard(path: pathlib.Path, images: np.ndarray, ids: np.ndarray) -> None:
    """Writes one ArrayRecord file.

    Raw pixels, since ArrayRecord compresses each record with zstd, which reads back
    several times faster than PNG.

    Args:
      path: the file to write.
      images: uint8 [m, S, S, 3].
      ids: int64 [m].
    """
    spec = features(images.shape[1])
    serializer = example_serializer.ExampleSerializer(spec.get_serialized_info())
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), "group_size:1")
    for image, id_ in zip(images, ids, strict=True):
        example = spec.encode_example({"image": image, "id": int(id_)})
        writer.write(serializer.serialize_example(example))
    writer.close()


class Images:
    """Random access to the images of one split; picklable.

    Args:
      paths: ArrayRecord files, in order.
      size: side of the images in pixels.
    """

    def __init__(self, paths: Iterable[str | os.PathLike], size: int):
        self._paths = [os.fspath(path) for path in paths]
        self.size = size
        self._open()

    def _open(self) -> None:
        self._records = (
            array_record_data_source.ArrayRecordDataSource(self._paths)
            if self._paths
            else []
        )

    def __getstate__(self) -> dict:
        return {"_paths": self._paths, "size": self.size}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, row: int) -> dict:
        return self._decode(self._records[range(len(self))[row]])

    def __getitems__(self, rows: Sequence[int]) -> list[dict]:
        if not rows:
            return []
        return [self._decode(record) for record in self._records.__getitems__(rows)]

    def _decode(self, record: bytes) -> dict:
        return features(self.size).deserialize_example_np(record)


class ShardBuilder(dataset_builder.FileReaderBuilder, skip_registration=True):
    """Adopts shards that were written block by block, which is what resumes.

    TFDS's own writer starts again from nothing after an interruption, and holds a
    whole dataset in memory when records must keep their order. Here the shards are
    linked into TFDS's folder and described to it, so that
    `tfds.builder_from_directory` reads the result.

    Args:
      size: side of the images in pixels.
      shards: split -> [(path, number of records)].
      description: one line for `dataset_info.json`.
      **kwargs: of `tfds.core.DatasetBuilder`; `data_dir` above all.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(
        self,
        *,
        size: int,
        shards: dict[str, list[tuple[pathlib.Path, int]]],
        description: str,
        **kwargs,
    ):
        self._size, self._shards, self._description = size, shards, description
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self._description,
            features=features(self._size),
            disable_shuffling=True,
        )

    def _make_download_manager(self, **kwargs) -> types.SimpleNamespace:
        # Nothing is downloaded; the real one makes folders in the user's home.
        return types.SimpleNamespace(downloaded_size=0)

    def _download_and_prepare(self, dl_manager, download_config) -> None:
        del dl_manager, download_config
        infos = []
        for split, shards in self._shards.items():
            if not shards:
                continue
            template = tfds.core.ShardedFileTemplate(
                dataset_name=self.name,
                data_dir=self.data_path,
                split=split,
                filetype_suffix="array_record",
            )
            for index, (path, _) in enumerate(shards):
                target = template.sharded_filepath(
                    shard_index=index, num_shards=len(shards)
                )
                link_or_copy(path, pathlib.Path(target))
            infos.append(
                tfds.core.SplitInfo(
                    name=split,
                    shard_lengths=[count for _, count in shards],
                    num_bytes=sum(path.stat().st_size for path, _ in shards),
                    filename_template=template,
                )
            )
        self.info.set_splits(tfds.core.splits.SplitDict(infos))

    def paths(self, split: str) -> list[str]:
        """Returns the files of `split` in order; none if it has no records."""
        if split not in self.info.splits:
            return []
        return [os.fspath(path) for path in self.info.splits[split].filepaths]


def link_or_copy(source: pathlib.Path, target: pathlib.Path) -> None:
    """Gives `source` a second name, or a copy where links are not possible."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)

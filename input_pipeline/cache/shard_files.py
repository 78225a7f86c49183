"""One ArrayRecord file of images: what a record holds, and how it is written."""

import functools
import os
import pathlib

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer

OPTIONS = "group_size:1"  # random access to single records


@functools.cache
def features(size: int) -> tfds.features.FeaturesDict:
    """Return what one record holds: its image as raw bytes, and its id."""
    image = tfds.features.Tensor(
        shape=(size, size, 3), dtype=np.uint8, encoding=tfds.features.Encoding.BYTES
    )
    return tfds.features.FeaturesDict(
        {"image": image, "id": tfds.features.Scalar(np.int64)}
    )


def write(path: pathlib.Path, images: np.ndarray, ids: np.ndarray) -> None:
    """Write one ArrayRecord file.

    Raw pixels, since ArrayRecord compresses each record with zstd, which reads back
    several times faster than PNG.

    Args:
        path: The file to write.
        images: uint8 [m, S, S, 3].
        ids: int64 [m].
    """
    spec = features(images.shape[1])
    serializer = example_serializer.ExampleSerializer(spec.get_serialized_info())
    writer = array_record_module.ArrayRecordWriter(os.fspath(path), OPTIONS)
    for image, id_ in zip(images, ids, strict=True):
        example = spec.encode_example({"image": image, "id": int(id_)})
        writer.write(serializer.serialize_example(example))
    writer.close()

"""Files of `torch.save`, read without torch and without running anything in them.

Since torch 1.6 such a file is a zip archive: NAME/data.pkl is a pickle that refers to
storages by key, NAME/data/KEY are a storage's numbers, NAME/byteorder is their order.
"""

import collections
import io
import math
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\x0a"  # torch's magic number as a pickle of protocol 2
SECTIONS = ("state_dict", "model", "model_state_dict")

_DTYPES = {
    "DoubleStorage": np.float64,
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": jnp.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


class _Storage(NamedTuple):
    kind: str
    key: str
    count: int


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Unpickler(pickle.Unpickler):
    """Knows the names of a state dict and no others; what it makes is plain values."""

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _DTYPES:
            return name
        # Functions made anew: a pickle can set attributes of what it is given.
        known = {
            "collections.OrderedDict": collections.OrderedDict,
            "torch._utils._rebuild_tensor_v2": lambda *args: _Tensor(*args[:4]),
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
        }
        if f"{module}.{name}" not in known:
            raise ValueError(
                f"it asks for {module}.{name}, which no state dict needs and which is "
                "not run"
            )
        return known[f"{module}.{name}"]

    def persistent_load(self, reference: Any) -> _Storage:
        match reference:
            case ("storage", str(kind), str(key), str(), int(count)) if kind in _DTYPES:
                return _Storage(kind, key, count)
        raise ValueError(f"it refers to {reference!r:.80}, expected a storage")


def read(path: str) -> dict[str, np.ndarray]:
    """Tensors of a state dict, by name.

    The state dict may be a section, `SECTIONS`, of a training's checkpoint. Only names
    of a state dict are known: `collections.OrderedDict`, two functions of torch that
    here note offset, shape and strides, and its storages. Any other is refused, nothing
    is imported.

    Args:
        path: Path of a zip archive as torch 1.6 and newer write it.

    Raises:
        ValueError: The file is no such archive, is broken, holds no state dict, or asks
            for something else; says what.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return _Archive(archive).tensors()
    except Exception as error:  # a pickle that was tampered with may raise any
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{path} cannot be read as weights of torch ({reason}); expected what "
            "torch.save(network.state_dict(), path) writes"
        ) from None


class _Archive:
    """The members of one file; each stands there as it is, so none can grow."""

    def __init__(self, archive: zipfile.ZipFile):
        self.archive = archive
        self.names = set(archive.namelist())
        pickles = [name for name in self.names if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"got {len(pickles)} members data.pkl, expected one")
        self.root = pickles[0].removesuffix("data.pkl")
        self.storages = {}
        order = self.root + "byteorder"
        self.big = order in self.names and self.member(order).strip() == b"big"

    def member(self, name: str) -> bytes:
        if name not in self.names:
            raise ValueError(f"{name} is missing")
        if self.archive.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise ValueError(f"{name} is compressed, which torch.save does not do")
        return self.archive.read(name)

    def tensors(self) -> dict[str, np.ndarray]:
        data = self.member(f"{self.root}data.pkl")
        tensors = _state_dict(_Unpickler(io.BytesIO(data)).load())
        return {name: self.array(name, tensor) for name, tensor in tensors.items()}

    def array(self, name: str, tensor: _Tensor) -> np.ndarray:
        """A view of the storage; one that leaves it or repeats it is refused."""
        storage, offset, shape, strides = tensor
        sizes = (offset, *shape, *strides)
        if len(shape) != len(strides) or any(
            not isinstance(size, int) or size < 0 for size in sizes
        ):
            raise ValueError(
                f"tensor {name!r} has offset {offset!r}, shape {shape!r} and strides "
                f"{strides!r}"
            )
        flat = self.storage(storage)
        end = 1 + offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        if 0 not in shape and max(end, math.prod(shape)) > flat.size:
            raise ValueError(
                f"tensor {name!r} of shape {list(shape)} at offset {offset} is larger "
                f"than its storage of {flat.size}"
            )
        if 0 in shape:
            return np.zeros(shape, flat.dtype)
        step = flat.itemsize
        return np.lib.stride_tricks.as_strided(
            flat[offset:], shape, [step * stride for stride in strides], writeable=False
        )

    def storage(self, storage: _Storage) -> np.ndarray:
        """All numbers of a storage, `[count]`."""
        if storage not in self.storages:
            dtype = np.dtype(_DTYPES[storage.kind])
            data = self.member(f"{self.root}data/{storage.key}")
            if len(data) != storage.count * dtype.itemsize:
                raise ValueError(
                    f"storage {storage.key} has {len(data)} bytes, expected "
                    f"{storage.count} of {dtype}"
                )
            word = f"u{dtype.itemsize}"
            bits = np.frombuffer(data, (">" if self.big else "<") + word)
            self.storages[storage] = bits.astype(f"={word}", copy=False).view(dtype)
        return self.storages[storage]


def _state_dict(found: Any) -> dict[str, _Tensor]:
    """The tensors of what a file holds, or of the one section that has some."""
    if tensors := _named(found):
        return tensors
    if isinstance(found, Mapping):
        sections = [name for name in SECTIONS if _named(found.get(name))]
        if len(sections) == 1:
            return _named(found[sections[0]])
        held = ", ".join(str(name) for name in list(found)[:10])
    else:
        held = type(found).__name__
    raise ValueError(
        f"it holds {held or 'nothing'}; expected tensors by name, or one section of "
        f"them called {', '.join(SECTIONS)}"
    )


def _named(found: Any) -> dict[str, _Tensor]:
    if not isinstance(found, Mapping):
        return {}
    return {
        name: tensor
        for name, tensor in found.items()
        if isinstance(name, str) and isinstance(tensor, _Tensor)
    }

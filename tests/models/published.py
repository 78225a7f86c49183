"""Networks as other libraries name them, with weights that a name and a seed decide.

Names and shapes were recorded from the libraries, the numbers are made anew, and files
are written as safetensors or as `torch.save` does, so that tests need no torch.
"""

import pathlib
import zipfile
import zlib

import numpy as np
from safetensors.numpy import save_file

RECORDED = pathlib.Path(__file__).parent / "recorded"


def recorded(name):
    """What `python -m benchmarks.record_torch_weights` wrote of one network."""
    return np.load(RECORDED / f"{name}.npz")


def tensor(name, shape):
    """The numbers of one tensor; activations keep their size from layer to layer."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("num_batches_tracked"):
        return np.int64(7)
    if name.endswith("running_var"):
        return np.float32(rng.uniform(0.5, 1.5, shape))
    if len(shape) == 1 and name.endswith("weight"):
        return np.float32(rng.uniform(0.4, 1.0, shape))
    if len(shape) == 1:
        return np.float32(rng.normal(0, 0.2, shape))
    return np.float32(rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape))


def state_dict(record):
    """Tensors by name for the names and shapes of a record."""
    shapes = zip(record["names"], record["shapes"], strict=True)
    return {
        str(name): np.asarray(tensor(str(name), tuple(map(int, shape.split()))))
        for name, shape in shapes
    }


def pictures(*shape):
    return np.float32(np.random.default_rng(0).normal(size=shape))


# The pickle of a state dict, one instruction after another.
_KINDS = {"f4": "Float", "f8": "Double", "f2": "Half", "i8": "Long", "u1": "Byte"}
_ORDERED = b"ccollections\nOrderedDict\n)R"


def text(value):
    return b"X" + len(value.encode()).to_bytes(4, "little") + value.encode()


def integer(value):
    return b"\x8a\x08" + int(value).to_bytes(8, "little", signed=True)


def integers(values):
    return b"(" + b"".join(map(integer, values)) + b"t"


def storage(key, kind, count):
    named = f"ctorch\n{kind}Storage\n".encode() + text(key) + text("cpu")
    return b"(" + text("storage") + named + integer(count) + b"tQ"


def view(storage, offset, shape, strides):
    sizes = integer(offset) + integers(shape) + integers(strides)
    flags = b"\x89" + _ORDERED  # no gradient, no hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + sizes + flags + b"tR"


def mapping(items):
    body = b"".join(text(name) + value for name, value in items.items())
    return _ORDERED + b"(" + body + b"u"


def write_archive(path, value, storages=(), byteorder=None, compression=0):
    """A file as `torch.save` writes it around the pickle of a value."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + value + b".")
        archive.writestr("archive/version", "3\n")
        if byteorder:
            archive.writestr("archive/byteorder", byteorder)
        for key, data in enumerate(storages):
            archive.writestr(f"archive/data/{key}", data)


def write_safetensors(path, tensors):
    save_file({k: np.asarray(v, order="C") for k, v in tensors.items()}, path)


def write_pth(path, tensors, within=()):
    """A state dict in the format of torch 1.6 and newer, perhaps as a section."""
    items, storages = {}, []
    for name, array in tensors.items():
        array = np.asarray(array, order="C")
        kind = _KINDS[array.dtype.str[1:]]
        strides = [stride // array.itemsize for stride in array.strides]
        source = storage(str(len(storages)), kind, array.size)
        items[name] = view(source, 0, array.shape, strides)
        storages.append(array.tobytes())
    value = mapping(items)
    for section in reversed(within):
        value = mapping({section: value, "epoch": integer(3)})
    write_archive(path, value, storages)

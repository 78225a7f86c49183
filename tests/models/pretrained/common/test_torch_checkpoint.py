"""Files of torch.save: what torch wrote is read, what was tampered with never runs.

`recorded/checkpoint.pth` is torch's, by `python -m benchmarks.record_torch_weights`.
"""

import io
import pickle
import sys
import zipfile

import numpy as np
import pytest

from models.pretrained.common import torch_checkpoint
from tests.models import published


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pth"


def test_checkpoint_written_by_torch_is_read():
    found = torch_checkpoint.read(str(published.RECORDED / "checkpoint.pth"))
    numbers = np.arange(24, dtype=np.float32)
    expected = {
        "float": numbers.reshape(2, 3, 4),
        "transposed": numbers[:6].reshape(2, 3).T,
        "shared": numbers[20:],
        "double": np.float64([0, 1]),
        "half": np.float16([0, 0.25]),
        "bfloat16": np.float32([0, 0.25, 0.5]),
        "parameter": np.float32([1, 2]),
        "counter": np.int64(7),
        "flags": np.array([True, False]),
        "bytes": np.uint8([1, 255]),
        "empty": np.zeros((0, 3), np.float32),
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].shape == values.shape, name
        assert found[name].dtype == (name if name == "bfloat16" else values.dtype), name
        np.testing.assert_array_equal(found[name].astype(values.dtype), values)


def test_any_state_dict_of_torch_is_read(path):
    torch = pytest.importorskip("torch")
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    network = network.to(memory_format=torch.channels_last)
    for saved in (network.state_dict(), dict(network.named_parameters())):
        for protocol in (2, 4):
            torch.save(saved, path, pickle_protocol=protocol)
            found = torch_checkpoint.read(str(path))
            assert list(found) == list(saved)
            for name, tensor in saved.items():
                np.testing.assert_array_equal(found[name], tensor.detach().numpy())


def test_files_that_these_tests_write_are_torchs(path):
    torch = pytest.importorskip("torch")
    tensors = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "n": np.int64(7)}
    published.write_pth(path, tensors, within=["model"])
    found = torch.load(path, weights_only=True)["model"]
    for name, values in tensors.items():
        np.testing.assert_array_equal(found[name].numpy(), values)


def test_numbers_of_big_machine_are_turned_round(path):
    tensor = published.view(published.storage("0", "Float", 3), 1, (2,), (1,))
    value = published.mapping({"x": tensor})
    numbers = np.float32([1, -2.5, 3]).astype(">f4")
    published.write_archive(path, value, [numbers.tobytes()], byteorder="big")
    np.testing.assert_array_equal(torch_checkpoint.read(str(path))["x"], [-2.5, 3])


def reduced(function, argument):
    """The pickle of a call."""
    return b"c" + function + b"\n(" + published.text(argument) + b"tR"


def attacks(argument):
    """Pickles that run a shell command, or would, on the way to a state dict."""
    text = published.text
    stacked = text("posix") + text("system") + b"\x93"  # protocol 4
    call = reduced(b"posix\nsystem", argument)
    return {
        "called": call,
        "called by a name from the stack": stacked + b"(" + text(argument) + b"tR",
        "made as an instance": b"(" + text(argument) + b"iposix\nsystem\n",
        "made as an object": b"(cposix\nsystem\n" + text(argument) + b"o",
        "within a tensor": b"ctorch._utils\n_rebuild_tensor_v2\n(" + call + b"tR",
        "as a storage": call + b"Q",
        "as an attribute of what is known": b"ccollections\nOrderedDict\n(N}"
        + text("weight") + call + b"stb",
        "by evaluation": reduced(
            b"builtins\neval", f"__import__('os').system({argument!r})"
        ),
    }  # fmt: skip


@pytest.mark.parametrize("way", attacks(""))
def test_nothing_in_file_runs(path, tmp_path, way):
    ran = tmp_path / "ran"
    value = attacks(f"touch {ran}")[way]
    published.write_archive(path, value)
    with pytest.raises(ValueError, match=r"posix\.system|builtins\.eval"):
        torch_checkpoint.read(str(path))
    assert not ran.exists()


def test_these_attacks_are_real(tmp_path):
    ran = tmp_path / "ran"
    for way in ("called", "made as an instance", "by evaluation"):
        pickle.loads(b"\x80\x02" + attacks(f"touch {ran}")[way] + b".")
        assert ran.exists(), way
        ran.unlink()


def test_nothing_is_imported(path, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "module_of_the_file.py").write_text("raise SystemExit")
    published.write_archive(path, b"cmodule_of_the_file\nfunction\n)R")
    with pytest.raises(ValueError, match=r"asks for module_of_the_file\.function"):
        torch_checkpoint.read(str(path))
    assert "module_of_the_file" not in sys.modules


@pytest.mark.parametrize(
    "name",
    [
        "collections\nOrderedDict.fromkeys",
        "collections\nCounter",
        "torch._utils\n_rebuild_tensor_v2.__globals__",
        "torch\nload",
        "torch\nQInt8Storage",
        "torch.nn.modules.conv\nConv2d",
        "argparse\nNamespace",
    ],
)
def test_only_names_of_state_dict_are_known(path, name):
    published.write_archive(path, f"c{name}\n)R".encode())
    with pytest.raises(ValueError) as error:
        torch_checkpoint.read(str(path))
    assert f"asks for {name.replace(chr(10), '.')}" in str(error.value)


@pytest.mark.parametrize(
    "known",
    [
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "collections.OrderedDict",
    ],
)
def test_reading_one_file_leaves_no_state_for_next(path, known):
    """A pickle can set attributes of what a name stands for."""
    module, _, name = known.rpartition(".")
    state = b"(N}" + published.text("mark") + b"Nst"
    published.write_archive(path, f"c{module}\n{name}\n".encode() + state + b"b")
    with pytest.raises(ValueError, match="cannot be read"):
        torch_checkpoint.read(str(path))
    met = torch_checkpoint._Unpickler(io.BytesIO()).find_class(module, name)
    assert not hasattr(met, "mark")


@pytest.mark.parametrize(
    ("offset", "shape", "strides", "said"),
    [
        (0, (5,), (1,), "larger than its storage of 4"),
        (1, (2, 2), (2, 1), "larger than its storage of 4"),
        (5, (1,), (1,), "larger than its storage of 4"),
        (0, (1 << 40,), (0,), "larger than its storage of 4"),
        (0, (1 << 40, 1 << 40), (0, 0), "larger than its storage of 4"),
        (-1, (1,), (1,), "offset -1"),
        (3, (2,), (-1,), r"strides \(-1,\)"),
        (0, (2, 2), (1,), r"shape \(2, 2\)"),
    ],
)
def test_tensor_stays_in_its_storage(path, offset, shape, strides, said):
    storage = published.storage("0", "Float", 4)
    value = published.mapping({"x": published.view(storage, offset, shape, strides)})
    published.write_archive(path, value, [bytes(16)])
    with pytest.raises(ValueError, match=f"tensor 'x' .*{said}"):
        torch_checkpoint.read(str(path))


def test_faults_of_archive_are_named(path):
    tensor = published.view(published.storage("0", "Float", 4), 0, (4,), (1,))
    value = published.mapping({"x": tensor})

    def fault(*storages, value=value, **fields):
        published.write_archive(path, value, storages, **fields)
        with pytest.raises(ValueError, match="cannot be read as weights") as error:
            torch_checkpoint.read(str(path))
        return str(error.value)

    assert "archive/data/0 is missing" in fault()
    assert "storage 0 has 15 bytes, expected 4 of float32" in fault(bytes(15))
    zipped = {"compression": zipfile.ZIP_DEFLATED}
    assert "archive/data.pkl is compressed" in fault(bytes(16), **zipped)
    assert "it holds a, b" in fault(
        value=published.mapping({"a": published.integer(1), "b": b"N"})
    )
    assert "it holds int" in fault(value=published.integer(1))
    assert "it holds nothing" in fault(value=published.mapping({}))
    assert "it refers to 'x'" in fault(value=published.text("x") + b"Q")
    assert "cannot be read" in fault(value=b"")
    sections = dict.fromkeys(("model", "state_dict"), value)
    both = fault(bytes(16), value=published.mapping(sections))
    assert "it holds model, state_dict; expected" in both
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match="not a zip file"):
        torch_checkpoint.read(str(path))
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("document.xml", "")
    with pytest.raises(ValueError, match=r"0 members data\.pkl"):
        torch_checkpoint.read(str(path))

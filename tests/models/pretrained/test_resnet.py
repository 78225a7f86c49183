"""Weights of ResNets made elsewhere: their outputs, and files that do not fit.

Names, shapes and outputs of torchvision and of Hugging Face's transformers were
recorded by `python -m benchmarks.record_torch_weights`; timm has torchvision's names.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from models import resnet
from models.pretrained import resnet as resnet_weights
from tests.models import published

FIELDS = {
    "resnet18": {},
    "resnet50": {"layers": (3, 4, 6, 3), "block": "bottleneck"},
}


def shapes(model, channels=3, size=32):
    x = jnp.zeros((1, size, size, channels))
    return jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))


@functools.cache
def evaluate(name):
    return jax.jit(functools.partial(resnet.Model(**FIELDS[name]).apply, train=False))


@pytest.mark.parametrize(
    ("name", "record", "size", "suffix"),
    [
        ("resnet18", "resnet18", (64, 32), "pth"),
        ("resnet18", "resnet18", (64, 32), "safetensors"),
        ("resnet18", "resnet18_transformers", (64, 32), "safetensors"),
        ("resnet50", "resnet50", (32, 32), "pth"),
        ("resnet50", "resnet50_transformers", (32, 32), "safetensors"),
    ],
)
def test_outputs_are_torchs(tmp_path, name, record, size, suffix):
    recorded = published.recorded(record)
    path = tmp_path / f"{name}.{suffix}"
    write = published.write_pth if suffix == "pth" else published.write_safetensors
    write(path, published.state_dict(recorded))
    given = resnet_weights.load(str(path), shapes(resnet.Model(**FIELDS[name])))
    found = evaluate(name)(given, published.pictures(2, *size, 3))
    expected = recorded["outputs"]
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


def small(**fields):
    return resnet.Model(width=1 / 16, layers=(1, 1), **fields)


def small_state():
    """What torchvision would call the tensors of `small`."""
    sizes = {
        "conv1": (4, 3, 7, 7),
        "layer1.0.conv1": (4, 4, 3, 3),
        "layer1.0.conv2": (4, 4, 3, 3),
        "layer2.0.conv1": (8, 4, 3, 3),
        "layer2.0.conv2": (8, 8, 3, 3),
        "layer2.0.downsample.0": (8, 4, 1, 1),
    }
    tensors = {}
    for name, size in sizes.items():
        norm = name.replace("conv", "bn").replace("downsample.0", "downsample.1")
        tensors[f"{name}.weight"] = published.tensor(f"{name}.weight", size)
        for part in ("weight", "bias", "running_mean", "running_var"):
            tensors[f"{norm}.{part}"] = published.tensor(f"{norm}.{part}", size[:1])
    return tensors


def load(tensors, folder, **fields):
    save_file(tensors, folder / "x.safetensors")
    channels = fields.pop("channels", 3)
    variables = shapes(small(**fields), channels)
    return resnet_weights.load(str(folder / "x.safetensors"), variables)


def test_tensors_that_do_not_fit_are_all_named(tmp_path):
    tensors = small_state()
    del tensors["layer1.0.bn2.running_var"]
    tensors["layer3.0.conv1.weight"] = np.zeros((1, 1, 3, 3), np.float32)
    tensors["conv1.weight"] = np.zeros((4, 3, 3, 3), np.float32)
    with pytest.raises(ValueError, match="do not fit") as error:
        load(tensors, tmp_path)
    for said in (
        "missing: layer1.0.bn2.running_var;",
        "left over: layer3.0.conv1.weight;",
        "of another shape: conv1.weight (got [3, 3, 3, 4], expected [7, 7, 3, 4])",
    ):
        assert said in str(error.value)


def test_deeper_network_misses_what_file_does_not_have(tmp_path):
    published.write_pth(tmp_path / "x.pth", small_state())
    variables = shapes(resnet.Model(width=1 / 16, layers=(2, 1)))
    with pytest.raises(ValueError, match=r"missing: layer1\.1\.bn1\.bias, layer1\.1\."):
        resnet_weights.load(str(tmp_path / "x.pth"), variables)


def test_gray_images_give_what_three_equal_channels_gave(tmp_path):
    x = published.pictures(2, 32, 32, 1)
    apply = jax.jit(functools.partial(small().apply, train=False))
    outputs = [
        apply(load(small_state(), tmp_path, channels=c), np.tile(x, c)) for c in (1, 3)
    ]
    np.testing.assert_allclose(*outputs, atol=1e-5)
    with pytest.raises(
        ValueError, match=r"conv1.weight \(got \[7, 7, 3, 4\], expected"
    ):
        load(small_state(), tmp_path, channels=2)


def test_projection_stays_and_classifier_goes(tmp_path):
    own = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), shapes(small(features=5)))
    tensors = small_state() | {"fc.weight": np.ones((5, 8), np.float32)}
    save_file(tensors, tmp_path / "x.safetensors")
    found = resnet_weights.load(str(tmp_path / "x.safetensors"), own)
    kept = found["params"].pop("projection")
    jax.tree.map(np.testing.assert_array_equal, kept, own["params"]["projection"])
    without = load(tensors, tmp_path)
    jax.tree.map(np.testing.assert_array_equal, found, without)

"""Weights of EfficientNets made elsewhere: their outputs, and files that do not fit.

Names, shapes and outputs of torchvision, timm and Hugging Face's transformers were
recorded by `python -m benchmarks.record_torch_weights`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import efficientnet
from models.pretrained import efficientnet as efficientnet_weights
from tests.models import published

OF_TENSORFLOW = {"padding": "tf", "epsilon": 1e-3}


@functools.cache
def shapes(channels=3):
    x = jnp.zeros((1, 32, 32, channels))
    model = efficientnet.Model()
    return jax.eval_shape(lambda: model.init(jax.random.key(0), x, train=False))


@functools.cache
def evaluate(**fields):
    model = efficientnet.Model(**fields)
    return jax.jit(functools.partial(model.apply, train=False))


@pytest.mark.parametrize(
    ("record", "suffix", "fields"),
    [
        ("efficientnet_b0", "pth", {}),
        ("efficientnet_b0_timm", "safetensors", {}),
        ("efficientnet_b0_transformers", "safetensors", OF_TENSORFLOW),
    ],
)
def test_outputs_are_torchs(tmp_path, record, suffix, fields):
    recorded = published.recorded(record)
    path = tmp_path / f"b0.{suffix}"
    write = published.write_pth if suffix == "pth" else published.write_safetensors
    write(path, published.state_dict(recorded))
    given = efficientnet_weights.load(str(path), shapes())
    found = evaluate(**fields)(given, published.pictures(2, 64, 32, 3))
    expected = recorded["outputs"]
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


@pytest.fixture
def tensors():
    return published.state_dict(published.recorded("efficientnet_b0"))


def load(tensors, folder, channels=3):
    published.write_safetensors(folder / "x.safetensors", tensors)
    return efficientnet_weights.load(str(folder / "x.safetensors"), shapes(channels))


def test_tensors_that_do_not_fit_are_all_named(tensors, tmp_path):
    del tensors["features.3.1.block.2.fc2.bias"]
    tensors["features.9.weight"] = np.zeros(3, np.float32)
    tensors["features.8.0.weight"] = np.zeros((1280, 320, 3, 3), np.float32)
    with pytest.raises(ValueError, match="do not fit") as error:
        load(tensors, tmp_path)
    for said in (
        "missing: features.3.1.block.2.fc2.bias;",
        "left over: features.9.weight;",
        "of another shape: features.8.0.weight (got [1280, 320, 3, 3], expected [320, ",
    ):
        assert said in str(error.value)


def test_one_channel_gets_sum_of_three(tensors, tmp_path):
    rgb, gray = (
        load(tensors, tmp_path, channels)["params"]["stem"]["kernel"]
        for channels in (3, 1)
    )
    np.testing.assert_allclose(gray, rgb.sum(2, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(
    "repeats",
    [
        (1, 2, 2, 3, 3, 4, 1),
        (2, 3, 3, 4, 4, 5, 2),
        (2, 3, 3, 5, 5, 6, 2),
        (4, 7, 7, 10, 10, 13, 4),
    ],
    ids=["B0", "B2", "B3", "B7"],
)
def test_number_of_blocks_tells_their_stages(repeats):
    expected = [(stage, i) for stage, n in enumerate(repeats) for i in range(n)]
    assert efficientnet_weights._places(sum(repeats)) == expected

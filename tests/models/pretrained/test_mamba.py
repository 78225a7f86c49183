"""Weights of Hugging Face's MambaModel: its outputs, and files that do not fit.

The outputs were recorded by `python -m benchmarks.record_mamba`.
"""

import pathlib

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from models import mamba
from models.pretrained import mamba as mamba_weights

RECORDED = pathlib.Path(__file__).parents[1] / "recorded"
FILE = RECORDED / "mamba.safetensors"


def network(**fields):
    known = {"width": 16, "layers": 2, "states": 4, "project": False}
    return mamba.Model(**known | fields)


@pytest.fixture(scope="module")
def variables():
    x = np.zeros((1, 2, 16), np.float32)
    return jax.jit(network().init)(jax.random.key(0), x)


@pytest.mark.parametrize(
    ("length", "scan"),
    [(1, "auto"), (5, "auto"), (33, "auto"), (512, "chunked"), (512, "associative")],
)
def test_outputs_are_hugging_faces(variables, length, scan):
    given = mamba_weights.load(str(FILE), variables)
    x = np.random.default_rng(length).standard_normal((1, length, 16))
    found = jax.jit(network(scan=scan).apply)(given, np.float32(x))
    expected = np.load(RECORDED / "mamba_outputs.npz")[str(length)]
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_language_model_gives_its_backbone(variables, tmp_path):
    tensors = {f"backbone.{k}": v for k, v in load_file(FILE).items()}
    tensors["lm_head.weight"] = np.zeros((3, 16), np.float32)
    save_file(tensors, tmp_path / "lm.safetensors")
    found = mamba_weights.load(str(tmp_path / "lm.safetensors"), variables)
    expected = mamba_weights.load(str(FILE), variables)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize(
    "prefix",
    ["model.", "module.", "_orig_mod.", "module._orig_mod.model.backbone.", "encoder."],
)
def test_weights_of_wrapped_network(variables, tmp_path, prefix):
    tensors = {prefix + k: v for k, v in load_file(FILE).items()}
    tensors["other.weight"] = np.zeros(3, np.float32)
    save_file(tensors, tmp_path / "wrapped.safetensors")
    found = mamba_weights.load(str(tmp_path / "wrapped.safetensors"), variables)
    expected = mamba_weights.load(str(FILE), variables)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    tensors |= {f"copy.{k}": v for k, v in tensors.items()}
    tensors |= {f"model.model.{k}": v for k, v in load_file(FILE).items()}
    save_file(tensors, tmp_path / "twice.safetensors")
    with pytest.raises(ValueError, match="more than once"):
        mamba_weights.load(str(tmp_path / "twice.safetensors"), variables)


def test_input_projection_stays():
    x = np.zeros((1, 2, 9), np.float32)
    own = jax.jit(network(project=True).init)(jax.random.key(0), x)
    found = mamba_weights.load(str(FILE), own)["params"]
    own = own["params"]
    np.testing.assert_array_equal(found["input"]["kernel"], own["input"]["kernel"])
    assert np.abs(found["mixers_0"]["d"] - own["mixers_0"]["d"]).max() > 0.01


def test_tensors_that_do_not_fit_are_all_named(variables, tmp_path):
    tensors = load_file(FILE)
    del tensors["layers.0.mixer.D"]
    tensors["layers.7.mixer.D"] = np.zeros(32, np.float32)
    tensors["norm_f.weight"] = np.zeros(5, np.float32)
    save_file(tensors, tmp_path / "odd.safetensors")
    with pytest.raises(ValueError, match="do not fit") as error:
        mamba_weights.load(str(tmp_path / "odd.safetensors"), variables)
    for said in (
        "missing: layers.0.mixer.D",
        "left over: layers.7.mixer.D",
        "of another shape: norm_f.weight (got [5], expected [16])",
    ):
        assert said in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"not a file of tensors at all"])
def test_files_that_hold_no_tensors_are_named(variables, tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        mamba_weights.load(str(path), variables)

"""Reading files of weights, and putting their tensors where they belong."""

import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from models.pretrained.common import assign as assign_lib
from tests.models import published

HEADS = ("fc",)
TENSORS = {
    "stem.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "norm.weight": np.float32([1, 2]),
    "norm.running_mean": np.float32([3, 4]),
}


def variables(channels=3):
    kernel = np.zeros((2, 2, channels, 2), np.float32)
    return {
        "params": {"stem": {"kernel": kernel}, "norm": {"scale": np.zeros(2)}},
        "batch_stats": {"norm": {"mean": np.zeros(2)}},
    }


def same(path):
    return assign_lib.of_torch(*path[1:])


def other(path):
    return assign_lib.of_torch(f"block.{path[1]}", path[2])


def assign(tensors, into=None):
    return assign_lib.assign_published(
        into or variables(), tensors, [same, other], HEADS
    )  # fmt: skip


def expect(found):
    given = TENSORS["stem.weight"]
    for i, j, c, o in np.ndindex(2, 2, 3, 2):
        assert found["params"]["stem"]["kernel"][i, j, c, o] == given[o, c, i, j]
    np.testing.assert_array_equal(found["params"]["norm"]["scale"], [1, 2])
    np.testing.assert_array_equal(found["batch_stats"]["norm"]["mean"], [3, 4])


@pytest.mark.parametrize("name", ["model.safetensors", "model.pth", "model.bin"])
def test_file_formats_are_detected_by_content(tmp_path, name):
    for write in (published.write_safetensors, published.write_pth):
        write(tmp_path / name, TENSORS)
        found = assign_lib.read(str(tmp_path / name))
        assert set(found) == set(TENSORS)
        for key in TENSORS:
            np.testing.assert_array_equal(found[key], TENSORS[key])


@pytest.mark.parametrize("section", ["state_dict", "model", "model_state_dict"])
def test_section_of_checkpoint_is_found(tmp_path, section):
    published.write_pth(tmp_path / "x.pth", TENSORS, within=[section])
    expect(assign(assign_lib.read(str(tmp_path / "x.pth"))))


def test_bfloat16_becomes_float32(tmp_path):
    save_file({"x": np.asarray([0.5, -3], jnp.bfloat16)}, tmp_path / "x.safetensors")
    tensors = assign_lib.read(str(tmp_path / "x.safetensors"))
    params = {"x": np.zeros(2, np.float32)}
    found = assign_lib.assign(params, tensors, lambda path: assign_lib.Source("x"))["x"]
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [0.5, -3])


def test_old_format_of_torch_is_named(tmp_path):
    path = tmp_path / "old.pth"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    with pytest.raises(ValueError, match=r"old\.pth .*before 1\.6; save it again"):
        assign_lib.read(str(path))
    torch = pytest.importorskip("torch")
    torch.save({"x": torch.ones(2)}, path, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="save it again"):
        assign_lib.read(str(path))


@pytest.mark.parametrize(
    "prefix", ["", "module.", "backbone.", "module.encoder.", "model.backbone."]
)
@pytest.mark.parametrize("inner", ["", "block."])
def test_backbone_is_extracted_from_larger_checkpoint(prefix, inner):
    tensors = {f"{prefix}{inner}{name}": x for name, x in TENSORS.items()}
    tensors[f"{prefix}{inner}norm.num_batches_tracked"] = np.int64(3)
    tensors[f"{prefix}fc.weight"] = np.zeros((5, 2))
    if prefix:
        tensors["projector.0.weight"] = np.zeros((2, 2))
    expect(assign(tensors))


def test_network_that_is_there_twice_is_refused():
    tensors = {f"model.{name}": x for name, x in TENSORS.items()}
    tensors |= {f"encoder.{name}": x for name, x in TENSORS.items()}
    with pytest.raises(ValueError, match=r"once: encoder\.\*, model\.\*; expected one"):
        assign(tensors)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_all_mismatched_tensors_are_named(prefix):
    tensors = {f"{prefix}{name}": x for name, x in TENSORS.items()}
    del tensors[f"{prefix}norm.weight"]
    tensors[f"{prefix}more.weight"] = np.zeros(1)
    tensors[f"{prefix}norm.running_mean"] = np.zeros(3)
    with pytest.raises(ValueError, match="do not fit") as error:
        assign(tensors)
    for said in (
        f"missing: {prefix}norm.weight;",
        f"left over: {prefix}more.weight;",
        f"of another shape: {prefix}norm.running_mean (got [3], expected [2])",
    ):
        assert said in str(error.value)


def test_file_of_another_network_is_named():
    with pytest.raises(ValueError, match=r"missing: norm.*left over: odd"):
        assign({"odd": np.zeros(2)})
    with pytest.raises(ValueError, match="missing: norm"):
        assign({})


def test_tensors_with_other_axes_are_named():
    flat = TENSORS | {"stem.weight": np.zeros(24)}
    with pytest.raises(ValueError, match=r"stem.weight \(got \[24\], expected \[2, 2,"):
        assign(flat)


def test_channels_are_summed_for_gray_images_alone():
    kernel = TENSORS["stem.weight"]
    found = assign_lib.gray_convolution(kernel)
    rgb = assign_lib.convolution(kernel)
    np.testing.assert_array_equal(
        found[:, :, 0], rgb[:, :, 0] + rgb[:, :, 1] + rgb[:, :, 2]
    )
    two = kernel[:, :2]
    np.testing.assert_array_equal(
        assign_lib.gray_convolution(two), assign_lib.convolution(two)
    )


def test_pointwise_kernels_are_matrices():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3, 1, 1)
    np.testing.assert_array_equal(assign_lib.pointwise(kernel), kernel[:, :, 0, 0].T)
    with pytest.raises(ValueError):
        assign_lib.pointwise(np.zeros((2, 3, 3, 3)))

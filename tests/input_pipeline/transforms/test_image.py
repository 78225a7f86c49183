"""The views of a batch: what they depend on, how often, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from PIL import Image, ImageFilter, ImageOps

from input_pipeline.transforms.image import Transform

SIZE, SOURCE = 16, 40
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RAW = {"size": SIZE, "mean": (0, 0, 0), "std": (1, 1, 1)}
ALL = {
    "crop_scale": (0.3, 1.0),
    "crop_ratio": (0.75, 4 / 3),
    "min_content": 0.1,
    "flip": 0.5,
    "rotate": 0.5,
    "channel_permute": 0.5,
    "invert": 0.3,
    "levels": 0.3,
    "color_jitter": 0.8,
    "hue": 0.1,
    "grayscale": 0.2,
    "blur": 0.5,
    "solarize": 0.2,
}


def batch_of(n, seed=0):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (n, 10, 10, 3)).astype(np.uint8)
    images = coarse.repeat(4, 1).repeat(4, 2)
    return {"image": images, "id": np.arange(n, dtype=np.int64) * 7 + 3}


def views_of(augment, batch, seed=0):
    out = jax.jit(augment)(jax.random.key(seed), batch)
    return np.asarray(out["view1"]), np.asarray(out["view2"])


def one_view(batch, seed=0, **fields):
    augment = Transform(view1=fields, **RAW).augment
    return views_of(augment, batch, seed)[0]


@pytest.fixture(scope="module")
def augment():
    return Transform(size=SIZE, mean=MEAN, std=STD, view1=ALL, view2=ALL).augment


@pytest.fixture(scope="module")
def eight(augment):
    return views_of(augment, batch_of(8))


def test_adds_two_float_views_and_keeps_rest(augment):
    batch = batch_of(8) | {"label": np.arange(8)}
    out = jax.eval_shape(augment, jax.random.key(0), batch)
    assert set(out) == {"image", "id", "label", "view1", "view2"}
    for name in ("view1", "view2"):
        assert out[name].shape == (8, SIZE, SIZE, 3)
        assert out[name].dtype == jnp.float32


def test_view_does_not_depend_on_batch_around_it(augment, eight):
    batch = batch_of(8)
    rows = np.array([5, 0, 3])
    part = views_of(augment, {k: v[rows] for k, v in batch.items()})
    for whole, some in zip(eight, part, strict=True):
        np.testing.assert_allclose(some, whole[rows], atol=1e-5)


def test_view_does_not_depend_on_devices(augment, eight):
    mesh = jax.sharding.Mesh(np.array(jax.devices()), ("data",))
    sharded = jax.shard_map(
        augment,
        mesh=mesh,
        in_specs=(P(), P("data")),
        out_specs=P("data"),
        check_vma=False,
    )
    for whole, some in zip(eight, views_of(sharded, batch_of(8)), strict=True):
        np.testing.assert_allclose(some, whole, atol=1e-5)


def test_views_differ_by_seed_by_record_and_from_each_other(augment, eight):
    same = batch_of(8)
    same["image"][:] = same["image"][:1]
    first, second = views_of(augment, same)
    other_seed = views_of(augment, batch_of(8), seed=1)[0]
    assert (np.abs(first - second).max((1, 2, 3)) > 0.05).all()
    assert (np.abs(first[1:] - first[:1]).max((1, 2, 3)) > 0.05).all()
    assert (np.abs(eight[0] - other_seed).max((1, 2, 3)) > 0.05).all()


def test_second_view_is_made_from_partner(augment, eight):
    batch = batch_of(8)
    partner = batch_of(8, seed=9)["image"]
    first, second = views_of(augment, batch | {"partner_image": partner})
    np.testing.assert_allclose(first, eight[0], atol=1e-5)
    swapped = views_of(augment, batch | {"image": partner})[1]
    np.testing.assert_allclose(second, swapped, atol=1e-5)
    assert np.abs(second - eight[1]).max() > 0.1


def test_next_frame_has_second_views_fields_and_draws_of_its_own():
    flip = Transform(view1={}, view2={"flip": 1.0}, **RAW).augment
    batch = batch_of(3)
    later = batch | {"next_image": batch["image"][:, ::-1]}
    out = jax.jit(flip)(jax.random.key(0), later)
    np.testing.assert_allclose(
        out["view3"], out["view1"][:, ::-1, ::-1], rtol=1e-5, atol=1e-6
    )
    random = Transform(view1={}, view2={"crop_scale": (0.2, 0.9)}, **RAW).augment
    same = batch | {"next_image": batch["image"]}
    out = jax.jit(random)(jax.random.key(0), same)
    assert np.abs(out["view3"] - out["view2"]).max() > 0.1
    assert "view3" not in jax.jit(random)(jax.random.key(0), batch)


def test_gray_images_have_three_channels_alike():
    augment = Transform(view1={}, view2={"flip": 1.0}, **RAW).augment
    gray = batch_of(3)
    gray["image"] = gray["image"][..., :1]
    color = gray | {"image": gray["image"].repeat(3, -1)}
    for a, b in zip(views_of(augment, gray), views_of(augment, color), strict=True):
        np.testing.assert_array_equal(a, b)
    center = Transform(size=SIZE, mean=MEAN, std=STD).center
    np.testing.assert_array_equal(center(gray)["image"], center(color)["image"])


def test_fields_left_out_are_off():
    batch = batch_of(4)
    center = Transform(**RAW).center(batch)["image"]
    np.testing.assert_allclose(one_view(batch), center, atol=1e-6)


def test_center_is_whole_image_resized_and_normalized():
    batch = batch_of(3)
    got = Transform(size=SIZE, mean=MEAN, std=STD).center(batch)["image"]
    assert got.dtype == jnp.float32
    resized = [
        Image.fromarray(x).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        for x in batch["image"]
    ]
    expected = (np.stack(resized) / 255 - MEAN) / STD
    np.testing.assert_allclose(got, expected, atol=1.01 / 255 / min(STD))


def test_operations_match_pillow_in_order():
    batch = batch_of(3)
    got = one_view(batch, grayscale=1, blur=1, blur_sigma=(1, 1), solarize=1, flip=1)
    for image, view in zip(batch["image"], got, strict=True):
        expected = Image.fromarray(image).resize((SIZE, SIZE), 2).convert("L")
        expected = expected.filter(ImageFilter.GaussianBlur(1))
        expected = ImageOps.mirror(ImageOps.solarize(expected, 128)).convert("RGB")
        away = np.abs(view - np.asarray(expected) / 255) * 255
        assert away.mean() < 1.5
        assert away.max() < 8


def test_each_operation_has_its_probability():
    batch = batch_of(400)
    center = np.asarray(Transform(**RAW).center(batch)["image"])
    permuted = np.sort(center, -1)
    probe = {
        "flip": lambda v: v - center[:, :, ::-1],
        "invert": lambda v: v - (1 - center),
        "grayscale": lambda v: v - v[..., :1],
        "solarize": lambda v: v - np.where(center < 0.5, center, 1 - center),
        "channel_permute": lambda v: np.sort(v, -1) - permuted,
    }
    fields = dict.fromkeys(("flip", "invert", "grayscale", "solarize"), 0.3)
    for name, away in probe.items():
        if name == "channel_permute":
            continue
        view = one_view(batch, **{name: fields[name]})
        hit = np.abs(away(view)).max((1, 2, 3)) < 1e-5
        missed = np.abs(view - center).max((1, 2, 3)) < 1e-5
        assert (hit ^ missed).all(), name
        assert abs(hit.mean() - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 400), name
    view = one_view(batch, channel_permute=0.6)
    assert np.abs(probe["channel_permute"](view)).max() < 1e-5
    moved = np.abs(view - center).max((1, 2, 3)) > 1e-3
    assert abs(moved.mean() - 0.5) < 0.1  # one of the six orders moves nothing


@pytest.mark.parametrize("name", ["levels", "color_jitter", "blur", "rotate"])
def test_probability_gates_its_operation(name):
    batch = batch_of(400)
    still = one_view(batch)
    changed = np.abs(one_view(batch, **{name: 0.4}) - still).max((1, 2, 3)) > 1e-3
    assert abs(changed.mean() - 0.4) < 0.1


def test_levels_map_black_and_white_to_any_colors():
    batch = batch_of(200)
    still, view = one_view(batch), one_view(batch, levels=1)
    ends = []
    for x, y in zip(still.reshape(200, -1, 3), view.reshape(200, -1, 3), strict=True):
        for channel in range(3):
            design = np.stack([1 - x[:, channel], x[:, channel]], 1).astype(float)
            found, residue, *_ = np.linalg.lstsq(design, y[:, channel], rcond=None)
            assert residue < 1e-8
            ends.append(found)
    ends = np.stack(ends)  # [600, 2]: where black and white went
    assert ends.min() > -1e-3
    assert ends.max() < 1 + 1e-3
    np.testing.assert_allclose(ends.mean(0), 0.5, atol=0.05)
    np.testing.assert_allclose(ends.std(0), 12**-0.5, atol=0.03)
    assert abs(np.corrcoef(ends.T)[0, 1]) < 0.15


def test_draws_do_not_depend_on_other_operations():
    batch = batch_of(64)
    fields = {"crop_scale": (0.3, 1.0), "crop_ratio": (0.75, 4 / 3)}
    plain = one_view(batch, **fields)
    view = one_view(batch, **fields, grayscale=0.5, blur=0.5, hue=0.1)
    untouched = np.abs(view - plain).max((1, 2, 3)) < 1e-6
    assert 5 < untouched.sum() < 30


def test_degenerate_images_give_finite_views(augment):
    batch = batch_of(8)
    batch["image"][:3] = np.array([0, 128, 255], np.uint8)[:, None, None, None]
    batch["id"][:] = [0, -1, 2**31 - 1, 5, 5, 5, 5, 5]
    for view in views_of(augment, batch):
        assert np.isfinite(view).all()
        inside = view * np.float32(STD) + np.float32(MEAN)
        assert inside.min() > -1e-5
        assert inside.max() < 1 + 1e-5


def test_source_of_another_shape_is_accepted():
    images = np.zeros((2, 33, 70, 3), np.uint8)
    images[:, :, 35:] = 255
    view = one_view({"image": images, "id": np.arange(2)}, flip=1.0)
    assert (view[:, :, :7] > 0.99).all()
    assert (view[:, :, 9:] < 0.01).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"brightnes": 0.4}, r"view1: got brightnes; .*did you mean .brightness."),
        ({"solarise": 0.4}, "did you mean .solarize."),
        ({"blur": 1.5}, r"view1\.blur: got 1.5; expected a float from 0 to 1"),
        ({"flip": float("nan")}, "view1.flip: got nan"),
        ({"crop_scale": (0.5, 0.2)}, r"crop_scale: got \(0.5, 0.2\); .* low <= high"),
        ({"crop_scale": (0.5, 1.2)}, "crop_scale: got .*1.2.*; .* at most 1"),
        ({"crop_ratio": (0.0, 1.0)}, "crop_ratio: got .0.0, 1.0.; .* above 0"),
        ({"contrast": -0.1}, "contrast: got -0.1; expected a float from 0 to 10"),
        ({"hue": 0.7}, "hue: got 0.7; expected a float from 0 to 0.5"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Transform(view1=fields, **RAW)


def test_wrong_images_and_normalizations_are_refused():
    center = Transform(**RAW).center
    with pytest.raises(ValueError, match="uint8"):
        center({"image": np.zeros((2, 8, 8, 3), np.float32)})
    with pytest.raises(ValueError, match="std: got .1, 0, 1.; .* above 0"):
        Transform(size=8, mean=MEAN, std=(1, 0, 1))
    with pytest.raises(ValueError, match="size"):
        Transform(size=0, mean=MEAN, std=STD)


def test_images_undo_normalization_of_views():
    """Subtracting and dividing is undone: what people see lies in 0..1 again."""
    images = np.random.default_rng(3).integers(0, 256, (4, 24, 24, 3), np.uint8)
    records = {"image": images, "id": np.arange(4, dtype=np.int32)}
    fields = {"size": 24, "view1": {}, "view2": {}}
    colored = fields | {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
    show = Transform(**colored).images
    assert show(records, None) is images
    key = jax.random.key(0)
    seen = Transform(**colored).view("view1", key, records)["image"]
    plain = fields | {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    expected = Transform(**plain).view("view1", key, records)["image"]
    np.testing.assert_allclose(show(records, seen), expected, atol=1e-5)
    # A view of nothing but its crop of all is the image itself.
    np.testing.assert_allclose(show(records, seen), images / 255, atol=1e-2)

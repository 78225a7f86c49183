"""Views of frames: each operation against its formula, and what views depend on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from input_pipeline.transforms import ultrasound
from input_pipeline.transforms.ultrasound import Transform

SIZE = (12, 16)
OFF = {"view1": {}, "view2": {}, "moved": {}}


def batch(n=3, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.random((n, *size)), (0, 1, 1))
    image = np.uint8(np.round(255 * (smooth - smooth.min()) / np.ptp(smooth)))[
        ..., None
    ]
    return {"image": jnp.asarray(image), "id": jnp.arange(n, dtype=jnp.int32)}


def views(given=None, key=0, **fields):
    given = batch() if given is None else given
    augment = Transform(size=SIZE, **OFF | fields).augment
    return jax.jit(augment)(jax.random.key(key), given)


def drawn(view, name, ids, index=0, key=0):
    """The uniform number that a record draws for an operation."""
    found = []
    for record in ids:
        own = jax.random.fold_in(jax.random.fold_in(jax.random.key(key), record), index)
        numbers = jax.random.uniform(own, (len(ultrasound._DRAWS),))
        found.append(float(numbers[ultrasound._DRAWS.index(name)]))
    return np.array(found)


def test_view_without_operations_is_frame():
    given = batch()
    out = views(given, mean=0.25, std=0.5, channels=3)
    expected = (np.float64(given["image"]) / 255 - 0.25) / 0.5
    for name in ("view1", "view2"):
        assert out[name].shape == (3, *SIZE, 3)
        np.testing.assert_allclose(
            out[name], np.repeat(expected, 3, -1), rtol=1e-5, atol=1e-6
        )
    transform = Transform(size=SIZE, mean=0.25, std=0.5, channels=3)
    np.testing.assert_allclose(
        transform.center(given)["image"], out["view1"], atol=1e-6
    )


@pytest.mark.parametrize(
    ("name", "value", "formula"),
    [
        ("gain", 0.3, lambda x, u: x + u * 0.3),
        ("contrast", 0.5, lambda x, u: 0.5 + (x - 0.5) * (1 + 0.5 * u)),
        ("gamma", 0.5, lambda x, u: x ** (1 + 0.5 * u)),
        (
            "time_gain",
            0.5,
            lambda x, u: x * (1 + 0.5 * u * np.linspace(-1, 1, SIZE[0])[:, None]),
        ),
    ],
)
def test_brightness_is_changed_by_formula(name, value, formula):
    given = batch()
    out = views(given, view1={name: value})["view1"][..., 0]
    x = np.float64(given["image"][..., 0]) / 255
    for i, u in enumerate(drawn({name: value}, name, range(3))):
        expected = np.clip(formula(x[i], 2 * u - 1), 0, 1)
        np.testing.assert_allclose(out[i], expected, atol=1e-5)
        assert np.abs(expected - x[i]).max() > 0.01


def test_shift_and_rotation_match_scipy():
    given = batch(6)
    fields = {"shift": 0.2, "rotate": 20.0, "crop": 0.8, "flip": 0.5}
    out = views(given, view1=fields)["view1"][..., 0]
    h, w = SIZE
    u = {
        name: drawn(fields, name, range(6))
        for name in ("crop", "angle", "row", "column", "flip")
    }
    flips = set()
    for i in range(6):
        keep = 1 - u["crop"][i] * 0.2
        angle = np.deg2rad((2 * u["angle"][i] - 1) * 20)
        room = 0.2 + (1 - keep) / 2
        middle = np.array([(h - 1) / 2, (w - 1) / 2])
        moved = (2 * np.array([u["row"][i], u["column"][i]]) - 1) * room * [h, w]
        mirror = -1 if u["flip"][i] < 0.5 else 1
        flips.add(mirror)
        turn = keep * np.array(
            [
                [np.cos(angle), mirror * np.sin(angle)],
                [-np.sin(angle), mirror * np.cos(angle)],
            ]
        )
        x = np.float64(given["image"][i, ..., 0]) / 255
        offset = middle - turn @ middle + moved
        expected = ndimage.affine_transform(x, turn, offset, order=1, mode="nearest")
        np.testing.assert_allclose(out[i], expected, atol=2e-4)
    assert flips == {-1, 1}


def test_speckle_multiplies_by_noise_of_its_deviation():
    given = batch(8, (64, 64))
    flat = given | {"image": jnp.full((8, 64, 64, 1), 102, jnp.uint8)}
    augment = Transform(size=(64, 64), view1={"speckle": 0.2}).augment
    x = np.asarray(augment(jax.random.key(0), flat)["view1"])
    assert x.mean() == pytest.approx(0.4, abs=0.002)
    assert (x / 0.4).std() == pytest.approx(0.2, abs=0.003)


def test_another_size_is_resized_with_antialiasing():
    given = batch(2, (24, 32))
    out = views(given)["view1"][..., 0]
    # Twice the size: each output pixel is a triangle of four inputs a side.
    x = np.float64(given["image"][..., 0]) / 255
    kernel = np.array([1, 3, 3, 1]) / 8
    wide = ndimage.correlate1d(x, kernel, axis=1, origin=0, mode="nearest")
    both = ndimage.correlate1d(wide, kernel, axis=2, origin=0, mode="nearest")
    inner = both[:, 1::2, 1::2][:, 1:-1, 1:-1]
    np.testing.assert_allclose(out[:, 1:-1, 1:-1], inner, atol=1e-5)


def test_views_depend_on_key_record_and_view_alone():
    fields = {"shift": 0.1, "gamma": 0.5, "speckle": 0.3}
    sections = {"view1": fields, "view2": fields, "moved": fields}
    whole = batch(4)
    out = views(whole, **sections)
    some = {name: x[jnp.array([2, 0])] for name, x in whole.items()}
    again = views(some, **sections)
    # Programs for 4 and for 2 records may round differently.
    same = out["view1"][jnp.array([2, 0])]
    np.testing.assert_allclose(again["view1"], same, atol=1e-5)
    assert np.abs(out["view1"] - out["view2"]).max() > 0.05
    other = views(whole, key=1, **sections)
    assert np.abs(out["view1"] - other["view1"]).max() > 0.05
    for index, view in enumerate(("view1", "view2")):
        transform = Transform(size=SIZE, **sections)
        shown = transform.view(view, jax.random.key(0), whole)["image"]
        np.testing.assert_allclose(shown, out[f"view{index + 1}"], atol=1e-6)
    transform = Transform(size=SIZE, **sections)
    shown = transform.view("moved", jax.random.key(0), whole)["image"]
    for view in ("view1", "view2"):
        assert np.abs(shown - out[view]).max() > 0.05


def test_next_frame_has_view_of_its_own():
    given = batch()
    later = given | {"next_image": 255 - given["image"]}
    out = views(later, mean=0.0, std=1.0)
    np.testing.assert_allclose(out["view3"] + out["view1"], 1, atol=1e-5)
    assert "view3" not in views(given)


def test_images_undo_normalization():
    given = batch()
    fields = {"mean": 0.3, "std": 0.25, "channels": 3}
    transform = Transform(size=SIZE, **fields)
    center = transform.center(given)["image"]
    shown = transform.images(given, center)
    assert shown.shape == (3, *SIZE, 1)
    np.testing.assert_allclose(shown, np.float64(given["image"]) / 255, atol=1e-6)
    assert transform.images(given, None).dtype == np.uint8
    columns = transform.preview(jax.random.key(0), given)
    assert len(columns) == len(transform.preview_titles) == 5
    assert transform.input_shape == (*SIZE, 3)


def test_facts_name_fields_of_moved_view_that_are_on():
    transform = Transform(size=SIZE, moved={"shift": 0.1, "gamma": 0.0})
    assert transform.facts() == {"moved": {"shift": 0.1}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"view1": {"blur": 0.5}}, "view1: got blur; choices: crop, rotate"),
        ({"moved": {"flip": 1.5}}, "moved.flip: got 1.5; expected a float from 0 to 1"),
        ({"view2": {"crop": 0.0}}, "view2.crop: got 0.0"),
        ({"view2": {"shift": -0.1}}, "view2.shift: got -0.1"),
        ({"channels": 2}, "channels: got 2; expected a choice of 1, 3"),
        ({"std": 0.0}, "std: got 0.0"),
        ({"size": (8,)}, r"size: got \(8,\); expected a tuple of 2"),
    ],
)
def test_fields_out_of_range_are_named(fields, message):
    with pytest.raises(ValueError, match=message):
        Transform(**{"size": SIZE, **fields})


def test_images_in_color_are_no_frames():
    given = batch()
    color = given | {"image": jnp.repeat(given["image"], 3, -1)}
    with pytest.raises(
        ValueError, match=r"got frames uint8 .* expected uint8 \[n, h, w, 1\]"
    ):
        views(color)
    with pytest.raises(ValueError, match="got view 'view3'; choices: view1, view2"):
        Transform(size=SIZE).view("view3", jax.random.key(0), given)

"""Views of scans against a plain two-dimensional simulation in double precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.physics import coils as coils_lib
from input_pipeline.physics import kspace_masks, mri_scanner
from input_pipeline.transforms.undersampling import Transform

SIZE, COILS, N = 32, 3, 5
VIEWS = {
    "view1": {"acceleration": 4.0, "center_fraction": 0.08},
    "view2": {"acceleration": 8.0, "center_fraction": 0.04},
}
KEY = jax.random.key(7)


def fields(**more):
    return {"size": SIZE, "coils": COILS, "snr": 0.0, **VIEWS} | more


def phantoms(n=N, seed=0, first=0):
    index = np.arange(first, first + n)
    columns = np.stack([np.full(n, seed), index, np.zeros(n)], 1)
    return {"phantom": columns.astype(np.uint32), "id": index.astype(np.int32)}


def scans(n=N):
    rng = np.random.default_rng(0)
    k = rng.standard_normal((2, n, COILS, SIZE, SIZE))
    return {
        "kspace": (k[0] + 1j * k[1]).astype(np.complex64),
        "id": np.arange(n, dtype=np.int32),
    }


def photographs(n=N, size=SIZE):
    images = np.random.default_rng(1).integers(0, 256, (n, size, size, 3), np.uint8)
    return {"image": images, "id": np.arange(n, dtype=np.int32)}


BATCHES = {"phantom": phantoms, "kspace": scans, "image": photographs}


def view_function(name, **more):
    """`(rng, batch) -> batch` with a view as image."""
    return functools.partial(Transform(**fields(**more)).view, name)


def as_complex(x):
    """[n, h, w, 2 c] -> [n, c, h, w]."""
    x = np.moveaxis(np.float64(x), -1, 1)
    return x[:, : x.shape[1] // 2] + 1j * x[:, x.shape[1] // 2 :]


def fft2c(x):
    axes = (-2, -1)
    x = np.fft.fft2(np.fft.ifftshift(x, axes), axes=axes, norm="ortho")
    return np.fft.fftshift(x, axes)


def ifft2c(k):
    axes = (-2, -1)
    k = np.fft.ifft2(np.fft.ifftshift(k, axes), axes=axes, norm="ortho")
    return np.fft.fftshift(k, axes)


def unit_power(x):
    return x / np.sqrt((np.abs(x) ** 2).sum(1).mean((1, 2)))[:, None, None, None]


def whole(batch, **more):
    transform = Transform(**fields(**more))
    return as_complex(jax.jit(transform.center)(batch)["image"])


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize("view", VIEWS)
def test_view_matches_fft_mask_ifft(kind, view):
    batch = BATCHES[kind]()
    see = jax.jit(view_function(view, offset=1))
    table = kspace_masks.mask_table("equispaced", SIZE, **VIEWS[view])
    k = fft2c(whole(batch)) * table[1]
    expected = unit_power(ifft2c(k))
    found = as_complex(see(KEY, batch)["image"])
    np.testing.assert_allclose(found, expected, atol=2e-5 * np.abs(expected).max())


def test_coils_see_object_and_keep_its_phase():
    """The whole scan is the image times the sensitivities, over one number."""
    batch = photographs()
    gray = batch["image"].mean(-1) / 255
    maps = np.asarray(coils_lib.sensitivities("birdcage", COILS, SIZE, SIZE))
    expected = unit_power(gray[:, None] * maps[None])
    np.testing.assert_allclose(whole(batch), expected, atol=1e-5)


def test_measured_scans_keep_their_phase():
    batch = scans()
    ratio = whole(batch) / ifft2c(np.complex128(batch["kspace"]))
    np.testing.assert_allclose(ratio.imag, 0, atol=1e-4)
    spread = ratio.real.std((1, 2, 3)) / ratio.real.mean((1, 2, 3))
    assert (spread < 1e-4).all()
    assert (ratio.real > 0).all()


def test_point_has_ghosts_at_comb_spacing():
    """R-fold aliasing without a middle: R copies of equal height, width / R apart."""
    image = np.zeros((1, SIZE, SIZE, 3), np.uint8)
    image[0, 10, 13] = 255
    batch = {"image": image, "id": np.zeros(1, np.int32)}
    own = {"acceleration": 4.0, "center_fraction": 0.01}  # one line, that of offset 0
    see = view_function("view1", view1=own, offset=0, coils=1)
    found = np.abs(as_complex(see(KEY, batch)["image"]))[0, 0]
    assert kspace_masks.mask_table("equispaced", SIZE, **own)[0].sum() == SIZE // 4
    height = found.max()
    bright = np.argwhere(found > 0.5 * height).tolist()
    assert bright == [[10, 5], [10, 13], [10, 21], [10, 29]]
    values = [found[tuple(at)] for at in bright]
    # The transform is centered, so a comb from line 0 has all copies in step.
    np.testing.assert_allclose(values, height, rtol=1e-4)
    found[tuple(np.transpose(bright))] = 0
    assert found.max() < 1e-4 * height


def noise_of(batch, rng, view, snr):
    """What noise added to the measured lines, in units of the object's power."""
    clean = view_function(view, offset=0)
    noisy = view_function(view, offset=0, snr=snr)
    k = [fft2c(as_complex(jax.jit(see)(rng, batch)["image"])) for see in (clean, noisy)]
    lines = kspace_masks.mask_table("equispaced", SIZE, **VIEWS[view])[0]
    assert np.abs(k[1][..., ~lines]).max() < 1e-4  # nothing where nothing is measured
    full = fft2c(whole(batch))[..., lines]
    for i, one in enumerate(k):
        # Undo the normalization by what the clean measurement must be.
        k[i] = one[..., lines]
    scale = (full.conj() * k[0]).sum((1, 2, 3)).real / (np.abs(full) ** 2).sum(
        (1, 2, 3)
    )
    power = (np.abs(k[0]) ** 2).sum((1, 2, 3)) / scale**2
    # |clean + noise| and |clean| have been divided by their own roots of power.
    return k, full, power, scale, lines


def test_noise_has_power_that_was_asked_for():
    batch, snr = phantoms(n=16), 2.0
    k, full, *_, lines = noise_of(batch, KEY, "view1", snr)
    measured = SIZE * lines.sum() * COILS
    # noisy = (full + e) / s with s² = |full + e|² / area; e is orthogonal in the mean.
    for one, clean in zip(k[1], full, strict=True):
        a = np.vdot(clean, one) / np.vdot(clean, clean)
        rest = one / a - clean
        variance = (np.abs(rest) ** 2).sum() / measured
        expected = 1 / snr**2  # the object has power 1
        assert variance == pytest.approx(expected, rel=0.12)


def test_noise_of_two_views_is_independent():
    """Noise shared by both views would be a fingerprint that solves the task."""
    same = {"acceleration": 4.0, "center_fraction": 0.08}
    own = fields(view1=same, view2=same, offset=0, rotate=0.0, shift=0.0)
    clean = jax.jit(Transform(**own).augment)(KEY, phantoms())
    noisy = jax.jit(Transform(**own | {"snr": 3.0}).augment)(KEY, phantoms())
    np.testing.assert_allclose(clean["view1"], clean["view2"], atol=1e-5)
    rest = [np.ravel(noisy[v] - clean[v]) for v in VIEWS]
    assert min(map(np.std, rest)) > 0.05
    assert abs(np.corrcoef(rest[0], rest[1])[0, 1]) < 0.2
    again = jax.jit(Transform(**own | {"snr": 3.0}).augment)(KEY, phantoms())
    np.testing.assert_array_equal(noisy["view1"], again["view1"])


def test_training_moves_object_and_not_mask():
    own = fields(offset=2, rotate=20.0, shift=3.0)
    made = jax.jit(Transform(**own).augment)(KEY, phantoms())
    still = jax.jit(view_function("view1", **own))(KEY, phantoms())["image"]
    assert np.abs(made["view1"] - still).max() > 0.5
    for view in VIEWS:
        lines = kspace_masks.mask_table("equispaced", SIZE, **VIEWS[view])[2]
        k = fft2c(as_complex(made[view]))
        assert np.abs(k[..., ~lines]).max() < 1e-4
        assert np.abs(k[..., lines]).max() > 1


@pytest.mark.parametrize("kind", BATCHES)
def test_view_depends_on_key_and_record_alone(kind):
    augment = jax.jit(Transform(**fields(snr=5.0)).augment)
    batch = BATCHES[kind]()
    made = augment(KEY, batch)
    part = augment(KEY, {name: x[2:4] for name, x in batch.items()})
    other = augment(jax.random.key(8), batch)
    for view in VIEWS:
        np.testing.assert_allclose(part[view], made[view][2:4], atol=1e-5)
        assert np.abs(other[view] - made[view]).max() > 0.1


def test_contrast_is_power_of_magnitude_and_keeps_phase():
    own = fields(rotate=0.0, shift=0.0, offset=0)
    full = {"acceleration": 1.0, "center_fraction": 1.0}  # every line: nothing is lost
    own |= {"view1": full, "view2": full}
    batch = photographs()
    plain = as_complex(jax.jit(Transform(**own).augment)(KEY, batch)["view1"])
    other = jax.jit(Transform(**own, contrast=1.0).augment)(KEY, batch)
    found = as_complex(other["view1"])
    for x, y in zip(plain, found, strict=True):
        np.testing.assert_allclose(np.angle(x * y.conj()), 0, atol=1e-2)
        r, s = (np.sqrt((np.abs(v) ** 2).sum(0)) for v in (x, y))
        bright = r > 0.1 * r.max()
        power, _ = np.polyfit(np.log(r[bright]), np.log(s[bright]), 1)
        rest = np.log(s[bright]) - np.polyval(
            np.polyfit(np.log(r[bright]), np.log(s[bright]), 1), np.log(r[bright])
        )
        assert 0.5 <= power <= 2
        assert np.abs(rest).max() < 1e-2
    assert np.abs(found - plain).max() > 0.1
    still = view_function("view1", **own, contrast=1.0)
    np.testing.assert_allclose(
        as_complex(jax.jit(still)(KEY, batch)["image"]), plain, atol=1e-4
    )


def test_moves_of_images_are_those_of_phantoms():
    """A drawn phantom turned and shifted equals its image turned and shifted."""
    scanner = Transform(size=64, coils=1)._scanner
    batch = phantoms(n=2)
    angle, shift = jnp.array([0.2, -0.1]), jnp.array([[3.0, -2.0], [0.0, 4.0]])
    draw = jax.jit(jax.vmap(scanner._phantom))
    drawn = draw(batch["phantom"], angle, shift)
    still = draw(batch["phantom"], 0 * angle, 0 * shift)
    moved = jax.jit(jax.vmap(mri_scanner._move))(still, angle, shift)
    inside = np.s_[:, 12:52, 12:52]  # what comes in from outside is 0, not ground
    apart = np.abs(drawn - moved)[inside]
    # Half a pixel along every edge is what interpolation costs.
    assert apart.mean() < 0.02 < 0.06 < np.abs(drawn - still)[inside].mean()


@pytest.mark.parametrize("mask", ["equispaced", "equispaced_fraction"])
def test_facts_hold_achieved_acceleration(mask):
    own = fields(size=128, mask=mask)
    told = Transform(**own).facts()
    made = jax.jit(Transform(**own).augment)(KEY, phantoms(n=8))
    for i, view in enumerate(VIEWS):
        table = kspace_masks.mask_table(mask, 128, **VIEWS[view])
        true = 128 / table.sum(1)
        fact = told[f"acceleration_{view}"]
        assert fact["asked"] == VIEWS[view]["acceleration"]
        assert fact["least"] == pytest.approx(true.min(), abs=1e-3)
        assert fact["largest"] == pytest.approx(true.max(), abs=1e-3)
        mean = float(made["diag"][f"acceleration_{i + 1}"])
        assert fact["least"] - 1e-3 <= mean <= fact["largest"] + 1e-3
    if mask == "equispaced":
        assert told["acceleration_view1"]["largest"] < 3.3
        assert told["acceleration_view2"]["largest"] < 6.5


def test_root_of_sum_of_squares_is_one_channel():
    channels = jax.jit(view_function("view2", offset=0))
    root = jax.jit(view_function("view2", offset=0, combine="rss"))
    x = as_complex(channels(KEY, phantoms())["image"])
    found = root(KEY, phantoms())["image"]
    assert found.shape == (N, *Transform(**fields(combine="rss")).input_shape)
    expected = np.sqrt((np.abs(x) ** 2).sum(1))
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-5)
    shown = Transform(**fields()).images
    seen = channels(KEY, phantoms())["image"]
    np.testing.assert_allclose(
        shown(phantoms(), seen)[..., 0],
        expected / expected.max((1, 2), keepdims=True),
        atol=1e-5,
    )


def test_images_of_another_size_are_brought_to_size():
    see = jax.jit(
        view_function(
            "view1",
        )
    )
    assert see(KEY, photographs(size=48))["image"].shape == (N, SIZE, SIZE, 2 * COILS)


def test_preview_shows_how_each_view_comes_about():
    transform = Transform(**fields(snr=10.0))
    titles = transform.preview_titles
    shown = dict(zip(titles, jax.jit(transform.preview)(KEY, phantoms()), strict=True))
    assert list(titles) == [
        "object", "mask 1", "k-space 1", "zero-filled 1", "mask 2", "k-space 2",
        "zero-filled 2",
    ]  # fmt: skip
    for title, images in shown.items():
        assert images.shape == (N, SIZE, SIZE, 1), title
        assert 0 <= images.min() < images.max() <= 1, title
    lines = np.asarray(shown["mask 2"])[:, 0, :, 0] > 0
    dark = np.asarray(shown["k-space 2"])[..., 0].max(1) == 0  # [n, w]
    np.testing.assert_array_equal(dark, ~lines)


def test_empty_image_has_finite_views():
    batch = {"image": np.zeros((1, SIZE, SIZE, 3), np.uint8), "id": np.zeros(1, int)}
    made = jax.jit(Transform(**fields(snr=10.0)).augment)(KEY, batch)
    assert all(np.isfinite(made[view]).all() for view in VIEWS)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"size": 4}, "size: got 4"),
        ({"coils": 33}, "coils: got 33"),
        (
            {"combine": "sum"},
            "combine: got 'sum'; expected a choice of 'channels'",
        ),
        ({"sensitivities": "none"}, "sensitivities: got 'none'; expected a choice"),
        ({"mask": "random"}, "mask: got 'random'; expected a choice"),
        ({"snr": -1.0}, "snr: got -1"),
        ({"offset": 4}, "view1: offset is 4; its comb has 4 offsets"),
        ({"view1": {"acceleration": 4.0}}, "view1: got fields"),
        (
            {"view2": {"acceleration": 0.0, "center_fraction": 0.1}},
            "view2.acceleration: got 0.0",
        ),
    ],
)
def test_faults_are_named(more, message):
    with pytest.raises(ValueError, match=message):
        Transform(**fields(**more))


def test_scans_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 32, 32\]; expected \[8, 32, 32\]"):
        Transform(**fields(coils=8)).center(scans())

"""Phantoms against a loop over pixels, and by what a head has to look like."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.physics import phantoms as lib

SIZE = 48

draw = jax.jit(lib.draw_ellipses)
render = jax.jit(lib.render, static_argnums=(1, 2))


@functools.partial(jax.jit, static_argnums=(2, 3))
def phantom(seed, near_duplicate=0, height=SIZE, width=SIZE):
    return lib.render(
        lib.draw_ellipses(jax.random.key(seed), near_duplicate), height, width
    )


def test_render_matches_loop_over_pixels():
    made = lib.Ellipses(
        jnp.float32(0.1),
        jnp.array([[0.0, 0.0], [0.2, -0.3], [0.0, 0.0]]),
        jnp.array([[0.9, 0.6], [0.3, 0.1], [0.0, 0.0]]),
        jnp.array([0.0, 0.7, 0.0]),
        jnp.array([0.9, 0.3, 1.0]),  # the last one has no extent
    )
    found = lib.render(made, 12, 16)
    for i in range(12):
        for j in range(16):
            value = 0.1
            for k in range(2):
                y = (2 * i + 1) / 12 - 1 - float(made.center[k, 0])
                x = (2 * j + 1) / 16 - 1 - float(made.center[k, 1])
                a, b = map(float, made.axes[k])
                c, s = np.cos(float(made.angle[k])), np.sin(float(made.angle[k]))
                r = np.sqrt(((c * y - s * x) / a) ** 2 + ((s * y + c * x) / b) ** 2)
                cover = min(max((1 - r) * min(a, b) / (2 / 12) + 0.5, 0), 1)
                value += cover * (float(made.value[k]) - value)
            assert found[i, j] == pytest.approx(value, abs=1e-5)


def test_phantom_depends_on_its_key_alone_and_keys_differ():
    np.testing.assert_array_equal(phantom(3), phantom(3))
    batch = jax.vmap(lambda seed: phantom(seed))(jnp.arange(4))
    np.testing.assert_allclose(batch[3], phantom(3), atol=1e-5)
    assert np.abs(batch[1] - batch[2]).mean() > 0.05


def test_phantoms_have_documented_proportions():
    for seed in range(40):
        made = draw(jax.random.key(seed))
        axes, value = np.asarray(made.axes), np.asarray(made.value)
        head, brain, inner, extra = axes[0], axes[1], axes[2:10], axes[10]
        assert 0.7 <= head[0] <= 1.0
        assert 1.2 <= head[0] / head[1] <= 1.6
        assert (brain < head).all()
        assert 4 <= (inner[:, 0] > 0).sum() <= 8
        shares = inner[inner[:, 0] > 0] / brain
        assert ((shares > 0.0999) & (shares < 0.3001)).all()
        assert (extra == 0).all()
        assert 0 <= made.ground <= 0.1
        assert 0.9 <= value[0] <= 1.0
        assert 0.4 <= value[1] <= 0.6
        dark_or_light = (value[2:] >= 0.1) & (value[2:] <= 0.3)
        dark_or_light |= (value[2:] >= 0.7) & (value[2:] <= 0.9)
        assert dark_or_light.all()
        image = phantom(seed)
        assert image.min() >= 0
        assert image.max() <= 1


def test_structures_vary_in_number_and_stay_inside_head():
    counts = set()
    for seed in range(40):
        made = draw(jax.random.key(seed))
        counts.add(int((made.axes[2:10, 0] > 0).sum()))
        blank = made._replace(value=made.value.at[2:].set(5.0))
        image = np.asarray(render(blank, SIZE, SIZE))
        outside = np.asarray(
            render(made._replace(axes=made.axes.at[1:].set(0)), SIZE, SIZE)
        )
        # Nothing is painted where not even the skull is.
        ground = outside <= float(made.ground) + 1e-6
        np.testing.assert_allclose(image[ground], float(made.ground), atol=1e-6)
    assert counts == {4, 5, 6, 7, 8}


def test_near_duplicate_phantoms_differ_in_one_small_ellipse():
    for seed in range(10):
        plain, first, second = (np.asarray(phantom(seed, t)) for t in (0, 1, 2))
        for near_duplicate in (first, second):
            changed = np.abs(near_duplicate - plain) > 1e-6
            assert 0 < changed.mean() < 0.02
            rows, columns = np.nonzero(changed)
            assert max(np.ptp(rows), np.ptp(columns)) < 0.15 * SIZE
        assert (first != second).any()


def test_decode_accepts_any_shape():
    assert phantom(0, 0, 20, 31).shape == (20, 31)

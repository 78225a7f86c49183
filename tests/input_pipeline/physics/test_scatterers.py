"""Scatterers against what theory says of speckle, and against the formulas."""

import numpy as np
import pytest

from input_pipeline.physics import scatterers as lib

PROBE = lib.Probe(64, 80)


@pytest.fixture(scope="module")
def tissue():
    return lib.draw_tissue(np.random.default_rng(0))


def homogeneous(seed):
    """Tissue of echogenicity 1 everywhere, beyond the edges too."""
    rng = np.random.default_rng(seed)
    return lib.scattered(rng, (-5.0, -5.0), np.add(lib.FIELD, 5.0))


def one(depth, width, follows=1.0, creep=0.0):
    return lib.Tissue(
        rest=np.array([[depth, width]]),
        amplitude=np.ones(1, complex),
        follows=np.array([follows]),
        creep=np.array([creep]),
        swing=(3.0, 6.0),
        loss=0.0,
        contact=np.zeros(5),
    )


def envelope(position, amplitude):
    return np.hypot(*PROBE.echo(position, amplitude))


def test_echo_matches_sum_over_scatterers():
    rng = np.random.default_rng(0)
    position = rng.uniform((2, 2), (30, 38), (20, 2))
    amplitude = rng.standard_normal(20) + 1j * rng.standard_normal(20)
    z, x = PROBE.places
    expected = np.zeros((64, 80), complex)
    for (depth, width), a in zip(position, amplitude, strict=True):
        down = np.exp(-0.5 * ((z - depth) / lib.SIGMA[0]) ** 2)
        across = np.exp(-0.5 * ((x - width) / lib.SIGMA[1]) ** 2)
        turned = a * np.exp(-4j * np.pi * depth / lib.WAVELENGTH)
        expected += turned * np.outer(down, across)
    expected /= np.sqrt(np.pi * lib.SIGMA[0] * lib.SIGMA[1] * lib.DENSITY)
    real, imaginary = PROBE.echo(position, amplitude)
    # The grid blurs a scatterer a little.
    worst = 0.06 * np.abs(expected).max()
    np.testing.assert_allclose(real + 1j * imaginary, expected, atol=worst)


def test_speckle_is_fully_developed():
    """Rayleigh: mean over standard deviation is sqrt(pi / (4 - pi)) = 1.913."""
    a = np.stack([envelope(*homogeneous(k)) for k in range(20)]).astype(np.float64)
    assert a.mean() / a.std() == pytest.approx(np.sqrt(np.pi / (4 - np.pi)), rel=0.03)
    assert (a**2).mean() == pytest.approx(1.0, rel=0.06)
    median = np.median(a**2) / (a**2).mean()
    assert median == pytest.approx(np.log(2), rel=0.04)


def test_speckle_is_as_wide_as_beam():
    """The field's correlation at distance d is exp(-d^2 / (4 s^2))."""
    echoes = [PROBE.echo(*homogeneous(k)) for k in range(20)]
    field = np.stack([real + 1j * imaginary for real, imaginary in echoes])
    power = (np.abs(field) ** 2).mean()
    for axis, sigma in ((1, lib.SIGMA[0]), (2, lib.SIGMA[1])):
        step = lib.FIELD[axis - 1] / field.shape[axis]
        ahead = np.roll(field, -1, axis)
        both = np.take(field * ahead.conj(), np.arange(field.shape[axis] - 1), axis)
        expected = np.exp(-((step / sigma) ** 2) / 4)
        assert np.abs(both.mean()) / power == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("phase", [0.0, 0.15, 0.5, 0.9])
def test_scatterer_is_where_formula_says(phase):
    tissue = one(15.0, 20.0, follows=0.5, creep=0.2)
    position = lib.displaced(tissue, phase, time=2.0)
    turn = 2 * np.pi * phase
    expected = [15 + 0.5 * 3 * np.sin(turn) + 0.4, 20 + 0.5 * 6 * np.cos(turn)]
    np.testing.assert_allclose(position, [expected], atol=1e-12)
    power = envelope(position, tissue.amplitude) ** 2
    z, x = PROBE.places
    center = (power.sum(1) @ z, power.sum(0) @ x) / power.sum()
    np.testing.assert_allclose(center, expected, atol=0.03)


def test_skin_and_bone_stay_and_aponeurosis_goes_round(tissue):
    n = np.flatnonzero(tissue.creep)[-1] + 1
    skin, above, deep, bone = tissue.follows[n:].reshape(4, -1)
    for still in (skin, above, bone):
        np.testing.assert_allclose(still, 0, atol=1e-9)
    np.testing.assert_allclose(deep, 1, atol=1e-9)
    assert 0 <= tissue.follows.min() <= tissue.follows.max() <= 1
    between = tissue.follows[(tissue.follows > 0) & (tissue.follows < 1)]
    assert len(between) > 0.3 * n


def test_no_scatterer_passes_another(tissue):
    """Depth along a vertical line keeps its order at every phase."""
    column = np.argsort(tissue.rest[:, 0])
    column = column[np.abs(tissue.rest[column, 1] - 20) < 0.2]
    for phase in (0.25, 0.75):
        depth = lib.displaced(tissue, phase, 0.0)[column, 0]
        assert np.diff(depth).min() > -0.05


def test_phase_comes_back_with_other_speckle(tissue):
    first, soon, later, other = (
        envelope(lib.displaced(tissue, phase, time), tissue.amplitude)[8:48]
        for phase, time in ((0.1, 0.0), (0.1, 0.04), (0.1, 1.28), (0.6, 0.0))
    )
    alike = [np.corrcoef(first.ravel(), a.ravel())[0, 1] for a in (soon, later, other)]
    assert alike[0] > 0.98
    assert alike[0] > alike[1] > alike[2]


def test_phase_rises_through_cycles():
    starts = []
    for seed in range(30):
        course = lib.draw_course(np.random.default_rng(seed), 96, 3.0)
        assert (np.diff(course) > 0).all()
        assert 0.75 * 3 < course[-1] - course[0] < 1.3 * 3
        starts.append(course[0] % 1)
    assert np.histogram(starts, 4, (0, 1))[0].min() > 2


def test_noise_remains_where_nothing_reflects():
    nothing = one(15.0, 20.0)._replace(amplitude=np.zeros(1, complex))
    (a,) = lib.amplitudes(nothing, np.zeros(1), PROBE, np.random.default_rng(0))
    assert a.dtype == np.float32
    power = 10 * np.log10((a.astype(np.float64) ** 2).mean())
    assert power == pytest.approx(lib._FLOOR, abs=0.2)

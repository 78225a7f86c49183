"""EfficientNet: counts, shapes, drops, and the same network written in PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import efficientnet
from models.efficientnet import Model

TINY = {"width": 0.25, "depth": 0.3, "head_features": 64}


def shapes(model, size=32):
    x = jnp.zeros((2, size, size, 3))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    return jax.eval_shape(lambda: model.init(keys, x, train=True))


def count(tree):
    return sum(x.size for x in jax.tree.leaves(tree))


@pytest.fixture(scope="module")
def images():
    return jax.random.normal(jax.random.key(3), (4, 32, 32, 3))


@pytest.fixture(scope="module")
def tiny(images):
    model = Model(**TINY, dropout=0.0, stochastic_depth=0.0)
    init = jax.jit(functools.partial(model.init, train=False))
    return model, init(jax.random.key(0), images)


def evaluate(model, variables, x):
    return jax.jit(functools.partial(model.apply, train=False))(variables, x)


def test_b0_has_its_published_number_of_parameters():
    variables = shapes(Model())
    assert count(variables["params"]) == 4_007_548
    assert count(variables["params"]) + 1280 * 1000 + 1000 == 5_288_548
    assert count(variables["batch_stats"]) == 42_016


def test_family_grows_as_published():
    # B2 without classifier, 9,109,994 with: width 1.1, depth 1.2.
    assert count(shapes(Model(width=1.1, depth=1.2))["params"]) == 7_700_994


@pytest.mark.parametrize(
    ("features", "expected"), [(32 * 1.1, 32), (24 * 1.4, 32), (4, 8), (20.8, 24)]
)
def test_rounding_loses_no_more_than_tenth(features, expected):
    assert efficientnet.round_features(features) == expected


def outputs(model):
    """Shapes of the features and of every layer's output, for images of 32 px."""
    return jax.eval_shape(
        lambda variables: model.apply(
            variables,
            jnp.zeros((2, 32, 32, 3)),
            train=False,
            capture_intermediates=True,
        ),
        shapes(model),
    )


@pytest.mark.parametrize("fields", [{}, {"width": 0.5}, {"head_features": 0}, TINY])
def test_features_is_length_of_output(fields):
    model = Model(**fields)
    assert outputs(model)[0].shape == (2, model.features)


@pytest.mark.parametrize(("stride", "size"), [(2, 16), (1, 32)])
def test_stem_stride_is_that_of_first_convolution(stride, size):
    layers = outputs(Model(**TINY, stem_stride=stride))[1]["intermediates"]
    assert layers["stem"]["__call__"][0].shape == (2, size, size, 8)


def test_without_drops_training_needs_no_randomness_and_moves_statistics(tiny, images):
    model, variables = tiny
    y, new = jax.jit(
        lambda v: model.apply(v, images, train=True, mutable=["batch_stats"])
    )(variables)
    assert y.shape == (4, model.features)
    old = variables["batch_stats"]["stem_norm"]["mean"]
    assert not np.allclose(new["batch_stats"]["stem_norm"]["mean"], old)


def test_drops_act_in_training_alone(tiny, images):
    model, variables = tiny
    dropping = Model(**TINY, dropout=0.5, stochastic_depth=0.9)
    plain, same = (evaluate(m, variables, images) for m in (model, dropping))
    np.testing.assert_array_equal(plain, same)

    @jax.jit
    def train(key):
        return dropping.apply(
            variables, images, train=True, rngs={"dropout": key}, mutable=True
        )[0]

    first, again, other = (train(jax.random.key(i)) for i in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


def test_stochastic_depth_drops_whole_records_at_its_rate():
    rate, n = 0.3, 4000
    y = efficientnet.drop_branch(jnp.ones((n, 2, 2, 3)), rate, jax.random.key(0))
    rows = np.asarray(y).reshape(n, -1)
    assert (rows == rows[:, :1]).all()
    np.testing.assert_allclose(np.unique(rows), [0.0, 1 / (1 - rate)], rtol=1e-6)
    # Four standard deviations of the mean.
    bound = 4 * np.sqrt(rate * (1 - rate) / n) / (1 - rate)
    assert abs(rows[:, 0].mean() - 1.0) < bound


def test_zero_gamma_is_for_blocks_with_skip():
    model = Model(**TINY, zero_gamma=True)
    init = jax.jit(functools.partial(model.init, train=False))
    params = init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))["params"]
    zeros = {name for name in params if not np.any(params[name].get("scale", 1.0))}
    # At this size only the first block and a repetition keep stride and width.
    assert zeros == {"block_00_project_norm", "block_06_project_norm"}


def test_bfloat16_is_finite_and_close(tiny, images):
    model, variables = tiny
    half = Model(**TINY, dropout=0.0, stochastic_depth=0.0, dtype="bfloat16")

    def train(v):
        return half.apply(v, images, train=True, mutable=["batch_stats"])

    y, new = jax.eval_shape(train, variables)
    assert y.dtype == jnp.bfloat16
    assert {x.dtype for x in jax.tree.leaves(new)} == {jnp.dtype("float32")}
    # Compared without batch statistics: of four records they magnify any rounding.
    rough, exact = (
        np.asarray(evaluate(m, variables, images), np.float32) for m in (half, model)
    )
    assert np.abs(rough - exact).mean() < 0.05 * np.abs(exact).mean()


@pytest.mark.parametrize(("name", "fan"), [("torchvision", 25 * 800), ("timm", 25)])
def test_depthwise_kernels_start_as_in_either_library(name, fan):
    layer = efficientnet._Depthwise(5, 1, "torch", "lax", name, jnp.float32)
    x = jnp.zeros((1, 5, 5, 800))
    kernel = layer.init(jax.random.key(0), x)["params"]["kernel"]
    assert float(kernel.std()) == pytest.approx(np.sqrt(2 / fan), rel=0.03)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (5, 1), (3, 2), (5, 2)])
def test_identity_initialization_passes_or_averages_input(kernel, stride):
    """Channels agree, so their noise averages out: what is left is the kernel meant."""
    layer = efficientnet._Depthwise(
        kernel, stride, "torch", "lax", "identity", jnp.float32
    )
    one = jax.random.normal(jax.random.key(1), (1, 8, 8, 1))
    x = jnp.tile(one, (1, 1, 1, 800))
    y = layer.apply(layer.init(jax.random.key(0), x), x).mean(-1)[0]  # [8 / s, 8 / s]
    if stride == 1:
        expected = one[0, :, :, 0]
    else:
        padded = np.pad(np.asarray(one)[0, :, :, 0], 1)
        expected = [
            [padded[i : i + 3, j : j + 3].mean() for j in range(0, 8, 2)]
            for i in range(0, 8, 2)
        ]
    np.testing.assert_allclose(y, expected, atol=0.02)


def test_unknown_initialization_is_error():
    with pytest.raises(ValueError, match="got initialization 'keras'; choices: "):
        shapes(Model(initialization="keras"))


def test_strides_for_another_number_of_stages_are_error():
    with pytest.raises(ValueError, match="got 2 strides for 7 stages"):
        Model(strides=(1, 2))


def test_b0_is_same_function_as_in_pytorch():
    torch = pytest.importorskip("torch")
    from benchmarks.torch_side.moco import EfficientNetB0

    torch.manual_seed(0)
    peer = EfficientNetB0(stochastic_depth=0.0, dropout=0.0)
    with torch.no_grad():
        for p in peer.parameters():
            if p.ndim == 1:  # scales, shifts and biases away from 1 and 0
                p.add_(0.1 * torch.randn_like(p))
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    variables = _from_torch(peer.state_dict())
    expected = peer.eval()(torch.from_numpy(x).permute(0, 3, 1, 2)).detach().numpy()
    y = evaluate(Model(), variables, x)
    assert np.abs(expected).max() > 1e-3
    np.testing.assert_allclose(y, expected, rtol=2e-3, atol=1e-5)


def _from_torch(state):
    """Our variables from the peer's, in the order in which both define layers."""
    target = shapes(Model(stochastic_depth=0.0, dropout=0.0))
    values = {k: v.numpy() for k, v in state.items() if "num_batches" not in k}
    kernels, norms = _layers(values)
    params, stats = {}, {}
    for name in sorted(target["params"], key=_place):
        layer = target["params"][name]
        if "kernel" not in layer:
            norm = norms.pop(0)
            params[name] = {"scale": norm["weight"], "bias": norm["bias"]}
            stats[name] = {"mean": norm["running_mean"], "var": norm["running_var"]}
            continue
        found = kernels.pop(0)
        kernel = found["weight"].transpose(2, 3, 1, 0)  # [k, k, in, out]
        params[name] = {"kernel": kernel.reshape(layer["kernel"].shape)}
        if "bias" in layer:
            params[name]["bias"] = found["bias"]
    assert not kernels
    assert not norms
    return {"params": params, "batch_stats": stats}


def _place(name):
    """Where a layer comes in the network; jax sorts names by the alphabet."""
    block, _, part = name.removeprefix("block_").partition("_")
    parts = ("expand", "depthwise", "squeeze", "excite", "project")
    if block in ("stem", "head"):
        return {"stem": -1, "head": 99}[block], 0, part == "norm"
    return int(block), parts.index(part.split("_")[0]), part.endswith("norm")


def _layers(values):
    layers = {}
    for key, value in values.items():
        prefix, _, leaf = key.rpartition(".")
        layers.setdefault(prefix, {})[leaf] = value
    found = layers.values()
    kernels = [layer for layer in found if layer["weight"].ndim == 4]
    return kernels, [layer for layer in found if "running_mean" in layer]


def test_grid_means_against_loop():
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    expected = [
        x[:, 2 * i : 2 * i + 2, 3 * j : 3 * j + 3].mean((1, 2))
        for i in range(2)
        for j in range(2)
    ]
    found = efficientnet.grid_means(jnp.asarray(x), 2)
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        efficientnet.grid_means(jnp.asarray(x), 1), x.mean((1, 2)), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match="4 x 6 for pool = 4"):
        efficientnet.grid_means(jnp.asarray(x), 4)

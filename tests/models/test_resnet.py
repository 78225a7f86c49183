"""ResNet against its published size, and against PyTorch where that is installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import resnet


def count(module, channels=3):
    x = jnp.zeros((2, 32, 32, channels))
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), x, train=False))
    return sum(x.size for x in jax.tree.leaves(shapes["params"]))


def test_networks_have_their_published_sizes():
    assert count(resnet.Model()) == 11_176_512
    # Two more channels a record in the stem, and a projection.
    more = resnet.Model(features=256)
    assert count(more, 16) == 11_176_512 + 13 * 49 * 64 + 513 * 256
    # ResNet-34 and 50 less their classifiers.
    deep = {"layers": (3, 4, 6, 3)}
    assert count(resnet.Model(**deep)) == 21_797_672 - 513 * 1000 == 21_284_672
    bottleneck = count(resnet.Model(**deep, block="bottleneck"))
    assert bottleneck == 25_557_032 - 2049 * 1000 == 23_508_032


def test_new_residual_network_is_identity_on_skips():
    """With zero gammas a block passes relu(x) on; others do not."""
    x = jax.random.normal(jax.random.key(0), (2, 16, 16, 4))
    fields = {"width": 0.125, "layers": (2,), "stem": "small"}
    outputs = {}
    for zero in (True, False):
        module = resnet.Model(zero_gamma=zero, **fields)
        variables = module.init(jax.random.key(1), x, train=False)
        outputs[zero] = module.apply(variables, x, train=False)
    stem = resnet.Model(**fields | {"layers": (1,)})
    variables = stem.init(jax.random.key(1), x, train=False)
    expected = stem.apply(variables, x, train=False)
    np.testing.assert_allclose(outputs[True], expected, atol=1e-5)
    assert np.abs(outputs[False] - expected).max() > 1e-2


def test_resnet18_is_same_function_as_in_pytorch():
    torch = pytest.importorskip("torch")
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, inputs, features, stride):
            super().__init__()
            self.conv1 = nn.Conv2d(inputs, features, 3, stride, 1, bias=False)
            self.norm1 = nn.BatchNorm2d(features)
            self.conv2 = nn.Conv2d(features, features, 3, 1, 1, bias=False)
            self.norm2 = nn.BatchNorm2d(features)
            self.skip = None
            if stride != 1 or inputs != features:
                self.skip = nn.Conv2d(inputs, features, 1, stride, bias=False)
                self.skip_norm = nn.BatchNorm2d(features)

        def forward(self, x):
            y = torch.relu(self.norm1(self.conv1(x)))
            y = self.norm2(self.conv2(y))
            if self.skip is not None:
                x = self.skip_norm(self.skip(x))
            return torch.relu(x + y)

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
            self.stem_norm = nn.BatchNorm2d(8)
            self.pool = nn.MaxPool2d(3, 2, 1)
            sizes = ((8, 8, 1), (8, 16, 2))
            self.blocks = nn.ModuleList(Block(*size) for size in sizes)

        def forward(self, x):
            x = self.pool(torch.relu(self.stem_norm(self.stem(x))))
            for block in self.blocks:
                x = block(x)
            return x.mean((2, 3))

    module = resnet.Model(width=0.125, layers=(1, 1), zero_gamma=False)
    x = np.asarray(jax.random.normal(jax.random.key(0), (3, 33, 30, 3)))
    variables = module.init(jax.random.key(1), x, train=False)
    peer = ResNet().train()
    state = peer.state_dict()
    for name, leaf in variables["params"].items():
        parts = name.split("_")
        where = (
            f"blocks.{parts[1]}.{'_'.join(parts[3:])}" if parts[0] == "block" else name
        )
        if "kernel" in leaf:
            kernel = np.asarray(leaf["kernel"]).transpose(3, 2, 0, 1)
            state[f"{where}.weight"] = torch.tensor(kernel)
    peer.load_state_dict(state)
    found, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    with torch.no_grad():
        expected = peer(torch.tensor(x.transpose(0, 3, 1, 2)))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_bottleneck_starts_its_last_norm_at_zero_alone():
    module = resnet.Model(width=1 / 16, layers=(1,), stem="small", block="bottleneck")
    init = jax.jit(lambda x: module.init(jax.random.key(0), x, train=False))
    params = init(jnp.zeros((1, 4, 4, 1)))["params"]
    zeros = {name for name in params if not np.any(params[name].get("scale", 1.0))}
    assert zeros == {"block_0_0_norm3"}


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
@pytest.mark.parametrize(("fields", "width"), [({}, 32), ({"features": 7}, 7)])
def test_lengths_of_output(block, fields, width):
    module = resnet.Model(width=0.25, layers=(1, 1), block=block, **fields)
    x = jnp.zeros((3, 9, 8, 2))
    y, _ = jax.eval_shape(lambda: module.init_with_output(jax.random.key(0), x, True))
    wider = resnet.BLOCKS[block] if not fields else 1
    assert y.shape == (3, width * wider)


@pytest.mark.parametrize("layers", [(), (1,) * 9])
def test_number_of_stages_is_limited(layers):
    with pytest.raises(ValueError, match="expected one to eight stages"):
        resnet.Model(layers=layers)

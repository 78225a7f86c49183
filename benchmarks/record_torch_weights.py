"""Records other libraries' networks: `python -m benchmarks.record_torch_weights`.

For networks of torchvision, timm and Hugging Face's transformers, writes names and
shapes of their tensors and features of fixed images, with the weights that
tests/models/published.py makes by name; and a file of `torch.save` with the kinds of
tensors there are. The tests then need no torch.
"""

from collections.abc import Callable

import numpy as np
import timm
import torch
import torchvision
import transformers

from tests.models import published

CLASSES = 3
TALL, SMALL = (2, 64, 32, 3), (2, 32, 32, 3)


def of_torchvision(name: str) -> tuple[torch.nn.Module, Callable]:
    """A network and its features before the classifier."""
    network = torchvision.models.get_model(name, num_classes=CLASSES)

    def features(x):
        head = "fc" if name.startswith("resnet") else "classifier"
        setattr(network, head, torch.nn.Identity())
        return network(x)

    return network, features


def of_timm(name: str) -> tuple[torch.nn.Module, Callable]:
    """A network and its features before the classifier."""
    network = timm.create_model(name, num_classes=CLASSES)

    def features(x):
        return network.forward_head(network.forward_features(x), pre_logits=True)

    return network, features


def resnet_of_transformers(
    layer_type: str, **fields
) -> tuple[torch.nn.Module, Callable]:
    """ResNetForImageClassification and its pooled features."""
    config = transformers.ResNetConfig(layer_type=layer_type, **fields)
    config.num_labels = CLASSES
    network = transformers.ResNetForImageClassification(config)
    return network, lambda x: network.resnet(x).pooler_output.flatten(1)


def efficientnet_of_transformers() -> tuple[torch.nn.Module, Callable]:
    """EfficientNetForImageClassification as B0 and its pooled features."""
    config = transformers.EfficientNetConfig(
        width_coefficient=1.0, depth_coefficient=1.0, hidden_dim=1280
    )
    config.num_labels = CLASSES
    network = transformers.EfficientNetForImageClassification(config)
    return network, lambda x: network.efficientnet(x).pooler_output


NETWORKS = {
    "resnet18": (lambda: of_torchvision("resnet18"), TALL),
    "resnet18_transformers": (
        lambda: resnet_of_transformers(
            "basic", hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2]
        ),
        TALL,
    ),
    "resnet50": (lambda: of_torchvision("resnet50"), SMALL),
    "resnet50_transformers": (lambda: resnet_of_transformers("bottleneck"), SMALL),
    "efficientnet_b0": (lambda: of_torchvision("efficientnet_b0"), TALL),
    "efficientnet_b0_timm": (lambda: of_timm("efficientnet_b0"), TALL),
    "efficientnet_b0_transformers": (efficientnet_of_transformers, TALL),
}


@torch.no_grad()
def record(name: str) -> None:
    """Write one network's names, shapes and features."""
    make, shape = NETWORKS[name]
    network, features = make()
    tensors = network.state_dict()
    facts = {
        "names": np.array(list(tensors)),
        "shapes": np.array([" ".join(map(str, t.shape)) for t in tensors.values()]),
    }
    weights = published.state_dict(facts)
    network.load_state_dict({k: torch.tensor(v) for k, v in weights.items()})
    network.eval()
    x = torch.tensor(published.images(*shape)).permute(0, 3, 1, 2)
    outputs = features(x).numpy()
    np.savez_compressed(published.RECORDED / name, **facts, outputs=outputs)
    print(f"{name}: {outputs.shape}, largest {np.abs(outputs).max():.3g}")


def record_file() -> None:
    """Write a small checkpoint with the kinds of tensors that files hold."""
    numbers = torch.arange(24, dtype=torch.float32)
    tensors = torch.nn.Module().state_dict()  # an OrderedDict with metadata
    tensors.update(
        float=numbers.reshape(2, 3, 4),
        transposed=numbers[:6].reshape(2, 3).T,
        shared=numbers[20:],
        double=numbers[:2].double(),
        half=numbers[:2].half() / 4,
        bfloat16=numbers[:3].bfloat16() / 4,
        parameter=torch.nn.Parameter(numbers[:2] + 1),
        counter=torch.tensor(7),
        flags=torch.tensor([True, False]),
        bytes=torch.tensor([1, 255], dtype=torch.uint8),
        empty=torch.zeros(0, 3),
    )
    checkpoint = {"epoch": 3, "state_dict": tensors, "optimizer": {"state": {}}}
    torch.save(checkpoint, published.RECORDED / "checkpoint.pth")


def main() -> None:
    """Write all files and say so."""
    names = [[*of("resnet18")[0].state_dict()] for of in (of_torchvision, of_timm)]
    if names[0] != names[1]:
        raise SystemExit("timm's ResNet has names of its own: record it too")
    for name in NETWORKS:
        record(name)
    record_file()
    versions = {
        m.__name__: m.__version__ for m in (torch, torchvision, timm, transformers)
    }
    print(f"{published.RECORDED}: {versions}")


if __name__ == "__main__":
    main()

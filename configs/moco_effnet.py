"""MoCo v3 with an EfficientNet: logos that look alike lie close.

    python main.py --config=configs/moco_effnet.py --workdir=runs/first
        procedural logos that ship as code, a small EfficientNet, 9 minutes on 2 CPU
        cores; same-brand R@1 .28 to .33, raw pixels .18, chance .004
    python main.py --config=configs/moco_effnet.py:marks --config.data.path=DIR
        a folder of images, each its own class; measured are labels, codes and sources
        where labels.csv or sub-folders give any
    python main.py --config=configs/moco_effnet.py:marks,codes --config.data.path=DIR
        the same, with images that share a code or label as positives
    python main.py --config=configs/moco_effnet.py:full --config.data.path=DIR
        EfficientNet-B0 at 224 px, 4,096-wide heads, for a GPU and 538k logos

Variants combine with commas; `smoke` shrinks any of them to seconds. README.md and
docs/results.md have the measured results.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base


def view(**changes: Any) -> dict[str, Any]:
    """Return the fields of a view: no flip and no hue, since they change a logo."""
    return {
        "crop_scale": (0.6, 1.0),
        "crop_ratio": (0.75, 4 / 3),
        "color_jitter": 0.8,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "blur_sigma": (0.1, 0.5),
        **changes,
    }


def get_config(arg: str = "") -> ConfigDict:
    """Return the recipe; `arg` names variants, separated by commas."""
    config = base.get_config()
    config.data = {"name": "logos", "size": 48, "brands": 2000, "val_fraction": 0.1}
    # Queries are drawn like the first view; the second differs as renditions do.
    config.transform = {
        "name": "image",
        "size": 32,
        "view1": view(crop_scale=(0.8, 1.0), crop_ratio=(0.9, 1.1), blur=0.5),
        "view2": view(
            crop_scale=(0.4, 1.0), channel_permute=0.2, levels=0.4, grayscale=0.2,
            blur=0.1,
        ),
    }  # fmt: skip
    config.model = {
        "name": "efficientnet",
        "width": 0.35,
        "depth": 0.25,
        "strides": (2, 1, 1, 1, 1, 1, 1),
        "head_features": 100,
        "pool": 8,
        "dropout": 0.0,
        "stochastic_depth": 0.0,
        "zero_gamma": True,
        "initialization": "identity",
    }
    config.objective = {
        "name": "moco",
        "temperature": 0.1,
        "ema_momentum": 0.5,
        "hidden_dim": 512,
        "proj_dim": 128,
    }
    config.optimizer.update(learning_rate=2e-2, weight_decay=0.1)
    config.schedule.warmup_epochs = 0.5
    config.train.update(
        epochs=7.0, checkpoint_every_epochs=2.0, monitor="eval/brand/recall@1",
        threads=2, prefetch=16,
    )  # fmt: skip
    config.evaluate.update(every_epochs=7.0, examples="brand")
    config.evaluate.sets.update(
        instance={"name": "instance"},
        brand={"name": "retrieval"},
        codes={"name": "retrieval", "relevance": "codes"},
    )
    config.gates = {
        "learned": base.gate("train/loss", "<=", "chance", times=0.7),
        "not_collapsed": base.gate("eval/geometry/embedding_std_ratio", ">=", 0.5),
        "instance": base.gate("eval/instance/recall@1", ">=", 0.9),
        "brand_above_pixels": base.above("eval/brand/recall@1", "baseline:pixels"),
        "brand_above_untrained": base.above(
            "eval/brand/recall@1", "baseline:untrained"
        ),
    }
    return base.apply_variants(config, arg, VARIANTS)


def _marks(config: ConfigDict) -> None:
    """A folder of images; what it lacks is left out of the evaluation.

    Images are searched for those of the same label: across sources where there are
    several, such as logos of one concept by several artists.
    """
    config.data = {
        "name": "image_folder",
        "path": "",
        "size": 48,
        "val_fraction": 0.2,
        "max_pixels": 100_000_000,
    }
    # Across artists color is what stays: it is jittered, but never changed.
    same = view(crop_scale=(0.5, 1.0), brightness=0.4, contrast=0.4)
    config.transform.view1, config.transform.view2 = same, dict(same)
    config.train.update(
        epochs=30.0, checkpoint_every_epochs=5.0, least_steps=300,
        monitor="eval/concept/recall@1",
    )  # fmt: skip
    config.model.head_features = 200
    config.objective.hidden_dim = 1024
    config.optimizer.learning_rate = 1e-2
    config.schedule.warmup_epochs = 3.0
    config.evaluate.update(every_epochs=15.0, examples="concept")
    config.evaluate.sets = {
        "geometry": {"name": "geometry", "split": "auto", "optional": True},
        "concept": {
            "name": "retrieval",
            "gallery_split": "all",
            "cross": "auto",
            "optional": True,
        },
        "codes": {"name": "retrieval", "relevance": "codes", "optional": True},
        "instance": {"name": "instance", "gallery_split": "auto", "optional": True},
    }
    tag = "eval/concept/recall@1"
    config.gates = {
        "learned": config.gates.learned,
        # Of few images the spread is smaller.
        "not_collapsed": base.gate("eval/geometry/embedding_std_ratio", ">=", 0.3),
        "concept_above_untrained": base.above(tag, "baseline:untrained"),
        "concept_above_pixels": base.above(tag, "baseline:pixels"),
        # Few images are found even by an untrained network.
        "instance_above_untrained": base.gate(
            "eval/instance/recall@1", ">=", "baseline:untrained", required=False
        ),
    }


def _codes(config: ConfigDict) -> None:
    config.objective.positives = "codes"


def _full(config: ConfigDict) -> None:
    """EfficientNet-B0 as published, MoCo v3's heads and batch, for a GPU."""
    _marks(config)
    config.data.size = 256
    config.model = {
        "name": "efficientnet",
        "dropout": 0.2,
        "stochastic_depth": 0.2,
        "initialization": "torchvision",
        "dtype": "bfloat16",
        "sync_batchnorm": True,
    }
    config.objective.update(
        temperature=0.2, ema_momentum=0.99, hidden_dim=4096, proj_dim=256
    )
    config.transform.size = 224
    for name, blur, solarize in (("view1", 1.0, 0.0), ("view2", 0.1, 0.2)):
        config.transform[name].update(
            grayscale=0.2, blur=blur, blur_sigma=(0.1, 2.0), solarize=solarize,
            crop_scale=(0.4, 1.0),
        )  # fmt: skip
    config.optimizer.learning_rate = 1.5e-4
    config.schedule.warmup_epochs = 5.0
    config.train.update(
        batch_size=1024, epochs=50.0, log_every_steps=50, checkpoint_every_epochs=1.0,
        threads=12, prefetch=32,
    )  # fmt: skip
    config.evaluate.update(every_epochs=5.0, batch_size=1024)


def _smoke(config: ConfigDict) -> None:
    """Seconds instead of minutes: every part runs, nothing is learned or required."""
    config.model.update(width=0.25, depth=0.1, head_features=64)
    config.objective.update(hidden_dim=32, proj_dim=16)
    config.data.size = 32
    if config.data.name == "logos":
        config.data.brands = 60
    config.transform.size = 32
    config.train.update(batch_size=32, epochs=1.0, least_steps=0, log_every_steps=1)
    config.schedule.warmup_epochs = 0.1
    config.evaluate.update(batch_size=64, example_queries=4)
    base.drop_requirements(config)


VARIANTS = {"full": _full, "marks": _marks, "codes": _codes, "smoke": _smoke}

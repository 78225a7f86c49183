"""MoCo v3 with an EfficientNet: marks that look alike lie close.

    python main.py --config=configs/moco_effnet.py --workdir=runs/first
        procedural marks that ship as code, a small member of the family, 2 CPU cores
    python main.py --config=configs/moco_effnet.py:marks --config.data.path=DIR
        a folder of marks with labels.csv, each mark its own class
    python main.py --config=configs/moco_effnet.py:marks,codes --config.data.path=DIR
        the same, with marks that share a code as positives
    python main.py --config=configs/moco_effnet.py:full --config.data.path=DIR
        EfficientNet-B0 at 224 px, 4,096-wide heads, for a GPU and 538k marks

Variants combine with commas; `smoke` shrinks any of them to seconds. Measured results
stand in README.md and docs/recipes.md.
"""

from ml_collections import ConfigDict


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `arg` names variants, separated by commas."""
    config = ConfigDict(
        {
            "seed": 0,
            "model": {
                "name": "efficientnet",
                "width": 0.35,
                "depth": 0.25,
                "stem_stride": 2,
                "strides": (2, 1, 1, 1, 1, 1, 1),
                "head_features": 100,
                "pool": 8,
                "dropout": 0.0,
                "stochastic_depth": 0.0,
                "zero_gamma": True,
                "padding": "torch",
                "initialization": "identity",
                "epsilon": 1e-5,
                "momentum": 0.9,
                "dtype": "float32",
                "sync_batchnorm": False,
                "init_from": "",
            },
            "objective": {
                "name": "moco",
                "temperature": 0.1,
                "ema_momentum": 0.5,
                "ema_momentum_schedule": "cosine",
                "positives": "instance",
                "false_negatives": "keep",
                "hidden_dim": 512,
                "proj_dim": 128,
                "embed_from": "backbone",
                "key_block_size": 0,
            },
            "data": {
                "name": "logos",
                "path": "",
                "cache": "",
                "size": 48,
                "val_fraction": 0.1,
                "brands": 2000,
                "renditions": 5,
            },
            "transform": {
                "name": "image",
                "size": 32,
                "mean": (0.485, 0.456, 0.406),
                "std": (0.229, 0.224, 0.225),
                "view1": _view(blur=0.5) | NEARLY_WHOLE,
                "view2": _view(blur=0.1) | RECOLOURED,
            },
            "optimizer": {
                "name": "adamw",
                "learning_rate": 2e-2,
                "weight_decay": 0.1,
                "momentum": 0.9,
                "b2": 0.999,
                "clip_norm": 0.0,
                "no_decay": ("1d",),
            },
            "schedule": {
                "name": "cosine",
                "epochs": 0.0,
                "warmup_epochs": 0.5,
                "end_lr": 0.0,
                "milestones": (),
                "factor": 0.1,
                "patience": 3,
            },
            "train": {
                "batch_size": 128,
                "samples_per_class": 1,
                "epochs": 7.0,
                "grad_cache_chunks": 1,
                "negatives": "global",
                "log_every_steps": 10,
                "checkpoint_every_epochs": 2.0,
                "keep_checkpoints": 2,
                "monitor": "eval/brand/recall@1",
                "monitor_mode": "max",
                "patience": 0,
                "threads": 2,
                "prefetch": 16,
                "price_per_hour": 0.0,  # of the machine, in any currency; 0: unknown
            },
            "evaluate": {
                "every_epochs": 7.0,
                "batch_size": 256,
                "loss_batches": 4,
                "final_sets": (),
                "baselines": ("pixels", "untrained"),
                "examples": "brand",
                "example_queries": 12,
                "sets": {
                    "instance": {"name": "instance"},
                    "brand": {"name": "retrieval", "relevance": "label"},
                    "codes": {"name": "retrieval", "relevance": "codes"},
                    "geometry": {"name": "geometry"},
                },
            },
            "alarms": {
                "stop": ("not_finite", "collapse", "no_positives"),
                "ignore": (),
            },
            "gates": {
                "learned": {
                    "metric": "train/loss",
                    "op": "<=",
                    "value": "chance",
                    "times": 0.7,
                    "required": True,
                },
                "not_collapsed": {
                    "metric": "eval/geometry/embedding_std_ratio",
                    "op": ">=",
                    "value": 0.5,
                    "required": True,
                },
                "instance": {
                    "metric": "eval/instance/recall@1",
                    "op": ">=",
                    "value": 0.9,
                    "required": True,
                },
                "brand_above_pixels": _above("eval/brand/recall@1", "baseline:pixels"),
                "brand_above_untrained": _above(
                    "eval/brand/recall@1", "baseline:untrained"
                ),
            },
        }
    )
    config.schedule.epochs = config.train.get_oneway_ref("epochs")
    variants = {"full": _full, "marks": _marks, "codes": _codes, "smoke": _smoke}
    for name in filter(None, arg.split(",")):
        if name not in variants:
            raise ValueError(f"got variant {name!r}; choices: {', '.join(variants)}")
        variants[name](config)
    return config.lock()


def _view(*, blur: float) -> dict:
    # Marks: no flip and no hue, which a mirrored or recolored mark would not survive.
    return {
        "crop_scale": (0.6, 1.0),
        "crop_ratio": (0.75, 4 / 3),
        "color_jitter": 0.8,
        "brightness": 0.2,
        "contrast": 0.2,
        "saturation": 0.2,
        "hue": 0.0,
        "grayscale": 0.0,
        "blur": blur,
        "blur_sigma": (0.1, 0.5),
        "solarize": 0.0,
        "invert": 0.0,
        "levels": 0.0,
        "channel_permute": 0.0,
        "flip": 0.0,
    }


# One view is nearly the mark as it is, and queries are drawn like it; the other has
# what a brand's renditions differ by.
NEARLY_WHOLE = {"crop_scale": (0.8, 1.0), "crop_ratio": (0.9, 1.1)}
RECOLOURED = {
    "crop_scale": (0.4, 1.0),
    "channel_permute": 0.2,
    "levels": 0.4,
    "grayscale": 0.2,
}


def _folder(*, size: int) -> ConfigDict:
    return ConfigDict(
        {
            "name": "image_folder",
            "path": "",
            "cache": "",
            "size": size,
            "val_fraction": 0.2,
            "max_rejected": 0.01,
            "max_pixels": 100_000_000,
        }
    )


def _above(metric: str, level: str) -> dict:
    return {
        "metric": metric,
        "op": ">",
        "value": level,
        "outside_interval": True,
        "required": True,
    }


def _marks(config: ConfigDict) -> None:
    """A folder of marks; the same concept drawn by another artist is to be found."""
    config.data = _folder(size=48)
    # Across artists color is what stays: it is jittered, but never changed.
    for view in (config.transform.view1, config.transform.view2):
        view.update(_view(blur=0.0))
        view.update(crop_scale=(0.5, 1.0), brightness=0.4, contrast=0.4)
    config.train.update(
        epochs=30.0, checkpoint_every_epochs=5.0, monitor="eval/concept/recall@1"
    )
    config.model.head_features = 200
    config.objective.hidden_dim = 1024
    config.optimizer.learning_rate = 1e-2
    config.schedule.warmup_epochs = 3.0
    config.evaluate.every_epochs = 15.0
    config.evaluate.examples = "concept"
    sets = config.evaluate.sets
    with config.unlocked():
        del sets["brand"]
        sets.concept = ConfigDict(
            {
                "name": "retrieval",
                "relevance": "label",
                "gallery_split": "all",
                "cross": "source",
            }
        )
        config.gates = ConfigDict(
            {
                "learned": config.gates.learned,
                "not_collapsed": config.gates.not_collapsed,
                "concept_above_untrained": _above(
                    "eval/concept/recall@1", "baseline:untrained"
                ),
                "concept_above_pixels": _above(
                    "eval/concept/recall@1", "baseline:pixels"
                )
                | {"times": 1.3},
            }
        )


def _codes(config: ConfigDict) -> None:
    config.objective.positives = "codes"


def _full(config: ConfigDict) -> None:
    """EfficientNet-B0 as published, MoCo v3's heads and batch, for a GPU."""
    _marks(config)
    config.data = _folder(size=256)
    config.model.update(
        width=1.0, depth=1.0, strides=(1, 2, 2, 2, 1, 2, 1), head_features=1280, pool=1,
        dropout=0.2, stochastic_depth=0.2, zero_gamma=False,
        initialization="torchvision",
        dtype="bfloat16", sync_batchnorm=True,
    )  # fmt: skip
    config.objective.update(
        temperature=0.2, ema_momentum=0.99, hidden_dim=4096, proj_dim=256
    )
    config.transform.size = 224
    for view, blur, solarize in (
        (config.transform.view1, 1.0, 0.0),
        (config.transform.view2, 0.1, 0.2),
    ):
        view.update(
            grayscale=0.2, blur=blur, blur_sigma=(0.1, 2.0), solarize=solarize,
            crop_scale=(0.4, 1.0), brightness=0.4, contrast=0.4,
        )  # fmt: skip
    config.optimizer.update(learning_rate=1.5e-4, weight_decay=0.1)
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
    config.train.update(batch_size=32, epochs=1.0, log_every_steps=1)
    config.schedule.warmup_epochs = 0.1
    config.evaluate.update(batch_size=64, example_queries=4)
    for gate in config.gates.values():
        gate.required = False

"""SimSiam on ultrasound: frames that show the same posture lie close, without labels.

    python main.py --config=configs/simsiam_resnet.py --workdir=runs/us
        procedural cine of known phase: nothing to download, 2 CPU cores
    python main.py --config=configs/simsiam_resnet.py:real --config.data.path=FILE
        your own cine: MAT v7.3 or v5, HDF5, npz or a folder; `data.key=Acq/Amp` and
        `data.axes=frame,channel,depth,line` say where and how it lies in the file
    python main.py --config=configs/simsiam_resnet.py:full --config.data.path=FILE
        the report's settings, corrected: ResNet-18 at 224 px, for a GPU
    python main.py --config=configs/simsiam_resnet.py:real,imagenet --config.data.path=…
        the report's augmentation in place of one for ultrasound

configs/fastap_resnet.py goes on from such a run; `--config` given twice runs both, with
one report. Variants combine with commas; `smoke` shrinks any of them to seconds.
docs/ultrasound.md says what is asked and why, and what was measured.
"""

from ml_collections import ConfigDict

# How the probe is moved for the queries of evaluation: 12 of 128 pixels, ...
MOVED = {"shift": 12 / 128, "gamma": 0.5, "time_gain": 0.5, "speckle": 0.3}
# ... and what the network learns to see through.
VIEW = MOVED | {"crop": 0.85, "rotate": 5.0, "contrast": 0.2, "gain": 0.1}


def get_config(arg: str = "") -> ConfigDict:
    """The recipe; `arg` names variants, separated by commas."""
    config = ConfigDict(
        {
            "seed": 0,
            "model": {
                "name": "resnet",
                "width": 0.25,
                "layers": (1, 1, 1, 1),
                "block": "basic",
                "stem": "imagenet",
                "features": 0,
                # Blocks that start as their skip learn nothing in so few steps.
                "zero_gamma": False,
                "epsilon": 1e-5,
                "momentum": 0.9,
                "dtype": "float32",
                "sync_batchnorm": False,
                "init_from": "",
            },
            "objective": {
                "name": "simsiam",
                "hidden_dim": 256,
                "proj_dim": 512,
                "pred_hidden_dim": 128,
                "temporal_weight": 0.2,
                "embed_from": "backbone",
            },
            "data": {
                "name": "speckle",
                "clips": 40,
                "frames": 48,
                "size": (64, 80),
                "cycles": 1.5,
                "delta": 1,
                "label": "phase",
                "bins": 12,
                "split": "clip",
                "val_fraction": 0.3,
                "val_filter": "",
                "gap": 0.0,
            },
            "transform": {
                "name": "ultrasound",
                "size": (64, 80),
                "channels": 1,
                "mean": 0.3,
                "std": 0.25,
                "view1": dict(VIEW),
                "view2": dict(VIEW),
                "moved": dict(MOVED),
            },
            "optimizer": {
                "name": "sgd",
                "learning_rate": 1.5,
                "weight_decay": 1e-4,
                "momentum": 0.9,
                "b2": 0.999,
                "clip_norm": 0.0,
                "no_decay": (),
                "constant": ("predictor",),
            },
            "schedule": {
                "name": "cosine",
                "decay_per": "epoch",
                "epochs": 0.0,
                "warmup_epochs": 0.0,
                "end_lr": 0.0,
                "milestones": (),
                "factor": 0.1,
                "patience": 0,
            },
            "train": {
                "batch_size": 32,
                "samples_per_class": 1,
                "epochs": 14.0,
                "grad_cache_chunks": 1,
                "negatives": "global",
                "log_every_steps": 20,
                "checkpoint_every_epochs": 7.0,
                "keep_checkpoints": 2,
                "monitor": "eval/moved/map",
                "monitor_mode": "max",
                "patience": 0,
                "threads": 1,
                "prefetch": 4,
                "price_per_hour": 0.0,
            },
            "evaluate": {
                "every_epochs": 7.0,
                "batch_size": 128,
                "loss_batches": 8,
                "final_sets": (),
                "baselines": ("pixels", "untrained"),
                "examples": "moved",
                "example_queries": 12,
                "sets": {
                    "moved": {
                        "name": "frames",
                        "query_view": "moved",
                        "window": -1.0,
                        "apart": "",
                        "only": "",
                        "column": "phase",
                        "period": 1.0,
                        "labels": True,
                        "ssim": 100,
                    },
                    "clean": {
                        "name": "frames",
                        "window": -1.0,
                        "apart": "",
                        "only": "",
                        "column": "phase",
                        "period": 1.0,
                        "labels": True,
                        "ssim": 0,
                    },
                    "geometry": {"name": "geometry"},
                },
            },
            "alarms": {
                "stop": ("not_finite", "collapse", "no_positives"),
                "ignore": (),
            },
            "gates": {
                "loss": {
                    "metric": "train/loss",
                    "op": "<",
                    "value": -0.8,
                    "required": True,
                },
                "not_collapsed": {
                    "metric": "eval/geometry/embedding_std_ratio",
                    "op": ">",
                    "value": 0.5,
                    "required": True,
                },
                "above_pixels": above("baseline:pixels") | {"required": False},
                "above_untrained": above("baseline:untrained") | {"required": False},
            },
        }
    )
    config.schedule.epochs = config.train.get_oneway_ref("epochs")
    config.data.size = config.transform.get_oneway_ref("size")
    for name in filter(None, arg.split(",")):
        if name not in VARIANTS:
            raise ValueError(f"got variant {name!r}; choices: {', '.join(VARIANTS)}")
        VARIANTS[name](config)
    return config.lock()


def above(level: str) -> dict:
    """A gate: moved frames find their label before a baseline does, clear of it."""
    return {
        "metric": "eval/moved/map",
        "op": ">",
        "value": level,
        "outside_interval": True,
        "required": True,
    }


def below(level: str, times: float = 1.0) -> dict:
    """A gate: the error of moved frames is below a level, outside its interval."""
    return {
        "metric": "eval/moved/error",
        "op": "<",
        "value": level,
        "times": times,
        "outside_interval": True,
        "required": True,
    }


def _real(config: ConfigDict) -> None:
    """A cine from files, of which nobody has said what its frames show."""
    config.data = ConfigDict(
        {
            "name": "cine",
            "path": "",
            "key": "",
            "axes": "",
            "size": (64, 80),
            "bmode": "auto",
            "db": 60.0,
            "table": "",
            "clip": "clip",
            "frame": "frame",
            "time": "time",
            "delta": 1,
            "label": "",
            "bins": 0,
            "period": 0.0,
            "split": "clip",
            "val_fraction": 0.25,
            "val_filter": "",
            "gap": 0.0,
            "reference": "",
            "max_rejected": 0.01,
            "cache": "",
        }
    )
    config.data.size = config.transform.get_oneway_ref("size")
    config.evaluate.sets.moved.update(column="", period=0.0, labels=False)
    config.evaluate.sets.clean.update(column="", period=0.0, labels=False, ssim=100)
    config.train.update(monitor="eval/clean/ssim@1", monitor_mode="max")
    # Frames of one tissue are alike: the spread of raw pixels is a third of 1/sqrt(d).
    config.gates.not_collapsed.value = 0.25
    with config.unlocked():
        for name in ("above_pixels", "above_untrained"):
            del config.gates[name]


def _joint(config: ConfigDict) -> None:
    """A muscle in `:real` files with a table of trials and the angle of a joint."""
    config.data.update(time="time_s", label="angle_deg", bins=24, val_fraction=0.5)
    for name in ("moved", "clean"):
        config.evaluate.sets[name].update(
            column="angle_deg",
            period=0.0,
            apart="condition",
            # Where the joint is held still its angle says little.
            only="condition=isokinetic030,isokinetic120,isokinetic210,isokinetic500",
        )
    config.train.update(monitor="eval/moved/error", monitor_mode="min")
    with config.unlocked():
        config.gates.half_of_pixels = below("baseline:pixels", 0.5)
        config.gates.above_untrained = below("baseline:untrained")
        for name in ("half_of_pixels", "above_untrained"):
            config.gates[name].required = False


def _imagenet(config: ConfigDict) -> None:
    """The report's augmentation, made for photographs, on square frames."""
    view = {
        "crop_scale": (0.2, 1.0),
        "crop_ratio": (0.75, 4 / 3),
        "flip": 0.5,
        "color_jitter": 0.8,
        "brightness": 0.4,
        "contrast": 0.4,
        "saturation": 0.4,
        "hue": 0.1,
        "grayscale": 0.2,
        "blur": 0.5,
        "blur_sigma": (0.1, 2.0),
    }
    side = max(config.transform.size)
    with config.unlocked():
        config.transform = ConfigDict(
            {
                "name": "image",
                "size": side,
                "mean": (0.485, 0.456, 0.406),
                "std": (0.229, 0.224, 0.225),
                "view1": view,
                "view2": dict(view),
            }
        )
    config.data.size = (side, side)
    config.evaluate.sets.moved.query_view = "view1"


def _full(config: ConfigDict) -> None:
    """ResNet-18 and the report's batch, with updates enough for the curve to end."""
    _real(config)
    config.model.update(width=1.0, layers=(2, 2, 2, 2), dtype="bfloat16")
    config.model.sync_batchnorm = True
    config.objective.update(hidden_dim=512, proj_dim=2048, pred_hidden_dim=512)
    config.transform.size = (224, 224)
    # As published weights of photographs expect a gray picture.
    config.transform.update(channels=3, mean=0.449, std=0.226)
    # 445 frames make three steps an epoch; 2,000 updates are what the curve needs.
    config.train.update(
        batch_size=128, epochs=700.0, checkpoint_every_epochs=50.0, threads=8,
        log_every_steps=30,
    )  # fmt: skip
    config.optimizer.learning_rate = 0.05
    config.evaluate.update(every_epochs=100.0, batch_size=256)


def _smoke(config: ConfigDict) -> None:
    """Seconds instead of minutes: every part runs, nothing is learned or required."""
    config.model.update(width=0.125, layers=(1,), dtype="float32")
    config.objective.update(hidden_dim=16, proj_dim=24, pred_hidden_dim=8)
    if config.transform.name == "ultrasound":
        config.transform.size = (32, 40)
    if config.data.name == "speckle":
        config.data.update(clips=6, frames=16, cycles=1.0)
    config.train.update(batch_size=16, epochs=2.0, log_every_steps=1, threads=1)
    config.evaluate.update(batch_size=32, example_queries=4)
    for name in ("moved", "clean"):
        config.evaluate.sets[name].ssim = min(config.evaluate.sets[name].ssim, 8)
    for gate in config.gates.values():
        gate.required = False


VARIANTS = {
    "real": _real,
    "joint": _joint,
    "imagenet": _imagenet,
    "full": _full,
    "smoke": _smoke,
}

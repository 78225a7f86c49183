"""SimSiam on ultrasound: frames that show the same posture lie close, without labels.

    python main.py --config=configs/simsiam_resnet.py --workdir=runs/us
        procedural cine of known phase, nothing to download, 4 minutes on 2 CPU cores;
        frames at the same phase, probe moved: mAP .24, raw pixels .13, chance .09
    python main.py --config=configs/simsiam_resnet.py:real --config.data.path=FILE
        your own cine: one file or a folder of them (MAT, HDF5, npz, TIFF stack, GIF,
        video, DICOM), or of folders of images; `data.key=Acq/Amp` and
        `data.axes=frame,channel,depth,line` say where and how it lies in an array
    python main.py --config=configs/simsiam_resnet.py:real,joint --config.data.path=…
        with a table: the error of the nearest frame in a column of numbers, such as
        the angle of a joint; `data.label` names the column where there are several
    python main.py --config=configs/simsiam_resnet.py:full --config.data.path=FILE
        ResNet-18 at 224 px with enough updates for the curve to end, for a GPU
    python main.py --config=configs/simsiam_resnet.py:real,imagenet --config.data.path=…
        an augmentation for photographs in place of one for ultrasound

configs/fastap_resnet.py goes on from such a run; `--config` given twice runs both, with
one report. Variants combine with commas; `smoke` shrinks any of them to seconds.
docs/ultrasound.md says what is asked and why, and what was measured.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import base

# How the probe is moved for the queries of evaluation: 12 of 128 pixels, ...
MOVED = {"shift": 12 / 128, "gamma": 0.5, "time_gain": 0.5, "speckle": 0.3}
# ... and the views that training uses.
VIEW = MOVED | {"crop": 0.85, "rotate": 5.0, "contrast": 0.2, "gain": 0.1}


def get_config(arg: str = "") -> ConfigDict:
    """Return the recipe; `arg` names variants, separated by commas."""
    config = base.get_config()
    config.data = {
        "name": "speckle",
        "clips": 40,
        "val_fraction": 0.3,
    }
    config.transform = {
        "name": "ultrasound",
        "size": (64, 80),
        "mean": 0.3,
        "std": 0.25,
        "view1": dict(VIEW),
        "view2": dict(VIEW),
        "moved": dict(MOVED),
    }
    # Blocks that start as their skip learn nothing in so few steps: zero_gamma.
    config.model = {
        "name": "resnet",
        "width": 0.25,
        "layers": (1, 1, 1, 1),
        "zero_gamma": False,
        "convolution": "direct",
    }
    config.objective = {
        "name": "simsiam",
        "hidden_dim": 256,
        "proj_dim": 512,
        "pred_hidden_dim": 128,
        "temporal_weight": 0.2,
    }
    config.optimizer = {
        "name": "sgd",
        "learning_rate": 1.5,
        "weight_decay": 1e-4,
        "constant": ("predictor",),
    }
    config.schedule.update(decay_per="epoch", patience=0)
    config.train.update(
        batch_size=32, epochs=14.0, log_every_steps=20, checkpoint_every_epochs=7.0,
        monitor="eval/moved/map",
    )  # fmt: skip
    config.evaluate.update(
        every_epochs=7.0, batch_size=128, loss_batches=8, examples="moved"
    )
    phase = {
        "name": "frames",
        "window": -1.0,
        "column": "phase",
        "period": 1.0,
        "labels": True,
    }
    config.evaluate.sets = {
        "moved": phase | {"query_view": "moved", "ssim": 100},
        "clean": phase | {"ssim": 0},
        "geometry": {"name": "geometry"},
    }
    config.gates = {
        "loss": base.gate("train/loss", "<", -0.8),
        "not_collapsed": base.gate("eval/geometry/embedding_std_ratio", ">", 0.4),
        "above_pixels": above("baseline:pixels", required=False),
        "above_untrained": above("baseline:untrained", required=False),
    }
    config.data.size = config.transform.get_oneway_ref("size")
    return base.apply_variants(config, arg, VARIANTS)


def above(level: str, **fields: Any) -> dict[str, Any]:
    """Return a gate: moved frames rank their label above a baseline."""
    return base.above("eval/moved/map", level, **fields)


def below(level: str, **fields: Any) -> dict[str, Any]:
    """Return a gate: the error of moved frames is below that of a baseline."""
    return base.below("eval/moved/error", level, **fields)


def _real(config: ConfigDict) -> None:
    """A cine from files, without labels."""
    config.data = {
        "name": "cine",
        "path": "",
        "bmode": "auto",
        "db": 60.0,
        "delta": 1,
        "val_fraction": 0.25,
        "max_rejected": 0.01,
    }
    config.data.size = config.transform.get_oneway_ref("size")
    # What is left to search decides which neighbors in time count.
    frames = {"name": "frames", "window": "auto", "optional": True, "ssim": 100}
    config.evaluate.sets = {
        "moved": frames | {"query_view": "moved"},
        "clean": frames,
        "labeled": frames | {"query_view": "moved", "ssim": 0, "labels": True},
        "geometry": {"name": "geometry"},
    }
    config.train.update(monitor="eval/clean/ssim@1", monitor_mode="max")
    config.train.least_steps = 400  # with which a single clip can pass
    # Frames of one tissue are alike, those of one clip more: raw pixels say how much.
    config.gates.not_collapsed = base.gate(
        "eval/geometry/embedding_std_ratio", ">", "baseline:pixels", times=0.75
    )
    for name in ("above_pixels", "above_untrained"):
        del config.gates[name]


def _joint(config: ConfigDict) -> None:
    """A muscle in `:real` files with a table, of which a column is the joint's angle.

    `data.label` names the column where it is not the only one of numbers.
    """
    config.data.update(label="auto", bins=24, val_fraction=0.5)
    del config.evaluate.sets["labeled"]
    for name in ("moved", "clean"):
        config.evaluate.sets[name].update(column="label_value", optional=False)
    config.train.update(least_steps=350, monitor="eval/moved/error", monitor_mode="min")
    config.gates.half_of_pixels = below("baseline:pixels", times=0.5, required=False)
    config.gates.above_untrained = below("baseline:untrained", required=False)


def _imagenet(config: ConfigDict) -> None:
    """An augmentation made for photographs, on square frames."""
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
    config.transform = {
        "name": "image", "size": side, "view1": view, "view2": dict(view)
    }  # fmt: skip
    config.data.size = (side, side)
    for evaluator in config.evaluate.sets.values():
        if evaluator.get("query_view") == "moved":
            evaluator.query_view = "view1"


def _full(config: ConfigDict) -> None:
    """ResNet-18 with updates enough for the curve to end."""
    _real(config)
    config.model.update(
        width=1.0, layers=(2, 2, 2, 2), dtype="bfloat16", sync_batchnorm=True
    )
    config.objective.update(hidden_dim=512, proj_dim=2048, pred_hidden_dim=512)
    # As published weights of photographs expect a gray image.
    config.transform.update(size=(224, 224), channels=3, mean=0.449, std=0.226)
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
    config.train.update(
        batch_size=16, epochs=2.0, least_steps=0, log_every_steps=1, threads=1
    )
    config.evaluate.update(batch_size=32, example_queries=4)
    for name in ("moved", "clean"):
        config.evaluate.sets[name].ssim = min(config.evaluate.sets[name].ssim, 8)
    base.drop_requirements(config)


VARIANTS = {
    "real": _real,
    "joint": _joint,
    "imagenet": _imagenet,
    "full": _full,
    "smoke": _smoke,
}

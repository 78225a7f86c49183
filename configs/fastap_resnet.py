"""FastAP on ultrasound: frames of the same posture rank before all others.

    python main.py --config=configs/fastap_resnet.py --workdir=runs/us2
        on procedural cine; `--config.model.init_from=runs/us` goes on from a run of
        configs/simsiam_resnet.py, and `--config` of both, in one command, runs both:
        6 minutes on 2 CPU cores; frames at the same phase, probe moved: mAP .34,
        SimSiam alone .24, raw pixels .13
    python main.py --config=configs/fastap_resnet.py:real --config.data.path=FILE
        your own cine with a table of labels; `data.label` names the column where
        several can be labels, and `data.bins=24` cuts one of numbers
    python main.py --config=configs/fastap_resnet.py:real,joint --config.data.path=FILE
        the same for a column of numbers such as a joint's angle, with its error
    python main.py --config=configs/fastap_resnet.py:real,pseudo --config.data.path=FILE
        no labels: stable segments of the motion are, `data.reference=IMAGE` picks some
    python main.py --config=configs/fastap_resnet.py:real,views --config.data.path=FILE
        no labels at all: the two views of a frame find each other

Variants are those of the first stage and combine with commas. `objective.frozen` keeps
the backbone, or backbone and projector, as they begin.
"""

from ml_collections import ConfigDict

from configs import base, simsiam_resnet


def get_config(arg: str = "") -> ConfigDict:
    """Return the recipe; `arg` names variants, separated by commas."""
    names = [name for name in arg.split(",") if name]
    first_stage = simsiam_resnet.VARIANTS
    for name in names:
        if name not in first_stage | VARIANTS:
            choices = ", ".join(first_stage | VARIANTS)
            raise ValueError(f"got variant {name!r}; choices: {choices}")
    shared = [name for name in names if name in first_stage]
    config = simsiam_resnet.get_config(",".join(shared)).unlock()
    _second_stage(config, shared)
    own = [name for name in names if name in VARIANTS]
    return base.apply_variants(config, ",".join(own), VARIANTS)


def _second_stage(config: ConfigDict, variants: list[str]) -> None:
    """Change the config of the first stage into that of the second."""
    heads = config.objective
    config.objective = {
        "name": "fast_ap",
        "relevance": "label",
        # The projector is the first stage's and starts as it ended.
        "hidden_dim": heads.hidden_dim,
        "proj_dim": heads.proj_dim,
        "embed_dim": 128,
    }
    config.data.delta = 0
    config.optimizer = {
        "name": "adamw",
        "learning_rate": 4e-3,
        "weight_decay": 1e-4,
        "no_decay": ("1d",),
    }
    config.schedule.update(decay_per="step", warmup_epochs=1.0)
    config.train.update(batch_size=64, epochs=14.0, samples_per_class=4)
    config.train.checkpoint_every_epochs = config.evaluate.every_epochs = 7.0
    config.evaluate.baselines = ("pixels", "untrained", "start")
    del config.gates["loss"]
    config.gates.learned = base.gate("train/loss", "<", "chance", times=0.7)
    if "above_untrained" in config.gates:
        error = config.gates.above_untrained.metric.endswith("/error")
        gate = simsiam_resnet.below if error else simsiam_resnet.above
        config.gates.above_start = gate("baseline:start")
        for name in config.gates:
            config.gates[name].required = True
        # Medians of errors have wide intervals where most frames are nearly right.
        config.gates.above_start.required = not error
    if config.data.name == "cine":
        _own_labels(config)
    if "full" in variants:
        _pseudo(config)
        config.objective.update(bins=25, embed_dim=256)
        config.optimizer.learning_rate = 1e-3
        config.train.update(epochs=200.0)
    if "smoke" in variants:
        config.objective.embed_dim = 16
        config.schedule.warmup_epochs = 0.25
        config.train.update(batch_size=16, epochs=2.0, least_steps=0)
        config.evaluate.every_epochs = 1.0
        base.drop_requirements(config)


def _own_labels(config: ConfigDict) -> None:
    """Take the labels that the table of a cine has."""
    config.data.label = "auto"
    config.train.least_steps = 150
    if "labeled" in config.evaluate.sets:
        config.gates.above_start = base.above(
            "eval/labeled/map", "baseline:start", required=False
        )


def _views(config: ConfigDict) -> None:
    config.objective.relevance = "views"
    config.data.label = ""
    config.train.samples_per_class = 1


def _pseudo(config: ConfigDict) -> None:
    config.data.label = "pseudo"
    config.data.pseudo = {
        "window": 5, "percentile": 20.0, "least": 3, "reference_percentile": 30.0
    }  # fmt: skip


VARIANTS = {"views": _views, "pseudo": _pseudo}
